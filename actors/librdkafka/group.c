/*
 * Rebalances: librdkafka's REBALANCE events become ASSIGN, REVOKE and LOST, and the caller's answers become
 * (incremental_)assign and unassign.
 *
 * Thread: control.
 *
 * Invariants
 *   G1. One event is open at a time; librdkafka's event is kept until its answer, and the group stays as it is so long.
 *   G2. `assigned` is what the caller owns by its answers. Whatever ends without librdkafka asking (a fatal error, an
 *       ASSIGN answered while the group is being left) is taken back by a LOST of our own before CLOSED.
 *   G3. The answer fits the protocol the group runs: the other kind is refused by librdkafka, and the group would hang.
 *   G4. Once told to leave, librdkafka takes any answer for the last one, and ends its side of the group as soon as it
 *       has it. What waits for its main thread (assign, assignment, rebalance_protocol) may then wait for ever: the end
 *       drops questions unanswered. So nothing is asked after that answer, and an event that crossed it is dropped;
 *       what it would have taken back is LOST. An ASSIGN that crossed the order to leave is answered with nothing.
 */
#include "actors/librdkafka/client.h"
#include "runtime/log.h"
#include "runtime/memory.h"
#include <string.h>

/* ---- lists ---- */

static bool set_metadata(rd_kafka_topic_partition_t *element, const struct weir_kafka_offset *offset)
{
    if (!offset->metadata || offset->metadata_size == 0)
        return true;
    element->metadata = rd_kafka_mem_malloc(NULL, offset->metadata_size); /* the list frees it */
    if (!element->metadata)
        return false;
    memcpy(element->metadata, offset->metadata, offset->metadata_size);
    element->metadata_size = offset->metadata_size;
    return true;
}

static void set_leader_epoch(rd_kafka_topic_partition_t *element, int32_t leader_epoch)
{
#if RD_KAFKA_VERSION >= 0x020100ff
    rd_kafka_topic_partition_set_leader_epoch(element, leader_epoch);
#else
    (void)element, (void)leader_epoch;
#endif
}

static int32_t leader_epoch(const rd_kafka_topic_partition_t *element)
{
#if RD_KAFKA_VERSION >= 0x020100ff
    return rd_kafka_topic_partition_get_leader_epoch(element);
#else
    (void)element;
    return -1;
#endif
}

rd_kafka_topic_partition_list_t *weir_rdkafka_list(const struct weir_kafka_offset *offsets, size_t count,
                                                   bool with_metadata)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)count);
    for (size_t index = 0; index < count; index++) {
        rd_kafka_topic_partition_t *element =
            rd_kafka_topic_partition_list_add(list, offsets[index].topic, offsets[index].partition);
        element->offset = offsets[index].offset;
        if (!with_metadata)
            continue;
        set_leader_epoch(element, offsets[index].leader_epoch);
        if (!set_metadata(element, &offsets[index])) {
            rd_kafka_topic_partition_list_destroy(list);
            return NULL;
        }
    }
    return list;
}

static size_t metadata_sizes(const rd_kafka_topic_partition_list_t *list)
{
    size_t size = 0;
    for (int index = 0; index < list->cnt; index++)
        size += list->elems[index].metadata_size + 1;
    return size;
}

static void copy_element(struct weir_kafka_offset *offset, const rd_kafka_topic_partition_t *element)
{
    offset->topic = element->topic;
    offset->partition = element->partition;
    offset->offset = element->offset >= 0 ? element->offset : -1;
    offset->high_offset = -1;
    offset->leader_epoch = leader_epoch(element);
    offset->error = weir_rdkafka_failure(element->err);
}

/* librdkafka's metadata has no NUL of its own. Returns where the next one goes. */
static char *copy_metadata(struct weir_kafka_offset *offset, const rd_kafka_topic_partition_t *element, char *to)
{
    if (!element->metadata)
        return to;
    memcpy(to, element->metadata, element->metadata_size);
    to[element->metadata_size] = '\0';
    offset->metadata = to;
    offset->metadata_size = element->metadata_size;
    return to + element->metadata_size + 1;
}

struct weir_kafka_offset *weir_rdkafka_offsets(const rd_kafka_topic_partition_list_t *list, bool with_metadata)
{
    size_t count = (size_t)list->cnt;
    size_t size = count * sizeof(struct weir_kafka_offset) + (with_metadata ? metadata_sizes(list) : 0) + 1;
    struct weir_kafka_offset *offsets = weir_memory_allocate_zeroed(1, size);
    if (!offsets)
        return NULL;
    char *text = (char *)(offsets + count);
    for (size_t index = 0; index < count; index++) {
        copy_element(&offsets[index], &list->elems[index]);
        if (with_metadata)
            text = copy_metadata(&offsets[index], &list->elems[index], text);
    }
    return offsets;
}

/* ---- handing over ---- */

void weir_rdkafka_group_init(struct weir_rdkafka *client)
{
    client->group.assigned = rd_kafka_topic_partition_list_new(16);
}

void weir_rdkafka_group_deinit(struct weir_rdkafka *client)
{
    struct weir_rdkafka_group *group = &client->group;
    if (group->open)
        rd_kafka_event_destroy(group->open);
    if (group->waiting)
        rd_kafka_event_destroy(group->waiting);
    group->open = group->waiting = NULL;
    if (group->assigned)
        rd_kafka_topic_partition_list_destroy(group->assigned);
    group->assigned = NULL;
}

/* No rebalance is open or about to be, as far as this side has seen. */
bool weir_rdkafka_group_is_quiet(const struct weir_rdkafka *client)
{
    return !client->group.is_open && !client->group.waiting;
}

bool weir_rdkafka_is_cooperative(struct weir_rdkafka *client)
{
    const char *protocol = rd_kafka_rebalance_protocol(client->rk);
    return protocol && strcmp(protocol, "COOPERATIVE") == 0;
}

static enum weir_kafka_event_kind kind_of(struct weir_rdkafka *client, rd_kafka_event_t *event)
{
    if (rd_kafka_event_error(event) == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS)
        return WEIR_KAFKA_ASSIGN;
    return rd_kafka_assignment_lost(client->rk) ? WEIR_KAFKA_LOST : WEIR_KAFKA_REVOKE;
}

/* Open an event over `list`; false where memory is short. */
static bool open_event(struct weir_rdkafka *client, enum weir_kafka_event_kind kind,
                       const rd_kafka_topic_partition_list_t *list)
{
    struct weir_kafka_offset *offsets = weir_rdkafka_offsets(list, false);
    if (!offsets)
        return false;
    for (int index = 0; index < list->cnt; index++)
        offsets[index].offset = -1;
    client->group.is_open = true;
    client->group.open_kind = kind;
    if (kind == WEIR_KAFKA_LOST)
        weir_rdkafka_commits_lose(client);
    weir_rdkafka_emit(client, &(struct weir_kafka_event){.kind = kind,
                                                         .cooperative = client->group.is_cooperative,
                                                         .offsets = offsets,
                                                         .count = (size_t)list->cnt});
    weir_memory_free(offsets);
    return true;
}

bool weir_rdkafka_group_step(struct weir_rdkafka *client)
{
    struct weir_rdkafka_group *group = &client->group;
    rd_kafka_event_t *event = group->waiting;
    if (group->is_open || !event)
        return false;
    if (group->is_over) {
        rd_kafka_event_destroy(event);
        group->waiting = NULL;
        return false;
    }
    /* First, because the caller may answer from within its listener. */
    group->open = event;
    group->waiting = NULL;
    group->is_cooperative = weir_rdkafka_is_cooperative(client);
    if (open_event(client, kind_of(client, event), rd_kafka_event_topic_partition_list(event)))
        return true;
    group->open = NULL;
    group->waiting = event; /* once more at the next poll */
    return false;
}

/* An event that crossed the order to leave (G4); true if it needs no more. */
static bool settle(struct weir_rdkafka *client, rd_kafka_event_t *event)
{
    struct weir_rdkafka_group *group = &client->group;
    bool is_assign = rd_kafka_event_error(event) == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
    if (!client->is_leaving || (!group->is_over && !is_assign))
        return false;
    if (!group->is_over)
        rd_kafka_assign(client->rk, NULL);
    group->is_over = true;
    rd_kafka_event_destroy(event);
    return true;
}

bool weir_rdkafka_group_take(struct weir_rdkafka *client, rd_kafka_event_t *event)
{
    weir_rdkafka_commits_joined(client);
    client->group.was_assigned |= rd_kafka_event_error(event) == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
    if (settle(client, event))
        return false;
    WEIR_CHECK(!client->group.waiting); /* else librdkafka asks no second time before its answer */
    client->group.waiting = event;
    return weir_rdkafka_group_step(client);
}

bool weir_rdkafka_group_lose(struct weir_rdkafka *client)
{
    struct weir_rdkafka_group *group = &client->group;
    if (group->is_open || group->assigned->cnt == 0)
        return false;
    group->is_cooperative = false; /* all of it */
    return open_event(client, WEIR_KAFKA_LOST, group->assigned);
}

/* ---- answers ---- */

static void close_event(struct weir_rdkafka *client)
{
    struct weir_rdkafka_group *group = &client->group;
    if (group->open)
        rd_kafka_event_destroy(group->open);
    group->open = NULL;
    group->is_open = false;
    group->is_over |= client->is_leaving;
    client->phase_ns = weir_rdkafka_now_ns();
    weir_rdkafka_wake(client); /* another event may have waited for this */
}

static int refused(struct weir_rdkafka *client, const char *what, const char *words)
{
    weir_log(WEIR_LOG_ERROR, WEIR_FIELDS({"client", rd_kafka_name(client->rk)}), "%s was refused: %s", what, words);
    return WEIR_KAFKA;
}

static int result_of_error(struct weir_rdkafka *client, const char *what, rd_kafka_error_t *error)
{
    if (!error)
        return 0;
    int code = refused(client, what, rd_kafka_error_string(error));
    rd_kafka_error_destroy(error);
    return code;
}

static int result_of_code(struct weir_rdkafka *client, const char *what, rd_kafka_resp_err_t code)
{
    return code ? refused(client, what, rd_kafka_err2str(code)) : 0;
}

static void own(struct weir_rdkafka *client, const rd_kafka_topic_partition_list_t *list)
{
    for (int index = 0; index < list->cnt; index++)
        rd_kafka_topic_partition_list_add(client->group.assigned, list->elems[index].topic,
                                          list->elems[index].partition)
            ->offset = list->elems[index].offset;
}

static void disown(struct weir_rdkafka *client, const rd_kafka_topic_partition_list_t *list)
{
    for (int index = 0; index < list->cnt; index++)
        rd_kafka_topic_partition_list_del(client->group.assigned, list->elems[index].topic,
                                          list->elems[index].partition);
}

static void disown_all(struct weir_rdkafka *client)
{
    rd_kafka_topic_partition_list_destroy(client->group.assigned);
    client->group.assigned = rd_kafka_topic_partition_list_new(16);
}

/* Only what has a start is given to librdkafka: it would look for one by itself, and a seek while it asks a broker for
 * the log's end, say, is overruled by the answer that comes late. The rest is owned, and started by its seek. */
static rd_kafka_topic_partition_list_t *with_start(const rd_kafka_topic_partition_list_t *list)
{
    rd_kafka_topic_partition_list_t *some = rd_kafka_topic_partition_list_new(list->cnt);
    for (int index = 0; index < list->cnt; index++) {
        const rd_kafka_topic_partition_t *element = &list->elems[index];
        if (element->offset >= 0)
            rd_kafka_topic_partition_list_add(some, element->topic, element->partition)->offset = element->offset;
    }
    return some;
}

int weir_rdkafka_assign(struct weir_kafka *kafka, const struct weir_kafka_offset *offsets, size_t count)
{
    struct weir_rdkafka *client = weir_rdkafka_of(kafka);
    struct weir_rdkafka_group *group = &client->group;
    if (!group->is_open || group->open_kind != WEIR_KAFKA_ASSIGN)
        return WEIR_STATE;
    rd_kafka_topic_partition_list_t *list = weir_rdkafka_list(offsets, count, false);
    rd_kafka_topic_partition_list_t *some = with_start(list);
    own(client, list);
    int code = group->is_cooperative
                   ? result_of_error(client, "incremental_assign", rd_kafka_incremental_assign(client->rk, some))
                   : result_of_code(client, "assign", rd_kafka_assign(client->rk, some));
    rd_kafka_topic_partition_list_destroy(some);
    rd_kafka_topic_partition_list_destroy(list);
    close_event(client);
    return code;
}

rd_kafka_topic_partition_list_t *weir_rdkafka_started(struct weir_rdkafka *client,
                                                      const rd_kafka_topic_partition_list_t *list)
{
    rd_kafka_topic_partition_list_t *some = rd_kafka_topic_partition_list_new(list->cnt), *all = NULL;
    if (rd_kafka_assignment(client->rk, &all) != RD_KAFKA_RESP_ERR_NO_ERROR || !all)
        return some;
    for (int index = 0; index < list->cnt; index++) {
        const rd_kafka_topic_partition_t *element = &list->elems[index];
        if (rd_kafka_topic_partition_list_find(all, element->topic, element->partition))
            rd_kafka_topic_partition_list_add(some, element->topic, element->partition)->offset = element->offset;
    }
    rd_kafka_topic_partition_list_destroy(all);
    return some;
}

/* librdkafka takes back all of a list or, if one of it was never started, nothing. */
static int unassign_some(struct weir_rdkafka *client)
{
    const rd_kafka_topic_partition_list_t *list = rd_kafka_event_topic_partition_list(client->group.open);
    disown(client, list);
    rd_kafka_topic_partition_list_t *some = weir_rdkafka_started(client, list);
    int code = result_of_error(client, "incremental_unassign", rd_kafka_incremental_unassign(client->rk, some));
    rd_kafka_topic_partition_list_destroy(some);
    return code;
}

static int unassign_all(struct weir_rdkafka *client)
{
    disown_all(client);
    return result_of_code(client, "unassign", rd_kafka_assign(client->rk, NULL));
}

int weir_rdkafka_unassign(struct weir_kafka *kafka)
{
    struct weir_rdkafka *client = weir_rdkafka_of(kafka);
    struct weir_rdkafka_group *group = &client->group;
    if (!group->is_open || group->open_kind == WEIR_KAFKA_ASSIGN)
        return WEIR_STATE;
    int code = 0;
    if (!group->open)
        disown_all(client); /* a LOST of our own: librdkafka has let go long since */
    else
        code = group->is_cooperative ? unassign_some(client) : unassign_all(client);
    close_event(client);
    return code;
}
