/*
 * What ends a test that runs on Criterion: see test.h.
 *
 * Thread: any of the test's.
 */
#include "tests/support/test.h"
#include <stdarg.h>
#include <stdio.h>

enum { TEXT_SIZE = 4096 };

void weir_test_fail(const char *file, int line, const char *condition, const char *format, ...)
{
    char text[TEXT_SIZE];
    int length = snprintf(text, sizeof text, "failed: %s", condition);
    va_list arguments;
    va_start(arguments, format);
    if (length > 0 && (size_t)length < sizeof text)
        vsnprintf(text + length, sizeof text - (size_t)length, format, arguments);
    va_end(arguments);
    struct criterion_assert_stats stats = {.file = file, .line = (unsigned)line, .message = text};
    criterion_send_assert(&stats);
    criterion_abort_test();
}

void weir_test_skip(const char *format, ...)
{
    char text[TEXT_SIZE];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    criterion_skip_test("%s", text);
}
