/*
 * Arm: the raw batch loop of librdkafka. --mode ours: with the fetch settings that the Weir arm has; defaults: with
 * librdkafka's own; hold: with the former, and messages are kept, to see how much memory is resident once there are
 * --in-flight. --work-us keeps the processor busy for each message; --seconds measures delays of what arm-pace sends
 * meanwhile.
 *
 * Built twice, with jemalloc and without, as the allocator is half of what this loop costs.
 */
#include "bench/peers/raw.h"
#include "bench/arms/arm.h"
#include "bench/arms/pace.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SETTLE_NS 1500000000u

struct arm {
    const struct weir_bench_job *job;
    const struct weir_bench_pace *pace;
    struct weir_bench_delays delays;
    uint64_t held;
};

static void work(const rd_kafka_message_t *message, void *user)
{
    const struct arm *arm = user;
    weir_bench_spin_us(arm->job->work_us);
}

static void work_and_time(const rd_kafka_message_t *message, void *user)
{
    struct arm *arm = user;
    weir_bench_spin_us(arm->job->work_us);
    if (weir_bench_pace_counts(arm->pace, message->payload, message->len))
        weir_bench_delays_add(&arm->delays, message->payload, message->len);
}

/* As Weir's arm of this mode: what the queues hold has come when the memory is looked at. */
static void hold(const rd_kafka_message_t *message, void *user)
{
    struct arm *arm = user;
    if (++arm->held < arm->job->in_flight)
        return;
    weir_bench_sleep_until_ns(weir_bench_now_ns() + SETTLE_NS);
    weir_bench_purge_free_pages();
    weir_bench_job_say(arm->job, arm->held, 1, rd_kafka_version_str(), "messages kept,");
    weir_bench_job_say_number("resident_bytes", (double)weir_bench_resident_bytes());
    weir_bench_job_say_end();
    _exit(0); /* a client with messages that are held cannot be ended */
}

static const char *const (*settings_of(const struct weir_bench_job *job))[2]
{
    static const char *settings[8 + WEIR_BENCH_ARM_SETS_MAX][2];
    size_t count = 0;
    for (; strcmp(job->mode, "defaults") != 0 && weir_bench_arm_fetch[count][0]; count++)
        memcpy(settings[count], weir_bench_arm_fetch[count], sizeof settings[0]);
    for (size_t i = 0; i < job->set_count; i++)
        if (strncmp(job->set[i][0], "weir.", strlen("weir.")) != 0)     /* a bench says the same to all its arms */
            memcpy(settings[count++], job->set[i], sizeof settings[0]); /* what is set later wins */
    return (const char *const(*)[2])settings;
}

static bool is_over(void *user)
{
    const struct arm *arm = user;
    return weir_bench_pace_is_over(arm->pace, arm->delays.count);
}

static void (*handler_of(const struct weir_bench_job *job))(const rd_kafka_message_t *message, void *user)
{
    if (strcmp(job->mode, "hold") == 0)
        return hold;
    if (job->seconds > 0)
        return work_and_time;
    return job->work_us > 0 ? work : NULL;
}

int main(int argc, char **argv)
{
    static struct arm arm;
    struct weir_bench_job job;
    weir_bench_job_read(&job, argc, argv);
    bool ours = strcmp(job.mode, "defaults") != 0, holds = strcmp(job.mode, "hold") == 0, timed = job.seconds > 0;
    struct weir_bench_raw raw = {.bootstrap = job.bootstrap,
                                 .topic = job.topic,
                                 .partitions = job.partitions,
                                 .messages = timed ? UINT64_MAX : job.messages,
                                 .settings = settings_of(&job),
                                 .keep = holds,
                                 .at_end = timed,
                                 .on_message = handler_of(&job),
                                 .stop = timed ? is_over : NULL,
                                 .user = &arm};
    struct weir_bench_pace pace = {0};
    arm.job = &job;
    arm.pace = &pace;
    if (timed)
        weir_bench_pace_start(&pace, &job);
    struct weir_bench_raw_result result = weir_bench_raw_loop(&raw);
    char version[96], settings[96];
    snprintf(version, sizeof version, "librdkafka %s, %s", rd_kafka_version_str(), WEIR_BENCH_ALLOCATOR);
    snprintf(settings, sizeof settings, "one thread, batches of 1024, no commits, %s",
             ours ? "fetch settings of the Weir arm" : "fetch defaults");
    weir_bench_job_say(&job, result.messages, result.seconds, version, settings);
    weir_bench_job_say_number("handled", (double)result.handled);
    if (timed)
        weir_bench_pace_say(&pace, &arm.delays);
    weir_bench_job_say_end();
    return 0;
}
