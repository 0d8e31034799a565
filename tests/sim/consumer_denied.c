/*
 * A topic that may not be read any more, for a while or for good: what was pulled of it runs to its end and is
 * committed as soon as the broker takes it, and nothing else waits for it.
 */
#include "actors/consumer.h"
#include "tests/sim/consumer_own.h"
#include "tests/support/test.h"
#include <string.h>
#include <weir/log.h>

#define SECOND WEIR_WORLD_SECOND

static uint64_t refusals_logged;

static void on_log(void *user, enum weir_log_level level, const char *text, const struct weir_log_field *fields,
                   size_t field_count)
{
    (void)user;
    (void)level;
    (void)fields;
    (void)field_count;
    refusals_logged += strncmp(text, "commit at offset", 16) == 0;
}

static void finish(void *handle, enum weir_outcome outcome)
{
    struct weir_later later;
    memcpy(&later, handle, sizeof later);
    weir_later_finish(later, outcome);
}

/* All messages are given out for some time. */
static enum weir_outcome give_out(struct weir_message *message, void *user)
{
    uint64_t run;
    weir_own_begin(message, user, &run);
    struct weir_later later = weir_message_later(message);
    weir_world_later(user, run, finish, &later, sizeof later);
    return WEIR_LATER;
}

static const struct weir_own own = {give_out, NULL};

/* Two topics, of which `payments` is denied as soon as 10 messages of it run. */
static struct weir_world *make_with(struct weir_world_process **process, bool exactly_once)
{
    refusals_logged = 0;
    weir_log_set(on_log, NULL, WEIR_LOG_WARN);
    struct weir_world *world = weir_world_create(&(struct weir_world_settings){.seed = 3,
                                                                               .topics = "orders,payments",
                                                                               .partitions = 1,
                                                                               .null_keys = 1000,
                                                                               .later_ns_max = 8 * SECOND,
                                                                               .exactly_once = exactly_once,
                                                                               .driver = &weir_own_driver,
                                                                               .driver_data = &own});
    *process = weir_world_start(world);
    weir_world_run(world, 10 * SECOND); /* the positions that the policy chose are committed */
    for (unsigned count = 0; count < 10; count++)
        weir_world_append(world, "payments", 0, -1);
    while (weir_world_tally(world)->runs < 10)
        weir_simulation_step(weir_world_simulation(world));
    weir_fake_topic_deny(weir_world_cluster(world), "payments", true);
    while (weir_consumer_find(weir_own_consumer(), "payments", 0)->control.state != WEIR_CONTROL_FAILED)
        weir_simulation_step(weir_world_simulation(world));
    cr_assert_lt(weir_world_tally(world)->finished, 10, "all was finished before it was denied");
    return world;
}

static struct weir_world *make(struct weir_world_process **process)
{
    return make_with(process, false);
}

static int64_t committed(struct weir_world *world, const char *topic)
{
    return weir_fake_committed(weir_world_cluster(world), "group", topic, 0).offset;
}

static void verdict(struct weir_world *world)
{
    struct weir_world_verdict verdict = weir_world_verdict(world);
    cr_assert(verdict.ok, "%s", verdict.text);
    weir_world_destroy(world);
}

Test(denied, topic_whose_work_runs_is_waited_for_and_committed_by_the_close)
{
    struct weir_world_process *process;
    struct weir_world *world = make(&process);
    weir_fake_topic_deny(weir_world_cluster(world), "payments", false);
    cr_assert(weir_world_close(world, 20 * SECOND));
    cr_assert_eq(weir_world_tally(world)->finished, 10);
    cr_assert_eq(committed(world, "payments"), 10);
    verdict(world);
}

Test(denied, topic_that_may_be_read_again_is_committed_before_it_is)
{
    struct weir_world_process *process;
    struct weir_world *world = make(&process);
    weir_fake_topic_deny(weir_world_cluster(world), "payments", false);
    struct weir_partition *partition = weir_consumer_find(weir_own_consumer(), "payments", 0);
    partition->control.retry_ns += 3600 * SECOND; /* it stays FAILED */
    weir_world_run(world, 15 * SECOND);
    cr_assert_eq(partition->control.state, WEIR_CONTROL_FAILED);
    cr_assert_eq(committed(world, "payments"), 10);
    cr_assert(weir_world_close(world, 20 * SECOND));
    verdict(world);
}

Test(denied, topic_makes_no_other_wait)
{
    struct weir_world_process *process;
    struct weir_world *world = make(&process);
    for (int64_t round = 1; round <= 10; round++) {
        weir_world_append(world, "orders", 0, -1);
        weir_world_run(world, 15 * SECOND); /* it is out for up to 8 s, and the interval is 5 s */
        cr_assert_eq(committed(world, "orders"), round);
    }
    uint64_t failures = weir_own_consumer()->commit_failures;
    cr_assert(failures >= 2 && failures <= 16, "%llu commits were refused in 150 s", (unsigned long long)failures);
    cr_assert_eq(refusals_logged, failures);
    cr_assert(weir_world_close(world, 2 * SECOND), "the close waits for commits of what is denied");
    cr_assert_eq(committed(world, "payments"), 0);
    verdict(world);
}

Test(denied, topic_makes_no_other_wait_for_its_transaction)
{
    struct weir_world_process *process;
    struct weir_world *world = make_with(&process, true);
    for (int64_t round = 1; round <= 10; round++) {
        weir_world_append(world, "orders", 0, -1);
        weir_world_run(world, 15 * SECOND);
        cr_assert_eq(committed(world, "orders"), round);
    }
    cr_assert_gt(refusals_logged, 0);
    weir_fake_topic_deny(weir_world_cluster(world), "payments", false);
    weir_world_run(world, 20 * SECOND);
    cr_assert_eq(committed(world, "payments"), 10);
    cr_assert(weir_world_close(world, 20 * SECOND));
    verdict(world);
}
