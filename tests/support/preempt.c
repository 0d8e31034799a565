/*
 * See preempt.h. Compilers call the two functions at the end of this file from every function that is compiled with
 * -finstrument-functions, also where it was inlined.
 */
#include "tests/support/preempt.h"
#include "actors/batch.h"
#include "actors/kafka_fake/kafka_fake.h"
#include "actors/partition.h"
#include "runtime/simulation.h"
#include "runtime/worker_internal.h"

#define DEPTH_MAX 2 /* of steps within steps */
#define STEPS_MAX 4 /* that come in between at once */

/* Which functions are under way in the step that was interrupted last. */
struct place {
    unsigned pull, credit, finish, may_start;
    bool starting; /* it was decided that a handler starts, and it has not begun */
};

/* NULL: off; threads of tests are no part of it. initial-exec: one instruction instead of a call. */
static _Thread_local struct weir_simulation *simulation __attribute__((tls_model("initial-exec")));
static unsigned permille, depth;
static struct place at, interrupted; /* interrupted: where the step is that others come into */
static void (*own_event)(void *argument);
static void *own_argument;
static uint64_t count;

void weir_preempt_begin(struct weir_simulation *of, unsigned often, void (*event)(void *argument), void *argument)
{
    simulation = of;
    permille = often;
    own_event = event;
    own_argument = argument;
    at = (struct place){0};
    depth = 0;
    count = 0;
}

void weir_preempt_end(void)
{
    simulation = NULL;
}

uint64_t weir_preempt_count(void)
{
    return count;
}

/* Of the functions of a pull, the one that reckons the credit comes before the gate is taken and after it is given
 * back. Outside of steps only whoever answers a handle is a thread of its own. */
static bool may_preempt(void)
{
    return depth < DEPTH_MAX && weir_fake_calls_out == 0 && (at.pull == 0 || at.credit > 0) && !at.starting &&
           (weir_worker_current() || at.finish > 0);
}

bool weir_preempt_before_run(void)
{
    return interrupted.may_start > 0;
}

void weir_preempt_run_begins(void)
{
    at.starting = false;
}

static bool let_another(void)
{
    if (!own_event || weir_random_below(weir_simulation_random(simulation), 3) > 0)
        return weir_simulation_interleave(simulation);
    struct weir_worker *worker = weir_worker_current();
    weir_worker_enter(NULL);
    own_event(own_argument);
    weir_worker_enter(worker);
    return true;
}

static void preempt(void)
{
    if (!may_preempt() || weir_random_below(weir_simulation_random(simulation), 1000) >= permille)
        return;
    struct place back = interrupted;
    interrupted = at;
    at = (struct place){0};
    depth++;
    for (uint64_t steps = 1 + weir_random_below(weir_simulation_random(simulation), STEPS_MAX); steps > 0; steps--)
        if (!let_another())
            break;
    depth--;
    at = interrupted;
    interrupted = back;
    count++;
}

static unsigned *place_of(const void *called)
{
    uintptr_t function = (uintptr_t)called;
    if (function == (uintptr_t)weir_partition_pull)
        return &at.pull;
    if (function == (uintptr_t)weir_partition_credit)
        return &at.credit;
    if (function == (uintptr_t)weir_partition_may_start)
        return &at.may_start;
    if (function == (uintptr_t)weir_later_finish || function == (uintptr_t)weir_later_retry ||
        function == (uintptr_t)weir_later_retry_after || function == (uintptr_t)weir_later_dead)
        return &at.finish;
    return NULL;
}

void __cyg_profile_func_enter(void *function, void *caller);
void __cyg_profile_func_exit(void *function, void *caller);

/* Apart: where it is off, which is most of the time, the two below return after one look. */
__attribute__((noinline)) static void entered(void *function)
{
    unsigned *place = place_of(function);
    if (place)
        (*place)++;
    preempt();
}

__attribute__((noinline)) static void left(void *function)
{
    if ((uintptr_t)function == (uintptr_t)weir_partition_may_start)
        at.starting = true;
    if ((uintptr_t)function == (uintptr_t)weir_key_turn || (uintptr_t)function == (uintptr_t)weir_batch_turn ||
        (uintptr_t)function == (uintptr_t)weir_partition_hand_out)
        at.starting = false;
    preempt();
    unsigned *place = place_of(function);
    if (place)
        (*place)--;
}

void __cyg_profile_func_enter(void *function, void *caller)
{
    (void)caller;
    if (simulation)
        entered(function);
}

void __cyg_profile_func_exit(void *function, void *caller)
{
    (void)caller;
    if (simulation)
        left(function);
}
