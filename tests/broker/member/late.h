/*
 * Messages of a member that are finished later: taken in by handlers, finished by one thread in order, each when its
 * time has come and nothing on the board holds it any more. No worker waits for them.
 *
 * Bound: none but the consumer's windows, since all that is in here is unfinished.
 * Thread: weir_late_take() any worker; the others main.
 */
#ifndef WEIR_TESTS_LATE_H
#define WEIR_TESTS_LATE_H

#include "tests/broker/member/member.h"
#include "tests/support/subject.h"

/* Slow ones take late_ms and obey late_held; the rest obey rest_held. */
enum weir_late_kind { WEIR_LATE_SLOW, WEIR_LATE_REST, WEIR_LATE_KINDS };

/** Before the first message. The thread begins with that; the process ends where it cannot. */
void weir_late_init(struct weir_subject *subject, struct weir_member_board *board);
/** What is to be said of a message instead of finishing it now; what to answer to the consumer. */
enum weir_outcome weir_late_take(struct weir_message *message, enum weir_late_kind kind);
/** Finish nothing more; to be called before the consumer goes. */
void weir_late_stop(void);

#endif
