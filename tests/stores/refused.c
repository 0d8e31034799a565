/*
 * Goal: a store that cannot be opened or attached says why, and leaves nothing behind; one whose memory or database
 * fails later loses nothing. Method: bad locations, failing allocations, sessions that the server ends.
 */
#include "actors/consumer.h"
#include "tests/sim/consumer_own.h"
#include "tests/stores/memory.h"
#include "tests/stores/place.h"
#include "tests/support/test.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weir/log.h>
#include <weir/postgres.h>
#include <weir/sqlite.h>

#define SECOND WEIR_WORLD_SECOND

Test(stores_refused, a_database_that_cannot_be_opened_is_named)
{
    struct weir_error error;
    cr_assert_null(weir_sqlite_create("/nowhere/at/all.db", &error));
    cr_assert_eq(error.code, WEIR_SYSTEM);
    cr_assert_not_null(strstr(error.text, "/nowhere/at/all.db"), "%s", error.text);
    cr_assert_not_null(strstr(error.text, "unable to open"), "%s", error.text);
    cr_assert_null(weir_sqlite_create(":memory:", &error));
    cr_assert_eq(error.code, WEIR_INVALID);
    cr_assert_not_null(strstr(error.text, "name a file"), "%s", error.text);
    cr_assert_null(weir_sqlite_create("/dev/null", NULL), "nobody asks why");
    cr_assert_null(weir_postgres_create("host=/nowhere/at/all dbname=effects", 0, &error));
    cr_assert_eq(error.code, WEIR_SYSTEM);
    cr_assert_not_null(strstr(error.text, "/nowhere/at/all"), "%s", error.text);
    cr_assert_null(strchr(error.text, '\n'), "%s", error.text);
    weir_sqlite_destroy(NULL);
    weir_postgres_destroy(NULL);
}

Test(stores_refused, memory_that_is_short_is_said)
{
    WEIR_EACH_KIND(kind)
    {
        struct weir_place place;
        struct weir_error error = {0};
        weir_place_set(&place, kind);
        weir_stores_fail_after(0);
        struct weir_effects_settings settings = {kind, place.location, place.run, 0, NULL, 0};
        cr_assert_null(weir_effects_open(&settings, &error));
        cr_assert_eq(error.code, WEIR_NO_MEMORY);
        weir_place_clear(&place);
    }
}

Test(stores_refused, a_store_serves_one_consumer_and_not_at_most_once)
{
    WEIR_EACH_KIND(kind)
    {
        struct weir_place place;
        struct weir_error error = {0};
        weir_place_set(&place, kind);
        struct weir_effects *effects = weir_place_open(&place, 0);
        struct weir_config *config = weir_config_create();
        weir_config_set(config, "bootstrap.servers", "127.0.0.1:1", NULL);
        weir_config_set(config, "group.id", "group", NULL);
        weir_config_set(config, "weir.topics", "orders", NULL);
        weir_config_set(config, "weir.delivery", "at-most-once", NULL);
        cr_assert_eq(weir_effects_attach(effects, NULL, &error), WEIR_INVALID);
        struct weir_consumer *consumer =
            weir_consumer_create(config, (weir_handler *)(void (*)(void))abort, NULL, &error);
        cr_assert_not_null(consumer, "%s", error.text);
        cr_assert_eq(weir_effects_attach(effects, consumer, &error), 0);
        cr_assert_eq(weir_effects_attach(effects, consumer, &error), WEIR_STATE);
        cr_assert_not_null(strstr(error.text, "each needs a store of its own"));
        cr_assert_eq(weir_consumer_start(consumer, &error), WEIR_INVALID);
        cr_assert_not_null(strstr(error.text, "weir.delivery=at-most-once"), "%s", error.text);
        weir_consumer_destroy(consumer);
        weir_config_destroy(config);
        weir_effects_close(effects);
        weir_place_clear(&place);
    }
}

/* ---- in use ---- */

static struct weir_place place;
static struct weir_effects *effects;
static unsigned failures, cuts;

/* The server ends all sessions of this test's store and handlers. */
static void cut(void)
{
    struct weir_effects *other = weir_place_open(&place, 0);
    cr_assert_gt(weir_effects_ask(other, "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid <> "
                                         "pg_backend_pid() AND application_name = current_setting('application_name')"),
                 0);
    weir_effects_close(other);
    cuts++;
}

static int on_partition(struct weir_partition_news *news, void *user, struct weir_error *error)
{
    int result = weir_database_on_partition(news, weir_effects_database(effects), error);
    failures += result < 0;
    return result;
}

static enum weir_outcome on_message(struct weir_message *message, void *user)
{
    int mark;
    uint64_t run;
    weir_world_begin(user, weir_message_topic(message), weir_message_partition(message), weir_message_offset(message),
                     weir_message_key(message), weir_message_key_size(message), weir_message_attempt(message), &run);
    enum weir_outcome outcome = weir_effects_apply(effects, message, 0, &mark);
    weir_world_end(user, run, outcome);
    return outcome;
}

static void run(enum weir_effects_kind kind, void (*disturb)(void))
{
    static const struct weir_own own = {on_message, NULL, on_partition};
    weir_log_set(NULL, NULL, (enum weir_log_level) - 1);
    weir_place_set(&place, kind);
    failures = cuts = 0;
    effects = weir_place_open(&place, 0);
    struct weir_world *world = weir_world_create(&(struct weir_world_settings){
        .seed = 5, .partitions = 2, .group = place.run, .driver = &weir_own_driver, .driver_data = &own});
    if (disturb)
        disturb();
    else
        weir_stores_fail_after(0);
    weir_world_start(world);
    for (int round = 0; round < 5; round++) {
        for (int number = 0; number < 4; number++)
            weir_world_append(world, "orders", number % 2, number);
        weir_world_run(world, 5 * SECOND);
        if (disturb)
            disturb();
    }
    weir_world_run(world, 30 * SECOND);
    cr_assert_gt(failures, 0, "nothing failed");
    weir_effects_ask(effects, "SELECT 1"); /* finds out that this session was ended too */
    struct weir_effects_count count = weir_effects_count(effects);
    cr_assert(count.effects == 20 && count.messages == 20, "%lld effects of %lld messages", (long long)count.effects,
              (long long)count.messages);
    cr_assert(weir_world_close(world, 60 * SECOND));
    weir_world_destroy(world);
    weir_effects_close(effects);
    weir_place_clear(&place);
}

Test(stores_refused, a_take_without_memory_is_tried_again)
{
    WEIR_EACH_KIND(kind)
    {
        run(kind, NULL);
    }
}

Test(stores_refused, sessions_that_the_server_ends_are_made_anew)
{
    run(WEIR_EFFECTS_POSTGRES, cut);
    cr_assert_gt(cuts, 3);
}
