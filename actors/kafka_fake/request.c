/*
 * The four requests of a client: committed offsets, watermarks, seek, commit. Each goes out, arrives, is carried out or
 * not, and is answered by one event with its tag.
 *
 * Requests of one kind of connection (the coordinator's; the helper that seeks) neither overtake each other nor do
 * their answers, except for what a fault parks.
 *
 * Thread: the simulation's.
 *
 * Invariants
 *   1. requests_open counts the requests without an answer queued; CLOSED waits for it to be 0.
 *   2. A commit is stored only if its member is in the group with the generation of now, or nobody is and it names no
 *      member, as brokers have it.
 */
#include "actors/kafka_fake/internal.h"
#include "runtime/memory.h"
#include <stdlib.h>
#include <string.h>

struct request {
    struct weir_fake_client *client;
    enum weir_fake_request kind;
    uint64_t tag;
    struct weir_kafka_offset *offsets;
    size_t count;
    uint64_t deadline_ns;
    uint64_t member_id;
    int32_t generation;
    uint64_t pauses; /* of its client when it was sent */
    enum weir_kafka_error error;
    const char *text; /* of the error; static */
    bool released;    /* it holds back no join any more */
    bool mute;        /* it has been answered, and is only carried out */
    bool waits;       /* a commit asked for during a join: it goes out when that is over */
};

bool weir_fake_memory_is_short(struct weir_fake_cluster *cluster)
{
    void *memory = weir_memory_allocate(1);
    cluster->counts.no_memory += memory == NULL;
    weir_memory_free(memory);
    return memory == NULL;
}

bool weir_fake_failure_take(struct weir_fake_client *client, enum weir_fake_request kind, struct fake_failure *failure)
{
    if (client->failures[kind].count == 0)
        return false;
    client->failures[kind].count--;
    *failure = client->failures[kind];
    return true;
}

/* ---- a request's memory ---- */

static void request_free(void *argument)
{
    struct request *request = argument;
    weir_fake_offsets_free(request->offsets, request->count);
    free(request);
}

static struct request *request_clone(const struct request *request)
{
    struct request *clone = weir_fake_allocate(sizeof *clone);
    *clone = *request;
    clone->offsets = weir_fake_offsets_copy(request->client->cluster, request->offsets, request->count);
    return clone;
}

static void fail(struct request *request, enum weir_kafka_error error, const char *text)
{
    request->error = error;
    request->text = text;
    for (size_t i = 0; i < request->count; i++)
        request->offsets[i].error = error;
}

/* ---- the way back ---- */

static const enum weir_kafka_event_kind answers[WEIR_FAKE_REQUESTS] = {
    [WEIR_FAKE_FETCH_COMMITTED] = WEIR_KAFKA_FETCHED,
    [WEIR_FAKE_FETCH_WATERMARKS] = WEIR_KAFKA_WATERMARKS,
    [WEIR_FAKE_SEEK] = WEIR_KAFKA_SOUGHT,
    [WEIR_FAKE_COMMIT] = WEIR_KAFKA_COMMITTED,
};

/* From now on it holds back neither a join nor a pull. */
static void release(struct request *request)
{
    if (request->released)
        return;
    request->released = true;
    if (request->kind == WEIR_FAKE_COMMIT)
        request->client->commits_open--;
    for (size_t i = 0; request->kind == WEIR_FAKE_SEEK && i < request->count; i++) {
        struct weir_kafka_queue *queue =
            weir_fake_queue_assigned(request->client, request->offsets[i].topic, request->offsets[i].partition);
        if (queue && queue->seeks_open > 0)
            queue->seeks_open--;
    }
}

static void deliver(struct request *request)
{
    struct weir_fake_client *client = request->client;
    release(request);
    client->requests_open--;
    if (weir_fake_client_is_gone(client))
        return;
    client->cluster->counts.request_errors += request->error != WEIR_KAFKA_NONE;
    weir_fake_note(client, &(struct weir_kafka_event){
                               .kind = answers[request->kind],
                               .tag = request->tag,
                               .error = request->error,
                               .text = request->text,
                               .offsets = request->offsets,
                               .count = request->count,
                           });
    if (request->kind == WEIR_FAKE_COMMIT && request->error == WEIR_KAFKA_GENERATION)
        weir_fake_member_lost(client, request->member_id);
    weir_fake_member_settle(client);
    weir_fake_client_close_check(client);
}

static void on_answer_arrives(void *argument)
{
    struct request *request = argument;
    struct weir_fake_client *client = request->client;
    uint64_t now_ns = weir_fake_now(client->cluster);
    if (request->kind != WEIR_FAKE_SEEK && client->partitioned_until_ns > now_ns && now_ns < request->deadline_ns &&
        !weir_fake_client_is_gone(client)) { /* the answer is lost: the client waits for the time-out */
        fail(request, WEIR_KAFKA_RETRIABLE, "request timed out");
        weir_fake_after(client->cluster, request->deadline_ns - now_ns, on_answer_arrives, request_free, request);
        return;
    }
    deliver(request);
    request_free(request);
}

static void answer_after(struct request *request, uint64_t delay_ns)
{
    weir_fake_after(request->client->cluster, delay_ns, on_answer_arrives, request_free, request);
}

static enum fake_lane lane_of(enum weir_fake_request kind)
{
    return kind == WEIR_FAKE_SEEK ? FAKE_LANE_SEEK : FAKE_LANE_COORDINATOR;
}

static void answer(struct request *request)
{
    if (request->mute) {
        request_free(request);
        return;
    }
    struct weir_fake_client *client = request->client;
    uint64_t *lane_ns = &client->lane_answer_ns[lane_of(request->kind)];
    answer_after(request, weir_fake_lane(client, lane_ns, weir_fake_latency(client->cluster)));
}

/* ---- what they do ---- */

static void do_fetch_committed(struct request *request)
{
    for (size_t i = 0; i < request->count; i++) {
        struct weir_kafka_offset *offset = &request->offsets[i];
        struct fake_commit *commit = weir_fake_group_commit(request->client->group, offset->topic, offset->partition);
        if (weir_fake_offset_is_unstable(request->client->group, offset->topic, offset->partition)) {
            offset->error = WEIR_KAFKA_RETRIABLE;
            continue;
        }
        free((void *)(uintptr_t)offset->metadata);
        offset->offset = commit ? commit->offset : -1;
        offset->leader_epoch = commit ? commit->leader_epoch : -1;
        offset->metadata = commit && *commit->metadata ? weir_fake_copy_text(commit->metadata) : NULL;
        offset->metadata_size = offset->metadata ? strlen(offset->metadata) : 0;
    }
}

static void do_fetch_watermarks(struct request *request)
{
    for (size_t i = 0; i < request->count; i++) {
        struct weir_kafka_offset *offset = &request->offsets[i];
        const struct fake_topic *topic = weir_fake_topic(request->client->cluster, offset->topic);
        const struct fake_log *log = weir_fake_log(request->client->cluster, offset->topic, offset->partition);
        offset->offset = log ? log->start : -1;
        offset->high_offset = log ? log->end : -1;
        offset->error = !log ? WEIR_KAFKA_UNKNOWN_TOPIC : topic->denied ? WEIR_KAFKA_AUTHORIZATION : WEIR_KAFKA_NONE;
    }
}

/* Not past a rebalance: librdkafka takes seeks and assignments in one line, so that a seek cannot come after a later
 * assignment and move that. */
static void do_seek(struct request *request)
{
    for (size_t i = 0; i < request->count; i++) {
        struct weir_kafka_offset *offset = &request->offsets[i];
        struct weir_kafka_queue *queue = weir_fake_queue_assigned(request->client, offset->topic, offset->partition);
        if (!queue || request->pauses != request->client->pauses)
            offset->error = WEIR_KAFKA_OTHER; /* not assigned any more, or anew */
        else
            weir_fake_queue_seek(queue, offset->offset);
    }
}

/* A whole whose offsets partly failed carries no error of its own, but for metadata that is too large: that comes back
 * for the whole, and is not always said of the partition. */
static void store(struct request *request)
{
    struct weir_fake_cluster *cluster = request->client->cluster;
    for (size_t i = 0; i < request->count; i++) {
        struct weir_kafka_offset *offset = &request->offsets[i];
        const struct fake_topic *topic = weir_fake_topic(cluster, offset->topic);
        size_t size = offset->metadata ? strlen(offset->metadata) : 0;
        if (!weir_fake_log(cluster, offset->topic, offset->partition)) {
            offset->error = WEIR_KAFKA_UNKNOWN_TOPIC;
        } else if (topic->denied) {
            offset->error = WEIR_KAFKA_AUTHORIZATION;
        } else if (size > cluster->settings.offset_metadata_bytes_max) {
            request->error = WEIR_KAFKA_METADATA_TOO_LARGE;
            request->text = "offset metadata too large";
            if (weir_fake_between(cluster, 0, 1))
                offset->error = WEIR_KAFKA_METADATA_TOO_LARGE;
            cluster->counts.commits_refused++;
        } else {
            weir_fake_group_store(request->client->group, offset);
            cluster->counts.commits_applied++;
        }
    }
}

static void do_commit(struct request *request)
{
    struct weir_fake_cluster *cluster = request->client->cluster;
    const struct fake_group *group = request->client->group;
    const struct fake_member *member = weir_fake_group_member(group, request->member_id);
    if (request->member_id == 0 && !group->members) {
        store(request); /* an empty group takes offsets from anybody */
    } else if (!member || member->client != request->client) {
        fail(request, WEIR_KAFKA_GENERATION, "unknown member id");
        cluster->counts.commits_refused++;
    } else if (request->generation != group->generation) {
        bool refused = weir_fake_roll(cluster, cluster->faults.commit_race);
        fail(request, refused ? WEIR_KAFKA_GENERATION : WEIR_KAFKA_RETRIABLE,
             refused ? "illegal generation" : "rebalance in progress");
        cluster->counts.commits_refused++;
    } else {
        store(request);
    }
}

static void carry_out(struct request *request)
{
    switch (request->kind) {
    case WEIR_FAKE_FETCH_COMMITTED:
        do_fetch_committed(request);
        break;
    case WEIR_FAKE_FETCH_WATERMARKS:
        do_fetch_watermarks(request);
        break;
    case WEIR_FAKE_SEEK:
        do_seek(request);
        break;
    default:
        do_commit(request);
        break;
    }
}

/* ---- faults ---- */

static void on_parked_commit(void *argument)
{
    struct request *request = argument;
    struct weir_fake_client *client = request->client;
    uint64_t until_ns = weir_fake_blocked_until(client, true);
    if (until_ns && !weir_fake_client_is_gone(client)) {
        uint64_t delay_ns = until_ns - weir_fake_now(client->cluster) + weir_fake_latency(client->cluster);
        weir_fake_after(client->cluster, delay_ns, on_parked_commit, request_free, request);
        return;
    }
    request->member_id = client->member_id; /* sent only now, by whatever the client is by now */
    request->generation = client->generation;
    do_commit(request);
    answer(request);
}

/* The client keeps the commit for want of a coordinator, and sends it later; or it is sent, answered as timed out, and
 * stored after a later one, from a connection that was given up. */
static void park(struct request *request)
{
    struct weir_fake_cluster *cluster = request->client->cluster;
    cluster->counts.commits_parked++;
    struct request *parked = request;
    if (weir_fake_between(cluster, 0, 1)) {
        parked = request_clone(request);
        parked->mute = true;
        fail(request, WEIR_KAFKA_RETRIABLE, "request timed out");
        answer(request);
    } else {
        release(parked);
        weir_fake_member_settle_soon(parked->client);
    }
    weir_fake_after(cluster,
                    weir_fake_between(cluster, cluster->settings.latency_ns_max, cluster->settings.park_ns_max),
                    on_parked_commit, request_free, parked);
}

/* True when the fault has seen to the request. */
static bool fault_of_commit(struct request *request)
{
    struct weir_fake_cluster *cluster = request->client->cluster;
    if (weir_fake_roll(cluster, cluster->faults.commit_parked)) {
        park(request);
        return true;
    }
    bool applied = weir_fake_roll(cluster, cluster->faults.commit_applied_error);
    if (!applied && !weir_fake_roll(cluster, cluster->faults.commit_lost))
        return false;
    *(applied ? &cluster->counts.commits_applied_error : &cluster->counts.commits_lost) += 1;
    if (applied)
        do_commit(request);
    if (request->error == WEIR_KAFKA_NONE)
        fail(request, WEIR_KAFKA_RETRIABLE, "request timed out");
    answer(request);
    return true;
}

static bool fault_of(struct request *request)
{
    struct weir_fake_cluster *cluster = request->client->cluster;
    const struct weir_fake_faults *faults = &cluster->faults;
    if (request->kind == WEIR_FAKE_COMMIT)
        return fault_of_commit(request);
    uint16_t chance = request->kind == WEIR_FAKE_SEEK               ? faults->seek_error
                      : request->kind == WEIR_FAKE_FETCH_WATERMARKS ? faults->watermarks_error
                                                                    : faults->fetch_committed_error;
    if (!weir_fake_roll(cluster, chance))
        return false;
    if (request->kind == WEIR_FAKE_SEEK && weir_fake_between(cluster, 0, 1))
        do_seek(request);
    fail(request, WEIR_KAFKA_RETRIABLE, "timed out");
    answer(request);
    return true;
}

/* ---- the way there ---- */

/* No broker is reached: wait for one, or for the time-out. */
static void wait_for_broker(struct request *request, uint64_t until_ns, fake_action *again)
{
    struct weir_fake_client *client = request->client;
    uint64_t now_ns = weir_fake_now(client->cluster);
    if (until_ns < request->deadline_ns) {
        uint64_t *lane_ns = &client->lane_request_ns[lane_of(request->kind)];
        uint64_t delay_ns = until_ns - now_ns + weir_fake_latency(client->cluster);
        weir_fake_after(client->cluster, weir_fake_lane(client, lane_ns, delay_ns), again, request_free, request);
        return;
    }
    fail(request, WEIR_KAFKA_RETRIABLE, "request timed out");
    answer_after(request, request->deadline_ns > now_ns ? request->deadline_ns - now_ns : 0);
}

/* A commit that waits for a join goes out under the generation which that leads to; after a loss it is refused. */
static bool waits_for_join(struct request *request)
{
    const struct weir_fake_client *client = request->client;
    if (!request->waits || weir_fake_client_is_gone(client))
        return false;
    if (client->joining && !client->closing && client->member_id == request->member_id)
        return true;
    request->waits = false;
    if (client->member_id == request->member_id)
        request->generation = client->generation;
    return false;
}

static void on_request_arrives(void *argument)
{
    struct request *request = argument;
    struct weir_fake_client *client = request->client;
    if (waits_for_join(request)) {
        weir_fake_after(client->cluster, weir_fake_latency(client->cluster), on_request_arrives, request_free, request);
        return;
    }
    if (weir_fake_client_is_gone(client) && weir_fake_between(client->cluster, 0, 1)) {
        client->requests_open--;
        request_free(request); /* had not left the machine */
        return;
    }
    bool coordinator = request->kind == WEIR_FAKE_COMMIT || request->kind == WEIR_FAKE_FETCH_COMMITTED;
    uint64_t until_ns = request->kind == WEIR_FAKE_SEEK ? 0 : weir_fake_blocked_until(client, coordinator);
    struct fake_failure failure;
    if (client->fatal) {
        fail(request, WEIR_KAFKA_FATAL, "fatal client error");
        answer(request);
    } else if (until_ns) {
        wait_for_broker(request, until_ns, on_request_arrives);
    } else if (weir_fake_failure_take(client, request->kind, &failure)) {
        if (failure.applied)
            carry_out(request);
        fail(request, failure.error, "as the test has it");
        answer(request);
    } else if (!fault_of(request)) {
        carry_out(request);
        answer(request);
    }
}

static int send_request(struct weir_fake_client *client, enum weir_fake_request kind,
                        const struct weir_kafka_offset *offsets, size_t count, uint64_t tag)
{
    struct weir_fake_cluster *cluster = client->cluster;
    cluster->counts.requests++;
    client->requests_open++;
    client->commits_open += kind == WEIR_FAKE_COMMIT;
    struct request *request = weir_fake_allocate(sizeof *request);
    request->client = client;
    request->kind = kind;
    request->tag = tag;
    request->offsets = weir_fake_offsets_copy(cluster, offsets, count);
    request->count = count;
    request->deadline_ns = weir_fake_now(cluster) + cluster->settings.request_timeout_ns;
    request->member_id = client->member_id;
    request->generation = client->generation;
    request->pauses = client->pauses;
    request->waits = kind == WEIR_FAKE_COMMIT && client->joining && weir_fake_between(cluster, 0, 3) > 0;
    uint64_t *lane_ns = &client->lane_request_ns[lane_of(kind)];
    weir_fake_after(cluster, weir_fake_lane(client, lane_ns, weir_fake_latency(cluster)), on_request_arrives,
                    request_free, request);
    return 0;
}

/* ---- the door ---- */

static int begin(struct weir_fake_client *client, const char *what)
{
    weir_fake_control_call(client, what);
    if (!client->started || client->closed)
        return WEIR_STATE;
    return weir_fake_memory_is_short(client->cluster) ? WEIR_NO_MEMORY : 0;
}

int weir_fake_fetch_committed(struct weir_kafka *kafka, const struct weir_kafka_offset *offsets, size_t count,
                              uint64_t tag)
{
    struct weir_fake_client *client = weir_fake_client_of(kafka);
    int code = begin(client, "fetch_committed");
    return code ? code : send_request(client, WEIR_FAKE_FETCH_COMMITTED, offsets, count, tag);
}

int weir_fake_fetch_watermarks(struct weir_kafka *kafka, const struct weir_kafka_offset *offsets, size_t count,
                               uint64_t tag)
{
    struct weir_fake_client *client = weir_fake_client_of(kafka);
    int code = begin(client, "fetch_watermarks");
    return code ? code : send_request(client, WEIR_FAKE_FETCH_WATERMARKS, offsets, count, tag);
}

int weir_fake_seek(struct weir_kafka *kafka, const struct weir_kafka_offset *offsets, size_t count, uint64_t tag)
{
    struct weir_fake_client *client = weir_fake_client_of(kafka);
    int code = begin(client, "seek");
    if (code)
        return code;
    for (size_t i = 0; i < count; i++) {
        struct weir_kafka_queue *queue = weir_fake_queue_assigned(client, offsets[i].topic, offsets[i].partition);
        if (offsets[i].offset < 0)
            weir_fake_violate(client->cluster, "client %u: seek of %s/%d to offset %lld", client->number,
                              offsets[i].topic, offsets[i].partition, (long long)offsets[i].offset);
        if (queue)
            queue->seeks_open++;
    }
    return send_request(client, WEIR_FAKE_SEEK, offsets, count, tag);
}

static bool is_lost(const struct weir_fake_client *client, const struct weir_kafka_offset *offset)
{
    if (!client->open || client->rebalance->event.kind != WEIR_KAFKA_LOST)
        return false;
    const struct weir_kafka_event *event = &client->rebalance->event;
    for (size_t i = 0; i < event->count; i++) {
        if (event->offsets[i].partition == offset->partition && strcmp(event->offsets[i].topic, offset->topic) == 0)
            return true;
    }
    return false;
}

/* What is wrong with committing this at all; NULL: nothing. */
static const char *commit_misuse(const struct weir_fake_client *client, const struct weir_kafka_offset *offsets,
                                 size_t index)
{
    const struct weir_kafka_offset *offset = &offsets[index];
    for (size_t i = 0; i < index; i++) {
        if (offsets[i].partition == offset->partition && strcmp(offsets[i].topic, offset->topic) == 0)
            return "twice in a request";
    }
    if (offset->offset < 0)
        return "below 0";
    if (offset->offset > weir_fake_end_highest(client->cluster, offset->topic, offset->partition))
        return "above the log's end";
    if (offset->metadata && strlen(offset->metadata) != offset->metadata_size)
        return "with metadata that is no text of its size";
    if (!weir_fake_queue_assigned(client, offset->topic, offset->partition))
        return "of a partition that is not assigned";
    return is_lost(client, offset) ? "of a partition that was lost" : NULL;
}

int weir_fake_commit(struct weir_kafka *kafka, const struct weir_kafka_offset *offsets, size_t count, uint64_t tag)
{
    struct weir_fake_client *client = weir_fake_client_of(kafka);
    int code = begin(client, "commit");
    if (code)
        return code;
    for (size_t i = 0; i < count; i++) {
        const char *what = commit_misuse(client, offsets, i);
        if (what)
            weir_fake_violate(client->cluster, "client %u: commit of %s/%d at %lld %s", client->number,
                              offsets[i].topic, offsets[i].partition, (long long)offsets[i].offset, what);
    }
    return send_request(client, WEIR_FAKE_COMMIT, offsets, count, tag);
}
