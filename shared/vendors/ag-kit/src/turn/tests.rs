use serde_json::{Value, json};

use super::*;

fn turn(dialect: Dialect, events: &[Value]) -> Turn {
    let mut turn = Turn::new(dialect);
    for event in events {
        // A string is the data itself.
        turn.take(&event.as_str().map_or_else(|| event.to_string(), str::to_owned));
    }
    turn
}

fn ui(events: &[Value]) -> Turn {
    turn(Dialect::AgUi, events)
}

fn kit(events: &[Value]) -> Turn {
    turn(Dialect::AgKit, events)
}

fn messages(turn: &Turn) -> Vec<(Option<&str>, &str, &str)> {
    turn.messages().iter().map(|m| (m.id.as_deref(), m.role.as_str(), m.content.as_str())).collect()
}

fn calls(turn: &Turn) -> Vec<(&str, &str, &str, Option<&str>)> {
    turn.tool_calls()
        .iter()
        .map(|c| (c.id.as_str(), c.name.as_str(), c.arguments.as_str(), c.result.as_deref()))
        .collect()
}

fn text_start(id: &str) -> Value {
    json!({"type": "TEXT_MESSAGE_START", "messageId": id, "role": "assistant"})
}

fn text(id: &str, delta: impl serde::Serialize) -> Value {
    json!({"type": "TEXT_MESSAGE_CONTENT", "messageId": id, "delta": delta})
}

fn call_start(id: &str, name: &str) -> Value {
    json!({"type": "TOOL_CALL_START", "toolCallId": id, "toolCallName": name})
}

fn call_args(id: &str, delta: impl serde::Serialize) -> Value {
    json!({"type": "TOOL_CALL_ARGS", "toolCallId": id, "delta": delta})
}

fn call_end(id: &str) -> Value {
    json!({"type": "TOOL_CALL_END", "toolCallId": id})
}

fn call_result(id: &str, content: impl serde::Serialize) -> Value {
    json!({"type": "TOOL_CALL_RESULT", "messageId": format!("m-{id}"), "toolCallId": id, "content": content})
}

fn started() -> Value {
    json!({"type": "RUN_STARTED", "threadId": "t", "runId": "r"})
}

fn finished() -> Value {
    json!({"type": "RUN_FINISHED", "threadId": "t", "runId": "r"})
}

fn finished_with(outcome: impl serde::Serialize) -> Value {
    json!({"type": "RUN_FINISHED", "threadId": "t", "runId": "r", "outcome": outcome})
}

fn on_interrupt(value: impl serde::Serialize) -> Value {
    json!({"type": "CUSTOM", "name": "on_interrupt", "value": value})
}

fn failed(reason: &str) -> Option<End> {
    Some(End::Failed(reason.to_owned()))
}

#[test]
fn ag_kit_turn_has_the_messages_and_calls() {
    let turn = kit(&[
        json!({"type": "text", "content": "I look "}),
        json!({"type": "text", "content": "it up."}),
        json!({"type": "tool-call-start", "toolCallId": "a", "toolCallName": "clock"}),
        json!({"type": "tool-call-start", "toolCallId": "b", "toolCallName": "map"}),
        json!({"type": "tool-call-args", "toolCallId": "a", "delta": "{\"zone\":"}),
        json!({"type": "tool-call-args", "toolCallId": "b", "delta": "{}"}),
        json!({"type": "tool-call-args", "toolCallId": "a", "delta": "\"UTC\"}"}),
        json!({"type": "tool-call-end", "toolCallId": "a"}),
        json!({"type": "tool-result", "toolCallId": "a", "result": "nine"}),
        json!({"type": "text", "content": "It is nine."}),
        json!("[DONE]"),
    ]);
    assert_eq!((turn.end.as_ref(), turn.odd), (Some(&End::Completed), 0));
    assert_eq!(messages(&turn), [(None, "assistant", "I look it up."), (None, "assistant", "It is nine.")]);
    assert_eq!(turn.content(), "I look it up.\n\nIt is nine.");
    assert_eq!(calls(&turn), [("a", "clock", r#"{"zone":"UTC"}"#, Some("nine")), ("b", "map", "{}", None)]);
    let turn = kit(&[
        json!({"type": "tool-call-start", "toolCallId": "a", "toolCallName": "clock"}),
        json!({"type": "text", "content": "Checking."}),
        json!({"type": "tool-result", "toolCallId": "a", "result": "nine"}),
        json!({"type": "text", "content": "Found."}),
    ]);
    assert_eq!(turn.content(), "Checking.\n\nFound.");
}

#[test]
fn interleaved_messages_are_assembled_by_id() {
    let turn = ui(&[
        text_start("A"),
        json!({"type": "TEXT_MESSAGE_START", "messageId": "B", "role": "developer"}),
        text("B", "two "),
        text("A", "one "),
        text("C", "three"),
        text("B", "words"),
        json!({"type": "TEXT_MESSAGE_END", "messageId": "A"}),
        text("A", "again"),
        text_start("D"),
    ]);
    assert_eq!(
        messages(&turn),
        [
            (Some("A"), "assistant", "one again"),
            (Some("B"), "developer", "two words"),
            (Some("C"), "assistant", "three"),
            (Some("D"), "assistant", "")
        ]
    );
    assert_eq!(turn.content(), "one again\n\nthree");
    let roles = ui(&[
        json!({"type": "TEXT_MESSAGE_START", "messageId": "m", "role": "developer"}),
        text("m", "x"),
        text_start("m"),
        text("m", "answer"),
    ]);
    assert_eq!(messages(&roles), [(Some("m"), "developer", "x"), (Some("m"), "assistant", "answer")]);
    let numbers = ui(&[
        json!({"type": "TEXT_MESSAGE_START", "messageId": 1}),
        json!({"type": "TEXT_MESSAGE_START", "messageId": 2}),
        json!({"type": "TEXT_MESSAGE_CONTENT", "messageId": 1, "delta": "a"}),
    ]);
    assert_eq!(messages(&numbers), [(Some("1"), "assistant", "a"), (Some("2"), "assistant", "")]);
}

#[test]
fn chunks_without_an_id_continue_the_open_message_or_call() {
    let chunk = |more: Value| {
        let mut event = json!({"type": "TEXT_MESSAGE_CHUNK"});
        event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        event
    };
    let call = |more: Value| {
        let mut event = json!({"type": "TOOL_CALL_CHUNK"});
        event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        event
    };
    let turn = ui(&[
        chunk(json!({"messageId": "m", "role": "assistant", "delta": "a"})),
        chunk(json!({"delta": "b"})),
        chunk(json!({"messageId": "m", "delta": "c"})),
        call(json!({"toolCallId": "x", "toolCallName": "f", "delta": "{\"day\":"})),
        call(json!({"delta": "\"Monday\""})),
        call(json!({"toolCallId": "x", "toolCallName": "f", "delta": "}"})),
        call(json!({"toolCallId": "y", "toolCallName": "g"})),
        call(json!({"delta": "{}"})),
        chunk(json!({"delta": "after the calls"})),
        chunk(json!({"messageId": "n", "delta": "d"})),
        chunk(json!({"delta": "e"})),
    ]);
    assert_eq!(calls(&turn), [("x", "f", r#"{"day":"Monday"}"#, None), ("y", "g", "{}", None)]);
    assert_eq!(turn.content(), "abc\n\nafter the calls\n\nde");
}

#[test]
fn chunks_of_parallel_calls_are_assembled_by_id() {
    let call = |id: &str, delta: &str| json!({"type": "TOOL_CALL_CHUNK", "toolCallId": id, "toolCallName": "f", "delta": delta});
    let turn = ui(&[call("x", "{\"n\":"), call("y", "{\"n\":"), call("x", "1}"), call("y", "2}")]);
    assert_eq!(calls(&turn), [("x", "f", r#"{"n":1}"#, None), ("y", "f", r#"{"n":2}"#, None)]);
}

#[test]
fn start_after_end_or_result_begins_a_new_call() {
    let once = |arguments: &str, result: &str| {
        [call_start("c:0", "list"), call_args("c:0", arguments), call_end("c:0"), call_result("c:0", result)]
    };
    let both = [("c:0", "list", "1", Some("a")), ("c:0", "list", "2", Some("b"))];
    assert_eq!(calls(&ui(&[once("1", "a"), once("2", "b")].concat())), both);
    // The results may follow both calls in their order.
    let ([s1, a1, e1, r1], [s2, a2, e2, r2]) = (once("1", "a"), once("2", "b"));
    assert_eq!(calls(&ui(&[s1, a1, e1, s2, a2, e2, r1, r2])), both);
    // A server may omit the end.
    let ([s1, a1, _, r1], [s2, a2, ..]) = (once("1", "a"), once("2", "b"));
    assert_eq!(calls(&ui(&[s1, a1, r1, s2, a2, call_result("c:0", "b")])), both);
    let pending = [call_start("c:0", "list"), call_args("c:0", "1"), call_end("c:0")];
    let next = [&pending[..], &[finished(), started()], &once("2", "b"), &once("3", "d")].concat();
    let next = ui(&next);
    let results: Vec<Option<&str>> = calls(&next).into_iter().map(|call| call.3).collect();
    assert_eq!(results, [None, Some("b"), Some("d")], "a result belongs to the current run");
    let two = ui(&[call_start("c", "f"), call_start("c", "g"), call_args("c", "{}")]);
    assert_eq!(calls(&two), [("c", "f", "", None), ("c", "g", "{}", None)]);
    let runs =
        ui(&[started(), call_start("c", "f"), finished(), started(), call_start("c", "f"), call_args("c", "{}")]);
    assert_eq!(calls(&runs), [("c", "f", "", None), ("c", "f", "{}", None)]);
    // A repeated start does not begin another call.
    let twice = ui(&[call_start("c", ""), call_start("c", "f"), call_args("c", "{}")]);
    assert_eq!(calls(&twice), [("c", "f", "{}", None)]);
    let event = |kind: &str, member: &str, value: &str| {
        let mut event = json!({"type": kind, "toolCallId": "c:0"});
        event[member] = json!(value);
        event
    };
    let once = |arguments: &str, result: &str| {
        [
            event("tool-call-start", "toolCallName", "list"),
            event("tool-call-args", "delta", arguments),
            event("tool-call-end", "x", ""),
            event("tool-result", "result", result),
        ]
    };
    assert_eq!(calls(&kit(&[once("1", "a"), once("2", "b")].concat())), both, "in AG-Kit too");
}

#[test]
fn value_of_another_type_becomes_its_json_text() {
    let image = json!({"type": "image", "source": {"type": "url", "value": "https://x.example/p.png"}});
    let cases = [
        (json!("plain"), "plain".to_owned()),
        (json!(42), "42".to_owned()),
        (json!(false), "false".to_owned()),
        (json!({"a": [1]}), r#"{"a":[1]}"#.to_owned()),
        (json!([{"type": "text", "text": "a "}, {"type": "text", "text": "b"}]), "a b".to_owned()),
        (json!([{"type": "text", "text": "a"}, image]), json!([{"type": "text", "text": "a"}, image]).to_string()),
        (json!([]), String::new()),
        (json!(null), String::new()),
    ];
    for (value, expected) in cases {
        let turn = ui(&[call_start("c", "f"), call_args("c", &value), call_result("c", &value), text("m", &value)]);
        assert_eq!(calls(&turn), [("c", "f", expected.as_str(), Some(expected.as_str()))], "{value}");
        assert_eq!(turn.content(), expected, "{value}");
        let snapshot =
            json!({"type": "MESSAGES_SNAPSHOT", "messages": [{"id": "a", "role": "assistant", "content": value}]});
        assert_eq!(ui(&[snapshot]).content(), expected, "{value}");
        let turn = kit(&[
            json!({"type": "text", "content": value}),
            json!({"type": "tool-call-start", "toolCallId": "c", "toolCallName": "f"}),
            json!({"type": "tool-call-args", "toolCallId": "c", "delta": value}),
            json!({"type": "tool-result", "toolCallId": "c", "result": value}),
        ]);
        assert_eq!(calls(&turn), [("c", "f", expected.as_str(), Some(expected.as_str()))], "{value}");
        assert_eq!(turn.content(), expected, "{value}");
    }
    let lone_surrogate = r#"{"type":"TEXT_MESSAGE_CONTENT","messageId":"m","delta":"a\ud83d"}"#;
    assert_eq!(ui(&[json!(lone_surrogate)]).content(), "a\u{fffd}");
}

#[test]
fn snapshot_replaces_streamed_content() {
    let call = json!({"id": "c", "type": "function", "function": {"name": "book", "arguments": "{\"b\":1}"}});
    let snapshot = json!({"type": "MESSAGES_SNAPSHOT", "messages": [
        {"id": "u", "role": "user", "content": "Hi"},
        {"id": "a", "role": "assistant", "content": "Booked.", "toolCalls": [call, call]},
        {"id": "t", "role": "tool", "toolCallId": "c", "content": "done"},
        {"id": "r", "role": "reasoning", "content": "thought"}, 7]});
    let turn = ui(&[text("x", "Book"), call_start("y", "z"), snapshot.clone(), text("a", " Anything else?")]);
    assert_eq!(messages(&turn), [(Some("u"), "user", "Hi"), (Some("a"), "assistant", "Booked. Anything else?")]);
    assert_eq!(calls(&turn), [("c", "book", r#"{"b":1}"#, Some("done")), ("c", "book", r#"{"b":1}"#, None)]);
    let one_id = json!({"type": "MESSAGES_SNAPSHOT", "messages": [
        {"id": "1", "role": "user", "content": "Hi"}, {"id": "1", "role": "assistant", "content": "Free."}]});
    assert_eq!(ui(&[one_id]).content(), "Free.");
    let answered = ui(&[snapshot, call_result("c", "twice")]);
    assert_eq!(calls(&answered)[1].3, Some("twice"));
}

#[test]
fn messages_of_the_request_in_a_snapshot_are_ignored() {
    let call = json!({"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let history = [
        json!({"id": "u1", "role": "user", "content": "Hi"}),
        json!({"id": "a1", "role": "assistant", "content": "Old", "toolCalls": [call]}),
        json!({"id": "t1", "role": "tool", "toolCallId": "c", "content": "old"}),
    ];
    let answer = json!({"id": "m2", "role": "assistant", "content": "New"});
    let all = [history.as_slice(), &[answer]].concat();
    let snapshot = json!({"type": "MESSAGES_SNAPSHOT", "messages": all});
    let request = json!({"threadId": "t", "messages": history}).to_string();
    for streamed in [vec![], vec![text("m2", "New")], vec![text("m2", "Ne")]] {
        let mut turn = Turn::new(Dialect::AgUi).answering(&request);
        for event in streamed.iter().chain([&snapshot]) {
            turn.take(&event.to_string());
        }
        assert_eq!((messages(&turn), calls(&turn)), (vec![(Some("m2"), "assistant", "New")], vec![]));
    }
    assert_eq!(ui(&[snapshot]).content(), "Old\n\nNew");
}

#[test]
fn snapshot_never_empties_a_text_that_was_received() {
    let streamed =
        [text("a", "Hello"), call_start("c", "f"), call_args("c", "{}"), call_end("c"), call_result("c", "r")];
    let empty = json!({"id": "a", "role": "assistant", "content": "", "toolCalls":
        [{"id": "c", "type": "function", "function": {"name": "", "arguments": ""}}]});
    for messages in [json!([]), json!([{"id": "u", "role": "user", "content": "Hi"}]), json!([empty]), json!(null)] {
        let snapshot = json!({"type": "MESSAGES_SNAPSHOT", "messages": messages});
        let turn = ui(&[streamed.as_slice(), &[snapshot]].concat());
        assert_eq!(turn.content(), "Hello", "{messages}");
        assert_eq!(calls(&turn), [("c", "f", "{}", Some("r"))], "{messages}");
    }
    let before_call = json!({"type": "MESSAGES_SNAPSHOT", "messages": [
        {"id": "a", "role": "assistant", "toolCalls": [{"id": "c", "function": {"name": "f", "arguments": "{}"}}]},
        {"id": "b", "role": "assistant", "content": "Done."}]});
    assert_eq!(ui(&[streamed.as_slice(), &[before_call]].concat()).content(), "Hello\n\nDone.");
    let other = json!({"type": "MESSAGES_SNAPSHOT", "messages": [{"id": "b", "role": "developer", "content": ""}]});
    let both = ui(&[
        json!({"type": "TEXT_MESSAGE_START", "messageId": "b", "role": "developer"}),
        text("b", "two"),
        text("a", "one"),
        other,
    ]);
    assert_eq!(messages(&both), [(Some("b"), "developer", "two"), (Some("a"), "assistant", "one")]);
    let again = ui(&[streamed.as_slice(), &[call_result("c", "")]].concat());
    assert_eq!(calls(&again), [("c", "f", "{}", Some("r"))]);
}

#[test]
fn outcome_determines_the_end_of_a_run() {
    let interrupt = json!({"type": "interrupt", "interrupts": [{"id": "i"}, {"id": "j"}]});
    for (last, end, interrupts) in [
        (finished(), Some(End::Completed), 0),
        (finished_with(json!(null)), Some(End::Completed), 0),
        (finished_with(json!({"type": "success"})), Some(End::Completed), 0),
        (finished_with(json!("success")), Some(End::Completed), 0),
        (finished_with(interrupt), Some(End::Interrupted), 2),
        (finished_with(json!({"type": "interrupt"})), Some(End::Interrupted), 0),
        (finished_with(json!("interrupt")), Some(End::Interrupted), 0),
        (json!({"type": "RUN_FINISHED", "outcome": "interrupt", "interrupt": {"id": "i"}}), Some(End::Interrupted), 1),
        (json!({"type": "RUN_FINISHED", "interrupt": {"id": "i"}}), Some(End::Interrupted), 1),
        (finished_with(json!({"type": "cancelled"})), Some(End::Cancelled), 0),
        (finished_with(json!("cancelled")), Some(End::Cancelled), 0),
        (finished_with(json!({"type": "of-next-year"})), failed("unknown-outcome"), 0),
        (finished_with(json!("of-next-year")), failed("unknown-outcome"), 0),
        (finished_with(json!({})), failed("unknown-outcome"), 0),
        (finished_with(json!(7)), failed("unknown-outcome"), 0),
        (finished_with(json!(["success"])), failed("unknown-outcome"), 0),
    ] {
        let mut watched = Turn::watched(Dialect::AgUi);
        watched.take(&last.to_string());
        let turn = ui(&[started(), last.clone()]);
        assert_eq!((&turn.end, turn.interrupts().count()), (&end, interrupts), "{last}");
        assert_eq!(watched.end, end, "{last}");
    }
}

#[test]
fn interrupt_reported_in_two_ways_is_stored_once() {
    let interrupts =
        |events: &[Value]| -> Vec<String> { ui(events).interrupts().map(|raw| raw.text().to_owned()).collect() };
    let listed = |ids: &[&str]| {
        let interrupts: Vec<Value> = ids.iter().map(|id| json!({"id": id})).collect();
        finished_with(json!({"type": "interrupt", "interrupts": interrupts}))
    };
    let (i, j) = (r#"{"id":"i"}"#, r#"{"id":"j"}"#);
    assert_eq!(interrupts(&[on_interrupt(r#"{"id": "i", "x": 1}"#), listed(&["i"])]), [i]);
    assert_eq!(
        interrupts(&[on_interrupt("Refund?"), listed(&["i"])]),
        [i],
        "an interrupt without an id repeats one of the list"
    );
    assert_eq!(interrupts(&[on_interrupt(json!({"id": "j"})), listed(&["i"])]), [j, i], "another one");
    assert_eq!(interrupts(&[listed(&["i", "j", "i"])]), [i, j]);
    let with_draft_interrupt =
        |outcome: Value| json!({"type": "RUN_FINISHED", "outcome": outcome, "interrupt": {"payload": 1}});
    assert_eq!(interrupts(&[with_draft_interrupt(json!({"type": "interrupt", "interrupts": [{"id": "i"}]}))]), [i]);
    assert_eq!(interrupts(&[on_interrupt(json!({"id": "i"})), with_draft_interrupt(json!("interrupt"))]), [i]);
    assert_eq!(interrupts(&[json!({"type": "CUSTOM", "name": "on_interrupt"}), finished()]), ["null"]);
    assert_eq!(interrupts(&[listed(&["i"]), on_interrupt("Refund?"), on_interrupt(json!({"id": "i"}))]), [i]);
    assert_eq!(interrupts(&[on_interrupt("a"), on_interrupt("a"), on_interrupt("b"), finished()]), ["\"a\"", "\"b\""]);
    let event = json!({"type": "interrupt", "id": "i", "payload": 1});
    let twice = kit(&[event.clone(), event, json!({"type": "interrupt", "id": "j", "payload": 1}), json!("[DONE]")]);
    assert_eq!((twice.end.as_ref(), twice.interrupts().count()), (Some(&End::Interrupted), 2));
}

#[test]
fn last_run_determines_the_end_and_all_content_is_stored() {
    let error = json!({"type": "RUN_ERROR", "message": "boom", "code": "X"});
    let interrupt = finished_with(json!({"type": "interrupt", "interrupts": [{"id": "i"}]}));
    for (events, end) in [
        (vec![started(), finished(), started()], None),
        (vec![started(), finished(), started(), error.clone()], failed("RUN_ERROR")),
        (vec![started(), error.clone(), started(), finished()], Some(End::Completed)),
        (vec![started(), interrupt, started(), finished()], Some(End::Completed)),
        (vec![started(), finished(), error.clone()], failed("RUN_ERROR")),
        (vec![started(), error.clone(), finished()], failed("RUN_ERROR")),
        (vec![error.clone(), error, finished()], failed("RUN_ERROR")),
        (vec![finished(), finished_with("cancelled")], Some(End::Cancelled)),
        (vec![finished_with("cancelled"), finished()], Some(End::Cancelled)),
    ] {
        let turn = ui(&events);
        assert_eq!(turn.end, end, "{events:?}");
        assert_eq!(turn.error.is_some(), matches!(end, Some(End::Failed(_))), "{events:?}");
    }
    let turn = ui(&[started(), text("m", "one "), finished(), started(), text("n", "two"), finished()]);
    assert_eq!(turn.content(), "one \n\ntwo");
}

#[test]
fn error_of_the_agent_is_separate_from_the_end() {
    let error = json!({"type": "RUN_ERROR", "message": "boom", "code": "X"});
    let turn = ui(&[error, json!({"type": "RUN_ERROR", "message": "again", "code": "INTERNAL_ERROR"})]);
    assert_eq!(turn.end, failed("RUN_ERROR"));
    let error = turn.error.unwrap();
    assert_eq!((error.code.as_deref(), error.message.as_deref()), (Some("X"), Some("boom")));
    let untyped = json!({"error": "Server error", "details": "secret"});
    for dialect in [Dialect::AgKit, Dialect::AgUi] {
        let first = turn_of(dialect, &untyped);
        assert_eq!(first.end, failed("could not begin"), "{dialect}");
    }
    let later = kit(&[json!({"type": "text", "content": "x"}), untyped]);
    assert_eq!((later.end, later.odd), (None, 1), "after other events it counts as an unknown event");
}

fn turn_of(dialect: Dialect, event: &Value) -> Turn {
    turn(dialect, std::slice::from_ref(event))
}

#[test]
fn event_with_too_many_values_is_read() {
    let many = format!("[{}0]", "0,".repeat(300_000));
    let event = |event: &str| event.replace("MANY", &many);
    for mut turn in [Turn::new(Dialect::AgUi), Turn::watched(Dialect::AgUi)] {
        turn.take(&event(r#"{"type":"RUN_FINISHED","result":MANY,"outcome":{"type":"cancelled"}}"#));
        assert_eq!((turn.end, turn.odd), (Some(End::Cancelled), 0));
    }
    let turn = ui(&[json!(event(r#"{"type":"TOOL_CALL_RESULT","toolCallId":"c","content":MANY}"#))]);
    assert_eq!(calls(&turn), [("c", "", "", Some(many.as_str()))]);
}

#[test]
fn turn_has_no_end_without_a_terminal_event() {
    let interrupt = json!({"type": "interrupt", "id": "i", "reason": null, "payload": [1]});
    assert_eq!(turn_of(Dialect::AgKit, &interrupt).end, None);
    assert_eq!(ui(&[json!("[DONE]")]).end, None, "no end in this dialect");
    assert_eq!(ui(&[on_interrupt("{}"), finished()]).end, Some(End::Interrupted));
}

#[test]
fn watched_turn_has_the_same_end_and_no_content() {
    let events = [
        json!({"type": "text", "content": "x"}),
        json!({"type": "tool-call-args", "toolCallId": "a", "delta": "x"}),
        json!({"type": "interrupt", "id": "i", "payload": 1}),
        json!({"type": "interrupt", "id": "j", "payload": 1}),
        json!("[DONE]"),
    ];
    let mut watched = Turn::watched(Dialect::AgKit);
    for event in &events {
        watched.take(&event.as_str().map_or_else(|| event.to_string(), str::to_owned));
    }
    assert_eq!((watched.end.clone(), watched.events), (kit(&events).end, 5));
    assert!(watched.messages().is_empty() && watched.tool_calls().is_empty() && watched.interrupts().count() == 1);
}

#[test]
fn unknown_event_is_counted_and_ignored() {
    let unknown =
        ["{not json", "7", "{}", r#"{"type":"of-next-year"}"#, r#"{"type":"\ud800"}"#].map(|data| json!(data));
    for dialect in [Dialect::AgKit, Dialect::AgUi] {
        let turn = turn(dialect, &unknown);
        assert_eq!((turn.odd, turn.events, turn.end), (5, 5, None), "{dialect}");
    }
}

#[test]
fn change_identifies_the_new_text_and_the_new_result() {
    let mut turn = Turn::new(Dialect::AgUi);
    assert_eq!(turn.take(&text("m", "one ").to_string()), Change::Text { message: 0, from: 0 });
    assert_eq!(turn.take(&text("n", "x").to_string()), Change::Text { message: 1, from: 0 });
    assert_eq!(turn.take(&text("m", "two").to_string()), Change::Text { message: 0, from: 4 });
    assert_eq!(turn.take(&call_start("c", "f").to_string()), Change::Nothing);
    assert_eq!(turn.take(&call_result("c", "r").to_string()), Change::Result { call: 0 });
}
