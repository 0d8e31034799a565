/*
 * Stopping in good order, by hand: what weir_consumer_run() and weir_consumer_stop_on_signals() do for most programs.
 *
 * The first SIGINT or SIGTERM closes the consumer: nothing new is pulled, what was pulled is given --deadline-ms to
 * finish, what is finished is committed, the group is left. A second signal gives up that time: only handlers that run
 * are waited for. What was left is counted; it is not lost, whoever owns the partition next gets it again.
 *
 * Exit status: 0 all was finished, 3 something was left, 1 it went wrong.
 */
#include "common.h"
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static _Atomic(struct weir_consumer *) closing; /* what the second signal is for */

static void on_second_signal(int number)
{
    (void)number;
    struct weir_consumer *consumer = atomic_load(&closing);
    if (consumer)
        weir_consumer_stop(consumer); /* may be called from a signal handler */
}

/* Slow work that cannot be interrupted. */
static enum weir_outcome on_message(struct weir_message *message, void *user)
{
    (void)message;
    const long *work_ms = user;
    struct timespec rest = {*work_ms / 1000, *work_ms % 1000 * 1000000};
    while (nanosleep(&rest, &rest) != 0)
        continue; /* a signal came: sleep on */
    return WEIR_ACK;
}

/* Wait for the first signal. They were blocked before any thread began, so that only this call gets them. */
static int await_signal(const sigset_t *signals)
{
    int number, fault = sigwait(signals, &number);
    if (fault != 0) {
        fprintf(stderr, "cannot wait for signals: %s\n", strerror(fault));
        return -1;
    }
    return number;
}

/* Let signals through again, to a handler that shortens the close. */
static void expect_second_signal(struct weir_consumer *consumer, const sigset_t *signals)
{
    struct sigaction action = {.sa_handler = on_second_signal};
    sigemptyset(&action.sa_mask);
    atomic_store(&closing, consumer);
    if (sigaction(SIGINT, &action, NULL) != 0 || sigaction(SIGTERM, &action, NULL) != 0 ||
        pthread_sigmask(SIG_UNBLOCK, signals, NULL) != 0)
        fprintf(stderr, "a second signal will not be heard\n");
}

static struct weir_stats stats_of(const struct weir_consumer *consumer)
{
    struct weir_stats stats = {0};
    weir_consumer_stats(consumer, &stats, sizeof stats);
    return stats;
}

/* Start, wait, close. Returns the exit status. */
static int serve(struct weir_consumer *consumer, const sigset_t *signals)
{
    struct weir_error error;
    if (weir_consumer_start(consumer, &error) != 0) {
        fprintf(stderr, "%s\n", error.text);
        return 1;
    }
    int number = await_signal(signals);
    struct weir_stats stats = stats_of(consumer);
    printf("closing%s%s: %llu messages in flight, %llu of them running\n", number > 0 ? " on " : "",
           number > 0 ? strsignal(number) : "", (unsigned long long)stats.in_flight, (unsigned long long)stats.running);
    fflush(stdout);
    expect_second_signal(consumer, signals);
    int result = weir_consumer_close(consumer, &error);
    atomic_store(&closing, NULL);
    stats = stats_of(consumer);
    printf("closed: %llu finished, %llu handed back\n", (unsigned long long)stats.counters.acked,
           (unsigned long long)stats.counters.handed_back);
    if (result == 0)
        return 0;
    fprintf(stderr, "%s: %s\n", weir_code_name(result), error.text);
    return result == WEIR_UNFINISHED ? 3 : 1;
}

int main(int argc, char **argv)
{
    const char *work = "100", *deadline = "5000";
    const struct example_option options[] = {{"work-ms", "how long each message takes", &work},
                                             {"deadline-ms", "time to finish at the end", &deadline},
                                             {0}};
    const struct example example = {.name = "graceful_stop",
                                    .about = "Close within a deadline at the first signal, at once at the second, and "
                                             "say what was left.",
                                    .options = options};
    struct weir_config *config = example_configure(argc, argv, &example);
    long work_ms = example_number("work-ms", work, 0, 600000);
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    struct weir_error error = {WEIR_SYSTEM, "signals cannot be blocked"};
    struct weir_consumer *consumer = NULL;
    int status = 1;
    if (pthread_sigmask(SIG_BLOCK, &signals, NULL) == 0 &&
        weir_config_set(config, "weir.close.drain.ms.max", deadline, &error) == 0)
        consumer = weir_consumer_create(config, on_message, &work_ms, &error);
    if (consumer)
        status = serve(consumer, &signals);
    else
        fprintf(stderr, "%s\n", error.text);
    weir_consumer_destroy(consumer);
    weir_config_destroy(config);
    return status;
}
