/*
 * The crash journal in the simulator. A message that is poison ends the simulated process in its handler: the journal
 * is copied as it is then, with some of what was dispatched at that moment added as if other workers had been running
 * it, no step of the process runs again, and the next process opens the copy.
 *
 * Checked: whoever is suspected runs with nothing beside it, every poison runs exactly weir.crash.attempts.max times
 * and is then a dead letter, and nothing else is. And what the world checks: nothing is lost, each key is in order.
 *
 * With filters some are left out, poison and suspects among them, and suspects wait for their place in a rate.
 */
#include "actors/consumer.h"
#include "tests/sim/consumer_own.h"
#include "tests/support/test.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SECOND WEIR_WORLD_SECOND

enum { PARTITIONS = 4, MESSAGES = 300, TRIES = 3, NEIGHBOURS_MAX = 3, PROCESSES_MAX = 60 };

static struct {
    char folder[64], path[96];
    unsigned process;                        /* number of the one that runs */
    const struct weir_world_process *doomed; /* it has crashed, and is to be taken out after this step */
    uint8_t poison_runs[PARTITIONS][MESSAGES];
    uint64_t wrong_marks;
    bool filters;
    uint64_t filtered, filtered_suspects;
    uint64_t not_alone, suspects, neighbours, crashes; /* not_alone: what the test is about; the others: that it was */
} play;

static bool is_left_out(int32_t partition, int64_t offset)
{
    return play.filters && (offset + partition) % 4 == 1;
}

static bool is_poison(int32_t partition, int64_t offset)
{
    return (offset * 7 + partition * 13) % 83 == 5 && !is_left_out(partition, offset);
}

static void name_journal(unsigned process)
{
    snprintf(play.path, sizeof play.path, "%s/journal-%u", play.folder, process);
}

/* Nothing of this process runs, is about to run, or is being worked on elsewhere, but one key. */
static bool is_alone(const struct weir_consumer *consumer)
{
    uint64_t out = 0, elsewhere = 0;
    for (struct weir_partition *partition = atomic_load(&consumer->partitions); partition;
         partition = partition->list_next) {
        out += partition->out_count;
        elsewhere += partition->later.count + partition->orphans;
    }
    return out == 1 && elsewhere == 0;
}

/* Heads of keys that were dispatched, as if they were running too. */
static void add_neighbours(struct weir_journal_file *image, const struct weir_consumer *consumer,
                           const struct weir_message *poison)
{
    unsigned count = 0;
    for (struct weir_partition *partition = atomic_load(&consumer->partitions); partition;
         partition = partition->list_next) {
        for (const struct weir_message *message = partition->tracker.head; message && count < NEIGHBOURS_MAX;
             message = message->after) {
            if (message == poison || !message->owner || message->owner->state != WEIR_KEY_OUT ||
                message->owner->first != message || is_poison(partition->number, message->offset))
                continue;
            struct weir_journal_name name = weir_partition_name(partition, message);
            weir_journal_claim(&image->slots[100 + count++], &name);
        }
    }
    play.neighbours += count;
}

static void crash(struct weir_world_process *process, const struct weir_message *poison)
{
    static struct weir_journal_file image;
    const struct weir_consumer *consumer = weir_own_consumer();
    memcpy(&image, consumer->journal->file, sizeof image);
    if (poison->crashes == 0)
        add_neighbours(&image, consumer, poison);
    name_journal(++play.process);
    FILE *stream = fopen(play.path, "w");
    if (!stream || fwrite(&image, sizeof image, 1, stream) != 1 || fclose(stream) != 0)
        abort();
    play.doomed = process;
    play.crashes++;
}

static void on_finish(void *handle, enum weir_outcome outcome)
{
    weir_later_finish(*(struct weir_later *)handle, outcome);
}

static enum weir_outcome on_message(struct weir_message *message, void *user)
{
    struct weir_world_process *process = user;
    int32_t partition = weir_message_partition(message);
    int64_t offset = weir_message_offset(message);
    uint64_t run;
    enum weir_outcome outcome = weir_own_begin(message, process, &run);
    const struct weir_journal *journal = weir_own_consumer()->journal;
    play.wrong_marks += atomic_load(&journal->file->alone) != (message->crashes > 0 ? journal->generation : 0);
    if (message->crashes > 0) {
        play.suspects++;
        play.not_alone += !is_alone(weir_own_consumer());
    }
    if (is_poison(partition, offset)) {
        play.poison_runs[partition][offset]++;
        crash(process, message);
        return WEIR_RETRY; /* nobody acts on it */
    }
    if (outcome == WEIR_LATER) {
        struct weir_later later = weir_message_later(message);
        weir_world_later(process, run, on_finish, &later, sizeof later);
    } else {
        weir_world_end(process, run, outcome);
    }
    return outcome;
}

/* ---- filters ---- */

static int is_wanted(struct weir_message *message, void *user)
{
    (void)user;
    return !is_left_out(weir_message_partition(message), weir_message_offset(message));
}

/* Left out: the world takes it for a run that has skipped. */
static void on_filtered(struct weir_message *message, void *user)
{
    uint64_t run;
    weir_own_begin(message, user, &run);
    play.filtered++;
    if (message->crashes > 0) {
        play.filtered_suspects++;
        play.not_alone += !is_alone(weir_own_consumer());
    }
    weir_world_end(user, run, WEIR_SKIP);
}

static void prepare(struct weir_consumer *consumer, struct weir_world_process *process)
{
    if (!play.filters)
        return;
    cr_assert_eq(weir_consumer_filter(consumer, is_wanted, process, NULL), 0);
    consumer->on_filtered = on_filtered;
}

/* ---- a life of many processes ---- */

static bool is_over(void *world)
{
    return play.doomed || weir_world_is_finished(world);
}

/* The step in which it crashed is over: it does nothing any more, and its file is let go of. */
static void bury(struct weir_world_process *process)
{
    struct weir_consumer *consumer = weir_own_consumer();
    play.doomed = NULL;
    weir_world_crash(process);
    weir_journal_close(consumer->journal);
    consumer->journal = NULL;
}

static bool live(struct weir_world *world)
{
    struct weir_world_process *process = weir_world_start(world);
    for (unsigned count = 1; count < PROCESSES_MAX; count++) {
        weir_simulation_run(weir_world_simulation(world), 900 * SECOND, is_over, world);
        if (!play.doomed)
            return weir_world_is_finished(world);
        bury(process);
        process = weir_world_start(world);
    }
    return false;
}

static unsigned check_poison(struct weir_world *world, uint64_t seed)
{
    unsigned count = 0;
    for (int32_t partition = 0; partition < PARTITIONS; partition++) {
        int64_t end = weir_fake_log_end(weir_world_cluster(world), "orders", partition);
        for (int64_t offset = 0; offset < end; offset++) {
            unsigned runs = play.poison_runs[partition][offset];
            cr_assert_eq(runs, is_poison(partition, offset) ? (unsigned)TRIES : 0u, "seed %llu: %d@%lld ran %u times",
                         (unsigned long long)seed, (int)partition, (long long)offset, runs);
            count += runs > 0;
        }
    }
    return count;
}

/* Who was finished is forgotten, but for those whose dead letter must not be followed by another run. */
static void check_table(unsigned long long seed)
{
    const struct weir_journal_table *table = &weir_own_consumer()->journal->table;
    for (uint64_t index = 0; index < table->count; index++) {
        const struct weir_suspect *suspect = &table->entries[index];
        cr_assert(suspect->is_buried && is_poison(suspect->name.partition, suspect->name.offset),
                  "seed %llu: %d@%lld is still suspected", seed, (int)suspect->name.partition,
                  (long long)suspect->name.offset);
    }
}

static uint64_t live_seed(const struct weir_world_settings *settings, unsigned disturbances, bool filters)
{
    memset(&play, 0, sizeof play);
    play.filters = filters;
    snprintf(play.folder, sizeof play.folder, "/tmp/weir-sim-crash-XXXXXX");
    cr_assert_not_null(mkdtemp(play.folder));
    name_journal(0);
    struct weir_world *world = weir_world_create(settings);
    if (disturbances > 0)
        weir_world_disturb(world, 60 * SECOND, disturbances,
                           WEIR_WORLD_SEPARATE | WEIR_WORLD_FENCE | WEIR_WORLD_REBALANCE | WEIR_WORLD_GHOST |
                               WEIR_WORLD_NO_BROKER | WEIR_WORLD_NO_COORDINATOR);
    bool finished = live(world);
    unsigned long long seed = (unsigned long long)settings->seed;
    cr_assert(finished, "seed %llu: %llu of %d messages over after %llu crashes", seed,
              (unsigned long long)weir_world_tally(world)->over, (int)MESSAGES, (unsigned long long)play.crashes);
    weir_world_run(world, 30 * SECOND); /* letters are in the log before they are acknowledged */
    check_table(seed);
    cr_assert(weir_world_close(world, 300 * SECOND), "seed %llu: not closed", seed);
    struct weir_world_verdict verdict = weir_world_verdict(world);
    cr_assert(verdict.ok, "seed %llu: %s", seed, verdict.text);
    cr_assert_eq(play.not_alone, 0u, "seed %llu: %llu runs of suspects had others beside them", seed,
                 (unsigned long long)play.not_alone);
    cr_assert_eq(play.wrong_marks, 0u, "seed %llu: the mark in the journal was wrong for %llu runs", seed,
                 (unsigned long long)play.wrong_marks);
    unsigned poison = check_poison(world, settings->seed);
    cr_assert(poison > 0 && weir_world_tally(world)->letters == poison, "seed %llu: %llu dead letters of %u poison",
              seed, (unsigned long long)weir_world_tally(world)->letters, poison);
    cr_assert_gt(play.suspects, play.crashes / 2, "hardly anything was suspected");
    weir_world_destroy(world);
    for (unsigned process = 0; process <= play.process; process++) {
        name_journal(process);
        unlink(play.path);
    }
    cr_assert_eq(rmdir(play.folder), 0);
    return play.neighbours;
}

static void live_seeds(struct weir_world_settings settings, unsigned disturbances, bool filters, unsigned seeds)
{
    static const char *const options[] = {"weir.crash.journal",
                                          play.path,
                                          "weir.crash.attempts.max",
                                          "3",
                                          "weir.retry.attempts.max",
                                          "0",
                                          "weir.rate.messages.per.second",
                                          "2000",
                                          "weir.rate.burst.ms",
                                          "0",
                                          NULL};
    static const char *plain[7];
    memcpy(plain, options, 6 * sizeof *plain);
    static struct weir_own own = {on_message, NULL, NULL, prepare};
    own.options = filters ? options : plain;
    uint64_t neighbours = 0, filtered_suspects = 0;
    weir_log_set(NULL, NULL, WEIR_LOG_ERROR);
    settings.driver = &weir_own_driver;
    settings.driver_data = &own;
    settings.partitions = PARTITIONS;
    settings.messages = MESSAGES;
    const char *only = getenv("WEIR_TEST_SEED");
    for (uint64_t seed = 1; seed <= weir_test_scaled(seeds); seed++) {
        settings.seed = only ? strtoull(only, NULL, 10) : seed;
        neighbours += live_seed(&settings, disturbances, filters);
        filtered_suspects += play.filtered_suspects;
        cr_assert_eq(play.filtered > 0, filters);
    }
    if (filters && settings.pool_threads == 0 &&
        weir_test_scaled(seeds) >= seeds) /* else too few are dispatched that will be left out */
        cr_assert_gt(filtered_suspects, 0u, "no suspect was left out by a filter");
    unsigned least = weir_test_scaled(seeds);
    if (filters) /* most wait for their place, and where few seeds are run it may be all */
        least = least >= seeds ? least / 8 : 0;
    if (!filters || least > 0)
        cr_assert_gt(neighbours, least, "hardly anybody innocent was suspected");
}

Test(consumer_crash, poison_ends_in_the_dead_letter_queue_after_exactly_so_many_crashes)
{
    live_seeds((struct weir_world_settings){.chances = {.skip = 20, .retry = 80, .overloaded = 30, .later = 150}}, 0,
               false, 40);
}

Test(consumer_crash, and_filters_leave_suspects_out_and_let_them_wait)
{
    live_seeds((struct weir_world_settings){.chances = {.skip = 20, .retry = 80, .overloaded = 30, .later = 150}}, 0,
               true, 40);
    live_seeds((struct weir_world_settings){.chances = {.retry = 80, .later = 150}, .pool_threads = 3}, 8, true, 20);
}

Test(consumer_crash, and_whatever_happens_to_the_group_meanwhile)
{
    live_seeds((struct weir_world_settings){.chances = {.retry = 80, .overloaded = 30, .later = 150},
                                            .null_keys = 200,
                                            .workers = 3,
                                            .faults = {.slow = 50,
                                                       .commit_lost = 30,
                                                       .commit_race = 50,
                                                       .redelivery = 50,
                                                       .short_pull = 200,
                                                       .produce_error = 100,
                                                       .produce_written_error = 50}},
               15, false, 40);
}
