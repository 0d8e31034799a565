/*
 * Filters and rates, while members come, go and, by the seed, are killed: what is to be left out is, what is not is
 * handled, the counters say so, and no process starts more runs than its rate allows.
 */
#include "tests/broker/scribe.h"
#include "tests/chaos/families.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OLD_MS = 2 * 60 * 60 * 1000, TEXT_SIZE = 32 };

/* ---- messages for filters ---- */

static enum weir_chaos_class class_of(uint64_t number)
{
    static const enum weir_chaos_class classes[10] = {WEIR_CLASS_UNWANTED, WEIR_CLASS_EXPIRED, WEIR_CLASS_STALE};
    return classes[((number + 1) * 0x9e3779b97f4a7c15u >> 33) % 10]; /* seven in ten are wanted */
}

/* Writes one message to the partition of its key, and says so in the ledger's terms. */
static struct weir_ledger_record write_one(struct weir_scene *scene, struct weir_scribe *scribe, uint64_t number,
                                           int64_t now_ms, int64_t *ends)
{
    enum weir_chaos_class class = class_of(number);
    char key[TEXT_SIZE], value[TEXT_SIZE], version[TEXT_SIZE];
    snprintf(key, sizeof key, "key-%" PRIu64, number % scene->size.keys);
    snprintf(value, sizeof value, "%" PRIu64, number);
    snprintf(version, sizeof version, "%" PRIu64, class == WEIR_CLASS_STALE ? 0 : number + 1);
    const char *whose = class == WEIR_CLASS_UNWANTED ? "them" : "us";
    const struct weir_scribe_header headers[] = {{"for", whose, strlen(whose)}, {"version", version, strlen(version)}};
    int32_t partition = (int32_t)(number % scene->size.keys % (uint64_t)scene->stage.partitions);
    const struct weir_scribe_record record = {.partition = partition,
                                              .key = key,
                                              .key_size = strlen(key),
                                              .value = value,
                                              .value_size = strlen(value),
                                              .timestamp_ms = class == WEIR_CLASS_EXPIRED ? now_ms - OLD_MS : now_ms,
                                              .headers = headers,
                                              .header_count = 2};
    weir_scribe_write(scribe, scene->stage.topic.text, &record);
    return (struct weir_ledger_record){.kind = WEIR_LEDGER_EMIT,
                                       .topic_hash =
                                           weir_ledger_hash(scene->stage.topic.text, strlen(scene->stage.topic.text)),
                                       .key_hash = weir_ledger_key_hash(key, strlen(key)),
                                       .partition = partition,
                                       .offset = ends[partition]++,
                                       .note = number,
                                       .number = class};
}

static int64_t wall_ms(void)
{
    return (int64_t)weir_broker_now_ms() + weir_scene_ahead_ns() / 1000000;
}

/* As weir_scene_produce(). One idempotent producer writes each partition in order: so the offsets are known. */
static void produce_classes(struct weir_scene *scene, uint64_t count)
{
    struct weir_scribe scribe;
    struct weir_ledger_record *emits = calloc(count, sizeof *emits);
    int64_t *ends = calloc((size_t)scene->stage.partitions, sizeof *ends), low, now_ms = wall_ms();
    cr_assert(emits != NULL && ends != NULL);
    for (int32_t partition = 0; partition < scene->stage.partitions; partition++)
        weir_broker_watermarks(scene->stage.topic.text, partition, &low, &ends[partition]);
    weir_scribe_open(&scribe, NULL);
    for (uint64_t index = 0; index < count; index++)
        emits[index] = write_one(scene, &scribe, scene->stage.produced + index, now_ms, ends);
    weir_scribe_close(&scribe);
    for (uint64_t index = 0; index < count; index++)
        cr_assert(weir_ledger_write(scene->stage.ledger, &emits[index]), "the ledger is full");
    for (int32_t partition = 0; partition < scene->stage.partitions; partition++) {
        int64_t high;
        weir_broker_watermarks(scene->stage.topic.text, partition, &low, &high);
        cr_assert_eq(high, ends[partition], "partition %d ends at %" PRId64, (int)partition, high);
    }
    scene->stage.produced += count;
    free(emits);
    free(ends);
}

/* ---- both ---- */

/* Rounds of work in which one member goes and comes back; killed in every other one where that is wanted. */
static void disturb_all(struct weir_scene *scene, const char *const *settings,
                        void (*produce)(struct weir_scene *scene, uint64_t count), bool kills)
{
    uint64_t part = scene->size.messages / (scene->size.disturbances + 1);
    produce(scene, scene->size.messages - scene->size.disturbances * part);
    for (unsigned member = 0; member < scene->size.members; member++)
        weir_scene_start(scene, member, settings);
    WEIR_SCENE_UNTIL(scene, WEIR_BROKER_WAIT_MS, weir_scene_finished(scene) > 0);
    weir_scene_watch(scene, true);
    for (unsigned round = 0; round < scene->size.disturbances; round++) {
        unsigned member = round % scene->size.members;
        produce(scene, part);
        weir_scene_sleep(scene, 500 + weir_scene_below(scene, 500));
        if (kills && round % 2)
            weir_scene_kill(scene, member);
        else
            weir_scene_leave(scene, member);
        weir_scene_sleep(scene, weir_scene_below(scene, 500));
        weir_scene_start(scene, member, settings);
    }
    weir_scene_finish(scene, 90000);
}

/* ---- filters ---- */

/* Where nobody was killed, and no commit of a revocation was late, each message has been looked at once. */
static void check_counts(struct weir_scene *scene, bool exact)
{
    const struct weir_chaos_seen *seen = &scene->result->seen;
    const struct weir_counters *sums = &scene->sums;
    uint64_t filtered = seen->unwanted + seen->stale;
    uint64_t wanted = scene->size.messages - filtered - seen->expired;
    bool same = sums->filtered == filtered && sums->stale == seen->stale && sums->expired == seen->expired &&
                sums->dead_lettered == seen->expired && sums->acked == wanted && sums->skipped == 0;
    fprintf(
        stderr,
        "of %" PRIu64 " not wanted, %" PRIu64 " stale, %" PRIu64 " too old, members that closed have counted %" PRIu64
        " filtered, %" PRIu64 " stale, %" PRIu64 " expired; %" PRIu64 " stale ones were handled\n",
        seen->unwanted, seen->stale, seen->expired, sums->filtered, sums->stale, sums->expired, seen->stale_handled);
    WEIR_SCENE_REQUIRE(scene, !exact || same,
                       "%" PRIu64 " filtered, %" PRIu64 " stale, %" PRIu64 " expired, %" PRIu64 " dead, %" PRIu64
                       " acked: should be %" PRIu64 ", %" PRIu64 ", %" PRIu64 ", %" PRIu64 ", %" PRIu64,
                       sums->filtered, sums->stale, sums->expired, sums->dead_lettered, sums->acked, filtered,
                       seen->stale, seen->expired, seen->expired, wanted);
    WEIR_SCENE_REQUIRE(scene, sums->filtered > 0 && sums->stale > 0 && sums->expired > 0,
                       "vacuous: no member that closed has counted what it left out");
}

/* Odd seeds kill. */
void weir_scenario_filters(struct weir_scene *scene)
{
    bool kills = scene->seed % 2;
    weir_scene_set(scene);
    scene->terms.filters = true;
    scene->letter_reason = "expired";
    atomic_store(&scene->settings.fails_percent, 2);
    disturb_all(scene,
                WEIR_SCENE_SETTINGS(scene, "weir.filter.header", "for=us", "weir.filter.ttl.ms", "3600000",
                                    "weir.filter.expired", "dead", "weir.filter.version", "header",
                                    "weir.filter.version.header", "version", "weir.filter.stale", "skip",
                                    "weir.dlq.budget.burst", "0"),
                produce_classes, kills);
    /* What is too old has its letter before any run of a message behind it may show that its turn has come. */
    scene->terms.duplicates_more = 2 * scene->kills * (uint64_t)scene->stage.partitions;
    weir_scene_judge(scene);
    WEIR_SCENE_REQUIRE(scene, !kills || scene->kills > 0, "vacuous: nobody was killed");
    check_counts(scene, !kills && scene->result->longest_stall_ms < 5000 && scene->result->duplicates == 0);
}

/* ---- rates ---- */

enum { PER_SECOND = 250, KEY_PER_SECOND = 10, BURST_MS = 100 };

/* Odd seeds have a rate of each key, the others one of the process. */
void weir_scenario_rates(struct weir_scene *scene)
{
    char rate[TEXT_SIZE], burst[TEXT_SIZE];
    bool of_keys = scene->seed % 2;
    weir_scene_set(scene);
    scene->terms.rate = (struct weir_chaos_rate){of_keys ? 0 : PER_SECOND, of_keys ? KEY_PER_SECOND : 0, BURST_MS};
    snprintf(rate, sizeof rate, "%d", of_keys ? KEY_PER_SECOND : PER_SECOND);
    snprintf(burst, sizeof burst, "%d", BURST_MS);
    disturb_all(scene,
                WEIR_SCENE_SETTINGS(scene,
                                    of_keys ? "weir.rate.key.messages.per.second" : "weir.rate.messages.per.second",
                                    rate, "weir.rate.burst.ms", burst),
                weir_scene_produce, true);
    weir_scene_judge(scene);
    fprintf(stderr, "%" PRIu64 " waits; one rate has let at most %" PRIu64 " runs pass\n", scene->sums.delayed,
            scene->result->seen.rate_runs_max);
    WEIR_SCENE_REQUIRE(scene, scene->sums.delayed > scene->size.messages / 10 && scene->kills > 0,
                       "vacuous: %" PRIu64 " messages waited for their rate", scene->sums.delayed);
}
