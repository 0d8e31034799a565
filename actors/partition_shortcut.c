/*
 * Handing out what was pulled: to its key actor, or, while handlers are known to be short, straight to the handler.
 *
 * The shortcut. Where a handler returns within a microsecond, to make a key actor, queue it, and take it back as mail
 * costs more than the handler. So while turns on this worker are that short (weir_worker_turns_are_short) the partition
 * actor runs the handler itself, message after message in the order of the log, and finishes what was acked or skipped
 * on the spot. Nobody could have stolen such a turn with profit, so nobody waits for it.
 *
 *   H1. Only a message whose key has no actor: nothing of its key stands before it, or is anywhere else.
 *   H2. Only what any worker might run now: the same check comes before each run as in a key's turn. What needs more
 *       than that goes to its key actor: a suspect, a commit at most once, state of the key and what filters remember
 *       of it, a batch. Handlers that may block never run here.
 *   H3. The gate is open meanwhile, so control waits for no handler; all messages are in the tracker before the first
 *       of them runs.
 *   H4. What a run says counts on the spot only if it finishes the message, gave no handle, emitted nothing, and no
 *       order has come meanwhile. Else the message gets a key actor, which comes back by mail as if from a turn: what
 *       is to become of it is decided in one place, and after the order.
 *   H5. The clock is read every CLOCK_EVERY messages. Where they took long, or this turn has, the rest is queued, and
 *       may be stolen. A handler that takes long of a sudden delays what was pulled with it, no more.
 */
#include "actors/consumer.h"
#include "actors/partition.h"
#include "runtime/check.h"

#define TURN_NS_MAX 500000 /* as long as a key's turn */
#define CLOCK_EVERY 8

/* Of one batch. */
struct shortcut {
    struct weir_running *running;
    uint64_t started_ns, ends_ns; /* since the clock was read; of all of it */
    unsigned count;               /* since the clock was read */
    bool open;
};

static struct shortcut begin(struct weir_partition *partition)
{
    struct weir_worker *worker = partition->resident.home;
    uint64_t now_ns = weir_worker_now_ns(worker);
    const struct weir_consumer *consumer = partition->consumer;
    return (struct shortcut){
        .running = &consumer->running[weir_worker_number(worker)],
        .started_ns = now_ns,
        .ends_ns = now_ns + TURN_NS_MAX,
        .open = consumer->options->delivery != WEIR_AT_MOST_ONCE && !consumer->key_state.create &&
                !(partition->topic->filter && weir_filter_keeps(partition->topic->filter)) &&
                !consumer->batch_handler && weir_worker_turns_are_short(worker),
    };
}

static void look_at_clock(struct weir_partition *partition, struct shortcut *shortcut)
{
    struct weir_worker *worker = partition->resident.home;
    shortcut->started_ns = weir_worker_ran_at_once(worker, shortcut->started_ns, shortcut->count);
    shortcut->count = 0;
    shortcut->open = shortcut->started_ns < shortcut->ends_ns && weir_worker_turns_are_short(worker);
}

/* H4. */
static bool is_finished(const struct weir_partition *partition, const struct weir_message *message)
{
    return message->outcome <= WEIR_SKIP && weir_message_later_state(message) == WEIR_LATER_IDLE && !message->outputs &&
           atomic_load_explicit(&partition->order, memory_order_acquire) == partition->order_seen;
}

static void come_back(struct weir_partition *partition, struct weir_message *message, const struct weir_route *route)
{
    struct weir_key *key = weir_partition_join_key(partition, message, route);
    key->run_count = key->run_done = 1;
    weir_key_move(key, WEIR_KEY_OUT);
    partition->out_count++;
    key->mail.kind = WEIR_MAIL_KEY;
    weir_resident_send(&partition->resident, &key->mail);
}

/* False: not now; it goes to its key actor. */
static bool run_at_once(struct weir_partition *partition, struct weir_message *message, const struct weir_route *route,
                        struct shortcut *shortcut)
{
    if (route->key || message->offset <= partition->suspect_last ||
        !weir_partition_may_start(partition, message, partition->resident.home))
        return false;
    message->outcome = (uint8_t)weir_key_run(partition, message, shortcut->running);
    if (is_finished(partition, message))
        weir_partition_finish_at_once(partition, message);
    else
        come_back(partition, message, route);
    if (++shortcut->count == CLOCK_EVERY)
        look_at_clock(partition, shortcut);
    return true;
}

/* All first, then their keys, so that a key goes out with all that it was given, and is known for what it has to do. */
static void queue(struct weir_partition *partition, struct weir_message *message)
{
    struct weir_route route;
    for (struct weir_message *next = message; next; next = next->after) {
        weir_partition_find_route(partition, next, &route);
        weir_partition_join_key(partition, next, &route);
    }
    for (; message; message = message->after)
        weir_partition_schedule(partition, message->owner); /* READY: else it has been */
}

void weir_partition_hand_out(struct weir_partition *partition)
{
    struct weir_message *message = partition->fresh, *after;
    partition->fresh = NULL;
    if (!message)
        return;
    struct shortcut shortcut = begin(partition);
    for (; message && shortcut.open; message = after) {
        struct weir_route route;
        after = message->after; /* which only this actor changes, and nobody but this loop has what was pulled */
        weir_partition_find_route(partition, message, &route);
        if (!run_at_once(partition, message, &route, &shortcut))
            weir_partition_schedule(partition, weir_partition_join_key(partition, message, &route));
    }
    if (message)
        queue(partition, message);
    if (shortcut.count > 0)
        look_at_clock(partition, &shortcut);
}
