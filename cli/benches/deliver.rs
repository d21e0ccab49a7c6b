//! Measures deliveries of `gatehouse dev`: the time from the record to the receiver, deliveries a second, and what a
//! million deliveries cost in AWS.
//!
//! `cargo bench -p gatehouse --bench deliver [-- EVENTS]` (5,000 by default). The cost follows from the requests that
//! are counted here and the prices in tests/bench/prices.json, for answers in 200 ms. Logs are named apart.
#![allow(clippy::unwrap_used, clippy::cast_precision_loss, missing_docs)]

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use gatehouse_local::agent::{Agent, Answer, Piece};
use gatehouse_local::engine::{Engine, FREE, bind};
use gatehouse_local::{FaultProxy, Options, Services, Stack};
use gatehouse_payload::{Event, EventId, Fingerprint, Flags, Nonce, Subject};
use gatehouse_runtime::Clock;
use http::StatusCode;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Number of events that are recorded one by one.
const SINGLE: usize = 200;
/// Number of subjects of the others.
const SUBJECTS: usize = 500;
/// Number of events that are recorded at the same time.
const WRITERS: usize = 16;
/// The functions' memory, in GB.
const MEMORY_GB: f64 = 0.25;
/// How long a destination takes to answer, in milliseconds.
const ANSWER_MS: f64 = 200.0;
/// What the functions need beside that for a delivery, in milliseconds.
const OWN_MS: f64 = 40.0;
/// Size of a log line of a delivery, in bytes.
const LINE_BYTES: f64 = 646.0;
/// Size of Lambda's own lines about an invocation, in bytes. `SystemLogLevel=WARN` leaves them out.
const LAMBDA_LINE_BYTES: f64 = 480.0;

/// An event of a subject.
fn event(n: usize, subject: String) -> Event {
    let body = format!(r#"{{"type":"v1.conversation.message","data":{{"n":{n},"text":"{}"}}}}"#, "x".repeat(2000));
    let now = Clock::System.now();
    Event {
        id: EventId::from_stored(format!("ada:msg_{subject}_{n}")),
        source: "ada".to_owned(),
        event_type: Some("v1.conversation.message".to_owned()),
        subject: Some(Subject::from_stored(format!("ada:conversation:{subject}"))),
        occurred_at: now,
        received_at: now,
        fingerprint: Fingerprint::of(&body),
        nonce: Nonce::random().unwrap(),
        verified_by: "svix".to_owned(),
        body: Bytes::from(body),
        answer: None,
        asked: None,
        flags: Flags::default(),
        is_one_question: false,
    }
}

/// Requests by service and operation.
type Counts = [BTreeMap<String, usize>; 2];

fn counts(proxies: &[FaultProxy; 2]) -> Counts {
    proxies.each_ref().map(FaultProxy::counts)
}

/// What a delivery costs.
struct Cost {
    write_units: f64,
    read_units: f64,
    queue_requests: f64,
    /// Invocations of both functions.
    invocations: f64,
}

impl Cost {
    /// Counts the requests for `events` deliveries. `share` is the share of an invocation of a delivery in its batch.
    fn of(before: &Counts, after: &Counts, took: Duration, events: usize, share: f64) -> Cost {
        let count = |service: usize, operation: &str| {
            let all = |counts: &Counts| counts[service].get(operation).copied().unwrap_or(0);
            (all(after) - all(before)) as f64 / events as f64
        };
        // Less than 1 KB each. The item of the local stack's position in the stream is Lambda's in AWS: one write for
        // each batch that is read.
        let write_units = count(0, "PutItem") + count(0, "UpdateItem") - count(0, "GetRecords").min(share);
        // Consistent reads of less than 4 KB. The sweep makes two queries each second here, and each minute in AWS.
        let sweeps = 2.0 * took.as_secs_f64() / events as f64;
        let read_units = count(0, "GetItem") + count(0, "Query") - sweeps;
        // A doorbell is sent, received and deleted. Lambda receives and deletes up to ten at once. The queue is not
        // fair, because there is one destination.
        let queue_requests = count(1, "SendMessageBatch") + 2.0 * share;
        Cost { write_units, read_units, queue_requests, invocations: 2.0 * share }
    }

    /// Prints the dollars for a million. `ms` are the milliseconds of a delivery that Lambda bills.
    fn print(&self, name: &str, ms: f64) {
        let prices: serde_json::Value = serde_json::from_str(include_str!("../../tests/bench/prices.json")).unwrap();
        let price = |name: &str| prices["aws"][name].as_f64().unwrap();
        let writes = self.write_units * price("dynamodb_million_write_units");
        let reads = self.read_units * price("dynamodb_million_read_units");
        let queue = self.queue_requests * price("sqs_million_requests");
        let gb_seconds = MEMORY_GB * ms / 1000.0 * 1e6;
        let lambda = self.invocations * price("lambda_million_requests") + gb_seconds * price("lambda_gb_second_arm64");
        let total = writes + reads + queue + lambda;
        let gb = (LINE_BYTES + self.invocations * LAMBDA_LINE_BYTES) / 1e3;
        let logs = gb * price("logs_gb");
        println!(
            "a million deliveries, {name}: ${total:.2}, and ${logs:.2} for {gb:.2} GB of logs (writes {writes:.2} for \
             {:.2} units, reads {reads:.2} for {:.2} units, SQS {queue:.2}, Lambda {lambda:.2})",
            self.write_units, self.read_units
        );
    }
}

/// Receives the ids of delivered events, and when they came.
async fn receive(received: &mut mpsc::UnboundedReceiver<(String, Instant)>, count: usize) -> HashMap<String, Instant> {
    let mut times = HashMap::new();
    while times.len() < count {
        let (id, at) = received.recv().await.unwrap();
        times.entry(id).or_insert(at);
    }
    times
}

/// A stack with one destination.
struct Bench {
    _stack: Stack,
    store: gatehouse_inbox::Store,
    proxies: [FaultProxy; 2],
    /// The ids of the events that the destination gets, and when they come.
    received: mpsc::UnboundedReceiver<(String, Instant)>,
    _server: Agent,
    _engines: [Engine; 2],
}

impl Bench {
    async fn start(order: &str) -> Bench {
        let (sender, received) = mpsc::unbounded_channel();
        let server = Agent::start(move |request| {
            let id = request.headers["gatehouse-event-id"].to_str().unwrap().to_owned();
            sender.send((id, Instant::now())).unwrap();
            Some(Answer { status: StatusCode::OK, ..Answer::with_pieces([Piece::Bytes(Bytes::from("ok"))]) })
        });
        let server = server.await.unwrap();
        let engines = [Engine::dynamodb(FREE, None).await.unwrap(), Engine::sqs(FREE, None).await.unwrap()];
        let proxies = [
            FaultProxy::start(engines[0].address).await.unwrap(),
            FaultProxy::start(engines[1].address).await.unwrap(),
        ];
        let services = Services::embedded(&proxies[0].url(), &proxies[1].url());
        let secrets = serde_json::json!({"destinations": {"bench": {"url": server.url, "order": order}}}).to_string();
        let options = Options { secrets, ..Options::default() };
        let stack = Stack::start(options, services, bind(FREE).await.unwrap()).await.unwrap();
        let store = gatehouse_inbox::Store::new(&gatehouse_local::local_sdk(&engines[0].url()), &stack.table, 90);
        Bench { _stack: stack, store, proxies, received, _server: server, _engines: engines }
    }

    /// Records events one by one, each when the last one has been delivered.
    async fn one_by_one(&mut self) -> Cost {
        let (before, began) = (counts(&self.proxies), Instant::now());
        let mut delays: Vec<Duration> = Vec::new();
        for n in 0..SINGLE {
            let event = event(n, format!("single-{n}"));
            let recorded_at = Instant::now();
            self.store.record(&event, Clock::System.now()).await.unwrap();
            let times = receive(&mut self.received, 1).await;
            delays.push(times[event.id.as_str()].duration_since(recorded_at));
        }
        delays.sort_unstable();
        let ms = |part: f64| delays[((SINGLE - 1) as f64 * part) as usize].as_secs_f64() * 1000.0;
        println!("record to delivery, {SINGLE} events one by one: median {:.0} ms, p99 {:.0} ms", ms(0.5), ms(0.99));
        Cost::of(&before, &counts(&self.proxies), began.elapsed(), SINGLE, 1.0)
    }

    /// Records events of 500 subjects as fast as possible, `together` of a subject at a time.
    async fn in_batches(&mut self, events: usize, together: usize) -> Cost {
        let (before, began) = (counts(&self.proxies), Instant::now());
        let store = &self.store;
        let record = async {
            let records = (0..events).map(|n| async move {
                let event = event(n, format!("{together}-{}", n / together % SUBJECTS));
                store.record(&event, Clock::System.now()).await.unwrap();
            });
            stream::iter(records).buffer_unordered(WRITERS).collect::<()>().await;
            began.elapsed()
        };
        let (recorded, times) = tokio::join!(record, receive(&mut self.received, events));
        let last = times.values().max().unwrap().duration_since(began);
        let rate = |time: Duration| events as f64 / time.as_secs_f64();
        println!(
            "{events} events of {SUBJECTS} subjects, {together} of a subject together: recorded {:.0} a second, \
             delivered {:.0} a second",
            rate(recorded),
            rate(last)
        );
        Cost::of(&before, &counts(&self.proxies), began.elapsed(), events, 0.1 / together as f64)
    }
}

#[tokio::main]
async fn main() {
    let events = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(5_000_usize);
    let mut bench = Bench::start("subject").await;
    let single = bench.one_by_one().await;
    let batched = bench.in_batches(events, 1).await;
    let together = bench.in_batches(events, 2).await;
    let unordered = Bench::start("none").await.in_batches(events, 1).await;
    single.print("one by one", ANSWER_MS + OWN_MS);
    // Ten lanes of a batch are sent at the same time.
    let ms = (ANSWER_MS + OWN_MS) / 10.0 + OWN_MS / 10.0;
    batched.print("in batches, one of a subject", ms);
    together.print("in batches, two of a subject", ms);
    unordered.print("in batches without an order", ms);
}
