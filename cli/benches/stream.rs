//! Measures what the table's stream costs in `gatehouse dev`: the time of a write with the stream and without it.
//!
//! `cargo bench -p gatehouse --bench stream [-- EVENTS]` (20,000 by default). Both tables are written in turn, so that
//! other work on the machine slows both equally.
#![allow(clippy::unwrap_used, clippy::cast_precision_loss, missing_docs)]

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, StreamSpecification};
use gatehouse_local::engine::{Engine, FREE};
use gatehouse_local::template::Template;
use gatehouse_local::{DataDir, Hosts, local_sdk};
use tokio::time::Instant;

const TABLE: &str = "EventTable";
/// Number of writes whose median is compared at the beginning and at the end.
const PART: usize = 1000;
/// Size of a payload, in bytes.
const PAYLOAD_BYTES: usize = 3000;

struct Table {
    client: Client,
    times: Vec<Duration>,
    _engine: Engine,
}

impl Table {
    async fn create(data: Option<&DataDir>, has_stream: bool) -> Table {
        let engine = Engine::dynamodb_for(Hosts::any(), FREE, data).await.unwrap();
        let client = Client::new(&local_sdk(&engine.url()));
        Template::read().unwrap().create_table(&client, TABLE).await.unwrap();
        if !has_stream {
            let stream = StreamSpecification::builder().stream_enabled(false).build().unwrap();
            client.update_table().table_name(TABLE).stream_specification(stream).send().await.unwrap();
        }
        Table { client, times: Vec::new(), _engine: engine }
    }

    async fn write(&mut self, n: usize) {
        let put = self.client.put_item().table_name(TABLE);
        let put = put
            .item("event_id", AttributeValue::S(format!("ada:msg_{n}")))
            .item("subject", AttributeValue::S(format!("ada:conversation:{}", n % 100)))
            .item("occurred_at", AttributeValue::S(format!("{n:024}")))
            .item("source_hour", AttributeValue::S("ada/2026-11-30T15".to_owned()))
            .item("received_at", AttributeValue::S(format!("{n:024}")))
            .item("payload", AttributeValue::S("x".repeat(PAYLOAD_BYTES)))
            .condition_expression("attribute_not_exists(event_id)");
        let started = Instant::now();
        put.send().await.unwrap();
        self.times.push(started.elapsed());
    }

    /// Returns the medians of all writes, of the first [`PART`] and of the last, in milliseconds.
    fn medians(&self) -> [f64; 3] {
        let median = |times: &[Duration]| {
            let mut times = times.to_vec();
            times.sort_unstable();
            times[times.len() / 2].as_secs_f64() * 1000.0
        };
        let part = PART.min(self.times.len());
        [median(&self.times), median(&self.times[..part]), median(&self.times[self.times.len() - part..])]
    }
}

#[tokio::main]
async fn main() {
    let events = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(20_000_usize);
    println!("{events} writes of {PAYLOAD_BYTES} bytes, medians in ms\n");
    println!("| | all | first {PART} | last {PART} | last / first | with / without |");
    println!("|---|---|---|---|---|---|");
    for is_durable in [false, true] {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let data = folders.each_ref().map(|folder| is_durable.then(|| DataDir::open(folder.path()).unwrap()));
        let mut without = Table::create(data[0].as_ref(), false).await;
        let mut with = Table::create(data[1].as_ref(), true).await;
        for n in 0..events {
            without.write(n).await;
            with.write(n).await;
        }
        let place = if is_durable { "--data-dir" } else { "in memory" };
        let base = without.medians()[0];
        for (name, table) in [("without stream", &without), ("with stream", &with)] {
            let [all, first, last] = table.medians();
            let (growth, ratio) = (last / first, all / base);
            println!("| {place}, {name} | {all:.2} | {first:.2} | {last:.2} | {growth:.2} | {ratio:.2} |");
        }
    }
}
