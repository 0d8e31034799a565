/*
 * Weir: per-key actors over Kafka, with backpressure. This header brings in the whole API.
 *
 *     #include <weir/weir.h>
 *
 *     static enum weir_outcome on_order(struct weir_message *message, void *user) { ...; return WEIR_ACK; }
 *
 *     struct weir_config *config = weir_config_create();
 *     weir_config_set(config, "bootstrap.servers", "localhost:9092", &error);
 *     weir_config_set(config, "group.id", "billing", &error);
 *     weir_config_set(config, "weir.topics", "orders", &error);
 *     struct weir_consumer *consumer = weir_consumer_create(config, on_order, NULL, &error);
 *     weir_consumer_stop_on_signals(consumer);
 *     weir_consumer_run(consumer, &error);
 */
#ifndef WEIR_WEIR_H
#define WEIR_WEIR_H

#include <weir/batch.h>
#include <weir/config.h>
#include <weir/consumer.h>
#include <weir/error.h>
#include <weir/filter.h>
#include <weir/key_state.h>
#include <weir/log.h>
#include <weir/message.h>
#include <weir/output.h>
#include <weir/stats.h>
#include <weir/version.h>

#endif
