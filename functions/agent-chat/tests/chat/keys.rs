//! `Idempotency-Key`: what is asked again is not done again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use agent_chat::{Body, Limits};
use bytes::Bytes;
use gatehouse_edge::Deadline;
use gatehouse_inbox::Subject;
use gatehouse_local::agent::{Answer, Piece};
use gatehouse_local::{Fault, Rule};
use http::Response;
use http_body_util::BodyExt;
use serde_json::{Value, json};

use crate::support::{Chat, DONE, KIT, OTHER_TOKEN, TEXT, UI, problem, request, says, text, turn_id};

const OTHER: &str = r#"{"conversationId":"c1","messages":[{"role":"user","content":"Bye"}]}"#;

/// An agent whose every answer is another.
async fn counting() -> Chat {
    let count = AtomicUsize::new(0);
    Chat::with(Limits::default(), move |_| {
        let n = count.fetch_add(1, Ordering::SeqCst);
        Some(Answer::saying([says(&format!("data: {{\"type\":\"text\",\"content\":\"{n}\"}}\n\n{DONE}"))]))
    })
    .await
}

impl Chat {
    async fn keyed(&self, key: &str, body: &str) -> Response<Body> {
        let request = request("kit").header("idempotency-key", key);
        self.send_request(request.body(Bytes::copy_from_slice(body.as_bytes())).unwrap()).await
    }
}

/// The key's parts of a turn id, and its fence.
fn attempt(turn_id: &str) -> (&str, u64) {
    let (key, fence) = turn_id.rsplit_once(':').unwrap();
    (key, fence.parse().unwrap())
}

fn is_replayed(response: &Response<Body>) -> bool {
    response.headers().get("idempotency-replayed").is_some_and(|value| value == "true")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_turn_is_said_again_byte_for_byte() {
    let stream = format!(": hello\r\n\r\nid: 7\n{TEXT}data: \u{e9}\u{2028}\n\n{DONE}data: rest");
    let chat = Chat::saying(vec![says(&stream)]).await;
    let first = chat.keyed("order-7", KIT).await;
    assert!(!is_replayed(&first));
    let id = turn_id(&first);
    assert_eq!(attempt(&id).0, "web:kit:order-7");
    let first = text(first).await;
    for key in ["order-7", "\"order-7\"", " order-7 "] {
        // White space in the body says nothing.
        let again = chat.keyed(key, &format!(" {KIT}\n")).await;
        assert!(is_replayed(&again) && turn_id(&again) == id, "{again:?}");
        assert_eq!(again.headers()["content-type"], "text/event-stream; charset=utf-8");
        assert_eq!(again.headers()["cache-control"], "no-cache, no-transform");
        assert_eq!(again.headers()["x-request-id"], "req-1");
        assert_eq!(text(again).await, first);
    }
    assert_eq!(chat.agent.heard().len(), 1);
    assert_eq!(chat.record(&id).await["end"], "completed");

    let whole = request("kit").header("idempotency-key", "order-7").header("accept", "application/json");
    let whole = chat.send_request(whole.body(Bytes::from(KIT)).unwrap()).await;
    assert!(is_replayed(&whole));
    let whole: Value = serde_json::from_str(&text(whole).await).unwrap();
    assert_eq!((&whole["content"], &whole["turn_id"]), (&json!("Hi"), &json!(id)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_that_was_erased_is_neither_said_again_nor_asked_for_again() {
    let chat = counting().await;
    let first = chat.keyed("order-7", KIT).await;
    let id = turn_id(&first);
    text(first).await;
    chat.record_when_there(&id).await;
    let (store, subject) = (chat.stack.store(), Subject::new("ag-kit", "conversation", "c1"));
    store.bury(&subject, chat.clock.now()).await.unwrap();
    assert_eq!(store.erase(&subject, chat.clock.now()).await.unwrap().events, 1);
    let (status, told) = problem(chat.keyed("order-7", KIT).await).await;
    assert!(status == 409 && told.contains("or was erased"), "{status} {told}");
    assert_eq!(chat.agent.heard().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_its_clients_and_its_agents_alone() {
    let chat = counting().await;
    let first = text(chat.keyed("k", KIT).await).await;
    let mut others = request("kit").header("idempotency-key", "k").body(Bytes::from(KIT)).unwrap();
    others.headers_mut().insert("authorization", format!("Bearer {OTHER_TOKEN}").parse().unwrap());
    let others = chat.send_request(others).await;
    assert!(!is_replayed(&others));
    assert_ne!(text(others).await, first);
    let agents = request("ui").header("idempotency-key", "k").body(Bytes::from(UI)).unwrap();
    assert!(!is_replayed(&chat.send_request(agents).await));
    assert!(is_replayed(&chat.keyed("k", KIT).await));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_stands_for_one_request_and_is_refused_for_another() {
    let chat = counting().await;
    text(chat.keyed("k", KIT).await).await;
    let (status, _) = problem(chat.keyed("k", OTHER).await).await;
    assert_eq!(status, 422);
    for key in ["", "\"\"", "a b", "\u{e9}", &"k".repeat(201)] {
        assert_eq!(problem(chat.keyed(key, KIT).await).await.0, 400, "{key}");
    }
    let twice = request("kit").header("idempotency-key", "a").header("idempotency-key", "b");
    assert_eq!(problem(chat.send_request(twice.body(Bytes::from(KIT)).unwrap()).await).await.0, 400);
    assert_eq!(chat.agent.heard().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_turn_runs_its_key_is_in_use() {
    let (sender, answer) = Answer::stream();
    let answer = std::sync::Mutex::new(Some(answer));
    let chat = Chat::with(Limits::default(), move |_| answer.lock().unwrap().take()).await;
    sender.send(says(TEXT)).unwrap();
    let running = chat.keyed("k", KIT).await;
    let second = chat.keyed("k", KIT).await;
    assert!(second.headers().contains_key("retry-after"));
    assert_eq!(problem(second).await.0, 409);
    assert_eq!(problem(chat.keyed("k", OTHER).await).await.0, 422);
    sender.send(says(DONE)).unwrap();
    drop(sender);
    let first = text(running).await;
    // The stream ends when the key stands for the turn.
    assert_eq!(text(chat.keyed("k", KIT).await).await, first);
    assert_eq!(chat.agent.heard().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_turn_frees_its_key() {
    let count = AtomicUsize::new(0);
    let chat = Chat::with(Limits::default(), move |_| match count.fetch_add(1, Ordering::SeqCst) {
        0 => None,
        1 => Some(Answer::saying([says(TEXT), Piece::Cut])),
        _ => Some(Answer::saying([says(TEXT), says(DONE)])),
    })
    .await;
    let broken = chat.keyed("k", KIT).await;
    let mut turns = vec![turn_id(&broken)];
    assert_eq!(problem(broken).await.0, 502);
    let cut = chat.keyed("k", KIT).await;
    turns.push(turn_id(&cut));
    assert!(text(cut).await.contains("\"type\":\"error\""));
    let well = chat.keyed("k", OTHER).await;
    turns.push(turn_id(&well));
    let attempts: Vec<(&str, u64)> = turns.iter().map(|turn| attempt(turn)).collect();
    let first = attempts[0].1;
    assert_eq!(attempts, [("web:kit:k", first), ("web:kit:k", first + 1), ("web:kit:k", first + 2)]);
    let well = text(well).await;
    let again = chat.keyed("k", OTHER).await;
    assert!(is_replayed(&again));
    assert_eq!(text(again).await, well);
    let mut ends = Vec::new();
    for turn in &turns {
        ends.push(chat.record(turn).await["end"].clone());
    }
    assert_eq!(ends, ["failed:broken", "failed:cut", "completed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_turn_is_said_again_too() {
    let interrupt = "data: {\"type\":\"interrupt\",\"id\":\"i\",\"payload\":[1]}\n\n";
    let chat = Chat::saying(vec![says(interrupt), says(DONE)]).await;
    let first = text(chat.keyed("k", KIT).await).await;
    let again = chat.keyed("k", KIT).await;
    assert!(is_replayed(&again));
    assert_eq!(text(again).await, first);
}

/// Its instance is gone in the middle of the turn, as if it had been killed.
async fn killed_in_the_middle(chat: &Chat) {
    let instance = chat.instance();
    let dead = std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        // Connections and tasks are the runtime's, and go with it.
        let state = instance();
        runtime.block_on(async {
            let request = request("kit").header("idempotency-key", "k").body(Bytes::from(KIT)).unwrap();
            let response = agent_chat::handle(request, &state, Deadline::within(Duration::from_secs(60))).await;
            let first = response.into_body().frame().await.unwrap().unwrap().into_data().unwrap();
            assert_eq!(first, TEXT);
        });
        runtime.shutdown_background();
    });
    tokio::task::spawn_blocking(|| dead.join().unwrap()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_turn_leaves_its_key_to_whoever_comes_after_its_lease() {
    let (sender, answer) = Answer::stream();
    let answers = std::sync::Mutex::new(vec![Answer::saying([says(TEXT), says(DONE)]), answer]);
    let chat = Chat::with(Limits::default(), move |_| answers.lock().unwrap().pop()).await;
    sender.send(says(TEXT)).unwrap();
    killed_in_the_middle(&chat).await;

    assert_eq!(problem(chat.keyed("k", KIT).await).await.0, 409, "for all anybody knows it still runs");
    // Its deadline was in a minute; the lease holds 5 s longer.
    chat.clock.advance(60);
    assert_eq!(problem(chat.keyed("k", KIT).await).await.0, 409);
    chat.clock.advance(6);
    assert_eq!(problem(chat.keyed("k", OTHER).await).await.0, 422);
    let second = chat.keyed("k", KIT).await;
    assert!(!is_replayed(&second));
    let second = text(second).await;
    let again = chat.keyed("k", KIT).await;
    assert!(is_replayed(&again));
    assert_eq!(text(again).await, second);
    drop(sender);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_that_was_recorded_by_one_who_was_killed_before_he_could_say_so_is_found() {
    let chat = counting().await;
    chat.stack.dynamodb.fail(Rule::every(Fault::Cut).on("UpdateItem").containing("finished"));
    // Its end is written again and again until its invocation is over.
    let keyed = request("kit").header("idempotency-key", "k").body(Bytes::from(KIT)).unwrap();
    let response = agent_chat::handle(keyed, &chat.state, Deadline::within(Duration::from_secs(6))).await;
    let first = text(response).await;
    chat.stack.dynamodb.heal();
    assert_eq!(problem(chat.keyed("k", KIT).await).await.0, 409);
    chat.clock.advance(66);
    for _ in 0..2 {
        let again = chat.keyed("k", KIT).await;
        assert!(is_replayed(&again));
        assert_eq!(text(again).await, first);
    }
    chat.clock.advance(-66);
    assert!(is_replayed(&chat.keyed("k", KIT).await), "whoever found it has said so");
    assert_eq!(chat.agent.heard().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_table_is_away_a_key_is_503_and_the_agent_is_not_asked() {
    let chat = counting().await;
    chat.stack.dynamodb.fail(Rule::every(Fault::Cut));
    let refused = chat.keyed("k", KIT).await;
    assert!(refused.headers().contains_key("retry-after"));
    assert_eq!(problem(refused).await.0, 503);
    assert_eq!(chat.agent.heard().len(), 0);
    chat.stack.dynamodb.heal();
    assert_eq!(chat.keyed("k", KIT).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_that_is_on_the_queue_is_said_again_once_it_is_recorded() {
    let chat = counting().await;
    // The claim is taken and settled; only the turn's own record fails.
    chat.stack.dynamodb.fail(Rule::every(Fault::Cut).on("PutItem").containing("received_at"));
    let first = text(chat.keyed("k", KIT).await).await;
    chat.stack.dynamodb.heal();
    assert_eq!(problem(chat.keyed("k", KIT).await).await.0, 409);
    chat.stack.take_batch().await.unwrap();
    let again = chat.keyed("k", KIT).await;
    assert!(is_replayed(&again));
    assert_eq!(text(again).await, first);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_whose_end_could_not_be_written_at_first_is_settled_as_soon_as_it_can() {
    let chat = counting().await;
    chat.stack.dynamodb.fail(Rule::every(Fault::THROTTLE).on("UpdateItem").containing("finished").times(5));
    let first = text(chat.keyed("k", KIT).await).await;
    let again = chat.keyed("k", KIT).await;
    assert!(is_replayed(&again), "the stream ends when the key stands for the turn");
    assert_eq!(text(again).await, first);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_nobody_could_record_is_not_run_again() {
    let chat = counting().await;
    chat.stack.dynamodb.fail(Rule::every(Fault::Cut).on("PutItem").containing("received_at"));
    chat.stack.sqs.fail(Rule::every(Fault::Cut));
    text(chat.keyed("k", KIT).await).await;
    chat.stack.dynamodb.heal();
    for seconds in [0, 400] {
        chat.clock.advance(seconds);
        let refused = chat.keyed("k", KIT).await;
        assert!(!refused.headers().contains_key("retry-after"));
        assert_eq!(problem(refused).await.0, 409);
    }
    assert_eq!(chat.agent.heard().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_turn_whose_record_never_comes_is_waited_for_as_long_as_a_queue_holds_it() {
    let chat = counting().await;
    chat.stack.dynamodb.fail(Rule::every(Fault::Cut).on("PutItem").containing("received_at"));
    text(chat.keyed("k", KIT).await).await;
    chat.stack.dynamodb.heal();
    let later = async |days: i64| {
        chat.clock.advance(days * 86_400);
        chat.keyed("k", KIT).await
    };
    assert!(later(13).await.headers().contains_key("retry-after"));
    let gone = later(2).await;
    assert!(!gone.headers().contains_key("retry-after"));
    assert_eq!(problem(gone).await.0, 409);
    let expired = later(90).await;
    assert!(expired.status() == 200 && !is_replayed(&expired), "{expired:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bid_that_nobody_answered_leaves_the_key_free() {
    let chat = counting().await;
    chat.stack.dynamodb.fail(Rule::every(Fault::HoldAnswer).on("PutItem").times(2));
    assert_eq!(problem(chat.keyed("k", KIT).await).await.0, 503);
    chat.stack.dynamodb.heal();
    assert_eq!(chat.keyed("k", KIT).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_knows_the_attempts_of_a_key_by_one_request_id_that_tells_it_nothing() {
    let count = AtomicUsize::new(0);
    let chat = Chat::with(Limits::default(), move |_| match count.fetch_add(1, Ordering::SeqCst) {
        0 => None,
        _ => Some(Answer::saying([says(DONE)])),
    })
    .await;
    for key in ["k", "k", "l"] {
        let mut request = request("kit").header("idempotency-key", key).body(Bytes::from(KIT)).unwrap();
        request.headers_mut().remove("x-request-id");
        text(chat.send_request(request).await).await;
    }
    let heard = chat.agent.heard();
    let ids: Vec<&str> = heard.iter().map(|heard| heard.headers["x-request-id"].to_str().unwrap()).collect();
    assert!(ids[1] == ids[2] && ids[0] != ids[1] && !ids[0].contains("web"), "{ids:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_over_8_mib_is_recorded_and_not_said_again() {
    let event = format!("data: {{\"type\":\"text\",\"content\":\"{}\"}}\n\n", "x".repeat(900_000));
    let just = |count| vec![says(&event); count].into_iter().chain([says(DONE)]).collect::<Vec<_>>();
    let fits = Chat::saying(just(9)).await;
    let first = text(fits.keyed("k", KIT).await).await;
    let again = fits.keyed("k", KIT).await;
    assert!(is_replayed(&again));
    assert!(text(again).await == first);

    let chat = Chat::saying(just(10)).await;
    let first = chat.keyed("k", KIT).await;
    let id = turn_id(&first);
    assert_eq!(text(first).await.len(), event.len() * 10 + DONE.len());
    let (status, detail) = problem(chat.keyed("k", KIT).await).await;
    assert_eq!(status, 409, "{detail}");
    assert!(detail.contains("too large"), "{detail}");
    assert_eq!(chat.record(&id).await["end"], "completed");
    assert_eq!(chat.agent.heard().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_send_the_same_at_once_one_asks_the_agent() {
    let chat = Arc::new(counting().await);
    let mut sends = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let chat = Arc::clone(&chat);
        sends.spawn(async move {
            let response = chat.keyed("k", KIT).await;
            (response.status().as_u16(), text(response).await)
        });
    }
    let outcomes = sends.join_all().await;
    let answers: Vec<&String> = outcomes.iter().filter(|(status, _)| *status == 200).map(|(_, text)| text).collect();
    assert!(!answers.is_empty() && answers.iter().all(|answer| *answer == answers[0]), "{outcomes:?}");
    assert!(outcomes.iter().all(|(status, _)| [200, 409].contains(status)), "{outcomes:?}");
    assert_eq!(chat.agent.heard().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn key_whose_agent_was_not_asked_is_free_as_soon_as_dynamodb_answers_again() {
    for (what, lost) in [
        ("the claim's answer is lost", Rule::every(Fault::LoseAnswer).on("PutItem").containing("lease_until").times(2)),
        ("the lease is not extended", Rule::every(Fault::Cut).on("UpdateItem").containing("lease_until").times(2)),
    ] {
        let chat = counting().await;
        chat.stack.dynamodb.fail(lost);
        // Longer than the refusal waits.
        chat.stack.dynamodb.fail(Rule::every(Fault::Cut).on("UpdateItem").containing("failed").times(12));
        assert_eq!(problem(chat.keyed("k", KIT).await).await.0, 503, "{what}");
        assert_eq!(chat.agent.heard().len(), 0, "{what}");
        // The clock stands still, so that no lease runs out.
        let answered = async {
            loop {
                let response = chat.keyed("k", KIT).await;
                match response.status().as_u16() {
                    409 => tokio::task::yield_now().await,
                    status => return status,
                }
            }
        };
        assert_eq!(tokio::time::timeout(Duration::from_secs(30), answered).await.unwrap(), 200, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn request_killed_before_its_agent_is_asked_blocks_its_key_for_seconds() {
    let chat = counting().await;
    chat.stack.dynamodb.fail(Rule::every(Fault::Hang).on("UpdateItem").containing("lease_until"));
    let (instance, before) = (chat.instance(), chat.stack.dynamodb.counts().get("UpdateItem").copied());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let doomed = std::thread::spawn(move || {
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
    tokio::task::spawn_blocking(|| doomed.join().unwrap()).await.unwrap();
    chat.stack.dynamodb.heal();
    let key = aws_sdk_dynamodb::types::AttributeValue::S("claim:web:kit:k".to_owned());
    let get = chat.stack.dynamodb_client().get_item().table_name(&chat.stack.table).key("event_id", key);
    let claim = get.send().await.unwrap().item.unwrap();
    let lease = gatehouse_payload::time::Timestamp::parse(claim["lease_until"].as_s().unwrap()).unwrap();
    let seconds = lease.as_secs() - chat.clock.now().as_secs();
    assert!((10..=20).contains(&seconds), "{seconds}");
    chat.clock.advance(seconds + 1);
    let others = chat.stack.sqs_client().send_message().queue_url(&chat.stack.retry_queue).message_body("{}");
    others.send().await.unwrap();
    assert_eq!(chat.keyed("k", OTHER).await.status(), 200, "whatever waits on the queue, and for any request");
    assert_eq!(chat.agent.heard().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn turn_that_waits_on_the_retry_queue_is_found_after_its_function_was_killed() {
    let chat = counting().await;
    chat.stack.dynamodb.fail(Rule::every(Fault::Cut).on("PutItem").containing("received_at"));
    chat.stack.dynamodb.fail(Rule::every(Fault::Cut).on("UpdateItem").containing("finished"));
    let keyed = request("kit").header("idempotency-key", "k").body(Bytes::from(KIT)).unwrap();
    let response = agent_chat::handle(keyed, &chat.state, Deadline::within(Duration::from_secs(6))).await;
    let first = text(response).await;
    chat.state.turns.ended().await;
    chat.stack.dynamodb.heal();
    chat.clock.advance(66);
    // Its lease is over and it has no record, but something waits on the queue.
    let waits = chat.keyed("k", KIT).await;
    assert!(waits.headers().contains_key("retry-after"));
    assert_eq!(problem(waits).await.0, 409);
    chat.stack.sqs.fail(Rule::every(Fault::Cut));
    assert_eq!(problem(chat.keyed("k", KIT).await).await.0, 503, "whether it waits cannot be told");
    chat.stack.sqs.heal();
    chat.stack.take_batch().await.unwrap();
    let again = chat.keyed("k", KIT).await;
    assert!(is_replayed(&again));
    assert_eq!(text(again).await, first);
    assert_eq!(chat.agent.heard().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn key_costs_three_write_requests_more_and_a_replay_two_requests() {
    let chat = counting().await;
    let requests = async |key: Option<&str>| {
        let before = chat.stack.dynamodb.counts();
        let response = match key {
            Some(key) => chat.keyed(key, KIT).await,
            None => chat.send("kit", KIT).await,
        };
        text(response).await;
        let new = |(operation, n): (String, usize)| (n - before.get(&operation).unwrap_or(&0), operation);
        chat.stack.dynamodb.counts().into_iter().map(new).filter(|(n, _)| *n > 0).collect::<Vec<_>>()
    };
    // An instance looks at the table once.
    requests(None).await;
    let (put, update, get) = ("PutItem".to_owned(), "UpdateItem".to_owned(), "GetItem".to_owned());
    assert_eq!(requests(None).await, [(1, put.clone())]);
    assert_eq!(requests(Some("k")).await, [(2, put.clone()), (2, update)]);
    let mut replay = requests(Some("k")).await;
    replay.sort();
    assert_eq!(replay, [(1, get), (1, put)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn client_that_leaves_while_it_is_admitted_leaves_no_key_taken() {
    let chat = counting().await;
    let slow = Fault::Delay(Duration::from_millis(300));
    chat.stack.dynamodb.fail(Rule::every(slow).on("UpdateItem").containing("lease_until"));
    let left = tokio::time::timeout(Duration::from_millis(100), chat.keyed("k", KIT)).await;
    assert!(left.is_err(), "it was still admitted");
    chat.state.turns.ended().await;
    assert_eq!(chat.agent.heard().len(), 0);
    assert_eq!(chat.keyed("k", KIT).await.status(), 200);
}
