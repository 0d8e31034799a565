/*
 * The inbox in memory: copies are handled once, its memory is bounded, and only what was acked counts. Method: the test
 * kit, whose messages have headers; time is the real one, as the inbox's is, and only windows of none and of hours are
 * looked at.
 */
#include "tests/stores/memory.h"
#include "tests/support/test.h"
#include "tests/support/wait.h"
#include <stdio.h>
#include <string.h>
#include <weir/inbox.h>
#include <weir/testkit.h>

enum { HOUR_MS = 3600000, SMALL = 4096, LARGE = 1 << 20 };

struct scene {
    struct weir_inbox *inbox;
    struct weir_testkit *kit;
    unsigned handled, busy, full;
    enum weir_outcome first; /* what the first run of all answers */
    bool late;               /* give every message out */
    struct weir_later kept[200];
    unsigned kept_count;
};

static enum weir_outcome handle(struct scene *scene, struct weir_message *message)
{
    scene->handled++;
    if (scene->late) {
        scene->kept[scene->kept_count++] = weir_message_later(message);
        return WEIR_LATER;
    }
    return scene->handled == 1 ? scene->first : WEIR_ACK;
}

static enum weir_outcome on_message(struct weir_message *message, void *user)
{
    struct scene *scene = user;
    struct weir_error error = {0};
    int mark = weir_inbox_begin(scene->inbox, message, &error);
    scene->busy += mark == WEIR_MARK_BUSY;
    scene->full += mark == WEIR_FULL;
    if (mark != WEIR_MARK_NEW)
        return weir_mark_outcome(mark);
    return weir_inbox_end(scene->inbox, message, handle(scene, message));
}

static void set(struct scene *scene, size_t bytes_max, uint64_t window_ms)
{
    struct weir_error error = {0};
    struct weir_inbox_settings settings = {.header = "message-id", .window_ms = window_ms};
    *scene = (struct scene){.inbox = weir_inbox_create(&settings, bytes_max, &error)};
    cr_assert_not_null(scene->inbox, "%s", error.text);
    scene->kit = weir_testkit_create(NULL, on_message, scene, 1, &error);
    cr_assert_not_null(scene->kit, "%s", error.text);
}

static void clear(struct scene *scene)
{
    weir_testkit_destroy(scene->kit);
    weir_inbox_destroy(scene->inbox);
}

static const struct weir_testkit_message *send(struct scene *scene, int32_t partition, const char *key, const char *id)
{
    struct weir_error error = {0};
    struct weir_testkit_header headers[] = {{"other", "x", 1}, {"message-id", id, id ? strlen(id) : 0}};
    const struct weir_testkit_message *message = weir_testkit_send(
        scene->kit,
        &(struct weir_testkit_record){
            .partition = partition, .key = key, .key_size = strlen(key), .headers = headers, .header_count = 2},
        &error);
    cr_assert_not_null(message, "%s", error.text);
    return message;
}

static void finish(struct scene *scene)
{
    struct weir_error error = {0};
    cr_assert_eq(weir_testkit_run_until_over(scene->kit, 600000, &error), 0, "%s", error.text);
}

Test(stores_inbox, copies_are_acked_and_not_handled)
{
    struct scene scene;
    set(&scene, LARGE, HOUR_MS);
    for (int number = 0; number < 90; number++) {
        char id[16];
        snprintf(id, sizeof id, "id-%d", number % 30);
        cr_assert_not_null(send(&scene, 0, "key", id));
    }
    finish(&scene);
    struct weir_inbox_stats stats = weir_inbox_stats_of(scene.inbox);
    cr_assert_eq(scene.handled, 30);
    cr_assert(stats.fresh == 30 && stats.copies == 60 && stats.without_id == 0 && stats.forgotten == 0);
    clear(&scene);
}

Test(stores_inbox, messages_without_an_id_are_new_and_counted)
{
    struct scene scene;
    set(&scene, LARGE, HOUR_MS);
    send(&scene, 0, "key", NULL);
    send(&scene, 0, "key", "");
    send(&scene, 0, "key", "");
    finish(&scene);
    cr_assert_eq(scene.handled, 3);
    cr_assert_eq(weir_inbox_stats_of(scene.inbox).without_id, 3);
    cr_assert_eq(weir_inbox_stats_of(scene.inbox).fresh, 0);
    clear(&scene);
}

Test(stores_inbox, an_id_is_of_its_partition)
{
    struct scene scene;
    set(&scene, LARGE, HOUR_MS);
    send(&scene, 0, "key", "same");
    send(&scene, 1, "key", "same");
    send(&scene, 1, "key", "same2"); /* none is the beginning of another */
    send(&scene, 1, "key", "sam");
    finish(&scene);
    cr_assert_eq(scene.handled, 4);
    clear(&scene);
}

Test(stores_inbox, only_what_was_acked_or_skipped_is_done)
{
    static const struct {
        enum weir_outcome first;
        unsigned handled;
    } cases[] = {{WEIR_ACK, 1}, {WEIR_SKIP, 1}, {WEIR_RETRY, 2}, {WEIR_OVERLOADED, 2}, {WEIR_DEAD, 2}};
    for (size_t index = 0; index < sizeof cases / sizeof *cases; index++) {
        struct scene scene;
        set(&scene, LARGE, HOUR_MS);
        scene.first = cases[index].first;
        send(&scene, 0, "key", "same");
        finish(&scene);
        send(&scene, 0, "key", "same");
        finish(&scene);
        cr_assert_eq(scene.handled, cases[index].handled, "%zu: %u", index, scene.handled);
        clear(&scene);
    }
}

Test(stores_inbox, a_copy_under_another_key_waits_for_the_one_that_is_being_handled)
{
    struct scene scene;
    struct weir_error error = {0};
    set(&scene, LARGE, HOUR_MS);
    scene.late = true;
    const struct weir_testkit_message *first = send(&scene, 0, "one", "same");
    cr_assert_eq(weir_testkit_run_ms(scene.kit, 1000, &error), 0);
    const struct weir_testkit_message *second = send(&scene, 0, "two", "same");
    cr_assert_eq(weir_testkit_run_ms(scene.kit, 10000, &error), 0);
    cr_assert_eq(scene.handled, 1);
    cr_assert_gt(scene.busy, 1);
    cr_assert_eq(weir_testkit_message_state(second), WEIR_TESTKIT_WAITING);
    cr_assert_eq(scene.kept_count, 1);
    weir_inbox_end(scene.inbox, scene.kept[0].message, WEIR_ACK);
    cr_assert_eq(weir_later_finish(scene.kept[0], WEIR_ACK), 0);
    finish(&scene);
    cr_assert_eq(scene.handled, 1);
    cr_assert_eq(weir_testkit_message_state(first), WEIR_TESTKIT_ACKED);
    cr_assert_eq(weir_testkit_message_state(second), WEIR_TESTKIT_ACKED);
    clear(&scene);
}

Test(stores_inbox, its_memory_is_bounded_and_the_oldest_ids_go_first)
{
    struct scene scene;
    char id[64];
    set(&scene, SMALL, HOUR_MS);
    for (int number = 0; number < 500; number++) {
        snprintf(id, sizeof id, "an-id-of-some-length-%06d", number);
        send(&scene, 0, "key", id);
        finish(&scene);
        cr_assert_leq(weir_inbox_bytes(scene.inbox), (size_t)SMALL);
    }
    cr_assert_gt(weir_inbox_stats_of(scene.inbox).forgotten, 450u);
    send(&scene, 0, "key", id);
    finish(&scene);
    cr_assert_eq(scene.handled, 500, "the last one was forgotten");
    send(&scene, 0, "key", "an-id-of-some-length-000000");
    finish(&scene);
    cr_assert_eq(scene.handled, 501, "the first one was not forgotten");
    clear(&scene);
}

Test(stores_inbox, messages_being_handled_are_not_forgotten_and_others_wait_where_they_fill_it)
{
    struct scene scene;
    struct weir_error error = {0};
    char id[128], key[16];
    set(&scene, SMALL, HOUR_MS);
    scene.late = true;
    for (int number = 0; number < 100; number++) {
        snprintf(id, sizeof id, "%0100d", number);
        snprintf(key, sizeof key, "key-%d", number);
        send(&scene, 0, key, id);
    }
    cr_assert_eq(weir_testkit_run_ms(scene.kit, 5000, &error), 0);
    cr_assert_gt(scene.full, 0);
    cr_assert(scene.handled > 5 && scene.handled < 60, "%u", scene.handled);
    cr_assert_leq(weir_inbox_bytes(scene.inbox), (size_t)SMALL);
    for (unsigned done = 0; done < 100; done++) {
        while (done >= scene.kept_count)
            cr_assert_eq(weir_testkit_run_ms(scene.kit, 10000, &error), 0);
        weir_inbox_end(scene.inbox, scene.kept[done].message, WEIR_ACK);
        cr_assert_eq(weir_later_finish(scene.kept[done], WEIR_ACK), 0);
    }
    finish(&scene);
    cr_assert_eq(scene.handled, 100);
    clear(&scene);
}

Test(stores_inbox, an_id_goes_when_its_window_is_over)
{
    struct scene scene;
    set(&scene, LARGE, 1);
    send(&scene, 0, "key", "same");
    finish(&scene);
    size_t bytes = weir_inbox_bytes(scene.inbox);
    weir_test_sleep_us(5000);
    send(&scene, 0, "key", "same");
    finish(&scene);
    cr_assert_eq(scene.handled, 2);
    cr_assert_eq(weir_inbox_bytes(scene.inbox), bytes);
    cr_assert_eq(weir_inbox_stats_of(scene.inbox).forgotten, 0, "it was its time");
    clear(&scene);
}

Test(stores_inbox, every_allocation_may_fail)
{
    struct weir_inbox_settings settings = {.header = "message-id", .window_ms = HOUR_MS};
    struct weir_error error = {0};
    for (unsigned passes = 0; passes < 3; passes++) {
        weir_stores_fail_after(passes);
        cr_assert_null(weir_inbox_create(&settings, LARGE, &error));
        cr_assert_eq(error.code, WEIR_NO_MEMORY);
    }
    struct scene scene;
    weir_stores_fail_after(UINT64_MAX);
    set(&scene, LARGE, HOUR_MS);
    send(&scene, 0, "key", "same");
    weir_stores_fail_after(0);
    finish(&scene);
    cr_assert_eq(scene.handled, 1);
    clear(&scene);
}

static size_t nothing(struct weir_message *message, void *user, const void **id)
{
    return 0;
}

Test(stores_inbox, settings_that_cannot_be_are_refused)
{
    struct weir_error error = {0};
    struct {
        struct weir_inbox_settings settings;
        size_t bytes_max;
        const char *words;
    } cases[] = {
        {{.window_ms = 1}, LARGE, "needs a header or a callback"},
        {{.header = "a", .id = nothing, .window_ms = 1}, LARGE, "and not both"},
        {{.header = "", .window_ms = 1}, LARGE, "empty name"},
        {{.header = "a"}, LARGE, "window_ms=0: must be 1.."},
        {{.header = "a", .window_ms = UINT64_MAX}, LARGE, "window_ms=18446744073709551615: must be 1.."},
        {{.header = "a", .window_ms = 1}, 4095, "bytes_max=4095: must be from 4096"},
    };
    for (size_t index = 0; index < sizeof cases / sizeof *cases; index++) {
        cr_assert_null(weir_inbox_create(&cases[index].settings, cases[index].bytes_max, &error));
        cr_assert_eq(error.code, WEIR_INVALID);
        cr_assert_not_null(strstr(error.text, cases[index].words), "%s", error.text);
    }
    weir_inbox_destroy(NULL);
}

Test(stores_inbox, an_id_that_is_too_long_is_refused_and_ends_as_a_dead_letter)
{
    struct scene scene;
    char id[WEIR_INBOX_ID_BYTES_MAX + 2];
    set(&scene, LARGE, HOUR_MS);
    memset(id, 'x', sizeof id - 1);
    id[sizeof id - 1] = '\0';
    const struct weir_testkit_message *message = send(&scene, 0, "key", id);
    struct weir_error error = {0};
    cr_assert_eq(weir_testkit_run_until_over(scene.kit, WEIR_TESTKIT_MS_MAX, &error), 0, "%s", error.text);
    cr_assert_eq(scene.handled, 0);
    cr_assert_eq(weir_testkit_message_state(message), WEIR_TESTKIT_DEAD);
    clear(&scene);
}
