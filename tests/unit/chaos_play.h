/*
 * Plays for the tests of the chaos harness's verdicts: a ledger and commits as processes would have written them, on a
 * clock of their own, and what the verdicts say of them.
 */
#ifndef WEIR_TESTS_CHAOS_PLAY_H
#define WEIR_TESTS_CHAOS_PLAY_H

#include "tests/support/chaos.h"
#include "tests/support/test.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { MESSAGES = 6, DRAIN_MS = 5000, RECORDS_MAX = 256, COMMITS_MAX = 16, A = 101, B = 102 };

/* A ledger written by "processes" A and B with a clock of its own, and the commits beside it. */
struct play {
    struct weir_ledger *ledger;
    char path[64];
    uint64_t now_ms;
    struct weir_chaos_commit commits[COMMITS_MAX];
    struct weir_chaos_history history;
    struct weir_chaos_terms terms;
    struct weir_chaos_result result;
};

static inline void begin(struct play *play)
{
    *play = (struct play){.now_ms = 1000};
    play->history.all = play->commits;
    play->terms = (struct weir_chaos_terms){
        .messages = MESSAGES, .disturbances = 1, .drain_ms = DRAIN_MS, .workers = 1, .stall_ms_max = 30000};
    snprintf(play->path, sizeof play->path, "/tmp/weir-chaos-%d-XXXXXX", (int)getpid());
    int file = mkstemp(play->path);
    cr_assert_geq(file, 0);
    close(file);
    play->ledger = weir_ledger_create(play->path, RECORDS_MAX);
    cr_assert_not_null(play->ledger);
}

/* Write, then give the record the play's process and time: the ledger fills in those of this one. What it returns may
 * be changed. */
static inline struct weir_ledger_record *put(struct play *play, enum weir_ledger_kind kind, uint32_t process,
                                             int64_t offset, uint64_t epoch, unsigned outcome)
{
    char key = (char)('a' + offset % 2);
    struct weir_ledger_record record = {.kind = (uint16_t)kind,
                                        .topic_hash = weir_ledger_hash("orders", 6),
                                        .key_hash = weir_ledger_key_hash(&key, 1),
                                        .offset = offset,
                                        .partition = 3,
                                        .attempt = 1,
                                        .note = epoch,
                                        .process = process,
                                        .outcome = (uint16_t)outcome};
    cr_assert(weir_ledger_write(play->ledger, &record));
    size_t place = weir_ledger_count(play->ledger) - 1;
    struct weir_ledger_record *written = (struct weir_ledger_record *)(uintptr_t)weir_ledger_at(play->ledger, place);
    written->process = process;
    written->monotonic_ns = ++play->now_ms * 1000000;
    return written;
}

static inline void start(struct play *play, uint32_t process, int64_t offset)
{
    put(play, WEIR_LEDGER_START, process, offset, 1, 0);
}

static inline void end(struct play *play, uint32_t process, int64_t offset)
{
    put(play, WEIR_LEDGER_END, process, offset, 1, WEIR_ACK);
}

static inline void run(struct play *play, uint32_t process, int64_t offset)
{
    start(play, process, offset);
    end(play, process, offset);
}

static inline void event(struct play *play, enum weir_ledger_event what, uint32_t process)
{
    put(play, WEIR_LEDGER_EVENT, process, 0, 0, what);
}

static inline void emit_all(struct play *play)
{
    for (int64_t offset = 0; offset < MESSAGES; offset++)
        put(play, WEIR_LEDGER_EMIT, 1, offset, 0, 0);
}

/* A commit, 10 ms later. */
static inline void commit(struct play *play, int64_t offset)
{
    cr_assert_lt(play->history.count, (size_t)COMMITS_MAX);
    play->now_ms += 10;
    play->commits[play->history.count++] = (struct weir_chaos_commit){.topic_hash = weir_ledger_hash("orders", 6),
                                                                      .partition = 3,
                                                                      .offset = offset,
                                                                      .monotonic_ns = play->now_ms * 1000000};
    play->now_ms += 10;
}

static inline void judge(struct play *play)
{
    weir_chaos_judge(play->ledger, &play->history, &play->terms, &play->result);
    weir_ledger_close(play->ledger);
    cr_assert_eq(unlink(play->path), 0);
}

static inline void must_hold(struct play *play)
{
    judge(play);
    cr_assert(play->result.ok, "%s", play->result.text);
}

static inline void must_fail(struct play *play, const char *words)
{
    judge(play);
    cr_assert_not(play->result.ok, "nothing was found");
    cr_assert(strstr(play->result.text, words) != NULL, "'%s' does not say '%s'", play->result.text, words);
}

/* A does 0 to 2 and commits 1, is killed; B does 1 to 5 and commits all. */
static inline void killed_run(struct play *play)
{
    emit_all(play);
    run(play, A, 0);
    commit(play, 1);
    run(play, A, 1);
    run(play, A, 2);
    event(play, WEIR_EVENT_KILL, A);
    put(play, WEIR_LEDGER_GONE, A, 0, 0, 0);
    for (int64_t offset = 1; offset < MESSAGES; offset++)
        run(play, B, offset);
    commit(play, MESSAGES);
}

/* Commits of all, and one disturbance: what every run needs. */
static inline void conclude(struct play *play)
{
    event(play, WEIR_EVENT_OTHER, 0);
    commit(play, MESSAGES);
}

#endif
