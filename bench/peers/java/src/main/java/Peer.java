import io.confluent.parallelconsumer.ParallelConsumerOptions;
import io.confluent.parallelconsumer.ParallelConsumerOptions.ProcessingOrder;
import io.confluent.parallelconsumer.ParallelStreamProcessor;
import java.lang.management.ManagementFactory;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.utils.AppInfoParser;

/**
 * Peers: --mode key or unordered is Confluent's parallel-consumer, --mode plain the consumer of Apache Kafka in one loop.
 *
 * <p>The protocol of all arms: options on the command line, one JSON object in the last line of output.
 */
public final class Peer {
    private static final long LIMIT_SECONDS = 300;

    private final Map<String, String> options = new HashMap<>();
    private final AtomicLong handled = new AtomicLong();
    private final CountDownLatch done = new CountDownLatch(1);
    private final long wanted;
    private final long workUs;
    private final int inFlight;
    private volatile long firstNs;
    private volatile long lastNs;

    private Peer(String[] words) {
        for (int i = 0; i + 1 < words.length; i += 2) {
            options.put(words[i].substring(2), words[i + 1]);
        }
        wanted = Long.parseLong(options.get("messages"));
        workUs = Long.parseLong(options.getOrDefault("work-us", "0"));
        inFlight = Integer.parseInt(options.getOrDefault("in-flight", "100"));
    }

    private KafkaConsumer<byte[], byte[]> consumer(boolean autoCommit) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", options.get("bootstrap"));
        properties.put("group.id", "bench-java-" + ProcessHandle.current().pid() + "-" + System.nanoTime());
        properties.put("auto.offset.reset", "earliest");
        properties.put("enable.auto.commit", autoCommit);
        properties.put("auto.commit.interval.ms", "1000");
        properties.put("max.poll.records", "2000");
        return new KafkaConsumer<>(properties, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    private void handle() {
        if (firstNs == 0) {
            firstNs = System.nanoTime();
        }
        if (workUs > 0) {
            try {
                TimeUnit.MICROSECONDS.sleep(workUs);
            } catch (InterruptedException stopped) {
                Thread.currentThread().interrupt();
            }
        }
        if (handled.incrementAndGet() == wanted) {
            lastNs = System.nanoTime();
            done.countDown();
        }
    }

    private String parallel(ProcessingOrder order) throws InterruptedException {
        var settings = ParallelConsumerOptions.<byte[], byte[]>builder()
                .consumer(consumer(false))
                .ordering(order)
                .maxConcurrency(inFlight)
                .build();
        var processor = ParallelStreamProcessor.createEosStreamProcessor(settings);
        processor.subscribe(List.of(options.get("topic")));
        processor.poll(context -> handle());
        await();
        return order + ", maxConcurrency " + inFlight + ", max.poll.records 2000, otherwise defaults";
    }

    private String plain() {
        KafkaConsumer<byte[], byte[]> consumer = consumer(true);
        consumer.subscribe(List.of(options.get("topic")));
        long endNs = System.nanoTime() + TimeUnit.SECONDS.toNanos(LIMIT_SECONDS);
        while (done.getCount() > 0) {
            consumer.poll(Duration.ofMillis(100)).forEach(message -> handle());
            if (System.nanoTime() > endNs) {
                fail();
            }
        }
        return "one loop, max.poll.records 2000, auto commit each second, otherwise defaults";
    }

    private void await() throws InterruptedException {
        if (!done.await(LIMIT_SECONDS, TimeUnit.SECONDS)) {
            fail();
        }
    }

    private void fail() {
        System.err.println(handled.get() + " of " + wanted + " messages within " + LIMIT_SECONDS + " s");
        Runtime.getRuntime().halt(1);
    }

    private static double cpuSeconds() {
        var system = (com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
        return system.getProcessCpuTime() / 1e9;
    }

    private void run(String mode) throws InterruptedException {
        String settings = mode.equals("plain")
                ? plain()
                : parallel(mode.equals("key") ? ProcessingOrder.KEY : ProcessingOrder.UNORDERED);
        String version = (mode.equals("plain") ? "" : "parallel-consumer 0.5.3.3, ")
                + "kafka-clients " + AppInfoParser.getVersion() + ", Java " + Runtime.version();
        System.out.printf(
                "{\"messages\": %d, \"seconds\": %.6f, \"cpu_seconds\": %.3f, \"version\": \"%s\", \"settings\": \"%s\"}%n",
                wanted, (lastNs - firstNs) / 1e9, cpuSeconds(), version, settings);
        System.out.flush();
        Runtime.getRuntime().halt(0); // what the client does at its end is not measured
    }

    public static void main(String[] words) throws InterruptedException {
        Peer peer = new Peer(words);
        peer.run(peer.options.getOrDefault("mode", "plain"));
    }
}
