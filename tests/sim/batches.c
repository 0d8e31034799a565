/*
 * Batches, one by one: when they go out, what is in them, and what becomes of their messages. One process in exact
 * virtual time, and the faults that the test says. Their ends are in batches_ends.c; that nothing is lost under all
 * faults at once is shown by batches_seeds.c.
 */
#include "tests/sim/batches_play.h"
#include "tests/support/test.h"
#include <stdio.h>
#include <string.h>
#include <weir/output.h>

/* ---- when they go out ---- */

Test(batch, goes_out_when_it_has_its_messages)
{
    static const char *const its[] = {"weir.batch.messages.max", "4", "weir.batch.linger.ms", HOUR, NULL};
    play_make(its, NULL, 1);
    play_start();
    play_append(0, 0, 3);
    play_append(0, 1, 1);
    play_append(0, 2, 4);
    weir_world_run(play.world, SECOND);
    cr_assert_str_eq(play.told, "0.1 1.1 2.1 3.1 | 4.1 5.1 6.1 7.1 | ");
    play_append(0, 2, 3);
    weir_world_run(play.world, 100 * SECOND);
    cr_assert_eq(play.batches, 2, "one went out with three");
    play_close();
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
        play_make(its, NULL, 1);
        play_start();
        play_append(0, 0, 6);
        weir_world_run(play.world, 10 * SECOND);
        cr_assert_str_eq(play.told, cases[index].told, "at most %s bytes: %s", cases[index].bytes, play.told);
        play_close();
    }
}

Test(batch, lingers_from_its_first_message_and_no_other_moves_that)
{
    static const char *const its[] = {"weir.batch.linger.ms", "1000", NULL};
    play_make(its, NULL, 1);
    play_start();
    for (unsigned round = 1; round <= 3; round++) {
        uint64_t begun_ns = weir_simulation_now_ns(weir_world_simulation(play.world));
        play_append(0, 0, 1);
        weir_world_run(play.world, 600 * MS);
        play_append(0, 0, 1);
        play_append(0, 1, 1);
        weir_world_run(play.world, 300 * MS);
        play_append(0, 2, 1);
        cr_assert_eq(play.batches, round - 1, "it did not linger");
        weir_world_run(play.world, 3000 * MS);
        cr_assert_eq(play.batches, round);
        uint64_t lingered_ns = play.ran_ns[round - 1] - begun_ns;
        cr_assert(lingered_ns >= 1000 * MS && lingered_ns < 1100 * MS, "%llu ms",
                  (unsigned long long)(lingered_ns / MS));
    }
    cr_assert_str_eq(play.told, "0.1 1.1 2.1 3.1 | 4.1 5.1 6.1 7.1 | 8.1 9.1 10.1 11.1 | ");
    play_close();
}

Test(batch, without_linger_goes_out_with_what_is_there)
{
    static const char *const its[] = {"weir.batch.linger.ms", "0", NULL};
    play_make(its, NULL, 1);
    play_append(0, 0, 5);
    play_append(0, 1, 5);
    play_start();
    cr_assert_eq(weir_world_tally(play.world)->finished, 10);
    cr_assert_lt(play.batches, 10, "each message went alone");
    play_close();
}

/* ---- whose messages are in them ---- */

Test(batch, of_a_key_holds_no_other)
{
    static const char *const its[] = {"weir.batch.scope", "key", "weir.batch.linger.ms", "100", NULL};
    play_make(its, NULL, 1);
    play_start();
    for (unsigned round = 0; round < 3; round++) {
        play_append(0, 0, 1);
        play_append(0, 1, 1);
    }
    weir_world_run(play.world, SECOND);
    cr_assert(strcmp(play.told, "0.1 2.1 4.1 | 1.1 3.1 5.1 | ") == 0 ||
                  strcmp(play.told, "1.1 3.1 5.1 | 0.1 2.1 4.1 | ") == 0,
              "%s", play.told);
    play_close();
}

static void of_two_partitions(const char *scope)
{
    const char *its[] = {"weir.batch.scope", scope, "weir.batch.linger.ms", "100", NULL};
    play_make(its, NULL, 2);
    play_start();
    play_append(0, 0, 2);
    play_append(1, 1, 2);
    weir_world_run(play.world, SECOND);
    cr_assert_eq(weir_world_tally(play.world)->finished, 4);
}

Test(batch, of_a_partition_holds_no_other)
{
    of_two_partitions("partition");
    cr_assert(strcmp(play.told, "0/0.1 0/1.1 | 1/0.1 1/1.1 | ") == 0 ||
                  strcmp(play.told, "1/0.1 1/1.1 | 0/0.1 0/1.1 | ") == 0,
              "%s", play.told);
    play_close();
}

Test(batch, of_any_messages_holds_all_that_its_worker_has)
{
    of_two_partitions("any");
    cr_assert(strcmp(play.told, "0/0.1 0/1.1 1/0.1 1/1.1 | ") == 0 ||
                  strcmp(play.told, "1/0.1 1/1.1 0/0.1 0/1.1 | ") == 0,
              "%s", play.told);
    play_close();
}

Test(batch, has_no_message_whose_key_is_in_another_one)
{
    static const char *const its[] = {"weir.batch.messages.max", "2", "weir.batch.linger.ms", "10", NULL};
    play_make(its, NULL, 1);
    play_start();
    play_append(0, 0, 7);
    weir_world_run(play.world, 10 * SECOND);
    cr_assert_str_eq(play.told, "0.1 1.1 | 2.1 3.1 | 4.1 5.1 | 6.1 | ");
    play_close();
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
    play_make(its, one_of_each, 1);
    play_start();
    play_append(0, 0, 5);
    play_append(0, 1, 1);
    weir_world_run(play.world, 500 * MS);
    cr_assert_str_eq(play.told, "0.1 1.1 2.1 3.1 4.1 5.1 | ");
    struct weir_stats stats = play_stats(play.consumer);
    cr_assert_eq(stats.counters.acked, 2);
    cr_assert_eq(stats.counters.skipped, 1);
    cr_assert_eq(stats.counters.dead_lettered, 0, "a letter went out before the message in front was finished");
    play_append(0, 0, 1); /* stands behind all that failed */
    weir_world_run(play.world, 20 * SECOND);
    cr_assert_str_eq(play.told, "0.1 1.1 2.1 3.1 4.1 5.1 | 0.2 | 3.2 6.1 | ");
    stats = play_stats(play.consumer);
    cr_assert_eq(stats.counters.acked, 5);
    cr_assert_eq(stats.counters.dead_lettered, 1);
    cr_assert_eq(stats.counters.retries, 2);
    cr_assert_eq(play_committed(), 7);
    play_close();
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
    play_make(its, fail_at_first, 1);
    play_start();
    play_append(0, 0, 3); /* one of them for 5 s */
    play_append(0, 1, 2);
    weir_world_run(play.world, 20 * SECOND);
    cr_assert_str_eq(play.told, "0.1 1.1 2.1 3.1 4.1 | 3.2 4.2 | 0.2 1.2 2.2 | ");
    uint64_t second_ns = play.ran_ns[1] - play.ran_ns[0], third_ns = play.ran_ns[2] - play.ran_ns[0];
    cr_assert(second_ns >= 1000 * MS && second_ns < 1100 * MS, "%llu ms", (unsigned long long)(second_ns / MS));
    cr_assert(third_ns >= 5000 * MS && third_ns < 5100 * MS, "%llu ms", (unsigned long long)(third_ns / MS));
    play_close();
}

static enum weir_outcome fail_odd_ones(struct weir_message *message)
{
    return weir_message_offset(message) % 2 == 1 ? weir_retry_after(message, 10, "odd") : WEIR_ACK;
}

Test(batch, gives_up_what_has_spent_its_attempts_one_by_one)
{
    static const char *const its[] = {"weir.batch.linger.ms", "10", "weir.retry.attempts.max", "2", NULL};
    play_make(its, fail_odd_ones, 1);
    play_start();
    play_append(0, 0, 4);
    weir_world_run(play.world, 20 * SECOND);
    cr_assert_str_eq(play.told, "0.1 1.1 2.1 3.1 | 1.2 3.2 | ");
    cr_assert_eq(play_stats(play.consumer).counters.dead_lettered, 2);
    cr_assert_eq(play_committed(), 4);
    play_close();
}

static enum weir_outcome overload_once(struct weir_message *message)
{
    static uint64_t first_ns;
    if (play.batches == 1)
        first_ns = play.ran_ns[0];
    return play.ran_ns[play.batches - 1] == first_ns ? WEIR_OVERLOADED : WEIR_ACK;
}

Test(batch, that_overloads_burns_no_attempt)
{
    static const char *const its[] = {"weir.batch.linger.ms", "10", "weir.retry.attempts.max", "1", NULL};
    play_make(its, overload_once, 1);
    play_start();
    play_append(0, 0, 2);
    weir_world_run(play.world, 60 * SECOND);
    cr_assert_str_eq(play.told, "0.1 1.1 | 0.1 1.1 | ");
    cr_assert_eq(play_stats(play.consumer).counters.overloaded, 2);
    play_close();
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
    play_make(its, emit_and_fail_the_first, 1);
    play_start();
    play_append(0, 0, 4);
    weir_world_run(play.world, 20 * SECOND);
    cr_assert_str_eq(play.told, "0.1 1.1 2.1 3.1 | 0.2 | ", "%s", play.told);
    for (int64_t offset = 0; weir_fake_read(weir_world_cluster(play.world), "out", 0, offset, &record); offset++) {
        size_t used = strlen(written);
        snprintf(written + used, sizeof written - used, "%.*s ", (int)record.value_size, (const char *)record.value);
    }
    cr_assert_str_eq(written, "0.2 1.1 3.1 ");
    cr_assert_eq(play_committed(), 4);
    play_close();
}

/* ---- what handlers must not say ---- */

static struct weir_later kept;

static enum weir_outcome on_wrong(struct weir_batch *batch, void *user)
{
    enum weir_outcome outcomes[WEIR_WORLD_BATCH_MAX];
    uint64_t runs[WEIR_WORLD_BATCH_MAX];
    weir_world_begin_batch(user, batch, outcomes, runs);
    play_tell(batch);
    size_t count = weir_batch_count(batch);
    bool first = play.batches == 1;
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
    return play.consumer = weir_world_consumer_create(process, NULL, on_wrong, play.options);
}

Test(batch, that_is_answered_wrongly_is_retried_and_a_handle_of_it_is_stale)
{
    static const char *const its[] = {"weir.batch.linger.ms", "10", "weir.ordering", "partition", NULL};
    play_make(its, NULL, 1);
    play.driver.create = create_wrong;
    play_start();
    play_append(0, 0, 4);
    weir_world_run(play.world, 20 * SECOND);
    cr_assert_str_eq(play.told, "0.1 1.1 2.1 3.1 | 0.2 1.2 3.2 | ");
    cr_assert_eq(weir_later_finish(kept, WEIR_ACK), WEIR_STALE);
    cr_assert_eq(play_stats(play.consumer).counters.retries, 3);
    play_close();
}
