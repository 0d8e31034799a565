/*
 * A chaos scenario: members of a group in processes of their own, disturbances, and the verdicts of
 * tests/support/chaos.h on what came of it.
 *
 * main.c runs each in a child process, so that a failed assertion, a time-out or a crash of one ends neither the others
 * nor leaves members behind: members end with the process that started them, clusters of a scenario's own likewise.
 *
 * What a scenario does
 *   weir_scene_set()      topic, group, dead letter topic, ledger
 *   ...                   produce, start, disturb: by the functions below, which note it in the ledger
 *   weir_scene_end()      close the members, read the letters and the outputs; for who wants to look at the ledger then
 *   weir_scene_judge()    the same if need be, read the group's commits, judge
 *
 * Nothing here returns an error: what fails, fails the run, with its sentence. Thread: the scenario's own.
 */
#ifndef WEIR_TESTS_SCENARIO_H
#define WEIR_TESTS_SCENARIO_H

#include "runtime/random.h"
#include "tests/broker/stage.h"
#include "tests/support/chaos.h"

enum { WEIR_SCENE_MEMBERS_MAX = 16, WEIR_SCENE_STALL_MS_MAX = 30000 };

/* How large a run is; what a number means beyond its name stands with the scenario. */
struct weir_scenario_size {
    unsigned members;
    int partitions;
    uint64_t messages;
    unsigned keys;
    uint64_t work_us;      /* of a run of the handler */
    unsigned disturbances; /* at least so many */
    unsigned seconds;      /* about as long does a run take; ended after four times that and a minute */
};

struct weir_scene;

struct weir_scenario {
    const char *name;
    const char *what; /* a phrase for the table */
    struct weir_scenario_size small, large;
    void (*run)(struct weir_scene *scene);
    int library_version_min; /* of librdkafka; with an older one there is no such scenario */
};

/* Ordered by importance; ends with one without a name. */
extern const struct weir_scenario weir_scenarios[];

struct weir_scene {
    const struct weir_scenario *scenario;
    struct weir_scenario_size size;
    bool large;
    uint64_t seed;
    struct weir_random random;
    struct weir_chaos_terms terms;
    struct weir_chaos_result *result; /* shared with main.c */

    struct weir_stage stage;
    char letters[128];         /* dead letter topic */
    char outputs[128];         /* what handlers emit to; "": nothing */
    const char *letter_reason; /* that each letter must have in its header weir.dlq.reason; NULL: any */
    uint64_t letter_count;     /* that were read back */
    struct weir_member members[WEIR_SCENE_MEMBERS_MAX];
    uint64_t left_ms[WEIR_SCENE_MEMBERS_MAX]; /* when it was sent SIGTERM; 0: it was not */
    struct weir_member_board settings;        /* what boards say at a start: work_us and the like */
    bool may_escalate;                        /* members may end by WEIR_ESCALATED */
    bool is_over;                             /* weir_scene_end() was called */
    uint64_t kills, escalated; /* members that were killed, or have crashed; that have ended by WEIR_ESCALATED */
    struct weir_counters sums; /* of members that have closed */
    struct weir_error said;    /* what the last one that escalated has said */
    uint64_t began_ms, told_ms;
    uint64_t strangers_before_ms; /* commits before it are not those of members */
    int64_t ahead_ns;             /* of the wall clock before the monotonic one, as the scene began */
};

/** Topic, group, dead letter topic and ledger, by the scene's size; terms by default. */
void weir_scene_set(struct weir_scene *scene);
/** Handlers emit, from here on, to a topic of the scene's own; what is in it is judged. */
void weir_scene_emit(struct weir_scene *scene);
/** Messages numbered on, over the scene's keys. */
void weir_scene_produce(struct weir_scene *scene, uint64_t count);

/* ---- members ---- */

#define WEIR_SCENE_SETTINGS(scene, ...)                                                                             \
    WEIR_STAGE_SETTINGS(&(scene)->stage, "weir.window.messages.max", "256", "weir.retry.base.ms", "5",              \
                        "weir.retry.max.ms", "50", "session.timeout.ms", "3000", "heartbeat.interval.ms", "300",    \
                        "weir.dlq.topic", (scene)->letters, "weir.dlq.retry.ms", "200", "reconnect.backoff.max.ms", \
                        "1000", "topic.metadata.propagation.max.ms", "1000", __VA_ARGS__)

void weir_scene_start(struct weir_scene *scene, unsigned member, const char *const *settings);
bool weir_scene_runs(const struct weir_scene *scene, unsigned member);
void weir_scene_kill(struct weir_scene *scene, unsigned member);
void weir_scene_stop(struct weir_scene *scene, unsigned member);     /* SIGSTOP */
void weir_scene_continue(struct weir_scene *scene, unsigned member); /* SIGCONT */
/** SIGTERM; weir_scene_reap() notices the end. */
void weir_scene_dismiss(struct weir_scene *scene, unsigned member);
/** Has a dismissed member ended? Then its time to close is noted, and it may be started again. */
bool weir_scene_reap(struct weir_scene *scene, unsigned member);
/** Has it ended by abort()? Then it is noted, and may be started again. */
bool weir_scene_reap_crash(struct weir_scene *scene, unsigned member);
/** Members' downstream is away, or back: enum weir_member_down. */
void weir_scene_down(struct weir_scene *scene, uint64_t down);
/** SIGTERM and wait. */
void weir_scene_leave(struct weir_scene *scene, unsigned member);
/** Act on the cluster in use, noted as a disturbance, see weir_broker_control; no progress is expected until the second
 *  one has brought back what the first one took. */
void weir_scene_broker(struct weir_scene *scene, const char *command);
void weir_scene_broker_back(struct weir_scene *scene, const char *command);
/** A disturbance of another kind has taken place. */
void weir_scene_other(struct weir_scene *scene);
/** From here on progress is expected, or not. */
void weir_scene_watch(struct weir_scene *scene, bool expected);

/* ---- time ---- */

uint64_t weir_scene_below(struct weir_scene *scene, uint64_t bound);
void weir_scene_sleep(struct weir_scene *scene, uint64_t duration_ms); /* with a line of progress now and then */
uint64_t weir_scene_finished(const struct weir_scene *scene);          /* runs that ended well, in all processes */
bool weir_scene_is_done(const struct weir_scene *scene);               /* all that was produced is committed */
void weir_scene_tell(struct weir_scene *scene);                        /* a line of progress, if it is time */

/* Wait until a condition holds; fail after `limit_ms`. */
#define WEIR_SCENE_UNTIL(scene, limit_ms, condition)                                                      \
    do {                                                                                                  \
        uint64_t scene_deadline_ms_ = weir_broker_now_ms() + (limit_ms);                                  \
        while (!(condition)) {                                                                            \
            cr_assert_lt(weir_broker_now_ms(), scene_deadline_ms_, "waited too long for %s", #condition); \
            weir_scene_sleep(scene, 20);                                                                  \
        }                                                                                                 \
    } while (0)

/** Wait until it is, and blame the run if it is not. Progress is expected no more. */
void weir_scene_finish(struct weir_scene *scene, uint64_t limit_ms);

/* ---- the end ---- */

/** Close what runs, read letters and outputs to the ledger. */
void weir_scene_end(struct weir_scene *scene);
/** That, unless it was done; then read the commits, judge; the stage goes away. */
void weir_scene_judge(struct weir_scene *scene);

/** Is there a record of this kind, place for place? For scenarios' own verdicts. NULL: not sealed, or of another kind.
 */
const struct weir_ledger_record *weir_scene_record(const struct weir_scene *scene, size_t place,
                                                   enum weir_ledger_kind kind);

/** Ask for something of the run; what is not so is its failure, and the run goes on. */
#define WEIR_SCENE_REQUIRE(scene, condition, ...)              \
    do {                                                       \
        if (!(condition))                                      \
            weir_chaos_blame((scene)->result, "" __VA_ARGS__); \
    } while (0)

/** The history of a group's commits, from the broker's own topic. Strangers' are those with metadata that is no map,
 *  those before a time, and removals. */
void weir_scene_history(const char *group, const struct weir_scene *scene, struct weir_chaos_history *history);
int64_t weir_scene_ahead_ns(void); /* of the wall clock before the monotonic one; at most that */
/** How many rebalances a group has been through, by the broker's record of it: its generation. */
uint64_t weir_scene_generation(const char *group);
/** What strangers write as metadata. */
#define WEIR_SCENE_STRANGER "by the harness"

#endif
