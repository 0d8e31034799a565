/*
 * A handler with a store, tested in the test kit as docs/stores.md says: the store is attached as soon as there is a
 * consumer, before time runs.
 */
#include "tests/stores/place.h"
#include "tests/support/test.h"
#include <stdio.h>
#include <weir/testkit.h>

static struct weir_effects *effects;

static enum weir_outcome on_message(struct weir_message *message, void *user)
{
    int mark;
    return weir_effects_apply(effects, message, 0, &mark);
}

static enum weir_outcome on_batch(struct weir_batch *batch, void *user)
{
    size_t done;
    return weir_effects_apply_batch(effects, batch, &done);
}

static void attach(struct weir_testkit *kit, const struct weir_place *place)
{
    struct weir_error error = {0};
    effects = weir_place_open(place, 0);
    cr_assert_eq(weir_effects_attach(effects, weir_testkit_consumer(kit), &error), 0, "%s", error.text);
}

static void crash_now_and_then(bool in_batches)
{
    WEIR_EACH_KIND(kind)
    {
        struct weir_place place;
        struct weir_error error = {0};
        weir_place_set(&place, kind);
        struct weir_config *config = weir_config_create();
        cr_assert_eq(weir_config_set(config, "group.id", place.run, &error), 0);
        struct weir_testkit *kit = in_batches ? weir_testkit_create_batch(config, on_batch, NULL, 3, &error)
                                              : weir_testkit_create(config, on_message, NULL, 3, &error);
        cr_assert_not_null(kit, "%s", error.text);
        weir_config_destroy(config);
        attach(kit, &place);
        for (int round = 0; round < 4; round++) {
            for (int number = 0; number < 20; number++) {
                char key[16], value[16];
                snprintf(key, sizeof key, "key-%d", number % 7);
                snprintf(value, sizeof value, "%d", round * 20 + number);
                cr_assert_not_null(weir_testkit_send_text(kit, NULL, key, value, &error));
            }
            cr_assert_eq(weir_testkit_run_ms(kit, round == 0 ? 500 : 15000, &error), 0); /* before the commit; after */
            cr_assert_eq(weir_testkit_crash(kit, &error), 0, "%s", error.text);
            weir_effects_close(effects);
            cr_assert_eq(weir_testkit_start(kit, &error), 0, "%s", error.text);
            attach(kit, &place);
        }
        cr_assert_eq(weir_testkit_finish(kit, 600000, &error), 0, "%s", error.text);
        struct weir_effects_count count = weir_effects_count(effects);
        cr_assert(count.effects == 80 && count.messages == 80 && count.disordered == 0, "%lld effects of %lld",
                  (long long)count.effects, (long long)count.messages);
        weir_testkit_destroy(kit);
        weir_effects_close(effects);
        weir_place_clear(&place);
    }
}

Test(stores_kit, effects_happen_once_over_crashes_of_a_simulated_consumer)
{
    crash_now_and_then(false);
}

Test(stores_kit, effects_of_batches_happen_once_over_crashes_of_a_simulated_consumer)
{
    crash_now_and_then(true);
}
