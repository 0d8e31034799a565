/* The corpus of a fuzzer, replayed: see tests/fuzz/filter.c for what each input must show. */
#include "tests/support/replay.h"
#include "tests/support/test.h"

#define LLVMFuzzerTestOneInput fuzz_filter
#include "tests/fuzz/filter.c"

Test(filter_corpus, every_input_is_survived)
{
    cr_assert_geq(weir_replay("filter", fuzz_filter), 10);
}
