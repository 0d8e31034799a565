/*
 * The crash journal on real threads. A crash is played: while handlers run, the journal is copied; what a process
 * killed just then had left is that copy, and the next consumer is given it. The first consumer then puts all off and
 * closes, so that the group has committed nothing.
 */
#include "actors/journal.h"
#include "tests/scenario/scene.h"
#include "tests/support/dies.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DAY_MS = 24 * 60 * 60 * 1000, MESSAGES = 60, KEYS = 60, WORKERS = 4, ALONE_MS = 30 };

struct play {
    char folder[64], from[96], to[96];
    pthread_mutex_t lock; /* of the first process: who is there */
    size_t present;
    _Atomic uint64_t inside, poisoned, alone_runs;
    _Atomic uint64_t others; /* runs of messages that are no suspects */
    _Atomic bool copied;
    _Atomic int64_t poison;            /* offset; -1: not chosen yet */
    _Atomic int64_t suspects[WORKERS]; /* offsets that were running at the first crash */
};

static bool copy_file(const char *from, const char *to)
{
    char text[4096];
    FILE *in = fopen(from, "r"), *out = fopen(to, "w");
    size_t got;
    bool good = in && out;
    while (good && (got = fread(text, 1, sizeof text, in)) > 0)
        good = fwrite(text, 1, got, out) == got;
    if (in)
        good &= fclose(in) == 0;
    if (out)
        good &= fclose(out) == 0;
    return good;
}

static bool is_suspect(struct play *play, int64_t offset)
{
    for (size_t index = 0; index < WORKERS; index++)
        if (atomic_load(&play->suspects[index]) == offset)
            return true;
    return false;
}

/* One of the handlers that run beside each other. True for the last of WORKERS to come in, who may then act while the
 * others stay. */
static bool come_in(struct play *play, int64_t offset)
{
    atomic_store(&play->suspects[play->present++], offset);
    return play->present == WORKERS;
}

/* Nobody leaves what was copied. */
static bool go_away(struct play *play, int64_t offset)
{
    pthread_mutex_lock(&play->lock);
    bool gone = !atomic_load(&play->copied);
    for (size_t index = 0; gone && index < WORKERS; index++) {
        if (atomic_load(&play->suspects[index]) != offset)
            continue;
        atomic_store(&play->suspects[index], atomic_load(&play->suspects[--play->present]));
        atomic_store(&play->suspects[play->present], -1);
        break;
    }
    pthread_mutex_unlock(&play->lock);
    return gone;
}

/* The first process: the last of WORKERS handlers to come in is the poison. Whoever waits in vain for the others goes
 * away and comes again, since the worker that it blocks may be the one to pull their messages. */
static enum weir_outcome crash_together(struct weir_subject *subject, struct weir_message *message)
{
    struct play *play = subject->user;
    int64_t offset = weir_message_offset(message);
    pthread_mutex_lock(&play->lock);
    if (!atomic_load(&play->copied) && come_in(play, offset)) {
        if (!copy_file(play->from, play->to))
            atomic_fetch_add(&subject->wrong, 1);
        atomic_store(&play->poison, offset);
        atomic_store(&play->copied, true);
    }
    pthread_mutex_unlock(&play->lock);
    for (unsigned round = 0; !atomic_load(&play->copied) && round < 1000; round++)
        weir_test_sleep_us(100);
    if (go_away(play, offset))
        return WEIR_OVERLOADED;
    return weir_retry_after(message, DAY_MS, "not finished: the process has crashed");
}

/* Later ones: suspects must run with nothing beside them; the poison crashes the process again. */
static enum weir_outcome crash_alone(struct weir_subject *subject, struct weir_message *message)
{
    struct play *play = subject->user;
    uint64_t before = atomic_fetch_add(&play->inside, 1);
    bool suspected = is_suspect(play, weir_message_offset(message));
    enum weir_outcome outcome = WEIR_ACK;
    if (suspected) {
        atomic_fetch_add(&subject->wrong, before > 0);
        weir_test_sleep_us(ALONE_MS * 1000);
        atomic_fetch_add(&subject->wrong, atomic_load(&play->inside) != 1);
        atomic_fetch_add(&play->alone_runs, 1);
    } else {
        atomic_fetch_add(&play->others, 1);
        weir_test_sleep_us(1000);
    }
    if (weir_message_offset(message) == atomic_load(&play->poison)) {
        if (!copy_file(play->from, play->to))
            atomic_fetch_add(&subject->wrong, 1);
        atomic_fetch_add(&play->poisoned, 1);
        outcome = weir_retry_after(message, DAY_MS, "not finished: the process has crashed");
    }
    atomic_fetch_sub(&play->inside, 1);
    return outcome;
}

static void name_files(struct play *play, unsigned process)
{
    snprintf(play->from, sizeof play->from, "%s/journal-%u", play->folder, process);
    snprintf(play->to, sizeof play->to, "%s/journal-%u", play->folder, process + 1);
}

static void start_process(struct weir_scene *scene, struct play *play, unsigned process, weir_subject_rule *rule)
{
    name_files(play, process);
    atomic_store(&play->inside, 0);
    scene->subject.rule = rule;
    WEIR_SCENE_START(scene, "weir.workers", "4", "weir.crash.journal", play->from, "weir.close.drain.ms.max", "500",
                     "weir.commit.map.bytes.max", "0"); /* which would keep that a message was put off */
}

static void end_process(struct weir_scene *scene)
{
    weir_subject_close(&scene->subject); /* WEIR_UNFINISHED where something was put off */
    cr_assert_eq(atomic_load(&scene->subject.wrong), 0u, "a suspect did not run alone, or a file was not copied");
    weir_subject_destroy(&scene->subject);
}

static void set_play(struct weir_scene *scene, struct play *play)
{
    snprintf(play->folder, sizeof play->folder, "/tmp/weir-crash-XXXXXX");
    cr_assert_not_null(mkdtemp(play->folder));
    atomic_store(&play->poison, -1);
    for (size_t index = 0; index < WORKERS; index++)
        atomic_store(&play->suspects[index], -1);
    weir_scene_set(scene, 1, crash_together, play);
    weir_scene_put_many(scene, 0, MESSAGES, KEYS);
}

static void clear_play(struct weir_scene *scene, struct play *play, unsigned files)
{
    for (unsigned process = 0; process < files; process++) {
        name_files(play, process);
        unlink(play->from);
    }
    cr_assert_eq(rmdir(play->folder), 0);
    weir_scene_clear(scene);
}

Test(consumer_crash, suspects_run_alone_and_only_what_crashes_alone_is_dead_lettered)
{
    struct weir_scene scene;
    struct play play = {.lock = PTHREAD_MUTEX_INITIALIZER};
    set_play(&scene, &play);
    start_process(&scene, &play, 0, crash_together);
    WEIR_SCENE_UNTIL(atomic_load(&play.copied));
    end_process(&scene);

    for (unsigned process = 1; process <= 2; process++) {
        start_process(&scene, &play, process, crash_alone);
        WEIR_SCENE_UNTIL(atomic_load(&play.poisoned) == process);
        WEIR_SCENE_UNTIL(atomic_load(&play.others) >= (process == 1 ? MESSAGES - WORKERS : 1u));
        end_process(&scene);
    }
    start_process(&scene, &play, 3, crash_alone);
    WEIR_SCENE_UNTIL(weir_scene_committed(&scene, 1) == MESSAGES);
    cr_assert_eq(weir_subject_stats(&scene.subject).counters.dead_lettered, 1u);
    end_process(&scene);

    cr_assert_eq(atomic_load(&play.poisoned), 2u, "beside others once, alone twice: the third try was the last");
    cr_assert_geq(atomic_load(&play.alone_runs), (uint64_t)WORKERS + 1);
    cr_assert_eq(weir_scene_letters(&scene), 1);
    char poison[24];
    snprintf(poison, sizeof poison, "%lld", (long long)atomic_load(&play.poison)); /* one partition: value = offset */
    cr_assert_str_eq(weir_scene_letter(&scene, poison, "weir.dlq.reason").text, "crash");
    cr_assert_str_eq(weir_scene_letter(&scene, poison, "__dlq.errors.delivery.count").text, "3");
    cr_assert_neq(strstr(weir_scene_letter(&scene, poison, "__dlq.errors.message").text, "the process ended"), NULL);
    weir_ledger_letter(scene.ledger, "orders", 0, atomic_load(&play.poison));
    weir_scene_check(&scene, false);
    clear_play(&scene, &play, 5);
}

/* ---- the deadline ---- */

static char journal[64] = "/tmp/weir-deadline-XXXXXX";

static enum weir_outcome hang(struct weir_message *message, void *user)
{
    for (;;)
        weir_test_sleep_us(1000);
    return WEIR_ACK;
}

/* In a process of its own, cluster and all: it ends by abort(). */
static void run_with_a_deadline(void)
{
    struct weir_mock *mock = weir_mock_create(1);
    const char *const settings[][2] = {{"bootstrap.servers", weir_mock_bootstrap(mock)},
                                       {"group.id", "billing"},
                                       {"weir.topics", "orders"},
                                       {"auto.offset.reset", "earliest"},
                                       {"weir.workers", "2"},
                                       {"weir.crash.journal", journal},
                                       {"weir.handler.deadline.ms", "200"}};
    struct weir_error error;
    struct weir_config *config = weir_config_create();
    weir_mock_topic_create(mock, "orders", 1);
    weir_mock_produce(mock, "orders", 0, "key", 3, "value", 5);
    for (size_t index = 0; config && index < sizeof settings / sizeof *settings; index++)
        if (weir_config_set(config, settings[index][0], settings[index][1], &error) != 0)
            return;
    struct weir_consumer *consumer = weir_consumer_create(config, hang, NULL, &error);
    if (consumer)
        weir_consumer_run(consumer, &error);
}

Test(consumer_crash, a_handler_past_its_deadline_ends_the_process_and_is_in_the_journal)
{
    int descriptor = mkstemp(journal);
    cr_assert_geq(descriptor, 0);
    close(descriptor);
    cr_assert(weir_test_aborts(run_with_a_deadline, "(weir.handler.deadline.ms=200): the process is ended; "
                                                    "the crash journal has it"));
    struct weir_error error;
    struct weir_journal *left = weir_journal_open(journal, "billing", 1, &error);
    cr_assert_not_null(left, "%s", error.text);
    cr_assert_eq(weir_journal_last(left, weir_journal_topic("orders"), 0), 0);
    weir_journal_close(left);
    unlink(journal);
}
