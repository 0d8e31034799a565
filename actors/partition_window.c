/*
 * The window of a partition: what it may have unfinished, in messages and in bytes. Runs in the partition actor's turn.
 *
 * In messages: what the tracker holds. In bytes: segments pulled and still referred to, copies, and outputs; the bound
 * is window.bytes.max or the partition's even share of memory.bytes.max, whichever is less, so that one hot partition
 * cannot take what others need. What librdkafka fetches ahead is taken off the cap first.
 *
 * Outputs are added by whoever emits, so their sum may pass the bound between two looks at it, by what the runs under
 * way may emit.
 *
 *   B1. Every message in the tracker that has content is charged once: to its segment, or as a copy.
 *   B2. A partition with nothing in flight may always pull one message.
 *   B3. Once full, the window stays so until it has drained to the low mark.
 */
#include "actors/consumer.h"
#include "actors/partition.h"
#include "runtime/check.h"
#include "runtime/memory.h"

#define SHARE_MIN           65536 /* bytes; a partition's share of the cap is never less */
#define WEIR_PAUSE_FOR_HELD (WEIR_PAUSE_HELD | WEIR_PAUSE_DLQ | WEIR_PAUSE_OUTPUT)

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

/* Mean of recent sizes, quick to rise, slow to fall: it bounds how far a batch may overshoot. */
static void learn_mean(struct weir_partition *partition, uint64_t bytes)
{
    uint64_t mean = partition->message_bytes_mean;
    partition->message_bytes_mean = bytes > mean ? bytes : mean - (mean - bytes) / 16;
}

static uint64_t segment_charge(uint64_t key_size, uint64_t value_size)
{
    return with_slack(key_size + value_size) + WEIR_MESSAGE_OVERHEAD_BYTES;
}

void weir_partition_learn_sizes(struct weir_partition *partition, const struct weir_record *records, uint32_t count)
{
    for (const struct weir_record *record = records; record < records + count; record++)
        if (record->kind == WEIR_RECORD_MESSAGE)
            learn_mean(partition, segment_charge(record->key_size, record->value_size));
}

static uint64_t copy_charge(const struct weir_message *message)
{
    return message->copy->size_bytes + WEIR_MESSAGE_OVERHEAD_BYTES;
}

static void charge_segment(struct weir_partition *partition, struct weir_message *message)
{
    struct weir_segment *segment = open_segment(partition);
    uint64_t bytes = segment_charge(message->key_size, message->value_size);
    segment->bytes += bytes;
    segment->live++;
    message->segment = segment;
    partition->charged_bytes += bytes;
}

static void charge_copy(struct weir_partition *partition, const struct weir_message *message)
{
    partition->charged_bytes += copy_charge(message);
    learn_mean(partition, copy_charge(message));
}

/* Whoever is given it may keep what it points to, so that it cannot be moved later; and for how long nobody knows, with
 * all that other partitions have in its fetch response. So where handlers keep messages it is copied out at once; but
 * not the one that has been run already and is kept. Short of memory: it stays there. */
void weir_partition_charge(struct weir_partition *partition, struct weir_message *message)
{
    if (atomic_load_explicit(&partition->consumer->gives_out, memory_order_relaxed) &&
        weir_message_later_state(message) == WEIR_LATER_IDLE && weir_message_copy_out(message) == 0)
        charge_copy(partition, message);
    else
        charge_segment(partition, message);
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

void weir_partition_copy_out(struct weir_partition *partition, struct weir_message *message)
{
    if (message->is_copied || !message->native || weir_message_copy_out(message) != 0)
        return;
    discharge(partition, message);
    charge_copy(partition, message);
}

void weir_partition_release(struct weir_partition *partition, struct weir_message *message)
{
    if (message->is_copied)
        partition->charged_bytes -= copy_charge(message);
    discharge(partition, message);
    weir_message_release_content(message);
    if (message->data)
        weir_partition_let_data_go(partition, message);
}

void weir_partition_free_message(struct weir_partition *partition, struct weir_message *message)
{
    WEIR_CHECK(message->owner == NULL);
    weir_partition_release(partition, message);
    weir_message_renew(message);
    weir_message_pool_give(&partition->message_pool, message);
}

uint64_t weir_partition_bytes(const struct weir_partition *partition)
{
    return partition->charged_bytes + atomic_load_explicit(&partition->output_bytes, memory_order_relaxed);
}

/* ---- the window ---- */

void weir_partition_set_pause(struct weir_partition *partition, uint32_t bits, bool on)
{
    const uint32_t backpressure = WEIR_PAUSE_WINDOW | WEIR_PAUSE_FOR_HELD;
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

/* What the held messages wait for, when they are at their bound. */
static uint32_t why_held(const struct weir_partition *partition)
{
    if (partition->budget_spent || partition->dying.count > 0)
        return WEIR_PAUSE_DLQ;
    return partition->held_writing > 0 ? WEIR_PAUSE_OUTPUT : WEIR_PAUSE_HELD;
}

/* Does more wait here than is pulled upon, because others go first? */
static bool is_put_off(const struct weir_partition *partition, bool full)
{
    const struct weir_worker *home = partition->resident.home;
    return (full || weir_worker_queued_at(home, partition->level) >= WEIR_BACKLOG_MAX) &&
           weir_worker_is_outranked(home, partition->level);
}

static void update_window(struct weir_partition *partition, uint64_t bytes_bound)
{
    const struct weir_options *options = partition->consumer->options;
    uint64_t in_flight = partition->tracker.count;
    bool full = in_flight > 0 && (is_full(partition, WEIR_PAUSE_WINDOW, in_flight, options->window_messages_max) ||
                                  is_full(partition, WEIR_PAUSE_WINDOW, weir_partition_bytes(partition), bytes_bound));
    weir_partition_set_pause(partition, WEIR_PAUSE_WINDOW, full);
    weir_partition_set_pause(partition, WEIR_PAUSE_RATE, full && partition->delayed.count > 0);
    if (partition->level > 0)
        weir_partition_set_pause(partition, WEIR_PAUSE_PRIORITY, is_put_off(partition, full));
    bool held = is_full(partition, partition->pause & WEIR_PAUSE_FOR_HELD, partition->held, options->held_messages_max);
    if (!held)
        weir_partition_set_pause(partition, WEIR_PAUSE_FOR_HELD, false);
    else if (!(partition->pause & WEIR_PAUSE_FOR_HELD))
        weir_partition_set_pause(partition, why_held(partition), true);
    bool user = atomic_load_explicit(&partition->user_paused, memory_order_relaxed) ||
                atomic_load_explicit(&partition->consumer->user_paused, memory_order_relaxed);
    weir_partition_set_pause(partition, WEIR_PAUSE_USER, user);
    weir_partition_set_pause(partition, WEIR_PAUSE_ESCALATED, weir_partition_is_escalated(partition));
    enum weir_breaker_state breaker = weir_partition_breaker(partition);
    /* While a probe is wanted it may have to be pulled first. */
    weir_partition_set_pause(partition, WEIR_PAUSE_BREAKER,
                             breaker == WEIR_BREAKER_STATE_OPEN || breaker == WEIR_BREAKER_STATE_PROBING);
    bool trouble = atomic_load_explicit(&partition->trouble, memory_order_acquire) != WEIR_KAFKA_NONE;
    weir_partition_set_pause(partition, WEIR_PAUSE_ERROR, trouble);
}

/* How many messages may be pulled now. The bound is read once: control changes it as partitions come and go, and what
 * was below it a moment ago need not be now. */
uint32_t weir_partition_credit(struct weir_partition *partition)
{
    uint64_t bytes_bound = bytes_max(partition);
    update_window(partition, bytes_bound);
    const uint32_t no_obstacle = WEIR_PAUSE_REVOKE | WEIR_PAUSE_PRIORITY;
    if (partition->state != WEIR_PARTITION_ACTIVE || (partition->pause & ~no_obstacle) != 0)
        return 0;
    const struct weir_options *options = partition->consumer->options;
    uint64_t in_flight = partition->tracker.count;
    uint64_t bytes = weir_partition_bytes(partition);
    if (bytes >= bytes_bound)
        return in_flight == 0; /* else an output was emitted since the window was looked at */
    uint64_t count = options->window_messages_max - in_flight;
    uint64_t mean = partition->message_bytes_mean > 0 ? partition->message_bytes_mean : 1;
    uint64_t by_bytes = (bytes_bound - bytes) / mean + 1;
    count = count < by_bytes ? count : by_bytes;
    return (uint32_t)(count < options->pull_messages_max ? count : options->pull_messages_max);
}
