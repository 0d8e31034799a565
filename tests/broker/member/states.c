/* See states.h. */
#include "tests/broker/member/states.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weir/key_state.h>

#define ALIVE 0x57a7e0fa4e1u

struct weir_member_state {
    uint64_t alive;
    uint32_t number, runs;
    bool busy;                    /* a run has it */
    struct weir_ledger_record of; /* key and epoch */
};

static struct weir_subject *subject; /* NULL: no states */
static struct weir_member_board *board;
static _Atomic uint32_t numbers;

static void note(const struct weir_member_state *state, enum weir_ledger_kind kind, int64_t offset, uint32_t attempt)
{
    struct weir_ledger_record record = state->of;
    record.kind = (uint16_t)kind;
    record.offset = offset;
    record.number = state->number;
    record.attempt = attempt;
    if (subject->ledger)
        weir_ledger_write(subject->ledger, &record);
}

static void *make(struct weir_message *message, void *user)
{
    (void)user;
    struct weir_member_state *state = calloc(1, sizeof *state);
    if (!state)
        return NULL;
    state->alive = ALIVE;
    state->number = atomic_fetch_add_explicit(&numbers, 1, memory_order_relaxed) + 1;
    state->of = weir_ledger_of(WEIR_LEDGER_STATE_MADE, message);
    state->of.note = weir_message_epoch(message);
    note(state, WEIR_LEDGER_STATE_MADE, weir_message_offset(message), (uint32_t)(weir_worker_index() + 1));
    return state;
}

static void end(void *memory, void *user)
{
    (void)user;
    struct weir_member_state *state = memory;
    if (state->alive != ALIVE || state->busy)
        atomic_fetch_add_explicit(&board->wrong, 1, memory_order_relaxed);
    note(state, WEIR_LEDGER_STATE_ENDED, -1, (uint32_t)(weir_worker_index() + 1));
    state->alive = 0;
    free(state);
}

void weir_states_prepare(struct weir_subject *of, struct weir_member_board *shared)
{
    static const struct weir_key_state_class states = {sizeof states, make, end, sizeof(struct weir_member_state),
                                                       NULL};
    struct weir_error error = {0};
    subject = of;
    board = shared;
    if (weir_consumer_key_state(of->consumer, &states, &error) != 0) {
        fprintf(stderr, "%s\n", error.text);
        exit(2);
    }
}

struct weir_member_state *weir_states_see(struct weir_message *message)
{
    struct weir_member_state *state = subject ? weir_message_state(message) : NULL;
    if (!state) {
        if (subject)
            atomic_fetch_add_explicit(&board->wrong, 1, memory_order_relaxed);
        return NULL;
    }
    struct weir_ledger_record of = weir_ledger_of(WEIR_LEDGER_STATE_SEEN, message);
    if (of.key_hash != state->of.key_hash || of.partition != state->of.partition || state->busy)
        atomic_fetch_add_explicit(&board->wrong, 1, memory_order_relaxed);
    of.note = weir_message_epoch(message);
    of.number = state->number;
    of.attempt = state->runs++;
    state->busy = true;
    if (subject->ledger)
        weir_ledger_write(subject->ledger, &of);
    if (weir_message_state_resize(message, sizeof *state + state->number % 512) != 0)
        atomic_fetch_add_explicit(&board->wrong, 1, memory_order_relaxed);
    return state;
}

void weir_states_leave(struct weir_member_state *state)
{
    if (!state)
        return;
    if (state->alive != ALIVE || !state->busy)
        atomic_fetch_add_explicit(&board->wrong, 1, memory_order_relaxed);
    state->busy = false;
}
