//! Measures start time, throughput, latency and memory of `gatehouse dev`.
//!
//! `cargo bench -p gatehouse --bench dev [-- EVENTS]` (100,000 by default). Client, functions and engines run on the
//! same machine. Linux only, because memory is read from `/proc`.
#![allow(clippy::unwrap_used, clippy::cast_precision_loss, missing_docs)]

use gatehouse_ada::Ada;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gatehouse_local::Delivery;
use gatehouse_local::delivery::Client;
use gatehouse_runtime::Clock;
use serde_json::Value;
use tokio::time::Instant;

const MESSAGE: &str = gatehouse_ada::samples::CONVERSATION_MESSAGE;
/// Number of starts that are measured.
const STARTS: usize = 20;
const CONCURRENCY: u64 = 16;

struct Dev {
    process: Child,
    url: String,
    ready_after: Duration,
}

impl Dev {
    fn start(arguments: &[&str]) -> Dev {
        let started = Instant::now();
        let mut process = Command::new(env!("CARGO_BIN_EXE_gatehouse"));
        let process = process.args(["dev", "--port", "0", "--json"]).args(arguments).stdout(Stdio::piped());
        let mut process = process.stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap();
        let url = format!("{}/", ready["functions"]["conversation-webhooks"].as_str().unwrap());
        Dev { process, url, ready_after: started.elapsed() }
    }

    /// Resident memory, in MB.
    fn memory(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        resident.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// Sends events numbered from `from`. Returns the events per second and the sorted latencies.
async fn load(url: &str, from: u64, count: u64) -> (f64, Vec<Duration>) {
    let (client, next) = (Client::new(url).unwrap(), Arc::new(AtomicU64::new(from)));
    let started = Instant::now();
    let senders = (0..CONCURRENCY).map(|_| {
        let (client, next) = (client.clone(), Arc::clone(&next));
        tokio::spawn(async move {
            let mut times = Vec::new();
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= from + count {
                    return times;
                }
                let delivery = Delivery::of(&Ada, &format!("msg_{n}"), MESSAGE, Clock::System.now());
                let answer = client.send(&delivery).await.unwrap();
                assert_eq!(answer.outcome(), "recorded", "{}", answer.body);
                times.push(answer.took);
            }
        })
    });
    let mut times = Vec::new();
    for sender in senders.collect::<Vec<_>>() {
        times.extend(sender.await.unwrap());
    }
    let rate = count as f64 / started.elapsed().as_secs_f64();
    times.sort_unstable();
    (rate, times)
}

#[tokio::main]
async fn main() {
    let events = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(100_000_u64);
    let folder = tempfile::tempdir().unwrap();
    println!("Ada's conversation.message, {} bytes, {CONCURRENCY} at once\n", MESSAGE.len());
    println!(
        "| | ready, ms (median, max of {STARTS}) | events/s | latency, ms (median, 99 %) | MB at first | MB after {events} |"
    );
    println!("|---|---|---|---|---|---|");
    for is_durable in [false, true] {
        let (mut ready, mut last_dev) = (Vec::new(), None);
        for n in 0..STARTS {
            let dir = folder.path().join(n.to_string());
            let arguments = ["--data-dir", dir.to_str().unwrap()];
            let dev = Dev::start(if is_durable { &arguments } else { &[] });
            ready.push(dev.ready_after);
            last_dev = Some(dev);
        }
        ready.sort_unstable();
        let dev = last_dev.unwrap();
        let at_first = dev.memory();
        let (rate, times) = load(&dev.url, 0, events).await;
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        println!(
            "| {} | {:.0}, {:.0} | {rate:.0} | {:.1}, {:.1} | {at_first:.0} | {:.0} |",
            if is_durable { "--data-dir" } else { "in memory" },
            ms(ready[STARTS / 2]),
            ms(ready[STARTS - 1]),
            ms(times[times.len() / 2]),
            ms(times[times.len() * 99 / 100]),
            dev.memory(),
        );
    }
}
