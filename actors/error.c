/*
 * Errors: the names of the codes and the one place where sentences are written.
 *
 * Thread: any. A sentence that is too long is cut at a character's start, so that it stays UTF-8.
 */
#include "actors/config.h"
#include <stdarg.h>
#include <string.h>

const char *weir_code_name(int code)
{
    switch (code) {
    case WEIR_OK:
        return "WEIR_OK";
    case WEIR_INVALID:
        return "WEIR_INVALID";
    case WEIR_NO_MEMORY:
        return "WEIR_NO_MEMORY";
    case WEIR_STALE:
        return "WEIR_STALE";
    case WEIR_STATE:
        return "WEIR_STATE";
    case WEIR_KAFKA:
        return "WEIR_KAFKA";
    case WEIR_SYSTEM:
        return "WEIR_SYSTEM";
    case WEIR_UNFINISHED:
        return "WEIR_UNFINISHED";
    case WEIR_FULL:
        return "WEIR_FULL";
    }
    return "WEIR_UNKNOWN";
}

static bool is_continuation(char byte)
{
    return ((unsigned char)byte & 0xC0) == 0x80;
}

/* Cut a text of `size` bytes (room included) so that no character is left in half. */
static void cut(char *text, size_t size)
{
    size_t end = size - 1;
    while (end > 0 && is_continuation(text[end - 1]))
        end--;
    if (end > 0 && ((unsigned char)text[end - 1] & 0x80))
        end--;
    text[end] = '\0';
}

int weir_error_set(struct weir_error *error, enum weir_code code, const char *format, ...)
{
    if (!error)
        return code;
    /* The arguments may point into the text that is replaced. */
    char text[sizeof error->text];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (length < 0)
        text[0] = '\0';
    else if ((size_t)length >= sizeof text)
        cut(text, sizeof text);
    error->code = code;
    memcpy(error->text, text, strlen(text) + 1);
    return code;
}
