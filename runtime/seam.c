/*
 * The system's seam: the kernel's clocks and entropy.
 */
#include "runtime/seam.h"
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

static uint64_t system_now_ns(const struct weir_seam *seam)
{
    struct timespec now;
    (void)seam;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int64_t system_wall_ms(const struct weir_seam *seam)
{
    struct timespec now;
    (void)seam;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static uint64_t system_entropy(const struct weir_seam *seam)
{
    uint64_t value;
    if (getrandom(&value, sizeof value, GRND_NONBLOCK) == (ssize_t)sizeof value)
        return value;
    /* Early in a boot, or under a filter: unlike between processes and calls is all that jitter needs. */
    return system_now_ns(seam) * 0x9e3779b97f4a7c15u ^ (uint64_t)system_wall_ms(seam) << 20 ^ (uint64_t)getpid() << 44;
}

const struct weir_seam *weir_seam_system(void)
{
    static const struct weir_seam seam = {system_now_ns, system_wall_ms, system_entropy};
    return &seam;
}
