/*
 * Trials over many seeds, and what happens in a kit as lines for people. See <weir/testkit.h>.
 */
#include "testkit/internal.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

bool weir_kit_traces;

void weir_kit_trace(const struct weir_testkit *kit, const char *format, ...)
{
    if (!kit->trace)
        return;
    fprintf(stderr, "%12.3f s  ", (double)(weir_simulation_now_ns(kit->simulation) - kit->begin_ns) / 1e9);
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
}

/* The seed that the environment asks for: 1, 0 for none, or an error. */
static int seed_asked_for(uint64_t *seed, struct weir_error *error)
{
    const char *text = getenv("WEIR_TESTKIT_SEED");
    if (!text || !*text)
        return 0;
    char *end;
    *seed = strtoull(text, &end, 10);
    if (*end != '\0' || text[0] == '-')
        return weir_error_set(error, WEIR_INVALID, "WEIR_TESTKIT_SEED=%.40s: must be a number", text);
    return 1;
}

static int run_seed(uint64_t seed, weir_testkit_trial *trial, void *user, struct weir_error *error)
{
    struct weir_error reason = {0};
    int result = trial(seed, user, &reason);
    if (result == 0)
        return 0;
    struct weir_error told;
    weir_error_set(&told, reason.code, "seed %" PRIu64 ": %.400s; to see it: WEIR_TESTKIT_SEED=%" PRIu64, seed,
                   reason.text[0] ? reason.text : "the trial gave no reason", seed);
    fprintf(stderr, "weir-testkit: %s\n", told.text);
    if (error)
        *error = told;
    return result;
}

int weir_testkit_seeds(unsigned count, weir_testkit_trial *trial, void *user, struct weir_error *error)
{
    uint64_t only = 0;
    if (!trial || count == 0)
        return weir_error_set(error, WEIR_INVALID, "weir_testkit_seeds: %s",
                              trial ? "count=0: must be at least 1" : "the trial is NULL");
    int asked = seed_asked_for(&only, error);
    if (asked < 0)
        return asked;
    if (asked > 0) {
        weir_kit_traces = true;
        int result = run_seed(only, trial, user, error);
        weir_kit_traces = false;
        return result;
    }
    for (uint64_t seed = 1; seed <= count; seed++) {
        int result = run_seed(seed, trial, user, error);
        if (result != 0)
            return result;
    }
    return 0;
}
