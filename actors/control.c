/*
 * The control actor's turn. Runs on the control thread only.
 *
 * A turn: look at the clock (the lease), take Kafka's events, then move what can move: rebalance, commit, closing;
 * last, what is due by the second: lag, the watchdog, the statistics callback.
 *
 * Closing: stop pulling and let what was pulled finish (close.drain.ms.max), commit, leave the group, answer the last
 * REVOKE, wait for handlers that still run. A second weir_consumer_stop() skips the drain.
 */
#include "actors/control.h"
#include "actors/consumer.h"
#include "actors/partition.h"
#include "runtime/check.h"
#include "runtime/log.h"
#include "runtime/memory.h"
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define MS_NS           1000000ull
#define TICK_MS         50
#define EVENTS_PER_TURN 256
#define LAG_MS          5000
#define WATCHDOG_MS     1000
#define REMIND_MS       1000
#define CLOSE_COMMIT_MS 5000
#define CLOSE_FLUSH_MS  5000

#define CLOSE_TRANSACTION_MS 15000 /* after which brokers give an open one up */

/* ---- the clock ---- */

/* The lease: if control has not looked for a third of the session time-out, the process slept, and others may own what
 * we hold. Handlers then start nothing until a commit, which only a member of the group can do, is acknowledged. */
static void look_at_clock(struct weir_control *control)
{
    struct weir_consumer *consumer = control->consumer;
    control->now_ns = weir_worker_refresh_now(control->resident.home);
    if (control->looked_ns > 0 && control->now_ns - control->looked_ns > consumer->lease_ns_max) {
        atomic_store_explicit(&consumer->lease_holds, false, memory_order_release);
        control->commit.all = true;
        control->commit.lease_after = control->commit.sequence;
        weir_control_want_commit(control);
        weir_log(WEIR_LOG_WARN, WEIR_NO_FIELDS,
                 "the process slept for %llu ms: no handler starts until a commit is acknowledged",
                 (unsigned long long)((control->now_ns - control->looked_ns) / MS_NS));
    }
    control->looked_ns = control->now_ns;
    atomic_store_explicit(&consumer->lease_ns, control->now_ns, memory_order_release);
    if (atomic_load_explicit(&consumer->assigned_count, memory_order_relaxed) == 0)
        atomic_store_explicit(&consumer->lease_holds, true, memory_order_release); /* nothing that others could own */
}

/* ---- Kafka's events ---- */

static void on_trouble(struct weir_control *control, const struct weir_kafka_event *event)
{
    bool fatal = event->error == WEIR_KAFKA_FATAL;
    weir_log(fatal ? WEIR_LOG_ERROR : WEIR_LOG_WARN, WEIR_NO_FIELDS, "kafka: %s (%s)", event->text ? event->text : "",
             weir_kafka_error_name(event->error));
    if (fatal)
        weir_control_fail(control, WEIR_KAFKA, event->text ? event->text : "the Kafka client is finished");
}

static void on_event(struct weir_kafka_listener *listener, const struct weir_kafka_event *event)
{
    struct weir_control *control = WEIR_CONTAINER(listener, struct weir_control, listener);
    switch (event->kind) {
    case WEIR_KAFKA_ASSIGN:
        weir_control_on_assign(control, event);
        break;
    case WEIR_KAFKA_REVOKE:
    case WEIR_KAFKA_LOST:
        weir_control_on_revoke(control, event);
        break;
    case WEIR_KAFKA_FETCHED:
        weir_control_on_fetched(control, event);
        break;
    case WEIR_KAFKA_WATERMARKS:
        weir_control_on_watermarks(control, event);
        break;
    case WEIR_KAFKA_SOUGHT:
        weir_control_on_sought(control, event);
        break;
    case WEIR_KAFKA_COMMITTED:
        weir_control_on_committed(control, event);
        break;
    case WEIR_KAFKA_DELIVERED:
        if (control->consumer->options->delivery == WEIR_EXACTLY_ONCE)
            weir_transaction_on_delivered(control, event->opaque, event->error);
        else
            weir_partition_report(event->opaque, event->error);
        break;
    case WEIR_KAFKA_TRANSACTED:
        weir_transaction_on_answer(control, event);
        break;
    case WEIR_KAFKA_TROUBLE:
        on_trouble(control, event);
        break;
    case WEIR_KAFKA_STATISTICS:
        atomic_store_explicit(&control->consumer->fetched_bytes, event->fetched_bytes, memory_order_relaxed);
        break;
    case WEIR_KAFKA_CLOSED:
        control->left = true;
        break;
    }
}

static void on_wake(struct weir_kafka_listener *listener)
{
    weir_resident_notify(&WEIR_CONTAINER(listener, struct weir_control, listener)->resident);
}

/* ---- closing ---- */

void weir_control_fail(struct weir_control *control, enum weir_code code, const char *text)
{
    if (control->close_code == WEIR_OK) {
        control->close_code = code;
        snprintf(control->close_text, sizeof control->close_text, "%s", text);
        weir_log(WEIR_LOG_ERROR, WEIR_NO_FIELDS, "closing: %s", text);
    }
    atomic_fetch_add_explicit(&control->consumer->stop_requests, 2, memory_order_relaxed); /* no drain */
}

/* A handler has stopped the consumer: nothing starts any more, what runs ends, what was finished is committed. */
static void take_escalation(struct weir_control *control)
{
    struct weir_consumer *consumer = control->consumer;
    if (control->close_code != WEIR_OK || !atomic_load_explicit(&consumer->escalated, memory_order_acquire))
        return;
    control->close_code = WEIR_ESCALATED;
    snprintf(control->close_text, sizeof control->close_text, "%s", consumer->escalation);
    weir_log(WEIR_LOG_ERROR, WEIR_NO_FIELDS, "closing: %s", control->close_text);
    WEIR_EACH_PARTITION (partition, control) {
        atomic_store_explicit(&partition->escalated, true, memory_order_relaxed);
        weir_resident_notify(&partition->resident);
    }
    atomic_fetch_add_explicit(&consumer->stop_requests, 1, memory_order_relaxed);
}

/* Has anything been pulled? What failed while it was read may still run what it had. */
static bool has_active_epoch(const struct weir_partition *partition)
{
    return partition->control.state == WEIR_CONTROL_OPEN || partition->control.state == WEIR_CONTROL_SEEK ||
           partition->control.state == WEIR_CONTROL_FAILED;
}

static void begin_closing(struct weir_control *control)
{
    control->closing = WEIR_CLOSING_FINISH;
    control->closing_until_ns = control->now_ns + control->consumer->options->close_drain_ms_max * MS_NS;
    weir_log(WEIR_LOG_INFO, WEIR_NO_FIELDS, "closing: finishing what was pulled");
    WEIR_EACH_PARTITION (partition, control) {
        weir_partition_shut(partition);
        if (has_active_epoch(partition) && partition->control.order == WEIR_ORDER_BEGIN)
            weir_partition_order(partition, WEIR_ORDER_FINISH);
    }
}

static bool all_finished(struct weir_control *control)
{
    WEIR_EACH_PARTITION (partition, control) {
        if (partition->control.order == WEIR_ORDER_FINISH && !weir_partition_order_is_done(partition))
            return false;
    }
    return true;
}

/* What was held, and whose time comes from now on, is not run: the group is about to be left, and the last REVOKE waits
 * for nobody. At most once, what has been committed runs in the drain of that REVOKE, or is lost. */
static void drain_all(struct weir_control *control)
{
    control->closing = WEIR_CLOSING_DRAIN;
    if (control->consumer->options->delivery == WEIR_AT_MOST_ONCE)
        return;
    WEIR_EACH_PARTITION (partition, control) {
        if (partition->control.order != WEIR_ORDER_FINISH)
            continue;
        atomic_store_explicit(&partition->open_epoch, 0, memory_order_release);
        weir_partition_order(partition, WEIR_ORDER_DRAIN);
    }
}

static bool all_drained(struct weir_control *control)
{
    WEIR_EACH_PARTITION (partition, control) {
        if (partition->control.order == WEIR_ORDER_DRAIN && !weir_partition_order_is_done(partition))
            return false;
    }
    return true;
}

static void leave(struct weir_control *control)
{
    struct weir_kafka *kafka = control->consumer->kafka;
    control->closing = WEIR_CLOSING_LEAVE;
    WEIR_EACH_PARTITION (partition, control) { /* nothing is pulled any more, and after a fatal error no REVOKE comes */
        if (partition->queue)
            kafka->ops->queue_close(kafka, partition->queue);
        partition->queue = NULL;
    }
    if (kafka->ops->close(kafka, CLOSE_FLUSH_MS) == 0)
        return;
    weir_log(WEIR_LOG_ERROR, WEIR_NO_FIELDS, "librdkafka refused to close the consumer; leaving without it");
    control->left = true;
}

/* Nothing may be in the run queues when the workers end: their keys could not come back. */
static bool any_run(struct weir_control *control)
{
    WEIR_EACH_PARTITION (partition, control) {
        if (!weir_partition_order_is_done(partition) ||
            atomic_load_explicit(&partition->gauges.out, memory_order_acquire) > 0)
            return true;
    }
    return false;
}

/* CLOSED without a REVOKE before it (a fatal error): end what is left. */
static void end_epochs(struct weir_control *control)
{
    weir_transaction_end(control);
    WEIR_EACH_PARTITION (partition, control) {
        weir_partition_shut(partition);
        atomic_store_explicit(&partition->open_epoch, 0, memory_order_release);
        if (partition->control.order != WEIR_ORDER_END && partition->control.order != WEIR_ORDER_NONE)
            weir_partition_order(partition, WEIR_ORDER_END);
    }
}

static void close_step(struct weir_control *control)
{
    take_escalation(control);
    uint32_t stops = atomic_load_explicit(&control->consumer->stop_requests, memory_order_relaxed);
    bool failed = control->close_code != WEIR_OK && control->close_code != WEIR_ESCALATED;
    bool hurried = stops >= 2;
    if (control->closing == WEIR_CLOSING_NO && stops > 0)
        begin_closing(control);
    if (control->closing == WEIR_CLOSING_FINISH && control->phase == WEIR_PHASE_NONE &&
        (hurried || all_finished(control) || control->now_ns >= control->closing_until_ns))
        drain_all(control);
    if (control->closing == WEIR_CLOSING_DRAIN && control->phase == WEIR_PHASE_NONE &&
        (hurried || all_drained(control) || control->now_ns >= control->closing_until_ns)) {
        control->closing = WEIR_CLOSING_COMMIT;
        control->closing_until_ns = control->now_ns + CLOSE_COMMIT_MS * MS_NS;
        control->closing_wanted = weir_control_want_commit(control);
    }
    if (control->closing == WEIR_CLOSING_COMMIT && control->phase == WEIR_PHASE_NONE &&
        (failed || weir_control_is_served(control, control->closing_wanted) ||
         control->now_ns >= control->closing_until_ns)) {
        weir_transaction_give_up(control);
        if (weir_transaction_is_idle(control) ||
            control->now_ns >= control->closing_until_ns + CLOSE_TRANSACTION_MS * MS_NS)
            leave(control);
    }
    if (control->closing == WEIR_CLOSING_LEAVE && control->left) {
        end_epochs(control);
        control->closing = WEIR_CLOSING_RUNS;
    }
    if (control->closing == WEIR_CLOSING_RUNS && !any_run(control)) {
        control->closing = WEIR_CLOSING_DONE;
        weir_timers_cancel(weir_worker_timers(control->resident.home), &control->tick);
        weir_consumer_set_closed(control->consumer, control->close_code, control->close_text);
    }
}

/* ---- by the second ---- */

static void ask_lag(struct weir_control *control)
{
    if (control->now_ns < control->lag_ns || control->watermarks_tag != 0 || control->phase != WEIR_PHASE_NONE ||
        control->closing != WEIR_CLOSING_NO)
        return;
    control->lag_ns = control->now_ns + LAG_MS * MS_NS;
    weir_offsets_clear(&control->request);
    WEIR_EACH_PARTITION (partition, control) {
        if (partition->control.state == WEIR_CONTROL_OPEN && !weir_offsets_add(&control->request, partition))
            return;
    }
    struct weir_kafka *kafka = control->consumer->kafka;
    uint64_t tag = ++control->tag_next;
    if (control->request.count > 0 &&
        kafka->ops->fetch_watermarks(kafka, control->request.items, control->request.count, tag) == 0)
        control->watermarks_tag = tag;
}

/* Who keeps the offsets is told of standing floors too, as he may have lost a partition to somebody who owned it before
 * and did not know better. Not without the lease: then that somebody may be we. */
static void remind_keeper(struct weir_control *control)
{
    struct weir_consumer *consumer = control->consumer;
    if (!weir_keeper_is_on(&consumer->keeper) || control->now_ns < control->remind_ns ||
        !weir_consumer_lease_holds(consumer, control->now_ns))
        return;
    control->remind_ns = control->now_ns + REMIND_MS * MS_NS;
    WEIR_EACH_PARTITION (partition, control) {
        if (partition->control.state == WEIR_CONTROL_OPEN)
            weir_keeper_remind(partition, partition->control.epoch);
    }
}

static void learn_cluster(struct weir_control *control)
{
    struct weir_consumer *consumer = control->consumer;
    if (atomic_load_explicit(&consumer->cluster_id, memory_order_relaxed))
        return;
    const char *text = consumer->kafka->ops->cluster_id(consumer->kafka);
    char *copy = text ? weir_memory_copy_text(text) : NULL;
    if (copy)
        atomic_store_explicit(&consumer->cluster_id, copy, memory_order_release);
}

/* A handler that runs for very long is named. */
static void watch(struct weir_control *control)
{
    struct weir_consumer *consumer = control->consumer;
    uint64_t limit_ns = consumer->options->handler_warn_ms * MS_NS;
    if (limit_ns == 0 || control->now_ns < control->watchdog_ns)
        return;
    control->watchdog_ns = control->now_ns + WATCHDOG_MS * MS_NS;
    for (unsigned index = 1; index < weir_system_worker_count(consumer->system); index++) {
        const struct weir_worker_stats *stats = weir_worker_stats(weir_system_worker(consumer->system, index));
        uint64_t started_ns = atomic_load_explicit(&stats->turn_started_ns, memory_order_relaxed);
        struct weir_partition *partition =
            atomic_load_explicit(&consumer->running[index].partition, memory_order_relaxed);
        if (!partition || started_ns == 0 || control->now_ns < started_ns + limit_ns)
            continue;
        char number[16];
        struct weir_log_field fields[2];
        weir_log(WEIR_LOG_WARN, weir_partition_fields(partition, number, fields), 2,
                 "worker %u has been in one turn for %llu s; its handler has the message at offset %lld", index - 1,
                 (unsigned long long)((control->now_ns - started_ns) / (1000 * MS_NS)),
                 (long long)atomic_load_explicit(&consumer->running[index].offset, memory_order_relaxed));
    }
}

static void tell_stats(struct weir_control *control)
{
    struct weir_consumer *consumer = control->consumer;
    if (!consumer->observer.callback || control->now_ns < control->stats_ns)
        return;
    control->stats_ns = control->now_ns + consumer->options->stats_interval_ms * MS_NS;
    struct weir_stats stats;
    weir_consumer_stats(consumer, &stats, sizeof stats);
    consumer->observer.callback(&stats, consumer->observer.user);
}

/* ---- the turn ---- */

/* The first turn: join the group, and from now on look every TICK_MS. */
static void join(struct weir_control *control)
{
    struct weir_kafka *kafka = control->consumer->kafka;
    struct weir_error error = {0};
    control->joined = true;
    weir_timers_arm(weir_worker_timers(control->resident.home), &control->tick, control->now_ns + TICK_MS * MS_NS);
    if (kafka->ops->start(kafka, &control->listener, &error) == 0)
        return;
    control->left = true;
    control->closing = WEIR_CLOSING_LEAVE;
    weir_control_fail(control, error.code != WEIR_OK ? error.code : WEIR_KAFKA, error.text);
}

static void turn(struct weir_actor *actor, struct weir_worker *worker)
{
    struct weir_control *control = WEIR_CONTAINER(actor, struct weir_control, resident.actor);
    struct weir_kafka *kafka = control->consumer->kafka;
    if (control->closing == WEIR_CLOSING_DONE)
        return;
    look_at_clock(control);
    if (!control->joined)
        join(control);
    if (!control->left && kafka->ops->poll(kafka, EVENTS_PER_TURN) == EVENTS_PER_TURN)
        weir_resident_notify(&control->resident);
    learn_cluster(control);
    weir_control_rebalance(control);
    weir_control_commit(control);
    weir_control_rebalance(control); /* a commit that had nothing to do may be what a revocation waits for */
    weir_control_guard(control);
    weir_control_break(control);
    close_step(control);
    ask_lag(control);
    remind_keeper(control);
    watch(control);
    weir_control_enforce_deadline(control);
    tell_stats(control);
}

static void tick(struct weir_timer *timer)
{
    struct weir_control *control = WEIR_CONTAINER(timer, struct weir_control, tick);
    weir_timers_arm(weir_worker_timers(control->resident.home), timer,
                    weir_worker_now_ns(control->resident.home) + TICK_MS * MS_NS);
    weir_resident_notify(&control->resident);
}

/* ---- life ---- */

void weir_control_init(struct weir_control *control, struct weir_consumer *consumer)
{
    *control = (struct weir_control){.consumer = consumer, .listener = {on_wake, on_event}};
    weir_resident_init(&control->resident, weir_system_worker(consumer->system, WEIR_WORKER_CONTROL), turn, 0, 0);
    weir_timer_init(&control->tick, tick);
    weir_control_breaker_init(control);
}

void weir_control_deinit(struct weir_control *control)
{
    weir_memory_free(control->request.items);
    weir_memory_free(control->commit.offsets.items);
}

void weir_control_start(struct weir_control *control)
{
    weir_resident_notify(&control->resident);
}
