/*
 * The headers that a dead letter carries: one table of names, profiles and values (dlq_headers.c), and the walks over
 * it that dlq.c needs. docs/dlq.md describes the formats.
 */
#ifndef WEIR_ACTORS_DLQ_HEADERS_H
#define WEIR_ACTORS_DLQ_HEADERS_H

#include "actors/dlq.h"

/* Longest value made from a number or time. */
#define WEIR_DLQ_SCRATCH_SIZE 32

/* Cut to this, at a character's boundary: reasons, host, application. */
#define WEIR_DLQ_TEXT_SIZE_MAX 255

/* What a value is made from. */
struct weir_dlq_facts {
    const struct weir_dlq_source *source;
    enum weir_dlq_profile profile;
    bool stripped;
    uint64_t original_headers_size; /* names and values, of all the original headers */
};

/* One value: borrowed from the source, a constant, or lying in `scratch`. */
struct weir_dlq_value {
    const void *data; /* NULL: this letter has no such header */
    size_t size;
    uint8_t scratch[WEIR_DLQ_SCRATCH_SIZE];
};

/** Number of rows in the table. */
size_t weir_dlq_header_rows(void);

/** Row `row`: its name (static) and value; NULL where the profile does not have it, or this letter. */
const char *weir_dlq_header_row(size_t row, const struct weir_dlq_facts *facts, struct weir_dlq_value *value);

/** Would an original header of that name be an older one of ours: of this profile, or under weir.dlq.? */
bool weir_dlq_header_is_ours(const char *name, enum weir_dlq_profile profile);

#endif
