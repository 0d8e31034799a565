/*
 * Mailboxes: order a sender, bounds, and several threads.
 */
#include "runtime/check.h"
#include "runtime/mailbox.h"
#include "runtime/random.h"
#include "tests/support/dies.h"
#include "tests/support/test.h"
#include "tests/support/wait.h"
#include <pthread.h>
#include <weir/error.h>

#define SENDERS 4

struct note {
    struct weir_mail mail;
    unsigned sender;
    uint64_t number;
};

static struct weir_mailbox mailbox;

Test(mailbox, mails_of_one_sender_come_out_in_order)
{
    struct note notes[5];
    weir_mailbox_init(&mailbox, 0, 0);
    cr_assert(weir_mailbox_is_empty(&mailbox));
    cr_assert_null(weir_mailbox_take(&mailbox));
    for (unsigned i = 0; i < 5; i++) {
        notes[i].number = i;
        weir_mailbox_send(&mailbox, &notes[i].mail);
    }
    cr_assert_not(weir_mailbox_is_empty(&mailbox));
    unsigned count = 0;
    for (struct weir_mail *mail = weir_mailbox_take(&mailbox); mail; mail = mail->next, count++)
        cr_assert_eq(mail, &notes[count].mail);
    cr_assert_eq(count, 5);
    cr_assert(weir_mailbox_is_empty(&mailbox));
}

Test(mailbox, try_send_refuses_at_the_bound_in_messages)
{
    struct note notes[3] = {0};
    weir_mailbox_init(&mailbox, 2, 100);
    cr_assert_eq(weir_mailbox_try_send(&mailbox, &notes[0].mail), 0);
    cr_assert_eq(weir_mailbox_try_send(&mailbox, &notes[1].mail), 0);
    cr_assert_eq(weir_mailbox_try_send(&mailbox, &notes[2].mail), WEIR_FULL);
    struct weir_mail *first = weir_mailbox_take(&mailbox);
    cr_assert_eq(weir_mailbox_try_send(&mailbox, &notes[2].mail), WEIR_FULL, "taken is not yet released");
    weir_mailbox_release(&mailbox, first);
    cr_assert_eq(weir_mailbox_try_send(&mailbox, &notes[2].mail), 0);
}

Test(mailbox, try_send_refuses_at_the_bound_in_bytes)
{
    struct note small = {.mail.size_bytes = 60}, other = {.mail.size_bytes = 41}, fitting = {.mail.size_bytes = 40};
    weir_mailbox_init(&mailbox, 10, 100);
    cr_assert_eq(weir_mailbox_try_send(&mailbox, &small.mail), 0);
    cr_assert_eq(weir_mailbox_try_send(&mailbox, &other.mail), WEIR_FULL);
    cr_assert_eq(atomic_load(&mailbox.count), 1, "a refused mail leaves no trace");
    cr_assert_eq(weir_mailbox_try_send(&mailbox, &fitting.mail), 0);
    weir_mailbox_release(&mailbox, &small.mail);
    weir_mailbox_release(&mailbox, &fitting.mail);
    cr_assert_eq(atomic_load(&mailbox.bytes), 0);
    cr_assert_eq(atomic_load(&mailbox.count), 0);
}

Test(mailbox, a_mail_larger_than_the_bound_passes_when_it_is_alone)
{
    struct note large = {.mail.size_bytes = 5000}, small = {.mail.size_bytes = 1};
    weir_mailbox_init(&mailbox, 10, 100);
    cr_assert_eq(weir_mailbox_try_send(&mailbox, &small.mail), 0);
    cr_assert_eq(weir_mailbox_try_send(&mailbox, &large.mail), WEIR_FULL);
    weir_mailbox_release(&mailbox, &small.mail);
    cr_assert_eq(weir_mailbox_try_send(&mailbox, &large.mail), 0, "or it would wait for ever");
    cr_assert_eq(weir_mailbox_try_send(&mailbox, &small.mail), WEIR_FULL);
}

Test(mailbox, mail_with_its_place_paid_is_never_refused_nor_counted)
{
    struct note counted = {0}, paid = {.mail.size_bytes = 7};
    weir_mailbox_init(&mailbox, 1, 1);
    cr_assert_eq(weir_mailbox_try_send(&mailbox, &counted.mail), 0);
    weir_mailbox_send(&mailbox, &paid.mail);
    cr_assert_eq(atomic_load(&mailbox.count), 1);
    struct weir_mail *first = weir_mailbox_take(&mailbox);
    cr_assert_eq(first->next, &paid.mail);
    weir_mailbox_release(&mailbox, &paid.mail);
    cr_assert_eq(atomic_load(&mailbox.count), 1, "releasing it changes nothing");
}

static void release_twice(void)
{
    struct note note = {0};
    weir_mailbox_init(&mailbox, 1, 1);
    if (weir_mailbox_try_send(&mailbox, &note.mail) != 0)
        _exit(1);
    weir_mailbox_release(&mailbox, &note.mail);
    weir_mailbox_release(&mailbox, &note.mail);
}

Test(mailbox, a_place_given_back_twice_is_a_broken_invariant)
{
    cr_assert(weir_test_aborts(release_twice, "count > 0"));
}

/* ---- threads ---- */

static struct note *all[SENDERS];
static unsigned per_sender;
static _Atomic uint64_t refusals, go;

static void *send_all(void *argument)
{
    unsigned sender = (unsigned)(uintptr_t)argument;
    weir_test_reaches(&go, 1);
    for (unsigned i = 0; i < per_sender; i++) {
        struct note *note = &all[sender][i];
        note->sender = sender;
        note->number = i;
        note->mail.size_bytes = i % 3;
        if (i % 2 == 0) {
            weir_mailbox_send(&mailbox, &note->mail);
        } else {
            while (weir_mailbox_try_send(&mailbox, &note->mail) != 0) {
                atomic_fetch_add(&refusals, 1);
                sched_yield();
            }
        }
    }
    return NULL;
}

/* Take until all have come; returns how many came in the wrong order or passed the bounds. */
static unsigned receive_all(uint32_t messages_max, uint64_t bytes_max)
{
    uint64_t next[SENDERS] = {0}, total = 0;
    unsigned wrong = 0;
    for (unsigned idle = 0; total < (uint64_t)SENDERS * per_sender && idle < 60000;) {
        struct weir_mail *mail = weir_mailbox_take(&mailbox);
        if (!mail) {
            weir_test_sleep_us(1000);
            idle++;
            continue;
        }
        idle = 0;
        wrong += atomic_load(&mailbox.count) > messages_max || atomic_load(&mailbox.bytes) > bytes_max;
        for (struct weir_mail *following; mail; mail = following, total++) {
            following = mail->next;
            struct note *note = WEIR_CONTAINER(mail, struct note, mail);
            wrong += note->number != next[note->sender]++;
            weir_mailbox_release(&mailbox, mail);
        }
    }
    return wrong + (total != (uint64_t)SENDERS * per_sender);
}

Test(mailbox, many_senders_keep_their_order_and_the_bounds)
{
    pthread_t threads[SENDERS];
    per_sender = weir_test_scaled(50000);
    weir_mailbox_init(&mailbox, 16, 20);
    for (unsigned i = 0; i < SENDERS; i++) {
        all[i] = calloc(per_sender, sizeof(struct note));
        cr_assert_not_null(all[i]);
        cr_assert_eq(pthread_create(&threads[i], NULL, send_all, (void *)(uintptr_t)i), 0);
    }
    atomic_store(&go, 1);
    unsigned wrong = receive_all(16, 20);
    for (unsigned i = 0; i < SENDERS; i++) {
        pthread_join(threads[i], NULL);
        free(all[i]);
    }
    cr_assert_eq(wrong, 0);
    cr_assert(weir_mailbox_is_empty(&mailbox));
    cr_assert_eq(atomic_load(&mailbox.count), 0);
    cr_assert_eq(atomic_load(&mailbox.bytes), 0);
}
