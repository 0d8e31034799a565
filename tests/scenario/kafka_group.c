/* Rebalances through the real door to Kafka: members that join and leave, records that survive it. */
#include "tests/support/kafka_driver.h"
#include "tests/support/mock.h"
#include "tests/support/test.h"
#include <string.h>
#include <time.h>

static const char TOPIC[] = "orders";

enum { PARTITIONS = 4, MESSAGES = 50 };

static void fill(struct weir_mock *mock)
{
    weir_mock_topic_create(mock, TOPIC, PARTITIONS);
    for (int32_t partition = 0; partition < PARTITIONS; partition++)
        weir_mock_produce_many(mock, TOPIC, partition, 0, MESSAGES, 5);
}

/* Turn both until the second has half of the partitions. */
static void share(struct weir_driver *first, struct weir_driver *second)
{
    WEIR_DRIVER_UNTIL(second, (weir_driver_turn(first), weir_driver_owned(first) == PARTITIONS / 2 &&
                                                            weir_driver_owned(second) == PARTITIONS / 2));
}

static void check_disjoint(struct weir_driver *first, struct weir_driver *second)
{
    for (int32_t partition = 0; partition < PARTITIONS; partition++)
        cr_assert_neq(weir_driver_partition(first, TOPIC, partition) != NULL,
                      weir_driver_partition(second, TOPIC, partition) != NULL, "partition %d has two owners or none",
                      (int)partition);
}

/* Goal: in a cooperative group only what moves is revoked, and records pulled before stay good after it.
 * Method: the first member keeps the natives of all it pulled; a second one joins; all are read and freed then. */
Test(kafka_group, a_second_member_takes_half_in_a_cooperative_group)
{
    struct weir_mock *mock = weir_mock_create(1);
    fill(mock);
    struct weir_driver *first = weir_driver_make(weir_mock_bootstrap(mock), "g", TOPIC, NULL);
    first->keep_records = true;
    weir_driver_start(first);
    WEIR_DRIVER_UNTIL(first, first->record_count == PARTITIONS * MESSAGES);
    struct weir_driver_event *assigned = weir_driver_take(first, WEIR_KAFKA_ASSIGN);
    cr_assert(assigned->event.cooperative);
    struct weir_driver *second = weir_driver_create(weir_mock_bootstrap(mock), "g", TOPIC, NULL);
    share(first, second);
    check_disjoint(first, second);
    struct weir_driver_event *revoked = weir_driver_take(first, WEIR_KAFKA_REVOKE);
    cr_assert_not_null(revoked);
    cr_assert(revoked->event.cooperative);
    cr_assert_eq(revoked->event.count, PARTITIONS / 2, "%zu were revoked", revoked->event.count);
    cr_assert_null(weir_driver_take(first, WEIR_KAFKA_LOST));
    unsigned good = 0;
    for (struct weir_driver_record *record = first->records; record; record = record->next) {
        if (record->record.kind != WEIR_RECORD_MESSAGE || record->record.value_size == 0)
            continue;
        good += memcmp(record->record.value, record->value, record->record.value_size) == 0;
    }
    cr_assert_geq(good, PARTITIONS * MESSAGES, "%u of the records pulled before are as they were", good);
    weir_driver_destroy(first);
    WEIR_DRIVER_UNTIL(second, weir_driver_owned(second) == PARTITIONS);
    weir_driver_destroy(second);
    weir_mock_destroy(mock);
}

/* Goal: in an eager group everything is revoked and assigned anew; answers of the other kind would hang it. */
Test(kafka_group, a_second_member_takes_half_in_an_eager_group)
{
    static const char *const EAGER[] = {"partition.assignment.strategy", "range", NULL};
    struct weir_mock *mock = weir_mock_create(1);
    fill(mock);
    struct weir_driver *first = weir_driver_create(weir_mock_bootstrap(mock), "g", TOPIC, EAGER);
    WEIR_DRIVER_UNTIL(first, first->record_count == PARTITIONS * MESSAGES);
    struct weir_driver_event *assigned = weir_driver_take(first, WEIR_KAFKA_ASSIGN);
    cr_assert_not(assigned->event.cooperative);
    struct weir_driver *second = weir_driver_create(weir_mock_bootstrap(mock), "g", TOPIC, EAGER);
    share(first, second);
    check_disjoint(first, second);
    struct weir_driver_event *revoked = weir_driver_take(first, WEIR_KAFKA_REVOKE);
    cr_assert_not_null(revoked);
    cr_assert_not(revoked->event.cooperative);
    cr_assert_eq(revoked->event.count, PARTITIONS);
    weir_driver_destroy(second);
    WEIR_DRIVER_UNTIL(first, weir_driver_owned(first) == PARTITIONS);
    weir_driver_destroy(first);
    weir_mock_destroy(mock);
}

/* Goal: an answer may take its time: other events keep coming, requests are answered, nothing else is opened (K2).
 * Method: the first member lets a REVOKE lie for a while, commits meanwhile, then answers.
 * False: on a slow machine the group has begun once more meanwhile, so that the commit is refused as of another one. */
static bool let_a_revoke_lie(void)
{
    static const char *const PATIENT[] = {"session.timeout.ms", "8000", NULL};
    struct weir_mock *mock = weir_mock_create(1);
    fill(mock);
    struct weir_driver *first = weir_driver_create(weir_mock_bootstrap(mock), "g", TOPIC, PATIENT);
    WEIR_DRIVER_UNTIL(first, first->record_count == PARTITIONS * MESSAGES);
    weir_driver_take(first, WEIR_KAFKA_ASSIGN);
    first->by_hand = true;
    struct weir_driver *second = weir_driver_create(weir_mock_bootstrap(mock), "g", TOPIC, PATIENT);
    struct weir_driver_event *revoked;
    WEIR_DRIVER_UNTIL(second, (weir_driver_turn(first), revoked = weir_driver_take(first, WEIR_KAFKA_REVOKE)));
    for (size_t index = 0; index < revoked->event.count; index++)
        weir_driver_partition(first, TOPIC, revoked->offsets[index].partition)->shut = true;

    struct weir_kafka_offset offset = {
        .topic = TOPIC, .partition = revoked->offsets[0].partition, .offset = MESSAGES, .leader_epoch = -1};
    /* While the other member is still being synchronised the broker may want it once more. */
    struct weir_driver_event *committed;
    do {
        cr_assert_eq(first->kafka->ops->commit(first->kafka, &offset, 1, 1), 0);
        committed = weir_driver_await_tag(first, WEIR_KAFKA_COMMITTED, 1);
        weir_driver_turn(second);
    } while (committed->event.error == WEIR_KAFKA_RETRIABLE);
    bool same_group = committed->event.error != WEIR_KAFKA_GENERATION;
    cr_assert(!same_group || committed->event.error == WEIR_KAFKA_NONE, "%s", committed->text);
    cr_assert_eq(first->kafka->ops->assign(first->kafka, NULL, 0), WEIR_STATE, "a REVOKE is not answered by assign");
    /* A seek is not carried out while it lies there, but it is answered. */
    cr_assert_eq(first->kafka->ops->seek(first->kafka, &offset, 1, 2), 0);
    cr_assert_eq(weir_driver_await_tag(first, WEIR_KAFKA_SOUGHT, 2)->offsets[0].error, WEIR_KAFKA_RETRIABLE);
    uint64_t until_ms = weir_driver_now_ms() + 1500;
    while (weir_driver_now_ms() < until_ms) {
        weir_driver_turn(first);
        weir_driver_turn(second);
    }
    same_group &= weir_driver_take(first, WEIR_KAFKA_LOST) == NULL;
    cr_assert(!same_group || weir_driver_owned(second) == 0, "the other member got them before the answer");

    weir_driver_unassign(first, &revoked->event);
    cr_assert_eq(first->kafka->ops->unassign(first->kafka), WEIR_STATE, "answered twice");
    first->by_hand = false;
    if (same_group) {
        share(first, second);
        check_disjoint(first, second);
    }
    weir_driver_destroy(first);
    weir_driver_destroy(second);
    weir_mock_destroy(mock);
    return same_group;
}

Test(kafka_group, a_revoke_lies_until_it_is_answered)
{
    unsigned tries = 1;
    while (!let_a_revoke_lie())
        cr_assert_lt(tries++, 3u, "the group begins again each time");
}

/* Goal: the wake of the listener is enough: polled only when woken, a member joins, pulls and commits (K1). */
Test(kafka_group, polling_only_when_woken_misses_nothing)
{
    struct weir_mock *mock = weir_mock_create(1);
    fill(mock);
    struct weir_driver *driver = weir_driver_create(weir_mock_bootstrap(mock), "g", TOPIC, NULL);
    struct weir_kafka_offset offset = {.topic = TOPIC, .partition = 0, .offset = MESSAGES, .leader_epoch = -1};
    unsigned seen = 0, commits = 0;
    uint64_t deadline_ms = weir_driver_now_ms() + 60000;
    while (commits < 5) {
        cr_assert_lt(weir_driver_now_ms(), deadline_ms, "nobody woke");
        unsigned wakes = atomic_load(&driver->wakes);
        if (wakes == seen) {
            struct timespec millisecond = {0, 1000000};
            nanosleep(&millisecond, NULL);
            continue;
        }
        seen = wakes;
        driver->kafka->ops->poll(driver->kafka, 1); /* one event a wake: what is left must wake again */
        if (weir_driver_take(driver, WEIR_KAFKA_ASSIGN))
            cr_assert_eq(driver->kafka->ops->commit(driver->kafka, &offset, 1, commits), 0);
        if (!weir_driver_take(driver, WEIR_KAFKA_COMMITTED))
            continue;
        commits++;
        cr_assert_eq(driver->kafka->ops->commit(driver->kafka, &offset, 1, commits), 0);
    }
    weir_driver_destroy(driver);
    weir_mock_destroy(mock);
}
