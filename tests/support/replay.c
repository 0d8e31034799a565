/* Replay of a fuzzer's corpus: see replay.h. */
#include "tests/support/replay.h"
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

static _Noreturn void give_up(const char *what, const char *path)
{
    fprintf(stderr, "replay: %s %s\n", what, path);
    abort();
}

static void run_file(const char *path, int (*one)(const uint8_t *data, size_t size))
{
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END) != 0)
        give_up("cannot open", path);
    long size = ftell(file);
    uint8_t *data = size < 0 ? NULL : malloc(size > 0 ? (size_t)size : 1);
    rewind(file);
    if (!data || fread(data, 1, (size_t)size, file) != (size_t)size)
        give_up("cannot read", path);
    fclose(file);
    one(data, (size_t)size);
    free(data);
}

unsigned weir_replay(const char *corpus, int (*one)(const uint8_t *data, size_t size))
{
    char folder[2048], path[4096];
    snprintf(folder, sizeof folder, "%s/fuzz/corpus/%s", WEIR_TESTS_FOLDER, corpus);
    DIR *directory = opendir(folder);
    if (!directory)
        give_up("cannot list", folder);
    unsigned count = 0;
    for (struct dirent *entry; (entry = readdir(directory));) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        run_file(path, one);
        count++;
    }
    closedir(directory);
    return count;
}
