//! Tests the stream: events are forwarded unchanged, and failures end with an error event.

use std::time::Duration;

use bytes::Bytes;
use gatehouse_local::agent::{Answer, Piece};
use gatehouse_local::{Fault, Rule};
use gatehouse_receiver::Deadline;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};

use crate::support::{Chat, DONE, KIT, TEXT, TOKEN, UI, UPSTREAM_TOKEN, piece, problem, request, text, turn_id};
use agent_chat::Limits;

#[tokio::test(flavor = "multi_thread")]
async fn answer_is_forwarded_and_recorded_byte_for_byte() {
    let stream = format!(": hello\r\n\r\nid: 7\n{TEXT}data: \u{e9}\u{2028}\n\n{DONE}");
    let chat =
        Chat::answering(stream.as_bytes().chunks(3).map(|chunk| Piece::Bytes(Bytes::copy_from_slice(chunk))).collect())
            .await;
    let response = chat.send("kit", KIT).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "text/event-stream; charset=utf-8");
    assert_eq!(response.headers()["cache-control"], "no-cache, no-transform");
    assert_eq!(response.headers()["x-request-id"], "req-1");
    let turn_id = turn_id(&response);
    assert_eq!(text(response).await, stream);

    let record = chat.record(&turn_id).await;
    assert_eq!(
        (&record["client"], &record["agent"], &record["conversation"]),
        (&json!("web"), &json!("kit"), &json!("c1"))
    );
    assert_eq!((&record["end"], &record["events"], &record["odd_events"]), (&json!("completed"), &json!(3), &json!(1)));
    assert_eq!(record["request"], serde_json::from_str::<Value>(KIT).unwrap());
    assert_eq!(record["answer"], stream);
    assert_eq!((&record["received_bytes"], &record["sent_bytes"]), (&json!(stream.len()), &json!(stream.len())));
}

#[tokio::test(flavor = "multi_thread")]
async fn agent_gets_the_unchanged_body_without_client_credentials() {
    let chat = Chat::answering(vec![piece(DONE)]).await;
    let body = " {\"new\" : 1.50, \"messages\":[] }\n";
    let request = request("kit").header("cookie", "secret").body(Bytes::from(body)).unwrap();
    assert_eq!(text(chat.send_request(request).await).await, DONE);
    let received = chat.agent.requests().remove(0);
    assert_eq!(&received.body[..], body.as_bytes());
    assert_eq!(received.headers["authorization"], format!("Bearer {UPSTREAM_TOKEN}"));
    assert_eq!(
        (&received.headers["x-request-id"], &received.headers["accept"]),
        (&"req-1".parse().unwrap(), &"text/event-stream".parse().unwrap())
    );
    assert!(!received.headers.contains_key("cookie") && !format!("{:?}", received.headers).contains(TOKEN));
}

#[tokio::test(flavor = "multi_thread")]
async fn rejected_requests_are_not_forwarded() {
    let chat = Chat::answering(vec![piece(DONE)]).await;
    let plain = |agent: &str| Request::post(format!("/v1/aibot/bots/{agent}/send-message"));
    let body = || Bytes::from(KIT);
    for (request, status) in [
        (plain("kit").body(body()), 401),
        (plain("kit").header("authorization", format!("Bearer {TOKEN}x")).body(body()), 401),
        (plain("kit").header("authorization", TOKEN).body(body()), 401),
        (plain("kit").header("authorization", format!("Bearer {TOKEN},Bearer {TOKEN}")).body(body()), 401),
        (request("other").body(body()), 403),
        (request("unknown").body(body()), 404),
        (request("").body(body()), 404),
        (request("kit/x").body(body()), 404),
        (request("kit").method("GET").body(body()), 405),
        (request("kit").body(Bytes::from(" ".repeat(1024 * 1024 + 1))), 413),
        (request("kit").body(Bytes::from("not json")), 400),
        (request("kit").body(Bytes::from(json!(KIT).to_string())), 400),
        (request("kit").body(Bytes::from(UI)), 422),
        (request("ui").body(Bytes::from(KIT)), 422),
        (request("kit").body(Bytes::from(r#"{"messages":[{"role":"client-token-in-confidence"}]}"#)), 422),
    ] {
        let response = chat.send_request(request.unwrap()).await;
        assert_eq!(response.headers().contains_key("www-authenticate"), status == 401);
        let (got, detail) = problem(response).await;
        assert_eq!(got, status, "{detail}");
        assert!(!detail.contains(TOKEN), "{detail}");
    }
    assert_eq!(chat.agent.requests().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_before_the_first_event_have_a_status_and_are_recorded() {
    let error = r#"data: {"error": "Server error", "details": "in confidence"}"#;
    type Case = (&'static str, Option<fn() -> Answer>, u16, &'static str);
    let answers: [Case; 9] = [
        ("unreachable", None, 502, "failed:unreachable"),
        ("kit", None, 502, "failed:broken"),
        ("kit", Some(|| Answer::with_pieces([])), 502, "failed:nothing"),
        ("kit", Some(|| Answer::with_pieces([Piece::Cut])), 502, "failed:nothing"),
        (
            "kit",
            Some(|| Answer { status: StatusCode::IM_A_TEAPOT, ..Answer::with_pieces([piece(TEXT)]) }),
            418,
            "failed:refused",
        ),
        (
            "kit",
            Some(|| Answer { status: StatusCode::UNAUTHORIZED, ..Answer::with_pieces([]) }),
            502,
            "failed:agent token",
        ),
        ("kit", Some(|| Answer { status: StatusCode::FOUND, ..Answer::with_pieces([]) }), 502, "failed:status"),
        (
            "kit",
            Some(|| Answer { status: StatusCode::INTERNAL_SERVER_ERROR, ..Answer::with_pieces([]) }),
            502,
            "failed:status",
        ),
        (
            "kit",
            Some(|| Answer { content_type: "application/json", ..Answer::with_pieces([piece(TEXT)]) }),
            502,
            "failed:content type",
        ),
    ];
    for (agent, answer, status, end) in answers {
        let chat = Chat::with(Limits::default(), move |_| answer.map(|answer| answer())).await;
        let response = chat.send(agent, KIT).await;
        let turn_id = turn_id(&response);
        assert_eq!(problem(response).await.0, status, "{end}");
        assert_eq!(chat.record(&turn_id).await["end"], end);
    }
    let chat = Chat::answering(vec![piece(&format!("{error}\n\n"))]).await;
    let (status, detail) = problem(chat.send("kit", KIT).await).await;
    assert_eq!((status, detail.as_str()), (502, "the agent could not begin"));
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_after_the_first_event_end_with_one_error_event() {
    let delta = "data: {\"type\":\"TEXT_MESSAGE_CONTENT\",\"messageId\":\"m\",\"delta\":\"Hi\"}\n\n";
    for (agent, body, first, marker) in
        [("kit", KIT, TEXT, "\"type\":\"error\""), ("ui", UI, delta, "\"type\":\"RUN_ERROR\"")]
    {
        for last in [
            vec![],
            vec![Piece::Cut],
            vec![piece("data: {\"type\":\"te"), Piece::Cut],
            vec![piece(&"x".repeat(1 << 21))],
        ] {
            let pieces = [vec![piece(first)], last.clone()].concat();
            let chat = Chat::answering(pieces).await;
            let response = chat.send(agent, body).await;
            let turn_id = turn_id(&response);
            let got = text(response).await;
            let tail = got.strip_prefix(first).unwrap();
            assert!(
                tail.starts_with("data: {") && tail.contains(marker) && tail.ends_with("}\n\n"),
                "{last:?}: {tail}"
            );
            assert_eq!(tail.matches("data:").count(), 1, "{tail}");
            assert!(!got.contains("[DONE]"));
            let end = chat.record(&turn_id).await["end"].as_str().unwrap().to_owned();
            assert!(["failed:cut", "failed:too large"].contains(&end.as_str()), "{end}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn terminal_event_is_followed_by_no_error_event() {
    let error = "data: {\"type\":\"RUN_ERROR\",\"message\":\"x\"}\n\n";
    let finished = "data: {\"type\":\"RUN_FINISHED\"}\n\n";
    for (agent, body, pieces, end) in [
        ("ui", UI, vec![piece(error), piece(error)], "failed:RUN_ERROR"),
        ("ui", UI, vec![piece(error), Piece::Cut], "failed:RUN_ERROR"),
        ("ui", UI, vec![piece(finished), piece(DONE)], "completed"),
        ("kit", KIT, vec![piece(TEXT), piece(DONE), Piece::Cut], "completed"),
        (
            "kit",
            KIT,
            vec![piece("data: {\"type\":\"interrupt\",\"id\":\"i\",\"payload\":1}\n\n"), piece(DONE)],
            "interrupted",
        ),
    ] {
        let sent: String = pieces
            .iter()
            .map(|p| if let Piece::Bytes(b) = p { String::from_utf8(b.to_vec()).unwrap() } else { String::new() })
            .collect();
        let chat = Chat::answering(pieces).await;
        let response = chat.send(agent, body).await;
        let turn_id = turn_id(&response);
        assert_eq!(text(response).await, sent);
        assert_eq!(chat.record(&turn_id).await["end"], end);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn heartbeats_are_sent_between_whole_events_only() {
    let (sender, answer) = Answer::stream();
    let answer = std::sync::Mutex::new(Some(answer));
    let limits = Limits { heartbeat: Duration::from_millis(20), ..Limits::default() };
    let chat = Chat::with(limits, move |_| answer.lock().unwrap().take()).await;
    sender.send(piece(TEXT)).unwrap();
    let mut body = chat.send("kit", KIT).await.into_body();
    let mut next =
        async || String::from_utf8(body.frame().await.unwrap().unwrap().into_data().unwrap().to_vec()).unwrap();
    assert_eq!(next().await, TEXT);
    assert_eq!(next().await, ": \n\n", "a heartbeat while the agent is silent");
    let (head, tail) = TEXT.split_at(12);
    sender.send(piece(head)).unwrap();
    sender.send(piece(tail)).unwrap();
    let mut next_event = next().await;
    while next_event == ": \n\n" {
        next_event = next().await;
    }
    assert_eq!(next_event, TEXT, "the event is sent whole");
    sender.send(piece(DONE)).unwrap();
    drop(sender);
    let mut rest = String::new();
    while let Some(frame) = body.frame().await {
        rest.push_str(std::str::from_utf8(&frame.unwrap().into_data().unwrap()).unwrap());
    }
    assert_eq!(rest.replace(": \n\n", ""), DONE);
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_agent_times_out() {
    let short = Duration::from_millis(50);
    let (sender, answer) = Answer::stream();
    let answer = std::sync::Mutex::new(Some(answer));
    let silent =
        Chat::with(Limits { first_event: short, ..Limits::default() }, move |_| answer.lock().unwrap().take()).await;
    let (status, _) = problem(silent.send("kit", KIT).await).await;
    assert_eq!(status, 504);
    drop(sender);

    let (sender, answer) = Answer::stream();
    sender.send(piece(TEXT)).unwrap();
    let answer = std::sync::Mutex::new(Some(answer));
    let idle = Chat::with(Limits { idle: short, ..Limits::default() }, move |_| answer.lock().unwrap().take()).await;
    let got = text(idle.send("kit", KIT).await).await;
    assert!(got.starts_with(TEXT) && got.contains("the agent fell silent"), "{got}");

    let (late_sender, answer) = Answer::stream();
    let answer = std::sync::Mutex::new(Some(answer));
    let limits = Limits { commit: short, first_event: short * 4, ..Limits::default() };
    let late = Chat::with(limits, move |_| answer.lock().unwrap().take()).await;
    let response = late.send("kit", KIT).await;
    assert_eq!(response.status(), StatusCode::OK, "the status was sent before the first event");
    let got = text(response).await;
    assert!(got.contains("\"type\":\"error\""), "{got}");
    drop((sender, late_sender));
}

#[tokio::test(flavor = "multi_thread")]
async fn turn_is_recorded_after_the_client_has_left() {
    let (sender, answer) = Answer::stream();
    sender.send(piece(TEXT)).unwrap();
    let answer = std::sync::Mutex::new(Some(answer));
    let chat = Chat::with(Limits::default(), move |_| answer.lock().unwrap().take()).await;
    let response = chat.send("kit", KIT).await;
    let turn_id = turn_id(&response);
    drop(response);
    sender.send(piece(&format!("{TEXT}{DONE}"))).unwrap();
    drop(sender);
    let record = chat.wait_for_record(&turn_id).await;
    assert_eq!(
        (&record["end"], &record["client_left"], &record["events"]),
        (&json!("completed"), &json!(true), &json!(3))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_client_gets_an_error_event() {
    let event = format!("data: {{\"type\":\"text\",\"content\":\"{}\"}}\n\n", "x".repeat(1000));
    let chat = Chat::answering(vec![piece(&event); 3000].into_iter().chain([piece(DONE)]).collect()).await;
    let chat_request = request("kit").body(Bytes::from(KIT)).unwrap();
    // Five seconds of the deadline are reserved for the record.
    let response = agent_chat::handle(chat_request, &chat.state, Deadline::within(Duration::from_millis(5300))).await;
    let turn_id = turn_id(&response);
    assert_eq!(chat.wait_for_record(&turn_id).await["end"], "failed:client");
    let got = text(response).await;
    let whole = got.matches(&event).count();
    let tail = got.get(whole * event.len()..).unwrap();
    assert!(whole > 10 && whole < 3000, "{whole}");
    let error: Value = serde_json::from_str(tail.strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!("slow-agent")));
}

#[tokio::test(flavor = "multi_thread")]
async fn unsent_terminal_event_is_replaced_by_an_error_event() {
    // The client does not read. Some of the answers just fit into its buffer, others just exceed it.
    let limits = Limits { buffer: 64 * TEXT.len(), ..Limits::default() };
    for before in 60..66 {
        let sent: Vec<Piece> = vec![piece(TEXT); before].into_iter().chain([piece(DONE)]).collect();
        let chat = Chat::with(limits, move |_| Some(Answer::with_pieces(sent.clone()))).await;
        let chat_request = request("kit").body(Bytes::from(KIT)).unwrap();
        let response =
            agent_chat::handle(chat_request, &chat.state, Deadline::within(Duration::from_millis(5300))).await;
        let turn_id = turn_id(&response);
        chat.wait_for_record(&turn_id).await;
        let got = text(response).await;
        assert!(got.ends_with(DONE) != got.contains("\"type\":\"error\""), "{before}: {got}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn comments_before_the_first_event_do_not_delay_it() {
    let before = ": p\n\n".repeat(200);
    for accept in ["text/event-stream", "application/json"] {
        let chat = Chat::answering(vec![piece(&before), piece(TEXT), piece(DONE)]).await;
        let chat_request = request("kit").header("accept", accept).body(Bytes::from(KIT)).unwrap();
        let got =
            tokio::time::timeout(Duration::from_secs(8), async { text(chat.send_request(chat_request).await).await })
                .await;
        let got = got.unwrap();
        assert!(got == format!("{before}{TEXT}{DONE}") || got.contains("\"content\":\"Hi\""), "{got}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn record_of_a_large_turn_is_cut() {
    // Each quote takes two bytes in JSON.
    let quotes = format!("data: {}\n\n", "\"".repeat(900_000));
    let limits = Limits { body: 6 * 1024 * 1024, ..Limits::default() };
    let sent: Vec<Piece> = vec![piece(&quotes); 10].into_iter().chain([piece(DONE)]).collect();
    let chat = Chat::with(limits, move |_| Some(Answer::with_pieces(sent.clone()))).await;
    let large = json!({"messages": [{"role": "user", "content": "y".repeat(3_000_000)}]}).to_string();
    let response = chat.send("kit", &large).await;
    let turn_id = turn_id(&response);
    assert_eq!(text(response).await.len(), quotes.len() * 10 + DONE.len());
    let record = chat.record(&turn_id).await;
    assert_eq!((&record["end"], &record["answer_cut"]), (&json!("completed"), &json!(true)));
    assert!(
        record["answer"].as_str().is_some_and(|answer| answer.len() > 100_000 && quotes.starts_with(&answer[..1000]))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn agent_that_continues_after_its_end_is_cut_off() {
    let (sender, answer) = Answer::stream();
    let answer = std::sync::Mutex::new(Some(answer));
    let limits = Limits { after_end: Duration::from_millis(300), ..Limits::default() };
    let chat = Chat::with(limits, move |_| answer.lock().unwrap().take()).await;
    sender.send(piece(&format!("{TEXT}{DONE}"))).unwrap();
    let mut body = chat.send("kit", KIT).await.into_body();
    let mut got = Vec::new();
    let ended = async {
        while let Some(frame) = body.frame().await {
            got.extend_from_slice(&frame.unwrap().into_data().unwrap());
            // The agent sends another piece for each piece that arrives. At the end, sending fails.
            let _ = sender.send(piece(": x\n\n"));
        }
    };
    tokio::time::timeout(Duration::from_secs(20), ended).await.unwrap();
    let got = String::from_utf8(got).unwrap();
    assert!(got.starts_with(&format!("{TEXT}{DONE}: x\n\n")), "{got}");
}

#[tokio::test(flavor = "multi_thread")]
async fn byte_order_mark_after_a_heartbeat_is_removed() {
    let (sender, answer) = Answer::stream();
    let answer = std::sync::Mutex::new(Some(answer));
    let short = Duration::from_millis(20);
    let limits = Limits { commit: short, heartbeat: short, ..Limits::default() };
    let chat = Chat::with(limits, move |_| answer.lock().unwrap().take()).await;
    let mut body = chat.send("kit", KIT).await.into_body();
    let beat = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(&beat[..], b": \n\n");
    sender.send(piece(&format!("\u{feff}{TEXT}{DONE}"))).unwrap();
    drop(sender);
    let mut rest = Vec::new();
    while let Some(frame) = body.frame().await {
        rest.extend_from_slice(&frame.unwrap().into_data().unwrap());
    }
    assert_eq!(String::from_utf8(rest).unwrap().replace(": \n\n", ""), format!("{TEXT}{DONE}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn json_client_gets_the_turn_as_one_object() {
    let call = |kind: &str, more: Value| {
        let mut event = json!({"type": kind, "toolCallId": "a"});
        event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        format!("data: {event}\n\n")
    };
    let sent = [
        TEXT.to_owned(),
        call("tool-call-start", json!({"toolCallName": "clock"})),
        call("tool-call-args", json!({"delta": "{\"zone\":"})),
        call("tool-call-args", json!({"delta": "1}"})),
        call("tool-result", json!({"result": "nine"})),
        TEXT.to_owned(),
    ]
    .concat();
    let json_of = async |pieces: Vec<Piece>| {
        let chat = Chat::answering(pieces).await;
        let chat_request = request("kit").header("accept", "application/json").body(Bytes::from(KIT)).unwrap();
        let response = chat.send_request(chat_request).await;
        assert_eq!(response.headers()["content-type"], "application/json");
        let (status, turn_id) = (response.status().as_u16(), turn_id(&response));
        let whole: Value = serde_json::from_str(&text(response).await).unwrap();
        assert_eq!(whole["turn_id"], turn_id.as_str());
        assert!(chat.record(&turn_id).await["answer"].is_string());
        (status, whole)
    };
    let (status, whole) = json_of(vec![piece(&sent), piece(DONE)]).await;
    assert_eq!((status, &whole["end"], &whole["content"]), (200, &json!("completed"), &json!("Hi\n\nHi")));
    let message = json!({"id": null, "role": "assistant", "content": "Hi"});
    assert_eq!((&whole["messages"], &whole["error"]), (&json!([message, message]), &Value::Null));
    assert_eq!(
        whole["tool_calls"],
        json!([{"id": "a", "name": "clock", "arguments": "{\"zone\":1}", "result": "nine"}])
    );
    let interrupt = "data: {\"type\":\"interrupt\",\"id\":\"i\",\"payload\":[1]}\n\n";
    let (status, whole) = json_of(vec![piece(interrupt), piece(DONE)]).await;
    assert_eq!((status, &whole["end"], &whole["interrupts"][0]["id"]), (200, &json!("interrupted"), &json!("i")));
    let (status, whole) = json_of(vec![piece(TEXT), Piece::Cut]).await;
    assert_eq!((status, &whole["end"], &whole["content"]), (502, &json!("failed"), &json!("Hi")));
    let both = request("kit").header("accept", "application/json, text/event-stream").body(Bytes::from(KIT)).unwrap();
    assert_eq!(text(Chat::answering(vec![piece(DONE)]).await.send_request(both).await).await, DONE);
}

#[tokio::test(flavor = "multi_thread")]
async fn turn_is_queued_while_dynamodb_is_unavailable() {
    let chat = Chat::answering(vec![piece(TEXT), piece(DONE)]).await;
    chat.stack.dynamodb.add_rule(Rule::every(Fault::Cut));
    let response = chat.send("kit", KIT).await;
    let turn_id = turn_id(&response);
    assert_eq!(text(response).await, format!("{TEXT}{DONE}"), "the client does not notice");
    chat.stack.dynamodb.clear_rules();
    chat.stack.take_batch().await.unwrap();
    assert_eq!(chat.record(&turn_id).await["end"], "completed");
}
