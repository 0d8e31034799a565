/*
 * What guards the process against handlers: the turns of suspects, and the deadline. Part of the control actor's turn.
 *
 * Suspects (partition_suspect.c) run one at a time with nothing beside them:
 *
 *     OPEN   no suspect waits, and all handlers may start
 *     QUIET  a round is closed: no handler starts; waits until every partition says that nothing of it runs
 *     TURN   one partition runs its lowest suspect; then the next round, or OPEN
 *
 * Nothing waits for a suspect that does not come: only one that was pulled and is at the head of its key asks for a
 * turn. Everything else is bounded. If what runs has not ended after QUIET_MS_MAX, the suspect runs beside it; if the
 * suspect has not ended after TURN_MS_MAX, the others go on; in both cases `alone` is not set in the journal, so
 * that a crash condemns nobody. Suspects that come one after the other let the others in for OPEN_MS each SLICE_MS;
 * when what ran, or a suspect, has kept the others out for longer, they have as long until the next round.
 *
 * The deadline: a run that lasts longer than handler.deadline.ms ends the process. Only time in which control itself
 * was running counts, so that a process that slept is not ended for it; seen by ticks, a run gets a few of them more.
 */
#include "actors/consumer.h"
#include "actors/control.h"
#include "actors/partition.h"
#include "runtime/check.h"
#include "runtime/log.h"
#include <stdio.h>
#include <stdlib.h>

#define MS_NS        1000000ull
#define QUIET_MS_MAX 30000 /* or the deadline, if that is longer */
#define TURN_MS_MAX  60000 /* or twice the deadline */
#define SLICE_MS     2000
#define OPEN_MS      100
#define LOOK_MS_MAX  1000 /* between two looks; of a longer time it is not known that the process ran */

/* ---- suspects ---- */

static uint64_t longer_ms(const struct weir_control *control, uint64_t fixed_ms, uint64_t times)
{
    uint64_t deadline_ms = control->consumer->options->handler_deadline_ms * times;
    return deadline_ms > fixed_ms ? deadline_ms : fixed_ms;
}

static struct weir_partition *find_waiting(struct weir_control *control)
{
    WEIR_EACH_PARTITION (partition, control) {
        if (atomic_load_explicit(&partition->suspects.waits, memory_order_acquire))
            return partition;
    }
    return NULL;
}

static void tell_partitions(struct weir_control *control, uint64_t round)
{
    /* Pairs with the acquire in weir_partition_tell_quiet(); 0 with that in weir_partition_schedule(). */
    atomic_store_explicit(&control->consumer->alone_round, round, memory_order_release);
    WEIR_EACH_PARTITION (partition, control)
        weir_resident_notify(&partition->resident);
}

static void close_round(struct weir_control *control)
{
    control->guard.state = WEIR_GUARD_QUIET;
    control->guard.until_ns = control->now_ns + longer_ms(control, QUIET_MS_MAX, 1) * MS_NS;
    tell_partitions(control, ++control->guard.round);
}

static void open_all(struct weir_control *control)
{
    control->guard.state = WEIR_GUARD_OPEN;
    uint64_t closed_ns = control->now_ns - control->guard.closed_ns;
    control->guard.open_until_ns = control->now_ns + (closed_ns > 2 * SLICE_MS * MS_NS ? closed_ns : OPEN_MS * MS_NS);
    tell_partitions(control, 0);
}

static bool all_quiet(struct weir_control *control)
{
    WEIR_EACH_PARTITION (partition, control) {
        if (atomic_load_explicit(&partition->suspects.quiet, memory_order_acquire) != control->guard.round)
            return false;
    }
    return true;
}

static void give_turn(struct weir_control *control, bool alone)
{
    struct weir_partition *partition = find_waiting(control);
    if (!partition) {
        open_all(control);
        return;
    }
    if (!alone)
        weir_log(WEIR_LOG_WARN, WEIR_NO_FIELDS,
                 "handlers have not ended for %llu s: a suspect runs beside them, and a crash will condemn nobody",
                 (unsigned long long)(longer_ms(control, QUIET_MS_MAX, 1) / 1000));
    weir_journal_set_alone(control->consumer->journal, alone);
    control->guard.state = WEIR_GUARD_TURN;
    control->guard.partition = partition;
    control->guard.until_ns = control->now_ns + longer_ms(control, TURN_MS_MAX, 2) * MS_NS;
    /* Pairs with the acquire in weir_partition_serve_suspects(): `alone` is set before the handler starts. */
    atomic_store_explicit(&partition->suspects.turn, control->guard.round, memory_order_release);
    weir_resident_notify(&partition->resident);
}

static void end_turn(struct weir_control *control)
{
    weir_journal_set_alone(control->consumer->journal, false); /* before anything else may start */
    if (control->now_ns < control->guard.slice_until_ns && find_waiting(control))
        close_round(control);
    else
        open_all(control);
}

static bool turn_is_done(const struct weir_control *control)
{
    return atomic_load_explicit(&control->guard.partition->suspects.turn_done, memory_order_acquire) ==
           control->guard.round;
}

void weir_control_guard(struct weir_control *control)
{
    if (!control->consumer->journal)
        return;
    bool late = control->now_ns >= control->guard.until_ns;
    switch (control->guard.state) {
    case WEIR_GUARD_OPEN:
        if (control->now_ns < control->guard.open_until_ns || !find_waiting(control))
            return;
        control->guard.closed_ns = control->now_ns;
        control->guard.slice_until_ns = control->now_ns + SLICE_MS * MS_NS;
        close_round(control);
        return;
    case WEIR_GUARD_QUIET: {
        bool quiet = all_quiet(control);
        if (quiet || late)
            give_turn(control, quiet);
        return;
    }
    case WEIR_GUARD_TURN:
        if (turn_is_done(control)) {
            end_turn(control);
        } else if (late) {
            weir_log(WEIR_LOG_WARN, WEIR_NO_FIELDS,
                     "a suspect has run for %llu s with nothing beside it: other handlers go on",
                     (unsigned long long)(longer_ms(control, TURN_MS_MAX, 2) / 1000));
            control->guard.slice_until_ns = 0;
            end_turn(control);
        }
        return;
    }
}

/* ---- the deadline ---- */

static _Noreturn void end_process(const struct weir_control *control, unsigned worker, uint64_t ran_ns)
{
    const struct weir_consumer *consumer = control->consumer;
    const struct weir_running *running = &consumer->running[worker];
    struct weir_partition *partition = atomic_load_explicit(&running->partition, memory_order_acquire);
    char number[16];
    struct weir_log_field fields[2];
    weir_log(WEIR_LOG_ERROR, partition ? weir_partition_fields(partition, number, fields) : NULL, partition ? 2 : 0,
             "the handler of worker %u has had the message at offset %lld for %llu ms "
             "(weir.handler.deadline.ms=%llu): the process is ended; %s",
             worker - 1, (long long)atomic_load_explicit(&running->offset, memory_order_relaxed),
             (unsigned long long)(ran_ns / MS_NS), (unsigned long long)consumer->options->handler_deadline_ms,
             running->slot ? "the crash journal has it" : "there is no crash journal, so the message comes again");
    abort();
}

void weir_control_enforce_deadline(struct weir_control *control)
{
    struct weir_consumer *consumer = control->consumer;
    uint64_t limit_ns = consumer->options->handler_deadline_ms * MS_NS;
    uint64_t passed_ns = control->now_ns - control->enforced_ns;
    control->enforced_ns = control->now_ns;
    if (limit_ns == 0)
        return;
    if (passed_ns > LOOK_MS_MAX * MS_NS)
        passed_ns = 0;
    for (unsigned index = 1; index < weir_system_worker_count(consumer->system); index++) {
        const struct weir_running *running = &consumer->running[index];
        struct weir_watch *watch = &consumer->watches[index];
        bool runs = atomic_load_explicit(&running->partition, memory_order_acquire) != NULL;
        uint64_t run = atomic_load_explicit(&running->runs, memory_order_relaxed);
        bool is_same = runs && watch->run == run;
        watch->ran_ns = is_same ? watch->ran_ns + passed_ns : 0;
        watch->run = run;
        if (watch->ran_ns > limit_ns)
            end_process(control, index, watch->ran_ns);
    }
}
