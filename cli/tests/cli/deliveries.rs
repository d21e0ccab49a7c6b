//! `gatehouse destinations` and `gatehouse deliveries`, with a `gatehouse dev` that delivers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use gatehouse_local::agent::{Agent, Answer, Piece, ReceivedRequest};
use gatehouse_vendor::signature::{SigningKey, verify};
use http::StatusCode;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::process::{Dev, ada, run};

/// Time limit of waits.
const WAIT_LIMIT: Duration = Duration::from_secs(60);

/// A server that passes its requests on and answers with the status in `status`.
async fn server(status: &Arc<Mutex<StatusCode>>) -> (Agent, mpsc::UnboundedReceiver<ReceivedRequest>) {
    let (sender, requests) = mpsc::unbounded_channel();
    let status = Arc::clone(status);
    let answer = move |request: &ReceivedRequest| {
        sender.send(request.clone()).unwrap();
        let status = *status.lock().unwrap();
        Some(Answer { status, ..Answer::with_pieces([Piece::Bytes(Bytes::from("no such table\n"))]) })
    };
    (Agent::start(answer).await.unwrap(), requests)
}

async fn next(requests: &mut mpsc::UnboundedReceiver<ReceivedRequest>) -> ReceivedRequest {
    timeout(WAIT_LIMIT, requests.recv()).await.expect("a request").unwrap()
}

fn header<'r>(request: &'r ReceivedRequest, name: &str) -> &'r str {
    request.headers[name].to_str().unwrap()
}

/// The webhook ids that came with each event id.
type Arrived = BTreeMap<String, BTreeSet<String>>;

fn add(arrived: &mut Arrived, request: &ReceivedRequest) {
    let [event, webhook] = ["gatehouse-event-id", "webhook-id"].map(|name| header(request, name).to_owned());
    arrived.entry(event).or_default().insert(webhook);
}

/// Runs a command for a `gatehouse dev`. Returns its exit code and its output.
fn at(dev: &Dev, arguments: &[&str]) -> (i32, String) {
    let (output, text) = run(&[arguments, &["--at", dev.base()]].concat(), &[]);
    (output.status.code().unwrap(), text)
}

/// Runs a command with `--json`. Returns the objects that it prints.
fn json_of(dev: &Dev, arguments: &[&str]) -> Vec<Value> {
    let (output, text) = run(&[arguments, &["--json", "--at", dev.base()]].concat(), &[]);
    assert!(output.status.success(), "{text}");
    String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The same for a command that may fail.
fn json_of_any(dev: &Dev, arguments: &[&str]) -> Vec<Value> {
    let (output, _) = run(&[arguments, &["--json", "--at", dev.base()]].concat(), &[]);
    String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn secret_in(output: &str) -> SigningKey {
    let secret = output.split_whitespace().find(|word| word.starts_with("whsec_")).unwrap();
    SigningKey::parse(secret).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn destination_gets_recorded_events_signed_and_keeps_them_while_it_is_disabled() {
    let (server, mut requests) = server(&Arc::new(Mutex::new(StatusCode::OK))).await;
    let data = tempfile::tempdir().unwrap();
    let folder = data.path().to_str().unwrap();
    let mut dev = Dev::start(&["--data-dir", folder], &[]);
    let (code, text) = at(&dev, &["destinations", "set", "crm", "--url", &server.url, "--type", "ada:*"]);
    assert_eq!(code, 0, "{text}");
    let key = secret_in(&text);
    ada("msg_first").send(dev.base()).await.unwrap();
    let request = next(&mut requests).await;
    let now = gatehouse_runtime::Clock::System.now();
    verify(&request.headers, &request.body, std::slice::from_ref(&key), now).unwrap();
    let named = ["gatehouse-event-id", "gatehouse-destination", "gatehouse-attempt"].map(|name| header(&request, name));
    assert_eq!(named, ["ada:msg_first", "crm", "1"]);

    assert_eq!(at(&dev, &["destinations", "disable", "crm"]).0, 0);
    ada("msg_second").send(dev.base()).await.unwrap();
    // Restarted: the destination and what waits for it are in the data directory.
    dev.stop(Signal::KILL);
    let dev = Dev::start(&["--data-dir", folder], &[]);
    assert!(at(&dev, &["destinations", "list"]).1.contains("disabled: by an operator"));
    assert_eq!(at(&dev, &["destinations", "enable", "crm"]).0, 0);
    assert_eq!(header(&next(&mut requests).await, "gatehouse-event-id"), "ada:msg_second");
    assert!(requests.try_recv().is_err(), "the first event is not delivered again");

    let (code, text) = at(&dev, &["destinations", "test", "crm"]);
    assert!(code == 0 && text.contains("accepted a test message: status 200"), "{text}");
    assert_eq!(serde_json::from_slice::<Value>(&next(&mut requests).await.body).unwrap()["type"], "gatehouse.test");
    // A change keeps the secret and what is not named; removing keeps nothing.
    let (_, text) = at(&dev, &["destinations", "set", "crm", "--thin"]);
    assert!(!text.contains("whsec_"), "{text}");
    ada("msg_third").send(dev.base()).await.unwrap();
    let body: Value = serde_json::from_slice(&next(&mut requests).await.body).unwrap();
    assert_eq!((body["data"].get("payload"), body["data"]["payload_bytes"].is_u64()), (None, true));
    assert_eq!(at(&dev, &["destinations", "remove", "crm"]).0, 0);
    assert!(at(&dev, &["destinations", "list"]).1.contains("there are no destinations"));
    assert_eq!(at(&dev, &["destinations", "remove", "crm"]).0, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_event_reaches_the_destination_although_dev_is_killed_under_load() {
    let (server, mut requests) = server(&Arc::new(Mutex::new(StatusCode::OK))).await;
    let data = tempfile::tempdir().unwrap();
    let folder = data.path().to_str().unwrap();
    let (mut acknowledged, mut arrived) = (BTreeSet::new(), Arrived::new());
    for round in 0..3 {
        let mut dev = Dev::start(&["--data-dir", folder], &[]);
        if round == 0 {
            at(&dev, &["destinations", "set", "crm", "--url", &server.url, "--order", "none"]);
        }
        let base = dev.base().to_owned();
        let load = tokio::spawn(async move {
            let mut acknowledged = Vec::new();
            for n in 0.. {
                match ada(&format!("msg_{round}_{n}")).send(&base).await {
                    Ok(answer) if answer.status == 200 => acknowledged.push(answer.event_id().to_owned()),
                    _ => break,
                }
            }
            acknowledged
        });
        let enough = arrived.len() + 20;
        while arrived.len() < enough {
            add(&mut arrived, &next(&mut requests).await);
        }
        dev.stop(Signal::KILL);
        acknowledged.extend(load.await.unwrap());
    }
    let _dev = Dev::start(&["--data-dir", folder], &[]);
    while !acknowledged.iter().all(|id| arrived.contains_key(id)) {
        add(&mut arrived, &next(&mut requests).await);
    }
    assert!(arrived.values().all(|ids| ids.len() == 1), "an event has two webhook ids: {arrived:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn failing_deliveries_are_listed_shown_resent_and_discarded() {
    let status = Arc::new(Mutex::new(StatusCode::INTERNAL_SERVER_ERROR));
    let (server, mut requests) = server(&status).await;
    let dev = Dev::start(&[], &[]);
    assert_eq!(at(&dev, &["deliveries", "list"]), (0, "no delivery is failing or dead\n".to_owned()));
    at(&dev, &["destinations", "set", "crm", "--url", &server.url]);
    ada("msg_1").send(dev.base()).await.unwrap();
    let first = next(&mut requests).await;
    // The attempt is settled a moment after its response.
    let failing = loop {
        match json_of(&dev, &["deliveries", "list"]).pop() {
            Some(failing) => break failing,
            None => tokio::task::yield_now().await,
        }
    };
    for (member, value) in [("event_id", json!("ada:msg_1")), ("state", json!("failing")), ("status", json!(500))] {
        assert_eq!(failing[member], value);
    }
    assert_eq!((&failing["reason"], &failing["response"]), (&json!("status 500"), &json!("no such table\n")));
    let (_, text) = at(&dev, &["events", "show", "ada:msg_1"]);
    assert!(text.contains("crm failing") && text.contains("status 500"), "{text}");
    assert_eq!(at(&dev, &["deliveries", "resend"]).0, 2);
    assert_eq!(at(&dev, &["deliveries", "resend", "ada:none", "--to", "crm"]).0, 3);

    *status.lock().unwrap() = StatusCode::OK;
    // Another attempt may have failed meanwhile.
    let folder = tempfile::tempdir().unwrap();
    let mut tries = 0..;
    let (receipt, again) = loop {
        let receipt = folder.path().join(format!("again-{}", tries.next().unwrap()));
        let arguments = ["deliveries", "resend", "ada:msg_1", "--to", "crm", "--receipt", receipt.to_str().unwrap()];
        let (code, text) = at(&dev, &arguments);
        if code == 0 {
            break (receipt, next(&mut requests).await);
        }
        assert!(text.contains("changed meanwhile"), "{text}");
    };
    assert_eq!(header(&again, "webhook-id"), header(&first, "webhook-id"));
    let delivered = loop {
        let shown = json_of(&dev, &["deliveries", "show", "ada:msg_1"]).remove(0);
        if shown["state"] == "delivered" {
            break shown;
        }
    };
    assert_eq!((&delivered["reason"], &delivered["response"]), (&Value::Null, &Value::Null));
    // If the command was interrupted, it does not send again what was delivered meanwhile.
    let lines = std::fs::read_to_string(&receipt).unwrap();
    std::fs::write(&receipt, lines.lines().take(2).map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    let (code, text) = at(&dev, &["deliveries", "resend", "--resume", receipt.to_str().unwrap()]);
    assert!(code == 0 && text.contains("0 deliveries resent"), "{text}");
    assert!(std::fs::read_to_string(&receipt).unwrap().contains("delivered meanwhile"));

    let (code, text) = at(&dev, &["deliveries", "discard", "ada:msg_1", "--yes"]);
    assert!(code == 0 && text.contains("0 deliveries discarded; 1 were settled"), "{text}");
    // Delivered ones are found by their subject.
    let subject = "ada:conversation:673da1f0c2b94e5f8a017b11";
    let of_subject = |more: &[&str]| json_of(&dev, &[&["deliveries", "list", "--subject", subject], more].concat());
    let [listed] = of_subject(&["--to", "crm", "--since", "1h"]).try_into().unwrap();
    assert_eq!((&listed["event_id"], &listed["state"]), (&json!("ada:msg_1"), &json!("delivered")));
    let (code, text) = at(&dev, &["deliveries", "list", "--subject", subject, "--to", "archive"]);
    assert!(code == 3 && text.contains("there is no destination archive"), "{text}");
    for other in [["--state", "dead"], ["--until", "1h"]] {
        assert!(of_subject(&other).is_empty(), "{other:?}");
    }

    // What waits for a disabled destination can be discarded.
    at(&dev, &["destinations", "disable", "crm"]);
    let found = json_of_any(&dev, &["doctor"]).into_iter().find(|found| found["check"] == "destination crm").unwrap();
    assert_eq!(found["state"], "wrong", "{found}");
    ada("msg_2").send(dev.base()).await.unwrap();
    while json_of(&dev, &["deliveries", "list", "--to", "crm"]).is_empty() {
        tokio::task::yield_now().await;
    }
    ada("msg_3").send(dev.base()).await.unwrap();
    let behind = loop {
        match json_of(&dev, &["deliveries", "list", "--state", "waiting"]).pop() {
            Some(behind) => break behind,
            None => tokio::task::yield_now().await,
        }
    };
    assert_eq!((&behind["event_id"], &behind["state"]), (&json!("ada:msg_3"), &json!("waiting")));
    assert!(json_of(&dev, &["deliveries", "list", "--until", "1h"]).is_empty());
    assert!(at(&dev, &["deliveries", "discard", "--all"]).1.contains("pass --yes"));
    let [resent, discarded] = ["resend.jsonl", "discard.jsonl"].map(|name| folder.path().join(name));
    let [resent, discarded] = [&resent, &discarded].map(|path| path.to_str().unwrap());
    let (code, text) = at(&dev, &["deliveries", "resend", "--all", "--to", "crm", "--receipt", resent]);
    assert!(code == 0 && text.contains("1 delivery resent"), "{text}");
    // A command that is killed has not written the last result.
    let receipt = std::fs::read_to_string(resent).unwrap();
    let lines: Vec<&str> = receipt.lines().collect();
    assert!(lines.len() == 3 && lines[1].contains("ada:msg_2") && lines[2].contains("resent"), "{receipt}");
    std::fs::write(resent, lines[..2].join("\n") + "\n").unwrap();
    for expected in ["1 delivery resent", "0 deliveries resent"] {
        let (code, text) = at(&dev, &["deliveries", "resend", "--resume", resent]);
        assert!(code == 0 && text.contains(expected), "{text}");
    }
    let (code, text) = at(&dev, &["deliveries", "discard", "--resume", resent, "--yes"]);
    assert!(code == 1 && text.contains("the receipt is of gatehouse deliveries resend"), "{text}");
    let arguments = ["deliveries", "discard", "--all", "--to", "crm", "--yes", "--receipt", discarded];
    let (code, text) = at(&dev, &arguments);
    assert!(code == 0 && text.contains("2 deliveries discarded"), "{text}");
    assert!(at(&dev, &["deliveries", "show", "ada:msg_2"]).1.contains("discarded by an operator"));

    // An erasure deletes the deliveries too.
    let (code, text) = at(&dev, &["events", "erase", "--subject", subject, "--yes"]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(at(&dev, &["deliveries", "show", "ada:msg_1"]).0, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_wait_for_a_destination_whose_entry_is_broken_by_hand() {
    let (server, mut requests) = server(&Arc::new(Mutex::new(StatusCode::OK))).await;
    let folder = tempfile::tempdir().unwrap();
    let dev = Dev::start(&["--data-dir", folder.path().to_str().unwrap()], &[]);
    let write = |destinations: Value| {
        // At once, so that dev does not read a part of it.
        let new = folder.path().join("new.json");
        std::fs::write(&new, json!({"destinations": destinations}).to_string()).unwrap();
        std::fs::rename(new, folder.path().join("destinations.json")).unwrap();
    };
    let with = |pattern: &str| json!({"crm": {"url": server.url, "when": [{pattern: "ada"}]}});
    write(with("sorce"));
    ada("msg_1").send(dev.base()).await.unwrap();
    while json_of(&dev, &["deliveries", "list", "--to", "crm"]).is_empty() {
        tokio::task::yield_now().await;
    }
    assert!(at(&dev, &["destinations", "list"]).1.contains("unusable"));
    let found = json_of_any(&dev, &["doctor"]).into_iter().find(|found| found["check"] == "destination crm").unwrap();
    assert!(found["state"] == "wrong" && found["advice"].as_str().unwrap().contains("secrets check"), "{found}");
    for command in [&["destinations", "test", "crm"][..], &["deliveries", "reconcile", "--since", "1h", "--to", "crm"]]
    {
        let (code, text) = at(&dev, command);
        assert!(code == 1 && text.contains("secrets check"), "{text}");
    }
    let (code, text) = at(&dev, &["events", "resend", "ada:msg_1", "--to", "crm"]);
    assert!(code == 0 && text.contains("when it can be used again"), "{text}");
    // A part that cannot be read hides no destination.
    write(json!([]));
    let found = json_of_any(&dev, &["doctor"]).into_iter().find(|found| found["check"] == "destination crm").unwrap();
    assert!(found["state"] == "wrong" && found["advice"].as_str().unwrap().contains("secrets check"), "{found}");
    write(with("source"));
    assert_eq!(header(&next(&mut requests).await, "gatehouse-event-id"), "ada:msg_1");
}

#[tokio::test(flavor = "multi_thread")]
async fn discarded_deliveries_are_not_sent_in_the_meantime() {
    let status = Arc::new(Mutex::new(StatusCode::INTERNAL_SERVER_ERROR));
    let (server, mut requests) = server(&status).await;
    let dev = Dev::start(&[], &[]);
    at(&dev, &["destinations", "set", "crm", "--url", &server.url]);
    ada("msg_00").send(dev.base()).await.unwrap();
    next(&mut requests).await;
    at(&dev, &["destinations", "disable", "crm"]);
    for n in 1..30 {
        ada(&format!("msg_{n:02}")).send(dev.base()).await.unwrap();
    }
    while json_of(&dev, &["deliveries", "list", "--state", "waiting"]).len() < 29 {
        tokio::task::yield_now().await;
    }
    at(&dev, &["destinations", "enable", "crm"]);
    // A sweep of dev would send a delivery that is woken because the one before it is discarded. An attempt to send the
    // first one may interfere with its discarding.
    let folder = tempfile::tempdir().unwrap();
    for n in 0.. {
        let receipt = folder.path().join(n.to_string());
        let receipt = ["--receipt", receipt.to_str().unwrap()];
        let discard = ["deliveries", "discard", "--all", "--yes", "--rate", "10"];
        if at(&dev, &[&discard[..], &receipt].concat()).1.contains("no delivery matches") {
            break;
        }
    }
    *status.lock().unwrap() = StatusCode::OK;
    ada("msg_30").send(dev.base()).await.unwrap();
    loop {
        match header(&next(&mut requests).await, "gatehouse-event-id") {
            "ada:msg_30" => break,
            id => assert_eq!(id, "ada:msg_00"),
        }
    }
    let subject = "ada:conversation:673da1f0c2b94e5f8a017b11";
    let all = json_of(&dev, &["deliveries", "list", "--subject", subject]);
    assert_eq!(all.iter().filter(|delivery| delivery["state"] == "dropped").count(), 30);

    // An event that the destination has had is sent again, and so is one that it has not had.
    assert_eq!(at(&dev, &["events", "resend", "ada:msg_30", "--to", "crm"]).0, 0);
    assert_eq!(header(&next(&mut requests).await, "gatehouse-event-id"), "ada:msg_30");
    at(&dev, &["destinations", "set", "web", "--url", &server.url, "--type", "none"]);
    assert_eq!(at(&dev, &["events", "resend", "ada:msg_30", "--to", "web"]).0, 0);
    assert_eq!(header(&next(&mut requests).await, "gatehouse-destination"), "web");
    at(&dev, &["destinations", "disable", "web"]);
    let (code, text) = at(&dev, &["events", "resend", "ada:msg_30", "--to", "web"]);
    assert!(code == 0 && text.contains("when it is enabled; it is disabled (by an operator)"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn queue_of_the_local_stack_gets_deliveries_by_any_name_of_this_machine() {
    let dev = Dev::start(&[], &[]);
    let client = aws_sdk_sqs::Client::new(&gatehouse_local::local_sdk(dev.text("sqs")));
    let url = client.create_queue().queue_name("events").send().await.unwrap().queue_url.unwrap();
    for (name, url) in [("one", url.clone()), ("two", url.replace("127.0.0.1", "localhost"))] {
        let (code, text) = at(&dev, &["destinations", "set", name, "--sqs", &url]);
        assert_eq!(code, 0, "{text}");
        let (code, text) = at(&dev, &["destinations", "test", name]);
        assert_eq!(code, 0, "{text}");
    }
    ada("msg_1").send(dev.base()).await.unwrap();
    let mut types = Vec::new();
    while types.len() < 4 {
        let receive = client.receive_message().queue_url(&url).max_number_of_messages(10).wait_time_seconds(20);
        for message in receive.send().await.unwrap().messages.expect("a message within 20 s") {
            let body: Value = serde_json::from_str(message.body().unwrap()).unwrap();
            types.push(body["type"].as_str().unwrap().to_owned());
        }
    }
    types.sort();
    assert_eq!(types[2..], ["gatehouse.test"; 2]);
    assert_eq!(types[0], types[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn reconcile_adds_the_deliveries_that_the_outbox_missed() {
    let (server, mut requests) = server(&Arc::new(Mutex::new(StatusCode::OK))).await;
    let dev = Dev::start(&[], &[]);
    at(&dev, &["destinations", "set", "crm", "--url", &server.url]);
    for id in ["msg_1", "msg_2"] {
        ada(id).send(dev.base()).await.unwrap();
        next(&mut requests).await;
    }
    let (code, text) = at(&dev, &["deliveries", "reconcile", "--since", "1h"]);
    assert!(code == 0 && text.contains("2 events read; 0 deliveries added or woken"), "{text}");
    // As if the outbox had missed the second event.
    let client = aws_sdk_dynamodb::Client::new(&gatehouse_local::local_sdk(dev.text("dynamodb")));
    let scan = client.scan().table_name(dev.text("delivery_table")).send().await.unwrap();
    let missed =
        scan.items().iter().find(|item| item.get("event_key").is_some_and(|key| key.as_s().unwrap() == "ada:msg_2"));
    let key = ["lane", "row"].map(|name| (name.to_owned(), missed.unwrap()[name].clone()));
    client.delete_item().table_name(dev.text("delivery_table")).set_key(Some(key.into())).send().await.unwrap();
    let (code, text) = at(&dev, &["deliveries", "reconcile", "--since", "1h", "--to", "crm"]);
    assert!(code == 0 && text.contains("2 events read; 1 delivery added or woken"), "{text}");
    assert_eq!(header(&next(&mut requests).await, "gatehouse-event-id"), "ada:msg_2");
    assert_eq!(at(&dev, &["deliveries", "reconcile", "--since", "1h", "--to", "other"]).0, 3);
    // With another order, deliveries have other lanes.
    at(&dev, &["destinations", "set", "crm", "--url", &server.url, "--order", "none"]);
    let (code, text) = at(&dev, &["deliveries", "reconcile", "--since", "1h"]);
    assert!(code == 0 && text.contains("2 events read; 0 deliveries added or woken"), "{text}");
}

#[test]
fn unusable_destinations_are_refused() {
    let dev = Dev::start(&[], &[]);
    for (arguments, expected) in [
        (&["bad name", "--url", "https://x.example.com"][..], "letters, digits"),
        (&["crm"], "needs exactly one of url, sqs and lambda"),
        (&["crm", "--url", "http://x.example.com"], "does not begin with https://"),
        (&["crm", "--url", "https://x.example.com", "--when", "{"], "is not JSON"),
        (&["crm", "--url", "https://x.example.com", "--when", r#"{"tpye":"x"}"#], "does not have the shape"),
        (&["crm", "--url", "https://x.example.com", "--max-bytes", "1"], "max_bytes is not between"),
    ] {
        let (code, text) = at(&dev, &[&["destinations", "set"], arguments].concat());
        assert!(code != 0 && text.contains(expected), "{expected}: {text}");
    }
    assert!(at(&dev, &["destinations", "list"]).1.contains("there are no destinations"));
    let (code, text) = at(&dev, &["destinations", "enable", "crm"]);
    assert!(code == 3 && text.contains("there is no destination crm"), "{text}");
}
