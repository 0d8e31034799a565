/*
 * Priorities between topics: who goes first and what share the others keep, counted; how long a message of a high
 * priority waits behind a backlog of a low one, in virtual time; and that a topic which cannot go on holds up nobody.
 * Each run of a handler takes virtual time. What may go wrong is in priority_seeds.c.
 */
#include "actors/consumer.h"
#include "tests/sim/consumer_own.h"
#include "tests/support/test.h"
#include "tests/support/world_batches.h"
#include <stdlib.h>
#include <string.h>
#include <weir/log.h>

#define SECOND WEIR_WORLD_SECOND
#define MS     (SECOND / 1000)

enum { KEYS = 800, STARTS_MAX = 40000, PROBES_MAX = 1000 };
enum { HIGH, MIDDLE, LOW, TOPICS };

static const char *const topics[TOPICS] = {"high", "middle", "low"};

static struct {
    struct weir_world *world;
    uint64_t run_ns;
    uint8_t starts[STARTS_MAX]; /* of which topic */
    unsigned count, counts[TOPICS];
    unsigned low_keys;
    unsigned let_high_come_at, high_came_at; /* number of a run of the low topic; and of all when that had happened */
    uint64_t sent_ns[PROBES_MAX], waited_ns[PROBES_MAX]; /* of probes, by their offset */
    unsigned probes;
    struct weir_world_process *process;
    struct weir_later kept[STARTS_MAX];
    uint64_t kept_runs[STARTS_MAX];
    unsigned kept_count;
    bool keeps_high;
    enum weir_outcome of_high;
} play;

static uint64_t now_ns(void)
{
    return weir_simulation_now_ns(weir_world_simulation(play.world));
}

static unsigned topic_of(const struct weir_message *message)
{
    unsigned topic = 0;
    while (strcmp(weir_message_topic(message), topics[topic]) != 0)
        topic++;
    return topic;
}

static void let_high_come(void);

static enum weir_outcome handle(struct weir_message *message, void *user)
{
    unsigned topic = topic_of(message);
    int64_t offset = weir_message_offset(message);
    uint64_t run;
    play.process = user;
    weir_own_begin(message, user, &run);
    cr_assert_lt(play.count, (unsigned)STARTS_MAX);
    play.starts[play.count++] = (uint8_t)topic;
    play.counts[topic]++;
    if (topic == HIGH && offset < PROBES_MAX && play.sent_ns[offset] > 0) {
        play.waited_ns[offset] = now_ns() - play.sent_ns[offset];
        play.probes++;
    }
    if (topic == HIGH && play.keeps_high) {
        play.kept_runs[play.kept_count] = run;
        play.kept[play.kept_count++] = weir_message_later(message);
        return WEIR_LATER;
    }
    if (topic == LOW && play.counts[LOW] == play.let_high_come_at)
        let_high_come();
    weir_simulation_advance(weir_world_simulation(play.world), play.run_ns);
    enum weir_outcome outcome = topic == HIGH ? play.of_high : WEIR_ACK;
    weir_world_end(user, run, outcome);
    return outcome;
}

struct scene {
    const char *const *options;
    int32_t partitions;
    unsigned workers, pool_threads, short_percent;
    uint64_t seed;
    unsigned low_keys; /* of the low topic; 0: as many as of others */
    bool is_near;      /* the brokers answer at once, with much: what runs is never waited for */
};

static struct weir_fake_settings near_brokers(void)
{
    struct weir_fake_settings settings = weir_fake_settings_default();
    settings.latency_ns_min = settings.latency_ns_max = 1000;
    settings.fetch_messages_max = 500;
    settings.queued_messages_max = 4000;
    return settings;
}

static void make(struct scene scene)
{
    static struct weir_own own;
    own = (struct weir_own){handle, scene.options};
    memset(&play, 0, sizeof play);
    play.run_ns = MS;
    play.low_keys = scene.low_keys ? scene.low_keys : KEYS;
    weir_log_set(NULL, NULL, WEIR_LOG_ERROR);
    static struct weir_fake_settings near;
    near = near_brokers();
    play.world = weir_world_create(&(struct weir_world_settings){.seed = scene.seed ? scene.seed : 7,
                                                                 .cluster = scene.is_near ? &near : NULL,
                                                                 .topics = "high,middle,low",
                                                                 .partitions = scene.partitions ? scene.partitions : 1,
                                                                 .keys = KEYS,
                                                                 .workers = scene.workers ? scene.workers : 1,
                                                                 .pool_threads = scene.pool_threads,
                                                                 .short_percent = scene.short_percent,
                                                                 .driver = &weir_own_driver,
                                                                 .driver_data = &own});
}

static void send(unsigned topic, unsigned count)
{
    int32_t partitions = weir_world_settings(play.world)->partitions;
    unsigned keys = topic == LOW && play.low_keys > 0 ? play.low_keys : KEYS;
    for (unsigned index = 0; index < count; index++)
        weir_world_append(play.world, topics[topic], (int32_t)(index % (unsigned)partitions), (int)(index % keys));
}

static void finish(void)
{
    cr_assert(weir_world_run_until_finished(play.world, 900 * SECOND));
    cr_assert(weir_world_close(play.world, 60 * SECOND));
    struct weir_world_verdict verdict = weir_world_verdict(play.world);
    cr_assert(verdict.ok, "%s", verdict.text);
    cr_assert_gt(verdict.checked, 0u);
    weir_world_destroy(play.world);
}

/* Of the starts number `from` to below `to`. */
static unsigned count(unsigned topic, unsigned from, unsigned to)
{
    unsigned sum = 0;
    for (unsigned index = from; index < to && index < play.count; index++)
        sum += play.starts[index] == topic;
    return sum;
}

#define expect_share(topic, from, to, low, high)                                                                  \
    do {                                                                                                          \
        unsigned count_ = count(topic, from, to);                                                                 \
        cr_assert_geq(play.count, (unsigned)(to));                                                                \
        cr_assert(count_ >= (low) && count_ <= (high), "%u of %u starts were of topic %s", count_, (to) - (from), \
                  topics[topic]);                                                                                 \
    } while (0)

static struct weir_partition_stats stats(unsigned topic)
{
    struct weir_partition_stats all[16];
    size_t known = weir_consumer_partition_stats(weir_own_consumer(), all, sizeof all[0], 16);
    for (size_t index = 0; index < known; index++)
        if (strcmp(all[index].topic, topics[topic]) == 0 && all[index].partition == 0)
            return all[index];
    cr_assert_fail("no partition of %s", topics[topic]);
    return all[0];
}

#define TWO   "weir.topic.high.priority", "1"
#define THREE "weir.topic.high.priority", "7", "weir.topic.middle.priority", "3"

/* ---- shares ---- */

static void check_shares(struct scene scene, unsigned percent)
{
    make(scene);
    send(LOW, 4000);
    send(HIGH, 4000);
    weir_world_start(play.world);
    finish();
    /* While both wait: not the first, when both topics have just been found. */
    unsigned due = 30 * percent;
    expect_share(LOW, 500, 3500, due - due / 10 - 2, due + due / 10 + 2);
    cr_assert_eq(play.counts[HIGH] + play.counts[LOW], 8000u);
}

Test(priority, leaves_a_lower_topic_its_share_and_no_more)
{
    static const char *const ten[] = {TWO, NULL};
    static const char *const one[] = {TWO, "weir.priority.share.percent", "1", NULL};
    static const char *const half[] = {TWO, "weir.priority.share.percent", "50", NULL};
    check_shares((struct scene){ten}, 10);
    check_shares((struct scene){one}, 1);
    check_shares((struct scene){half}, 50);
}

Test(priority, leaves_the_same_share_with_more_partitions_and_workers)
{
    static const char *const ten[] = {TWO, NULL};
    check_shares((struct scene){ten, .partitions = 4}, 10);
    check_shares((struct scene){ten, .partitions = 4, .workers = 2}, 10);
    check_shares((struct scene){ten, .partitions = 4, .workers = 3}, 10);
}

Test(priority, leaves_the_same_share_of_threads_that_may_block)
{
    static const char *const ten[] = {TWO, NULL};
    static const char *const quarter[] = {TWO, "weir.priority.share.percent", "25", NULL};
    check_shares((struct scene){ten, .pool_threads = 4}, 10);
    check_shares((struct scene){quarter, .partitions = 4, .workers = 2, .pool_threads = 3}, 25);
}

/* Where handlers count as short their partition's turn runs them, without a queue in which they could be put in order.
 */
Test(priority, leaves_the_same_share_where_handlers_run_at_once)
{
    static const char *const ten[] = {TWO, NULL};
    check_shares((struct scene){ten, .short_percent = 100}, 10);
    check_shares((struct scene){ten, .partitions = 4, .workers = 2, .short_percent = 50}, 10);
}

/* The lower topic's turns have up to 64 messages each, the others' one. */
Test(priority, counts_runs_and_not_turns)
{
    static const char *const ten[] = {TWO, NULL};
    make((struct scene){ten, .is_near = true});
    play.run_ns = 5000; /* a turn ends with its time otherwise */
    for (unsigned index = 0; index < 4000; index++)
        weir_world_append(play.world, "low", 0, (int)(index / 200));
    send(HIGH, 4000);
    weir_world_start(play.world);
    finish();
    expect_share(LOW, 500, 3500, 230, 370);
}

Test(priority, leaves_each_of_several_lower_topics_its_share)
{
    static const char *const three[] = {THREE, NULL};
    make((struct scene){three});
    send(LOW, 4000);
    send(MIDDLE, 4000);
    send(HIGH, 4000);
    weir_world_start(play.world);
    finish();
    expect_share(HIGH, 500, 4500, 3150u, 3250u);
    expect_share(MIDDLE, 500, 4500, 370u, 430u);
    expect_share(LOW, 500, 4500, 370u, 430u);
    expect_share(MIDDLE, 6000, 7500, 1300u, 1400u); /* the rest of it, when the high one is done */
    cr_assert_eq(count(HIGH, 6000, play.count), 0u);
}

/* Batches of all partitions: none mixes priorities. */
static unsigned mixed, batches;

static enum weir_outcome on_batch(struct weir_batch *batch, void *user)
{
    enum weir_outcome outcomes[WEIR_WORLD_BATCH_MAX];
    uint64_t runs[WEIR_WORLD_BATCH_MAX];
    weir_world_begin_batch(user, batch, outcomes, runs);
    unsigned first = topic_of(weir_batch_message(batch, 0));
    for (size_t index = 0; index < weir_batch_count(batch); index++) {
        mixed += topic_of(weir_batch_message(batch, index)) != first;
        weir_batch_set(batch, index, WEIR_ACK);
        weir_world_end(user, runs[index], WEIR_ACK);
    }
    play.starts[play.count++] = (uint8_t)first;
    batches++;
    weir_simulation_advance(weir_world_simulation(play.world), MS);
    return WEIR_ACK;
}

static void *create_batches(struct weir_world_process *process)
{
    static const char *const options[] = {TWO, "weir.batch.scope", "any", "weir.batch.messages.max", "20", NULL};
    return weir_world_consumer_create(process, NULL, on_batch, options);
}

Test(priority, does_not_mix_topics_in_a_batch_and_leaves_a_share_of_batches)
{
    static struct weir_world_driver driver;
    driver = weir_own_driver;
    driver.create = create_batches;
    memset(&play, 0, sizeof play);
    mixed = batches = 0;
    weir_log_set(NULL, NULL, WEIR_LOG_ERROR);
    struct weir_fake_settings near = near_brokers();
    play.world = weir_world_create(&(struct weir_world_settings){.seed = 3,
                                                                 .cluster = &near,
                                                                 .topics = "high,middle,low",
                                                                 .partitions = 2,
                                                                 .keys = KEYS,
                                                                 .workers = 1,
                                                                 .driver = &driver});
    send(LOW, 12000);
    send(HIGH, 12000);
    weir_world_start(play.world);
    finish();
    cr_assert_geq(batches, 1200u);
    cr_assert_eq(mixed, 0u);
    expect_share(LOW, 50, 450, 30u, 50u);
}

/* ---- a high one comes late ---- */

struct waits {
    uint64_t mean_ns, longest_ns;
};

/* A backlog of the low topic; then a message of the high one each 20 ms. */
static struct waits probe(struct scene scene)
{
    enum { PROBES = 100 };
    make(scene);
    send(LOW, 8000);
    weir_world_start(play.world);
    weir_world_run(play.world, 2 * SECOND);
    cr_assert_gt(play.counts[LOW], 500u, "the backlog is not being worked on");
    for (unsigned index = 0; index < PROBES; index++) {
        play.sent_ns[index] = now_ns();
        weir_world_append(play.world, "high", 0, (int)index);
        weir_world_run(play.world, 20 * MS);
    }
    cr_assert_lt(play.counts[LOW], 8000u, "the backlog is over before the last has been sent");
    finish();
    cr_assert_eq(play.probes, (unsigned)PROBES);
    struct waits waits = {0};
    for (unsigned index = 0; index < PROBES; index++) {
        waits.mean_ns += play.waited_ns[index] / PROBES;
        waits.longest_ns = play.waited_ns[index] > waits.longest_ns ? play.waited_ns[index] : waits.longest_ns;
    }
    return waits;
}

/* To be fetched takes up to 6 ms, a run 1 ms. */
static void check_waits(struct scene scene, const char *what)
{
    static const char *const with[] = {TWO, NULL};
    scene.options = NULL;
    struct waits without = probe(scene);
    scene.options = with;
    struct waits waits = probe(scene);
    fprintf(stderr, "%s: a high one waits for %.1f ms on average, %.1f ms at most; without priorities %.1f, %.1f ms\n",
            what, (double)waits.mean_ns / MS, (double)waits.longest_ns / MS, (double)without.mean_ns / MS,
            (double)without.longest_ns / MS);
    cr_assert_lt(waits.longest_ns, 40 * MS);
    cr_assert_lt(waits.mean_ns, 12 * MS);
    cr_assert_gt(without.mean_ns, 10 * waits.mean_ns, "without priorities there was nothing to gain");
}

Test(priority, lets_a_late_message_pass_a_backlog)
{
    check_waits((struct scene){NULL}, "one worker");
    check_waits((struct scene){NULL, .pool_threads = 3}, "threads that may block");
    check_waits((struct scene){NULL, .partitions = 4, .workers = 2}, "two workers");
}

/* A key with much to do has a long turn on a thread that may block; in the midst of it the other threads pull what goes
 * before it. */
static void let_high_come(void)
{
    struct weir_simulation *simulation = weir_world_simulation(play.world);
    cr_assert_eq(weir_consumer_resume(weir_own_consumer(), "high", 0), 0);
    for (unsigned steps = 0; steps < 100 && !weir_worker_is_outranked(weir_worker_current(), 1); steps++)
        weir_simulation_interleave(simulation);
    cr_assert(weir_worker_is_outranked(weir_worker_current(), 1), "nothing has come");
    play.high_came_at = play.count;
}

Test(priority, ends_a_long_turn_of_a_lower_topic_when_something_higher_waits)
{
    static const char *const options[] = {TWO, NULL};
    make((struct scene){options, .pool_threads = 2, .low_keys = 1});
    weir_world_start(play.world);
    weir_world_run(play.world, 2 * SECOND);
    cr_assert_eq(weir_consumer_pause(weir_own_consumer(), "high", 0), 0);
    send(HIGH, 50);
    weir_world_run(play.world, SECOND);
    play.let_high_come_at = 5;
    play.run_ns = MS / 100;
    send(LOW, 200);
    finish();
    cr_assert_gt(play.high_came_at, 0u);
    cr_assert_geq(count(HIGH, play.high_came_at, play.high_came_at + 6), 5u, "the long turn went on");
}

/* A low topic that has filled memory to the cap, and its window. */
Test(priority, lets_a_late_message_pass_where_memory_is_full)
{
    static const char *const options[] = {TWO, "weir.memory.bytes.max", "1048576", "weir.window.bytes.max", "1048576",
                                          NULL};
    struct waits waits = probe((struct scene){options, .pool_threads = 2});
    cr_assert_lt(waits.longest_ns, 40 * MS);
}

/* ---- nobody waits for nothing ---- */

static uint64_t time_of_low(const char *const *options)
{
    make((struct scene){options, .partitions = 2});
    send(LOW, 4000);
    weir_world_start(play.world);
    weir_world_run(play.world, SECOND); /* to join and find it */
    uint64_t from_ns = now_ns();
    unsigned before = play.counts[LOW];
    weir_world_run(play.world, 2 * SECOND);
    uint64_t each_ns = (now_ns() - from_ns) / (play.counts[LOW] - before);
    finish();
    return each_ns;
}

Test(priority, lets_a_lower_topic_run_at_full_speed_when_nothing_higher_waits)
{
    static const char *const with[] = {TWO, NULL};
    uint64_t without_ns = time_of_low(NULL), each_ns = time_of_low(with);
    cr_assert_leq(without_ns, MS + MS / 50);
    cr_assert_leq(each_ns, MS + MS / 50, "a run each %llu us, %llu without priorities",
                  (unsigned long long)each_ns / 1000, (unsigned long long)without_ns / 1000);
}

/* Whatever stops the high topic: all of the low one must go on as if it were alone. */
static void begin_stopped(const char *const *options)
{
    make((struct scene){options});
    weir_world_start(play.world);
    weir_world_run(play.world, 2 * SECOND);
}

static void check_low_goes_on(const char *why)
{
    send(HIGH, 500);
    weir_world_run(play.world, 3 * SECOND);
    send(LOW, 1000);
    weir_world_run(play.world, 1200 * MS);
    cr_assert_geq(play.counts[LOW], 990u, "%s: %u of the lower topic have run", why, play.counts[LOW]);
    cr_assert_lt(play.counts[HIGH], 500u, "%s: it was not stopped", why);
}

Test(priority, does_not_wait_for_a_topic_that_was_paused)
{
    static const char *const options[] = {TWO, NULL};
    begin_stopped(options);
    cr_assert_eq(weir_consumer_pause(weir_own_consumer(), "high", 0), 0);
    check_low_goes_on("paused");
    cr_assert_eq(play.counts[HIGH], 0u);
    cr_assert_eq(weir_consumer_resume(weir_own_consumer(), "high", 0), 0);
    finish();
}

Test(priority, does_not_wait_for_a_topic_whose_window_is_full)
{
    static const char *const options[] = {TWO, "weir.window.messages.max", "50", NULL};
    begin_stopped(options);
    play.keeps_high = true;
    check_low_goes_on("window");
    cr_assert_eq(play.counts[HIGH], 50u);
    cr_assert_eq(stats(HIGH).pause, (unsigned)WEIR_PAUSE_WINDOW);
    play.keeps_high = false;
    while (play.kept_count > 0) {
        play.kept_count--;
        weir_world_end(play.process, play.kept_runs[play.kept_count], WEIR_ACK);
        cr_assert_eq(weir_later_finish(play.kept[play.kept_count], WEIR_ACK), 0);
    }
    finish();
}

Test(priority, does_not_wait_for_a_topic_that_has_reached_its_rate)
{
    static const char *const options[] = {TWO, "weir.topic.high.rate.messages.per.second", "10", NULL};
    begin_stopped(options);
    check_low_goes_on("rate");
    finish();
}

Test(priority, does_not_wait_for_a_topic_that_a_handler_has_stopped)
{
    static const char *const options[] = {TWO, NULL};
    begin_stopped(options);
    play.of_high = WEIR_ESCALATE;
    check_low_goes_on("escalated");
    cr_assert(stats(HIGH).pause & WEIR_PAUSE_ESCALATED);
    play.of_high = WEIR_ACK;
    cr_assert_eq(weir_consumer_resume(weir_own_consumer(), "high", 0), 0);
    finish();
}

Test(priority, does_not_wait_for_a_topic_whose_dead_letters_are_held)
{
    static const char *const options[] = {TWO,   "weir.window.messages.max",
                                          "100", "weir.dlq.budget.burst",
                                          "1",   "weir.dlq.budget.percent",
                                          "0",   "weir.dlq.budget.per.minute",
                                          "300", NULL};
    begin_stopped(options);
    play.of_high = WEIR_DEAD;
    check_low_goes_on("budget");
    finish();
}

/* ---- the consumer's rate ---- */

static unsigned within(unsigned topic, uint64_t duration_ns)
{
    unsigned before = play.counts[topic];
    weir_world_run(play.world, duration_ns);
    return play.counts[topic] - before;
}

Test(priority, shares_the_rate_of_all_topics_likewise)
{
    static const char *const options[] = {TWO, "weir.rate.messages.per.second", "100", NULL};
    make((struct scene){options});
    play.run_ns = 0;
    send(LOW, 3000);
    weir_world_start(play.world);
    weir_world_run(play.world, 3 * SECOND);
    unsigned alone = within(LOW, 10 * SECOND);
    cr_assert(alone >= 990 && alone <= 1010, "%u of the lower topic in 10 s, which had the rate for itself", alone);
    for (unsigned index = 0; index < 20; index++) { /* one now and then passes all that wait for a place */
        play.sent_ns[index] = now_ns();
        weir_world_append(play.world, "high", 0, (int)index);
        weir_world_run(play.world, 300 * MS);
        cr_assert(play.waited_ns[index] > 0 && play.waited_ns[index] < 150 * MS, "it has waited for %llu ms",
                  (unsigned long long)(play.waited_ns[index] / MS));
    }
    send(HIGH, 2500);
    weir_world_run(play.world, 3 * SECOND);
    unsigned low = play.counts[LOW], high = within(HIGH, 20 * SECOND);
    low = play.counts[LOW] - low;
    cr_assert(high + low >= 1980 && high + low <= 2020, "%u in 20 s", high + low);
    cr_assert(low >= 180 && low <= 220, "%u of 2000 places were the lower topic's", low);
    finish();
}

/* ---- what is told ---- */

Test(priority, is_told_by_the_statistics_and_so_is_who_waits_for_it)
{
    static const char *const options[] = {THREE, "weir.window.messages.max", "300", NULL};
    make((struct scene){options});
    send(LOW, 3000);
    send(HIGH, 3000);
    weir_world_start(play.world);
    unsigned seen = 0;
    for (unsigned index = 0; index < 100; index++) {
        weir_world_run(play.world, 30 * MS);
        if (play.counts[HIGH] < 200 || play.counts[HIGH] > 2500)
            continue;
        seen += (stats(LOW).pause & WEIR_PAUSE_PRIORITY) != 0;
        cr_assert_not(stats(HIGH).pause & WEIR_PAUSE_PRIORITY);
    }
    cr_assert_gt(seen, 10u, "nothing says why the low topic is not pulled");
    cr_assert_eq(stats(HIGH).priority, 7u);
    cr_assert_eq(stats(MIDDLE).priority, 3u);
    cr_assert_eq(stats(LOW).priority, 0u);
    finish();
    make((struct scene){options});
    send(LOW, 3000);
    weir_world_start(play.world);
    weir_world_run(play.world, 2 * SECOND);
    cr_assert_not(stats(LOW).pause & WEIR_PAUSE_PRIORITY);
    finish();
}
