/* Versions of the library that runs and of what lies under it. Thread: any. */
#include "actors/kafka.h"
#include <weir/version.h>

const char *weir_version(void)
{
    return WEIR_VERSION;
}

const char *weir_librdkafka_version(void)
{
    return weir_kafka_library_version();
}
