/*
 * Tests are written for Criterion: its Test() leaves an entry in a section of the program. Two runners know that
 * section, so the same objects make two programs: test-SUITE on Criterion, and plain-SUITE on runner.c, for sanitizers
 * and valgrind, since Criterion aborts under ThreadSanitizer and lets leaks pass. What an assertion does that fails is
 * the runner's: criterion.c, or runner.c.
 */
#ifndef WEIR_TESTS_TEST_H
#define WEIR_TESTS_TEST_H

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

/* How many seeds or rounds to run: `count`, or WEIR_TEST_SCALE percent of it (slow builds set that), at least 1. */
static inline unsigned weir_test_scaled(unsigned count)
{
    const char *text = getenv("WEIR_TEST_SCALE");
    unsigned long long scaled = (unsigned long long)count * (text ? strtoul(text, NULL, 10) : 100) / 100;
    return scaled > 0 ? (unsigned)scaled : 1;
}

/* End the test. `condition` is the text of what does not hold, the rest the test's own words, which may be empty. */
_Noreturn void weir_test_fail(const char *file, int line, const char *condition, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
_Noreturn void weir_test_skip(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Criterion's assertions, but each no more than a comparison and a call: its own take twice as long to compile, and its
 * library to link. */
#undef cr_assert
#undef cr_assert_not
#undef cr_assert_eq
#undef cr_assert_neq
#undef cr_assert_lt
#undef cr_assert_gt
#undef cr_assert_leq
#undef cr_assert_geq
#undef cr_assert_null
#undef cr_assert_not_null
#undef cr_assert_str_eq
#undef cr_assert_str_neq
#undef cr_assert_arr_eq
#undef cr_assert_fail
#undef cr_skip_test

#define cr_assert(condition, ...)                                            \
    do {                                                                     \
        if (!(condition))                                                    \
            weir_test_fail(__FILE__, __LINE__, #condition, " " __VA_ARGS__); \
    } while (0)
#define cr_assert_not(condition, ...)     cr_assert(!(condition), __VA_ARGS__)
#define cr_assert_eq(a, b, ...)           cr_assert((a) == (b), __VA_ARGS__)
#define cr_assert_neq(a, b, ...)          cr_assert((a) != (b), __VA_ARGS__)
#define cr_assert_lt(a, b, ...)           cr_assert((a) < (b), __VA_ARGS__)
#define cr_assert_gt(a, b, ...)           cr_assert((a) > (b), __VA_ARGS__)
#define cr_assert_leq(a, b, ...)          cr_assert((a) <= (b), __VA_ARGS__)
#define cr_assert_geq(a, b, ...)          cr_assert((a) >= (b), __VA_ARGS__)
#define cr_assert_null(a, ...)            cr_assert((a) == NULL, __VA_ARGS__)
#define cr_assert_not_null(a, ...)        cr_assert((a) != NULL, __VA_ARGS__)
#define cr_assert_str_eq(a, b, ...)       cr_assert(strcmp((a), (b)) == 0, __VA_ARGS__)
#define cr_assert_str_neq(a, b, ...)      cr_assert(strcmp((a), (b)) != 0, __VA_ARGS__)
#define cr_assert_arr_eq(a, b, size, ...) cr_assert(memcmp((a), (b), (size)) == 0, __VA_ARGS__)
#define cr_assert_fail(...)               weir_test_fail(__FILE__, __LINE__, "fail", " " __VA_ARGS__)
#define cr_skip_test(...)                 weir_test_skip(__VA_ARGS__)

#endif
