/*
 * arm-pace BOOTSTRAP TOPIC PARTITIONS RATE BEGIN_NS END_NS: sends RATE messages of 100 B a second, from one time of the
 * monotonic clock to another. One that could not be sent in time is sent late, with the time it was meant for.
 *
 * It waits up to 5 ms for a batch, which is part of every delay, whoever reads: a request a message would make the
 * broker the bottleneck.
 */
#include "bench/common.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEYS    100000u
#define TICK_NS 200000u

static void send_one(rd_kafka_t *client, const char *topic, int partitions, uint64_t number, uint64_t intended_ns)
{
    char key[24], value[100] = {0};
    uint64_t key_number = weir_bench_mix(1, number) % KEYS;
    int key_size = snprintf(key, sizeof key, "k%llu", (unsigned long long)key_number);
    memcpy(value, &intended_ns, sizeof intended_ns);
    const rd_kafka_vu_t parts[] = {
        {.vtype = RD_KAFKA_VTYPE_TOPIC, .u.cstr = topic},
        {.vtype = RD_KAFKA_VTYPE_PARTITION, .u.i32 = (int32_t)(key_number % (uint64_t)partitions)},
        {.vtype = RD_KAFKA_VTYPE_KEY, .u.mem = {key, (size_t)key_size}},
        {.vtype = RD_KAFKA_VTYPE_VALUE, .u.mem = {value, sizeof value}},
        {.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = RD_KAFKA_MSG_F_COPY},
    };
    rd_kafka_error_t *error;
    while ((error = rd_kafka_produceva(client, parts, sizeof parts / sizeof parts[0]))) {
        if (rd_kafka_error_code(error) != RD_KAFKA_RESP_ERR__QUEUE_FULL)
            weir_bench_die("pace: %s", rd_kafka_error_string(error));
        rd_kafka_error_destroy(error);
        rd_kafka_poll(client, 1);
    }
}

int main(int argc, char **argv)
{
    char words[256];
    if (argc != 7)
        weir_bench_die("arm-pace BOOTSTRAP TOPIC PARTITIONS RATE BEGIN_NS END_NS");
    const char *const properties[][2] = {
        {"bootstrap.servers", argv[1]}, {"linger.ms", "5"}, {"acks", "1"}, {"log_level", "3"}, {NULL, NULL},
    };
    int partitions = atoi(argv[3]);
    uint64_t rate = strtoull(argv[4], NULL, 10), begin_ns = strtoull(argv[5], NULL, 10);
    uint64_t end_ns = strtoull(argv[6], NULL, 10);
    rd_kafka_t *client = rd_kafka_new(RD_KAFKA_PRODUCER, weir_bench_conf(properties), words, sizeof words);
    if (!client || partitions < 1 || rate < 1)
        weir_bench_die("arm-pace: no producer, or numbers that are none");
    for (uint64_t number = 0, due_ns = begin_ns; due_ns < end_ns;) {
        for (uint64_t now_ns = weir_bench_now_ns(); due_ns <= now_ns && due_ns < end_ns;
             due_ns = begin_ns + ++number * 1000000000ull / rate)
            send_one(client, argv[2], partitions, number, due_ns);
        rd_kafka_poll(client, 0);
        weir_bench_sleep_until_ns(weir_bench_now_ns() + TICK_NS);
    }
    rd_kafka_flush(client, 10000);
    rd_kafka_destroy(client);
    return 0;
}
