/*
 * Fuzzer of what is read from librdkafka's statistics. Goal: no text makes the reader go beyond its end, and a number
 * is found only where it stands: the same text in an inner object or a string is not it.
 */
#include "actors/librdkafka/client.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REQUIRE(condition) ((condition) ? (void)0 : abort())

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Made of the input: it stands first at the top, or within an object that stands first. */
static void require_place(uint64_t number)
{
    char text[128];
    uint64_t seen = 0;
    snprintf(text, sizeof text, "{\"a\":{\"rx_bytes\":%" PRIu64 "},\"rx_bytes\":1}", number);
    REQUIRE(weir_rdkafka_statistics(text, &seen) && seen == 1);
    snprintf(text, sizeof text, "{\"rx_bytes\":%" PRIu64 ",\"a\":{\"rx_bytes\":1}}", number);
    REQUIRE(weir_rdkafka_statistics(text, &seen) && seen == number);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1); /* of its exact size: what reads beyond is seen */
    REQUIRE(text);
    memcpy(text, data, size);
    text[size] = '\0';
    uint64_t bytes = 0, again = 0;
    bool found = weir_rdkafka_statistics(text, &bytes);
    REQUIRE(found == weir_rdkafka_statistics(text, &again) && bytes == again);
    REQUIRE(!found || strstr(text, "rx_bytes"));
    uint64_t number = 0;
    memcpy(&number, data, size < sizeof number ? size : sizeof number);
    require_place(number >> 1); /* librdkafka's are signed */
    free(text);
    return 0;
}
