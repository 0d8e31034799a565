/*
 * Batches: rows are inserted many at a time, as a database likes it. Here the table is a file, and an insert one write
 * and one fsync, which take as long for a hundred rows as for one.
 *
 * All messages of a batch share the insert's fate, by what the handler returns: WEIR_ACK when the rows are on the disk,
 * WEIR_RETRY when they are not, and then all come again. What is no row is said by name with weir_batch_set() and goes
 * to the dead letter queue, without holding up those beside it. An insert blocks, so handlers have threads of their
 * own. After a crash rows may be inserted again: each has topic, partition and offset, by which a table can tell.
 */
#include "common.h"
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ROW_SIZE_MAX = 512 };

struct table {
    pthread_mutex_t lock;
    FILE *file;                         /* under lock */
    unsigned long inserts, rows, fails; /* under lock */
};

/* Append the row of a message to `text`. Its size, or 0 where the message is none. */
static size_t write_row(char *text, const struct weir_message *message)
{
    size_t key_size = weir_message_key_size(message), value_size = weir_message_value_size(message);
    if (!weir_message_value(message) || value_size == 0 || key_size + value_size > ROW_SIZE_MAX / 2 ||
        memchr(weir_message_value(message), '\n', value_size))
        return 0;
    return (size_t)snprintf(text, ROW_SIZE_MAX, "%" PRId32 ",%" PRId64 ",%.*s,%.*s\n", weir_message_partition(message),
                            weir_message_offset(message), (int)key_size, (const char *)weir_message_key(message),
                            (int)value_size, (const char *)weir_message_value(message));
}

/* All rows or none: what was written in part is taken back. */
static int insert(struct table *table, const char *text, size_t size, unsigned long rows)
{
    pthread_mutex_lock(&table->lock);
    long end = ftell(table->file);
    int done = end >= 0 && fwrite(text, 1, size, table->file) == size && fflush(table->file) == 0 &&
               fsync(fileno(table->file)) == 0;
    if (done) {
        table->inserts++;
        table->rows += rows;
    } else {
        table->fails++;
        clearerr(table->file);
        if (end >= 0 && fseek(table->file, end, SEEK_SET) == 0 && ftruncate(fileno(table->file), end) != 0)
            perror("table");
    }
    pthread_mutex_unlock(&table->lock);
    return done ? 0 : -1;
}

static enum weir_outcome on_rows(struct weir_batch *batch, void *user)
{
    size_t count = weir_batch_count(batch), size = 0;
    unsigned long rows = 0;
    char *text = malloc(count * ROW_SIZE_MAX);
    if (!text)
        return WEIR_OVERLOADED;
    for (size_t index = 0; index < count; index++) {
        struct weir_message *message = weir_batch_message(batch, index);
        size_t row_size = write_row(text + size, message);
        if (row_size == 0)
            weir_batch_set(batch, index, weir_dead(message, "not a row"));
        size += row_size;
        rows += row_size > 0;
    }
    int result = rows == 0 ? 0 : insert(user, text, size, rows);
    free(text);
    return result == 0 ? WEIR_ACK : WEIR_RETRY;
}

int main(int argc, char **argv)
{
    static const char *const settings[][2] = {{"weir.blocking.threads", "2"},
                                              {"weir.batch.scope", "any"},
                                              {"weir.batch.messages.max", "100"},
                                              {"weir.batch.linger.ms", "50"},
                                              {NULL, NULL}};
    static struct table table = {.lock = PTHREAD_MUTEX_INITIALIZER};
    const char *path = "";
    const struct example_option options[] = {{"file", "where rows are appended (a temporary file)", &path}, {0}};
    const struct example example = {
        .name = "batch", .about = "Insert messages many at a time.", .settings = settings, .options = options};
    struct weir_config *config = example_configure(argc, argv, &example);
    table.file = *path ? fopen(path, "a+") : tmpfile();
    if (!table.file) {
        perror(*path ? path : "a temporary file");
        weir_config_destroy(config);
        return 1;
    }
    int status = example_run_batches(config, on_rows, &table);
    printf("%lu rows by %lu inserts, %lu inserts failed\n", table.rows, table.inserts, table.fails);
    if (fclose(table.file) != 0)
        status = 1;
    weir_config_destroy(config);
    return status;
}
