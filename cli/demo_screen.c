/*
 * The demo's live display: a frame composed in memory and written at once, or a plain line a second.
 *
 * On a terminal it draws on the alternate screen, 80 x 24 or wider, with colours unless NO_COLOR is set, and with block
 * characters where the locale is UTF-8. Elsewhere, or where TERM is dumb, it writes lines.
 *
 * Thread: main. Bound: a frame is cut at FRAME_SIZE, a line at the terminal's edge by the terminal.
 */
#include "cli/demo.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define FRAME_SIZE  16384
#define COLUMNS_MIN 72
#define COLUMNS_MAX 110
#define HISTORY     128 /* frames that the curve remembers */

struct weir_demo_screen {
    bool plain, colour, utf8, entered;
    unsigned columns;
    double history[HISTORY]; /* rates, the oldest first */
    unsigned history_count;
    uint64_t second; /* plain: that was written last */
    size_t used;
    char frame[FRAME_SIZE];
};

static bool locale_is_utf8(void)
{
    const char *names[] = {"LC_ALL", "LC_CTYPE", "LANG"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *value = getenv(names[i]);
        if (value && *value)
            return strcasestr(value, "utf-8") || strcasestr(value, "utf8");
    }
    return false;
}

static unsigned terminal_columns(void)
{
    struct winsize size;
    unsigned columns = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
    return columns < COLUMNS_MIN ? COLUMNS_MIN : columns > COLUMNS_MAX ? COLUMNS_MAX : columns;
}

struct weir_demo_screen *weir_demo_screen_create(bool plain)
{
    struct weir_demo_screen *screen = calloc(1, sizeof *screen);
    if (!screen)
        return NULL;
    const char *terminal = getenv("TERM");
    bool capable = isatty(STDOUT_FILENO) && terminal && *terminal && strcmp(terminal, "dumb") != 0;
    const char *no_colour = getenv("NO_COLOR");
    screen->plain = plain || !capable;
    screen->colour = capable && !(no_colour && *no_colour);
    screen->utf8 = locale_is_utf8();
    screen->columns = terminal_columns();
    return screen;
}

void weir_demo_screen_destroy(struct weir_demo_screen *screen)
{
    if (screen)
        weir_demo_screen_leave(screen);
    free(screen);
}

unsigned weir_demo_screen_columns(const struct weir_demo_screen *screen)
{
    return screen->columns;
}

bool weir_demo_screen_is_live(const struct weir_demo_screen *screen)
{
    return !screen->plain;
}

struct weir_demo_number weir_demo_number(uint64_t number)
{
    char digits[24];
    int length = snprintf(digits, sizeof digits, "%" PRIu64, number), at = 0;
    struct weir_demo_number result;
    for (int i = 0; i < length; i++) {
        if (i > 0 && (length - i) % 3 == 0)
            result.text[at++] = ',';
        result.text[at++] = digits[i];
    }
    result.text[at] = '\0';
    return result;
}

const char *weir_demo_ink(const struct weir_demo_screen *screen, enum weir_demo_ink ink)
{
    static const char *const inks[] = {
        [DEMO_INK_NONE] = "\x1b[0m",  [DEMO_INK_BOLD] = "\x1b[1m",  [DEMO_INK_DIM] = "\x1b[2m",
        [DEMO_INK_GOOD] = "\x1b[32m", [DEMO_INK_WARN] = "\x1b[33m", [DEMO_INK_BAD] = "\x1b[31m",
        [DEMO_INK_MAIN] = "\x1b[36m",
    };
    return screen->colour ? inks[ink] : "";
}

const char *weir_demo_bar(const struct weir_demo_screen *screen, char *text, size_t size, double share, unsigned width)
{
    static const char *const eighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉", "█"};
    share = share < 0 ? 0 : share > 1 ? 1 : share;
    unsigned units = (unsigned)(share * width * 8);
    if (units == 0 && share > 0)
        units = 1;
    if (!screen->utf8)
        units = (units + 7) / 8 * 8;
    size_t used = 0;
    text[0] = '\0';
    for (unsigned column = 0; column < width && used + 4 < size; column++) {
        unsigned here = units > column * 8 ? units - column * 8 : 0;
        const char *cell = here >= 8 ? eighths[8] : here > 0 ? eighths[here] : screen->utf8 ? "·" : ".";
        if (!screen->utf8 && here > 0)
            cell = "#";
        used += (size_t)snprintf(text + used, size - used, "%s", cell);
    }
    return text;
}

const char *weir_demo_pause_names(uint32_t pause, char *text, size_t size)
{
    static const struct {
        uint32_t bit;
        const char *name;
    } names[] = {
        {WEIR_PAUSE_WINDOW, "window"},     {WEIR_PAUSE_HELD, "held"},     {WEIR_PAUSE_USER, "user"},
        {WEIR_PAUSE_BREAKER, "breaker"},   {WEIR_PAUSE_RATE, "rate"},     {WEIR_PAUSE_REVOKE, "rebalance"},
        {WEIR_PAUSE_MAP, "map"},           {WEIR_PAUSE_DLQ, "dlq"},       {WEIR_PAUSE_MEMORY, "memory"},
        {WEIR_PAUSE_ERROR, "error"},       {WEIR_PAUSE_OUTPUT, "output"}, {WEIR_PAUSE_ESCALATED, "escalated"},
        {WEIR_PAUSE_PRIORITY, "priority"},
    };
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if ((pause & names[i].bit) && used + strlen(names[i].name) + 3 < size)
            used += (size_t)snprintf(text + used, size - used, "%s%s", used ? ", " : "", names[i].name);
    return text;
}

/* ---- a frame ---- */

__attribute__((format(printf, 2, 3))) static void put(struct weir_demo_screen *screen, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    size_t room = FRAME_SIZE - screen->used;
    int length = vsnprintf(screen->frame + screen->used, room, format, arguments);
    va_end(arguments);
    if (length > 0)
        screen->used += (size_t)length < room ? (size_t)length : room - 1;
}

static void end_line(struct weir_demo_screen *screen)
{
    put(screen, "%s%s\n", weir_demo_ink(screen, DEMO_INK_NONE), "\x1b[K");
}

/* A whole line in one ink. */
__attribute__((format(printf, 3, 4))) static void put_line(struct weir_demo_screen *screen, enum weir_demo_ink ink,
                                                           const char *format, ...)
{
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    put(screen, "%s%s", ink == DEMO_INK_NONE ? "" : weir_demo_ink(screen, ink), text);
    end_line(screen);
}

static void put_title(struct weir_demo_screen *screen, const struct weir_demo_view *view)
{
    put(screen, " %sweir demo%s  one stream of orders, two consumers%*s%5.1f s", weir_demo_ink(screen, DEMO_INK_BOLD),
        weir_demo_ink(screen, DEMO_INK_NONE), (int)screen->columns - 55, "", view->elapsed_s);
    end_line(screen);
    put_line(screen, DEMO_INK_DIM, " %s orders, %s skewed keys, %d partitions, %d ms of downstream each",
             weir_demo_number(view->plan->count).text, weir_demo_number(view->plan->keys).text, DEMO_PARTITIONS,
             DEMO_LATENCY_MS);
    end_line(screen);
}

static void put_bar(struct weir_demo_screen *screen, const char *name, enum weir_demo_ink ink, uint32_t handled,
                    double rate, const struct weir_demo_view *view)
{
    char bar[512];
    weir_demo_bar(screen, bar, sizeof bar, (double)handled / view->plan->count, screen->columns - 36);
    put(screen, " %-10s %s%s%s %9s %9s/s", name, weir_demo_ink(screen, ink), bar, weir_demo_ink(screen, DEMO_INK_NONE),
        weir_demo_number(handled).text, weir_demo_number((uint64_t)rate).text);
    end_line(screen);
}

static void put_bars(struct weir_demo_screen *screen, const struct weir_demo_view *view)
{
    put_bar(screen, "weir", DEMO_INK_MAIN, view->handled + view->given_up, view->rate, view);
    put_bar(screen, "poll loop", DEMO_INK_NONE, view->poll_handled, view->poll_rate, view);
    put_line(screen, DEMO_INK_DIM, "            %s of %s orders produced%s", weir_demo_number(view->produced).text,
             weir_demo_number(view->plan->count).text, view->joining ? "; both join their groups (3 s)" : "");
    end_line(screen);
}

/* The rates of the last frames as a curve, scaled to its highest. */
static void put_curve(struct weir_demo_screen *screen)
{
    static const char *const blocks[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    static const char marks[] = " .:-=+*#@";
    unsigned width = screen->columns - 36;
    unsigned count = screen->history_count < width ? screen->history_count : width;
    const double *rates = screen->history + screen->history_count - count;
    double highest = 1;
    for (unsigned i = 0; i < count; i++)
        highest = rates[i] > highest ? rates[i] : highest;
    put(screen, " %-10s %s", "messages/s", weir_demo_ink(screen, DEMO_INK_MAIN));
    for (unsigned i = 0; i < count; i++) {
        unsigned level = (unsigned)(rates[i] / highest * 8 + 0.5);
        if (screen->utf8)
            put(screen, "%s", blocks[level]);
        else
            put(screen, "%c", marks[level]);
    }
    put(screen, "%s%*s peak %9s/s", weir_demo_ink(screen, DEMO_INK_NONE), (int)(width - count) + 5, "",
        weir_demo_number((uint64_t)highest).text);
    end_line(screen);
}

static void put_counts(struct weir_demo_screen *screen, const struct weir_demo_view *view)
{
    const struct weir_stats *stats = &view->stats;
    put(screen, " in flight  %s%s%s keys (%s at most), %s messages, %s of them held by retries",
        weir_demo_ink(screen, DEMO_INK_BOLD), weir_demo_number(stats->key_actors).text,
        weir_demo_ink(screen, DEMO_INK_NONE), weir_demo_number(view->keys_max).text,
        weir_demo_number(stats->in_flight).text, weir_demo_number(stats->held).text);
    end_line(screen);
    put(screen, " failures   %s runs failed, %s went again, ", weir_demo_number(view->failed_runs).text,
        weir_demo_number(stats->counters.retries - stats->counters.dead_lettered).text);
    put(screen, "%s%s dead letters in %s", stats->counters.dead_lettered ? weir_demo_ink(screen, DEMO_INK_BAD) : "",
        weir_demo_number(stats->counters.dead_lettered).text, DEMO_DLQ_TOPIC);
    end_line(screen);
    end_line(screen);
}

static void put_partition(struct weir_demo_screen *screen, const struct weir_partition_stats *partition)
{
    char bar[512], names[64], lag[32] = "-";
    unsigned width = screen->columns - 62;
    weir_demo_bar(screen, bar, sizeof bar, (double)partition->in_flight / DEMO_WINDOW, width);
    if (partition->lag_messages >= 0)
        snprintf(lag, sizeof lag, "%s", weir_demo_number((uint64_t)partition->lag_messages).text);
    put(screen, " %s/%d   %s%s%s %6s %6s %6s %8s  ", DEMO_TOPIC, partition->partition,
        weir_demo_ink(screen, partition->pause ? DEMO_INK_WARN : DEMO_INK_MAIN), bar,
        weir_demo_ink(screen, DEMO_INK_NONE), weir_demo_number(partition->in_flight).text,
        weir_demo_number(partition->key_actors).text, weir_demo_number(partition->held).text, lag);
    if (!partition->assigned)
        put(screen, "%snot assigned", weir_demo_ink(screen, DEMO_INK_DIM));
    else if (partition->pause)
        put(screen, "%spaused: %s", weir_demo_ink(screen, DEMO_INK_WARN),
            weir_demo_pause_names(partition->pause, names, sizeof names));
    else
        put(screen, "%spulling", weir_demo_ink(screen, DEMO_INK_GOOD));
    end_line(screen);
}

static void put_partitions(struct weir_demo_screen *screen, const struct weir_demo_view *view)
{
    put_line(screen, DEMO_INK_DIM, " partition  %-*s %6s %6s %6s %8s  %s", (int)screen->columns - 62, "window", "msgs",
             "keys", "held", "lag", "intake");
    for (size_t i = 0; i < view->partition_count; i++)
        put_partition(screen, &view->partitions[i]);
    end_line(screen);
    if (view->notice)
        put_line(screen, DEMO_INK_WARN, " %.*s", (int)screen->columns - 2, view->notice);
    else
        put_line(screen, DEMO_INK_DIM, " window: as many in flight as allowed, fetching waits. held: too many retries");
}

static void remember(struct weir_demo_screen *screen, double rate)
{
    if (screen->history_count == HISTORY) {
        memmove(screen->history, screen->history + 1, (HISTORY - 1) * sizeof screen->history[0]);
        screen->history_count--;
    }
    screen->history[screen->history_count++] = rate;
}

static void write_all(const char *text, size_t size)
{
    while (size > 0) {
        ssize_t written = write(STDOUT_FILENO, text, size);
        if (written <= 0)
            return; /* the terminal has gone; the verdict's exit status remains */
        text += written;
        size -= (size_t)written;
    }
}

static void write_text(const char *text)
{
    write_all(text, strlen(text));
}

static void write_plain(struct weir_demo_screen *screen, const struct weir_demo_view *view)
{
    char names[64];
    if ((uint64_t)view->elapsed_s == screen->second)
        return;
    screen->second = (uint64_t)view->elapsed_s;
    printf("%3.0f s  weir %s (%s/s)  poll loop %s (%s/s)  ", view->elapsed_s,
           weir_demo_number(view->handled + view->given_up).text, weir_demo_number((uint64_t)view->rate).text,
           weir_demo_number(view->poll_handled).text, weir_demo_number((uint64_t)view->poll_rate).text);
    printf("keys in flight %s (most %s)  ", weir_demo_number(view->stats.key_actors).text,
           weir_demo_number(view->keys_max).text);
    if (view->stats.partitions_paused > 0)
        printf("paused %u of %u (%s)  ", view->stats.partitions_paused, view->stats.partitions,
               weir_demo_pause_names(view->stats.pause, names, sizeof names));
    else
        printf("paused 0 of %u  ", view->stats.partitions);
    printf("retries %s  dead letters %s\n",
           weir_demo_number(view->stats.counters.retries - view->stats.counters.dead_lettered).text,
           weir_demo_number(view->stats.counters.dead_lettered).text);
    fflush(stdout);
}

void weir_demo_screen_draw(struct weir_demo_screen *screen, const struct weir_demo_view *view)
{
    if (screen->plain) {
        write_plain(screen, view);
        return;
    }
    if (!screen->entered)
        write_text("\x1b[?1049h\x1b[?25l\x1b[?7l"); /* alternate screen, no cursor, no wrapping */
    screen->entered = true;
    screen->columns = terminal_columns();
    screen->used = 0;
    if (!view->joining)
        remember(screen, view->rate);
    put(screen, "\x1b[H");
    put_title(screen, view);
    put_bars(screen, view);
    put_curve(screen);
    put_counts(screen, view);
    put_partitions(screen, view);
    put(screen, "\x1b[J");
    write_all(screen->frame, screen->used);
}

void weir_demo_screen_leave(struct weir_demo_screen *screen)
{
    if (screen->entered)
        write_text("\x1b[?7h\x1b[?25h\x1b[?1049l");
    screen->entered = false;
}
