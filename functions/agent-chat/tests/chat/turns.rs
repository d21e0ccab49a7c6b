//! Tests turns with event streams of real agents, and the responses to clients.

use std::sync::Mutex;
use std::time::Duration;

use agent_chat::Limits;
use bytes::Bytes;
use gatehouse_ag_kit::event_id;
use gatehouse_local::agent::{Answer, Piece};
use gatehouse_receiver::Deadline;
use gatehouse_runtime::Clock;
use http::{HeaderValue, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};

use crate::support::{Chat, DONE, KIT, TEXT, UI, piece, problem, request, text, turn_id};

/// Encodes events as a stream.
fn stream(events: &[Value]) -> String {
    events.iter().map(|event| format!("data: {event}\n\n")).collect()
}

fn started() -> Value {
    json!({"type": "RUN_STARTED", "threadId": "t", "runId": "r"})
}

fn finished() -> Value {
    json!({"type": "RUN_FINISHED", "threadId": "t", "runId": "r"})
}

fn delta(id: &str, delta: &str) -> Value {
    json!({"type": "TEXT_MESSAGE_CONTENT", "messageId": id, "delta": delta})
}

fn outcome(outcome: impl serde::Serialize) -> Value {
    json!({"type": "RUN_FINISHED", "threadId": "t", "runId": "r", "outcome": outcome})
}

impl Chat {
    /// Sends a request with additional headers.
    async fn ask(&self, agent: &str, headers: &[(&str, &str)]) -> http::Response<agent_chat::Body> {
        let mut chat_request = request(agent);
        for (name, value) in headers {
            chat_request = chat_request.header(*name, *value);
        }
        let body = if agent == "ui" { UI } else { KIT };
        self.send_request(chat_request.body(Bytes::from(body)).unwrap()).await
    }

    /// Sends a request for a JSON response. Returns its status and body.
    async fn object(&self, agent: &str) -> (u16, Value) {
        let response = self.ask(agent, &[("accept", "application/json")]).await;
        (response.status().as_u16(), serde_json::from_str(&text(response).await).unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn json_answer_has_messages_calls_and_their_text() {
    let call = |kind: &str, more: Value| {
        let mut event = json!({"type": kind, "toolCallId": "q"});
        event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        event
    };
    let events = [
        started(),
        delta("A", "Let me "),
        delta("B", "Meanwhile"),
        delta("A", "look."),
        call("TOOL_CALL_START", json!({"toolCallName": "look"})),
        call("TOOL_CALL_ARGS", json!({"delta": "{}"})),
        call("TOOL_CALL_END", json!({})),
        call("TOOL_CALL_RESULT", json!({"messageId": "m", "content": [{"type": "text", "text": "free"}]})),
        json!({"type": "TEXT_MESSAGE_CHUNK", "messageId": "C", "delta": "It is "}),
        json!({"type": "TEXT_MESSAGE_CHUNK", "delta": "free."}),
        finished(),
    ];
    let (status, whole) = Chat::answering(vec![piece(&stream(&events))]).await.object("ui").await;
    assert_eq!((status, &whole["end"], &whole["error"]), (200, &json!("completed"), &Value::Null));
    let message = |id: &str, content: &str| json!({"id": id, "role": "assistant", "content": content});
    let messages = [message("A", "Let me look."), message("B", "Meanwhile"), message("C", "It is free.")];
    assert_eq!(whole["messages"], json!(messages));
    assert_eq!(whole["content"], "Let me look.\n\nMeanwhile\n\nIt is free.");
    assert_eq!(whole["tool_calls"], json!([{"id": "q", "name": "look", "arguments": "{}", "result": "free"}]));
}

#[tokio::test(flavor = "multi_thread")]
async fn json_answer_leaves_out_the_requests_own_messages() {
    let restated = json!({"type": "MESSAGES_SNAPSHOT", "messages": [
        {"id": "m", "role": "user", "content": "Hello"}, {"id": "a", "role": "assistant", "content": "New"}]});
    let chat = Chat::answering(vec![piece(&stream(&[started(), restated, finished()]))]).await;
    for replayed in [false, true] {
        let response = chat.ask("ui", &[("accept", "application/json"), ("idempotency-key", "k")]).await;
        assert_eq!(response.headers().contains_key("idempotency-replayed"), replayed);
        let whole: Value = serde_json::from_str(&text(response).await).unwrap();
        assert_eq!(whole["messages"], json!([{"id": "a", "role": "assistant", "content": "New"}]));
        assert_eq!(whole["content"], "New");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn json_answer_has_the_error_of_a_failed_turn() {
    let error = json!({"type": "RUN_ERROR", "message": "boom", "code": "X"});
    let kit_error = json!({"type": "error", "error": "boom"});
    let error_of = |code: &str, message: &str| json!({"code": code, "message": message});
    let unknown = "the agent ended its run with an outcome of an unknown type";
    let cut = "the agent ended without its end mark";
    for (agent, events, expected) in [
        ("ui", vec![started(), delta("m", "Part"), error.clone(), finished()], error_of("X", "boom")),
        ("ui", vec![error], error_of("X", "boom")),
        ("ui", vec![json!({"type": "RUN_ERROR"})], error_of("bad-agent", "the agent reported an error")),
        ("ui", vec![started(), outcome("of-next-year")], error_of("bad-agent", unknown)),
        ("ui", vec![started(), delta("m", "Part")], error_of("bad-agent", cut)),
        ("kit", vec![json!({"type": "text", "content": "Part"}), kit_error], error_of("bad-agent", "boom")),
        ("kit", vec![json!({"type": "text", "content": "Part"})], error_of("bad-agent", cut)),
    ] {
        let (status, whole) = Chat::answering(vec![piece(&stream(&events))]).await.object(agent).await;
        assert_eq!((status, &whole["end"], &whole["error"]), (502, &json!("failed"), &expected), "{events:?}");
        let has_text = events.iter().any(|event| event.to_string().contains("Part"));
        assert_eq!(whole["content"], if has_text { "Part" } else { "" });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn run_outcome_decides_end_replay_and_status() {
    let interrupts = json!({"type": "interrupt", "interrupts": [{"id": "i"}]});
    for (last, end, is_replayed) in [
        (outcome(json!({"type": "success"})), "completed", true),
        (outcome(interrupts), "interrupted", true),
        (json!({"type": "RUN_FINISHED", "outcome": "interrupt", "interrupt": {"id": "i"}}), "interrupted", true),
        (outcome(json!({"type": "cancelled"})), "cancelled", true),
        (outcome("cancelled"), "cancelled", true),
        (outcome(json!({"type": "of-next-year"})), "failed:unknown-outcome", false),
        (outcome(7), "failed:unknown-outcome", false),
    ] {
        let sent = stream(&[started(), delta("m", "Working on"), last.clone()]);
        let chat = Chat::answering(vec![piece(&sent)]).await;
        let first = chat.ask("ui", &[("idempotency-key", "k")]).await;
        let id = turn_id(&first);
        assert_eq!(text(first).await, sent, "the agent's terminal event is the last event");
        assert_eq!(chat.record(&id).await["end"], end, "{last}");
        let again = chat.ask("ui", &[("idempotency-key", "k")]).await;
        assert_eq!(again.headers().contains_key("idempotency-replayed"), is_replayed, "{last}");
        assert_eq!(text(again).await, sent);
        let (status, whole) = chat.object("ui").await;
        let expected = if is_replayed { 200 } else { 502 };
        assert_eq!((status, &whole["end"]), (expected, &json!(end.split(':').next().unwrap())), "{last}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_runs_of_one_answer_are_one_turn() {
    let (sender, answer) = Answer::stream();
    let answer = Mutex::new(Some(answer));
    let chat = Chat::with(Limits::default(), move |_| answer.lock().unwrap().take()).await;
    let first = stream(&[started(), delta("m", "one "), finished()]);
    let second = stream(&[started(), delta("n", "two"), finished()]);
    sender.send(piece(&first)).unwrap();
    let response = chat.send("ui", UI).await;
    let id = turn_id(&response);
    let mut body = response.into_body();
    let mut got = String::new();
    while got.len() < first.len() {
        got.push_str(std::str::from_utf8(&body.frame().await.unwrap().unwrap().into_data().unwrap()).unwrap());
    }
    // The turn does not end with the first run.
    sender.send(piece(&second)).unwrap();
    drop(sender);
    while let Some(frame) = body.frame().await {
        got.push_str(std::str::from_utf8(&frame.unwrap().into_data().unwrap()).unwrap());
    }
    assert_eq!(got, format!("{first}{second}"));
    assert_eq!(chat.record(&id).await["end"], "completed");
}

#[tokio::test(flavor = "multi_thread")]
async fn turn_ends_although_the_agent_keeps_its_connection() {
    let failed = stream(&[json!({"type": "RUN_ERROR", "message": "x"})]);
    let kit_failed = stream(&[json!({"type": "error", "error": "x"})]);
    for (agent, sent, end) in [
        ("ui", stream(&[started(), finished()]), "completed"),
        ("ui", failed, "failed:RUN_ERROR"),
        ("kit", DONE.to_owned(), "completed"),
        ("kit", kit_failed, "failed:error"),
    ] {
        let (sender, answer) = Answer::stream();
        sender.send(piece(&sent)).unwrap();
        let answer = Mutex::new(Some(answer));
        let limits = Limits { after_end: Duration::from_millis(50), ..Limits::default() };
        let chat = Chat::with(limits, move |_| answer.lock().unwrap().take()).await;
        let response = chat.send(agent, if agent == "ui" { UI } else { KIT }).await;
        let id = turn_id(&response);
        assert_eq!(text(response).await, sent);
        assert_eq!(chat.record(&id).await["end"], end);
        drop(sender);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn last_event_without_its_blank_line_is_completed() {
    let (kit, ui) = (format!("{TEXT}{DONE}"), stream(&[started(), finished()]));
    for (agent, whole) in [("kit", &kit), ("ui", &ui)] {
        for missing in 1..=2 {
            let sent = &whole[..whole.len() - missing];
            let chat = Chat::answering(vec![piece(sent)]).await;
            let first = chat.ask(agent, &[("idempotency-key", "k")]).await;
            let id = turn_id(&first);
            assert_eq!(text(first).await, *whole, "the client gets the missing line ends");
            let record = chat.record(&id).await;
            assert_eq!((&record["end"], &record["received_bytes"]), (&json!("completed"), &json!(sent.len())));
            assert_eq!(
                text(chat.ask(agent, &[("idempotency-key", "k")]).await).await,
                *whole,
                "a replay has them, too"
            );

            let cut = Chat::answering(vec![piece(sent), Piece::Cut]).await;
            let cut = cut.send(agent, if agent == "ui" { UI } else { KIT }).await;
            assert!(text(cut).await.contains("bad-agent"), "an answer that is cut off is not completed");
        }
    }
    let half = Chat::answering(vec![piece(&format!("{TEXT}data: {{\"type\":\"te"))]).await;
    let got = text(half.send("kit", KIT).await).await;
    assert!(got.starts_with(TEXT) && got.matches("data:").count() == 2, "an incomplete event is dropped: {got}");
}

#[tokio::test(flavor = "multi_thread")]
async fn redirect_error_names_status_and_location() {
    for (status, location, expected) in [
        (307, "/send-message/?token=secret#x", "307 and redirects to /send-message/;"),
        (
            308,
            "https://user:secret@agents.example.com/x?sig=secret",
            "308 and redirects to https://agents.example.com/x;",
        ),
        (307, "//user:secret@host/x", "307 and redirects to another address;"),
        (302, "\u{e9}", "302 and redirects to another address;"),
    ] {
        let chat = Chat::with(Limits::default(), move |_| {
            let mut answer = Answer { status: StatusCode::from_u16(status).unwrap(), ..Answer::with_pieces([]) };
            answer.headers.insert("location", HeaderValue::from_bytes(location.as_bytes()).unwrap());
            Some(answer)
        });
        let response = chat.await.send("kit", KIT).await;
        let (status, detail) = problem(response).await;
        assert!(status == 502 && detail.contains(expected) && !detail.contains("secret"), "{detail}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_answer_fails_with_its_encoding() {
    for (encoding, status) in [("gzip", 502), ("br, gzip", 502), ("Identity", 200), ("", 200)] {
        let chat = Chat::with(Limits::default(), move |_| {
            let mut answer = Answer::with_pieces([piece(DONE)]);
            answer.headers.insert("content-encoding", HeaderValue::from_static(encoding));
            Some(answer)
        })
        .await;
        let response = chat.send("kit", KIT).await;
        let (id, got) = (turn_id(&response), response.status().as_u16());
        assert_eq!(got, status, "{encoding}");
        if status == 502 {
            assert!(problem(response).await.1.contains(&format!("Content-Encoding: {encoding}")));
            assert_eq!(chat.record(&id).await["end"], "failed:content encoding");
        }
        assert_eq!(chat.agent.requests()[0].headers["accept-encoding"], "identity");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_visible_ascii_headers_are_forwarded() {
    let chat = Chat::with(Limits::default(), |_| {
        let mut answer = Answer::with_pieces([piece(DONE)]);
        answer.headers.insert("cache-control", HeaderValue::from_bytes(b"no-cache\xff").unwrap());
        Some(answer)
    })
    .await;
    let response = chat.send("kit", KIT).await;
    assert!(!response.headers().contains_key("cache-control"), "{response:?}");
    assert_eq!(response.headers()["content-type"], "text/event-stream; charset=utf-8");
    assert_eq!(text(response).await, DONE);
}

#[tokio::test(flavor = "multi_thread")]
async fn stream_over_the_answer_limit_ends_with_an_error_event() {
    let limits = Limits { answer: 10 * TEXT.len() + 5, ..Limits::default() };
    let sent: Vec<Piece> = vec![piece(TEXT); 30].into_iter().chain([piece(DONE)]).collect();
    let chat = Chat::with(limits, move |_| Some(Answer::with_pieces(sent.clone()))).await;
    let response = chat.send("kit", KIT).await;
    let id = turn_id(&response);
    let got = text(response).await;
    let events: Vec<&str> = got.split_inclusive("\n\n").collect();
    let (last, whole) = events.split_last().unwrap();
    assert!(whole.len() <= 10 && whole.iter().all(|event| *event == TEXT), "{got}");
    assert!(last.contains("bad-agent") && last.contains(&format!("longer than {} bytes", limits.answer)), "{last}");
    assert_eq!(chat.record(&id).await["end"], "failed:too long");
}

#[tokio::test(flavor = "multi_thread")]
async fn turn_of_control_characters_is_recorded_and_replayed() {
    // Each control character takes six bytes in JSON.
    let event = format!("data: \"{}\"\n\n", "\u{1}".repeat(900_000));
    let sent: Vec<Piece> = vec![piece(&event); 8].into_iter().chain([piece(DONE)]).collect();
    let chat = Chat::answering(sent).await;
    let first = text(chat.ask("kit", &[("idempotency-key", "k")]).await).await;
    let again = chat.ask("kit", &[("idempotency-key", "k")]).await;
    assert!(again.headers().contains_key("idempotency-replayed"));
    assert!(text(again).await == first);
}

#[tokio::test(flavor = "multi_thread")]
async fn agent_that_never_pauses_is_stopped_at_the_deadline() {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/x", listener.local_addr().unwrap());
    let agent = std::thread::spawn(move || {
        let (mut connection, _) = listener.accept().unwrap();
        let _ = connection.read(&mut [0; 4096]).unwrap();
        connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n").unwrap();
        while connection.write_all(TEXT.repeat(100).as_bytes()).is_ok() {}
    });
    let chat = Chat::with_agent_at(&url).await;
    let chat_request = request("own").body(Bytes::from(KIT)).unwrap();
    // All but 300 ms are reserved for the record.
    let response = agent_chat::handle(chat_request, &chat.state, Deadline::within(Duration::from_millis(5300))).await;
    let id = turn_id(&response);
    let got = text(response).await;
    assert!(got.starts_with(TEXT) && got.contains("\"code\":\"slow-agent\""), "{}", got.len());
    // Recording several megabytes may take longer than its time limit on a busy machine. Then the record is queued.
    if chat.stack.store().get(&event_id(&id), Clock::System.now()).await.unwrap().is_none() {
        chat.stack.take_batch().await.unwrap();
    }
    assert_eq!(chat.record(&id).await["end"], "failed:deadline");
    tokio::task::spawn_blocking(|| agent.join().unwrap()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn request_is_retried_on_a_new_connection() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/x", listener.local_addr().unwrap());
    let (sender, mut requests) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let sender = sender.clone();
            tokio::spawn(async move {
                let mut received = Vec::new();
                while !received.ends_with(KIT.as_bytes()) {
                    if stream.read_buf(&mut received).await.unwrap_or(0) == 0 {
                        return;
                    }
                }
                sender.send(()).unwrap();
                let head = format!("content-type: text/event-stream\r\ncontent-length: {}", DONE.len());
                // The agent closes the connection without announcing it.
                stream.write_all(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{DONE}").as_bytes()).await.unwrap();
            });
        }
    });
    let chat = Chat::with_agent_at(&url).await;
    for n in 0..100 {
        let response = chat.send("own", KIT).await;
        assert_eq!(response.status(), 200, "{n}");
        text(response).await;
        requests.recv().await.unwrap();
    }
    assert!(requests.try_recv().is_err(), "the agent got each request once");
}

#[tokio::test(flavor = "multi_thread")]
async fn time_spent_on_a_slow_client_does_not_count_as_agent_silence() {
    let limit = Duration::from_millis(200);
    let large = format!("data: {{\"type\":\"text\",\"content\":\"{}\"}}\n\n", "x".repeat(30_000));
    for (agent, events) in [
        ("kit", vec![large.clone(), large.clone(), large.clone(), DONE.to_owned()]),
        (
            "ui",
            vec![
                stream(&[started(), delta("m", &large), finished()]),
                stream(&[started(), delta("n", &large), finished()]),
            ],
        ),
    ] {
        let sent = events.clone();
        let limits = Limits { idle: limit, after_end: limit, buffer: 1024, ..Limits::default() };
        let pieces: Vec<Piece> = sent.iter().map(|event| piece(event)).collect();
        let chat = Chat::with(limits, move |_| Some(Answer::with_pieces(pieces.clone()))).await;
        let response = chat.send(agent, if agent == "ui" { UI } else { KIT }).await;
        let id = turn_id(&response);
        let mut body = response.into_body();
        let mut got = Vec::new();
        let mut pause = tokio::time::interval(limit * 2);
        while let Some(frame) = body.frame().await {
            got.extend_from_slice(&frame.unwrap().into_data().unwrap());
            if got.len() < 2 * large.len() {
                pause.reset();
                pause.tick().await;
            }
        }
        assert!(got == sent.concat().as_bytes(), "{agent}");
        assert_eq!(chat.record(&id).await["end"], "completed");
    }
}
