/*
 * How many nanoseconds do the parts of the hot path take: mailbox, run queue, messages between workers, timers, map?
 *
 * Each row is repeated, its median counts. Rows "on 2 threads" say whether a second thread costs the first something;
 * for the mailbox and the residents the second thread is the other side. Loads are fixed and small: a second a row.
 * Standard output gets a JSON line a row, standard error a table.
 *
 * Thread: main, and those a row starts.
 */
#include "actors/map.h"
#include "bench/common.h"
#include "runtime/check.h"
#include "runtime/mailbox.h"
#include "runtime/system.h"
#include "runtime/timers.h"
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REPEATS       7
#define MAIL_BATCH    64u
#define MAIL_ROUNDS   3125u
#define MAILS         (MAIL_ROUNDS * MAIL_BATCH)
#define ACTORS        1000u
#define ACTOR_TURNS   1000u
#define HOPS          20000u
#define TIMERS        10000u
#define TIMER_ROUNDS  20u
#define MAP_WINDOW    8192
#define MAP_ROUNDS    200u
#define MAP_TEXT_SIZE 4000u
#define THREADS_MAX   2u

static void *allocate(size_t count, size_t size)
{
    void *memory = calloc(count, size);
    if (!memory)
        weir_bench_die("memory is too short for %zu x %zu bytes", count, size);
    return memory;
}

/* ---- rows that are a loop of one thread, run on one or more at a time ---- */

typedef void loop_body(void *state);

struct loop_thread {
    pthread_t thread;
    pthread_barrier_t *start;
    loop_body *body;
    void *state;
    uint64_t ns;
};

static void *run_loop(void *argument)
{
    struct loop_thread *self = argument;
    pthread_barrier_wait(self->start);
    uint64_t begin_ns = weir_bench_now_ns();
    self->body(self->state);
    self->ns = weir_bench_now_ns() - begin_ns;
    return NULL;
}

/* Mean time of the threads, for one operation of `count`. */
static double measure_loop(loop_body *body, void *(*create)(void), unsigned threads, double count)
{
    struct loop_thread loops[THREADS_MAX];
    pthread_barrier_t start;
    double ns = 0;
    pthread_barrier_init(&start, NULL, threads);
    for (unsigned i = 0; i < threads; i++) {
        loops[i] = (struct loop_thread){.start = &start, .body = body, .state = create()};
        if (pthread_create(&loops[i].thread, NULL, run_loop, &loops[i]) != 0)
            weir_bench_die("a thread could not be started");
    }
    for (unsigned i = 0; i < threads; i++) {
        pthread_join(loops[i].thread, NULL);
        ns += (double)loops[i].ns;
        free(loops[i].state);
    }
    pthread_barrier_destroy(&start);
    return ns / threads / count;
}

struct mailbox_state {
    struct weir_mailbox mailbox;
    struct weir_mail mails[MAIL_BATCH];
};

static void *create_mailbox(void)
{
    struct mailbox_state *state = allocate(1, sizeof *state);
    weir_mailbox_init(&state->mailbox, MAIL_BATCH, UINT64_MAX);
    return state;
}

static void send_and_take(void *argument)
{
    struct mailbox_state *state = argument;
    for (unsigned round = 0; round < MAIL_ROUNDS; round++) {
        for (unsigned i = 0; i < MAIL_BATCH; i++)
            weir_mailbox_send(&state->mailbox, &state->mails[i]);
        WEIR_CHECK(weir_mailbox_take(&state->mailbox) == &state->mails[0]);
    }
}

static void try_send_and_release(void *argument)
{
    struct mailbox_state *state = argument;
    for (unsigned round = 0; round < MAIL_ROUNDS; round++) {
        for (unsigned i = 0; i < MAIL_BATCH; i++)
            WEIR_CHECK(weir_mailbox_try_send(&state->mailbox, &state->mails[i]) == 0);
        for (struct weir_mail *mail = weir_mailbox_take(&state->mailbox), *next; mail; mail = next) {
            next = mail->next;
            weir_mailbox_release(&state->mailbox, mail);
        }
    }
}

static double mailbox_row(unsigned threads)
{
    return measure_loop(send_and_take, create_mailbox, threads, MAILS);
}

static double counted_mailbox_row(unsigned threads)
{
    return measure_loop(try_send_and_release, create_mailbox, threads, MAILS);
}

struct timers_state {
    struct weir_timers heap;
    struct weir_timer timers[TIMERS];
};

static uint64_t timers_fired; /* so that the callback is not empty; rows of two threads share it, which is harmless */

static void on_timer(struct weir_timer *timer)
{
    (void)__atomic_fetch_add(&timers_fired, timer->due_ns == UINT64_MAX, __ATOMIC_RELAXED);
}

static void *create_timers(void)
{
    struct timers_state *state = allocate(1, sizeof *state);
    weir_timers_init(&state->heap);
    for (unsigned i = 0; i < TIMERS; i++)
        weir_timer_init(&state->timers[i], on_timer);
    return state;
}

static void arm_all(struct timers_state *state, unsigned round)
{
    for (unsigned i = 0; i < TIMERS; i++)
        weir_timers_arm(&state->heap, &state->timers[i], 1 + weir_bench_mix(round, i) % 1000000000u);
}

static void arm_and_fire(void *argument)
{
    struct timers_state *state = argument;
    for (unsigned round = 0; round < TIMER_ROUNDS; round++) {
        arm_all(state, round);
        WEIR_CHECK(weir_timers_expire(&state->heap, UINT64_MAX - 1, TIMERS) == TIMERS);
    }
}

static void arm_and_cancel(void *argument)
{
    struct timers_state *state = argument;
    for (unsigned round = 0; round < TIMER_ROUNDS; round++) {
        arm_all(state, round);
        for (unsigned i = 0; i < TIMERS; i++)
            weir_timers_cancel(&state->heap, &state->timers[i]);
    }
    WEIR_CHECK(state->heap.count == 0);
}

static double timers_fire_row(unsigned threads)
{
    return measure_loop(arm_and_fire, create_timers, threads, (double)TIMERS * TIMER_ROUNDS);
}

static double timers_cancel_row(unsigned threads)
{
    return measure_loop(arm_and_cancel, create_timers, threads, (double)TIMERS * TIMER_ROUNDS);
}

struct map_state {
    struct weir_map_offset unfinished[MAP_WINDOW / 4];
    char text[MAP_TEXT_SIZE];
};

/* Every fourth offset of a window is unfinished, as after a run of retries. */
static void *create_map(void)
{
    struct map_state *state = allocate(1, sizeof *state);
    for (unsigned i = 0; i < WEIR_COUNT(state->unfinished); i++)
        state->unfinished[i] = (struct weir_map_offset){.offset = 1000000 + i * 4 + (i > 0 ? i % 3 : 0)};
    return state;
}

static void encode(void *argument)
{
    struct map_state *state = argument;
    struct weir_map_log log = {.cluster_hash = 1, .leader_epoch = 1};
    struct weir_map_witness witness = {.offset = 1000001, .checksum = 7};
    for (unsigned round = 0; round < MAP_ROUNDS; round++) {
        int64_t end;
        size_t length = weir_map_encode(1000000, 1000000 + MAP_WINDOW, state->unfinished, WEIR_COUNT(state->unfinished),
                                        &log, &witness, state->text, MAP_TEXT_SIZE, &end);
        WEIR_CHECK(length > 0);
        WEIR_CHECK(end == 1000000 + MAP_WINDOW);
    }
}

static double map_row(unsigned threads)
{
    return measure_loop(encode, create_map, threads, (double)MAP_ROUNDS * MAP_WINDOW / 4);
}

/* ---- a mailbox between two threads ---- */

struct crossing {
    struct weir_mailbox mailbox;
    struct weir_mail *mails;
};

static void *send_all(void *argument)
{
    struct crossing *crossing = argument;
    for (unsigned i = 0; i < MAILS; i++)
        weir_mailbox_send(&crossing->mailbox, &crossing->mails[i]);
    return NULL;
}

static double mailbox_crossing_row(unsigned threads)
{
    struct crossing crossing = {.mails = allocate(MAILS, sizeof *crossing.mails)};
    pthread_t sender;
    unsigned taken = 0;
    weir_mailbox_init(&crossing.mailbox, MAILS, UINT64_MAX);
    uint64_t begin_ns = weir_bench_now_ns();
    if (pthread_create(&sender, NULL, send_all, &crossing) != 0)
        weir_bench_die("a thread could not be started");
    while (taken < MAILS)
        for (struct weir_mail *mail = weir_mailbox_take(&crossing.mailbox); mail; mail = mail->next)
            taken++;
    uint64_t ns = weir_bench_now_ns() - begin_ns;
    pthread_join(sender, NULL);
    free(crossing.mails);
    return (double)ns / MAILS;
}

/* ---- workers ---- */

struct stage; /* what the actors of one row share */

struct roamer {
    struct weir_actor actor;
    struct stage *stage;
    unsigned turns_left;
};

struct starter {
    struct weir_resident resident;
    struct stage *stage;
    struct roamer *roamers; /* ACTORS of them */
    struct weir_mail mail;
    struct starter *other;
};

struct stage {
    struct weir_system *system;
    struct starter starters[THREADS_MAX];
    _Atomic uint64_t left; /* actors, or hops */
};

static struct weir_system *start_system(unsigned workers)
{
    struct weir_error error;
    struct weir_system *system = weir_system_create(workers, 0, weir_seam_system(), &error);
    if (!system || weir_system_start(system, &error) != 0)
        weir_bench_die("%s", error.text);
    return system;
}

static void wait_for_end(const struct stage *stage)
{
    while (atomic_load_explicit(&stage->left, memory_order_acquire) > 0) /* pairs with the release of the last turn */
        weir_bench_sleep_until_ns(weir_bench_now_ns() + 20000);
}

static void roam(struct weir_actor *actor, struct weir_worker *worker)
{
    struct roamer *roamer = WEIR_CONTAINER(actor, struct roamer, actor);
    if (--roamer->turns_left > 0)
        weir_worker_dispatch(worker, actor);
    else
        atomic_fetch_sub_explicit(&roamer->stage->left, 1, memory_order_release); /* pairs with wait_for_end */
}

static void start_roaming(struct weir_actor *actor, struct weir_worker *worker)
{
    struct starter *starter = WEIR_CONTAINER(actor, struct starter, resident.actor);
    for (unsigned i = 0; i < ACTORS; i++) {
        starter->roamers[i] = (struct roamer){.actor.turn = roam, .stage = starter->stage, .turns_left = ACTOR_TURNS};
        weir_worker_dispatch(worker, &starter->roamers[i].actor);
    }
}

/* Time of a worker for one turn: dispatch, take, run. */
static double dispatch_row(unsigned threads)
{
    struct stage *stage = allocate(1, sizeof *stage);
    stage->system = start_system(threads);
    atomic_init(&stage->left, (uint64_t)threads * ACTORS);
    for (unsigned i = 0; i < threads; i++) {
        struct starter *starter = &stage->starters[i];
        starter->stage = stage;
        starter->roamers = allocate(ACTORS, sizeof *starter->roamers);
        weir_resident_init(&starter->resident, weir_system_worker(stage->system, i + 1), start_roaming, 1, 0);
    }
    uint64_t begin_ns = weir_bench_now_ns();
    for (unsigned i = 0; i < threads; i++)
        weir_resident_notify(&stage->starters[i].resident);
    wait_for_end(stage);
    uint64_t ns = weir_bench_now_ns() - begin_ns;
    weir_system_stop(stage->system);
    weir_system_destroy(stage->system);
    for (unsigned i = 0; i < threads; i++)
        free(stage->starters[i].roamers);
    free(stage);
    return (double)ns / ((double)ACTORS * ACTOR_TURNS); /* each worker does its own share */
}

static void pass_on(struct weir_actor *actor, struct weir_worker *worker)
{
    struct starter *starter = WEIR_CONTAINER(actor, struct starter, resident.actor);
    struct weir_mail *mail = weir_mailbox_take(&starter->resident.mailbox);
    /* relaxed read: only the holder of the mail writes; release pairs with wait_for_end */
    if (mail && atomic_fetch_sub_explicit(&starter->stage->left, 1, memory_order_release) > 1)
        weir_resident_send(&starter->other->resident, mail);
}

/* One mail goes to and fro between two residents, on one worker or on two. */
static double hop_row(unsigned threads)
{
    struct stage *stage = allocate(1, sizeof *stage);
    stage->system = start_system(threads);
    atomic_init(&stage->left, HOPS);
    for (unsigned i = 0; i < 2; i++) {
        stage->starters[i].stage = stage;
        stage->starters[i].other = &stage->starters[1 - i];
        weir_resident_init(&stage->starters[i].resident, weir_system_worker(stage->system, 1 + i % threads), pass_on, 1,
                           0);
    }
    uint64_t begin_ns = weir_bench_now_ns();
    weir_resident_send(&stage->starters[0].resident, &stage->starters[0].mail);
    wait_for_end(stage);
    uint64_t ns = weir_bench_now_ns() - begin_ns;
    weir_system_stop(stage->system);
    weir_system_destroy(stage->system);
    free(stage);
    return (double)ns / HOPS;
}

/* ---- the table ---- */

static const struct {
    const char *name;
    unsigned threads;
    double (*run)(unsigned threads);
} ROWS[] = {
    {"mailbox: send, take by 64", 1, mailbox_row},
    {"mailbox: send, take by 64", 2, mailbox_row},
    {"mailbox: try_send, release", 1, counted_mailbox_row},
    {"mailbox: from thread to thread", 2, mailbox_crossing_row},
    {"worker: dispatch and turn", 1, dispatch_row},
    {"worker: dispatch and turn", 2, dispatch_row},
    {"resident: send and turn", 1, hop_row},
    {"resident: send and turn, other worker", 2, hop_row},
    {"timers: arm, fire (10,000 armed)", 1, timers_fire_row},
    {"timers: arm, fire (10,000 armed)", 2, timers_fire_row},
    {"timers: arm, cancel (10,000 armed)", 1, timers_cancel_row},
    {"map: encode, an unfinished offset", 1, map_row},
    {"map: encode, an unfinished offset", 2, map_row},
};

static void run_row(size_t index)
{
    double runs[REPEATS], least = 0;
    for (unsigned i = 0; i < REPEATS; i++) {
        runs[i] = ROWS[index].run(ROWS[index].threads);
        least = i == 0 || runs[i] < least ? runs[i] : least;
    }
    double median = weir_bench_median(runs, REPEATS);
    printf("{\"micro\": \"%s\", \"threads\": %u, \"ns\": %.4g, \"runs\": [", ROWS[index].name, ROWS[index].threads,
           median);
    for (unsigned i = 0; i < REPEATS; i++)
        printf("%s%.4g", i ? ", " : "", runs[i]);
    printf("]}\n");
    fflush(stdout);
    fprintf(stderr, "%-40s %7u %10.1f %10.1f\n", ROWS[index].name, ROWS[index].threads, median, least);
}

int main(int argc, char **argv)
{
    static const struct option known[] = {{"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
    for (int option; (option = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        if (option != 'h')
            return 2;
        puts("bench-micro: how many nanoseconds do the parts of the hot path take: mailbox, run queue, messages "
             "between\n"
             "workers, timers, map?\n"
             "\n"
             "Usage: bench-micro [NAME]     only rows whose name contains NAME; needs no Kafka\n"
             "\n"
             "Standard output gets a JSON line a row, standard error a table.");
        return 0;
    }
    const char *pattern = optind < argc ? argv[optind] : "";
    unsigned count = 0;
    fprintf(stderr, "%-40s %7s %10s %10s\n", "ns an operation", "threads", "median", "least");
    for (size_t i = 0; i < WEIR_COUNT(ROWS); i++) {
        if (!strstr(ROWS[i].name, pattern))
            continue;
        run_row(i);
        count++;
    }
    if (count == 0)
        fprintf(stderr, "bench-micro: no row is called %s\n", pattern);
    return count ? 0 : 1;
}
