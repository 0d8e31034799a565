/*
 * The world and its verdicts, proved by plain members: sound ones come out clean whatever goes wrong around them, and
 * every broken rule is found.
 */
#include "tests/sim/fake_member.h"
#include "tests/support/test.h"
#include <string.h>

#define SECOND WEIR_WORLD_SECOND

static const struct weir_fake_faults every_fault = {.slow = 20,
                                                    .commit_applied_error = 50,
                                                    .commit_lost = 50,
                                                    .commit_parked = 50,
                                                    .commit_race = 300,
                                                    .fetch_committed_error = 100,
                                                    .watermarks_error = 100,
                                                    .seek_error = 100,
                                                    .redelivery = 30,
                                                    .purge_ahead = 500,
                                                    .error_record = 20,
                                                    .short_pull = 100,
                                                    .spurious_wake = 50,
                                                    .trouble = 5,
                                                    .produce_error = 50,
                                                    .produce_written_error = 50,
                                                    .produce_too_large = 20,
                                                    .produce_unknown_topic = 20,
                                                    .produce_authorization = 20,
                                                    .produce_queue_full = 50};

static struct weir_world_settings settings_of(uint64_t seed)
{
    return (struct weir_world_settings){
        .seed = seed,
        .topics = seed % 3 ? "orders" : "orders,payments",
        .messages = 300,
        .null_keys = 100,
        .eager = seed % 4 == 1,
        .instance_prefix = seed % 5 == 2 ? "member-" : NULL,
        .chances = {.skip = 50, .retry = 100, .dead = 20, .overloaded = 30, .later = 150, .poison = 10},
        .driver = &member_driver};
}

static void add(struct weir_fake_counts *sum, const struct weir_fake_counts *counts)
{
    uint64_t *to = (uint64_t *)sum;
    const uint64_t *from = (const uint64_t *)counts;
    for (size_t i = 0; i < sizeof *sum / sizeof *to; i++)
        to[i] += from[i];
}

Test(fake_world, without_disturbance_every_message_is_over_once)
{
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct weir_world_settings settings = settings_of(seed);
        struct weir_world *world = weir_world_create(&settings);
        weir_world_start(world);
        cr_assert(weir_world_run_until_finished(world, 300 * SECOND), "%s", weir_world_verdict(world).text);
        cr_assert(weir_world_close(world, 60 * SECOND));
        struct weir_world_verdict verdict = weir_world_verdict(world);
        cr_assert(verdict.ok, "%s", verdict.text);
        const struct weir_world_tally *tally = weir_world_tally(world);
        cr_assert_eq(verdict.checked, 300);
        cr_assert_eq(tally->finished + tally->letters, 300);
        cr_assert_eq(tally->duplicates, 0);
        cr_assert_gt(tally->runs, 300, "some were run again");
        cr_assert_gt(tally->letters, 0);
        weir_world_destroy(world);
    }
}

Test(fake_world, sound_members_lose_nothing_whatever_goes_wrong)
{
    enum { SEEDS = 40 };
    struct weir_fake_counts sum = {0};
    uint64_t duplicates = 0, crashes = 0;
    const uint64_t seeds = weir_test_scaled(SEEDS);
    for (uint64_t seed = 0; seed < seeds; seed++) {
        struct weir_world_settings settings = settings_of(seed);
        settings.faults = every_fault;
        struct weir_world *world = weir_world_create(&settings);
        for (int i = 0; i < 3; i++)
            weir_world_start(world);
        weir_world_produce_during(world, 50 * SECOND, 300);
        weir_world_disturb(world, 60 * SECOND, 15, WEIR_WORLD_ALL);
        weir_world_run(world, 60 * SECOND);
        cr_assert(weir_world_run_until_finished(world, 900 * SECOND), "%s", weir_world_verdict(world).text);
        cr_assert(weir_world_close(world, 120 * SECOND), "seed %d does not close", (int)seed);
        struct weir_world_verdict verdict = weir_world_verdict(world);
        cr_assert(verdict.ok, "%s", verdict.text);
        cr_assert_eq(verdict.checked, 600);
        add(&sum, weir_fake_counts(weir_world_cluster(world)));
        duplicates += weir_world_tally(world)->duplicates;
        crashes += weir_world_tally(world)->crashes;
        weir_world_destroy(world);
    }
    if (seeds < SEEDS)
        return; /* so few need not meet each */
    cr_assert(sum.commits_lost && sum.commits_parked && sum.commits_applied_error && sum.commits_refused);
    cr_assert(sum.offsets_moved_back && sum.records_redelivered && sum.records_skipped_by_purge);
    cr_assert(sum.losses && sum.revokes && sum.members_fenced && sum.produce_written_errors && sum.error_records);
    cr_assert(duplicates > 0 && crashes > 0);
}

Test(fake_world, the_same_seed_gives_the_same_run)
{
    uint64_t hashes[8];
    for (int round = 0; round < 2; round++) {
        for (uint64_t seed = 0; seed < 8; seed++) {
            struct weir_world_settings settings = settings_of(seed);
            settings.faults = every_fault;
            struct weir_world *world = weir_world_create(&settings);
            weir_world_start(world);
            weir_world_start(world);
            weir_world_disturb(world, 30 * SECOND, 10, WEIR_WORLD_ALL);
            weir_world_run(world, 60 * SECOND);
            uint64_t hash = weir_world_hash(world);
            if (round)
                cr_assert_eq(hash, hashes[seed], "seed %d", (int)seed);
            hashes[seed] = hash;
            cr_assert(seed == 0 || hash != hashes[seed - 1]);
            weir_world_destroy(world);
        }
    }
}

Test(fake_world, what_retention_took_is_asked_of_nobody)
{
    struct weir_world_settings settings = settings_of(7);
    struct weir_world *world = weir_world_create(&settings);
    for (int32_t partition = 0; partition < 4; partition++)
        weir_world_truncate(world, "orders", partition,
                            weir_fake_log_end(weir_world_cluster(world), "orders", partition) / 2);
    weir_world_start(world);
    cr_assert(weir_world_run_until_finished(world, 300 * SECOND), "%s", weir_world_verdict(world).text);
    const struct weir_world_tally *tally = weir_world_tally(world);
    cr_assert_lt(tally->finished + tally->letters, 160);
    cr_assert(weir_world_verdict(world).ok, "%s", weir_world_verdict(world).text);
    weir_world_destroy(world);
}

/* ---- broken rules ---- */

/* Run worlds of members with this defect: how many verdicts speak of it in these words. */
static unsigned found(enum member_defect defect, const char *words, unsigned kinds)
{
    unsigned count = 0;
    for (uint64_t seed = 0; seed < 12; seed++) {
        struct weir_world_settings settings = settings_of(seed);
        settings.topics = "orders";
        settings.keys = 5;
        settings.faults.purge_ahead = 800;
        settings.null_keys = defect == MEMBER_GIVES_UP || defect == MEMBER_DROPS_LETTERS ? 1000 : 0; /* floors only */
        settings.chances.later = defect == MEMBER_HOLDS_ON ? 0 : 100;
        settings.driver_data = &defect;
        struct weir_world *world = weir_world_create(&settings);
        weir_world_start(world);
        weir_world_start(world);
        weir_world_produce_during(world, 20 * SECOND, 600);
        weir_world_disturb(world, 20 * SECOND, 20, kinds);
        weir_world_run(world, 20 * SECOND);
        weir_world_run_until_finished(world, 60 * SECOND);
        weir_world_close(world, 60 * SECOND);
        struct weir_world_verdict verdict = weir_world_verdict(world);
        count += !verdict.ok && strstr(verdict.text, words) != NULL;
        weir_world_destroy(world);
    }
    return count;
}

Test(fake_world, a_sound_member_is_accused_of_nothing)
{
    cr_assert_eq(found(MEMBER_SOUND, "", WEIR_WORLD_ALL), 0);
}

Test(fake_world, not_seeking_back_after_a_rebalance_is_found)
{
    cr_assert_gt(found(MEMBER_NO_SEEK_BACK, "is over", WEIR_WORLD_REBALANCE | WEIR_WORLD_GHOST), 0);
}

Test(fake_world, committing_ahead_of_the_work_is_found)
{
    cr_assert_gt(found(MEMBER_COMMITS_AHEAD, "is committed, but", WEIR_WORLD_REBALANCE), 0);
}

Test(fake_world, giving_up_a_message_is_found)
{
    cr_assert_gt(found(MEMBER_GIVES_UP, "is committed, but", WEIR_WORLD_REBALANCE), 0);
}

Test(fake_world, a_dead_letter_that_is_not_waited_for_is_found)
{
    cr_assert_gt(found(MEMBER_DROPS_LETTERS, "is committed, but", WEIR_WORLD_NO_BROKER | WEIR_WORLD_REBALANCE), 0);
}

Test(fake_world, a_key_out_of_order_is_found)
{
    cr_assert_gt(found(MEMBER_REORDERS, "of its key", WEIR_WORLD_REBALANCE), 0);
}

Test(fake_world, running_what_was_revoked_is_found)
{
    cr_assert_gt(found(MEMBER_HOLDS_ON, "does not hold the partition", WEIR_WORLD_JOIN | WEIR_WORLD_GHOST), 0);
}

Test(fake_world, pulling_while_an_event_is_open_is_found)
{
    cr_assert_gt(found(MEMBER_PULLS_ALWAYS, "while a rebalance event is open", WEIR_WORLD_GHOST), 0);
}

Test(fake_world, freeing_a_record_twice_is_found)
{
    cr_assert_gt(found(MEMBER_FREES_TWICE, "freed before", WEIR_WORLD_REBALANCE), 0);
}

Test(fake_world, a_record_never_freed_is_found)
{
    cr_assert_gt(found(MEMBER_FORGETS_TO_FREE, "records not freed", WEIR_WORLD_REBALANCE), 0);
}
