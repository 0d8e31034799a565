/*
 * Replay of a fuzzer's corpus as a unit test, so that what a fuzzer once found stays found in every build.
 *
 * A test includes the fuzzer's source with its entry renamed, and names the folder under tests/fuzz/corpus:
 *
 *     #define LLVMFuzzerTestOneInput fuzz_map
 *     #include "tests/fuzz/map.c"
 *     Test(map_corpus, every_input_is_survived) { cr_assert_geq(weir_replay("map", fuzz_map), 10); }
 */
#ifndef WEIR_TESTS_REPLAY_H
#define WEIR_TESTS_REPLAY_H

#include <stddef.h>
#include <stdint.h>

/* Run each file of the corpus through `one`. Returns how many there were; aborts with a sentence where one cannot be
 * read. Each input lies in memory of its exact size, so that a sanitizer sees reads beyond it. */
unsigned weir_replay(const char *corpus, int (*one)(const uint8_t *data, size_t size));

#endif
