/*
 * A small HTTP server on loopback for the example that posts messages: one request a connection, one at a time.
 *
 * It answers by the body: "bad..." 400, "busy-N" 503 the first time it sees that N (0 .. 63), anything else 200.
 * Thread: its own; the counts are read when it has stopped.
 */
#ifndef WEIR_TESTS_EXAMPLES_SERVER_H
#define WEIR_TESTS_EXAMPLES_SERVER_H

#include <stdint.h>

struct weir_server;

struct weir_server *weir_server_start(void); /* NULL with a message on standard error */
uint16_t weir_server_port(const struct weir_server *server);

struct weir_server_counts {
    unsigned ok, busy, bad;
    unsigned malformed; /* requests without what the example promises: POST, length, Idempotency-Key */
};

struct weir_server_counts weir_server_stop(struct weir_server *server); /* frees it */

#endif
