/* See late.h. */
#include "tests/broker/member/late.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { MS_NS = 1000000, STEP_MS = 5 };

struct late {
    struct late *next;
    struct weir_later handle;
    struct weir_ledger_record end; /* made beforehand: a message whose partition was revoked may be gone */
    uint64_t due_ms;
};

struct list {
    struct late *first, **last;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct list lists[WEIR_LATE_KINDS]; /* under lock; by due_ms, which is the order of arrival */
static struct weir_subject *subject;
static struct weir_member_board *board;
static pthread_t thread; /* under lock, as is: */
static bool runs;
static _Atomic bool stops;

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / MS_NS;
}

static bool is_held(enum weir_late_kind kind)
{
    return atomic_load_explicit(kind == WEIR_LATE_SLOW ? &board->late_held : &board->rest_held, memory_order_relaxed);
}

/* The next that is due; NULL: none. */
static struct late *next_due(enum weir_late_kind kind)
{
    pthread_mutex_lock(&lock);
    struct late *late = lists[kind].first;
    if (late && (late->due_ms > now_ms() || is_held(kind)))
        late = NULL;
    if (late && !(lists[kind].first = late->next))
        lists[kind].last = &lists[kind].first;
    pthread_mutex_unlock(&lock);
    return late;
}

static void *finish_all(void *unused)
{
    (void)unused;
    while (!atomic_load_explicit(&stops, memory_order_relaxed)) {
        for (enum weir_late_kind kind = 0; kind < WEIR_LATE_KINDS; kind++)
            for (struct late *late; (late = next_due(kind)); free(late))
                if (weir_subject_finish_known(subject, late->handle, &late->end) == WEIR_OK)
                    atomic_fetch_add_explicit(&board->finished, 1, memory_order_relaxed);
        nanosleep(&(struct timespec){.tv_nsec = STEP_MS * MS_NS}, NULL);
    }
    return NULL;
}

void weir_late_init(struct weir_subject *of, struct weir_member_board *shared)
{
    subject = of;
    board = shared;
    for (enum weir_late_kind kind = 0; kind < WEIR_LATE_KINDS; kind++)
        lists[kind].last = &lists[kind].first;
}

/* With the first message: most members have none that are late. */
static void start(void)
{
    runs = runs || pthread_create(&thread, NULL, finish_all, NULL) == 0;
    if (!runs) {
        fprintf(stderr, "no thread for what is finished later\n");
        exit(2);
    }
}

enum weir_outcome weir_late_take(struct weir_message *message, enum weir_late_kind kind)
{
    struct late *late = malloc(sizeof *late);
    if (!late)
        return WEIR_OVERLOADED;
    uint64_t delay_ms = kind == WEIR_LATE_SLOW ? atomic_load_explicit(&board->late_ms, memory_order_relaxed) : 0;
    *late = (struct late){.handle = weir_message_later(message), .end = weir_subject_end_of(message, WEIR_ACK)};
    pthread_mutex_lock(&lock);
    start();
    late->due_ms = now_ms() + delay_ms;
    *lists[kind].last = late;
    lists[kind].last = &late->next;
    pthread_mutex_unlock(&lock);
    return WEIR_LATER;
}

void weir_late_stop(void)
{
    atomic_store_explicit(&stops, true, memory_order_relaxed);
    pthread_mutex_lock(&lock);
    bool joins = runs;
    pthread_mutex_unlock(&lock); /* the thread takes it */
    if (joins)
        pthread_join(thread, NULL);
}
