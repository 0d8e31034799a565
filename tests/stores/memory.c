/* The stores' memory, which fails on demand: see memory.h. */
#include "tests/stores/memory.h"
#include "stores/ids.h"
#include <stdlib.h>

static _Atomic uint64_t passes = UINT64_MAX;

void weir_stores_fail_after(uint64_t count)
{
    passes = count;
}

void *weir_store_allocate(size_t size)
{
    if (passes != UINT64_MAX && passes-- == 0) {
        passes = UINT64_MAX;
        return NULL;
    }
    return calloc(1, size);
}

void weir_store_free(void *memory)
{
    free(memory);
}
