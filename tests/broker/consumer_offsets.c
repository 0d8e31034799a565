/*
 * Goal: where a consumer begins, and what it does when that place is not there: the reset policies, commits outside of
 * the log, partitions that are added, topics that come and go, metadata of strangers on the commit.
 * Method: handlers mark the offsets they see; what must and must not be seen is known exactly.
 */
#include "tests/broker/stage.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { PARTITIONS_MAX = 4, OFFSETS_MAX = 4000 };

struct seen {
    _Atomic uint8_t marks[PARTITIONS_MAX][OFFSETS_MAX];
};

static enum weir_outcome see(struct weir_subject *subject, struct weir_message *message)
{
    struct seen *seen = subject->user;
    int32_t partition = weir_message_partition(message);
    int64_t offset = weir_message_offset(message);
    if (partition < PARTITIONS_MAX && offset < OFFSETS_MAX)
        atomic_fetch_add(&seen->marks[partition][offset], 1);
    else
        atomic_fetch_add(&subject->wrong, 1);
    return WEIR_ACK;
}

/* How many offsets of [from, to) were seen; any of them twice fails the test. */
static int64_t count_seen(struct seen *seen, int32_t partition, int64_t from, int64_t to)
{
    int64_t count = 0;
    for (int64_t offset = from; offset < to; offset++) {
        uint8_t mark = atomic_load(&seen->marks[partition][offset]);
        cr_assert_leq(mark, 1, "partition %d offset %" PRId64 " was seen %d times", (int)partition, offset, mark);
        count += mark;
    }
    return count;
}

/* A consumer that marks what it sees. */
struct watch {
    struct weir_stage stage;
    struct seen seen;
    struct weir_subject subject;
};

static struct watch *watch_create(int partitions, uint64_t messages)
{
    struct watch *watch = calloc(1, sizeof *watch);
    cr_assert_not_null(watch);
    weir_stage_set(&watch->stage, partitions, 0);
    watch->subject = (struct weir_subject){.rule = see, .user = &watch->seen};
    if (messages > 0)
        weir_stage_produce(&watch->stage, messages, 0);
    return watch;
}

#define WATCH_START(watch, policy, ...)   \
    weir_subject_start(&(watch)->subject, \
                       WEIR_STAGE_SETTINGS(&(watch)->stage, "auto.offset.reset", policy, __VA_ARGS__))

static void watch_close(struct watch *watch)
{
    cr_assert_eq(weir_subject_close(&watch->subject), WEIR_OK, "%s", watch->subject.closed_error.text);
    cr_assert_eq(atomic_load(&watch->subject.wrong), 0u);
    cr_assert(weir_subject_adds_up(&watch->subject));
    weir_subject_destroy(&watch->subject);
}

static void watch_destroy(struct watch *watch)
{
    weir_stage_clear(&watch->stage);
    free(watch);
}

static struct weir_partition_stats partition_of(const struct watch *watch, int32_t partition)
{
    return weir_subject_partition(&watch->subject, watch->stage.topic.text, partition);
}

static int64_t committed(const struct watch *watch, int32_t partition)
{
    return weir_broker_committed(watch->stage.group.text, watch->stage.topic.text, partition, NULL, 0);
}

/* ---- the policies ---- */

Test(broker_offsets, latest_begins_at_the_end_once_and_for_all)
{
    struct watch *watch = watch_create(1, 100);
    WATCH_START(watch, "latest", "weir.workers", "2");
    WEIR_BROKER_UNTIL(committed(watch, 0) == 100); /* the policy is decided once, and committed before the first pull */
    weir_stage_produce(&watch->stage, 50, 0);
    WEIR_BROKER_UNTIL(committed(watch, 0) == 150);
    watch_close(watch);
    cr_assert_eq(count_seen(&watch->seen, 0, 0, 100), 0);
    cr_assert_eq(count_seen(&watch->seen, 0, 100, 150), 50);

    weir_stage_produce(&watch->stage, 30, 0); /* while nobody is there */
    WATCH_START(watch, "latest", "weir.workers", "2");
    WEIR_BROKER_UNTIL(committed(watch, 0) == 180);
    watch_close(watch);
    cr_assert_eq(count_seen(&watch->seen, 0, 150, 180), 30);
    watch_destroy(watch);
}

Test(broker_offsets, error_holds_a_partition_without_a_usable_commit_says_so_and_recovers)
{
    struct watch *watch = watch_create(2, 200);
    weir_broker_commit(watch->stage.group.text, watch->stage.topic.text, 1, 120, NULL); /* beyond the end: 100 */
    WATCH_START(watch, "error", "weir.workers", "2");
    WEIR_BROKER_UNTIL(partition_of(watch, 0).pause & WEIR_PAUSE_ERROR &&
                      partition_of(watch, 1).pause & WEIR_PAUSE_ERROR);
    WEIR_BROKER_UNTIL(weir_subject_log_count("auto.offset.reset=error") >= 2);
    weir_stage_produce(&watch->stage, 100, 0); /* now 120 is in the log */
    WEIR_BROKER_UNTIL(committed(watch, 1) == 150);
    cr_assert_eq(count_seen(&watch->seen, 1, 0, 120), 0);
    cr_assert_eq(count_seen(&watch->seen, 1, 120, 150), 30);
    cr_assert_eq(partition_of(watch, 1).pause, 0u);
    cr_assert(partition_of(watch, 0).pause & WEIR_PAUSE_ERROR);
    cr_assert_eq(committed(watch, 0), -1);
    cr_assert_eq(weir_subject_stats(&watch->subject).partitions_paused, 1u);
    watch_close(watch);
    cr_assert_eq(count_seen(&watch->seen, 0, 0, 150), 0);

    weir_broker_commit(watch->stage.group.text, watch->stage.topic.text, 0, 70, NULL);
    WATCH_START(watch, "error", "weir.workers", "2");
    WEIR_BROKER_UNTIL(committed(watch, 0) == 150);
    watch_close(watch);
    cr_assert_eq(count_seen(&watch->seen, 0, 0, 70), 0);
    cr_assert_eq(count_seen(&watch->seen, 0, 70, 150), 80);
    watch_destroy(watch);
}

/* ---- commits that are not in the log ---- */

Test(broker_offsets, a_commit_beyond_the_end_of_the_log_is_reset_by_the_policy)
{
    struct watch *watch = watch_create(1, 100);
    weir_broker_commit(watch->stage.group.text, watch->stage.topic.text, 0, 1000, NULL);
    WATCH_START(watch, "earliest", "weir.workers", "2");
    WEIR_BROKER_UNTIL(committed(watch, 0) == 100);
    cr_assert_gt(weir_subject_log_count("no usable committed offset (1000)"), 0u);
    watch_close(watch);
    cr_assert_eq(count_seen(&watch->seen, 0, 0, 100), 100);
    watch_destroy(watch);
}

Test(broker_offsets, a_commit_below_the_start_of_the_log_is_reset_by_the_policy)
{
    struct watch *watch = watch_create(1, 100);
    weir_broker_commit(watch->stage.group.text, watch->stage.topic.text, 0, 10, NULL);
    weir_broker_topic_trim(watch->stage.topic.text, 0, 60);
    WATCH_START(watch, "earliest", "weir.workers", "2");
    WEIR_BROKER_UNTIL(committed(watch, 0) == 100);
    watch_close(watch);
    cr_assert_eq(count_seen(&watch->seen, 0, 0, 60), 0);
    cr_assert_eq(count_seen(&watch->seen, 0, 60, 100), 40);
    watch_destroy(watch);
}

/* With next to no prefetch, so that the position falls out of the log under a consumer that is paused. */
Test(broker_offsets, a_log_that_is_cut_above_the_position_of_a_paused_consumer_is_gone_on_with)
{
    struct watch *watch = watch_create(1, 0);
    WATCH_START(watch, "earliest", "queued.min.messages", "1", "queued.max.messages.kbytes", "1",
                "fetch.message.max.bytes", "1000", "fetch.max.bytes", "1000", "message.max.bytes", "1000");
    WEIR_BROKER_UNTIL(committed(watch, 0) == 0);
    cr_assert_eq(weir_consumer_pause(watch->subject.consumer, NULL, 0), WEIR_OK);
    WEIR_BROKER_UNTIL(partition_of(watch, 0).pause & WEIR_PAUSE_USER);
    for (unsigned batch = 0; batch < 30; batch++) /* batches: each is fetched whole */
        weir_stage_produce(&watch->stage, 50, 0);
    weir_broker_topic_trim(watch->stage.topic.text, 0, 1400);
    cr_assert_eq(weir_consumer_resume(watch->subject.consumer, NULL, 0), WEIR_OK);
    WEIR_BROKER_UNTIL(committed(watch, 0) == 1500);
    int64_t prefetched = count_seen(&watch->seen, 0, 0, 1400);
    cr_assert_lt(prefetched, 1000, "all had been fetched before the cut");
    cr_assert_eq(count_seen(&watch->seen, 0, 0, prefetched), prefetched, "a gap below what had been fetched");
    cr_assert_eq(count_seen(&watch->seen, 0, 1400, 1500), 100);
    cr_assert_gt(weir_subject_log_count("stopped pulling"), 0u);
    watch_close(watch);
    watch_destroy(watch);
}

/* ---- partitions and topics that come and go ---- */

Test(broker_offsets, a_partition_added_while_running_starts_at_its_beginning_even_with_latest)
{
    struct watch *watch = watch_create(1, 100);
    WATCH_START(watch, "latest", "topic.metadata.refresh.interval.ms", "500");
    WEIR_BROKER_UNTIL(committed(watch, 0) == 100);
    weir_broker_topic_grow(watch->stage.topic.text, 3);
    watch->stage.partitions = 3;
    weir_stage_produce(&watch->stage, 300, 0); /* before the consumer can have noticed */
    WEIR_BROKER_UNTIL(committed(watch, 0) == 200 && committed(watch, 1) == 100 && committed(watch, 2) == 100);
    watch_close(watch);
    cr_assert_eq(count_seen(&watch->seen, 0, 0, 100), 0);
    cr_assert_eq(count_seen(&watch->seen, 0, 100, 200), 100);
    cr_assert_eq(count_seen(&watch->seen, 1, 0, 100), 100);
    cr_assert_eq(count_seen(&watch->seen, 2, 0, 100), 100);
    watch_destroy(watch);
}

Test(broker_offsets, a_topic_that_is_deleted_while_it_is_read_is_reported_and_others_go_on)
{
    struct watch *watch = watch_create(1, 100);
    struct weir_broker_name doomed = weir_broker_name("doomed");
    char topics[256];
    weir_broker_topic_create(doomed.text, 1, NULL);
    snprintf(topics, sizeof topics, "%s,%s", watch->stage.topic.text, doomed.text);
    WATCH_START(watch, "earliest", "weir.topics", topics, "topic.metadata.refresh.interval.ms", "500");
    WEIR_BROKER_UNTIL(committed(watch, 0) == 100 && weir_subject_stats(&watch->subject).partitions == 2);
    weir_broker_topic_delete(doomed.text);
    WEIR_BROKER_UNTIL(weir_subject_log_count(doomed.text) > 0 && weir_subject_log_count("unknown topic") > 0);
    weir_stage_produce(&watch->stage, 100, 0);
    WEIR_BROKER_UNTIL(committed(watch, 0) == 200);
    watch_close(watch);
    cr_assert_eq(count_seen(&watch->seen, 0, 0, 200), 200);
    watch_destroy(watch);
}

Test(broker_offsets, a_topic_that_does_not_exist_yet_is_waited_for)
{
    struct watch *watch = watch_create(1, 50);
    struct weir_broker_name coming = weir_broker_name("coming");
    char topics[256];
    snprintf(topics, sizeof topics, "%s,%s", watch->stage.topic.text, coming.text);
    WATCH_START(watch, "earliest", "weir.topics", topics, "topic.metadata.refresh.interval.ms", "500");
    WEIR_BROKER_UNTIL(committed(watch, 0) == 50); /* the one that exists is consumed meanwhile */
    WEIR_BROKER_UNTIL(weir_subject_log_count("unknown topic") > 0);
    cr_assert_gt(weir_subject_log_count(coming.text), 0u);
    weir_broker_topic_create(coming.text, 2, NULL);
    struct weir_stage other = watch->stage;
    other.topic = coming;
    other.partitions = 2;
    other.produced = 0;
    weir_stage_produce(&other, 100, 0);
    WEIR_BROKER_UNTIL(weir_subject_stats(&watch->subject).counters.acked == 150);
    cr_assert_eq(weir_subject_stats(&watch->subject).partitions, 3u);
    cr_assert_eq(weir_subject_close(&watch->subject), WEIR_OK, "%s", watch->subject.closed_error.text);
    weir_subject_destroy(&watch->subject);
    cr_assert_eq(weir_stage_committed(&other), 100);
    weir_broker_topic_delete(coming.text);
    watch_destroy(watch);
}

/* ---- metadata of strangers ---- */

static void begin_with(const char *metadata, const char *words)
{
    struct watch *watch = watch_create(1, 100);
    weir_broker_commit(watch->stage.group.text, watch->stage.topic.text, 0, 40, metadata);
    WATCH_START(watch, "error", "weir.workers", "2");
    WEIR_BROKER_UNTIL(committed(watch, 0) == 100);
    cr_assert_eq(weir_subject_log_count(words), 1u, "not said, or more than once: %s", words);
    cr_assert_eq(weir_subject_stats(&watch->subject).commit_failures, 0u);
    watch_close(watch);
    cr_assert_eq(count_seen(&watch->seen, 0, 0, 40), 0);
    cr_assert_eq(count_seen(&watch->seen, 0, 40, 100), 60);
    watch_destroy(watch);
}

Test(broker_offsets, metadata_of_a_stranger_on_the_commit_is_ignored_and_overwritten)
{
    begin_with("{\"batch\": 17, \"owner\": \"somebody else\"}", "is ignored (foreign)");
}

Test(broker_offsets, a_damaged_map_on_the_commit_is_ignored)
{
    begin_with("weir1:AQIDBAUGBwgJCgsMDQ4PEA", "is ignored (damaged)");
}

enum { HELD_EVERY = 10, DAY_MS = 24 * 60 * 60 * 1000 };

static enum weir_outcome put_some_off(struct weir_subject *subject, struct weir_message *message)
{
    return weir_message_offset(message) % HELD_EVERY == 0 ? weir_retry_after(message, DAY_MS, "put off") : WEIR_ACK;
}

/* A commit with a map: every tenth of 100 is not finished. */
static void commit_a_map(const struct weir_stage *stage, char *metadata, size_t size)
{
    struct weir_subject subject = {.rule = put_some_off};
    weir_subject_start(&subject, WEIR_STAGE_SETTINGS(stage, "weir.workers", "2"));
    WEIR_BROKER_UNTIL(weir_subject_stats(&subject).counters.acked == 90);
    cr_assert_eq(weir_subject_close(&subject), WEIR_UNFINISHED);
    weir_subject_destroy(&subject);
    cr_assert_eq(weir_broker_committed(stage->group.text, stage->topic.text, 0, metadata, size), 0);
    cr_assert_gt(strlen(metadata), 0u);
}

/* Mirroring tools carry metadata over while they translate the offset: such a map tells of other messages. */
Test(broker_offsets, a_map_beside_an_offset_that_is_not_its_floor_is_ignored)
{
    char metadata[512];
    struct watch *watch = watch_create(1, 100);
    commit_a_map(&watch->stage, metadata, sizeof metadata);
    weir_broker_commit(watch->stage.group.text, watch->stage.topic.text, 0, 5, metadata);
    WATCH_START(watch, "error", "weir.workers", "2");
    WEIR_BROKER_UNTIL(committed(watch, 0) == 100);
    cr_assert_eq(weir_subject_log_count("is ignored (misplaced)"), 1u);
    watch_close(watch);
    cr_assert_eq(count_seen(&watch->seen, 0, 5, 100), 95);
    watch_destroy(watch);
}

static void make_other(void *user, size_t index, struct weir_broker_record *record)
{
    record->partition = 0;
    record->value = "other";
    record->value_size = 5;
}

Test(broker_offsets, a_map_of_a_topic_that_was_made_anew_under_its_name_is_void)
{
    char metadata[512];
    struct watch *watch = watch_create(1, 100);
    commit_a_map(&watch->stage, metadata, sizeof metadata);
    weir_broker_topic_delete(watch->stage.topic.text);
    weir_broker_topic_create(watch->stage.topic.text, 1, NULL);
    weir_broker_produce(watch->stage.topic.text, 100, make_other, NULL, NULL);
    weir_broker_commit(watch->stage.group.text, watch->stage.topic.text, 0, 0, metadata);
    WATCH_START(watch, "error", "weir.workers", "2");
    WEIR_BROKER_UNTIL(committed(watch, 0) == 100);
    cr_assert_eq(weir_subject_log_count("its witness differs"), 1u);
    watch_close(watch);
    cr_assert_eq(count_seen(&watch->seen, 0, 0, 100), 100);
    watch_destroy(watch);
}
