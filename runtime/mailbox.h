/*
 * Mailbox: a bounded queue of intrusive mails with many senders and one owner, first in first out a sender.
 *
 * On Concurrency Kit's ck_stack: senders push with one compare-and-swap, the owner takes everything with one exchange
 * and reverses it. There is no shared head to contend for and no allocation, so a send cannot run out of memory.
 *
 * Bound. weir_mailbox_try_send() counts messages and bytes and refuses with WEIR_FULL at either bound; the owner gives
 * the place back by weir_mailbox_release() when it has finished with the mail. weir_mailbox_send() is for mail whose
 * place was paid for before (by credit, or because its sender has one node only): it is not counted and cannot fail.
 *
 * Thread: send and try_send any; take and release the owner.
 */
#ifndef WEIR_RUNTIME_MAILBOX_H
#define WEIR_RUNTIME_MAILBOX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct weir_mail {
    struct weir_mail *next; /* while queued: the mailbox's (layout of ck_stack_entry_t, asserted in mailbox.c) */
    uint16_t kind;          /* the receiver's enum; says what the mail lies in */
    bool counted;           /* mailbox's */
    uint32_t size_bytes;    /* for the bound in bytes; 0 for none */
};

struct weir_mailbox {
    struct weir_mail *stack; /* with the next: a ck_stack_t; written by all */
    void *stack_generation;  /* unused by the operations here, but part of the type */
    _Atomic uint32_t count;  /* of counted mails; written by all */
    _Atomic uint64_t bytes;
    uint32_t messages_max; /* constant */
    uint64_t bytes_max;
};

void weir_mailbox_init(struct weir_mailbox *mailbox, uint32_t messages_max, uint64_t bytes_max);
void weir_mailbox_send(struct weir_mailbox *mailbox, struct weir_mail *mail);
int weir_mailbox_try_send(struct weir_mailbox *mailbox, struct weir_mail *mail); /* 0 or WEIR_FULL */
struct weir_mail *weir_mailbox_take(struct weir_mailbox *mailbox); /* all, oldest first, linked by next; or NULL */
void weir_mailbox_release(struct weir_mailbox *mailbox, const struct weir_mail *mail); /* a taken mail's place */
bool weir_mailbox_is_empty(const struct weir_mailbox *mailbox);                        /* a hint to any but the owner */

#endif
