/*
 * Goal: brokers that are set up tightly. A dead letter topic that does not exist and is not created by itself holds
 * dead messages until somebody makes it; commit metadata that the broker finds too large costs the map, never the
 * commit. Method: a cluster of the test's own, set up so.
 */
#include "actors/map.h"
#include "tests/broker/stage.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { MESSAGES = 50, DEAD_EVERY = 10, DEAD = MESSAGES / DEAD_EVERY };

static enum weir_outcome kill_some(struct weir_subject *subject, struct weir_message *message)
{
    return weir_message_offset(message) % DEAD_EVERY == 3 ? weir_dead(message, "no such customer") : WEIR_ACK;
}

static void count(void *user, rd_kafka_message_t *letter)
{
    uint64_t *values = user;
    char text[16] = "";
    memcpy(text, letter->payload, letter->len < sizeof text ? letter->len : sizeof text - 1);
    *values += strtoull(text, NULL, 10);
}

static void missing_dead_letter_topic(void)
{
    struct weir_stage stage;
    char letters[96];
    uint64_t sum = 0;
    weir_stage_set(&stage, 1, 2 * MESSAGES);
    weir_stage_produce(&stage, MESSAGES, 0);
    struct weir_subject subject = {.rule = kill_some};
    weir_subject_start(
        &subject, WEIR_STAGE_SETTINGS(&stage, "weir.dlq.retry.ms", "200", "topic.metadata.propagation.max.ms", "500"));
    WEIR_BROKER_UNTIL(weir_subject_stats(&subject).counters.acked == MESSAGES - DEAD);
    WEIR_BROKER_UNTIL(weir_subject_stats(&subject).counters.dlq_failures >= DEAD);
    cr_assert_eq(weir_subject_stats(&subject).held, (uint64_t)DEAD);
    cr_assert_eq(weir_subject_stats(&subject).counters.dead_lettered, 0u);
    cr_assert_eq(weir_stage_committed(&stage), 3, "a dead message was passed by");
    cr_assert_gt(weir_subject_log_count("dead letter refused, its key is held"), 0u);
    snprintf(letters, sizeof letters, "%.60s.dlq", stage.topic.text);
    weir_broker_topic_create(letters, 1, NULL);
    WEIR_BROKER_UNTIL(weir_subject_stats(&subject).counters.dead_lettered == DEAD);
    cr_assert_eq(weir_subject_close(&subject), WEIR_OK, "%s", subject.closed_error.text);
    cr_assert(weir_subject_adds_up(&subject));
    weir_subject_destroy(&subject);
    cr_assert_eq(weir_broker_read(letters, count, &sum), (uint64_t)DEAD);
    cr_assert_eq(sum, 3u + 13 + 23 + 33 + 43);
    cr_assert_eq(weir_stage_committed(&stage), MESSAGES);
    weir_broker_topic_delete(letters);
    weir_stage_clear(&stage);
}

Test(broker_strict, dead_messages_wait_for_a_dead_letter_topic_that_does_not_exist_yet)
{
    weir_broker_start("--set auto.create.topics.enable=false");
    missing_dead_letter_topic();
    weir_broker_stop();
}

/* ---- maps that the broker does not take ---- */

enum { LOTS = 4000, METADATA_BYTES = 200, DAY_MS = 24 * 60 * 60 * 1000 };

/* About every seventh, at irregular distances, so that the map takes a byte or more for each. */
static bool is_held(int64_t offset)
{
    return weir_member_fails(0, offset, 1, 14);
}

static enum weir_outcome put_some_off(struct weir_subject *subject, struct weir_message *message)
{
    return is_held(weir_message_offset(message)) ? weir_retry_after(message, DAY_MS, "put off by the test") : WEIR_ACK;
}

/* Finished messages that the committed map does not tell of. */
static uint64_t untold(const struct weir_stage *stage)
{
    char metadata[WEIR_MAP_SIZE_MAX];
    struct weir_map map;
    struct weir_map_log any = {0, -1};
    int64_t floor = weir_broker_committed(stage->group.text, stage->topic.text, 0, metadata, sizeof metadata);
    cr_assert_gt(strlen(metadata), 0u, "no map was committed");
    cr_assert_leq(strlen(metadata), (size_t)METADATA_BYTES);
    cr_assert_eq(weir_map_decode(metadata, strlen(metadata), floor, &any, &map), WEIR_MAP_VALID);
    uint64_t count = 0;
    for (int64_t offset = floor; offset < LOTS; offset++)
        count += !is_held(offset) && !(offset < map.end && weir_map_is_finished(&map, offset));
    weir_map_deinit(&map);
    return count;
}

static bool has_map(const struct weir_stage *stage)
{
    char metadata[WEIR_MAP_SIZE_MAX];
    weir_broker_committed(stage->group.text, stage->topic.text, 0, metadata, sizeof metadata);
    return metadata[0] != '\0';
}

static void too_large_maps(void)
{
    struct weir_stage stage;
    uint64_t held = 0;
    weir_stage_set(&stage, 1, 6 * LOTS);
    weir_stage_produce(&stage, LOTS, LOTS);
    for (int64_t offset = 0; offset < LOTS; offset++)
        held += is_held(offset);
    struct weir_subject subject = {.ledger = stage.ledger, .rule = put_some_off};
    weir_subject_start(&subject, WEIR_STAGE_SETTINGS(&stage, "weir.commit.interval.ms", "50"));
    WEIR_BROKER_UNTIL(weir_subject_stats(&subject).counters.acked == LOTS - held);
    WEIR_BROKER_UNTIL(has_map(&stage));
    cr_assert_eq(weir_subject_close(&subject), WEIR_UNFINISHED);
    cr_assert_gt(weir_subject_log_count("metadata too large"), 0u, "the broker took the map: nothing was tried");
    uint64_t failures = weir_subject_stats(&subject).commit_failures;
    cr_assert_leq(failures, 12u, "%" PRIu64 " commits refused: maps shrink too slowly", failures);
    weir_subject_destroy(&subject);

    uint64_t expected = held + untold(&stage);
    struct weir_subject second = {.ledger = stage.ledger};
    weir_subject_start(&second, WEIR_STAGE_SETTINGS(&stage, "weir.commit.interval.ms", "50"));
    WEIR_BROKER_UNTIL(weir_stage_committed(&stage) == LOTS);
    cr_assert_eq(weir_subject_close(&second), WEIR_OK, "%s", second.closed_error.text);
    struct weir_stats stats = weir_subject_stats(&second);
    fprintf(stderr, "%" PRIu64 " held, %" PRIu64 " came again, %" PRIu64 " left out by the map, %" PRIu64 " refused\n",
            held, stats.counters.consumed, stats.counters.restored, failures);
    cr_assert_eq(stats.counters.consumed, expected);
    cr_assert_gt(stats.counters.restored, 0u);
    weir_subject_destroy(&second);
    weir_stage_check(&stage);
    weir_stage_clear(&stage);
}

Test(broker_strict, a_map_that_the_broker_finds_too_large_shrinks_and_costs_redelivery_only)
{
    char options[64];
    snprintf(options, sizeof options, "--offset-metadata-max-bytes %d", METADATA_BYTES);
    weir_broker_start(options);
    too_large_maps();
    weir_broker_stop();
}
