/*
 * The crash journal: which messages this process is handling, in a file that outlives it. After a crash it tells the
 * next process whom to suspect. Knows nothing of actors; who runs when is in control_guard.c and partition_suspect.c.
 *
 * What it promises: a message whose handler ends the process (a fault, abort(), the kernel's out-of-memory killer) is
 * known as a suspect when the next process opens the same file, with how often that has happened. What it does not: it
 * says nothing on another machine, after the machine itself went down, or when the file was lost. A damaged journal
 * is left aside with a warning and begun anew: what it knew is lost, no message is.
 *
 * The file: one preallocated block of fixed size, mapped shared, in the machine's byte order, all fields naturally
 * aligned. What a process stored before it was killed is in the page cache, so nothing is synced and nothing waits for
 * a disk; a file on tmpfs does as well.
 *
 *     header    magic, version, how many slots and suspects, hash of the group's name, check of these
 *     alone     the generation, while a suspect runs and nothing beside it; else 0
 *     tables    two copies of the suspects, of which the valid one with the higher sequence counts; check, sequence,
 *               generation, count, entries. A change is written into the other copy, so a kill in between loses nothing
 *     slots     one a worker: the message that it runs. `check` is 0 while it runs none
 *
 * Invariants
 *   J1. A slot's check is stored last at the claim and first at the clear: a slot with a check has all its fields.
 *   J2. Slots and `alone` belong to the generation of the table that was valid when they were written; opening takes
 *       them into the table and raises its generation in one flip. So a crash counts once, whenever opening is killed.
 *   J3. A slot is stored to by its worker only; tables by whoever holds `lock`; `alone` by control.
 *   J4. At most WEIR_JOURNAL_SUSPECTS_MAX suspects; for another one the entry that says least makes room: one whose
 *       dead letter is out, else the one with fewest crashes, else the oldest. That is logged.
 *
 * One process at a time: the file is locked (flock), also against a second consumer of the same process. The lock ends
 * with the process, but a child that was forked without exec keeps it.
 */
#ifndef WEIR_ACTORS_JOURNAL_H
#define WEIR_ACTORS_JOURNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <weir/error.h>

#define WEIR_JOURNAL_MAGIC        0x314c4e4a52494557ull /* "WEIRJNL1" where the low byte comes first */
#define WEIR_JOURNAL_VERSION      1u
#define WEIR_JOURNAL_RUNNERS_MAX  256u /* threads that run handlers; each has a slot, from 1 */
#define WEIR_JOURNAL_SLOTS        (WEIR_JOURNAL_RUNNERS_MAX + 1)
#define WEIR_JOURNAL_SUSPECTS_MAX 1024u

/* What names a message: where it lies, and what else is cheap to know of it, since topics are recreated. */
struct weir_journal_name {
    uint64_t topic_hash; /* weir_journal_topic() */
    int64_t offset;
    int64_t timestamp_ms;
    uint64_t sizes; /* key_size << 32 ^ value_size */
    int32_t partition;
    uint32_t unused;
};

/* A message that was being handled when the process ended. */
struct weir_suspect {
    struct weir_journal_name name;
    uint32_t crashes;       /* all */
    uint32_t crashes_alone; /* of them, those with nothing beside it */
    uint32_t is_buried;     /* its dead letter has been acknowledged; kept until the commit has passed it */
    uint32_t unused;
    int64_t first_wall_ms; /* when the first of the crashes was found, */
    int64_t last_wall_ms;  /* and the last */
};

/* ---- the file ---- */

struct weir_journal_header {
    uint64_t magic;
    uint32_t version, slot_count, suspect_count_max, unused;
    uint64_t group_hash;
    uint64_t check; /* of all before */
    uint64_t padding[3];
};

struct weir_journal_table {
    uint64_t check; /* of the rest, up to the last entry in use */
    uint64_t sequence, generation, count;
    uint64_t padding[4];
    struct weir_suspect entries[WEIR_JOURNAL_SUSPECTS_MAX];
};

struct weir_journal_slot {
    _Alignas(64) _Atomic uint64_t check; /* 0: nothing runs */
    uint64_t generation;                 /* constant while the journal is open */
    _Atomic uint64_t topic_hash;
    _Atomic int64_t offset, timestamp_ms;
    _Atomic uint64_t sizes;
    _Atomic int32_t partition;
};

struct weir_journal_file {
    struct weir_journal_header header;
    _Alignas(64) _Atomic uint64_t alone;
    _Alignas(64) struct weir_journal_table tables[2];
    struct weir_journal_slot slots[WEIR_JOURNAL_SLOTS];
};

_Static_assert(sizeof(struct weir_journal_header) == 64 && sizeof(struct weir_suspect) == 72 &&
                   sizeof(struct weir_journal_slot) == 64 && offsetof(struct weir_journal_file, tables) == 128 &&
                   sizeof(struct weir_journal_file) == 128 + 2 * (64 + 72 * 1024) + 64 * 257,
               "the format of version 1");

/* ---- opening ---- */

struct weir_journal {
    struct weir_journal_file *file;
    int descriptor; /* -1: none, the block is the caller's */
    uint64_t generation, group_hash;
    pthread_mutex_t lock;
    unsigned current;                /* the table that counts */
    struct weir_journal_table table; /* what it says */
};

/** What was found. */
enum weir_journal_verdict {
    WEIR_JOURNAL_NEW = 0, /* nothing but zeros */
    WEIR_JOURNAL_VALID,
    WEIR_JOURNAL_DAMAGED, /* a journal, but not to be read; begun anew */
    WEIR_JOURNAL_FOREIGN  /* of another group, version or byte order; begun anew */
};

struct weir_journal_findings {
    enum weir_journal_verdict verdict;
    unsigned running;   /* messages that were running when the process ended */
    unsigned damaged;   /* slots that could not be read */
    unsigned forgotten; /* suspects that made room for others, J4 */
    bool alone;         /* the one that was running ran alone */
};

/**
 * Take over a block: read it, count the crash that it tells of, and make it this process's own.
 *
 * file: of sizeof *file bytes, zeros or whatever was left there; borrowed until weir_journal_detach().
 * Thread: before anybody uses it. Blocks: never.
 */
struct weir_journal_findings weir_journal_attach(struct weir_journal *journal, struct weir_journal_file *file,
                                                 uint64_t group_hash, int64_t wall_ms);
void weir_journal_detach(struct weir_journal *journal);

/**
 * Open or make the file at `path`, and attach to it. What was found is logged.
 *
 * A file that is neither empty, nor zeros, nor a journal, is somebody's: it is refused, not overwritten.
 * Errors: NULL, with WEIR_SYSTEM: it cannot be opened, locked, made long enough or mapped; WEIR_NO_MEMORY.
 */
struct weir_journal *weir_journal_open(const char *path, const char *group, int64_t wall_ms, struct weir_error *error);
void weir_journal_close(struct weir_journal *journal); /* the file stays. NULL is fine */

/* ---- suspects. Thread: any ---- */

uint64_t weir_journal_topic(const char *topic);
/** Is it suspected? A suspect of the same place but another name is none, and is forgotten: the topic was recreated. */
bool weir_journal_find(struct weir_journal *journal, const struct weir_journal_name *name,
                       struct weir_suspect *suspect);
/** The highest offset suspected in a partition; -1: none. */
int64_t weir_journal_last(struct weir_journal *journal, uint64_t topic_hash, int32_t partition);
/** It has been finished. */
void weir_journal_forget(struct weir_journal *journal, const struct weir_journal_name *name);
/** Its dead letter has been acknowledged: a crash before the commit must not run it again. */
void weir_journal_bury(struct weir_journal *journal, const struct weir_journal_name *name);
/** All below `position` of a partition have been committed past. */
void weir_journal_forget_below(struct weir_journal *journal, uint64_t topic_hash, int32_t partition, int64_t position);

/**
 * Is it to be sent to the dead letter queue without another run?
 *
 * Crashes beside others count as one at most, however many there were, and one alone is needed: a message that only
 * happened to be there is never condemned.
 */
static inline bool weir_suspect_is_condemned(const struct weir_suspect *suspect, uint64_t attempts_max)
{
    uint64_t beside = suspect->crashes > suspect->crashes_alone;
    return suspect->is_buried || (suspect->crashes_alone > 0 && suspect->crashes_alone + beside >= attempts_max);
}

/** From now on, or no more, whatever runs runs alone. Thread: control, while nothing runs, or before it may. */
static inline void weir_journal_set_alone(struct weir_journal *journal, bool alone)
{
    atomic_store_explicit(&journal->file->alone, alone ? journal->generation : 0, memory_order_release);
    atomic_signal_fence(memory_order_seq_cst);
}

/* ---- slots. Thread: the worker of that number; the hot path ---- */

static inline struct weir_journal_slot *weir_journal_slot(struct weir_journal *journal, unsigned runner)
{
    return &journal->file->slots[runner];
}

static inline uint64_t weir_journal_sizes(size_t key_size, size_t value_size)
{
    return (uint64_t)key_size << 32 ^ value_size;
}

/* Never 0. A stray byte is noticed, no more is asked of it. */
static inline uint64_t weir_journal_check(uint64_t generation, const struct weir_journal_name *name)
{
    uint64_t mixed = generation * 0x9e3779b97f4a7c15ull ^ name->topic_hash;
    mixed = (mixed ^ (uint64_t)name->offset) * 0xff51afd7ed558ccdull;
    mixed = (mixed ^ mixed >> 32 ^ (uint64_t)name->timestamp_ms) * 0xc4ceb9fe1a85ec53ull;
    mixed = (mixed ^ mixed >> 32 ^ name->sizes ^ (uint64_t)(uint32_t)name->partition << 20) * 0x9e3779b97f4a7c15ull;
    return (mixed ^ mixed >> 29) | 1;
}

/* The next process is the partner of these stores. It sees all of a thread's stores before the one it was killed at,
 * so only the compiler must not move them: the check comes last (J1). */
static inline void weir_journal_claim(struct weir_journal_slot *slot, const struct weir_journal_name *name)
{
    atomic_store_explicit(&slot->topic_hash, name->topic_hash, memory_order_relaxed);
    atomic_store_explicit(&slot->offset, name->offset, memory_order_relaxed);
    atomic_store_explicit(&slot->timestamp_ms, name->timestamp_ms, memory_order_relaxed);
    atomic_store_explicit(&slot->sizes, name->sizes, memory_order_relaxed);
    atomic_store_explicit(&slot->partition, name->partition, memory_order_relaxed);
    atomic_store_explicit(&slot->check, weir_journal_check(slot->generation, name), memory_order_release);
    atomic_signal_fence(memory_order_seq_cst);
}

static inline void weir_journal_clear(struct weir_journal_slot *slot)
{
    atomic_store_explicit(&slot->check, 0, memory_order_release);
    atomic_signal_fence(memory_order_seq_cst); /* the next claim's fields come after */
}

/* Tests only: called after each store to the file but those of the slots; NULL: nobody. Set before attach. */
extern void (*weir_journal_on_store)(void);

#endif
