/*
 * Goal: filters and rates on a real Kafka, with real headers, timestamps and clocks: what is not wanted is never
 * handled and is committed past, or has its dead letter; what waits does so in its key only; no more start than a rate
 * allows. Method: the ledger has what must be handled as produced, so that a run of anything else is a violation. Where
 * a message goes, and which offset it gets there, is the test's choice: one producer, one partition after the other.
 */
#include "tests/broker/scribe.h"
#include "tests/broker/stage.h"
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <weir/filter.h>

enum { PARTITIONS = 4, MESSAGES = 4000, KEYS = 100, KEYS_A_PARTITION = KEYS / PARTITIONS };

static struct weir_stage stage;

struct plan {
    const char *header, *header_value; /* NULL: none */
    int64_t timestamp_ms;
    bool wanted; /* it is to be handled */
};

static int64_t wall_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Number `index` goes to partition index % PARTITIONS, where it has the offset index / PARTITIONS. */
static void put(struct weir_scribe *scribe, unsigned index, const struct plan *plan)
{
    char key[32], value[16];
    int32_t partition = (int32_t)(index % PARTITIONS);
    int size = snprintf(key, sizeof key, "key-%d-%u", (int)partition, index / PARTITIONS % KEYS_A_PARTITION);
    int value_size = snprintf(value, sizeof value, "%u", index);
    struct weir_scribe_header header = {plan->header, plan->header_value,
                                        plan->header_value ? strlen(plan->header_value) : 0};
    weir_scribe_write(scribe, stage.topic.text,
                      &(struct weir_scribe_record){.partition = partition,
                                                   .key = key,
                                                   .key_size = (size_t)size,
                                                   .value = value,
                                                   .value_size = (size_t)value_size,
                                                   .timestamp_ms = plan->timestamp_ms,
                                                   .headers = &header,
                                                   .header_count = plan->header ? 1 : 0});
    stage.produced += plan->wanted;
    if (plan->wanted)
        weir_ledger_emit(stage.ledger, stage.topic.text, partition, index / PARTITIONS, key, (size_t)size, index);
}

static unsigned number_of(struct weir_message *message)
{
    char text[16] = "";
    snprintf(text, sizeof text, "%.*s", (int)weir_message_value_size(message),
             (const char *)weir_message_value(message));
    return (unsigned)atoi(text);
}

/* All are finished, one way or the other, and committed. */
static void finish(struct weir_subject *subject, uint64_t acked, uint64_t left_out)
{
    WEIR_BROKER_UNTIL(weir_subject_stats(subject).counters.acked == acked);
    WEIR_BROKER_UNTIL(
        weir_subject_stats(subject).counters.filtered + weir_subject_stats(subject).counters.dead_lettered == left_out);
    cr_assert_eq(weir_subject_close(subject), WEIR_OK, "%s", subject->closed_error.text);
    cr_assert_eq(weir_stage_committed(&stage), (int64_t)(acked + left_out));
    cr_assert_eq(weir_stage_log_end(&stage), (int64_t)(acked + left_out));
    weir_stage_check_strictly(&stage);
}

/* ---- header and predicate ---- */

static int is_no_seventh(struct weir_message *message, void *user)
{
    (void)user;
    return number_of(message) % 7 != 3;
}

static void set_predicate(struct weir_subject *subject)
{
    struct weir_error error;
    cr_assert_eq(weir_consumer_filter(subject->consumer, is_no_seventh, NULL, &error), 0, "%s", error.text);
}

Test(broker_filters, what_a_header_or_the_predicate_leaves_out_is_not_handled_and_is_committed_past)
{
    struct weir_scribe scribe;
    uint64_t wanted = 0;
    weir_stage_set(&stage, PARTITIONS, 4 * MESSAGES);
    weir_scribe_open(&scribe, NULL);
    for (unsigned index = 0; index < MESSAGES; index++) {
        const char *type = index % 5 == 0 ? NULL : index % 5 == 1 ? "invoice" : "order";
        struct plan plan = {.header = type ? "type" : NULL, .header_value = type};
        plan.wanted = type && strcmp(type, "order") == 0 && index % 7 != 3;
        wanted += plan.wanted;
        put(&scribe, index, &plan);
    }
    weir_scribe_close(&scribe);
    struct weir_subject subject = {.ledger = stage.ledger, .prepare = set_predicate};
    weir_subject_start(&subject, WEIR_STAGE_SETTINGS(&stage, "weir.filter.header", "type=order"));
    finish(&subject, wanted, MESSAGES - wanted);
    cr_assert(wanted > 1000 && wanted < MESSAGES - 1000);
    cr_assert_eq(weir_subject_stats(&subject).counters.filtered, MESSAGES - wanted);
    cr_assert_eq(weir_subject_stats(&subject).counters.skipped, 0u);
    weir_subject_destroy(&subject);
    weir_stage_clear(&stage);
}

/* ---- age ---- */

struct letters {
    uint64_t count, wrong;
    bool seen[MESSAGES];
};

static void visit_letter(void *user, rd_kafka_message_t *letter)
{
    struct letters *letters = user;
    rd_kafka_headers_t *headers;
    const void *reason;
    size_t size;
    char text[16] = "";
    snprintf(text, sizeof text, "%.*s", (int)letter->len, (const char *)letter->payload);
    unsigned index = (unsigned)atoi(text);
    bool right = index < MESSAGES && index % 4 == 1 && !letters->seen[index] &&
                 rd_kafka_message_headers(letter, &headers) == RD_KAFKA_RESP_ERR_NO_ERROR &&
                 rd_kafka_header_get_last(headers, "weir.dlq.reason", &reason, &size) == RD_KAFKA_RESP_ERR_NO_ERROR &&
                 size == strlen("expired") && memcmp(reason, "expired", size) == 0;
    letters->wrong += !right;
    letters->count++;
    if (index < MESSAGES)
        letters->seen[index] = true;
}

Test(broker_filters, what_is_too_old_is_dead_lettered_or_skipped_by_its_timestamp)
{
    struct weir_scribe scribe;
    static struct letters letters;
    char letter_topic[128], dead[160];
    enum { OLD = MESSAGES / 4 };
    weir_stage_set(&stage, PARTITIONS, 4 * MESSAGES);
    weir_scribe_open(&scribe, NULL);
    for (unsigned index = 0; index < MESSAGES; index++) {
        bool old = index % 4 == 1;
        put(&scribe, index, &(struct plan){.timestamp_ms = old ? wall_ms() - 7200000 : 0, .wanted = !old});
    }
    weir_scribe_close(&scribe);
    struct weir_subject subject = {.ledger = stage.ledger};
    snprintf(dead, sizeof dead, "weir.topic.%s.filter.expired", stage.topic.text);
    weir_subject_start(&subject, WEIR_STAGE_SETTINGS(&stage, "weir.filter.ttl.ms", "3600000", dead, "dead",
                                                     "weir.dlq.budget.burst", "0"));
    finish(&subject, MESSAGES - OLD, OLD);
    cr_assert_eq(weir_subject_stats(&subject).counters.expired, (uint64_t)OLD);
    cr_assert_eq(weir_subject_stats(&subject).counters.dead_lettered, (uint64_t)OLD);
    weir_subject_destroy(&subject);
    snprintf(letter_topic, sizeof letter_topic, "%.60s.dlq", stage.topic.text);
    letters = (struct letters){0};
    weir_broker_read(letter_topic, visit_letter, &letters);
    cr_assert_eq(letters.count, (uint64_t)OLD);
    cr_assert_eq(letters.wrong, 0u);

    /* The same for another group that skips them. */
    struct weir_broker_name group = weir_broker_name("group");
    struct weir_subject other = {0};
    weir_subject_start(&other, WEIR_STAGE_SETTINGS(&stage, "group.id", group.text, "weir.filter.ttl.ms", "3600000"));
    WEIR_BROKER_UNTIL(weir_subject_stats(&other).counters.acked == MESSAGES - OLD);
    WEIR_BROKER_UNTIL(weir_subject_stats(&other).counters.filtered == OLD);
    cr_assert_eq(weir_subject_close(&other), WEIR_OK, "%s", other.closed_error.text);
    cr_assert_eq(atomic_load(&other.started), (uint64_t)(MESSAGES - OLD));
    weir_subject_destroy(&other);
    weir_broker_topic_delete(letter_topic);
    weir_stage_clear(&stage);
}

/* ---- not before ---- */

static int64_t begins_ms;
static _Atomic uint64_t too_early, waited_for, went_before;

/* The first message of every tenth key waits, and so all of these keys. */
static bool is_of_waiting_key(unsigned index)
{
    return index / PARTITIONS % KEYS_A_PARTITION % 10 == 4;
}

static enum weir_outcome note_time(struct weir_subject *subject, struct weir_message *message)
{
    (void)subject;
    bool waits = is_of_waiting_key(number_of(message));
    bool is_early = wall_ms() < begins_ms;
    if (waits && is_early)
        atomic_fetch_add(&too_early, 1);
    if (waits)
        atomic_fetch_add(&waited_for, 1);
    else if (is_early)
        atomic_fetch_add(&went_before, 1);
    return WEIR_ACK;
}

Test(broker_filters, what_must_not_begin_yet_waits_with_its_key_and_nobody_else_does)
{
    struct weir_scribe scribe;
    char begins[24];
    uint64_t waiting = 0;
    weir_stage_set(&stage, PARTITIONS, 4 * MESSAGES);
    begins_ms = wall_ms() + 12000;
    atomic_store(&too_early, 0);
    atomic_store(&waited_for, 0);
    atomic_store(&went_before, 0);
    snprintf(begins, sizeof begins, "%lld", (long long)begins_ms);
    weir_scribe_open(&scribe, NULL);
    for (unsigned index = 0; index < MESSAGES; index++) {
        bool is_first = index < KEYS && is_of_waiting_key(index);
        waiting += is_of_waiting_key(index);
        put(&scribe, index,
            &(struct plan){.header = is_first ? "not-before" : NULL, .header_value = begins, .wanted = true});
    }
    weir_scribe_close(&scribe);
    struct weir_subject subject = {.ledger = stage.ledger, .rule = note_time};
    weir_subject_start(&subject, WEIR_STAGE_SETTINGS(&stage, "weir.filter.not.before.header", "not-before",
                                                     "weir.held.messages.max", "1"));
    WEIR_BROKER_UNTIL(weir_subject_stats(&subject).counters.acked >= MESSAGES - waiting);
    cr_assert_gt(weir_subject_stats(&subject).counters.delayed, 0u);
    finish(&subject, MESSAGES, 0);
    cr_assert(waiting > 300 && atomic_load(&waited_for) == waiting);
    cr_assert_eq(atomic_load(&too_early), 0u);
    cr_assert_gt(atomic_load(&went_before), 0u, "all others had to wait as well, or the machine is far too slow");
    cr_assert_eq(weir_subject_stats(&subject).counters.dead_lettered, 0u);
    weir_subject_destroy(&subject);
    weir_stage_clear(&stage);
}

/* ---- versions ---- */

Test(broker_filters, what_is_older_than_its_key_has_had_is_left_out_by_a_header)
{
    struct weir_scribe scribe;
    static unsigned highest[PARTITIONS][KEYS_A_PARTITION];
    uint64_t stale = 0;
    unsigned random = 12345;
    memset(highest, 0, sizeof highest);
    weir_stage_set(&stage, PARTITIONS, 4 * MESSAGES);
    weir_scribe_open(&scribe, NULL);
    for (unsigned index = 0; index < MESSAGES; index++) {
        char version[16];
        unsigned *of_key = &highest[index % PARTITIONS][index / PARTITIONS % KEYS_A_PARTITION];
        random = random * 1103515245 + 12345;
        unsigned number = 1000 + index / KEYS * 10 + (random >> 16) % 30;
        snprintf(version, sizeof version, "%u", number);
        bool wanted = number >= *of_key;
        stale += !wanted;
        *of_key = wanted ? number : *of_key;
        put(&scribe, index, &(struct plan){.header = "version", .header_value = version, .wanted = wanted});
    }
    weir_scribe_close(&scribe);
    struct weir_subject subject = {.ledger = stage.ledger};
    weir_subject_start(&subject, WEIR_STAGE_SETTINGS(&stage, "weir.filter.version", "header",
                                                     "weir.filter.version.header", "version"));
    finish(&subject, MESSAGES - stale, stale);
    cr_assert_gt(stale, 200u);
    cr_assert_eq(weir_subject_stats(&subject).counters.stale, stale);
    weir_subject_destroy(&subject);
    weir_stage_clear(&stage);
}

/* ---- rates ---- */

/* The most starts of one key, or with key_hash 0 of all, within any `window_ns`. */
static uint64_t most_within(uint64_t window_ns, uint64_t key_hash)
{
    static uint64_t times[MESSAGES];
    size_t count = 0, first = 0;
    uint64_t most = 0;
    for (size_t index = 0; index < weir_ledger_count(stage.ledger); index++) {
        const struct weir_ledger_record *record = weir_ledger_at(stage.ledger, index);
        if (!record || record->kind != WEIR_LEDGER_START || (key_hash && record->key_hash != key_hash))
            continue;
        cr_assert_lt(count, (size_t)MESSAGES);
        size_t place = count++;
        for (; place > 0 && times[place - 1] > record->monotonic_ns; place--)
            times[place] = times[place - 1];
        times[place] = record->monotonic_ns;
    }
    cr_assert_gt(count, 0u);
    for (size_t last = 0; last < count; last++) {
        while (times[last] - times[first] > window_ns)
            first++;
        most = last - first + 1 > most ? last - first + 1 : most;
    }
    return most;
}

static void produce_for_rates(unsigned count)
{
    struct weir_scribe scribe;
    weir_stage_set(&stage, PARTITIONS, 4 * MESSAGES);
    weir_scribe_open(&scribe, NULL);
    for (unsigned index = 0; index < count; index++)
        put(&scribe, index, &(struct plan){.wanted = true});
    weir_scribe_close(&scribe);
}

/* What starts late, as its thread had to wait, may come close to what follows: so much may be late. */
enum { LATE_MS = 300 };

Test(broker_filters, no_more_runs_start_in_a_second_than_the_rate_of_all_allows)
{
    enum { COUNT = 2000, RATE = 400 };
    struct weir_subject subject = {.ledger = (produce_for_rates(COUNT), stage.ledger)};
    weir_subject_start(&subject,
                       WEIR_STAGE_SETTINGS(&stage, "weir.rate.messages.per.second", "400", "weir.rate.burst.ms", "0"));
    finish(&subject, COUNT, 0);
    uint64_t most = most_within(1000000000, 0);
    cr_assert_leq(most, RATE + 1u + RATE * LATE_MS / 1000u, "%" PRIu64 " in a second", most);
    cr_assert_gt(weir_subject_stats(&subject).counters.delayed, 0u);
    weir_subject_destroy(&subject);
    weir_stage_clear(&stage);
}

Test(broker_filters, no_more_runs_start_in_a_second_than_the_rate_of_a_key_allows)
{
    enum { COUNT = 1000, RATE = 5 }; /* ten of each key */
    struct weir_subject subject = {.ledger = (produce_for_rates(COUNT), stage.ledger)};
    weir_subject_start(
        &subject, WEIR_STAGE_SETTINGS(&stage, "weir.rate.key.messages.per.second", "5", "weir.rate.burst.ms", "0"));
    finish(&subject, COUNT, 0);
    for (unsigned key = 0; key < KEYS; key++) {
        char text[32];
        int size = snprintf(text, sizeof text, "key-%u-%u", key % PARTITIONS, key / PARTITIONS);
        uint64_t most = most_within(1000000000, weir_ledger_key_hash(text, (size_t)size));
        cr_assert_leq(most, RATE + 1u + RATE * LATE_MS / 1000u, "%" PRIu64 " of %s in a second", most, text);
    }
    weir_subject_destroy(&subject);
    weir_stage_clear(&stage);
}
