/* Filters: see filter.h. */
#include "actors/filter.h"
#include "actors/consumer.h"
#include "actors/key_data.h"
#include "actors/partition.h"
#include "runtime/check.h"
#include "runtime/memory.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define MS_NS        UINT64_C(1000000)
#define DELAY_MS_MAX (60 * 60 * 1000) /* of one wait; then it is judged again: a clock may have been set */
#define NEAR_NS      (100 * MS_NS)
#define NUMBER_SIZE  20
#define REASON_SIZE  128

/* ---- what the headers say ---- */

/* The whole value as a number, with a sign perhaps; false if it is none. */
static bool read_number(struct weir_message *message, const char *name, int64_t *number)
{
    size_t size = 0;
    const char *value = weir_message_header(message, name, &size);
    bool negative = value && size > 0 && *value == '-';
    if (!value || size == negative || size > NUMBER_SIZE)
        return false;
    uint64_t sum = 0;
    for (size_t index = negative; index < size; index++) {
        if (value[index] < '0' || value[index] > '9' || sum > INT64_MAX / 10)
            return false;
        sum = sum * 10 + (uint64_t)(value[index] - '0');
    }
    if (sum > INT64_MAX)
        return false;
    *number = negative ? -(int64_t)sum : (int64_t)sum;
    return true;
}

static bool has_header(const struct weir_filter *filter, struct weir_message *message)
{
    size_t size = 0;
    const void *value = weir_message_header(message, filter->header_name, &size);
    bool same = value && size == strlen(filter->header_value) && memcmp(value, filter->header_value, size) == 0;
    return same != filter->header_differs;
}

/* ---- verdicts ---- */

static bool leave_out(struct weir_message *message, enum weir_filtered why, bool dies, const char *reason,
                      enum weir_outcome *outcome)
{
    message->filtered = why;
    *outcome = dies ? weir_dead(message, reason) : WEIR_SKIP;
    return false;
}

static bool delay(struct weir_message *message, uint64_t delay_ms, enum weir_outcome *outcome)
{
    message->delay_ms = (uint32_t)(delay_ms < DELAY_MS_MAX ? delay_ms : DELAY_MS_MAX);
    *outcome = WEIR_OUTCOME_DELAYED;
    return false;
}

static bool is_in_time(const struct weir_filter *filter, struct weir_message *message, int64_t wall_ms,
                       enum weir_outcome *outcome)
{
    if (message->timestamp_ms < 0 || message->timestamp_ms >= wall_ms) /* it has none, or a clock is ahead of ours */
        return true;
    int64_t age_ms = wall_ms - message->timestamp_ms;
    if ((uint64_t)age_ms <= filter->ttl_ms)
        return true;
    char reason[REASON_SIZE];
    snprintf(reason, sizeof reason, "expired: %" PRId64 " ms old (weir.filter.ttl.ms=%" PRIu64 ")", age_ms,
             filter->ttl_ms);
    return leave_out(message, WEIR_FILTERED_EXPIRED, filter->expired_dies, reason, outcome);
}

static bool has_begun(const struct weir_filter *filter, struct weir_message *message, int64_t wall_ms,
                      enum weir_outcome *outcome)
{
    int64_t begins_ms;
    if (!read_number(message, filter->not_before_header, &begins_ms) || begins_ms <= wall_ms)
        return true;
    return delay(message, (uint64_t)begins_ms - (uint64_t)wall_ms, outcome);
}

/* ---- of the key ---- */

/* What a message that says none has, and those of a key that is not remembered, is nobody's before. */
static bool is_newest(const struct weir_filter *filter, struct weir_message *message, struct weir_key_data *data,
                      enum weir_outcome *outcome)
{
    int64_t version = message->timestamp_ms;
    if (filter->version == WEIR_VERSION_HEADER ? !read_number(message, filter->version_header, &version) : version < 0)
        return true;
    if (data->has_version && version < data->version) {
        char reason[REASON_SIZE];
        snprintf(reason, sizeof reason, "stale: version %" PRId64 ", its key has had %" PRId64, version, data->version);
        return leave_out(message, WEIR_FILTERED_STALE, filter->stale_dies, reason, outcome);
    }
    data->version = version;
    data->has_version = true;
    return true;
}

static uint64_t key_wait_ns(const struct weir_filter *filter, const struct weir_key_data *data, uint64_t now_ns)
{
    struct weir_rate rate = {.interval_ns = filter->key_interval_ns, .burst_ns = filter->burst_ns};
    atomic_init(&rate.due_ns, data ? data->rate_due_ns : 0);
    return weir_rate_wait_ns(&rate, now_ns);
}

static uint64_t key_take_ns(const struct weir_filter *filter, struct weir_key_data *data, uint64_t now_ns)
{
    struct weir_rate rate = {.interval_ns = filter->key_interval_ns, .burst_ns = filter->burst_ns};
    atomic_init(&rate.due_ns, data ? data->rate_due_ns : 0);
    uint64_t wait_ns = weir_rate_take_ns(&rate, now_ns);
    if (data)
        data->rate_due_ns = atomic_load_explicit(&rate.due_ns, memory_order_relaxed);
    return wait_ns;
}

static uint64_t larger(uint64_t left, uint64_t right)
{
    return left > right ? left : right;
}

/* How far ahead a lower priority may have places of the consumer's rate: as far as keeps them from being missed. */
static uint64_t near_ns(const struct weir_rate *all)
{
    uint64_t two_ns = 2 * all->interval_ns, least_ns = two_ns > NEAR_NS ? two_ns : NEAR_NS;
    return least_ns < WEIR_RATE_RESERVE_NS ? least_ns : WEIR_RATE_RESERVE_NS;
}

/* How long a message waits for the consumer's rate if it takes a place now; far too long if it must not. */
static uint64_t wait_for_all_ns(const struct weir_filter *filter, uint64_t now_ns)
{
    struct weir_consumer *consumer = filter->consumer;
    uint64_t wait_ns = weir_rate_wait_ns(&consumer->rate, now_ns);
    if (filter->level == 0 || wait_ns <= near_ns(&consumer->rate))
        return wait_ns;
    bool within_share = weir_rate_wait_ns(&consumer->shares[filter->level], now_ns) == 0;
    return within_share && wait_ns <= 2 * WEIR_RATE_RESERVE_NS ? WEIR_RATE_RESERVE_NS : UINT64_MAX;
}

/* Those far ahead are what the share is for. */
static uint64_t take_of_all_ns(const struct weir_filter *filter, uint64_t now_ns)
{
    struct weir_consumer *consumer = filter->consumer;
    if (filter->level > 0 && weir_rate_wait_ns(&consumer->rate, now_ns) > near_ns(&consumer->rate))
        weir_rate_take_ns(&consumer->shares[filter->level], now_ns);
    return weir_rate_take_ns(&consumer->rate, now_ns);
}

/* When who gets no place asks again. Of a lower priority they do so one by one, since each may find one only now and
 * then: those who came together would all be refused together, and places be missed meanwhile. */
static uint64_t ask_again_ms(const struct weir_filter *filter, struct weir_worker *worker)
{
    uint64_t whole_ms = WEIR_RATE_RESERVE_NS / MS_NS;
    if (filter->level == 0)
        return whole_ms;
    return whole_ms / 4 + weir_random_below(weir_worker_random(worker), whole_ms / 2);
}

/* A place in all three, or none in any: what is far ahead asks again. */
static bool has_place(struct weir_filter *filter, struct weir_message *message, struct weir_key_data *data,
                      struct weir_worker *worker, enum weir_outcome *outcome)
{
    uint64_t now_ns = weir_worker_now_ns(worker);
    if (message->granted) { /* it has waited for its place */
        message->granted = false;
        return true;
    }
    uint64_t wait_ns = larger(wait_for_all_ns(filter, now_ns), weir_rate_wait_ns(&filter->rate, now_ns));
    wait_ns = larger(wait_ns, key_wait_ns(filter, data, now_ns));
    if (wait_ns > WEIR_RATE_RESERVE_NS)
        return delay(message, ask_again_ms(filter, worker), outcome);
    wait_ns = larger(take_of_all_ns(filter, now_ns), weir_rate_take_ns(&filter->rate, now_ns));
    wait_ns = larger(wait_ns, key_take_ns(filter, data, now_ns));
    if (wait_ns == 0)
        return true;
    message->granted = true;
    return delay(message, (wait_ns + MS_NS - 1) / MS_NS, outcome);
}

/* ---- the whole ---- */

static bool is_wanted(const struct weir_filter *filter, struct weir_message *message)
{
    const struct weir_predicate *predicate = &filter->consumer->predicate;
    return (!filter->header_name || has_header(filter, message)) &&
           (!predicate->function || predicate->function(message, predicate->user) != 0);
}

bool weir_filter_passes(struct weir_filter *filter, struct weir_message *message, enum weir_outcome *outcome)
{
    struct weir_worker *worker = weir_worker_current();
    if (!is_wanted(filter, message))
        return leave_out(message, WEIR_FILTERED_OUT, false, NULL, outcome);
    if (filter->ttl_ms > 0 || filter->not_before_header) {
        int64_t wall_ms = weir_worker_wall_ms(worker);
        if (filter->ttl_ms > 0 && !is_in_time(filter, message, wall_ms, outcome))
            return false;
        if (filter->not_before_header && !has_begun(filter, message, wall_ms, outcome))
            return false;
    }
    struct weir_key_data *data = NULL;
    if (weir_filter_keeps(filter) && !(data = weir_key_data_of_run(message))) { /* short of memory: in a while */
        return delay(message, WEIR_RATE_RESERVE_NS / MS_NS, outcome);
    }
    if (filter->version != WEIR_VERSION_NONE && !is_newest(filter, message, data, outcome))
        return false;
    return has_place(filter, message, data, worker, outcome);
}

bool weir_filter_keeps(const struct weir_filter *filter)
{
    return filter->version != WEIR_VERSION_NONE || filter->key_interval_ns > 0;
}

/* ---- life ---- */

/* "name=value" or "name!=value", as weir_option_check_header() has found it. */
static bool copy_header(struct weir_filter *filter, const char *text)
{
    if (*text == '\0')
        return true;
    filter->header_name = weir_memory_copy_text(text);
    if (!filter->header_name)
        return false;
    char *sign = strchr(filter->header_name, '=');
    WEIR_CHECK(sign != NULL);
    filter->header_differs = sign > filter->header_name && sign[-1] == '!';
    sign[filter->header_differs ? -1 : 0] = '\0';
    filter->header_value = sign + 1;
    return true;
}

/* Does it ask for anything? */
static bool is_needed(const struct weir_filter *filter)
{
    return filter->header_name || filter->consumer->predicate.function || filter->ttl_ms > 0 ||
           filter->not_before_header || weir_filter_keeps(filter) || filter->rate.interval_ns > 0 ||
           filter->consumer->rate.interval_ns > 0;
}

int weir_filter_create(struct weir_consumer *consumer, const char *topic, struct weir_filter **filter)
{
    struct weir_options options = *consumer->options;
    weir_config_apply(consumer->config, WEIR_SCOPE_TOPIC, topic, &options);
    struct weir_options own = options; /* the topic's bucket is beside that of all */
    own.rate_messages_per_second = 0;
    weir_config_apply(consumer->config, WEIR_SCOPE_TOPIC, topic, &own);
    struct weir_filter *made = weir_memory_allocate_zeroed(1, sizeof *made);
    if (!made)
        return WEIR_NO_MEMORY;
    made->consumer = consumer;
    made->ttl_ms = options.filter_ttl_ms;
    made->expired_dies = options.filter_expired == WEIR_FILTER_DEAD;
    made->stale_dies = options.filter_stale == WEIR_FILTER_DEAD;
    made->not_before_header = *options.filter_not_before_header ? options.filter_not_before_header : NULL;
    made->version = options.filter_version;
    made->version_header = options.filter_version_header;
    made->level = weir_config_level(consumer->config, topic);
    weir_rate_init(&made->rate, own.rate_messages_per_second, options.rate_burst_ms);
    struct weir_rate key;
    weir_rate_init(&key, options.rate_key_messages_per_second, options.rate_burst_ms);
    made->key_interval_ns = key.interval_ns;
    made->burst_ns = key.burst_ns;
    bool copied = copy_header(made, options.filter_header);
    *filter = made;
    if (copied && is_needed(made))
        return 0;
    weir_filter_destroy(made);
    *filter = NULL;
    return copied ? 0 : WEIR_NO_MEMORY;
}

void weir_filter_destroy(struct weir_filter *filter)
{
    if (!filter)
        return;
    weir_memory_free(filter->header_name);
    weir_memory_free(filter);
}

int weir_consumer_filter(struct weir_consumer *consumer, weir_filter_function *function, void *user,
                         struct weir_error *error)
{
    if (atomic_load(&consumer->started) || consumer->predicate.function)
        return weir_error_set(error, WEIR_STATE,
                              "weir_consumer_filter: once, before weir_consumer_start(); create another consumer");
    if (consumer->batch_handler)
        return weir_error_set(error, WEIR_INVALID,
                              "weir_consumer_filter: the consumer was created with a batch handler, which is not "
                              "filtered for: leave out what is not wanted there");
    if (!function)
        return weir_error_set(error, WEIR_INVALID, "weir_consumer_filter: function is NULL: leave the call out");
    consumer->predicate = (struct weir_predicate){function, user};
    return 0;
}
