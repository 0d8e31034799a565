/*
 * Fuzzer of the crash journal. Goal: no file makes its reader crash, accuse what it cannot name, or leave something
 * behind that the next reader takes for more.
 *
 * An input is patches upon a journal that was left by a crash (or upon zeros, or upon noise): 3 bytes of place, 1 of
 * length, then so many bytes. The first byte of the input says what lies below, and whether the checks of header and
 * tables are made right again, since no fuzzer guesses a hash.
 */
#include "actors/journal.h"
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define GROUP_HASH         7
#define REQUIRE(condition) ((condition) ? (void)0 : abort())

enum { ON_ZEROS = 1, ON_NOISE = 2, MEND_HEADER = 4, MEND_TABLES = 8, MEND_SLOTS = 16 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct weir_journal_file file, left;
static struct weir_journal journal;

/* What a process left that crashed with three messages running, after one that crashed with two. */
static void leave(void)
{
    if (left.header.magic != 0)
        return;
    for (int64_t round = 0; round < 2; round++) {
        weir_journal_attach(&journal, &left, GROUP_HASH, 1000);
        for (int64_t offset = 0; offset < 2 + round; offset++) {
            struct weir_journal_name name = {.topic_hash = 42, .offset = 10 * round + offset, .timestamp_ms = 99};
            weir_journal_claim(weir_journal_slot(&journal, 1 + (unsigned)offset), &name);
        }
        weir_journal_detach(&journal);
    }
}

static void mend(unsigned what)
{
    if (what & MEND_HEADER)
        file.header.check = XXH3_64bits(&file.header, offsetof(struct weir_journal_header, check));
    for (size_t index = 0; what & MEND_TABLES && index < 2; index++) {
        struct weir_journal_table *table = &file.tables[index];
        size_t from = offsetof(struct weir_journal_table, sequence);
        size_t entries = table->count < WEIR_JOURNAL_SUSPECTS_MAX ? table->count : WEIR_JOURNAL_SUSPECTS_MAX;
        table->check = XXH3_64bits((const char *)table + from, offsetof(struct weir_journal_table, entries) - from +
                                                                   entries * sizeof table->entries[0]);
    }
    for (size_t index = 0; what & MEND_SLOTS && index < WEIR_JOURNAL_SLOTS; index++) {
        struct weir_journal_slot *slot = &file.slots[index];
        struct weir_journal_name name = {.topic_hash = slot->topic_hash,
                                         .offset = slot->offset,
                                         .timestamp_ms = slot->timestamp_ms,
                                         .sizes = slot->sizes,
                                         .partition = slot->partition};
        if (slot->check != 0)
            slot->check = weir_journal_check(slot->generation, &name);
    }
}

static void patch(const uint8_t *data, size_t size)
{
    while (size > 4) {
        size_t place = ((size_t)data[0] << 16 | (size_t)data[1] << 8 | data[2]) % sizeof file, length = data[3];
        data += 4;
        size -= 4;
        length = length < size ? length : size;
        length = length < sizeof file - place ? length : sizeof file - place;
        memcpy((char *)&file + place, data, length);
        data += length;
        size -= length;
    }
}

static void require_sound(const struct weir_journal_findings *findings)
{
    REQUIRE(journal.table.count <= WEIR_JOURNAL_SUSPECTS_MAX && journal.generation > 0);
    REQUIRE(findings->running + findings->damaged <= WEIR_JOURNAL_SLOTS);
    REQUIRE(!findings->alone || findings->running == 1);
    REQUIRE(findings->verdict == WEIR_JOURNAL_VALID || journal.table.count == 0);
    REQUIRE(atomic_load(&file.alone) == 0 && file.header.magic == WEIR_JOURNAL_MAGIC);
    for (size_t index = 0; index < WEIR_JOURNAL_SLOTS; index++)
        REQUIRE(file.slots[index].check == 0 && file.slots[index].generation == journal.generation);
}

/* What was read is there again, and nothing more. */
static void require_stable(void)
{
    static struct weir_journal_table before;
    before = journal.table;
    struct weir_journal_findings findings = weir_journal_attach(&journal, &file, GROUP_HASH, 3000);
    REQUIRE(findings.verdict == WEIR_JOURNAL_VALID && findings.running == 0 && findings.damaged == 0);
    REQUIRE(journal.table.count == before.count &&
            memcmp(journal.table.entries, before.entries, before.count * sizeof before.entries[0]) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    leave();
    if (data[0] & ON_ZEROS)
        memset(&file, 0, sizeof file);
    else if (data[0] & ON_NOISE)
        memset(&file, 0xa5, sizeof file);
    else
        memcpy(&file, &left, sizeof file);
    patch(data + 1, size - 1);
    mend(data[0]);
    struct weir_journal_findings findings = weir_journal_attach(&journal, &file, GROUP_HASH, 2000);
    require_sound(&findings);
    weir_journal_detach(&journal);
    require_stable();
    for (uint64_t count = 0; journal.table.count > 0; count++) {
        REQUIRE(count < WEIR_JOURNAL_SUSPECTS_MAX);
        struct weir_journal_name name = journal.table.entries[0].name;
        weir_journal_last(&journal, name.topic_hash, name.partition);
        if (count % 64 != 63) /* most by the handful: each change writes the whole table */
            journal.table.count--;
        else
            weir_journal_forget(&journal, &name);
    }
    weir_journal_detach(&journal);
    return 0;
}
