/*
 * Many partitions in one process, with one key in a hundred that takes very long: memory stays within its bound, the
 * other keys all finish while the slow ones still run, and what has finished above them does not come again after a
 * kill, for the maps tell of it.
 */
#include "tests/chaos/families.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    LATE_EVERY = 100, /* keys */
    VALUE_BYTES = 2000,
    MEMORY_MAX_BYTES = 128 << 20, /* weir.memory.bytes.max */
    PREFETCH_BYTES = 16 << 10,    /* queued.max.messages.kbytes */
    SET_BYTES = 8 << 10,          /* a message set: the producer's batches, and fetch.message.max.bytes */
    FIXED_BYTES =
        128 << 20, /* program, threads, librdkafka's 500 partitions (67 MB when idle), the allocator's slack */
    AGAIN_PERMILLE_MAX = 10,
};

/* VmHWM: the most that was ever resident. */
static uint64_t peak_bytes(const struct weir_scene *scene)
{
    char path[64], line[256];
    uint64_t kilobytes = 0;
    snprintf(path, sizeof path, "/proc/%d/status", (int)scene->members[0].pid);
    FILE *file = fopen(path, "r");
    cr_assert_not_null(file, "%s", path);
    while (fgets(line, sizeof line, file))
        if (strncmp(line, "VmHWM:", 6) == 0)
            kilobytes = strtoull(line + 6, NULL, 10);
    fclose(file);
    cr_assert_gt(kilobytes, 0u, "%s has no VmHWM", path);
    return kilobytes * 1024;
}

/* The member has the ledger mapped, which is no memory of Weir's. */
static uint64_t bound_bytes(const struct weir_scene *scene)
{
    return MEMORY_MAX_BYTES + (uint64_t)scene->stage.partitions * (PREFETCH_BYTES + SET_BYTES) + FIXED_BYTES +
           weir_ledger_count(scene->stage.ledger) * sizeof(struct weir_ledger_record);
}

/* To be asked before a member ends. The process that came nearest to its bound, or furthest past it, is told of. */
static void check_memory(struct weir_scene *scene, struct weir_chaos_result *worst)
{
    uint64_t peak = peak_bytes(scene), bound = bound_bytes(scene);
    fprintf(stderr, "resident at most %" PRIu64 " MB, bound %" PRIu64 " MB\n", peak >> 20, bound >> 20);
    if (worst->resident_bytes_max == 0 || peak * worst->resident_bytes_bound > worst->resident_bytes_max * bound) {
        worst->resident_bytes_max = peak;
        worst->resident_bytes_bound = bound;
    }
    WEIR_SCENE_REQUIRE(scene, peak <= bound, "%" PRIu64 " bytes were resident: the bound is %" PRIu64, peak, bound);
}

static bool is_slow(const struct weir_ledger_record *record)
{
    return weir_member_is_late(LATE_EVERY, record->key_hash);
}

/* Records of one kind, of keys that are slow or are not, from a place in the ledger on. */
static uint64_t count_of(const struct weir_scene *scene, enum weir_ledger_kind kind, bool slow, size_t from)
{
    uint64_t count = 0;
    for (size_t place = from; place < weir_ledger_count(scene->stage.ledger); place++) {
        const struct weir_ledger_record *record = weir_ledger_at(scene->stage.ledger, place);
        count += record && record->kind == kind && is_slow(record) == slow;
    }
    return count;
}

/* Until a figure of the board has stood still for a while. */
static void settle(struct weir_scene *scene, const _Atomic uint64_t *figure)
{
    enum { STILL_MS = 1500 };
    uint64_t before = atomic_load(figure), since_ms = weir_broker_now_ms(), limit_ms = since_ms + WEIR_BROKER_WAIT_MS;
    while (weir_broker_now_ms() < since_ms + STILL_MS) {
        weir_scene_sleep(scene, 50);
        if (atomic_load(figure) != before) {
            before = atomic_load(figure);
            since_ms = weir_broker_now_ms();
        }
        cr_assert_lt(weir_broker_now_ms(), limit_ms, "a figure of the member does not settle");
    }
}

static void start(struct weir_scene *scene, const char *const *settings)
{
    weir_scene_start(scene, 0, settings);
    WEIR_SCENE_UNTIL(scene, WEIR_BROKER_WAIT_MS,
                     atomic_load(&scene->members[0].board->partitions) == (uint64_t)scene->stage.partitions);
}

/* Nothing is let finish until every window is full: the most that can be in memory is. */
static void fill(struct weir_scene *scene, const char *const *settings)
{
    struct weir_member_board *board = scene->members[0].board;
    atomic_store(&scene->settings.rest_held, 1);
    start(scene, settings);
    uint64_t half = MEMORY_MAX_BYTES / 2 / VALUE_BYTES; /* or nothing would have been put to the test */
    WEIR_SCENE_UNTIL(scene, 2 * WEIR_BROKER_WAIT_MS, atomic_load(&board->in_flight) > half);
    settle(scene, &board->in_flight);
    uint64_t in_flight = atomic_load(&board->in_flight);
    fprintf(stderr, "%" PRIu64 " messages in flight\n", in_flight);
    WEIR_SCENE_REQUIRE(scene, atomic_load(&board->pause) & WEIR_PAUSE_WINDOW, "vacuous: no window is full");
    WEIR_SCENE_REQUIRE(scene, in_flight < scene->stage.produced / 10 * 9, "vacuous: all messages fit into memory");
    atomic_store(&scene->settings.rest_held, 0);
    atomic_store(&board->rest_held, 0);
}

/* The keys that are not slow finish, while not one message of a slow one does. */
static void finish_rest(struct weir_scene *scene)
{
    uint64_t rest = count_of(scene, WEIR_LEDGER_EMIT, false, 0);
    uint64_t limit_ms = weir_broker_now_ms() + 2 * WEIR_BROKER_WAIT_MS;
    while (weir_ledger_count_finished(scene->stage.ledger) < rest && weir_broker_now_ms() < limit_ms)
        weir_scene_sleep(scene, 300);
    weir_scene_watch(scene, false);
    uint64_t finished = weir_ledger_count_finished(scene->stage.ledger),
             slow = count_of(scene, WEIR_LEDGER_END, true, 0), slow_runs = count_of(scene, WEIR_LEDGER_START, true, 0);
    fprintf(stderr, "%" PRIu64 " of %" PRIu64 " finished while %" PRIu64 " slow ones had begun\n", finished, rest,
            slow_runs);
    cr_assert_eq(finished, rest, "of %" PRIu64 " messages %" PRIu64 " finished beside those that are slow", rest,
                 finished);
    WEIR_SCENE_REQUIRE(scene, slow == 0 && slow_runs > (uint64_t)scene->stage.partitions / 2,
                       "vacuous: %" PRIu64 " slow runs, %" PRIu64 " of them over", slow_runs, slow);
}

void weir_scenario_many(struct weir_scene *scene)
{
    struct weir_chaos_result worst = {0};
    weir_scene_set(scene);
    scene->stage.value_size = VALUE_BYTES;
    weir_broker_batch_size(SET_BYTES - 500);
    weir_scene_produce(scene, scene->size.messages);
    uint64_t late_ms = scene->large ? 60000 : 8000;
    atomic_store(&scene->settings.late_every, LATE_EVERY);
    atomic_store(&scene->settings.late_ms, late_ms);
    atomic_store(&scene->settings.late_held, 1);
    const char *const *settings = WEIR_SCENE_SETTINGS(
        scene, "weir.window.messages.max", "1024", "weir.memory.bytes.max", "134217728", "queued.max.messages.kbytes",
        "16", "fetch.message.max.bytes", "8192", "session.timeout.ms", "1500", "weir.commit.messages.max", "0");
    fill(scene, settings);
    weir_scene_watch(scene, true);
    uint64_t half = scene->stage.produced / 2; /* then killed in the middle of it */
    WEIR_SCENE_UNTIL(scene, 2 * WEIR_BROKER_WAIT_MS, weir_scene_finished(scene) > half);
    check_memory(scene, &worst);
    weir_scene_kill(scene, 0);
    start(scene, settings);
    finish_rest(scene);
    settle(scene, &scene->members[0].board->commits);
    check_memory(scene, &worst);
    weir_scene_kill(scene, 0); /* and when all that has finished is told */
    size_t from = weir_ledger_count(scene->stage.ledger);
    atomic_store(&scene->settings.late_held, 0);
    start(scene, settings);
    scene->terms.stall_ms_max += late_ms;
    weir_scene_watch(scene, true);
    weir_scene_finish(scene, 60000 + 4 * late_ms); /* a slow key has two messages, one after the other */
    check_memory(scene, &worst);
    uint64_t again = count_of(scene, WEIR_LEDGER_START, false, from);
    fprintf(stderr, "%" PRIu64 " came again that had finished above slow ones\n", again);
    weir_scene_judge(scene);
    WEIR_SCENE_REQUIRE(scene, again <= scene->size.messages * AGAIN_PERMILLE_MAX / 1000,
                       "%" PRIu64 " messages that had finished above slow ones came again", again);
    scene->result->resident_bytes_max = worst.resident_bytes_max;
    scene->result->resident_bytes_bound = worst.resident_bytes_bound;
}
