/*
 * Handlers on threads of their own that block, for longer than any drain now and then, while members come, go and are
 * killed; and handlers that take their process down, with a crash journal, beside kills that are nobody's fault.
 */
#include "tests/chaos/families.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* ---- blocking ---- */

enum { WORKERS = 2, THREADS = 32, LONG_EVERY = 800, LONG_MS = 7000, PROCESSES_MAX = 512 };

/* One process, as the ledger is read. */
struct process {
    uint32_t process;
    uint64_t running, most, beside;
    uint64_t long_since_ns; /* start of the oldest run that is long and not over, as far as is known; 0: none */
};

static struct process *process_of(struct process *all, uint32_t process)
{
    for (size_t index = 0; index < PROCESSES_MAX; index++) {
        if (all[index].process == 0)
            all[index].process = process;
        if (all[index].process == process)
            return &all[index];
    }
    cr_assert_fail("more than %d processes", PROCESSES_MAX);
    return NULL;
}

static bool is_long(const struct weir_scene *scene, const struct weir_ledger_record *record)
{
    return weir_member_is_one_in(LONG_EVERY, record->partition, record->offset, scene->seed + 1);
}

static void take_record(const struct weir_scene *scene, struct process *process,
                        const struct weir_ledger_record *record)
{
    bool lasts = is_long(scene, record);
    if (record->kind == WEIR_LEDGER_START) {
        process->running++;
        process->most = process->running > process->most ? process->running : process->most;
        process->beside +=
            process->long_since_ns > 0 && record->monotonic_ns > process->long_since_ns + LONG_MS / 2 * 1000000ull;
        if (lasts && process->long_since_ns == 0)
            process->long_since_ns = record->monotonic_ns;
    } else {
        process->running -= process->running > 0;
        process->long_since_ns = lasts ? 0 : process->long_since_ns;
    }
}

/* Runs at a time in a process, and runs that began while one that blocks had done so for half of its time. */
static void check_threads(struct weir_scene *scene)
{
    uint64_t most = 0, beside = 0;
    struct process *all = calloc(PROCESSES_MAX, sizeof *all);
    cr_assert_not_null(all);
    for (size_t place = 0; place < weir_ledger_count(scene->stage.ledger); place++) {
        const struct weir_ledger_record *record = weir_ledger_at(scene->stage.ledger, place);
        if (record && (record->kind == WEIR_LEDGER_START || record->kind == WEIR_LEDGER_END))
            take_record(scene, process_of(all, record->process), record);
    }
    for (size_t index = 0; index < PROCESSES_MAX; index++) {
        most = all[index].most > most ? all[index].most : most;
        beside += all[index].beside;
    }
    free(all);
    fprintf(stderr, "%" PRIu64 " runs at a time, %" PRIu64 " began beside one that blocks\n", most, beside);
    WEIR_SCENE_REQUIRE(scene, most <= THREADS, "%" PRIu64 " runs at a time on %d threads", most, THREADS);
    WEIR_SCENE_REQUIRE(scene, most > 4 * WORKERS && beside >= 100,
                       "vacuous: %" PRIu64 " runs at a time, %" PRIu64 " beside one that blocks", most, beside);
}

void weir_scenario_blocking(struct weir_scene *scene)
{
    weir_scene_set(scene);
    scene->terms.workers = THREADS;
    scene->terms.stall_ms_max += LONG_MS;
    atomic_store(&scene->settings.fails_percent, 2);
    atomic_store(&scene->settings.long_every, LONG_EVERY);
    atomic_store(&scene->settings.long_ms, LONG_MS);
    weir_churn(scene, WEIR_SCENE_SETTINGS(scene, "weir.workers", "2", "weir.blocking.threads", "32"), 90000);
    weir_scene_end(scene);
    check_threads(scene);
    weir_scene_judge(scene);
}

/* ---- crashes ---- */

enum { TRIES = 3, KILLS = TRIES - 1, SEEDS_MAX = 100000 };

struct crashing {
    char journals[WEIR_SCENE_MEMBERS_MAX][64];
    uint64_t every, poison;
};

static void start_journalled(struct weir_scene *scene, struct crashing *crashing, unsigned member)
{
    char name[32];
    snprintf(name, sizeof name, "member-%u", member);
    weir_scene_start(scene, member,
                     WEIR_SCENE_SETTINGS(scene, "group.instance.id", name, "session.timeout.ms", "20000",
                                         "weir.crash.journal", crashing->journals[member], "weir.crash.attempts.max",
                                         "3"));
}

static bool is_poison(const struct crashing *crashing, const struct weir_ledger_record *record, uint64_t seed)
{
    return weir_member_is_one_in(crashing->every, record->partition, record->offset, seed + 4);
}

static uint64_t count_poison(const struct weir_scene *scene, const struct crashing *crashing, uint64_t seed)
{
    uint64_t count = 0;
    for (size_t place = 0; place < weir_ledger_count(scene->stage.ledger); place++) {
        const struct weir_ledger_record *record = weir_scene_record(scene, place, WEIR_LEDGER_EMIT);
        count += record && is_poison(crashing, record, seed);
    }
    return count;
}

/* A seed by which just as many messages as there are to be are poison. */
static void choose_poison(struct weir_scene *scene, struct crashing *crashing)
{
    uint64_t seed = scene->seed;
    crashing->poison = scene->size.disturbances / TRIES;
    crashing->every = scene->size.messages / crashing->poison;
    while (count_poison(scene, crashing, seed) != crashing->poison)
        cr_assert_lt(++seed, scene->seed + SEEDS_MAX);
    atomic_store(&scene->settings.seed, seed);
    atomic_store(&scene->settings.crash_every, crashing->every);
}

/* Who has crashed is started again. */
static uint64_t supervise(struct weir_scene *scene, struct crashing *crashing)
{
    uint64_t crashes = 0;
    for (unsigned member = 0; member < scene->size.members; member++) {
        if (!weir_scene_reap_crash(scene, member))
            continue;
        crashes++;
        start_journalled(scene, crashing, member);
    }
    return crashes;
}

/* KILLS by us, which may meet anybody's run: not often enough to condemn one. */
static uint64_t work_and_crash(struct weir_scene *scene, struct crashing *crashing)
{
    uint64_t crashes = 0, kill_ms = weir_broker_now_ms() + 2000, limit_ms = weir_broker_now_ms();
    unsigned kills = 0;
    limit_ms += 1000 * (60 + 5 * (uint64_t)scene->size.disturbances);
    weir_scene_watch(scene, true);
    while (!weir_scene_is_done(scene)) {
        cr_assert_lt(weir_broker_now_ms(), limit_ms, "waited too long, after %" PRIu64 " crashes", crashes);
        crashes += supervise(scene, crashing);
        unsigned victim = (unsigned)weir_scene_below(scene, scene->size.members);
        if (kills < KILLS && weir_broker_now_ms() > kill_ms && weir_scene_runs(scene, victim) &&
            atomic_load(&scene->members[victim].board->in_flight) > 0) {
            weir_scene_kill(scene, victim);
            start_journalled(scene, crashing, victim);
            kill_ms += 3000;
            kills++;
        }
        weir_scene_sleep(scene, 20);
    }
    WEIR_SCENE_REQUIRE(scene, kills > 0, "vacuous: nobody was killed besides");
    return crashes;
}

static void check_letters(struct weir_scene *scene, struct crashing *crashing)
{
    uint64_t seed = atomic_load(&scene->settings.seed);
    for (size_t place = 0; place < weir_ledger_count(scene->stage.ledger); place++) {
        const struct weir_ledger_record *record = weir_scene_record(scene, place, WEIR_LEDGER_LETTER);
        WEIR_SCENE_REQUIRE(scene, !record || is_poison(crashing, record, seed),
                           "partition %" PRId32 ": offset %" PRId64 " is innocent", record->partition, record->offset);
    }
    WEIR_SCENE_REQUIRE(scene, scene->letter_count >= crashing->poison, "%" PRIu64 " letters for %" PRIu64 " poison",
                       scene->letter_count, crashing->poison);
}

/* Static members, each with a journal of its own: who comes back meets what took him down. Each poison takes TRIES
 * crashes, or one less where another's came between its claim and its first words, or one of our kills met it. */
void weir_scenario_crashes(struct weir_scene *scene)
{
    static struct crashing crashing;
    struct rlimit no_core = {0, 0};
    cr_assert_eq(setrlimit(RLIMIT_CORE, &no_core), 0);
    weir_scene_set(scene);
    scene->letter_reason = "crash";
    for (unsigned member = 0; member < scene->size.members; member++) {
        snprintf(crashing.journals[member], sizeof crashing.journals[member], "/tmp/weir-chaos-journal-XXXXXX");
        int file = mkstemp(crashing.journals[member]);
        cr_assert_geq(file, 0);
        close(file);
    }
    weir_scene_produce(scene, scene->size.messages);
    choose_poison(scene, &crashing);
    scene->terms.disturbances = (TRIES - 1) * crashing.poison; /* kills are some, too */
    for (unsigned member = 0; member < scene->size.members; member++)
        start_journalled(scene, &crashing, member);
    uint64_t crashes = work_and_crash(scene, &crashing);
    weir_scene_end(scene);
    check_letters(scene, &crashing);
    weir_scene_judge(scene);
    fprintf(stderr, "%" PRIu64 " poison, %" PRIu64 " crashes, %" PRIu64 " letters\n", crashing.poison, crashes,
            scene->letter_count);
    WEIR_SCENE_REQUIRE(scene, crashes + KILLS >= (TRIES - 1) * crashing.poison && crashes <= TRIES * crashing.poison,
                       "%" PRIu64 " crashes for %" PRIu64 " poison", crashes, crashing.poison);
    for (unsigned member = 0; member < scene->size.members; member++)
        unlink(crashing.journals[member]);
}
