//! Tests the agent-chat binary, which streams its responses, with a local Lambda Runtime API.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use bytes::Bytes;
use gatehouse_local::agent::{Agent, Answer, Piece};
use gatehouse_local::runtime_api::Invoked;
use gatehouse_local::{Delivery, Fault, Options, Rule, Testbed};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

const STREAM: &str = "data: {\"type\":\"text\",\"content\":\"in confidence\"}\n\ndata: [DONE]\n\n";
const LONG_AGO: &str = "2026-01-01T00:00:00.000Z";
const TOKEN: &str = "client-token-in-confidence";

fn request(token: &str) -> Value {
    delivery(token).to_lambda_event()
}

fn delivery(token: &str) -> Delivery {
    let headers = [("authorization", format!("Bearer {token}")), ("content-type", "application/json".to_owned())];
    Delivery {
        function: agent_chat::FUNCTION.to_owned(),
        path: "v1/aibot/bots/kit/send-message".to_owned(),
        method: "POST".to_owned(),
        headers: headers.map(|(name, value)| (name.to_owned(), value)).to_vec(),
        body: Bytes::from(r#"{"messages":[{"role":"user","content":"in confidence"}]}"#),
    }
}

fn secrets(agent: &Agent) -> String {
    let secrets = json!({"agent_chat": {
        "clients": [{"id": "web", "token": TOKEN, "agents": ["*"]}],
        "agents": {"kit": {"url": format!("{}/x", agent.url), "dialect": "ag-kit"}}}});
    secrets.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn turn_is_streamed_recorded_and_logged_without_content() {
    let stack = Testbed::start(Options { poll: false, ..Options::default() }).await.unwrap();
    let agent = Agent::start(|_| Some(Answer::with_pieces([Piece::Bytes(Bytes::from(STREAM))]))).await.unwrap();
    let secrets = secrets(&agent);
    let more = [("GATEHOUSE_SECRETS", secrets.as_str()), ("RUST_LOG", "trace")];
    let binary = env!("CARGO_BIN_EXE_under-test-agent-chat");
    let mut host = stack.host(binary, agent_chat::TIMEOUT, &more).await.unwrap();
    let Invoked::Answered(answer) = host.invoke(&request(TOKEN)).await.unwrap() else { panic!("failed") };
    assert_eq!((&answer["statusCode"], &answer["body"]), (&json!(200), &json!(STREAM)), "{answer}");
    assert_eq!(answer["headers"]["content-type"], "text/event-stream; charset=utf-8");
    let turn_id = answer["headers"]["gatehouse-turn-id"].as_str().unwrap().to_owned();
    let Invoked::Answered(refused) = host.invoke(&request("someone-else")).await.unwrap() else { panic!("failed") };
    assert_eq!(refused["statusCode"], 401, "{refused}");
    assert!(refused["body"].as_str().unwrap().contains("urn:gatehouse:problem:no-client"));

    let output = host.kill().await.unwrap();
    let line = output.lines().find(|line| line.contains(&turn_id)).unwrap();
    let line: Value = serde_json::from_str(line).unwrap();
    assert_eq!((&line["outcome"], &line["end"], &line["events"]), (&json!("recorded"), &json!("completed"), &json!(2)));
    assert!(!output.contains("in confidence") && !output.contains(TOKEN), "{output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn key_of_killed_turn_is_free_when_its_lease_expires() {
    let stack = Testbed::start(Options { poll: false, ..Options::default() }).await.unwrap();
    let (sender, answer) = Answer::stream();
    let answers = Mutex::new(vec![Answer::with_pieces([Piece::Bytes(Bytes::from(STREAM))]), answer]);
    let agent = Agent::start(move |_| answers.lock().unwrap().pop()).await.unwrap();
    let secrets = secrets(&agent);
    let more = [("GATEHOUSE_SECRETS", secrets.as_str())];
    let start = || stack.host(env!("CARGO_BIN_EXE_under-test-agent-chat"), agent_chat::TIMEOUT, &more);
    let event = delivery(TOKEN).with_header("idempotency-key", "k").to_lambda_event();

    let mut killed = start().await.unwrap();
    sender.send(Piece::Bytes(Bytes::from("data: {}\n\n"))).unwrap();
    tokio::select! {
        invoked = killed.invoke(&event) => panic!("answered before it was killed: {invoked:?}"),
        () = async { while agent.requests().is_empty() { tokio::task::yield_now().await } } => {}
    }
    killed.kill().await.unwrap();

    let mut next = start().await.unwrap();
    let Invoked::Answered(in_use) = next.invoke(&event).await.unwrap() else { panic!("failed") };
    assert_eq!(in_use["statusCode"], 409, "{in_use}");
    // Sets the lease, which lasts five minutes, to a time in the past.
    let client = stack.dynamodb_client();
    let update = client.update_item().table_name(&stack.table).update_expression("SET lease_until = :past");
    let update = update.key("event_id", AttributeValue::S("claim:web:kit:k".to_owned()));
    update.expression_attribute_values(":past", AttributeValue::S(LONG_AGO.to_owned())).send().await.unwrap();
    for replayed in [Value::Null, json!("true")] {
        let Invoked::Answered(answer) = next.invoke(&event).await.unwrap() else { panic!("failed") };
        assert_eq!((&answer["statusCode"], &answer["body"]), (&json!(200), &json!(STREAM)), "{answer}");
        assert!(answer["headers"]["gatehouse-turn-id"].as_str().unwrap().starts_with("web:kit:k:"), "{answer}");
        assert_eq!(answer["headers"]["idempotency-replayed"], replayed);
    }
    assert_eq!(agent.requests().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn unrecorded_turn_is_logged_at_level_error() {
    let stack = Testbed::start(Options { poll: false, ..Options::default() }).await.unwrap();
    let agent = Agent::start(|_| Some(Answer::with_pieces([Piece::Bytes(Bytes::from(STREAM))]))).await.unwrap();
    stack.dynamodb.add_rule(Rule::every(Fault::Cut));
    stack.sqs.add_rule(Rule::every(Fault::Cut));
    let secrets = secrets(&agent);
    let binary = env!("CARGO_BIN_EXE_under-test-agent-chat");
    let mut host = stack.host(binary, agent_chat::TIMEOUT, &[("GATEHOUSE_SECRETS", &secrets)]).await.unwrap();
    let Invoked::Answered(answer) = host.invoke(&request(TOKEN)).await.unwrap() else { panic!("failed") };
    assert_eq!(answer["body"], STREAM, "the client has the whole response");
    let output = host.kill().await.unwrap();
    let line: Value = output.lines().filter_map(|line| serde_json::from_str(line).ok()).next_back().unwrap();
    assert_eq!(
        (&line["level"], &line["outcome"]),
        (&json!("ERROR"), &json!(gatehouse_payload::Outcome::Unrecorded.as_str()))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_limit_is_named_and_prevents_startup() {
    let stack = Testbed::start(Options { poll: false, ..Options::default() }).await.unwrap();
    let binary = env!("CARGO_BIN_EXE_under-test-agent-chat");
    let host = stack.host(binary, agent_chat::TIMEOUT, &[("CHAT_IDLE_SECONDS", "1h")]).await.unwrap();
    let (succeeded, output) = host.finish().await.unwrap();
    assert!(
        !succeeded && output.contains("CHAT_IDLE_SECONDS") && output.contains("seconds, from 1 to 900"),
        "{output}"
    );
}

/// How a Runtime API fails after it has read the beginning of a response.
#[derive(Debug, Clone, Copy)]
enum RuntimeFailure {
    /// Resets the connection.
    Reset,
    /// Closes the connection.
    Closed,
    /// Answers with this status before the end of the response and continues to read.
    Early(u16),
}

/// Starts a Runtime API that returns `event` and fails while it reads the response.
///
/// Returns its address, a signal for the failure and a signal for the request for the next invocation.
async fn failing_runtime(
    event: String,
    failure: RuntimeFailure,
) -> (String, oneshot::Receiver<()>, oneshot::Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (failed, failure_signal) = oneshot::channel();
    let (requested, next) = oneshot::channel();
    let state = Arc::new(Mutex::new(RuntimeState { event: Some(event), failed: Some(failed), next: Some(requested) }));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve_runtime(stream, Arc::clone(&state), failure));
        }
    });
    (address, failure_signal, next)
}

/// State that the connections of a Runtime API share. Each member is taken when it is used.
struct RuntimeState {
    event: Option<String>,
    /// Signals that the Runtime API has failed.
    failed: Option<oneshot::Sender<()>>,
    /// Signals that the next invocation was requested.
    next: Option<oneshot::Sender<()>>,
}

async fn serve_runtime(mut stream: TcpStream, state: Arc<Mutex<RuntimeState>>, failure: RuntimeFailure) {
    let mut request = Vec::new();
    while stream.read_buf(&mut request).await.is_ok_and(|length| length > 0) {
        if request.starts_with(b"GET ") && request.ends_with(b"\r\n\r\n") {
            request.clear();
            let Some(event) = state.lock().unwrap().event.take() else {
                state.lock().unwrap().next.take().map(|requested| requested.send(()));
                continue;
            };
            let deadline = gatehouse_runtime::Clock::System.now().as_millis() + 60_000;
            let head = format!(
                "HTTP/1.1 200 OK\r\nlambda-runtime-aws-request-id: r-1\r\nlambda-runtime-deadline-ms: {deadline}\r\n\
                 lambda-runtime-invoked-function-arn: arn:aws:lambda:us-east-1:000000000000:function:x\r\n\
                 content-length: {}\r\n\r\n{event}",
                event.len()
            );
            stream.write_all(head.as_bytes()).await.unwrap();
        } else if String::from_utf8_lossy(&request).contains("in confidence") {
            request.clear();
            if let RuntimeFailure::Early(status) = failure {
                stream.write_all(format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n").as_bytes()).await.unwrap();
            }
            let failed = state.lock().unwrap().failed.take();
            match failure {
                RuntimeFailure::Reset => stream.set_zero_linger().unwrap(),
                RuntimeFailure::Closed => {}
                RuntimeFailure::Early(_) => {
                    failed.map(|failed| failed.send(()));
                    continue;
                }
            }
            drop(stream);
            failed.map(|failed| failed.send(()));
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn turn_completes_when_the_runtime_api_fails_during_its_response() {
    for failure in
        [RuntimeFailure::Reset, RuntimeFailure::Closed, RuntimeFailure::Early(413), RuntimeFailure::Early(202)]
    {
        let stack = Testbed::start(Options { poll: false, ..Options::default() }).await.unwrap();
        let (sender, answer) = Answer::stream();
        let answers = Mutex::new(Some(answer));
        let agent = Agent::start(move |_| answers.lock().unwrap().take()).await.unwrap();
        let mut document: Value = serde_json::from_str(&secrets(&agent)).unwrap();
        document["agent_chat"]["clients"][0]["limits"] = json!({"concurrent": 1});
        let secrets = document.to_string();
        let event = delivery(TOKEN).with_header("idempotency-key", "k").to_lambda_event();
        let (runtime, failure_signal, mut next) = failing_runtime(event.to_string(), failure).await;
        let more = [("GATEHOUSE_SECRETS", secrets.as_str()), ("AWS_LAMBDA_RUNTIME_API", &runtime)];
        let binary = env!("CARGO_BIN_EXE_under-test-agent-chat");
        let host = stack.host(binary, agent_chat::TIMEOUT, &more).await.unwrap();

        let (first, rest) = STREAM.split_at(STREAM.find("data: [DONE]").unwrap());
        sender.send(Piece::Bytes(Bytes::from(first))).unwrap();
        failure_signal.await.unwrap();
        for _ in 0..20 {
            sender.send(Piece::Bytes(Bytes::from(first))).unwrap();
            tokio::task::yield_now().await;
        }
        assert!(next.try_recv().is_err(), "{failure:?}: the turn still runs");
        sender.send(Piece::Bytes(Bytes::from(rest))).unwrap();
        drop(sender);
        tokio::time::timeout(Duration::from_secs(30), next).await.unwrap().unwrap();

        // The function requests the next invocation after it has finished everything.
        let store = stack.store();
        let now = gatehouse_runtime::Clock::System.now();
        let claim = item(&stack, "claim:web:kit:k").await;
        assert_eq!(claim["state"].as_s().unwrap(), "finished", "{failure:?}");
        let id = format!("chat:web:kit:k:{}", claim["fence"].as_n().unwrap());
        let record = store.get(&gatehouse_payload::EventId::from_stored(id), now).await.unwrap().unwrap();
        let turn: Value = serde_json::from_slice(&record.event.body).unwrap();
        assert_eq!((&turn["end"], &turn["events"]), (&json!("completed"), &json!(22)), "{failure:?}");
        let slots = item(&stack, "slots:web").await;
        assert!(slots["slots"].as_m().unwrap().is_empty(), "{failure:?}");
        drop(host);
    }
}

async fn item(stack: &Testbed, id: &str) -> std::collections::HashMap<String, AttributeValue> {
    let get = stack.dynamodb_client().get_item().table_name(&stack.table).consistent_read(true);
    get.key("event_id", AttributeValue::S(id.to_owned())).send().await.unwrap().item.unwrap()
}
