/*
 * HTTP calls without blocking: each message is posted to a server by libcurl, whose sockets and timer live on the
 * worker's libuv loop. The handler answers WEIR_LATER, the response finishes the message.
 *
 * Each worker has a client of its own (a curl multi handle with its connections), so nothing is shared and nothing
 * locked. libuv handles must be closed before the consumer is destroyed: sockets are when curl lets go of them, the
 * timer when the last transfer has ended.
 *
 * A message may be posted more than once (at least once): the header Idempotency-Key names it by its coordinates.
 */
#include "common.h"
#include <curl/curl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

struct service {
    const char *url;
    long timeout_ms;
    struct client *clients; /* one a worker */
    atomic_ullong posted, refused, failed, stale;
};

struct client {
    struct service *service;
    CURLM *multi;      /* NULL until the worker's first message */
    uv_timer_t *timer; /* NULL while there is no transfer */
    size_t transfers;
};

struct transfer {
    struct weir_later later;
    CURL *easy;
    struct curl_slist *headers;
};

/* A socket that curl wants watched. */
struct watch {
    uv_poll_t poll;
    struct client *client;
    curl_socket_t socket;
};

static void free_transfer(struct transfer *transfer)
{
    curl_easy_cleanup(transfer->easy);
    curl_slist_free_all(transfer->headers);
    free(transfer);
}

/* ---- a response ---- */

static int answer(struct service *service, struct weir_later later, CURLcode code, long status)
{
    char reason[128];
    if (code == CURLE_OK && status >= 200 && status < 300) {
        atomic_fetch_add(&service->posted, 1);
        return weir_later_finish(later, WEIR_ACK);
    }
    atomic_fetch_add(&service->failed, 1);
    if (code == CURLE_OK && (status == 429 || status == 503))
        return weir_later_finish(later, WEIR_OVERLOADED);
    if (code != CURLE_OK) {
        snprintf(reason, sizeof reason, "HTTP: %s", curl_easy_strerror(code));
        return weir_later_retry(later, reason);
    }
    snprintf(reason, sizeof reason, "HTTP status %ld", status);
    if (status >= 500)
        return weir_later_retry(later, reason);
    atomic_fetch_add(&service->refused, 1);
    return weir_later_dead(later, reason);
}

static void finish_transfer(struct client *client, struct transfer *transfer, CURLcode code)
{
    long status = 0;
    curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_multi_remove_handle(client->multi, transfer->easy);
    struct weir_later later = transfer->later;
    free_transfer(transfer); /* before the answer: curl reads the message's value until here */
    client->transfers--;
    if (answer(client->service, later, code, status) == WEIR_STALE)
        atomic_fetch_add(&client->service->stale, 1);
}

static void free_handle(uv_handle_t *handle)
{
    free(handle->data);
}

static void finish_transfers(struct client *client)
{
    int left;
    for (CURLMsg *info; (info = curl_multi_info_read(client->multi, &left));) {
        struct transfer *transfer = NULL;
        if (info->msg == CURLMSG_DONE && curl_easy_getinfo(info->easy_handle, CURLINFO_PRIVATE, &transfer) == CURLE_OK)
            finish_transfer(client, transfer, info->data.result);
    }
    if (client->transfers == 0 && client->timer) {
        uv_close((uv_handle_t *)client->timer, free_handle);
        client->timer = NULL;
    }
}

/* ---- curl on the worker's loop ---- */

static void act(struct client *client, curl_socket_t socket, int flags)
{
    int running;
    CURLMcode code = curl_multi_socket_action(client->multi, socket, flags, &running);
    if (code != CURLM_OK)
        fprintf(stderr, "curl: %s\n", curl_multi_strerror(code));
    finish_transfers(client);
}

/* A libuv timer and whose it is; its `data` is the block itself, for free_handle(). */
struct owned_timer {
    uv_timer_t timer;
    struct client *client;
};

static void on_timeout(uv_timer_t *timer)
{
    struct owned_timer *owned = timer->data;
    act(owned->client, CURL_SOCKET_TIMEOUT, 0);
}

static uv_timer_t *timer_create_for(struct client *client)
{
    struct owned_timer *owned = calloc(1, sizeof *owned);
    if (!owned || uv_timer_init(weir_worker_loop(), &owned->timer) != 0) {
        free(owned);
        return NULL;
    }
    owned->client = client;
    owned->timer.data = owned;
    return &owned->timer;
}

/* curl wants to be called in `timeout_ms`; -1: not any more. */
static int on_curl_timer(CURLM *multi, long timeout_ms, void *user)
{
    (void)multi;
    struct client *client = user;
    if (timeout_ms < 0)
        return client->timer ? uv_timer_stop(client->timer) : 0;
    if (!client->timer)
        client->timer = timer_create_for(client);
    return client->timer && uv_timer_start(client->timer, on_timeout, (uint64_t)timeout_ms, 0) == 0 ? 0 : -1;
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
    struct watch *watch = poll->data;
    int flags = (events & UV_READABLE ? CURL_CSELECT_IN : 0) | (events & UV_WRITABLE ? CURL_CSELECT_OUT : 0);
    act(watch->client, watch->socket, status < 0 ? CURL_CSELECT_ERR : flags);
}

static struct watch *watch_create(struct client *client, curl_socket_t socket)
{
    struct watch *watch = calloc(1, sizeof *watch);
    if (!watch || uv_poll_init_socket(weir_worker_loop(), &watch->poll, socket) != 0) {
        free(watch);
        return NULL;
    }
    watch->poll.data = watch;
    watch->client = client;
    watch->socket = socket;
    return watch;
}

/* curl opens, uses and lets go of a socket. */
static int on_curl_socket(CURL *easy, curl_socket_t socket, int what, void *user, void *socket_user)
{
    (void)easy;
    struct client *client = user;
    struct watch *watch = socket_user;
    if (what == CURL_POLL_REMOVE) {
        if (watch)
            uv_close((uv_handle_t *)&watch->poll, free_handle);
        return 0;
    }
    if (!watch) {
        watch = watch_create(client, socket);
        if (!watch)
            return -1;
        curl_multi_assign(client->multi, socket, watch);
    }
    int events = (what & CURL_POLL_IN ? UV_READABLE : 0) | (what & CURL_POLL_OUT ? UV_WRITABLE : 0);
    return uv_poll_start(&watch->poll, events, on_ready) == 0 ? 0 : -1;
}

static int client_open(struct client *client)
{
    client->multi = curl_multi_init();
    if (client->multi && curl_multi_setopt(client->multi, CURLMOPT_SOCKETFUNCTION, on_curl_socket) == CURLM_OK &&
        curl_multi_setopt(client->multi, CURLMOPT_SOCKETDATA, client) == CURLM_OK &&
        curl_multi_setopt(client->multi, CURLMOPT_TIMERFUNCTION, on_curl_timer) == CURLM_OK &&
        curl_multi_setopt(client->multi, CURLMOPT_TIMERDATA, client) == CURLM_OK &&
        curl_multi_setopt(client->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, 64L) == CURLM_OK)
        return 0;
    curl_multi_cleanup(client->multi);
    client->multi = NULL;
    return -1;
}

/* ---- the handler ---- */

static size_t ignore_body(char *data, size_t size, size_t count, void *user)
{
    (void)data, (void)user;
    return size * count;
}

static struct transfer *transfer_create(const struct service *service, const struct weir_message *message)
{
    struct transfer *transfer = calloc(1, sizeof *transfer);
    if (!transfer)
        return NULL;
    char key[512];
    snprintf(key, sizeof key, "Idempotency-Key: %s-%d-%lld", weir_message_topic(message),
             weir_message_partition(message), (long long)weir_message_offset(message));
    const char *value = weir_message_value(message);
    transfer->headers = curl_slist_append(NULL, key);
    CURL *easy = transfer->easy = curl_easy_init();
    if (easy && transfer->headers && curl_easy_setopt(easy, CURLOPT_URL, service->url) == CURLE_OK &&
        curl_easy_setopt(easy, CURLOPT_HTTPHEADER, transfer->headers) == CURLE_OK &&
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)weir_message_value_size(message)) == CURLE_OK &&
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, value ? value : "") == CURLE_OK && /* not copied: it stays */
        curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, ignore_body) == CURLE_OK &&
        curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, service->timeout_ms) == CURLE_OK &&
        curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
        curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer) == CURLE_OK)
        return transfer;
    free_transfer(transfer);
    return NULL;
}

static enum weir_outcome on_message(struct weir_message *message, void *user)
{
    struct service *service = user;
    struct client *client = &service->clients[weir_worker_index()];
    if (!client->multi && client_open(client) != 0)
        return weir_retry(message, "curl: no memory for a client");
    struct transfer *transfer = transfer_create(service, message);
    if (!transfer)
        return weir_retry(message, "curl: no memory for a transfer");
    client->transfers++;
    CURLMcode code = curl_multi_add_handle(client->multi, transfer->easy); /* begins on the loop, not in this call */
    if (code != CURLM_OK) {
        client->transfers--;
        free_transfer(transfer);
        return weir_retry(message, curl_multi_strerror(code));
    }
    transfer->later = weir_message_later(message);
    return WEIR_LATER;
}

/* ---- the program ---- */

/* After close: the workers' threads have ended. */
static size_t close_clients(struct service *service, unsigned count)
{
    size_t cut_off = 0;
    for (unsigned index = 0; index < count; index++) {
        struct client *client = &service->clients[index];
        cut_off += client->transfers;
        if (client->multi && client->transfers == 0)
            curl_multi_cleanup(client->multi);
    }
    return cut_off; /* those beyond the close's deadline end with the process */
}

static int serve(struct service *service, struct weir_consumer *consumer)
{
    unsigned workers = weir_consumer_workers(consumer);
    service->clients = calloc(workers, sizeof *service->clients);
    if (!service->clients) {
        fprintf(stderr, "no memory for %u clients\n", workers);
        return 1;
    }
    for (unsigned index = 0; index < workers; index++)
        service->clients[index].service = service;
    struct weir_error error;
    weir_consumer_stop_on_signals(consumer);
    int result = weir_consumer_run(consumer, &error);
    if (result != 0)
        fprintf(stderr, "%s: %s\n", weir_code_name(result), error.text);
    size_t cut_off = close_clients(service, workers);
    printf("%llu posted, %llu refused; %llu failed tries, %llu stale, %zu cut off\n", atomic_load(&service->posted),
           atomic_load(&service->refused), atomic_load(&service->failed), atomic_load(&service->stale), cut_off);
    return result == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
    static struct service service;
    const char *timeout = "5000";
    service.url = "http://localhost:8080/";
    const struct example_option options[] = {
        {"url", "where each message is posted", &service.url}, {"timeout-ms", "bound of one call", &timeout}, {0}};
    const struct example example = {.name = "async_curl",
                                    .about = "Post each message to an HTTP server: 2xx finishes it, 429 and 503 say "
                                             "overloaded, other 5xx retry, 4xx are dead letters.",
                                    .options = options};
    struct weir_config *config = example_configure(argc, argv, &example);
    service.timeout_ms = example_number("timeout-ms", timeout, 1, 600000);
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        fprintf(stderr, "libcurl cannot be initialised\n");
        weir_config_destroy(config);
        return 1;
    }
    struct weir_error error;
    struct weir_consumer *consumer = weir_consumer_create(config, on_message, &service, &error);
    if (!consumer)
        fprintf(stderr, "%s\n", error.text);
    int status = consumer ? serve(&service, consumer) : 1;
    weir_consumer_destroy(consumer);
    free(service.clients);
    curl_global_cleanup();
    weir_config_destroy(config);
    return status;
}
