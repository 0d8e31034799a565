/* The corpus of a fuzzer, replayed: see tests/fuzz/wire.c for what each input must show. */
#include "tests/support/replay.h"
#include "tests/support/test.h"

#define LLVMFuzzerTestOneInput fuzz_wire
#include "tests/fuzz/wire.c"

Test(wire_corpus, every_input_is_survived)
{
    cr_assert_geq(weir_replay("wire", fuzz_wire), 6);
}
