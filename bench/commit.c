/*
 * What do tracking and committing cost a message, where finished messages have run far ahead of one that is not?
 *
 * In each partition one message is kept from finishing until 1,000, or 100,000, others have passed it; a commit then
 * carries a map of what is finished above the floor. Handlers do nothing otherwise.
 *
 * Thread: main.
 */
#include "bench/lab.h"

static const struct weir_bench_about ABOUT = {
    .name = "commit",
    .question = "What do tracking and committing cost a message, where others have run far ahead of it?",
    .messages = 3000000,
    .runs = 5,
};

int main(int argc, char **argv)
{
    static const char *const spans[] = {"0", "1000", "100000"}, *const labels[] = {"no gap", "1k", "100k"};
    static struct weir_bench_trial trials[3];
    struct weir_bench_lab lab;
    char name[96];
    weir_bench_lab_open(&lab, &ABOUT, argc, argv);
    struct weir_bench_topic topic = {.partitions = 12, .messages = lab.messages, .value_size = 100, .keys = 0};
    weir_bench_lab_topic(&lab, &topic, name, sizeof name);
    for (size_t i = 0; i < 3; i++)
        trials[i] = (struct weir_bench_trial){
            .arm = "weir",
            .label = labels[i],
            .topic = &topic,
            .words = {"--mode", "gap", "--in-flight", spans[i], "--set", "weir.commit.interval.ms=100"}};
    weir_bench_lab_run(&lab, trials, 3);
    weir_bench_lab_table("gap of so many messages, a commit each 100 ms", trials, 3);
    return 0;
}
