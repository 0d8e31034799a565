/*
 * The demo's ledger: what the handler did with every order, kept apart from all that Weir counts.
 *
 * Order of a key is checked at the first start of each of its orders: it must be the next in sequence, and the one
 * before must be over (handled, or failed for the last time). So a retry that is overtaken is found, and so is a gap.
 *
 * Thread: any, under one lock; the counters for the display are atomic besides.
 */
#include "cli/demo.h"
#include <stdlib.h>

enum { STARTED = 1, HANDLED = 2, GIVEN_UP = 4, LETTER = 8 };

struct weir_demo_key {
    uint32_t next;    /* sequence that starts next */
    uint32_t running; /* runs under way: 0 or 1, or the order is broken */
    bool open;        /* the order before `next` is not over */
};

int weir_demo_ledger_init(struct weir_demo_ledger *ledger, const struct weir_demo_plan *plan, struct weir_error *error)
{
    *ledger = (struct weir_demo_ledger){.plan = plan};
    ledger->states = calloc(plan->count, sizeof *ledger->states);
    ledger->keys = calloc(plan->keys, sizeof *ledger->keys);
    if (!ledger->states || !ledger->keys || pthread_mutex_init(&ledger->lock, NULL) != 0) {
        free(ledger->states);
        free(ledger->keys);
        ledger->states = NULL;
        snprintf(error->text, sizeof error->text, "memory is too short for the demo's ledger");
        return error->code = WEIR_NO_MEMORY;
    }
    return 0;
}

void weir_demo_ledger_deinit(struct weir_demo_ledger *ledger)
{
    if (!ledger->states)
        return;
    pthread_mutex_destroy(&ledger->lock);
    free(ledger->states);
    free(ledger->keys);
    ledger->states = NULL;
}

/* Counters for the display: relaxed, nothing else is read by them; the verdict reads after all threads have ended. */
static void add(_Atomic uint32_t *counter)
{
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

void weir_demo_ledger_start(struct weir_demo_ledger *ledger, uint32_t id)
{
    const struct weir_demo_order *order = &ledger->plan->orders[id];
    add(&ledger->runs);
    pthread_mutex_lock(&ledger->lock);
    if (!atomic_load_explicit(&ledger->first_ns, memory_order_relaxed))
        atomic_store_explicit(&ledger->first_ns, weir_demo_now_ns(), memory_order_relaxed);
    struct weir_demo_key *key = &ledger->keys[order->key];
    ledger->overlaps += key->running++ > 0;
    if (!(ledger->states[id] & STARTED)) {
        ledger->misplaced += order->sequence != key->next || key->open;
        key->next = order->sequence + 1;
        key->open = true;
        ledger->states[id] |= STARTED;
    }
    pthread_mutex_unlock(&ledger->lock);
}

/* An order is over, for the first time or once more. */
static void settle(struct weir_demo_ledger *ledger, uint32_t id, uint8_t state, _Atomic uint32_t *counter)
{
    const struct weir_demo_order *order = &ledger->plan->orders[id];
    if (ledger->states[id] & (HANDLED | GIVEN_UP)) {
        ledger->again++;
        return;
    }
    ledger->states[id] |= state;
    add(counter);
    atomic_store_explicit(&ledger->last_ns, weir_demo_now_ns(), memory_order_relaxed);
    if (ledger->keys[order->key].next == order->sequence + 1)
        ledger->keys[order->key].open = false;
}

void weir_demo_ledger_end(struct weir_demo_ledger *ledger, uint32_t id, bool handled, bool last)
{
    pthread_mutex_lock(&ledger->lock);
    ledger->keys[ledger->plan->orders[id].key].running--;
    if (handled)
        settle(ledger, id, HANDLED, &ledger->handled);
    else if (last)
        settle(ledger, id, GIVEN_UP, &ledger->given_up);
    pthread_mutex_unlock(&ledger->lock);
    if (!handled)
        add(&ledger->failed_runs);
}

void weir_demo_ledger_stranger(struct weir_demo_ledger *ledger)
{
    pthread_mutex_lock(&ledger->lock);
    ledger->strangers++;
    pthread_mutex_unlock(&ledger->lock);
}

void weir_demo_ledger_letter(struct weir_demo_ledger *ledger, int64_t id, int32_t dlq_partition)
{
    if (id < 0 || dlq_partition < 0 || dlq_partition >= DEMO_DLQ_PARTITIONS || !(ledger->states[id] & GIVEN_UP)) {
        ledger->letters_wrong++;
        return;
    }
    if (ledger->states[id] & LETTER) { /* at least once: a second copy is no second order */
        ledger->again++;
        return;
    }
    ledger->states[id] |= LETTER;
    ledger->letters++;
    ledger->letters_in[dlq_partition]++;
}

void weir_demo_ledger_sum(struct weir_demo_ledger *ledger, uint32_t *neither, uint32_t *both)
{
    *neither = *both = 0;
    for (uint32_t id = 0; id < ledger->plan->count; id++) {
        bool handled = ledger->states[id] & HANDLED, letter = ledger->states[id] & LETTER;
        *neither += !handled && !letter;
        *both += handled && letter;
    }
}

uint32_t weir_demo_ledger_keys(const struct weir_demo_ledger *ledger)
{
    uint32_t keys = 0;
    for (uint32_t key = 0; key < ledger->plan->keys; key++)
        keys += ledger->keys[key].next > 0;
    return keys;
}
