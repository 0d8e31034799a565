/*
 * The verdict: sums over the ledger and the audit, and the last page of the demo.
 *
 * Each line of it is a check that can fail; the verdict holds when all do and there was something to check. Nothing
 * here asks Weir's own counters.
 *
 * Thread: main, after all others have ended.
 */
#include "cli/demo.h"
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

struct page {
    const struct weir_demo_case *matter;
    bool holds;
};

/* One line: a mark, what was checked, what was found. */
__attribute__((format(printf, 4, 5))) static void line(struct page *page, bool ok, const char *name, const char *format,
                                                       ...)
{
    const struct weir_demo_screen *screen = page->matter->screen;
    page->holds = page->holds && ok;
    printf("  %s%s%s %-14s ", weir_demo_ink(screen, ok ? DEMO_INK_GOOD : DEMO_INK_BAD), ok ? "ok  " : "FAIL",
           weir_demo_ink(screen, DEMO_INK_NONE), name);
    va_list arguments;
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
}

static void check_produced(struct page *page)
{
    const struct weir_demo_load *load = page->matter->load;
    uint32_t count = page->matter->plan->count, acknowledged = atomic_load(&load->acknowledged);
    bool ok = count > 0 && acknowledged == count && atomic_load(&load->failed) == 0;
    if (ok)
        line(page, ok, "produced", "%s orders, acknowledged by the broker", weir_demo_number(count).text);
    else
        line(page, ok, "produced", "%u of %u orders were acknowledged; %s", acknowledged, count,
             load->error.text[0] ? load->error.text : "no reason was given");
}

static void check_sum(struct page *page)
{
    struct weir_demo_ledger *ledger = page->matter->ledger;
    uint32_t neither, both, handled = atomic_load(&ledger->handled), count = page->matter->plan->count;
    weir_demo_ledger_sum(ledger, &neither, &both);
    bool ok = handled > 0 && handled + ledger->letters == count && neither == 0 && both == 0;
    if (ok)
        line(page, ok, "nothing lost", "%s handled + %s dead-lettered = %s", weir_demo_number(handled).text,
             weir_demo_number(ledger->letters).text, weir_demo_number(count).text);
    else
        line(page, ok, "nothing lost",
             "%u handled + %u dead-lettered, but %u produced: %u are missing, %u are on both sides", handled,
             ledger->letters, count, neither, both);
    ok = ledger->again == 0 && ledger->strangers == 0;
    line(page, ok, "nothing twice", "%u finished more than once, %u that were never produced", ledger->again,
         ledger->strangers);
}

static void check_order(struct page *page)
{
    const struct weir_demo_ledger *ledger = page->matter->ledger;
    uint32_t runs = atomic_load(&ledger->runs), failed = atomic_load(&ledger->failed_runs);
    bool ok = runs > 0 && ledger->misplaced == 0 && ledger->overlaps == 0;
    if (ok)
        line(page, ok, "keys in order", "%s keys, %s runs, %s of them failed and run again",
             weir_demo_number(weir_demo_ledger_keys(ledger)).text, weir_demo_number(runs).text,
             weir_demo_number(failed - atomic_load(&ledger->given_up)).text);
    else
        line(page, ok, "keys in order", "%u orders started out of turn, %u beside another of their key, in %u runs",
             ledger->misplaced, ledger->overlaps, runs);
}

static void check_letters(struct page *page)
{
    const struct weir_demo_ledger *ledger = page->matter->ledger;
    const struct weir_demo_audit *audit = page->matter->audit;
    bool ok = audit->letters_read && ledger->letters > 0 && ledger->letters_wrong == 0 &&
              ledger->letters == atomic_load(&ledger->given_up);
    if (!audit->letters_read) {
        line(page, ok, "dead letters", "%s", audit->error.text);
        return;
    }
    line(page, ok, "dead letters", "%u in %s (partition 0: %u, 1: %u, 2: %u)%s", ledger->letters, DEMO_DLQ_TOPIC,
         ledger->letters_in[0], ledger->letters_in[1], ledger->letters_in[2], ok ? "" : ", which does not match:");
    if (!ok)
        line(page, ok, "", "%u orders were given up, %u letters belong to none of them", atomic_load(&ledger->given_up),
             ledger->letters_wrong);
    for (size_t i = 0; i < sizeof audit->example / sizeof audit->example[0]; i++)
        if (audit->example[i][0])
            printf("       %s%s%s\n", weir_demo_ink(page->matter->screen, DEMO_INK_DIM), audit->example[i],
                   weir_demo_ink(page->matter->screen, DEMO_INK_NONE));
}

static void check_offsets(struct page *page)
{
    const struct weir_demo_audit *audit = page->matter->audit;
    const struct weir_demo_plan *plan = page->matter->plan;
    int behind = 0, first = -1;
    for (int partition = DEMO_PARTITIONS - 1; partition >= 0; partition--) {
        /* nothing was ever committed where there is nothing to commit */
        int64_t committed = audit->committed[partition] < 0 ? 0 : audit->committed[partition];
        if (committed != plan->partition_count[partition]) {
            behind++;
            first = partition;
        }
    }
    if (!audit->offsets_read)
        line(page, false, "offsets", "%s", audit->error.text);
    else if (behind == 0)
        line(page, true, "offsets", "committed to the end of all %d partitions", DEMO_PARTITIONS);
    else
        line(page, false, "offsets", "%d partitions are not committed to their end; %s/%d: %" PRId64 " of %u", behind,
             DEMO_TOPIC, first, audit->committed[first], plan->partition_count[first]);
}

static void check_close(struct page *page)
{
    const struct weir_demo_case *matter = page->matter;
    if (matter->interrupted)
        line(page, false, "run", "interrupted: the verdict is about an unfinished run");
    if (matter->close_code != 0)
        line(page, false, "close", "%s: %s", weir_code_name(matter->close_code), matter->close_text);
}

static void compare_line(const struct weir_demo_screen *screen, const char *name, enum weir_demo_ink ink,
                         uint32_t handled, uint32_t most, double seconds)
{
    char bar[512];
    unsigned width = weir_demo_screen_columns(screen) - 46;
    weir_demo_bar(screen, bar, sizeof bar, most ? (double)handled / most : 0, width);
    printf("  %-10s %s%s%s %9s %9s/s\n", name, weir_demo_ink(screen, ink), bar, weir_demo_ink(screen, DEMO_INK_NONE),
           weir_demo_number(handled).text, weir_demo_number((uint64_t)(handled / seconds)).text);
}

/* How far both came, each counted from its own first run. */
static void compare(const struct weir_demo_case *matter)
{
    const struct weir_demo_ledger *ledger = matter->ledger;
    uint64_t duration_ns = atomic_load(&ledger->last_ns) - atomic_load(&ledger->first_ns);
    uint32_t weir = atomic_load(&ledger->handled) + ledger->letters;
    uint32_t poll = weir_demo_poll_handled_in(matter->poll, duration_ns);
    double seconds = (double)duration_ns / 1e9;
    if (weir == 0 || duration_ns == 0)
        return;
    printf("\nThe same topic and %d ms an order, in the same %.1f s\n\n", DEMO_LATENCY_MS, seconds);
    compare_line(matter->screen, "weir", DEMO_INK_MAIN, weir, weir, seconds);
    compare_line(matter->screen, "poll loop", DEMO_INK_NONE, poll, weir, seconds);
    if (poll > 0)
        printf("\n  %s%.*f times%s as far as one message at a time.\n", weir_demo_ink(matter->screen, DEMO_INK_BOLD),
               weir / poll >= 10 ? 0 : 1, (double)weir / poll, weir_demo_ink(matter->screen, DEMO_INK_NONE));
    else
        printf("\n  The poll loop has not handled a single order%s%s\n", matter->poll->error.text[0] ? ": " : "",
               matter->poll->error.text);
}

bool weir_demo_verdict(const struct weir_demo_case *matter)
{
    struct page page = {.matter = matter, .holds = true};
    printf("%sVerdict%s, from a ledger of the handler's runs and what the broker holds\n\n",
           weir_demo_ink(matter->screen, DEMO_INK_BOLD), weir_demo_ink(matter->screen, DEMO_INK_NONE));
    check_close(&page);
    check_produced(&page);
    check_sum(&page);
    check_order(&page);
    check_letters(&page);
    check_offsets(&page);
    compare(matter);
    printf("\n%s%s%s\n", weir_demo_ink(matter->screen, page.holds ? DEMO_INK_GOOD : DEMO_INK_BAD),
           page.holds ? "The verdict holds." : "The verdict does not hold.",
           weir_demo_ink(matter->screen, DEMO_INK_NONE));
    return page.holds;
}
