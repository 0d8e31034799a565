/*
 * The plain runner: each test in a forked process, so that a crash, a leak report at exit or a sanitizer's abort fails
 * that test and no other. Usage: test-unit [PATTERN] runs the tests whose "suite/name" contains PATTERN; --list lists.
 * Ends with the line "N passed, N failed" and status 1 if any failed or none ran.
 */
#include "tests/support/test.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static struct plain_test *tests;
static struct plain_test **tests_end = &tests;

void plain_test_register(struct plain_test *test)
{
    *tests_end = test;
    tests_end = &test->next;
}

void plain_test_fail(const char *file, int line, const char *condition, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "%s:%d: failed: %s", file, line, condition);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    fflush(NULL);
    _exit(1); /* no exit handlers: a leak report after a failed test would only hide it */
}

/* Run one test in a child; true when it ended with status 0. */
static int run(const struct plain_test *test)
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0) {
        perror("fork");
        return 0;
    }
    if (pid == 0) {
        test->run();
        exit(0); /* sanitizers and valgrind report leaks here */
    }
    int status = 0;
    if (waitpid(pid, &status, 0) != pid)
        return 0;
    if (WIFSIGNALED(status))
        fprintf(stderr, "%s/%s: signal %d\n", test->suite, test->name, WTERMSIG(status));
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

int main(int argc, char **argv)
{
    const char *pattern = argc > 1 ? argv[1] : "";
    int passed = 0, failed = 0;
    for (struct plain_test *test = tests; test; test = test->next) {
        char name[512];
        snprintf(name, sizeof name, "%s/%s", test->suite, test->name);
        if (strcmp(pattern, "--list") == 0) {
            puts(name);
            continue;
        }
        if (!strstr(name, pattern))
            continue;
        if (run(test)) {
            passed++;
        } else {
            failed++;
            printf("FAILED %s\n", name);
        }
    }
    if (strcmp(pattern, "--list") == 0)
        return 0;
    printf("%d passed, %d failed\n", passed, failed);
    return failed > 0 || passed == 0;
}
