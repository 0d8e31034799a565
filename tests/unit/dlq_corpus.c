/* The corpus of a fuzzer, replayed: see tests/fuzz/dlq.c for what each input must show. */
#include "tests/support/replay.h"
#include "tests/support/test.h"

#define LLVMFuzzerTestOneInput fuzz_dlq
#include "tests/fuzz/dlq.c"

Test(dlq_corpus, every_input_is_survived)
{
    cr_assert_geq(weir_replay("dlq", fuzz_dlq), 12);
}
