/*
 * The partition actor: its turn, what other threads ask of it, its life. See partition.h for its parts.
 *
 * A turn, in this order: take the order; take the mail (what runs have finished returns credit); start what was parked;
 * end data of keys; pull within the credit, and hand it out; serve suspects; tell the commit what was finished, and
 * only then see whether an order is fulfilled, since control asks for the last commit of an epoch when it is; answer a
 * request for a snapshot; publish the gauges.
 */
#include "actors/partition.h"
#include "actors/batch.h"
#include "actors/consumer.h"
#include "actors/output.h"
#include "runtime/check.h"
#include "runtime/log.h"
#include "runtime/memory.h"
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

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

void weir_partition_warn(struct weir_partition *partition, const char *what, int64_t offset, const char *why)
{
    if (!weir_partition_log_is_due(partition))
        return;
    char number[16];
    struct weir_log_field fields[2];
    weir_log(WEIR_LOG_WARN, weir_partition_fields(partition, number, fields), 2, "%s, offset %lld: %s", what,
             (long long)offset, why);
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

uint8_t weir_partition_class(const struct weir_partition *partition, const char *name)
{
    const struct weir_consumer *consumer = partition->consumer;
    for (uint8_t index = 0; name && index < consumer->class_count; index++) {
        if (strcmp(consumer->classes[index], name) == 0)
            return index + 1;
    }
    return 0;
}

bool weir_partition_abandons(const struct weir_partition *partition)
{
    const struct weir_options *options = partition->consumer->options;
    return options->later_deadline_ms > 0 && options->later_policy == WEIR_LATER_ABANDON;
}

bool weir_partition_has_batches(const struct weir_partition *partition)
{
    return partition->consumer->batch_handler != NULL;
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

void weir_partition_report(struct weir_delivery *delivery, enum weir_kafka_error error)
{
    delivery->error = error;
    weir_resident_send(&delivery->partition->resident, &delivery->mail);
}

bool weir_partition_may_start(const struct weir_partition *partition, const struct weir_message *message,
                              const struct weir_worker *worker)
{
    const struct weir_consumer *consumer = partition->consumer;
    /* A run that is under way as a round is closed ends early; only a hint, see partition_suspect.c. */
    if (consumer->journal && message->crashes == 0 &&
        atomic_load_explicit(&consumer->alone_round, memory_order_relaxed) != 0)
        return false;
    if (weir_partition_is_escalated(partition))
        return false;
    if (consumer->breaks && message->passes == WEIR_PASSES_NOTHING &&
        weir_partition_breaker(partition) != WEIR_BREAKER_STATE_CLOSED)
        return false; /* a run that is under way as it opens ends early */
    /* The epoch last: it never opens again, while the lease, once the partition has been lost, is nobody's any more. */
    return weir_consumer_lease_holds(consumer, weir_worker_now_ns(worker)) &&
           atomic_load_explicit(&partition->open_epoch, memory_order_acquire) == message->epoch;
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

/* ---- the turn ---- */

/* What was given out for long is in no cache any more, nor is what stands around it. It is asked for while the mails
 * before it are acted upon, each step when the one before has brought what it needs: the message or key in which the
 * mail lies, behind what is read first; of an answer what its message points to; and the key's place in the table. */
static void prefetch_itself(const struct weir_mail *mail)
{
    const char *end = (const char *)mail;
    if (!mail)
        return;
    __builtin_prefetch(end - 64);
    __builtin_prefetch(end - 128);
}

static const struct weir_message *answered(const struct weir_mail *mail)
{
    return mail && mail->kind == WEIR_MAIL_ANSWER ? WEIR_CONTAINER(mail, struct weir_message, mail) : NULL;
}

static void prefetch_around(const struct weir_mail *mail)
{
    const struct weir_message *message = answered(mail);
    if (!message)
        return;
    const char *key = (const char *)message->owner;
    __builtin_prefetch(key);
    __builtin_prefetch(key + 64);
    __builtin_prefetch(key + 128);
    __builtin_prefetch(message->before);
    __builtin_prefetch(message->after);
    __builtin_prefetch(message->native);
}

static void prefetch_place(const struct weir_partition *partition, const struct weir_mail *mail)
{
    const struct weir_message *message = answered(mail);
    if (message && message->owner)
        weir_key_table_prefetch(&partition->keys, message->owner->hash);
}

static void prefetch(const struct weir_partition *partition, const struct weir_mail *next)
{
    const struct weir_mail *second = next ? next->next : NULL;
    prefetch_itself(second ? second->next : NULL);
    prefetch_around(second);
    prefetch_place(partition, next);
}

static void take_mail(struct weir_partition *partition)
{
    for (struct weir_mail *mail = weir_mailbox_take(&partition->resident.mailbox), *next; mail; mail = next) {
        next = mail->next;
        prefetch(partition, next);
        switch (mail->kind) {
        case WEIR_MAIL_KEY:
            weir_partition_take_key(partition, WEIR_CONTAINER(mail, struct weir_key, mail));
            break;
        case WEIR_MAIL_ANSWER:
            weir_partition_take_answer(partition, WEIR_CONTAINER(mail, struct weir_message, mail));
            break;
        case WEIR_MAIL_LETTER:
            weir_partition_take_letter(partition, WEIR_CONTAINER(mail, struct weir_failure, letter.mail)->message);
            break;
        case WEIR_MAIL_OUTPUT:
            weir_partition_take_output(partition, WEIR_CONTAINER(mail, struct weir_emission, delivery.mail));
            break;
        case WEIR_MAIL_DATA:
            weir_partition_take_data(partition, WEIR_CONTAINER(mail, struct weir_key_data, mail));
            break;
        case WEIR_MAIL_BATCH:
            weir_batch_take(WEIR_CONTAINER(mail, struct weir_batch, mail));
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

static uint64_t pulled_ns(const struct weir_partition *partition, const struct weir_message *message)
{
    uint64_t now_ns = weir_worker_now_ns(partition->resident.home);
    uint64_t age_ns = (uint64_t)weir_ms_since(message->pulled_ms, now_ns) * 1000000;
    return age_ns < now_ns ? now_ns - age_ns : 1;
}

static void publish(struct weir_partition *partition)
{
    const struct weir_tracker *tracker = &partition->tracker;
    int64_t floor = weir_tracker_floor(tracker);
    set_gauge(&partition->gauges.epoch, partition->epoch);
    set_gauge(&partition->gauges.in_flight, tracker->count);
    set_gauge(&partition->gauges.in_flight_bytes, weir_partition_bytes(partition));
    set_gauge(&partition->gauges.held, partition->held);
    set_gauge(&partition->gauges.gap, (uint64_t)(tracker->next - floor) - tracker->count);
    set_gauge(&partition->gauges.key_actors, partition->key_count - partition->idle.count);
    set_gauge(&partition->gauges.key_states, partition->datas.count);
    set_gauge(&partition->gauges.key_state_bytes, partition->datas.bytes);
    set_gauge(&partition->gauges.out, weir_partition_out(partition));
    set_gauge(&partition->gauges.running, partition->out_count + partition->later.count);
    set_gauge(&partition->gauges.dlq_pending, partition->dlq_pending);
    set_gauge(&partition->gauges.oldest_pulled_ns, tracker->head ? pulled_ns(partition, tracker->head) : 0);
    set_gauge(&partition->gauges.stragglers, partition->stragglers);
    atomic_store_explicit(&partition->gauges.next, tracker->next, memory_order_relaxed);
    atomic_store_explicit(&partition->gauges.floor, floor, memory_order_relaxed);
    atomic_store_explicit(&partition->gauges.pause, partition->pause, memory_order_relaxed);
}

uint64_t weir_partition_out(const struct weir_partition *partition)
{
    return partition->out_count + partition->leaving.count + weir_partition_ends_data(partition);
}

/* Tell the budget and the commit what was finished in this turn. */
static void account(struct weir_partition *partition)
{
    if (partition->successes > 0)
        weir_budget_earn(&partition->topic->budget, partition->successes);
    partition->successes = 0;
    const struct weir_options *options = partition->consumer->options;
    bool exactly_once = options->delivery == WEIR_EXACTLY_ONCE;
    uint64_t finished =
        exactly_once ? partition->enrolled - partition->enrolled_told : partition->finished - partition->finished_told;
    if (finished > 0) {
        partition->finished_told = partition->finished;
        partition->enrolled_told = partition->enrolled;
        uint64_t limit = exactly_once ? options->transaction_messages_max : options->commit_messages_max;
        uint64_t before =
            atomic_fetch_add_explicit(&partition->consumer->finished_uncommitted, finished, memory_order_relaxed);
        if (limit > 0 && before < limit && before + finished >= limit)
            weir_resident_notify(&partition->consumer->control.resident);
    }
    if (!partition->changed)
        return;
    partition->changed = false;
    if (!atomic_exchange_explicit(&partition->dirty, true, memory_order_acq_rel) &&
        options->delivery == WEIR_AT_MOST_ONCE)
        weir_resident_notify(&partition->consumer->control.resident); /* handlers wait for this commit */
}

static void turn(struct weir_actor *actor, struct weir_worker *worker)
{
    struct weir_partition *partition = WEIR_CONTAINER(actor, struct weir_partition, resident.actor);
    weir_partition_take_order(partition);
    take_mail(partition);
    if (weir_partition_is_exactly_once(partition))
        weir_partition_take_result(partition);
    if (partition->parked.count > 0)
        weir_partition_serve_parked(partition);
    if (partition->leaving.count > 0)
        weir_partition_serve_leaving(partition);
    bool more = partition->state == WEIR_PARTITION_ACTIVE && weir_partition_pull(partition);
    if (more && weir_partition_credit(partition) > 0)
        weir_resident_notify(&partition->resident);
    if (partition->consumer->journal)
        weir_partition_serve_suspects(partition);
    account(partition);
    weir_partition_check_order(partition);
    weir_partition_answer_snapshot(partition);
    publish(partition);
    if (partition->consumer->journal)
        weir_partition_tell_quiet(partition);
}

/* Once a second: what trusts no edge. */
static void sweep(struct weir_timer *timer)
{
    struct weir_partition *partition = WEIR_CONTAINER(timer, struct weir_partition, sweep);
    weir_timers_arm(weir_worker_timers(partition->resident.home), timer,
                    weir_worker_now_ns(partition->resident.home) + WEIR_PARTITION_SWEEP_NS);
    weir_partition_sweep_finish(partition);
    weir_partition_sweep_data(partition);
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
    partition->level = topic->level;
    partition->leader_epoch = -1;
    partition->pull_next = WEIR_PULL_MIN;
    partition->suspect_last = -1;
    atomic_init(&partition->committed, -1);
    atomic_init(&partition->log_end, -1);
    atomic_init(&partition->map_room, (uint32_t)consumer->options->commit_map_bytes_max);
    partition->pause = WEIR_PAUSE_REVOKE;
    weir_timer_init(&partition->sweep, sweep);
    weir_resident_init(&partition->resident, home, turn, 0, 0);
    weir_resident_set_level(&partition->resident, partition->level);
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
    weir_partition_take_result(partition);
    weir_timers_cancel(weir_worker_timers(partition->resident.home), &partition->sweep);
    weir_partition_end_data_here(partition);
    if (partition->stragglers > 0 || partition->orphans > 0)
        return false;
    weir_later_quiesce(); /* whoever has sent the last answer may still be about to wake this actor */
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
