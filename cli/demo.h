/*
 * `weir demo`: the same stream of orders through Weir and through a plain poll loop, on an embedded mock cluster, with
 * a verdict in the end that is computed from a ledger of its own.
 *
 *   demo.c          options, the flow from start to verdict
 *   demo_load.c     the plan (which orders, which fail) and the producer
 *   demo_weir.c     the Weir consumer, its handler and the simulated downstream
 *   demo_poll.c     the poll loop beside it
 *   demo_ledger.c   what was handled, in which order
 *   demo_audit.c    what the broker holds in the end: dead letters and committed offsets, read by a plain consumer
 *   demo_screen.c   the live display
 *   demo_verdict.c  the sums, and the last page
 *
 * An order is known by its id, 0 .. count - 1, which its value carries. What becomes of it follows from seed and id
 * alone, so that both consumers meet the same failures.
 */
#ifndef WEIR_CLI_DEMO_H
#define WEIR_CLI_DEMO_H

#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <weir/weir.h>

#define DEMO_TOPIC          "orders"
#define DEMO_DLQ_TOPIC      "orders.dlq"
#define DEMO_GROUP          "weir-demo"
#define DEMO_PARTITIONS     6
#define DEMO_DLQ_PARTITIONS 3
#define DEMO_WINDOW         256 /* messages a partition */
#define DEMO_LATENCY_MS     10  /* of the simulated downstream, a run */
#define DEMO_ATTEMPTS_MAX   4
#define DEMO_RETRY_BASE_MS  40
#define DEMO_VALUE_SIZE_MAX 96

/* What of a run is asked for on the command line. */
struct weir_demo_options {
    uint32_t seconds;  /* length to size the load for */
    uint32_t messages; /* 0: as many as fit the seconds */
    uint32_t keys;
    uint64_t seed;
    bool plain; /* lines instead of a screen */
};

/* ---- demo_load.c ---- */

struct weir_demo_order {
    uint32_t key;           /* 0 is the hottest */
    uint32_t sequence;      /* number within its key, from 0 */
    int32_t partition;      /* constant, like the two above */
    _Atomic int64_t offset; /* from the delivery report; -1 before */
};

struct weir_demo_plan {
    struct weir_demo_order *orders;
    uint32_t count, keys;
    uint64_t seed;
    double run_seconds; /* how long Weir should take */
    uint32_t partition_count[DEMO_PARTITIONS];
};

/** Draw the orders. Errors: a sentence in `error`. Ownership: weir_demo_plan_deinit(). */
int weir_demo_plan_init(struct weir_demo_plan *plan, const struct weir_demo_options *options, struct weir_error *error);
void weir_demo_plan_deinit(struct weir_demo_plan *plan);

/** How many runs of this order fail before one succeeds; UINT32_MAX: all. */
uint32_t weir_demo_failures(const struct weir_demo_plan *plan, uint32_t id);
/** The id in an order's value, or -1 for what is none of ours. */
int64_t weir_demo_order_id(const struct weir_demo_plan *plan, const void *value, size_t size);
uint64_t weir_demo_mix(uint64_t seed, uint64_t number); /* a hash: equal arguments, equal result */
uint64_t weir_demo_now_ns(void);
void weir_demo_sleep_until_ns(uint64_t due_ns);
/** A configuration for a plain client of the demo, quiet; NULL where memory is short. */
rd_kafka_conf_t *weir_demo_client(const char *bootstrap);

struct weir_demo_load {
    const struct weir_demo_plan *plan;
    const char *bootstrap;
    const _Atomic uint64_t *first_ns;      /* Weir's first run: the stream begins there; 0 before */
    _Atomic uint32_t acknowledged, failed; /* by delivery report */
    _Atomic bool stop, done;
    struct weir_error error;
    pthread_t thread;
    rd_kafka_t *producer;
};

int weir_demo_load_start(struct weir_demo_load *load, struct weir_error *error);
void weir_demo_load_join(struct weir_demo_load *load);

/* ---- demo_ledger.c ---- */

struct weir_demo_ledger {
    const struct weir_demo_plan *plan;
    pthread_mutex_t lock;                /* guards all below that is not atomic */
    uint8_t *states;                     /* one an order: enum in demo_ledger.c */
    struct weir_demo_key *keys;          /* one a key */
    _Atomic uint64_t first_ns, last_ns;  /* first run, latest finish */
    _Atomic uint32_t handled, given_up;  /* orders, each counted once */
    _Atomic uint32_t runs, failed_runs;  /* runs of the handler, those that failed */
    uint32_t again, misplaced, overlaps; /* finished twice; started out of turn; started beside another of its key */
    uint32_t strangers;                  /* messages that are no order of this run */
    uint32_t letters, letters_wrong;     /* read back from the dead letter topic; not matching what was given up */
    uint32_t letters_in[DEMO_DLQ_PARTITIONS];
};

int weir_demo_ledger_init(struct weir_demo_ledger *ledger, const struct weir_demo_plan *plan, struct weir_error *error);
void weir_demo_ledger_deinit(struct weir_demo_ledger *ledger);
/** Thread: any. A run of an order begins; it has ended, ok or not, and in the second case for the last time or not. */
void weir_demo_ledger_start(struct weir_demo_ledger *ledger, uint32_t id);
void weir_demo_ledger_end(struct weir_demo_ledger *ledger, uint32_t id, bool handled, bool last);
void weir_demo_ledger_stranger(struct weir_demo_ledger *ledger);
/** Thread: main, after the consumer has closed. `id` -1: a letter that belongs to no order. */
void weir_demo_ledger_letter(struct weir_demo_ledger *ledger, int64_t id, int32_t dlq_partition);
/** Orders with neither a success nor a dead letter, and those with both. Thread: main, at the end. */
void weir_demo_ledger_sum(struct weir_demo_ledger *ledger, uint32_t *neither, uint32_t *both);

uint32_t weir_demo_ledger_keys(const struct weir_demo_ledger *ledger); /* that had an order started */

/* ---- demo_weir.c ---- */

struct weir_demo_weir;

struct weir_demo_weir *weir_demo_weir_start(const char *bootstrap, struct weir_demo_ledger *ledger,
                                            struct weir_error *error);
const struct weir_consumer *weir_demo_weir_consumer(const struct weir_demo_weir *weir);
/** Close and free. Errors: those of weir_consumer_close(). */
int weir_demo_weir_stop(struct weir_demo_weir *weir, struct weir_error *error);

/* ---- demo_poll.c ---- */

struct weir_demo_poll {
    const struct weir_demo_plan *plan;
    const char *bootstrap;
    _Atomic bool stop;
    _Atomic uint64_t first_ns; /* its first run; 0 before */
    _Atomic uint32_t handled;  /* orders finished */
    _Atomic uint64_t *done_ns; /* when each was, ascending; `handled` of them are valid */
    struct weir_error error;
    pthread_t thread;
    rd_kafka_t *consumer;
};

int weir_demo_poll_start(struct weir_demo_poll *poll, struct weir_error *error);
void weir_demo_poll_join(struct weir_demo_poll *poll); /* stops it */
/** How many it had finished `duration_ns` after its first run began. */
uint32_t weir_demo_poll_handled_in(const struct weir_demo_poll *poll, uint64_t duration_ns);

/* ---- demo_audit.c ---- */

struct weir_demo_audit {
    bool letters_read, offsets_read;    /* to the end */
    int64_t committed[DEMO_PARTITIONS]; /* -1: none */
    char example[3][160];               /* a few letters, in words */
    struct weir_error error;
};

/** Read the dead letter topic into the ledger, and the group's offsets. Thread: main, after the consumer closed. */
void weir_demo_audit_run(struct weir_demo_audit *audit, const char *bootstrap, struct weir_demo_ledger *ledger);

/* ---- demo_screen.c ---- */

/* What one frame shows. */
struct weir_demo_view {
    const struct weir_demo_plan *plan;
    double elapsed_s;
    uint32_t produced, handled, given_up, poll_handled, failed_runs;
    double rate, poll_rate; /* messages a second, over the last second or so */
    uint64_t keys_max;      /* most keys in flight so far */
    bool joining;
    struct weir_stats stats;
    struct weir_partition_stats partitions[DEMO_PARTITIONS];
    size_t partition_count;
    const char *notice; /* the latest warning, or NULL */
};

struct weir_demo_screen;

/** Thread: main. NULL where memory is short. `plain`: a line a second instead. */
struct weir_demo_screen *weir_demo_screen_create(bool plain);
void weir_demo_screen_draw(struct weir_demo_screen *screen, const struct weir_demo_view *view);
/** Give the terminal back. What follows is written by printf. Async-signal-safe it is not. */
void weir_demo_screen_leave(struct weir_demo_screen *screen);
void weir_demo_screen_destroy(struct weir_demo_screen *screen);

struct weir_demo_number {
    char text[32];
};
struct weir_demo_number weir_demo_number(uint64_t number); /* with separators: 12,345 */

enum weir_demo_ink {
    DEMO_INK_NONE,
    DEMO_INK_BOLD,
    DEMO_INK_DIM,
    DEMO_INK_GOOD,
    DEMO_INK_WARN,
    DEMO_INK_BAD,
    DEMO_INK_MAIN
};
/** Escape sequence for an ink, empty where colours are off. */
const char *weir_demo_ink(const struct weir_demo_screen *screen, enum weir_demo_ink ink);
/** A bar of `width` columns, filled to `share` (0 .. 1), at least a sliver where share > 0. Returns `text`. */
const char *weir_demo_bar(const struct weir_demo_screen *screen, char *text, size_t size, double share, unsigned width);
unsigned weir_demo_screen_columns(const struct weir_demo_screen *screen);
bool weir_demo_screen_is_live(const struct weir_demo_screen *screen); /* redrawn, not lines */
/** The names of pause bits, separated by commas. */
const char *weir_demo_pause_names(uint32_t pause, char *text, size_t size);

/* ---- demo_verdict.c ---- */

/* What the verdict is about. */
struct weir_demo_case {
    const struct weir_demo_plan *plan;
    struct weir_demo_ledger *ledger;
    const struct weir_demo_load *load;
    const struct weir_demo_poll *poll;
    const struct weir_demo_audit *audit;
    const struct weir_demo_screen *screen;
    int close_code; /* of the consumer */
    const char *close_text;
    bool interrupted;
};

/** Print it. True when all holds and something was checked. */
bool weir_demo_verdict(const struct weir_demo_case *matter);

/* ---- demo.c ---- */

/** The subcommand: argv[0] is its name. Returns the exit status: 0 verdict holds, 1 it does not, 2 bad usage. */
int weir_cli_demo(int argc, char **argv);

#endif
