/*
 * The ledger's file: making, mapping and writing it. The verdicts are in ledger_verdicts.c.
 *
 * Layout: one head of 64 bytes, then records_max records of 64 bytes, all in the machine's byte order.
 *
 * Invariants
 *   L1. A place is given to one writer: `taken` only grows, by atomic addition.
 *   L2. A record is read only after its seal; a writer that is killed before it leaves a hole, never half a record.
 *   L3. All pages exist before the first write (posix_fallocate), so that a full disk is an error here and no SIGBUS.
 */
#include "tests/support/ledger.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#define LEDGER_MARK "weirlgr1"

struct head {
    char mark[8];
    uint64_t records_max;
    uint64_t taken; /* may pass records_max: the rest is overflow */
    char unused[40];
};

struct weir_ledger {
    struct head *head; /* the mapping */
    struct weir_ledger_record *records;
    size_t size;
};

_Static_assert(sizeof(struct head) == 64, "the head is one record long");
_Static_assert(sizeof(struct weir_ledger_record) == 64, "a record is a cache line");

static struct weir_ledger *map(int file, size_t size)
{
    struct weir_ledger *ledger = malloc(sizeof *ledger);
    if (!ledger)
        return NULL;
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (memory == MAP_FAILED) {
        free(ledger);
        return NULL;
    }
    ledger->head = memory;
    ledger->records = (struct weir_ledger_record *)((char *)memory + sizeof(struct head));
    ledger->size = size;
    return ledger;
}

struct weir_ledger *weir_ledger_create(const char *path, size_t records_max)
{
    size_t size = sizeof(struct head) + records_max * sizeof(struct weir_ledger_record);
    if (unlink(path) != 0 && errno != ENOENT) /* not truncated: another process may have the old one mapped */
        return NULL;
    int file = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (file < 0)
        return NULL;
    int fault = posix_fallocate(file, 0, (off_t)size);
    struct weir_ledger *ledger = fault == 0 ? map(file, size) : NULL;
    if (fault == 0)
        fault = ledger ? 0 : errno;
    close(file);
    if (!ledger) {
        unlink(path);
        errno = fault;
        return NULL;
    }
    memcpy(ledger->head->mark, LEDGER_MARK, sizeof ledger->head->mark);
    ledger->head->records_max = records_max;
    return ledger;
}

/* The head is only trusted where the file is as long as it says. */
static bool is_ledger(const struct weir_ledger *ledger)
{
    const struct head *head = ledger->head;
    return memcmp(head->mark, LEDGER_MARK, sizeof head->mark) == 0 &&
           head->records_max == (ledger->size - sizeof *head) / sizeof(struct weir_ledger_record);
}

struct weir_ledger *weir_ledger_open(const char *path)
{
    int file = open(path, O_RDWR | O_CLOEXEC);
    if (file < 0)
        return NULL;
    struct stat status;
    struct weir_ledger *ledger = NULL;
    if (fstat(file, &status) == 0) {
        if ((size_t)status.st_size >= sizeof(struct head))
            ledger = map(file, (size_t)status.st_size);
        else
            errno = EINVAL;
    }
    int fault = errno;
    close(file);
    if (ledger && !is_ledger(ledger)) {
        weir_ledger_close(ledger);
        ledger = NULL;
        fault = EINVAL;
    }
    errno = fault;
    return ledger;
}

void weir_ledger_close(struct weir_ledger *ledger)
{
    if (!ledger)
        return;
    munmap(ledger->head, ledger->size);
    free(ledger);
}

uint64_t weir_ledger_hash(const void *bytes, size_t size)
{
    return XXH3_64bits(bytes, size);
}

uint64_t weir_ledger_key_hash(const void *key, size_t size)
{
    return key ? XXH3_64bits(key, size) : 0;
}

bool weir_ledger_write(struct weir_ledger *ledger, const struct weir_ledger_record *record)
{
    /* Relaxed would do for L1; the order of places must also follow what happened before what on other threads and in
     * other processes, and a handler's START comes after the END it was waiting for by acquire and release elsewhere.
     */
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now); /* before the place, for a writer may lose its processor in between */
    uint64_t place = __atomic_fetch_add(&ledger->head->taken, 1, __ATOMIC_SEQ_CST);
    if (place >= ledger->head->records_max)
        return false;
    struct weir_ledger_record *slot = &ledger->records[place];
    struct weir_ledger_record whole = *record;
    bool of_others =
        whole.kind == WEIR_LEDGER_GONE || whole.kind == WEIR_LEDGER_EVENT || whole.kind == WEIR_LEDGER_OUTPUT;
    if (whole.kind != WEIR_LEDGER_OUTPUT)
        whole.monotonic_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    if (!of_others)
        whole.process = (uint32_t)getpid();
    memcpy(slot, &whole, offsetof(struct weir_ledger_record, sealed));
    __atomic_store_n(&slot->sealed, 1, __ATOMIC_RELEASE); /* pairs with the acquire of weir_ledger_at */
    return true;
}

bool weir_ledger_emit(struct weir_ledger *ledger, const char *topic, int32_t partition, int64_t offset, const void *key,
                      size_t key_size, uint64_t note)
{
    struct weir_ledger_record record = {
        .kind = WEIR_LEDGER_EMIT,
        .topic_hash = weir_ledger_hash(topic, strlen(topic)),
        .partition = partition,
        .offset = offset,
        .key_hash = weir_ledger_key_hash(key, key_size),
        .note = note,
    };
    return weir_ledger_write(ledger, &record);
}

bool weir_ledger_letter(struct weir_ledger *ledger, const char *topic, int32_t partition, int64_t offset)
{
    struct weir_ledger_record record = {
        .kind = WEIR_LEDGER_LETTER,
        .topic_hash = weir_ledger_hash(topic, strlen(topic)),
        .partition = partition,
        .offset = offset,
    };
    return weir_ledger_write(ledger, &record);
}

bool weir_ledger_gone(struct weir_ledger *ledger, uint32_t process)
{
    struct weir_ledger_record record = {.kind = WEIR_LEDGER_GONE, .process = process};
    return weir_ledger_write(ledger, &record);
}

bool weir_ledger_event(struct weir_ledger *ledger, enum weir_ledger_event what, uint32_t process)
{
    struct weir_ledger_record record = {.kind = WEIR_LEDGER_EVENT, .outcome = (uint16_t)what, .process = process};
    return weir_ledger_write(ledger, &record);
}

size_t weir_ledger_count(const struct weir_ledger *ledger)
{
    uint64_t taken = __atomic_load_n(&ledger->head->taken, __ATOMIC_SEQ_CST);
    return taken < ledger->head->records_max ? taken : ledger->head->records_max;
}

uint64_t weir_ledger_overflow(const struct weir_ledger *ledger)
{
    return __atomic_load_n(&ledger->head->taken, __ATOMIC_SEQ_CST) - weir_ledger_count(ledger);
}

const struct weir_ledger_record *weir_ledger_at(const struct weir_ledger *ledger, size_t index)
{
    const struct weir_ledger_record *record = &ledger->records[index];
    /* pairs with the release of weir_ledger_write */
    return __atomic_load_n(&record->sealed, __ATOMIC_ACQUIRE) ? record : NULL;
}

uint64_t weir_ledger_count_kind(const struct weir_ledger *ledger, enum weir_ledger_kind kind)
{
    uint64_t count = 0;
    for (size_t i = 0; i < weir_ledger_count(ledger); i++) {
        const struct weir_ledger_record *record = weir_ledger_at(ledger, i);
        count += record && record->kind == kind;
    }
    return count;
}
