//! The script of the built-in test agent. It supports both dialects.
//!
//! Words in the last user message select what the agent does:
//!
//! | word | behaviour |
//! |---|---|
//! | `tool` | calls a tool |
//! | `approve` | asks for a decision, which the next request contains |
//! | `slow` | pauses before each event |
//! | `cut` | closes the connection in the middle of an event |
//! | `error` | fails before the first text |
//!
//! Any other message is repeated.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::agent::{Answer, Piece, ReceivedRequest};

/// Pause before each event of a slow response.
const PAUSE: Duration = Duration::from_millis(400);

/// Returns the agent's response, in the dialect of the request.
#[must_use]
pub fn answer(request: &ReceivedRequest) -> Option<Answer> {
    let request: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let format =
        if request.get("threadId").is_some() || request.get("runId").is_some() { Format::AgUi } else { Format::AgKit };
    let message = last_user_message(&request);
    let asks_for = |word: &str| message.to_lowercase().contains(word);
    let resumes = request.get("resume").is_some_and(|resume| !resume.is_null());
    let mut events = format.start(&request);
    if resumes {
        events.extend(format.text("It is decided, then."));
    } else if asks_for("error") {
        return Some(Answer::with_pieces(format.error().map(|event| Piece::Bytes(sse_event(&event)))));
    } else if asks_for("tool") {
        events.extend(format.tool_call());
        events.extend(format.text("It is nine o'clock."));
    } else if asks_for("approve") {
        events.extend(format.text("Shall I book berth C14?"));
        return Some(at_once(events.iter().chain(&format.interrupt()).map(sse_event).chain(format.end(&request))));
    } else {
        events.extend(format.text(&format!("You said: {message}")));
    }
    let mut pieces: Vec<Bytes> = events.iter().map(sse_event).collect();
    if asks_for("cut") {
        let half = pieces.pop().map(|piece| piece.slice(..piece.len() / 2));
        let pieces = pieces.into_iter().chain(half).map(Piece::Bytes);
        return Some(Answer::with_pieces(pieces.chain([Piece::Cut])));
    }
    pieces.extend(format.end(&request));
    Some(if asks_for("slow") { slowly(pieces) } else { at_once(pieces) })
}

fn at_once(pieces: impl IntoIterator<Item = Bytes>) -> Answer {
    Answer::with_pieces(pieces.into_iter().map(Piece::Bytes))
}

fn slowly(pieces: Vec<Bytes>) -> Answer {
    let (sender, answer) = Answer::stream();
    tokio::spawn(async move {
        for piece in pieces {
            tokio::time::sleep(PAUSE).await;
            if sender.send(Piece::Bytes(piece)).is_err() {
                return;
            }
        }
    });
    answer
}

/// Returns the text of the last user message.
fn last_user_message(request: &Value) -> String {
    let messages = request["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let last = messages.iter().rev().find(|message| message["role"] == "user");
    last.and_then(|message| message["content"].as_str()).unwrap_or("nothing").to_owned()
}

fn sse_event(event: &Value) -> Bytes {
    Bytes::from(format!("data: {event}\n\n"))
}

/// Writes events in one of the dialects.
#[derive(Debug, Clone, Copy)]
enum Format {
    AgKit,
    AgUi,
}

impl Format {
    fn start(self, request: &Value) -> Vec<Value> {
        match self {
            Format::AgKit => Vec::new(),
            Format::AgUi => {
                vec![json!({"type": "RUN_STARTED", "threadId": request["threadId"], "runId": request["runId"]})]
            }
        }
    }

    fn text(self, text: &str) -> Vec<Value> {
        let words = text.split_inclusive(' ');
        match self {
            Format::AgKit => words.map(|word| json!({"type": "text", "content": word})).collect(),
            Format::AgUi => {
                let mut events = vec![json!({"type": "TEXT_MESSAGE_START", "messageId": "m1", "role": "assistant"})];
                events.extend(
                    words.map(|word| json!({"type": "TEXT_MESSAGE_CONTENT", "messageId": "m1", "delta": word})),
                );
                events.push(json!({"type": "TEXT_MESSAGE_END", "messageId": "m1"}));
                events
            }
        }
    }

    fn tool_call(self) -> Vec<Value> {
        match self {
            Format::AgKit => vec![
                json!({"type": "tool-call-start", "toolCallId": "t1", "toolCallName": "clock"}),
                json!({"type": "tool-call-args", "toolCallId": "t1", "delta": "{\"zone\":"}),
                json!({"type": "tool-call-args", "toolCallId": "t1", "delta": "\"UTC\"}"}),
                json!({"type": "tool-call-end", "toolCallId": "t1"}),
                json!({"type": "tool-result", "toolCallId": "t1", "result": "09:00"}),
            ],
            Format::AgUi => vec![
                json!({"type": "TOOL_CALL_START", "toolCallId": "t1", "toolCallName": "clock"}),
                json!({"type": "TOOL_CALL_ARGS", "toolCallId": "t1", "delta": "{\"zone\":"}),
                json!({"type": "TOOL_CALL_ARGS", "toolCallId": "t1", "delta": "\"UTC\"}"}),
                json!({"type": "TOOL_CALL_END", "toolCallId": "t1"}),
                json!({"type": "TOOL_CALL_RESULT", "messageId": "m0", "toolCallId": "t1", "content": "09:00"}),
            ],
        }
    }

    fn interrupt(self) -> Vec<Value> {
        match self {
            Format::AgKit => {
                vec![json!({"type": "interrupt", "id": "i1", "reason": "approval", "payload": {"berth": "C14"}})]
            }
            Format::AgUi => vec![json!({"type": "CUSTOM", "name": "on_interrupt", "value": "{\"berth\":\"C14\"}"})],
        }
    }

    /// Returns the events of an agent that fails before it answers.
    fn error(self) -> [Value; 1] {
        match self {
            Format::AgKit => [json!({"error": "Server error", "details": "as you asked"})],
            Format::AgUi => [json!({"type": "RUN_ERROR", "message": "as you asked", "code": "asked-for"})],
        }
    }

    /// Returns the last event.
    fn end(self, request: &Value) -> Option<Bytes> {
        Some(match self {
            Format::AgKit => Bytes::from_static(b"data: [DONE]\n\n"),
            Format::AgUi => {
                sse_event(&json!({"type": "RUN_FINISHED", "threadId": request["threadId"], "runId": request["runId"]}))
            }
        })
    }
}
