/*
 * System calls that fail: from now on the kernel answers one of them with an error of the test's choice, by a seccomp
 * filter. It needs no right and cannot be taken back, so it is for a forked child of the test.
 *
 * Thread: the only one of its process; threads that it starts inherit the filter.
 */
#ifndef WEIR_TESTS_REFUSE_H
#define WEIR_TESTS_REFUSE_H

#include <endian.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

enum { WEIR_TEST_REFUSE_ALWAYS = -1 };

/** Have calls of `number` fail with `error`; only those whose argument number `argument` (from 0) has one of `bits`,
 *  unless that is WEIR_TEST_REFUSE_ALWAYS. False: there are no filters here. */
static inline bool weir_test_refuse(long number, int error, int argument, uint32_t bits)
{
    const size_t low = __BYTE_ORDER == __LITTLE_ENDIAN ? 0 : 4;
    const uint32_t word =
        argument < 0 ? offsetof(struct seccomp_data, nr)
                     : (uint32_t)(offsetof(struct seccomp_data, args) + (size_t)argument * sizeof(uint64_t) + low);
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)number, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, word),
        BPF_JUMP(BPF_JMP | (argument < 0 ? BPF_JEQ : BPF_JSET) | BPF_K, argument < 0 ? (uint32_t)number : bits, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ((uint32_t)error & SECCOMP_RET_DATA)),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

#endif
