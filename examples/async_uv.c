/*
 * Work that waits, without a thread that waits: the handler starts it on its worker's own libuv loop and answers
 * WEIR_LATER; when it is done, a callback on the same worker finishes the message.
 *
 * The work is a timer here; a socket or a process goes the same way. Thousands wait at once on a few threads, and still
 * messages of one key come one at a time: the next one waits until this one is finished.
 *
 * A handle belongs to a message. Everything of it happens on one thread, the worker's, so there are no locks but for
 * what is counted over all workers.
 */
#include "common.h"
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

struct work {
    uint64_t delay_ms;
    atomic_ullong finished, stale, waiting, waiting_most;
};

struct request {
    uv_timer_t timer;
    struct weir_later later;
    struct work *work;
};

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

/* Worker, between handlers. */
static void on_timer(uv_timer_t *timer)
{
    struct request *request = timer->data;
    struct work *work = request->work;
    atomic_fetch_sub(&work->waiting, 1);
    if (weir_later_finish(request->later, WEIR_ACK) == 0)
        atomic_fetch_add(&work->finished, 1);
    else
        atomic_fetch_add(&work->stale, 1); /* its partition has left this process, which handles it elsewhere */
    uv_close((uv_handle_t *)timer, on_closed);
}

static void count_waiting(struct work *work)
{
    unsigned long long waiting = atomic_fetch_add(&work->waiting, 1) + 1;
    unsigned long long most = atomic_load(&work->waiting_most);
    while (most < waiting && !atomic_compare_exchange_weak(&work->waiting_most, &most, waiting))
        continue;
}

static enum weir_outcome on_message(struct weir_message *message, void *user)
{
    struct work *work = user;
    struct request *request = calloc(1, sizeof *request);
    if (!request)
        return weir_retry(message, "no memory for a request");
    if (uv_timer_init(weir_worker_loop(), &request->timer) != 0) {
        free(request);
        return weir_retry(message, "no timer");
    }
    request->timer.data = request;
    request->work = work;
    if (uv_timer_start(&request->timer, on_timer, work->delay_ms, 0) != 0) {
        uv_close((uv_handle_t *)&request->timer, on_closed);
        return weir_retry(message, "no timer");
    }
    count_waiting(work);
    request->later = weir_message_later(message); /* last: from here on the answer must be WEIR_LATER */
    return WEIR_LATER;
}

int main(int argc, char **argv)
{
    const char *delay = "100";
    const struct example_option options[] = {{"delay-ms", "how long each message takes", &delay}, {0}};
    const struct example example = {.name = "async_uv",
                                    .about = "Finish each message some time after its handler has returned.",
                                    .options = options};
    struct weir_config *config = example_configure(argc, argv, &example);
    static struct work work;
    work.delay_ms = (uint64_t)example_number("delay-ms", delay, 0, 3600000);
    int status = example_run(config, on_message, &work);
    printf("%llu finished, %llu stale, %llu still waiting; at most %llu waited at once\n", atomic_load(&work.finished),
           atomic_load(&work.stale), atomic_load(&work.waiting), atomic_load(&work.waiting_most));
    weir_config_destroy(config);
    return status;
}
