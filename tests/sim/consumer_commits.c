/*
 * What commits say, and what the next owner makes of it: refused commits, metadata that is too large, maps that are cut
 * short, handed on, or foreign with holes below their witness. One process after the other, few faults, exact counts.
 */
#include "actors/consumer.h"
#include "tests/sim/consumer_own.h"
#include "tests/support/test.h"
#include <string.h>
#include <weir/log.h>

#define SECOND WEIR_WORLD_SECOND

static struct weir_own own;
static unsigned runs_of_first;      /* runs of the message at offset 0 */
static int64_t out_from, out_below; /* what lies between is given out, for good, */
static int64_t not_out;             /* but for this one */
static uint64_t retry_first_for_ms; /* the first message asks for a retry so much later; 0: no */

static enum weir_outcome on_message(struct weir_message *message, void *user)
{
    uint64_t run;
    int64_t offset = weir_message_offset(message);
    weir_own_begin(message, user, &run);
    runs_of_first += offset == 0;
    if (offset >= out_from && offset < out_below && offset != not_out) {
        weir_message_later(message);
        return WEIR_LATER;
    }
    bool retry = offset == 0 && retry_first_for_ms > 0;
    weir_world_end(user, run, retry ? WEIR_RETRY : WEIR_ACK);
    return retry ? weir_retry_after(message, retry_first_for_ms, "not now") : WEIR_ACK;
}

static struct weir_world *make_with(const char *const *options, unsigned messages, bool floor_unchecked)
{
    weir_log_set(NULL, NULL, 0);
    own = (struct weir_own){on_message, options};
    runs_of_first = 0;
    retry_first_for_ms = 0;
    out_from = out_below = 0;
    not_out = -1;
    return weir_world_create(&(struct weir_world_settings){.seed = 7,
                                                           .partitions = 1,
                                                           .keys = 1000,
                                                           .null_keys = 1000,
                                                           .messages = messages,
                                                           .floor_unchecked = floor_unchecked,
                                                           .driver = &weir_own_driver,
                                                           .driver_data = &own});
}

static struct weir_world *make(const char *const *options, unsigned messages)
{
    return make_with(options, messages, false);
}

static struct weir_kafka_offset committed(struct weir_world *world)
{
    return weir_fake_committed(weir_world_cluster(world), "group", "orders", 0);
}

static void append(struct weir_world *world, unsigned count)
{
    while (count-- > 0)
        weir_world_append(world, "orders", 0, -1);
}

/* ---- refused ---- */

Test(commits, say_again_what_a_refused_one_would_have_said)
{
    struct weir_world *world = make(NULL, 0);
    struct weir_world_process *process = weir_world_start(world);
    weir_world_run(world, 5 * SECOND); /* the position that the policy chose is committed */
    weir_fake_fail(weir_world_kafka(process), WEIR_FAKE_COMMIT, WEIR_KAFKA_RETRIABLE, 1, false);
    append(world, 20);
    weir_world_run(world, 60 * SECOND);
    cr_assert_eq(committed(world).offset, 20);
    weir_own_close_world(world);
}

Test(commits, that_are_refused_let_nothing_run_at_most_once)
{
    static const char *const options[] = {"weir.delivery", "at-most-once", NULL};
    struct weir_world *world = make_with(options, 0, true);
    struct weir_world_process *process = weir_world_start(world);
    weir_world_run(world, 5 * SECOND);
    weir_fake_fail(weir_world_kafka(process), WEIR_FAKE_COMMIT, WEIR_KAFKA_RETRIABLE, 1000000, false);
    append(world, 20);
    weir_world_run(world, 30 * SECOND);
    cr_assert_eq(weir_world_tally(world)->runs, 0, "%llu runs", (unsigned long long)weir_world_tally(world)->runs);
    weir_fake_fail(weir_world_kafka(process), WEIR_FAKE_COMMIT, WEIR_KAFKA_NONE, 0, false);
    cr_assert(weir_world_run_until_finished(world, 60 * SECOND));
    weir_own_close_world(world);
}

Test(commits, move_the_floor_where_the_broker_takes_no_metadata)
{
    struct weir_world *world = make(NULL, 0);
    weir_fake_settings(weir_world_cluster(world))->offset_metadata_bytes_max = 8;
    weir_world_start(world);
    weir_world_run(world, 5 * SECOND);
    append(world, 5);
    weir_world_run(world, 10 * SECOND);
    cr_assert_eq(committed(world).offset, 5);
    out_below = 11;
    append(world, 5);
    weir_world_run(world, 10 * SECOND);
    append(world, 20); /* 5 to 10 are out, 11 and more are finished: there is a map now, of which no byte is taken */
    weir_world_run(world, 60 * SECOND);
    cr_assert_eq(committed(world).offset, 5);
    uint64_t refused = weir_fake_counts(weir_world_cluster(world))->commits_refused;
    cr_assert_gt(refused, 0, "the broker was not asked to take a map");
    for (unsigned round = 0; round < 10; round++) {
        append(world, 1);
        weir_world_run(world, 10 * SECOND);
    }
    refused = weir_fake_counts(weir_world_cluster(world))->commits_refused - refused;
    cr_assert_lt(refused, 8, "the same map was sent %llu times more", (unsigned long long)refused);
    weir_world_destroy(world);
}

/* ---- maps, from one process to the next ---- */

/* Process after process dies with `out` messages out; then the next one takes over. */
static void crash_and_start(struct weir_world *world, struct weir_world_process **process, int64_t out)
{
    weir_world_crash(*process);
    out_below = out;
    *process = weir_world_start(world);
    weir_world_run(world, 20 * SECOND);
}

Test(commits, of_the_next_owner_tell_again_what_it_was_told)
{
    struct weir_world *world = make(NULL, 100);
    out_below = 1;
    struct weir_world_process *process = weir_world_start(world);
    weir_world_run(world, 5 * SECOND);
    crash_and_start(world, &process, 1);
    append(world, 1); /* so that the second one commits a map of its own making */
    weir_world_run(world, 20 * SECOND);
    crash_and_start(world, &process, -1);
    cr_assert(weir_world_run_until_finished(world, 60 * SECOND));
    cr_assert_eq(weir_world_tally(world)->duplicates, 0, "%llu messages ran again, though they had finished",
                 (unsigned long long)weir_world_tally(world)->duplicates);
    cr_assert_eq(runs_of_first, 3);
    weir_own_close_world(world);
}

Test(commits, of_an_owner_with_a_smaller_window_claim_no_more_than_they_list)
{
    static const char *const small[] = {"weir.window.messages.max", "3", "weir.held.messages.max", "3", NULL};
    struct weir_world *world = make(NULL, 40);
    out_below = 12;
    not_out = 5; /* it is the witness: what lies above may be claimed */
    struct weir_world_process *process = weir_world_start(world);
    weir_world_run(world, 5 * SECOND);
    cr_assert_eq(weir_world_tally(world)->finished, 40 - 12 + 1);
    own.options = small;
    out_from = 1;
    crash_and_start(world, &process, 12);
    cr_assert_eq(committed(world).offset, 1);
    own.options = NULL;
    crash_and_start(world, &process, -1);
    cr_assert(weir_world_run_until_finished(world, 60 * SECOND), "a message was taken for finished that was not");
    weir_own_close_world(world);
}

Test(commits, tell_of_the_attempts_that_messages_have_behind_them)
{
    static const char *const options[] = {"weir.retry.attempts.max", "4", NULL};
    struct weir_world *world = make(options, 10);
    retry_first_for_ms = 10000;
    struct weir_world_process *process = weir_world_start(world);
    weir_world_run(world, 15 * SECOND);
    cr_assert_eq(runs_of_first, 2);
    append(world, 1); /* so that there is something to commit after the second attempt */
    weir_world_run(world, 4 * SECOND);
    weir_world_crash(process);
    weir_world_start(world);
    cr_assert(weir_world_run_until_finished(world, 300 * SECOND));
    cr_assert_eq(weir_world_tally(world)->letters, 1);
    cr_assert_eq(runs_of_first, 4, "%u runs", runs_of_first);
    weir_own_close_world(world);
}

/* Nothing but the retries has happened since the commit before. */
Test(commits, tell_of_attempts_though_nothing_was_finished_since)
{
    static const char *const options[] = {"weir.retry.attempts.max", "4", NULL};
    struct weir_world *world = make(options, 10);
    retry_first_for_ms = 10000;
    struct weir_world_process *process = weir_world_start(world);
    for (unsigned runs = 2; runs <= 4; runs++) {
        while (runs_of_first < runs)
            weir_world_run(world, SECOND);
        weir_world_run(world, 2 * SECOND); /* the interval, and what a commit takes */
        weir_world_crash(process);
        process = weir_world_start(world);
    }
    cr_assert(weir_world_run_until_finished(world, 300 * SECOND));
    cr_assert_eq(weir_world_tally(world)->letters, 1);
    cr_assert_eq(runs_of_first, 4, "%u runs", runs_of_first);
    weir_own_close_world(world);
}

static uint64_t commits_within(struct weir_world *world, uint64_t duration_ns)
{
    const struct weir_fake_counts *counts = weir_fake_counts(weir_world_cluster(world));
    uint64_t before = counts->commits_applied;
    weir_world_run(world, duration_ns);
    return counts->commits_applied - before;
}

/* Ten attempts a second; the interval is one second. */
Test(commits, of_retries_go_out_once_an_interval)
{
    static const char *const options[] = {"weir.retry.attempts.max", "0", NULL};
    struct weir_world *world = make(options, 10);
    retry_first_for_ms = 100;
    weir_world_start(world);
    weir_world_run(world, 10 * SECOND);
    unsigned runs = runs_of_first;
    uint64_t commits = commits_within(world, 100 * SECOND);
    cr_assert_gt(runs_of_first - runs, 500u);
    cr_assert(commits > 80 && commits <= 101, "%llu commits in 100 intervals", (unsigned long long)commits);
    retry_first_for_ms = 0;
    cr_assert(weir_world_run_until_finished(world, 60 * SECOND));
    weir_own_close_world(world);
}

/* Alone in its partition, the message has nothing above it that could prove a map: there is nothing to say. */
Test(commits, that_would_say_the_same_again_are_not_sent)
{
    static const char *const options[] = {"weir.retry.attempts.max", "0", NULL};
    struct weir_world *world = make(options, 1);
    retry_first_for_ms = 100;
    weir_world_start(world);
    weir_world_run(world, 10 * SECOND);
    unsigned runs = runs_of_first;
    uint64_t commits = commits_within(world, 100 * SECOND);
    cr_assert_gt(runs_of_first - runs, 500u);
    cr_assert_eq(commits, 0u, "%llu commits of what was known", (unsigned long long)commits);
    retry_first_for_ms = 0;
    cr_assert(weir_world_run_until_finished(world, 60 * SECOND));
    weir_world_run(world, 5 * SECOND);
    cr_assert_eq(committed(world).offset, 1);
    weir_own_close_world(world);
}

/* More than the partition actor looks at for one commit: 33,000 messages are out, and some behind finished ones. */
Test(commits, of_more_messages_than_are_looked_at_claim_nothing_of_the_others)
{
    static const char *const options[] = {"weir.window.messages.max",
                                          "40000",
                                          "weir.window.bytes.max",
                                          "64M",
                                          "weir.memory.bytes.max",
                                          "256M",
                                          "weir.pull.messages.max",
                                          "256",
                                          "weir.held.messages.max",
                                          "20000",
                                          NULL};
    struct weir_world *world = make(options, 33020);
    out_below = 33000;
    not_out = 5; /* the witness */
    struct weir_world_process *process = weir_world_start(world);
    weir_world_run(world, 60 * SECOND);
    cr_assert_eq(weir_world_tally(world)->finished, 21);
    crash_and_start(world, &process, -1);
    cr_assert(weir_world_run_until_finished(world, 60 * SECOND), "messages were taken for finished that were not");
    weir_own_close_world(world);
}

/* A map of another log, where 3 and 4 were holes below its witness at 8: in this log they are messages. */
Test(commits, with_a_foreign_map_drop_nothing_before_its_witness)
{
    static const struct weir_map_offset unfinished[] = {{0, 0}, {1, 0}, {2, 0}, {5, 0}, {6, 0}, {7, 0}};
    static const struct weir_map_witness witness = {8, 4711};
    static const struct weir_map_log log = {.leader_epoch = -1};
    struct weir_world *world = make(NULL, 20);
    char text[1000];
    int64_t end;
    cr_assert_gt(weir_map_encode(0, 12, unfinished, 6, &log, &witness, text, sizeof text, &end), 0);
    weir_fake_set_committed(
        weir_world_cluster(world), "group",
        &(struct weir_kafka_offset){.topic = "orders", .offset = 0, .metadata = text, .metadata_size = strlen(text)});
    weir_world_start(world);
    bool finished = weir_world_run_until_finished(world, 60 * SECOND);
    cr_assert(finished, "%llu of 20 messages are over", (unsigned long long)weir_world_tally(world)->over);
    weir_own_close_world(world);
}

/* ---- positions ---- */

Test(commits, that_have_fallen_out_of_the_log_are_followed_by_the_policy)
{
    static const char *const options[] = {"weir.window.messages.max", "10", NULL};
    struct weir_world *world = make(options, 100);
    weir_fake_settings(weir_world_cluster(world))->queued_messages_max = 5;
    weir_fake_settings(weir_world_cluster(world))->fetch_messages_max = 5;
    out_below = 10;
    struct weir_world_process *process = weir_world_start(world);
    weir_world_run(world, 5 * SECOND);
    weir_world_truncate(world, "orders", 0, 90);
    crash_and_start(world, &process, -1);
    cr_assert_gt(weir_fake_counts(weir_world_cluster(world))->out_of_range, 0);
    cr_assert(weir_world_run_until_finished(world, 60 * SECOND));
    cr_assert_eq(weir_world_tally(world)->finished, 10);
    weir_world_run(world, 10 * SECOND);
    cr_assert_eq(committed(world).offset, 100);
    weir_own_close_world(world);
}

/* A partition that was taken away and given back while the group's commits were being read: what the assignment did to
 * it is done by hand here, because this coordinator's answers come in order. Others have committed meanwhile. */
Test(commits, that_were_read_for_an_earlier_assignment_are_read_again)
{
    for (uint64_t delay_ns = 0; delay_ns < SECOND / 200; delay_ns += SECOND / 5000) {
        struct weir_world *world = make_with(NULL, 20, true);
        struct weir_kafka_offset offset = {.topic = "orders", .offset = 0};
        weir_fake_set_committed(weir_world_cluster(world), "group", &offset);
        weir_world_start(world);
        struct weir_partition *partition = NULL;
        while (!partition || partition->control.tag == 0) {
            cr_assert(weir_simulation_step(weir_world_simulation(world)));
            partition = weir_consumer_find(weir_own_consumer(), "orders", 0);
        }
        cr_assert_eq(partition->control.state, WEIR_CONTROL_READ);
        partition->control.tag = 0;
        weir_world_run(world, delay_ns); /* so that some answers are on their way when the commit changes */
        offset.offset = 10;
        weir_fake_set_committed(weir_world_cluster(world), "group", &offset);
        weir_world_run(world, 10 * SECOND);
        cr_assert_eq(weir_world_tally(world)->runs, 10, "%llu runs", (unsigned long long)weir_world_tally(world)->runs);
        weir_world_destroy(world);
    }
}
