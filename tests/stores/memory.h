/* Let the next `count` allocations of the stores pass and the one after fail, once. Thread: the test's own. */
#ifndef WEIR_TESTS_STORES_MEMORY_H
#define WEIR_TESTS_STORES_MEMORY_H

#include <stdint.h>

void weir_stores_fail_after(uint64_t count);

#endif
