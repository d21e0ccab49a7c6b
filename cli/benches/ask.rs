//! Measures what Gatehouse adds to a question to a service: `cargo bench -p gatehouse --bench ask`.
//!
//! Everything runs in one process over loopback connections, with DynamoDB in memory. Each round asks the service
//! directly, asks it through Gatehouse, and lets a rule reply, in turn, so that a busy machine slows all three.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::cast_precision_loss, missing_docs)]

use std::time::{Duration, Instant};

use bytes::Bytes;
use gatehouse_egress::{ScopedClient, Tls};
use gatehouse_local::delivery::Client;
use gatehouse_local::http_server::{self, Server};
use gatehouse_local::{Delivery, Options, Testbed, local_sdk};
use gatehouse_receiver::SecretsCache;
use gatehouse_replies::{ControlHosts, Replies, ServiceAccess};
use gatehouse_runtime::Clock;
use gatehouse_services::PART;
use gatehouse_vapi::Vapi;
use http::{Request, Response};
use http_body_util::BodyExt;
use serde_json::json;
use tokio::net::TcpListener;

const ROUNDS: usize = 2000;
const WARM_UP: usize = 100;
/// The pauses of the service.
const PAUSES: [u64; 2] = [0, 20];

#[tokio::main]
#[allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]
async fn main() {
    println!("{ROUNDS} rounds; milliseconds, median and 99th percentile\n");
    println!("{:<10} {:>16} {:>22} {:>16} {:>16}", "service", "asked directly", "through Gatehouse", "added", "a rule");
    for pause in PAUSES {
        measure(Duration::from_millis(pause)).await;
    }
    count().await;
}

/// Starts a service that answers after a pause. Returns its URL.
async fn service(pause: Duration) -> (Server, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let server = http_server::serve(listener, move |_: Request<Bytes>| async move {
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        Some(Response::new(Bytes::from_static(br#"{"assistantId":"a"}"#)))
    });
    (server, url)
}

async fn stack(service: &str) -> Testbed {
    let rules = json!({"server": [
        {"when": {"type": "assistant-request", "where": {"/ask": true}}, "ask": "mine"},
        {"when": {"type": "assistant-request"}, "reply": {"assistantId": "a"}},
    ]});
    let document = json!({"services": {"mine": {"url": service}}}).to_string();
    let services = SecretsCache::fixed(PART, &document, true, Clock::System).unwrap();
    let client = gatehouse_services::Client::new(local_sdk("http://127.0.0.1:1"), Clock::System, true).unwrap();
    let replies = Replies::parse("bench", &rules.to_string(), ControlHosts::Loopback).unwrap();
    let replies = replies.with_services(ServiceAccess::new(client, services));
    Testbed::start(Options { replies, ..Options::default() }).await.unwrap()
}

fn url(stack: &Testbed) -> String {
    format!("{}/lambda-url/server-message/server", stack.url)
}

fn message(call: &str, ask: bool) -> String {
    // As large as a short message of Vapi.
    let filler = "x".repeat(2000);
    json!({"message": {"type": "assistant-request", "call": {"id": call}, "ask": ask, "filler": filler}}).to_string()
}

#[allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]
async fn measure(pause: Duration) {
    let (_server, service) = service(pause).await;
    let stack = stack(&service).await;
    let client = ScopedClient::new(&Tls::none().unwrap(), Duration::from_secs(1));
    let mut times: [Vec<f64>; 3] = Default::default();
    for round in 0..ROUNDS + WARM_UP {
        let deliveries = [
            (service.clone(), Delivery::now(&Vapi::SERVER, message(&format!("d{round}"), true))),
            (url(&stack), Delivery::now(&Vapi::SERVER, message(&format!("g{round}"), true))),
            (url(&stack), Delivery::now(&Vapi::SERVER, message(&format!("r{round}"), false))),
        ];
        for ((url, delivery), times) in deliveries.into_iter().zip(&mut times) {
            let mut request = Request::post(url);
            for (name, value) in &delivery.headers {
                request = request.header(name, value);
            }
            let request = request.body(delivery.body).unwrap();
            let started = Instant::now();
            let answer = client.send(&request, false).await.unwrap();
            assert_eq!(answer.status(), 200);
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(body, r#"{"assistantId":"a"}"#);
            if round >= WARM_UP {
                times.push(started.elapsed().as_secs_f64() * 1000.0);
            }
        }
    }
    for times in &mut times {
        times.sort_by(f64::total_cmp);
    }
    let quantile = |times: &[f64], part: f64| times[(times.len() as f64 * part) as usize];
    let both = |times: &[f64]| (quantile(times, 0.5), quantile(times, 0.99));
    let [direct, through, rule] = times.each_ref().map(|times| both(times));
    let cell = |(median, p99): (f64, f64)| format!("{median:.2} · {p99:.2}");
    let added = (through.0 - direct.0, through.1 - direct.1);
    let name = format!("{} ms", pause.as_millis());
    println!("{name:<10} {:>16} {:>22} {:>16} {:>16}", cell(direct), cell(through), cell(added), cell(rule));
}

/// Counts the requests to DynamoDB for one question, and for its copy.
async fn count() {
    let (_server, service) = service(Duration::ZERO).await;
    let stack = stack(&service).await;
    let client = Client::new(&url(&stack)).unwrap();
    println!("\nrequests to DynamoDB:");
    for (name, ask) in [("a question", true), ("its copy", true), ("a rule", false)] {
        let call = if ask { "c" } else { "r" };
        let before = stack.dynamodb.counts();
        client.send(&Delivery::now(&Vapi::SERVER, message(call, ask))).await.unwrap();
        let new = stack.dynamodb.counts().into_iter().filter_map(|(operation, count)| {
            let count = count - before.get(&operation).copied().unwrap_or_default();
            (count > 0).then(|| format!("{count} {operation}"))
        });
        println!("  {name}: {}", new.collect::<Vec<_>>().join(", "));
    }
}
