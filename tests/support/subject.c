/* See subject.h. */
#include "tests/support/subject.h"
#include "actors/message.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weir/log.h>

static _Noreturn void broken(const char *what, const struct weir_error *error)
{
    fprintf(stderr, "consumer under test: %s: %s\n", what, error->text);
    weir_subject_show_log();
    abort();
}

/* ---- the handler ---- */

struct weir_ledger_record weir_subject_end_of(const struct weir_message *message, enum weir_outcome outcome)
{
    struct weir_ledger_record record = weir_ledger_of(WEIR_LEDGER_END, message);
    record.outcome = (uint16_t)outcome;
    record.note = message->epoch;
    return record;
}

static void end(struct weir_subject *subject, const struct weir_ledger_record *record)
{
    if (subject->ledger)
        weir_ledger_write(subject->ledger, record);
    atomic_fetch_add_explicit(&subject->ended, 1, memory_order_release);
}

static enum weir_outcome handle(struct weir_message *message, void *user)
{
    struct weir_subject *subject = user;
    atomic_fetch_add_explicit(&subject->started, 1, memory_order_release);
    if (subject->ledger)
        weir_ledger_start(subject->ledger, message, message->epoch);
    enum weir_outcome outcome = subject->rule ? subject->rule(subject, message) : WEIR_ACK;
    if (outcome != WEIR_LATER) {
        struct weir_ledger_record record = weir_subject_end_of(message, outcome);
        end(subject, &record);
    }
    return outcome;
}

int weir_subject_finish(struct weir_subject *subject, struct weir_later later, enum weir_outcome outcome)
{
    struct weir_ledger_record record = weir_subject_end_of(later.message, outcome);
    return weir_subject_finish_known(subject, later, &record);
}

int weir_subject_finish_known(struct weir_subject *subject, struct weir_later later,
                              const struct weir_ledger_record *record)
{
    end(subject, record);
    return weir_later_finish(later, (enum weir_outcome)record->outcome);
}

/* ---- life ---- */

void weir_subject_create(struct weir_subject *subject, const char *const *settings)
{
    struct weir_error error = {0};
    struct weir_config *config = weir_config_create();
    for (; config && *settings; settings += 2)
        if (weir_config_set(config, settings[0], settings[1], &error) != 0)
            broken("configure", &error);
    subject->consumer = subject->batch_handler
                            ? weir_consumer_create_batch(config, subject->batch_handler, subject, &error)
                            : weir_consumer_create(config, handle, subject, &error);
    if (!subject->consumer)
        broken("create", &error);
    weir_config_destroy(config);
    weir_consumer_on_partition(subject->consumer, subject->on_partition, subject->user);
    if (subject->on_stats)
        weir_consumer_on_stats(subject->consumer, subject->on_stats, subject->user);
    if (subject->prepare)
        subject->prepare(subject);
    if (subject->stops_on_signals)
        weir_consumer_stop_on_signals(subject->consumer);
}

void weir_subject_start(struct weir_subject *subject, const char *const *settings)
{
    struct weir_error error = {0};
    weir_subject_create(subject, settings);
    if (weir_consumer_start(subject->consumer, &error) != 0)
        broken("start", &error);
}

int weir_subject_close(struct weir_subject *subject)
{
    subject->closed_error = (struct weir_error){0};
    subject->closed_code = weir_consumer_close(subject->consumer, &subject->closed_error);
    return subject->closed_code;
}

void weir_subject_destroy(struct weir_subject *subject)
{
    weir_consumer_destroy(subject->consumer);
    subject->consumer = NULL;
}

/* ---- statistics ---- */

struct weir_stats weir_subject_stats(const struct weir_subject *subject)
{
    struct weir_stats stats = {0};
    weir_consumer_stats(subject->consumer, &stats, sizeof stats);
    return stats;
}

struct weir_partition_stats weir_subject_partition(const struct weir_subject *subject, const char *topic,
                                                   int32_t partition)
{
    enum { COUNT_MAX = 64 };
    struct weir_partition_stats *all = calloc(COUNT_MAX, sizeof *all), found = {0};
    size_t count = all ? weir_consumer_partition_stats(subject->consumer, all, sizeof *all, COUNT_MAX) : 0;
    for (size_t index = 0; index < count && index < COUNT_MAX; index++)
        if (all[index].partition == partition && strcmp(all[index].topic, topic) == 0)
            found = all[index];
    free(all);
    return found;
}

bool weir_subject_adds_up(const struct weir_subject *subject)
{
    struct weir_stats stats = weir_subject_stats(subject);
    const struct weir_counters *counters = &stats.counters;
    uint64_t sum =
        counters->acked + counters->skipped + counters->filtered + counters->dead_lettered + counters->handed_back;
    if (counters->consumed == sum)
        return true;
    fprintf(stderr, "consumed %llu, but acked %llu + skipped %llu + dead-lettered %llu + handed back %llu\n",
            (unsigned long long)counters->consumed, (unsigned long long)counters->acked,
            (unsigned long long)counters->skipped, (unsigned long long)counters->dead_lettered,
            (unsigned long long)counters->handed_back);
    return false;
}

/* ---- the log ---- */

enum { LINES_MAX = 4096, LINE_SIZE = 512 };

static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static char (*lines)[LINE_SIZE]; /* under log_lock; what comes beyond LINES_MAX goes to standard error */
static size_t line_count;

static void keep(void *user, enum weir_log_level level, const char *text, const struct weir_log_field *fields,
                 size_t field_count)
{
    static const char letters[] = "EWID";
    char line[LINE_SIZE];
    int size = snprintf(line, sizeof line, "%c %s", letters[level], text);
    for (size_t index = 0; index < field_count && size > 0 && size < LINE_SIZE; index++)
        size += snprintf(line + size, sizeof line - (size_t)size, " %s=%s", fields[index].name, fields[index].value);
    pthread_mutex_lock(&log_lock);
    if (line_count < LINES_MAX)
        memcpy(lines[line_count++], line, sizeof line);
    else
        fprintf(stderr, "%s\n", line);
    pthread_mutex_unlock(&log_lock);
}

void weir_subject_keep_log(void)
{
    if (!lines)
        lines = calloc(LINES_MAX, sizeof *lines);
    if (lines)
        weir_log_set(keep, NULL, WEIR_LOG_INFO);
}

unsigned weir_subject_log_count(const char *words)
{
    unsigned count = 0;
    pthread_mutex_lock(&log_lock);
    for (size_t index = 0; index < line_count; index++)
        count += strstr(lines[index], words) != NULL;
    pthread_mutex_unlock(&log_lock);
    return count;
}

void weir_subject_show_log(void)
{
    pthread_mutex_lock(&log_lock);
    for (size_t index = 0; index < line_count; index++)
        fprintf(stderr, "%s\n", lines[index]);
    pthread_mutex_unlock(&log_lock);
}
