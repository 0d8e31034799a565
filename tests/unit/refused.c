/*
 * Goal: each call by which runtime and actors get something from the system fails once; that is said with its reason,
 * or made do without, and leaves nothing behind. What librdkafka refuses is in tests/scenario/kafka_refused.c, memory
 * in the tests named every_allocation, a full disk in journal_full.c. Not made to fail: the initialisation of mutexes
 * and condition variables, which takes nothing from the system.
 * Method: a seccomp filter in a child, see refuse.h; where there is none the tests are skipped.
 */
#include "actors/consumer.h"
#include "actors/journal.h"
#include "runtime/log.h"
#include "runtime/system.h"
#include "runtime/tsan.h"
#include "tests/support/refuse.h"
#include "tests/support/test.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <weir/config.h>

enum { NOT_SHOWN = 77, PATHS_MAX = 64 };

#define REQUIRE(condition)                                                              \
    do {                                                                                \
        if (!(condition)) {                                                             \
            fprintf(stderr, "%d: failed: %s (%s)\n", __LINE__, #condition, error.text); \
            return false;                                                               \
        }                                                                               \
    } while (0)

struct refusal {
    long number;
    int error;
    int argument; /* see weir_test_refuse() */
    uint32_t bits;
    const char *words; /* in the error; NULL: it goes well */
};

#define ALWAYS WEIR_TEST_REFUSE_ALWAYS, 0

#ifdef WEIR_TSAN
#define WITH_TSAN true
#else
#define WITH_TSAN false
#endif

static struct weir_error error;

static unsigned descriptors(void)
{
    unsigned count = 0;
    for (int descriptor = 0; descriptor < 256; descriptor++)
        count += fcntl(descriptor, F_GETFD) >= 0;
    return count;
}

/* Refuse it in a child, and play there. */
static void play_refused(const struct refusal *refusal, bool (*play)(const struct refusal *refusal))
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(!play(refusal));
    int status = -1;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == NOT_SHOWN)
        cr_skip_test("this cannot be refused here");
    cr_assert_eq(status, 0, "call %ld, error %d: status %d, signal %d", refusal->number, refusal->error,
                 WEXITSTATUS(status), WTERMSIG(status));
}

static void refuse(const struct refusal *refusal)
{
    if (!weir_test_refuse(refusal->number, refusal->error, refusal->argument, refusal->bits))
        _exit(NOT_SHOWN);
}

/* ---- the crash journal ---- */

static char folder[] = "/tmp/weir-refused-XXXXXX";
static char path[PATHS_MAX];

static void make_folder(void)
{
    cr_assert_not_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/journal", folder);
}

static off_t size_of_file(void)
{
    struct stat status;
    return stat(path, &status) == 0 ? status.st_size : -1;
}

static bool open_refused(const struct refusal *refusal)
{
    unsigned before = descriptors();
    refuse(refusal);
    if (refusal->number == SYS_newfstatat) /* fstat() is either of them */
        refuse(&(struct refusal){SYS_fstat, refusal->error, ALWAYS, NULL});
    REQUIRE(!weir_journal_open(path, "billing", 1, &error));
    REQUIRE(error.code == WEIR_SYSTEM && strstr(error.text, refusal->words) && strstr(error.text, path) &&
            strstr(error.text, strerror(refusal->error)));
    REQUIRE(descriptors() == before);
    return true;
}

static void make_file(off_t size)
{
    const uint64_t magic = WEIR_JOURNAL_MAGIC;
    int file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    cr_assert(file >= 0 && write(file, &magic, sizeof magic) == sizeof magic);
    cr_assert(ftruncate(file, size) == 0 && close(file) == 0);
}

/* What is there is opened for nothing, and stays as it was, but that one of another version may have been cut; what is
 * not there is not there afterwards either. */
Test(refused, a_crash_journal_that_gets_no_file_lock_room_or_mapping_is_an_error_and_leaves_nothing)
{
    const off_t full = sizeof(struct weir_journal_file), longer = full + 4096, missing = -1;
    const struct {
        struct refusal refusal;
        off_t size_before, size_after;
    } cases[] = {
        {{SYS_openat, EMFILE, ALWAYS, "cannot be opened"}, missing, missing},
        {{SYS_openat, EMFILE, ALWAYS, "cannot be opened"}, full, full},
        {{SYS_flock, ENOLCK, ALWAYS, "cannot be locked"}, missing, missing},
        {{SYS_flock, ENOLCK, ALWAYS, "cannot be locked"}, 0, 0},
        {{SYS_newfstatat, EIO, ALWAYS, "cannot be looked at"}, missing, missing},
        {{SYS_newfstatat, EIO, ALWAYS, "cannot be looked at"}, 0, 0},
        {{SYS_newfstatat, EIO, ALWAYS, "cannot be looked at"}, full, full},
        {{SYS_pread64, EIO, ALWAYS, "cannot be read"}, missing, missing},
        {{SYS_pread64, EIO, ALWAYS, "cannot be read"}, longer, longer},
        {{SYS_fallocate, EIO, ALWAYS, "no room for its"}, missing, missing},
        {{SYS_fallocate, EIO, ALWAYS, "no room for its"}, 0, 0},
        {{SYS_fallocate, EIO, ALWAYS, "no room for its"}, full, full},
        {{SYS_fallocate, EIO, ALWAYS, "no room for its"}, longer, longer},
        {{SYS_ftruncate, EPERM, ALWAYS, "no room for its"}, longer, longer},
        {{SYS_mmap, ENODEV, 3, MAP_SHARED, "cannot be mapped"}, missing, missing},
        {{SYS_mmap, ENODEV, 3, MAP_SHARED, "cannot be mapped"}, 100, 100},
        {{SYS_mmap, ENODEV, 3, MAP_SHARED, "cannot be mapped"}, full, full},
        {{SYS_mmap, ENODEV, 3, MAP_SHARED, "cannot be mapped"}, longer, full},
    };
    make_folder();
    for (size_t index = 0; index < sizeof cases / sizeof *cases; index++) {
        if (cases[index].size_before != missing)
            make_file(cases[index].size_before);
        play_refused(&cases[index].refusal, open_refused);
        cr_assert_eq(size_of_file(), cases[index].size_after, "case %zu: %lld bytes", index, (long long)size_of_file());
        unlink(path);
    }
    cr_assert_eq(rmdir(folder), 0);
}

/* ---- a system of workers ---- */

static bool create_refused(const struct refusal *refusal)
{
    weir_system_destroy(weir_system_create(1, 0, weir_seam_system(), &error)); /* libuv opens a pipe for good */
    unsigned before = descriptors();
    refuse(refusal);
    REQUIRE(!weir_system_create(2, 0, weir_seam_system(), &error));
    REQUIRE(error.code == WEIR_SYSTEM && strstr(error.text, refusal->words) && strstr(error.text, "ulimit -n"));
    REQUIRE(descriptors() <= before + 1); /* libuv 1.44 itself loses the one of a loop that it fails to open */
    return true;
}

Test(refused, a_loop_or_wake_up_that_cannot_be_made_is_an_error)
{
    static const struct refusal refusals[] = {
        {SYS_epoll_create1, ENFILE, ALWAYS, "libuv loop of worker 0"},
        {SYS_eventfd2, ENFILE, ALWAYS, " of worker 0"},
    };
    for (size_t index = 0; index < sizeof refusals / sizeof *refusals; index++)
        play_refused(&refusals[index], create_refused);
}

static uint64_t mapped_bytes(void)
{
    unsigned long pages = 0;
    FILE *stream = fopen("/proc/self/statm", "re");
    bool got = stream && fscanf(stream, "%lu", &pages) == 1;
    if (stream)
        fclose(stream);
    return got ? (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

/* There is room for the stacks of some threads and not for the next one's. */
static bool start_some_threads(const struct refusal *refusal)
{
    const size_t stack_size = (size_t)1 << 30;
    const unsigned count = (unsigned)refusal->bits;
    char words[64];
    pthread_attr_t attributes;
    struct rlimit limit;
    struct weir_system *system = weir_system_create(2, 0, weir_seam_system(), &error);
    REQUIRE(system && pthread_attr_init(&attributes) == 0 && getrlimit(RLIMIT_AS, &limit) == 0);
    REQUIRE(pthread_attr_setstacksize(&attributes, stack_size) == 0 && pthread_setattr_default_np(&attributes) == 0);
    uint64_t mapped = mapped_bytes();
    const char *preloaded = getenv("LD_PRELOAD");
    bool is_checked = WITH_TSAN || (preloaded && strstr(preloaded, "vgpreload"));
    if (mapped == 0 || is_checked) /* a checker needs more memory for a thread than its stack */
        _exit(NOT_SHOWN);
    limit.rlim_cur = mapped + count * stack_size + stack_size / 2;
    REQUIRE(setrlimit(RLIMIT_AS, &limit) == 0);
    REQUIRE(weir_system_start(system, &error) == WEIR_SYSTEM);
    snprintf(words, sizeof words, "thread %u of 3 could not be started: ", count + 1);
    REQUIRE(strstr(error.text, words) && strstr(error.text, "ulimit -u"));
    weir_system_destroy(system); /* those that were started have ended */
    return true;
}

Test(refused, whichever_thread_cannot_be_started_those_before_it_are_ended)
{
    for (uint32_t count = 0; count < 3; count++)
        play_refused(&(struct refusal){.bits = count}, start_some_threads);
}

/* ---- a consumer ---- */

static enum weir_outcome ack(struct weir_message *message, void *user)
{
    (void)message;
    (void)user;
    return WEIR_ACK;
}

static struct weir_consumer *create_consumer(const char *journal)
{
    const char *const options[] = {"group.id",          "g",           "weir.topics",        "orders",
                                   "bootstrap.servers", "127.0.0.1:1", "weir.crash.journal", journal};
    struct weir_config *config = weir_config_create();
    struct weir_consumer *consumer = NULL;
    bool good = config != NULL;
    for (size_t index = 0; index < sizeof options / sizeof *options && good; index += 2)
        good = weir_config_set(config, options[index], options[index + 1], &error) == 0;
    if (good)
        consumer = weir_consumer_create(config, ack, NULL, &error);
    weir_config_destroy(config);
    return consumer;
}

static bool consumer_refused(const struct refusal *refusal)
{
    refuse(refusal);
    struct weir_consumer *consumer = create_consumer(path);
    if (refusal->words) {
        REQUIRE(!consumer && error.code == WEIR_SYSTEM && strstr(error.text, refusal->words));
    } else {
        REQUIRE(consumer && strcmp(consumer->host, "unknown") == 0);
        weir_consumer_destroy(consumer);
        REQUIRE(unlink(path) == 0);
    }
    REQUIRE(access(path, F_OK) != 0);
    return true;
}

Test(refused, a_consumer_without_its_journal_is_refused_and_one_without_a_host_name_is_not)
{
    static const struct refusal refusals[] = {
        {SYS_flock, ENOLCK, ALWAYS, "journal: cannot be locked"},
        {SYS_mmap, ENODEV, 3, MAP_SHARED, "journal: cannot be mapped"},
        {SYS_uname, EFAULT, ALWAYS, NULL},
    };
    make_folder();
    for (size_t index = 0; index < sizeof refusals / sizeof *refusals; index++)
        play_refused(&refusals[index], consumer_refused);
    cr_assert_eq(rmdir(folder), 0);
}

static bool start_refused(const struct refusal *refusal)
{
    struct weir_consumer *consumer = create_consumer("");
    REQUIRE(consumer);
    refuse(refusal);
    refuse(&(struct refusal){SYS_clone, EAGAIN, ALWAYS, NULL});
    for (unsigned times = 0; times < 2; times++) {
        REQUIRE(weir_consumer_start(consumer, &error) != 0);
        REQUIRE(error.code == (times == 0 ? WEIR_SYSTEM : WEIR_STATE));
    }
    weir_consumer_destroy(consumer);
    return true;
}

Test(refused, a_consumer_without_threads_does_not_start_and_can_be_destroyed)
{
    play_refused(&(struct refusal){SYS_clone3, EAGAIN, ALWAYS, NULL}, start_refused);
}

static void look_for(void *user, enum weir_log_level level, const char *text, const struct weir_log_field *fields,
                     size_t field_count)
{
    if (level == WEIR_LOG_ERROR && strstr(text, "signals cannot stop this consumer"))
        atomic_fetch_add((_Atomic unsigned *)user, 1);
}

static bool signals_refused(const struct refusal *refusal)
{
    _Atomic unsigned lines = 0;
    const char *preloaded = getenv("LD_PRELOAD");
    if (preloaded && strstr(preloaded, "vgpreload")) /* which has signals of its own */
        _exit(NOT_SHOWN);
    struct weir_consumer *consumer = create_consumer("");
    REQUIRE(consumer);
    weir_consumer_stop_on_signals(consumer);
    weir_log_set(look_for, &lines, WEIR_LOG_ERROR);
    refuse(refusal);
    REQUIRE(weir_consumer_start(consumer, &error) == 0);
    REQUIRE(lines == 1);
    REQUIRE(weir_consumer_close(consumer, &error) == 0);
    weir_consumer_destroy(consumer);
    return true;
}

Test(refused, a_consumer_that_signals_cannot_stop_says_so_and_runs)
{
    play_refused(&(struct refusal){SYS_rt_sigaction, EPERM, ALWAYS, NULL}, signals_refused);
}

/* ---- what is made do without ---- */

static bool entropy_refused(const struct refusal *refusal)
{
    const struct weir_seam *seam = weir_seam_system();
    refuse(refusal);
    uint64_t first = seam->entropy(seam), second = seam->entropy(seam);
    return first != 0 && first != second;
}

Test(refused, without_the_kernels_entropy_there_is_some_of_the_clock)
{
    play_refused(&(struct refusal){SYS_getrandom, EAGAIN, ALWAYS, NULL}, entropy_refused);
    play_refused(&(struct refusal){SYS_getrandom, ENOSYS, ALWAYS, NULL}, entropy_refused);
}

static bool log_refused(const struct refusal *refusal)
{
    refuse(refusal);
    for (unsigned line = 0; line < 100; line++)
        weir_log(WEIR_LOG_ERROR, WEIR_NO_FIELDS, "nobody reads this");
    return true;
}

Test(refused, a_log_that_cannot_be_written_stops_nobody)
{
    static const int errors[] = {EIO, EPIPE, EAGAIN, ENOSPC};
    for (size_t index = 0; index < sizeof errors / sizeof *errors; index++)
        play_refused(&(struct refusal){SYS_write, errors[index], ALWAYS, NULL}, log_refused);
}

static bool load_refused(const struct refusal *refusal)
{
    struct weir_config *config = weir_config_create();
    unsigned before = descriptors();
    refuse(refusal);
    REQUIRE(config && weir_config_load(config, "/proc/self/status", &error) == WEIR_SYSTEM);
    REQUIRE(strstr(error.text, strerror(refusal->error)) && descriptors() == before);
    weir_config_destroy(config);
    return true;
}

Test(refused, a_configuration_that_cannot_be_opened_or_read_is_an_error)
{
    play_refused(&(struct refusal){SYS_openat, ENFILE, ALWAYS, NULL}, load_refused);
    play_refused(&(struct refusal){SYS_read, EIO, ALWAYS, NULL}, load_refused);
}
