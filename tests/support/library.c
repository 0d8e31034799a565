/*
 * Which librdkafka has been loaded: said once by each run of a suite, before its first test. Where WEIR_TEST_LIBRDKAFKA
 * names a version, a program with another one ends: it would show nothing of the one that was asked for.
 *
 * Runs before main, in every process of a suite; what one has said is told to those it starts by an environment
 * variable.
 */
#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SAID "WEIR_TEST_LIBRDKAFKA_SAID"

__attribute__((constructor)) static void say_which(void)
{
    const char *wanted = getenv("WEIR_TEST_LIBRDKAFKA"), *loaded = rd_kafka_version_str();
    if (wanted && strcmp(wanted, loaded) != 0) {
        fprintf(stderr, "librdkafka %s has been loaded; WEIR_TEST_LIBRDKAFKA=%s was asked for\n", loaded, wanted);
        _exit(3);
    }
    if (getenv(SAID))
        return;
    fprintf(stderr, "librdkafka %s\n", loaded);
    setenv(SAID, "1", 1);
}
