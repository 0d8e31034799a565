/*
 * What the handlers of a member make of a message, by what the board says at the time.
 *
 * Thread: weir_rule_init() main, before the first message; the others any that runs handlers.
 */
#ifndef WEIR_TESTS_RULE_H
#define WEIR_TESTS_RULE_H

#include "tests/broker/member/member.h"
#include "tests/support/subject.h"

/** marks: NULL for none. All must outlive the consumer. */
void weir_rule_init(struct weir_subject *subject, struct weir_member_board *board, struct weir_member_marks *marks);

/** How long a run of this message takes. */
uint64_t weir_rule_pause_us(const struct weir_message *message);
/** Emit what is to be emitted, and say what becomes of it; what is acked is counted. May end the process. */
enum weir_outcome weir_rule_judge(struct weir_message *message);

/** Rule of a handler of single messages: the pause, and the judgement. */
enum weir_outcome weir_rule_run(struct weir_subject *subject, struct weir_message *message);
/** A handler of batches: the longest pause, then each by its judgement, START and END to the ledger. */
enum weir_outcome weir_rule_run_batch(struct weir_batch *batch, void *user);

#endif
