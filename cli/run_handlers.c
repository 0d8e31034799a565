/*
 * The handlers of `weir run`.
 *
 * Thread: worker, several at once.
 *
 * A printed message is flushed before it is acknowledged: what was committed has been written.
 */
#include "cli/run.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static enum weir_outcome finish(struct weir_cli_handler *handler)
{
    uint64_t count = atomic_fetch_add_explicit(&handler->count, 1, memory_order_relaxed) + 1;
    if (count == handler->count_max)
        weir_consumer_stop(handler->consumer);
    return WEIR_ACK;
}

static enum weir_outcome discard(struct weir_message *message, void *user)
{
    (void)message;
    return finish(user);
}

static enum weir_outcome sleep_a_while(struct weir_message *message, void *user)
{
    (void)message;
    struct weir_cli_handler *handler = user;
    struct timespec rest = {.tv_sec = (time_t)(handler->sleep_ms / 1000),
                            .tv_nsec = (long)(handler->sleep_ms % 1000) * 1000000};
    while (nanosleep(&rest, &rest) != 0 && errno == EINTR) {
    }
    return finish(handler);
}

/* ---- print ---- */

/* A key or value in one column: what would break the line is escaped as in C, other bytes come through. */
static void put_bytes(const void *bytes, size_t size)
{
    const unsigned char *byte = bytes;
    if (!bytes) {
        fputs("\\N", stdout);
        return;
    }
    for (; size > 0; size--, byte++) {
        if (*byte == '\\')
            fputs("\\\\", stdout);
        else if (*byte == '\t')
            fputs("\\t", stdout);
        else if (*byte == '\n')
            fputs("\\n", stdout);
        else if (*byte == '\r')
            fputs("\\r", stdout);
        else if (*byte < ' ' || *byte == 0x7f)
            fprintf(stdout, "\\x%02x", *byte);
        else
            fputc(*byte, stdout);
    }
}

/* False with errno where standard output cannot be written. */
static bool put_message(const struct weir_message *message)
{
    printf("%s\t%" PRId32 "\t%" PRId64 "\t%" PRId64 "\t", weir_message_topic(message), weir_message_partition(message),
           weir_message_offset(message), weir_message_timestamp_ms(message));
    put_bytes(weir_message_key(message), weir_message_key_size(message));
    fputc('\t', stdout);
    put_bytes(weir_message_value(message), weir_message_value_size(message));
    fputc('\n', stdout);
    return fflush(stdout) == 0 && !ferror(stdout);
}

static enum weir_outcome print(struct weir_message *message, void *user)
{
    struct weir_cli_handler *handler = user;
    flockfile(stdout);
    bool written = atomic_load_explicit(&handler->output_error, memory_order_relaxed) == 0 && put_message(message);
    int error = errno;
    funlockfile(stdout);
    if (written)
        return finish(handler);
    int none = 0;
    if (atomic_compare_exchange_strong(&handler->output_error, &none, error ? error : EIO))
        weir_consumer_stop(handler->consumer);
    return WEIR_OVERLOADED; /* not printed, so not acknowledged; it burns no attempt */
}

/* ---- choice ---- */

enum { SLEEP_MS_MAX = 3600000 };

static bool parse_sleep(struct weir_cli_handler *handler, const char *text)
{
    char *end;
    if (text[0] < '0' || text[0] > '9')
        return false;
    errno = 0;
    handler->sleep_ms = strtoull(text, &end, 10);
    handler->call = sleep_a_while;
    return *end == '\0' && errno == 0 && handler->sleep_ms <= SLEEP_MS_MAX;
}

bool weir_cli_handler_init(struct weir_cli_handler *handler, const char *text)
{
    if (strncmp(text, "sleep:", 6) == 0)
        return parse_sleep(handler, text + 6);
    handler->call = strcmp(text, "print") == 0 ? print : strcmp(text, "discard") == 0 ? discard : NULL;
    return handler->call != NULL;
}
