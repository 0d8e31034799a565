/*
 * Arm: the raw batch loop of librdkafka. --mode ours: with the fetch settings that the Weir arm has; defaults: with
 * librdkafka's own. --work-us keeps the processor busy for each message; --seconds measures delays of what arm-pace
 * sends meanwhile.
 *
 * Built twice, with jemalloc and without, as the allocator is half of what this loop costs.
 */
#include "bench/peers/raw.h"
#include "bench/arms/arm.h"
#include "bench/arms/pace.h"
#include <stdio.h>
#include <string.h>

struct arm {
    const struct weir_bench_job *job;
    const struct weir_bench_pace *pace;
    struct weir_bench_delays delays;
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

static bool is_over(void *user)
{
    const struct arm *arm = user;
    return weir_bench_pace_is_over(arm->pace, arm->delays.count);
}

int main(int argc, char **argv)
{
    static struct arm arm;
    struct weir_bench_job job;
    weir_bench_job_read(&job, argc, argv);
    bool ours = strcmp(job.mode, "ours") == 0, timed = job.seconds > 0;
    struct weir_bench_raw raw = {.bootstrap = job.bootstrap,
                                 .topic = job.topic,
                                 .partitions = job.partitions,
                                 .messages = timed ? UINT64_MAX : job.messages,
                                 .settings = ours ? weir_bench_arm_fetch : NULL,
                                 .at_end = timed,
                                 .on_message = timed         ? work_and_time
                                               : job.work_us ? work
                                                             : NULL,
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
