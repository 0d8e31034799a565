/* See place.h. */
#include "tests/stores/place.h"
#include "tests/support/test.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

void weir_place_set(struct weir_place *place, enum weir_effects_kind kind)
{
    static unsigned number;
    *place = (struct weir_place){.kind = kind, .folder = "/tmp/weir-stores-XXXXXX"};
    cr_assert_not_null(mkdtemp(place->folder));
    snprintf(place->run, sizeof place->run, "run-%d-%lld-%u", (int)getpid(), (long long)time(NULL), number++);
    const char *server = getenv("WEIR_TEST_POSTGRES");
    if (kind == WEIR_EFFECTS_SQLITE)
        snprintf(place->location, sizeof place->location, "%s/effects.db", place->folder);
    else if (server)
        snprintf(place->location, sizeof place->location, "%s application_name=%s", server, place->run);
    else
        cr_assert_fail("WEIR_TEST_POSTGRES is not set: ./dev test stores starts a server");
}

int weir_place_kinds(void)
{
    const char *stores = getenv("WEIR_TEST_STORES");
    return stores && strcmp(stores, "sqlite") == 0 ? WEIR_EFFECTS_SQLITE + 1 : WEIR_EFFECTS_KINDS;
}

void weir_place_clear(struct weir_place *place)
{
    static const char *const ends[] = {"", "-wal", "-shm", "-journal", ".copy"};
    char path[600];
    for (size_t index = 0; place->kind == WEIR_EFFECTS_SQLITE && index < sizeof ends / sizeof *ends; index++) {
        snprintf(path, sizeof path, "%s%s", place->location, ends[index]);
        unlink(path);
    }
    rmdir(place->folder);
}

static struct weir_effects *open_with(const struct weir_effects_settings *settings)
{
    struct weir_error error = {0};
    struct weir_effects *effects = weir_effects_open(settings, &error);
    cr_assert_not_null(effects, "%s", error.text);
    return effects;
}

struct weir_effects *weir_place_open(const struct weir_place *place, uint32_t idle_ms)
{
    return open_with(&(struct weir_effects_settings){place->kind, place->location, place->run, idle_ms, NULL, 0});
}

struct weir_effects *weir_place_open_inbox(const struct weir_place *place, weir_inbox_id *id, uint64_t window_ms)
{
    return open_with(&(struct weir_effects_settings){place->kind, place->location, place->run, 0, id, window_ms});
}
