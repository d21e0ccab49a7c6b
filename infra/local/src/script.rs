//! The agent of one's own machine: it speaks both dialects, and what it does is asked for in plain words.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::agent::{Answer, Heard, Piece};

/// What can be asked for, and what happens then.
pub const WORDS: [(&str, &str); 5] = [
    ("tool", "calls a tool of its own"),
    ("approve", "waits for a decision, which the next request brings"),
    ("slow", "takes its time"),
    ("cut", "breaks off in the middle"),
    ("error", "cannot begin"),
];

/// Between two pieces of a slow answer.
const PAUSE: Duration = Duration::from_millis(400);

/// What the agent says to a request. Its dialect is that of the request.
#[must_use]
pub fn answer(heard: &Heard) -> Option<Answer> {
    let request: Value = serde_json::from_slice(&heard.body).unwrap_or_default();
    let voice =
        if request.get("threadId").is_some() || request.get("runId").is_some() { Voice::Ui } else { Voice::Kit };
    let said = last_words(&request);
    let asks = |word: &str| said.to_lowercase().contains(word);
    let resumes = request.get("resume").is_some_and(|resume| !resume.is_null());
    let mut events = voice.begin(&request);
    if resumes {
        events.extend(voice.text("It is decided, then."));
    } else if asks("error") {
        return Some(Answer::saying(voice.cannot_begin().map(|event| Piece::Says(line(&event)))));
    } else if asks("tool") {
        events.extend(voice.tool());
        events.extend(voice.text("It is nine o'clock."));
    } else if asks("approve") {
        events.extend(voice.text("Shall I book berth C14?"));
        return Some(saying(events.iter().chain(&voice.interrupt()).map(line).chain(voice.done(&request))));
    } else {
        events.extend(voice.text(&format!("You said: {said}")));
    }
    let mut pieces: Vec<Bytes> = events.iter().map(line).collect();
    if asks("cut") {
        let half = pieces.pop().map(|piece| piece.slice(..piece.len() / 2));
        let pieces = pieces.into_iter().chain(half).map(Piece::Says);
        return Some(Answer::saying(pieces.chain([Piece::Cut])));
    }
    pieces.extend(voice.done(&request));
    Some(if asks("slow") { slowly(pieces) } else { saying(pieces) })
}

fn saying(pieces: impl IntoIterator<Item = Bytes>) -> Answer {
    Answer::saying(pieces.into_iter().map(Piece::Says))
}

fn slowly(pieces: Vec<Bytes>) -> Answer {
    let (sender, answer) = Answer::stream();
    tokio::spawn(async move {
        for piece in pieces {
            tokio::time::sleep(PAUSE).await;
            if sender.send(Piece::Says(piece)).is_err() {
                return;
            }
        }
    });
    answer
}

/// The last message that is the customer's.
fn last_words(request: &Value) -> String {
    let messages = request["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let last = messages.iter().rev().find(|message| message["role"] == "user");
    last.and_then(|message| message["content"].as_str()).unwrap_or("nothing").to_owned()
}

fn line(event: &Value) -> Bytes {
    Bytes::from(format!("data: {event}\n\n"))
}

#[derive(Debug, Clone, Copy)]
enum Voice {
    Kit,
    Ui,
}

impl Voice {
    fn begin(self, request: &Value) -> Vec<Value> {
        match self {
            Voice::Kit => Vec::new(),
            Voice::Ui => {
                vec![json!({"type": "RUN_STARTED", "threadId": request["threadId"], "runId": request["runId"]})]
            }
        }
    }

    fn text(self, text: &str) -> Vec<Value> {
        let words = text.split_inclusive(' ');
        match self {
            Voice::Kit => words.map(|word| json!({"type": "text", "content": word})).collect(),
            Voice::Ui => {
                let mut events = vec![json!({"type": "TEXT_MESSAGE_START", "messageId": "m1", "role": "assistant"})];
                events.extend(
                    words.map(|word| json!({"type": "TEXT_MESSAGE_CONTENT", "messageId": "m1", "delta": word})),
                );
                events.push(json!({"type": "TEXT_MESSAGE_END", "messageId": "m1"}));
                events
            }
        }
    }

    fn tool(self) -> Vec<Value> {
        match self {
            Voice::Kit => vec![
                json!({"type": "tool-call-start", "toolCallId": "t1", "toolCallName": "clock"}),
                json!({"type": "tool-call-args", "toolCallId": "t1", "delta": "{\"zone\":"}),
                json!({"type": "tool-call-args", "toolCallId": "t1", "delta": "\"UTC\"}"}),
                json!({"type": "tool-call-end", "toolCallId": "t1"}),
                json!({"type": "tool-result", "toolCallId": "t1", "result": "09:00"}),
            ],
            Voice::Ui => vec![
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
            Voice::Kit => {
                vec![json!({"type": "interrupt", "id": "i1", "reason": "approval", "payload": {"berth": "C14"}})]
            }
            Voice::Ui => vec![json!({"type": "CUSTOM", "name": "on_interrupt", "value": "{\"berth\":\"C14\"}"})],
        }
    }

    /// The events of an agent that cannot begin.
    fn cannot_begin(self) -> [Value; 1] {
        match self {
            Voice::Kit => [json!({"error": "Server error", "details": "as you asked"})],
            Voice::Ui => [json!({"type": "RUN_ERROR", "message": "as you asked", "code": "asked-for"})],
        }
    }

    fn done(self, request: &Value) -> Option<Bytes> {
        Some(match self {
            Voice::Kit => Bytes::from_static(b"data: [DONE]\n\n"),
            Voice::Ui => {
                line(&json!({"type": "RUN_FINISHED", "threadId": request["threadId"], "runId": request["runId"]}))
            }
        })
    }
}
