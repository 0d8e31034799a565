/*
 * The partition actor's turn: orders, mail, pulling and routing, and the window that bounds them.
 *
 * A turn, in this order: take the order; take the mail (what runs have finished returns credit); start what was parked;
 * pull within the credit; see whether an order is fulfilled; answer a request for a snapshot; publish the gauges.
 *
 * The window. In messages: what the tracker holds. In bytes: segments pulled and still referred to, and copies; the
 * bound is window.bytes.max or the partition's even share of memory.bytes.max, whichever is less, so that one hot
 * partition cannot take what others need. A partition with nothing in flight may always pull one message.
 */
#include "actors/partition.h"
#include "actors/consumer.h"
#include "runtime/check.h"
#include "runtime/log.h"
#include "runtime/memory.h"
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define SHARE_MIN   65536
#define BACKLOG_MAX 512 /* runs waiting on the worker: what is pulled on top would only get cold in its caches */

_Static_assert(sizeof(struct weir_counters) % sizeof(uint64_t) == 0, "counters are uint64_t only");

/* ---- names, states, logs ---- */

static const char *const state_names[WEIR_PARTITION_STATES] = {"ended", "active", "finishing", "draining"};

#define BIT(state) (1u << (state))
static const uint8_t legal_moves[WEIR_PARTITION_STATES] = {
    [WEIR_PARTITION_ENDED] = BIT(WEIR_PARTITION_ACTIVE),
    [WEIR_PARTITION_ACTIVE] = BIT(WEIR_PARTITION_FINISHING) | BIT(WEIR_PARTITION_DRAINING) | BIT(WEIR_PARTITION_ENDED),
    [WEIR_PARTITION_FINISHING] = BIT(WEIR_PARTITION_DRAINING) | BIT(WEIR_PARTITION_ENDED),
    [WEIR_PARTITION_DRAINING] = BIT(WEIR_PARTITION_ENDED),
};

const struct weir_log_field *weir_partition_fields(const struct weir_partition *partition, char number[16],
                                                   struct weir_log_field fields[2])
{
    snprintf(number, 16, "%d", (int)partition->number);
    fields[0] = (struct weir_log_field){"topic", partition->topic->name};
    fields[1] = (struct weir_log_field){"partition", number};
    return fields;
}

void weir_partition_set_state(struct weir_partition *partition, enum weir_partition_state state)
{
    WEIR_CHECK(legal_moves[partition->state] & BIT(state));
    weir_log(WEIR_LOG_DEBUG, WEIR_NO_FIELDS, "partition %s/%d: %s -> %s (epoch %llu, in flight %llu, floor %lld)",
             partition->topic->name, (int)partition->number, state_names[partition->state], state_names[state],
             (unsigned long long)partition->epoch, (unsigned long long)partition->tracker.count,
             (long long)weir_tracker_floor(&partition->tracker));
    partition->state = (uint8_t)state;
}

bool weir_partition_log_is_due(struct weir_partition *partition)
{
    uint64_t now_ns = weir_worker_now_ns(partition->resident.home);
    if (partition->logged_ns != 0 && now_ns - partition->logged_ns < 1000000000ull)
        return false;
    partition->logged_ns = now_ns;
    return true;
}

struct weir_kafka *weir_partition_kafka(const struct weir_partition *partition)
{
    return partition->consumer->kafka;
}

const char *weir_partition_topic(const struct weir_partition *partition)
{
    return partition->topic->name;
}

int32_t weir_partition_number(const struct weir_partition *partition)
{
    return partition->number;
}

bool weir_partition_is_current(const struct weir_partition *partition, uint64_t epoch)
{
    return atomic_load_explicit(&partition->epoch_shared, memory_order_acquire) == epoch;
}

/* ---- called from other threads ---- */

void weir_partition_wake(void *partition)
{
    weir_resident_notify(&((struct weir_partition *)partition)->resident);
}

void weir_partition_answer(struct weir_partition *partition, struct weir_message *message)
{
    message->mail.kind = WEIR_MAIL_ANSWER;
    weir_resident_send(&partition->resident, &message->mail);
}

void weir_partition_report(struct weir_message *message, enum weir_kafka_error error)
{
    message->dlq_error = error;
    message->report.kind = WEIR_MAIL_REPORT;
    weir_resident_send(&message->partition->resident, &message->report);
}

bool weir_partition_may_start(const struct weir_partition *partition, const struct weir_message *message,
                              const struct weir_worker *worker)
{
    return atomic_load_explicit(&partition->open_epoch, memory_order_acquire) == message->epoch &&
           weir_consumer_lease_holds(partition->consumer, weir_worker_now_ns(worker));
}

static void write_order(struct weir_partition *partition, enum weir_order order)
{
    partition->control.sequence++;
    partition->control.order = order;
    /* Pairs with the acquire in weir_partition_take_order(): BEGIN's data is written before. */
    atomic_store_explicit(&partition->order, partition->control.sequence << 8 | order, memory_order_release);
}

void weir_partition_order(struct weir_partition *partition, enum weir_order order)
{
    write_order(partition, order);
    weir_resident_notify(&partition->resident);
}

bool weir_partition_order_is_done(const struct weir_partition *partition)
{
    return atomic_load_explicit(&partition->order_done, memory_order_acquire) == partition->control.sequence;
}

void weir_partition_shut(struct weir_partition *partition)
{
    for (;;) {
        uint32_t gate = WEIR_GATE_OPEN;
        if (atomic_compare_exchange_strong_explicit(&partition->gate, &gate, WEIR_GATE_CLOSED, memory_order_acq_rel,
                                                    memory_order_acquire) ||
            gate == WEIR_GATE_CLOSED)
            return;
        sched_yield(); /* a pull never blocks: it is over in microseconds */
    }
}

void weir_partition_open(struct weir_partition *partition)
{
    atomic_store_explicit(&partition->gate, WEIR_GATE_OPEN, memory_order_release); /* pairs with the pull's acquire */
    weir_resident_notify(&partition->resident);
}

/* ---- bytes ---- */

static struct weir_segment *open_segment(struct weir_partition *partition)
{
    struct weir_segment *segment = partition->segment;
    if (segment && segment->bytes < partition->consumer->segment_bytes)
        return segment;
    struct weir_segment *fresh = partition->segments_free;
    if (fresh)
        partition->segments_free = fresh->next;
    else
        fresh = weir_memory_allocate(sizeof *fresh);
    if (!fresh)
        return segment; /* memory is short: the open one grows. The first is made at create */
    *fresh = (struct weir_segment){0};
    partition->segment = fresh;
    if (segment && segment->live == 0) {
        partition->charged_bytes -= segment->bytes;
        segment->next = partition->segments_free;
        partition->segments_free = segment;
    }
    return fresh;
}

/* Fetch responses of just above a power of two take up to a quarter more, by the size classes of allocators. */
static uint64_t with_slack(uint64_t bytes)
{
    return bytes + bytes / 4;
}

static void charge(struct weir_partition *partition, struct weir_message *message)
{
    struct weir_segment *segment = open_segment(partition);
    uint64_t bytes = with_slack(message->key_size + message->value_size) + WEIR_MESSAGE_OVERHEAD_BYTES;
    segment->bytes += bytes;
    segment->live++;
    message->segment = segment;
    partition->charged_bytes += bytes;
    /* Mean of recent sizes, quick to rise, slow to fall: it bounds how far a batch may overshoot. */
    uint64_t mean = partition->message_bytes_mean;
    partition->message_bytes_mean = bytes > mean ? bytes : mean - (mean - bytes) / 16;
}

static void discharge(struct weir_partition *partition, struct weir_message *message)
{
    struct weir_segment *segment = message->segment;
    if (!segment)
        return;
    message->segment = NULL;
    WEIR_CHECK(segment->live > 0);
    if (--segment->live > 0)
        return;
    WEIR_CHECK(partition->charged_bytes >= segment->bytes);
    partition->charged_bytes -= segment->bytes;
    segment->bytes = 0;
    if (segment == partition->segment)
        return;
    segment->next = partition->segments_free;
    partition->segments_free = segment;
}

static uint64_t copy_charge(const struct weir_message *message)
{
    return message->copy->size_bytes + WEIR_MESSAGE_OVERHEAD_BYTES;
}

void weir_partition_copy_out(struct weir_partition *partition, struct weir_message *message)
{
    if (message->copy || !message->native || weir_message_copy_out(message) != 0)
        return;
    discharge(partition, message);
    partition->charged_bytes += copy_charge(message);
}

void weir_partition_release(struct weir_partition *partition, struct weir_message *message)
{
    if (message->copy)
        partition->charged_bytes -= copy_charge(message);
    discharge(partition, message);
    weir_message_release_content(message);
}

void weir_partition_free_message(struct weir_partition *partition, struct weir_message *message)
{
    WEIR_CHECK(message->owner == NULL);
    weir_partition_release(partition, message);
    weir_message_renew(message);
    weir_message_pool_give(&partition->message_pool, message);
}

/* ---- the window ---- */

void weir_partition_set_pause(struct weir_partition *partition, uint32_t bits, bool on)
{
    const uint32_t backpressure = WEIR_PAUSE_WINDOW | WEIR_PAUSE_HELD | WEIR_PAUSE_DLQ;
    uint32_t old = partition->pause;
    partition->pause = on ? old | bits : old & ~bits;
    bool was = old & backpressure, is = partition->pause & backpressure;
    if (was == is)
        return;
    uint64_t now_ns = weir_worker_now_ns(partition->resident.home);
    if (is) {
        partition->paused_since_ns = now_ns;
        weir_partition_count(partition, pauses, 1);
    } else {
        weir_partition_count(partition, paused_ms, (now_ns - partition->paused_since_ns) / 1000000);
    }
}

static uint64_t bytes_max(const struct weir_partition *partition)
{
    const struct weir_options *options = partition->consumer->options;
    uint64_t assigned = atomic_load_explicit(&partition->consumer->assigned_count, memory_order_relaxed);
    assigned = assigned > 0 ? assigned : 1;
    uint64_t cap = options->memory_bytes_max, prefetch = with_slack(partition->consumer->prefetch_bytes) * assigned;
    uint64_t share = (cap - (prefetch < cap / 2 ? prefetch : cap / 2)) / assigned;
    if (share < SHARE_MIN)
        share = SHARE_MIN;
    return share < options->window_bytes_max ? share : options->window_bytes_max;
}

/* Full: at the bound. Once full, it stays so until it has drained to the low mark. */
static bool is_full(const struct weir_partition *partition, uint32_t bit, uint64_t value, uint64_t max)
{
    uint64_t low = max / 100 * partition->consumer->options->window_low_percent +
                   max % 100 * partition->consumer->options->window_low_percent / 100;
    return partition->pause & bit ? value > low && value > 0 : value >= max;
}

static void update_window(struct weir_partition *partition)
{
    const struct weir_options *options = partition->consumer->options;
    uint64_t in_flight = partition->tracker.count;
    bool full =
        in_flight > 0 && (is_full(partition, WEIR_PAUSE_WINDOW, in_flight, options->window_messages_max) ||
                          is_full(partition, WEIR_PAUSE_WINDOW, partition->charged_bytes, bytes_max(partition)));
    weir_partition_set_pause(partition, WEIR_PAUSE_WINDOW, full);
    bool held = is_full(partition, partition->pause & (WEIR_PAUSE_HELD | WEIR_PAUSE_DLQ), partition->held,
                        options->held_messages_max);
    uint32_t reason = partition->budget_spent || partition->dying.count > 0 ? WEIR_PAUSE_DLQ : WEIR_PAUSE_HELD;
    if (!held)
        weir_partition_set_pause(partition, WEIR_PAUSE_HELD | WEIR_PAUSE_DLQ, false);
    else if (!(partition->pause & (WEIR_PAUSE_HELD | WEIR_PAUSE_DLQ)))
        weir_partition_set_pause(partition, reason, true);
    bool user = atomic_load_explicit(&partition->user_paused, memory_order_relaxed) ||
                atomic_load_explicit(&partition->consumer->user_paused, memory_order_relaxed);
    weir_partition_set_pause(partition, WEIR_PAUSE_USER, user);
    bool trouble = atomic_load_explicit(&partition->trouble, memory_order_acquire) != WEIR_KAFKA_NONE;
    weir_partition_set_pause(partition, WEIR_PAUSE_ERROR, trouble);
}

/* How many messages may be pulled now. */
static uint32_t credit(struct weir_partition *partition)
{
    update_window(partition);
    if (partition->state != WEIR_PARTITION_ACTIVE || (partition->pause & ~(uint32_t)WEIR_PAUSE_REVOKE) != 0)
        return 0;
    const struct weir_options *options = partition->consumer->options;
    uint64_t in_flight = partition->tracker.count;
    if (in_flight == 0 && partition->charged_bytes >= bytes_max(partition))
        return 1;
    uint64_t count = options->window_messages_max - in_flight;
    uint64_t mean = partition->message_bytes_mean > 0 ? partition->message_bytes_mean : 1;
    uint64_t by_bytes = (bytes_max(partition) - partition->charged_bytes) / mean + 1;
    count = count < by_bytes ? count : by_bytes;
    return (uint32_t)(count < options->pull_messages_max ? count : options->pull_messages_max);
}

/* ---- routing ---- */

static struct weir_key *new_key(struct weir_partition *partition)
{
    struct weir_key *key = weir_key_pool_take(&partition->key_pool, partition);
    partition->key_count++;
    return key;
}

static void free_key(struct weir_partition *partition, struct weir_key *key)
{
    WEIR_CHECK(key->count == 0 && key->state == WEIR_KEY_READY && !key->timer.armed && !key->held);
    if (key->in_table)
        weir_key_table_remove(&partition->keys, key);
    if (partition->lane == key)
        partition->lane = NULL;
    partition->key_count--;
    weir_key_pool_give(&partition->key_pool, key);
}

/* The key actor a message goes to: found, or made from the reserve. */
static struct weir_key *find_key(struct weir_partition *partition, const struct weir_message *message)
{
    const struct weir_options *options = partition->consumer->options;
    bool alone = options->ordering == WEIR_ORDERING_NONE || (options->ordering == WEIR_ORDERING_KEY && !message->key &&
                                                             options->null_keys == WEIR_NULL_KEYS_SPREAD);
    if (alone)
        return new_key(partition);
    if (options->ordering == WEIR_ORDERING_PARTITION || !message->key) {
        if (!partition->lane)
            partition->lane = new_key(partition);
        return partition->lane;
    }
    uint64_t hash = weir_key_hash(message->key, message->key_size);
    struct weir_key *key = weir_key_table_find(&partition->keys, hash, message->key, message->key_size);
    if (key)
        return key;
    key = new_key(partition);
    key->hash = hash;
    key->by_bytes = true;
    return key;
}

void weir_partition_schedule(struct weir_partition *partition, struct weir_key *key)
{
    if (key->state != WEIR_KEY_READY)
        return;
    if (key->count == 0) {
        free_key(partition, key);
        return;
    }
    const struct weir_options *options = partition->consumer->options;
    bool committed = options->delivery != WEIR_AT_MOST_ONCE ||
                     key->first->offset < atomic_load_explicit(&partition->committed, memory_order_acquire);
    uint64_t now_ns = weir_worker_now_ns(partition->resident.home);
    if (!committed || !weir_consumer_lease_holds(partition->consumer, now_ns)) {
        weir_key_move(key, WEIR_KEY_PARKED);
        weir_key_list_append(&partition->parked, key);
        return;
    }
    uint64_t run = key->count < options->turn_messages_max ? key->count : options->turn_messages_max;
    if (options->delivery == WEIR_AT_MOST_ONCE)
        run = 1; /* what stands behind may not be committed yet */
    key->run_count = (uint16_t)(run < UINT16_MAX ? run : UINT16_MAX);
    key->run_done = 0;
    weir_key_move(key, WEIR_KEY_OUT);
    partition->out_count++;
    weir_worker_dispatch(partition->resident.home, &key->actor);
}

void weir_partition_serve_parked(struct weir_partition *partition)
{
    for (uint32_t count = partition->parked.count; count > 0; count--) {
        struct weir_key *key = partition->parked.first;
        weir_partition_leave_list(partition, key);
        weir_key_move(key, WEIR_KEY_READY);
        weir_partition_schedule(partition, key); /* back to the end of the list if it still may not */
    }
}

/* Take one record in: into the tracker and into its key's queue. Everything it needs has been reserved. */
static void route(struct weir_partition *partition, const struct weir_record *record, uint32_t attempts,
                  uint64_t now_ns)
{
    struct weir_message *message = weir_message_pool_take(&partition->message_pool);
    uint64_t later = atomic_load_explicit(&message->later, memory_order_relaxed); /* its generation outlives it */
    *message = (struct weir_message){
        .offset = record->offset,
        .attempts = attempts,
        .partition = partition,
        .epoch = partition->epoch,
        .key = record->key,
        .value = record->value,
        .key_size = record->key_size,
        .value_size = record->value_size,
        .timestamp_ms = record->timestamp_ms,
        .native = record->native,
        .pulled_ns = now_ns,
        .later = later,
    };
    charge(partition, message);
    weir_tracker_append(&partition->tracker, message);
    struct weir_key *key = find_key(partition, message);
    weir_key_append(key, message);
    if (key->held) {
        partition->held++;
        partition->held_dying += key->state == WEIR_KEY_DYING;
    }
    if (key->by_bytes && !key->in_table)
        weir_key_table_insert(&partition->keys, key); /* after the append: its bytes are the last message's */
    weir_partition_schedule(partition, key);
}

/* ---- pulling ---- */

static void stop_for_trouble(struct weir_partition *partition, const struct weir_record *record)
{
    char number[16];
    struct weir_log_field fields[2];
    weir_log(WEIR_LOG_WARN, weir_partition_fields(partition, number, fields), 2,
             "stopped pulling at offset %lld: %s (%s)", (long long)partition->tracker.next,
             weir_kafka_error_name(record->error), record->text ? record->text : "");
    weir_partition_set_pause(partition, WEIR_PAUSE_ERROR, true);
    atomic_store_explicit(&partition->trouble, record->error, memory_order_release);
    weir_resident_notify(&partition->consumer->control.resident);
}

static void take_error(struct weir_partition *partition, const struct weir_record *record)
{
    switch (record->error) {
    case WEIR_KAFKA_OUT_OF_RANGE:
    case WEIR_KAFKA_UNKNOWN_TOPIC:
    case WEIR_KAFKA_AUTHORIZATION:
        stop_for_trouble(partition, record);
        return;
    default: /* librdkafka goes on by itself */
        if (weir_partition_log_is_due(partition)) {
            char number[16];
            struct weir_log_field fields[2];
            weir_log(WEIR_LOG_WARN, weir_partition_fields(partition, number, fields), 2, "fetch: %s (%s)",
                     weir_kafka_error_name(record->error), record->text ? record->text : "");
        }
    }
}

static void take_message(struct weir_partition *partition, const struct weir_record *record, uint64_t now_ns)
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
        route(partition, record, attempts, now_ns);
        return;
    }
    weir_partition_kafka(partition)->ops->record_free(weir_partition_kafka(partition), record->native);
}

static void take_record(struct weir_partition *partition, const struct weir_record *record, uint64_t now_ns)
{
    if (record->kind == WEIR_RECORD_MESSAGE) {
        take_message(partition, record, now_ns);
        return;
    }
    if (record->kind == WEIR_RECORD_ERROR) {
        take_error(partition, record);
    } else if (record->offset > partition->tracker.next) {
        weir_tracker_advance(&partition->tracker, record->offset); /* control records and holes before the end */
        partition->changed = true;
    }
    if (record->native)
        weir_partition_kafka(partition)->ops->record_free(weir_partition_kafka(partition), record->native);
}

/* Nodes and key actors for `count` messages. */
static bool reserve(struct weir_partition *partition, uint32_t count)
{
    bool reserved = weir_message_pool_reserve(&partition->message_pool, count) == 0 &&
                    weir_key_pool_reserve(&partition->key_pool, count) == 0;
    weir_partition_set_pause(partition, WEIR_PAUSE_MEMORY, !reserved);
    return reserved;
}

/* Pull once. True if there may be more and it may be pulled. */
static bool pull(struct weir_partition *partition)
{
    struct weir_record records[256];
    if (weir_worker_queued(partition->resident.home) >= BACKLOG_MAX)
        return credit(partition) > 0; /* another turn comes when those have run */
    uint32_t count = credit(partition);
    count = count < WEIR_COUNT(records) ? count : (uint32_t)WEIR_COUNT(records);
    if (count == 0 || !reserve(partition, count))
        return false;
    uint32_t gate = WEIR_GATE_OPEN;
    if (!atomic_compare_exchange_strong_explicit(&partition->gate, &gate, WEIR_GATE_PULLING, memory_order_acq_rel,
                                                 memory_order_relaxed)) {
        weir_partition_set_pause(partition, WEIR_PAUSE_REVOKE, true);
        return false;
    }
    weir_partition_set_pause(partition, WEIR_PAUSE_REVOKE, false);
    uint32_t pulled = partition->consumer->kafka->ops->pull(partition->queue, records, count);
    uint64_t now_ns = weir_worker_now_ns(partition->resident.home);
    for (uint32_t index = 0; index < pulled; index++)
        take_record(partition, &records[index], now_ns);
    atomic_store_explicit(&partition->next_shared, partition->tracker.next, memory_order_relaxed);
    bool stopped = partition->pause & WEIR_PAUSE_ERROR;
    atomic_store_explicit(&partition->gate, stopped ? WEIR_GATE_CLOSED : WEIR_GATE_OPEN, memory_order_release);
    if (pulled > 0)
        partition->changed |= partition->consumer->options->delivery == WEIR_AT_MOST_ONCE;
    return pulled == count && credit(partition) > 0;
}

/* ---- the turn ---- */

static void take_mail(struct weir_partition *partition)
{
    for (struct weir_mail *mail = weir_mailbox_take(&partition->resident.mailbox), *next; mail; mail = next) {
        next = mail->next;
        switch (mail->kind) {
        case WEIR_MAIL_KEY:
            weir_partition_take_key(partition, WEIR_CONTAINER(mail, struct weir_key, mail));
            break;
        case WEIR_MAIL_ANSWER:
            weir_partition_take_answer(partition, WEIR_CONTAINER(mail, struct weir_message, mail));
            break;
        case WEIR_MAIL_REPORT:
            weir_partition_take_report(partition, WEIR_CONTAINER(mail, struct weir_message, report));
            break;
        default:
            WEIR_CHECK(!"a mail of an unknown kind");
        }
    }
}

static void set_gauge(_Atomic uint64_t *gauge, uint64_t value)
{
    atomic_store_explicit(gauge, value, memory_order_relaxed);
}

static void publish(struct weir_partition *partition)
{
    const struct weir_tracker *tracker = &partition->tracker;
    int64_t floor = weir_tracker_floor(tracker);
    set_gauge(&partition->gauges.epoch, partition->epoch);
    set_gauge(&partition->gauges.in_flight, tracker->count);
    set_gauge(&partition->gauges.in_flight_bytes, partition->charged_bytes);
    set_gauge(&partition->gauges.held, partition->held);
    set_gauge(&partition->gauges.gap, (uint64_t)(tracker->next - floor) - tracker->count);
    set_gauge(&partition->gauges.key_actors, partition->key_count);
    set_gauge(&partition->gauges.out, partition->out_count);
    set_gauge(&partition->gauges.running, partition->out_count + partition->later.count);
    set_gauge(&partition->gauges.dlq_pending, partition->dlq_pending);
    set_gauge(&partition->gauges.oldest_pulled_ns, tracker->head ? tracker->head->pulled_ns : 0);
    set_gauge(&partition->gauges.stragglers, partition->stragglers);
    atomic_store_explicit(&partition->gauges.next, tracker->next, memory_order_relaxed);
    atomic_store_explicit(&partition->gauges.floor, floor, memory_order_relaxed);
    atomic_store_explicit(&partition->gauges.pause, partition->pause, memory_order_relaxed);
}

/* Tell the budget and the commit what was finished in this turn. */
static void account(struct weir_partition *partition)
{
    if (partition->successes > 0)
        weir_budget_earn(&partition->topic->budget, partition->successes);
    partition->successes = 0;
    uint64_t finished = partition->finished - partition->finished_told;
    if (finished > 0) {
        partition->finished_told = partition->finished;
        uint64_t limit = partition->consumer->options->commit_messages_max;
        uint64_t before =
            atomic_fetch_add_explicit(&partition->consumer->finished_uncommitted, finished, memory_order_relaxed);
        if (limit > 0 && before < limit && before + finished >= limit)
            weir_resident_notify(&partition->consumer->control.resident);
    }
    if (!partition->changed)
        return;
    partition->changed = false;
    if (!atomic_exchange_explicit(&partition->dirty, true, memory_order_acq_rel) &&
        partition->consumer->options->delivery == WEIR_AT_MOST_ONCE)
        weir_resident_notify(&partition->consumer->control.resident); /* handlers wait for this commit */
}

static void turn(struct weir_actor *actor, struct weir_worker *worker)
{
    struct weir_partition *partition = WEIR_CONTAINER(actor, struct weir_partition, resident.actor);
    weir_partition_take_order(partition);
    take_mail(partition);
    if (partition->parked.count > 0)
        weir_partition_serve_parked(partition);
    if (partition->state == WEIR_PARTITION_ACTIVE && pull(partition))
        weir_resident_notify(&partition->resident);
    weir_partition_check_order(partition);
    account(partition);
    weir_partition_answer_snapshot(partition);
    publish(partition);
}

/* Once a second: what trusts no edge. */
static void sweep(struct weir_timer *timer)
{
    struct weir_partition *partition = WEIR_CONTAINER(timer, struct weir_partition, sweep);
    weir_timers_arm(weir_worker_timers(partition->resident.home), timer,
                    weir_worker_now_ns(partition->resident.home) + WEIR_PARTITION_SWEEP_NS);
    weir_partition_sweep_finish(partition);
    weir_partition_set_pause(partition, WEIR_PAUSE_MEMORY, false); /* the next pull tries again */
    weir_resident_notify(&partition->resident);
}

/* ---- life ---- */

struct weir_partition *weir_partition_create(struct weir_consumer *consumer, struct weir_topic *topic, int32_t number,
                                             struct weir_worker *home)
{
    struct weir_partition *partition = weir_memory_allocate_zeroed(1, sizeof *partition);
    if (!partition)
        return NULL;
    partition->consumer = consumer;
    partition->topic = topic;
    partition->number = number;
    partition->leader_epoch = -1;
    atomic_init(&partition->committed, -1);
    atomic_init(&partition->log_end, -1);
    atomic_init(&partition->map_room, (uint32_t)consumer->options->commit_map_bytes_max);
    partition->pause = WEIR_PAUSE_REVOKE;
    weir_timer_init(&partition->sweep, sweep);
    weir_resident_init(&partition->resident, home, turn, 0, 0);
    partition->segment = weir_memory_allocate_zeroed(1, sizeof *partition->segment);
    partition->snapshot.map = weir_memory_allocate_zeroed(1, consumer->options->commit_map_bytes_max + 1);
    bool table = weir_key_table_init(&partition->keys) == 0;
    if (partition->segment && partition->snapshot.map && table)
        return partition;
    if (table)
        weir_key_table_deinit(&partition->keys);
    weir_memory_free(partition->snapshot.map);
    weir_memory_free(partition->segment);
    weir_memory_free(partition);
    return NULL;
}

bool weir_partition_destroy(struct weir_partition *partition)
{
    write_order(partition, WEIR_ORDER_END);
    weir_partition_take_order(partition); /* as no worker runs any more, this thread is the owner */
    take_mail(partition);
    weir_timers_cancel(weir_worker_timers(partition->resident.home), &partition->sweep);
    if (partition->stragglers > 0 || partition->orphans > 0)
        return false;
    WEIR_CHECK(partition->key_count == 0 && partition->tracker.count == 0);
    weir_map_deinit(&partition->map);
    weir_map_deinit(&partition->begin.map);
    weir_map_deinit(&partition->control.map);
    weir_key_table_deinit(&partition->keys);
    weir_key_pool_deinit(&partition->key_pool);
    weir_message_pool_deinit(&partition->message_pool);
    for (struct weir_segment *segment = partition->segments_free, *next; segment; segment = next) {
        next = segment->next;
        weir_memory_free(segment);
    }
    weir_memory_free(partition->segment);
    weir_memory_free(partition->snapshot.map);
    weir_memory_free(partition);
    return true;
}
