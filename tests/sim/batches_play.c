/*
 * See batches_play.h.
 */
#include "tests/sim/batches_play.h"
#include "tests/support/test.h"
#include <stdio.h>
#include <string.h>
#include <weir/log.h>

struct batches_play play;

void play_tell(struct weir_batch *batch)
{
    size_t used = strlen(play.told);
    for (size_t index = 0; index < weir_batch_count(batch); index++) {
        const struct weir_message *message = weir_batch_message(batch, index);
        if (play.tells_partitions)
            used += (size_t)snprintf(play.told + used, sizeof play.told - used, "%d/",
                                     (int)weir_message_partition(message));
        used += (size_t)snprintf(play.told + used, sizeof play.told - used, "%lld.%u ",
                                 (long long)weir_message_offset(message), weir_message_attempt(message));
    }
    snprintf(play.told + used, sizeof play.told - used, "| ");
    play.ran_ns[play.batches++ % 64] = weir_simulation_now_ns(weir_world_simulation(play.world));
}

static enum weir_outcome on_batch(struct weir_batch *batch, void *user)
{
    enum weir_outcome outcomes[WEIR_WORLD_BATCH_MAX];
    uint64_t runs[WEIR_WORLD_BATCH_MAX];
    weir_world_begin_batch(user, batch, outcomes, runs);
    play_tell(batch);
    if (play.meanwhile)
        play.meanwhile();
    for (size_t index = 0; index < weir_batch_count(batch); index++) {
        outcomes[index] = play.rule ? play.rule(weir_batch_message(batch, index)) : WEIR_ACK;
        if (outcomes[index] != WEIR_ACK)
            cr_assert_eq(weir_batch_set(batch, index, outcomes[index]), 0);
        weir_world_end(user, runs[index], outcomes[index]);
    }
    return WEIR_ACK;
}

static void *create(struct weir_world_process *process)
{
    return play.consumer = weir_world_consumer_create(process, NULL, on_batch, play.options);
}

struct weir_world *play_make(const char *const *its_options, answer *its_rule, int32_t partitions)
{
    weir_log_set(NULL, NULL, WEIR_LOG_ERROR);
    play.options = its_options;
    play.rule = its_rule;
    play.meanwhile = NULL;
    play.told[0] = '\0';
    play.tells_partitions = partitions > 1;
    play.batches = 0;
    play.driver = weir_world_batches;
    play.driver.create = create;
    play.world = weir_world_create(&(struct weir_world_settings){.seed = 3,
                                                                 .partitions = partitions,
                                                                 .keys = 4,
                                                                 .workers = 1,
                                                                 .pool_threads = play.pool_threads,
                                                                 .driver = &play.driver});
    play.pool_threads = 0;
    weir_fake_topic_create(weir_world_cluster(play.world), "out", 1);
    return play.world;
}

void play_append(int32_t partition, int key, unsigned count)
{
    for (; count > 0; count--)
        weir_world_append(play.world, "orders", partition, key);
}

struct weir_world_process *play_start(void)
{
    struct weir_world_process *process = weir_world_start(play.world);
    weir_world_run(play.world, 10 * SECOND);
    return process;
}

void play_close(void)
{
    bool closed = weir_world_close(play.world, 60 * SECOND);
    struct weir_world_verdict verdict = weir_world_verdict(play.world);
    cr_assert(verdict.ok, "%s", verdict.text);
    cr_assert(closed);
    weir_world_destroy(play.world);
}

int64_t play_committed(void)
{
    return weir_fake_committed(weir_world_cluster(play.world), "group", "orders", 0).offset;
}

struct weir_stats play_stats(struct weir_consumer *of)
{
    struct weir_stats stats;
    weir_consumer_stats(of, &stats, sizeof stats);
    return stats;
}
