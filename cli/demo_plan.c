/*
 * The demo's plan: which orders there are, in which order, for which keys, and which of them fail.
 *
 * Keys are drawn by a Zipf distribution: the hottest key sets the pace at which all can be handled, because its orders
 * come one at a time. The load is sized by it. All follows from the seed.
 *
 * Thread: main makes it; after that it is constant, but for the offsets that delivery reports write.
 */
#include "cli/demo.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SKEW            0.5  /* exponent of the Zipf distribution */
#define RATE_MAX        9000 /* messages a second that a small machine does beside all else of the demo */
#define MESSAGES_MIN    100
#define MESSAGES_MAX    200000
#define SETUP_SECONDS   7                  /* joining the group before, reading back after */
#define PARTITION_BYTES (4u * 1024 * 1024) /* the mock broker forgets beyond 5 MiB, without a word */
#define POISON_ONE_IN   2000
#define FAILING_ONE_IN  50

uint64_t weir_demo_mix(uint64_t seed, uint64_t number)
{
    uint64_t hash = seed + (number + 1) * 0x9e3779b97f4a7c15u; /* splitmix64 */
    hash = (hash ^ (hash >> 30)) * 0xbf58476d1ce4e5b9u;
    hash = (hash ^ (hash >> 27)) * 0x94d049bb133111ebu;
    return hash ^ (hash >> 31);
}

uint64_t weir_demo_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void weir_demo_sleep_until_ns(uint64_t due_ns)
{
    struct timespec due = {.tv_sec = (time_t)(due_ns / 1000000000u), .tv_nsec = (long)(due_ns % 1000000000u)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL) == EINTR)
        continue;
}

/* The distribution as a running sum of weights; its last element is the whole. NULL where memory is short. */
static double *distribution(uint32_t keys)
{
    double *sums = malloc(keys * sizeof *sums);
    double sum = 0;
    for (uint32_t key = 0; key < keys && sums; key++) {
        sum += pow(key + 1, -SKEW);
        sums[key] = sum;
    }
    return sums;
}

static uint32_t draw(const double *sums, uint32_t keys, uint64_t random)
{
    double point = (double)(random >> 11) * 0x1p-53 * sums[keys - 1];
    uint32_t low = 0, high = keys - 1;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (sums[middle] > point)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* As many as the hottest key and the machine allow in the time. */
static uint32_t messages_for(double seconds, double hottest_share)
{
    double rate = 1000.0 / (DEMO_LATENCY_MS + 2) / hottest_share * 0.8;
    double messages = seconds * (rate < RATE_MAX ? rate : RATE_MAX);
    return messages < MESSAGES_MIN ? MESSAGES_MIN : messages > MESSAGES_MAX ? MESSAGES_MAX : (uint32_t)messages;
}

static int fail(struct weir_error *error, enum weir_code code, const char *text)
{
    error->code = code;
    snprintf(error->text, sizeof error->text, "%s", text);
    return code;
}

static int check_sizes(const struct weir_demo_plan *plan, struct weir_error *error)
{
    for (int partition = 0; partition < DEMO_PARTITIONS; partition++) {
        uint64_t bytes = (uint64_t)plan->partition_count[partition] * (DEMO_VALUE_SIZE_MAX + 24);
        if (bytes <= PARTITION_BYTES)
            continue;
        snprintf(error->text, sizeof error->text,
                 "partition %d would get %u messages: the embedded broker keeps 4 MiB of a partition; "
                 "take fewer --messages or more --keys",
                 partition, plan->partition_count[partition]);
        return error->code = WEIR_INVALID;
    }
    return 0;
}

static void fill(struct weir_demo_plan *plan, const double *sums, uint32_t *sequences)
{
    for (uint32_t id = 0; id < plan->count; id++) {
        struct weir_demo_order *order = &plan->orders[id];
        order->key = draw(sums, plan->keys, weir_demo_mix(plan->seed, id));
        order->sequence = sequences[order->key]++;
        order->partition = (int32_t)(weir_demo_mix(plan->seed + 1, order->key) % DEMO_PARTITIONS);
        atomic_init(&order->offset, -1);
        plan->partition_count[order->partition]++;
    }
}

int weir_demo_plan_init(struct weir_demo_plan *plan, const struct weir_demo_options *options, struct weir_error *error)
{
    *plan = (struct weir_demo_plan){.keys = options->keys, .seed = options->seed};
    plan->run_seconds = options->seconds > SETUP_SECONDS + 2 ? options->seconds - SETUP_SECONDS : 2;
    double *sums = distribution(plan->keys);
    uint32_t *sequences = calloc(plan->keys, sizeof *sequences);
    if (sums) {
        plan->count = options->messages ? options->messages : messages_for(plan->run_seconds, 1 / sums[plan->keys - 1]);
        plan->orders = malloc(plan->count * sizeof *plan->orders);
    }
    int code = 0;
    if (sums && sequences && plan->orders) {
        fill(plan, sums, sequences);
        code = check_sizes(plan, error);
    } else {
        code = fail(error, WEIR_NO_MEMORY, "memory is too short for the demo's plan");
    }
    free(sums);
    free(sequences);
    return code;
}

void weir_demo_plan_deinit(struct weir_demo_plan *plan)
{
    free(plan->orders);
    plan->orders = NULL;
}

uint32_t weir_demo_failures(const struct weir_demo_plan *plan, uint32_t id)
{
    uint64_t hash = weir_demo_mix(plan->seed + 2, id);
    if (hash % POISON_ONE_IN == 0 || id == plan->count / 2) /* one at least, however few there are */
        return UINT32_MAX;
    return hash % FAILING_ONE_IN == 1 ? 1 + (uint32_t)(hash >> 32) % 2 : 0;
}

int64_t weir_demo_order_id(const struct weir_demo_plan *plan, const void *value, size_t size)
{
    static const char opening[] = "{\"order\":";
    const char *text = value;
    size_t at = sizeof opening - 1;
    if (!text || size <= at || memcmp(text, opening, at) != 0)
        return -1;
    int64_t id = 0;
    size_t digits = at;
    for (; at < size && text[at] >= '0' && text[at] <= '9' && at - digits < 10; at++)
        id = id * 10 + (text[at] - '0');
    return at > digits && at < size && text[at] == ',' && id < plan->count ? id : -1;
}
