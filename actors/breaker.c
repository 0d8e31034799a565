/* The circuit breaker: see breaker.h. Thread: its owner's. */
#include "actors/breaker.h"
#include "runtime/check.h"
#include <string.h>

#define ABSTAIN_NS UINT64_C(100000000)

static const char *const state_names[WEIR_BREAKER_STATES] = {"closed", "open", "to be probed", "probing"};

#define BIT(state) (1u << (state))
static const uint8_t legal_moves[WEIR_BREAKER_STATES] = {
    [WEIR_BREAKER_STATE_CLOSED] = BIT(WEIR_BREAKER_STATE_OPEN),
    [WEIR_BREAKER_STATE_OPEN] = BIT(WEIR_BREAKER_STATE_PROBE),
    [WEIR_BREAKER_STATE_PROBE] = BIT(WEIR_BREAKER_STATE_PROBING),
    [WEIR_BREAKER_STATE_PROBING] =
        BIT(WEIR_BREAKER_STATE_CLOSED) | BIT(WEIR_BREAKER_STATE_OPEN) | BIT(WEIR_BREAKER_STATE_PROBE),
};

const char *weir_breaker_state_name(enum weir_breaker_state state)
{
    return state < WEIR_BREAKER_STATES ? state_names[state] : "unknown";
}

static void move(struct weir_breaker *breaker, enum weir_breaker_state state)
{
    WEIR_CHECK(legal_moves[breaker->state] & BIT(state));
    breaker->state = state;
}

void weir_breaker_init(struct weir_breaker *breaker, const struct weir_breaker_policy *policy, uint64_t now_ns)
{
    *breaker = (struct weir_breaker){.policy = *policy, .delay_ns = policy->open_ns};
    breaker->slot_until_ns = now_ns + policy->window_ns / WEIR_BREAKER_SLOTS;
}

/* ---- the window ---- */

/* Begin the slots that the time has come to; of a long absence all are empty. */
static void turn_slots(struct weir_breaker *breaker, uint64_t now_ns)
{
    uint64_t slot_ns = breaker->policy.window_ns / WEIR_BREAKER_SLOTS;
    if (now_ns >= breaker->slot_until_ns + breaker->policy.window_ns) {
        memset(breaker->slots, 0, sizeof breaker->slots);
        breaker->slot_until_ns = now_ns + slot_ns;
    }
    while (now_ns >= breaker->slot_until_ns) {
        breaker->slot = (breaker->slot + 1) % WEIR_BREAKER_SLOTS;
        breaker->slots[breaker->slot] = (struct weir_breaker_totals){0};
        breaker->slot_until_ns += slot_ns;
    }
}

static void fill_slot(struct weir_breaker *breaker, const struct weir_breaker_totals *totals)
{
    struct weir_breaker_totals *slot = &breaker->slots[breaker->slot];
    slot->runs += totals->runs - breaker->seen.runs;
    slot->failures += totals->failures - breaker->seen.failures;
    slot->overloaded += totals->overloaded - breaker->seen.overloaded;
    breaker->seen = *totals;
}

struct weir_breaker_totals weir_breaker_window(const struct weir_breaker *breaker)
{
    struct weir_breaker_totals sum = {0};
    for (size_t index = 0; index < WEIR_BREAKER_SLOTS; index++) {
        sum.runs += breaker->slots[index].runs;
        sum.failures += breaker->slots[index].failures;
        sum.overloaded += breaker->slots[index].overloaded;
    }
    return sum;
}

static bool has_tripped(const struct weir_breaker *breaker)
{
    const struct weir_breaker_policy *policy = &breaker->policy;
    struct weir_breaker_totals sum = weir_breaker_window(breaker);
    if (policy->opens_when_overloaded && sum.overloaded > 0)
        return true;
    return policy->percent > 0 && sum.runs >= policy->runs_min && sum.failures * 100 >= sum.runs * policy->percent;
}

/* ---- moves ---- */

static void open(struct weir_breaker *breaker, uint64_t now_ns)
{
    if (breaker->state == WEIR_BREAKER_STATE_CLOSED)
        breaker->opened_ns = now_ns;
    move(breaker, WEIR_BREAKER_STATE_OPEN);
    breaker->until_ns = now_ns + breaker->delay_ns;
    breaker->delay_ns =
        breaker->delay_ns < breaker->policy.open_ns_max / 2 ? breaker->delay_ns * 2 : breaker->policy.open_ns_max;
}

/* What ended while it was open says nothing of the time from now on. */
static void close(struct weir_breaker *breaker, uint64_t now_ns, const struct weir_breaker_totals *totals)
{
    move(breaker, WEIR_BREAKER_STATE_CLOSED);
    breaker->stood_ns += now_ns - breaker->opened_ns;
    breaker->delay_ns = breaker->policy.open_ns;
    breaker->seen = *totals;
    memset(breaker->slots, 0, sizeof breaker->slots);
}

static void let_probe(struct weir_breaker *breaker, uint64_t now_ns)
{
    move(breaker, WEIR_BREAKER_STATE_PROBE);
    breaker->probe++;
    breaker->until_ns = now_ns + ABSTAIN_NS;
}

static bool step_probing(struct weir_breaker *breaker, uint64_t now_ns, const struct weir_breaker_totals *totals,
                         enum weir_probe answer)
{
    switch (answer) {
    case WEIR_PROBE_SUCCEEDED:
        close(breaker, now_ns, totals);
        return true;
    case WEIR_PROBE_FAILED:
        open(breaker, now_ns);
        return true;
    case WEIR_PROBE_UNDER_WAY:
        if (now_ns < breaker->until_ns)
            return false;
        break;
    case WEIR_PROBE_VOID:
        break;
    }
    let_probe(breaker, now_ns);
    return true;
}

bool weir_breaker_step(struct weir_breaker *breaker, uint64_t now_ns, const struct weir_breaker_totals *totals,
                       bool taken, enum weir_probe answer)
{
    switch (breaker->state) {
    case WEIR_BREAKER_STATE_CLOSED:
        turn_slots(breaker, now_ns);
        fill_slot(breaker, totals);
        if (!has_tripped(breaker))
            return false;
        open(breaker, now_ns);
        return true;
    case WEIR_BREAKER_STATE_OPEN:
        if (now_ns < breaker->until_ns)
            return false;
        let_probe(breaker, now_ns);
        return true;
    case WEIR_BREAKER_STATE_PROBE:
        if (!taken && now_ns < breaker->until_ns)
            return false;
        if (!taken) {
            breaker->probe++; /* whoever had the last may take this one */
            breaker->until_ns = UINT64_MAX;
            return true;
        }
        move(breaker, WEIR_BREAKER_STATE_PROBING);
        breaker->until_ns = now_ns + breaker->policy.open_ns;
        if (answer == WEIR_PROBE_UNDER_WAY)
            return true;
        break;
    default:
        break;
    }
    return step_probing(breaker, now_ns, totals, answer);
}

uint64_t weir_breaker_stood_ns(const struct weir_breaker *breaker, uint64_t now_ns)
{
    bool stands = breaker->state != WEIR_BREAKER_STATE_CLOSED;
    return breaker->stood_ns + (stands && now_ns > breaker->opened_ns ? now_ns - breaker->opened_ns : 0);
}
