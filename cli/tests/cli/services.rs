//! Services that answer Vapi: `gatehouse dev --answer`, `--secrets` and `--replies`, `secrets set service:`, `replies`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use gatehouse_local::agent::{Agent, Answer, Piece};
use gatehouse_local::{Answer as Response, Delivery};
use gatehouse_vapi::Vapi;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::process::{Dev, run};

/// Time limit of waits.
const WAIT_LIMIT: Duration = Duration::from_secs(60);
const MESSAGE: &str = "../shared/vendors/vapi/samples/tool-calls.json";

/// A service that always gives this answer.
async fn service(answer: &Value) -> Agent {
    service_with_text(answer.to_string()).await
}

async fn service_with_text(text: String) -> Agent {
    let body = Bytes::from(text);
    let answer =
        move || Answer { content_type: "application/json", ..Answer::with_pieces([Piece::Bytes(body.clone())]) };
    Agent::start(move |_| Some(answer())).await.unwrap()
}

fn write(folder: &TempDir, name: &str, text: &str) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

async fn ask(dev: &Dev, call: &str) -> Response {
    let message = json!({"message": {"type": "assistant-request", "timestamp": 1, "call": {"id": call}}});
    Delivery::now(&Vapi::SERVER, message.to_string()).send(dev.base()).await.unwrap()
}

/// Asks with new calls until the reply is `expected`.
async fn wait_for_reply(dev: &Dev, name: &str, expected: &Value) {
    let replies = async {
        for n in 0.. {
            let reply: Value = serde_json::from_str(&ask(dev, &format!("{name}-{n}")).await.body).unwrap();
            if reply == *expected {
                return;
            }
        }
    };
    tokio::time::timeout(WAIT_LIMIT, replies).await.unwrap_or_else(|_| panic!("no reply is {expected}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn dev_answer_asks_one_service_about_every_message() {
    let agent = service(&json!({"assistantId": "mine"})).await;
    let mut dev = Dev::start(&["--answer", &agent.url], &[]);
    let answer = ask(&dev, "call_1").await;
    assert_eq!((answer.outcome(), answer.body.as_str()), ("recorded", r#"{"assistantId":"mine"}"#));
    let client = Delivery::now(&Vapi::CLIENT, r#"{"message":{"type":"hang","timestamp":1,"call":{"id":"c"}}}"#);
    assert_eq!(client.send(dev.base()).await.unwrap().body, r#"{"assistantId":"mine"}"#);
    assert_eq!(agent.requests().len(), 2);
    let event = dev.events().next().unwrap();
    assert_eq!((&event["asked"], &event["ask"]), (&json!("answer"), &json!("answered")));
    assert!(event["ask_ms"].is_u64(), "{event}");
    for (url, message) in [("http://example.com", "does not begin with https://"), ("x", "the URL ")] {
        let (output, text) = run(&["dev", "--port", "0", "--answer", url], &[]);
        assert!(!output.status.success() && text.contains(message), "{text}");
    }
    let (output, text) = run(&["dev", "--port", "0", "--answer", &agent.url, "--replies", "x.json"], &[]);
    assert!(!output.status.success() && text.contains("cannot be used with"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn dev_prints_notifications_whose_answer_is_ignored() {
    let agent = service_with_text("OK".to_owned()).await;
    let mut dev = Dev::start(&["--answer", &agent.url], &[]);
    let message = r#"{"message":{"type":"status-update","status":"ended","timestamp":1,"call":{"id":"call_1"}}}"#;
    let answer = Delivery::now(&Vapi::SERVER, message).send(dev.base()).await.unwrap();
    assert_eq!((answer.status, answer.body.as_str(), agent.requests().len()), (200, "{}", 1));
    let event = dev.events().next().unwrap();
    assert_eq!((&event["notified"], &event["action"]), (&json!("answer"), &json!("done")));
    assert!(event["notify_ms"].is_u64(), "{event}");
}

#[tokio::test(flavor = "multi_thread")]
async fn dev_reads_changed_secrets_and_rules_again() {
    let (first, second) =
        (service(&json!({"assistantId": "first"})).await, service(&json!({"assistantId": "second"})).await);
    let folder = tempfile::tempdir().unwrap();
    let development: Value = serde_json::from_str(gatehouse_vendors::development()).unwrap();
    let document = |agent: &Agent| {
        let mut document = development.clone();
        document["services"] = json!({"mine": {"url": agent.url}});
        document.to_string()
    };
    let secrets = write(&folder, "secrets.json", &document(&first));
    let asks = json!({"server": [{"when": {"type": "assistant-request"}, "ask": "mine"}]}).to_string();
    let rules = write(&folder, "rules.json", &asks);
    let (secrets, rules) = (secrets.to_str().unwrap(), rules.to_str().unwrap());
    let dev = Dev::start(&["--secrets", secrets, "--replies", rules], &[]);
    wait_for_reply(&dev, "a", &json!({"assistantId": "first"})).await;
    std::fs::write(secrets, format!("{} ", document(&second))).unwrap();
    wait_for_reply(&dev, "b", &json!({"assistantId": "second"})).await;
    // Files with errors do not replace usable ones.
    std::fs::write(secrets, "{").unwrap();
    std::fs::write(rules, "{\"server\": 7}").unwrap();
    wait_for_reply(&dev, "c", &json!({"assistantId": "second"})).await;
    let rule = json!({"server": [{"when": {"type": "assistant-request"}, "reply": {"assistantId": "rule"}}]});
    std::fs::write(rules, rule.to_string()).unwrap();
    wait_for_reply(&dev, "d", &json!({"assistantId": "rule"})).await;
}

#[test]
fn secrets_set_writes_services_and_keeps_what_is_not_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("s.json");
    let set =
        |arguments: &[&str]| run(&[&["secrets", "set"], arguments, &["--file", file.to_str().unwrap()]].concat(), &[]);
    let document = || -> Value { serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap() };
    let (output, text) =
        set(&["service:orders", "--url", "https://a.example.com", "--header", "X-Vapi-Secret: word", "--new"]);
    assert!(output.status.success() && text.contains("The new signing secret is whsec_"), "{text}");
    assert!(text.contains("services    open    service orders"), "{text}");
    let orders = document()["services"]["orders"].clone();
    assert_eq!(
        (&orders["url"], &orders["headers"]),
        (&json!("https://a.example.com"), &json!({"x-vapi-secret": "word"}))
    );
    // A new URL leaves headers and signing secrets.
    set(&["service:orders", "--url", "https://10.0.0.7", "--private"]);
    let moved = document()["services"]["orders"].clone();
    assert_eq!((&moved["url"], &moved["private"]), (&json!("https://10.0.0.7"), &json!(true)));
    assert_eq!((&moved["headers"], &moved["signing_secrets"]), (&orders["headers"], &orders["signing_secrets"]));
    set(&["service:book", "--lambda", "book:live", "--as", "http"]);
    assert_eq!(document()["services"]["book"], json!({"lambda": "book:live", "as": "http"}));
    let before = document();
    for (arguments, message) in [
        (&["service:orders", "--url", "http://a.example.com"][..], "services.orders.url does not begin with https://"),
        (&["service:new", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"], "services.new needs either a url or a lambda"),
        (&["service:orders", "whsec_s3cret"], "signing_secrets[0] is"),
        (&["service:orders", "--header", "Host: s3cret"], "which Gatehouse or HTTP sets"),
        (&["service:orders", "--header", "s3cret"], "a header needs the form"),
        (&["service:book", "--url", "https://a.example.com", "--lambda", "x"], "cannot be used with"),
        (&["ada", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "--url", "https://x"], "are for service:NAME"),
        (&["service:a b", "--url", "https://x"], "the name of a service has 1 to 64"),
    ] {
        let (output, text) = set(arguments);
        assert!(!output.status.success() && text.contains(message), "{arguments:?}: {text}");
        assert!(!text.contains("s3cret") || arguments[0].starts_with("service:a"), "{text}");
    }
    assert_eq!(document(), before, "nothing is written");
    let rotate = |more: &[&str]| {
        run(&[&["secrets", "rotate", "service:orders"], more, &["--file", file.to_str().unwrap()]].concat(), &[])
    };
    let (output, text) = rotate(&[]);
    assert!(output.status.success() && text.contains("Let the service verify with this secret as well"), "{text}");
    assert_eq!(document()["services"]["orders"]["signing_secrets"].as_array().unwrap().len(), 2);
    rotate(&["--finish"]);
    assert_eq!(document()["services"]["orders"]["signing_secrets"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn replies_check_finds_missing_services_and_try_asks_them() {
    let result =
        json!({"results": [{"toolCallId": "call_b2", "result": "C14"}, {"toolCallId": "call_a1", "result": "sun"}]});
    let agent = service(&result).await;
    let folder = tempfile::tempdir().unwrap();
    let secrets = json!({"services": {"orders": {"url": agent.url, "headers": {"x-vapi-secret": "s3cret"}}}});
    let secrets = write(&folder, "secrets.json", &secrets.to_string());
    let rules = json!({"server": [
        {"when": {"type": "tool-calls"}, "ask": "orders"}, {"when": {"type": "*"}, "ask": "stock"}
    ]});
    let rules = write(&folder, "rules.json", &rules.to_string());
    let (secrets, rules) = (secrets.to_str().unwrap(), rules.to_str().unwrap());
    let (output, text) = run(&["replies", "check", rules, "--secrets", secrets], &[]);
    assert!(!output.status.success() && text.contains("server rule 2: ask: "), "{text}");
    assert!(text.contains("no usable service stock; run: gatehouse secrets set service:stock --url URL"), "{text}");
    let (output, text) = run(&["replies", "check", rules], &[]);
    assert!(output.status.success() && text.contains("the services are not checked; pass --secrets"), "{text}");

    let message = Path::new(env!("CARGO_MANIFEST_DIR")).join(MESSAGE);
    let attempt = ["replies", "try", rules, "--message", message.to_str().unwrap(), "--as", "server"];
    let (output, text) = run(&attempt, &[]);
    assert!(output.status.success() && text.contains("answer  by the service orders; pass --ask"), "{text}");
    assert_eq!(agent.requests().len(), 0);
    let (output, text) = run(&[&attempt[..], &["--ask", "--secrets", secrets]].concat(), &[]);
    assert!(output.status.success(), "{text}");
    let posted = format!("POST {}/\n", agent.url);
    for expected in [&posted, "webhook-id: evt_", "orders: answered in ", "C14", "x-vapi-secret: [hidden]"] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert!(!text.contains("s3cret") && agent.requests()[0].headers["x-vapi-secret"] == "s3cret", "{text}");
}
