/*
 * The crash journal on a file system without room, by a real ENOSPC: see small_disk.h.
 *
 * Each case runs in a child, which says what was wrong. Where no small file system can be made the tests are skipped.
 */
#include "actors/journal.h"
#include "tests/support/small_disk.h"
#include "tests/support/test.h"
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { PART = 100 * 1024, NOT_SHOWN = 77 };

#define REQUIRE(condition)                                                              \
    do {                                                                                \
        if (!(condition)) {                                                             \
            fprintf(stderr, "%d: failed: %s (%s)\n", __LINE__, #condition, error.text); \
            return false;                                                               \
        }                                                                               \
    } while (0)

static struct weir_error error;
static int64_t wall_ms = 1000;

static struct weir_journal *open_journal(void)
{
    memset(&error, 0, sizeof error);
    return weir_journal_open("journal", "billing", wall_ms++, &error);
}

static struct weir_journal_name name_of(int64_t offset)
{
    return (struct weir_journal_name){.topic_hash = 42, .offset = offset, .timestamp_ms = 5, .partition = 1};
}

static long size_of(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 ? (long)status.st_size : -1;
}

static void on_a_small_disk(bool (*play)(void))
{
    pid_t pid = fork();
    if (pid == 0) {
        const char *missing = weir_test_enter_small_disk("320k"); /* the journal takes 164 kB of it */
        if (missing)
            perror(missing);
        _exit(missing ? NOT_SHOWN : !play());
    }
    int status = -1;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == NOT_SHOWN)
        cr_skip_test("no small file system can be made here");
    cr_assert_eq(status, 0, "status %d, signal %d", WEXITSTATUS(status), WTERMSIG(status));
}

static bool refused_for_want_of_room(void)
{
    return !open_journal() && error.code == WEIR_SYSTEM &&
           strstr(error.text, "weir.crash.journal=journal: no room for its ") &&
           strstr(error.text, "No space left on device; free some");
}

static bool create_without_room(void)
{
    long size = weir_test_fill_disk("filler");
    REQUIRE(size > (long)sizeof(struct weir_journal_file));
    REQUIRE(refused_for_want_of_room());
    REQUIRE(size_of("journal") == -1);
    REQUIRE(truncate("filler", size - PART) == 0); /* the same with room for a part of it */
    REQUIRE(refused_for_want_of_room());
    REQUIRE(size_of("journal") == -1);
    REQUIRE(weir_test_fill_disk("filler") == PART); /* what it had taken is free again */
    REQUIRE(unlink("filler") == 0);
    struct weir_journal *journal = open_journal();
    REQUIRE(journal);
    weir_journal_close(journal);
    return true;
}

Test(journal_full, one_that_finds_no_room_is_refused_and_leaves_nothing_behind)
{
    on_a_small_disk(create_without_room);
}

/* What was there before is not ours to remove. */
static bool keep_what_was_there(void)
{
    int descriptor = open("journal", O_WRONLY | O_CREAT | O_CLOEXEC, 0640);
    REQUIRE(descriptor >= 0 && close(descriptor) == 0);
    REQUIRE(weir_test_fill_disk("filler") > 0);
    REQUIRE(refused_for_want_of_room());
    REQUIRE(size_of("journal") == 0);
    const uint64_t magic = WEIR_JOURNAL_MAGIC;
    REQUIRE(truncate("filler", 200000) == 0);
    descriptor = open("journal", O_WRONLY | O_CLOEXEC);
    REQUIRE(write(descriptor, &magic, sizeof magic) == sizeof magic && close(descriptor) == 0);
    REQUIRE(refused_for_want_of_room());
    REQUIRE(size_of("journal") == sizeof magic);
    return true;
}

Test(journal_full, a_file_that_was_there_stays_as_it_was)
{
    on_a_small_disk(keep_what_was_there);
}

static bool open_without_room(void)
{
    struct weir_journal_name name = name_of(10);
    struct weir_suspect suspect;
    struct weir_journal *journal = open_journal();
    REQUIRE(journal);
    weir_journal_claim(weir_journal_slot(journal, 1), &name);
    weir_journal_close(journal);
    REQUIRE(weir_test_fill_disk("filler") > 0);
    journal = open_journal();
    REQUIRE(journal);
    REQUIRE(weir_journal_find(journal, &name, &suspect) && suspect.crashes == 1);
    weir_journal_close(journal);
    return true;
}

Test(journal_full, one_that_is_there_is_opened_without_room_for_anything)
{
    on_a_small_disk(open_without_room);
}

/* Every page of it is stored to for the first time: slots of all workers, both tables full. */
static bool fill_up_while_running(void)
{
    struct weir_suspect suspect;
    struct weir_journal *journal = open_journal();
    REQUIRE(journal && weir_test_fill_disk("filler") > 0);
    int64_t next = 0;
    for (unsigned round = 0; round < 8; round++) { /* 4 fill the table, and one more makes room in the other copy */
        for (unsigned worker = 0; worker < WEIR_JOURNAL_SLOTS; worker++, next++) {
            struct weir_journal_name name = name_of(next);
            weir_journal_claim(weir_journal_slot(journal, worker), &name);
        }
        weir_journal_set_alone(journal, true);
        weir_journal_close(journal);
        journal = open_journal();
        REQUIRE(journal && journal->table.count > 0);
    }
    REQUIRE(journal->table.count == WEIR_JOURNAL_SUSPECTS_MAX);
    for (int64_t offset = next - WEIR_JOURNAL_SLOTS; offset < next; offset++) {
        struct weir_journal_name name = name_of(offset);
        REQUIRE(weir_journal_find(journal, &name, &suspect) && suspect.crashes == 1);
        weir_journal_forget(journal, &name);
    }
    weir_journal_close(journal);
    REQUIRE(weir_test_fill_disk("filler") == 0); /* it has been full all the time */
    return true;
}

Test(journal_full, the_disk_fills_up_meanwhile_and_nothing_is_lost)
{
    on_a_small_disk(fill_up_while_running);
}
