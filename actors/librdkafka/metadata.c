/*
 * What the client has heard of the cluster: numbers of partitions, the cluster's id, bytes received.
 *
 * Thread: control. The helper asks the brokers, see calls.c.
 *
 * A topic is asked for at start if subscribed by name, else when somebody first wants to know, and again every
 * REFRESH_NS. At most TOPICS_MAX are kept; a further one stays unknown.
 */
#include "actors/librdkafka/client.h"
#include "runtime/memory.h"
#include <stdlib.h>
#include <string.h>

#define REFRESH_NS (60 * UINT64_C(1000000000))
#define AGAIN_NS   (5 * UINT64_C(1000000000)) /* for one that is not known yet */

enum { TOPICS_MAX = 1024 };

/* ---- numbers of partitions ---- */

static struct weir_rdkafka_topic *find(struct weir_rdkafka *client, const char *name)
{
    struct weir_rdkafka_topic *topic = client->topics_known;
    while (topic && strcmp(topic->name, name) != 0)
        topic = topic->next;
    return topic;
}

static struct weir_rdkafka_topic *add(struct weir_rdkafka *client, const char *name)
{
    if (client->topics_known_count >= TOPICS_MAX)
        return NULL;
    size_t size = strlen(name) + 1;
    struct weir_rdkafka_topic *topic = weir_memory_allocate_zeroed(1, sizeof *topic + size);
    if (!topic)
        return NULL;
    memcpy(topic->name, name, size);
    topic->partition_count = -1;
    topic->next = client->topics_known;
    client->topics_known = topic;
    client->topics_known_count++;
    return topic;
}

static void ask(struct weir_rdkafka *client, struct weir_rdkafka_topic *topic, uint64_t now_ns)
{
    struct weir_rdkafka_request *request = weir_memory_allocate_zeroed(1, sizeof *request);
    if (!request)
        return; /* at the next round */
    request->job = WEIR_RDKAFKA_JOB_METADATA;
    request->partition_count = -1;
    request->list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(request->list, topic->name, RD_KAFKA_PARTITION_UA);
    topic->asked_ns = now_ns;
    topic->asking = true;
    weir_rdkafka_request_send(client, request);
}

void weir_rdkafka_metadata_start(struct weir_rdkafka *client)
{
    for (int index = 0; index < client->topics->cnt; index++)
        if (client->topics->elems[index].topic[0] != '^')
            weir_rdkafka_partition_count(&client->kafka, client->topics->elems[index].topic);
}

void weir_rdkafka_metadata_deinit(struct weir_rdkafka *client)
{
    while (client->topics_known) {
        struct weir_rdkafka_topic *topic = client->topics_known;
        client->topics_known = topic->next;
        weir_memory_free(topic);
    }
    rd_kafka_mem_free(NULL, client->cluster_id);
    client->cluster_id = NULL;
}

/* Ask again for what has become old. */
void weir_rdkafka_metadata_step(struct weir_rdkafka *client)
{
    uint64_t now_ns = weir_rdkafka_now_ns();
    if (client->phase != WEIR_RDKAFKA_RUNNING || now_ns < client->metadata_ns)
        return;
    client->metadata_ns = now_ns + AGAIN_NS;
    for (struct weir_rdkafka_topic *topic = client->topics_known; topic; topic = topic->next)
        if (!topic->asking && now_ns - topic->asked_ns >= (topic->partition_count < 0 ? AGAIN_NS : REFRESH_NS))
            ask(client, topic, now_ns);
}

/* A failure leaves what was known. */
void weir_rdkafka_metadata_done(struct weir_rdkafka *client, const struct weir_rdkafka_request *request)
{
    struct weir_rdkafka_topic *topic = find(client, request->list->elems[0].topic);
    WEIR_CHECK(topic);
    topic->asking = false;
    if (request->partition_count >= 0)
        topic->partition_count = request->partition_count;
}

int32_t weir_rdkafka_partition_count(struct weir_kafka *kafka, const char *name)
{
    struct weir_rdkafka *client = weir_rdkafka_of(kafka);
    struct weir_rdkafka_topic *topic = find(client, name);
    if (topic)
        return topic->partition_count;
    if (client->phase == WEIR_RDKAFKA_RUNNING && (topic = add(client, name)))
        ask(client, topic, weir_rdkafka_now_ns());
    return -1;
}

const char *weir_rdkafka_cluster_id(struct weir_kafka *kafka)
{
    struct weir_rdkafka *client = weir_rdkafka_of(kafka);
    if (!client->cluster_id && client->rk)
        client->cluster_id = rd_kafka_clusterid(client->rk, 0);
    return client->cluster_id;
}

/* ---- statistics ---- */

/* Behind the text that begins with a quote. */
static const char *skip_text(const char *at)
{
    for (at++; *at && *at != '"'; at++)
        if (*at == '\\' && at[1])
            at++;
    return *at ? at + 1 : at;
}

/* librdkafka's JSON is well formed; anything else gives false. Only the outermost object's member counts: each broker
 * has members of its own. */
bool weir_rdkafka_statistics(const char *json, uint64_t *fetched_bytes)
{
    static const char NAME[] = "\"rx_bytes\"";
    int depth = 0;
    for (const char *at = json; *at;) {
        if (*at == '"') {
            const char *end = skip_text(at);
            if (depth == 1 && strncmp(at, NAME, sizeof NAME - 1) == 0) {
                end += strspn(end, " \t\r\n:");
                char *after;
                *fetched_bytes = strtoull(end, &after, 10);
                return after != end;
            }
            at = end;
            continue;
        }
        depth += *at == '{' || *at == '[';
        depth -= *at == '}' || *at == ']';
        at++;
    }
    return false;
}
