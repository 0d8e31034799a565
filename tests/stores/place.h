/*
 * Where the databases of these tests are: a fresh file for SQLite, a run's name of its own on the suite's PostgreSQL
 * server. Nothing here returns an error: what fails, fails the test. Thread: the test's own.
 */
#ifndef WEIR_TESTS_PLACE_H
#define WEIR_TESTS_PLACE_H

#include "tests/stores/effects.h"

struct weir_place {
    enum weir_effects_kind kind;
    char folder[64], location[512], run[64];
};

void weir_place_set(struct weir_place *place, enum weir_effects_kind kind);
void weir_place_clear(struct weir_place *place);
/** Open what is there. */
struct weir_effects *weir_place_open(const struct weir_place *place, uint32_t idle_ms);

/** The same with an inbox, or without where `id` is NULL. */
struct weir_effects *weir_place_open_inbox(const struct weir_place *place, weir_inbox_id *id, uint64_t window_ms);

/** How many stores there are to test: all, or with WEIR_TEST_STORES=sqlite the first, where there is no server. */
int weir_place_kinds(void);

/* Once for each store. */
#define WEIR_EACH_KIND(kind) \
    for (enum weir_effects_kind kind = WEIR_EFFECTS_SQLITE; (int)(kind) < weir_place_kinds(); (kind)++)

#endif
