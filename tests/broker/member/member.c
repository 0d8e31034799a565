/* See member.h. Thread: main; handlers on workers, the statistics on the control thread. */
#include "tests/broker/member/member.h"
#include "tests/broker/member/late.h"
#include "tests/support/subject.h"
#include "tests/support/wait.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <weir/weir.h>

enum { DAY_MS = 24 * 60 * 60 * 1000, SETTINGS_MAX = 128 };

static struct weir_member_board *board;
static struct weir_member_marks *marks;
static struct weir_subject subject;

static _Noreturn void fail(const char *what)
{
    perror(what);
    exit(2);
}

/* ---- the handler ---- */

static struct weir_member_mark *mark_of(const struct weir_message *message)
{
    int32_t partition = weir_message_partition(message);
    int64_t offset = weir_message_offset(message);
    if (partition < marks->partitions && offset < marks->stride)
        return &marks->marks[partition * marks->stride + offset];
    atomic_fetch_add_explicit(&marks->strangers, 1, memory_order_relaxed);
    return NULL;
}

static bool is_one_in(const _Atomic uint64_t *every, const struct weir_message *message, uint64_t salt)
{
    return weir_member_is_one_in(atomic_load_explicit(every, memory_order_relaxed), weir_message_partition(message),
                                 weir_message_offset(message),
                                 atomic_load_explicit(&board->seed, memory_order_relaxed) + salt);
}

/* Runs of one message follow each other, so load and store need no exchange. */
static void count(_Atomic uint8_t *mark)
{
    uint8_t value = atomic_load_explicit(mark, memory_order_relaxed);
    atomic_store_explicit(mark, value < UINT8_MAX ? value + 1 : value, memory_order_relaxed);
}

static bool is_late(const struct weir_message *message)
{
    uint64_t every = atomic_load_explicit(&board->late_every, memory_order_relaxed);
    return every > 0 &&
           weir_member_is_late(every, weir_ledger_key_hash(weir_message_key(message), weir_message_key_size(message)));
}

/* False where it was not taken; WEIR_STALE is as good, as nothing of this run counts. */
static bool emit(struct weir_message *message)
{
    char text[48];
    if (board->outputs[0] == '\0')
        return true;
    int size = snprintf(text, sizeof text, "%d %lld", (int)weir_message_partition(message),
                        (long long)weir_message_offset(message));
    const struct weir_output output = {.topic = board->outputs,
                                       .key = weir_message_key(message),
                                       .key_size = weir_message_key_size(message),
                                       .value = text,
                                       .value_size = (size_t)size};
    int result = weir_emit(message, &output);
    return result == 0 || result == WEIR_STALE;
}

static enum weir_outcome work(struct weir_subject *unused, struct weir_message *message)
{
    struct weir_member_mark *mark = marks ? mark_of(message) : NULL;
    if (mark)
        count(&mark->runs);
    uint64_t sleep_us = atomic_load_explicit(&board->sleep_us, memory_order_relaxed);
    if (is_one_in(&board->long_every, message, 1))
        sleep_us = 1000 * atomic_load_explicit(&board->long_ms, memory_order_relaxed);
    if (sleep_us > 0)
        weir_test_sleep_us((unsigned)sleep_us);
    if (!emit(message)) /* runs that fail below as well: theirs are dropped */
        return weir_retry(message, "its output was not taken");
    if (is_one_in(&board->crash_every, message, 4)) {
        if (subject.ledger)
            weir_ledger_end(subject.ledger, message, WEIR_RETRY); /* nobody else can say that this run is over */
        abort();
    }
    if (is_one_in(&board->dead_every, message, 2))
        return weir_dead(message, "dies by the test");
    if (is_one_in(&board->poison_every, message, 3))
        return weir_retry(message, "fails always");
    if (weir_message_offset(message) < atomic_load_explicit(&board->hold_below, memory_order_relaxed))
        return weir_retry_after(message, DAY_MS, "put off by the test");
    if (weir_member_fails(weir_message_partition(message), weir_message_offset(message), weir_message_attempt(message),
                          atomic_load_explicit(&board->fails_percent, memory_order_relaxed)))
        return weir_retry(message, "fails at first");
    if (is_late(message))
        return weir_late_take(message, WEIR_LATE_SLOW);
    if (atomic_load_explicit(&board->rest_held, memory_order_relaxed))
        return weir_late_take(message, WEIR_LATE_REST);
    if (mark)
        count(&mark->finishes);
    atomic_fetch_add_explicit(&board->finished, 1, memory_order_relaxed);
    return WEIR_ACK;
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

int main(int argc, char **argv)
{
    const char *settings[2 * SETTINGS_MAX + 1];
    if (argc < 4 || argc - 4 > SETTINGS_MAX)
        return 2;
    board = share(atoi(argv[1]));
    let_go_early();
    open_ledger(atoi(argv[2]));
    marks = atoi(argv[3]) >= 0 ? share(atoi(argv[3])) : NULL;
    split(argv + 4, argc - 4, settings);
    subject.rule = work;
    subject.on_stats = show;
    subject.stops_on_signals = true;
    const char *log = getenv("WEIR_TEST_MEMBER_LOG");
    weir_log_set(write_log, NULL, log && strcmp(log, "debug") == 0 ? WEIR_LOG_DEBUG : WEIR_LOG_INFO);
    weir_subject_create(&subject, settings);
    weir_late_init(&subject, board);
    atomic_store_explicit(&board->started, 1, memory_order_release);
    subject.closed_code = weir_consumer_run(subject.consumer, &subject.closed_error);
    weir_late_stop();
    report();
    weir_subject_destroy(&subject);
    weir_ledger_close(subject.ledger);
    return 0;
}
