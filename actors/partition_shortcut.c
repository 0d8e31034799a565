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
 *   H3. The gate is open meanwhile, so control waits for no handler. What of the pull has not been looked at lies above
 *       the tracker's `next` (P4).
 *   H4. A message that is finished on the spot is in no tracker and charged to no window: it is over before either is
 *       looked at. One that may be kept where others are is copied out before it runs, and tracked for that; one that
 *       waits for a transaction is tracked as well.
 *   H5. What a run says counts on the spot only if it finishes the message, gave no handle, emitted nothing, and no
 *       order has come meanwhile. Else the message gets a key actor, which comes back by mail as if from a turn: what
 *       is to become of it is decided in one place, and after the order.
 *   H6. The clock is read every CLOCK_EVERY messages. Where they took long, or this turn has, the rest is queued, and
 *       may be stolen. A handler that takes long of a sudden delays what was pulled with it, no more.
 *   H7. Nothing of a higher priority waits on this worker as it begins. What runs here counts towards the share of its
 *       own (runtime/levels.h).
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
    bool open, tracks;            /* are messages tracked before they run? H4 */
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
                !consumer->batch_handler && weir_worker_turns_are_short(worker) &&
                !weir_worker_is_outranked(worker, partition->level),
        .tracks = consumer->options->delivery != WEIR_AT_LEAST_ONCE ||
                  atomic_load_explicit(&consumer->gives_out, memory_order_relaxed),
    };
}

static void look_at_clock(struct weir_partition *partition, struct shortcut *shortcut)
{
    struct weir_worker *worker = partition->resident.home;
    shortcut->started_ns = weir_worker_ran_at_once(worker, partition->level, shortcut->started_ns, shortcut->count);
    shortcut->count = 0;
    shortcut->open = shortcut->started_ns < shortcut->ends_ns && weir_worker_turns_are_short(worker);
}

/* H5. */
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

static void run_at_once(struct weir_partition *partition, struct weir_message *message, const struct weir_route *route,
                        struct shortcut *shortcut)
{
    if (shortcut->tracks)
        weir_partition_track(partition, message);
    message->outcome = (uint8_t)weir_key_run(partition, message, shortcut->running);
    if (is_finished(partition, message)) {
        weir_partition_finish_at_once(partition, message, shortcut->tracks);
    } else {
        if (!shortcut->tracks)
            weir_partition_track(partition, message);
        come_back(partition, message, route);
    }
    if (++shortcut->count == CLOCK_EVERY)
        look_at_clock(partition, shortcut);
}

/* Not now: it goes to its key actor. */
static void run_later(struct weir_partition *partition, struct weir_message *message, const struct weir_route *route)
{
    weir_partition_track(partition, message);
    weir_partition_schedule(partition, weir_partition_join_key(partition, message, route));
}

static bool may_run(const struct weir_partition *partition, const struct weir_message *message,
                    const struct weir_route *route)
{
    return !route->key && message->offset > partition->suspect_last &&
           weir_partition_may_start(partition, message, partition->resident.home);
}

/* All first, then their keys, so that a key goes out with all that it was given, and is known for what it has to do. */
static void queue(struct weir_partition *partition, const struct weir_record *records, uint32_t count, uint64_t now_ns)
{
    struct weir_message *first = NULL;
    for (const struct weir_record *record = records; record < records + count; record++) {
        struct weir_message *message = weir_partition_take_record(partition, record, now_ns);
        struct weir_route route;
        if (!message)
            continue;
        weir_partition_track(partition, message);
        weir_partition_find_route(partition, message, &route);
        weir_partition_join_key(partition, message, &route);
        first = first ? first : message;
    }
    for (struct weir_message *message = first; message; message = message->after)
        weir_partition_schedule(partition, message->owner); /* READY: else it has been */
}

void weir_partition_hand_out(struct weir_partition *partition, const struct weir_record *records, uint32_t count)
{
    uint64_t now_ns = weir_worker_now_ns(partition->resident.home);
    struct shortcut shortcut = begin(partition);
    uint32_t index = 0;
    for (; index < count && shortcut.open; index++) {
        struct weir_message *message = weir_partition_take_record(partition, &records[index], now_ns);
        struct weir_route route;
        if (!message)
            continue;
        weir_partition_find_route(partition, message, &route);
        if (may_run(partition, message, &route))
            run_at_once(partition, message, &route, &shortcut);
        else
            run_later(partition, message, &route);
    }
    queue(partition, records + index, count - index, now_ns);
    if (shortcut.count > 0)
        look_at_clock(partition, &shortcut);
}
