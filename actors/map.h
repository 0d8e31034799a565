/*
 * The map: what a commit says beside its offset. Which offsets from the floor up to `end` are not finished, as text
 * that fits into Kafka's commit metadata. See docs/architecture.md, "The map".
 *
 * A map must prove that it belongs to this log: mirroring tools copy metadata while they translate offsets, and topics
 * are recreated under their old name. It carries the floor it was written for, a hash of the cluster id and topic, the
 * highest leader epoch seen, and a witness: offset and checksum of the lowest finished message above the floor.
 *
 * Format (version 1): "weir1:" and base64 (RFC 4648, no padding) of a binary body whose layout stands at the top of
 * map.c, with a CRC-32C over all before it. A decoder accepts nothing else, and nothing longer than
 * WEIR_MAP_SIZE_MAX: it comes from outside.
 *
 * Encoding is incremental and bounded: offsets are offered from the floor up; what does not fit in size_max is left out
 * from the top, `end` then lies before it. That can only cause redelivery.
 */
#ifndef WEIR_ACTORS_MAP_H
#define WEIR_ACTORS_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <weir/error.h>

#define WEIR_MAP_SIZE_MAX  65536  /* of the text */
#define WEIR_MAP_COUNT_MAX 262144 /* unfinished offsets that one map lists: bounds what a reader allocates (4 MiB) */

/* Identity of the log that a map belongs to. */
struct weir_map_log {
    uint64_t cluster_hash; /* weir_map_cluster_hash(); 0: unknown */
    int32_t leader_epoch;  /* highest seen; -1: unknown. Carried for the reader to judge, not compared here */
};

struct weir_map_witness {
    int64_t offset; /* -1: none (no message above the floor is finished) */
    uint32_t checksum;
};

/* ---- encode ---- */

struct weir_map_offset {
    int64_t offset;    /* an unfinished one */
    uint16_t attempts; /* runs so far; kept when it fits */
};

/**
 * Write a map.
 *
 * unfinished:  strictly ascending, all >= floor; the first is the floor unless all is finished.
 * next:        one past the last offset that the list speaks about; next >= floor.
 * witness:     NULL or offset -1: none. One that is not finished, or not above the floor, proves nothing, and no map is
 *              written; nor is one that would have to end before it, which speaks of holes only.
 * text:        gets the map, NUL-terminated, at most size_max - 1 characters; size_max 0..WEIR_MAP_SIZE_MAX.
 * end:         gets how far it speaks: offsets >= end are "not pulled" to a reader.
 *
 * Returns the text's length; 0 (and an empty text, *end = floor) when there is nothing to say (no gap) or nothing fits.
 * Ownership: borrows.    Blocks: never.    Allocates: nothing.
 */
size_t weir_map_encode(int64_t floor, int64_t next, const struct weir_map_offset *unfinished, size_t count,
                       const struct weir_map_log *log, const struct weir_map_witness *witness, char *text,
                       size_t size_max, int64_t *end);

/* ---- decode ---- */

enum weir_map_verdict {
    WEIR_MAP_VALID = 0,
    WEIR_MAP_NONE,     /* empty metadata */
    WEIR_MAP_FOREIGN,  /* not ours: does not begin with our mark */
    WEIR_MAP_DAMAGED,  /* CRC, length or structure */
    WEIR_MAP_VERSION,  /* ours, from a later version */
    WEIR_MAP_MISPLACED /* ours and whole, but for another floor or another cluster */
};

struct weir_map {
    int64_t floor, end; /* speaks about [floor, end) */
    struct weir_map_witness witness;
    struct weir_map_log log;
    struct weir_map_offset *unfinished; /* ascending; owned */
    size_t count;
};

/**
 * Read a map that came with the committed offset `floor`.
 *
 * Returns a verdict (>= 0; `map` is filled in only for WEIR_MAP_VALID) or WEIR_NO_MEMORY. A cluster hash of 0 on either
 * side matches any.
 * Ownership: weir_map_deinit() frees a valid one.
 */
int weir_map_decode(const char *text, size_t size, int64_t floor, const struct weir_map_log *log, struct weir_map *map);
void weir_map_deinit(struct weir_map *map);

/** Is `offset`, within [floor, end), finished? O(log count). */
bool weir_map_is_finished(const struct weir_map *map, int64_t offset);
/** Attempts so far of an unfinished one; 0 when not known. */
uint16_t weir_map_attempts(const struct weir_map *map, int64_t offset);

const char *weir_map_verdict_name(int verdict);

/** Checksum of a message for the witness: xxh3 of what does not depend on its offset: key, value (first 1 KiB), their
 *  sizes, time; null and empty differ. */
uint32_t weir_map_checksum(const void *key, size_t key_size, const void *value, size_t value_size,
                           int64_t timestamp_ms);
/** Identity hash: xxh3 of the topic's name, seeded with that of the cluster id; 0 only when cluster_id is NULL. */
uint64_t weir_map_cluster_hash(const char *cluster_id, const char *topic);

#endif
