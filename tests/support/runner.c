/*
 * The plain runner: each test in a process group of its own, so that a crash, a leak report at exit, a sanitizer's
 * abort or a hang fails that test and no other. Several run at a time; what a test writes is shown when it fails, and
 * a test that passed is named when it was slow, and one that was skipped with its reason: it counts as passed.
 *
 * Test()'s options are Criterion's alone: a test that has any is refused here.
 *
 * Usage: plain-unit [--list] [--verbose] [--jobs N] [PATTERN]     PATTERN: part of "suite/name"
 * WEIR_TEST_TIMEOUT_S (120): a test that takes longer is killed and has failed.
 * WEIR_TEST_MEMORY_STATUS: the status by which a memory checker ends a test. Where it makes tests so slow that they
 * miss their own limits, only that status and signals are failures; what failed otherwise is named and not counted, and
 * more than half of those is a failure.
 * WEIR_TEST_WARM_UP: names of tests, with white space between. The runner itself runs them first, with as few seeds as
 * they can, and counts none. For valgrind, which translates code as a process first runs it: those that are forked
 * afterwards find what is translated. Such a test may leave nothing behind that another of its process would notice.
 * Where one fails, all are run without: among them it will fail again, and count.
 * Ends with the line "N passed, N failed", and status 1 if any failed or none ran.
 *
 * Thread: one. SIGCHLD, SIGINT and SIGTERM are blocked and taken by sigtimedwait, so nothing here races with a handler.
 * Invariants
 *   1. When a test is over, by whatever way, its whole process group is killed: nothing survives a test.
 *   2. A child dies with the runner.
 */
#include "tests/support/test.h"
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { JOBS_MAX = 16, WARM_UP_MAX = 32, TIMEOUT_S_DEFAULT = 120, SLOW_S = 10, SKIPPED_STATUS = 79 };

struct job {
    const struct criterion_test *test; /* NULL: a free place */
    pid_t pid;
    int output; /* what the test writes */
    double started_s;
    bool expired;
};

/* What Test() of Criterion's header leaves behind, a pointer a test; the linker names the ends of such a section. */
extern const struct criterion_test *const __start_cr_tst[], *const __stop_cr_tst[];

static struct job jobs[JOBS_MAX];
static sigset_t signals;
static bool verbose;
static double timeout_s;
static int memory_status; /* 0: none */
static int passed, failed, unjudged;

/* ---- what the header leaves to Criterion's library ---- */

void criterion_internal_test_setup(void) {}

void criterion_internal_test_main(void (*test)(void))
{
    test();
}

void criterion_internal_test_teardown(void) {}

void weir_test_fail(const char *file, int line, const char *condition, const char *format, ...)
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

void weir_test_skip(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
    fflush(NULL);
    _exit(SKIPPED_STATUS);
}

/* ---- the runner ---- */

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void fatal(const char *what)
{
    perror(what);
    exit(2);
}

_Noreturn static void run_child(const struct job *job, pid_t runner)
{
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != runner)
        _exit(1); /* it died before the line above */
    sigprocmask(SIG_UNBLOCK, &signals, NULL);
    dup2(job->output, STDOUT_FILENO);
    dup2(job->output, STDERR_FILENO);
    setvbuf(stdout, NULL, _IOLBF, 0); /* a crash must not swallow it */
    job->test->test();
    exit(0); /* sanitizers and valgrind report leaks here */
}

static bool has_options(const struct criterion_test *test)
{
    const struct criterion_test_extra_data *data = test->data;
    return data->kind_ != CR_TEST_NORMAL || data->init || data->fini || data->signal || data->exit_code ||
           data->disabled || data->timeout > 0;
}

static void start(struct job *job, const struct criterion_test *test)
{
    if (has_options(test)) {
        fprintf(stderr, "%s/%s: Test() has options that this runner does not know\n", test->category, test->name);
        exit(2);
    }
    char path[] = "/tmp/weir-test-XXXXXX";
    *job = (struct job){.test = test, .output = mkstemp(path), .started_s = now_s()};
    if (job->output < 0)
        fatal("cannot make a temporary file in /tmp");
    unlink(path);
    fflush(NULL);
    pid_t runner = getpid();
    job->pid = fork();
    if (job->pid < 0)
        fatal("fork");
    if (job->pid == 0)
        run_child(job, runner);
    setpgid(job->pid, job->pid); /* whoever of the two comes first */
}

static void show_output(const struct job *job)
{
    char buffer[4096];
    ssize_t size;
    lseek(job->output, 0, SEEK_SET);
    while ((size = read(job->output, buffer, sizeof buffer)) > 0)
        fwrite(buffer, 1, (size_t)size, stdout);
}

/* Did it fail by an assertion or a limit where only memory is judged? */
static bool is_unjudged(const struct job *job, int status)
{
    return memory_status > 0 && (job->expired || (WIFEXITED(status) && WEXITSTATUS(status) != memory_status));
}

static void report(const struct job *job, int status)
{
    double seconds = now_s() - job->started_s;
    bool skipped = WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED_STATUS && !job->expired;
    bool ok = skipped || (WIFEXITED(status) && WEXITSTATUS(status) == 0 && !job->expired);
    bool missed = !ok && is_unjudged(job, status);
    *(ok ? &passed : missed ? &unjudged : &failed) += 1;
    if (ok && !skipped && !verbose && seconds < SLOW_S)
        return;
    if (!ok || skipped || verbose)
        show_output(job);
    printf("%s %s/%s (%.1f s",
           skipped  ? "skipped"
           : ok     ? "passed"
           : missed ? "not judged"
                    : "FAILED",
           job->test->category, job->test->name, seconds);
    if (job->expired)
        printf(", killed: longer than WEIR_TEST_TIMEOUT_S=%.0f", timeout_s);
    else if (WIFSIGNALED(status))
        printf(", signal %d: %s", WTERMSIG(status), strsignal(WTERMSIG(status)));
    else if (!ok)
        printf(", status %d", WEXITSTATUS(status));
    puts(")");
    fflush(stdout);
}

/* Collect every child that has ended. */
static void reap(void)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        for (struct job *job = jobs; job < jobs + JOBS_MAX; job++) {
            if (!job->test || job->pid != pid)
                continue;
            kill(-pid, SIGKILL); /* invariant 1 */
            report(job, status);
            close(job->output);
            job->test = NULL;
        }
    }
}

static void kill_all(void)
{
    for (struct job *job = jobs; job < jobs + JOBS_MAX; job++)
        if (job->test)
            kill(-job->pid, SIGKILL);
}

/* Wait until a child ends, a test's time is up (looked at four times a second), or somebody ends us. */
static void wait_a_while(void)
{
    int signal = sigtimedwait(&signals, NULL, &(struct timespec){.tv_nsec = 250000000});
    if (signal == SIGINT || signal == SIGTERM) {
        kill_all();
        exit(128 + signal);
    }
    for (struct job *job = jobs; job < jobs + JOBS_MAX; job++) {
        if (job->test && !job->expired && now_s() - job->started_s > timeout_s) {
            job->expired = true;
            kill(-job->pid, SIGKILL);
        }
    }
    reap();
}

static struct job *free_job(unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (!jobs[i].test)
            return &jobs[i];
    return NULL;
}

static bool idle(void)
{
    for (unsigned i = 0; i < JOBS_MAX; i++)
        if (jobs[i].test)
            return false;
    return true;
}

static void run_all(const char *pattern, unsigned job_count, bool list)
{
    for (const struct criterion_test *const *place = __start_cr_tst; place < __stop_cr_tst; place++) {
        const struct criterion_test *test = *place;
        char name[512];
        struct job *job;
        snprintf(name, sizeof name, "%s/%s", test->category, test->name);
        if (!strstr(name, pattern))
            continue;
        if (list) {
            puts(name);
            continue;
        }
        while (!(job = free_job(job_count)))
            wait_a_while();
        start(job, test);
    }
    while (!idle())
        wait_a_while();
}

static const struct criterion_test *find(const char *name)
{
    for (const struct criterion_test *const *place = __start_cr_tst; place < __stop_cr_tst; place++) {
        const struct criterion_test *test = *place;
        size_t size = strlen(test->category);
        if (strncmp(name, test->category, size) == 0 && name[size] == '/' && strcmp(name + size + 1, test->name) == 0)
            return test;
    }
    fprintf(stderr, "WEIR_TEST_WARM_UP: there is no test %s\n", name);
    exit(2);
}

static void run_warm_up(const struct criterion_test *const *first, size_t count)
{
    const char *scale = getenv("WEIR_TEST_SCALE");
    char kept[16];
    snprintf(kept, sizeof kept, "%s", scale ? scale : "100");
    setenv("WEIR_TEST_SCALE", "0", 1);
    for (size_t index = 0; index < count; index++)
        first[index]->test();
    setenv("WEIR_TEST_SCALE", kept, 1);
}

/* A child is the runner from here on, if it comes through the warm-up; else this process is, when it returns. */
static void warm_up(char *names)
{
    const struct criterion_test *first[WARM_UP_MAX];
    size_t count = 0;
    int warm[2], status;
    for (char *rest, *name = strtok_r(names, " \n", &rest); name; name = strtok_r(NULL, " \n", &rest)) {
        if (count == WARM_UP_MAX) {
            fprintf(stderr, "WEIR_TEST_WARM_UP: more than %d tests\n", WARM_UP_MAX);
            exit(2);
        }
        first[count++] = find(name);
    }
    if (pipe(warm) != 0)
        fatal("pipe");
    fflush(NULL);
    pid_t parent = getpid(), child = fork();
    if (child < 0)
        fatal("fork");
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(1);
        run_warm_up(first, count);
        if (write(warm[1], "", 1) != 1)
            fatal("write");
        close(warm[0]);
        close(warm[1]);
        return;
    }
    close(warm[1]);
    bool is_warm = read(warm[0], &(char){0}, 1) == 1;
    close(warm[0]);
    if (waitpid(child, &status, 0) != child)
        fatal("waitpid");
    if (is_warm)
        exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
    puts("the warm-up failed");
}

int main(int argc, char **argv)
{
    const char *pattern = "", *timeout = getenv("WEIR_TEST_TIMEOUT_S");
    unsigned job_count = 1;
    bool list = false;
    const char *memory = getenv("WEIR_TEST_MEMORY_STATUS");
    memory_status = memory ? atoi(memory) : 0;
    timeout_s = timeout ? strtod(timeout, NULL) : TIMEOUT_S_DEFAULT;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--list") == 0)
            list = true;
        else if (strcmp(argv[i], "--verbose") == 0)
            verbose = true;
        else if (strcmp(argv[i], "--jobs") == 0 && i + 1 < argc)
            job_count = (unsigned)strtoul(argv[++i], NULL, 10);
        else
            pattern = argv[i];
    }
    if (job_count < 1 || job_count > JOBS_MAX || timeout_s <= 0) {
        fprintf(stderr, "--jobs %u: must be 1..%d; WEIR_TEST_TIMEOUT_S: must be above 0\n", job_count, JOBS_MAX);
        return 2;
    }
    if (getenv("WEIR_TEST_WARM_UP") && !list)
        warm_up(getenv("WEIR_TEST_WARM_UP"));
    sigemptyset(&signals);
    sigaddset(&signals, SIGCHLD);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    run_all(pattern, job_count, list);
    if (list)
        return 0;
    if (unjudged > 0) {
        bool too_many = unjudged * 2 > passed + unjudged;
        printf("%d not judged, which is %s\n", unjudged, too_many ? "too many" : "few enough");
        failed += too_many;
    }
    printf("%d passed, %d failed\n", passed, failed);
    return failed > 0 || passed == 0;
}
