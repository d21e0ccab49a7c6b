//! Tests `Idempotency-Key`: a repeated request is not forwarded again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use agent_chat::{Body, Limits};
use bytes::Bytes;
use gatehouse_local::agent::{Answer, Piece};
use gatehouse_local::{Fault, Rule};
use gatehouse_payload::Subject;
use gatehouse_receiver::Deadline;
use http::Response;
use http_body_util::BodyExt;
use serde_json::{Value, json};

use crate::support::{Chat, DONE, KIT, OTHER_TOKEN, TEXT, UI, piece, problem, request, text, turn_id};

const OTHER: &str = r#"{"conversationId":"c1","messages":[{"role":"user","content":"Bye"}]}"#;

/// An agent that numbers its answers.
async fn numbered_answers() -> Chat {
    let count = AtomicUsize::new(0);
    Chat::with(Limits::default(), move |_| {
        let n = count.fetch_add(1, Ordering::SeqCst);
        Some(Answer::with_pieces([piece(&format!("data: {{\"type\":\"text\",\"content\":\"{n}\"}}\n\n{DONE}"))]))
    })
    .await
}

impl Chat {
    async fn send_with_key(&self, key: &str, body: &str) -> Response<Body> {
        let request = request("kit").header("idempotency-key", key);
        self.send_request(request.body(Bytes::copy_from_slice(body.as_bytes())).unwrap()).await
    }
}

/// Splits the id of a turn with a key into the key and its fence.
fn attempt(turn_id: &str) -> (&str, u64) {
    let (key, fence) = turn_id.rsplit_once(':').unwrap();
    (key, fence.parse().unwrap())
}

fn is_replayed(response: &Response<Body>) -> bool {
    response.headers().get("idempotency-replayed").is_some_and(|value| value == "true")
}

#[tokio::test(flavor = "multi_thread")]
async fn finished_turn_is_replayed_byte_for_byte() {
    let stream = format!(": hello\r\n\r\nid: 7\n{TEXT}data: \u{e9}\u{2028}\n\n{DONE}data: rest");
    let chat = Chat::answering(vec![piece(&stream)]).await;
    let first = chat.send_with_key("order-7", KIT).await;
    assert!(!is_replayed(&first));
    let id = turn_id(&first);
    assert_eq!(attempt(&id).0, "web:kit:order-7");
    let first = text(first).await;
    for key in ["order-7", "\"order-7\"", " order-7 "] {
        // White space in the body does not make it another request.
        let again = chat.send_with_key(key, &format!(" {KIT}\n")).await;
        assert!(is_replayed(&again) && turn_id(&again) == id, "{again:?}");
        assert_eq!(again.headers()["content-type"], "text/event-stream; charset=utf-8");
        assert_eq!(again.headers()["cache-control"], "no-cache, no-transform");
        assert_eq!(again.headers()["x-request-id"], "req-1");
        assert_eq!(text(again).await, first);
    }
    assert_eq!(chat.agent.requests().len(), 1);
    assert_eq!(chat.record(&id).await["end"], "completed");

    let request_for_json = request("kit").header("idempotency-key", "order-7").header("accept", "application/json");
    let response = chat.send_request(request_for_json.body(Bytes::from(KIT)).unwrap()).await;
    assert!(is_replayed(&response));
    let turn: Value = serde_json::from_str(&text(response).await).unwrap();
    assert_eq!((&turn["content"], &turn["turn_id"]), (&json!("Hi"), &json!(id)));
}

#[tokio::test(flavor = "multi_thread")]
async fn turn_that_an_earlier_release_recorded_is_replayed() {
    let chat = numbered_answers().await;
    let first = chat.send_with_key("order-7", KIT).await;
    let id = turn_id(&first);
    let first = text(first).await;
    chat.wait_for_record(&id).await;
    // The record as the earlier release would have written it.
    let (client, table) = (chat.stack.dynamodb_client(), &chat.stack.table);
    let key = |id: String| aws_sdk_dynamodb::types::AttributeValue::S(id);
    let present = key(format!("chat:{id}"));
    let item = client.get_item().table_name(table).key("event_id", present.clone()).send().await.unwrap().item;
    let mut item = item.unwrap();
    item.insert("event_id".to_owned(), key(format!("ag-kit:{id}")));
    client.put_item().table_name(table).set_item(Some(item)).send().await.unwrap();
    client.delete_item().table_name(table).key("event_id", present).send().await.unwrap();
    let again = chat.send_with_key("order-7", KIT).await;
    assert!(is_replayed(&again) && turn_id(&again) == id, "{again:?}");
    assert_eq!((text(again).await, chat.agent.requests().len()), (first, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn erased_turn_is_409_and_not_forwarded_again() {
    let chat = numbered_answers().await;
    let first = chat.send_with_key("order-7", KIT).await;
    let id = turn_id(&first);
    text(first).await;
    chat.wait_for_record(&id).await;
    let (store, subject) = (chat.stack.store(), Subject::new("chat", "conversation", "c1"));
    store.mark_erased(&subject, chat.clock.now()).await.unwrap();
    assert_eq!(store.erase(&subject, chat.clock.now()).await.unwrap().events, 1);
    let (status, detail) = problem(chat.send_with_key("order-7", KIT).await).await;
    assert!(status == 409 && detail.contains("or was erased"), "{status} {detail}");
    assert_eq!(chat.agent.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn key_is_scoped_to_client_and_agent() {
    let chat = numbered_answers().await;
    let first = text(chat.send_with_key("k", KIT).await).await;
    let mut other_client = request("kit").header("idempotency-key", "k").body(Bytes::from(KIT)).unwrap();
    other_client.headers_mut().insert("authorization", format!("Bearer {OTHER_TOKEN}").parse().unwrap());
    let other_client = chat.send_request(other_client).await;
    assert!(!is_replayed(&other_client));
    assert_ne!(text(other_client).await, first);
    let other_agent = request("ui").header("idempotency-key", "k").body(Bytes::from(UI)).unwrap();
    assert!(!is_replayed(&chat.send_request(other_agent).await));
    assert!(is_replayed(&chat.send_with_key("k", KIT).await));
}

#[tokio::test(flavor = "multi_thread")]
async fn reused_key_is_422_and_invalid_key_is_400() {
    let chat = numbered_answers().await;
    text(chat.send_with_key("k", KIT).await).await;
    let (status, _) = problem(chat.send_with_key("k", OTHER).await).await;
    assert_eq!(status, 422);
    for key in ["", "\"\"", "a b", "\u{e9}", &"k".repeat(201)] {
        assert_eq!(problem(chat.send_with_key(key, KIT).await).await.0, 400, "{key}");
    }
    let twice = request("kit").header("idempotency-key", "a").header("idempotency-key", "b");
    assert_eq!(problem(chat.send_request(twice.body(Bytes::from(KIT)).unwrap()).await).await.0, 400);
    assert_eq!(chat.agent.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn key_of_a_running_turn_is_409() {
    let (sender, answer) = Answer::stream();
    let answer = std::sync::Mutex::new(Some(answer));
    let chat = Chat::with(Limits::default(), move |_| answer.lock().unwrap().take()).await;
    sender.send(piece(TEXT)).unwrap();
    let running = chat.send_with_key("k", KIT).await;
    let second = chat.send_with_key("k", KIT).await;
    assert!(second.headers().contains_key("retry-after"));
    assert_eq!(problem(second).await.0, 409);
    assert_eq!(problem(chat.send_with_key("k", OTHER).await).await.0, 422);
    sender.send(piece(DONE)).unwrap();
    drop(sender);
    let first = text(running).await;
    // The stream ends after the claim is settled.
    assert_eq!(text(chat.send_with_key("k", KIT).await).await, first);
    assert_eq!(chat.agent.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_turn_releases_its_key() {
    let count = AtomicUsize::new(0);
    let chat = Chat::with(Limits::default(), move |_| match count.fetch_add(1, Ordering::SeqCst) {
        0 => None,
        1 => Some(Answer::with_pieces([piece(TEXT), Piece::Cut])),
        _ => Some(Answer::with_pieces([piece(TEXT), piece(DONE)])),
    })
    .await;
    let broken = chat.send_with_key("k", KIT).await;
    let mut turns = vec![turn_id(&broken)];
    assert_eq!(problem(broken).await.0, 502);
    let cut = chat.send_with_key("k", KIT).await;
    turns.push(turn_id(&cut));
    assert!(text(cut).await.contains("\"type\":\"error\""));
    let completed = chat.send_with_key("k", OTHER).await;
    turns.push(turn_id(&completed));
    let attempts: Vec<(&str, u64)> = turns.iter().map(|turn| attempt(turn)).collect();
    let first = attempts[0].1;
    assert_eq!(attempts, [("web:kit:k", first), ("web:kit:k", first + 1), ("web:kit:k", first + 2)]);
    let completed = text(completed).await;
    let again = chat.send_with_key("k", OTHER).await;
    assert!(is_replayed(&again));
    assert_eq!(text(again).await, completed);
    let mut ends = Vec::new();
    for turn in &turns {
        ends.push(chat.record(turn).await["end"].clone());
    }
    assert_eq!(ends, ["failed:broken", "failed:cut", "completed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn interrupted_turn_is_replayed() {
    let interrupt = "data: {\"type\":\"interrupt\",\"id\":\"i\",\"payload\":[1]}\n\n";
    let chat = Chat::answering(vec![piece(interrupt), piece(DONE)]).await;
    let first = text(chat.send_with_key("k", KIT).await).await;
    let again = chat.send_with_key("k", KIT).await;
    assert!(is_replayed(&again));
    assert_eq!(text(again).await, first);
}

/// Runs a turn on another instance, and kills the instance during the turn.
async fn kill_during_turn(chat: &Chat) {
    let instance = chat.instance();
    let instance_thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        // Connections and tasks belong to the runtime, and end with it.
        let state = instance();
        runtime.block_on(async {
            let request = request("kit").header("idempotency-key", "k").body(Bytes::from(KIT)).unwrap();
            let response = agent_chat::handle(request, &state, Deadline::within(Duration::from_secs(60))).await;
            let first = response.into_body().frame().await.unwrap().unwrap().into_data().unwrap();
            assert_eq!(first, TEXT);
        });
        runtime.shutdown_background();
    });
    tokio::task::spawn_blocking(|| instance_thread.join().unwrap()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn key_of_a_killed_turn_is_free_after_its_lease() {
    let (sender, answer) = Answer::stream();
    let answers = std::sync::Mutex::new(vec![Answer::with_pieces([piece(TEXT), piece(DONE)]), answer]);
    let chat = Chat::with(Limits::default(), move |_| answers.lock().unwrap().pop()).await;
    sender.send(piece(TEXT)).unwrap();
    kill_during_turn(&chat).await;

    assert_eq!(problem(chat.send_with_key("k", KIT).await).await.0, 409, "the turn may still be running");
    // The turn's deadline passes after a minute, and the lease expires 5 s later.
    chat.clock.advance(60);
    assert_eq!(problem(chat.send_with_key("k", KIT).await).await.0, 409);
    chat.clock.advance(6);
    assert_eq!(problem(chat.send_with_key("k", OTHER).await).await.0, 422);
    let second = chat.send_with_key("k", KIT).await;
    assert!(!is_replayed(&second));
    let second = text(second).await;
    let again = chat.send_with_key("k", KIT).await;
    assert!(is_replayed(&again));
    assert_eq!(text(again).await, second);
    drop(sender);
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_turn_with_an_unsettled_claim_is_replayed() {
    let chat = numbered_answers().await;
    chat.stack.dynamodb.add_rule(Rule::every(Fault::Cut).on("UpdateItem").containing("finished"));
    // Settling the claim is retried until the invocation ends.
    let keyed_request = request("kit").header("idempotency-key", "k").body(Bytes::from(KIT)).unwrap();
    let response = agent_chat::handle(keyed_request, &chat.state, Deadline::within(Duration::from_secs(6))).await;
    let first = text(response).await;
    chat.stack.dynamodb.clear_rules();
    assert_eq!(problem(chat.send_with_key("k", KIT).await).await.0, 409);
    chat.clock.advance(66);
    for _ in 0..2 {
        let again = chat.send_with_key("k", KIT).await;
        assert!(is_replayed(&again));
        assert_eq!(text(again).await, first);
    }
    chat.clock.advance(-66);
    assert!(is_replayed(&chat.send_with_key("k", KIT).await), "the replay has settled the claim");
    assert_eq!(chat.agent.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn request_with_a_key_is_503_while_dynamodb_is_unavailable() {
    let chat = numbered_answers().await;
    chat.stack.dynamodb.add_rule(Rule::every(Fault::Cut));
    let refused = chat.send_with_key("k", KIT).await;
    assert!(refused.headers().contains_key("retry-after"));
    assert_eq!(problem(refused).await.0, 503);
    assert_eq!(chat.agent.requests().len(), 0);
    chat.stack.dynamodb.clear_rules();
    assert_eq!(chat.send_with_key("k", KIT).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn queued_turn_is_replayed_after_it_is_recorded() {
    let chat = numbered_answers().await;
    // The claim is acquired and settled. Only the record of the turn fails.
    chat.stack.dynamodb.add_rule(Rule::every(Fault::Cut).on("PutItem").containing("received_at"));
    let first = text(chat.send_with_key("k", KIT).await).await;
    chat.stack.dynamodb.clear_rules();
    assert_eq!(problem(chat.send_with_key("k", KIT).await).await.0, 409);
    chat.stack.take_batch().await.unwrap();
    let again = chat.send_with_key("k", KIT).await;
    assert!(is_replayed(&again));
    assert_eq!(text(again).await, first);
}

#[tokio::test(flavor = "multi_thread")]
async fn claim_is_settled_when_throttling_ends() {
    let chat = numbered_answers().await;
    chat.stack.dynamodb.add_rule(Rule::every(Fault::THROTTLE).on("UpdateItem").containing("finished").times(5));
    let first = text(chat.send_with_key("k", KIT).await).await;
    let again = chat.send_with_key("k", KIT).await;
    assert!(is_replayed(&again), "the stream ends after the claim is settled");
    assert_eq!(text(again).await, first);
}

#[tokio::test(flavor = "multi_thread")]
async fn unrecorded_turn_is_not_run_again() {
    let chat = numbered_answers().await;
    chat.stack.dynamodb.add_rule(Rule::every(Fault::Cut).on("PutItem").containing("received_at"));
    chat.stack.sqs.add_rule(Rule::every(Fault::Cut));
    text(chat.send_with_key("k", KIT).await).await;
    chat.stack.dynamodb.clear_rules();
    for seconds in [0, 400] {
        chat.clock.advance(seconds);
        let refused = chat.send_with_key("k", KIT).await;
        assert!(!refused.headers().contains_key("retry-after"));
        assert_eq!(problem(refused).await.0, 409);
    }
    assert_eq!(chat.agent.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_record_may_be_queued_for_two_weeks_and_is_lost_afterwards() {
    let chat = numbered_answers().await;
    chat.stack.dynamodb.add_rule(Rule::every(Fault::Cut).on("PutItem").containing("received_at"));
    text(chat.send_with_key("k", KIT).await).await;
    chat.stack.dynamodb.clear_rules();
    let later = async |days: i64| {
        chat.clock.advance(days * 86_400);
        chat.send_with_key("k", KIT).await
    };
    assert!(later(13).await.headers().contains_key("retry-after"));
    let lost = later(2).await;
    assert!(!lost.headers().contains_key("retry-after"));
    assert_eq!(problem(lost).await.0, 409);
    let expired = later(90).await;
    assert!(expired.status() == 200 && !is_replayed(&expired), "{expired:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn unconfirmed_key_is_released() {
    let chat = numbered_answers().await;
    chat.stack.dynamodb.add_rule(Rule::every(Fault::HoldResponse).on("PutItem").times(2));
    assert_eq!(problem(chat.send_with_key("k", KIT).await).await.0, 503);
    chat.stack.dynamodb.clear_rules();
    assert_eq!(chat.send_with_key("k", KIT).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_under_one_key_share_an_opaque_request_id() {
    let count = AtomicUsize::new(0);
    let chat = Chat::with(Limits::default(), move |_| match count.fetch_add(1, Ordering::SeqCst) {
        0 => None,
        _ => Some(Answer::with_pieces([piece(DONE)])),
    })
    .await;
    for key in ["k", "k", "l"] {
        let mut request = request("kit").header("idempotency-key", key).body(Bytes::from(KIT)).unwrap();
        request.headers_mut().remove("x-request-id");
        text(chat.send_request(request).await).await;
    }
    let requests = chat.agent.requests();
    let ids: Vec<&str> = requests.iter().map(|request| request.headers["x-request-id"].to_str().unwrap()).collect();
    assert!(ids[1] == ids[2] && ids[0] != ids[1] && !ids[0].contains("web"), "{ids:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn answer_over_8_mib_is_recorded_but_not_replayed() {
    let event = format!("data: {{\"type\":\"text\",\"content\":\"{}\"}}\n\n", "x".repeat(900_000));
    let events = |count| vec![piece(&event); count].into_iter().chain([piece(DONE)]).collect::<Vec<_>>();
    let fits = Chat::answering(events(9)).await;
    let first = text(fits.send_with_key("k", KIT).await).await;
    let again = fits.send_with_key("k", KIT).await;
    assert!(is_replayed(&again));
    assert!(text(again).await == first);

    let chat = Chat::answering(events(10)).await;
    let first = chat.send_with_key("k", KIT).await;
    let id = turn_id(&first);
    assert_eq!(text(first).await.len(), event.len() * 10 + DONE.len());
    let (status, detail) = problem(chat.send_with_key("k", KIT).await).await;
    assert_eq!(status, 409, "{detail}");
    assert!(detail.contains("too large"), "{detail}");
    assert_eq!(chat.record(&id).await["end"], "completed");
    assert_eq!(chat.agent.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_requests_with_one_key_reach_the_agent_once() {
    let chat = Arc::new(numbered_answers().await);
    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let chat = Arc::clone(&chat);
        requests.spawn(async move {
            let response = chat.send_with_key("k", KIT).await;
            (response.status().as_u16(), text(response).await)
        });
    }
    let outcomes = requests.join_all().await;
    let answers: Vec<&String> = outcomes.iter().filter(|(status, _)| *status == 200).map(|(_, text)| text).collect();
    assert!(!answers.is_empty() && answers.iter().all(|answer| *answer == answers[0]), "{outcomes:?}");
    assert!(outcomes.iter().all(|(status, _)| [200, 409].contains(status)), "{outcomes:?}");
    assert_eq!(chat.agent.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_admission_releases_its_key_when_dynamodb_recovers() {
    for (case, rule) in [
        (
            "the response to the lock request is lost",
            Rule::every(Fault::DropResponse).on("PutItem").containing("lease_until").times(2),
        ),
        ("the lease is not extended", Rule::every(Fault::Cut).on("UpdateItem").containing("lease_until").times(2)),
    ] {
        let chat = numbered_answers().await;
        chat.stack.dynamodb.add_rule(rule);
        // The release fails for longer than the error response waits.
        chat.stack.dynamodb.add_rule(Rule::every(Fault::Cut).on("UpdateItem").containing("failed").times(12));
        assert_eq!(problem(chat.send_with_key("k", KIT).await).await.0, 503, "{case}");
        assert_eq!(chat.agent.requests().len(), 0, "{case}");
        // The clock does not advance, so no lease expires.
        let answered = async {
            loop {
                let response = chat.send_with_key("k", KIT).await;
                match response.status().as_u16() {
                    409 => tokio::task::yield_now().await,
                    status => return status,
                }
            }
        };
        assert_eq!(tokio::time::timeout(Duration::from_secs(30), answered).await.unwrap(), 200, "{case}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn request_killed_during_admission_blocks_its_key_briefly() {
    let chat = numbered_answers().await;
    chat.stack.dynamodb.add_rule(Rule::every(Fault::Hang).on("UpdateItem").containing("lease_until"));
    let (instance, before) = (chat.instance(), chat.stack.dynamodb.counts().get("UpdateItem").copied());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let instance_thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let state = instance();
        runtime.block_on(async {
            let request = request("kit").header("idempotency-key", "k").body(Bytes::from(KIT)).unwrap();
            let deadline = Deadline::within(Duration::from_secs(60));
            tokio::select! {
                _ = agent_chat::handle(request, &state, deadline) => panic!("answered"),
                _ = stopped => {}
            }
        });
        runtime.shutdown_background();
    });
    while chat.stack.dynamodb.counts().get("UpdateItem").copied() == before {
        tokio::task::yield_now().await;
    }
    stop.send(()).unwrap();
    tokio::task::spawn_blocking(|| instance_thread.join().unwrap()).await.unwrap();
    chat.stack.dynamodb.clear_rules();
    let key = aws_sdk_dynamodb::types::AttributeValue::S("claim:web:kit:k".to_owned());
    let get = chat.stack.dynamodb_client().get_item().table_name(&chat.stack.table).key("event_id", key);
    let claim = get.send().await.unwrap().item.unwrap();
    let lease = gatehouse_payload::time::Timestamp::parse(claim["lease_until"].as_s().unwrap()).unwrap();
    let seconds = lease.as_secs() - chat.clock.now().as_secs();
    assert!((10..=20).contains(&seconds), "{seconds}");
    chat.clock.advance(seconds + 1);
    let other_message = chat.stack.sqs_client().send_message().queue_url(&chat.stack.retry_queue).message_body("{}");
    other_message.send().await.unwrap();
    assert_eq!(
        chat.send_with_key("k", OTHER).await.status(),
        200,
        "other messages on the queue do not matter, nor does another request"
    );
    assert_eq!(chat.agent.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn queued_turn_is_found_after_its_function_was_killed() {
    let chat = numbered_answers().await;
    chat.stack.dynamodb.add_rule(Rule::every(Fault::Cut).on("PutItem").containing("received_at"));
    chat.stack.dynamodb.add_rule(Rule::every(Fault::Cut).on("UpdateItem").containing("finished"));
    let keyed_request = request("kit").header("idempotency-key", "k").body(Bytes::from(KIT)).unwrap();
    let response = agent_chat::handle(keyed_request, &chat.state, Deadline::within(Duration::from_secs(6))).await;
    let first = text(response).await;
    chat.state.turns.ended().await;
    chat.stack.dynamodb.clear_rules();
    chat.clock.advance(66);
    // The lease has expired and there is no record, but the queue is not empty.
    let waiting = chat.send_with_key("k", KIT).await;
    assert!(waiting.headers().contains_key("retry-after"));
    assert_eq!(problem(waiting).await.0, 409);
    chat.stack.sqs.add_rule(Rule::every(Fault::Cut));
    assert_eq!(problem(chat.send_with_key("k", KIT).await).await.0, 503, "the queue is unavailable");
    chat.stack.sqs.clear_rules();
    chat.stack.take_batch().await.unwrap();
    let again = chat.send_with_key("k", KIT).await;
    assert!(is_replayed(&again));
    assert_eq!(text(again).await, first);
    assert_eq!(chat.agent.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn key_of_a_killed_turn_stays_in_use_while_there_are_dead_letters() {
    let (sender, answer) = Answer::stream();
    let answers = std::sync::Mutex::new(vec![Answer::with_pieces([piece(TEXT), piece(DONE)]), answer]);
    let chat = Chat::with(Limits::default(), move |_| answers.lock().unwrap().pop()).await;
    sender.send(piece(TEXT)).unwrap();
    kill_during_turn(&chat).await;
    chat.clock.advance(66);
    let client = chat.stack.sqs_client();
    let letter = client.send_message().queue_url(&chat.stack.dead_letter_queue).message_body("{}");
    letter.send().await.unwrap();
    // The lease has expired and there is no record, but a dead letter may hold it.
    assert_eq!(problem(chat.send_with_key("k", KIT).await).await.0, 409);
    client.purge_queue().queue_url(&chat.stack.dead_letter_queue).send().await.unwrap();
    assert_eq!(chat.send_with_key("k", KIT).await.status(), 200);
    drop(sender);
}

#[tokio::test(flavor = "multi_thread")]
async fn key_adds_three_writes_and_a_replay_takes_two_requests() {
    let chat = numbered_answers().await;
    let requests = async |key: Option<&str>| {
        let before = chat.stack.dynamodb.counts();
        let response = match key {
            Some(key) => chat.send_with_key(key, KIT).await,
            None => chat.send("kit", KIT).await,
        };
        text(response).await;
        let new = |(operation, n): (String, usize)| (n - before.get(&operation).unwrap_or(&0), operation);
        chat.stack.dynamodb.counts().into_iter().map(new).filter(|(n, _)| *n > 0).collect::<Vec<_>>()
    };
    // The first record of an instance also reads the list of erased subjects.
    requests(None).await;
    let (put, update, get) = ("PutItem".to_owned(), "UpdateItem".to_owned(), "GetItem".to_owned());
    assert_eq!(requests(None).await, [(1, put.clone())]);
    assert_eq!(requests(Some("k")).await, [(2, put.clone()), (2, update)]);
    let mut replay = requests(Some("k")).await;
    replay.sort();
    assert_eq!(replay, [(1, get), (1, put)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn client_that_leaves_during_admission_leaves_no_claim() {
    let chat = numbered_answers().await;
    let slow = Fault::Delay(Duration::from_millis(300));
    chat.stack.dynamodb.add_rule(Rule::every(slow).on("UpdateItem").containing("lease_until"));
    let left = tokio::time::timeout(Duration::from_millis(100), chat.send_with_key("k", KIT)).await;
    assert!(left.is_err(), "admission was still running");
    chat.state.turns.ended().await;
    assert_eq!(chat.agent.requests().len(), 0);
    assert_eq!(chat.send_with_key("k", KIT).await.status(), 200);
}
