/*
 * A map that came with the commit but belongs to another log: mirrored, or of a topic that was made anew. Whatever is
 * committed before its witness has been seen, nothing that it claims may be believed, by this process or the next.
 */
#include "actors/consumer.h"
#include "tests/sim/consumer_own.h"
#include "tests/support/test.h"
#include <string.h>
#include <weir/log.h>

#define SECOND   WEIR_WORLD_SECOND
#define FLOOR    10
#define WITNESS  40
#define MESSAGES 60

#define PULLED 30 /* there are no more at first, so that the witness is not seen */

static bool holds;           /* the message at the floor is given out, for good */
static int64_t witness_at;   /* of the foreign map */
static uint16_t burnt;       /* attempts of the message at the floor, as the foreign map tells */
static uint32_t attempt_max; /* with which a run has begun */

static enum weir_outcome on_message(struct weir_message *message, void *user)
{
    uint64_t run;
    weir_own_begin(message, user, &run);
    if (weir_message_attempt(message) > attempt_max)
        attempt_max = weir_message_attempt(message);
    if (holds && weir_message_offset(message) == FLOOR) {
        weir_message_later(message);
        return WEIR_LATER;
    }
    weir_world_end(user, run, WEIR_ACK);
    return WEIR_ACK;
}

/* The group has committed FLOOR, with a map by which all from the witness on is finished: true of another log. */
static void commit_foreign_map(struct weir_world *world)
{
    struct weir_map_offset unfinished[WITNESS - FLOOR];
    size_t count = (size_t)(witness_at - FLOOR);
    for (size_t index = 0; index < count; index++)
        unfinished[index] = (struct weir_map_offset){FLOOR + (int64_t)index, index == 0 ? burnt : 0};
    struct weir_map_log log = {.leader_epoch = -1};
    struct weir_map_witness witness = {witness_at, 4711};
    char text[1000];
    int64_t end;
    attempt_max = 0;
    cr_assert_gt(weir_map_encode(FLOOR, MESSAGES, unfinished, count, &log, &witness, text, sizeof text, &end), 0);
    cr_assert_eq(end, MESSAGES);
    weir_fake_set_committed(weir_world_cluster(world), "group",
                            &(struct weir_kafka_offset){
                                .topic = "orders", .offset = FLOOR, .metadata = text, .metadata_size = strlen(text)});
}

Test(maps, of_another_log_are_not_handed_on_with_a_witness_of_this_one)
{
    static const struct weir_own own = {on_message, NULL};
    weir_log_set(NULL, NULL, WEIR_LOG_ERROR);
    witness_at = WITNESS;
    for (uint64_t seed = 1; seed <= weir_test_scaled(10); seed++) {
        struct weir_world *world = weir_world_create(&(struct weir_world_settings){
            .seed = seed, .partitions = 1, .keys = MESSAGES, .driver = &weir_own_driver, .driver_data = &own});
        for (int key = 0; key < PULLED; key++)
            weir_world_append(world, "orders", 0, key);
        weir_world_truncate(world, "orders", 0, FLOOR);
        commit_foreign_map(world);
        holds = true;
        struct weir_world_process *process = weir_world_start(world);
        weir_world_run(world, 5 * SECOND);
        cr_assert_eq(weir_world_tally(world)->finished, PULLED - FLOOR - 1);
        weir_world_crash(process);
        holds = false;
        for (int key = PULLED; key < MESSAGES; key++)
            weir_world_append(world, "orders", 0, key);
        process = weir_world_start(world);
        bool finished = weir_world_run_until_finished(world, 120 * SECOND);
        bool closed = weir_world_close(world, 60 * SECOND);
        struct weir_world_verdict verdict = weir_world_verdict(world);
        cr_assert(verdict.ok, "%s", verdict.text);
        cr_assert(finished && closed, "seed %llu", (unsigned long long)seed);
        weir_world_destroy(world);
    }
}

/* Without the part about the first process: the foreign map meets its witness, or a log that has none. */
static void read_foreign_map(int64_t witness, bool witness_is_there)
{
    static const struct weir_own own = {on_message, NULL};
    weir_log_set(NULL, NULL, WEIR_LOG_ERROR);
    witness_at = witness;
    for (uint64_t seed = 1; seed <= weir_test_scaled(10); seed++) {
        struct weir_world *world = weir_world_create(&(struct weir_world_settings){
            .seed = seed, .partitions = 1, .keys = MESSAGES, .driver = &weir_own_driver, .driver_data = &own});
        for (int key = 0; key < MESSAGES; key++) {
            if (key == witness && !witness_is_there)
                weir_fake_append_hole(weir_world_cluster(world), "orders", 0, 1);
            else
                weir_world_append(world, "orders", 0, key);
        }
        weir_world_truncate(world, "orders", 0, FLOOR);
        commit_foreign_map(world);
        holds = false;
        weir_world_start(world);
        bool finished = weir_world_run_until_finished(world, 120 * SECOND);
        bool closed = weir_world_close(world, 60 * SECOND);
        struct weir_world_verdict verdict = weir_world_verdict(world);
        cr_assert(verdict.ok, "%s", verdict.text);
        cr_assert(finished && closed, "seed %llu", (unsigned long long)seed);
        weir_world_destroy(world);
    }
}

Test(maps, are_void_where_the_witness_differs)
{
    read_foreign_map(WITNESS, true);
}

Test(maps, are_void_where_the_witness_is_missing)
{
    read_foreign_map(WITNESS, false);
}

Test(maps, of_another_log_burn_no_attempts_where_the_witness_comes_with_what_it_speaks_of)
{
    burnt = 7;
    for (unsigned missing = 0; missing < 2; missing++) {
        read_foreign_map(FLOOR + 1, missing == 0);
        cr_assert_eq(attempt_max, 1, "a run began as number %u", attempt_max);
    }
    burnt = 0;
}
