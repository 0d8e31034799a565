/*
 * The bounds of a suspect's turn, by virtual time: for how long what runs already is waited for, how long a suspect has
 * the process to itself, that the others start again then, and that a crash past a bound condemns nobody.
 *
 * Two partitions, each on a worker of its own. In partition 1 the suspect stands behind a message of its key, the gate,
 * which is out for GATE_NS: so all else is at work as the suspect comes to the head of its key. In partition 0 a
 * message may be stuck: out for ever, or in a handler that does not return, played by a worker of which no step runs.
 * In both, an ordinary message of another key comes each second.
 */
#include "actors/consumer.h"
#include "tests/sim/consumer_own.h"
#include "tests/support/test.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SECOND   WEIR_WORLD_SECOND
#define GATE_NS  (5 * SECOND)
#define LONG_NS  (200 * SECOND)
#define SLACK_NS (SECOND / 5) /* control looks every 50 ms, and requests take their time */

enum { SUSPECT = 1, SECOND_SUSPECT = 2, STARTS_MAX = 1000 };
enum stuck { STUCK_NOT = 0, STUCK_LATER, STUCK_HANDLER };

struct out {
    struct weir_later later;
    struct weir_world_process *process;
    uint64_t run;
};

static struct {
    char folder[64], path[96];
    enum stuck stuck;
    uint64_t suspect_runs_ns; /* for so long it keeps its worker */
    uint64_t gate_over_ns, suspect_ns, second_ns;
    bool condemned; /* by a crash in its handler */
    uint64_t starts_ns[STARTS_MAX];
    unsigned starts; /* of ordinary messages */
    struct out gate, held;
} play;

static uint64_t now_ns(struct weir_world *world)
{
    return weir_simulation_now_ns(weir_world_simulation(world));
}

static void finish(void *argument)
{
    struct out *out = argument;
    if (out == &play.gate)
        play.gate_over_ns = now_ns(weir_world_of(out->process));
    weir_world_end(out->process, out->run, WEIR_ACK);
    weir_later_finish(out->later, WEIR_ACK);
}

static enum weir_outcome give_out(struct out *out, struct weir_message *message, struct weir_world_process *process,
                                  uint64_t run, uint64_t for_ns)
{
    *out = (struct out){weir_message_later(message), process, run};
    weir_fake_after(weir_world_cluster(weir_world_of(process)), for_ns, finish, NULL, out);
    return WEIR_LATER;
}

static void keep_worker(struct weir_world *world, const struct weir_message *message, uint64_t for_ns)
{
    weir_simulation_stall(weir_world_simulation(world), message->partition->resident.home, for_ns);
}

static struct weir_journal_name name_of(struct weir_world *world, int64_t offset)
{
    struct weir_fake_record record;
    cr_assert(weir_fake_read(weir_world_cluster(world), "orders", 1, offset, &record) && record.offset == offset);
    return (struct weir_journal_name){.topic_hash = weir_journal_topic("orders"),
                                      .offset = offset,
                                      .timestamp_ms = record.timestamp_ms,
                                      .sizes = weir_journal_sizes(record.key_size, record.value_size),
                                      .partition = 1};
}

/* Would a crash in this moment, while the suspect runs, condemn it where one crash does? */
static bool crash_condemns(struct weir_world *world)
{
    static struct weir_journal_file image;
    struct weir_journal next;
    struct weir_suspect suspect;
    const struct weir_journal *journal = weir_own_consumer()->journal;
    struct weir_journal_name name = name_of(world, SUSPECT);
    image = *journal->file;
    weir_journal_claim(&image.slots[1], &name); /* a worker that is kept has left its handler, strictly speaking */
    weir_journal_clear(&image.slots[2]);
    struct weir_journal_findings findings = weir_journal_attach(&next, &image, journal->group_hash, 1);
    bool found = weir_journal_find(&next, &name, &suspect);
    weir_journal_detach(&next);
    cr_assert(findings.running == 1 && found && suspect.crashes >= 2);
    return weir_suspect_is_condemned(&suspect, 1);
}

static enum weir_outcome on_message(struct weir_message *message, void *user)
{
    struct weir_world *world = weir_world_of(user);
    int32_t partition = weir_message_partition(message);
    int64_t offset = weir_message_offset(message);
    uint64_t run;
    weir_own_begin(message, user, &run);
    if (partition == 1 && offset == 0)
        return give_out(&play.gate, message, user, run, GATE_NS);
    if (partition == 0 && offset == 0 && play.stuck == STUCK_LATER)
        return give_out(&play.held, message, user, run, LONG_NS);
    if (partition == 0 && offset == 0 && play.stuck == STUCK_HANDLER)
        keep_worker(world, message, LONG_NS);
    if (message->crashes > 0 && offset == SUSPECT) {
        play.suspect_ns = now_ns(world);
        play.condemned = crash_condemns(world);
        keep_worker(world, message, play.suspect_runs_ns);
    } else if (message->crashes > 0) {
        play.second_ns = now_ns(world);
    } else if (offset > 0 && play.starts < STARTS_MAX) {
        play.starts_ns[play.starts++] = now_ns(world);
    }
    weir_world_end(user, run, WEIR_ACK);
    return WEIR_ACK;
}

/* ---- the play ---- */

/* A process before this one has crashed while it handled these. */
static void accuse(struct weir_world *world, unsigned suspects)
{
    struct weir_error error;
    struct weir_journal *journal = weir_journal_open(play.path, "group", 1, &error);
    cr_assert_not_null(journal, "%s", error.text);
    for (unsigned index = 0; index < suspects; index++) {
        struct weir_journal_name name = name_of(world, SUSPECT + index);
        weir_journal_claim(weir_journal_slot(journal, 1 + index), &name);
    }
    weir_journal_close(journal);
}

static struct weir_world *make(const char *deadline_ms, enum stuck stuck, uint64_t suspect_runs_ns, unsigned suspects)
{
    static const char *options[] = {
        "weir.crash.journal", play.path, "weir.crash.attempts.max", "1", "weir.handler.deadline.ms", NULL, NULL};
    static const struct weir_own own = {on_message, options};
    memset(&play, 0, sizeof play);
    play.stuck = stuck;
    play.suspect_runs_ns = suspect_runs_ns;
    options[5] = deadline_ms;
    snprintf(play.folder, sizeof play.folder, "/tmp/weir-sim-turns-XXXXXX");
    cr_assert_not_null(mkdtemp(play.folder));
    snprintf(play.path, sizeof play.path, "%s/journal", play.folder);
    weir_log_set(NULL, NULL, 0);
    struct weir_world *world = weir_world_create(&(struct weir_world_settings){
        .seed = 5, .partitions = 2, .workers = 2, .driver = &weir_own_driver, .driver_data = &own});
    weir_world_append(world, "orders", 0, 0);
    for (unsigned index = 0; index <= suspects; index++) /* the gate, then in keys of their own but for the first */
        weir_world_append(world, "orders", 1, index == 0 ? 0 : (int)index - 1);
    accuse(world, suspects);
    weir_world_start(world);
    return world;
}

static void run(struct weir_world *world, unsigned seconds)
{
    for (; seconds > 0; seconds--) {
        weir_world_run(world, SECOND);
        weir_world_append(world, "orders", 0, 10);
        weir_world_append(world, "orders", 1, 11);
    }
}

static void run_to(struct weir_world *world, uint64_t to_ns)
{
    cr_assert_gt(to_ns, now_ns(world));
    weir_world_run(world, to_ns - now_ns(world));
}

/* How many ordinary messages started from one time until just before another. */
static unsigned starts(uint64_t from_ns, uint64_t below_ns)
{
    unsigned count = 0;
    for (unsigned index = 0; index < play.starts; index++)
        count += play.starts_ns[index] >= from_ns && play.starts_ns[index] < below_ns;
    return count;
}

static void end(struct weir_world *world)
{
    run(world, (unsigned)(LONG_NS / SECOND));
    cr_assert(weir_world_run_until_finished(world, 900 * SECOND));
    cr_assert(weir_world_close(world, 60 * SECOND));
    struct weir_world_verdict verdict = weir_world_verdict(world);
    cr_assert(verdict.ok, "%s", verdict.text);
    cr_assert_eq(weir_world_tally(world)->letters, 0u);
    weir_world_destroy(world);
    unlink(play.path);
    cr_assert_eq(rmdir(play.folder), 0);
}

#define SINCE_MS(from_ns, ns) ((long long)((ns) - (from_ns)) / 1000000)

static void require_turn_after(const char *deadline_ms, enum stuck stuck, uint64_t wait_ns)
{
    struct weir_world *world = make(deadline_ms, stuck, 0, 1);
    run(world, 20 + (unsigned)(wait_ns / SECOND));
    cr_assert(play.gate_over_ns > 0 && play.suspect_ns > 0, "the suspect has not run");
    uint64_t closed_ns = play.gate_over_ns + SLACK_NS;
    cr_assert(play.suspect_ns >= play.gate_over_ns + wait_ns && play.suspect_ns < closed_ns + wait_ns,
              "it ran after %lld ms", SINCE_MS(play.gate_over_ns, play.suspect_ns));
    cr_assert_gt(starts(0, play.gate_over_ns), 2u, "before it nobody waited");
    cr_assert_eq(starts(closed_ns, play.suspect_ns), 0u, "others started while those that ran were waited for");
    uint64_t next_ns = stuck == STUCK_NOT ? SECOND : 0; /* when one comes, or is there already */
    cr_assert_gt(starts(play.suspect_ns, play.suspect_ns + next_ns + SLACK_NS), 0u, "others did not start again");
    cr_assert_gt(starts(play.suspect_ns + SECOND, UINT64_MAX), 5u, "nor later");
    cr_assert_eq(play.condemned, stuck == STUCK_NOT, "a crash condemns it if nothing ran beside it, and else not");
    end(world);
}

Test(turns, a_suspect_runs_at_once_where_nothing_runs)
{
    require_turn_after("0", STUCK_NOT, 0);
}

Test(turns, what_runs_is_waited_for_30_s_and_then_a_crash_condemns_nobody)
{
    require_turn_after("0", STUCK_LATER, 30 * SECOND);
    require_turn_after("0", STUCK_HANDLER, 30 * SECOND);
    require_turn_after("20000", STUCK_LATER, 30 * SECOND);
}

Test(turns, what_runs_is_waited_for_until_its_deadline_where_that_is_longer)
{
    require_turn_after("45000", STUCK_LATER, 45 * SECOND);
    require_turn_after("45000", STUCK_HANDLER, 45 * SECOND);
}

static void require_turn_of(const char *deadline_ms, uint64_t turn_ns)
{
    struct weir_world *world = make(deadline_ms, STUCK_NOT, LONG_NS, 1);
    run(world, 20);
    cr_assert(play.suspect_ns > 0 && play.condemned, "the suspect has not run, or not alone");
    const struct weir_partition *other = weir_consumer_find(weir_own_consumer(), "orders", 0);
    const struct weir_partition *own = weir_consumer_find(weir_own_consumer(), "orders", 1);
    cr_assert_neq(other->resident.home, own->resident.home, "nobody else could run");
    run(world, (unsigned)(turn_ns / SECOND) - 25);
    run_to(world, play.suspect_ns + turn_ns - SECOND);
    cr_assert(crash_condemns(world), "it had the process to itself");
    cr_assert_eq(starts(play.suspect_ns, UINT64_MAX), 0u, "others started beside it");
    run_to(world, play.suspect_ns + turn_ns + SECOND);
    cr_assert_not(crash_condemns(world), "others run beside it");
    uint64_t over_ns = play.suspect_ns + turn_ns;
    cr_assert_eq(starts(play.suspect_ns, over_ns), 0u, "others started too early");
    cr_assert_gt(starts(over_ns, over_ns + SLACK_NS), 0u, "others did not start again");
    run(world, 10);
    cr_assert_gt(starts(over_ns + SECOND, UINT64_MAX), 8u, "nor later");
    end(world);
}

Test(turns, a_suspect_has_60_s_and_then_a_crash_condemns_nobody)
{
    require_turn_of("0", 60 * SECOND);
    require_turn_of("20000", 60 * SECOND);
}

Test(turns, a_suspect_has_twice_the_deadline_where_that_is_longer)
{
    require_turn_of("45000", 90 * SECOND);
}

/* The second suspect waits in the partition whose worker is kept by the first: its turns are not taken either. */
Test(turns, suspects_that_hang_leave_the_others_half_of_the_time)
{
    struct weir_world *world = make("0", STUCK_NOT, LONG_NS, 2);
    run(world, 190);
    uint64_t from_ns = play.suspect_ns + 60 * SECOND, to_ns = play.suspect_ns + 180 * SECOND;
    cr_assert(play.suspect_ns > 0 && play.second_ns == 0 && to_ns < now_ns(world));
    unsigned seconds = 0;
    for (uint64_t at_ns = from_ns; at_ns < to_ns; at_ns += SECOND)
        seconds += starts(at_ns, at_ns + SECOND) > 0;
    cr_assert_geq(seconds, 55u, "others started in %u of 120 s", seconds);
    end(world);
    cr_assert_geq(play.second_ns, play.suspect_ns + LONG_NS, "the second suspect never ran");
}
