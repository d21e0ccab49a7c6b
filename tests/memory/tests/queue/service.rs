//! The SQS under test: the in-memory one, served over HTTP.

use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use gatehouse_local::engine::{FREE, bind};
use gatehouse_local::http_server::{Server, serve};
use gatehouse_memory::{First, Sqs, sqs::query_error};
use gatehouse_runtime::Clock;
use http::{Request, Response};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

/// A running SQS; it stops when dropped.
pub(super) struct Service {
    url: String,
    _server: Server,
}

impl Service {
    pub(super) async fn start() -> Service {
        let listener = bind(FREE).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new((Mutex::new(Sqs::new(&url)), Notify::new()));
        let server = serve(listener, move |request| {
            let shared = Arc::clone(&shared);
            async move { Some(respond(&shared.0, &shared.1, &request).await) }
        });
        Service { url, _server: server }
    }

    pub(super) fn url(&self) -> String {
        self.url.clone()
    }
}

/// Answers a request. Repeats a `ReceiveMessage` without messages whenever one may have become visible, until its wait
/// time has passed.
async fn respond(sqs: &Mutex<Sqs>, changed: &Notify, request: &Request<Bytes>) -> Response<Bytes> {
    let target = request.headers()["x-amz-target"].to_str().unwrap();
    let operation = target.strip_prefix("AmazonSQS.").unwrap();
    let body: Value = serde_json::from_slice(request.body()).unwrap();
    let wait = if operation == "ReceiveMessage" { body["WaitTimeSeconds"].as_u64().unwrap_or(0) } else { 0 };
    let deadline = Instant::now() + Duration::from_secs(wait);
    loop {
        let now = Clock::System.now().as_millis();
        // Enabled first, so that no change is missed after the answer.
        let mut change = pin!(changed.notified());
        change.as_mut().enable();
        let (answer, next) = {
            let mut sqs = sqs.lock().unwrap();
            (sqs.answer(operation, &body, now, &mut First), sqs.next_change(now))
        };
        let left = deadline.saturating_duration_since(Instant::now());
        if answer.body == json!({}) && !left.is_zero() {
            let until_next = next.map_or(left, |next| Duration::from_millis((next - now).max(1).unsigned_abs()));
            // Whatever ends the wait, the next answer shows whether there is a message.
            let _ = timeout(left.min(until_next), change).await;
            continue;
        }
        if operation != "ReceiveMessage" {
            changed.notify_waiters();
        }
        let response = Response::builder().status(answer.status).header("content-type", "application/x-amz-json-1.0");
        let response = query_error(&answer)
            .into_iter()
            .fold(response, |response, error| response.header("x-amzn-query-error", error));
        return response.body(Bytes::from(answer.body.to_string())).unwrap();
    }
}
