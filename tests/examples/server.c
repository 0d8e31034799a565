/* A small HTTP server for the example that posts messages: see server.h. */
#include "tests/examples/server.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { REQUEST_SIZE_MAX = 8192, BUSY_MAX = 64, STALL_S = 5, LOOK_MS = 50 };

struct weir_server {
    int listener;
    uint16_t port;
    pthread_t thread;
    atomic_bool stop;
    char seen[BUSY_MAX];
    struct weir_server_counts counts; /* server's thread */
};

/* Read headers and body; returns the body within `request`, or NULL. */
static const char *read_request(int connection, char *request)
{
    size_t size = 0;
    for (;;) {
        ssize_t count = recv(connection, request + size, REQUEST_SIZE_MAX - size, 0);
        if (count <= 0)
            return NULL;
        size += (size_t)count;
        request[size] = '\0';
        const char *end = strstr(request, "\r\n\r\n"), *length = strcasestr(request, "\r\nContent-Length:");
        if (end && length && length < end &&
            size >= (size_t)(end + 4 - request) + strtoul(length + strlen("\r\nContent-Length:"), NULL, 10))
            return end + 4;
        if (size == REQUEST_SIZE_MAX)
            return NULL;
    }
}

static int status_for(struct weir_server *server, const char *body)
{
    unsigned number;
    if (strncmp(body, "bad", 3) == 0) {
        server->counts.bad++;
        return 400;
    }
    if (sscanf(body, "busy-%u", &number) == 1 && number < BUSY_MAX && !server->seen[number]) {
        server->seen[number] = 1;
        server->counts.busy++;
        return 503;
    }
    server->counts.ok++;
    return 200;
}

static void serve(struct weir_server *server, int connection)
{
    static char request[REQUEST_SIZE_MAX + 1];
    char response[128];
    const struct timeval stall = {.tv_sec = STALL_S};
    setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &stall, sizeof stall);
    const char *body = read_request(connection, request);
    if (!body || strncmp(request, "POST ", 5) != 0 || !strstr(request, "\r\nIdempotency-Key: ")) {
        server->counts.malformed++;
        return;
    }
    int size =
        snprintf(response, sizeof response, "HTTP/1.1 %d status\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                 status_for(server, body));
    if (send(connection, response, (size_t)size, MSG_NOSIGNAL) != size)
        server->counts.malformed++;
}

static void *run(void *argument)
{
    struct weir_server *server = argument;
    while (!atomic_load(&server->stop)) {
        struct pollfd ready = {.fd = server->listener, .events = POLLIN};
        if (poll(&ready, 1, LOOK_MS) != 1)
            continue;
        int connection = accept(server->listener, NULL, NULL);
        if (connection < 0)
            continue;
        serve(server, connection);
        close(connection);
    }
    return NULL;
}

static int open_listener(uint16_t *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener >= 0 && bind(listener, (struct sockaddr *)&address, size) == 0 && listen(listener, 128) == 0 &&
        getsockname(listener, (struct sockaddr *)&address, &size) == 0) {
        *port = ntohs(address.sin_port);
        return listener;
    }
    perror("server");
    if (listener >= 0)
        close(listener);
    return -1;
}

struct weir_server *weir_server_start(void)
{
    struct weir_server *server = calloc(1, sizeof *server);
    if (!server)
        return NULL;
    server->listener = open_listener(&server->port);
    if (server->listener < 0 || pthread_create(&server->thread, NULL, run, server) != 0) {
        if (server->listener >= 0)
            close(server->listener);
        free(server);
        return NULL;
    }
    return server;
}

uint16_t weir_server_port(const struct weir_server *server)
{
    return server->port;
}

struct weir_server_counts weir_server_stop(struct weir_server *server)
{
    atomic_store(&server->stop, true);
    pthread_join(server->thread, NULL);
    struct weir_server_counts counts = server->counts;
    close(server->listener);
    free(server);
    return counts;
}
