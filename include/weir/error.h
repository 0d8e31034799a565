/*
 * Errors: one code for the program, one sentence for the person.
 *
 * Functions return 0 for success, a negative code for a fault. A function that takes `struct weir_error *` fills in
 * the sentence: what failed, the value seen, the limit and the remedy. The pointer may be NULL.
 */
#ifndef WEIR_ERROR_H
#define WEIR_ERROR_H

#include <weir/export.h>

#ifdef __cplusplus
extern "C" {
#endif

/** What went wrong, for the program. */
enum weir_code {
    WEIR_OK = 0,
    WEIR_INVALID = -1,    /* an argument, option or file is wrong; the sentence says which and what is allowed */
    WEIR_NO_MEMORY = -2,  /* an allocation failed; nothing was changed */
    WEIR_STALE = -3,      /* the handle was finished before, or its partition has left this process */
    WEIR_STATE = -4,      /* the call does not fit the state of the object (started twice, not started) */
    WEIR_KAFKA = -5,      /* librdkafka refused; the sentence carries its words */
    WEIR_SYSTEM = -6,     /* the operating system refused; the sentence carries its words */
    WEIR_UNFINISHED = -7, /* closed, but messages remained that never finished; the sentence counts them */
    WEIR_FULL = -8,       /* a bounded queue has no place; try again later */
    WEIR_ESCALATED = -9,  /* a handler stopped the consumer; the sentence carries its reason */
};

/** Bytes of a sentence, its NUL included. */
#define WEIR_ERROR_TEXT_SIZE 512

/** The error of one call, in the caller's memory. After a success it is as it was. */
struct weir_error {
    enum weir_code code;             /* what the function returned, or would have */
    char text[WEIR_ERROR_TEXT_SIZE]; /* UTF-8, one sentence, NUL-terminated, never a secret */
};

/**
 * The name of a code, such as "WEIR_STALE".
 *
 * Ownership: static.    Thread: any.    Errors: an unknown code gives "WEIR_UNKNOWN".
 */
WEIR_EXPORT const char *weir_code_name(int code);

#ifdef __cplusplus
}
#endif
#endif
