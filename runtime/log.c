/*
 * Logging: formats a line and hands it to the process's callback; the default one writes to standard error.
 *
 * A line goes out by one write(2) of one buffer, so that lines of several threads do not mix; it is cut where the
 * buffer ends. Content may come from a broker or a message: control characters are escaped, so that no field can
 * forge a line or speak to the terminal.
 *
 * Thread: any. weir_log_set comes before the threads start; the fields are atomics so that a test that breaks this
 * mixes callbacks at worst.
 */
#include "runtime/log.h"
#include "runtime/seam.h"
#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define TEXT_SIZE 1024 /* of the sentence */
#define LINE_SIZE 4096

static _Atomic(weir_log_callback *) log_callback;
static _Atomic(void *) log_user;
static _Atomic int log_level = WEIR_LOG_INFO;

static const char *const level_names[] = {"error", "warn", "info", "debug"};

struct line {
    char text[LINE_SIZE];
    size_t size;
};

static void put(struct line *line, const char *text, size_t size)
{
    size_t place = sizeof line->text - 1 - line->size; /* one byte stays for the newline */
    if (size > place)
        size = place;
    memcpy(line->text + line->size, text, size);
    line->size += size;
}

static void put_text(struct line *line, const char *text)
{
    put(line, text, strlen(text));
}

static void put_escaped(struct line *line, const char *text)
{
    for (; *text; text++) {
        unsigned char byte = (unsigned char)*text;
        char escaped[8];
        if (byte >= 0x20 && byte != 0x7f && byte != '"' && byte != '\\')
            put(line, text, 1);
        else if (byte == '\n')
            put_text(line, "\\n");
        else
            put(line, escaped,
                (size_t)snprintf(escaped, sizeof escaped, byte == '"' || byte == '\\' ? "\\%c" : "\\x%02x", byte));
    }
}

/* Bare where logfmt allows it, quoted otherwise. */
static void put_value(struct line *line, const char *value)
{
    bool is_bare = *value != 0;
    for (const char *c = value; *c && is_bare; c++)
        is_bare = (unsigned char)*c > 0x20 && *c != '"' && *c != '=' && *c != '\\' && *c != 0x7f;
    if (is_bare) {
        put_text(line, value);
        return;
    }
    put_text(line, "\"");
    put_escaped(line, value);
    put_text(line, "\"");
}

static void put_time(struct line *line, bool is_plain)
{
    int64_t wall_ms = weir_seam_system()->wall_ms(weir_seam_system());
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm parts;
    char text[48], whole[64];
    if (!(is_plain ? localtime_r(&seconds, &parts) : gmtime_r(&seconds, &parts)))
        return;
    strftime(text, sizeof text, is_plain ? "%H:%M:%S" : "%Y-%m-%dT%H:%M:%S", &parts);
    snprintf(whole, sizeof whole, is_plain ? "%s.%03d " : "time=%s.%03dZ ", text, (int)(wall_ms % 1000));
    put_text(line, whole);
}

static void write_line(struct line *line)
{
    line->text[line->size++] = '\n';
    for (size_t written = 0; written < line->size;) {
        ssize_t result = write(STDERR_FILENO, line->text + written, line->size - written);
        if (result > 0)
            written += (size_t)result;
        else if (result == 0 || errno != EINTR)
            return; /* there is nobody to tell */
    }
}

static void default_callback(void *user, enum weir_log_level level, const char *text,
                             const struct weir_log_field *fields, size_t field_count)
{
    (void)user;
    struct line line;
    line.size = 0;
    bool is_plain = isatty(STDERR_FILENO);
    int errno_before = errno;
    put_time(&line, is_plain);
    if (!is_plain)
        put_text(&line, "level=");
    put_text(&line, level_names[level]);
    put_text(&line, is_plain ? ": " : " msg=\"");
    put_escaped(&line, text);
    put_text(&line, is_plain ? "" : "\"");
    for (size_t i = 0; i < field_count; i++) {
        put_text(&line, " ");
        put_text(&line, fields[i].name);
        put_text(&line, "=");
        put_value(&line, fields[i].value ? fields[i].value : "");
    }
    write_line(&line);
    errno = errno_before;
}

void weir_log_set(weir_log_callback *callback, void *user, enum weir_log_level level)
{
    atomic_store_explicit(&log_user, user, memory_order_relaxed);
    atomic_store_explicit(&log_callback, callback, memory_order_release); /* with the acquire in weir_log_write */
    atomic_store_explicit(&log_level, (int)level, memory_order_relaxed);
}

void weir_log_set_level(enum weir_log_level level)
{
    atomic_store_explicit(&log_level, (int)level, memory_order_relaxed);
}

bool weir_log_is_on(enum weir_log_level level)
{
    return (int)level <= atomic_load_explicit(&log_level, memory_order_relaxed);
}

void weir_log_write(enum weir_log_level level, const struct weir_log_field *fields, size_t field_count,
                    const char *format, ...)
{
    char text[TEXT_SIZE];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    weir_log_callback *callback = atomic_load_explicit(&log_callback, memory_order_acquire);
    (callback ? callback : default_callback)(atomic_load_explicit(&log_user, memory_order_relaxed), level, text, fields,
                                             field_count);
}
