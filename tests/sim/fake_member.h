/*
 * The plain member: the least consumer that keeps the rules of actors/kafka.h, one message at a time a partition.
 *
 * It is here to prove the world and the in-memory Kafka by something small: with every fault on, a world of plain
 * members must come out clean, and with any one of its rules broken, a verdict must say so.
 */
#ifndef WEIR_TESTS_FAKE_MEMBER_H
#define WEIR_TESTS_FAKE_MEMBER_H

#include "tests/support/world.h"

/* A rule that it breaks: driver_data points to one of these. */
enum member_defect {
    MEMBER_SOUND = 0,
    MEMBER_NO_SEEK_BACK,   /* goes on after a rebalance wherever the client is */
    MEMBER_COMMITS_AHEAD,  /* commits what it has pulled, not what is over */
    MEMBER_GIVES_UP,       /* takes a retry for the end of it */
    MEMBER_DROPS_LETTERS,  /* takes a dead message for finished before the letter is delivered */
    MEMBER_REORDERS,       /* runs the second of what it pulled first */
    MEMBER_HOLDS_ON,       /* goes on with what it pulled after its partition was revoked */
    MEMBER_PULLS_ALWAYS,   /* also while a rebalance event is open */
    MEMBER_FREES_TWICE,    /* a record */
    MEMBER_FORGETS_TO_FREE /* a record now and then */
};

extern const struct weir_world_driver member_driver;

#endif
