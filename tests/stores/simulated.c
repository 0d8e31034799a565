/*
 * Goal: effects happen once in real databases, whatever becomes of processes, brokers and the group's commits.
 * Method: simulated consumers over real SQLite and PostgreSQL. Each process of the world has a store and a connection
 * of its own; a transaction begins and ends within one step, so nobody waits. Who waits is in kills.c, with real
 * processes.
 */
#include "actors/consumer.h"
#include "tests/sim/consumer_own.h"
#include "tests/stores/place.h"
#include "tests/support/test.h"
#include <stdio.h>
#include <string.h>
#include <weir/log.h>

#define SECOND WEIR_WORLD_SECOND

enum { PARTITIONS = 3 };

static const struct weir_fake_faults rough = {.slow = 50,
                                              .commit_applied_error = 30,
                                              .commit_lost = 30,
                                              .commit_parked = 30,
                                              .commit_race = 50,
                                              .fetch_committed_error = 50,
                                              .seek_error = 50,
                                              .redelivery = 50,
                                              .purge_ahead = 300,
                                              .short_pull = 200};

static struct weir_place place;
static struct weir_effects *of[WEIR_WORLD_PROCESSES_MAX];
static weir_inbox_id *inbox_id; /* NULL: without an inbox */
static uint64_t inbox_window_ms;
static uint64_t done, stale, takings, failures;

static struct weir_effects *effects_of(const struct weir_world_process *process)
{
    struct weir_effects **effects = &of[weir_world_number(process)];
    if (!*effects)
        *effects = weir_place_open_inbox(&place, inbox_id, inbox_window_ms);
    return *effects;
}

static void close_all(void)
{
    for (size_t index = 0; index < WEIR_WORLD_PROCESSES_MAX; index++) {
        if (of[index])
            weir_effects_close(of[index]);
        of[index] = NULL;
    }
}

static int on_partition(struct weir_partition_news *news, void *user, struct weir_error *error)
{
    int result = weir_database_on_partition(news, weir_effects_database(effects_of(user)), error);
    takings += news->event == WEIR_PARTITION_TAKEN;
    failures += result < 0;
    return result;
}

static enum weir_outcome apply(struct weir_world_process *process, struct weir_message *message)
{
    int mark;
    enum weir_outcome outcome = weir_effects_apply(effects_of(process), message, 0, &mark);
    done += mark == WEIR_MARK_DONE;
    stale += mark == WEIR_STALE;
    return outcome;
}

static enum weir_outcome on_message(struct weir_message *message, void *user)
{
    uint64_t run;
    enum weir_outcome outcome = weir_world_begin(user, weir_message_topic(message), weir_message_partition(message),
                                                 weir_message_offset(message), weir_message_key(message),
                                                 weir_message_key_size(message), weir_message_attempt(message), &run);
    if (outcome == WEIR_ACK)
        outcome = apply(user, message);
    weir_world_end(user, run, outcome);
    return outcome;
}

static void commit_nonsense(void *argument)
{
    struct weir_random *random = weir_simulation_random(weir_world_simulation(argument));
    bool removed = weir_random_below(random, 2) == 0;
    weir_fake_set_committed(weir_world_cluster(argument), "group",
                            &(struct weir_kafka_offset){.topic = "orders",
                                                        .partition = (int32_t)weir_random_below(random, PARTITIONS),
                                                        .offset = removed ? -1 : 0});
}

static void nothing(void *argument) {}

static int64_t floors(struct weir_effects *effects)
{
    char sql[200];
    snprintf(sql, sizeof sql, "SELECT sum(log_floor) FROM weir_partitions WHERE consumer_group = '%s'", place.run);
    return weir_effects_ask(effects, sql);
}

/* ---- inboxes: each two messages in a row have the same id, and mostly different keys ---- */

static size_t id_of_a_pair(struct weir_message *message, void *user, const void **id)
{
    static char text[32];
    *id = text;
    return (size_t)snprintf(text, sizeof text, "%lld", (long long)weir_message_offset(message) / 2);
}

/* Effects that there must be. */
static int64_t count_expected(struct weir_world *world)
{
    int64_t sum = 0;
    for (int32_t partition = 0; partition < PARTITIONS; partition++) {
        int64_t end = weir_fake_log_end(weir_world_cluster(world), "orders", partition);
        sum += inbox_id ? (end + 1) / 2 : end;
    }
    return sum;
}

static int64_t count_ids(struct weir_effects *effects)
{
    char sql[200];
    snprintf(sql, sizeof sql,
             "SELECT count(*) FROM (SELECT DISTINCT partition, log_offset / 2 FROM effects WHERE run = '%s') AS ids",
             place.run);
    return weir_effects_ask(effects, sql);
}

static void run_seed(uint64_t seed, enum weir_effects_kind kind)
{
    static const struct weir_own own = {on_message, NULL, on_partition};
    weir_place_set(&place, kind);
    struct weir_world *world = weir_world_create(&(struct weir_world_settings){.seed = seed,
                                                                               .partitions = PARTITIONS,
                                                                               .group = place.run,
                                                                               .messages = 40,
                                                                               .chances = {.retry = 80},
                                                                               .faults = rough,
                                                                               .driver = &weir_own_driver,
                                                                               .driver_data = &own});
    struct weir_effects *effects = weir_place_open(&place, 0);
    weir_world_start(world);
    weir_world_start(world);
    weir_world_disturb(world, 60 * SECOND, 12, WEIR_WORLD_ALL);
    weir_world_produce_during(world, 60 * SECOND, 60);
    for (unsigned index = 0; index < 12; index++)
        weir_fake_after(weir_world_cluster(world), index * 5 * SECOND, commit_nonsense, nothing, world);
    weir_world_run_until_finished(world, 900 * SECOND);
    for (unsigned second = 0; second < 300 && floors(effects) < 100; second++)
        weir_world_run(world, SECOND);
    int64_t expected = count_expected(world);
    bool closed = weir_world_close(world, 300 * SECOND);
    struct weir_world_verdict verdict = weir_world_verdict(world);
    struct weir_effects_count count = weir_effects_count(effects);
    cr_assert(verdict.ok && closed, "seed %llu: %s", (unsigned long long)seed, verdict.text);
    cr_assert(count.effects == expected && count.messages == expected && count.disordered == 0,
              "seed %llu: %lld effects of %lld messages instead of %lld, %lld not in order", (unsigned long long)seed,
              (long long)count.effects, (long long)count.messages, (long long)expected, (long long)count.disordered);
    cr_assert(!inbox_id || count_ids(effects) == expected, "an id had its effect twice");
    cr_assert_eq(floors(effects), 100);
    cr_assert_eq(count.marks, 0, "%lld marks below the floors", (long long)count.marks);
    weir_world_destroy(world);
    close_all();
    weir_effects_close(effects);
    weir_place_clear(&place);
}

static void run_seeds(enum weir_effects_kind kind, unsigned seeds)
{
    weir_log_set(NULL, NULL, WEIR_LOG_ERROR);
    for (uint64_t seed = 1; seed <= weir_test_scaled(seeds); seed++)
        run_seed(seed, kind);
    fprintf(stderr, "%u seeds: %llu takeovers, %llu messages came again, %llu were refused by an epoch\n",
            weir_test_scaled(seeds), (unsigned long long)takings, (unsigned long long)done, (unsigned long long)stale);
    cr_assert(takings > PARTITIONS * weir_test_scaled(seeds) && done > 0, "hardly anything went wrong");
    cr_assert_eq(failures, 0);
}

Test(stores_simulated, sqlite_has_each_effect_once)
{
    run_seeds(WEIR_EFFECTS_SQLITE, 40);
}

Test(stores_simulated, postgres_has_each_effect_once)
{
    run_seeds(WEIR_EFFECTS_POSTGRES, 15);
}

Test(stores_simulated, sqlite_has_each_effect_once_also_of_copies)
{
    inbox_id = id_of_a_pair;
    inbox_window_ms = 3600000;
    run_seeds(WEIR_EFFECTS_SQLITE, 40);
}

Test(stores_simulated, postgres_has_each_effect_once_also_of_copies)
{
    inbox_id = id_of_a_pair;
    inbox_window_ms = 3600000;
    run_seeds(WEIR_EFFECTS_POSTGRES, 15);
}

/* ---- one thing at a time ---- */

static enum weir_outcome last; /* what the handler of a test answered last */
static int last_mark;
static uint64_t handled;
static void (*before)(struct weir_effects *effects); /* each run */

static enum weir_outcome plainly(struct weir_message *message, void *user)
{
    uint64_t run;
    weir_world_begin(user, weir_message_topic(message), weir_message_partition(message), weir_message_offset(message),
                     weir_message_key(message), weir_message_key_size(message), weir_message_attempt(message), &run);
    if (before)
        before(effects_of(user));
    last = weir_effects_apply(effects_of(user), message, 0, &last_mark);
    handled++;
    weir_world_end(user, run, last);
    return last;
}

static struct weir_world *quiet_world(enum weir_effects_kind kind, weir_handler *handler)
{
    static struct weir_own own;
    own = (struct weir_own){handler, NULL, on_partition};
    weir_log_set(NULL, NULL, (enum weir_log_level) - 1);
    weir_place_set(&place, kind);
    handled = done = stale = takings = failures = 0;
    before = NULL;
    struct weir_world *world = weir_world_create(&(struct weir_world_settings){.seed = 3,
                                                                               .partitions = 1,
                                                                               .group = place.run,
                                                                               .floor_unchecked = true,
                                                                               .driver = &weir_own_driver,
                                                                               .driver_data = &own});
    for (int number = 0; number < 10; number++)
        weir_world_append(world, "orders", 0, number);
    return world;
}

static void end(struct weir_world *world)
{
    cr_assert(weir_world_close(world, 60 * SECOND));
    weir_world_destroy(world);
    close_all();
    weir_place_clear(&place);
}

static int64_t ask(const char *what)
{
    char sql[300];
    struct weir_effects *effects = weir_place_open(&place, 0);
    snprintf(sql, sizeof sql, what, place.run);
    int64_t result = weir_effects_ask(effects, sql);
    weir_effects_close(effects);
    return result;
}

#define ID "(SELECT id FROM weir_partitions WHERE consumer_group = '%s')"

Test(stores_simulated, marks_are_pruned_as_the_floor_moves)
{
    WEIR_EACH_KIND(kind)
    {
        struct weir_world *world = quiet_world(kind, plainly);
        weir_world_start(world);
        weir_world_run(world, 20 * SECOND);
        cr_assert_eq(handled, 10);
        cr_assert_eq(ask("SELECT count(*) FROM weir_marks WHERE id = " ID), 0);
        cr_assert_eq(ask("SELECT log_floor FROM weir_partitions WHERE consumer_group = '%s'"), 10);
        cr_assert_eq(ask("SELECT epoch FROM weir_epochs WHERE id = " ID), 1);
        end(world);
    }
}

/* Somebody who was stopped in the middle of a take comes to its end when the partition is no longer his. */
static void take_in_error(struct weir_effects *effects)
{
    char sql[300];
    if (handled != 4)
        return;
    snprintf(sql, sizeof sql, "UPDATE weir_epochs SET epoch = epoch + 1 WHERE id = " ID, place.run);
    cr_assert(weir_effects_do(effects, sql));
}

Test(stores_simulated, what_was_taken_by_mistake_is_taken_back)
{
    WEIR_EACH_KIND(kind)
    {
        struct weir_world *world = quiet_world(kind, plainly);
        before = take_in_error;
        weir_world_start(world);
        weir_world_run(world, 30 * SECOND);
        cr_assert_gt(handled, 10, "nobody was refused");
        cr_assert_eq(ask("SELECT count(*) FROM effects WHERE run = '%s'"), 10);
        cr_assert_eq(ask("SELECT epoch FROM weir_epochs WHERE id = " ID), 3);
        cr_assert_eq(last_mark, WEIR_MARK_NEW);
        end(world);
    }
}

static enum weir_outcome rolls_back_at_first(struct weir_message *message, void *user)
{
    struct weir_effects *effects = effects_of(user);
    bool is_sqlite = place.kind == WEIR_EFFECTS_SQLITE;
    if (weir_message_attempt(message) > 1)
        return plainly(message, user);
    struct weir_error error;
    cr_assert_eq(weir_effects_mark(effects, message, &error), WEIR_STATE, "there is no transaction");
    cr_assert_not_null(strstr(error.text, "BEGIN"));
    cr_assert(weir_effects_do(effects, is_sqlite ? "BEGIN IMMEDIATE" : "BEGIN"));
    cr_assert_eq(weir_effects_mark(effects, message, &error), WEIR_MARK_NEW);
    cr_assert_eq(weir_effects_mark(effects, message, &error), WEIR_MARK_DONE, "twice in a transaction");
    cr_assert(weir_effects_do(effects, "ROLLBACK"));
    return WEIR_RETRY;
}

Test(stores_simulated, a_mark_that_was_rolled_back_is_none)
{
    WEIR_EACH_KIND(kind)
    {
        struct weir_world *world = quiet_world(kind, rolls_back_at_first);
        weir_world_start(world);
        weir_world_run(world, 60 * SECOND);
        cr_assert_eq(handled, 10);
        cr_assert_eq(ask("SELECT count(*) FROM effects WHERE run = '%s'"), 10);
        end(world);
    }
}

/* So that all marks stay. */
static enum weir_outcome but_the_first(struct weir_message *message, void *user)
{
    if (weir_message_offset(message) == 0)
        return weir_retry_after(message, 24 * 60 * 60 * 1000ull, "held");
    return plainly(message, user);
}

Test(stores_simulated, marks_of_another_log_are_forgotten_also_above_the_floor)
{
    WEIR_EACH_KIND(kind)
    {
        struct weir_world *world = quiet_world(kind, but_the_first);
        weir_world_start(world);
        weir_world_run(world, 20 * SECOND);
        cr_assert_eq(ask("SELECT count(*) FROM weir_marks WHERE id = " ID), 9);
        weir_fake_truncate_end(weir_world_cluster(world), "orders", 0, 5); /* made anew, with five */
        weir_world_run(world, 40 * SECOND);
        cr_assert_eq(ask("SELECT count(*) FROM effects WHERE run = '%s'"), 9 + 4);
        cr_assert_eq(ask("SELECT count(*) FROM weir_marks WHERE id = " ID), 4);
        end(world);
    }
}

Test(stores_simulated, what_retention_took_leaves_the_marks_above_it)
{
    WEIR_EACH_KIND(kind)
    {
        struct weir_world *world = quiet_world(kind, but_the_first);
        struct weir_world_process *process = weir_world_start(world);
        weir_world_run(world, 20 * SECOND);
        weir_world_crash(process);
        weir_world_truncate(world, "orders", 0, 3);
        weir_world_start(world);
        weir_world_run(world, 60 * SECOND);
        cr_assert_eq(ask("SELECT count(*) FROM effects WHERE run = '%s'"), 9);
        cr_assert_eq(ask("SELECT log_floor FROM weir_partitions WHERE consumer_group = '%s'"), 10);
        end(world);
    }
}

Test(stores_simulated, a_reset_to_another_log_forgets_the_marks_of_the_one_before)
{
    WEIR_EACH_KIND(kind)
    {
        struct weir_world *world = quiet_world(kind, plainly);
        weir_world_start(world);
        weir_world_run(world, 20 * SECOND);
        weir_fake_truncate_end(weir_world_cluster(world), "orders", 0, 5); /* below the position: out of range */
        weir_world_run(world, 20 * SECOND);
        cr_assert_eq(ask("SELECT log_floor FROM weir_partitions WHERE consumer_group = '%s'"), 5);
        cr_assert_eq(handled, 15, "the policy is earliest");
        cr_assert_eq(ask("SELECT count(*) FROM weir_marks WHERE id = " ID), 0);
        end(world);
    }
}

/* All messages have one id. */
static size_t one_id(struct weir_message *message, void *user, const void **id)
{
    *id = "one\0\377and the same";
    return 18;
}

Test(stores_simulated, an_id_is_kept_for_the_window_of_the_log_and_then_pruned)
{
    WEIR_EACH_KIND(kind)
    {
        inbox_id = one_id;
        inbox_window_ms = 60000;
        struct weir_world *world = quiet_world(kind, plainly); /* ten messages at once */
        struct weir_world_process *process = weir_world_start(world);
        weir_world_run(world, 50 * SECOND);
        weir_world_append(world, "orders", 0, 1); /* a late copy */
        weir_world_run(world, 5 * SECOND);
        cr_assert_eq(handled, 11);
        cr_assert_eq(ask("SELECT count(*) FROM effects WHERE run = '%s'"), 1);
        cr_assert_eq(ask("SELECT count(*) FROM weir_ids WHERE id = " ID), 1);
        weir_world_stop(process);
        weir_world_run(world, 600 * SECOND); /* nobody is there: the log stands still, and so does the window */
        cr_assert_eq(ask("SELECT count(*) FROM weir_ids WHERE id = " ID), 1);
        inbox_id = id_of_a_pair; /* messages of other ids move the log on */
        weir_world_append(world, "orders", 0, 1);
        weir_world_start(world);
        weir_world_run(world, 10 * SECOND);
        cr_assert_eq(handled, 12);
        cr_assert_eq(ask("SELECT count(*) FROM weir_ids WHERE id = " ID), 1, "only that of the last message");
        cr_assert_eq(ask("SELECT count(*) FROM effects WHERE run = '%s'"), 2);
        inbox_id = NULL;
        end(world);
    }
}

Test(stores_simulated, a_database_that_is_put_back_gets_what_it_misses)
{
    struct weir_world *world = quiet_world(WEIR_EFFECTS_SQLITE, plainly);
    struct weir_world_process *process = weir_world_start(world);
    weir_world_run(world, 20 * SECOND);
    char copy[600], sql[700];
    snprintf(copy, sizeof copy, "%s.copy", place.location);
    snprintf(sql, sizeof sql, "VACUUM INTO '%s'", copy);
    struct weir_effects *effects = weir_place_open(&place, 0);
    cr_assert(weir_effects_do(effects, sql));
    weir_effects_close(effects);
    for (int number = 0; number < 10; number++)
        weir_world_append(world, "orders", 0, number);
    weir_world_run(world, 20 * SECOND);
    cr_assert_eq(ask("SELECT count(*) FROM effects WHERE run = '%s'"), 20);
    weir_world_stop(process);
    weir_world_run(world, 60 * SECOND);
    close_all();
    cr_assert_eq(rename(copy, place.location), 0);
    cr_assert_eq(ask("SELECT count(*) FROM effects WHERE run = '%s'"), 10);
    weir_world_start(world);
    weir_world_run(world, 20 * SECOND);
    cr_assert_eq(ask("SELECT count(*) FROM effects WHERE run = '%s'"), 20, "the group had committed them");
    cr_assert_eq(handled, 30);
    end(world);
}
