/*
 * The examples' cases: what is produced, and what the output must say. See cases.h.
 * A check prints what it misses, and passes only where it has found all of it.
 */
#include "tests/examples/cases.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool says(const char *output, const char *text)
{
    if (strstr(output, text))
        return true;
    fprintf(stderr, "the output lacks: %s\n", text);
    return false;
}

static bool equals(const char *what, int64_t value, int64_t expected)
{
    if (value != expected)
        fprintf(stderr, "%s: %lld instead of %lld\n", what, (long long)value, (long long)expected);
    return value == expected;
}

static void produce(struct weir_mock *mock, const char *key, const char *value)
{
    weir_mock_produce(mock, EXAMPLE_TOPIC, RD_KAFKA_PARTITION_UA, key, strlen(key), value, value ? strlen(value) : 0);
}

/* ---- hello ---- */

static void fill_hello(struct weir_mock *mock)
{
    weir_mock_produce_many(mock, EXAMPLE_TOPIC, RD_KAFKA_PARTITION_UA, 0, 20, 5);
    produce(mock, "gone", NULL);
}

static bool check_hello(const char *output, struct weir_mock *mock, const struct weir_server_counts *counts)
{
    bool right = true;
    for (int number = 0; number < 20; number++) {
        char line[32];
        snprintf(line, sizeof line, ": value-%d\n", number);
        right &= says(output, line);
    }
    return right && says(output, EXAMPLE_TOPIC "/0 at 0: ") && says(output, EXAMPLE_TOPIC "/1 at 0: ");
}

/* ---- key_state: balances of five accounts, and a payment that is none ---- */

static void fill_accounts(struct weir_mock *mock)
{
    for (int number = 0; number < 100; number++) {
        char account[16], amount[16];
        snprintf(account, sizeof account, "account-%d", number % 5);
        snprintf(amount, sizeof amount, "%d", number % 3 == 0 ? -number : number);
        produce(mock, account, amount);
    }
    produce(mock, "account-0", "a lot");
}

static bool check_accounts(const char *output, struct weir_mock *mock, const struct weir_server_counts *counts)
{
    int64_t balances[5] = {0};
    bool right = true;
    for (int number = 0; number < 100; number++)
        balances[number % 5] += number % 3 == 0 ? -number : number;
    for (int account = 0; account < 5; account++) {
        char line[64];
        snprintf(line, sizeof line, "account-%d: %lld after 20 payments\n", account, (long long)balances[account]);
        right &= says(output, line);
    }
    return right && says(output, "5 accounts, 0 payments skipped\n") &&
           equals("dead letters", weir_mock_end_offset(mock, EXAMPLE_LETTERS, 0), 1);
}

/* ---- inbox: 20 orders, every fourth one twice, and one that has no id ---- */

static void fill_copies(struct weir_mock *mock)
{
    for (int number = 0; number < 25; number++) {
        char id[16], key[16];
        snprintf(id, sizeof id, "order-%d", number % 20 * (number < 20 ? 1 : 4));
        snprintf(key, sizeof key, "key-%d", atoi(id + strlen("order-")) % 7);
        weir_mock_produce_header(mock, EXAMPLE_TOPIC, key, "one", "message-id", id);
    }
    produce(mock, "key-1", "one");
}

static bool check_copies(const char *output, struct weir_mock *mock, const struct weir_server_counts *counts)
{
    return says(output, "21 orders, 5 copies, 1 without an id\n");
}

/* ---- sqlite, postgres ---- */

static void fill_payments(struct weir_mock *mock)
{
    for (int number = 0; number < 60; number++) {
        char account[16], amount[16];
        snprintf(account, sizeof account, "account-%d", number % 3);
        snprintf(amount, sizeof amount, "%d", number);
        produce(mock, account, amount);
    }
}

static bool check_payments(const char *output, struct weir_mock *mock, const struct weir_server_counts *counts)
{
    return says(output, "account-0: 570 after 20 payments\n") && says(output, "account-1: 590 after 20 payments\n") &&
           says(output, "account-2: 610 after 20 payments\n");
}

/* ---- blocking ---- */

static bool check_blocking(const char *output, struct weir_mock *mock, const struct weir_server_counts *counts)
{
    const char *most = strstr(output, "at most ");
    return says(output, "200 calls over ") && most && atoi(most + strlen("at most ")) > 2; /* workers: 2 */
}

/* ---- async_uv ---- */

static void fill_many(struct weir_mock *mock)
{
    weir_mock_produce_many(mock, EXAMPLE_TOPIC, RD_KAFKA_PARTITION_UA, 0, 200, 100);
}

static bool check_async(const char *output, struct weir_mock *mock, const struct weir_server_counts *counts)
{
    const char *most = strstr(output, "at most ");
    return says(output, "200 finished, 0 stale, 0 still waiting; ") && most && atoi(most + strlen("at most ")) > 1;
}

/* ---- async_curl: 40 that are taken, 8 of them at the second try, and 2 that are refused ---- */

static void fill_posts(struct weir_mock *mock)
{
    for (int number = 0; number < 40; number++) {
        char key[16], value[16];
        snprintf(key, sizeof key, "key-%d", number % 16);
        snprintf(value, sizeof value, "%s-%d", number < 8 ? "busy" : "fine", number);
        produce(mock, key, value);
    }
    produce(mock, "key-1", "bad-1");
    produce(mock, "key-100", "bad-2");
}

static bool check_posts(const char *output, struct weir_mock *mock, const struct weir_server_counts *counts)
{
    return says(output, "40 posted, 2 refused; 10 failed tries, 0 stale, 0 cut off\n") &&
           equals("answered 200", counts->ok, 40) && equals("answered 503", counts->busy, 8) &&
           equals("answered 400", counts->bad, 2) && equals("malformed requests", counts->malformed, 0) &&
           equals("dead letters", weir_mock_end_offset(mock, EXAMPLE_LETTERS, 0), 2);
}

/* ---- retry_classes: one or more of each class ---- */

static void fill_charges(struct weir_mock *mock)
{
    produce(mock, "a", "100");
    produce(mock, "b", "17"); /* times out twice */
    produce(mock, "c", "27"); /* so does this */
    produce(mock, "d", "23"); /* told to wait a second */
    produce(mock, "e", "13"); /* an expired card */
    produce(mock, "f", "a lot");
    produce(mock, "g", NULL); /* cancelled */
    produce(mock, "b", "42");
}

static bool check_charges(const char *output, struct weir_mock *mock, const struct weir_server_counts *counts)
{
    return says(output, "5 charged, 1 skipped, 2 dead; answers on the way: 4 retry, 1 retry after, ") &&
           equals("dead letters", weir_mock_end_offset(mock, EXAMPLE_LETTERS, 0), 2);
}

/* ---- downstream_down: 60 entries, then the one that stops the program ---- */

static void fill_entries(struct weir_mock *mock)
{
    weir_mock_produce_many(mock, EXAMPLE_TOPIC, 0, 0, 60, 30);
    const char *end = "close the day";
    weir_mock_produce(mock, EXAMPLE_TOPIC, 0, "key-0", 5, end, strlen(end));
}

static bool check_entries(const char *output, struct weir_mock *mock, const struct weir_server_counts *counts)
{
    int booked = -1, failed = -1;
    const char *last = strstr(output, " booked, ");
    while (last && last > output && last[-1] != '\n')
        last--;
    return says(output, "breaker: closed -> open") && says(output, "breaker: probing -> closed") &&
           says(output, "WEIR_ESCALATED") && says(output, "the day is closed") && last &&
           sscanf(last, "%d booked, %d calls failed", &booked, &failed) == 2 && booked > 0 && failed >= 20 &&
           failed < 60 && equals("dead letters", weir_mock_end_offset(mock, EXAMPLE_LETTERS, 0), 0);
}

/* ---- filters: levels in and out of order, a price, an article for tests ---- */

static void fill_levels(struct weir_mock *mock)
{
    static const char *const levels[][3] = {{"apple", "7", "1"}, {"apple", "9", "3"}, {"apple", "8", "2"},
                                            {"pear", "4", "1"},  {"pear", "3", "2"},  {"test-1", "1", "1"}};
    for (size_t index = 0; index < sizeof levels / sizeof *levels; index++)
        weir_mock_produce_header(mock, EXAMPLE_TOPIC, levels[index][0], levels[index][1], "version", levels[index][2]);
    weir_mock_produce_header(mock, EXAMPLE_TOPIC, "apple", "99", "type", "price");
}

static bool check_levels(const char *output, struct weir_mock *mock, const struct weir_server_counts *counts)
{
    if (strstr(output, "apple: 8") || strstr(output, "apple: 99") || strstr(output, "test-1")) {
        fprintf(stderr, "what is to be filtered is handled\n");
        return false;
    }
    return says(output, "apple: 7\n") && says(output, "apple: 9\n") && says(output, "pear: 3\n") &&
           says(output, "4 levels written\n");
}

/* ---- priority: a hundred orders, and twenty urgent ones ---- */

static void fill_both(struct weir_mock *mock)
{
    weir_mock_produce_many(mock, EXAMPLE_TOPIC, RD_KAFKA_PARTITION_UA, 0, 100, 100);
    weir_mock_produce_many(mock, "orders.urgent", 0, 0, 20, 20);
}

static bool check_both(const char *output, struct weir_mock *mock, const struct weir_server_counts *counts)
{
    int before = -1;
    const char *result = strstr(output, "20 urgent orders, 100 others, ");
    return says(output, "20 urgent orders, 100 others, ") &&
           sscanf(result, "20 urgent orders, 100 others, %d of them before", &before) == 1 && before >= 0 &&
           before < 100;
}

/* ---- graceful_stop: once with all finished, once with something left ---- */

static void fill_some(struct weir_mock *mock)
{
    weir_mock_produce_many(mock, EXAMPLE_TOPIC, RD_KAFKA_PARTITION_UA, 0, 20, 20);
}

static bool check_clean_stop(const char *output, struct weir_mock *mock, const struct weir_server_counts *counts)
{
    return says(output, "closing on ") && says(output, "closed: 20 finished, 0 handed back\n");
}

static bool check_stop_with_rest(const char *output, struct weir_mock *mock, const struct weir_server_counts *counts)
{
    int finished, left;
    const char *closed = strstr(output, "closed: ");
    return says(output, "closing on ") && says(output, "WEIR_UNFINISHED") && closed &&
           sscanf(closed, "closed: %d finished, %d handed back", &finished, &left) == 2 && finished > 0 && left > 0 &&
           equals("messages in all", finished + left, 20);
}

/* ---- emit: invoices for all but one, alerts for some ---- */

static void fill_orders(struct weir_mock *mock)
{
    for (int number = 1; number <= 60; number++) {
        char customer[16], amount[16];
        snprintf(customer, sizeof customer, "customer-%d", number % 7);
        snprintf(amount, sizeof amount, "%d", number % 6 == 0 ? 1000 * number : number);
        produce(mock, customer, amount);
    }
    produce(mock, "customer-0", "a lot");
}

static int64_t count_of(struct weir_mock *mock, const char *topic)
{
    int64_t count = 0;
    for (int32_t partition = 0; partition < 4; partition++)
        count += weir_mock_end_offset(mock, topic, partition);
    return count;
}

static bool check_invoices(const char *output, struct weir_mock *mock, const struct weir_server_counts *counts)
{
    return says(output, "60 invoices, 0 tries without\n") && equals("invoices", count_of(mock, "invoices"), 60) &&
           equals("alerts", count_of(mock, "alerts"), 10) &&
           equals("dead letters", weir_mock_end_offset(mock, EXAMPLE_LETTERS, 0), 1);
}

/* ---- batch: all rows but one, by few inserts ---- */

static void fill_rows(struct weir_mock *mock)
{
    weir_mock_produce_many(mock, EXAMPLE_TOPIC, RD_KAFKA_PARTITION_UA, 0, 300, 40);
    produce(mock, "key-0", "no\nrow");
}

static bool check_rows(const char *output, struct weir_mock *mock, const struct weir_server_counts *counts)
{
    const char *by = strstr(output, "300 rows by ");
    int inserts = by ? atoi(by + strlen("300 rows by ")) : 0;
    if (inserts < 1 || inserts > 100)
        fprintf(stderr, "inserts: %d\n", inserts);
    return says(output, "300 rows by ") && says(output, " inserts, 0 inserts failed\n") && inserts >= 1 &&
           inserts <= 100 && equals("dead letters", weir_mock_end_offset(mock, EXAMPLE_LETTERS, 0), 1);
}

#define QUICK "-X", "weir.commit.interval.ms=100", "-X", "fetch.wait.max.ms=10"

const struct weir_example_case weir_example_cases[] = {
    {.name = "hello", .group = "weir-hello", .positional = true, .fill = fill_hello, .check = check_hello},
    {.name = "key_state",
     .group = "weir-example-key_state",
     .arguments = {QUICK},
     .fill = fill_accounts,
     .check = check_accounts},
    {.name = "blocking",
     .group = "weir-example-blocking",
     .arguments = {"-X", "weir.workers=2", QUICK, "--call-ms", "50"},
     .fill = fill_many,
     .check = check_blocking},
    {.name = "async_uv",
     .group = "weir-example-async_uv",
     .arguments = {QUICK, "--delay-ms", "50"},
     .fill = fill_many,
     .check = check_async},
    {.name = "async_curl",
     .group = "weir-example-async_curl",
     .arguments = {QUICK, "--url", "@server"},
     .fill = fill_posts,
     .check = check_posts},
    {.name = "retry_classes",
     .group = "weir-example-retry_classes",
     .arguments = {QUICK},
     .fill = fill_charges,
     .check = check_charges},
    {.name = "emit", .group = "weir-example-emit", .arguments = {QUICK}, .fill = fill_orders, .check = check_invoices},
    {.name = "inbox", .group = "weir-example-inbox", .arguments = {QUICK}, .fill = fill_copies, .check = check_copies},
    {.name = "sqlite",
     .group = "weir-example-sqlite",
     .arguments = {QUICK, "--database", "@file"},
     .fill = fill_payments,
     .check = check_payments},
    {.name = "postgres",
     .group = "weir-example-postgres",
     .arguments = {QUICK, "--server", "@postgres"},
     .fill = fill_payments,
     .check = check_payments},
    {.name = "downstream_down",
     .group = "weir-example-downstream_down",
     .arguments = {QUICK},
     .fill = fill_entries,
     .ends = true,
     .status = 1,
     .check = check_entries},
    {.name = "batch", .group = "weir-example-batch", .arguments = {QUICK}, .fill = fill_rows, .check = check_rows},
    {.name = "filters",
     .group = "weir-example-filters",
     .arguments = {QUICK},
     .fill = fill_levels,
     .check = check_levels},
    {.name = "priority",
     .group = "weir-example-priority",
     .arguments = {QUICK},
     .fill = fill_both,
     .check = check_both},
    {.name = "graceful_stop",
     .group = "weir-example-graceful_stop",
     .arguments = {QUICK, "--work-ms", "10"},
     .fill = fill_some,
     .check = check_clean_stop},
    {.name = "graceful_stop",
     .group = "weir-example-graceful_stop",
     .arguments = {"-X", "weir.workers=2", QUICK, "--work-ms=1000", "--deadline-ms=50"},
     .fill = fill_some,
     .commits_min = 1,
     .status = 3,
     .check = check_stop_with_rest},
    {0},
};
