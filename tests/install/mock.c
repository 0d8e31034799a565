/*
 * A Kafka to try the installed command on: librdkafka's mock cluster with one topic of a few hundred messages, for as
 * long as a command runs. Usage: mock GROUP COMMAND ARGUMENT...; the command finds the address in BOOTSTRAP. Prints
 * "committed N" afterwards, the sum of the group's committed offsets, and ends with the command's status.
 *
 * Topic orders, 4 partitions: 200 messages "k0" .. "k9" -> "order 0" .. "order 199", then one with a null key, one that
 * is a tombstone, and one with bytes that a line of text cannot hold.
 */
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ORDERS = 200, PARTITIONS = 4 };

static void die(const char *what)
{
    fprintf(stderr, "mock: %s\n", what);
    exit(125);
}

static void set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
    char words[256];
    if (rd_kafka_conf_set(conf, name, value, words, sizeof words) != RD_KAFKA_CONF_OK)
        die(words);
}

/* A producer, or with a group a consumer. */
static rd_kafka_t *client(const char *bootstrap, const char *group)
{
    char words[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    set(conf, "bootstrap.servers", bootstrap);
    if (group)
        set(conf, "group.id", group);
    rd_kafka_conf_set_log_cb(conf, NULL);
    rd_kafka_t *rk = rd_kafka_new(group ? RD_KAFKA_CONSUMER : RD_KAFKA_PRODUCER, conf, words, sizeof words);
    if (!rk)
        die(words);
    return rk;
}

static void produce(rd_kafka_t *rk, const char *key, const char *value, size_t value_size)
{
    rd_kafka_resp_err_t code = rd_kafka_producev(
        rk, RD_KAFKA_V_TOPIC("orders"), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
        RD_KAFKA_V_KEY(key, key ? strlen(key) : 0), RD_KAFKA_V_VALUE((void *)value, value_size), RD_KAFKA_V_END);
    if (code)
        die(rd_kafka_err2str(code));
}

static void fill(rd_kafka_t *rk)
{
    for (int order = 0; order < ORDERS; order++) {
        char key[8], value[32];
        snprintf(key, sizeof key, "k%d", order % 10);
        produce(rk, key, value, (size_t)snprintf(value, sizeof value, "order %d", order));
    }
    produce(rk, NULL, "no key", 6);
    produce(rk, "gone", NULL, 0);
    produce(rk, "odd", "tab\there\nline\\slash\x01nul\0.", 25);
    if (rd_kafka_flush(rk, 30000) != RD_KAFKA_RESP_ERR_NO_ERROR)
        die("the messages could not be produced");
}

static int run(char **argv)
{
    pid_t pid = fork();
    if (pid < 0)
        die("fork");
    if (pid == 0) {
        execvp(argv[0], argv);
        perror(argv[0]);
        _exit(127);
    }
    int status;
    if (waitpid(pid, &status, 0) != pid)
        die("waitpid");
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void print_committed(const char *bootstrap, const char *group)
{
    rd_kafka_t *rk = client(bootstrap, group);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(PARTITIONS);
    for (int partition = 0; partition < PARTITIONS; partition++)
        rd_kafka_topic_partition_list_add(list, "orders", partition);
    rd_kafka_resp_err_t code = rd_kafka_committed(rk, list, 30000);
    if (code)
        die(rd_kafka_err2str(code));
    long long sum = 0;
    for (int index = 0; index < list->cnt; index++)
        sum += list->elems[index].offset > 0 ? list->elems[index].offset : 0;
    printf("committed %lld\n", sum);
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_destroy(rk);
}

int main(int argc, char **argv)
{
    if (argc < 3)
        die("which group and command?");
    rd_kafka_t *host = client("127.0.0.1:1", NULL); /* the cluster lives in it; it talks to nobody */
    rd_kafka_mock_cluster_t *cluster = rd_kafka_mock_cluster_new(host, 1);
    if (!cluster || rd_kafka_mock_topic_create(cluster, "orders", PARTITIONS, 1) != RD_KAFKA_RESP_ERR_NO_ERROR)
        die("no mock cluster");
    const char *bootstrap = rd_kafka_mock_cluster_bootstraps(cluster);
    setenv("BOOTSTRAP", bootstrap, 1);
    rd_kafka_t *producer = client(bootstrap, NULL);
    fill(producer);
    rd_kafka_destroy(producer);
    int status = run(argv + 2);
    print_committed(bootstrap, argv[1]);
    rd_kafka_mock_cluster_destroy(cluster);
    rd_kafka_destroy(host);
    return status;
}
