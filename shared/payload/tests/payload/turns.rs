//! Requests and answers that were recorded from real servers. Needs the samples beside the repository.

use std::path::PathBuf;

use gatehouse_payload::ag_kit::Dialect;
use gatehouse_payload::ag_kit::check::check;
use gatehouse_payload::ag_kit::turn::{End, Turn};
use gatehouse_sse::Reader;
use proptest::prelude::*;
use serde_json::{Value, json};

fn samples(ending: &str) -> Vec<(String, Dialect, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/samples/ag-kit");
    let Ok(files) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut samples = Vec::new();
    for path in files.map(|file| file.unwrap().path()) {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let dialect = match name.split('_').next() {
            Some("agkit") => Dialect::AgKit,
            Some("agui") => Dialect::AgUi,
            _ => continue,
        };
        if name.ends_with(ending) && !name.contains("response") {
            samples.push((name, dialect, std::fs::read(path).unwrap()));
        }
    }
    samples
}

#[test]
fn what_servers_took_is_right_and_what_they_refused_for_its_form_is_wrong() {
    for (name, dialect, request) in samples(".json") {
        let request = std::str::from_utf8(&request).unwrap().trim();
        let told = check(dialect, request).err().map(|wrong| wrong.to_string()).unwrap_or_default();
        let expected = match name.as_str() {
            name if name.contains("tool_without_id") => "messages[0].toolCallId: it is needed",
            name if name.contains("bad_role") => "messages[0].role: one of system, user, assistant, tool is needed",
            // One server requires more than the dialect does: it may say so itself.
            _ => "",
        };
        assert_eq!(told, expected, "{name}");
        let other = if dialect == Dialect::AgKit { Dialect::AgUi } else { Dialect::AgKit };
        let has_mark = ["conversationId", "threadId"].iter().any(|mark| request.contains(mark));
        assert_eq!(check(other, request).is_err_and(|wrong| wrong.rule.contains("in the dialect")), has_mark, "{name}");
    }
}

#[test]
fn recorded_answers_end_as_they_did() {
    for (name, dialect, answer) in samples(".sse") {
        let mut turn = Turn::new(dialect);
        let mut reader = Reader::new(1 << 20);
        reader.feed(answer);
        while let Some(block) = reader.next_block().unwrap() {
            if let Some(event) = block.event {
                turn.take(&event.data);
            }
        }
        let end = match name.as_str() {
            // Cut by the server.
            "agkit_07_error_mid_stream.sse" => None,
            // The server adds nothing to what its agent says, and these agents say no end.
            "agui_01_text.sse" | "agui_03_server_tool_call.sse" | "agui_07_interrupt_custom.sse" => None,
            name if name.contains("interrupt") => Some(End::Interrupted),
            "agui_05_exception_mid_stream.sse" => Some(End::Failed("RUN_ERROR".to_owned())),
            _ => Some(End::Completed),
        };
        assert_eq!((turn.end, turn.odd), (end, 0), "{name}");
    }
}

/// A part of a turn: a message's text in its pieces, or a call with its arguments in pieces, and its result.
#[derive(Debug, Clone)]
enum Part {
    Text(Vec<String>),
    Call { id: usize, arguments: Vec<String>, result: Option<String> },
}

fn parts() -> impl Strategy<Value = Vec<Part>> {
    let pieces = || prop::collection::vec("[a-z \u{e9}\"\\\\]{1,4}", 1..4);
    let part = prop_oneof![
        pieces().prop_map(Part::Text),
        (0..3_usize, pieces(), proptest::option::of("[a-z]{1,4}")).prop_map(|(id, arguments, result)| Part::Call {
            id,
            arguments,
            result
        }),
    ];
    prop::collection::vec(part, 0..8)
}

/// The way in which an agent tells a part.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    /// A beginning, pieces, an end.
    Events,
    /// Chunks, of which the first alone names the part.
    Chunks,
}

fn told(parts: &[Part], way: Way) -> Vec<Value> {
    let mut events = vec![json!({"type": "RUN_STARTED"})];
    for (n, part) in parts.iter().enumerate() {
        match (part, way) {
            (Part::Text(pieces), Way::Events) => {
                let id = format!("m{n}");
                events.push(json!({"type": "TEXT_MESSAGE_START", "messageId": id, "role": "assistant"}));
                events.extend(
                    pieces.iter().map(|piece| json!({"type": "TEXT_MESSAGE_CONTENT", "messageId": id, "delta": piece})),
                );
                events.push(json!({"type": "TEXT_MESSAGE_END", "messageId": id}));
            }
            (Part::Text(pieces), Way::Chunks) => {
                let first = json!({"type": "TEXT_MESSAGE_CHUNK", "messageId": format!("m{n}")});
                events.push(first);
                events.extend(pieces.iter().map(|piece| json!({"type": "TEXT_MESSAGE_CHUNK", "delta": piece})));
            }
            (Part::Call { id, arguments, result }, way) => {
                let id = format!("c{id}");
                if way == Way::Events {
                    events.push(json!({"type": "TOOL_CALL_START", "toolCallId": id, "toolCallName": "f"}));
                    events.extend(
                        arguments
                            .iter()
                            .map(|piece| json!({"type": "TOOL_CALL_ARGS", "toolCallId": id, "delta": piece})),
                    );
                    events.push(json!({"type": "TOOL_CALL_END", "toolCallId": id}));
                } else {
                    events.push(json!({"type": "TOOL_CALL_CHUNK", "toolCallId": id, "toolCallName": "f"}));
                    events.extend(arguments.iter().map(|piece| json!({"type": "TOOL_CALL_CHUNK", "delta": piece})));
                    // A chunk has no end, so that a call of the same id needs one before it.
                    events.push(json!({"type": "TOOL_CALL_END", "toolCallId": id}));
                }
                if let Some(result) = result {
                    events.push(json!({"type": "TOOL_CALL_RESULT", "toolCallId": id, "content": result}));
                }
            }
        }
    }
    events.push(json!({"type": "RUN_FINISHED"}));
    events
}

/// The same as one snapshot of the messages.
fn snapshot(parts: &[Part]) -> Value {
    let mut messages = Vec::new();
    for (n, part) in parts.iter().enumerate() {
        match part {
            Part::Text(pieces) => {
                messages.push(json!({"id": format!("m{n}"), "role": "assistant", "content": pieces.concat()}));
            }
            Part::Call { id, arguments, result } => {
                let function = json!({"name": "f", "arguments": arguments.concat()});
                let call = json!({"id": format!("c{id}"), "type": "function", "function": function});
                messages.push(json!({"id": format!("a{n}"), "role": "assistant", "toolCalls": [call]}));
                if let Some(result) = result {
                    let call = format!("c{id}");
                    let answer = json!({"id": format!("t{n}"), "role": "tool", "toolCallId": call, "content": result});
                    messages.push(answer);
                }
            }
        }
    }
    json!({"type": "MESSAGES_SNAPSHOT", "messages": messages})
}

fn fold(events: &[Value]) -> Turn {
    let mut turn = Turn::new(Dialect::AgUi);
    for event in events {
        turn.take(&event.to_string());
    }
    turn
}

proptest! {
    #![proptest_config(gatehouse_seeds::cases(512))]

    #[test]
    fn turn_is_the_same_however_it_is_told(parts in parts()) {
        let events = fold(&told(&parts, Way::Events));
        let chunks = fold(&told(&parts, Way::Chunks));
        let restated = fold(&[told(&parts, Way::Events), vec![snapshot(&parts)]].concat());
        let alone = fold(&[snapshot(&parts)]);
        for other in [&chunks, &restated, &alone] {
            prop_assert_eq!(events.messages(), other.messages());
            prop_assert_eq!(events.content(), other.content());
        }
        prop_assert_eq!(events.tool_calls(), chunks.tool_calls());
        // A snapshot says nothing of which call of an id a result belongs to: the oldest without one has it.
        let results = |turn: &Turn| turn.tool_calls().iter().filter(|call| call.result.is_some()).count();
        let counts = |turn: &Turn| (turn.tool_calls().len(), results(turn));
        prop_assert_eq!(counts(&events), counts(&restated));
        prop_assert_eq!(counts(&events), counts(&alone));
    }
}
