/*
 * What do messages that always fail cost those that do not?
 *
 * 0, 1 and 10 in a hundred fail at once, at three attempts with backoff, and go to the dead letter topic; the others
 * take 1 ms on one of 32 workers. Counted are the others.
 *
 * Thread: main.
 */
#include "bench/lab.h"

static const struct weir_bench_about ABOUT = {
    .name = "poison",
    .question = "What do messages that always fail cost those that do not?",
    .messages = 150000,
    .runs = 5,
};

int main(int argc, char **argv)
{
    static const char *const ppm[] = {"0", "10000", "100000"}, *const labels[] = {"healthy", "1 %", "10 %"};
    static struct weir_bench_trial trials[3];
    struct weir_bench_lab lab;
    char name[96];
    weir_bench_lab_open(&lab, &ABOUT, argc, argv);
    struct weir_bench_topic topic = {.partitions = 12, .messages = lab.messages, .value_size = 100, .keys = 100000};
    weir_bench_lab_topic(&lab, &topic, name, sizeof name);
    for (size_t i = 0; i < 3; i++)
        trials[i] =
            (struct weir_bench_trial){.arm = "weir",
                                      .label = labels[i],
                                      .topic = &topic,
                                      .messages = topic.messages / 100 * 85, /* no arm waits for the last backoff */
                                      .words = {"--mode", "block", "--work-us", "1000", "--in-flight", "32",
                                                "--poison-ppm", ppm[i], "--set", "weir.retry.attempts.max=3"}};
    weir_bench_lab_run(&lab, trials, 3);
    weir_bench_lab_table("1 ms x 32 workers, order of keys, 100k keys", trials, 3);
    return 0;
}
