/*
 * State of keys where the handler is given batches: each key in a batch has its own, the same as in its batches before
 * and for what of it is run again; made once, destroyed once, on a worker, and never beside a batch that its key is in.
 */
#include "runtime/worker.h"
#include "tests/sim/consumer_own.h"
#include "tests/support/test.h"
#include "tests/support/world_batches.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weir/key_state.h>
#include <weir/log.h>

#define SECOND WEIR_WORLD_SECOND

struct state { /* never freed before the seed is over, so that a use after the end is seen */
    struct state *next;
    struct weir_world_process *process;
    struct weir_batch *batch; /* that its key is in; NULL: none runs */
    int64_t offset;           /* the highest that it was asked for */
    int32_t partition;
    char key[32];
    bool destroyed;
};

static struct {
    struct state *all;
    unsigned created, destroyed, after_close;
    unsigned kept;     /* messages that found a state made in a batch before */
    unsigned together; /* messages that found the state of another one in their batch */
} states;

static void *make(struct weir_message *message, void *user)
{
    struct state *state = calloc(1, sizeof *state);
    cr_assert_not_null(state);
    *state = (struct state){.process = user, .partition = weir_message_partition(message), .offset = -1};
    snprintf(state->key, sizeof state->key, "%.*s", (int)weir_message_key_size(message),
             weir_message_key(message) ? (const char *)weir_message_key(message) : "");
    state->next = states.all; /* last: a step of another worker may have come in between, and made one as well */
    states.all = state;
    states.created++;
    return state;
}

static void end(void *argument, void *user)
{
    struct state *state = argument;
    const struct weir_worker *worker = weir_worker_current();
    cr_assert(!state->destroyed, "a state is destroyed twice");
    cr_assert_null(state->batch, "a state is destroyed while its key is in a batch");
    cr_assert_eq(state->process, user);
    if (worker)
        cr_assert_neq(weir_worker_number(worker), WEIR_WORKER_CONTROL);
    else
        states.after_close++; /* of a message whose dead letter nobody had acknowledged when the consumer had closed */
    state->destroyed = true;
    states.destroyed++;
}

static void give_states(struct weir_consumer *consumer, struct weir_world_process *process)
{
    struct weir_key_state_class class = {sizeof class, make, end, 50, process};
    struct weir_error error = {0};
    cr_assert_eq(weir_consumer_key_state(consumer, &class, &error), 0, "%s", error.text);
}

static struct state *use(struct weir_world_process *process, struct weir_batch *batch, size_t index)
{
    struct weir_message *message = weir_batch_message(batch, index);
    unsigned created = states.created;
    struct state *state = weir_message_state(message);
    size_t key_size = weir_message_key_size(message);
    cr_assert_not_null(state);
    cr_assert_eq(weir_message_state(message), state);
    cr_assert(!state->destroyed && state->process == process);
    cr_assert_eq(state->partition, weir_message_partition(message));
    if (weir_message_key(message))
        cr_assert(strlen(state->key) == key_size && memcmp(state->key, weir_message_key(message), key_size) == 0,
                  "the state of %s", state->key);
    cr_assert(!state->batch || state->batch == batch, "its key is in two batches");
    states.kept += created == states.created && !state->batch;
    states.together += state->batch != NULL;
    state->batch = batch;
    bool again = weir_message_offset(message) <= state->offset;
    cr_assert(!again || weir_message_attempt(message) > 1, "a state sees a message again that did not fail");
    if (!again)
        state->offset = weir_message_offset(message);
    return state;
}

static enum weir_outcome on_batch(struct weir_batch *batch, void *user)
{
    enum weir_outcome outcomes[WEIR_WORLD_BATCH_MAX];
    uint64_t runs[WEIR_WORLD_BATCH_MAX];
    struct state *its[WEIR_WORLD_BATCH_MAX];
    size_t count = weir_batch_count(batch);
    weir_world_begin_batch(user, batch, outcomes, runs);
    for (size_t index = 0; index < count; index++) {
        its[index] = use(user, batch, index);
        cr_assert_eq(weir_message_state_resize(weir_batch_message(batch, index), 60), 0);
        weir_batch_set(batch, index, outcomes[index]);
    }
    for (size_t index = 0; index < count; index++)
        its[index]->batch = NULL;
    for (size_t index = 0; index < count; index++)
        weir_world_end(user, runs[index], outcomes[index]);
    return WEIR_ACK;
}

static void forget(void)
{
    for (struct state *state = states.all, *next; state; state = next) {
        next = state->next;
        free(state);
    }
    memset(&states, 0, sizeof states);
}

static void run_seed(uint64_t seed, const struct weir_world_settings *settings, unsigned kinds)
{
    struct weir_world *world = weir_world_create(settings);
    weir_world_start(world);
    weir_world_start(world);
    weir_world_produce_during(world, 60 * SECOND, 200);
    weir_world_disturb(world, 60 * SECOND, 8, kinds);
    bool finished = weir_world_run_until_finished(world, 900 * SECOND);
    bool closed = weir_world_close(world, 300 * SECOND);
    struct weir_world_verdict verdict = weir_world_verdict(world);
    cr_assert(verdict.ok, "seed %llu: %s", (unsigned long long)seed, verdict.text);
    cr_assert(finished && closed, "seed %llu: not finished or not closed", (unsigned long long)seed);
    weir_world_destroy(world);
    cr_assert_gt(states.created, 0u);
    cr_assert_eq(states.created, states.destroyed, "seed %llu: %u states made, %u destroyed", (unsigned long long)seed,
                 states.created, states.destroyed);
}

static void run_seeds(const char *const *options, unsigned seeds, unsigned pool_threads)
{
    const struct weir_own own = {.batch_handler = on_batch, .options = options, .prepare = give_states};
    const unsigned kinds = WEIR_WORLD_ALL & ~(unsigned)WEIR_WORLD_CRASH; /* who crashes destroys nothing */
    unsigned kept = 0, together = 0, created = 0, after_close = 0;
    weir_log_set(NULL, NULL, WEIR_LOG_ERROR);
    for (uint64_t seed = 1; seed <= weir_test_scaled(seeds); seed++) {
        forget();
        run_seed(
            seed,
            &(struct weir_world_settings){
                .seed = seed,
                .partitions = 3,
                .keys = 10,
                .null_keys = 50,
                .messages = 100,
                .pool_threads = pool_threads,
                .preempt = 20,
                .chances = {.skip = 50, .retry = 120, .dead = 30, .poison = 5},
                .faults = {.slow = 50, .seek_error = 50, .redelivery = 50, .short_pull = 200, .produce_error = 100},
                .driver = &weir_own_driver,
                .driver_data = &own},
            kinds);
        kept += states.kept;
        together += states.together;
        created += states.created;
        after_close += states.after_close;
    }
    forget();
    cr_assert_leq(after_close, 1 + created / 100, "%u of %u", after_close, created); /* few seeds make few states */
    cr_assert_gt(kept, 0u);
    cr_assert_gt(together, 0u);
}

#define SMALL "weir.batch.messages.max", "12", "weir.batch.linger.ms", "40"

Test(batches_state, of_a_key_is_one_in_all_its_batches_whatever_becomes_of_partitions)
{
    static const char *const options[] = {"weir.batch.scope", "key", SMALL, NULL};
    run_seeds(options, 30, 0);
}

Test(batches_state, of_each_key_is_its_own_where_batches_hold_many)
{
    static const char *const of_partition[] = {"weir.batch.scope", "partition", SMALL, NULL};
    static const char *const of_any[] = {"weir.batch.scope", "any", SMALL, NULL};
    run_seeds(of_partition, 20, 0);
    run_seeds(of_any, 20, 0);
}

Test(batches_state, is_destroyed_once_where_few_may_be_kept)
{
    static const char *const options[] = {
        "weir.batch.scope", "key", "weir.key.state.keys.max", "2", "weir.key.state.idle.ms.max", "1500", SMALL, NULL};
    run_seeds(options, 30, 0);
}

Test(batches_state, is_destroyed_once_on_threads_that_may_block)
{
    static const char *const options[] = {"weir.batch.scope", "any", "weir.key.state.keys.max", "3", SMALL, NULL};
    run_seeds(options, 15, 3);
}

Test(batches_state, of_a_lane_is_one_for_all_its_messages)
{
    static const char *const options[] = {"weir.ordering", "partition", SMALL, NULL};
    static const struct weir_own own = {.batch_handler = on_batch, .options = options, .prepare = give_states};
    forget();
    weir_log_set(NULL, NULL, WEIR_LOG_ERROR);
    struct weir_world *world = weir_world_create(&(struct weir_world_settings){
        .seed = 1, .partitions = 2, .keys = 1, .messages = 60, .driver = &weir_own_driver, .driver_data = &own});
    weir_world_start(world);
    cr_assert(weir_world_run_until_finished(world, 60 * SECOND));
    cr_assert_eq(states.created, weir_fake_log_end(weir_world_cluster(world), "orders", 0) > 0 &&
                                         weir_fake_log_end(weir_world_cluster(world), "orders", 1) > 0
                                     ? 2u
                                     : 1u);
    cr_assert_eq(states.destroyed, 0u);
    cr_assert(weir_world_close(world, 60 * SECOND));
    cr_assert_eq(states.destroyed, states.created);
    weir_world_destroy(world);
    forget();
}
