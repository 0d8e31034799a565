/*
 * `weir demo`: options, and the flow from the mock cluster to the verdict. What it shows is described in demo.h.
 *
 * The whole demo is one process on the loopback interface: a mock cluster of librdkafka, a producer, a Weir consumer
 * and a poll loop in groups of their own. It needs no configuration and leaves nothing behind.
 *
 * Order of ends: Weir is closed when every order is handled or given up; the poll loop runs on until it has had the
 * same time from its own first order; then the audit reads what the broker holds.
 *
 * Thread: main.
 */
#include "cli/demo.h"
#include <errno.h>
#include <getopt.h>
#include <librdkafka/rdkafka_mock.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define TICK_NS        20000000u
#define FRAME_TICKS    10           /* to a frame */
#define RATE_FRAMES    5            /* that a rate is taken over */
#define POLL_WAIT_NS   10000000000u /* for the poll loop after Weir has finished, at most */
#define BROKERS        3
#define PATIENCE       3 /* times the time asked for, and then some, before an unfinished run is judged as it is */
#define PATIENCE_EXTRA 30

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    interrupted = 1;
}

/* The latest line that Weir logged, for the screen. */
struct notice {
    pthread_mutex_t lock;
    bool print; /* plain: to standard error at once */
    char text[160];
};

struct demo {
    struct weir_demo_options options;
    struct weir_demo_plan plan;
    struct weir_demo_ledger ledger;
    struct weir_demo_load load;
    struct weir_demo_poll poll;
    struct weir_demo_audit audit;
    struct weir_demo_weir *weir;
    struct weir_demo_screen *screen;
    struct notice notice;
    rd_kafka_t *host; /* the client that the mock cluster lives in */
    rd_kafka_mock_cluster_t *cluster;
    uint64_t begin_ns, keys_max;                                    /* most keys in flight so far */
    uint32_t handled_at[RATE_FRAMES + 1], poll_at[RATE_FRAMES + 1]; /* by frame, a ring */
    uint64_t drawn_at_ns[RATE_FRAMES + 1];
    unsigned frame;
};

static void on_log(void *user, enum weir_log_level level, const char *text, const struct weir_log_field *fields,
                   size_t field_count)
{
    struct notice *notice = user;
    pthread_mutex_lock(&notice->lock);
    snprintf(notice->text, sizeof notice->text, "%s", text);
    if (notice->print)
        fprintf(stderr, "weir: %s\n", text);
    pthread_mutex_unlock(&notice->lock);
}

/* ---- options ---- */

static void print_help(FILE *file)
{
    fputs("Usage: weir demo [OPTIONS]\n"
          "\n"
          "Sends a stream of orders through Weir and, beside it, through a plain poll loop, on an embedded mock\n"
          "cluster, and shows both live. Some orders fail and are retried, a few always fail and become dead\n"
          "letters. Ends with a verdict: nothing lost, every key in order. Needs no Kafka and no configuration.\n"
          "\n"
          "  --seconds N    length of the run, about (10..600, default 20)\n"
          "  --messages N   orders to produce (10..200000, default: what fits the seconds and the hottest key)\n"
          "  --keys N       customers, whose orders come in order (1..1000000, default 5000)\n"
          "  --seed N       draws keys and failures (default 1)\n"
          "  --plain        a line a second instead of a screen\n"
          "  --help         this text\n"
          "\n"
          "Exit status: 0 the verdict holds, 1 it does not, 2 bad usage.\n",
          file);
}

/* A number in its range; false after saying what is wrong. */
static bool parse_number(const char *name, const char *text, uint64_t min, uint64_t max, uint64_t *number)
{
    char *end;
    errno = 0;
    *number = strtoull(text, &end, 10);
    if (errno == 0 && end != text && *end == '\0' && text[0] != '-' && *number >= min && *number <= max)
        return true;
    fprintf(stderr, "weir demo: --%s=%s: must be %llu..%llu\n", name, text, (unsigned long long)min,
            (unsigned long long)max);
    return false;
}

/* 0: go on. 1: help was asked for. 2: bad usage, which has been said. */
static int parse(struct weir_demo_options *options, int argc, char **argv)
{
    static const struct option known[] = {
        {"seconds", required_argument, NULL, 's'},
        {"messages", required_argument, NULL, 'm'},
        {"keys", required_argument, NULL, 'k'},
        {"seed", required_argument, NULL, 'e'},
        {"plain", no_argument, NULL, 'p'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    static const struct {
        char letter;
        const char *name;
        uint64_t min, max;
    } ranges[] = {{'s', "seconds", 10, 600},
                  {'m', "messages", 10, 200000},
                  {'k', "keys", 1, 1000000},
                  {'e', "seed", 0, UINT64_MAX}};
    *options = (struct weir_demo_options){.seconds = 20, .keys = 5000, .seed = 1};
    optind = 0; /* the caller may have used getopt before: 0 makes glibc's begin anew */
    for (int letter; (letter = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        uint64_t number = 0;
        for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++)
            if (ranges[i].letter == letter &&
                !parse_number(ranges[i].name, optarg, ranges[i].min, ranges[i].max, &number))
                return 2;
        switch (letter) {
        case 's':
            options->seconds = (uint32_t)number;
            break;
        case 'm':
            options->messages = (uint32_t)number;
            break;
        case 'k':
            options->keys = (uint32_t)number;
            break;
        case 'e':
            options->seed = number;
            break;
        case 'p':
            options->plain = true;
            break;
        case 'h':
            print_help(stdout);
            return 1;
        default:
            fputs("Try: weir demo --help\n", stderr);
            return 2;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "weir demo: unexpected argument: %s\nTry: weir demo --help\n", argv[optind]);
        return 2;
    }
    return 0;
}

/* ---- the cluster ---- */

static const char *start_cluster(struct demo *demo, struct weir_error *error)
{
    error->code = WEIR_KAFKA;
    rd_kafka_conf_t *conf = weir_demo_client("127.0.0.1:1"); /* of no use: the host talks to nobody */
    demo->host = conf ? rd_kafka_new(RD_KAFKA_PRODUCER, conf, error->text, sizeof error->text) : NULL;
    if (!demo->host) {
        if (conf)
            rd_kafka_conf_destroy(conf);
        return NULL;
    }
    demo->cluster = rd_kafka_mock_cluster_new(demo->host, BROKERS);
    if (!demo->cluster ||
        rd_kafka_mock_topic_create(demo->cluster, DEMO_TOPIC, DEMO_PARTITIONS, 1) != RD_KAFKA_RESP_ERR_NO_ERROR ||
        rd_kafka_mock_topic_create(demo->cluster, DEMO_DLQ_TOPIC, DEMO_DLQ_PARTITIONS, 1) !=
            RD_KAFKA_RESP_ERR_NO_ERROR) {
        snprintf(error->text, sizeof error->text, "librdkafka's mock cluster could not be started on 127.0.0.1");
        return NULL;
    }
    return rd_kafka_mock_cluster_bootstraps(demo->cluster);
}

static void stop_cluster(struct demo *demo)
{
    if (demo->cluster)
        rd_kafka_mock_cluster_destroy(demo->cluster);
    if (demo->host)
        rd_kafka_destroy(demo->host);
}

/* ---- the run ---- */

/* Fill in the rates from the frames before. */
static void take_rates(struct demo *demo, struct weir_demo_view *view)
{
    unsigned now = demo->frame % (RATE_FRAMES + 1);
    unsigned then = demo->frame < RATE_FRAMES ? 0 : (demo->frame + 1) % (RATE_FRAMES + 1);
    demo->handled_at[now] = view->handled + view->given_up;
    demo->poll_at[now] = view->poll_handled;
    demo->drawn_at_ns[now] = weir_demo_now_ns();
    double seconds = (double)(demo->drawn_at_ns[now] - demo->drawn_at_ns[then]) / 1e9;
    if (seconds > 0) {
        view->rate = (demo->handled_at[now] - demo->handled_at[then]) / seconds;
        view->poll_rate = (demo->poll_at[now] - demo->poll_at[then]) / seconds;
    }
    demo->frame++;
}

/* Between frames too: a rush comes and goes in less than one. */
static void sample(struct demo *demo, struct weir_stats *stats)
{
    weir_consumer_stats(weir_demo_weir_consumer(demo->weir), stats, sizeof *stats);
    if (stats->key_actors > demo->keys_max)
        demo->keys_max = stats->key_actors;
}

static int by_partition(const void *a, const void *b)
{
    const struct weir_partition_stats *left = a, *right = b;
    return (left->partition > right->partition) - (left->partition < right->partition);
}

static void draw(struct demo *demo)
{
    const struct weir_consumer *consumer = weir_demo_weir_consumer(demo->weir);
    struct weir_demo_view view = {
        .plan = &demo->plan,
        .elapsed_s = (double)(weir_demo_now_ns() - demo->begin_ns) / 1e9,
        .produced = atomic_load_explicit(&demo->load.acknowledged, memory_order_relaxed),
        .handled = atomic_load_explicit(&demo->ledger.handled, memory_order_relaxed),
        .given_up = atomic_load_explicit(&demo->ledger.given_up, memory_order_relaxed),
        .failed_runs = atomic_load_explicit(&demo->ledger.failed_runs, memory_order_relaxed),
        .poll_handled = atomic_load_explicit(&demo->poll.handled, memory_order_relaxed),
        .joining = atomic_load_explicit(&demo->ledger.first_ns, memory_order_relaxed) == 0,
    };
    sample(demo, &view.stats);
    view.keys_max = demo->keys_max;
    view.partition_count =
        weir_consumer_partition_stats(consumer, view.partitions, sizeof view.partitions[0], DEMO_PARTITIONS);
    if (view.partition_count > DEMO_PARTITIONS)
        view.partition_count = DEMO_PARTITIONS;
    qsort(view.partitions, view.partition_count, sizeof view.partitions[0], by_partition);
    take_rates(demo, &view);
    pthread_mutex_lock(&demo->notice.lock); /* held while drawing: the text must not change under it */
    view.notice = demo->notice.text[0] ? demo->notice.text : NULL;
    weir_demo_screen_draw(demo->screen, &view);
    pthread_mutex_unlock(&demo->notice.lock);
}

static bool all_over(const struct demo *demo)
{
    uint32_t over = atomic_load_explicit(&demo->ledger.handled, memory_order_relaxed) +
                    atomic_load_explicit(&demo->ledger.given_up, memory_order_relaxed);
    bool produced = atomic_load_explicit(&demo->load.done, memory_order_acquire); /* pairs with the release of run */
    return produced && over >= atomic_load_explicit(&demo->load.acknowledged, memory_order_relaxed);
}

/* Has the poll loop had as long as Weir took? It may have joined later, but is not waited for endlessly. */
static bool poll_had_its_time(const struct demo *demo)
{
    uint64_t now_ns = weir_demo_now_ns(), last_ns = atomic_load_explicit(&demo->ledger.last_ns, memory_order_relaxed);
    uint64_t weir_ns = last_ns - atomic_load_explicit(&demo->ledger.first_ns, memory_order_relaxed);
    uint64_t first_ns = atomic_load_explicit(&demo->poll.first_ns, memory_order_relaxed);
    return (first_ns && now_ns - first_ns >= weir_ns) || now_ns - last_ns >= POLL_WAIT_NS;
}

/* Draw until all is over, on both sides, or patience ends. */
static void watch(struct demo *demo)
{
    uint64_t tick_ns = demo->begin_ns;
    unsigned tick = 0;
    uint64_t deadline_ns = demo->begin_ns + (uint64_t)(demo->options.seconds * PATIENCE + PATIENCE_EXTRA) * 1000000000u;
    while (!interrupted && tick_ns < deadline_ns && !(all_over(demo) && poll_had_its_time(demo))) {
        struct weir_stats stats;
        if (tick++ % FRAME_TICKS == 0)
            draw(demo);
        else
            sample(demo, &stats);
        weir_demo_sleep_until_ns(tick_ns += TICK_NS);
    }
    draw(demo);
}

/* Start all parts; what has been started is ended by end(). */
static int begin(struct demo *demo, const char **bootstrap, struct weir_error *error)
{
    int code = weir_demo_plan_init(&demo->plan, &demo->options, error);
    if (!code)
        code = weir_demo_ledger_init(&demo->ledger, &demo->plan, error);
    if (code)
        return code;
    *bootstrap = start_cluster(demo, error);
    if (!*bootstrap)
        return error->code;
    demo->load =
        (struct weir_demo_load){.plan = &demo->plan, .bootstrap = *bootstrap, .first_ns = &demo->ledger.first_ns};
    demo->poll = (struct weir_demo_poll){.plan = &demo->plan, .bootstrap = *bootstrap};
    demo->begin_ns = weir_demo_now_ns();
    code = weir_demo_load_start(&demo->load, error);
    if (!code)
        code = weir_demo_poll_start(&demo->poll, error);
    if (!code) {
        demo->weir = weir_demo_weir_start(*bootstrap, &demo->ledger, error);
        code = demo->weir ? 0 : error->code;
    }
    return code;
}

static void end(struct demo *demo)
{
    weir_demo_screen_destroy(demo->screen);
    weir_demo_load_join(&demo->load);
    weir_demo_poll_join(&demo->poll);
    free((void *)demo->poll.done_ns);
    stop_cluster(demo);
    weir_demo_ledger_deinit(&demo->ledger);
    weir_demo_plan_deinit(&demo->plan);
}

static bool run(struct demo *demo, const char *bootstrap)
{
    struct weir_error error = {0};
    watch(demo);
    weir_demo_load_join(&demo->load);
    weir_demo_poll_join(&demo->poll);
    weir_demo_screen_leave(demo->screen);
    int close_code = weir_demo_weir_stop(demo->weir, &error);
    weir_demo_audit_run(&demo->audit, bootstrap, &demo->ledger);
    struct weir_demo_case matter = {
        .plan = &demo->plan,
        .ledger = &demo->ledger,
        .load = &demo->load,
        .poll = &demo->poll,
        .audit = &demo->audit,
        .screen = demo->screen,
        .close_code = close_code,
        .close_text = error.text,
        .interrupted = interrupted != 0,
    };
    return weir_demo_verdict(&matter);
}

int weir_cli_demo(int argc, char **argv)
{
    static struct demo demo; /* large, and there is one */
    struct weir_error error = {0};
    const char *bootstrap = NULL;
    int usage = parse(&demo.options, argc, argv);
    if (usage)
        return usage == 1 ? 0 : 2;
    demo.screen = weir_demo_screen_create(demo.options.plain);
    if (!demo.screen || pthread_mutex_init(&demo.notice.lock, NULL) != 0) {
        fputs("weir demo: memory is too short\n", stderr);
        return 1;
    }
    demo.notice.print = demo.options.plain || !weir_demo_screen_is_live(demo.screen);
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    weir_log_set(on_log, &demo.notice, WEIR_LOG_WARN);
    bool holds = false;
    if (begin(&demo, &bootstrap, &error) == 0)
        holds = run(&demo, bootstrap);
    else
        fprintf(stderr, "weir demo: %s\n", error.text);
    end(&demo);
    return holds ? 0 : 1;
}
