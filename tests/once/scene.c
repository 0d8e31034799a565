/* See scene.h. */
#include "tests/once/scene.h"
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FINISH_MS = 180000, KEYS_MAX = 1000, SLOWER = 10 };

/* What a run takes at a member, from its next one on. */
static void set_pace_of(struct weir_once *once, unsigned member, uint64_t work_us)
{
    atomic_store(&once->members[member].board->sleep_us, work_us);
}

static void set_pace(struct weir_once *once, uint64_t work_us)
{
    for (unsigned member = 0; member < WEIR_ONCE_MEMBERS_MAX; member++)
        set_pace_of(once, member, work_us);
}

void weir_once_set(struct weir_once *once, const char *scene, uint64_t messages, unsigned keys, uint64_t work_us,
                   uint64_t dead_every)
{
    *once = (struct weir_once){.scene = scene, .work_us = work_us};
    weir_stage_set(&once->stage, WEIR_ONCE_PARTITIONS, 0);
    once->outputs = weir_broker_name("outputs");
    snprintf(once->letters, sizeof once->letters, "%.100s.dlq", once->stage.topic.text);
    weir_broker_topic_create(once->outputs.text, WEIR_ONCE_PARTITIONS, NULL);
    weir_broker_topic_create(once->letters, 1, NULL);
    weir_stage_produce(&once->stage, messages, keys);
    for (unsigned member = 0; member < WEIR_ONCE_MEMBERS_MAX; member++) {
        struct weir_member_board *board;
        weir_member_init(&once->members[member]);
        board = once->members[member].board;
        snprintf(board->outputs, sizeof board->outputs, "%s", once->outputs.text);
        atomic_store(&board->dead_every, dead_every);
        atomic_store(&board->fails_percent, 5);
    }
    set_pace(once, work_us);
}

void weir_once_clear(struct weir_once *once)
{
    for (unsigned member = 0; member < WEIR_ONCE_MEMBERS_MAX; member++)
        weir_member_deinit(&once->members[member]);
    weir_broker_topic_delete(once->outputs.text);
    weir_broker_topic_delete(once->letters);
    weir_stage_clear(&once->stage);
}

/* ---- what is done ---- */

/* What is done now comes in the middle of the work. */
static void check_unfinished(const struct weir_once *once)
{
    cr_assert_lt(weir_stage_committed(&once->stage), weir_stage_log_end(&once->stage), "all was done before");
}

void weir_once_start(struct weir_once *once, unsigned member)
{
    char instance[64];
    snprintf(instance, sizeof instance, "%s%u", once->instance ? once->instance : "", member);
    const char *settings[64] = {"bootstrap.servers",
                                weir_broker_bootstrap(),
                                "group.id",
                                once->stage.group.text,
                                "weir.topics",
                                once->stage.topic.text,
                                "auto.offset.reset",
                                "earliest",
                                "weir.delivery",
                                "exactly-once",
                                "weir.workers",
                                "2",
                                "weir.retry.base.ms",
                                "5",
                                "weir.dlq.topic",
                                once->letters,
                                "reconnect.backoff.max.ms",
                                "1000",
                                "linger.ms",
                                "1",
                                "weir.transaction.interval.ms",
                                "50",
                                "weir.stats.interval.ms",
                                "50"};
    const char *const classic[] = {"session.timeout.ms", "6000", "heartbeat.interval.ms", "300"};
    const char *const kip848[] = {"group.protocol", "consumer"};
    const char *const named[] = {"group.instance.id", instance};
    const char *const window[] = {"weir.window.messages.max", once->window};
    size_t count = 0;
    while (settings[count])
        count++;
    if (once->is_kip848)
        memcpy(&settings[count], kip848, sizeof kip848);
    else
        memcpy(&settings[count], classic, sizeof classic);
    while (settings[count])
        count++;
    if (once->instance)
        memcpy(&settings[count], named, sizeof named);
    while (settings[count])
        count++;
    if (once->window)
        memcpy(&settings[count], window, sizeof window);
    once->starts++;
    weir_member_start(&once->members[member], &once->stage, -1, settings);
}

void weir_once_kill(struct weir_once *once, unsigned member)
{
    check_unfinished(once);
    once->kills++;
    weir_member_kill(&once->members[member], &once->stage);
}

void weir_once_leave(struct weir_once *once, unsigned member)
{
    check_unfinished(once);
    once->leaves++;
    weir_member_signal(&once->members[member], SIGTERM);
    weir_member_join(&once->members[member], &once->stage);
}

/* Where readers of committed messages stand in each partition of the outputs; -1 where nothing is open. */
static void find_open(const struct weir_once *once, int64_t *stands)
{
    for (int32_t partition = 0; partition < WEIR_ONCE_PARTITIONS; partition++)
        stands[partition] = weir_broker_open_transaction(once->outputs.text, partition);
}

bool weir_once_transaction_stays(const struct weir_once *once)
{
    int64_t before[WEIR_ONCE_PARTITIONS], after[WEIR_ONCE_PARTITIONS];
    find_open(once, before);
    uint64_t until_ms = weir_broker_now_ms() + 500; /* what others have open has ended by then */
    while (weir_broker_now_ms() < until_ms)
        weir_broker_pause_briefly();
    find_open(once, after);
    for (int32_t partition = 0; partition < WEIR_ONCE_PARTITIONS; partition++)
        if (before[partition] >= 0 && before[partition] == after[partition])
            return true;
    return false;
}

void weir_once_stop_in_transaction(struct weir_once *once, unsigned member)
{
    uint64_t deadline_ms = weir_broker_now_ms() + WEIR_BROKER_WAIT_MS;
    once->stops++;
    once->inside++;
    set_pace(once, once->work_us * SLOWER);   /* so that work is left, however often it is tried */
    set_pace_of(once, member, once->work_us); /* it is in one most of the time */
    for (;;) {
        check_unfinished(once);
        cr_assert_lt(weir_broker_now_ms(), deadline_ms, "it is never in a transaction");
        weir_member_signal(&once->members[member], SIGSTOP);
        if (weir_once_transaction_stays(once))
            break;
        weir_member_signal(&once->members[member], SIGCONT);
        weir_broker_pause_briefly();
    }
    set_pace(once, once->work_us * SLOWER);
}

void weir_once_continue(struct weir_once *once, unsigned member)
{
    weir_member_signal(&once->members[member], SIGCONT);
}

void weir_once_restart_broker(struct weir_once *once, unsigned down_ms)
{
    check_unfinished(once);
    once->restarts++;
    weir_broker_control("kill");
    uint64_t until_ms = weir_broker_now_ms() + down_ms;
    while (weir_broker_now_ms() < until_ms)
        weir_broker_pause_briefly();
    weir_broker_control("restart");
}

/* ---- what is seen ---- */

static void visit_nothing(void *user, rd_kafka_message_t *message)
{
    (void)user, (void)message;
}

void weir_once_await(struct weir_once *once, unsigned share)
{
    set_pace(once, once->work_us);
    WEIR_BROKER_UNTIL((uint64_t)weir_stage_committed(&once->stage) >= once->stage.produced * share / 100);
    set_pace(once, once->work_us * SLOWER);
}

struct seen {
    const struct weir_once *once;
    int64_t stride;
    uint8_t *count; /* by partition and offset */
    struct {
        uint64_t key;
        int32_t partition;
        int64_t offset;
    } last[KEYS_MAX];
    uint64_t disorder;
};

static void see(struct seen *seen, int32_t partition, int64_t offset)
{
    cr_assert(partition >= 0 && partition < WEIR_ONCE_PARTITIONS && offset >= 0 && offset < seen->stride,
              "an output of %d/%" PRId64 ", which was not produced", (int)partition, offset);
    uint8_t *count = &seen->count[partition * seen->stride + offset];
    *count += *count < UINT8_MAX;
}

/* Outputs of a key lie in one partition, which is read in order. */
static void check_order(struct seen *seen, const rd_kafka_message_t *message, int32_t partition, int64_t offset)
{
    uint64_t key = weir_ledger_key_hash(message->key, message->key_len);
    size_t place = 0;
    while (place < KEYS_MAX && seen->last[place].key != 0 && seen->last[place].key != key)
        place++;
    cr_assert_lt(place, (size_t)KEYS_MAX);
    seen->disorder +=
        seen->last[place].key == key && seen->last[place].partition == partition && seen->last[place].offset > offset;
    seen->last[place].key = key;
    seen->last[place].partition = partition;
    seen->last[place].offset = offset;
}

static void see_output(void *user, rd_kafka_message_t *message)
{
    int partition;
    int64_t offset;
    char text[48];
    snprintf(text, sizeof text, "%.*s", (int)message->len, (const char *)message->payload);
    cr_assert_eq(sscanf(text, "%d %" SCNd64, &partition, &offset), 2, "an output says \"%s\"", text);
    see(user, partition, offset);
    check_order(user, message, partition, offset);
}

static int64_t header_of(const rd_kafka_message_t *letter, const char *name)
{
    rd_kafka_headers_t *headers;
    const void *value;
    size_t size;
    char text[32];
    cr_assert_eq(rd_kafka_message_headers(letter, &headers), RD_KAFKA_RESP_ERR_NO_ERROR);
    cr_assert_eq(rd_kafka_header_get_last(headers, name, &value, &size), RD_KAFKA_RESP_ERR_NO_ERROR, "no %s", name);
    snprintf(text, sizeof text, "%.*s", (int)size, (const char *)value);
    return atoll(text);
}

static void see_letter(void *user, rd_kafka_message_t *message)
{
    see(user, (int32_t)header_of(message, "__dlq.errors.partition"), header_of(message, "__dlq.errors.offset"));
}

static void count(const struct weir_once *once, const struct seen *seen, struct weir_once_ledger *ledger)
{
    for (int32_t partition = 0; partition < WEIR_ONCE_PARTITIONS; partition++) {
        int64_t low, high;
        weir_broker_watermarks(once->stage.topic.text, partition, &low, &high);
        for (int64_t offset = 0; offset < high; offset++) {
            uint8_t times = seen->count[partition * seen->stride + offset];
            ledger->duplicates += times > 1;
            ledger->losses += times == 0;
        }
    }
}

static void end_members(struct weir_once *once)
{
    for (unsigned index = 0; index < WEIR_ONCE_MEMBERS_MAX; index++) {
        struct weir_member *member = &once->members[index];
        if (member->pid == 0)
            continue;
        weir_member_signal(member, SIGTERM);
        weir_member_join(member, &once->stage);
        cr_assert(member->board->code == WEIR_OK || member->board->code == WEIR_UNFINISHED, "member %u: %s", index,
                  member->board->error.text);
    }
}

static void await_commits(struct weir_once *once)
{
    uint64_t deadline_ms = weir_broker_now_ms() + FINISH_MS;
    while (weir_stage_committed(&once->stage) < weir_stage_log_end(&once->stage)) {
        if (weir_broker_now_ms() >= deadline_ms) {
            for (unsigned index = 0; index < WEIR_ONCE_MEMBERS_MAX; index++)
                weir_member_show_log(&once->members[index]);
            cr_assert_fail("after %d s %" PRId64 " of %" PRId64 " offsets are committed", FINISH_MS / 1000,
                           weir_stage_committed(&once->stage), weir_stage_log_end(&once->stage));
        }
        weir_broker_pause_briefly();
    }
}

/* That of a process that was killed ends by its time-out, and hides all that was committed behind it until then. */
static void await_transactions(const char *topic, int32_t partitions)
{
    for (int32_t partition = 0; partition < partitions; partition++)
        WEIR_BROKER_UNTIL(weir_broker_open_transaction(topic, partition) < 0);
}

static uint64_t logged(const struct weir_once *once, const char *words)
{
    uint64_t sum = 0;
    for (unsigned member = 0; member < WEIR_ONCE_MEMBERS_MAX; member++)
        sum += weir_member_log_count(&once->members[member], words);
    return sum;
}

/* ./dev test exactly-once shows these lines, and sums them up. */
static void print(const struct weir_once *once, const struct weir_once_ledger *ledger)
{
    fprintf(stderr,
            "exactly once: scene=%s produced=%" PRIu64 " outputs=%" PRIu64 " letters=%" PRIu64 " twice=%" PRIu64
            " lost=%" PRIu64 " disorder=%" PRIu64 " hidden=%" PRIu64 " aborted=%" PRIu64 " refused=%" PRIu64
            " fenced=%" PRIu64 " starts=%" PRIu64 " kills=%" PRIu64 " stops=%" PRIu64 " inside=%" PRIu64
            " leaves=%" PRIu64 " restarts=%" PRIu64 "\n",
            once->scene, once->stage.produced, ledger->outputs, ledger->letters, ledger->duplicates, ledger->losses,
            ledger->disorder, ledger->hidden, ledger->aborted, ledger->refused, ledger->fenced, once->starts,
            once->kills, once->stops, once->inside, once->leaves, once->restarts);
}

static uint64_t visible(const struct weir_once *once)
{
    return weir_broker_read(once->outputs.text, visit_nothing, NULL) +
           weir_broker_read(once->letters, visit_nothing, NULL);
}

struct weir_once_ledger weir_once_judge(struct weir_once *once)
{
    struct weir_once_ledger ledger = {0};
    struct seen *seen = calloc(1, sizeof *seen);
    cr_assert_not_null(seen);
    set_pace(once, 0); /* nothing more happens: the rest is not worth waiting for */
    await_commits(once);
    end_members(once);
    uint64_t visible_before = visible(once);
    await_transactions(once->outputs.text, WEIR_ONCE_PARTITIONS);
    await_transactions(once->letters, 1);
    seen->stride = (int64_t)once->stage.produced;
    seen->count = calloc(WEIR_ONCE_PARTITIONS, once->stage.produced);
    cr_assert_not_null(seen->count);
    ledger.outputs = weir_broker_read(once->outputs.text, see_output, seen);
    ledger.letters = weir_broker_read(once->letters, see_letter, seen);
    ledger.disorder = seen->disorder;
    ledger.hidden = ledger.outputs + ledger.letters - visible_before;
    ledger.aborted = weir_broker_count_all(once->outputs.text) - ledger.outputs;
    ledger.refused = logged(once, " W transaction, ");
    ledger.fenced = logged(once, "the transactional producer has failed for good");
    ledger.committed = weir_stage_committed(&once->stage);
    count(once, seen, &ledger);
    print(once, &ledger);
    free(seen->count);
    free(seen);
    cr_assert_eq(ledger.duplicates, 0u);
    cr_assert_eq(ledger.losses, 0u);
    cr_assert_eq(ledger.disorder, 0u);
    cr_assert_eq(ledger.outputs + ledger.letters, once->stage.produced);
    return ledger;
}
