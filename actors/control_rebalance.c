/*
 * Assignments, from a rebalance event to open partitions and back.
 *
 * The rules
 *   R1. At any rebalance event every gate closes, at once: librdkafka has paused all partitions by then and may drop
 *       what it counts as delivered.
 *   R2. ASSIGN is answered when every position is known (the floor read back, or the policy resolved), for at most
 *       ANSWER_MS_MAX (for the keeper ASK_MS_MAX), and not at all once the group is being left, since nothing is read
 *       then; what is not known by then is assigned closed, and sought when it is.
 *   R3. REVOKE: handlers stop starting; running ones have revoke.drain.ms.max; then one commit; then the answer. A
 *       partition whose actor cannot answer (its worker is stuck in a handler) is given away without a last commit.
 *   R4. LOST: the same without drain and commit.
 *   R5. After the answer every partition that stays is sought to its actor's `next`, and opens when that is done.
 *   R6. An epoch begins when the one before has ended, and its position is the floor that was read or committed, or
 *       what the keeper says. It is asked once an epoch, and until it has answered nothing is pulled.
 *   R7. REVOKE is not answered while a transaction is open: until then it is ours to commit, and the generation does
 *       not fence what we give away.
 */
#include "actors/control_rebalance.h"
#include "actors/consumer.h"
#include "runtime/check.h"
#include "runtime/log.h"
#include "runtime/memory.h"
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define ANSWER_MS_MAX    15000
#define ASK_MS_MAX       1000  /* that the answer to an ASSIGN waits for the keeper */
#define REVOKE_COMMIT_MS 5000  /* that the last commit of a REVOKE may take */
#define TRANSACTION_MS   15000 /* after which brokers give an open transaction up */

/* ---- states ---- */

static const char *const state_names[WEIR_CONTROL_STATES] = {"idle",   "read", "resolve", "ask",   "answer", "begin",
                                                             "commit", "seek", "open",    "drain", "failed"};

#define BIT(state) (1u << WEIR_CONTROL_##state)
static const uint16_t legal_moves[WEIR_CONTROL_STATES] = {
    [WEIR_CONTROL_IDLE] = BIT(READ),
    [WEIR_CONTROL_READ] = BIT(RESOLVE) | BIT(ASK) | BIT(ANSWER) | BIT(BEGIN) | BIT(FAILED) | BIT(DRAIN),
    [WEIR_CONTROL_RESOLVE] = BIT(ASK) | BIT(ANSWER) | BIT(BEGIN) | BIT(FAILED) | BIT(DRAIN),
    [WEIR_CONTROL_ASK] = BIT(ANSWER) | BIT(BEGIN) | BIT(FAILED) | BIT(DRAIN),
    [WEIR_CONTROL_ANSWER] = BIT(BEGIN) | BIT(DRAIN),
    [WEIR_CONTROL_BEGIN] = BIT(COMMIT) | BIT(SEEK) | BIT(OPEN) | BIT(DRAIN),
    [WEIR_CONTROL_COMMIT] = BIT(SEEK) | BIT(OPEN) | BIT(DRAIN),
    [WEIR_CONTROL_SEEK] = BIT(OPEN) | BIT(DRAIN) | BIT(FAILED),
    [WEIR_CONTROL_OPEN] = BIT(SEEK) | BIT(DRAIN) | BIT(FAILED),
    [WEIR_CONTROL_DRAIN] = BIT(IDLE) | BIT(READ) | BIT(RESOLVE) | BIT(FAILED),
    [WEIR_CONTROL_FAILED] = BIT(READ) | BIT(SEEK) | BIT(DRAIN),
};

const char *weir_control_state_name(enum weir_control_state state)
{
    return state < WEIR_CONTROL_STATES ? state_names[state] : "unknown";
}

void weir_control_move(struct weir_partition *partition, enum weir_control_state state)
{
    enum weir_control_state old = (enum weir_control_state)partition->control.state;
    WEIR_CHECK(legal_moves[old] & (1u << state));
    partition->control.state = (uint8_t)state;
    weir_log(WEIR_LOG_DEBUG, WEIR_NO_FIELDS, "partition %s/%d: %s -> %s (position %lld, epoch %llu)",
             partition->topic->name, (int)partition->number, state_names[old], state_names[state],
             (long long)partition->control.position, (unsigned long long)partition->control.epoch);
}

/* Does the partition actor have an epoch of ours, or will it when it has read its orders? */
static bool has_epoch(const struct weir_partition *partition)
{
    return partition->control.order == WEIR_ORDER_BEGIN || partition->control.order == WEIR_ORDER_FINISH ||
           partition->control.order == WEIR_ORDER_DRAIN;
}

static void recount(struct weir_control *control)
{
    uint32_t count = 0;
    WEIR_EACH_PARTITION (partition, control)
        count += weir_control_is_assigned(partition);
    atomic_store_explicit(&control->consumer->assigned_count, count, memory_order_relaxed);
}

static void shut_all(struct weir_control *control)
{
    control->seek_tag = 0; /* a seek from before the event says nothing about after it */
    WEIR_EACH_PARTITION (partition, control)
        weir_partition_shut(partition);
}

/* ---- events ---- */

/* End its epoch and forget it. Its gate is shut. */
static void let_go(struct weir_control *control, struct weir_partition *partition)
{
    struct weir_kafka *kafka = control->consumer->kafka;
    if (partition->control.state != WEIR_CONTROL_DRAIN)
        weir_control_move(partition, WEIR_CONTROL_DRAIN);
    if (partition->control.asked != 0)
        weir_keeper_forget(partition);
    partition->control.asked = 0;
    atomic_store_explicit(&partition->open_epoch, 0, memory_order_release);
    if (has_epoch(partition))
        weir_partition_order(partition, WEIR_ORDER_END);
    if (partition->queue)
        kafka->ops->queue_close(kafka, partition->queue);
    partition->queue = NULL;
    partition->control.in_collect = false; /* a commit that is being collected goes without it */
    atomic_store_explicit(&partition->assigned, false, memory_order_relaxed);
    atomic_store_explicit(&partition->log_end, -1, memory_order_relaxed);
    weir_control_move(partition, WEIR_CONTROL_IDLE);
}

void weir_control_on_assign(struct weir_control *control, const struct weir_kafka_event *event)
{
    struct weir_consumer *consumer = control->consumer;
    WEIR_CHECK(control->phase == WEIR_PHASE_NONE);
    atomic_fetch_add_explicit(&consumer->rebalances, 1, memory_order_relaxed);
    shut_all(control); /* R1 */
    for (size_t index = 0; index < event->count; index++) {
        const struct weir_kafka_offset *offset = &event->offsets[index];
        struct weir_partition *partition = weir_consumer_partition(consumer, offset->topic, offset->partition);
        if (!partition) {
            weir_control_fail(control, WEIR_NO_MEMORY, "no memory for an assigned partition");
            continue;
        }
        if (partition->control.state != WEIR_CONTROL_IDLE)
            let_go(control, partition); /* assigned twice without a revocation: the second one counts */
        if (partition->topic->first_count < 0)
            partition->topic->first_count = consumer->kafka->ops->partition_count(consumer->kafka, offset->topic);
        partition->control.in_event = true;
        partition->control.position = -1;
        partition->control.commit_first = partition->control.seek_first = false;
        partition->control.stood = -1;
        partition->control.retry_ns = partition->control.refused_until_ns = 0;
        partition->control.tag = 0;
        atomic_store_explicit(&partition->trouble, WEIR_KAFKA_NONE, memory_order_relaxed);
        atomic_store_explicit(&partition->assigned, true, memory_order_relaxed);
        weir_control_move(partition, WEIR_CONTROL_READ);
    }
    recount(control);
    control->phase = WEIR_PHASE_ASSIGN;
    control->phase_since_ns = control->now_ns;
    control->phase_until_ns = control->now_ns + ANSWER_MS_MAX * WEIR_CONTROL_MS_NS;
    weir_log(WEIR_LOG_INFO, WEIR_NO_FIELDS, "assigned %zu partitions%s", event->count,
             event->cooperative ? " more" : "");
}

/* The epoch of this partition ends. Handlers stop starting at once, whatever its worker does. */
static void begin_drain(struct weir_control *control, struct weir_partition *partition, bool lost)
{
    if (partition->control.state != WEIR_CONTROL_DRAIN)
        weir_control_move(partition, WEIR_CONTROL_DRAIN);
    bool at_most_once = control->consumer->options->delivery == WEIR_AT_MOST_ONCE;
    if (!at_most_once || lost)
        atomic_store_explicit(&partition->open_epoch, 0, memory_order_release);
    if (has_epoch(partition))
        weir_partition_order(partition, lost ? WEIR_ORDER_END : WEIR_ORDER_DRAIN);
    partition->control.drain_again = at_most_once && !lost && control->commit.state != WEIR_COMMIT_IDLE;
}

/* Nothing runs any more, or will. At most once, a commit that was under way as the drain began commits messages that
 * had not run, and they must: when it is over the partition is asked again. Later commits add nothing. */
static bool is_drained(struct weir_control *control, struct weir_partition *partition)
{
    if (!has_epoch(partition))
        return true;
    if (partition->control.drain_again && control->commit.state == WEIR_COMMIT_IDLE) {
        partition->control.drain_again = false;
        weir_partition_order(partition, WEIR_ORDER_DRAIN);
    }
    return !partition->control.drain_again && weir_partition_order_is_done(partition);
}

void weir_control_on_revoke(struct weir_control *control, const struct weir_kafka_event *event)
{
    struct weir_consumer *consumer = control->consumer;
    WEIR_CHECK(control->phase == WEIR_PHASE_NONE);
    atomic_fetch_add_explicit(&consumer->rebalances, 1, memory_order_relaxed);
    shut_all(control); /* R1 */
    control->lost = event->kind == WEIR_KAFKA_LOST;
    for (size_t index = 0; index < event->count; index++) {
        struct weir_partition *partition =
            weir_consumer_find(consumer, event->offsets[index].topic, event->offsets[index].partition);
        if (!partition || !weir_control_is_assigned(partition))
            continue; /* it could not be made when it was assigned */
        partition->control.in_event = true;
        begin_drain(control, partition, control->lost);
    }
    bool hurried = control->closing >= WEIR_CLOSING_COMMIT || control->lost;
    uint64_t drain_ms = hurried ? 0 : consumer->options->revoke_drain_ms_max;
    control->phase = WEIR_PHASE_REVOKE_DRAIN;
    control->phase_since_ns = control->now_ns;
    control->phase_until_ns = control->now_ns + drain_ms * WEIR_CONTROL_MS_NS;
    weir_log(WEIR_LOG_INFO, WEIR_NO_FIELDS, "%s %zu partitions", control->lost ? "lost" : "revoking", event->count);
}

/* ---- answers ---- */

/* What stays is sought to where its actor stands: R5. */
static void seek_retained(struct weir_control *control)
{
    WEIR_EACH_PARTITION (partition, control) {
        if (!weir_control_is_assigned(partition) || partition->control.in_event)
            continue;
        partition->control.seek_first = true;
        partition->control.tag = 0;
        if (partition->control.state != WEIR_CONTROL_OPEN && partition->control.state != WEIR_CONTROL_SEEK)
            continue; /* on its way: it will be sought before it opens */
        partition->control.position = atomic_load_explicit(&partition->next_shared, memory_order_acquire);
        partition->control.retry_ns = 0;
        if (partition->control.state == WEIR_CONTROL_OPEN)
            weir_control_move(partition, WEIR_CONTROL_SEEK);
    }
}

/* False: memory is short; the tick tries again. */
static bool open_queue(struct weir_control *control, struct weir_partition *partition)
{
    struct weir_kafka *kafka = control->consumer->kafka;
    if (!partition->queue)
        partition->queue =
            kafka->ops->queue_open(kafka, partition->topic->name, partition->number, weir_partition_wake, partition);
    return partition->queue != NULL;
}

static bool all_positions_known(struct weir_control *control)
{
    /* Whoever keeps offsets may wait for others: not everybody waits with him. */
    bool ask_is_fresh = control->now_ns < control->phase_since_ns + ASK_MS_MAX * WEIR_CONTROL_MS_NS;
    WEIR_EACH_PARTITION (partition, control) {
        if (partition->control.in_event &&
            (partition->control.state == WEIR_CONTROL_READ || partition->control.state == WEIR_CONTROL_RESOLVE))
            return false;
        if (partition->control.in_event && partition->control.state == WEIR_CONTROL_ASK && ask_is_fresh)
            return false;
    }
    return true;
}

/* Ours and librdkafka's notion of who owns what are apart: partitions would stand still for ever, and say nothing. */
static void fail_refused(struct weir_control *control, const char *what)
{
    char text[64];
    snprintf(text, sizeof text, "librdkafka refused %s; the log has its reason", what);
    if (control->closing == WEIR_CLOSING_NO)
        weir_control_fail(control, WEIR_KAFKA, text);
    else
        weir_log(WEIR_LOG_ERROR, WEIR_NO_FIELDS, "%s", text);
}

static void answer_assign(struct weir_control *control)
{
    struct weir_kafka *kafka = control->consumer->kafka;
    bool may_wait = control->now_ns < control->phase_until_ns && control->closing < WEIR_CLOSING_LEAVE;
    if (may_wait && !all_positions_known(control))
        return;
    weir_offsets_clear(&control->request);
    WEIR_EACH_PARTITION (partition, control) {
        if (!partition->control.in_event)
            continue;
        struct weir_kafka_offset *offset =
            open_queue(control, partition) ? weir_offsets_add(&control->request, partition) : NULL;
        if (!offset)
            return; /* memory is short: the tick tries again */
        bool known = partition->control.state == WEIR_CONTROL_ANSWER;
        offset->offset = known ? partition->control.position : -1;
        partition->control.seek_first = !known;
    }
    if (kafka->ops->assign(kafka, control->request.items, control->request.count) != 0)
        fail_refused(control, "an assignment");
    control->phase = WEIR_PHASE_NONE;
    seek_retained(control);
    WEIR_EACH_PARTITION (partition, control) {
        if (partition->control.in_event && partition->control.state == WEIR_CONTROL_ANSWER)
            weir_control_move(partition, WEIR_CONTROL_BEGIN);
        partition->control.in_event = false;
    }
}

static void answer_revoke(struct weir_control *control)
{
    struct weir_kafka *kafka = control->consumer->kafka;
    WEIR_EACH_PARTITION (partition, control) {
        if (!partition->control.in_event)
            continue;
        let_go(control, partition);
    }
    if (kafka->ops->unassign(kafka) != 0)
        fail_refused(control, "a revocation");
    control->phase = WEIR_PHASE_NONE;
    seek_retained(control);
    WEIR_EACH_PARTITION (partition, control)
        partition->control.in_event = false;
    recount(control);
    weir_log(WEIR_LOG_INFO, WEIR_NO_FIELDS, "%s in %llu ms", control->lost ? "let go" : "revoked",
             (unsigned long long)((control->now_ns - control->phase_since_ns) / WEIR_CONTROL_MS_NS));
}

static bool all_drained(struct weir_control *control)
{
    WEIR_EACH_PARTITION (partition, control) {
        if (partition->control.in_event && !is_drained(control, partition))
            return false;
    }
    return true;
}

static void revoke(struct weir_control *control)
{
    if (control->phase == WEIR_PHASE_REVOKE_DRAIN) {
        if (!control->lost && !all_drained(control) && control->now_ns < control->phase_until_ns)
            return;
        control->phase = WEIR_PHASE_REVOKE_COMMIT;
        control->phase_until_ns = control->now_ns + REVOKE_COMMIT_MS * WEIR_CONTROL_MS_NS;
        control->phase_wanted = control->lost ? 0 : weir_control_want_commit(control);
    }
    if (!control->lost && !weir_control_is_served(control, control->phase_wanted) &&
        control->now_ns < control->phase_until_ns)
        return;
    if (!control->lost && !weir_transaction_is_idle(control)) {
        weir_transaction_give_up(control); /* R7 */
        if (!weir_transaction_is_idle(control) &&
            control->now_ns < control->phase_until_ns + TRANSACTION_MS * WEIR_CONTROL_MS_NS)
            return;
    }
    answer_revoke(control);
}

/* ---- one partition at a time ---- */

static void begin(struct weir_control *control, struct weir_partition *partition)
{
    if (!weir_partition_order_is_done(partition))
        return; /* R6: the end of the previous epoch has not been taken note of yet */
    if (partition->control.order == WEIR_ORDER_BEGIN) {
        bool seek = partition->control.seek_first;
        if (partition->control.commit_first)
            weir_control_move(partition, WEIR_CONTROL_COMMIT);
        else
            weir_control_move(partition, seek ? WEIR_CONTROL_SEEK : WEIR_CONTROL_OPEN);
        if (partition->control.state == WEIR_CONTROL_COMMIT)
            weir_control_want_commit(control);
        else if (!seek)
            weir_control_open_gate(control, partition);
        return;
    }
    partition->control.epoch = partition->control.asked > 0 ? partition->control.asked : ++control->epoch_next;
    if (partition->control.asked > 0)
        weir_keeper_begin(partition, partition->control.asked, partition->control.position);
    partition->control.asked = 0;
    partition->control.stood = -1;
    partition->begin.epoch = partition->control.epoch;
    partition->begin.position = partition->control.position;
    weir_map_deinit(&partition->begin.map);
    partition->begin.map = partition->control.map;
    partition->begin.has_map = partition->control.has_map;
    partition->control.map = (struct weir_map){0};
    partition->control.has_map = false;
    weir_partition_order(partition, WEIR_ORDER_BEGIN);
}

/* The position is not in the log any more: this epoch ends, the policy begins another. */
static void reset(struct weir_control *control, struct weir_partition *partition)
{
    if (!is_drained(control, partition) && control->now_ns < partition->control.drain_until_ns)
        return;
    if (has_epoch(partition)) {
        weir_partition_order(partition, WEIR_ORDER_END);
        return;
    }
    partition->control.stood = atomic_load_explicit(&partition->next_shared, memory_order_acquire);
    partition->control.seek_first = true;
    partition->control.retry_ns = 0;
    weir_control_move(partition, partition->control.read_again ? WEIR_CONTROL_READ : WEIR_CONTROL_RESOLVE);
    partition->control.read_again = false;
}

/* Those without an epoch read what is committed in any case. Those that an event takes away commit nothing any more. */
void weir_control_restart(struct weir_control *control)
{
    WEIR_EACH_PARTITION (partition, control) {
        if (!weir_control_is_assigned(partition) || !has_epoch(partition))
            continue;
        weir_partition_shut(partition);
        partition->control.read_again = !partition->control.in_event;
        begin_drain(control, partition, true);
    }
}

static void take_trouble(struct weir_control *control, struct weir_partition *partition)
{
    enum weir_kafka_error error =
        (enum weir_kafka_error)atomic_load_explicit(&partition->trouble, memory_order_acquire);
    if (error == WEIR_KAFKA_NONE)
        return;
    if (error == WEIR_KAFKA_OUT_OF_RANGE) {
        partition->control.drain_until_ns =
            control->now_ns + control->consumer->options->revoke_drain_ms_max * WEIR_CONTROL_MS_NS;
        begin_drain(control, partition, false);
        return;
    }
    /* Refused, or gone: try again from where it stands. */
    partition->control.position = atomic_load_explicit(&partition->next_shared, memory_order_acquire);
    weir_control_put_off(control, partition, WEIR_CONTROL_FAILED_RETRY_MS);
    weir_control_move(partition, WEIR_CONTROL_FAILED);
}

static void look_at_failed(struct weir_control *control, struct weir_partition *partition)
{
    if (partition->control.retry_ns > control->now_ns || control->phase != WEIR_PHASE_NONE)
        return;
    partition->control.retry_ns = 0;
    partition->control.stood = -1; /* it is asked anew where to begin */
    partition->control.seek_first = true;
    weir_control_move(partition, has_epoch(partition) ? WEIR_CONTROL_SEEK : WEIR_CONTROL_READ);
}

void weir_control_rebalance(struct weir_control *control)
{
    if (control->phase == WEIR_PHASE_ASSIGN)
        answer_assign(control);
    else if (control->phase != WEIR_PHASE_NONE)
        revoke(control);
    WEIR_EACH_PARTITION (partition, control) {
        if (!weir_control_is_assigned(partition))
            continue;
        switch ((enum weir_control_state)partition->control.state) {
        case WEIR_CONTROL_ASK:
            weir_control_hear(control, partition);
            break;
        case WEIR_CONTROL_BEGIN:
            begin(control, partition);
            break;
        case WEIR_CONTROL_OPEN:
            take_trouble(control, partition);
            break;
        case WEIR_CONTROL_DRAIN:
            if (!partition->control.in_event)
                reset(control, partition);
            break;
        case WEIR_CONTROL_FAILED:
            look_at_failed(control, partition);
            break;
        default:
            break;
        }
    }
    weir_control_request(control);
}
