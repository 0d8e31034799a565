/*
 * The crash journal: its file, and the table of suspects. See journal.h for format and invariants.
 *
 * Thread: opening and closing one; suspects any, under `lock`. All of it is off the hot path but the slots, which are
 * inline.
 */
#include "actors/journal.h"
#include "actors/config/config.h"
#include "runtime/check.h"
#include "runtime/log.h"
#include "runtime/memory.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#define NUMBER_MAX (UINT64_C(1) << 62) /* of sequence and generation: what comes after it must be higher */

void (*weir_journal_on_store)(void);

/* ---- stores ---- */

/* One word. A process can be killed after any of them: their order is the program's, which the fence keeps. */
static void store(uint64_t *place, uint64_t value)
{
    __atomic_store_n(place, value, __ATOMIC_RELAXED);
    atomic_signal_fence(memory_order_seq_cst);
    if (weir_journal_on_store)
        weir_journal_on_store();
}

static void store_words(void *place, const void *source, size_t size)
{
    const uint64_t *words = source;
    uint64_t *to = place;
    for (size_t index = 0; index < size / sizeof *words; index++)
        store(&to[index], words[index]);
}

/* ---- tables ---- */

static uint64_t table_check(const struct weir_journal_table *table)
{
    size_t from = offsetof(struct weir_journal_table, sequence);
    size_t to = offsetof(struct weir_journal_table, entries) + table->count * sizeof(struct weir_suspect);
    return XXH3_64bits((const char *)table + from, to - from);
}

static bool table_is_valid(const struct weir_journal_table *table)
{
    return table->sequence - 1 < NUMBER_MAX && table->generation - 1 < NUMBER_MAX &&
           table->count <= WEIR_JOURNAL_SUSPECTS_MAX && table->check == table_check(table);
}

/* Write what `journal->table` says into the copy that does not count, which makes it count. */
static void flip(struct weir_journal *journal)
{
    struct weir_journal_table *table = &journal->table;
    struct weir_journal_table *other = &journal->file->tables[1 - journal->current];
    table->sequence++;
    table->check = table_check(table);
    store(&other->check, 0);
    store_words(&other->sequence, &table->sequence,
                offsetof(struct weir_journal_table, entries) - offsetof(struct weir_journal_table, sequence) +
                    table->count * sizeof(struct weir_suspect));
    store(&other->check, table->check);
    journal->current = 1 - journal->current;
}

static bool same_place(const struct weir_journal_name *one, const struct weir_journal_name *other)
{
    return one->topic_hash == other->topic_hash && one->partition == other->partition && one->offset == other->offset;
}

static bool same_name(const struct weir_journal_name *one, const struct weir_journal_name *other)
{
    return same_place(one, other) && one->timestamp_ms == other->timestamp_ms && one->sizes == other->sizes;
}

static struct weir_suspect *find_place(struct weir_journal *journal, const struct weir_journal_name *name)
{
    for (uint64_t index = 0; index < journal->table.count; index++) {
        if (same_place(&journal->table.entries[index].name, name))
            return &journal->table.entries[index];
    }
    return NULL;
}

/* The order of the rest does not matter. */
static void remove_entry(struct weir_journal *journal, struct weir_suspect *entry)
{
    *entry = journal->table.entries[--journal->table.count];
    journal->table.entries[journal->table.count] = (struct weir_suspect){0};
}

/* Does the first entry say less than the second? */
static bool says_less(const struct weir_suspect *one, const struct weir_suspect *other)
{
    if (one->is_buried != other->is_buried)
        return one->is_buried;
    if (one->crashes != other->crashes)
        return one->crashes < other->crashes;
    return one->last_wall_ms < other->last_wall_ms;
}

/* J4 */
static void make_room(struct weir_journal *journal)
{
    struct weir_suspect *least = &journal->table.entries[0];
    for (uint64_t index = 1; index < journal->table.count; index++) {
        if (says_less(&journal->table.entries[index], least))
            least = &journal->table.entries[index];
    }
    remove_entry(journal, least);
}

static void accuse(struct weir_journal *journal, const struct weir_journal_name *name,
                   struct weir_journal_findings *findings, int64_t wall_ms)
{
    struct weir_suspect *entry = find_place(journal, name);
    if (entry && !same_name(&entry->name, name))
        *entry = (struct weir_suspect){0};
    if (!entry) {
        if (journal->table.count == WEIR_JOURNAL_SUSPECTS_MAX) {
            make_room(journal);
            findings->forgotten++;
        }
        entry = &journal->table.entries[journal->table.count++];
        *entry = (struct weir_suspect){0};
    }
    entry->name = *name;
    entry->crashes += entry->crashes < UINT32_MAX;
    entry->crashes_alone += findings->alone && entry->crashes_alone < UINT32_MAX;
    entry->last_wall_ms = wall_ms;
    if (entry->first_wall_ms == 0)
        entry->first_wall_ms = wall_ms;
}

/* ---- attach ---- */

static uint64_t header_check(const struct weir_journal_header *header)
{
    return XXH3_64bits(header, offsetof(struct weir_journal_header, check));
}

static bool is_zero(const void *bytes, size_t size)
{
    const unsigned char *byte = bytes;
    return size == 0 || (byte[0] == 0 && memcmp(byte, byte + 1, size - 1) == 0);
}

static enum weir_journal_verdict judge(const struct weir_journal_file *file, uint64_t group_hash)
{
    const struct weir_journal_header *header = &file->header;
    if (header->magic == 0 && is_zero(header, sizeof *header))
        return WEIR_JOURNAL_NEW; /* also what a process left that was killed while it made the file */
    if (header->magic != WEIR_JOURNAL_MAGIC)
        return header->magic == __builtin_bswap64(WEIR_JOURNAL_MAGIC) ? WEIR_JOURNAL_FOREIGN : WEIR_JOURNAL_DAMAGED;
    if (header->check != header_check(header))
        return WEIR_JOURNAL_DAMAGED;
    if (header->version != WEIR_JOURNAL_VERSION || header->slot_count != WEIR_JOURNAL_SLOTS ||
        header->suspect_count_max != WEIR_JOURNAL_SUSPECTS_MAX || header->group_hash != group_hash)
        return WEIR_JOURNAL_FOREIGN;
    return table_is_valid(&file->tables[0]) || table_is_valid(&file->tables[1]) ? WEIR_JOURNAL_VALID
                                                                                : WEIR_JOURNAL_DAMAGED;
}

/* Make it a journal that knows nothing. The magic goes first and comes last: half a header is zeros. */
static void begin_anew(struct weir_journal *journal)
{
    struct weir_journal_file *file = journal->file;
    struct weir_journal_header header = {.magic = WEIR_JOURNAL_MAGIC,
                                         .version = WEIR_JOURNAL_VERSION,
                                         .slot_count = WEIR_JOURNAL_SLOTS,
                                         .suspect_count_max = WEIR_JOURNAL_SUSPECTS_MAX,
                                         .group_hash = journal->group_hash};
    header.check = header_check(&header);
    memset(&file->header, 0, sizeof file->header);
    store(&file->header.magic, 0);
    memset((char *)file + sizeof file->header, 0, sizeof *file - sizeof file->header);
    memset(&journal->table, 0, sizeof journal->table);
    journal->current = 1;
    journal->table.generation = 1;
    flip(journal);
    struct weir_journal_header whole = header;
    header.magic = 0;
    /* Where a kill leaves some of these fields without the magic, the file counts as damaged: nothing was in it. */
    store_words(&file->header, &header, sizeof header);
    store(&file->header.magic, whole.magic);
}

static void read_table(struct weir_journal *journal)
{
    const struct weir_journal_table *tables = journal->file->tables;
    bool first = table_is_valid(&tables[0]), second = table_is_valid(&tables[1]);
    journal->current = first && second ? tables[1].sequence > tables[0].sequence : second;
    const struct weir_journal_table *table = &tables[journal->current];
    memset(&journal->table, 0, sizeof journal->table);
    memcpy(&journal->table, table,
           offsetof(struct weir_journal_table, entries) + table->count * sizeof(struct weir_suspect));
}

/* The message in a slot of the generation that has ended. False: there is none, or it cannot be read. */
static bool read_slot(const struct weir_journal *journal, const struct weir_journal_slot *slot,
                      struct weir_journal_name *name, unsigned *damaged)
{
    uint64_t check = atomic_load_explicit(&slot->check, memory_order_relaxed);
    if (check == 0 || slot->generation != journal->table.generation)
        return false;
    *name = (struct weir_journal_name){
        .topic_hash = atomic_load_explicit(&slot->topic_hash, memory_order_relaxed),
        .offset = atomic_load_explicit(&slot->offset, memory_order_relaxed),
        .timestamp_ms = atomic_load_explicit(&slot->timestamp_ms, memory_order_relaxed),
        .sizes = atomic_load_explicit(&slot->sizes, memory_order_relaxed),
        .partition = atomic_load_explicit(&slot->partition, memory_order_relaxed),
    };
    bool readable = check == weir_journal_check(slot->generation, name) && name->offset >= 0 && name->partition >= 0;
    *damaged += !readable;
    return readable;
}

static void read_slots(struct weir_journal *journal, struct weir_journal_findings *findings, int64_t wall_ms)
{
    struct weir_journal_name names[WEIR_JOURNAL_SLOTS];
    for (unsigned index = 0; index < WEIR_JOURNAL_SLOTS; index++)
        findings->running +=
            read_slot(journal, &journal->file->slots[index], &names[findings->running], &findings->damaged);
    uint64_t alone = atomic_load_explicit(&journal->file->alone, memory_order_relaxed);
    findings->alone = findings->running == 1 && findings->damaged == 0 && alone == journal->table.generation;
    for (unsigned index = 0; index < findings->running; index++)
        accuse(journal, &names[index], findings, wall_ms);
}

struct weir_journal_findings weir_journal_attach(struct weir_journal *journal, struct weir_journal_file *file,
                                                 uint64_t group_hash, int64_t wall_ms)
{
    struct weir_journal_findings findings = {.verdict = judge(file, group_hash)};
    journal->file = file;
    journal->descriptor = -1;
    journal->group_hash = group_hash;
    pthread_mutex_init(&journal->lock, NULL);
    if (findings.verdict == WEIR_JOURNAL_VALID) {
        read_table(journal);
        read_slots(journal, &findings, wall_ms);
        journal->table.generation++;
        flip(journal); /* from here on what the slots say is of an older generation (J2) */
    } else {
        begin_anew(journal);
    }
    journal->generation = journal->table.generation;
    weir_journal_set_alone(journal, false);
    for (unsigned index = 0; index < WEIR_JOURNAL_SLOTS; index++) {
        weir_journal_clear(&file->slots[index]);
        store(&file->slots[index].generation, journal->generation);
    }
    return findings;
}

void weir_journal_detach(struct weir_journal *journal)
{
    pthread_mutex_destroy(&journal->lock);
}

/* ---- suspects ---- */

uint64_t weir_journal_topic(const char *topic)
{
    return XXH3_64bits(topic, strlen(topic));
}

bool weir_journal_find(struct weir_journal *journal, const struct weir_journal_name *name, struct weir_suspect *suspect)
{
    pthread_mutex_lock(&journal->lock);
    struct weir_suspect *entry = find_place(journal, name);
    bool found = entry && same_name(&entry->name, name);
    if (found) {
        *suspect = *entry;
    } else if (entry) {
        remove_entry(journal, entry);
        flip(journal);
    }
    pthread_mutex_unlock(&journal->lock);
    return found;
}

int64_t weir_journal_last(struct weir_journal *journal, uint64_t topic_hash, int32_t partition)
{
    int64_t last = -1;
    pthread_mutex_lock(&journal->lock);
    for (uint64_t index = 0; index < journal->table.count; index++) {
        const struct weir_journal_name *name = &journal->table.entries[index].name;
        if (name->topic_hash == topic_hash && name->partition == partition && name->offset > last)
            last = name->offset;
    }
    pthread_mutex_unlock(&journal->lock);
    return last;
}

void weir_journal_forget(struct weir_journal *journal, const struct weir_journal_name *name)
{
    pthread_mutex_lock(&journal->lock);
    struct weir_suspect *entry = find_place(journal, name);
    if (entry) {
        remove_entry(journal, entry);
        flip(journal);
    }
    pthread_mutex_unlock(&journal->lock);
}

void weir_journal_bury(struct weir_journal *journal, const struct weir_journal_name *name)
{
    pthread_mutex_lock(&journal->lock);
    struct weir_suspect *entry = find_place(journal, name);
    if (entry && !entry->is_buried) {
        entry->is_buried = 1;
        flip(journal);
    }
    pthread_mutex_unlock(&journal->lock);
}

void weir_journal_forget_below(struct weir_journal *journal, uint64_t topic_hash, int32_t partition, int64_t position)
{
    bool changed = false;
    pthread_mutex_lock(&journal->lock);
    for (uint64_t index = journal->table.count; index-- > 0;) {
        struct weir_suspect *entry = &journal->table.entries[index];
        if (entry->name.topic_hash != topic_hash || entry->name.partition != partition ||
            entry->name.offset >= position)
            continue;
        remove_entry(journal, entry);
        changed = true;
    }
    if (changed)
        flip(journal);
    pthread_mutex_unlock(&journal->lock);
}

/* ---- the file ---- */

static int fail(struct weir_error *error, const char *path, const char *what, int number, const char *remedy)
{
    return weir_error_set(error, WEIR_SYSTEM, "weir.crash.journal=%s: %s: %s; %s", path, what, strerror(number),
                          remedy);
}

/* Open it, or make it: then `created`. A link to nowhere is followed, and what that makes is not ours to remove. */
static int open_file(const char *path, bool *created)
{
    const int flags = O_RDWR | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
    int descriptor = open(path, flags);
    *created = false;
    if (descriptor >= 0 || errno != ENOENT)
        return descriptor;
    descriptor = open(path, flags | O_CREAT | O_EXCL, 0600);
    *created = descriptor >= 0;
    return descriptor < 0 && errno == EEXIST ? open(path, flags | O_CREAT, 0600) : descriptor;
}

/* 0, or an error; 1: one that says that somebody else has it. */
static int lock_file(int descriptor, const char *path, struct weir_error *error)
{
    while (flock(descriptor, LOCK_EX | LOCK_NB) != 0) {
        if (errno == EINTR)
            continue;
        if (errno == EWOULDBLOCK) {
            weir_error_set(error, WEIR_SYSTEM,
                           "weir.crash.journal=%s: another consumer, or a child of one, has it open; each "
                           "consumer needs a file of its own",
                           path);
            return 1;
        }
        return fail(error, path, "cannot be locked", errno, "name a file on a local file system");
    }
    return 0;
}

/* What lies there must be ours, or nothing: a wrong path must not cost a file. */
static int look(int descriptor, const char *path, struct stat *found, struct weir_error *error)
{
    struct stat status;
    if (fstat(descriptor, &status) != 0)
        return fail(error, path, "cannot be looked at", errno, "name another file");
    *found = status;
    if (!S_ISREG(status.st_mode))
        return weir_error_set(error, WEIR_SYSTEM, "weir.crash.journal=%s: is no regular file; name another", path);
    uint64_t magic = 0;
    ssize_t got = pread(descriptor, &magic, sizeof magic, 0);
    if (got < 0)
        return fail(error, path, "cannot be read", errno, "name another file");
    bool is_ours = status.st_size == 0 || status.st_size == (off_t)sizeof(struct weir_journal_file) ||
                   (got == (ssize_t)sizeof magic &&
                    (magic == WEIR_JOURNAL_MAGIC || magic == __builtin_bswap64(WEIR_JOURNAL_MAGIC)));
    if (is_ours)
        return 0;
    return weir_error_set(error, WEIR_SYSTEM,
                          "weir.crash.journal=%s: the file has %lld bytes of something else and is not overwritten; "
                          "remove it or name another",
                          path, (long long)status.st_size);
}

/* Room for all of it now, so that no store can fail later for want of disk. */
static int allocate(int descriptor, const char *path, off_t size_before, struct weir_error *error)
{
    const off_t size = sizeof(struct weir_journal_file);
    struct rlimit limit; /* beyond it the kernel would send SIGXFSZ */
    int result = EINTR;
    if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur < (rlim_t)size)
        result = EFBIG;
    while (result == EINTR)
        result = posix_fallocate(descriptor, 0, size);
    if (result == 0 && size_before > size && ftruncate(descriptor, size) != 0) /* of another version */
        result = errno;
    if (result == 0)
        return 0;
    weir_error_set(error, WEIR_SYSTEM,
                   "weir.crash.journal=%s: no room for its %lld bytes: %s; free some, raise the limit of a file's "
                   "size (ulimit -f), or name a file elsewhere",
                   path, (long long)size, strerror(result));
    return WEIR_SYSTEM;
}

static void put_back(int descriptor, const char *path, off_t size_before)
{
    if (size_before < (off_t)sizeof(struct weir_journal_file) && ftruncate(descriptor, size_before) != 0)
        weir_log(WEIR_LOG_WARN, WEIR_NO_FIELDS, "the crash journal %s could not be cut again: %s", path,
                 strerror(errno));
}

/* NULL: the file is left as it was found, but for what was longer. */
static struct weir_journal_file *prepare(int descriptor, const char *path, const struct stat *found,
                                         struct weir_error *error)
{
    void *block = MAP_FAILED;
    if (allocate(descriptor, path, found->st_size, error) == 0) {
        block = mmap(NULL, sizeof(struct weir_journal_file), PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
        if (block == MAP_FAILED)
            fail(error, path, "cannot be mapped", errno, "name a file on a local file system");
    }
    if (block != MAP_FAILED)
        return block;
    put_back(descriptor, path, found->st_size);
    return NULL;
}

/* Was it removed between opening and locking? A file that never had a name, as one of memfd_create() that is opened by
 * its descriptor, is still where the path leads. */
static bool is_removed(const char *path, const struct stat *found)
{
    struct stat there;
    return found->st_nlink == 0 &&
           (stat(path, &there) != 0 || there.st_dev != found->st_dev || there.st_ino != found->st_ino);
}

/* Open, lock, map. A file made in vain is removed while it is locked, or where there are no locks: who has opened it
 * meanwhile and gets the lock then finds out that it has no name any more, and begins again. */
static struct weir_journal_file *take_file(const char *path, int *descriptor, struct weir_error *error)
{
    struct weir_journal_file *file = NULL;
    struct stat found = {0};
    bool created, again;
    do {
        *descriptor = open_file(path, &created);
        if (*descriptor < 0) {
            fail(error, path, "cannot be opened", errno, "its folder must exist and be writable");
            return NULL;
        }
        int locked = lock_file(*descriptor, path, error);
        bool ours = locked == 0 && look(*descriptor, path, &found, error) == 0;
        again = ours && is_removed(path, &found);
        if (ours && !again)
            file = prepare(*descriptor, path, &found, error);
        if (!file && !again && created && locked <= 0)
            unlink(path);
        if (!file)
            close(*descriptor); /* and with it the lock */
    } while (again);
    return file;
}

static void report(const char *path, const struct weir_journal *journal, const struct weir_journal_findings *findings)
{
    if (findings->verdict == WEIR_JOURNAL_DAMAGED)
        weir_log(WEIR_LOG_WARN, WEIR_NO_FIELDS,
                 "the crash journal %s is damaged: what it knew of crashes is lost, it is begun anew", path);
    if (findings->verdict == WEIR_JOURNAL_FOREIGN)
        weir_log(WEIR_LOG_WARN, WEIR_NO_FIELDS,
                 "the crash journal %s is of another group or version: it is ignored and begun anew", path);
    if (findings->damaged > 0)
        weir_log(WEIR_LOG_WARN, WEIR_NO_FIELDS, "%u slots of the crash journal %s are damaged and ignored",
                 findings->damaged, path);
    if (findings->forgotten > 0)
        weir_log(WEIR_LOG_WARN, WEIR_NO_FIELDS,
                 "the crash journal %s is full with %u suspects: %u of those with fewest crashes were forgotten", path,
                 WEIR_JOURNAL_SUSPECTS_MAX, findings->forgotten);
    if (findings->running > 0)
        weir_log(WEIR_LOG_WARN, WEIR_NO_FIELDS,
                 "the process before this one ended with handlers running: %u%s; each of the %" PRIu64
                 " suspects will run with nothing beside it",
                 findings->running, findings->alone ? ", alone" : "", journal->table.count);
}

struct weir_journal *weir_journal_open(const char *path, const char *group, int64_t wall_ms, struct weir_error *error)
{
    struct weir_journal *journal = weir_memory_allocate_zeroed(1, sizeof *journal);
    if (!journal) {
        weir_error_set(error, WEIR_NO_MEMORY, "no memory for the crash journal: %zu bytes", sizeof *journal);
        return NULL;
    }
    int descriptor;
    struct weir_journal_file *file = take_file(path, &descriptor, error);
    if (!file) {
        weir_memory_free(journal);
        return NULL;
    }
    struct weir_journal_findings findings =
        weir_journal_attach(journal, file, weir_journal_topic(group ? group : ""), wall_ms);
    journal->descriptor = descriptor;
    report(path, journal, &findings);
    return journal;
}

void weir_journal_close(struct weir_journal *journal)
{
    if (!journal)
        return;
    munmap(journal->file, sizeof *journal->file);
    close(journal->descriptor); /* and with it the lock */
    weir_journal_detach(journal);
    weir_memory_free(journal);
}
