/* See member.h. Thread: main; handlers on workers, the statistics on the control thread. */
#include "tests/broker/member/member.h"
#include "tests/broker/member/late.h"
#include "tests/broker/member/rule.h"
#include "tests/broker/member/states.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <weir/weir.h>

enum { SETTINGS_MAX = 128 };

static struct weir_member_board *board;
static struct weir_subject subject;

static _Noreturn void fail(const char *what)
{
    perror(what);
    exit(2);
}

/* ---- the board ---- */

static void show(const struct weir_stats *stats, void *user)
{
    static uint64_t commits, then[3]; /* finished when the last three acknowledgements were seen, newest first */
    if (stats->commits != commits) {
        commits = stats->commits;
        then[2] = then[1];
        then[1] = then[0];
        then[0] = atomic_load_explicit(&board->finished, memory_order_relaxed);
    }
    /* Not the newest: its request may have been put together up to a commit and a call of this function earlier. */
    atomic_store_explicit(&board->told, then[2], memory_order_relaxed);
    atomic_store_explicit(&board->partitions, stats->partitions, memory_order_relaxed);
    atomic_store_explicit(&board->rebalances, stats->rebalances, memory_order_relaxed);
    atomic_store_explicit(&board->commits, stats->commits, memory_order_relaxed);
    atomic_store_explicit(&board->in_flight, stats->in_flight, memory_order_relaxed);
    atomic_store_explicit(&board->pause, stats->pause, memory_order_relaxed);
    atomic_store_explicit(&board->fetched_bytes, stats->fetched_bytes, memory_order_relaxed);
    atomic_store_explicit(&board->breaker_openings, stats->breaker_openings, memory_order_relaxed);
    atomic_store_explicit(&board->breaker, stats->breaker, memory_order_relaxed);
    if (atomic_exchange_explicit(&board->resume, 0, memory_order_relaxed) > 0)
        weir_consumer_resume(subject.consumer, NULL, 0);
}

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void *share(int descriptor)
{
    struct stat status;
    if (fstat(descriptor, &status) != 0)
        fail("a descriptor of the test");
    void *memory = mmap(NULL, (size_t)status.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    if (memory == MAP_FAILED)
        fail("mmap");
    return memory;
}

/* The log, to standard error; a loss of partitions to the ledger too, for what runs on then may meet the next owner,
 * and a revocation, so that a test can tell what ran as it came. */
static void write_log(void *user, enum weir_log_level level, const char *text, const struct weir_log_field *fields,
                      size_t field_count)
{
    char line[1024];
    int size = snprintf(line, sizeof line, "%llu %c %s", (unsigned long long)now_ms(), "EWID"[level], text);
    for (size_t index = 0; index < field_count && size > 0 && size < (int)sizeof line; index++)
        size += snprintf(line + size, sizeof line - (size_t)size, " %s=%s", fields[index].name, fields[index].value);
    fprintf(stderr, "%s\n", line);
    if (subject.ledger && strncmp(text, "lost ", 5) == 0)
        weir_ledger_event(subject.ledger, WEIR_EVENT_LOST, (uint32_t)getpid());
    if (subject.ledger && strncmp(text, "revoking ", 9) == 0)
        weir_ledger_event(subject.ledger, WEIR_EVENT_REVOKE, (uint32_t)getpid());
}

static void open_ledger(int descriptor)
{
    char path[64];
    if (descriptor < 0)
        return;
    snprintf(path, sizeof path, "/proc/self/fd/%d", descriptor);
    subject.ledger = weir_ledger_open(path);
    if (!subject.ledger)
        fail("the ledger");
}

/* NAME=VALUE becomes two entries. */
static void split(char **arguments, int count, const char **settings)
{
    for (int index = 0; index < count; index++) {
        char *equals = strchr(arguments[index], '=');
        if (!equals)
            fail(arguments[index]);
        *equals = '\0';
        *settings++ = arguments[index];
        *settings++ = equals + 1;
    }
    *settings = NULL;
}

/* ---- the whole ---- */

static void report(void)
{
    board->code = subject.closed_code;
    board->error = subject.closed_error;
    board->stats = weir_subject_stats(&subject);
    show(&board->stats, NULL);
    atomic_store_explicit(&board->closed_ms, now_ms(), memory_order_relaxed);
    atomic_store_explicit(&board->closed, 1, memory_order_release);
}

/* Told to go before the consumer listens to signals: there is nothing to close. */
static void go_early(int signal_number)
{
    (void)signal_number;
    atomic_store_explicit(&board->closed_ms, now_ms(), memory_order_relaxed);
    atomic_store_explicit(&board->closed, 1, memory_order_release);
    _exit(0);
}

static void let_go_early(void)
{
    sigset_t none;
    board->code = WEIR_OK;
    signal(SIGTERM, go_early);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL); /* it was blocked until here */
}

static void create(struct weir_member_marks *marks, const char *const *settings)
{
    enum weir_member_kind kind = (enum weir_member_kind)atomic_load_explicit(&board->kind, memory_order_relaxed);
    subject.rule = weir_rule_run;
    subject.batch_handler = kind == WEIR_MEMBER_BATCHES ? weir_rule_run_batch : NULL;
    subject.on_stats = show;
    subject.stops_on_signals = true;
    weir_rule_init(&subject, board, marks);
    weir_late_init(&subject, board);
    weir_subject_create(&subject, settings);
    if (kind == WEIR_MEMBER_STATES)
        weir_states_prepare(&subject, board);
}

int main(int argc, char **argv)
{
    const char *settings[2 * SETTINGS_MAX + 1];
    if (argc < 4 || argc - 4 > SETTINGS_MAX)
        return 2;
    board = share(atoi(argv[1]));
    let_go_early();
    open_ledger(atoi(argv[2]));
    struct weir_member_marks *marks = atoi(argv[3]) >= 0 ? share(atoi(argv[3])) : NULL;
    split(argv + 4, argc - 4, settings);
    const char *log = getenv("WEIR_TEST_MEMBER_LOG");
    weir_log_set(write_log, NULL, log && strcmp(log, "debug") == 0 ? WEIR_LOG_DEBUG : WEIR_LOG_INFO);
    create(marks, settings);
    atomic_store_explicit(&board->started, 1, memory_order_release);
    subject.closed_code = weir_consumer_run(subject.consumer, &subject.closed_error);
    weir_late_stop();
    report();
    weir_subject_destroy(&subject);
    weir_ledger_close(subject.ledger);
    return 0;
}
