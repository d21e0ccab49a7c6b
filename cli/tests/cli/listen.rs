//! `gatehouse listen`, `gatehouse tail` and `gatehouse events resend`.

use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use gatehouse_ada::Ada;
use gatehouse_local::Delivery;
use gatehouse_local::agent::{Agent, Answer, Piece, ReceivedRequest};
use gatehouse_runtime::Clock;
use gatehouse_vapi::Vapi;
use gatehouse_vendor::signature::{SigningKey, verify};
use http::StatusCode;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::process::{Dev, Running, ada, gatehouse, run};

/// Time limit of waits.
const WAIT_LIMIT: Duration = Duration::from_secs(30);
const CONVERSATION: &str = "ada:conversation:673da1f0c2b94e5f8a017b11";

/// A server that passes its requests on and answers with `status`.
async fn server_at(at: SocketAddr, status: StatusCode) -> (Agent, mpsc::UnboundedReceiver<ReceivedRequest>) {
    let (sender, requests) = mpsc::unbounded_channel();
    let answer = move |request: &ReceivedRequest| {
        sender.send(request.clone()).unwrap();
        Some(Answer { status, ..Answer::with_pieces([Piece::Bytes(Bytes::from("no such table\n"))]) })
    };
    (Agent::start_at(at, answer).await.unwrap(), requests)
}

async fn server(status: StatusCode) -> (Agent, mpsc::UnboundedReceiver<ReceivedRequest>) {
    server_at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), status).await
}

async fn next(requests: &mut mpsc::UnboundedReceiver<ReceivedRequest>) -> ReceivedRequest {
    timeout(WAIT_LIMIT, requests.recv()).await.expect("a request").unwrap()
}

fn body(request: &ReceivedRequest) -> Value {
    serde_json::from_slice(&request.body).unwrap()
}

fn event_id(request: &ReceivedRequest) -> String {
    body(request)["data"]["event_id"].as_str().unwrap().to_owned()
}

/// Runs a command that ends by itself, for events of the last hour.
fn past(dev: &Dev, arguments: &[&str]) -> (Output, String) {
    run(&[arguments, &["--since", "1h", "--at", dev.base()]].concat(), &[])
}

/// Runs a command until the test ends.
fn start(dev: &Dev, arguments: &[&str]) -> Running {
    let mut command = gatehouse();
    let command = command.args(arguments).args(["--since", "1h", "--at", dev.base()]);
    Running(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
}

/// Returns the JSON lines of an output.
fn lines(output: &Output) -> Vec<Value> {
    String::from_utf8(output.stdout.clone()).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn listen_forwards_signed_webhooks() {
    let dev = Dev::start(&[], &[]);
    let (agent, mut requests) = server(StatusCode::OK).await;
    let listen = start(&dev, &["listen", "--forward-to", &agent.url, "-H", "X-Api-Key: a b"]);
    ada("msg_1").send(dev.base()).await.unwrap();
    let request = next(&mut requests).await;
    let message = body(&request);
    assert_eq!(message["type"], "ada.v1.conversation.message");
    let data = &message["data"];
    assert_eq!((&data["event_id"], &data["subject"]), (&json!("ada:msg_1"), &json!(CONVERSATION)));
    assert_eq!(data["payload"]["data"]["conversation_id"], "673da1f0c2b94e5f8a017b11");

    let (output, _) = run(&["listen", "--print-secret", "--at", dev.base()], &[]);
    let secret = String::from_utf8(output.stdout).unwrap();
    let key = SigningKey::parse(secret.trim()).unwrap();
    let proof = verify(&request.headers, &request.body, &[key], Clock::System.now()).unwrap();
    assert!(proof.message_id.unwrap().starts_with("evt_"));
    for (name, value) in [
        ("gatehouse-event-id", "ada:msg_1"),
        ("gatehouse-attempt", "1"),
        ("gatehouse-destination", "listen"),
        ("gatehouse-listen", "true"),
        ("content-type", "application/json"),
        ("x-api-key", "a b"),
    ] {
        assert_eq!(request.headers[name], value);
    }
    drop(listen);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_event_is_forwarded_once_and_probes_never() {
    let dev = Dev::start(&[], &[]);
    let (agent, mut requests) = server(StatusCode::OK).await;
    ada("msg_1").send(dev.base()).await.unwrap();
    let _listen = start(&dev, &["listen", "--forward-to", &agent.url]);
    assert_eq!(event_id(&next(&mut requests).await), "ada:msg_1");
    run(&["ping", "--at", dev.base()], &[]);
    ada("msg_1").send(dev.base()).await.unwrap();
    // Every poll finds the earlier events again.
    for id in ["msg_2", "msg_3"] {
        ada(id).send(dev.base()).await.unwrap();
        assert_eq!(event_id(&next(&mut requests).await), format!("ada:{id}"));
    }
    assert!(requests.try_recv().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_a_subject_wait_for_the_server_and_keep_their_order() {
    let dev = Dev::start(&[], &[]);
    // An address that no other test uses.
    let at = {
        let listener = std::net::TcpListener::bind((Ipv4Addr::new(127, 83, 7, 19), 0)).unwrap();
        listener.local_addr().unwrap()
    };
    let ids: Vec<String> = (0..20).map(|n| format!("msg_{n:02}")).collect();
    for id in &ids {
        ada(id).send(dev.base()).await.unwrap();
    }
    let mut listen = start(&dev, &["listen", "--forward-to", &format!("http://{at}")]);
    let stderr = BufReader::new(listen.0.stderr.take().unwrap());
    let waits = stderr.lines().map(Result::unwrap).find(|line| line.contains("the server is not reachable"));
    assert!(waits.is_some_and(|line| line.ends_with("waiting for it")));
    let (_agent, mut requests) = server_at(at, StatusCode::OK).await;
    for id in &ids {
        let request = next(&mut requests).await;
        assert_eq!((event_id(&request), &body(&request)["data"]["late"]), (format!("ada:{id}"), &json!(false)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_waits_for_the_previous_one_of_its_subject_and_for_no_other() {
    let dev = Dev::start(&[], &[]);
    let (sender, mut requests) = mpsc::unbounded_channel();
    // The first response ends when the test drops the other end of its body.
    let held = Arc::new(Mutex::new(None));
    let shared = Arc::clone(&held);
    let agent = Agent::start(move |request| {
        sender.send(request.clone()).unwrap();
        let (body, answer) = Answer::stream();
        if event_id(request) == "ada:msg_1" {
            *shared.lock().unwrap() = Some(body);
        }
        Some(answer)
    });
    let agent = agent.await.unwrap();
    for id in ["msg_1", "msg_2"] {
        ada(id).send(dev.base()).await.unwrap();
    }
    for call in 0..5 {
        let call =
            json!({"type": "status-update", "status": "ended", "timestamp": 1, "call": {"id": call.to_string()}});
        Delivery::now(&Vapi::SERVER, json!({"message": call}).to_string()).send(dev.base()).await.unwrap();
    }
    let _listen = start(&dev, &["listen", "--forward-to", &agent.url]);
    let mut forwarded = Vec::new();
    while forwarded.len() < 6 {
        forwarded.push(event_id(&next(&mut requests).await));
    }
    assert!(forwarded.iter().any(|id| id == "ada:msg_1"), "{forwarded:?}");
    assert!(!forwarded.iter().any(|id| id == "ada:msg_2"), "{forwarded:?}");
    held.lock().unwrap().take();
    assert_eq!(event_id(&next(&mut requests).await), "ada:msg_2");
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_printed_with_their_reason_and_counted() {
    let dev = Dev::start(&[], &[]);
    ada("msg_1").send(dev.base()).await.unwrap();
    for (status, expected) in [
        (StatusCode::INTERNAL_SERVER_ERROR, "a destination would get it again in 5 s"),
        (StatusCode::GONE, "a destination would be disabled"),
        (StatusCode::FOUND, "a destination would get it again in 5 s"),
    ] {
        let (agent, mut requests) = server(status).await;
        let (output, text) = past(&dev, &["listen", "--forward-to", &agent.url, "--exit-after", "1"]);
        assert_eq!(output.status.code(), Some(1), "{text}");
        for expected in [&format!("<--  {}", status.as_u16()), "no such table", expected, "1 event forwarded, 1 failed"]
        {
            assert!(text.contains(expected), "{expected}: {text}");
        }
        next(&mut requests).await;
        assert!(requests.try_recv().is_err(), "a failure is not retried");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn command_gets_the_body_and_the_event_and_its_exit_code_counts() {
    let dev = Dev::start(&[], &[]);
    ada("msg_1").send(dev.base()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("seen");
    let command =
        r#"cat > "$SEEN"; echo "$GATEHOUSE_EVENT_ID $GATEHOUSE_EVENT_TYPE $GATEHOUSE_EVENT_SUBJECT" >> "$SEEN""#;
    let arguments = ["listen", "--exec", command, "--exit-after", "1", "--since", "1h", "--at", dev.base()];
    let (output, text) = run(&arguments, &[("SEEN", file.to_str().unwrap())]);
    assert_eq!(output.status.code(), Some(0), "{text}");
    let seen = std::fs::read_to_string(file).unwrap();
    let (body, environment) = seen.trim_end().rsplit_once('}').unwrap();
    assert_eq!(environment, format!("ada:msg_1 ada.v1.conversation.message {CONVERSATION}"));
    assert_eq!(serde_json::from_str::<Value>(&format!("{body}}}")).unwrap()["data"]["event_id"], "ada:msg_1");

    // A command that fills its output before it reads its input: each pipe has 64 KiB.
    let body = format!(r#"{{"type":"v1.conversation.message","text":"{}"}}"#, "x".repeat(200_000));
    let large = Delivery::of(&Ada, "msg_2", body, Clock::System.now());
    large.send(dev.base()).await.unwrap();
    let command = "head -c 200000 /dev/zero >&2; cat > /dev/null";
    let (output, text) = past(&dev, &["listen", "--exec", command, "--exit-after", "2"]);
    assert_eq!(output.status.code(), Some(0), "{text}");

    // A command that does not read its input.
    let (output, text) = past(&dev, &["listen", "--exec", "echo broken >&2; exit 3", "--exit-after", "1"]);
    assert!(output.status.code() == Some(1) && text.contains("exit status: 3: broken"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tail_shows_the_selected_events_and_no_content_without_payload() {
    let dev = Dev::start(&[], &[]);
    ada("msg_1").send(dev.base()).await.unwrap();
    let conflict = Delivery::of(&Ada, "msg_1", gatehouse_ada::samples::CONVERSATION_CREATED, Clock::System.now());
    assert_eq!(conflict.send(dev.base()).await.unwrap().outcome(), "conflict");
    let message = r#"{"message":{"type":"status-update","status":"ended","timestamp":1,"call":{"id":"call_1"}}}"#;
    Delivery::now(&Vapi::SERVER, message).send(dev.base()).await.unwrap();

    let ids = |arguments: &[&str]| {
        let (output, _) = past(&dev, &[&["tail", "--json", "--exit-after", "1"], arguments].concat());
        lines(&output).iter().map(|line| line["event_id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&["--type", "ada:v1.conversation.m*"]), ["ada:msg_1"]);
    assert!(ids(&["--type", "vapi:*"])[0].starts_with("vapi:server:status-update:"));
    assert!(ids(&["--subject", "vapi:call:call_1"])[0].starts_with("vapi:server:status-update:"));
    assert!(ids(&["--failed"])[0].starts_with("conflict:"));
    assert_eq!(ids(&["--event", "ada:msg_1", "--type", "none"]), ["ada:msg_1"]);

    let (output, text) = past(&dev, &["tail", "--exit-after", "3"]);
    assert!(output.status.success() && text.contains("-->  ada.v1.conversation.message"), "{text}");
    assert!(text.contains("[ada:msg_1]") && !text.contains("conversation_id"), "{text}");
    let (output, _) = past(&dev, &["tail", "--exit-after", "1", "--json", "--payload"]);
    assert_eq!(lines(&output)[0]["message"]["data"]["payload"]["data"]["conversation_id"], "673da1f0c2b94e5f8a017b11");
    let (_, text) = past(&dev, &["tail", "--exit-after", "1", "--payload"]);
    assert!(text.contains(r#""conversation_id": "673da1f0c2b94e5f8a017b11""#), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn listener_continues_after_a_restart_of_dev() {
    let folder = tempfile::tempdir().unwrap();
    let data = ["--data-dir", folder.path().to_str().unwrap()];
    let mut dev = Dev::start(&data, &[]);
    let (agent, mut requests) = server(StatusCode::OK).await;
    let mut listen = start(&dev, &["listen", "--forward-to", &agent.url]);
    ada("msg_1").send(dev.base()).await.unwrap();
    assert_eq!(event_id(&next(&mut requests).await), "ada:msg_1");
    // Another poll has found this one, so that the first one has ended.
    ada("msg_again").send(dev.base()).await.unwrap();
    assert_eq!(event_id(&next(&mut requests).await), "ada:msg_again");
    dev.stop(Signal::KILL);
    let mut said = BufReader::new(listen.0.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(said.any(|line| line.contains("retrying")));
    let port = dev.base().rsplit(':').next().unwrap();
    let restarted = ["--port", port, "--dynamodb-port", "0", "--sqs-port", "0", data[0], data[1]];
    let dev = Dev::start_with(&restarted, &[]);
    ada("msg_2").send(dev.base()).await.unwrap();
    assert_eq!(event_id(&next(&mut requests).await), "ada:msg_2");
    assert!(requests.try_recv().is_err());
    assert!(said.any(|line| line.contains("connected again after") && line.contains("recorded meanwhile")));
}

#[tokio::test(flavor = "multi_thread")]
async fn listener_as_a_destination_forwards_and_counts_only_what_the_destination_gets() {
    let dev = Dev::start(&[], &[]);
    let (agent, mut requests) = server(StatusCode::OK).await;
    let set = ["destinations", "set", "crm", "--url", "https://crm.example", "--format", "vendor", "--at", dev.base()];
    let (output, text) = run(&[&set[..], &["--when", r#"{"where":{"/data/n":3}}"#]].concat(), &[]);
    assert!(output.status.success(), "{text}");
    let secret = text.split_whitespace().find(|word| word.starts_with("whsec_")).unwrap();
    for n in 1..=3 {
        let body = format!(r#"{{"type":"v1.conversation.message","data":{{"n":{n}}}}}"#);
        let delivery = Delivery::of(&Ada, &format!("msg_{n}"), body, Clock::System.now());
        delivery.send(dev.base()).await.unwrap();
    }
    let (output, text) = past(&dev, &["listen", "--as", "crm", "--forward-to", &agent.url, "--exit-after", "1"]);
    assert!(output.status.success() && !text.contains(secret), "{text}");
    let request = next(&mut requests).await;
    assert_eq!(body(&request), json!({"type": "v1.conversation.message", "data": {"n": 3}}));
    let key = SigningKey::parse(secret).unwrap();
    assert!(verify(&request.headers, &request.body, &[key], Clock::System.now()).is_ok());
    assert!(requests.try_recv().is_err(), "the other events match no filter");
    assert_eq!(past(&dev, &["listen", "--as", "none"]).0.status.code(), Some(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn resend_forwards_one_event_under_the_same_id() {
    let dev = Dev::start(&[], &[]);
    ada("msg_1").send(dev.base()).await.unwrap();
    let (agent, mut requests) = server(StatusCode::OK).await;
    let resend = |id: &str, url: &str| run(&["events", "resend", id, "--forward-to", url, "--at", dev.base()], &[]);
    let mut ids = Vec::new();
    for _ in 0..2 {
        let (output, text) = resend("ada:msg_1", &agent.url);
        assert!(output.status.success() && text.contains("<--  200"), "{text}");
        ids.push(next(&mut requests).await.headers["webhook-id"].clone());
    }
    assert_eq!(ids[0], ids[1]);
    assert_eq!(resend("ada:msg_2", &agent.url).0.status.code(), Some(3));
    let (failing, _requests) = server(StatusCode::BAD_GATEWAY).await;
    assert_eq!(resend("ada:msg_1", &failing.url).0.status.code(), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn erased_events_are_not_forwarded() {
    let dev = Dev::start(&[], &[]);
    ada("msg_1").send(dev.base()).await.unwrap();
    let (agent, mut requests) = server(StatusCode::OK).await;
    let (output, text) = run(&["events", "erase", "--subject", CONVERSATION, "--yes", "--at", dev.base()], &[]);
    assert!(output.status.success(), "{text}");
    let message = r#"{"message":{"type":"status-update","status":"ended","timestamp":1,"call":{"id":"call_1"}}}"#;
    Delivery::now(&Vapi::SERVER, message).send(dev.base()).await.unwrap();
    let (_, text) = past(&dev, &["listen", "--forward-to", &agent.url, "--exit-after", "1"]);
    assert!(event_id(&next(&mut requests).await).starts_with("vapi:"), "{text}");
    assert!(requests.try_recv().is_err());
    let resend = ["events", "resend", "ada:msg_1", "--forward-to", &agent.url, "--at", dev.base()];
    assert_eq!(run(&resend, &[]).0.status.code(), Some(3));
}

#[test]
fn secret_stays_the_same_and_can_be_written_to_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let state = [("XDG_STATE_HOME", folder.path().to_str().unwrap())];
    let secret = |arguments: &[&str]| {
        let (output, text) = run(&[&["listen", "--print-secret"], arguments].concat(), &state);
        assert!(output.status.success(), "{text}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let first = secret(&["--stack", "a"]);
    SigningKey::parse(&first).unwrap();
    assert_eq!(secret(&["--stack", "a"]), first);
    assert_ne!(secret(&["--stack", "b"]), first);
    // That of a data directory stays the same at another port.
    let data = ["--data-dir", folder.path().to_str().unwrap()];
    let of_dev = |dev: &Dev| secret(&["--at", dev.base()]);
    let mut dev = Dev::start(&data, &[]);
    let of_data = of_dev(&dev);
    dev.stop(Signal::KILL);
    assert_eq!(of_dev(&Dev::start(&data, &[])), of_data);
    assert_ne!(of_dev(&Dev::start(&[], &[])), of_data);
    let file = folder.path().join(".env");
    std::fs::write(&file, "A=1\nGATEHOUSE_WEBHOOK_SECRET=old\nB=2").unwrap();
    secret(&["--stack", "a", "--env-file", file.to_str().unwrap()]);
    let written = std::fs::read_to_string(&file).unwrap();
    assert_eq!(written, format!("A=1\nB=2\nGATEHOUSE_WEBHOOK_SECRET={first}\n"));
}

#[test]
fn wrong_arguments_of_listen_have_clear_errors() {
    for (arguments, code, message) in [
        (&["listen", "--forward-to", "ftp://x"][..], 2, "is not a URL that begins with http:// or https://"),
        (&["listen", "--forward-to", "1", "--exec", "x"], 2, "cannot be used with"),
        (&["listen", "-H", "a: b"], 2, "--header needs --forward-to"),
        (&["listen", "--forward-to", "1", "-H", "s3cret"], 1, "not a header of the form NAME: VALUE"),
        (&["tail", "--since", "x"], 2, "expected a span"),
        (&["listen", "--at", "http://127.0.0.1:1"], 1, "no `gatehouse dev` is reachable"),
    ] {
        let (output, text) = run(arguments, &[]);
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(text.contains(message) && !text.contains("s3cret"), "{text}");
    }
}

/// A listener that is stopped with Ctrl-C has not failed.
#[tokio::test(flavor = "multi_thread")]
async fn interrupt_ends_a_listener_with_a_summary() {
    let dev = Dev::start(&[], &[]);
    let (agent, mut requests) = server(StatusCode::BAD_GATEWAY).await;
    ada("msg_1").send(dev.base()).await.unwrap();
    let mut listen = start(&dev, &["listen", "--forward-to", &agent.url]);
    next(&mut requests).await;
    let mut lines = BufReader::new(listen.0.stdout.take().unwrap()).lines();
    assert!(lines.by_ref().map(Result::unwrap).any(|line| line.contains("<--  502")));
    crate::signal(&listen.0, Signal::INT);
    assert_eq!(listen.0.wait().unwrap().code(), Some(0));
    let mut text = String::new();
    listen.0.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(text.contains("1 event forwarded, 1 failed"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tail_ends_and_listen_goes_on_if_nobody_reads_their_lines() {
    let dev = Dev::start(&[], &[]);
    for id in ["msg_1", "msg_2", "msg_3"] {
        ada(id).send(dev.base()).await.unwrap();
    }
    let unread = |arguments: &[&str]| {
        let mut command = crate::process::gatehouse();
        let command = command.args(arguments).args(["--since", "1h", "--at", dev.base()]);
        let mut child =
            command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null()).spawn().unwrap();
        drop(child.stdout.take());
        child.wait().unwrap()
    };
    assert!(unread(&["tail"]).success());
    let folder = tempfile::tempdir().unwrap();
    let got = folder.path().join("got");
    let exec = format!("echo x >> {}", got.display());
    assert!(unread(&["listen", "--exit-after", "3", "--exec", &exec]).success());
    assert_eq!(std::fs::read_to_string(got).unwrap(), "x\nx\nx\n");
}
