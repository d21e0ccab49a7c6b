//! Checks recorded requests and responses of real servers, and compares the ways to report the same turn. The
//! recordings are in `../shared/samples` next to the repository; tests that need them pass without them.

use std::path::PathBuf;

use gatehouse_ag_kit::Dialect;
use gatehouse_ag_kit::check::check;
use gatehouse_ag_kit::turn::{End, Turn};
use gatehouse_sse::Reader;
use proptest::prelude::*;
use serde_json::{Value, json};

fn samples(ending: &str) -> Vec<(String, Dialect, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../../shared/samples/ag-kit");
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
fn recorded_requests_pass_unless_the_server_rejected_them() {
    for (name, dialect, request) in samples(".json") {
        let request = std::str::from_utf8(&request).unwrap().trim();
        let error = check(dialect, request).err().map(|error| error.to_string()).unwrap_or_default();
        let expected = match name.as_str() {
            name if name.contains("tool_without_id") => "messages[0].toolCallId: the member is required",
            name if name.contains("bad_role") => "messages[0].role: one of system, user, assistant, tool is needed",
            // One server requires more than the dialect. The check leaves such errors to the server.
            _ => "",
        };
        assert_eq!(error, expected, "{name}");
        let other = if dialect == Dialect::AgKit { Dialect::AgUi } else { Dialect::AgKit };
        let has_mark = ["conversationId", "threadId"].iter().any(|mark| request.contains(mark));
        assert_eq!(check(other, request).is_err_and(|error| error.rule.contains("in the dialect")), has_mark, "{name}");
    }
}

#[test]
fn recorded_responses_have_the_recorded_end() {
    for (name, dialect, response) in samples(".sse") {
        let mut turn = Turn::new(dialect);
        let mut reader = Reader::new(1 << 20);
        reader.feed(response);
        while let Some(block) = reader.next_block().unwrap() {
            if let Some(event) = block.event {
                turn.take(&event.data);
            }
        }
        let end = match name.as_str() {
            // Cut off by the server.
            "agkit_07_error_mid_stream.sse" => None,
            // The server adds no events to those of its agent, and these agents send no end.
            "agui_01_text.sse" | "agui_03_server_tool_call.sse" | "agui_07_interrupt_custom.sse" => None,
            name if name.contains("interrupt") => Some(End::Interrupted),
            "agui_05_exception_mid_stream.sse" => Some(End::Failed("RUN_ERROR".to_owned())),
            _ => Some(End::Completed),
        };
        assert_eq!((turn.end, turn.odd), (end, 0), "{name}");
    }
}

/// A part of a turn: the pieces of a message's text, or a call with the pieces of its arguments and its result.
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

/// The kind of events in which an agent reports a part.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Style {
    /// A start, pieces, an end.
    Events,
    /// Chunks, of which only the first one names the part.
    Chunks,
}

fn events_of(parts: &[Part], style: Style) -> Vec<Value> {
    let mut events = vec![json!({"type": "RUN_STARTED"})];
    for (n, part) in parts.iter().enumerate() {
        match (part, style) {
            (Part::Text(pieces), Style::Events) => {
                let id = format!("m{n}");
                events.push(json!({"type": "TEXT_MESSAGE_START", "messageId": id, "role": "assistant"}));
                events.extend(
                    pieces.iter().map(|piece| json!({"type": "TEXT_MESSAGE_CONTENT", "messageId": id, "delta": piece})),
                );
                events.push(json!({"type": "TEXT_MESSAGE_END", "messageId": id}));
            }
            (Part::Text(pieces), Style::Chunks) => {
                let first = json!({"type": "TEXT_MESSAGE_CHUNK", "messageId": format!("m{n}")});
                events.push(first);
                events.extend(pieces.iter().map(|piece| json!({"type": "TEXT_MESSAGE_CHUNK", "delta": piece})));
            }
            (Part::Call { id, arguments, result }, style) => {
                let id = format!("c{id}");
                if style == Style::Events {
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
                    // Chunks have no end. Without one, a later call with the same id would continue this call.
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

/// The parts as one snapshot of the messages.
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
                    let result = json!({"id": format!("t{n}"), "role": "tool", "toolCallId": call, "content": result});
                    messages.push(result);
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
    fn turn_is_the_same_from_events_chunks_and_snapshots(parts in parts()) {
        let events = fold(&events_of(&parts, Style::Events));
        let chunks = fold(&events_of(&parts, Style::Chunks));
        let restated = fold(&[events_of(&parts, Style::Events), vec![snapshot(&parts)]].concat());
        let alone = fold(&[snapshot(&parts)]);
        for other in [&chunks, &restated, &alone] {
            prop_assert_eq!(events.messages(), other.messages());
            prop_assert_eq!(events.content(), other.content());
        }
        prop_assert_eq!(events.tool_calls(), chunks.tool_calls());
        // A snapshot does not say which call with an id a result belongs to. The oldest call without a result gets it.
        let results = |turn: &Turn| turn.tool_calls().iter().filter(|call| call.result.is_some()).count();
        let counts = |turn: &Turn| (turn.tool_calls().len(), results(turn));
        prop_assert_eq!(counts(&events), counts(&restated));
        prop_assert_eq!(counts(&events), counts(&alone));
    }
}
