/*
 * Configuration files, read with inih.
 *
 * Thread: any, one at a time a configuration.
 *
 *     ; a comment stands on a line of its own and begins with ';' or '#'
 *     [kafka]
 *     sasl.password = with ; and # and = in it
 *
 * Invariants
 *   1. inih says which section and name a line has; the value is taken from the line as it stands in the file. So
 *      neither inih's line buffer (200 characters in common builds) nor its comments behind a value can cut one short.
 *   2. White space around names and values does not count, nor does it in front of a line: a value never goes on in
 *      the next line.
 *   3. The first error ends the reading, and its sentence begins with file and line.
 */
#include "actors/config/table.h"
#include "runtime/memory.h"
#include <ctype.h>
#include <errno.h>
#include <ini.h>
#include <stdlib.h>
#include <string.h>

struct seen {
    struct seen *next;
    unsigned line;
    char name[]; /* as given to weir_config_set */
};

struct loading {
    struct weir_config *config;
    struct weir_error *error;
    FILE *file;
    const char *path;
    char *text; /* the current line, getline's */
    size_t text_capacity;
    unsigned line;
    bool in_section;
    int code; /* the first error's */
    struct seen *seen;
};

static int fail(struct loading *loading, enum weir_code code, const char *sentence)
{
    if (loading->code == 0)
        loading->code = weir_error_set(loading->error, code, "%s:%u: %s", loading->path, loading->line, sentence);
    return loading->code;
}

/* ---- lines ---- */

static char *skip_blanks(char *text)
{
    while (isspace((unsigned char)*text))
        text++;
    return text;
}

static void strip_end(char *text)
{
    size_t length = strlen(text);
    while (length > 0 && isspace((unsigned char)text[length - 1]))
        text[--length] = '\0';
}

/* A line that opens a section is looked at here, because inih tells of a section only with its first name. */
static void check_section(struct loading *loading, const char *line)
{
    size_t size = strcspn(line, "]");
    bool known = (size == 6 && strncmp(line, "[kafka", 6) == 0) || (size == 5 && strncmp(line, "[weir", 5) == 0);
    char shown[64], sentence[128];
    if (line[size] == '\0') {
        fail(loading, WEIR_INVALID, "a section has no closing ]");
    } else if (!known) {
        snprintf(sentence, sizeof sentence, "%s is no section: there are [kafka] and [weir]",
                 weir_config_show(line, shown, sizeof shown));
        fail(loading, WEIR_INVALID, sentence);
    }
    loading->in_section = true;
}

/* What can be wrong with a line before inih sees it. */
static void check_line(struct loading *loading, char *line, size_t size, size_t buffer_size)
{
    if (strlen(loading->text) != size) {
        fail(loading, WEIR_INVALID, "the line holds a NUL byte");
        return;
    }
    if (*line == '\0' || *line == ';' || *line == '#')
        return;
    if (*line == '[')
        check_section(loading, line);
    else if (!loading->in_section)
        fail(loading, WEIR_INVALID, "a setting stands before any section: begin with [kafka] or [weir]");
    else if (strcspn(line, "=:") >= buffer_size - 2)
        fail(loading, WEIR_INVALID,
             line[strcspn(line, "=:")] == '\0' ? "expected name = value" : "the name is too long");
}

/* inih's fgets: the next line, as much of it as there is room for, and always a whole one. NULL ends the reading. */
static char *read_line(char *buffer, int buffer_size, void *stream)
{
    struct loading *loading = stream;
    if (loading->code != 0)
        return NULL;
    errno = 0;
    ssize_t size = getline(&loading->text, &loading->text_capacity, loading->file);
    if (size < 0) {
        if (!feof(loading->file))
            fail(loading, errno == ENOMEM ? WEIR_NO_MEMORY : WEIR_SYSTEM, strerror(errno));
        return NULL;
    }
    loading->line++;
    char *line = skip_blanks(loading->text);
    if (loading->line == 1 && strncmp(line, "\xEF\xBB\xBF", 3) == 0)
        line = skip_blanks(line + 3);
    check_line(loading, line, (size_t)size, (size_t)buffer_size);
    if (loading->code != 0)
        return NULL;
    strip_end(line);
    memmove(loading->text, line, strlen(line) + 1);
    snprintf(buffer, (size_t)buffer_size - 1, "%s", loading->text);
    strcat(buffer, "\n");
    return buffer;
}

/* ---- settings ---- */

static bool remember(struct loading *loading, const char *name)
{
    char sentence[192], shown[96];
    for (const struct seen *seen = loading->seen; seen; seen = seen->next) {
        if (strcmp(seen->name, name) == 0) {
            snprintf(sentence, sizeof sentence, "%s is set a second time, first in line %u",
                     weir_config_show(name, shown, sizeof shown), seen->line);
            fail(loading, WEIR_INVALID, sentence);
            return false;
        }
    }
    struct seen *seen = weir_memory_allocate(sizeof *seen + strlen(name) + 1);
    if (!seen) {
        fail(loading, WEIR_NO_MEMORY, "out of memory");
        return false;
    }
    seen->next = loading->seen;
    seen->line = loading->line;
    strcpy(seen->name, name);
    loading->seen = seen;
    return true;
}

static void forget(struct loading *loading)
{
    while (loading->seen) {
        struct seen *seen = loading->seen;
        loading->seen = seen->next;
        weir_memory_free(seen);
    }
}

/* Sections keep the two worlds apart, so a name with the prefix is a mistake worth its own words. */
static bool is_misnamed(struct loading *loading, bool weir_section, const char *name)
{
    if (name[0] == '\0')
        fail(loading, WEIR_INVALID, "expected name = value");
    else if (strncmp(name, WEIR_OPTION_PREFIX, WEIR_OPTION_PREFIX_SIZE) == 0)
        fail(loading, WEIR_INVALID,
             weir_section ? "names under [weir] are written without \"weir.\""
                          : "Weir's options belong under [weir], without \"weir.\"");
    return loading->code != 0;
}

/* The value as it stands in the file; the separator is there, inih has seen it. */
static char *value_of(struct loading *loading)
{
    char *separator = strpbrk(loading->text, "=:");
    return skip_blanks(separator + 1);
}

static int on_setting(void *user, const char *section, const char *name, const char *value)
{
    (void)value; /* see invariant 1 */
    struct loading *loading = user;
    bool weir_section = strcmp(section, "weir") == 0;
    char full[128];
    if (loading->code != 0 || is_misnamed(loading, weir_section, name))
        return 0;
    snprintf(full, sizeof full, "%s%s", weir_section ? WEIR_OPTION_PREFIX : "", name);
    if (!remember(loading, full))
        return 0;
    struct weir_error error;
    int code = weir_config_set(loading->config, full, value_of(loading), &error);
    if (code != 0)
        fail(loading, code, error.text);
    return code == 0;
}

static void parse(struct loading *loading)
{
    int result = ini_parse_stream(read_line, loading, on_setting, loading);
    if (loading->code != 0 || result == 0)
        return;
    if (result < 0) {
        fail(loading, WEIR_NO_MEMORY, "out of memory");
        return;
    }
    loading->line = (unsigned)result;
    fail(loading, WEIR_INVALID, "expected name = value");
}

int weir_config_load(struct weir_config *config, const char *path, struct weir_error *error)
{
    if (!config || !path)
        return weir_error_set(error, WEIR_INVALID, "weir_config_load: %s is NULL", config ? "path" : "config");
    FILE *file = fopen(path, "re");
    if (!file)
        return weir_error_set(error, WEIR_SYSTEM, "%s: %s", path, strerror(errno));
    struct loading loading = {.config = config, .error = error, .file = file, .path = path};
    parse(&loading);
    forget(&loading);
    if (loading.text)
        explicit_bzero(loading.text, loading.text_capacity);
    free(loading.text);
    fclose(file);
    return loading.code;
}
