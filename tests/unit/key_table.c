/*
 * The table of a partition's keys: keys are told apart by their bytes, whatever their hashes; null is not empty; what
 * is taken out is gone, and only that, also after the table has grown.
 */
#include "actors/key.h"
#include "tests/support/test.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT 1000

static struct weir_key keys[COUNT];
static struct weir_message messages[COUNT];
static char texts[COUNT][16];

static struct weir_key *insert(struct weir_key_table *table, unsigned index, uint64_t hash, const void *bytes,
                               size_t size)
{
    messages[index] = (struct weir_message){.offset = index, .key = bytes, .key_size = size};
    keys[index] = (struct weir_key){.hash = hash};
    weir_key_append(&keys[index], &messages[index]);
    weir_key_table_insert(table, &keys[index]);
    return &keys[index];
}

Test(key_table, tells_keys_of_one_hash_apart_by_their_bytes)
{
    struct weir_key_table table;
    cr_assert_eq(weir_key_table_init(&table), 0);
    struct weir_key *apple = insert(&table, 0, 7, "apple", 5), *pear = insert(&table, 1, 7, "pear", 4);
    struct weir_key *app = insert(&table, 2, 7, "app", 3), *empty = insert(&table, 3, 7, "", 0);
    cr_assert_eq(weir_key_table_find(&table, 7, "apple", 5), apple);
    cr_assert_eq(weir_key_table_find(&table, 7, "pear", 4), pear);
    cr_assert_eq(weir_key_table_find(&table, 7, "app", 3), app);
    cr_assert_eq(weir_key_table_find(&table, 7, "", 0), empty);
    cr_assert_null(weir_key_table_find(&table, 7, NULL, 0));
    cr_assert_null(weir_key_table_find(&table, 7, "plum", 4));
    struct weir_key *all[] = {pear, apple, empty, app};
    for (size_t index = 0; index < 4; index++)
        weir_key_table_remove(&table, all[index]);
    weir_key_table_deinit(&table);
}

Test(key_table, finds_a_key_without_messages_by_the_bytes_of_its_data)
{
    static struct weir_key idle;
    struct weir_key_data *data = malloc(sizeof *data + 5);
    struct weir_key_table table;
    cr_assert(data && weir_key_table_init(&table) == 0);
    *data = (struct weir_key_data){.key_size = 5};
    memcpy(data->key_bytes, "apple", 5);
    idle = (struct weir_key){.hash = 7, .data = data};
    weir_key_table_insert(&table, &idle);
    cr_assert_eq(weir_key_table_find(&table, 7, "apple", 5), &idle);
    cr_assert_null(weir_key_table_find(&table, 7, "apply", 5));
    cr_assert_null(weir_key_table_find(&table, 7, "appl", 4));
    cr_assert_null(weir_key_table_find(&table, 7, NULL, 0));
    weir_key_table_remove(&table, &idle);
    weir_key_table_deinit(&table);
    free(data);
}

Test(key_table, finds_all_but_what_was_taken_out_however_many_there_are)
{
    struct weir_key_table table;
    cr_assert_eq(weir_key_table_init(&table), 0);
    for (unsigned index = 0; index < COUNT; index++) {
        int size = snprintf(texts[index], sizeof texts[index], "key-%u", index);
        insert(&table, index, weir_key_hash(texts[index], (size_t)size), texts[index], (size_t)size);
    }
    for (unsigned index = 0; index < COUNT; index += 3)
        weir_key_table_remove(&table, &keys[index]);
    for (unsigned index = 0; index < COUNT; index++) {
        size_t size = strlen(texts[index]);
        struct weir_key *found = weir_key_table_find(&table, weir_key_hash(texts[index], size), texts[index], size);
        cr_assert_eq(found, index % 3 == 0 ? NULL : &keys[index], "key-%u", index);
    }
    for (unsigned index = 0; index < COUNT; index++) {
        if (index % 3 != 0)
            weir_key_table_remove(&table, &keys[index]);
    }
    weir_key_table_deinit(&table);
}
