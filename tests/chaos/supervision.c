/*
 * What is wrong with more than one message: a downstream that is away while members come and go, handlers that stop
 * their partition or their consumer, and failures of a class that has a policy of its own.
 */
#include "tests/chaos/families.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void start_all(struct weir_scene *scene, const char *const *settings)
{
    for (unsigned member = 0; member < scene->size.members; member++)
        weir_scene_start(scene, member, settings);
    for (unsigned member = 0; member < scene->size.members; member++)
        WEIR_SCENE_UNTIL(scene, WEIR_BROKER_WAIT_MS, atomic_load(&scene->members[member].board->finished) > 0);
}

/* ---- a downstream that is away ---- */

enum { OUTAGE_MS = 7000, OPENS_MS = 1500 };

/* Members that run, and whose breaker is, or is not, closed. */
static unsigned count_breakers(const struct weir_scene *scene, bool closed)
{
    unsigned count = 0;
    for (unsigned member = 0; member < scene->size.members; member++)
        count += weir_scene_runs(scene, member) &&
                 (atomic_load(&scene->members[member].board->breaker) == WEIR_BREAKER_CLOSED) == closed;
    return count;
}

static uint64_t most_openings(const struct weir_scene *scene)
{
    uint64_t most = 0;
    for (unsigned member = 0; member < scene->size.members; member++) {
        uint64_t openings = atomic_load(&scene->members[member].board->breaker_openings);
        most = openings > most ? openings : most;
    }
    return most;
}

/* One member is killed or goes, and comes back, while nothing works. */
static void churn_in_outage(struct weir_scene *scene, unsigned round, const char *const *settings)
{
    unsigned member = 1 + round % (scene->size.members - 1);
    if (round % 2)
        weir_scene_leave(scene, member);
    else
        weir_scene_kill(scene, member);
    weir_scene_sleep(scene, weir_scene_below(scene, 1000));
    weir_scene_start(scene, member, settings);
}

/* It begins in the middle of the work of the round, of which some comes meanwhile. All breakers open; nothing finishes;
 * then, one after the other, all close and go on, until all is done: no message meets two outages. */
static void go_through(struct weir_scene *scene, unsigned round, uint64_t how, const char *const *settings)
{
    uint64_t began_ms = weir_broker_now_ms(), part = scene->size.messages / scene->size.disturbances;
    bool last = round + 1 == scene->size.disturbances;
    weir_scene_produce(scene, part / 2);
    weir_scene_watch(scene, false);
    weir_scene_other(scene);
    weir_scene_down(scene, how);
    weir_scene_produce(scene, last ? scene->size.messages - scene->stage.produced : part - part / 2);
    WEIR_SCENE_UNTIL(scene, OPENS_MS + WEIR_BROKER_WAIT_MS, count_breakers(scene, true) == 0);
    uint64_t finished = weir_scene_finished(scene);
    churn_in_outage(scene, round, settings);
    while (weir_broker_now_ms() < began_ms + OUTAGE_MS)
        weir_scene_sleep(scene, 50);
    WEIR_SCENE_UNTIL(scene, WEIR_BROKER_WAIT_MS, count_breakers(scene, true) == 0); /* that which came, too */
    WEIR_SCENE_REQUIRE(scene, weir_scene_finished(scene) == finished,
                       "%" PRIu64 " messages were acked while the downstream was away",
                       weir_scene_finished(scene) - finished);
    weir_scene_down(scene, WEIR_DOWN_NOT);
    weir_scene_watch(scene, true);
    WEIR_SCENE_UNTIL(scene, WEIR_BROKER_WAIT_MS, count_breakers(scene, false) == 0);
    WEIR_SCENE_UNTIL(scene, WEIR_BROKER_WAIT_MS, weir_scene_is_done(scene));
}

/* Attempts and deadlines are short of an outage: without a breaker that spares them all that was tried would be dead.
 * With odd seeds the downstream says WEIR_OVERLOADED, which burns none at all. */
void weir_scenario_outage(struct weir_scene *scene)
{
    bool overloaded = scene->seed % 2;
    weir_scene_set(scene);
    scene->terms.spares_attempts = true;
    scene->letter_reason = "nothing"; /* there are to be none */
    /* The window has room for what fails, and so is held, until a breaker opens. */
    const char *const *settings = WEIR_SCENE_SETTINGS(
        scene, "weir.window.messages.max", "1024", "weir.breaker.failures.percent", "30", "weir.breaker.runs.min", "10",
        "weir.breaker.window.ms", "500", "weir.breaker.open.ms", "300", "weir.breaker.open.ms.max", "1000",
        "weir.breaker.overloaded", overloaded ? "open" : "count", "weir.retry.attempts.max", "4",
        "weir.retry.deadline.ms", "5000", "weir.overloaded.max.ms", "1000");
    for (unsigned member = 0; member < scene->size.members; member++)
        weir_scene_start(scene, member, settings);
    for (unsigned member = 0; member < scene->size.members; member++)
        WEIR_SCENE_UNTIL(scene, WEIR_BROKER_WAIT_MS, atomic_load(&scene->members[member].board->partitions) > 0);
    for (unsigned round = 0; round < scene->size.disturbances; round++)
        go_through(scene, round, overloaded ? WEIR_DOWN_OVERLOADED : WEIR_DOWN_FAILS, settings);
    uint64_t openings = most_openings(scene);
    unsigned closings = 0;
    for (unsigned member = 0; member < scene->size.members; member++)
        closings += weir_member_log_count(&scene->members[member], "probing -> closed");
    weir_scene_finish(scene, 60000);
    weir_scene_judge(scene);
    fprintf(stderr,
            "%" PRIu64 " runs failed, the highest attempt was %" PRIu64 "; one breaker has opened %" PRIu64
            " times, all have closed %u times\n",
            scene->result->seen.failures, scene->result->seen.attempt_max, openings, closings);
    WEIR_SCENE_REQUIRE(scene, scene->letter_count == 0, "%" PRIu64 " messages died of the outage", scene->letter_count);
    WEIR_SCENE_REQUIRE(scene, !overloaded || scene->result->seen.attempt_max == 1,
                       "an overload burnt %" PRIu64 " attempts", scene->result->seen.attempt_max - 1);
    WEIR_SCENE_REQUIRE(scene,
                       openings >= scene->size.disturbances &&
                           closings >= scene->size.disturbances * scene->size.members &&
                           scene->result->seen.failures > 0,
                       "vacuous: a breaker has opened %" PRIu64 " times, all have closed %u times", openings, closings);
}

/* ---- escalation ---- */

enum { STANDS_MS = 1000, LAST_RUNS_MS = 300 };

/* What this process has escalated since; NULL: nothing. */
static const struct weir_ledger_record *escalated_by(const struct weir_scene *scene, uint32_t process, size_t since)
{
    for (size_t place = since; place < weir_ledger_count(scene->stage.ledger); place++) {
        const struct weir_ledger_record *record = weir_scene_record(scene, place, WEIR_LEDGER_END);
        if (record && record->process == process && record->outcome == WEIR_ESCALATE)
            return record;
    }
    return NULL;
}

static bool is_acked(const struct weir_scene *scene, const struct weir_ledger_record *message, uint32_t *by)
{
    for (size_t place = 0; place < weir_ledger_count(scene->stage.ledger); place++) {
        const struct weir_ledger_record *record = weir_scene_record(scene, place, WEIR_LEDGER_END);
        if (record && record->outcome == WEIR_ACK && weir_chaos_compare_message(record, message) == 0) {
            *by = record->process;
            return true;
        }
    }
    return false;
}

/* Runs of the message's partition that its process has begun since, but for those that were about to. */
static uint64_t begun_since(const struct weir_scene *scene, const struct weir_ledger_record *message, uint64_t since_ms)
{
    uint64_t count = 0;
    for (size_t place = 0; place < weir_ledger_count(scene->stage.ledger); place++) {
        const struct weir_ledger_record *record = weir_scene_record(scene, place, WEIR_LEDGER_START);
        count += record && record->process == message->process && weir_chaos_compare_lane(record, message) == 0 &&
                 record->monotonic_ns > (since_ms + LAST_RUNS_MS) * 1000000;
    }
    return count;
}

/* Has its process been asked for partitions since, or lost them? A rebalance may still be under way, and ends what was
 * stopped. */
static bool has_left(const struct weir_scene *scene, const struct weir_ledger_record *message)
{
    for (size_t place = weir_ledger_count(scene->stage.ledger); place-- > 0;) {
        const struct weir_ledger_record *record = weir_scene_record(scene, place, WEIR_LEDGER_EVENT);
        if (record && record->process == message->process && record->monotonic_ns > message->monotonic_ns &&
            (record->outcome == WEIR_EVENT_REVOKE || record->outcome == WEIR_EVENT_LOST))
            return true;
    }
    return false;
}

/* The next run of this member does, of the messages of the round, which are produced now. */
static const struct weir_ledger_record *escalate(struct weir_scene *scene, unsigned member, enum weir_escalation what)
{
    struct weir_member_board *board = scene->members[member].board;
    uint32_t process = (uint32_t)scene->members[member].pid;
    WEIR_SCENE_UNTIL(scene, WEIR_BROKER_WAIT_MS, atomic_load(&board->partitions) > 0);
    size_t since = weir_ledger_count(scene->stage.ledger);
    atomic_store(&board->escalate, 1 + what);
    weir_scene_produce(scene, scene->size.messages / (scene->size.disturbances + 1));
    WEIR_SCENE_UNTIL(scene, WEIR_BROKER_WAIT_MS, escalated_by(scene, process, since) != NULL);
    return escalated_by(scene, process, since);
}

static void await_elsewhere(struct weir_scene *scene, const struct weir_ledger_record *message)
{
    uint32_t by = 0;
    WEIR_SCENE_UNTIL(scene, WEIR_BROKER_WAIT_MS, is_acked(scene, message, &by));
    WEIR_SCENE_REQUIRE(scene, by != message->process, "offset %" PRId64 " was finished by who had stopped for it",
                       message->offset);
}

/* The consumer closes with the reason, and others do what it had. */
static void stop_consumer(struct weir_scene *scene, unsigned member)
{
    char place[64];
    uint64_t escalated = scene->escalated;
    const struct weir_ledger_record *message = escalate(scene, member, WEIR_STOP_CONSUMER);
    weir_ledger_event(scene->stage.ledger, WEIR_EVENT_LEAVE, message->process);
    WEIR_SCENE_UNTIL(scene, WEIR_BROKER_WAIT_MS, weir_scene_reap(scene, member));
    snprintf(place, sizeof place, "%" PRId32 ", offset %" PRId64, message->partition, message->offset);
    WEIR_SCENE_REQUIRE(scene,
                       scene->escalated == escalated + 1 && strstr(scene->said.text, "the test has closed the books") &&
                           strstr(scene->said.text, scene->stage.topic.text) && strstr(scene->said.text, place),
                       "member %u, stopped for partition %s, has said: %s", member, place, scene->said.text);
    await_elsewhere(scene, message);
}

/* The partition stands still; then it goes on here, as it is told to, or with another member, as this one leaves. */
static void stop_partition(struct weir_scene *scene, unsigned member, bool resumes)
{
    struct weir_member_board *board = scene->members[member].board;
    uint32_t by = 0;
    const struct weir_ledger_record *message = escalate(scene, member, WEIR_STOP_PARTITION);
    weir_scene_other(scene);
    WEIR_SCENE_UNTIL(scene, WEIR_BROKER_WAIT_MS,
                     (atomic_load(&board->pause) & WEIR_PAUSE_ESCALATED) || has_left(scene, message));
    uint64_t since_ms = weir_broker_now_ms();
    weir_scene_sleep(scene, STANDS_MS);
    uint64_t begun = begun_since(scene, message, since_ms);
    WEIR_SCENE_REQUIRE(scene, begun == 0 || has_left(scene, message),
                       "%" PRIu64 " runs of partition %" PRId32 " began though it was stopped", begun,
                       message->partition);
    WEIR_SCENE_REQUIRE(scene, !is_acked(scene, message, &by) || has_left(scene, message),
                       "offset %" PRId64 " was finished meanwhile", message->offset);
    if (resumes) {
        atomic_store(&board->resume, 1);
        WEIR_SCENE_UNTIL(scene, WEIR_BROKER_WAIT_MS, is_acked(scene, message, &by));
        WEIR_SCENE_REQUIRE(scene, by == message->process || has_left(scene, message),
                           "offset %" PRId64 " was finished by another member", message->offset);
    } else {
        weir_scene_leave(scene, member);
        await_elsewhere(scene, message);
    }
}

void weir_scenario_escalation(struct weir_scene *scene)
{
    weir_scene_set(scene);
    scene->may_escalate = true;
    scene->terms.spares_attempts = true;
    const char *const *settings = WEIR_SCENE_SETTINGS(scene, "weir.window.messages.max", "64");
    uint64_t part = scene->size.messages / (scene->size.disturbances + 1);
    weir_scene_produce(scene, scene->size.messages - scene->size.disturbances * part);
    start_all(scene, settings);
    weir_scene_watch(scene, true);
    for (unsigned round = 0; round < scene->size.disturbances; round++) {
        unsigned member = (unsigned)weir_scene_below(scene, scene->size.members);
        if (round % 3 == 0)
            stop_consumer(scene, member);
        else
            stop_partition(scene, member, round % 3 == 1);
        if (!weir_scene_runs(scene, member))
            weir_scene_start(scene, member, settings);
        uint64_t done = atomic_load(&scene->members[member].board->finished);
        WEIR_SCENE_UNTIL(scene, WEIR_BROKER_WAIT_MS,
                         atomic_load(&scene->members[member].board->finished) > done || weir_scene_is_done(scene));
    }
    weir_scene_finish(scene, 60000);
    weir_scene_judge(scene);
    fprintf(stderr, "%" PRIu64 " members closed for what a handler said, which %" PRIu64 " runs did\n",
            scene->escalated, scene->sums.escalations);
    WEIR_SCENE_REQUIRE(scene, scene->letter_count == 0, "%" PRIu64 " messages died", scene->letter_count);
    WEIR_SCENE_REQUIRE(scene, scene->sums.escalations >= scene->size.disturbances && scene->escalated > 0,
                       "vacuous: %" PRIu64 " runs escalated", scene->sums.escalations);
    /* As in `closing`. */
    WEIR_SCENE_REQUIRE(scene, scene->result->duplicates == 0 || scene->result->longest_stall_ms >= 5000,
                       "%" PRIu64 " messages ran twice", scene->result->duplicates);
}

/* ---- classes of failures ---- */

enum { BUSY_EVERY = 40, POISON_EVERY = 200, ATTEMPTS_MAX = 3 };

/* Poison has at most its attempts, whoever tries; what is busy has as many as it takes. */
static void check_attempts(struct weir_scene *scene)
{
    uint64_t busy = 0, poison = 0, letters = 0;
    for (size_t place = 0; place < weir_ledger_count(scene->stage.ledger); place++) {
        const struct weir_ledger_record *record = weir_ledger_at(scene->stage.ledger, place);
        if (!record || (record->kind != WEIR_LEDGER_START && record->kind != WEIR_LEDGER_LETTER))
            continue;
        bool dies = weir_member_is_one_in(POISON_EVERY, record->partition, record->offset, scene->seed + 3);
        bool letter = record->kind == WEIR_LEDGER_LETTER;
        WEIR_SCENE_REQUIRE(scene, dies || !letter, "partition %" PRId32 ": offset %" PRId64 " died, and is no poison",
                           record->partition, record->offset);
        WEIR_SCENE_REQUIRE(scene, !dies || record->attempt <= ATTEMPTS_MAX,
                           "partition %" PRId32 ": offset %" PRId64 " had an attempt %" PRIu32, record->partition,
                           record->offset, record->attempt);
        letters += letter;
        poison += dies && record->attempt == ATTEMPTS_MAX;
        busy += !dies && record->attempt == WEIR_MEMBER_BUSY_RUNS + 1;
    }
    fprintf(stderr, "%" PRIu64 " busy messages had all their runs, %" PRIu64 " poison; %" PRIu64 " letters\n", busy,
            poison, letters);
    WEIR_SCENE_REQUIRE(scene, busy >= scene->size.messages / BUSY_EVERY / 2 && poison > 0 && letters > 0,
                       "vacuous: %" PRIu64 " busy messages and %" PRIu64 " poison, %" PRIu64 " letters", busy, poison,
                       letters);
}

void weir_scenario_classes(struct weir_scene *scene)
{
    weir_scene_set(scene);
    scene->letter_reason = "attempts";
    atomic_store(&scene->settings.busy_every, BUSY_EVERY);
    atomic_store(&scene->settings.poison_every, POISON_EVERY);
    weir_churn(scene,
               WEIR_SCENE_SETTINGS(scene, "weir.retry.attempts.max", "3", "weir.class.busy.retry.attempts.max", "0",
                                   "weir.class.busy.retry.base.ms", "2", "weir.class.busy.retry.max.ms", "20"),
               90000);
    weir_scene_end(scene);
    check_attempts(scene);
    weir_scene_judge(scene);
}
