/*
 * The crash journal by itself: what is read back after a process ended at any point, damage, the bounds, and the file.
 */
#include "actors/journal.h"
#include "runtime/memory.h"
#include "tests/support/test.h"
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { GROUP = 7, WALL_MS = 1000 };

static struct weir_journal_file file, image;
static struct weir_journal journal;

static struct weir_journal_name name_of(int64_t offset)
{
    return (struct weir_journal_name){.topic_hash = 42,
                                      .offset = offset,
                                      .timestamp_ms = 1000 + offset,
                                      .sizes = weir_journal_sizes(3, 100),
                                      .partition = 1};
}

static struct weir_journal_findings attach(struct weir_journal_file *block)
{
    struct weir_journal_findings findings = weir_journal_attach(&journal, block, GROUP, WALL_MS);
    weir_journal_detach(&journal); /* the lock: one thread needs none, and a crash detaches nothing else */
    pthread_mutex_init(&journal.lock, NULL);
    return findings;
}

static void claim(unsigned worker, int64_t offset)
{
    struct weir_journal_name name = name_of(offset);
    weir_journal_claim(weir_journal_slot(&journal, worker), &name);
}

/* Crashes of a suspect, its crashes alone in the tens; 0: it is none. */
static unsigned crashes(int64_t offset)
{
    struct weir_journal_name name = name_of(offset);
    struct weir_suspect suspect;
    return weir_journal_find(&journal, &name, &suspect) ? suspect.crashes + 10 * suspect.crashes_alone : 0;
}

/* A process that crashes with these messages running. */
static void crash_with(int64_t first, int64_t last, bool alone)
{
    attach(&file);
    weir_journal_set_alone(&journal, alone);
    for (int64_t offset = first; offset <= last; offset++)
        claim(1 + (unsigned)(offset - first), offset);
}

/* ---- what is read back ---- */

Test(journal, a_new_one_knows_nothing)
{
    struct weir_journal_findings findings = attach(&file);
    cr_assert(findings.verdict == WEIR_JOURNAL_NEW && findings.running == 0 && findings.damaged == 0);
    cr_assert_eq(journal.table.count, 0u);
    cr_assert_eq(weir_journal_last(&journal, 42, 1), -1);
    findings = attach(&file);
    cr_assert(findings.verdict == WEIR_JOURNAL_VALID && findings.running == 0);
}

Test(journal, what_runs_when_the_process_ends_is_suspected_and_counted_once)
{
    crash_with(10, 12, false);
    weir_journal_clear(weir_journal_slot(&journal, 2)); /* 11 has returned */
    struct weir_journal_findings findings = attach(&file);
    cr_assert(findings.verdict == WEIR_JOURNAL_VALID && findings.running == 2 && !findings.alone);
    for (unsigned round = 0; round < 3; round++) { /* processes that end before they run anything */
        cr_assert_eq(crashes(10), 1u);
        cr_assert_eq(crashes(11), 0u);
        cr_assert_eq(crashes(12), 1u);
        cr_assert_eq(weir_journal_last(&journal, 42, 1), 12);
        cr_assert_eq(weir_journal_last(&journal, 42, 2), -1);
        cr_assert_eq(attach(&file).running, 0u);
    }
}

Test(journal, crashes_add_up_and_only_those_of_a_message_alone_count_as_such)
{
    crash_with(10, 12, false);
    crash_with(11, 11, true);
    cr_assert(attach(&file).alone);
    cr_assert_eq(crashes(11), 12u);
    cr_assert_eq(crashes(10), 1u);
    crash_with(11, 12, true); /* the mark is there, but something else ran too: nobody was alone */
    cr_assert_not(attach(&file).alone);
    cr_assert_eq(crashes(11), 13u);
    crash_with(11, 11, false);
    attach(&file);
    cr_assert_eq(crashes(11), 14u);
    weir_journal_set_alone(&journal, true); /* a mark of an older process is void */
    attach(&file);
    claim(1, 11);
    cr_assert_not(attach(&file).alone);
}

Test(journal, a_message_is_condemned_by_enough_crashes_of_which_one_was_alone)
{
    static const struct {
        uint32_t all, alone, attempts_max;
        bool condemned;
    } cases[] = {
        {1, 0, 1, false},   {1, 1, 1, true},      {2, 1, 1, true},  {2, 1, 2, true},  {2, 0, 2, false},
        {100, 0, 2, false}, {3, 2, 3, true},      {3, 1, 3, false}, {9, 1, 3, false}, {9, 2, 3, true},
        {2, 2, 3, false},   {3, 3, 3, true},      {4, 3, 5, false}, {5, 4, 5, true},  {5, 5, 5, true},
        {100, 1, 2, true},  {100, 99, 100, true},
    };
    for (size_t index = 0; index < sizeof cases / sizeof *cases; index++) {
        struct weir_suspect suspect = {.crashes = cases[index].all, .crashes_alone = cases[index].alone};
        cr_assert_eq(weir_suspect_is_condemned(&suspect, cases[index].attempts_max), cases[index].condemned, "case %zu",
                     index);
    }
    cr_assert(weir_suspect_is_condemned(&(struct weir_suspect){.crashes = 1, .is_buried = 1}, 100));
}

Test(journal, another_message_at_the_same_place_is_no_suspect)
{
    crash_with(10, 10, false);
    attach(&file);
    struct weir_journal_name name = name_of(10);
    struct weir_suspect suspect;
    name.timestamp_ms++;
    cr_assert_not(weir_journal_find(&journal, &name, &suspect));
    cr_assert_eq(crashes(10), 0u, "the topic was recreated: what was known of the place is forgotten");
    attach(&file);
    cr_assert_eq(journal.table.count, 0u);
}

Test(journal, what_was_finished_or_committed_past_is_forgotten_for_good)
{
    crash_with(10, 15, false);
    attach(&file);
    struct weir_journal_name name = name_of(12);
    weir_journal_forget(&journal, &name);
    weir_journal_forget(&journal, &name); /* twice does no harm */
    weir_journal_forget_below(&journal, 42, 1, 11);
    weir_journal_forget_below(&journal, 42, 2, 100);
    name = name_of(14);
    weir_journal_bury(&journal, &name);
    for (unsigned round = 0; round < 2; round++) {
        cr_assert_eq(journal.table.count, 4u);
        cr_assert_eq(crashes(10), 0u);
        cr_assert_eq(crashes(11), 1u);
        cr_assert_eq(crashes(12), 0u);
        struct weir_suspect suspect;
        cr_assert(weir_journal_find(&journal, &name, &suspect) && suspect.is_buried);
        attach(&file);
    }
}

Test(journal, its_table_is_bounded_and_what_says_least_makes_room)
{
    enum { EACH = 200 };
    int64_t next = 0;
    while (next + EACH <= WEIR_JOURNAL_SUSPECTS_MAX) {
        crash_with(next, next + EACH - 1, false);
        next += EACH;
    }
    crash_with(5, 5, true); /* 5 has two crashes */
    attach(&file);
    struct weir_journal_name buried = name_of(5);
    weir_journal_bury(&journal, &buried);
    crash_with(6, 6, false); /* and so has 6, which is not buried */
    crash_with(next, next + EACH - 1, false);
    attach(&file);
    cr_assert_eq(journal.table.count, (uint64_t)WEIR_JOURNAL_SUSPECTS_MAX);
    cr_assert_eq(crashes(5), 0u, "its dead letter is out");
    cr_assert_eq(crashes(6), 2u);
    cr_assert_eq(weir_journal_last(&journal, 42, 1), next + EACH - 1);
}

/* ---- killed between any two stores ---- */

static struct weir_journal_file *steps;
static size_t step_count, step_room;

static void keep_step(void)
{
    if (step_count < step_room)
        memcpy(&steps[step_count], &image, sizeof image);
    step_count++;
}

/* Do something to `image`, keeping what the file looked like after each store. */
static void record_steps(void (*something)(void), size_t room)
{
    step_room = room;
    step_count = 0;
    steps = malloc(room * sizeof *steps);
    cr_assert_not_null(steps);
    weir_journal_on_store = keep_step;
    something();
    weir_journal_on_store = NULL;
    cr_assert(step_count > 8 && step_count <= room, "%zu stores", step_count);
}

static void take_over(void)
{
    attach(&image);
}

Test(journal, a_crash_is_counted_once_wherever_the_taking_over_is_killed)
{
    crash_with(10, 12, false);
    crash_with(11, 11, true);
    image = file;
    record_steps(take_over, 400);
    for (size_t step = 0; step < step_count; step++) {
        struct weir_journal_findings findings = attach(&steps[step]);
        cr_assert(findings.verdict == WEIR_JOURNAL_VALID && findings.damaged == 0, "step %zu", step);
        cr_assert(crashes(10) == 1 && crashes(11) == 12 && crashes(12) == 1, "step %zu: %u %u %u", step, crashes(10),
                  crashes(11), crashes(12));
    }
    free(steps);
}

static void forget_one(void)
{
    struct weir_journal_name name = name_of(11);
    weir_journal_forget(&journal, &name);
}

Test(journal, a_change_is_there_or_not_wherever_it_is_killed)
{
    crash_with(10, 12, false);
    image = file;
    attach(&image);
    record_steps(forget_one, 100);
    unsigned there = 0, gone = 0;
    for (size_t step = 0; step < step_count; step++) {
        cr_assert_eq(attach(&steps[step]).verdict, WEIR_JOURNAL_VALID);
        cr_assert(crashes(10) == 1 && crashes(12) == 1, "step %zu", step);
        *(crashes(11) == 1 ? &there : &gone) += 1;
    }
    cr_assert(there > 0 && gone > 0 && there + gone == step_count);
    free(steps);
}

Test(journal, half_a_new_one_is_begun_anew)
{
    memset(&image, 0, sizeof image);
    record_steps(take_over, 400);
    for (size_t step = 0; step < step_count; step++) {
        struct weir_journal_findings findings = attach(&steps[step]);
        cr_assert(findings.running == 0 && findings.damaged == 0 && journal.table.count == 0, "step %zu", step);
        claim(1, 10);
        cr_assert_eq(attach(&steps[step]).running, 1u, "step %zu", step);
    }
    free(steps);
}

Test(journal, half_a_claim_is_none)
{
    attach(&file);
    struct weir_journal_slot *slot = weir_journal_slot(&journal, 3);
    struct weir_journal_name name = name_of(10);
    atomic_store(&slot->topic_hash, name.topic_hash);
    atomic_store(&slot->offset, name.offset);
    image = file;
    cr_assert_eq(attach(&image).running, 0u);
    attach(&file);
    weir_journal_claim(slot, &name);
    weir_journal_clear(slot);
    atomic_store(&slot->offset, 11); /* the next one's */
    struct weir_journal_findings findings = attach(&file);
    cr_assert(findings.running == 0 && findings.damaged == 0);
}

/* ---- damage ---- */

/* Whatever was read is something that was written. */
static void require_known(size_t place)
{
    for (uint64_t index = 0; index < journal.table.count; index++) {
        const struct weir_suspect *suspect = &journal.table.entries[index];
        struct weir_journal_name name = name_of(suspect->name.offset);
        cr_assert(suspect->name.offset >= 10 && suspect->name.offset <= 14 && suspect->crashes <= 3 &&
                      memcmp(&name, &suspect->name, sizeof name) == 0,
                  "byte %zu", place);
    }
}

Test(journal, a_damaged_byte_makes_nobody_a_suspect)
{
    crash_with(10, 12, false);
    crash_with(11, 11, true);
    crash_with(13, 14, false);
    unsigned verdicts[4] = {0}, damaged = 0;
    const size_t parts[][2] = {
        {0, 128 + 64 + 5 * 72},
        {offsetof(struct weir_journal_file, tables[1]), offsetof(struct weir_journal_file, tables[1]) + 64 + 5 * 72},
        {offsetof(struct weir_journal_file, slots), sizeof file}};
    for (size_t part = 0; part < 3; part++) {
        for (size_t place = parts[part][0]; place < parts[part][1]; place++) {
            image = file;
            ((unsigned char *)&image)[place] ^= (unsigned char)(1 + place % 255);
            struct weir_journal_findings findings = attach(&image);
            verdicts[findings.verdict]++;
            damaged += findings.damaged;
            require_known(place);
            cr_assert(findings.verdict == WEIR_JOURNAL_VALID || journal.table.count == 0);
            cr_assert_eq(attach(&image).verdict, WEIR_JOURNAL_VALID, "it is whole again");
        }
    }
    cr_assert(verdicts[WEIR_JOURNAL_VALID] > 0 && verdicts[WEIR_JOURNAL_DAMAGED] > 0 && damaged > 0);
}

Test(journal, without_a_whole_table_it_is_begun_anew)
{
    crash_with(10, 12, false);
    file.tables[0].check ^= 1;
    file.tables[1].check ^= 1;
    cr_assert_eq(attach(&file).verdict, WEIR_JOURNAL_DAMAGED);
    cr_assert_eq(journal.table.count, 0u);
}

Test(journal, that_of_another_group_or_byte_order_is_ignored)
{
    crash_with(10, 12, false);
    image = file;
    cr_assert_eq(weir_journal_attach(&journal, &image, GROUP + 1, WALL_MS).verdict, WEIR_JOURNAL_FOREIGN);
    cr_assert_eq(journal.table.count, 0u);
    weir_journal_detach(&journal);
    image = file;
    image.header.magic = __builtin_bswap64(WEIR_JOURNAL_MAGIC);
    cr_assert_eq(attach(&image).verdict, WEIR_JOURNAL_FOREIGN);
    cr_assert_eq(attach(&image).verdict, WEIR_JOURNAL_VALID);
}

/* ---- the file ---- */

static char folder[] = "/tmp/weir-journal-XXXXXX";
static char path[64];
static struct weir_error error;

static void make_folder(void)
{
    cr_assert_not_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/journal", folder);
}

static void remove_folder(void)
{
    unlink(path);
    cr_assert_eq(rmdir(folder), 0);
}

static struct weir_journal *open_journal(const char *group)
{
    memset(&error, 0, sizeof error);
    return weir_journal_open(path, group, WALL_MS, &error);
}

static void require_refused(const char *words, enum weir_code code)
{
    cr_assert_null(open_journal("billing"));
    cr_assert(error.code == code && strstr(error.text, words), "%d: %s", (int)error.code, error.text);
}

static void write_file(const char *text, size_t size)
{
    FILE *stream = fopen(path, "w");
    cr_assert_not_null(stream);
    cr_assert(fwrite(text, 1, size, stream) == size && fclose(stream) == 0);
}

Test(journal_file, outlives_a_process_that_is_killed)
{
    make_folder();
    pid_t pid = fork();
    if (pid == 0) {
        struct weir_journal *mine = open_journal("billing");
        struct weir_journal_name name = name_of(10);
        if (!mine)
            _exit(1);
        weir_journal_set_alone(mine, true);
        weir_journal_claim(weir_journal_slot(mine, 1), &name);
        raise(SIGKILL);
    }
    int status = 0;
    cr_assert(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    struct weir_journal *next = open_journal("billing");
    cr_assert_not_null(next, "%s", error.text);
    struct weir_journal_name name = name_of(10);
    struct weir_suspect suspect;
    cr_assert(weir_journal_find(next, &name, &suspect) && suspect.crashes == 1 && suspect.crashes_alone == 1);
    cr_assert(suspect.first_wall_ms == WALL_MS && suspect.last_wall_ms == WALL_MS);
    weir_journal_close(next);
    next = open_journal("shipping");
    cr_assert_not_null(next, "%s", error.text);
    cr_assert_not(weir_journal_find(next, &name, &suspect), "of another group");
    weir_journal_close(next);
    weir_journal_close(NULL);
    remove_folder();
}

Test(journal_file, has_one_owner_at_a_time)
{
    static struct weir_journal *volatile mine; /* the child must not lose sight of it: leak checkers look there too */
    make_folder();
    mine = open_journal("billing");
    cr_assert_not_null(mine, "%s", error.text);
    require_refused("another consumer", WEIR_SYSTEM);
    pid_t pid = fork();
    if (pid == 0)
        _exit(open_journal("billing") == NULL && strstr(error.text, "another consumer") ? 0 : 1);
    int status = -1;
    cr_assert(waitpid(pid, &status, 0) == pid && status == 0);
    weir_journal_close(mine);
    mine = open_journal("billing");
    cr_assert_not_null(mine, "%s", error.text);
    weir_journal_close(mine);
    remove_folder();
}

/* What a supervisor may hand from one process to the next: /proc/self/fd/N of a file that was never in a folder. */
Test(journal_file, may_be_one_without_a_name)
{
    int descriptor = memfd_create("journal", MFD_CLOEXEC);
    cr_assert_geq(descriptor, 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", descriptor);
    struct weir_journal_name name = name_of(10);
    struct weir_suspect suspect;
    struct weir_journal *mine = open_journal("billing");
    cr_assert_not_null(mine, "%s", error.text);
    weir_journal_claim(weir_journal_slot(mine, 1), &name);
    weir_journal_close(mine);
    mine = open_journal("billing");
    cr_assert_not_null(mine, "%s", error.text);
    cr_assert(weir_journal_find(mine, &name, &suspect) && suspect.crashes == 1);
    weir_journal_close(mine);
    close(descriptor);
}

Test(journal_file, must_have_room_for_all_of_it)
{
    struct rlimit before, small;
    make_folder();
    cr_assert_eq(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = sizeof(struct weir_journal_file) - 1;
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
    require_refused("no room for its", WEIR_SYSTEM);
    cr_assert_neq(access(path, F_OK), 0, "what it made in vain is there");
    write_file("", 0);
    require_refused("no room for its", WEIR_SYSTEM);
    struct stat status;
    cr_assert(stat(path, &status) == 0 && status.st_size == 0, "what was there is not as it was");
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &before), 0);
    struct weir_journal *mine = open_journal("billing");
    cr_assert_not_null(mine, "%s", error.text);
    cr_assert(stat(path, &status) == 0 && status.st_size == (off_t)sizeof(struct weir_journal_file));
    cr_assert_geq((size_t)status.st_blocks * 512, sizeof(struct weir_journal_file), "it is not preallocated");
    weir_journal_close(mine);
    remove_folder();
}

Test(journal_file, that_is_something_else_is_not_touched)
{
    static const char text[] = "PASSWORDS\n";
    char read_back[sizeof text] = "";
    make_folder();
    write_file(text, sizeof text);
    require_refused("is not overwritten", WEIR_SYSTEM);
    FILE *stream = fopen(path, "r");
    cr_assert_not_null(stream);
    cr_assert_eq(fread(read_back, 1, sizeof read_back, stream), sizeof text);
    fclose(stream);
    cr_assert_str_eq(read_back, text);
    unlink(path);
    cr_assert_eq(mkfifo(path, 0600), 0);
    require_refused("no regular file", WEIR_SYSTEM);
    unlink(path);
    cr_assert_eq(mkdir(path, 0700), 0);
    require_refused("cannot be opened", WEIR_SYSTEM);
    cr_assert_eq(rmdir(path), 0);
    strcat(path, "/missing");
    require_refused("its folder must exist", WEIR_SYSTEM);
    path[strlen(path) - strlen("/missing")] = '\0';
    remove_folder();
}

Test(journal_file, that_was_cut_or_overwritten_is_begun_anew)
{
    make_folder();
    for (unsigned round = 0; round < 4; round++) {
        struct weir_journal *mine = open_journal("billing");
        cr_assert_not_null(mine, "round %u: %s", round, error.text);
        cr_assert_eq(mine->table.count, 0u);
        struct weir_journal_name name = name_of(10);
        weir_journal_claim(weir_journal_slot(mine, 1), &name);
        weir_journal_close(mine);
        if (round == 0)
            cr_assert_eq(truncate(path, 100), 0);
        if (round == 1)
            cr_assert_eq(truncate(path, 0), 0);
        if (round == 2) {
            static char noise[sizeof(struct weir_journal_file)];
            memset(noise, 0xa5, sizeof noise);
            write_file(noise, sizeof noise);
        }
    }
    struct weir_journal *mine = open_journal("billing");
    cr_assert(mine && mine->table.count == 1, "and one that was not touched is read");
    weir_journal_close(mine);
    remove_folder();
}

Test(journal_file, opening_reports_short_memory)
{
    make_folder();
    weir_memory_fail_after(0);
    cr_assert_null(open_journal("billing"));
    weir_memory_fail_after(UINT64_MAX);
    cr_assert_eq(error.code, WEIR_NO_MEMORY);
    cr_assert_eq(rmdir(folder), 0);
}
