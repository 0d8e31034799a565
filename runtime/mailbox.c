/*
 * Mailbox: see mailbox.h for the contract.
 *
 * Invariants
 *   B1. A mail is in at most one mailbox; between send and take it belongs to the mailbox, afterwards to the owner.
 *   B2. `count` and `bytes` cover the counted mails that were sent and not released: never above the bounds, except
 *       that `bytes` may pass bytes_max by one mail when nothing else is counted, so that a mail larger than the bound
 *       cannot wait for ever.
 *   B3. A sender's mails come out in the order of its sends.
 */
#include "runtime/mailbox.h"
#include "runtime/check.h"
#include "runtime/stack.h"
#include <weir/error.h>

_Static_assert(offsetof(struct weir_mail, next) == offsetof(ck_stack_entry_t, next), "a mail begins as a stack entry");
_Static_assert(offsetof(struct weir_mailbox, stack) == 0 && offsetof(ck_stack_t, head) == 0 &&
                   sizeof(ck_stack_t) == offsetof(struct weir_mailbox, count),
               "a mailbox begins as a stack");

static ck_stack_t *stack_of(const struct weir_mailbox *mailbox)
{
    return (ck_stack_t *)(void *)mailbox;
}

void weir_mailbox_init(struct weir_mailbox *mailbox, uint32_t messages_max, uint64_t bytes_max)
{
    mailbox->stack = NULL;
    mailbox->stack_generation = NULL;
    mailbox->messages_max = messages_max;
    mailbox->bytes_max = bytes_max;
    atomic_init(&mailbox->count, 0);
    atomic_init(&mailbox->bytes, 0);
}

static void push(struct weir_mailbox *mailbox, struct weir_mail *mail)
{
    weir_stack_push(stack_of(mailbox), (ck_stack_entry_t *)(void *)mail);
}

void weir_mailbox_send(struct weir_mailbox *mailbox, struct weir_mail *mail)
{
    mail->counted = false;
    push(mailbox, mail);
}

/* Count the bytes unless they pass the bound; those of the first always fit. */
static bool try_add_bytes(struct weir_mailbox *mailbox, uint64_t size)
{
    uint64_t bytes = atomic_load_explicit(&mailbox->bytes, memory_order_relaxed);
    do {
        if (bytes > 0 && (size > mailbox->bytes_max || bytes > mailbox->bytes_max - size))
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&mailbox->bytes, &bytes, bytes + size, memory_order_relaxed,
                                                    memory_order_relaxed));
    return true;
}

static bool try_add_one(struct weir_mailbox *mailbox)
{
    uint32_t count = atomic_load_explicit(&mailbox->count, memory_order_relaxed);
    do {
        if (count >= mailbox->messages_max)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&mailbox->count, &count, count + 1, memory_order_relaxed,
                                                    memory_order_relaxed));
    return true;
}

int weir_mailbox_try_send(struct weir_mailbox *mailbox, struct weir_mail *mail)
{
    if (!try_add_one(mailbox))
        return WEIR_FULL;
    if (mail->size_bytes > 0 && !try_add_bytes(mailbox, mail->size_bytes)) {
        atomic_fetch_sub_explicit(&mailbox->count, 1, memory_order_relaxed);
        return WEIR_FULL;
    }
    mail->counted = true;
    push(mailbox, mail);
    return 0;
}

struct weir_mail *weir_mailbox_take(struct weir_mailbox *mailbox)
{
    return (struct weir_mail *)(void *)weir_stack_take(stack_of(mailbox));
}

void weir_mailbox_release(struct weir_mailbox *mailbox, const struct weir_mail *mail)
{
    if (!mail->counted)
        return;
    uint32_t count = atomic_fetch_sub_explicit(&mailbox->count, 1, memory_order_relaxed);
    WEIR_CHECK(count > 0);
    if (mail->size_bytes == 0)
        return;
    uint64_t bytes = atomic_fetch_sub_explicit(&mailbox->bytes, mail->size_bytes, memory_order_relaxed);
    WEIR_CHECK(bytes >= mail->size_bytes);
}

bool weir_mailbox_is_empty(const struct weir_mailbox *mailbox)
{
    return weir_stack_is_empty(stack_of(mailbox));
}
