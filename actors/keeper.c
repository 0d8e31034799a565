/* The keeper: see keeper.h. Thread: control for what asks and tells, the keeper's own for the rest. */
#include "actors/keeper.h"
#include "actors/consumer.h"
#include "actors/partition.h"
#include "runtime/check.h"
#include "runtime/log.h"
#include <signal.h>
#include <string.h>

#define LOG_NS 1000000000ull

/* What is to be said of one partition, taken out of its places. */
struct errand {
    struct weir_partition *partition;
    bool asks, tells;
    struct weir_partition_news question, floor;
};

static struct weir_keeper *keeper_of(struct weir_partition *partition)
{
    return &partition->consumer->keeper;
}

static struct weir_partition_news news_of(struct weir_partition *partition, enum weir_partition_event event,
                                          uint64_t epoch, int64_t offset)
{
    return (struct weir_partition_news){.event = event,
                                        .group = partition->consumer->group,
                                        .topic = partition->topic->name,
                                        .partition = partition->number,
                                        .epoch = epoch,
                                        .offset = offset,
                                        .stood = -1};
}

/* ---- the queue, under the lock ---- */

static void enqueue(struct weir_keeper *keeper, struct weir_partition *partition)
{
    if (partition->kept.queued)
        return;
    partition->kept.queued = true;
    partition->kept.next = NULL;
    if (keeper->last)
        keeper->last->kept.next = partition;
    else
        keeper->first = partition;
    keeper->last = partition;
    pthread_cond_signal(&keeper->changed);
}

static bool dequeue(struct weir_keeper *keeper, struct errand *errand)
{
    struct weir_partition *partition = keeper->first;
    if (!partition)
        return false;
    struct weir_kept *kept = &partition->kept;
    keeper->first = kept->next;
    if (!keeper->first)
        keeper->last = NULL;
    *errand = (struct errand){.partition = partition,
                              .asks = kept->asks && !keeper->stopping,
                              .tells = kept->tells,
                              .question = news_of(partition, kept->event, kept->epoch, kept->offset),
                              .floor = news_of(partition, WEIR_PARTITION_FLOOR, kept->floor_epoch, kept->floor)};
    errand->question.stood = kept->stood;
    kept->queued = kept->asks = kept->tells = false;
    return true;
}

/* ---- the callback ---- */

static bool log_is_due(struct weir_keeper *keeper)
{
    const struct weir_seam *seam = keeper->consumer->seam;
    uint64_t now_ns = seam->now_ns(seam);
    pthread_mutex_lock(&keeper->lock);
    bool due = keeper->logged_ns == 0 || now_ns - keeper->logged_ns >= LOG_NS;
    if (due)
        keeper->logged_ns = now_ns;
    pthread_mutex_unlock(&keeper->lock);
    return due;
}

static int call(struct weir_keeper *keeper, struct errand *errand, struct weir_partition_news *news)
{
    static const char *const what[] = {"is not consumed yet, asked again in a second", "does not begin again yet",
                                       "goes on; its next floor says more"};
    struct weir_error error = {0};
    enum weir_partition_event event = news->event;
    int result = keeper->callback(news, keeper->user, &error);
    if (result > 0 && (result != WEIR_PARTITION_MOVED || event != WEIR_PARTITION_TAKEN || news->offset < 0))
        result =
            weir_error_set(&error, WEIR_INVALID,
                           "the callback of weir_consumer_on_partition() answered %d with offset %lld: must be 0, a "
                           "code, or to TAKEN WEIR_PARTITION_MOVED with an offset from 0",
                           result, (long long)news->offset);
    if (result >= 0 || !log_is_due(keeper))
        return result;
    char number[16];
    struct weir_log_field fields[2];
    weir_log(WEIR_LOG_WARN, weir_partition_fields(errand->partition, number, fields), 2, "%s: %s; the partition %s",
             weir_code_name(result), error.text, what[event]);
    return result;
}

static void answer(struct weir_keeper *keeper, struct errand *errand, int result)
{
    struct weir_kept *kept = &errand->partition->kept;
    pthread_mutex_lock(&keeper->lock);
    if (!kept->asks && kept->epoch == errand->question.epoch) { /* K3: nothing newer was asked meanwhile */
        kept->answers = true;
        kept->result = result;
        kept->offset = errand->question.offset;
    }
    pthread_mutex_unlock(&keeper->lock);
    weir_resident_notify(&keeper->consumer->control.resident);
}

static void run(struct weir_keeper *keeper, struct errand *errand)
{
    if (errand->tells) /* K2 */
        call(keeper, errand, &errand->floor);
    if (errand->asks)
        answer(keeper, errand, call(keeper, errand, &errand->question));
}

static void *work(void *argument)
{
    struct weir_keeper *keeper = argument;
    struct errand errand;
    pthread_mutex_lock(&keeper->lock);
    while (true) {
        if (dequeue(keeper, &errand)) {
            pthread_mutex_unlock(&keeper->lock);
            run(keeper, &errand);
            pthread_mutex_lock(&keeper->lock);
        } else if (keeper->stopping) {
            break;
        } else {
            pthread_cond_wait(&keeper->changed, &keeper->lock);
        }
    }
    pthread_mutex_unlock(&keeper->lock);
    return NULL;
}

/* ---- for control ---- */

/* Without a thread: here and now. */
static void serve(struct weir_keeper *keeper)
{
    struct errand errand;
    while (!keeper->threaded) {
        pthread_mutex_lock(&keeper->lock);
        bool found = dequeue(keeper, &errand);
        pthread_mutex_unlock(&keeper->lock);
        if (!found)
            return;
        run(keeper, &errand);
    }
}

void weir_keeper_ask(struct weir_partition *partition, uint64_t epoch, int64_t offset, int64_t stood)
{
    struct weir_keeper *keeper = keeper_of(partition);
    struct weir_kept *kept = &partition->kept;
    pthread_mutex_lock(&keeper->lock);
    kept->event = stood >= 0 ? WEIR_PARTITION_RESET : WEIR_PARTITION_TAKEN;
    kept->epoch = epoch;
    kept->offset = offset;
    kept->stood = stood;
    kept->asks = true;
    kept->answers = false;
    enqueue(keeper, partition);
    pthread_mutex_unlock(&keeper->lock);
    serve(keeper);
}

void weir_keeper_forget(struct weir_partition *partition)
{
    struct weir_keeper *keeper = keeper_of(partition);
    pthread_mutex_lock(&keeper->lock);
    partition->kept.asks = partition->kept.answers =
        false; /* its place in the queue may stay: there is nothing in it */
    pthread_mutex_unlock(&keeper->lock);
}

bool weir_keeper_answer(struct weir_partition *partition, uint64_t epoch, int *result, int64_t *offset)
{
    struct weir_keeper *keeper = keeper_of(partition);
    struct weir_kept *kept = &partition->kept;
    pthread_mutex_lock(&keeper->lock);
    bool answered = kept->answers && kept->epoch == epoch;
    if (answered) {
        kept->answers = false;
        *result = kept->result;
        *offset = kept->offset;
    }
    pthread_mutex_unlock(&keeper->lock);
    return answered;
}

void weir_keeper_begin(struct weir_partition *partition, uint64_t epoch, int64_t position)
{
    struct weir_keeper *keeper = keeper_of(partition);
    pthread_mutex_lock(&keeper->lock);
    partition->kept.floor_epoch = epoch;
    partition->kept.floor = position;
    pthread_mutex_unlock(&keeper->lock);
}

void weir_keeper_remind(struct weir_partition *partition, uint64_t epoch)
{
    struct weir_keeper *keeper = keeper_of(partition);
    pthread_mutex_lock(&keeper->lock);
    bool is_present = partition->kept.floor_epoch == epoch;
    if (is_present) {
        partition->kept.tells = true;
        enqueue(keeper, partition);
    }
    pthread_mutex_unlock(&keeper->lock);
    if (is_present)
        serve(keeper);
}

void weir_keeper_tell(struct weir_partition *partition, uint64_t epoch, int64_t floor)
{
    struct weir_keeper *keeper = keeper_of(partition);
    struct weir_kept *kept = &partition->kept;
    if (!weir_keeper_is_on(keeper))
        return;
    pthread_mutex_lock(&keeper->lock);
    bool is_new = kept->floor_epoch == epoch && kept->floor < floor;
    if (is_new) {
        kept->floor = floor;
        kept->tells = true;
        enqueue(keeper, partition);
    }
    pthread_mutex_unlock(&keeper->lock);
    if (is_new)
        serve(keeper);
}

/* ---- life ---- */

void weir_keeper_init(struct weir_keeper *keeper, struct weir_consumer *consumer)
{
    *keeper = (struct weir_keeper){.consumer = consumer};
    pthread_mutex_init(&keeper->lock, NULL);
    pthread_cond_init(&keeper->changed, NULL);
}

void weir_keeper_deinit(struct weir_keeper *keeper)
{
    weir_keeper_stop(keeper);
    pthread_cond_destroy(&keeper->changed);
    pthread_mutex_destroy(&keeper->lock);
}

int weir_keeper_start(struct weir_keeper *keeper, bool threaded, struct weir_error *error)
{
    if (!weir_keeper_is_on(keeper) || !threaded)
        return 0;
    keeper->stopping = false;
    sigset_t all, before; /* signals are for the program's own threads */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int code = pthread_create(&keeper->thread, NULL, work, keeper);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (code != 0)
        return weir_error_set(error, WEIR_SYSTEM, "the thread for weir_consumer_on_partition(): %s", strerror(code));
    keeper->threaded = true;
    return 0;
}

void weir_keeper_stop(struct weir_keeper *keeper)
{
    if (!keeper->threaded)
        return;
    pthread_mutex_lock(&keeper->lock);
    keeper->stopping = true;
    pthread_cond_signal(&keeper->changed);
    pthread_mutex_unlock(&keeper->lock);
    pthread_join(keeper->thread, NULL);
    keeper->threaded = false;
}

bool weir_keeper_is_current(struct weir_keeper *keeper)
{
    return keeper->threaded && pthread_equal(keeper->thread, pthread_self());
}
