/*
 * A file system that is really full: a small tmpfs that nobody else sees and that is gone with this process.
 *
 * It is mounted nowhere, only entered, so there is nothing to take down, also in a bare root. Making it takes the right
 * to mount, or a user namespace in which an unprivileged user has it; where there is neither, it says what failed.
 *
 * Thread: the only one of its process, which is best a forked child of the test.
 */
#ifndef WEIR_TESTS_SMALL_DISK_H
#define WEIR_TESTS_SMALL_DISK_H

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/mount.h>
#include <unistd.h>

static inline bool weir_test_write_text(const char *path, const char *text)
{
    int descriptor = open(path, O_WRONLY | O_CLOEXEC);
    bool good = descriptor >= 0 && dprintf(descriptor, "%s", text) > 0;
    return (descriptor < 0 || close(descriptor) == 0) && good;
}

/* Without rights: become the same user in a namespace of its own. */
static inline bool weir_test_enter_namespace(void)
{
    char users[64], groups[64];
    snprintf(users, sizeof users, "%u %u 1", (unsigned)geteuid(), (unsigned)geteuid());
    snprintf(groups, sizeof groups, "%u %u 1", (unsigned)getegid(), (unsigned)getegid());
    return unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0 && weir_test_write_text("/proc/self/setgroups", "deny") &&
           weir_test_write_text("/proc/self/uid_map", users) && weir_test_write_text("/proc/self/gid_map", groups);
}

/** Make a file system of `size` ("200k") the working folder. NULL, or which call failed, with errno. */
static inline const char *weir_test_enter_small_disk(const char *size)
{
    if (unshare(CLONE_NEWNS) != 0 && !weir_test_enter_namespace())
        return "unshare";
    int context = fsopen("tmpfs", FSOPEN_CLOEXEC);
    if (context < 0)
        return "fsopen";
    if (fsconfig(context, FSCONFIG_SET_STRING, "size", size, 0) != 0 ||
        fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) != 0)
        return "fsconfig";
    int mount = fsmount(context, FSMOUNT_CLOEXEC, 0);
    if (mount < 0)
        return "fsmount";
    if (fchdir(mount) != 0)
        return "fchdir";
    return close(context) == 0 && close(mount) == 0 ? NULL : "close";
}

/** Write to `path` in the working folder until there is no room. Returns the bytes it took; -1: it ended otherwise. */
static inline long weir_test_fill_disk(const char *path)
{
    static const char page[4096] = {1};
    int descriptor = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    long size = 0;
    ssize_t got;
    while ((got = write(descriptor, page, sizeof page)) > 0)
        size += got;
    bool full = errno == ENOSPC;
    return close(descriptor) == 0 && full ? size : -1;
}

#endif
