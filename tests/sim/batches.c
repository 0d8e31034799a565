/*
 * Batches, one by one: when they go out, what is in them, and what becomes of their messages. One process in exact
 * virtual time, and the faults that the test says. That nothing is lost under all faults at once is shown by
 * batches_seeds.c.
 */
#include "actors/consumer.h"
#include "runtime/memory.h"
#include "tests/support/test.h"
#include "tests/support/world_batches.h"
#include <stdio.h>
#include <string.h>
#include <weir/log.h>
#include <weir/output.h>

#define SECOND WEIR_WORLD_SECOND
#define MS     (SECOND / 1000)
#define HOUR   "3600000"

typedef enum weir_outcome answer(struct weir_message *message);

static struct weir_world *world;
static struct weir_consumer *consumer; /* the last */
static const char *const *options;     /* of the next world */
static answer *rule;                   /* what becomes of a message; NULL: acked */
static void (*meanwhile)(void);        /* called in the handler; NULL: nothing */
static char told[1 << 16];             /* batches as they ran: "0.1 1.1 | 0.2 | ": offset, attempt */
static unsigned pool_threads;          /* of the next world */
static bool tells_partitions;          /* "1/0.1 ": with its partition */
static unsigned batches;
static uint64_t ran_ns[64]; /* when each began */

static void tell(struct weir_batch *batch)
{
    size_t used = strlen(told);
    for (size_t index = 0; index < weir_batch_count(batch); index++) {
        const struct weir_message *message = weir_batch_message(batch, index);
        if (tells_partitions)
            used += (size_t)snprintf(told + used, sizeof told - used, "%d/", (int)weir_message_partition(message));
        used += (size_t)snprintf(told + used, sizeof told - used, "%lld.%u ", (long long)weir_message_offset(message),
                                 weir_message_attempt(message));
    }
    snprintf(told + used, sizeof told - used, "| ");
    ran_ns[batches++ % 64] = weir_simulation_now_ns(weir_world_simulation(world));
}

static enum weir_outcome on_batch(struct weir_batch *batch, void *user)
{
    enum weir_outcome outcomes[WEIR_WORLD_BATCH_MAX];
    uint64_t runs[WEIR_WORLD_BATCH_MAX];
    weir_world_begin_batch(user, batch, outcomes, runs);
    tell(batch);
    if (meanwhile)
        meanwhile();
    for (size_t index = 0; index < weir_batch_count(batch); index++) {
        outcomes[index] = rule ? rule(weir_batch_message(batch, index)) : WEIR_ACK;
        if (outcomes[index] != WEIR_ACK)
            cr_assert_eq(weir_batch_set(batch, index, outcomes[index]), 0);
        weir_world_end(user, runs[index], outcomes[index]);
    }
    return WEIR_ACK;
}

static void *create(struct weir_world_process *process)
{
    return consumer = weir_world_consumer_create(process, NULL, on_batch, options);
}

static struct weir_world_driver driver;

static struct weir_world *make(const char *const *its_options, answer *its_rule, int32_t partitions)
{
    weir_log_set(NULL, NULL, WEIR_LOG_ERROR);
    options = its_options;
    rule = its_rule;
    meanwhile = NULL;
    told[0] = '\0';
    tells_partitions = partitions > 1;
    batches = 0;
    driver = weir_world_batches;
    driver.create = create;
    world = weir_world_create(&(struct weir_world_settings){
        .seed = 3, .partitions = partitions, .keys = 4, .workers = 1, .pool_threads = pool_threads, .driver = &driver});
    pool_threads = 0;
    weir_fake_topic_create(weir_world_cluster(world), "out", 1);
    return world;
}

static void append(int32_t partition, int key, unsigned count)
{
    for (; count > 0; count--)
        weir_world_append(world, "orders", partition, key);
}

/* A process that has its partitions and nothing to do. */
static struct weir_world_process *start(void)
{
    struct weir_world_process *process = weir_world_start(world);
    weir_world_run(world, 10 * SECOND);
    return process;
}

static void close_world(void)
{
    bool closed = weir_world_close(world, 60 * SECOND);
    struct weir_world_verdict verdict = weir_world_verdict(world);
    cr_assert(verdict.ok, "%s", verdict.text);
    cr_assert(closed);
    weir_world_destroy(world);
}

static int64_t committed(void)
{
    return weir_fake_committed(weir_world_cluster(world), "group", "orders", 0).offset;
}

static struct weir_stats stats_of(struct weir_consumer *of)
{
    struct weir_stats stats;
    weir_consumer_stats(of, &stats, sizeof stats);
    return stats;
}

/* ---- when they go out ---- */

Test(batch, goes_out_when_it_has_its_messages)
{
    static const char *const its[] = {"weir.batch.messages.max", "4", "weir.batch.linger.ms", HOUR, NULL};
    make(its, NULL, 1);
    start();
    append(0, 0, 3);
    append(0, 1, 1);
    append(0, 2, 4);
    weir_world_run(world, SECOND);
    cr_assert_str_eq(told, "0.1 1.1 2.1 3.1 | 4.1 5.1 6.1 7.1 | ");
    append(0, 2, 3);
    weir_world_run(world, 100 * SECOND);
    cr_assert_eq(batches, 2, "one went out with three");
    close_world();
}

Test(batch, goes_out_when_it_has_its_bytes_and_a_larger_message_goes_alone)
{
    /* Key and value of a message have 12 bytes: "k0" and "orders/0@0". */
    static const struct {
        const char *bytes, *told;
    } cases[] = {{"36", "0.1 1.1 2.1 | 3.1 4.1 5.1 | "},
                 {"35", "0.1 1.1 | 2.1 3.1 | "},
                 {"13", "0.1 | 1.1 | 2.1 | 3.1 | 4.1 | "},
                 {"5", "0.1 | 1.1 | 2.1 | 3.1 | 4.1 | 5.1 | "}};
    for (size_t index = 0; index < sizeof cases / sizeof *cases; index++) {
        const char *its[] = {"weir.batch.bytes.max", cases[index].bytes, "weir.batch.linger.ms", HOUR, NULL};
        make(its, NULL, 1);
        start();
        append(0, 0, 6);
        weir_world_run(world, 10 * SECOND);
        cr_assert_str_eq(told, cases[index].told, "at most %s bytes: %s", cases[index].bytes, told);
        close_world();
    }
}

Test(batch, lingers_from_its_first_message_and_no_other_moves_that)
{
    static const char *const its[] = {"weir.batch.linger.ms", "1000", NULL};
    make(its, NULL, 1);
    start();
    for (unsigned round = 1; round <= 3; round++) {
        uint64_t begun_ns = weir_simulation_now_ns(weir_world_simulation(world));
        append(0, 0, 1);
        weir_world_run(world, 600 * MS);
        append(0, 0, 1);
        append(0, 1, 1);
        weir_world_run(world, 300 * MS);
        append(0, 2, 1);
        cr_assert_eq(batches, round - 1, "it did not linger");
        weir_world_run(world, 3000 * MS);
        cr_assert_eq(batches, round);
        uint64_t lingered_ns = ran_ns[round - 1] - begun_ns;
        cr_assert(lingered_ns >= 1000 * MS && lingered_ns < 1100 * MS, "%llu ms",
                  (unsigned long long)(lingered_ns / MS));
    }
    cr_assert_str_eq(told, "0.1 1.1 2.1 3.1 | 4.1 5.1 6.1 7.1 | 8.1 9.1 10.1 11.1 | ");
    close_world();
}

Test(batch, without_linger_goes_out_with_what_is_there)
{
    static const char *const its[] = {"weir.batch.linger.ms", "0", NULL};
    make(its, NULL, 1);
    append(0, 0, 5);
    append(0, 1, 5);
    start();
    cr_assert_eq(weir_world_tally(world)->finished, 10);
    cr_assert_lt(batches, 10, "each message went alone");
    close_world();
}

/* ---- whose messages are in them ---- */

Test(batch, of_a_key_holds_no_other)
{
    static const char *const its[] = {"weir.batch.scope", "key", "weir.batch.linger.ms", "100", NULL};
    make(its, NULL, 1);
    start();
    for (unsigned round = 0; round < 3; round++) {
        append(0, 0, 1);
        append(0, 1, 1);
    }
    weir_world_run(world, SECOND);
    cr_assert(strcmp(told, "0.1 2.1 4.1 | 1.1 3.1 5.1 | ") == 0 || strcmp(told, "1.1 3.1 5.1 | 0.1 2.1 4.1 | ") == 0,
              "%s", told);
    close_world();
}

static void of_two_partitions(const char *scope)
{
    const char *its[] = {"weir.batch.scope", scope, "weir.batch.linger.ms", "100", NULL};
    make(its, NULL, 2);
    start();
    append(0, 0, 2);
    append(1, 1, 2);
    weir_world_run(world, SECOND);
    cr_assert_eq(weir_world_tally(world)->finished, 4);
}

Test(batch, of_a_partition_holds_no_other)
{
    of_two_partitions("partition");
    cr_assert(strcmp(told, "0/0.1 0/1.1 | 1/0.1 1/1.1 | ") == 0 || strcmp(told, "1/0.1 1/1.1 | 0/0.1 0/1.1 | ") == 0,
              "%s", told);
    close_world();
}

Test(batch, of_any_messages_holds_all_that_its_worker_has)
{
    of_two_partitions("any");
    cr_assert(strcmp(told, "0/0.1 0/1.1 1/0.1 1/1.1 | ") == 0 || strcmp(told, "1/0.1 1/1.1 0/0.1 0/1.1 | ") == 0, "%s",
              told);
    close_world();
}

Test(batch, has_no_message_whose_key_is_in_another_one)
{
    static const char *const its[] = {"weir.batch.messages.max", "2", "weir.batch.linger.ms", "10", NULL};
    make(its, NULL, 1);
    start();
    append(0, 0, 7);
    weir_world_run(world, 10 * SECOND);
    cr_assert_str_eq(told, "0.1 1.1 | 2.1 3.1 | 4.1 5.1 | 6.1 | ");
    close_world();
}

/* ---- outcomes ---- */

static enum weir_outcome one_of_each(struct weir_message *message)
{
    bool first = weir_message_attempt(message) == 1;
    switch (weir_message_offset(message)) {
    case 0:
        return first ? weir_retry_after(message, 1000, "busy") : WEIR_ACK;
    case 1:
        return WEIR_SKIP;
    case 2:
        return weir_dead(message, "no");
    case 3:
        return first ? weir_retry_after(message, 500, "busy") : WEIR_ACK;
    default:
        return WEIR_ACK;
    }
}

Test(batch, that_failed_in_part_runs_only_what_failed_again_in_the_order_of_its_key)
{
    static const char *const its[] = {"weir.batch.linger.ms", "10", NULL};
    make(its, one_of_each, 1);
    start();
    append(0, 0, 5);
    append(0, 1, 1);
    weir_world_run(world, 500 * MS);
    cr_assert_str_eq(told, "0.1 1.1 2.1 3.1 4.1 5.1 | ");
    struct weir_stats stats = stats_of(consumer);
    cr_assert_eq(stats.counters.acked, 2);
    cr_assert_eq(stats.counters.skipped, 1);
    cr_assert_eq(stats.counters.dead_lettered, 0, "a letter went out before the message in front was finished");
    append(0, 0, 1); /* stands behind all that failed */
    weir_world_run(world, 20 * SECOND);
    cr_assert_str_eq(told, "0.1 1.1 2.1 3.1 4.1 5.1 | 0.2 | 3.2 6.1 | ");
    stats = stats_of(consumer);
    cr_assert_eq(stats.counters.acked, 5);
    cr_assert_eq(stats.counters.dead_lettered, 1);
    cr_assert_eq(stats.counters.retries, 2);
    cr_assert_eq(committed(), 7);
    close_world();
}

static enum weir_outcome fail_at_first(struct weir_message *message)
{
    if (weir_message_attempt(message) > 1)
        return WEIR_ACK;
    return weir_retry_after(message, weir_message_offset(message) == 1 ? 5000 : 1000, "busy");
}

Test(batch, whose_messages_fail_waits_once_a_key_for_the_longest_delay)
{
    static const char *const its[] = {"weir.batch.linger.ms", "10", NULL};
    make(its, fail_at_first, 1);
    start();
    append(0, 0, 3); /* one of them for 5 s */
    append(0, 1, 2);
    weir_world_run(world, 20 * SECOND);
    cr_assert_str_eq(told, "0.1 1.1 2.1 3.1 4.1 | 3.2 4.2 | 0.2 1.2 2.2 | ");
    uint64_t second_ns = ran_ns[1] - ran_ns[0], third_ns = ran_ns[2] - ran_ns[0];
    cr_assert(second_ns >= 1000 * MS && second_ns < 1100 * MS, "%llu ms", (unsigned long long)(second_ns / MS));
    cr_assert(third_ns >= 5000 * MS && third_ns < 5100 * MS, "%llu ms", (unsigned long long)(third_ns / MS));
    close_world();
}

static enum weir_outcome fail_odd_ones(struct weir_message *message)
{
    return weir_message_offset(message) % 2 == 1 ? weir_retry_after(message, 10, "odd") : WEIR_ACK;
}

Test(batch, gives_up_what_has_spent_its_attempts_one_by_one)
{
    static const char *const its[] = {"weir.batch.linger.ms", "10", "weir.retry.attempts.max", "2", NULL};
    make(its, fail_odd_ones, 1);
    start();
    append(0, 0, 4);
    weir_world_run(world, 20 * SECOND);
    cr_assert_str_eq(told, "0.1 1.1 2.1 3.1 | 1.2 3.2 | ");
    cr_assert_eq(stats_of(consumer).counters.dead_lettered, 2);
    cr_assert_eq(committed(), 4);
    close_world();
}

static enum weir_outcome overload_once(struct weir_message *message)
{
    static uint64_t first_ns;
    if (batches == 1)
        first_ns = ran_ns[0];
    return ran_ns[batches - 1] == first_ns ? WEIR_OVERLOADED : WEIR_ACK;
}

Test(batch, that_overloads_burns_no_attempt)
{
    static const char *const its[] = {"weir.batch.linger.ms", "10", "weir.retry.attempts.max", "1", NULL};
    make(its, overload_once, 1);
    start();
    append(0, 0, 2);
    weir_world_run(world, 60 * SECOND);
    cr_assert_str_eq(told, "0.1 1.1 | 0.1 1.1 | ");
    cr_assert_eq(stats_of(consumer).counters.overloaded, 2);
    close_world();
}

static enum weir_outcome emit_and_fail_the_first(struct weir_message *message)
{
    char text[32];
    int size =
        snprintf(text, sizeof text, "%lld.%u", (long long)weir_message_offset(message), weir_message_attempt(message));
    const struct weir_output output = {.topic = "out", .value = text, .value_size = (size_t)size};
    if (weir_message_offset(message) != 2)
        cr_assert_eq(weir_emit(message, &output), 0);
    bool fails = weir_message_offset(message) == 0 && weir_message_attempt(message) == 1;
    return fails ? weir_retry_after(message, 1000, "busy") : WEIR_ACK;
}

Test(batch, sends_the_outputs_of_a_key_in_its_order_whatever_failed_in_between)
{
    static const char *const its[] = {"weir.batch.linger.ms", "10", NULL};
    char written[256] = "";
    struct weir_fake_record record;
    make(its, emit_and_fail_the_first, 1);
    start();
    append(0, 0, 4);
    weir_world_run(world, 20 * SECOND);
    cr_assert_str_eq(told, "0.1 1.1 2.1 3.1 | 0.2 | ", "%s", told);
    for (int64_t offset = 0; weir_fake_read(weir_world_cluster(world), "out", 0, offset, &record); offset++) {
        size_t used = strlen(written);
        snprintf(written + used, sizeof written - used, "%.*s ", (int)record.value_size, (const char *)record.value);
    }
    cr_assert_str_eq(written, "0.2 1.1 3.1 ");
    cr_assert_eq(committed(), 4);
    close_world();
}

/* ---- what handlers must not say ---- */

static struct weir_later kept;

static enum weir_outcome on_wrong(struct weir_batch *batch, void *user)
{
    enum weir_outcome outcomes[WEIR_WORLD_BATCH_MAX];
    uint64_t runs[WEIR_WORLD_BATCH_MAX];
    weir_world_begin_batch(user, batch, outcomes, runs);
    tell(batch);
    size_t count = weir_batch_count(batch);
    bool first = batches == 1;
    cr_assert_null(weir_batch_message(batch, count));
    cr_assert_eq(weir_batch_set(batch, count, WEIR_DEAD), WEIR_INVALID);
    if (first) {
        kept = weir_message_later(weir_batch_message(batch, 0));
        cr_assert_eq(weir_batch_set(batch, 0, WEIR_LATER), WEIR_INVALID);
        cr_assert_eq(weir_batch_set(batch, 1, (enum weir_outcome)77), WEIR_INVALID);
        cr_assert_eq(weir_batch_set(batch, 2, WEIR_DEAD), 0);
        cr_assert_eq(weir_batch_set(batch, 2, WEIR_ACK), 0, "the last word counts");
    }
    for (size_t index = 0; index < count; index++)
        weir_world_end(user, runs[index], !first || index == 2 ? WEIR_ACK : WEIR_RETRY);
    return first ? WEIR_LATER : WEIR_ACK;
}

static void *create_wrong(struct weir_world_process *process)
{
    return consumer = weir_world_consumer_create(process, NULL, on_wrong, options);
}

Test(batch, that_is_answered_wrongly_is_retried_and_a_handle_of_it_is_stale)
{
    static const char *const its[] = {"weir.batch.linger.ms", "10", "weir.ordering", "partition", NULL};
    make(its, NULL, 1);
    driver.create = create_wrong;
    start();
    append(0, 0, 4);
    weir_world_run(world, 20 * SECOND);
    cr_assert_str_eq(told, "0.1 1.1 2.1 3.1 | 0.2 1.2 3.2 | ");
    cr_assert_eq(weir_later_finish(kept, WEIR_ACK), WEIR_STALE);
    cr_assert_eq(stats_of(consumer).counters.retries, 3);
    close_world();
}

/* ---- the end of an epoch ---- */

static bool is_revoking(const struct weir_consumer *of)
{
    return of->control.phase == WEIR_PHASE_REVOKE_DRAIN || of->control.phase == WEIR_PHASE_REVOKE_COMMIT;
}

/* A second member takes half of the partitions: how long that takes to be answered. */
static uint64_t revocation_ns(void)
{
    const struct weir_consumer *first = consumer;
    struct weir_simulation *simulation = weir_world_simulation(world);
    weir_world_start(world);
    while (!is_revoking(first))
        cr_assert(weir_simulation_step(simulation));
    uint64_t begun_ns = weir_simulation_now_ns(simulation);
    while (is_revoking(first))
        cr_assert(weir_simulation_step(simulation));
    return weir_simulation_now_ns(simulation) - begun_ns;
}

static void revoke_while_it_gathers(const char *scope)
{
    const char *its[] = {"weir.batch.scope", scope, "weir.batch.linger.ms", "30000", NULL};
    make(its, NULL, 2);
    start();
    append(0, 0, 3);
    append(1, 1, 3);
    weir_world_run(world, SECOND);
    cr_assert_eq(batches, 0);
    uint64_t took_ns = revocation_ns();
    cr_assert_eq(batches, 0, "it was run for the revocation");
    cr_assert_lt(took_ns, SECOND, "%llu ms: it was waited for", (unsigned long long)(took_ns / MS));
    weir_world_run(world, 100 * SECOND);
    cr_assert_eq(weir_world_tally(world)->finished, 6);
    cr_assert_eq(weir_world_tally(world)->runs, 6);
    cr_assert_eq(batches, 2, "%s", told);
    close_world();
}

Test(batch, that_gathers_gives_back_its_messages_at_a_revocation)
{
    revoke_while_it_gathers("partition");
    revoke_while_it_gathers("key");
}

Test(batch, of_any_messages_gives_back_those_of_the_partition_that_leaves_and_no_others)
{
    revoke_while_it_gathers("any");
}

Test(batch, that_gathers_when_its_partition_is_lost_never_runs)
{
    static const char *const its[] = {"weir.batch.linger.ms", "20000", NULL};
    make(its, NULL, 1);
    struct weir_world_process *process = start();
    append(0, 0, 3);
    weir_world_run(world, SECOND);
    uint64_t epoch = weir_consumer_find(consumer, "orders", 0)->epoch;
    weir_fake_client_fence(weir_world_kafka(process));
    weir_world_run(world, 10 * SECOND);
    cr_assert_gt(weir_consumer_find(consumer, "orders", 0)->epoch, epoch);
    append(0, 0, 2);
    weir_world_run(world, 60 * SECOND);
    cr_assert_str_eq(told, "0.1 1.1 2.1 3.1 4.1 | ");
    close_world();
}

static struct weir_world_process *slow; /* whose handlers keep its worker for 50 ms; NULL: none */

static void take_long(void)
{
    if (slow)
        weir_simulation_stall(weir_world_simulation(world), weir_system_worker(weir_world_system(slow), 1), 50 * MS);
}

/* Hundreds of batches wait for the only worker, for 20 s; then a member joins. */
Test(batch, that_waits_for_a_worker_is_taken_back_at_a_revocation)
{
    static const char *const its[] = {"weir.batch.scope",
                                      "any",
                                      "weir.batch.messages.max",
                                      "3",
                                      "weir.window.messages.max",
                                      "200",
                                      "weir.batch.linger.ms",
                                      "10",
                                      NULL};
    make(its, NULL, 6);
    slow = start();
    meanwhile = take_long;
    for (int32_t partition = 0; partition < 6; partition++)
        append(partition, -1, 200);
    while (batches < 20)
        cr_assert(weir_simulation_step(weir_world_simulation(world)));
    uint64_t took_ns = revocation_ns();
    cr_assert_lt(took_ns, SECOND / 2, "%llu ms", (unsigned long long)(took_ns / MS));
    cr_assert_lt(batches, 200, "nearly all had run");
    slow = NULL;
    weir_world_run(world, 100 * SECOND);
    cr_assert_eq(weir_world_tally(world)->finished, 1200);
    cr_assert_eq(weir_world_tally(world)->duplicates, 0);
    close_world();
}

/* One thread runs handlers, and is stuck for so long from now. */
static void stick_runner(struct weir_world_process *process, uint64_t duration_ns)
{
    struct weir_system *system = weir_world_system(process);
    weir_simulation_stall(weir_world_simulation(world),
                          weir_system_worker(system, weir_system_worker_count(system) - 1), duration_ns);
}

Test(batch, that_waits_for_a_worker_keeps_the_messages_of_partitions_that_stay)
{
    static const char *const its[] = {"weir.batch.scope", "any", "weir.batch.linger.ms", "10", NULL};
    pool_threads = 1;
    make(its, NULL, 2);
    struct weir_world_process *process = start();
    stick_runner(process, 30 * SECOND);
    append(0, 0, 3);
    append(1, 1, 3);
    weir_world_run(world, SECOND);
    cr_assert_lt(revocation_ns(), SECOND);
    weir_world_run(world, 15 * SECOND);
    cr_assert(strcmp(told, "0/0.1 0/1.1 0/2.1 | ") == 0 || strcmp(told, "1/0.1 1/1.1 1/2.1 | ") == 0,
              "the other member: %s", told);
    weir_world_run(world, 60 * SECOND);
    cr_assert_eq(batches, 2, "%s", told);
    cr_assert_eq(weir_world_tally(world)->finished, 6);
    close_world();
}

/* Nobody tells the batch that its partition was lost: the worker that could take it back is stuck for longer. */
Test(batch, that_waited_for_a_worker_past_its_epoch_never_runs)
{
    static const char *const its[] = {"weir.batch.linger.ms", "10", NULL};
    pool_threads = 1;
    make(its, NULL, 1);
    struct weir_world_process *process = start();
    stick_runner(process, 10 * SECOND);
    append(0, 0, 3);
    weir_world_run(world, SECOND);
    weir_simulation_stall(weir_world_simulation(world), weir_system_worker(weir_world_system(process), 1), 20 * SECOND);
    weir_fake_client_fence(weir_world_kafka(process));
    weir_world_run(world, 15 * SECOND);
    cr_assert_eq(batches, 0, "a batch of an epoch that was lost has run");
    weir_world_run(world, 60 * SECOND);
    cr_assert_str_eq(told, "0.1 1.1 2.1 | ");
    close_world();
}

/* Of one partition or the other the batch is; what it has finished of both is committed soon, and not at the next time
 * that somebody looks. */
Test(batch, of_any_messages_is_accounted_for_by_all_its_partitions)
{
    static const char *const its[] = {
        "weir.batch.scope", "any", "weir.batch.linger.ms", "5", "weir.commit.interval.ms", "50", NULL};
    make(its, NULL, 2);
    start();
    for (int64_t round = 1; round <= 10; round++) {
        append(0, 0, 1);
        append(1, 1, 1);
        weir_world_run(world, 370 * MS);
        for (int32_t partition = 0; partition < 2; partition++)
            cr_assert_eq(weir_fake_committed(weir_world_cluster(world), "group", "orders", partition).offset, round);
    }
    close_world();
}

Test(batch, that_gathers_goes_out_at_once_when_the_consumer_is_closed)
{
    static const char *const its[] = {"weir.batch.linger.ms", HOUR, NULL};
    static const char *const scopes[] = {"key", "partition", "any"};
    for (size_t index = 0; index < 3; index++) {
        const char *with_scope[] = {"weir.batch.scope", scopes[index], its[0], its[1], NULL};
        make(with_scope, NULL, 2);
        start();
        append(0, 0, 3);
        append(1, 1, 3);
        weir_world_run(world, 5 * SECOND);
        cr_assert_eq(batches, 0);
        cr_assert(weir_world_close(world, 5 * SECOND), "the close waits for the linger");
        cr_assert_eq(weir_world_tally(world)->finished, 6);
        cr_assert_eq(committed(), 3);
        weir_world_destroy(world);
    }
}

/* ---- at most once ---- */

static enum weir_outcome see_the_commit(struct weir_message *message)
{
    cr_assert_lt(weir_message_offset(message), committed(), "%lld runs, and is not committed",
                 (long long)weir_message_offset(message));
    return WEIR_ACK;
}

Test(batch, takes_in_what_is_committed_later_behind_what_gathers)
{
    static const char *const its[] = {
        "weir.delivery", "at-most-once", "weir.batch.linger.ms", HOUR, "weir.batch.messages.max", "3", NULL};
    make(its, see_the_commit, 1);
    start();
    append(0, 0, 1);
    weir_world_run(world, SECOND);
    append(0, 0, 2); /* enough, but not committed as they come */
    weir_world_run(world, SECOND);
    cr_assert_eq(batches, 0);
    append(0, 0, 1);
    weir_world_run(world, SECOND);
    cr_assert_str_eq(told, "0.1 1.1 2.1 | ");
    cr_assert(weir_world_close(world, 60 * SECOND));
    weir_world_destroy(world);
}

Test(batch, has_only_what_is_committed_at_most_once)
{
    static const char *const its[] = {"weir.delivery", "at-most-once", "weir.batch.linger.ms", "200", NULL};
    make(its, see_the_commit, 1);
    start();
    for (unsigned round = 0; round < 20; round++) {
        append(0, (int)round % 2, 3);
        weir_world_run(world, 77 * MS);
    }
    weir_world_run(world, 20 * SECOND);
    cr_assert_eq(weir_world_tally(world)->finished, 60);
    cr_assert_lt(batches, 60);
    bool closed = weir_world_close(world, 60 * SECOND);
    cr_assert(closed);
    weir_world_destroy(world);
}

/* ---- what stops a partition, or all ---- */

static enum weir_outcome escalate_once(struct weir_message *message)
{
    bool first = batches == 1 && weir_message_offset(message) == 1;
    return first ? weir_escalate(message, WEIR_STOP_PARTITION, "the ledger is closed") : WEIR_ACK;
}

Test(batch, in_which_one_escalates_stops_its_partition_and_finishes_the_others)
{
    static const char *const its[] = {"weir.batch.linger.ms", "10", NULL};
    make(its, escalate_once, 1);
    start();
    append(0, 0, 3);
    weir_world_run(world, 20 * SECOND);
    append(0, 1, 1);
    weir_world_run(world, 20 * SECOND);
    cr_assert_str_eq(told, "0.1 1.1 2.1 | ");
    cr_assert_eq(stats_of(consumer).counters.acked, 2);
    cr_assert(stats_of(consumer).pause & WEIR_PAUSE_ESCALATED);
    cr_assert_eq(committed(), 1);
    cr_assert_eq(weir_consumer_resume(consumer, "orders", 0), 0);
    weir_world_run(world, 20 * SECOND);
    cr_assert_str_eq(told, "0.1 1.1 2.1 | 1.1 3.1 | ");
    close_world();
}

static uint64_t down_until_ns;

static enum weir_outcome be_down(struct weir_message *message)
{
    (void)message;
    return weir_simulation_now_ns(weir_world_simulation(world)) < down_until_ns ? WEIR_OVERLOADED : WEIR_ACK;
}

Test(batch, is_one_message_while_the_breaker_lets_one_probe_only)
{
    static const char *const its[] = {
        "weir.batch.linger.ms", "100", "weir.breaker.overloaded", "open", "weir.breaker.open.ms", "5000", NULL};
    make(its, be_down, 1);
    start();
    down_until_ns = weir_simulation_now_ns(weir_world_simulation(world)) + 12 * SECOND;
    append(0, 0, 4);
    append(0, 1, 4);
    weir_world_run(world, 3 * SECOND);
    unsigned before = batches; /* it opens with the first, or the next that control sees */
    cr_assert(before >= 1 && before <= 3, "%s", told);
    told[0] = '\0';
    weir_world_run(world, 60 * SECOND);
    cr_assert_eq(weir_world_tally(world)->finished, 8);
    cr_assert_lt(batches, before + 8, "%s", told);
    cr_assert(strncmp(told, "0.1 | ", 6) == 0 || strncmp(told, "4.1 | ", 6) == 0, "%s", told);
    cr_assert_eq(stats_of(consumer).counters.retries, 0);
    close_world();
}
