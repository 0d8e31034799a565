/*
 * A consumer on the mock cluster: topic "orders", group "billing", and a subject (tests/support/subject.h).
 *
 * The first join of a group takes 3 s there, so a test says what it has to say with one consumer.
 * Thread: the test's own. Nothing returns an error: what fails, fails the test.
 */
#ifndef WEIR_TESTS_SCENE_H
#define WEIR_TESTS_SCENE_H

#include "tests/support/mock.h"
#include "tests/support/subject.h"
#include "tests/support/test.h"
#include "tests/support/wait.h"

struct weir_scene {
    struct weir_mock *mock;
    struct weir_ledger *ledger;
    struct weir_subject subject;
};

/** A cluster with the topic, a ledger, and a subject with that rule; not started. Keeps the log. */
void weir_scene_set(struct weir_scene *scene, int partitions, weir_subject_rule *rule, void *user);
void weir_scene_clear(struct weir_scene *scene); /* destroys what is left */

/* Start the subject with these settings over the scene's: WEIR_SCENE_START(&scene, "weir.workers", "2"); */
#define WEIR_SCENE_START(scene, ...)                                                                \
    weir_subject_start(&(scene)->subject, (const char *const[]){"bootstrap.servers",                \
                                                                weir_mock_bootstrap((scene)->mock), \
                                                                "group.id",                         \
                                                                "billing",                          \
                                                                "weir.topics",                      \
                                                                "orders",                           \
                                                                "auto.offset.reset",                \
                                                                "earliest",                         \
                                                                "session.timeout.ms",               \
                                                                "6000",                             \
                                                                "heartbeat.interval.ms",            \
                                                                "300",                              \
                                                                "fetch.wait.max.ms",                \
                                                                "10",                               \
                                                                "weir.workers",                     \
                                                                "2",                                \
                                                                "weir.commit.interval.ms",          \
                                                                "50",                               \
                                                                "weir.close.drain.ms.max",          \
                                                                "5000",                             \
                                                                __VA_ARGS__,                        \
                                                                NULL})

/** One message, whose production goes into the ledger. Texts; NULL: null. Returns its offset. */
int64_t weir_scene_put(struct weir_scene *scene, int32_t partition, const char *key, const char *value);
/** `count` of them: keys "key-<number % keys>" (0: null keys), values "<number>", number from 0. */
void weir_scene_put_many(struct weir_scene *scene, int32_t partition, unsigned count, unsigned keys);

/** Is the message's value this text? */
bool weir_scene_is(const struct weir_message *message, const char *value);
/** Sum of the committed offsets of the group. */
int64_t weir_scene_committed(struct weir_scene *scene, int partitions);
/** Messages in the dead letter topic. */
int64_t weir_scene_letters(struct weir_scene *scene);
struct weir_scene_text {
    char text[128];
};
/** A header of the dead letter with this value, as text. */
struct weir_scene_text weir_scene_letter(struct weir_scene *scene, const char *value, const char *header);
/** No loss and order of each key; `strictly`: and each message finished once. */
void weir_scene_check(const struct weir_scene *scene, bool strictly);

/* Wait until a condition holds; fail the test, with the log, when it does not. */
#define WEIR_SCENE_UNTIL(condition)                                     \
    do {                                                                \
        unsigned rounds_ = 0;                                           \
        while (!(condition) && rounds_++ < WEIR_TEST_WAIT_MS / 5)       \
            weir_test_sleep_us(5000);                                   \
        if (rounds_ > WEIR_TEST_WAIT_MS / 5)                            \
            weir_subject_show_log();                                    \
        cr_assert(rounds_ <= WEIR_TEST_WAIT_MS / 5, "waited too long"); \
    } while (0)

#endif
