/*
 * The ledger that broker tests judge by: it must survive a kill, and each verdict must fail when it should.
 */
#include "tests/support/ledger.h"
#include "tests/support/test.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static char path[64];

/* A ledger on a name of its own, unlinked at close: see finish(). */
static struct weir_ledger *begin(size_t records_max)
{
    snprintf(path, sizeof path, "/tmp/weir-ledger-%d-XXXXXX", (int)getpid());
    int file = mkstemp(path);
    cr_assert_geq(file, 0);
    close(file);
    struct weir_ledger *ledger = weir_ledger_create(path, records_max);
    cr_assert_not_null(ledger);
    return ledger;
}

static void finish(struct weir_ledger *ledger)
{
    weir_ledger_close(ledger);
    cr_assert_eq(unlink(path), 0);
}

static void put(struct weir_ledger *ledger, enum weir_ledger_kind kind, char key, int64_t offset, uint32_t attempt,
                enum weir_outcome outcome)
{
    struct weir_ledger_record record = {
        .topic_hash = weir_ledger_hash("orders", 6),
        .key_hash = weir_ledger_key_hash(&key, 1),
        .offset = offset,
        .partition = 3,
        .attempt = attempt,
        .kind = (uint16_t)kind,
        .outcome = (uint16_t)outcome,
    };
    cr_assert(weir_ledger_write(ledger, &record));
}

static void emit(struct weir_ledger *ledger, char key, int64_t offset)
{
    cr_assert(weir_ledger_emit(ledger, "orders", 3, offset, &key, 1, 0));
}

static void run(struct weir_ledger *ledger, char key, int64_t offset, uint32_t attempt, enum weir_outcome outcome)
{
    put(ledger, WEIR_LEDGER_START, key, offset, attempt, WEIR_ACK);
    put(ledger, WEIR_LEDGER_END, key, offset, attempt, outcome);
}

Test(ledger, every_verdict_fails_on_an_empty_ledger)
{
    struct weir_ledger *ledger = begin(8);
    cr_assert_not(weir_ledger_no_loss(ledger, NULL, 0).ok);
    cr_assert_not(weir_ledger_key_order(ledger).ok);
    cr_assert_not(weir_ledger_no_overlap(ledger).ok);
    cr_assert_not(weir_ledger_duplicates(ledger, 1000).ok);
    finish(ledger);
}

Test(ledger, every_verdict_holds_for_a_clean_run)
{
    struct weir_ledger *ledger = begin(64);
    for (int64_t offset = 0; offset < 6; offset++)
        emit(ledger, (char)('a' + offset % 2), offset);
    for (int64_t offset = 0; offset < 6; offset++)
        run(ledger, (char)('a' + offset % 2), offset, 1, WEIR_ACK);
    struct weir_ledger_verdict loss = weir_ledger_no_loss(ledger, NULL, 0);
    cr_assert(loss.ok, "%s", loss.text);
    cr_assert_eq(loss.checked, 6);
    struct weir_ledger_verdict order = weir_ledger_key_order(ledger);
    cr_assert(order.ok, "%s", order.text);
    cr_assert_eq(order.checked, 6);
    cr_assert(weir_ledger_no_overlap(ledger).ok);
    cr_assert(weir_ledger_duplicates(ledger, 0).ok);
    cr_assert_eq(weir_ledger_count_finished(ledger), 6);
    finish(ledger);
}

Test(ledger, a_produced_message_that_was_never_seen_is_a_loss)
{
    struct weir_ledger *ledger = begin(16);
    emit(ledger, 'a', 0);
    emit(ledger, 'a', 1);
    run(ledger, 'a', 0, 1, WEIR_ACK);
    struct weir_ledger_verdict loss = weir_ledger_no_loss(ledger, NULL, 0);
    cr_assert_not(loss.ok);
    cr_assert_eq(loss.violations, 1);
    cr_assert_not_null(strstr(loss.text, "offset 1"), "%s", loss.text);
    finish(ledger);
}

Test(ledger, a_message_that_only_ever_failed_is_a_loss_until_its_dead_letter_is_read)
{
    struct weir_ledger *ledger = begin(16);
    emit(ledger, 'a', 0);
    run(ledger, 'a', 0, 1, WEIR_RETRY);
    run(ledger, 'a', 0, 2, WEIR_DEAD);
    cr_assert_not(weir_ledger_no_loss(ledger, NULL, 0).ok);
    cr_assert(weir_ledger_letter(ledger, "orders", 3, 0));
    struct weir_ledger_verdict loss = weir_ledger_no_loss(ledger, NULL, 0);
    cr_assert(loss.ok, "%s", loss.text);
    finish(ledger);
}

Test(ledger, a_run_of_a_message_that_nobody_produced_is_a_violation)
{
    struct weir_ledger *ledger = begin(16);
    struct weir_ledger_message produced = {weir_ledger_hash("orders", 6), 3, 0};
    run(ledger, 'a', 0, 1, WEIR_ACK);
    cr_assert(weir_ledger_no_loss(ledger, &produced, 1).ok);
    run(ledger, 'a', 9, 1, WEIR_ACK);
    struct weir_ledger_verdict loss = weir_ledger_no_loss(ledger, &produced, 1);
    cr_assert_not(loss.ok);
    cr_assert_not_null(strstr(loss.text, "never produced"), "%s", loss.text);
    finish(ledger);
}

Test(ledger, a_key_whose_later_message_starts_first_is_out_of_order)
{
    struct weir_ledger *ledger = begin(16);
    run(ledger, 'a', 5, 1, WEIR_ACK);
    run(ledger, 'b', 2, 1, WEIR_ACK); /* another key: fine */
    cr_assert(weir_ledger_key_order(ledger).ok);
    run(ledger, 'a', 4, 1, WEIR_ACK);
    struct weir_ledger_verdict order = weir_ledger_key_order(ledger);
    cr_assert_not(order.ok);
    cr_assert_eq(order.violations, 1);
    finish(ledger);
}

Test(ledger, a_message_that_starts_before_the_retries_of_the_one_before_are_over_is_out_of_order)
{
    struct weir_ledger *ledger = begin(16);
    run(ledger, 'a', 1, 1, WEIR_RETRY);
    run(ledger, 'a', 2, 1, WEIR_ACK);
    cr_assert_not(weir_ledger_key_order(ledger).ok);
    /* unless it went to the dead letter queue when its attempts were spent */
    cr_assert(weir_ledger_letter(ledger, "orders", 3, 1));
    cr_assert(weir_ledger_key_order(ledger).ok);
    finish(ledger);
}

Test(ledger, a_redelivery_breaks_no_order_and_counts_as_a_duplicate)
{
    struct weir_ledger *ledger = begin(32);
    run(ledger, 'a', 1, 1, WEIR_ACK);
    run(ledger, 'a', 2, 1, WEIR_ACK);
    run(ledger, 'a', 1, 1, WEIR_ACK);
    run(ledger, 'a', 2, 1, WEIR_ACK);
    run(ledger, 'a', 3, 1, WEIR_ACK);
    struct weir_ledger_verdict order = weir_ledger_key_order(ledger);
    cr_assert(order.ok, "%s", order.text);
    cr_assert_eq(order.checked, 3);
    cr_assert(weir_ledger_duplicates(ledger, 2).ok);
    struct weir_ledger_verdict duplicates = weir_ledger_duplicates(ledger, 1);
    cr_assert_not(duplicates.ok);
    cr_assert_eq(duplicates.violations, 2);
    cr_assert_eq(weir_ledger_count_finished(ledger), 3);
    finish(ledger);
}

Test(ledger, two_open_runs_of_a_key_overlap)
{
    struct weir_ledger *ledger = begin(16);
    put(ledger, WEIR_LEDGER_START, 'a', 1, 1, WEIR_ACK);
    put(ledger, WEIR_LEDGER_START, 'b', 2, 1, WEIR_ACK); /* another key may */
    put(ledger, WEIR_LEDGER_END, 'b', 2, 1, WEIR_ACK);
    cr_assert(weir_ledger_no_overlap(ledger).ok);
    put(ledger, WEIR_LEDGER_START, 'a', 3, 1, WEIR_ACK);
    struct weir_ledger_verdict overlap = weir_ledger_no_overlap(ledger);
    cr_assert_not(overlap.ok);
    cr_assert_not_null(strstr(overlap.text, "offset 3"), "%s", overlap.text);
    finish(ledger);
}

Test(ledger, a_record_beyond_the_end_fails_all_verdicts)
{
    struct weir_ledger *ledger = begin(3);
    emit(ledger, 'a', 0);
    run(ledger, 'a', 0, 1, WEIR_ACK);
    cr_assert(weir_ledger_no_loss(ledger, NULL, 0).ok);
    cr_assert_not(weir_ledger_letter(ledger, "orders", 3, 0));
    cr_assert_eq(weir_ledger_overflow(ledger), 1);
    cr_assert_eq(weir_ledger_count(ledger), 3);
    cr_assert_not(weir_ledger_no_loss(ledger, NULL, 0).ok);
    cr_assert_not(weir_ledger_key_order(ledger).ok);
    cr_assert_not(weir_ledger_no_overlap(ledger).ok);
    cr_assert_not(weir_ledger_duplicates(ledger, 9).ok);
    finish(ledger);
}

Test(ledger, what_a_killed_process_wrote_is_read_by_the_next)
{
    struct weir_ledger *ledger = begin(4096);
    pid_t child = fork();
    cr_assert_geq(child, 0);
    if (child == 0) {
        struct weir_ledger *own = weir_ledger_open(path);
        for (int64_t offset = 0; own && offset < 1000; offset++)
            run(own, 'a', offset, 1, WEIR_ACK);
        put(own, WEIR_LEDGER_START, 'a', 1000, 1, WEIR_ACK);
        raise(SIGKILL);
    }
    int status;
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert(WIFSIGNALED(status));
    weir_ledger_close(ledger);
    ledger = weir_ledger_open(path);
    cr_assert_not_null(ledger);
    cr_assert_eq(weir_ledger_count_kind(ledger, WEIR_LEDGER_END), 1000);
    cr_assert_eq(weir_ledger_at(ledger, 0)->process, (uint32_t)child);
    finish(ledger);
}

Test(ledger, a_run_that_died_with_its_process_overlaps_nothing_once_it_is_gone)
{
    struct weir_ledger *ledger = begin(16);
    put(ledger, WEIR_LEDGER_START, 'a', 7, 1, WEIR_ACK);
    size_t before = weir_ledger_count(ledger);
    cr_assert(weir_ledger_gone(ledger, weir_ledger_at(ledger, before - 1)->process));
    run(ledger, 'a', 7, 1, WEIR_ACK);
    struct weir_ledger_verdict overlap = weir_ledger_no_overlap(ledger);
    cr_assert(overlap.ok, "%s", overlap.text);
    cr_assert_eq(overlap.checked, 2);
    finish(ledger);
}

Test(ledger, a_process_that_ended_before_a_run_began_does_not_end_it)
{
    struct weir_ledger *ledger = begin(16);
    cr_assert(weir_ledger_gone(ledger, (uint32_t)getpid())); /* an earlier owner of the number */
    put(ledger, WEIR_LEDGER_START, 'a', 7, 1, WEIR_ACK);
    put(ledger, WEIR_LEDGER_START, 'a', 7, 2, WEIR_ACK);
    cr_assert_not(weir_ledger_no_overlap(ledger).ok);
    finish(ledger);
}

struct writer {
    pthread_t thread;
    struct weir_ledger *ledger;
    char key;
};

static void *write_many(void *argument)
{
    struct writer *writer = argument;
    for (int64_t i = 0; i < 5000; i++)
        run(writer->ledger, writer->key, i * 4 + (writer->key - 'a'), 1, WEIR_ACK);
    return NULL;
}

Test(ledger, threads_lose_no_record_to_each_other)
{
    struct weir_ledger *ledger = begin(40000);
    struct writer writers[4];
    for (int i = 0; i < 4; i++) {
        writers[i] = (struct writer){.ledger = ledger, .key = (char)('a' + i)};
        cr_assert_eq(pthread_create(&writers[i].thread, NULL, write_many, &writers[i]), 0);
    }
    for (int i = 0; i < 4; i++)
        cr_assert_eq(pthread_join(writers[i].thread, NULL), 0);
    cr_assert_eq(weir_ledger_count(ledger), 40000);
    cr_assert_eq(weir_ledger_overflow(ledger), 0);
    cr_assert_eq(weir_ledger_count_finished(ledger), 20000);
    struct weir_ledger_verdict order = weir_ledger_key_order(ledger);
    cr_assert(order.ok, "%s", order.text);
    cr_assert(weir_ledger_no_overlap(ledger).ok);
    finish(ledger);
}

Test(ledger, a_file_that_is_no_ledger_is_refused)
{
    finish(begin(4));
    cr_assert_null(weir_ledger_open(path));
    cr_assert_eq(errno, ENOENT);
    int file = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
    cr_assert_geq(file, 0);
    cr_assert_null(weir_ledger_open(path));
    cr_assert_eq(errno, EINVAL);
    cr_assert_eq(ftruncate(file, 4096), 0);
    cr_assert_null(weir_ledger_open(path));
    cr_assert_eq(errno, EINVAL);
    close(file);
    cr_assert_eq(unlink(path), 0);
}
