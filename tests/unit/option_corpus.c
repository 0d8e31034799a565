/* The corpus of a fuzzer, replayed: see tests/fuzz/option.c for what each input must show. */
#include "tests/support/replay.h"
#include "tests/support/test.h"

#define LLVMFuzzerTestOneInput fuzz_option
#include "tests/fuzz/option.c"

Test(option_corpus, every_input_is_survived)
{
    cr_assert_geq(weir_replay("option", fuzz_option), 40);
}
