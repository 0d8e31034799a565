/*
 * The chaos harness's verdict on batches must fail when it should: each test plants one fault into a run that holds.
 * All messages are of partition 3 and of keys a (even offsets) and b.
 */
#include "tests/unit/chaos_play.h"

static struct weir_ledger_record *batch_start(struct play *play, uint32_t batch, int64_t offset)
{
    struct weir_ledger_record *record = put(play, WEIR_LEDGER_START, A, offset, 1, 0);
    record->number = batch;
    return record;
}

static struct weir_ledger_record *batch_end(struct play *play, uint32_t batch, int64_t offset, unsigned outcome)
{
    struct weir_ledger_record *record = put(play, WEIR_LEDGER_END, A, offset, 1, outcome);
    record->number = batch;
    return record;
}

static void batch_of(struct play *play, uint32_t batch, const int64_t *offsets, const unsigned *outcomes, size_t count)
{
    for (size_t index = 0; index < count; index++)
        batch_start(play, batch, offsets[index]);
    for (size_t index = 0; index < count; index++)
        batch_end(play, batch, offsets[index], outcomes ? outcomes[index] : WEIR_ACK);
}

#define BATCH(play, number, outcomes, ...)                           \
    batch_of(play, number, (const int64_t[]){__VA_ARGS__}, outcomes, \
             sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t))
#define OUTCOMES(...) ((const unsigned[]){__VA_ARGS__})

static void begin_batches(struct play *play, enum weir_chaos_scope scope)
{
    begin(play);
    play->terms.batches = scope;
    emit_all(play);
}

Test(chaos_batches, that_fail_partly_and_go_again_with_what_came_hold)
{
    struct play play;
    begin_batches(&play, WEIR_SCOPE_PARTITION);
    BATCH(&play, 1, OUTCOMES(WEIR_RETRY, WEIR_ACK, WEIR_ACK), 0, 2, 1);
    BATCH(&play, 2, NULL, 0, 4, 3, 5);
    conclude(&play);
    must_hold(&play);
    cr_assert_eq(play.result.seen.batches, 2u);
    cr_assert_eq(play.result.seen.batches_of_many, 2u);
    cr_assert_eq(play.result.seen.batches_partly, 1u);
    cr_assert_eq(play.result.seen.batch_messages_max, 4u);
    cr_assert_eq(play.result.seen.batches_of_partitions, 0u);
    cr_assert_eq(play.result.overlaps + play.result.out_of_order + play.result.duplicates, 0u);
}

Test(chaos_batches, one_that_straddles_assignments_fails)
{
    struct play play;
    begin_batches(&play, WEIR_SCOPE_PARTITION);
    batch_start(&play, 1, 0);
    batch_start(&play, 1, 1)->note = 2;
    batch_end(&play, 1, 0, WEIR_ACK);
    batch_end(&play, 1, 1, WEIR_ACK)->note = 2;
    BATCH(&play, 2, NULL, 2, 4, 3, 5);
    conclude(&play);
    must_fail(&play, "straddles assignments");
}

Test(chaos_batches, one_of_other_keys_or_partitions_than_its_scope_allows_fails)
{
    struct play play;
    begin_batches(&play, WEIR_SCOPE_KEY);
    BATCH(&play, 1, NULL, 0, 2, 4);
    BATCH(&play, 2, NULL, 1, 3, 5);
    conclude(&play);
    must_hold(&play);
    begin_batches(&play, WEIR_SCOPE_KEY);
    BATCH(&play, 1, NULL, 0, 2, 4, 1, 3, 5);
    conclude(&play);
    must_fail(&play, "beyond its scope");
    begin_batches(&play, WEIR_SCOPE_PARTITION);
    play.terms.messages++;
    put(&play, WEIR_LEDGER_EMIT, 1, 0, 0, 0)->partition = 4;
    batch_start(&play, 1, 0);
    batch_start(&play, 1, 0)->partition = 4;
    batch_end(&play, 1, 0, WEIR_ACK);
    batch_end(&play, 1, 0, WEIR_ACK)->partition = 4;
    BATCH(&play, 2, NULL, 1, 2, 3, 4, 5);
    conclude(&play);
    must_fail(&play, "beyond its scope");
}

Test(chaos_batches, a_key_that_lies_in_one_out_of_order_or_in_pieces_fails)
{
    struct play play;
    begin_batches(&play, WEIR_SCOPE_PARTITION);
    BATCH(&play, 1, NULL, 2, 0, 4, 1, 3, 5);
    conclude(&play);
    must_fail(&play, "lies behind");
    begin_batches(&play, WEIR_SCOPE_PARTITION);
    BATCH(&play, 1, NULL, 0, 1, 2, 4, 3, 5);
    conclude(&play);
    must_fail(&play, "do not lie side by side");
}

Test(chaos_batches, a_key_in_two_at_a_time_fails)
{
    struct play play;
    begin_batches(&play, WEIR_SCOPE_PARTITION);
    batch_start(&play, 1, 0);
    batch_start(&play, 2, 2);
    batch_end(&play, 1, 0, WEIR_ACK);
    batch_end(&play, 2, 2, WEIR_ACK);
    BATCH(&play, 3, NULL, 4, 1, 3, 5);
    conclude(&play);
    must_fail(&play, "offset 2");
    cr_assert_eq(play.result.overlaps, 1u);
    cr_assert_eq(play.result.out_of_order, 1u);
}

Test(chaos_batches, a_message_that_passes_one_of_its_key_that_failed_fails)
{
    struct play play;
    begin_batches(&play, WEIR_SCOPE_PARTITION);
    BATCH(&play, 1, OUTCOMES(WEIR_RETRY, WEIR_ACK), 0, 2);
    BATCH(&play, 2, NULL, 4, 1, 3, 5);
    BATCH(&play, 3, NULL, 0);
    conclude(&play);
    must_fail(&play, "offset 4 started in batch 2 before the end of offset 0");
}

Test(chaos_batches, what_did_not_fail_and_runs_again_fails)
{
    struct play play;
    begin_batches(&play, WEIR_SCOPE_PARTITION);
    play.terms.duplicates_more = 1; /* or that would be said first */
    BATCH(&play, 1, OUTCOMES(WEIR_RETRY, WEIR_ACK), 0, 2);
    BATCH(&play, 2, NULL, 0, 2, 4, 1, 3, 5);
    conclude(&play);
    must_fail(&play, "again though finished");
}

Test(chaos_batches, a_run_outside_of_one_fails)
{
    struct play play;
    begin_batches(&play, WEIR_SCOPE_PARTITION);
    BATCH(&play, 1, NULL, 0, 2, 4, 1, 3);
    run(&play, A, 5);
    conclude(&play);
    must_fail(&play, "ran in no batch");
}
