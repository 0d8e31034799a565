/*
 * Copies that a producer has sent: a message with an id that has been handled before is acked and not handled.
 *
 * The ids are kept in memory here, as many as fit, for an hour: enough for what a producer's retries bring. What must
 * hold over a crash marks the id in the effect's own transaction: weir_sqlite_inbox(), weir_postgres_inbox().
 */
#include "common.h"
#include <stdatomic.h>
#include <stdio.h>
#include <weir/inbox.h>

struct shop {
    struct weir_inbox *inbox;
    _Atomic unsigned long orders;
};

static enum weir_outcome on_order(struct weir_message *message, void *user)
{
    struct shop *shop = user;
    struct weir_error error;
    int mark = weir_inbox_begin(shop->inbox, message, &error);
    if (mark != WEIR_MARK_NEW)
        return weir_mark_outcome(mark);
    atomic_fetch_add(&shop->orders, 1);                    /* what is to happen once */
    return weir_inbox_end(shop->inbox, message, WEIR_ACK); /* only now its id is known */
}

int main(int argc, char **argv)
{
    static const char *header = "message-id", *kilobytes = "1024";
    static const struct example_option options[] = {{"header", "the header that holds the id", &header},
                                                    {"kilobytes", "memory for ids, 4 .. 1048576", &kilobytes},
                                                    {0}};
    static const struct example example = {
        .name = "inbox", .about = "Handle once what the producer has sent more than once.", .options = options};
    struct weir_config *config = example_configure(argc, argv, &example);
    struct weir_inbox_settings settings = {.header = header, .window_ms = 60 * 60 * 1000};
    struct weir_error error;
    struct shop shop = {0};
    int status = 1;
    shop.inbox =
        weir_inbox_create(&settings, (size_t)example_number("kilobytes", kilobytes, 4, 1048576) * 1024, &error);
    if (shop.inbox) {
        status = example_run(config, on_order, &shop);
        struct weir_inbox_stats stats = weir_inbox_stats_of(shop.inbox);
        printf("%lu orders, %llu copies, %llu without an id\n", shop.orders, (unsigned long long)stats.copies,
               (unsigned long long)stats.without_id);
    } else {
        fprintf(stderr, "%s\n", error.text);
    }
    weir_inbox_destroy(shop.inbox);
    weir_config_destroy(config);
    return status;
}
