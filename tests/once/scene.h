/*
 * Exactly once, on a real Kafka: members of a group in processes of their own that emit one output a message, what is
 * done to them, and the ledger of what readers of committed messages see in the end.
 *
 * Nothing here returns an error: what fails, fails the test. Thread: the test's own.
 */
#ifndef WEIR_TESTS_ONCE_SCENE_H
#define WEIR_TESTS_ONCE_SCENE_H

#include "tests/broker/stage.h"

enum { WEIR_ONCE_MEMBERS_MAX = 8, WEIR_ONCE_PARTITIONS = 6 };

struct weir_once {
    const char *scene; /* its name, for the line at the end */
    struct weir_stage stage;
    struct weir_broker_name outputs;
    char letters[128];
    struct weir_member members[WEIR_ONCE_MEMBERS_MAX];
    uint64_t kills, stops, inside, starts, restarts, leaves; /* what was done; inside: stopped in a transaction */
    const char *instance;                                    /* prefix of group.instance.id; NULL: dynamic members */
    bool is_kip848;                                          /* group.protocol=consumer */
    const char *window;                                      /* weir.window.messages.max; NULL: the default */
    uint64_t work_us;                                        /* of a run, at full pace */
};

/* What is to be seen of all messages. */
struct weir_once_ledger {
    uint64_t outputs, letters;   /* records */
    uint64_t duplicates, losses; /* messages seen twice or more; not at all */
    uint64_t disorder;           /* outputs that come after a later one of their key */
    uint64_t hidden;             /* of outputs and letters, those that were committed behind a transaction that timed
                                    out after the members had ended */
    uint64_t aborted;            /* outputs in the log that no reader of committed messages sees */
    uint64_t refused, fenced; /* requests of transactions that members were refused; producers that failed for good */
    int64_t committed;        /* offsets, over all partitions */
};

/** Topics, and `messages` of `keys` keys. work_us: of a run; dead_every: one in so many messages dies, 0 none. */
void weir_once_set(struct weir_once *once, const char *scene, uint64_t messages, unsigned keys, uint64_t work_us,
                   uint64_t dead_every);
void weir_once_clear(struct weir_once *once);

/* Each fails the test where all is done already: then it would disturb nothing. */
void weir_once_start(struct weir_once *once, unsigned member);
void weir_once_kill(struct weir_once *once, unsigned member);  /* kill -9 */
void weir_once_leave(struct weir_once *once, unsigned member); /* SIGTERM, and wait */
/** SIGSTOP in the middle of a transaction: one that its outputs, and perhaps its offsets, are in, and that stays open.
 */
void weir_once_stop_in_transaction(struct weir_once *once, unsigned member);
/** Does one stay open that was before? Takes half a second. */
bool weir_once_transaction_stays(const struct weir_once *once);
void weir_once_continue(struct weir_once *once, unsigned member);
void weir_once_restart_broker(struct weir_once *once, unsigned down_ms);

/** Wait until `share` percent of all offsets are committed. The members then work at a tenth of their pace until the
 *  next wait, so that what is done meanwhile finds them at work, however long it takes. */
void weir_once_await(struct weir_once *once, unsigned share);
/** Wait until the group has committed everything; end the members; read and judge: no duplicate, no loss. */
struct weir_once_ledger weir_once_judge(struct weir_once *once);

#endif
