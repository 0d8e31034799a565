/*
 * The group coordinator, as the classic protocol has it: members, rounds of rebalancing, generations, offsets.
 *
 * A round begins when a member joins, leaves or is removed. Every member is asked to join it, within a heartbeat. When
 * all have, the generation grows and each is sent its share. Who has not joined by the rebalance time-out is removed,
 * and so is who has been silent for the session time-out.
 *
 * Thread: the simulation's.
 *
 * Invariants
 *   1. The state is PREPARING from the start of a round until the last member has joined; STABLE with members
 *      otherwise, EMPTY without.
 *   2. A cooperative share never holds what another member claimed in the same round: that one has to let go first, by
 *      joining a later round without it.
 */
#include "actors/kafka_fake/internal.h"
#include "runtime/check.h"
#include <stdlib.h>
#include <string.h>

struct fake_group *weir_fake_group_find(const struct weir_fake_cluster *cluster, const char *name)
{
    struct fake_group *group = cluster->groups;
    while (group && strcmp(group->name, name) != 0)
        group = group->next;
    return group;
}

struct fake_group *weir_fake_group(struct weir_fake_cluster *cluster, const char *name)
{
    struct fake_group *group = weir_fake_group_find(cluster, name);
    if (group)
        return group;
    group = weir_fake_allocate(sizeof *group);
    group->name = weir_fake_intern(cluster, name);
    group->cluster = cluster;
    group->next = cluster->groups;
    cluster->groups = group;
    return group;
}

/* ---- members ---- */

struct fake_member *weir_fake_group_member(const struct fake_group *group, uint64_t id)
{
    struct fake_member *member = group->members;
    while (member && member->id != id)
        member = member->next;
    return id ? member : NULL;
}

static struct fake_member *find_instance(const struct fake_group *group, const char *instance)
{
    struct fake_member *member = group->members;
    while (member && (!instance || member->instance != instance))
        member = member->next;
    return member;
}

static uint64_t draw_id(struct fake_group *group)
{
    uint64_t id = 0;
    while (id == 0 || weir_fake_group_member(group, id))
        id = weir_random_next(&group->cluster->random);
    return id;
}

static void member_link(struct fake_group *group, struct fake_member *member)
{
    struct fake_member **at = &group->members;
    while (*at && (*at)->id < member->id)
        at = &(*at)->next;
    member->next = *at;
    *at = member;
}

static void member_unlink(struct fake_group *group, struct fake_member *member)
{
    struct fake_member **at = &group->members;
    while (*at != member)
        at = &(*at)->next;
    *at = member->next;
}

static struct fake_member *member_add(struct fake_group *group, struct weir_fake_client *client)
{
    struct fake_member *member = weir_fake_allocate(sizeof *member);
    member->id = draw_id(group);
    member->client = client;
    if (client) {
        member->instance = client->instance;
        member->subscription = &client->subscription;
        client->member_id = member->id;
    }
    member_link(group, member);
    return member;
}

static void member_free(struct fake_member *member)
{
    weir_fake_set_clear(&member->claims);
    weir_fake_set_clear(&member->target);
    weir_fake_subscription_deinit(&member->ghost_subscription);
    free(member);
}

/* ---- timers: each names what it is about by number, and does nothing when that has passed ---- */

struct timer {
    struct fake_group *group;
    struct weir_fake_client *client;
    uint64_t number;
};

static void timer_set(struct fake_group *group, struct weir_fake_client *client, uint64_t number, uint64_t delay_ns,
                      fake_action *action)
{
    struct timer *timer = weir_fake_allocate(sizeof *timer);
    *timer = (struct timer){group, client, number};
    weir_fake_after(group->cluster, delay_ns, action, free, timer);
}

/* ---- rounds ---- */

static void round_try_complete(struct fake_group *group);

static void on_round_timeout(void *argument)
{
    struct timer timer = *(struct timer *)argument;
    free(argument);
    struct fake_group *group = timer.group;
    if (group->round != timer.number || group->state != FAKE_GROUP_PREPARING)
        return;
    struct fake_member *member = group->members;
    while (member) {
        if (member->joined) {
            member = member->next;
            continue;
        }
        weir_fake_group_remove(group, member->id, true);
        member = group->members; /* the list has changed */
        if (group->round != timer.number || group->state != FAKE_GROUP_PREPARING)
            return; /* that was the last one missing */
    }
    round_try_complete(group);
}

static void on_hold_over(void *argument)
{
    struct timer timer = *(struct timer *)argument;
    free(argument);
    if (timer.group->round == timer.number)
        round_try_complete(timer.group);
}

/* Begin a round; `first` has joined it already. */
static void round_begin(struct fake_group *group, struct fake_member *first)
{
    struct weir_fake_cluster *cluster = group->cluster;
    if (group->state == FAKE_GROUP_EMPTY) {
        group->hold_until_ns = weir_fake_now(cluster) + cluster->settings.join_delay_ns;
        timer_set(group, NULL, group->round + 1, cluster->settings.join_delay_ns, on_hold_over);
    }
    group->state = FAKE_GROUP_PREPARING;
    group->round++;
    cluster->counts.rebalances++;
    for (struct fake_member *member = group->members; member; member = member->next) {
        member->joined = member == first || !member->client;
        if (!member->client)
            weir_fake_set_copy(&member->claims, &member->target);
        else if (member != first)
            weir_fake_member_notice(member->client, group->round);
    }
    timer_set(group, NULL, group->round, cluster->settings.rebalance_timeout_ns, on_round_timeout);
}

static void on_ghost_rejoins(void *argument)
{
    struct timer timer = *(struct timer *)argument;
    free(argument);
    if (timer.group->round != timer.number || timer.group->state != FAKE_GROUP_STABLE)
        return; /* a later round has seen to it */
    round_begin(timer.group, NULL);
    round_try_complete(timer.group);
}

/* Is it to let go of something that another is to have, and say so by another join? */
static bool owes_a_join(const struct fake_group *group, const struct fake_member *member)
{
    for (size_t i = 0; group->cooperative && i < member->claims.count; i++) {
        if (!weir_fake_set_has(&member->target, member->claims.items[i].topic, member->claims.items[i].partition))
            return true;
    }
    return false;
}

static bool round_is_complete(const struct fake_group *group)
{
    for (const struct fake_member *member = group->members; member; member = member->next) {
        if (!member->joined)
            return false;
    }
    return group->state == FAKE_GROUP_PREPARING && weir_fake_now(group->cluster) >= group->hold_until_ns;
}

static void round_try_complete(struct fake_group *group)
{
    if (!round_is_complete(group))
        return;
    group->generation++;
    group->state = group->members ? FAKE_GROUP_STABLE : FAKE_GROUP_EMPTY;
    weir_fake_assign(group);
    for (struct fake_member *member = group->members; member; member = member->next) {
        if (member->client)
            weir_fake_member_synced(group, member);
        else if (owes_a_join(group, member)) /* a ghost lets go at once */
            timer_set(group, NULL, group->round, weir_fake_latency(group->cluster), on_ghost_rejoins);
    }
}

/* ---- joining and leaving ---- */

static void on_static_fenced(void *argument)
{
    struct weir_fake_client *client = argument;
    if (!weir_fake_client_is_gone(client) && !client->closed)
        weir_fake_client_fatal(&client->kafka);
}

/* A static member has come back under the same instance id, and takes over what is assigned to that. True when it was
 * served without a round: not when its predecessor still owed one, or what that was to let go of would stay with
 * nobody. */
static bool static_take_over(struct fake_group *group, struct fake_member *member, struct weir_fake_client *client)
{
    struct weir_fake_client *old = member->client;
    if (old != client && !weir_fake_client_is_gone(old) && !old->closed)
        weir_fake_after(group->cluster, weir_fake_latency(group->cluster), on_static_fenced, NULL, old);
    member_unlink(group, member);
    member->id = draw_id(group);
    member_link(group, member);
    member->client = client;
    member->subscription = &client->subscription;
    client->member_id = member->id;
    if (group->state != FAKE_GROUP_STABLE || owes_a_join(group, member))
        return false;
    weir_fake_member_synced(group, member);
    return true;
}

void weir_fake_group_join(struct fake_group *group, struct weir_fake_client *client, const struct fake_set *claims)
{
    struct fake_member *member = weir_fake_group_member(group, client->member_id);
    if (!member && client->member_id) { /* unknown member id: it finds out by the answer */
        weir_fake_member_learns_loss(client, client->member_id);
        return;
    }
    if (!member) {
        member = find_instance(group, client->instance);
        if (member && static_take_over(group, member, client))
            return;
    }
    if (!member)
        member = member_add(group, client);
    group->cooperative = client->cooperative;
    weir_fake_set_copy(&member->claims, claims);
    if (group->state != FAKE_GROUP_PREPARING)
        round_begin(group, member);
    member->joined = true;
    round_try_complete(group);
}

void weir_fake_group_remove(struct fake_group *group, uint64_t member_id, bool fenced)
{
    struct fake_member *member = weir_fake_group_member(group, member_id);
    if (!member)
        return;
    member_unlink(group, member);
    if (fenced) {
        group->cluster->counts.members_fenced++;
        if (member->client)
            weir_fake_member_learns_loss(member->client, member_id);
    }
    member_free(member);
    if (!group->members) {
        group->state = FAKE_GROUP_EMPTY;
        group->generation++;
        return;
    }
    if (group->state == FAKE_GROUP_STABLE)
        round_begin(group, NULL);
    round_try_complete(group);
}

static void on_session_timeout(void *argument)
{
    struct timer timer = *(struct timer *)argument;
    free(argument);
    const struct weir_fake_client *client = timer.client;
    bool silent = weir_fake_client_is_gone(client) || client->closed_queued || client->member_id != timer.number;
    if (silent && weir_fake_group_member(timer.group, timer.number))
        weir_fake_group_remove(timer.group, timer.number, true);
}

void weir_fake_group_watch_session(struct weir_fake_client *client)
{
    if (client->member_id)
        timer_set(client->group, client, client->member_id, client->cluster->settings.session_timeout_ns,
                  on_session_timeout);
}

void weir_fake_group_rebalance(struct weir_fake_cluster *cluster, const char *name)
{
    struct fake_group *group = weir_fake_group(cluster, name);
    if (group->state != FAKE_GROUP_STABLE)
        return;
    round_begin(group, NULL);
    round_try_complete(group);
}

int32_t weir_fake_group_generation(const struct weir_fake_cluster *cluster, const char *name)
{
    struct fake_group *group = weir_fake_group_find(cluster, name);
    return group ? group->generation : 0;
}

bool weir_fake_group_is_stable(const struct weir_fake_cluster *cluster, const char *name)
{
    struct fake_group *group = weir_fake_group_find(cluster, name);
    return group && group->state == FAKE_GROUP_STABLE;
}

size_t weir_fake_group_members(const struct weir_fake_cluster *cluster, const char *name)
{
    struct fake_group *group = weir_fake_group_find(cluster, name);
    size_t count = 0;
    for (struct fake_member *member = group ? group->members : NULL; member; member = member->next)
        count++;
    return count;
}

uint64_t weir_fake_ghost_join(struct weir_fake_cluster *cluster, const char *name, const char *topics)
{
    struct fake_group *group = weir_fake_group(cluster, name);
    struct fake_member *ghost = member_add(group, NULL);
    weir_fake_subscription_init(&ghost->ghost_subscription, cluster, topics);
    ghost->subscription = &ghost->ghost_subscription;
    if (group->state != FAKE_GROUP_PREPARING)
        round_begin(group, ghost);
    ghost->joined = true;
    round_try_complete(group);
    return ghost->id;
}

void weir_fake_ghost_leave(struct weir_fake_cluster *cluster, const char *name, uint64_t ghost)
{
    weir_fake_group_remove(weir_fake_group(cluster, name), ghost, false);
}

/* ---- committed offsets ---- */

struct fake_commit *weir_fake_group_commit(const struct fake_group *group, const char *topic, int32_t partition)
{
    struct fake_commit *commit = group->commits;
    while (commit && (commit->place.topic != topic || commit->place.partition != partition))
        commit = commit->next;
    return commit;
}

void weir_fake_group_store(struct fake_group *group, const struct weir_kafka_offset *offset)
{
    struct weir_fake_cluster *cluster = group->cluster;
    const char *topic = weir_fake_intern(cluster, offset->topic);
    struct fake_commit *commit = weir_fake_group_commit(group, topic, offset->partition);
    if (!commit) {
        commit = weir_fake_allocate(sizeof *commit);
        commit->place = (struct fake_place){topic, offset->partition};
        commit->next = group->commits;
        group->commits = commit;
    } else if (offset->offset < commit->offset) {
        cluster->counts.offsets_moved_back++;
    }
    free(commit->metadata);
    commit->metadata = weir_fake_copy_text(offset->metadata ? offset->metadata : "");
    commit->offset = offset->offset;
    commit->leader_epoch = offset->leader_epoch;
    cluster->commit_version++;
}

void weir_fake_group_forget_topic(struct weir_fake_cluster *cluster, const char *topic)
{
    for (struct fake_group *group = cluster->groups; group; group = group->next) {
        struct fake_commit **at = &group->commits;
        while (*at) {
            struct fake_commit *commit = *at;
            if (commit->place.topic != topic) {
                at = &commit->next;
                continue;
            }
            *at = commit->next;
            free(commit->metadata);
            free(commit);
            cluster->commit_version++;
        }
    }
}

struct weir_kafka_offset weir_fake_committed(const struct weir_fake_cluster *cluster, const char *name,
                                             const char *topic, int32_t partition)
{
    struct weir_kafka_offset none = {
        .topic = topic, .partition = partition, .offset = -1, .metadata = "", .leader_epoch = -1};
    struct fake_group *group = weir_fake_group_find(cluster, name);
    for (struct fake_commit *commit = group ? group->commits : NULL; commit; commit = commit->next) {
        if (commit->place.partition != partition || strcmp(commit->place.topic, topic) != 0)
            continue;
        none.offset = commit->offset;
        none.metadata = commit->metadata;
        none.metadata_size = strlen(commit->metadata);
        none.leader_epoch = commit->leader_epoch;
    }
    return none;
}

void weir_fake_set_committed(struct weir_fake_cluster *cluster, const char *name,
                             const struct weir_kafka_offset *offset)
{
    weir_fake_group_store(weir_fake_group(cluster, name), offset);
}

uint64_t weir_fake_commit_version(const struct weir_fake_cluster *cluster)
{
    return cluster->commit_version;
}

void weir_fake_groups_free(struct weir_fake_cluster *cluster)
{
    while (cluster->groups) {
        struct fake_group *group = cluster->groups;
        cluster->groups = group->next;
        while (group->members) {
            struct fake_member *member = group->members;
            group->members = member->next;
            member_free(member);
        }
        while (group->commits) {
            struct fake_commit *commit = group->commits;
            group->commits = commit->next;
            free(commit->metadata);
            free(commit);
        }
        free(group);
    }
}
