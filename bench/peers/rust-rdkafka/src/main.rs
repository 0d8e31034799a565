// Peer: the rdkafka crate on tokio, its message stream dealt to lanes by a hash of the key, so that the order of a key
// is kept. Each message is detached from the stream, as a lane outlives a turn of the loop.
//
// Offsets are stored when a message is handed to its lane and committed each second: less than at least once, and
// cheaper than what Weir promises. There is no retry and no isolation of keys within a lane.
//
// The protocol of all arms: options on the command line, one JSON object in the last line of output.
use futures_util::StreamExt;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::message::{Message, OwnedMessage};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, Notify};

const NOOP_LANES: usize = 16;
const LANE_MESSAGES_MAX: usize = 1024; // the bound: a message more and the loop waits

fn options() -> HashMap<String, String> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    words
        .chunks(2)
        .filter(|pair| pair.len() == 2)
        .map(|pair| (pair[0].trim_start_matches("--").to_string(), pair[1].clone()))
        .collect()
}

fn number(options: &HashMap<String, String>, name: &str, otherwise: u64) -> u64 {
    options.get(name).map_or(otherwise, |text| text.parse().expect("a number"))
}

// Of this process, from the kernel's account of it: user and system time in ticks of 10 ms.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks = |i: usize| fields.get(i).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

fn hash(key: &[u8]) -> usize {
    key.iter().fold(2166136261u32, |sum, byte| (sum ^ u32::from(*byte)).wrapping_mul(16777619)) as usize
}

struct Count {
    handled: AtomicU64,
    wanted: u64,
    done: Notify,
}

async fn lane(mut input: mpsc::Receiver<OwnedMessage>, work: Duration, count: Arc<Count>) {
    while let Some(_message) = input.recv().await {
        if !work.is_zero() {
            tokio::time::sleep(work).await;
        }
        if count.handled.fetch_add(1, Ordering::Relaxed) + 1 == count.wanted {
            count.done.notify_one();
        }
    }
}

async fn run(options: HashMap<String, String>) -> (f64, usize) {
    let wanted = number(&options, "messages", 0);
    let work = Duration::from_micros(number(&options, "work-us", 0));
    let lanes = if work.is_zero() { NOOP_LANES } else { number(&options, "in-flight", 16) as usize };
    let consumer: StreamConsumer = ClientConfig::new()
        .set("bootstrap.servers", &options["bootstrap"])
        .set("group.id", format!("bench-rust-{}", std::process::id()))
        .set("auto.offset.reset", "earliest")
        .set("auto.commit.interval.ms", "1000")
        .set("queued.min.messages", "1000000") // as librdkafka's manual advises for throughput;
        .set("fetch.queue.backoff.ms", "5") // its default lets a queue that was full rest for a second
        .create()
        .expect("a consumer");
    consumer.subscribe(&[&options["topic"]]).expect("a subscription");
    let count = Arc::new(Count { handled: AtomicU64::new(0), wanted, done: Notify::new() });
    let inputs: Vec<_> = (0..lanes)
        .map(|_| {
            let (input, output) = mpsc::channel(LANE_MESSAGES_MAX);
            tokio::spawn(lane(output, work, count.clone()));
            input
        })
        .collect();
    let mut begin = None;
    let mut stream = consumer.stream();
    for _ in 0..wanted {
        let message = stream.next().await.expect("a stream without end").expect("a message");
        begin.get_or_insert_with(Instant::now);
        let lane = hash(message.key().unwrap_or_default()) % lanes;
        inputs[lane].send(message.detach()).await.expect("a lane");
    }
    count.done.notified().await;
    (begin.map_or(0.0, |begin| begin.elapsed().as_secs_f64()), lanes)
}

fn main() {
    let options = options();
    let messages = number(&options, "messages", 0);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let (seconds, lanes) = runtime.block_on(run(options));
    let (_, librdkafka) = rdkafka::util::get_rdkafka_version();
    println!(
        "{{\"messages\": {messages}, \"seconds\": {seconds:.6}, \"cpu_seconds\": {:.2}, \
         \"version\": \"rdkafka 0.39.0 (crate), librdkafka {librdkafka}\", \
         \"settings\": \"{lanes} lanes, queued.min.messages=1000000 fetch.queue.backoff.ms=5, offsets committed each second\"}}",
        cpu_seconds()
    );
    std::process::exit(0); // what the client does at its end is not measured
}
