/*
 * State of keys, as its user sees it (test kit) and under seeds (world): one state a key and epoch, made once,
 * destroyed once, on a worker, after the last run of its key.
 */
#include "runtime/memory.h"
#include "runtime/system.h"
#include "runtime/worker.h"
#include "tests/sim/consumer_own.h"
#include "tests/sim/testkit.h"
#include <stdio.h>
#include <weir/log.h>

#define SECOND WEIR_WORLD_SECOND

/* ---- a kit whose handler counts ---- */

struct total {
    char key[16];
    unsigned count; /* of messages */
};

static struct counting {
    struct weir_testkit *kit;
    unsigned created, destroyed, refusals;
    char order[256]; /* keys as they were destroyed, "a b " */
    unsigned last;   /* total.count of the last run */
    struct weir_later later;
    struct total *of_later;
} counting;

static void *create(struct weir_message *message, void *user)
{
    struct counting *scene = user;
    if (scene->refusals > 0) {
        scene->refusals--;
        return NULL;
    }
    struct total *total = calloc(1, sizeof *total);
    cr_assert_not_null(total);
    snprintf(total->key, sizeof total->key, "%.*s", (int)weir_message_key_size(message),
             weir_message_key(message) ? (const char *)weir_message_key(message) : "");
    scene->created++;
    return total;
}

static void destroy(void *state, void *user)
{
    struct counting *scene = user;
    struct total *total = state;
    cr_assert(weir_worker_current() && weir_worker_number(weir_worker_current()) != WEIR_WORKER_CONTROL,
              "a destructor runs on a worker");
    scene->destroyed++;
    strncat(scene->order, total->key, sizeof scene->order - strlen(scene->order) - 1);
    strncat(scene->order, " ", sizeof scene->order - strlen(scene->order) - 1);
    free(total);
}

static const struct weir_key_state_class totals = {sizeof totals, create, destroy, 100, &counting};

static int prepare(struct weir_consumer *consumer, void *user, struct weir_error *error)
{
    return weir_consumer_key_state(consumer, &totals, error);
}

static bool says(const struct weir_message *message, const char *word)
{
    return weir_message_value_size(message) == strlen(word) &&
           memcmp(weir_message_value(message), word, strlen(word)) == 0;
}

/* "later": given out; "retry": the first attempt fails; "grow": the state says 1000 bytes. */
static enum weir_outcome count(struct weir_message *message, void *user)
{
    struct counting *scene = user;
    struct total *total = weir_message_state(message);
    if (!total)
        return weir_retry(message, "no state");
    cr_assert_eq(weir_message_state(message), total);
    scene->last = ++total->count;
    if (says(message, "grow"))
        cr_assert_eq(weir_message_state_resize(message, 1000), 0);
    if (says(message, "later")) {
        scene->later = weir_message_later(message);
        scene->of_later = total;
        return WEIR_LATER;
    }
    if (says(message, "retry") && weir_message_attempt(message) == 1)
        return weir_retry(message, "once");
    return WEIR_ACK;
}

static void set_up(const char *const *options)
{
    struct weir_error error = {0};
    struct weir_config *config = weir_config_create();
    memset(&counting, 0, sizeof counting);
    for (; options && options[0]; options += 2)
        cr_assert_eq(weir_config_set(config, options[0], options[1], &error), 0, "%s", error.text);
    counting.kit = weir_testkit_create_prepared(config, count, &counting, prepare, 7, &error);
    cr_assert_not_null(counting.kit, "%s", error.text);
    weir_config_destroy(config);
}

static void send(const char *key, const char *value)
{
    struct weir_testkit_record record = {
        .key = key, .key_size = key ? strlen(key) : 0, .value = value, .value_size = strlen(value)};
    cr_assert_not_null(weir_testkit_send(counting.kit, &record, NULL));
    expect_ok(weir_testkit_run_ms(counting.kit, 100, error));
}

static void wait_ms(int64_t duration_ms)
{
    expect_ok(weir_testkit_run_ms(counting.kit, duration_ms, error));
}

static struct weir_stats stats(void)
{
    struct weir_stats stats;
    weir_consumer_stats(weir_testkit_consumer(counting.kit), &stats, sizeof stats);
    return stats;
}

static void tear_down(void)
{
    expect_ok(weir_testkit_finish(counting.kit, 60000, error));
    cr_assert_eq(counting.created, counting.destroyed);
    weir_testkit_destroy(counting.kit);
}

Test(key_state, is_kept_from_message_to_message_of_its_key_and_of_no_other)
{
    set_up(NULL);
    wait_ms(5000);
    send("a", "1");
    send("b", "1");
    send("a", "2");
    cr_assert_eq(counting.last, 2);
    send("", "an empty key is a key");
    cr_assert_eq(counting.last, 1);
    send("a", "3");
    cr_assert_eq(counting.last, 3);
    cr_assert_eq(counting.created, 3);
    cr_assert_eq(stats().key_states, 3);
    cr_assert_eq(stats().key_actors, 0, "keys without work are no actors with work");
    cr_assert_gt(stats().key_state_bytes, 300);
    cr_assert_eq(counting.destroyed, 0);
    tear_down();
}

Test(key_state, is_the_same_for_a_retry)
{
    set_up(NULL);
    send("a", "retry");
    wait_ms(60000);
    cr_assert_eq(counting.last, 2);
    cr_assert_eq(counting.created, 1);
    tear_down();
}

Test(key_state, that_cannot_be_made_is_asked_for_again)
{
    set_up(NULL);
    counting.refusals = 3;
    send("a", "1");
    wait_ms(60000);
    cr_assert_eq(counting.refusals, 0);
    cr_assert_eq(counting.created, 1);
    cr_assert_eq(counting.last, 1);
    tear_down();
}

Test(key_state, of_the_key_idle_for_longest_goes_first)
{
    static const char *const options[] = {"weir.key.state.keys.max", "2", NULL};
    set_up(options);
    wait_ms(5000);
    send("a", "1");
    send("b", "1");
    send("a", "2"); /* b is the oldest now */
    cr_assert_eq(counting.destroyed, 0);
    send("c", "1");
    cr_assert_str_eq(counting.order, "b ");
    send("b", "1");
    cr_assert_str_eq(counting.order, "b a ");
    cr_assert_eq(counting.last, 1, "a key begins again after its state has gone");
    cr_assert_eq(stats().counters.key_states_evicted, 2);
    tear_down();
}

Test(key_state, beyond_the_bound_in_bytes_goes_by_what_it_says_it_takes)
{
    static const char *const options[] = {"weir.key.state.bytes.max", "2000", NULL};
    set_up(options);
    wait_ms(5000);
    send("a", "1");
    send("b", "1");
    send("c", "1");
    cr_assert_eq(counting.destroyed, 0);
    send("d", "grow");
    cr_assert_str_eq(counting.order, "");
    send("e", "grow"); /* each costs what Weir needs on top: the oldest make room */
    cr_assert_str_eq(counting.order, "a b c d ");
    tear_down();
}

Test(key_state, is_destroyed_when_its_key_has_been_idle_for_too_long_and_not_before)
{
    static const char *const options[] = {"weir.key.state.idle.ms.max", "5000", NULL};
    set_up(options);
    wait_ms(5000);
    send("a", "1");
    wait_ms(3000);
    send("b", "1");
    wait_ms(1700); /* a: 4.9 s */
    cr_assert_eq(counting.destroyed, 0);
    wait_ms(1300); /* a: 6.2 s, b: 3.1 s */
    cr_assert_str_eq(counting.order, "a ");
    send("b", "2");
    cr_assert_eq(counting.last, 2);
    wait_ms(4800);
    cr_assert_str_eq(counting.order, "a ");
    wait_ms(1400);
    cr_assert_str_eq(counting.order, "a b ");
    tear_down();
}

Test(key_state, of_a_busy_key_is_not_evicted)
{
    static const char *const options[] = {"weir.key.state.keys.max", "0", "weir.key.state.idle.ms.max", "1", NULL};
    set_up(options);
    wait_ms(5000);
    send("a", "later");
    send("b", "1");
    cr_assert_str_eq(counting.order, "b ");
    wait_ms(30000);
    cr_assert_str_eq(counting.order, "b ");
    cr_assert_eq(weir_message_state(counting.later.message), counting.of_later, "the holder reads it too");
    cr_assert_eq(weir_later_finish(counting.later, WEIR_ACK), 0);
    wait_ms(100);
    cr_assert_str_eq(counting.order, "b a ");
    tear_down();
}

Test(key_state, ends_with_the_epoch_and_a_straggler_is_waited_for)
{
    set_up(NULL);
    wait_ms(5000);
    send("a", "1");
    send("b", "later");
    expect_ok(weir_testkit_fence(counting.kit, error));
    wait_ms(60000);
    cr_assert_str_eq(counting.order, "a ", "of b a message is held");
    send("a", "2");
    cr_assert_eq(counting.last, 1, "a new epoch begins with a fresh state");
    cr_assert_eq(weir_later_finish(counting.later, WEIR_ACK), WEIR_STALE);
    wait_ms(1000);
    cr_assert_str_eq(counting.order, "a b ");
    cr_assert_eq(counting.last, 1, "the message of b came again, to a fresh state");
    cr_assert_eq(weir_later_finish(counting.later, WEIR_ACK), 0);
    tear_down();
}

Test(key_state, of_a_message_abandoned_stays_its_holders_and_the_key_begins_again)
{
    static const char *const options[] = {"weir.later.deadline.ms", "5000", "weir.later.policy", "abandon", NULL};
    set_up(options);
    wait_ms(5000);
    send("a", "later");
    struct total *old = counting.of_later;
    wait_ms(10000);
    send("a", "1");
    cr_assert_eq(counting.last, 1, "not the state that somebody may be writing to");
    cr_assert_eq(counting.created, 2);
    cr_assert_eq(counting.destroyed, 0);
    cr_assert_eq(weir_message_state(counting.later.message), old);
    cr_assert_eq(weir_later_finish(counting.later, WEIR_ACK), WEIR_STALE);
    wait_ms(1000);
    cr_assert_eq(counting.destroyed, 1);
    cr_assert_eq(stats().key_states, 1);
    tear_down();
}

Test(key_state, of_a_message_without_a_key_ends_with_it)
{
    set_up(NULL);
    wait_ms(5000);
    send(NULL, "1");
    send(NULL, "2");
    cr_assert_eq(counting.last, 1);
    cr_assert_eq(counting.created, 2);
    cr_assert_eq(counting.destroyed, 2);
    tear_down();
}

Test(key_state, of_a_lane_is_one_for_all_its_messages)
{
    static const char *const options[] = {"weir.null.keys", "lane", NULL};
    set_up(options);
    wait_ms(5000);
    send(NULL, "1");
    send("a", "1");
    send(NULL, "2");
    cr_assert_eq(counting.last, 2);
    cr_assert_eq(counting.created, 2);
    tear_down();
}

Test(key_state, of_an_ordered_partition_is_one)
{
    static const char *const options[] = {"weir.ordering", "partition", NULL};
    set_up(options);
    wait_ms(5000);
    send("a", "1");
    send("b", "1");
    send(NULL, "1");
    cr_assert_eq(counting.last, 3);
    cr_assert_eq(counting.created, 1);
    tear_down();
}

static int prepare_badly(struct weir_consumer *consumer, void *user, struct weir_error *outer)
{
    struct weir_key_state_class class = totals;
    expect_refusal(weir_consumer_key_state(consumer, NULL, error), WEIR_INVALID, "sizeof(struct weir_key_state_class)");
    class.size = 3;
    expect_refusal(weir_consumer_key_state(consumer, &class, error), WEIR_INVALID, "size=3");
    class = totals;
    class.destroy = NULL;
    expect_refusal(weir_consumer_key_state(consumer, &class, error), WEIR_INVALID, "destroy is NULL");
    expect_ok(weir_consumer_key_state(consumer, &totals, error));
    expect_refusal(weir_consumer_key_state(consumer, &totals, error), WEIR_STATE, "once");
    return 0;
}

Test(key_state, refuses_what_is_no_class)
{
    struct weir_error refused = {0};
    struct weir_config *config = weir_config_create();
    struct weir_testkit *kit = weir_testkit_create_prepared(config, count, &counting, prepare_badly, 7, &refused);
    cr_assert_not_null(kit);
    expect_refusal(weir_consumer_key_state(weir_testkit_consumer(kit), &totals, error), WEIR_STATE, "before");
    weir_testkit_destroy(kit);
    cr_assert_eq(weir_config_set(config, "weir.ordering", "none", &refused), 0);
    cr_assert_null(weir_testkit_create_prepared(config, count, &counting, prepare, 7, &refused));
    cr_assert_eq(refused.code, WEIR_INVALID);
    cr_assert_not_null(strstr(refused.text, "weir.ordering=none"));
    weir_config_destroy(config);
}

static enum weir_outcome ask(struct weir_message *message, void *user)
{
    cr_assert_null(weir_message_state(message));
    cr_assert_eq(weir_message_state_resize(message, 1), WEIR_STATE);
    return WEIR_ACK;
}

Test(key_state, is_null_where_the_consumer_has_no_class)
{
    struct weir_testkit *kit = weir_testkit_create(NULL, ask, NULL, 1, NULL);
    cr_assert_not_null(weir_testkit_send_text(kit, NULL, "a", "1", NULL));
    expect_ok(weir_testkit_run_until_over(kit, 60000, error));
    weir_testkit_destroy(kit);
}

static enum weir_outcome fail_once(struct weir_message *message, void *user)
{
    bool first = weir_message_attempt(message) == 1;
    if (first)
        weir_memory_fail_after(0);
    bool got = weir_message_state(message) != NULL;
    weir_memory_fail_after(UINT64_MAX);
    cr_assert_eq(got, !first);
    return got ? WEIR_ACK : WEIR_RETRY;
}

Test(key_state, is_null_where_memory_is_short_and_there_the_next_time)
{
    memset(&counting, 0, sizeof counting);
    struct weir_testkit *kit = weir_testkit_create_prepared(NULL, fail_once, &counting, prepare, 1, NULL);
    cr_assert_not_null(weir_testkit_send_text(kit, NULL, "a", "1", NULL));
    expect_ok(weir_testkit_run_until_over(kit, 60000, error));
    weir_testkit_destroy(kit);
    cr_assert_eq(counting.created, 1);
    cr_assert_eq(counting.destroyed, 1);
}

/* ---- under seeds ---- */

struct held { /* never freed before the seed is over, so that a use after the end is seen */
    struct held *next;
    struct weir_world_process *process;
    int32_t partition;
    char key[32];
    bool in_run, destroyed;
};

static struct {
    struct held *all;
    unsigned created, destroyed, after_close, kept; /* kept: runs that found a state made before */
} world_states;

static void *hold(struct weir_message *message, void *user)
{
    struct held *held = calloc(1, sizeof *held);
    cr_assert_not_null(held);
    *held = (struct held){.next = world_states.all, .process = user, .partition = weir_message_partition(message)};
    snprintf(held->key, sizeof held->key, "%.*s", (int)weir_message_key_size(message),
             weir_message_key(message) ? (const char *)weir_message_key(message) : "");
    world_states.all = held;
    world_states.created++;
    return held;
}

static void let_go(void *state, void *user)
{
    struct held *held = state;
    cr_assert(!held->destroyed, "a state is destroyed twice");
    cr_assert(!held->in_run, "a state is destroyed beside a run of its key");
    const struct weir_worker *worker = weir_worker_current();
    if (worker)
        cr_assert_neq(weir_worker_number(worker), WEIR_WORKER_CONTROL);
    else
        world_states.after_close++; /* of a message that a holder answered when the consumer had closed */
    held->destroyed = true;
    world_states.destroyed++;
}

static void give_states(struct weir_consumer *consumer, struct weir_world_process *process)
{
    struct weir_key_state_class class = {sizeof class, hold, let_go, 50, process};
    expect_ok(weir_consumer_key_state(consumer, &class, error));
}

struct handed {
    struct weir_later later;
    struct held *held;
};

static void finish_handed(void *handle, enum weir_outcome outcome)
{
    struct handed *handed = handle;
    cr_assert(!handed->held->destroyed, "a state is destroyed under the holder of a handle");
    handed->held->in_run = false;
    weir_later_finish(handed->later, outcome);
}

static enum weir_outcome use(struct weir_message *message, void *user)
{
    unsigned created = world_states.created;
    struct held *held = weir_message_state(message);
    cr_assert_not_null(held);
    cr_assert(!held->destroyed && !held->in_run && held->process == user);
    cr_assert_eq(held->partition, weir_message_partition(message));
    cr_assert(!weir_message_key(message) || strlen(held->key) == weir_message_key_size(message));
    cr_assert(!weir_message_key(message) ||
              memcmp(held->key, weir_message_key(message), weir_message_key_size(message)) == 0);
    world_states.kept += created == world_states.created;
    held->in_run = true;
    uint64_t run;
    enum weir_outcome outcome = weir_own_begin(message, user, &run);
    if (outcome == WEIR_LATER) {
        struct handed handed = {weir_message_later(message), held};
        weir_world_later(user, run, finish_handed, &handed, sizeof handed);
        return WEIR_LATER;
    }
    held->in_run = false;
    weir_world_end(user, run, outcome);
    return outcome;
}

static void run_seeds(const char *const *options, unsigned seeds, unsigned kinds, unsigned pool)
{
    const struct weir_own own = {.handler = use, .options = options, .prepare = give_states};
    unsigned kept = 0, created = 0, after_close = 0;
    weir_log_set(NULL, NULL, WEIR_LOG_ERROR);
    for (uint64_t seed = 1; seed <= weir_test_scaled(seeds); seed++) {
        memset(&world_states, 0, sizeof world_states);
        struct weir_world *world = weir_world_create(&(struct weir_world_settings){
            .seed = seed,
            .partitions = 3,
            .keys = 12,
            .null_keys = 50,
            .messages = 60,
            .pool_threads = pool,
            .preempt = 20,
            .short_percent = seed % 2 ? 0 : 50,
            .later_ns_max = 3 * SECOND,
            .chances = {.skip = 50, .retry = 100, .dead = 20, .overloaded = 20, .later = 150},
            .faults = {.slow = 50, .seek_error = 50, .redelivery = 50, .short_pull = 200, .produce_error = 100},
            .driver = &weir_own_driver,
            .driver_data = &own});
        weir_world_start(world);
        weir_world_start(world);
        weir_world_produce_during(world, 60 * SECOND, 240);
        weir_world_disturb(world, 60 * SECOND, 8, kinds);
        bool finished = weir_world_run_until_finished(world, 900 * SECOND);
        bool closed = weir_world_close(world, 300 * SECOND);
        struct weir_world_verdict verdict = weir_world_verdict(world);
        cr_assert(verdict.ok, "seed %llu: %s", (unsigned long long)seed, verdict.text);
        cr_assert(finished && closed, "seed %llu: not finished or not closed", (unsigned long long)seed);
        weir_world_destroy(world);
        cr_assert_gt(world_states.created, 0u);
        cr_assert_eq(world_states.created, world_states.destroyed, "seed %llu: %u states made, %u destroyed",
                     (unsigned long long)seed, world_states.created, world_states.destroyed);
        kept += world_states.kept;
        created += world_states.created;
        after_close += world_states.after_close;
        for (struct held *held = world_states.all, *next; held; held = next) {
            next = held->next;
            free(held);
        }
    }
    cr_assert_gt(kept, 0u);
    cr_assert_lt(after_close, created / 20, "%u of %u", after_close, created);
}

#define ALL_BUT_CRASHES (WEIR_WORLD_ALL & ~(unsigned)WEIR_WORLD_CRASH) /* who crashes destroys nothing */

Test(key_state, is_destroyed_once_for_each_that_was_made_whatever_becomes_of_partitions)
{
    run_seeds(NULL, 30, ALL_BUT_CRASHES, 0);
}

Test(key_state, is_destroyed_once_where_few_may_be_kept)
{
    static const char *const options[] = {"weir.key.state.keys.max", "2", "weir.key.state.idle.ms.max", "1500", NULL};
    run_seeds(options, 30, ALL_BUT_CRASHES, 0);
}

Test(key_state, is_destroyed_once_on_threads_that_may_block)
{
    static const char *const options[] = {"weir.key.state.keys.max", "3", NULL};
    run_seeds(options, 15, ALL_BUT_CRASHES, 3);
}

/* ---- a close while destructors are due ---- */

static void let_go_slowly(void *state, void *user)
{
    struct weir_world_process *process = user;
    if (world_states.destroyed == 0) { /* the others are behind it in the queues */
        for (unsigned worker = 1; worker <= 2; worker++)
            weir_simulation_stall(weir_world_simulation(weir_world_of(process)),
                                  weir_system_worker(weir_world_system(process), worker), 20 * SECOND);
    }
    let_go(state, user);
}

static void give_slow_states(struct weir_consumer *consumer, struct weir_world_process *process)
{
    struct weir_key_state_class class = {sizeof class, hold, let_go_slowly, 50, process};
    expect_ok(weir_consumer_key_state(consumer, &class, error));
}

Test(key_state, of_many_keys_ends_on_workers_before_the_close_is_over)
{
    static const struct weir_own own = {.handler = use, .options = NULL, .prepare = give_slow_states};
    memset(&world_states, 0, sizeof world_states);
    weir_log_set(NULL, NULL, WEIR_LOG_ERROR);
    struct weir_world *world = weir_world_create(&(struct weir_world_settings){
        .seed = 1, .partitions = 1, .keys = 600, .messages = 2000, .driver = &weir_own_driver, .driver_data = &own});
    weir_world_start(world);
    cr_assert(weir_world_run_until_finished(world, 60 * SECOND));
    cr_assert_gt(world_states.created, 256u);
    cr_assert_eq(world_states.destroyed, 0u);
    cr_assert(weir_world_close(world, 60 * SECOND));
    cr_assert_eq(world_states.destroyed, world_states.created);
    cr_assert_eq(world_states.after_close, 0u);
    weir_world_destroy(world);
}
