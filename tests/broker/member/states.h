/*
 * States of keys in a member: a count of the runs that have seen one, and its life in the ledger.
 *
 * Thread: weir_states_prepare() main, before the start; the others any that runs handlers.
 */
#ifndef WEIR_TESTS_STATES_H
#define WEIR_TESTS_STATES_H

#include "tests/broker/member/member.h"
#include "tests/support/subject.h"

struct weir_member_state;

/** Give the consumer a class of states. The process ends where that is refused. */
void weir_states_prepare(struct weir_subject *subject, struct weir_member_board *board);
/** Ask for the state of the key, and note that it was seen. NULL where there are none. What is not as it should be is
 *  counted on the board as wrong. */
struct weir_member_state *weir_states_see(struct weir_message *message);
/** The run is done with it. NULL is fine. */
void weir_states_leave(struct weir_member_state *state);

#endif
