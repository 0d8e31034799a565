/*
 * `weir run`: a consumer with a built-in handler.
 *
 *   run.c           the command line, and the consumer from start to close
 *   run_handlers.c  the handlers
 *   run_stats.c     the line of statistics
 */
#ifndef WEIR_CLI_RUN_H
#define WEIR_CLI_RUN_H

#include "cli/cli.h"
#include <stdatomic.h>

/* ---- run_handlers.c ---- */

/* What the handlers share. */
struct weir_cli_handler {
    weir_handler *call;
    struct weir_consumer *consumer; /* set before it is started; stopped when there is enough, or no way to print */
    uint64_t sleep_ms;              /* sleep: how long a message takes */
    uint64_t count_max;             /* 0: no end */
    _Atomic uint64_t count;         /* runs that have ended; any worker */
    _Atomic int output_error;       /* errno of a failed write; 0: none */
};

/** From "print", "discard" or "sleep:MS"; false for anything else. */
bool weir_cli_handler_init(struct weir_cli_handler *handler, const char *text);

/* ---- run_stats.c ---- */

struct weir_cli_stats {
    const struct weir_consumer *consumer;
    struct weir_stats last;
    struct weir_partition_stats *partitions; /* room for what the last call named */
    size_t partition_capacity;
};

/** Print a line on standard error. A weir_stats_callback; `user` is the struct. */
void weir_cli_stats_print(const struct weir_stats *stats, void *user);
void weir_cli_stats_deinit(struct weir_cli_stats *stats);

#endif
