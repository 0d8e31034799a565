/*
 * What happens in a world, as lines for people: virtual time, process, event. Runs, dead letters, commits and
 * disturbances come from the world; states of partitions and warnings from the log of the consumers themselves.
 */
#include "runtime/worker.h"
#include "tests/support/world_internal.h"
#include <stdarg.h>
#include <stdio.h>
#include <weir/log.h>

static void print_head(const struct weir_world *world, const char *who)
{
    fprintf(stderr, "%12.6f s  %-4s ", (double)weir_simulation_now_ns(world->simulation) / 1e9, who);
}

void weir_world_trace(const struct weir_world *world, const struct weir_world_process *process, const char *format, ...)
{
    if (!world->settings.trace)
        return;
    char who[16] = "-";
    if (process)
        snprintf(who, sizeof who, "p%u", process->number);
    print_head(world, who);
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
}

/* Whose step it is: the process whose worker logs. */
static const struct weir_world_process *current_process(const struct weir_world *world)
{
    const struct weir_worker *worker = weir_worker_current();
    for (size_t i = 0; worker && i < world->process_count; i++) {
        if (world->processes[i]->system == weir_worker_system(worker))
            return world->processes[i];
    }
    return NULL;
}

static void on_log(void *user, enum weir_log_level level, const char *text, const struct weir_log_field *fields,
                   size_t field_count)
{
    const struct weir_world *world = user;
    if (!world->settings.trace)
        return;
    const struct weir_world_process *process = current_process(world);
    char who[16] = "-";
    if (process)
        snprintf(who, sizeof who, "p%u", process->number);
    print_head(world, who);
    fprintf(stderr, "%s%s", level <= WEIR_LOG_WARN ? "! " : "  ", text);
    for (size_t i = 0; i < field_count; i++)
        fprintf(stderr, " %s=%s", fields[i].name, fields[i].value);
    fputc('\n', stderr);
}

/* What is logged is put together by functions of the actors, and in a preempted world each of these is a place where
 * others come in between. So there the log is on in any case, or a seed would run otherwise once it is traced. */
static bool has_log(const struct weir_world *world)
{
    return world->settings.trace || world->settings.preempt > 0;
}

void weir_world_trace_begin(struct weir_world *world)
{
    if (has_log(world))
        weir_log_set(on_log, world, WEIR_LOG_DEBUG);
}

void weir_world_trace_end(const struct weir_world *world)
{
    if (has_log(world))
        weir_log_set(NULL, NULL, WEIR_LOG_ERROR);
}
