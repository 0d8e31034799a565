/*
 * What goes wrong: faults by name, events, and everything at once. See <weir/testkit.h>.
 */
#include "runtime/check.h"
#include "testkit/internal.h"
#include <stddef.h>
#include <stdlib.h>

#define SHAKE_EVENTS_MAX       1000
#define SHAKE_RESTART_MS_MAX   2000
#define SHAKE_DOWN_MS_MAX      3000
#define SHAKE_REBALANCE_MS_MAX 5000

static const struct {
    const char *name;
    size_t place;             /* in struct weir_fake_faults */
    uint16_t shake_per_mille; /* while all is shaken */
} faults[] = {
#define FAULT(field) offsetof(struct weir_fake_faults, field)
    [WEIR_TESTKIT_SLOW_BROKER] = {"slow-broker", FAULT(slow), 50},
    [WEIR_TESTKIT_COMMITS_REFUSED] = {"commits-refused", FAULT(commit_lost), 50},
    [WEIR_TESTKIT_COMMITS_UNSURE] = {"commits-unsure", FAULT(commit_applied_error), 50},
    [WEIR_TESTKIT_REDELIVERY] = {"redelivery", FAULT(redelivery), 50},
    [WEIR_TESTKIT_PRODUCE_ERRORS] = {"produce-errors", FAULT(produce_error), 100},
    [WEIR_TESTKIT_PRODUCE_UNSURE] = {"produce-unsure", FAULT(produce_written_error), 50},
    [WEIR_TESTKIT_PRODUCE_DENIED] = {"produce-denied", FAULT(produce_authorization), 0},
    [WEIR_TESTKIT_PRODUCE_TOO_LARGE] = {"produce-too-large", FAULT(produce_too_large), 0},
#undef FAULT
};
_Static_assert(WEIR_COUNT(faults) == WEIR_TESTKIT_FAULTS, "one row a fault");

static bool is_fault(int fault)
{
    return fault >= 0 && fault < WEIR_TESTKIT_FAULTS;
}

const char *weir_testkit_fault_name(int fault)
{
    return is_fault(fault) ? faults[fault].name : NULL;
}

static void set(struct weir_testkit *kit, int fault, uint16_t per_mille)
{
    *(uint16_t *)(void *)((char *)&kit->faults + faults[fault].place) = per_mille;
    weir_fake_set_faults(kit->cluster, &kit->faults);
}

int weir_testkit_set_fault(struct weir_testkit *kit, enum weir_testkit_fault fault, int per_mille,
                           struct weir_error *error)
{
    if (!kit)
        return weir_error_set(error, WEIR_INVALID, "weir_testkit_set_fault: the kit is NULL");
    if (!is_fault((int)fault))
        return weir_error_set(error, WEIR_INVALID, "fault=%d: must be 0..%d", (int)fault, WEIR_TESTKIT_FAULTS - 1);
    if (per_mille < 0 || per_mille > 1000)
        return weir_error_set(error, WEIR_INVALID, "%s: per_mille=%d: must be 0..1000", faults[fault].name, per_mille);
    set(kit, (int)fault, (uint16_t)per_mille);
    return 0;
}

static int check(const struct weir_testkit *kit, const char *what, int64_t duration_ms, struct weir_error *error)
{
    int result = weir_kit_check_outside(kit, what, error);
    return result == 0 ? weir_kit_check_ms("duration_ms", duration_ms, error) : result;
}

int weir_testkit_broker_down(struct weir_testkit *kit, int64_t duration_ms, struct weir_error *error)
{
    int result = check(kit, "weir_testkit_broker_down", duration_ms, error);
    if (result != 0)
        return result;
    weir_kit_trace(kit, "no broker answers for %lld ms", (long long)duration_ms);
    weir_fake_broker_down(kit->cluster, (uint64_t)duration_ms * KIT_MS_NS);
    return 0;
}

/* ---- the group ---- */

struct ghost {
    struct weir_testkit *kit;
    uint64_t number;
};

static const char *group_of(const struct weir_testkit *kit)
{
    return weir_config_kafka_get(kit->config, "group.id");
}

static void on_ghost_leaves(void *argument)
{
    struct ghost ghost = *(struct ghost *)argument;
    free(argument);
    weir_kit_trace(ghost.kit, "the other member leaves");
    weir_fake_ghost_leave(ghost.kit->cluster, group_of(ghost.kit), ghost.number);
}

int weir_testkit_rebalance(struct weir_testkit *kit, int64_t duration_ms, struct weir_error *error)
{
    int result = check(kit, "weir_testkit_rebalance", duration_ms, error);
    if (result != 0)
        return result;
    struct ghost *ghost = weir_kit_allocate(sizeof *ghost);
    weir_kit_trace(kit, "another member joins");
    ghost->kit = kit;
    ghost->number = weir_fake_ghost_join(kit->cluster, group_of(kit), weir_config_options(kit->config)->topics);
    weir_fake_after(kit->cluster, (uint64_t)duration_ms * KIT_MS_NS, on_ghost_leaves, free, ghost);
    return 0;
}

static int check_runs(const struct weir_testkit *kit, const char *what, struct weir_error *error)
{
    int result = weir_kit_check_outside(kit, what, error);
    return result == 0 && !kit->process ? weir_error_set(error, WEIR_STATE, "%s: no consumer runs", what) : result;
}

int weir_testkit_fence(struct weir_testkit *kit, struct weir_error *error)
{
    int result = check_runs(kit, "weir_testkit_fence", error);
    if (result != 0)
        return result;
    weir_kit_trace(kit, "consumer %u is fenced", kit->process->number);
    weir_fake_client_fence(kit->process->kafka);
    return 0;
}

int weir_testkit_crash(struct weir_testkit *kit, struct weir_error *error)
{
    int result = check_runs(kit, "weir_testkit_crash", error);
    if (result == 0)
        weir_kit_process_crash(kit);
    return result;
}

/* ---- everything at once ---- */

struct shock {
    struct weir_testkit *kit;
    uint64_t shake;
};

static void later(struct weir_testkit *kit, int64_t delay_ms, weir_fake_action *action)
{
    struct shock *shock = weir_kit_allocate(sizeof *shock);
    *shock = (struct shock){kit, kit->shake};
    weir_fake_after(kit->cluster, (uint64_t)delay_ms * KIT_MS_NS, action, free, shock);
}

/* Of the shake that is still on, or NULL. */
static struct weir_testkit *take(void *argument)
{
    struct shock shock = *(struct shock *)argument;
    free(argument);
    return shock.kit->shake == shock.shake ? shock.kit : NULL;
}

static int64_t some_ms(struct weir_testkit *kit, int64_t ms_max)
{
    return 1 + (int64_t)weir_testkit_random(kit, (uint64_t)ms_max);
}

static void on_restart(void *argument)
{
    struct weir_testkit *kit = take(argument);
    if (kit && !kit->process)
        weir_kit_process_start(kit, NULL);
}

static void on_shock(void *argument)
{
    struct weir_testkit *kit = take(argument);
    if (!kit)
        return;
    switch (weir_testkit_random(kit, 4)) {
    case 0:
        if (weir_testkit_crash(kit, NULL) == 0)
            later(kit, some_ms(kit, SHAKE_RESTART_MS_MAX), on_restart);
        break;
    case 1:
        weir_testkit_rebalance(kit, some_ms(kit, SHAKE_REBALANCE_MS_MAX), NULL);
        break;
    case 2:
        weir_testkit_fence(kit, NULL); /* or nothing: it is between a crash and a restart */
        break;
    default:
        weir_testkit_broker_down(kit, some_ms(kit, SHAKE_DOWN_MS_MAX), NULL);
        break;
    }
}

static void set_all(struct weir_testkit *kit, bool on)
{
    for (int fault = 0; fault < WEIR_TESTKIT_FAULTS; fault++)
        set(kit, fault, on ? faults[fault].shake_per_mille : 0);
}

static void on_calm(void *argument)
{
    struct weir_testkit *kit = take(argument);
    if (!kit)
        return;
    set_all(kit, false);
    if (!kit->process)
        weir_kit_process_start(kit, NULL);
}

int weir_testkit_shake(struct weir_testkit *kit, int64_t duration_ms, int events, struct weir_error *error)
{
    int result = check(kit, "weir_testkit_shake", duration_ms, error);
    if (result == 0 && (events < 0 || events > SHAKE_EVENTS_MAX))
        result = weir_error_set(error, WEIR_INVALID, "events=%d: must be 0..%d", events, SHAKE_EVENTS_MAX);
    if (result != 0)
        return result;
    kit->shake++;
    set_all(kit, true);
    for (; events > 0; events--)
        later(kit, (int64_t)weir_testkit_random(kit, (uint64_t)duration_ms + 1), on_shock);
    later(kit, duration_ms, on_calm);
    return 0;
}

void weir_kit_calm(struct weir_testkit *kit)
{
    kit->shake++;
    set_all(kit, false);
}

int weir_testkit_finish(struct weir_testkit *kit, int64_t duration_ms_max, struct weir_error *error)
{
    int result = check(kit, "weir_testkit_finish", duration_ms_max, error);
    if (result != 0)
        return result;
    weir_kit_calm(kit);
    if (!kit->process)
        result = weir_testkit_start(kit, error);
    int over = result == 0 ? weir_testkit_run_until_over(kit, duration_ms_max, error) : result;
    int stopped = result == 0 ? weir_testkit_stop(kit, over == 0 ? error : NULL) : result;
    if (stopped == WEIR_UNFINISHED) /* what is over may have come again and be under way: the verdict knows */
        stopped = 0;
    struct weir_error broken;
    int verdict = weir_testkit_verdict(kit, &broken);
    if (verdict != 0 || (over == 0 && stopped == 0)) { /* a broken promise is the worst of them */
        if (error)
            *error = broken;
        return verdict;
    }
    return over != 0 ? over : stopped;
}
