/*
 * What a store knows of the partitions that its process has taken: under which epoch of the database, for which
 * assignment. Written by the keeper's thread, read by every handler.
 *
 * Invariants
 *   C1. A claim is of one assignment: messages of another find none.
 *   C2. `floor` is what the database said at the take: marks below it may have been pruned, so messages below it are
 *       done. Marks at or above it have not been, as only who has the database's present epoch prunes.
 *   C3. Once the database shows another epoch the claim has lapsed. It is made anew, by the keeper's thread, if the
 *       assignment is still reminded of: then somebody who did not know better has taken the partition in between.
 *
 * Bound: one entry for each partition that the process has ever been assigned.
 */
#ifndef WEIR_STORES_CLAIMS_H
#define WEIR_STORES_CLAIMS_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <weir/error.h>
#include <weir/message.h>

#define WEIR_CLAIM_BUCKETS 64

struct weir_claim {
    uint64_t assignment; /* weir_message_epoch(); 0: none */
    int64_t id, epoch;   /* the database's */
    int64_t floor;       /* -1: none */
    int64_t told;        /* the floor that was written last; keeper's */
    bool lapsed;
};

struct weir_claims {
    pthread_mutex_t lock;
    struct weir_claim_entry *buckets[WEIR_CLAIM_BUCKETS];
};

void weir_claims_init(struct weir_claims *claims);
void weir_claims_deinit(struct weir_claims *claims);
/** Put or replace. False: no memory. */
bool weir_claims_put(struct weir_claims *claims, const char *topic, int32_t partition, const struct weir_claim *claim);
/** The claim of this assignment; false: there is none. */
bool weir_claims_find(struct weir_claims *claims, const char *topic, int32_t partition, uint64_t assignment,
                      struct weir_claim *claim);
/** Its floor has been written. */
void weir_claims_told(struct weir_claims *claims, const char *topic, int32_t partition, int64_t epoch, int64_t floor);
/** The database shows another epoch than `epoch`. */
void weir_claims_lapse(struct weir_claims *claims, const char *topic, int32_t partition, int64_t epoch);

/**
 * What a mark begins with: the message's claim. WEIR_MARK_NEW, and the database is to be asked; WEIR_MARK_DONE where it
 * need not be; or WEIR_STALE with `error`.
 */
int weir_claims_look(struct weir_claims *claims, const struct weir_message *message, struct weir_claim *claim,
                     struct weir_error *error);
/** What it ends with, when the database has shown another epoch. */
int weir_claims_refuse(struct weir_claims *claims, const struct weir_message *message, const struct weir_claim *claim,
                       int64_t epoch, struct weir_error *error);

#endif
