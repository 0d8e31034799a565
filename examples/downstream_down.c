/*
 * When it is not the message that is wrong. A gateway is down for a while, in which every message would fail: with the
 * circuit breaker (weir.breaker.*) everything is held in place after the first failures, one message probes now and
 * then, and when that succeeds all go on. No attempt is burnt meanwhile and no dead letter written.
 *
 * And a day that is closed: an entry that says so means that no further one can be booked, not that it is bad itself.
 * weir_escalate() stops the consumer with the reason; WEIR_STOP_PARTITION would stop its partition alone.
 */
#include "common.h"
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static atomic_llong back_ms; /* when the gateway is there again */
static atomic_ullong booked, failed;

static long long now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000ll + now.tv_nsec / 1000000;
}

static enum weir_outcome on_entry(struct weir_message *message, void *user)
{
    const long *down_ms = user;
    long long never = 0;
    atomic_compare_exchange_strong(&back_ms, &never, now_ms() + *down_ms); /* it goes down with the first entry */
    if (now_ms() < atomic_load(&back_ms)) {
        atomic_fetch_add(&failed, 1);
        return weir_retry(message, "gateway: connection refused");
    }
    size_t size = weir_message_value_size(message);
    if (size == strlen("close the day") && memcmp(weir_message_value(message), "close the day", size) == 0)
        return weir_escalate(message, WEIR_STOP_CONSUMER, "the day is closed");
    atomic_fetch_add(&booked, 1);
    return WEIR_ACK;
}

int main(int argc, char **argv)
{
    static const char *const settings[][2] = {{"weir.retry.attempts.max", "6"}, /* until it opens, attempts are burnt */
                                              {"weir.breaker.failures.percent", "50"},
                                              {"weir.breaker.open.ms", "200"},
                                              {"weir.breaker.open.ms.max", "1000"},
                                              {0}};
    const char *down = "3000";
    const struct example_option options[] = {{"down-ms", "how long the gateway is down", &down}, {0}};
    const struct example example = {.name = "downstream_down",
                                    .about =
                                        "Book entries at a gateway that is down at first, until the day is closed.",
                                    .settings = settings,
                                    .options = options};
    struct weir_config *config = example_configure(argc, argv, &example);
    long down_ms = example_number("down-ms", down, 0, 3600000);
    int status = example_run(config, on_entry, &down_ms);
    printf("%llu booked, %llu calls failed\n", atomic_load(&booked), atomic_load(&failed));
    weir_config_destroy(config);
    return status;
}
