/* The corpus of a fuzzer, replayed: see tests/fuzz/statistics.c for what each input must show. */
#include "tests/support/replay.h"
#include "tests/support/test.h"

#define LLVMFuzzerTestOneInput fuzz_statistics
#include "tests/fuzz/statistics.c"

Test(statistics_corpus, every_input_is_survived)
{
    cr_assert_geq(weir_replay("statistics", fuzz_statistics), 5);
}
