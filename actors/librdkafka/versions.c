/*
 * Versions of librdkafka that do harm with a setting in use: named when the configuration is checked, before anything
 * is connected. What would lose messages is refused, the rest is warned of.
 *
 * Thread: any.
 *
 * Here stands only what Weir cannot keep from happening. Faults that it works around stand where it does: entries for
 * the end of a partition (settings.c), seek's time-out (seek.c), commits that meet a join (commit.c). All of them and
 * each entry of this table are in docs/librdkafka.md.
 */
#include "actors/config/config.h"
#include "actors/librdkafka/client.h"
#include "runtime/log.h"
#include <strings.h>

struct fault {
    int first, fixed; /* versions, without the pre-release byte: from this one on, below that one */
    bool (*is_in_use)(const struct weir_config *config);
    bool loses;
    const char *setting, *consequence, *remedy;
};

static bool starts_at_end(const struct weir_config *config)
{
    return weir_config_reset_policy(config) == WEIR_RESET_LATEST;
}

static bool starts_at_beginning(const struct weir_config *config)
{
    return weir_config_reset_policy(config) == WEIR_RESET_EARLIEST;
}

static bool has_new_protocol(const struct weir_config *config)
{
    const char *protocol = weir_config_kafka_get(config, "group.protocol");
    return protocol && strcasecmp(protocol, "consumer") == 0;
}

static bool is_always(const struct weir_config *config)
{
    return true;
}

/* The first two: since it validates offsets after a change of leader, until it tells failures of that from answers. */
static const struct fault FAULTS[] = {
    {0x020100, 0x020300, starts_at_end, true, "auto.offset.reset=latest",
     "takes a failed name look-up or an unclean end of TLS after a change of leader for a position that is not in the "
     "log, and messages that were never read would be skipped",
     "use 2.3.0 or later, 2.0.2, or auto.offset.reset=error"},
    {0x020100, 0x020300, starts_at_beginning, false, "auto.offset.reset=earliest",
     "takes a failed name look-up or an unclean end of TLS after a change of leader for a position that is not in the "
     "log, and the partition would be read again from its beginning",
     "use 2.3.0 or later, 2.0.2, or auto.offset.reset=error"},
    {0x020400, 0x020c00, has_new_protocol, false, "group.protocol=consumer",
     "has a preview of this protocol, which released brokers need not understand", "use 2.12.0 or later"},
    {0x020a00, 0x020a01, is_always, false, "any settings",
     "may corrupt memory while no broker can be reached, and may not find back to the brokers", "use 2.10.1 or later"},
};

static int judge(const struct fault *fault, struct weir_error *error)
{
    if (fault->loses)
        return weir_error_set(error, WEIR_KAFKA, "librdkafka %s with %s %s: %s", rd_kafka_version_str(), fault->setting,
                              fault->consequence, fault->remedy);
    weir_log(WEIR_LOG_WARN, WEIR_NO_FIELDS, "librdkafka %s with %s %s: %s", rd_kafka_version_str(), fault->setting,
             fault->consequence, fault->remedy);
    return 0;
}

int weir_rdkafka_check_version(int version, const struct weir_config *config, struct weir_error *error)
{
    int code = 0;
    for (size_t index = 0; !code && index < WEIR_COUNT(FAULTS); index++) {
        const struct fault *fault = &FAULTS[index];
        if (version >= fault->first && version < fault->fixed && fault->is_in_use(config))
            code = judge(fault, error);
    }
    return code;
}
