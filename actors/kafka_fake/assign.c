/*
 * Who gets which partitions: even shares; sticky where members say what they hold, from scratch where they do not.
 *
 * Cooperative members claim what they hold, and keep it up to their share; what is over goes to those with least. Eager
 * members claim nothing.
 *
 * Thread: the simulation's.
 */
#include "actors/kafka_fake/internal.h"
#include <stdlib.h>

/* A partition to be given, and to whom. */
struct seat {
    struct fake_place place;
    struct fake_member *owner;
};

struct plan {
    struct seat *seats;
    size_t seat_count, capacity, member_count;
};

static bool is_wanted(const struct fake_group *group, const char *topic)
{
    for (const struct fake_member *member = group->members; member; member = member->next) {
        if (weir_fake_subscription_has(member->subscription, topic))
            return true;
    }
    return false;
}

static struct plan plan_make(const struct fake_group *group)
{
    struct plan plan = {0};
    for (const struct fake_member *member = group->members; member; member = member->next)
        plan.member_count++;
    for (const struct fake_topic *topic = group->cluster->topics; topic; topic = topic->next) {
        if (!topic->exists || !is_wanted(group, topic->name))
            continue;
        for (int32_t partition = 0; partition < topic->partition_count; partition++) {
            plan.seats = weir_fake_grow(plan.seats, plan.seat_count, &plan.capacity, sizeof *plan.seats);
            plan.seats[plan.seat_count++] = (struct seat){{topic->name, partition}, NULL};
        }
    }
    return plan;
}

static size_t load(const struct plan *plan, const struct fake_member *member)
{
    size_t count = 0;
    for (size_t i = 0; i < plan->seat_count; i++)
        count += plan->seats[i].owner == member;
    return count;
}

/* Let members keep what they claim, up to `share` each. At most `extra_max` seats in all; returns how many. */
static size_t keep(struct plan *plan, const struct fake_group *group, size_t share, size_t extra_max)
{
    size_t kept = 0;
    for (struct fake_member *member = group->members; member; member = member->next) {
        for (size_t i = 0; i < plan->seat_count && kept < extra_max; i++) {
            struct seat *seat = &plan->seats[i];
            if (!seat->owner && load(plan, member) < share &&
                weir_fake_set_has(&member->claims, seat->place.topic, seat->place.partition) &&
                weir_fake_subscription_has(member->subscription, seat->place.topic)) {
                seat->owner = member;
                kept++;
            }
        }
    }
    return kept;
}

static struct fake_member *least_loaded(const struct plan *plan, const struct fake_group *group, const char *topic)
{
    struct fake_member *best = NULL;
    for (struct fake_member *member = group->members; member; member = member->next) {
        if (weir_fake_subscription_has(member->subscription, topic) && (!best || load(plan, member) < load(plan, best)))
            best = member;
    }
    return best;
}

static bool is_claimed_by_another(const struct fake_group *group, const struct seat *seat)
{
    for (const struct fake_member *member = group->members; member; member = member->next) {
        if (member != seat->owner && weir_fake_set_has(&member->claims, seat->place.topic, seat->place.partition))
            return true;
    }
    return false;
}

void weir_fake_assign(struct fake_group *group)
{
    struct plan plan = plan_make(group);
    if (group->cooperative && plan.member_count > 0) {
        size_t share = plan.seat_count / plan.member_count;
        keep(&plan, group, share, SIZE_MAX);
        keep(&plan, group, share + 1, plan.seat_count % plan.member_count);
    }
    for (size_t i = 0; i < plan.seat_count; i++) {
        if (!plan.seats[i].owner)
            plan.seats[i].owner = least_loaded(&plan, group, plan.seats[i].place.topic);
    }
    for (struct fake_member *member = group->members; member; member = member->next)
        weir_fake_set_clear(&member->target);
    for (size_t i = 0; i < plan.seat_count; i++) {
        const struct seat *seat = &plan.seats[i];
        if (seat->owner && !(group->cooperative && is_claimed_by_another(group, seat)))
            weir_fake_set_add(&seat->owner->target, seat->place.topic, seat->place.partition);
    }
    free(plan.seats);
}
