/*
 * The shortcut: where handlers are short, a message is handled in the very turn in which it is pulled. What that may
 * not change. See actors/partition_shortcut.c.
 */
#include "actors/consumer.h"
#include "runtime/system.h"
#include "tests/sim/consumer_own.h"
#include "tests/support/test.h"
#include <stdlib.h>
#include <string.h>
#include <weir/log.h>

#define SECOND WEIR_WORLD_SECOND
#define KEYS   5

static uint64_t at_once, queued, out_of_place;

static uint64_t begin(struct weir_message *message, void *user)
{
    uint64_t run;
    weir_own_begin(message, user, &run);
    if (message->owner)
        queued++;
    else
        at_once++;
    out_of_place += !message->owner && weir_worker_current() != message->partition->resident.home;
    return run;
}

static enum weir_outcome end(void *user, uint64_t run, enum weir_outcome outcome)
{
    weir_world_end(user, run, outcome);
    return outcome;
}

static struct weir_world *make(const struct weir_own *own, unsigned percent, unsigned pool_threads)
{
    weir_log_set(NULL, NULL, WEIR_LOG_ERROR);
    at_once = queued = out_of_place = 0;
    struct weir_world *world = weir_world_create(&(struct weir_world_settings){.seed = 3,
                                                                               .keys = KEYS,
                                                                               .short_percent = percent,
                                                                               .pool_threads = pool_threads,
                                                                               .messages = 200,
                                                                               .floor_unchecked = own->options != NULL,
                                                                               .driver = &weir_own_driver,
                                                                               .driver_data = own});
    weir_world_start(world);
    return world;
}

static void finish(struct weir_world *world, uint64_t runs)
{
    cr_assert(weir_world_run_until_finished(world, 300 * SECOND));
    cr_assert(weir_world_close(world, 60 * SECOND));
    struct weir_world_verdict verdict = weir_world_verdict(world);
    cr_assert(verdict.ok, "%s", verdict.text);
    cr_assert_eq(weir_world_tally(world)->runs, runs);
    weir_world_destroy(world);
}

static enum weir_outcome acks(struct weir_message *message, void *user)
{
    return end(user, begin(message, user), WEIR_ACK);
}

static const struct weir_own acking = {acks, NULL};

Test(shortcut, short_handlers_run_where_their_messages_are_pulled)
{
    struct weir_world *world = make(&acking, 100, 0);
    finish(world, 200);
    cr_assert_eq(at_once, 200);
    cr_assert_eq(out_of_place, 0);
}

Test(shortcut, handlers_that_are_not_short_are_queued)
{
    struct weir_world *world = make(&acking, 0, 0);
    finish(world, 200);
    cr_assert_eq(queued, 200);
}

Test(shortcut, handlers_that_may_block_never_run_in_a_partitions_turn)
{
    struct weir_world *world = make(&acking, 100, 3);
    finish(world, 200);
    cr_assert_eq(queued, 200);
}

Test(shortcut, nothing_runs_before_its_commit_at_most_once)
{
    static const char *const options[] = {"weir.delivery", "at-most-once", NULL};
    struct weir_own own = {acks, options};
    struct weir_world *world = make(&own, 100, 0);
    cr_assert(weir_world_run_until_finished(world, 300 * SECOND));
    cr_assert_eq(queued, 200);
    cr_assert_eq(at_once, 0);
    weir_world_destroy(world);
}

/* Every seventh fails at its first attempt: its key waits, the others go on at once. */
static enum weir_outcome fails(struct weir_message *message, void *user)
{
    uint64_t run = begin(message, user);
    bool fail = weir_message_offset(message) % 7 == 0 && weir_message_attempt(message) == 1;
    return end(user, run, fail ? WEIR_RETRY : WEIR_ACK);
}

Test(shortcut, what_stands_behind_a_failed_message_is_queued_behind_it)
{
    static const struct weir_own own = {fails, NULL};
    struct weir_world *world = make(&own, 100, 0);
    cr_assert(weir_world_run_until_finished(world, 300 * SECOND));
    cr_assert_gt(at_once, 10);
    cr_assert_gt(queued, 10);
    finish(world, at_once + queued);
}

static void answer(void *handle, enum weir_outcome outcome)
{
    cr_assert_eq(weir_later_finish(*(struct weir_later *)handle, outcome), 0);
}

/* Taken, and answered before the handler has returned, or after. */
static enum weir_outcome gives_out(struct weir_message *message, void *user)
{
    uint64_t run = begin(message, user);
    struct weir_later later = weir_message_later(message);
    if (weir_message_offset(message) % 2 == 0) {
        end(user, run, WEIR_ACK);
        answer(&later, WEIR_ACK);
    } else {
        weir_world_later(user, run, answer, &later, sizeof later);
    }
    return WEIR_LATER;
}

Test(shortcut, what_is_given_out_is_not_finished_before_it_is_answered)
{
    static const struct weir_own own = {gives_out, NULL};
    struct weir_world *world = make(&own, 100, 0);
    finish(world, 200);
    cr_assert_gt(at_once, 0);
}

/* A turn that lasts: what was pulled and has not run is queued, so that others may have it. */
static enum weir_outcome lasts(struct weir_message *message, void *user)
{
    uint64_t run = begin(message, user);
    struct weir_world_process *process = user;
    weir_simulation_advance(weir_world_simulation(weir_world_of(process)), 200000);
    return end(user, run, WEIR_ACK);
}

Test(shortcut, what_is_left_is_queued_when_a_turn_takes_long)
{
    static const struct weir_own own = {lasts, NULL};
    struct weir_world *world = make(&own, 100, 0);
    finish(world, 200);
    cr_assert_gt(at_once, 10);
    cr_assert_gt(queued, 10);
}

/* The lease lapses while a handler runs: nothing more starts in this turn, nor in any before it holds again. */
static bool lapsed;
static uint64_t started_without;

static enum weir_outcome outlives_its_lease(struct weir_message *message, void *user)
{
    struct weir_consumer *consumer = weir_own_consumer();
    started_without += !atomic_load(&consumer->lease_holds);
    uint64_t run = begin(message, user);
    if (!lapsed)
        atomic_store(&consumer->lease_holds, false);
    lapsed = true;
    return end(user, run, WEIR_ACK);
}

Test(shortcut, nothing_more_is_started_when_the_lease_lapses)
{
    static const struct weir_own own = {outlives_its_lease, NULL};
    struct weir_world *world = make(&own, 100, 0);
    finish(world, 200); /* a commit that is acknowledged brings it back */
    cr_assert(lapsed);
    cr_assert_eq(started_without, 0);
}

/* A window of one: what was finished at once gives its credit back at once, or nothing would be pulled until a sweep.
 */
Test(shortcut, credit_comes_back_with_what_is_finished_at_once)
{
    static const char *const options[] = {"weir.window.messages.max", "1", NULL};
    struct weir_own own = {acks, options};
    struct weir_world *world = make(&own, 100, 0);
    uint64_t begin_ns = weir_simulation_now_ns(weir_world_simulation(world));
    cr_assert(weir_world_run_until_finished(world, 300 * SECOND));
    cr_assert_lt(weir_simulation_now_ns(weir_world_simulation(world)) - begin_ns, 20 * SECOND);
    finish(world, 200);
}

/* Others of the consumer have begun to keep messages while this one runs: it is kept where it is, as its holder reads
 * it there. */
static unsigned kept, moved;

struct keeping {
    struct weir_later later;
    struct weir_message *message;
    const void *value;
};

static void answer_kept(void *argument, enum weir_outcome outcome)
{
    struct keeping *keeping = argument;
    kept++;
    moved += weir_message_value(keeping->message) != keeping->value;
    cr_assert_eq(weir_later_finish(keeping->later, outcome), 0);
}

static enum weir_outcome keeps(struct weir_message *message, void *user)
{
    uint64_t run = begin(message, user);
    if (message->owner)
        return end(user, run, WEIR_ACK);
    struct keeping keeping = {weir_message_later(message), message, weir_message_value(message)};
    atomic_store(&weir_own_consumer()->gives_out, true);
    weir_world_later(user, run, answer_kept, &keeping, sizeof keeping);
    return WEIR_LATER;
}

Test(shortcut, what_is_kept_stays_where_its_holder_reads_it)
{
    static const struct weir_own own = {keeps, NULL};
    kept = moved = 0;
    struct weir_world *world = make(&own, 100, 0);
    finish(world, 200);
    cr_assert_gt(kept, 0);
    cr_assert_eq(moved, 0);
}

/* The first waits for an hour; the others, finished at once, are told by a map, which the next owner believes. */
static bool holds_first;
static unsigned runs_of_first;

static enum weir_outcome holds(struct weir_message *message, void *user)
{
    uint64_t run = begin(message, user);
    bool is_first = weir_message_offset(message) == 0;
    runs_of_first += is_first;
    if (!is_first || !holds_first)
        return end(user, run, WEIR_ACK);
    weir_world_end(user, run, WEIR_RETRY);
    return weir_retry_after(message, 3600000, "not now");
}

Test(shortcut, what_is_finished_at_once_behind_another_is_told_to_the_next_owner)
{
    static const struct weir_own own = {holds, NULL};
    weir_log_set(NULL, NULL, WEIR_LOG_ERROR);
    at_once = queued = runs_of_first = 0;
    holds_first = true;
    struct weir_world *world = weir_world_create(&(struct weir_world_settings){.seed = 3,
                                                                               .partitions = 1,
                                                                               .keys = 1000,
                                                                               .null_keys = 1000,
                                                                               .short_percent = 100,
                                                                               .messages = 100,
                                                                               .driver = &weir_own_driver,
                                                                               .driver_data = &own});
    struct weir_world_process *process = weir_world_start(world);
    weir_world_run(world, 20 * SECOND);
    cr_assert_gt(at_once, 90);
    weir_world_crash(process);
    holds_first = false;
    weir_world_start(world);
    finish(world, 101);
    cr_assert_eq(runs_of_first, 2);
}
