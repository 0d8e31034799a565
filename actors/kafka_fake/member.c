/*
 * A client as a member of its group: what librdkafka does on its own thread.
 *
 * One function, settle, looks at what is to be done next and does it, when no rebalance event is in the way: tell of a
 * loss, leave, give the rest of a cooperative assignment, revoke for an eager one, join. Everything that changes what
 * the client ought to do sets a flag and calls it.
 *
 * Thread: the simulation's.
 *
 * Invariants
 *   1. A join is sent only with no rebalance event queued or open, and none of the client's commits under way that the
 *      broker will answer in time.
 *   2. `owned` changes with the events: it grows when an ASSIGN is queued, and shrinks when REVOKE or LOST is answered.
 */
#include "actors/kafka_fake/internal.h"
#include <stdlib.h>

/* ---- joining ---- */

struct join {
    struct weir_fake_client *client;
    uint64_t number;
    struct fake_set claims;
};

static void join_drop(void *argument)
{
    struct join *join = argument;
    weir_fake_set_clear(&join->claims);
    free(join);
}

static void on_join_arrives(void *argument)
{
    struct join *join = argument;
    struct weir_fake_client *client = join->client;
    if (weir_fake_client_is_gone(client) || client->closing || client->fatal || !client->joining ||
        client->join_number != join->number) {
        join_drop(join);
        return;
    }
    uint64_t until_ns = weir_fake_blocked_until(client, true);
    if (until_ns) {
        uint64_t delay_ns = until_ns - weir_fake_now(client->cluster) + weir_fake_latency(client->cluster);
        weir_fake_after(client->cluster, delay_ns, on_join_arrives, join_drop, join);
        return;
    }
    client->connected = true;
    weir_fake_group_join(client->group, client, &join->claims);
    join_drop(join);
}

static void join_send(struct weir_fake_client *client)
{
    client->joining = true;
    client->rejoin = false;
    client->join_number++;
    struct join *join = weir_fake_allocate(sizeof *join);
    join->client = client;
    join->number = client->join_number;
    weir_fake_set_copy(&join->claims, &client->owned);
    uint64_t delay_ns =
        weir_fake_lane(client, &client->lane_request_ns[FAKE_LANE_COORDINATOR], weir_fake_latency(client->cluster));
    weir_fake_after(client->cluster, delay_ns, on_join_arrives, join_drop, join);
}

/* ---- the share that a join brings ---- */

struct share {
    struct weir_fake_client *client;
    uint64_t member_id;
    int32_t generation;
    struct fake_set target;
};

static void share_drop(void *argument)
{
    struct share *share = argument;
    weir_fake_set_clear(&share->target);
    free(share);
}

static void take_cooperative(struct weir_fake_client *client, const struct fake_set *target)
{
    struct fake_set revoked = {0}, added = {0};
    for (size_t i = 0; i < client->owned.count; i++) {
        const struct fake_place *place = &client->owned.items[i];
        if (!weir_fake_set_has(target, place->topic, place->partition))
            weir_fake_set_add(&revoked, place->topic, place->partition);
    }
    for (size_t i = 0; i < target->count; i++) {
        const struct fake_place *place = &target->items[i];
        if (!weir_fake_set_has(&client->owned, place->topic, place->partition))
            weir_fake_set_add(&added, place->topic, place->partition);
    }
    if (revoked.count > 0) {
        weir_fake_set_copy(&client->added, &added); /* after the answer, then another join */
        client->rejoin = true;
        weir_fake_rebalance_note(client, WEIR_KAFKA_REVOKE, &revoked);
    } else {
        weir_fake_rebalance_note(client, WEIR_KAFKA_ASSIGN, &added);
    }
    weir_fake_set_clear(&revoked);
    weir_fake_set_clear(&added);
}

static void on_share_arrives(void *argument)
{
    struct share *share = argument;
    struct weir_fake_client *client = share->client;
    uint64_t now_ns = weir_fake_now(client->cluster);
    if (weir_fake_client_is_gone(client) || client->closing || client->fatal || client->member_id != share->member_id) {
        share_drop(share);
        return;
    }
    if (client->partitioned_until_ns > now_ns) {
        uint64_t delay_ns = client->partitioned_until_ns - now_ns + weir_fake_latency(client->cluster);
        weir_fake_after(client->cluster, delay_ns, on_share_arrives, share_drop, share);
        return;
    }
    client->joining = false;
    client->generation = share->generation;
    if (client->cooperative)
        take_cooperative(client, &share->target);
    else
        weir_fake_rebalance_note(client, WEIR_KAFKA_ASSIGN, &share->target);
    struct fake_member *member = weir_fake_group_member(client->group, client->member_id);
    if (member && client->group->state == FAKE_GROUP_PREPARING && !member->joined)
        client->rejoin = true; /* the next round has begun while this answer was on its way */
    share_drop(share);
}

void weir_fake_member_synced(struct fake_group *group, struct fake_member *member)
{
    struct weir_fake_client *client = member->client;
    struct share *share = weir_fake_allocate(sizeof *share);
    share->client = client;
    share->member_id = member->id;
    share->generation = group->generation;
    weir_fake_set_copy(&share->target, &member->target);
    uint64_t delay_ns =
        weir_fake_lane(client, &client->lane_answer_ns[FAKE_LANE_COORDINATOR], weir_fake_latency(client->cluster));
    weir_fake_after(client->cluster, delay_ns, on_share_arrives, share_drop, share);
}

/* ---- what is next ---- */

static void on_leave_arrives(void *argument)
{
    struct weir_fake_client *client = argument;
    if (weir_fake_blocked_until(client, true))
        weir_fake_group_watch_session(client); /* the request is lost, and the member missed */
    else
        weir_fake_group_remove(client->group, client->member_id, false);
}

static void leave(struct weir_fake_client *client)
{
    if (!client->left && client->member_id && !client->instance)
        weir_fake_after(client->cluster, weir_fake_latency(client->cluster), on_leave_arrives, NULL, client);
    client->left = true;
    weir_fake_client_close_check(client);
}

static void give_added(struct weir_fake_client *client)
{
    struct fake_set added = client->added;
    client->added = (struct fake_set){0};
    weir_fake_rebalance_note(client, WEIR_KAFKA_ASSIGN, &added);
    weir_fake_set_clear(&added);
}

void weir_fake_member_settle(struct weir_fake_client *client)
{
    if (!client->started || weir_fake_client_is_gone(client) || client->closed_queued || client->rebalance)
        return;
    if (client->fatal) { /* no events any more: librdkafka unassigns by itself */
        if (client->closing)
            leave(client);
        return;
    }
    if (client->lost) {
        if (client->owned.count > 0) {
            weir_fake_rebalance_note(client, WEIR_KAFKA_LOST, &client->owned);
            return;
        }
        client->lost = false;
        client->rejoin = true;
    }
    if (client->closing) {
        if (client->owned.count > 0)
            weir_fake_rebalance_note(client, WEIR_KAFKA_REVOKE, &client->owned);
        else
            leave(client);
    } else if (client->added.count > 0) {
        give_added(client);
    } else if (client->rejoin && !client->cooperative && client->owned.count > 0) {
        weir_fake_rebalance_note(client, WEIR_KAFKA_REVOKE, &client->owned);
    } else if (client->rejoin && !client->joining && client->commits_open == 0) {
        join_send(client);
    }
}

static void on_settle(void *argument)
{
    weir_fake_member_settle(argument);
}

void weir_fake_member_settle_soon(struct weir_fake_client *client)
{
    weir_fake_after(client->cluster, weir_fake_latency(client->cluster) / 8, on_settle, NULL, client);
}

/* ---- finding out ---- */

struct finding { /* of the coordinator's mind, by a heartbeat */
    struct weir_fake_client *client;
    uint64_t number; /* member id, round or number of the separation */
};

static void find_out(struct weir_fake_client *client, uint64_t number, uint64_t delay_ns, fake_action *action)
{
    struct finding *finding = weir_fake_allocate(sizeof *finding);
    *finding = (struct finding){client, number};
    weir_fake_after(client->cluster, delay_ns, action, free, finding);
}

static uint64_t heartbeat(struct weir_fake_client *client)
{
    return weir_fake_latency(client->cluster) +
           weir_fake_between(client->cluster, 0, client->cluster->settings.heartbeat_ns);
}

/* The heartbeat that would tell cannot get through: tell after that. True if so. */
static bool put_off(const struct finding *finding, fake_action *action)
{
    uint64_t until_ns = weir_fake_blocked_until(finding->client, true);
    if (!until_ns)
        return false;
    uint64_t delay_ns = until_ns - weir_fake_now(finding->client->cluster) + heartbeat(finding->client);
    find_out(finding->client, finding->number, delay_ns, action);
    return true;
}

void weir_fake_member_lost(struct weir_fake_client *client, uint64_t member_id)
{
    if (weir_fake_client_is_gone(client) || client->member_id != member_id || member_id == 0)
        return;
    weir_fake_group_watch_session(client); /* if it found out by itself, the coordinator does not know yet */
    client->member_id = 0;
    client->generation = -1;
    client->lost = true;
    client->joining = false;
    weir_fake_set_clear(&client->added);
    weir_fake_member_settle(client);
}

static void on_loss_known(void *argument)
{
    struct finding finding = *(struct finding *)argument;
    free(argument);
    if (!put_off(&finding, on_loss_known))
        weir_fake_member_lost(finding.client, finding.number);
}

void weir_fake_member_learns_loss(struct weir_fake_client *client, uint64_t member_id)
{
    if (!weir_fake_client_is_gone(client))
        find_out(client, member_id, heartbeat(client), on_loss_known);
}

static void on_notice(void *argument)
{
    struct finding finding = *(struct finding *)argument;
    free(argument);
    struct weir_fake_client *client = finding.client;
    const struct fake_group *group = client->group;
    const struct fake_member *member = weir_fake_group_member(group, client->member_id);
    if (weir_fake_client_is_gone(client) || !member || member->joined || client->joining ||
        group->round != finding.number || group->state != FAKE_GROUP_PREPARING)
        return;
    if (put_off(&finding, on_notice))
        return;
    client->rejoin = true;
    weir_fake_member_settle(client);
}

void weir_fake_member_notice(struct weir_fake_client *client, uint64_t round)
{
    if (!weir_fake_client_is_gone(client))
        find_out(client, round, heartbeat(client), on_notice);
}

/* ---- separations ---- */

static bool is_cut_off(const struct finding *finding)
{
    const struct weir_fake_client *client = finding->client;
    return client->partition_number == finding->number && client->partitioned_until_ns > weir_fake_now(client->cluster);
}

static void on_cut_off_fenced(void *argument)
{
    struct finding finding = *(struct finding *)argument;
    free(argument);
    if (is_cut_off(&finding))
        weir_fake_group_remove(finding.client->group, finding.client->member_id, true);
}

/* librdkafka keeps the session time-out too, by its own watch. */
static void on_cut_off_noticed(void *argument)
{
    struct finding finding = *(struct finding *)argument;
    free(argument);
    if (is_cut_off(&finding))
        weir_fake_member_lost(finding.client, finding.client->member_id);
}

void weir_fake_member_cut_off(struct weir_fake_client *client, uint64_t duration_ns)
{
    struct weir_fake_cluster *cluster = client->cluster;
    uint64_t now_ns = weir_fake_now(cluster), session_ns = cluster->settings.session_timeout_ns;
    bool begins = client->partitioned_until_ns <= now_ns;
    if (now_ns + duration_ns > client->partitioned_until_ns)
        client->partitioned_until_ns = now_ns + duration_ns;
    if (!begins)
        return;
    client->partition_number++;
    find_out(client, client->partition_number, session_ns - weir_fake_between(cluster, 0, session_ns / 8),
             on_cut_off_fenced);
    find_out(client, client->partition_number,
             session_ns + weir_fake_between(cluster, 0, session_ns / 8) - weir_fake_between(cluster, 0, session_ns / 8),
             on_cut_off_noticed);
}

static void on_outage_noticed(void *argument)
{
    struct finding finding = *(struct finding *)argument;
    free(argument);
    const struct weir_fake_cluster *cluster = finding.client->cluster;
    if (cluster->coordinator_outages == finding.number && cluster->coordinator_down_until_ns > weir_fake_now(cluster))
        weir_fake_member_lost(finding.client, finding.client->member_id);
}

void weir_fake_member_outage(struct weir_fake_client *client)
{
    if (client->started && !client->closed)
        find_out(client, client->cluster->coordinator_outages, client->cluster->settings.session_timeout_ns,
                 on_outage_noticed);
}

/* ---- metadata ---- */

static struct fake_topic_seen *seen_of(struct weir_fake_client *client, const char *name)
{
    struct fake_topic_seen **at = &client->seen;
    while (*at && (*at)->name != name)
        at = &(*at)->next;
    if (!*at) {
        *at = weir_fake_allocate(sizeof **at);
        (*at)->name = name;
        (*at)->partition_count = (*at)->count_joined = -1;
    }
    return *at;
}

/* True when a topic that the client subscribes to is not as it was. */
static bool look_at_topic(struct weir_fake_client *client, const struct fake_topic *topic)
{
    struct fake_topic_seen *seen = seen_of(client, topic->name);
    int32_t partition_count = topic->exists ? topic->partition_count : -1;
    seen->partition_count = partition_count;
    if (seen->count_joined == partition_count)
        return false;
    seen->count_joined = partition_count;
    if (!weir_fake_subscription_has(&client->subscription, topic->name))
        return false;
    if (partition_count < 0)
        weir_fake_note(client, &(struct weir_kafka_event){.kind = WEIR_KAFKA_TROUBLE,
                                                          .error = WEIR_KAFKA_UNKNOWN_TOPIC,
                                                          .text = "subscribed topic not available"});
    return true;
}

static void on_metadata(void *argument)
{
    struct finding finding = *(struct finding *)argument;
    free(argument);
    struct weir_fake_client *client = finding.client;
    if (weir_fake_client_is_gone(client) || client->closed_queued || client->fatal)
        return;
    uint64_t until_ns = weir_fake_blocked_until(client, false);
    if (until_ns) {
        find_out(client, 0, until_ns - weir_fake_now(client->cluster) + weir_fake_latency(client->cluster),
                 on_metadata);
        return;
    }
    client->connected = true;
    bool changed = false;
    for (const struct fake_topic *topic = client->cluster->topics; topic; topic = topic->next)
        changed = look_at_topic(client, topic) || changed;
    if (changed && client->member_id && !client->joining) {
        client->rejoin = true;
        weir_fake_member_settle(client);
    }
}

void weir_fake_metadata_first(struct weir_fake_client *client)
{
    for (const struct fake_topic *topic = client->cluster->topics; topic; topic = topic->next)
        seen_of(client, topic->name)->count_joined = topic->exists ? topic->partition_count : -1;
    find_out(client, 0, weir_fake_latency(client->cluster), on_metadata);
}

void weir_fake_metadata_refresh(struct weir_fake_cluster *cluster)
{
    for (struct weir_fake_client *client = cluster->clients; client; client = client->next) {
        if (client->started && !weir_fake_client_is_gone(client) && !client->closed_queued)
            find_out(client, 0,
                     weir_fake_latency(cluster) + weir_fake_between(cluster, 0, cluster->settings.metadata_ns_max),
                     on_metadata);
    }
}
