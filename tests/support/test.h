/*
 * Tests are written for Criterion. Under WEIR_PLAIN_RUNNER (sanitizers, valgrind) the same files build on runner.c,
 * which knows the macros below and runs each test in a process of its own.
 */
#ifndef WEIR_TESTS_TEST_H
#define WEIR_TESTS_TEST_H

#include <stdlib.h>

/* How many seeds or rounds to run: `count`, or WEIR_TEST_SCALE percent of it (slow builds set that), at least 1. */
static inline unsigned weir_test_scaled(unsigned count)
{
    const char *text = getenv("WEIR_TEST_SCALE");
    unsigned long long scaled = (unsigned long long)count * (text ? strtoul(text, NULL, 10) : 100) / 100;
    return scaled > 0 ? (unsigned)scaled : 1;
}

#ifndef WEIR_PLAIN_RUNNER

#include <criterion/criterion.h>

#else

#include <stdint.h>
#include <string.h>

struct plain_test {
    const char *suite, *name;
    void (*run)(void);
    struct plain_test *next;
};
void plain_test_register(struct plain_test *test);
_Noreturn void plain_test_fail(const char *file, int line, const char *condition, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
_Noreturn void plain_test_skip(const char *format, ...) __attribute__((format(printf, 1, 2)));

#define Test(suite_, name_, ...)                                                         \
    static void suite_##_##name_##_run(void);                                            \
    __attribute__((constructor)) static void suite_##_##name_##_register(void)           \
    {                                                                                    \
        static struct plain_test test = {#suite_, #name_, suite_##_##name_##_run, NULL}; \
        plain_test_register(&test);                                                      \
    }                                                                                    \
    static void suite_##_##name_##_run(void)

#define cr_assert(condition, ...)                                             \
    do {                                                                      \
        if (!(condition))                                                     \
            plain_test_fail(__FILE__, __LINE__, #condition, " " __VA_ARGS__); \
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
#define cr_assert_fail(...)               plain_test_fail(__FILE__, __LINE__, "fail", " " __VA_ARGS__)
#define cr_skip_test(...)                 plain_test_skip(__VA_ARGS__)

#endif
#endif
