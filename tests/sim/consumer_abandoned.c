/*
 * Messages that were given out by WEIR_LATER, not answered in time, and given up: whoever holds the handle may answer
 * at the worst moment, and their letter may be refused.
 */
#include "actors/consumer.h"
#include "tests/sim/consumer_own.h"
#include "tests/support/test.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <weir/consumer.h>
#include <weir/log.h>

#define SECOND WEIR_WORLD_SECOND

static const char *const abandon[] = {"weir.later.deadline.ms", "5000", "weir.later.policy", "abandon", NULL};

static void check(struct weir_world *world, struct weir_world_process *process, uint64_t seed)
{
    weir_own_check_finished(world, process, seed, weir_world_run_until_finished(world, 900 * SECOND));
}

/* ---- answered at the worst moment ---- */

static struct {
    struct weir_later later;
    bool given_out, stalled, answered;
    bool after_refusal; /* answer while the letter, refused, waits to be sent again; else once it has been reported */
    uint64_t until_ns;
} abandoned;

static bool is_reported(const struct weir_message *message)
{
    const struct weir_mail *mail = message->partition->resident.mailbox.stack;
    while (mail && (!message->failure || mail != &message->failure->letter.mail))
        mail = mail->next;
    return mail != NULL;
}

/* Every millisecond: keep the partition's worker from taking its mail, and answer while it cannot. */
static void answer_between(void *user)
{
    struct weir_world *world = weir_world_of(user);
    struct weir_message *message = abandoned.later.message;
    if (!abandoned.answered && abandoned.given_out && weir_message_later_state(message) == WEIR_LATER_ABANDONED) {
        cr_assert_eq(weir_message_attempt(message), 1, "the holder's run got another number");
        bool refused = !message->dlq_in_flight && message->owner && message->owner->state == WEIR_KEY_DYING;
        if (!abandoned.stalled && (!abandoned.after_refusal || refused)) {
            weir_simulation_stall(weir_world_simulation(world), message->partition->resident.home, SECOND);
            abandoned.stalled = true;
        }
        if (abandoned.stalled && (abandoned.after_refusal || is_reported(message))) {
            cr_assert_eq(weir_later_finish(abandoned.later, WEIR_ACK), WEIR_STALE);
            abandoned.answered = true;
            if (abandoned.after_refusal) /* the end of the epoch is seen before the answer */
                weir_fake_client_fence(weir_world_kafka(user));
        }
    }
    if (abandoned.answered)
        return;
    if (weir_simulation_now_ns(weir_world_simulation(world)) < abandoned.until_ns)
        weir_fake_after(weir_world_cluster(world), SECOND / 1000, answer_between, NULL, user);
    else
        weir_later_finish(abandoned.later, WEIR_ACK); /* the moment did not come with this seed */
}

static enum weir_outcome abandon_first(struct weir_message *message, void *user)
{
    uint64_t run;
    weir_own_begin(message, user, &run);
    if (abandoned.given_out) {
        weir_world_end(user, run, WEIR_ACK);
        return WEIR_ACK;
    }
    abandoned.given_out = true;
    abandoned.later = weir_message_later(message);
    cr_assert(weir_fake_record_is_parsed(message->native), "its headers are parsed while others may ask for them");
    weir_world_end(user, run, WEIR_RETRY); /* nobody will answer in time */
    weir_fake_after(weir_world_cluster(weir_world_of(user)), SECOND / 1000, answer_between, NULL, user);
    return WEIR_LATER;
}

static void answer_abandoned(bool after_refusal)
{
    static const struct weir_own own = {abandon_first, abandon};
    unsigned tested = 0;
    weir_log_set(NULL, NULL, WEIR_LOG_ERROR);
    for (uint64_t seed = 1; seed <= weir_test_scaled(10); seed++) {
        struct weir_world *world =
            weir_world_create(&(struct weir_world_settings){.seed = seed,
                                                            .partitions = 1,
                                                            .keys = 2,
                                                            .messages = 20,
                                                            .faults.produce_error = after_refusal ? 900 : 0,
                                                            .driver = &weir_own_driver,
                                                            .driver_data = &own});
        memset(&abandoned, 0, sizeof abandoned);
        abandoned.after_refusal = after_refusal;
        abandoned.until_ns = weir_simulation_now_ns(weir_world_simulation(world)) + 60 * SECOND;
        check(world, weir_world_start(world), seed);
        tested += abandoned.answered;
        weir_world_destroy(world);
    }
    cr_assert_gt(tested, 0);
}

Test(handles, abandoned_are_answered_between_the_report_of_the_letter_and_its_reading)
{
    answer_abandoned(false);
}

Test(handles, abandoned_are_answered_while_their_letter_waits_and_the_partition_is_lost)
{
    answer_abandoned(true);
}

static enum weir_outcome never_answer_first(struct weir_message *message, void *user)
{
    uint64_t run;
    weir_own_begin(message, user, &run);
    weir_world_end(user, run, abandoned.given_out ? WEIR_ACK : WEIR_RETRY);
    if (abandoned.given_out)
        return WEIR_ACK;
    abandoned.given_out = true;
    abandoned.later = weir_message_later(message);
    return WEIR_LATER;
}

Test(handles, abandoned_whose_letter_is_refused_send_no_letter_when_their_epoch_is_over)
{
    static const struct weir_own own = {never_answer_first, abandon};
    weir_log_set(NULL, NULL, WEIR_LOG_ERROR);
    for (uint64_t seed = 1; seed <= weir_test_scaled(10); seed++) {
        struct weir_world *world = weir_world_create(&(struct weir_world_settings){.seed = seed,
                                                                                   .partitions = 1,
                                                                                   .keys = 2,
                                                                                   .messages = 20,
                                                                                   .faults.produce_error = 1000,
                                                                                   .driver = &weir_own_driver,
                                                                                   .driver_data = &own});
        memset(&abandoned, 0, sizeof abandoned);
        struct weir_world_process *process = weir_world_start(world);
        while (!abandoned.given_out || weir_message_later_state(abandoned.later.message) != WEIR_LATER_ABANDONED)
            weir_simulation_step(weir_world_simulation(world));
        const struct weir_message *message = abandoned.later.message;
        weir_fake_client_fence(weir_world_kafka(process));
        while (message->epoch == message->partition->epoch && message->partition->state != WEIR_PARTITION_ENDED)
            weir_simulation_step(weir_world_simulation(world));
        weir_fake_set_faults(weir_world_cluster(world), &(struct weir_fake_faults){0});
        weir_world_run(world, 20 * SECOND);
        cr_assert_eq(weir_world_tally(world)->letters, 0);
        cr_assert_eq(weir_later_finish(abandoned.later, WEIR_ACK), WEIR_STALE);
        check(world, process, seed);
        cr_assert_eq(weir_world_tally(world)->letters, 0);
        weir_world_destroy(world);
    }
}

/* ---- while a message of a crash waits to run with nothing beside it ---- */

enum { ABANDONED_OFFSET = 0, SUSPECT_OFFSET = 6 };

static struct {
    char path[64]; /* of the process's journal */
    struct weir_journal_file image;
    struct weir_later later;
    bool has_crashed, given_out;
    unsigned runs; /* of the suspect, after the crash */
} quiet;

static enum weir_outcome crash_or_give_out(struct weir_message *message, void *user)
{
    uint64_t run;
    weir_own_begin(message, user, &run);
    int64_t offset = weir_message_offset(message);
    if (offset == SUSPECT_OFFSET && !quiet.has_crashed) {
        memcpy(&quiet.image, weir_own_consumer()->journal->file, sizeof quiet.image);
        quiet.has_crashed = true;
        return WEIR_ACK; /* nobody acts on it */
    }
    quiet.runs += offset == SUSPECT_OFFSET;
    bool gives_out = offset == ABANDONED_OFFSET;
    weir_world_end(user, run, gives_out ? WEIR_RETRY : WEIR_ACK);
    if (!gives_out)
        return WEIR_ACK;
    quiet.given_out = true;
    quiet.later = weir_message_later(message);
    return WEIR_LATER;
}

static void name_quiet(const char *what)
{
    snprintf(quiet.path, sizeof quiet.path, "/tmp/weir-sim-%s-%d", what, (int)getpid());
    unlink(quiet.path);
}

/* The process ends as its handler runs, and its journal is what the next one finds. */
static void crash_in_suspect(struct weir_world *world)
{
    struct weir_world_process *process = weir_world_start(world);
    while (!quiet.has_crashed)
        weir_simulation_step(weir_world_simulation(world));
    weir_world_crash(process);
    weir_journal_close(weir_own_consumer()->journal);
    weir_own_consumer()->journal = NULL;
    unlink(quiet.path);
    name_quiet("after");
    FILE *stream = fopen(quiet.path, "w");
    cr_assert(stream && fwrite(&quiet.image, sizeof quiet.image, 1, stream) == 1 && fclose(stream) == 0);
    quiet.given_out = false;
}

Test(handles, abandoned_whose_letter_is_refused_are_worked_on_as_far_as_a_suspect_may_know)
{
    static const char *const options[] = {
        "weir.crash.journal", quiet.path, "weir.later.deadline.ms", "1000", "weir.later.policy", "abandon", NULL};
    static const struct weir_own own = {crash_or_give_out, options};
    weir_log_set(NULL, NULL, WEIR_LOG_ERROR);
    struct weir_world *world = weir_world_create(&(struct weir_world_settings){
        .seed = 1, .partitions = 1, .faults.produce_error = 1000, .driver = &weir_own_driver, .driver_data = &own});
    for (int key = 0; key < 10; key++)
        weir_world_append(world, "orders", 0, key);
    name_quiet("before");
    crash_in_suspect(world);
    weir_world_start(world);
    while (!quiet.given_out || weir_message_later_state(quiet.later.message) != WEIR_LATER_ABANDONED)
        weir_simulation_step(weir_world_simulation(world));
    weir_world_run(world, 5 * SECOND);
    cr_assert_eq(quiet.runs, 0, "a suspect runs beside what is being worked on");
    cr_assert_eq(weir_later_finish(quiet.later, WEIR_ACK), WEIR_STALE);
    weir_world_run(world, 5 * SECOND);
    cr_assert_eq(quiet.runs, 1);
    weir_fake_set_faults(weir_world_cluster(world), &(struct weir_fake_faults){0});
    cr_assert(weir_world_run_until_finished(world, 60 * SECOND));
    cr_assert(weir_world_close(world, 60 * SECOND));
    struct weir_world_verdict verdict = weir_world_verdict(world);
    cr_assert(verdict.ok, "%s", verdict.text);
    weir_world_destroy(world);
    unlink(quiet.path);
}
