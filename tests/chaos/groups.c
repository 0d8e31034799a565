/*
 * What the group's protocol asks of members: static ones may bounce, handlers may take longer than
 * max.poll.interval.ms, and a close under load is done in time.
 */
#include "tests/chaos/families.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- static members ---- */

enum { CLOSE_MS_MAX = 40000 };

static void start_static(struct weir_scene *scene, unsigned member, const char *strategy)
{
    char name[32];
    snprintf(name, sizeof name, "member-%u", member);
    weir_scene_start(scene, member,
                     WEIR_SCENE_SETTINGS(scene, "group.instance.id", name, "session.timeout.ms", "20000",
                                         "partition.assignment.strategy", strategy));
}

static uint64_t done_by(const struct weir_scene *scene, unsigned member)
{
    return atomic_load(&scene->members[member].board->finished);
}

/* Each goes, by SIGTERM or SIGKILL, and comes back; the others must not notice. */
static void bounce(struct weir_scene *scene, const char *strategy)
{
    weir_scene_set(scene);
    weir_scene_produce(scene, scene->size.messages);
    uint64_t share = (uint64_t)scene->stage.partitions / scene->size.members;
    for (unsigned member = 0; member < scene->size.members; member++)
        start_static(scene, member, strategy);
    for (unsigned member = 0; member < scene->size.members; member++)
        WEIR_SCENE_UNTIL(scene, WEIR_BROKER_WAIT_MS,
                         atomic_load(&scene->members[member].board->partitions) == share && done_by(scene, member) > 0);
    weir_scene_watch(scene, true);
    uint64_t rebalances = atomic_load(&scene->members[0].board->rebalances);
    for (unsigned round = 0; round < scene->size.disturbances; round++) {
        unsigned member = 1 + (unsigned)weir_scene_below(scene, scene->size.members - 1);
        uint64_t before = done_by(scene, member);
        if (round % 2)
            weir_scene_kill(scene, member);
        else
            weir_scene_leave(scene, member);
        weir_scene_sleep(scene, weir_scene_below(scene, 1000));
        start_static(scene, member, strategy);
        WEIR_SCENE_UNTIL(scene, WEIR_BROKER_WAIT_MS, done_by(scene, member) > before || weir_scene_is_done(scene));
    }
    WEIR_SCENE_REQUIRE(scene, atomic_load(&scene->members[0].board->rebalances) == rebalances,
                       "a member that stayed saw a rebalance when static ones bounced");
    weir_scene_finish(scene, 90000);
    weir_scene_judge(scene);
}

void weir_scenario_static_cooperative(struct weir_scene *scene)
{
    bounce(scene, "cooperative-sticky");
}

void weir_scenario_static_eager(struct weir_scene *scene)
{
    bounce(scene, "range");
}

/* ---- slow handlers ---- */

enum { POLL_MS = 4000, HANDLER_MS = 6000 };

/* How many runs took longer than max.poll.interval.ms, by the ledger: each is noted as a disturbance. */
static void note_slow(struct weir_scene *scene)
{
    size_t count = weir_ledger_count(scene->stage.ledger), stride = scene->size.messages;
    uint64_t *started_ns = calloc(stride * (size_t)scene->stage.partitions, sizeof *started_ns);
    cr_assert_not_null(started_ns);
    for (size_t place = 0; place < count; place++) {
        const struct weir_ledger_record *record = weir_ledger_at(scene->stage.ledger, place);
        if (!record || (record->kind != WEIR_LEDGER_START && record->kind != WEIR_LEDGER_END))
            continue;
        uint64_t *since_ns = &started_ns[stride * (size_t)record->partition + (size_t)record->offset];
        if (record->kind == WEIR_LEDGER_START)
            *since_ns = record->monotonic_ns;
        else if (record->monotonic_ns - *since_ns > POLL_MS * 1000000ull)
            weir_scene_other(scene);
    }
    free(started_ns);
}

/* Nobody leaves the group for handlers that are longer than max.poll.interval.ms, and nothing runs twice. As many
 * messages as there are disturbances have them, each of another key. */
void weir_scenario_slow(struct weir_scene *scene)
{
    weir_scene_set(scene);
    atomic_store(&scene->settings.long_each, scene->size.messages / scene->size.disturbances);
    atomic_store(&scene->settings.long_ms, HANDLER_MS);
    const char *const *settings = WEIR_SCENE_SETTINGS(scene, "max.poll.interval.ms", "4000", "session.timeout.ms",
                                                      "3000", "weir.revoke.drain.ms.max", "2000");
    scene->terms.drain_ms = 2000;
    uint64_t share = (uint64_t)scene->stage.partitions / scene->size.members;
    for (unsigned member = 0; member < scene->size.members; member++)
        weir_scene_start(scene, member, settings);
    for (unsigned member = 0; member < scene->size.members; member++)
        WEIR_SCENE_UNTIL(scene, WEIR_BROKER_WAIT_MS, atomic_load(&scene->members[member].board->partitions) == share);
    weir_scene_produce(scene, scene->size.messages); /* not before the group has formed, which would be a rebalance */
    uint64_t rebalances = atomic_load(&scene->members[0].board->rebalances);
    weir_scene_watch(scene, true);
    weir_scene_finish(scene, 120000);
    for (unsigned member = 0; member < scene->size.members; member++) {
        WEIR_SCENE_REQUIRE(scene, weir_member_log_count(&scene->members[member], "max.poll") == 0,
                           "member %u exceeded max.poll.interval.ms", member);
        WEIR_SCENE_REQUIRE(scene, atomic_load(&scene->members[member].board->partitions) == share,
                           "member %u lost partitions", member);
    }
    WEIR_SCENE_REQUIRE(scene, atomic_load(&scene->members[0].board->rebalances) == rebalances, "there were rebalances");
    note_slow(scene);
    weir_scene_judge(scene);
    WEIR_SCENE_REQUIRE(scene, scene->result->duplicates + scene->result->stragglers == 0,
                       "%" PRIu64 " messages ran twice", scene->result->duplicates);
}

/* ---- closing ---- */

/* One after the other is told to go in the middle of its work, and comes back. */
void weir_scenario_closing(struct weir_scene *scene)
{
    weir_scene_set(scene);
    const char *const *settings = WEIR_SCENE_SETTINGS(scene, "weir.window.messages.max", "1024");
    atomic_store(&scene->settings.fails_percent, 2);
    weir_scene_produce(scene, scene->size.messages);
    for (unsigned member = 0; member < scene->size.members; member++)
        weir_scene_start(scene, member, settings);
    WEIR_SCENE_UNTIL(scene, WEIR_BROKER_WAIT_MS, weir_scene_finished(scene) > 0);
    weir_scene_watch(scene, true);
    for (unsigned round = 0; round < scene->size.disturbances; round++) {
        unsigned member = round % scene->size.members;
        weir_scene_sleep(scene, 300 + weir_scene_below(scene, 700));
        weir_scene_leave(scene, member);
        weir_scene_start(scene, member, settings);
    }
    weir_scene_finish(scene, 90000);
    weir_scene_judge(scene);
    WEIR_SCENE_REQUIRE(scene, scene->result->close_ms < CLOSE_MS_MAX, "a close took %" PRIu64 " ms",
                       scene->result->close_ms);
    /* A revoke waits for its commit for 5 s: a broker that took longer is another matter. */
    WEIR_SCENE_REQUIRE(scene, scene->result->duplicates == 0 || scene->result->longest_stall_ms >= 5000,
                       "%" PRIu64 " messages ran twice", scene->result->duplicates);
}

/* ---- the group protocol of the broker ---- */

/* Time-outs are the broker's to say, and the assignor is its own: clients refuse such properties. */
#define PROTOCOL_SETTINGS(scene)                       \
    ((const char *const[]){"bootstrap.servers",        \
                           weir_broker_bootstrap(),    \
                           "group.id",                 \
                           (scene)->stage.group.text,  \
                           "weir.topics",              \
                           (scene)->stage.topic.text,  \
                           "auto.offset.reset",        \
                           "earliest",                 \
                           "weir.workers",             \
                           "4",                        \
                           "weir.commit.interval.ms",  \
                           "200",                      \
                           "weir.stats.interval.ms",   \
                           "50",                       \
                           "weir.window.messages.max", \
                           "64",                       \
                           "weir.dlq.topic",           \
                           (scene)->letters,           \
                           "reconnect.backoff.max.ms", \
                           "1000",                     \
                           "group.protocol",           \
                           "consumer",                 \
                           NULL})

static uint64_t owned_by_others(const struct weir_scene *scene, unsigned member)
{
    uint64_t count = 0;
    for (unsigned other = 0; other < scene->size.members; other++)
        count += other != member ? atomic_load(&scene->members[other].board->partitions) : 0;
    return count;
}

/* Killed, told to go, or stopped until the others have all that it had. */
static void disturb_member(struct weir_scene *scene, unsigned round, unsigned member)
{
    uint64_t all = (uint64_t)scene->stage.partitions;
    if (round % 3 == 2) {
        weir_scene_stop(scene, member);
        WEIR_SCENE_UNTIL(scene, WEIR_BROKER_WAIT_MS, owned_by_others(scene, member) == all);
        weir_scene_sleep(scene, weir_scene_below(scene, 1000));
        weir_scene_continue(scene, member);
    } else {
        if (round % 3 == 0)
            weir_scene_kill(scene, member);
        else
            weir_scene_leave(scene, member);
        weir_scene_sleep(scene, weir_scene_below(scene, 2000));
        weir_scene_start(scene, member, PROTOCOL_SETTINGS(scene));
    }
    WEIR_SCENE_UNTIL(scene, WEIR_BROKER_WAIT_MS, owned_by_others(scene, member) < all);
}

void weir_scenario_protocol(struct weir_scene *scene)
{
    weir_broker_start("--set group.consumer.min.heartbeat.interval.ms=100 "
                      "--set group.consumer.heartbeat.interval.ms=200 "
                      "--set group.consumer.min.session.timeout.ms=2000 "
                      "--set group.consumer.session.timeout.ms=3000");
    weir_scene_set(scene);
    atomic_store(&scene->settings.fails_percent, 2);
    uint64_t part = scene->size.messages / (scene->size.disturbances + 1);
    weir_scene_produce(scene, scene->size.messages - scene->size.disturbances * part);
    for (unsigned member = 0; member < scene->size.members; member++)
        weir_scene_start(scene, member, PROTOCOL_SETTINGS(scene));
    for (unsigned member = 0; member < scene->size.members; member++)
        WEIR_SCENE_UNTIL(scene, WEIR_BROKER_WAIT_MS, done_by(scene, member) > 0);
    weir_scene_watch(scene, true);
    for (unsigned round = 0; round < scene->size.disturbances; round++) {
        weir_scene_produce(scene, part);
        disturb_member(scene, round, (unsigned)weir_scene_below(scene, scene->size.members));
    }
    weir_scene_finish(scene, 90000);
    weir_scene_judge(scene);
}
