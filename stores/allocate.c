/* Where the stores' memory comes from: see keep.h. */
#include "stores/keep.h"
#include <stdlib.h>

void *weir_store_allocate(size_t size)
{
    return calloc(1, size);
}

void weir_store_free(void *memory)
{
    free(memory);
}
