/* Version of Weir: semantic versioning; meson.build holds the same number, and a test compares them. */
#ifndef WEIR_VERSION_H
#define WEIR_VERSION_H

#include <weir/export.h>

/** Raised where programs must be changed. */
#define WEIR_VERSION_MAJOR 0
/** Raised where there is something new. */
#define WEIR_VERSION_MINOR 1
/** Raised where something was mended. */
#define WEIR_VERSION_PATCH 0
/** All three as text: of the headers. weir_version() is that of the library. */
#define WEIR_VERSION       "0.1.0"

#ifdef __cplusplus
extern "C" {
#endif

/** Version of the library that runs, and of the librdkafka under it. Static. Thread: any. */
WEIR_EXPORT const char *weir_version(void);
WEIR_EXPORT const char *weir_librdkafka_version(void);

#ifdef __cplusplus
}
#endif
#endif
