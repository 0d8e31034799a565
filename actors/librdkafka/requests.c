/*
 * Requests and their one answer each.
 *
 * Everything that librdkafka offers as a blocking call only is run by one helper thread, in the order of the requests,
 * and handed over by poll. Seeks are control's, see seek.c; commits are in commit.c.
 *
 * Threads: control; the helper runs `work` and what it calls, and shares nothing but the two lists under the lock.
 *
 * Invariants
 *   R1. Every request that was accepted is in exactly one place: todo, the helper's hands, done, seeks, ready, or
 *       commits; from the last two it goes by being handed over as one event.
 *   R2. After close() nothing waits for long: calls are cut into short ones, and given up between them.
 *   R3. The lists are unbounded in themselves; the caller bounds them by what it asks (a few requests a partition).
 */
#include "actors/config/config.h"
#include "actors/librdkafka/client.h"
#include "runtime/log.h"
#include "runtime/memory.h"
#include <signal.h>
#include <string.h>

/* ---- lists of requests ---- */

void weir_rdkafka_request_append(struct weir_rdkafka_request ***end, struct weir_rdkafka_request *request)
{
    request->next = NULL;
    **end = request;
    *end = &request->next;
}

struct weir_rdkafka_request *weir_rdkafka_request_take(struct weir_rdkafka_request **first,
                                                       struct weir_rdkafka_request ***end)
{
    struct weir_rdkafka_request *request = *first;
    if (!request)
        return NULL;
    *first = request->next;
    if (!*first)
        *end = first;
    return request;
}

static void destroy(struct weir_rdkafka_request *request)
{
    if (request->list)
        rd_kafka_topic_partition_list_destroy(request->list);
    if (request->high)
        rd_kafka_topic_partition_list_destroy(request->high);
    if (request->producer)
        rd_kafka_destroy(request->producer);
    weir_memory_free(request);
}

static bool is_callers(const struct weir_rdkafka_request *request)
{
    return request->job != WEIR_RDKAFKA_JOB_METADATA && request->job != WEIR_RDKAFKA_JOB_DESTROY;
}

/* ---- the helper ---- */

static struct weir_rdkafka_request *next_todo(struct weir_rdkafka_requests *requests)
{
    pthread_mutex_lock(&requests->lock);
    while (!requests->todo && !requests->stop)
        pthread_cond_wait(&requests->changed, &requests->lock);
    struct weir_rdkafka_request *request = weir_rdkafka_request_take(&requests->todo, &requests->todo_end);
    pthread_mutex_unlock(&requests->lock);
    return request;
}

static void *work(void *argument)
{
    struct weir_rdkafka *client = argument;
    struct weir_rdkafka_requests *requests = &client->requests;
    struct weir_rdkafka_request *request;
    while ((request = next_todo(requests))) {
        weir_rdkafka_call(client, request);
        pthread_mutex_lock(&requests->lock);
        weir_rdkafka_request_append(&requests->done_end, request);
        pthread_mutex_unlock(&requests->lock);
        weir_rdkafka_wake(client);
    }
    return NULL;
}

void weir_rdkafka_requests_init(struct weir_rdkafka *client)
{
    struct weir_rdkafka_requests *requests = &client->requests;
    requests->todo_end = &requests->todo;
    requests->done_end = &requests->done;
    requests->ready_end = &requests->ready;
    requests->seeks_end = &requests->seeks;
    pthread_condattr_t monotonic;
    /* On Linux these take no resources and cannot fail. */
    WEIR_CHECK(pthread_condattr_init(&monotonic) == 0);
    WEIR_CHECK(pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC) == 0);
    WEIR_CHECK(pthread_cond_init(&requests->changed, &monotonic) == 0);
    WEIR_CHECK(pthread_mutex_init(&requests->lock, NULL) == 0);
    pthread_condattr_destroy(&monotonic);
}

/* Signals are for the program's own threads. */
int weir_rdkafka_requests_start(struct weir_rdkafka *client, struct weir_error *error)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int code = pthread_create(&client->requests.thread, NULL, work, client);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (code != 0)
        return weir_error_set(error, WEIR_SYSTEM, "the helper thread of the Kafka client: %s", strerror(code));
    client->requests.started = true;
    return 0;
}

void weir_rdkafka_requests_close(struct weir_rdkafka *client)
{
    struct weir_rdkafka_requests *requests = &client->requests;
    pthread_mutex_lock(&requests->lock);
    requests->closing = true;
    pthread_cond_broadcast(&requests->changed);
    pthread_mutex_unlock(&requests->lock);
}

static void join(struct weir_rdkafka *client)
{
    struct weir_rdkafka_requests *requests = &client->requests;
    if (!requests->started)
        return;
    pthread_mutex_lock(&requests->lock);
    requests->closing = requests->stop = true;
    pthread_cond_broadcast(&requests->changed);
    pthread_mutex_unlock(&requests->lock);
    pthread_join(requests->thread, NULL); /* it has worked off `todo` first */
    requests->started = false;
}

static void destroy_all(struct weir_rdkafka_request **first, struct weir_rdkafka_request ***end)
{
    struct weir_rdkafka_request *request;
    while ((request = weir_rdkafka_request_take(first, end)))
        destroy(request);
}

void weir_rdkafka_requests_deinit(struct weir_rdkafka *client)
{
    struct weir_rdkafka_requests *requests = &client->requests;
    join(client);
    destroy_all(&requests->todo, &requests->todo_end);
    destroy_all(&requests->done, &requests->done_end);
    destroy_all(&requests->ready, &requests->ready_end);
    destroy_all(&requests->seeks, &requests->seeks_end);
    weir_rdkafka_commits_deinit(client);
    pthread_cond_destroy(&requests->changed);
    pthread_mutex_destroy(&requests->lock);
}

/* ---- asking ---- */

void weir_rdkafka_request_send(struct weir_rdkafka *client, struct weir_rdkafka_request *request)
{
    struct weir_rdkafka_requests *requests = &client->requests;
    if (is_callers(request))
        requests->outstanding++;
    pthread_mutex_lock(&requests->lock);
    weir_rdkafka_request_append(&requests->todo_end, request);
    pthread_cond_broadcast(&requests->changed);
    pthread_mutex_unlock(&requests->lock);
}

bool weir_rdkafka_is_serving(const struct weir_rdkafka *client)
{
    return client->phase == WEIR_RDKAFKA_RUNNING || client->phase == WEIR_RDKAFKA_LEAVING;
}

int weir_rdkafka_request_create(struct weir_rdkafka *client, enum weir_rdkafka_job job,
                                const struct weir_kafka_offset *offsets, size_t count, uint64_t tag,
                                struct weir_rdkafka_request **created)
{
    if (!weir_rdkafka_is_serving(client))
        return WEIR_STATE;
    if (count == 0)
        return WEIR_INVALID;
    struct weir_rdkafka_request *request = weir_memory_allocate_zeroed(1, sizeof *request);
    if (!request)
        return WEIR_NO_MEMORY;
    request->job = job;
    request->tag = tag;
    request->list = weir_rdkafka_list(offsets, count, false);
    *created = request;
    return 0;
}

static int ask(struct weir_kafka *kafka, enum weir_rdkafka_job job, const struct weir_kafka_offset *offsets,
               size_t count, uint64_t tag)
{
    struct weir_rdkafka *client = weir_rdkafka_of(kafka);
    struct weir_rdkafka_request *request;
    int code = weir_rdkafka_request_create(client, job, offsets, count, tag, &request);
    if (!code)
        weir_rdkafka_request_send(client, request);
    return code;
}

int weir_rdkafka_fetch_committed(struct weir_kafka *kafka, const struct weir_kafka_offset *offsets, size_t count,
                                 uint64_t tag)
{
    return ask(kafka, WEIR_RDKAFKA_JOB_COMMITTED, offsets, count, tag);
}

int weir_rdkafka_fetch_watermarks(struct weir_kafka *kafka, const struct weir_kafka_offset *offsets, size_t count,
                                  uint64_t tag)
{
    return ask(kafka, WEIR_RDKAFKA_JOB_WATERMARKS, offsets, count, tag);
}

/* ---- answering ---- */

static enum weir_kafka_event_kind event_kind(const struct weir_rdkafka_request *request)
{
    switch (request->job) {
    case WEIR_RDKAFKA_JOB_COMMITTED:
        return WEIR_KAFKA_FETCHED;
    case WEIR_RDKAFKA_JOB_WATERMARKS:
        return WEIR_KAFKA_WATERMARKS;
    default:
        return WEIR_KAFKA_SOUGHT;
    }
}

void weir_rdkafka_spread(struct weir_kafka_offset *offsets, size_t count, enum weir_kafka_error error)
{
    for (size_t index = 0; index < count; index++)
        if (offsets[index].error == WEIR_KAFKA_NONE)
            offsets[index].error = error;
}

static void add_high(struct weir_kafka_offset *offsets, const rd_kafka_topic_partition_list_t *high)
{
    for (int index = 0; high && index < high->cnt; index++) {
        offsets[index].high_offset = high->elems[index].offset >= 0 ? high->elems[index].offset : -1;
        if (offsets[index].error == WEIR_KAFKA_NONE)
            offsets[index].error = weir_rdkafka_failure(high->elems[index].err);
    }
}

/* Hand a result over; false where memory is short. */
static bool answer(struct weir_rdkafka *client, const struct weir_rdkafka_request *request)
{
    if (request->job >= WEIR_RDKAFKA_JOB_BEGIN) {
        client->requests.outstanding--;
        weir_rdkafka_transacted(client, request);
        return true;
    }
    enum weir_kafka_error error = weir_rdkafka_failure(request->error);
    size_t count = (size_t)request->list->cnt;
    struct weir_kafka_offset *offsets = weir_rdkafka_offsets(request->list, request->job == WEIR_RDKAFKA_JOB_COMMITTED);
    if (!offsets)
        return false;
    add_high(offsets, request->high);
    weir_rdkafka_spread(offsets, count, error);
    client->requests.outstanding--;
    weir_rdkafka_emit(client,
                      &(struct weir_kafka_event){.kind = event_kind(request),
                                                 .tag = request->tag,
                                                 .error = error,
                                                 .text = request->error ? rd_kafka_err2str(request->error) : NULL,
                                                 .offsets = offsets,
                                                 .count = count});
    weir_memory_free(offsets);
    return true;
}

static void take_done(struct weir_rdkafka_requests *requests)
{
    pthread_mutex_lock(&requests->lock);
    if (requests->done) {
        *requests->ready_end = requests->done;
        requests->ready_end = requests->done_end;
        requests->done = NULL;
        requests->done_end = &requests->done;
    }
    pthread_mutex_unlock(&requests->lock);
}

/* ---- poll ---- */

static bool step_ready(struct weir_rdkafka *client)
{
    struct weir_rdkafka_requests *requests = &client->requests;
    while (requests->ready) {
        struct weir_rdkafka_request *request = requests->ready;
        if (request->job == WEIR_RDKAFKA_JOB_METADATA)
            weir_rdkafka_metadata_done(client, request);
        bool handed_over = is_callers(request);
        if (handed_over && !answer(client, request))
            return false; /* memory is short: once more at the next poll */
        weir_rdkafka_request_take(&requests->ready, &requests->ready_end);
        destroy(request);
        if (handed_over)
            return true;
    }
    return false;
}

bool weir_rdkafka_requests_step(struct weir_rdkafka *client)
{
    take_done(&client->requests);
    weir_rdkafka_seek_step(client);
    return step_ready(client) || weir_rdkafka_commits_step(client);
}

bool weir_rdkafka_requests_are_done(const struct weir_rdkafka *client)
{
    return client->requests.outstanding == 0 && !client->requests.commits;
}
