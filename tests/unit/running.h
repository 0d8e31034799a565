/*
 * A system that runs on threads of its own, for the tests of its workers.
 */
#ifndef WEIR_TESTS_RUNNING_H
#define WEIR_TESTS_RUNNING_H

#include "runtime/system.h"
#include "tests/support/test.h"

static inline struct weir_system *weir_test_system(unsigned workers)
{
    struct weir_error error = {0};
    struct weir_system *system = weir_system_create(workers, 0, weir_seam_system(), &error);
    cr_assert_not_null(system, "%s", error.text);
    cr_assert_eq(weir_system_start(system, &error), 0, "%s", error.text);
    return system;
}

static inline void weir_test_system_end(struct weir_system *system)
{
    weir_system_stop(system);
    weir_system_destroy(system);
}

#endif
