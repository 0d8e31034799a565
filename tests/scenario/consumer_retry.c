/*
 * Failing messages: how often and when they run again, that only their key waits, and what they say when they are dead.
 */
#include "tests/scenario/scene.h"
#include <stdlib.h>
#include <string.h>

enum { DELAY_MS = 200, FAILURES = 3 };

static uint64_t key_hash(const char *key)
{
    return weir_ledger_key_hash(key, strlen(key));
}

/* The n-th record (from 0) of this kind, key and offset; fails the test when there is none. */
static const struct weir_ledger_record *find(const struct weir_scene *scene, enum weir_ledger_kind kind, int64_t offset,
                                             unsigned n, size_t *place)
{
    for (size_t index = 0; index < weir_ledger_count(scene->ledger); index++) {
        const struct weir_ledger_record *record = weir_ledger_at(scene->ledger, index);
        if (record && record->kind == kind && record->offset == offset && n-- == 0) {
            *place = index;
            return record;
        }
    }
    cr_assert_fail("offset %lld has no run of that number", (long long)offset);
    return NULL;
}

static enum weir_outcome fail_at_first(struct weir_subject *subject, struct weir_message *message)
{
    if (weir_scene_is(message, "fails") && weir_message_attempt(message) <= FAILURES)
        return weir_retry_after(message, DELAY_MS, "HTTP 503");
    return WEIR_ACK;
}

Test(consumer_retry, only_the_key_of_a_failing_message_waits_and_for_as_long_as_asked)
{
    struct weir_scene scene;
    size_t failing = 0, behind = 0, place;
    weir_scene_set(&scene, 1, fail_at_first, NULL);
    int64_t fails = weir_scene_put(&scene, 0, "a", "fails"), waits = weir_scene_put(&scene, 0, "a", "waits behind");
    for (unsigned number = 0; number < 50; number++)
        weir_scene_put(&scene, 0, number % 2 ? "b" : NULL, "goes on");
    WEIR_SCENE_START(&scene, "weir.workers", "2");
    WEIR_SCENE_UNTIL(weir_subject_stats(&scene.subject).counters.acked == 52);
    cr_assert_eq(weir_subject_close(&scene.subject), WEIR_OK, "%s", scene.subject.closed_error.text);
    cr_assert_eq(weir_subject_stats(&scene.subject).counters.retries, (uint64_t)FAILURES);

    for (unsigned run = 0; run <= FAILURES; run++) {
        const struct weir_ledger_record *start = find(&scene, WEIR_LEDGER_START, fails, run, &failing);
        cr_assert_eq(start->attempt, run + 1);
        cr_assert_eq(start->key_hash, key_hash("a"));
        if (run == 0)
            continue;
        const struct weir_ledger_record *end = find(&scene, WEIR_LEDGER_END, fails, run - 1, &place);
        cr_assert_geq(start->monotonic_ns, end->monotonic_ns + DELAY_MS * 1000000u, "run %u came too early", run + 1);
    }
    find(&scene, WEIR_LEDGER_START, waits, 0, &behind);
    cr_assert_gt(behind, failing);
    for (int64_t offset = waits + 1; offset < 52; offset++) { /* all others were done before the second run */
        find(&scene, WEIR_LEDGER_END, offset, 0, &place);
        cr_assert_lt(place, failing);
    }
    weir_scene_clear(&scene);
}

/* ---- the causes of death ---- */

static enum weir_outcome die_of_it(struct weir_subject *subject, struct weir_message *message)
{
    _Atomic uint64_t *overloads = subject->user;
    if (weir_scene_is(message, "dead"))
        return weir_dead(message, "no such customer");
    if (weir_scene_is(message, "attempts"))
        return weir_retry(message, "HTTP 503");
    if (weir_scene_is(message, "deadline"))
        return weir_retry_after(message, 400, "HTTP 504");
    if (weir_scene_is(message, "overloaded")) {
        atomic_fetch_add(&subject->wrong, weir_message_attempt(message) != 1);
        return atomic_fetch_add(overloads, 1) < 8 ? WEIR_OVERLOADED : WEIR_ACK;
    }
    return WEIR_DEAD; /* without a word */
}

static void check_letter(struct weir_scene *scene, const char *value, const char *reason, const char *words,
                         const char *runs)
{
    cr_assert_str_eq(weir_scene_letter(scene, value, "weir.dlq.reason").text, reason);
    cr_assert_str_eq(weir_scene_letter(scene, value, "__dlq.errors.delivery.count").text, runs);
    if (words)
        cr_assert_str_eq(weir_scene_letter(scene, value, "__dlq.errors.message").text, words);
}

Test(consumer_retry, a_dead_letter_says_of_what_it_died_and_overload_is_nothing_to_die_of)
{
    static const char *const values[] = {"dead", "attempts", "deadline", "overloaded", "silent"};
    struct weir_scene scene;
    _Atomic uint64_t overloads = 0;
    weir_scene_set(&scene, 2, die_of_it, &overloads);
    for (size_t index = 0; index < sizeof values / sizeof *values; index++)
        weir_scene_put(&scene, (int32_t)index % 2, values[index], values[index]);
    WEIR_SCENE_START(&scene, "weir.retry.attempts.max", "4", "weir.retry.base.ms", "1", "weir.retry.max.ms", "5",
                     "weir.retry.deadline.ms", "600", "weir.overloaded.base.ms", "1", "weir.overloaded.max.ms", "5");
    WEIR_SCENE_UNTIL(weir_subject_stats(&scene.subject).counters.dead_lettered == 4);
    WEIR_SCENE_UNTIL(weir_subject_stats(&scene.subject).counters.acked == 1);
    WEIR_SCENE_UNTIL(weir_scene_committed(&scene, 2) == 5);
    cr_assert_eq(weir_subject_close(&scene.subject), WEIR_OK, "%s", scene.subject.closed_error.text);
    cr_assert_eq(weir_subject_stats(&scene.subject).counters.overloaded, 8u);
    cr_assert_eq(atomic_load(&scene.subject.wrong), 0u, "an overload burnt an attempt");
    cr_assert(weir_subject_adds_up(&scene.subject));
    cr_assert_eq(weir_scene_letters(&scene), 4);
    check_letter(&scene, "dead", "dead", "no such customer", "1");
    check_letter(&scene, "attempts", "attempts", "HTTP 503", "4");
    check_letter(&scene, "deadline", "deadline", "HTTP 504", "2");
    check_letter(&scene, "silent", "dead", NULL, "1");
    weir_scene_clear(&scene);
}
