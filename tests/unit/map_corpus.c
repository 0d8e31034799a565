/* The map fuzzer's corpus, replayed: see tests/fuzz/map.c for what each input must show. */
#include "tests/support/replay.h"
#include "tests/support/test.h"

#define LLVMFuzzerTestOneInput fuzz_map
#include "tests/fuzz/map.c"

Test(map_corpus, every_input_is_survived)
{
    cr_assert_geq(weir_replay("map", fuzz_map), 17);
}
