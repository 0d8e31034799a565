/* Version of Weir: semantic versioning; meson.build holds the same number, and a test compares them. */
#ifndef WEIR_VERSION_H
#define WEIR_VERSION_H

#include <weir/export.h>

#define WEIR_VERSION_MAJOR 0
#define WEIR_VERSION_MINOR 1
#define WEIR_VERSION_PATCH 0
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
