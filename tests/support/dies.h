/*
 * Death tests: does a function abort, and with which words?
 *
 * The function runs in a forked child with its standard error caught.
 */
#ifndef WEIR_TESTS_DIES_H
#define WEIR_TESTS_DIES_H

#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static inline size_t weir_test_read_all(int descriptor, char *text, size_t size)
{
    size_t used = 0;
    for (ssize_t got; used + 1 < size && (got = read(descriptor, text + used, size - 1 - used)) > 0;)
        used += (size_t)got;
    text[used] = 0;
    return used;
}

/* True if `function` ended its process by SIGABRT, having written `words` to standard error. */
static inline bool weir_test_aborts(void (*function)(void), const char *words)
{
    int ends[2];
    if (pipe(ends) != 0)
        return false;
    pid_t pid = fork();
    if (pid == 0) {
        struct rlimit no_core = {0, 0};
        setrlimit(RLIMIT_CORE, &no_core);
        signal(SIGABRT, SIG_DFL);
        dup2(ends[1], STDERR_FILENO);
        function();
        _exit(0);
    }
    close(ends[1]);
    char text[8192];
    weir_test_read_all(ends[0], text, sizeof text);
    close(ends[0]);
    int status = 0;
    return pid > 0 && waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT &&
           strstr(text, words);
}

#endif
