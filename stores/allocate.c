/* Where the stores' memory comes from: see ids.h. */
#include "stores/ids.h"
#include <stdlib.h>

void *weir_store_allocate(size_t size)
{
    return calloc(1, size);
}

void weir_store_free(void *memory)
{
    free(memory);
}
