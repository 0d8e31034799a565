/* Symbol visibility: what carries WEIR_EXPORT is the API, all else in the shared library is hidden. */
#ifndef WEIR_EXPORT_H
#define WEIR_EXPORT_H

#if defined(__GNUC__)
/** Belongs to the API. */
#define WEIR_EXPORT                            __attribute__((visibility("default")))
/** Has arguments that the compiler checks as those of printf(). */
#define WEIR_FORMAT(string_index, first_index) __attribute__((format(printf, string_index, first_index)))
/** Returns what must be looked at. */
#define WEIR_MUST_CHECK                        __attribute__((warn_unused_result))
#else
#define WEIR_EXPORT
#define WEIR_FORMAT(string_index, first_index)
#define WEIR_MUST_CHECK
#endif

#endif
