/*
 * Fuzzer of filters: options of filters and rates, and what headers, timestamps and keys say to them. Goal: no text
 * makes a filter that is none, and no message makes one judge otherwise than is documented, wait for longer than it
 * may, or reckon beyond its numbers.
 *
 * An input is lines of NAME=VALUE, of which those of weir.filter.* and weir.rate.* are set, up to an empty line; then
 * messages of one key, each after another 100 ms: eight bytes of timestamp, a byte for the number of headers, and of
 * each the size of its name, the name, the size of its value (255: null), the value.
 */
#include "actors/consumer.h"
#include "actors/key_data.h"
#include "actors/partition.h"
#include "runtime/worker_internal.h"
#include <stdlib.h>
#include <string.h>

#define SIZE_MAX_OF_INPUT  4096
#define HEADERS_MAX        8
#define WALL_MS            1700000000000
#define STEP_MS            100
#define WAIT_MS_MAX        3600000
#define REQUIRE(condition) ((condition) ? (void)0 : abort())

__extension__ typedef __int128 wide; /* in which nothing here overflows */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- where it happens: a worker, a consumer, a partition and a key without anything else ---- */

static uint64_t time_ms;

static uint64_t now_ns(const struct weir_seam *seam)
{
    (void)seam;
    return time_ms * 1000000;
}

static int64_t wall_ms(const struct weir_seam *seam)
{
    (void)seam;
    return WALL_MS + (int64_t)time_ms;
}

static uint64_t entropy(const struct weir_seam *seam)
{
    (void)seam;
    return 1;
}

static const struct weir_seam fuzz_seam = {now_ns, wall_ms, entropy};

static struct {
    struct weir_config *config;
    struct weir_consumer consumer;
    struct weir_topic *topic;
    struct weir_partition partition;
    struct weir_key key;
    bool has_version; /* what a run of the key has had */
    int64_t version;
} scene;

static void set_line(char *line)
{
    char *value = strchr(line, '=');
    if (!value)
        return;
    *value++ = '\0';
    if (strncmp(line, "weir.filter.", 12) == 0 || strncmp(line, "weir.rate.", 10) == 0 ||
        strncmp(line, "weir.topic.", 11) == 0)
        (void)weir_config_set(scene.config, line, value, NULL);
}

/* What all inputs begin with, made once: librdkafka takes a millisecond to look at a property. */
static const struct weir_config *basis(void)
{
    static struct weir_config *config;
    if (config)
        return config;
    config = weir_config_create();
    REQUIRE(config && weir_config_set(config, "weir.topics", "orders", NULL) == 0 &&
            weir_config_set(config, "group.id", "group", NULL) == 0);
    return config;
}

/* False: the options are refused. */
static bool set_up(char *lines)
{
    static struct weir_system *system;
    if (!system)
        system = weir_system_build(1, 0, &fuzz_seam, true, NULL);
    REQUIRE(system);
    memset(&scene, 0, sizeof scene);
    time_ms = 1000;
    scene.config = weir_config_copy(basis());
    REQUIRE(scene.config);
    for (char *line; (line = strsep(&lines, "\n"));)
        set_line(line);
    if (weir_config_finish(scene.config, NULL) != 0)
        return false;
    const struct weir_options *options = weir_config_options(scene.config);
    scene.consumer.config = scene.config;
    scene.consumer.options = options;
    scene.consumer.system = system;
    weir_rate_init(&scene.consumer.rate, options->rate_messages_per_second, options->rate_burst_ms);
    scene.topic = calloc(1, sizeof *scene.topic + sizeof "orders");
    REQUIRE(scene.topic);
    strcpy(scene.topic->name, "orders");
    REQUIRE(weir_filter_create(&scene.consumer, "orders", &scene.topic->filter) == 0);
    scene.partition.consumer = &scene.consumer;
    scene.partition.topic = scene.topic;
    scene.partition.resident.home = system->workers[1];
    scene.key.partition = &scene.partition;
    scene.key.in_table = true;
    weir_worker_enter(system->workers[1]);
    return true;
}

static void tear_down(void)
{
    weir_worker_enter(NULL);
    if (scene.topic)
        weir_filter_destroy(scene.topic->filter);
    free(scene.topic);
    weir_memory_free(scene.key.data);
    weir_config_destroy(scene.config);
}

/* ---- messages ---- */

struct input {
    const uint8_t *data;
    size_t left;
};

/* NULL: there are not so many bytes any more. */
static const uint8_t *take(struct input *input, size_t size)
{
    if (input->left < size)
        return NULL;
    const uint8_t *bytes = input->data;
    input->data += size;
    input->left -= size;
    return bytes;
}

static char *take_name(struct input *input, size_t size)
{
    const uint8_t *bytes = take(input, size);
    char *name = bytes ? calloc(1, size + 1) : NULL;
    if (name)
        memcpy(name, bytes, size);
    return name;
}

static bool read_header(struct input *input, struct weir_kafka_header *header)
{
    const uint8_t *size = take(input, 1);
    char *name = size ? take_name(input, *size) : NULL;
    size = name ? take(input, 1) : NULL;
    size_t value_size = size && *size < 255 ? *size : 0;
    const uint8_t *value = size ? take(input, value_size) : NULL;
    if (!value) {
        free(name);
        return false;
    }
    *header = (struct weir_kafka_header){name, *size < 255 ? (const char *)value : NULL, value_size};
    return true;
}

/* False: there is none any more. */
static bool read_message(struct input *input, struct weir_message *message)
{
    const uint8_t *timestamp = take(input, 8), *count = timestamp ? take(input, 1) : NULL;
    if (!count)
        return false;
    size_t header_count = *count % (HEADERS_MAX + 1);
    struct weir_message_copy *copy = weir_memory_allocate(sizeof *copy + header_count * sizeof *copy->headers);
    REQUIRE(copy);
    *copy = (struct weir_message_copy){.size_bytes = 1};
    while (copy->header_count < header_count && read_header(input, &copy->headers[copy->header_count]))
        copy->header_count++;
    *message = (struct weir_message){.partition = &scene.partition,
                                     .owner = &scene.key,
                                     .key = "k",
                                     .key_size = 1,
                                     .is_copied = true,
                                     .copy = copy,
                                     .epoch = 1};
    memcpy(&message->timestamp_ms, timestamp, sizeof message->timestamp_ms);
    return true;
}

static void free_message(struct weir_message *message)
{
    for (size_t index = 0; index < message->copy->header_count; index++)
        free((char *)message->copy->headers[index].name);
    weir_message_release_content(message);
}

/* ---- what is documented ---- */

/* The last of that name; NULL: none. */
static const struct weir_kafka_header *last_header(const struct weir_message *message, const char *name, size_t size)
{
    const struct weir_kafka_header *found = NULL;
    for (size_t index = 0; index < message->copy->header_count; index++) {
        const struct weir_kafka_header *header = &message->copy->headers[index];
        if (strlen(header->name) == size && memcmp(header->name, name, size) == 0)
            found = header;
    }
    return found;
}

static bool header_is_wanted(const struct weir_options *options, const struct weir_message *message)
{
    const char *text = options->filter_header, *sign = strchr(text, '=');
    if (*text == '\0')
        return true;
    bool differs = sign[-1] == '!';
    const struct weir_kafka_header *header = last_header(message, text, (size_t)(sign - text) - differs);
    bool same = header && header->value && header->value_size == strlen(sign + 1) &&
                memcmp(header->value, sign + 1, header->value_size) == 0;
    return same != differs;
}

/* The number that a header says, if it says one. */
static bool says_number(const struct weir_message *message, const char *name, int64_t *number)
{
    const struct weir_kafka_header *header = last_header(message, name, strlen(name));
    if (!header || !header->value || header->value_size == 0 || header->value_size > 20)
        return false;
    const char *digits = header->value;
    size_t size = header->value_size;
    bool negative = digits[0] == '-';
    wide sum = 0;
    for (size_t index = negative; index < size; index++) {
        if (digits[index] < '0' || digits[index] > '9')
            return false;
        sum = sum * 10 + (digits[index] - '0');
    }
    *number = negative ? (int64_t)-sum : (int64_t)sum;
    return size > negative && sum <= INT64_MAX;
}

static bool says_version(const struct weir_options *options, const struct weir_message *message, int64_t *version)
{
    if (options->filter_version == WEIR_VERSION_NONE)
        return false;
    if (options->filter_version == WEIR_VERSION_HEADER)
        return says_number(message, options->filter_version_header, version);
    *version = message->timestamp_ms;
    return *version >= 0;
}

static bool is_old(const struct weir_options *options, const struct weir_message *message)
{
    wide age_ms = (wide)wall_ms(NULL) - message->timestamp_ms;
    return options->filter_ttl_ms > 0 && message->timestamp_ms >= 0 && age_ms > (wide)options->filter_ttl_ms;
}

static void judge(struct weir_message *message)
{
    struct weir_options options = *weir_config_options(scene.config);
    weir_config_apply(scene.config, WEIR_SCOPE_TOPIC, "orders", &options);
    enum weir_outcome outcome = WEIR_ESCALATE;
    int64_t begins_ms, version;
    bool passes = weir_filter_passes(scene.topic->filter, message, &outcome);
    bool waits = !passes && outcome == WEIR_OUTCOME_DELAYED;
    bool wanted = header_is_wanted(&options, message);
    bool early = *options.filter_not_before_header &&
                 says_number(message, options.filter_not_before_header, &begins_ms) && begins_ms > wall_ms(NULL);
    bool has_version = says_version(&options, message, &version);
    bool stale = has_version && scene.has_version && version < scene.version;
    REQUIRE(passes || waits || outcome == WEIR_SKIP || outcome == WEIR_DEAD);
    REQUIRE((message->filtered == WEIR_FILTERED_NOT) == (passes || waits));
    REQUIRE(!waits || message->delay_ms <= WAIT_MS_MAX);
    REQUIRE((message->filtered == WEIR_FILTERED_OUT) == !wanted && (wanted || outcome == WEIR_SKIP));
    REQUIRE((message->filtered == WEIR_FILTERED_EXPIRED) == (wanted && is_old(&options, message)));
    REQUIRE(!wanted || is_old(&options, message) || !early || waits);
    REQUIRE((message->filtered == WEIR_FILTERED_STALE) == (wanted && !is_old(&options, message) && !early && stale));
    bool died = !passes && outcome == WEIR_DEAD;
    REQUIRE(!died || message->filtered == WEIR_FILTERED_EXPIRED || message->filtered == WEIR_FILTERED_STALE);
    if (wanted && !is_old(&options, message) && !early && has_version && !stale) {
        scene.has_version = true; /* also if a rate lets it wait: it is judged again, and is not older than itself */
        scene.version = version;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char lines[SIZE_MAX_OF_INPUT + 1];
    if (size > SIZE_MAX_OF_INPUT)
        return -1;
    memcpy(lines, data, size);
    lines[size] = '\0';
    char *end = memmem(lines, size, "\n\n", 2);
    if (!end || memchr(lines, '\0', (size_t)(end - lines)))
        return -1;
    size_t lines_size = (size_t)(end - lines) + 2;
    *end = '\0';
    struct input input = {data + lines_size, size - lines_size};
    struct weir_message message;
    if (set_up(lines) && scene.topic->filter) {
        while (read_message(&input, &message)) {
            judge(&message);
            free_message(&message);
            time_ms += STEP_MS;
        }
    }
    tear_down();
    return 0;
}
