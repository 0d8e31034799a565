/*
 * Exactly once, one thing at a time: what goes into a transaction, what an abort, a refusal and a failed producer do,
 * and who waits for its end. That nothing is seen twice under all faults at once is shown by tests/sim/consumer.c.
 */
#include "actors/consumer.h"
#include "actors/output.h"
#include "runtime/random.h"
#include "tests/sim/consumer_own.h"
#include "tests/support/preempt.h"
#include "tests/support/test.h"
#include <stdio.h>
#include <string.h>
#include <weir/log.h>
#include <weir/output.h>

#define SECOND WEIR_WORLD_SECOND

static struct weir_own own;
static const char *deny_to; /* outputs of the first message go there */
static bool first_is_large;
static struct weir_later kept[16];
static unsigned kept_count;
static bool eager;         /* of the next world: a rebalance revokes */
static int partitions = 1; /* of the next world, as are these */
static uint64_t world_seed = 3;
static int keys = 40;

/* "keep" by the message's key number 1: it is given out. All others emit their offset. */
static enum weir_outcome on_message(struct weir_message *message, void *user)
{
    uint64_t run;
    char text[32];
    weir_world_epoch(user, message->epoch);
    weir_own_begin(message, user, &run);
    if (weir_message_key_size(message) == 2 && memcmp(weir_message_key(message), "k1", 2) == 0) {
        kept[kept_count++ % 16] = weir_message_later(message);
        return WEIR_LATER;
    }
    snprintf(text, sizeof text, "%d", (int)weir_message_offset(message));
    bool first = weir_message_offset(message) == 0 && deny_to;
    if (weir_message_offset(message) == 0 && first_is_large)
        snprintf(text, sizeof text, "%020d", 0);
    struct weir_output output = {.topic = first ? deny_to : "out", .value = text, .value_size = strlen(text)};
    enum weir_outcome outcome = weir_emit(message, &output) == 0 ? WEIR_ACK : WEIR_RETRY;
    weir_world_end(user, run, outcome);
    return outcome;
}

static struct weir_world *make(const char *const *options)
{
    weir_log_set(NULL, NULL, 0);
    own = (struct weir_own){on_message, options};
    deny_to = NULL;
    first_is_large = false;
    kept_count = 0;
    struct weir_world *world = weir_world_create(&(struct weir_world_settings){.seed = world_seed,
                                                                               .partitions = partitions,
                                                                               .keys = keys,
                                                                               .eager = eager,
                                                                               .exactly_once = true,
                                                                               .driver = &weir_own_driver,
                                                                               .driver_data = &own});
    weir_fake_topic_create(weir_world_cluster(world), "out", 1);
    return world;
}

static unsigned seen(struct weir_world *world, const char *topic)
{
    unsigned count = 0;
    struct weir_fake_record record;
    int64_t offset = 0;
    for (; weir_fake_read_committed(weir_world_cluster(world), topic, 0, offset, &record); offset = record.offset + 1)
        count++;
    return count;
}

static struct weir_kafka_offset committed(struct weir_world *world)
{
    return weir_fake_committed(weir_world_cluster(world), "group", "orders", 0);
}

static const struct weir_control *control(void)
{
    return &weir_own_consumer()->control;
}

static void append(struct weir_world *world, unsigned count)
{
    for (unsigned index = 0; index < count; index++)
        weir_world_append(world, "orders", 0, 2 + (int)index % 30);
}

/* Step until the transaction is in this state. */
static void step_to(struct weir_world *world, enum weir_transaction_state state)
{
    for (unsigned step = 0; control()->transaction.state != state; step++) {
        cr_assert_lt(step, 200000u, "no transaction comes so far");
        weir_simulation_step(weir_world_simulation(world));
    }
}

Test(transactions, show_outputs_and_offsets_together_or_not_at_all)
{
    struct weir_world *world = make(NULL);
    weir_world_start(world);
    weir_world_run(world, 5 * SECOND);
    append(world, 20);
    step_to(world, WEIR_TRANSACTION_COMMIT);
    cr_assert_eq(seen(world, "out"), 0);
    cr_assert_eq(committed(world).offset, 0);
    cr_assert_eq(weir_own_stats().counters.acked, 0, "finished before its transaction");
    weir_world_run(world, 5 * SECOND);
    cr_assert_eq(seen(world, "out"), 20);
    cr_assert_eq(committed(world).offset, 20);
    cr_assert_eq(weir_own_stats().counters.acked, 20);
    cr_assert_eq(weir_own_stats().in_flight_bytes, 0);
    weir_own_close_world(world);
}

Test(transactions, tell_by_their_map_what_is_finished_above_what_is_not)
{
    struct weir_world *world = make(NULL);
    struct weir_world_process *process = weir_world_start(world);
    weir_world_run(world, 5 * SECOND);
    weir_world_append(world, "orders", 0, 1); /* kept */
    append(world, 20);
    weir_world_run(world, 5 * SECOND);
    cr_assert_eq(committed(world).offset, 0);
    cr_assert_eq(seen(world, "out"), 20);
    weir_world_crash(process);
    weir_world_start(world);
    weir_world_run(world, 30 * SECOND);
    cr_assert_eq(weir_world_tally(world)->runs, 22, "what was committed ran again");
    cr_assert_eq(seen(world, "out"), 20);
    weir_world_destroy(world);
}

Test(transactions, that_are_aborted_are_sent_again_and_no_handler_runs)
{
    struct weir_world *world = make(NULL);
    weir_world_start(world);
    weir_world_run(world, 5 * SECOND);
    append(world, 10);
    struct weir_fake_faults faults = {.transaction_abort = 1000};
    weir_fake_set_faults(weir_world_cluster(world), &faults);
    weir_world_run(world, 5 * SECOND);
    cr_assert_gt(weir_fake_counts(weir_world_cluster(world))->transactions_aborted, 2);
    cr_assert_eq(seen(world, "out"), 0);
    weir_fake_set_faults(weir_world_cluster(world), &(struct weir_fake_faults){0});
    weir_world_run(world, 5 * SECOND);
    cr_assert_eq(seen(world, "out"), 10);
    cr_assert_eq(weir_world_tally(world)->runs, 10);
    weir_own_close_world(world);
}

Test(transactions, whose_commit_is_in_doubt_are_committed_once)
{
    struct weir_world *world = make(NULL);
    weir_world_start(world);
    weir_world_run(world, 5 * SECOND);
    append(world, 10);
    step_to(world, WEIR_TRANSACTION_COMMIT);
    struct weir_fake_faults faults = {.transaction_unsure = 1000};
    weir_fake_set_faults(weir_world_cluster(world), &faults);
    weir_world_run(world, SECOND);
    weir_fake_set_faults(weir_world_cluster(world), &(struct weir_fake_faults){0});
    weir_world_run(world, 5 * SECOND);
    cr_assert_eq(seen(world, "out"), 10);
    cr_assert_eq(weir_world_tally(world)->runs, 10);
    weir_own_close_world(world);
}

/* Its commit may or may not have been carried out: only what the group says counts. */
Test(transactions, of_a_producer_that_fails_for_good_end_every_epoch)
{
    for (unsigned step = 0; step < 2; step++) {
        struct weir_world *world = make(NULL);
        weir_world_start(world);
        weir_world_run(world, 5 * SECOND);
        append(world, 10);
        step_to(world, step == 0 ? WEIR_TRANSACTION_OFFSETS : WEIR_TRANSACTION_COMMIT);
        uint64_t epoch = weir_consumer_find(weir_own_consumer(), "orders", 0)->epoch;
        struct weir_fake_faults faults = {.transaction_fatal = 1000};
        weir_fake_set_faults(weir_world_cluster(world), &faults);
        step_to(world, WEIR_TRANSACTION_IDLE);
        weir_fake_set_faults(weir_world_cluster(world), &(struct weir_fake_faults){0});
        weir_world_run(world, 30 * SECOND);
        cr_assert_gt(weir_consumer_find(weir_own_consumer(), "orders", 0)->epoch, epoch);
        cr_assert_eq(seen(world, "out"), 10);
        cr_assert_eq(committed(world).offset, 10);
        weir_own_close_world(world);
    }
}

/* Of ten messages one emits what can never be sent: in both attempts. It closes the world. */
static void check_one_has_paid(struct weir_world *world)
{
    cr_assert_eq(seen(world, "out"), 9);
    cr_assert_eq(weir_own_stats().counters.dead_lettered, 1);
    cr_assert_eq(weir_own_stats().counters.output_failures, 2, "%d runs failed for one output",
                 (int)weir_own_stats().counters.output_failures);
    cr_assert_eq(committed(world).offset, 10);
    cr_assert(weir_world_close(world, 60 * SECOND));
    weir_world_destroy(world); /* the world does not know that an ack may come to nothing */
}

Test(transactions, are_not_held_up_by_an_output_whose_topic_denies_it)
{
    static const char *const options[] = {"weir.retry.attempts.max", "2", NULL};
    struct weir_world *world = make(options);
    weir_fake_topic_create(weir_world_cluster(world), "denied", 1);
    weir_fake_topic_deny(weir_world_cluster(world), "denied", true);
    deny_to = "denied";
    weir_world_start(world);
    weir_world_run(world, 5 * SECOND);
    append(world, 10);
    weir_world_run(world, 60 * SECOND);
    check_one_has_paid(world);
}

/* The broker refuses the batch in which it is, of which the other nine are not to blame. */
Test(transactions, with_an_output_that_is_too_large_cost_its_own_message_only)
{
    static const char *const options[] = {"weir.retry.attempts.max", "2", NULL};
    for (world_seed = 1; world_seed <= weir_test_scaled(20); world_seed++) {
        struct weir_world *world = make(options);
        weir_fake_topic_limit(weir_world_cluster(world), "out", 10);
        first_is_large = true;
        weir_world_start(world);
        weir_world_run(world, 5 * SECOND);
        append(world, 10);
        weir_world_run(world, 60 * SECOND);
        check_one_has_paid(world);
    }
}

/* The coordinator is away for longer than a last commit may take. */
Test(transactions, are_over_before_a_revocation_is_answered)
{
    static const char *const options[] = {"weir.transaction.interval.ms", "10000",
                                          NULL}; /* so that the last has work */
    eager = true;
    struct weir_world *world = make(options);
    weir_world_start(world);
    weir_world_run(world, 12 * SECOND);
    append(world, 10);
    weir_fake_group_rebalance(weir_world_cluster(world), "group");
    for (unsigned step = 0;
         control()->phase != WEIR_PHASE_REVOKE_COMMIT || control()->transaction.state == WEIR_TRANSACTION_IDLE;
         step++) {
        cr_assert_lt(step, 200000u, "no transaction is open in a revocation");
        weir_simulation_step(weir_world_simulation(world));
    }
    weir_fake_coordinator_down(weir_world_cluster(world), 8 * SECOND);
    while (control()->phase == WEIR_PHASE_REVOKE_COMMIT)
        weir_simulation_step(weir_world_simulation(world));
    cr_assert_eq(control()->transaction.state, WEIR_TRANSACTION_IDLE, "it was answered with one open");
    weir_world_destroy(world);
}

/* Each message takes two seconds, so that the ten which a transaction is given are too short for all of them. */
Test(transactions, that_could_not_be_sent_in_their_time_become_smaller)
{
    static const char *const options[] = {"weir.transaction.interval.ms", "3000", NULL};
    struct weir_world *world = make(options);
    struct weir_fake_settings *settings = weir_fake_settings(weir_world_cluster(world));
    weir_world_start(world);
    weir_world_run(world, 5 * SECOND);
    append(world, 30);
    while (weir_world_tally(world)->runs < 30)
        weir_simulation_step(weir_world_simulation(world));
    settings->produce_queue_max = 1;
    settings->latency_ns_min = settings->latency_ns_max = SECOND;
    weir_world_run(world, 300 * SECOND);
    cr_assert_gt(weir_fake_counts(weir_world_cluster(world))->transactions_aborted, 0, "there was time for all");
    cr_assert_eq(seen(world, "out"), 30);
    cr_assert_eq(committed(world).offset, 30);
    cr_assert_eq(weir_world_tally(world)->runs, 30, "a handler ran again");
    settings->latency_ns_min = settings->latency_ns_max = SECOND / 1000;
    weir_own_close_world(world);
}

/* An even share of a transaction is ten messages, and one is begun each ten seconds. */
Test(transactions, have_room_for_a_partition_that_has_more_and_follow_at_once_while_they_are_full)
{
    static const char *const options[] = {
        "weir.transaction.interval.ms", "10000", "weir.transaction.messages.max", "40", "weir.ordering", "none", NULL};
    partitions = 4;
    struct weir_world *world = make(options);
    weir_world_start(world);
    weir_world_run(world, 12 * SECOND);
    append(world, 200);
    weir_world_run(world, SECOND);
    uint64_t commits = weir_own_stats().commits;
    weir_world_run(world, 4 * SECOND);
    unsigned full = seen(world, "out");
    cr_assert(full >= 175 && full <= 200, "%u were seen within some seconds", full);
    cr_assert_leq(commits, 200 / 25 + 3, "they were smaller than they could be");
    weir_world_run(world, 12 * SECOND);
    cr_assert_eq(seen(world, "out"), 200);
    weir_own_close_world(world);
}

static unsigned errors_logged;

static void count_errors(void *user, enum weir_log_level level, const char *text, const struct weir_log_field *fields,
                         size_t field_count)
{
    errors_logged += level == WEIR_LOG_ERROR;
}

/* The partition's worker is busy when its batch is asked for, and has it ready when nobody waits for it any more; then
 * the partition is lost for good. */
Test(transactions, leave_nothing_behind_of_a_batch_that_came_too_late)
{
    static const char *const options[] = {"weir.transaction.interval.ms", "3000", NULL};
    struct weir_world *world = make(options);
    weir_log_set(count_errors, NULL, WEIR_LOG_ERROR);
    errors_logged = 0;
    struct weir_world_process *process = weir_world_start(world);
    weir_world_run(world, 8 * SECOND);
    struct weir_partition *partition = weir_consumer_find(weir_own_consumer(), "orders", 0);
    append(world, 10);
    while (partition->enrolled < 10)
        weir_simulation_step(weir_world_simulation(world));
    while (control()->commit.state != WEIR_COMMIT_COLLECTING)
        weir_simulation_step(weir_world_simulation(world));
    weir_simulation_stall(weir_world_simulation(world), partition->resident.home, SECOND / 2);
    weir_world_run(world, SECOND);
    cr_assert_eq(control()->commit.state, WEIR_COMMIT_IDLE);
    cr_assert_eq(seen(world, "out"), 0);
    for (unsigned ghost = 0; ghost < 8; ghost++)
        weir_fake_ghost_join(weir_world_cluster(world), "group", "orders");
    weir_fake_client_fence(weir_world_kafka(process));
    weir_world_run(world, 20 * SECOND);
    cr_assert_not(weir_fake_client_holds(weir_world_kafka(process), "orders", 0), "it has got the partition back");
    cr_assert(weir_world_close(world, 60 * SECOND));
    cr_assert_eq(errors_logged, 0, "something could not be freed");
    weir_world_destroy(world);
}

/* Hundreds of messages wait behind others of their keys, which wait for a transaction, so that what is finished lies in
 * many pieces; and there are bytes for some tens of them. */
Test(transactions, go_on_however_many_gaps_there_are_and_however_little_room_for_their_map)
{
    static const char *const options[] = {"weir.commit.map.bytes.max",
                                          "100",
                                          "weir.transaction.messages.max",
                                          "100",
                                          "weir.window.messages.max",
                                          "600",
                                          "weir.transaction.interval.ms",
                                          "20",
                                          NULL};
    keys = 300;
    for (world_seed = 1; world_seed <= weir_test_scaled(20); world_seed++) {
        struct weir_world *world = make(options);
        struct weir_random random;
        weir_random_init(&random, world_seed);
        for (unsigned count = 0; count < 3000; count++)
            weir_world_append(world, "orders", 0, 2 + (int)(weir_random_next(&random) % 290));
        weir_world_start(world);
        for (unsigned second = 0; committed(world).offset < 3000; second++) {
            cr_assert_lt(second, 300u, "seed %llu: stuck at offset %lld with %u seen", (unsigned long long)world_seed,
                         (long long)committed(world).offset, seen(world, "out"));
            weir_world_run(world, SECOND);
        }
        cr_assert_eq(seen(world, "out"), 3000);
        weir_own_close_world(world);
    }
}

/* Its worker is busy from before the end of the transaction until control has gone on without it in the next one. */
Test(transactions, that_were_committed_are_not_sent_again_though_their_partition_heard_of_it_late)
{
    struct weir_world *world = make(NULL);
    struct weir_world_process *process = weir_world_start(world);
    weir_world_run(world, 5 * SECOND);
    struct weir_partition *partition = weir_consumer_find(weir_own_consumer(), "orders", 0);
    weir_fake_settings(weir_world_cluster(world))->latency_ns_max = SECOND / 5;
    weir_world_append(world, "orders", 0, 1); /* kept */
    append(world, 10);
    while (partition->enrolled < 10 || kept_count == 0)
        weir_simulation_step(weir_world_simulation(world));
    step_to(world, WEIR_TRANSACTION_COMMIT);
    cr_assert_eq(weir_later_finish(kept[0], WEIR_ACK), 0); /* so that there is something for the next one */
    while (!partition->dirty)
        weir_simulation_step(weir_world_simulation(world));
    cr_assert_eq(control()->transaction.state, WEIR_TRANSACTION_COMMIT);
    uint64_t number = control()->commit.sequence;
    weir_simulation_stall(weir_world_simulation(world), partition->resident.home, 2 * SECOND);
    weir_world_run(world, 5 * SECOND);
    cr_assert_geq(partition->batch_void, number + 1, "control has not gone on without it");
    cr_assert_eq(seen(world, "out"), 10);
    cr_assert_eq(committed(world).offset, 11);
    weir_world_crash(process); /* the world does not know what became of the handle */
    weir_world_destroy(world);
}

Test(transactions, keep_what_their_map_has_no_room_for_waiting_and_say_so)
{
    static const char *const options[] = {"weir.commit.map.bytes.max", "64", "weir.ordering", "none", NULL};
    struct weir_world *world = make(options);
    struct weir_world_process *process = weir_world_start(world);
    weir_world_run(world, 5 * SECOND);
    for (unsigned count = 0; count < 15; count++) { /* every other one is kept: a map of many gaps */
        weir_world_append(world, "orders", 0, 1);
        append(world, 40);
    }
    weir_world_run(world, 5 * SECOND);
    cr_assert(weir_own_stats().pause & WEIR_PAUSE_MAP, "pause %x", weir_own_stats().pause);
    unsigned told = seen(world, "out");
    cr_assert(told > 0 && told < 15 * 40, "%u are seen", told);
    cr_assert_eq(kept_count, 15);
    for (unsigned index = 0; index < 15; index++)
        cr_assert_eq(weir_later_finish(kept[index], WEIR_ACK), 0);
    weir_world_run(world, 20 * SECOND);
    cr_assert_eq(seen(world, "out"), 15 * 40);
    cr_assert_eq(committed(world).offset, 15 * 41);
    cr_assert_eq(weir_own_stats().pause, 0);
    weir_world_crash(process);
    weir_world_destroy(world);
}

Test(transactions, are_exactly_once_also_when_workers_come_in_between)
{
    weir_log_set(NULL, NULL, WEIR_LOG_ERROR);
    for (uint64_t seed = 1; seed <= weir_test_scaled(40); seed++) {
        struct weir_world *world = weir_world_create(
            &(struct weir_world_settings){.seed = seed,
                                          .messages = 150,
                                          .outputs = 600,
                                          .preempt = 20,
                                          .chances = {.later = 200, .retry = 50},
                                          .faults = {.transaction_abort = 50, .transaction_fatal = 10},
                                          .exactly_once = true,
                                          .driver = &weir_world_consumer});
        weir_world_start(world);
        weir_world_start(world);
        weir_world_disturb(world, 20 * SECOND, 8, WEIR_WORLD_ALL);
        bool finished = weir_world_run_until_finished(world, 900 * SECOND);
        bool closed = weir_world_close(world, 300 * SECOND);
        struct weir_world_verdict verdict = weir_world_verdict(world);
        cr_assert(verdict.ok, "seed %llu: %s", (unsigned long long)seed, verdict.text);
        cr_assert(finished && closed, "seed %llu", (unsigned long long)seed);
        cr_assert_gt(weir_preempt_count(), 0);
        weir_world_destroy(world);
    }
}
