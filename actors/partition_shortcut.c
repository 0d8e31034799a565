/*
 * Taking in what was pulled, and handing it out: to its key actor, or, while handlers are known to be short, straight
 * to the handler.
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
#include "actors/partition_finish.h"
#include "actors/run.h"
#include "runtime/check.h"
#include <stddef.h>
#include <string.h>

#define TURN_NS_MAX 500000 /* as long as a key's turn */
#define CLOCK_EVERY 16
#define GROUP_MAX   8 /* messages whose keys are looked for at once */

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

/* ---- taking in ---- */

/* A message of what was pulled, in no tracker yet. Field by field, as each store counts here: what stands between is
 * written before it is read, by the tracker, the key's queue, or whoever gives a delay or an answer. */
static struct weir_message *take_in(struct weir_partition *partition, const struct weir_record *record,
                                    uint32_t attempts, uint64_t now_ns)
{
    struct weir_message *message = weir_message_pool_take(&partition->message_pool);
    message->offset = record->offset;
    message->epoch = (uint32_t)partition->epoch;
    message->attempts = attempts;
    message->partition = partition;
    message->owner = NULL;
    message->key = record->key;
    message->value = record->value;
    message->key_size = (uint32_t)record->key_size;
    message->value_size = (uint32_t)record->value_size;
    message->timestamp_ms = record->timestamp_ms;
    message->native = record->native;
    message->segment = NULL;
    message->pulled_ms = weir_ms_of(now_ns);
    memset(&message->is_copied, 0, offsetof(struct weir_message, delay_ms) - offsetof(struct weir_message, is_copied));
    return message;
}

static struct weir_message *take_message(struct weir_partition *partition, const struct weir_record *record,
                                         uint64_t now_ns)
{
    uint32_t attempts = 0;
    if (record->offset < partition->tracker.next) {
        weir_partition_count(partition, redelivered_dropped, 1);
    } else if (partition->map_active && weir_partition_was_finished(partition, record, &attempts)) {
        weir_tracker_advance(&partition->tracker, record->offset + 1);
        weir_partition_count(partition, restored, 1);
        partition->changed = true;
    } else {
        weir_partition_count(partition, consumed, 1);
        weir_partition_count(partition, consumed_bytes, record->key_size + record->value_size);
        return take_in(partition, record, attempts, now_ns);
    }
    weir_partition_kafka(partition)->ops->record_free(weir_partition_kafka(partition), record->native);
    return NULL;
}

/* NULL: there is nothing to be run. */
static struct weir_message *take_record(struct weir_partition *partition, const struct weir_record *record,
                                        uint64_t now_ns)
{
    if (record->kind == WEIR_RECORD_MESSAGE)
        return take_message(partition, record, now_ns);
    if (record->kind == WEIR_RECORD_EOF && record->offset > partition->tracker.next) {
        weir_tracker_advance(&partition->tracker, record->offset); /* control records and holes before the end */
        partition->changed = true;
    }
    if (record->native)
        weir_partition_kafka(partition)->ops->record_free(weir_partition_kafka(partition), record->native);
    return NULL;
}

/* ---- running at once ---- */

/* H4: over before anybody has heard of it. */
static void pass(struct weir_partition *partition, struct weir_message *message)
{
    struct weir_kafka *kafka = partition->consumer->kafka;
    if (message->outcome == WEIR_ACK && message->filtered == WEIR_FILTERED_NOT) {
        weir_partition_count(partition, acked, 1);
        partition->successes++;
    } else {
        weir_partition_count_end(partition, message, (enum weir_outcome)message->outcome);
    }
    weir_tracker_pass(&partition->tracker, message);
    partition->finished++;
    partition->changed = true;
    if (message->failure) { /* a reason, though it is acked */
        weir_partition_free_message(partition, message);
        return;
    }
    kafka->ops->record_free(kafka, message->native);
    message->key = message->value = message->native = NULL;
    weir_message_pool_give(&partition->message_pool, message);
}

/* H5. */
static bool is_finished(const struct weir_partition *partition, const struct weir_message *message)
{
    return message->outcome <= WEIR_SKIP && weir_message_later_state(message) == WEIR_LATER_IDLE && !message->outputs &&
           atomic_load_explicit(&partition->order, memory_order_acquire) == partition->order_seen;
}

static void come_back(struct weir_partition *partition, struct weir_message *message)
{
    struct weir_route route;
    weir_partition_find_route(partition, message, &route);
    struct weir_key *key = weir_partition_join_key(partition, message, &route);
    key->run_count = key->run_done = 1;
    weir_key_move(key, WEIR_KEY_OUT);
    partition->out_count++;
    key->mail.kind = WEIR_MAIL_KEY;
    weir_resident_send(&partition->resident, &key->mail);
}

static void run_at_once(struct weir_partition *partition, struct weir_message *message, struct shortcut *shortcut)
{
    if (shortcut->tracks)
        weir_partition_track(partition, message);
    message->outcome = (uint8_t)weir_run(partition, message, shortcut->running);
    if (!is_finished(partition, message)) {
        if (!shortcut->tracks)
            weir_partition_track(partition, message);
        come_back(partition, message);
    } else if (shortcut->tracks) {
        weir_partition_finish_at_once(partition, message);
    } else {
        pass(partition, message);
    }
    if (++shortcut->count == CLOCK_EVERY)
        look_at_clock(partition, shortcut);
}

/* Not now: it goes to its key actor. */
static void run_later(struct weir_partition *partition, struct weir_message *message)
{
    struct weir_route route;
    weir_partition_find_route(partition, message, &route);
    weir_partition_track(partition, message);
    weir_partition_schedule(partition, weir_partition_join_key(partition, message, &route));
}

/* H1. */
static bool has_key_actor(const struct weir_partition *partition, const struct weir_message *message)
{
    struct weir_route route;
    if (partition->key_count == 0)
        return false;
    weir_partition_find_route(partition, message, &route);
    return route.key != NULL;
}

static bool may_run(struct weir_partition *partition, const struct weir_message *message)
{
    return !has_key_actor(partition, message) && message->offset > partition->suspect_last &&
           weir_partition_may_start(partition, message, partition->resident.home);
}

/* Some records that are taken in together, so that the table's places for their keys are on the way at the same time.
 */
struct group {
    struct weir_message *messages[GROUP_MAX];
    struct weir_route routes[GROUP_MAX];
    unsigned count;
};

static const struct weir_record *take_group(struct weir_partition *partition, const struct weir_record *record,
                                            const struct weir_record *end, uint64_t now_ns, struct group *group)
{
    for (group->count = 0; record < end && group->count < GROUP_MAX; record++) {
        struct weir_message *message = take_record(partition, record, now_ns);
        if (!message)
            continue;
        weir_partition_track(partition, message);
        weir_partition_aim(partition, message, &group->routes[group->count]);
        group->messages[group->count++] = message;
    }
    return record;
}

/* All first, then their keys, so that a key goes out with all that it was given, and is known for what it has to do. */
static void queue(struct weir_partition *partition, const struct weir_record *records, uint32_t count, uint64_t now_ns)
{
    struct weir_message *first = NULL;
    struct group group;
    for (const struct weir_record *record = records, *end = records + count; record < end;) {
        record = take_group(partition, record, end, now_ns, &group);
        for (unsigned index = 0; index < group.count; index++) {
            weir_partition_look_up(partition, group.messages[index], &group.routes[index]);
            weir_partition_join_key(partition, group.messages[index], &group.routes[index]);
        }
        first = first ? first : group.count > 0 ? group.messages[0] : NULL;
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
        struct weir_message *message = take_record(partition, &records[index], now_ns);
        if (!message)
            continue;
        if (may_run(partition, message))
            run_at_once(partition, message, &shortcut);
        else
            run_later(partition, message);
    }
    queue(partition, records + index, count - index, now_ns);
    if (shortcut.count > 0)
        look_at_clock(partition, &shortcut);
}
