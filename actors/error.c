/*
 * Errors: the codes in one table, and the one place where sentences are written.
 *
 * Thread: any. A sentence is one line without control characters; one that is too long is cut between characters.
 */
#include "actors/config/config.h"
#include "runtime/check.h"
#include <stdarg.h>
#include <string.h>

struct entry {
    int code;
    const char *name, *meaning, *remedy;
};

#define ENTRY(code, meaning, remedy) \
    {                                \
        code, #code, meaning, remedy \
    }

static const struct entry ENTRIES[] = {
    ENTRY(WEIR_OK, "Success.", ""),
    ENTRY(WEIR_INVALID, "An argument, an option or a configuration file is wrong.",
          "The sentence names it, the value seen and what is allowed. Correct it; trying again changes nothing."),
    ENTRY(WEIR_NO_MEMORY, "An allocation failed. Nothing was changed.",
          "Free memory, or lower weir.memory.bytes.max, and call again."),
    ENTRY(WEIR_STALE, "The handle was finished before, passed its deadline, or its partition has left this process.",
          "Nothing to do: the message is handled elsewhere, or was already. Count it if it is frequent."),
    ENTRY(WEIR_STATE, "The call does not fit the state of the object, such as a second start.",
          "Call in the order create, start, close, destroy."),
    ENTRY(WEIR_KAFKA, "librdkafka refused, or its client has failed for good; the sentence carries its words.",
          "Correct what it names. After a fatal error destroy the consumer and create a new one."),
    ENTRY(WEIR_SYSTEM, "The operating system refused; the sentence carries its words.",
          "Check what it names: a file's permissions, the limit of threads or of open files."),
    ENTRY(WEIR_UNFINISHED,
          "The consumer is closed, but messages remained that never finished; the sentence counts them.",
          "They will be delivered again. Raise weir.close.drain.ms.max if handlers need longer."),
    ENTRY(WEIR_FULL, "A bounded queue has no place.", "Try again later."),
    ENTRY(WEIR_ESCALATED, "A handler stopped the consumer by weir_escalate(); the sentence carries its reason.",
          "Remove the cause, then start a new consumer: the message that it stopped at runs again."),
};

const char *weir_code_name(int code)
{
    for (size_t index = 0; index < WEIR_COUNT(ENTRIES); index++)
        if (ENTRIES[index].code == code)
            return ENTRIES[index].name;
    return "WEIR_UNKNOWN";
}

void weir_error_write_markdown(FILE *file)
{
    fputs(
        "# Errors\n\n<!-- Written by `weir docs errors` from the table in actors/error.c; do not edit. -->\n\n"
        "Functions return 0 for success and a negative code for a fault. Those that take a `struct weir_error *` also\n"
        "fill in one sentence for people: what failed, the value seen, the limit and the remedy. The sentence never\n"
        "holds a secret. `weir_code_name()` gives the name of a code.\n\n"
        "| code | name | meaning | what to do |\n|---|---|---|---|\n",
        file);
    for (size_t index = 0; index < WEIR_COUNT(ENTRIES); index++)
        fprintf(file, "| %d | `%s` | %s | %s |\n", ENTRIES[index].code, ENTRIES[index].name, ENTRIES[index].meaning,
                ENTRIES[index].remedy);
}

/* Bytes of the character that begins with this one. */
static size_t character_size(unsigned char first)
{
    return first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : first >= 0xC0 ? 2 : 1;
}

void weir_error_cut(char *text)
{
    size_t end = strlen(text), start = end;
    while (start > 0 && end - start < 3 && ((unsigned char)text[start - 1] & 0xC0) == 0x80)
        start--;
    if (start > 0 && start - 1 + character_size((unsigned char)text[start - 1]) > end)
        text[start - 1] = '\0';
}

/* Values that a sentence quotes come from outside: they shall not break its line or colour a terminal. */
static void replace_controls(char *text)
{
    for (; *text != '\0'; text++)
        if ((unsigned char)*text < ' ' || *text == 0x7f)
            *text = '?';
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
        weir_error_cut(text);
    replace_controls(text);
    error->code = code;
    memcpy(error->text, text, strlen(text) + 1);
    return code;
}
