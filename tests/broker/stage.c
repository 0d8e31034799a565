/* See stage.h. */
#include "tests/broker/stage.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- topic, group, ledger ---- */

/* The file is unlinked at once: members open it through the descriptor they inherit. */
static void open_ledger(struct weir_stage *stage, size_t records_max)
{
    char path[] = "/tmp/weir-ledger-XXXXXX";
    int file = mkstemp(path);
    cr_assert_geq(file, 0, "a temporary file: %s", strerror(errno));
    close(file);
    stage->ledger = weir_ledger_create(path, records_max);
    stage->ledger_descriptor = stage->ledger ? open(path, O_RDWR) : -1;
    unlink(path);
    cr_assert(stage->ledger != NULL && stage->ledger_descriptor >= 0, "a ledger: %s", strerror(errno));
}

void weir_stage_set_on(struct weir_stage *stage, int partitions, size_t records_max, const char *const *config)
{
    *stage = (struct weir_stage){.topic = weir_broker_name("topic"),
                                 .group = weir_broker_name("group"),
                                 .partitions = partitions,
                                 .ledger_descriptor = -1};
    weir_subject_keep_log();
    if (records_max > 0)
        open_ledger(stage, records_max);
    weir_broker_topic_create(stage->topic.text, partitions, config);
}

void weir_stage_set(struct weir_stage *stage, int partitions, size_t records_max)
{
    weir_stage_set_on(stage, partitions, records_max, NULL);
}

void weir_stage_clear(struct weir_stage *stage)
{
    weir_broker_topic_delete(stage->topic.text);
    weir_ledger_close(stage->ledger);
    if (stage->ledger_descriptor >= 0)
        close(stage->ledger_descriptor);
}

/* ---- messages ---- */

struct production {
    struct weir_stage *stage;
    unsigned keys;
    char key[32], value[WEIR_STAGE_VALUE_SIZE_MAX];
};

static size_t name_key(const struct production *production, uint64_t number, char key[32])
{
    return (size_t)snprintf(key, 32, "key-%" PRIu64, number % production->keys);
}

static void make(void *user, size_t index, struct weir_broker_record *record)
{
    struct production *production = user;
    uint64_t number = production->stage->produced + index;
    record->partition = -1;
    record->value = production->value;
    record->value_size = (size_t)snprintf(production->value, sizeof production->value, "%" PRIu64, number);
    if (record->value_size < production->stage->value_size)
        record->value_size = production->stage->value_size; /* zeros */
    if (production->keys == 0) {
        record->partition = (int32_t)(number % (uint64_t)production->stage->partitions);
        return;
    }
    record->key = production->key;
    record->key_size = name_key(production, number, production->key);
}

static void delivered(void *user, size_t index, int32_t partition, int64_t offset)
{
    struct production *production = user;
    char key[32];
    uint64_t number = production->stage->produced + index;
    size_t key_size = production->keys > 0 ? name_key(production, number, key) : 0;
    if (production->stage->ledger)
        weir_ledger_emit(production->stage->ledger, production->stage->topic.text, partition, offset,
                         production->keys > 0 ? key : NULL, key_size, number);
}

void weir_stage_produce(struct weir_stage *stage, uint64_t count, unsigned keys)
{
    struct production production = {.stage = stage, .keys = keys};
    weir_broker_produce(stage->topic.text, count, make, delivered, &production);
    stage->produced += count;
}

/* ---- verdicts ---- */

static void require(struct weir_ledger_verdict verdict, const char *what)
{
    if (!verdict.ok)
        weir_subject_show_log();
    cr_assert(verdict.ok, "%s: %s", what, verdict.text);
}

uint64_t weir_stage_check(const struct weir_stage *stage)
{
    cr_assert_gt(stage->produced, 0u, "nothing was produced");
    cr_assert_eq(weir_ledger_count_kind(stage->ledger, WEIR_LEDGER_EMIT), stage->produced);
    require(weir_ledger_no_loss(stage->ledger, NULL, 0), "no loss");
    require(weir_ledger_key_order(stage->ledger), "order of each key");
    struct weir_ledger_verdict duplicates = weir_ledger_duplicates(stage->ledger, UINT64_MAX);
    require(duplicates, "duplicates");
    fprintf(stderr, "%" PRIu64 " messages, %" PRIu64 " duplicates\n", stage->produced, duplicates.violations);
    return duplicates.violations;
}

void weir_stage_check_strictly(const struct weir_stage *stage)
{
    weir_stage_check(stage);
    require(weir_ledger_no_overlap(stage->ledger), "no overlap");
    require(weir_ledger_duplicates(stage->ledger, 0), "exactly once");
}

int64_t weir_stage_committed(const struct weir_stage *stage)
{
    int64_t sum = 0, *offsets = calloc((size_t)stage->partitions, sizeof *offsets);
    cr_assert_not_null(offsets);
    weir_broker_committed_all(stage->group.text, stage->topic.text, stage->partitions, offsets);
    for (int32_t partition = 0; partition < stage->partitions; partition++)
        sum += offsets[partition] > 0 ? offsets[partition] : 0;
    free(offsets);
    return sum;
}

int64_t weir_stage_log_end(const struct weir_stage *stage)
{
    int64_t sum = 0;
    for (int32_t partition = 0; partition < stage->partitions; partition++) {
        int64_t low, high;
        weir_broker_watermarks(stage->topic.text, partition, &low, &high);
        sum += high;
    }
    return sum;
}

/* ---- members ---- */

static void *share(const char *name, size_t size, int *descriptor)
{
    *descriptor = memfd_create(name, 0); /* without close-on-exec: members inherit it */
    cr_assert(*descriptor >= 0 && ftruncate(*descriptor, (off_t)size) == 0, "%s: %s", name, strerror(errno));
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, *descriptor, 0);
    cr_assert(memory != MAP_FAILED, "%s: %s", name, strerror(errno));
    return memory;
}

struct weir_member_marks *weir_member_marks_create(int32_t partitions, int64_t stride, int *descriptor)
{
    size_t count = (size_t)partitions * (size_t)stride;
    struct weir_member_marks *marks =
        share("weir-marks", sizeof *marks + count * sizeof(struct weir_member_mark), descriptor);
    marks->partitions = partitions;
    marks->stride = stride;
    return marks;
}

void weir_member_init(struct weir_member *member)
{
    *member = (struct weir_member){0};
    member->board = share("weir-board", sizeof *member->board, &member->board_descriptor);
    member->log_descriptor = memfd_create("weir-log", 0);
    cr_assert(member->log_descriptor >= 0 && fcntl(member->log_descriptor, F_SETFL, O_APPEND) == 0, "%s",
              strerror(errno));
}

void weir_member_deinit(struct weir_member *member)
{
    munmap(member->board, sizeof *member->board);
    close(member->board_descriptor);
    close(member->log_descriptor);
}

enum { ARGUMENTS_MAX = 96, ARGUMENT_SIZE = 512 };

static _Noreturn void execute(const struct weir_member *member, int ledger, int marks, const char *const *settings,
                              pid_t parent)
{
    static char texts[ARGUMENTS_MAX][ARGUMENT_SIZE];
    char *arguments[ARGUMENTS_MAX + 1];
    int count = 0;
    snprintf(texts[count++], ARGUMENT_SIZE, "broker-member");
    snprintf(texts[count++], ARGUMENT_SIZE, "%d", member->board_descriptor);
    snprintf(texts[count++], ARGUMENT_SIZE, "%d", ledger);
    snprintf(texts[count++], ARGUMENT_SIZE, "%d", marks);
    for (; *settings && count < ARGUMENTS_MAX; settings += 2)
        snprintf(texts[count++], ARGUMENT_SIZE, "%s=%s", settings[0], settings[1]);
    for (int index = 0; index < count; index++)
        arguments[index] = texts[index];
    arguments[count] = NULL;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    sigset_t early; /* the member lets it through when it can act on it */
    sigemptyset(&early);
    sigaddset(&early, SIGTERM);
    sigprocmask(SIG_SETMASK, &early, NULL);
    bool shown = getenv("WEIR_TEST_MEMBER_LOG") != NULL;
    if (getppid() == parent && (shown || dup2(member->log_descriptor, STDERR_FILENO) >= 0))
        execv(WEIR_TESTS_MEMBER, arguments);
    _exit(127);
}

void weir_member_start(struct weir_member *member, const struct weir_stage *stage, int marks,
                       const char *const *settings)
{
    cr_assert_eq(member->pid, 0, "it runs already");
    atomic_store(&member->board->started, 0);
    atomic_store(&member->board->closed, 0);
    atomic_store(&member->board->partitions, 0);
    pid_t parent = getpid();
    member->pid = fork();
    cr_assert_geq(member->pid, 0, "fork: %s", strerror(errno));
    if (member->pid == 0)
        execute(member, stage->ledger_descriptor, marks, settings, parent);
}

void weir_member_signal(const struct weir_member *member, int signal_number)
{
    cr_assert_gt(member->pid, 0, "it does not run");
    cr_assert_eq(kill(member->pid, signal_number), 0, "signal %d: %s", signal_number, strerror(errno));
}

int weir_member_wait(struct weir_member *member, const struct weir_stage *stage)
{
    int status = -1;
    uint64_t deadline_ms = weir_broker_now_ms() + WEIR_BROKER_WAIT_MS;
    pid_t ended;
    while ((ended = waitpid(member->pid, &status, WNOHANG)) == 0 && weir_broker_now_ms() < deadline_ms)
        weir_broker_pause_briefly();
    if (ended != member->pid)
        return -1;
    if (stage->ledger)
        weir_ledger_gone(stage->ledger, (uint32_t)member->pid);
    member->pid = 0;
    return status;
}

void weir_member_join(struct weir_member *member, const struct weir_stage *stage)
{
    int status = weir_member_wait(member, stage);
    if (status != 0)
        weir_member_show_log(member);
    cr_assert_eq(status, 0, "a member ended with wait status %d", status);
    cr_assert_eq(atomic_load(&member->board->closed), 1u, "a member ended without a report");
}

void weir_member_kill(struct weir_member *member, const struct weir_stage *stage)
{
    weir_member_signal(member, SIGKILL);
    int status = weir_member_wait(member, stage);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "a member ended before it was killed: %d", status);
}

/* ---- their logs ---- */

static char *read_log(const struct weir_member *member)
{
    struct stat status;
    cr_assert_eq(fstat(member->log_descriptor, &status), 0);
    char *text = calloc(1, (size_t)status.st_size + 1);
    cr_assert_not_null(text);
    ssize_t got = pread(member->log_descriptor, text, (size_t)status.st_size, 0);
    cr_assert_geq(got, 0);
    return text;
}

unsigned weir_member_log_count(const struct weir_member *member, const char *words)
{
    unsigned count = 0;
    char *text = read_log(member), *rest = text, *line;
    while ((line = strsep(&rest, "\n")))
        count += strstr(line, words) != NULL;
    free(text);
    return count;
}

void weir_member_show_log(const struct weir_member *member)
{
    char *text = read_log(member);
    fputs(text, stderr);
    free(text);
}
