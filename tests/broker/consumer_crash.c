/*
 * Goal: poison that kills cannot stop a group. Method: one member in a process of its own, whose handler abort()s on a
 * few messages in ten thousand, and a supervisor that starts it again each time. All others are handled, each key in
 * order; each poison ends in the dead letter topic, after as many crashes as the option says; and nothing else does.
 */
#include "tests/broker/stage.h"
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MESSAGES = 10000, KEYS = 2000, PARTITIONS = 4, CRASH_EVERY = 1700, SALT = 4, TRIES = 3, CRASHES_MAX = 60 };

struct letters {
    const struct weir_stage *stage;
    uint64_t seed, count, wrong;
    uint8_t seen[PARTITIONS][MESSAGES];
};

static bool is_poison(uint64_t seed, int32_t partition, int64_t offset)
{
    return weir_member_is_one_in(CRASH_EVERY, partition, offset, seed + SALT);
}

static uint64_t count_poison(uint64_t seed, const int64_t ends[PARTITIONS])
{
    uint64_t count = 0;
    for (int32_t partition = 0; partition < PARTITIONS; partition++)
        for (int64_t offset = 0; offset < ends[partition]; offset++)
            count += is_poison(seed, partition, offset);
    return count;
}

static bool header_is(rd_kafka_message_t *letter, const char *name, const char *expected)
{
    rd_kafka_headers_t *headers;
    const void *value;
    size_t size;
    return rd_kafka_message_headers(letter, &headers) == RD_KAFKA_RESP_ERR_NO_ERROR &&
           rd_kafka_header_get_last(headers, name, &value, &size) == RD_KAFKA_RESP_ERR_NO_ERROR &&
           size == strlen(expected) && memcmp(value, expected, size) == 0;
}

static int64_t header_number(rd_kafka_message_t *letter, const char *name)
{
    rd_kafka_headers_t *headers;
    const void *value;
    size_t size;
    char text[32] = "";
    if (rd_kafka_message_headers(letter, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR ||
        rd_kafka_header_get_last(headers, name, &value, &size) != RD_KAFKA_RESP_ERR_NO_ERROR || size >= sizeof text)
        return -1;
    memcpy(text, value, size);
    return strtoll(text, NULL, 10);
}

static void see_letter(void *user, rd_kafka_message_t *letter)
{
    struct letters *letters = user;
    int64_t partition = header_number(letter, "__dlq.errors.partition");
    int64_t offset = header_number(letter, "__dlq.errors.offset");
    char tries[16];
    snprintf(tries, sizeof tries, "%d", TRIES);
    cr_assert(partition >= 0 && partition < PARTITIONS && offset >= 0 && offset < MESSAGES);
    cr_assert(is_poison(letters->seed, (int32_t)partition, offset), "%" PRId64 "@%" PRId64 " is innocent", partition,
              offset);
    cr_assert(header_is(letter, "weir.dlq.reason", "crash"));
    cr_assert(header_is(letter, "__dlq.errors.delivery.count", tries), "%" PRId64 "@%" PRId64 ": %" PRId64 " tries",
              partition, offset, header_number(letter, "__dlq.errors.delivery.count"));
    letters->count += letters->seen[partition][offset] == 0;
    letters->seen[partition][offset] = 1;
    weir_ledger_letter(letters->stage->ledger, letters->stage->topic.text, (int32_t)partition, offset);
}

/* Runs of a poison, from the ledger; they must be TRIES, or one less if another's crash came between its claim and its
 * first words. */
static void check_runs(const struct weir_stage *stage, uint64_t seed)
{
    static uint32_t runs[PARTITIONS][MESSAGES];
    for (size_t index = 0; index < weir_ledger_count(stage->ledger); index++) {
        const struct weir_ledger_record *record = weir_ledger_at(stage->ledger, index);
        if (record && record->kind == WEIR_LEDGER_START && is_poison(seed, record->partition, record->offset))
            runs[record->partition][record->offset]++;
    }
    for (int32_t partition = 0; partition < PARTITIONS; partition++)
        for (int64_t offset = 0; offset < MESSAGES; offset++)
            cr_assert(runs[partition][offset] == 0 || runs[partition][offset] == TRIES ||
                          runs[partition][offset] == TRIES - 1,
                      "%d@%" PRId64 " ran %u times", (int)partition, offset, runs[partition][offset]);
}

/* Until all is committed: start it, wait for its end, start it again. Returns how often it has crashed. */
static unsigned supervise(struct weir_member *member, struct weir_stage *stage, const char *const *settings)
{
    unsigned crashes = 0;
    uint64_t deadline_ms = weir_broker_now_ms() + 4 * WEIR_BROKER_WAIT_MS;
    weir_member_start(member, stage, -1, settings);
    while (weir_stage_committed(stage) < weir_stage_log_end(stage)) {
        if (weir_broker_now_ms() > deadline_ms)
            weir_member_show_log(member);
        cr_assert_lt(weir_broker_now_ms(), deadline_ms, "waited too long, after %u crashes", crashes);
        int status = 0;
        if (waitpid(member->pid, &status, WNOHANG) != member->pid) {
            weir_broker_pause_briefly();
            continue;
        }
        cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "it ended with status %d", status);
        weir_ledger_gone(stage->ledger, (uint32_t)member->pid);
        member->pid = 0;
        cr_assert_lt(++crashes, (unsigned)CRASHES_MAX);
        weir_member_start(member, stage, -1, settings);
    }
    return crashes;
}

Test(consumer_crash, poison_that_kills_is_dead_lettered_and_everything_else_is_handled)
{
    static struct letters letters;
    struct weir_stage stage;
    struct weir_member member;
    struct rlimit no_core = {0, 0};
    char journal[] = "/tmp/weir-broker-crash-XXXXXX", dead[128];
    int descriptor = mkstemp(journal);
    cr_assert(descriptor >= 0 && setrlimit(RLIMIT_CORE, &no_core) == 0);
    close(descriptor);
    weir_stage_set(&stage, PARTITIONS, 20 * MESSAGES);
    snprintf(dead, sizeof dead, "%s.dlq", stage.topic.text);
    weir_broker_topic_create(dead, 1, NULL);
    weir_stage_produce(&stage, MESSAGES, KEYS);

    int64_t ends[PARTITIONS], low;
    for (int32_t partition = 0; partition < PARTITIONS; partition++)
        weir_broker_watermarks(stage.topic.text, partition, &low, &ends[partition]);
    uint64_t poison = 0; /* a seed that gives enough of them */
    for (letters.seed = 1; (poison = count_poison(letters.seed, ends)) < 4; letters.seed++)
        cr_assert_lt(letters.seed, 1000u);
    weir_member_init(&member);
    atomic_store(&member.board->crash_every, CRASH_EVERY);
    atomic_store(&member.board->seed, letters.seed);
    atomic_store(&member.board->sleep_us, 500);
    unsigned crashes = supervise(&member, &stage,
                                 WEIR_STAGE_SETTINGS(&stage, "weir.crash.journal", journal, "weir.crash.attempts.max",
                                                     "3", "group.instance.id", "one"));
    weir_member_signal(&member, SIGTERM);
    weir_member_join(&member, &stage);

    letters.stage = &stage;
    weir_broker_read(dead, see_letter, &letters);
    fprintf(stderr, "%" PRIu64 " poison, %u crashes, %" PRIu64 " dead letters\n", poison, crashes, letters.count);
    cr_assert_eq(letters.count, poison);
    cr_assert(crashes <= TRIES * poison && crashes >= (TRIES - 1) * poison, "%u crashes for %" PRIu64 " poison",
              crashes, poison);
    cr_assert_gt(weir_member_log_count(&member, "will run with nothing beside it"), 0u);
    check_runs(&stage, letters.seed);
    weir_stage_check(&stage);
    weir_member_deinit(&member);
    weir_stage_clear(&stage);
    weir_broker_topic_delete(dead);
    unlink(journal);
}
