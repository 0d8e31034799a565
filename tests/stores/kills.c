/*
 * Goal: each message's effect is in the database once, whatever kills or stops the processes that write it.
 * Method: a real Kafka, a real database, two members in processes of their own, SIGKILL and SIGSTOP at moments that are
 * not chosen; then the rows are counted. WEIR_TEST_STORES_ROUNDS says how often (default: a short form).
 */
#include "tests/broker/stage.h"
#include "tests/stores/place.h"
#include "tests/support/wait.h"
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weir/log.h>

enum { PARTITIONS = 6, KEYS = 300, MEMBERS = 2, SESSION_US = 8000000 };

struct scene {
    struct weir_stage stage;
    struct weir_place place;
    struct weir_effects *effects;
    struct weir_member members[MEMBERS];
    unsigned kills, idle_ms;
    bool has_inbox, in_batches;
    uint64_t batches;
    uint64_t new, done, stale; /* what the marks of members that ended have said */
};

static unsigned rounds(unsigned count)
{
    const char *text = getenv("WEIR_TEST_STORES_ROUNDS");
    return text ? (unsigned)strtoul(text, NULL, 10) : weir_test_scaled(count);
}

static void set(struct scene *scene, enum weir_effects_kind kind, bool has_inbox)
{
    *scene = (struct scene){.idle_ms = 3000, .has_inbox = has_inbox};
    weir_log_set(NULL, NULL, WEIR_LOG_ERROR);
    weir_place_set(&scene->place, kind);
    weir_stage_set(&scene->stage, has_inbox ? 1 : PARTITIONS, 0);
    scene->effects = weir_place_open(&scene->place, 0);
    for (size_t index = 0; index < MEMBERS; index++)
        weir_member_init(&scene->members[index]);
}

static void start(struct scene *scene, size_t index, const char *instance)
{
    char kind[8], idle_ms[16];
    snprintf(idle_ms, sizeof idle_ms, "%u", scene->idle_ms);
    snprintf(kind, sizeof kind, "%d", (int)scene->place.kind);
    bool is_sqlite = scene->place.kind == WEIR_EFFECTS_SQLITE;
    const char *const *settings = WEIR_STAGE_SETTINGS(
        &scene->stage, "weir.blocking.threads", is_sqlite ? "2" : "8", "stores.kind", kind, "stores.location",
        scene->place.location, "stores.run", scene->place.run, "stores.idle", idle_ms, "stores.inbox",
        scene->has_inbox ? "1" : "0", "stores.batch", scene->in_batches ? "1" : "0", "weir.batch.messages.max", "50",
        instance ? "group.instance.id" : NULL, instance);
    weir_member_start(&scene->members[index], &scene->stage, -1, settings);
}

static void collect(struct scene *scene, struct weir_member_board *board)
{
    scene->new += atomic_exchange(&board->finished, 0);
    scene->done += atomic_exchange(&board->told, 0);
    scene->stale += atomic_exchange(&board->in_flight, 0);
    scene->batches += atomic_exchange(&board->late_ms, 0);
}

static void stop(struct scene *scene, size_t index)
{
    weir_member_signal(&scene->members[index], SIGTERM);
    weir_member_join(&scene->members[index], &scene->stage);
    collect(scene, scene->members[index].board);
}

static void kill_one(struct scene *scene, size_t index)
{
    weir_member_kill(&scene->members[index], &scene->stage);
    collect(scene, scene->members[index].board);
    scene->kills++;
}

static int64_t messages(const struct scene *scene)
{
    return weir_effects_count(scene->effects).messages;
}

static void clear(struct scene *scene)
{
    weir_effects_close(scene->effects);
    for (size_t index = 0; index < MEMBERS; index++)
        weir_member_deinit(&scene->members[index]);
    weir_stage_clear(&scene->stage);
    weir_place_clear(&scene->place);
}

static void await(struct scene *scene, int64_t wanted)
{
    uint64_t deadline_ms = weir_broker_now_ms() + 2 * WEIR_BROKER_WAIT_MS;
    while (messages(scene) < wanted && weir_broker_now_ms() < deadline_ms)
        weir_broker_pause_briefly();
    if (messages(scene) < wanted)
        for (size_t index = 0; index < MEMBERS; index++)
            weir_member_show_log(&scene->members[index]);
    cr_assert_geq(messages(scene), wanted, "waited too long: %" PRId64 " messages", messages(scene));
}

static int64_t expected(const struct scene *scene)
{
    return (int64_t)(scene->has_inbox ? scene->stage.produced / 2 : scene->stage.produced);
}

static void check(struct scene *scene, const char *what)
{
    struct weir_effects_count count = weir_effects_count(scene->effects);
    fprintf(stderr,
            "%s, %s: %" PRIu64 " messages, %" PRId64 " effects, %" PRId64 " duplicates, %" PRId64
            " not in order; %u kills, %" PRIu64 " came again and were found done, %" PRIu64 " refused by an epoch\n",
            scene->place.kind == WEIR_EFFECTS_SQLITE ? "sqlite" : "postgres", what, scene->stage.produced,
            count.effects, count.effects - count.messages, count.disordered, scene->kills, scene->done, scene->stale);
    cr_assert_eq(count.messages, expected(scene));
    cr_assert_eq(count.effects, count.messages, "%" PRId64 " duplicates", count.effects - count.messages);
    cr_assert_eq(count.disordered, 0);
}

static int64_t count_pairs(struct scene *scene)
{
    char sql[200];
    snprintf(sql, sizeof sql,
             "SELECT count(*) FROM (SELECT DISTINCT log_offset / 2 FROM effects WHERE run = '%s') AS ids",
             scene->place.run);
    return weir_effects_ask(scene->effects, sql);
}

/* ---- SIGKILL ---- */

/* One of the two is killed again and again, at any moment, and started at once; as a static member, it is given its
 * partitions back without a rebalance. */
static void kill_again_and_again(enum weir_effects_kind kind, bool has_inbox, bool in_batches, unsigned count)
{
    static const char *const names[MEMBERS] = {"one", "two"};
    static struct scene scene;
    set(&scene, kind, has_inbox);
    scene.in_batches = in_batches;
    for (size_t index = 0; index < MEMBERS; index++) {
        atomic_store(&scene.members[index].board->sleep_us, 1000);
        atomic_store(&scene.members[index].board->long_every, 20);
        atomic_store(&scene.members[index].board->long_ms, 3);
        start(&scene, index, names[index]);
    }
    unsigned seed = 1;
    for (unsigned round = 0; round < count; round++) {
        int64_t before = messages(&scene);
        weir_stage_produce(&scene.stage, has_inbox ? 800 : 400, KEYS);
        await(&scene, before + 20 + rand_r(&seed) % 300);
        size_t victim = (size_t)rand_r(&seed) % MEMBERS;
        if (atomic_load(&scene.members[victim].board->partitions) == 0)
            victim = 1 - victim; /* it has nothing to do */
        kill_one(&scene, victim);
        start(&scene, victim, names[victim]);
    }
    await(&scene, expected(&scene));
    for (size_t index = 0; index < MEMBERS; index++)
        stop(&scene, index);
    check(&scene, has_inbox ? "killed, two copies of each" : "killed");
    if (in_batches)
        fprintf(stderr, "  in %" PRIu64 " batches\n", scene.batches);
    cr_assert(!in_batches || (scene.batches > 0 && scene.batches < (scene.new + scene.done) / 4), "hardly batches");
    cr_assert_gt(scene.done, has_inbox ? scene.stage.produced / 2 : 0, "nothing came again");
    cr_assert(!has_inbox || count_pairs(&scene) == expected(&scene), "an id had its effect twice");
    clear(&scene);
}

Test(stores_kills, sqlite_has_each_effect_once)
{
    kill_again_and_again(WEIR_EFFECTS_SQLITE, false, false, rounds(6));
}

Test(stores_kills, postgres_has_each_effect_once)
{
    kill_again_and_again(WEIR_EFFECTS_POSTGRES, false, false, rounds(6));
}

Test(stores_kills, sqlite_has_one_effect_of_two_copies)
{
    kill_again_and_again(WEIR_EFFECTS_SQLITE, true, false, rounds(4));
}

/* Copies have different keys: they are handled at the same time, and the database makes one wait. */
Test(stores_kills, postgres_has_one_effect_of_two_copies)
{
    kill_again_and_again(WEIR_EFFECTS_POSTGRES, true, false, rounds(4));
}

/* Copies in one batch, and in batches beside each other. */
Test(stores_kills, sqlite_has_one_effect_of_two_copies_in_batches)
{
    kill_again_and_again(WEIR_EFFECTS_SQLITE, true, true, rounds(4));
}

Test(stores_kills, postgres_has_one_effect_of_two_copies_in_batches)
{
    kill_again_and_again(WEIR_EFFECTS_POSTGRES, true, true, rounds(4));
}

/* ---- the group's commit is lost ---- */

/* Killed in the middle; then somebody puts the group back to the beginning of every partition. */
static void forget_the_commits(enum weir_effects_kind kind)
{
    static struct scene scene;
    set(&scene, kind, false);
    weir_stage_produce(&scene.stage, 3000, KEYS);
    atomic_store(&scene.members[0].board->sleep_us, 1000);
    start(&scene, 0, NULL);
    await(&scene, 1000);
    kill_one(&scene, 0);
    weir_test_sleep_us(SESSION_US); /* until the group is empty, nobody else may commit */
    for (int32_t partition = 0; partition < PARTITIONS; partition++)
        weir_broker_commit(scene.stage.group.text, scene.stage.topic.text, partition, 0, NULL);
    atomic_store(&scene.members[0].board->sleep_us, 0);
    start(&scene, 0, NULL);
    await(&scene, 3000);
    stop(&scene, 0);
    check(&scene, "commits lost");
    clear(&scene);
}

Test(stores_kills, sqlite_decides_where_the_group_has_lost_its_commits)
{
    forget_the_commits(WEIR_EFFECTS_SQLITE);
}

Test(stores_kills, postgres_decides_where_the_group_has_lost_its_commits)
{
    forget_the_commits(WEIR_EFFECTS_POSTGRES);
}

/* ---- SIGSTOP ---- */

/* One is stopped, most likely in the middle of transactions, until the group takes its partitions for lost and the
 * other has done their messages; then it goes on. */
static void stop_past_the_session(enum weir_effects_kind kind)
{
    static struct scene scene;
    bool is_sqlite = kind == WEIR_EFFECTS_SQLITE;
    set(&scene, kind, false);
    scene.idle_ms = 10000; /* longer than the session, so that the takeover meets those transactions */
    for (size_t index = 0; index < MEMBERS; index++) {
        /* SQLite's one writer stopped in a transaction stops everybody: stop it outside, mostly. */
        atomic_store(&scene.members[index].board->sleep_us, is_sqlite ? 5000 : 500);
        atomic_store(&scene.members[index].board->long_every, is_sqlite ? 0 : 1);
        atomic_store(&scene.members[index].board->long_ms, 20);
        start(&scene, index, NULL);
    }
    WEIR_BROKER_UNTIL(atomic_load(&scene.members[0].board->partitions) == PARTITIONS / MEMBERS);
    WEIR_BROKER_UNTIL(atomic_load(&scene.members[1].board->partitions) == PARTITIONS / MEMBERS);
    weir_stage_produce(&scene.stage, 2000, KEYS);
    WEIR_BROKER_UNTIL(atomic_load(&scene.members[0].board->finished) >= 100);
    weir_member_signal(&scene.members[0], SIGSTOP);
    if (is_sqlite)
        weir_test_sleep_us(SESSION_US); /* it may hold the file: nothing to wait for */
    else
        await(&scene, 2000);
    weir_member_signal(&scene.members[0], SIGCONT);
    await(&scene, 2000);
    weir_stage_produce(&scene.stage, 500, KEYS);
    await(&scene, 2500);
    for (size_t index = 0; index < MEMBERS; index++)
        stop(&scene, index);
    check(&scene, "stopped past the session");
    unsigned waits = weir_member_log_count(&scene.members[1], "earlier owner are still open");
    fprintf(stderr, "  takeovers that waited for transactions of the stopped one: %u\n", waits);
    cr_assert(is_sqlite || waits > 0, "it was not stopped within a transaction: nothing was shown");
    cr_assert_gt(weir_member_log_count(&scene.members[0], "lost "), 0u, "it has not lost its partitions");
    clear(&scene);
}

Test(stores_kills, sqlite_does_not_hear_of_a_process_that_slept)
{
    stop_past_the_session(WEIR_EFFECTS_SQLITE);
}

Test(stores_kills, postgres_does_not_hear_of_a_process_that_slept)
{
    stop_past_the_session(WEIR_EFFECTS_POSTGRES);
}

/* ---- sessions ---- */

/* The server ends every session of store and handlers, again and again, in commits too: then nobody knows whether it
 * was done, but the mark. */
Test(stores_kills, postgres_has_each_effect_once_whatever_sessions_it_ends)
{
    static struct scene scene;
    int64_t ended = 0;
    set(&scene, WEIR_EFFECTS_POSTGRES, false);
    weir_stage_produce(&scene.stage, 4000, KEYS);
    atomic_store(&scene.members[0].board->sleep_us, 1000);
    start(&scene, 0, NULL);
    for (unsigned round = 0; round < rounds(20); round++) {
        await(&scene, messages(&scene) + 30 < 4000 ? messages(&scene) + 30 : 4000);
        ended += weir_effects_ask(scene.effects,
                                  "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid <> "
                                  "pg_backend_pid() AND application_name = current_setting('application_name')");
    }
    await(&scene, 4000);
    stop(&scene, 0);
    fprintf(stderr, "  %" PRId64 " sessions ended\n", ended);
    cr_assert_gt(ended, 20);
    check(&scene, "sessions ended");
    clear(&scene);
}
