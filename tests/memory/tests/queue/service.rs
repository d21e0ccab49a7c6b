//! The SQS under test: the in-memory one, served over HTTP.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use gatehouse_local::engine::{FREE, bind};
use gatehouse_local::http_server::{Server, serve};
use gatehouse_memory::{First, Sqs, sqs::query_error};
use gatehouse_runtime::Clock;
use http::{Request, Response};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

/// Interval at which a long poll looks for messages.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// A running SQS; it stops when dropped.
pub(super) struct Service {
    url: String,
    _server: Server,
}

impl Service {
    pub(super) async fn start() -> Service {
        let listener = bind(FREE).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let sqs = Arc::new(Mutex::new(Sqs::new(&url)));
        let server = serve(listener, move |request| {
            let sqs = Arc::clone(&sqs);
            async move { Some(respond(&sqs, &request).await) }
        });
        Service { url, _server: server }
    }

    pub(super) fn url(&self) -> String {
        self.url.clone()
    }
}

/// Answers a request. Repeats a `ReceiveMessage` without messages until its wait time has passed.
async fn respond(sqs: &Mutex<Sqs>, request: &Request<Bytes>) -> Response<Bytes> {
    let target = request.headers()["x-amz-target"].to_str().unwrap();
    let operation = target.strip_prefix("AmazonSQS.").unwrap();
    let body: Value = serde_json::from_slice(request.body()).unwrap();
    let wait = if operation == "ReceiveMessage" { body["WaitTimeSeconds"].as_u64().unwrap_or(0) } else { 0 };
    let deadline = Instant::now() + Duration::from_secs(wait);
    loop {
        let now = Clock::System.now().as_millis();
        let answer = sqs.lock().unwrap().answer(operation, &body, now, &mut First);
        if answer.body == json!({}) && Instant::now() < deadline {
            sleep(POLL_INTERVAL).await;
            continue;
        }
        let response = Response::builder().status(answer.status).header("content-type", "application/x-amz-json-1.0");
        let response = query_error(&answer)
            .into_iter()
            .fold(response, |response, error| response.header("x-amzn-query-error", error));
        return response.body(Bytes::from(answer.body.to_string())).unwrap();
    }
}
