//! Measures deliveries of `gatehouse dev`: the time from the record to the receiver, and deliveries a second.
//!
//! `cargo bench -p gatehouse --bench deliver [-- EVENTS]` (5,000 by default).
#![allow(clippy::unwrap_used, clippy::cast_precision_loss, missing_docs)]

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use gatehouse_local::agent::{Agent, Answer, Piece};
use gatehouse_local::engine::{Engine, FREE, bind};
use gatehouse_local::{Options, Services, Stack};
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

fn event(n: usize, subjects: usize) -> Event {
    let body = format!(r#"{{"type":"v1.conversation.message","data":{{"n":{n},"text":"{}"}}}}"#, "x".repeat(2000));
    let now = Clock::System.now();
    Event {
        id: EventId::from_stored(format!("ada:msg_{subjects}_{n}")),
        source: "ada".to_owned(),
        event_type: Some("v1.conversation.message".to_owned()),
        subject: Some(Subject::from_stored(format!("ada:conversation:{subjects}-{}", n % subjects))),
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

/// Receives the ids of delivered events, and when they came.
async fn receive(received: &mut mpsc::UnboundedReceiver<(String, Instant)>, count: usize) -> HashMap<String, Instant> {
    let mut times = HashMap::new();
    while times.len() < count {
        let (id, at) = received.recv().await.unwrap();
        times.entry(id).or_insert(at);
    }
    times
}

#[tokio::main]
async fn main() {
    let events = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(5_000_usize);
    let (sender, mut received) = mpsc::unbounded_channel();
    let server = Agent::start(move |request| {
        let id = request.headers["gatehouse-event-id"].to_str().unwrap().to_owned();
        sender.send((id, Instant::now())).unwrap();
        Some(Answer { status: StatusCode::OK, ..Answer::with_pieces([Piece::Bytes(Bytes::from("ok"))]) })
    });
    let server = server.await.unwrap();
    let engines = [Engine::dynamodb(FREE, None).await.unwrap(), Engine::sqs(FREE, None).await.unwrap()];
    let services = Services::embedded(&engines[0].url(), &engines[1].url());
    let secrets = serde_json::json!({"destinations": {"bench": {"url": server.url}}}).to_string();
    let options = Options { secrets, ..Options::default() };
    let stack = Stack::start(options, services, bind(FREE).await.unwrap()).await.unwrap();
    let store = stack.store();

    let mut delays: Vec<Duration> = Vec::new();
    for n in 0..SINGLE {
        let event = event(n, 1);
        let recorded_at = Instant::now();
        store.record(&event, Clock::System.now()).await.unwrap();
        let times = receive(&mut received, 1).await;
        delays.push(times[event.id.as_str()].duration_since(recorded_at));
    }
    delays.sort_unstable();
    let ms = |part: f64| delays[((SINGLE - 1) as f64 * part) as usize].as_secs_f64() * 1000.0;
    println!("record to delivery, {SINGLE} events one by one: median {:.0} ms, p99 {:.0} ms", ms(0.5), ms(0.99));

    let began = Instant::now();
    let record = async {
        let store = &store;
        let records = (0..events).map(|n| async move {
            store.record(&event(n, SUBJECTS), Clock::System.now()).await.unwrap();
        });
        stream::iter(records).buffer_unordered(WRITERS).collect::<()>().await;
        began.elapsed()
    };
    let (recorded, times) = tokio::join!(record, receive(&mut received, events));
    let last = times.values().max().unwrap().duration_since(began);
    let rate = |time: Duration| events as f64 / time.as_secs_f64();
    println!(
        "{events} events of {SUBJECTS} subjects: recorded {:.0} a second, delivered {:.0} a second",
        rate(recorded),
        rate(last)
    );
}
