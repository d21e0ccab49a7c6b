//! What the proxy adds, beside calling the agent directly, in one run: `cargo bench -p agent-chat`
//!
//! Agent, proxy, engines and client share one process, so both ways pay for all but the proxy alike.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use gatehouse_local::agent::{Agent, Answer, Heard, Piece};
use gatehouse_local::delivery::{Client, Delivery};
use gatehouse_local::{Options, Testbed};
use http_body_util::BodyExt;
use serde_json::json;
use tokio::time::Instant;

const TOKEN: &str = "client-token-for-the-bench";
const DONE: &[u8] = b"data: [DONE]\n\n";
const ROUNDS: usize = 300;
const EVENTS: usize = 300;
const BULK: usize = 64 * 1024 * 1024;
const STREAMS: usize = 500;
const SLOW_STREAMS: usize = 200;
const SLOW_EVENTS: usize = 60;

/// Two ways to one agent.
struct Ways {
    _stack: Testbed,
    _agent: Agent,
    direct: Client,
    through: Client,
    delivery: Delivery,
}

impl Ways {
    async fn new(answer: impl Fn() -> Answer + Send + Sync + 'static) -> Ways {
        Self::hearing(move |_| answer()).await
    }

    async fn hearing(answer: impl Fn(&Heard) -> Answer + Send + Sync + 'static) -> Ways {
        let agent = Agent::start(move |heard| Some(answer(heard))).await.unwrap();
        let secrets = json!({"agent_chat": {
            "clients": [{"id": "bench", "token": TOKEN, "agents": ["*"]}],
            "agents": {"kit": {"url": format!("{}/x", agent.url), "dialect": "ag-kit"}}}});
        let options = Options { poll: false, secrets: secrets.to_string(), ..Options::default() };
        let stack = Testbed::start(options).await.unwrap();
        let through = format!("{}/lambda-url/agent-chat/v1/aibot/bots/kit/send-message", stack.url);
        let headers = [("authorization", format!("Bearer {TOKEN}")), ("content-type", "application/json".to_owned())];
        let delivery = Delivery {
            function: String::new(),
            path: String::new(),
            method: "POST".to_owned(),
            headers: headers.map(|(name, value)| (name.to_owned(), value)).to_vec(),
            body: Bytes::from(r#"{"messages":[{"role":"user","content":"Hello"}]}"#),
        };
        let (direct, through) = (Client::new(&agent.url).unwrap(), Client::new(&through).unwrap());
        Ways { direct, through, delivery, _agent: agent, _stack: stack }
    }
}

fn event(text: &str) -> Bytes {
    Bytes::from(format!("data: {{\"type\":\"text\",\"content\":\"{text}\"}}\n\n"))
}

/// How long until the first event, and until the end; how many bytes.
async fn read(client: &Client, delivery: &Delivery) -> (Duration, Duration, usize) {
    let started = Instant::now();
    let mut body = client.open(delivery).await.unwrap().into_body();
    let (mut first, mut bytes) = (None, 0);
    while let Some(frame) = body.frame().await {
        first.get_or_insert_with(|| started.elapsed());
        bytes += frame.unwrap().into_data().unwrap_or_default().len();
    }
    (first.unwrap_or_default(), started.elapsed(), bytes)
}

#[tokio::main]
async fn main() {
    println!("{:<44} {:>12} {:>12} {:>12}", "", "direct", "through", "added");
    first_event().await;
    per_event().await;
    bulk().await;
    slow_streams().await;
    open_streams().await;
}

fn row(what: &str, direct: f64, through: f64, unit: &str) {
    println!("{what:<44} {direct:>9.3} {unit} {through:>9.3} {unit} {:>9.3} {unit}", through - direct);
}

fn told(what: &str, times: [Vec<f64>; 2]) {
    let sorted = times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times
    });
    for (name, part) in [("median", 0.5), ("p99", 0.99)] {
        let at = |times: &Vec<f64>| times[(times.len() as f64 * part) as usize];
        row(&format!("{what}, {name}"), at(&sorted[0]), at(&sorted[1]), "ms");
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

async fn first_event() {
    let ways = Ways::new(|| Answer::saying([Piece::Says(event("Hi")), Piece::Says(Bytes::from_static(DONE))])).await;
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for (times, client) in times.iter_mut().zip([&ways.direct, &ways.through]) {
            times.push(ms(read(client, &ways.delivery).await.0));
        }
    }
    told("to the first event", times);
}

/// Events carry when they were said.
async fn per_event() {
    let zero = Instant::now();
    let ways = Ways::new(move || {
        let (sender, answer) = Answer::stream();
        tokio::spawn(async move {
            for _ in 0..EVENTS {
                tokio::time::sleep(Duration::from_millis(2)).await;
                let _ = sender.send(Piece::Says(event(&zero.elapsed().as_nanos().to_string())));
            }
            let _ = sender.send(Piece::Says(Bytes::from_static(DONE)));
        });
        answer
    })
    .await;
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..4 {
        for (times, client) in times.iter_mut().zip([&ways.direct, &ways.through]) {
            let mut body = client.open(&ways.delivery).await.unwrap().into_body();
            while let Some(frame) = body.frame().await {
                times.extend(delay(zero, &frame.unwrap().into_data().unwrap_or_default()));
            }
        }
    }
    told("an event, from said to heard", times);
}

/// When an event was said, by what it says.
fn delay(zero: Instant, event: &[u8]) -> Option<f64> {
    let now = zero.elapsed();
    let said = String::from_utf8_lossy(event).split('"').find_map(|word| word.parse::<u64>().ok())?;
    Some(ms(now.saturating_sub(Duration::from_nanos(said))))
}

/// Many streams at once, each an event every 50 ms; every byte is compared.
async fn slow_streams() {
    let zero = Instant::now();
    let said = Arc::new(Mutex::new(HashMap::<String, Vec<u8>>::new()));
    let heard = Arc::clone(&said);
    let ways = Ways::hearing(move |request| {
        let name = String::from_utf8_lossy(&request.body).into_owned();
        let (said, (sender, answer)) = (Arc::clone(&heard), Answer::stream());
        tokio::spawn(async move {
            for n in 0..=SLOW_EVENTS {
                tokio::time::sleep(Duration::from_millis(50)).await;
                let nanos = zero.elapsed().as_nanos().to_string();
                let bytes = if n == SLOW_EVENTS { Bytes::from_static(DONE) } else { event(&nanos) };
                said.lock().unwrap().entry(name.clone()).or_default().extend_from_slice(&bytes);
                let _ = sender.send(Piece::Says(bytes));
            }
        });
        answer
    })
    .await;
    let (mut times, mut grown) = ([Vec::new(), Vec::new()], [0.0_f64; 2]);
    for (n, client) in [&ways.direct, &ways.through].into_iter().enumerate() {
        let before = resident();
        let mut streams = tokio::task::JoinSet::new();
        for stream in 0..SLOW_STREAMS {
            let name = format!(r#"{{"messages":[],"conversationId":"{n}-{stream}"}}"#);
            let (client, said) = (client.clone(), Arc::clone(&said));
            let delivery = Delivery { body: Bytes::from(name.clone()), ..ways.delivery.clone() };
            streams.spawn(async move {
                let mut body = client.open(&delivery).await.unwrap().into_body();
                let (mut got, mut delays) = (Vec::new(), Vec::new());
                while let Some(frame) = body.frame().await {
                    let data = frame.unwrap().into_data().unwrap_or_default();
                    delays.extend(delay(zero, &data));
                    got.extend_from_slice(&data);
                }
                assert!(said.lock().unwrap()[&name] == got, "stream {name} is not what was said");
                delays
            });
        }
        while !streams.is_empty() {
            grown[n] = grown[n].max(resident() - before);
            let soon = tokio::time::timeout(Duration::from_millis(100), streams.join_next());
            if let Ok(Some(delays)) = soon.await {
                times[n].extend(delays.unwrap());
            }
        }
    }
    assert!(times.iter().all(|times| times.len() > SLOW_STREAMS * SLOW_EVENTS / 2));
    told(&format!("an event in {SLOW_STREAMS} slow streams, said to heard"), times);
    row(&format!("memory grown by {SLOW_STREAMS} slow streams"), grown[0], grown[1], "kB");
}

async fn bulk() {
    let event = event(&"x".repeat(16 * 1024));
    let count = BULK / event.len();
    let ways = Ways::new(move || {
        let pieces = std::iter::repeat_n(Piece::Says(event.clone()), count);
        Answer::saying(pieces.chain([Piece::Says(Bytes::from_static(DONE))]))
    })
    .await;
    let mut rates = [Vec::new(), Vec::new()];
    for _ in 0..5 {
        for (rates, client) in rates.iter_mut().zip([&ways.direct, &ways.through]) {
            let (_, took, bytes) = read(client, &ways.delivery).await;
            rates.push(bytes as f64 / took.as_secs_f64() / 1e6);
        }
    }
    let median = |rates: &mut Vec<f64>| {
        rates.sort_by(f64::total_cmp);
        rates[rates.len() / 2]
    };
    let [direct, through] = rates.each_mut().map(median);
    println!(
        "{:<44} {direct:>7.0} MB/s {through:>7.0} MB/s {:>11.2} x",
        "events of 16 kB, median of 5",
        through / direct
    );
}

/// Resident memory, in kB; 0 where the system does not tell.
fn resident() -> f64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<f64>().ok()).unwrap_or_default() * 4.0
}

async fn open_streams() {
    let ways = Ways::new(|| {
        let (sender, answer) = Answer::stream();
        let _ = sender.send(Piece::Says(event("Hi")));
        // It never ends.
        tokio::spawn(async move { sender.closed().await });
        answer
    })
    .await;
    let mut grown = [0.0, 0.0];
    let mut kept = Vec::new();
    for (grown, client) in grown.iter_mut().zip([&ways.direct, &ways.through]) {
        let before = resident();
        for _ in 0..STREAMS {
            let mut body = client.open(&ways.delivery).await.unwrap().into_body();
            body.frame().await.unwrap().unwrap();
            kept.push(body);
        }
        *grown = (resident() - before) / STREAMS as f64;
    }
    row(&format!("memory of an open stream, of {STREAMS}"), grown[0], grown[1], "kB");
}
