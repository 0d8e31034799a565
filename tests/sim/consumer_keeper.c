/*
 * Offsets that the user keeps (weir_consumer_on_partition), over a database in memory that behaves as those of stores/
 * do: an epoch for each partition that a takeover raises, a floor, and a mark for each message that has had its effect.
 * Effect and mark are one step here, as in a transaction; that step fails when the epoch has been raised. Who is told
 * of a floor and finds another epoch takes the partition back when he is reminded of it again: a member that has been
 * fenced and does not know it yet may have taken it, after its owner had.
 *
 * Goal: each message has its effect once, whatever becomes of processes, brokers and of what the group has committed.
 */
#include "actors/consumer.h"
#include "actors/partition.h"
#include "tests/sim/consumer_own.h"
#include "tests/support/test.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weir/log.h>

#define SECOND WEIR_WORLD_SECOND

enum { PARTITIONS = 4, OFFSETS = 400, EPOCHS = 4096 };

static const struct weir_fake_faults rough = {.slow = 50,
                                              .commit_applied_error = 30,
                                              .commit_lost = 30,
                                              .commit_parked = 30,
                                              .commit_race = 50,
                                              .fetch_committed_error = 50,
                                              .watermarks_error = 50,
                                              .seek_error = 50,
                                              .redelivery = 50,
                                              .purge_ahead = 300,
                                              .short_pull = 200};

/* One partition in the database. */
struct row {
    uint64_t epoch;
    int64_t floor; /* -1: none yet */
    bool marks[OFFSETS];
    unsigned effects[OFFSETS];
};

static struct {
    struct row rows[PARTITIONS];
    uint64_t taken[WEIR_WORLD_PROCESSES_MAX][EPOCHS]; /* by a consumer's epoch: the database's; 0: not taken */
    int32_t of[WEIR_WORLD_PROCESSES_MAX][EPOCHS];     /* and the partition */
    int64_t told[WEIR_WORLD_PROCESSES_MAX][EPOCHS];   /* the last floor */
    bool lapsed[WEIR_WORLD_PROCESSES_MAX][EPOCHS];    /* it has been taken over, as was seen at a floor */
    int64_t back[WEIR_WORLD_PROCESSES_MAX][EPOCHS];   /* the floor when it was taken back: what is below is done */
    uint64_t done, stale, floors, refused, taken_back;
    unsigned resets, takings, refuse; /* so many questions are refused */
    int refuse_partition;
    bool moves; /* the database says where to begin */
    int64_t reset_offset;
} database;

static void clear(bool moves)
{
    memset(&database, 0, sizeof database);
    database.moves = moves;
    database.refuse_partition = -1;
    for (int32_t partition = 0; partition < PARTITIONS; partition++)
        database.rows[partition].floor = -1;
}

static int take(const struct weir_world_process *process, struct weir_partition_news *news)
{
    struct row *row = &database.rows[news->partition];
    cr_assert_lt(news->epoch, EPOCHS);
    cr_assert_eq(database.taken[weir_world_number(process)][news->epoch], 0, "an epoch was taken twice");
    database.takings++;
    database.taken[weir_world_number(process)][news->epoch] = ++row->epoch;
    database.of[weir_world_number(process)][news->epoch] = news->partition;
    if (!database.moves)
        return 0;
    if (row->floor < 0)
        row->floor = news->offset;
    news->offset = row->floor;
    return WEIR_PARTITION_MOVED;
}

static void tell(const struct weir_world_process *process, const struct weir_partition_news *news)
{
    struct row *row = &database.rows[news->partition];
    uint64_t *epoch = &database.taken[weir_world_number(process)][news->epoch];
    int64_t *told = &database.told[weir_world_number(process)][news->epoch];
    bool *lapsed = &database.lapsed[weir_world_number(process)][news->epoch];
    cr_assert_gt(*epoch, 0, "a floor of an epoch that was not taken");
    cr_assert_geq(news->offset, *told);
    *told = news->offset;
    database.floors++;
    if (*lapsed) {
        *epoch = ++row->epoch;
        database.back[weir_world_number(process)][news->epoch] = row->floor;
        database.taken_back++;
    }
    *lapsed = *epoch != row->epoch;
    if (*lapsed || news->offset <= row->floor)
        return;
    for (int64_t offset = row->floor < 0 ? 0 : row->floor; offset < news->offset; offset++)
        row->marks[offset] = false; /* pruned */
    row->floor = news->offset;
}

static int on_partition(struct weir_partition_news *news, void *user, struct weir_error *error)
{
    cr_assert_str_eq(news->topic, "orders");
    cr_assert_str_eq(news->group, "group");
    if (news->event == WEIR_PARTITION_FLOOR) {
        tell(user, news);
        return 0;
    }
    if (database.refuse > 0 && (database.refuse_partition < 0 || database.refuse_partition == news->partition)) {
        database.refuse--;
        database.refused++;
        snprintf(error->text, sizeof error->text, "the database is away");
        return error->code = WEIR_SYSTEM;
    }
    if (news->event == WEIR_PARTITION_RESET) {
        database.resets++;
        cr_assert_eq(news->stood, database.rows[news->partition].floor);
        database.reset_offset = database.rows[news->partition].floor = news->offset;
        take(user, news);
        return 0;
    }
    return take(user, news);
}

/* The transaction. False: the partition has been taken over. */
static bool apply(const struct weir_world_process *process, const struct weir_message *message)
{
    struct row *row = &database.rows[weir_message_partition(message)];
    uint64_t epoch = database.taken[weir_world_number(process)][weir_message_epoch(message)];
    int64_t offset = weir_message_offset(message);
    cr_assert_gt(epoch, 0, "a message of an epoch that was not taken");
    cr_assert_eq(database.of[weir_world_number(process)][weir_message_epoch(message)], weir_message_partition(message));
    if (epoch != row->epoch) {
        database.stale++;
        return false;
    }
    bool below = offset < database.back[weir_world_number(process)][weir_message_epoch(message)];
    cr_assert(below || !database.moves || offset >= row->floor, "a message below the floor came again");
    if (below || row->marks[offset])
        database.done++;
    else
        row->effects[offset]++;
    row->marks[offset] = !below;
    return true;
}

struct handed {
    struct weir_later later;
    struct weir_world_process *process;
    uint64_t run;
};

/* In a while. Not by weir_world_later(), which has decided before it is known whether the effect is refused. */
static void on_later(void *argument)
{
    struct handed handed = *(struct handed *)argument;
    free(argument);
    if (weir_world_is_gone(handed.process))
        return;
    enum weir_outcome outcome = apply(handed.process, handed.later.message) ? WEIR_ACK : WEIR_OVERLOADED;
    weir_world_end(handed.process, handed.run, outcome);
    weir_later_finish(handed.later, outcome);
}

static void give_out(struct weir_world_process *process, struct weir_message *message, uint64_t run)
{
    struct weir_world *world = weir_world_of(process);
    struct handed *handed = malloc(sizeof *handed);
    cr_assert_not_null(handed);
    *handed = (struct handed){weir_message_later(message), process, run};
    uint64_t delay_ns = weir_random_below(weir_simulation_random(weir_world_simulation(world)),
                                          weir_world_settings(world)->later_ns_max);
    weir_fake_after(weir_world_cluster(world), 1 + delay_ns, on_later, free, handed);
}

static enum weir_outcome on_message(struct weir_message *message, void *user)
{
    struct weir_world_process *process = user;
    uint64_t run;
    enum weir_outcome outcome = weir_own_begin(message, process, &run);
    if (outcome == WEIR_LATER) {
        give_out(process, message, run);
        return outcome;
    }
    if (outcome == WEIR_ACK && !apply(process, message))
        outcome = WEIR_OVERLOADED;
    weir_world_end(process, run, outcome);
    return outcome;
}

static bool all_is_below_the_floors(struct weir_world *world)
{
    for (int32_t partition = 0; partition < PARTITIONS; partition++)
        if (database.rows[partition].floor < weir_fake_log_end(weir_world_cluster(world), "orders", partition))
            return false;
    return true;
}

static uint64_t count_effects(struct weir_world *world, uint64_t seed)
{
    uint64_t messages = 0;
    for (int32_t partition = 0; partition < PARTITIONS; partition++) {
        int64_t end = weir_fake_log_end(weir_world_cluster(world), "orders", partition);
        cr_assert_leq(end, OFFSETS);
        for (int64_t offset = 0; offset < end; offset++, messages++) {
            unsigned effects = database.rows[partition].effects[offset];
            cr_assert_eq(effects, 1, "seed %llu: %u effects of orders/%d at %lld", (unsigned long long)seed, effects,
                         (int)partition, (long long)offset);
            cr_assert(!database.rows[partition].marks[offset], "seed %llu: not pruned", (unsigned long long)seed);
        }
    }
    return messages;
}

/* ---- under everything ---- */

static void commit_nonsense(void *argument)
{
    struct weir_world *world = argument;
    struct weir_random *random = weir_simulation_random(weir_world_simulation(world));
    bool removed = weir_random_below(random, 2) == 0;
    weir_fake_set_committed(weir_world_cluster(world), "group",
                            &(struct weir_kafka_offset){.topic = "orders",
                                                        .partition = (int32_t)weir_random_below(random, PARTITIONS),
                                                        .offset = removed ? -1 : 0});
}

static void nothing(void *argument) {}

/* A member that hears late of an assignment that is over takes the partition from its owner, in the database. Stores
 * take it anew then, see stores/claims.h; here handles of the owner may have been answered in vain, so that another
 * assignment is needed, and after the last disturbance none comes by itself. */
static void assign_anew(struct weir_world *world)
{
    while (weir_world_alive(world) > 0)
        weir_world_stop(weir_world_choose(world));
    cr_assert_not_null(weir_world_start(world));
}

enum { STILL_S = 120 };

static void run_seed(uint64_t seed, struct weir_world_settings settings)
{
    static const struct weir_own own = {on_message, NULL, on_partition};
    settings.seed = seed;
    settings.partitions = PARTITIONS;
    settings.driver = &weir_own_driver;
    settings.driver_data = &own;
    settings.trace = getenv("WEIR_TEST_SEED") != NULL;
    struct weir_world *world = weir_world_create(&settings);
    clear(true);
    for (unsigned process = 0; process < 3; process++)
        weir_world_start(world);
    weir_world_disturb(world, 60 * SECOND, 15, WEIR_WORLD_ALL);
    weir_world_produce_during(world, 60 * SECOND, 100);
    for (unsigned index = 0; index < 12; index++)
        weir_fake_after(weir_world_cluster(world), index * 5 * SECOND, commit_nonsense, nothing, world);
    weir_world_run_until_finished(world, 900 * SECOND);
    for (unsigned second = 0; second < 900 && !all_is_below_the_floors(world); second++) {
        if (second == STILL_S)
            assign_anew(world);
        weir_world_run(world, SECOND);
    }
    cr_assert(all_is_below_the_floors(world), "seed %llu: the floors stand still", (unsigned long long)seed);
    bool closed = weir_world_close(world, 300 * SECOND);
    struct weir_world_verdict verdict = weir_world_verdict(world);
    cr_assert(verdict.ok, "seed %llu: %s", (unsigned long long)seed, verdict.text);
    cr_assert(closed, "seed %llu: not closed", (unsigned long long)seed);
    cr_assert_gt(count_effects(world, seed), 0);
    weir_world_destroy(world);
}

static void run_seeds(const char *name, struct weir_world_settings settings)
{
    uint64_t done = 0, stale = 0, takings = 0, taken_back = 0, seeds = weir_test_scaled(150);
    const char *only = getenv("WEIR_TEST_SEED");
    weir_log_set(NULL, NULL, WEIR_LOG_ERROR);
    for (uint64_t seed = only ? strtoull(only, NULL, 10) : 1; seed <= seeds || only; seed++) {
        run_seed(seed, settings);
        done += database.done;
        stale += database.stale;
        takings += database.takings;
        taken_back += database.taken_back;
        if (only)
            return;
    }
    fprintf(
        stderr,
        "%s: %llu seeds, %llu takeovers, %llu taken back, %llu messages came again, %llu were refused by an epoch\n",
        name, (unsigned long long)seeds, (unsigned long long)takings, (unsigned long long)taken_back,
        (unsigned long long)done, (unsigned long long)stale);
    cr_assert(takings > 2 * PARTITIONS * seeds && done > seeds, "hardly anything went wrong");
}

Test(keeper, each_effect_happens_once_whatever_becomes_of_processes_and_commits)
{
    run_seeds("keeper", (struct weir_world_settings){.messages = 200,
                                                     .chances = {.retry = 80, .later = 300},
                                                     .later_ns_max = 2 * SECOND,
                                                     .faults = rough});
}

Test(keeper, each_effect_happens_once_when_steps_interrupt_each_other)
{
    run_seeds("keeper, preempted",
              (struct weir_world_settings){
                  .messages = 100, .chances = {.retry = 80, .later = 300}, .later_ns_max = 2 * SECOND, .preempt = 20});
}

/* ---- one thing at a time ---- */

static struct weir_world *quiet_world(int messages, const struct weir_own *own, bool moves)
{
    weir_log_set(NULL, NULL, WEIR_LOG_ERROR);
    clear(moves);
    struct weir_world *world = weir_world_create(&(struct weir_world_settings){
        .seed = 7, .partitions = PARTITIONS, .floor_unchecked = true, .driver = &weir_own_driver, .driver_data = own});
    for (int message = 0; message < messages; message++)
        for (int32_t partition = 0; partition < PARTITIONS; partition++)
            weir_world_append(world, "orders", partition, message % 11);
    return world;
}

static void commit(struct weir_world *world, int32_t partition, int64_t offset)
{
    weir_fake_set_committed(weir_world_cluster(world), "group",
                            &(struct weir_kafka_offset){.topic = "orders", .partition = partition, .offset = offset});
}

static uint64_t effects_of(int32_t partition)
{
    uint64_t sum = 0;
    for (int64_t offset = 0; offset < OFFSETS; offset++)
        sum += database.rows[partition].effects[offset];
    return sum;
}

static void end(struct weir_world *world)
{
    cr_assert(weir_world_close(world, 60 * SECOND));
    weir_world_destroy(world);
}

Test(keeper, says_where_a_partition_begins_although_the_group_has_committed_more_or_less)
{
    static const struct weir_own own = {on_message, NULL, on_partition};
    struct weir_world *world = quiet_world(50, &own, true);
    for (int32_t partition = 0; partition < PARTITIONS; partition++)
        database.rows[partition].floor = 20;
    commit(world, 0, 50);
    commit(world, 1, 5);
    commit(world, 2, 20);
    weir_world_start(world);
    weir_world_run(world, 20 * SECOND);
    for (int32_t partition = 0; partition < PARTITIONS; partition++) {
        cr_assert_eq(effects_of(partition), 30, "%llu of orders/%d", (unsigned long long)effects_of(partition),
                     (int)partition);
        cr_assert_eq(database.rows[partition].effects[20], 1);
        cr_assert_eq(database.rows[partition].floor, 50);
    }
    end(world);
}

Test(keeper, that_has_no_opinion_leaves_the_position_to_the_group)
{
    static const struct weir_own own = {on_message, NULL, on_partition};
    struct weir_world *world = quiet_world(50, &own, false);
    commit(world, 1, 45);
    weir_world_start(world);
    weir_world_run(world, 20 * SECOND);
    cr_assert_eq(effects_of(0), 50);
    cr_assert_eq(effects_of(1), 5);
    cr_assert_eq(database.takings, PARTITIONS);
    end(world);
}

Test(keeper, is_asked_again_until_it_answers_and_nothing_runs_before)
{
    static const struct weir_own own = {on_message, NULL, on_partition};
    struct weir_world *world = quiet_world(20, &own, true);
    weir_log_set(NULL, NULL, (enum weir_log_level) - 1); /* it would warn */
    database.refuse = 40;
    database.refuse_partition = 2;
    weir_world_start(world);
    weir_world_run(world, 8 * SECOND); /* the answer to the rebalance waits for a second */
    cr_assert_eq(effects_of(1), 20, "another partition waited too");
    cr_assert_eq(effects_of(2), 0);
    cr_assert_gt(database.refused, 2);
    weir_world_run(world, 52 * SECOND);
    cr_assert_eq(database.refused, 40);
    cr_assert_eq(effects_of(2), 20);
    cr_assert_eq(database.rows[2].floor, 20);
    end(world);
}

/* Answered by nobody: the first message of each partition, so that a map tells of the others. */
static enum weir_outcome but_the_first(struct weir_message *message, void *user)
{
    if (weir_message_offset(message) == 0)
        return weir_retry_after(message, 24 * 60 * 60 * 1000ull, "held");
    return on_message(message, user);
}

static uint64_t runs_after_a_restart(bool moves)
{
    static const struct weir_own own = {but_the_first, NULL, on_partition};
    struct weir_world *world = quiet_world(10, &own, moves);
    struct weir_world_process *process = weir_world_start(world);
    weir_world_run(world, 20 * SECOND);
    cr_assert_eq(effects_of(3), 9);
    weir_world_stop(process);
    weir_world_run(world, 20 * SECOND);
    database.done = 0;
    weir_world_start(world);
    weir_world_run(world, 20 * SECOND);
    end(world);
    return database.done;
}

Test(keeper, that_says_where_to_begin_is_not_bound_by_the_map_of_the_commit)
{
    cr_assert_eq(runs_after_a_restart(false), 0);
    cr_assert_eq(runs_after_a_restart(true), 9 * PARTITIONS, "who keeps the offsets knows best what is finished");
}

/* Somebody who has lost it takes it, by an answer of the group that was long on its way; then he learns of the loss. */
Test(keeper, is_reminded_of_what_it_has_so_that_what_was_taken_in_error_is_taken_back)
{
    static const struct weir_own own = {on_message, NULL, on_partition};
    struct weir_world *world = quiet_world(20, &own, true);
    weir_world_start(world);
    weir_world_run(world, 20 * SECOND);
    database.rows[1].epoch++;
    weir_world_run(world, 3 * SECOND); /* nothing happens in it: there is a floor each second all the same */
    cr_assert_eq(database.taken_back, 1);
    database.rows[2].epoch++;
    for (int message = 0; message < 10; message++)
        weir_world_append(world, "orders", 2, message);
    weir_world_run(world, 10 * SECOND);
    cr_assert_gt(database.stale, 0, "nothing was refused");
    cr_assert_eq(effects_of(2), 30);
    cr_assert_eq(database.rows[2].floor, 30);
    cr_assert_eq(database.taken_back, 2);
    end(world);
}

Test(keeper, hears_of_a_reset_when_the_log_does_not_have_its_position)
{
    static const struct weir_own own = {on_message, NULL, on_partition};
    struct weir_world *world = quiet_world(50, &own, true);
    database.rows[1].floor = 5;
    weir_world_truncate(world, "orders", 1, 30);
    weir_world_start(world);
    weir_world_run(world, 60 * SECOND);
    cr_assert_eq(database.resets, 1);
    cr_assert_eq(database.reset_offset, 30);
    cr_assert_eq(effects_of(1), 20);
    cr_assert_eq(database.rows[1].floor, 50);
    cr_assert_eq(effects_of(0), 50);
    end(world);
}

Test(keeper, is_not_told_of_the_groups_commit_as_a_reset_where_the_policy_is_error)
{
    static const char *const options[] = {"auto.offset.reset", "error", NULL};
    static const struct weir_own own = {on_message, options, on_partition};
    struct weir_world *world = quiet_world(50, &own, true);
    weir_log_set(NULL, NULL, (enum weir_log_level) - 1);
    for (int32_t partition = 0; partition < PARTITIONS; partition++)
        database.rows[partition].floor = 5;
    commit(world, 1, 40);
    weir_world_truncate(world, "orders", 1, 30);
    weir_world_start(world);
    weir_world_run(world, 60 * SECOND);
    cr_assert_eq(database.resets, 0);
    cr_assert_eq(database.rows[1].floor, 5, "the group's commit became the floor");
    cr_assert_eq(effects_of(1), 0);
    cr_assert_eq(effects_of(0), 45);
    end(world);
}

Test(keeper, knows_a_position_where_the_policy_is_error)
{
    static const char *const options[] = {"auto.offset.reset", "error", NULL};
    static const struct weir_own own = {on_message, options, on_partition};
    struct weir_world *world = quiet_world(20, &own, true);
    weir_log_set(NULL, NULL, (enum weir_log_level) - 1);
    database.rows[0].floor = 8;
    weir_world_start(world);
    weir_world_run(world, 20 * SECOND);
    cr_assert_eq(effects_of(0), 12);
    cr_assert_eq(effects_of(1), 0, "neither group, policy nor keeper knew where to begin");
    end(world);
}

Test(keeper, of_an_assignment_that_is_over_is_answered_in_vain)
{
    static const struct weir_own own = {on_message, NULL, on_partition};
    struct weir_world *world = quiet_world(20, &own, true);
    weir_log_set(NULL, NULL, (enum weir_log_level) - 1);
    database.refuse = 5;
    weir_world_start(world);
    weir_world_run(world, 1 * SECOND);
    for (unsigned round = 0; round < 10; round++) { /* the partitions come and go while it is asked */
        weir_world_start(world);
        weir_fake_group_rebalance(weir_world_cluster(world), "group");
        weir_world_run(world, SECOND / 2);
        database.refuse = 3;
    }
    weir_world_run(world, 60 * SECOND);
    for (int32_t partition = 0; partition < PARTITIONS; partition++)
        cr_assert_eq(effects_of(partition), 20);
    end(world);
}
