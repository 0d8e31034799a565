/*
 * What the tests of the kit share: a handler that does what the message's value says, and kits with it.
 *
 *   "ack" "skip" "dead" "overloaded"    that outcome; of `overloaded` the second run acks
 *   "retry N"                           N times WEIR_RETRY, then WEIR_ACK; N 0: always WEIR_RETRY
 *   "later N"                           WEIR_LATER, acked after N ms by weir_testkit_after()
 *   "keep"                              WEIR_LATER, and the handle is put into `kept`
 *   "bare"                              WEIR_LATER without a handle
 *   "odd"                               an outcome that there is not
 */
#ifndef WEIR_TESTS_SIM_TESTKIT_H
#define WEIR_TESTS_SIM_TESTKIT_H

#include "tests/support/test.h"
#include <stdlib.h>
#include <string.h>
#include <weir/testkit.h>

struct scene {
    struct weir_testkit *kit;
    struct weir_later kept[64];
    size_t kept_count;
    unsigned calls;
    unsigned finished, stale; /* what the kept and later handles were told */
};

enum weir_outcome weir_scene_handle(struct weir_message *message, void *scene);

/* A kit with options: names and values, ended by NULL; NULL: none. Fails the test where it cannot be. */
struct scene *weir_scene_create(uint64_t seed, const char *const *options);
void weir_scene_destroy(struct scene *scene);
/* Send to partition 0 of "messages", with this key. */
const struct weir_testkit_message *weir_scene_send(struct scene *scene, const char *key, const char *value);
/* Run number `index` of a message, which there must be. */
struct weir_testkit_run weir_scene_run(const struct weir_testkit_message *message, size_t index);

#define expect_ok(call)                                             \
    do {                                                            \
        struct weir_error error_ = {0};                             \
        __attribute__((unused)) struct weir_error *error = &error_; \
        cr_assert_eq((call), 0, "%s: %s", #call, error_.text);      \
    } while (0)

/* The call is refused with this code and a sentence that holds these words. */
#define expect_refusal(call, code_, words)                                                                   \
    do {                                                                                                     \
        struct weir_error error_ = {0};                                                                      \
        __attribute__((unused)) struct weir_error *error = &error_;                                          \
        cr_assert_eq((call), (code_), "%s: %s", #call, error_.text);                                         \
        cr_assert_eq(error_.code, (code_));                                                                  \
        cr_assert(strstr(error_.text, (words)) != NULL, "%s: \"%s\" lacks %s", #call, error_.text, (words)); \
    } while (0)

#endif
