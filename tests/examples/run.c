/*
 * Run one example as its user would: a mock cluster in this process, the example as a child, SIGTERM at the end.
 *
 *     run-example NAME PROGRAM
 *
 * In a case's arguments "@server" becomes the address of an HTTP server, "@file" the name of a file that is not there,
 * "@postgres" what WEIR_TEST_POSTGRES says; without it, the example is skipped.
 *
 * First its --help and an unknown option; then each of its cases (cases.c): produce, start, wait until the group has
 * committed what was produced, stop, and look at exit status and output. Status 0 when all was as it should be.
 */
#include "tests/examples/cases.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

enum { SKIPPED = 77 }; /* to meson */
enum { ARGUMENTS_MAX = 24, OUTPUT_SIZE_MAX = 1 << 18, LOOK_MS = 100, WORK_MS_MAX = 60000, END_MS_MAX = 30000 };

struct child {
    pid_t pid;
    int output; /* memory file with all it prints */
    int status; /* from waitpid, once it has ended */
};

static void rest_ms(long ms)
{
    struct timespec rest = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&rest, NULL);
}

static bool start(struct child *child, const char *const *arguments)
{
    posix_spawn_file_actions_t actions;
    *child = (struct child){.pid = -1, .output = memfd_create("output", MFD_CLOEXEC)};
    if (child->output < 0 || posix_spawn_file_actions_init(&actions) != 0)
        return false;
    int fault = posix_spawn_file_actions_adddup2(&actions, child->output, STDOUT_FILENO);
    if (fault == 0)
        fault = posix_spawn_file_actions_adddup2(&actions, child->output, STDERR_FILENO);
    if (fault == 0)
        fault = posix_spawn(&child->pid, arguments[0], &actions, NULL, (char *const *)arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (fault != 0)
        fprintf(stderr, "%s: %s\n", arguments[0], strerror(fault));
    return fault == 0;
}

static bool has_ended(struct child *child)
{
    if (child->pid > 0 && waitpid(child->pid, &child->status, WNOHANG) == child->pid)
        child->pid = 0;
    return child->pid == 0;
}

/* Wait for its end; one that does not come to it is killed, and counts as failed. */
static bool await_end(struct child *child)
{
    for (long waited_ms = 0; waited_ms < END_MS_MAX; waited_ms += LOOK_MS) {
        if (has_ended(child))
            return true;
        rest_ms(LOOK_MS);
    }
    fprintf(stderr, "it did not end within %d ms\n", END_MS_MAX);
    kill(child->pid, SIGKILL);
    waitpid(child->pid, &child->status, 0);
    child->pid = 0;
    return false;
}

/* All that it printed; to be freed. */
static char *output_of(const struct child *child)
{
    char *text = calloc(1, OUTPUT_SIZE_MAX + 1);
    if (text && pread(child->output, text, OUTPUT_SIZE_MAX, 0) < 0)
        perror("output");
    return text;
}

static bool ended_with(const struct child *child, int status)
{
    if (WIFEXITED(child->status) && WEXITSTATUS(child->status) == status)
        return true;
    fprintf(stderr, "it ended with %s %d instead of status %d\n", WIFSIGNALED(child->status) ? "signal" : "status",
            WIFSIGNALED(child->status) ? WTERMSIG(child->status) : WEXITSTATUS(child->status), status);
    return false;
}

/* A call that needs no cluster: its status, and that it says something. */
static bool answers(const char *program, const char *argument, int status)
{
    const char *const arguments[] = {program, argument, NULL};
    struct child child;
    bool right = start(&child, arguments) && await_end(&child) && ended_with(&child, status);
    char *output = output_of(&child);
    if (!output || strlen(output) < 20)
        right = false;
    if (!right)
        fprintf(stderr, "%s %s:\n%s\n", program, argument, output ? output : "");
    free(output);
    close(child.output);
    return right;
}

/* Messages that the group has committed, over all partitions, and those there are. */
static void count_committed(struct weir_mock *mock, const char *group, int64_t *committed, int64_t *produced)
{
    *committed = *produced = 0;
    for (int32_t partition = 0; partition < EXAMPLE_PARTITIONS; partition++) {
        int64_t offset = weir_mock_committed(mock, group, EXAMPLE_TOPIC, partition, NULL, 0);
        *committed += offset > 0 ? offset : 0;
        *produced += weir_mock_end_offset(mock, EXAMPLE_TOPIC, partition);
    }
}

static bool await_work(struct child *child, struct weir_mock *mock, const struct weir_example_case *example)
{
    int64_t committed = 0, produced = 0;
    for (long waited_ms = 0; waited_ms < WORK_MS_MAX; waited_ms += LOOK_MS) {
        count_committed(mock, example->group, &committed, &produced);
        if (!example->ends && committed >= (example->commits_min > 0 ? example->commits_min : produced))
            return true;
        if (has_ended(child) && example->ends)
            return true;
        if (has_ended(child)) {
            fprintf(stderr, "it ended by itself\n");
            return false;
        }
        rest_ms(LOOK_MS);
    }
    fprintf(stderr, "%lld of %lld messages committed within %d ms\n", (long long)committed, (long long)produced,
            WORK_MS_MAX);
    return false;
}

static const char *argument_for(const char *text, const char *server, const char *file)
{
    if (strcmp(text, "@server") == 0)
        return server;
    if (strcmp(text, "@file") == 0)
        return file;
    return strcmp(text, "@postgres") == 0 ? getenv("WEIR_TEST_POSTGRES") : text;
}

/* The whole command line. */
static void make_arguments(const char **arguments, const char *program, const struct weir_example_case *example,
                           const char *bootstrap, const char *server, const char *file)
{
    size_t count = 0;
    arguments[count++] = program;
    if (!example->positional)
        arguments[count++] = "--brokers";
    arguments[count++] = bootstrap;
    if (!example->positional)
        arguments[count++] = "--topic";
    arguments[count++] = EXAMPLE_TOPIC;
    for (size_t index = 0; index < 8 && example->arguments[index]; index++)
        arguments[count++] = argument_for(example->arguments[index], server, file);
    arguments[count] = NULL;
}

static bool run_child(const struct weir_example_case *example, const char *program, struct weir_mock *mock,
                      struct weir_server *server, const char *file)
{
    const char *arguments[ARGUMENTS_MAX];
    char url[64];
    snprintf(url, sizeof url, "http://127.0.0.1:%u/", weir_server_port(server));
    make_arguments(arguments, program, example, weir_mock_bootstrap(mock), url, file);
    struct child child;
    bool right = start(&child, arguments) && await_work(&child, mock, example);
    if (child.pid > 0)
        kill(child.pid, SIGTERM);
    right = await_end(&child) && ended_with(&child, example->status) && right;
    char *output = output_of(&child);
    struct weir_server_counts counts = weir_server_stop(server);
    right = right && output && example->check(output, mock, &counts);
    if (!right)
        fprintf(stderr, "---- its output:\n%s----\n", output ? output : "");
    free(output);
    close(child.output);
    return right;
}

static bool run_case(const struct weir_example_case *example, const char *program)
{
    struct weir_mock *mock = weir_mock_create(1);
    weir_mock_topic_create(mock, EXAMPLE_TOPIC, EXAMPLE_PARTITIONS);
    weir_mock_topic_create(mock, EXAMPLE_LETTERS, 1);
    example->fill(mock);
    struct weir_server *server = weir_server_start();
    char folder[] = "/tmp/weir-example-XXXXXX", file[64], beside[80];
    snprintf(file, sizeof file, "%s/file", mkdtemp(folder) ? folder : "");
    bool right = server && run_child(example, program, mock, server, file);
    weir_mock_destroy(mock);
    static const char *const ends[] = {"", "-wal", "-shm"}; /* what SQLite puts beside it */
    for (size_t index = 0; index < sizeof ends / sizeof *ends; index++) {
        snprintf(beside, sizeof beside, "%s%s", file, ends[index]);
        unlink(beside);
    }
    rmdir(folder);
    return right;
}

static bool has_what_it_needs(const struct weir_example_case *example)
{
    for (size_t index = 0; index < 8 && example->arguments[index]; index++)
        if (strcmp(example->arguments[index], "@postgres") == 0 && !getenv("WEIR_TEST_POSTGRES"))
            return false;
    return true;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: run-example NAME PROGRAM\n");
        return 2;
    }
    unsigned cases = 0, failed = 0;
    failed += !answers(argv[2], "--help", 0);
    failed += !answers(argv[2], "--no-such-option", 2);
    for (const struct weir_example_case *example = weir_example_cases; example->name; example++) {
        if (strcmp(example->name, argv[1]) != 0)
            continue;
        if (!has_what_it_needs(example))
            return SKIPPED;
        cases++;
        failed += !run_case(example, argv[2]);
    }
    printf("%s: %u cases, %u failures\n", argv[1], cases, failed);
    return cases == 0 || failed > 0;
}
