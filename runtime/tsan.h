/*
 * What ThreadSanitizer must be told about Concurrency Kit: its atomics are inline assembly, which the tool does not
 * see. A hand-over through a ck structure is named to it here: release before the push, acquire after the pop. The
 * accesses inside ck itself are named in tests/support/tsan.supp.
 */
#ifndef WEIR_RUNTIME_TSAN_H
#define WEIR_RUNTIME_TSAN_H

#if defined(__SANITIZE_THREAD__)
#define WEIR_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define WEIR_TSAN 1
#endif
#endif

#ifdef WEIR_TSAN
void __tsan_acquire(void *address);
void __tsan_release(void *address);
#define WEIR_TSAN_ACQUIRE(address) __tsan_acquire((void *)(address))
#define WEIR_TSAN_RELEASE(address) __tsan_release((void *)(address))
#else
#define WEIR_TSAN_ACQUIRE(address) ((void)(address))
#define WEIR_TSAN_RELEASE(address) ((void)(address))
#endif

#endif
