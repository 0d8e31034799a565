/*
 * The kit's time: how it passes, what is called at a moment, and who may ask for what when. See internal.h.
 */
#include "runtime/check.h"
#include "testkit/internal.h"
#include <inttypes.h>
#include <stdlib.h>

/* ---- who may ask ---- */

int weir_kit_check_ms(const char *what, int64_t ms, struct weir_error *error)
{
    if (ms >= 0 && ms <= WEIR_TESTKIT_MS_MAX)
        return 0;
    return weir_error_set(error, WEIR_INVALID, "%s=%" PRId64 ": must be 0..%" PRId64 " ms", what, ms,
                          WEIR_TESTKIT_MS_MAX);
}

int weir_kit_check_outside(const struct weir_testkit *kit, const char *what, struct weir_error *error)
{
    if (!kit)
        return weir_error_set(error, WEIR_INVALID, "%s: the kit is NULL", what);
    if (kit->in_handler > 0)
        return weir_error_set(error, WEIR_STATE, "%s: not from inside a handler; let weir_testkit_after() call it",
                              what);
    if (kit->closing)
        return weir_error_set(error, WEIR_STATE, "%s: the kit is being destroyed", what);
    return 0;
}

/* As above, and not from what runs while time does either. */
int weir_kit_check_idle(const struct weir_testkit *kit, const char *what, struct weir_error *error)
{
    int result = weir_kit_check_outside(kit, what, error);
    if (result == 0 && kit->running)
        return weir_error_set(error, WEIR_STATE, "%s: time is running already; call it from the test itself", what);
    return result;
}

/* ---- passing ---- */

void weir_kit_pass(struct weir_testkit *kit, uint64_t duration_ns, bool (*done)(void *argument))
{
    weir_kit_look_at_handles(kit);
    kit->running = true;
    weir_simulation_run(kit->simulation, duration_ns, done, kit);
    kit->running = false;
}

int64_t weir_testkit_now_ms(const struct weir_testkit *kit)
{
    return kit ? (int64_t)((weir_simulation_now_ns(kit->simulation) - kit->begin_ns) / KIT_MS_NS) : 0;
}

int weir_testkit_run_ms(struct weir_testkit *kit, int64_t duration_ms, struct weir_error *error)
{
    int result = weir_kit_check_idle(kit, "weir_testkit_run_ms", error);
    if (result == 0)
        result = weir_kit_check_ms("duration_ms", duration_ms, error);
    if (result == 0)
        weir_kit_pass(kit, (uint64_t)duration_ms * KIT_MS_NS, NULL);
    return result;
}

static bool is_over_or_broken(void *argument)
{
    const struct weir_testkit *kit = argument;
    return kit->over == kit->sent || kit->violation_count > 0;
}

static const struct weir_testkit_message *first_that_is_not_over(const struct weir_testkit *kit)
{
    for (size_t i = 0; i < kit->topic_count; i++) {
        for (int32_t partition = 0; partition < kit->topics[i].partition_count; partition++) {
            const struct kit_log *log = kit->topics[i].logs[partition];
            for (size_t offset = 0; offset < log->count; offset++) {
                if (log->messages[offset] && !weir_kit_is_over(log->messages[offset]))
                    return log->messages[offset];
            }
        }
    }
    return NULL;
}

static int say_unfinished(const struct weir_testkit *kit, int64_t duration_ms, struct weir_error *error)
{
    const struct weir_testkit_message *first = first_that_is_not_over(kit);
    WEIR_CHECK(first != NULL);
    const char *last =
        first->run_count > 0 ? weir_kit_outcome_name(first->runs[first->run_count - 1].outcome) : "nothing";
    return weir_error_set(error, WEIR_UNFINISHED,
                          "%" PRIu64 " of %" PRIu64 " messages are not over after %" PRId64
                          " ms; the first, %.100s/%d at %" PRId64 ", is %s: %zu runs, the last answered %s%s",
                          kit->sent - kit->over, kit->sent, duration_ms, first->log->topic, (int)first->log->partition,
                          first->offset, weir_testkit_state_name((int)weir_testkit_message_state(first)),
                          first->run_count, last, kit->process ? "" : "; no consumer runs");
}

int weir_testkit_run_until_over(struct weir_testkit *kit, int64_t duration_ms_max, struct weir_error *error)
{
    int result = weir_kit_check_idle(kit, "weir_testkit_run_until_over", error);
    if (result == 0)
        result = weir_kit_check_ms("duration_ms_max", duration_ms_max, error);
    if (result != 0)
        return result;
    weir_kit_pass(kit, (uint64_t)duration_ms_max * KIT_MS_NS, is_over_or_broken);
    weir_kit_pass(kit, 0, NULL); /* the last outcomes arrive, so that statistics have them */
    return kit->over == kit->sent ? 0 : say_unfinished(kit, duration_ms_max, error);
}

/* ---- what is called at a moment ---- */

struct kit_call {
    struct kit_call *next, **link; /* all that are due */
    struct weir_testkit *kit;
    weir_testkit_function *function;
    void *argument;
};

static struct kit_call call_take(struct kit_call *call)
{
    struct kit_call taken = *call;
    *call->link = call->next;
    if (call->next)
        call->next->link = call->link;
    *call = (struct kit_call){0};
    return taken;
}

static void on_call(void *argument)
{
    struct kit_call call = call_take(argument);
    free(argument);
    call.function(call.argument);
    weir_kit_look_at_handles(call.kit);
}

/* The kit goes: what is still due is called, so that arguments can be freed. Its event is dropped with the cluster. */
void weir_kit_make_calls(struct weir_testkit *kit)
{
    kit->running = kit->closing = true;
    while (kit->calls) {
        struct kit_call call = call_take(kit->calls);
        call.function(call.argument);
    }
    kit->running = false;
}

int weir_testkit_after(struct weir_testkit *kit, int64_t delay_ms, weir_testkit_function *function, void *argument,
                       struct weir_error *error)
{
    if (!kit || !function)
        return weir_error_set(error, WEIR_INVALID, "weir_testkit_after: the %s is NULL", kit ? "function" : "kit");
    int result = weir_kit_check_ms("delay_ms", delay_ms, error);
    if (result == 0 && kit->closing)
        result = weir_error_set(error, WEIR_STATE, "weir_testkit_after: the kit is being destroyed");
    if (result != 0)
        return result;
    struct kit_call *call = weir_kit_allocate(sizeof *call);
    *call = (struct kit_call){kit->calls, &kit->calls, kit, function, argument};
    if (call->next)
        call->next->link = &call->next;
    kit->calls = call;
    weir_fake_after(kit->cluster, (uint64_t)delay_ms * KIT_MS_NS, on_call, free, call);
    return 0;
}

uint64_t weir_testkit_random(struct weir_testkit *kit, uint64_t bound)
{
    return kit ? weir_random_below(&kit->random, bound) : 0;
}
