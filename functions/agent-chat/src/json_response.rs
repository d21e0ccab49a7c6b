//! The turn as one JSON object, for clients that prefer `application/json`.

use bytes::Bytes;
use gatehouse_ag_kit::Dialect;
use gatehouse_ag_kit::turn::{Call, End, Message, Turn};
use gatehouse_payload::wire::Raw;
use gatehouse_receiver::ProblemDocument;
use gatehouse_sse::Reader;
use http::{HeaderValue, Response, StatusCode, header};
use serde::Serialize;

use crate::body::Body;
use crate::limits::LARGEST_EVENT;
use crate::pieces::Pieces;
use crate::problem::ChatProblem;

/// Longest answer that is returned as one object, in bytes.
const MAX_ANSWER_BYTES: usize = 5 * 1024 * 1024;

/// The JSON of a turn.
#[derive(Serialize)]
struct TurnObject<'a> {
    r#type: &'static str,
    turn_id: &'a str,
    /// `completed`, `interrupted`, `cancelled` or `failed`.
    end: &'static str,
    /// The texts of the assistant's messages, joined by a blank line. Incomplete if the turn failed.
    content: String,
    messages: Vec<MessageObject<'a>>,
    tool_calls: Vec<ToolCallObject<'a>>,
    interrupts: Vec<&'a Raw>,
    usage: &'a [Raw],
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorObject<'a>>,
}

#[derive(Serialize)]
struct MessageObject<'a> {
    /// `null` in AG-Kit, whose messages have no ids.
    id: Option<&'a str>,
    role: &'a str,
    content: &'a str,
}

#[derive(Serialize)]
struct ToolCallObject<'a> {
    id: &'a str,
    name: &'a str,
    /// JSON text.
    arguments: &'a str,
    /// Absent if the client must execute the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'a str>,
}

/// Why the turn failed. If the agent sent no code or message, the proxy's own is used.
#[derive(Serialize)]
struct ErrorObject<'a> {
    code: &'a str,
    message: &'a str,
}

impl<'a> MessageObject<'a> {
    fn of(message: &'a Message) -> Self {
        let Message { id, role, content } = message;
        MessageObject { id: id.as_deref(), role, content }
    }
}

impl<'a> ToolCallObject<'a> {
    fn of(call: &'a Call) -> Self {
        let Call { id, name, arguments, result } = call;
        ToolCallObject { id, name, arguments, result: result.as_deref() }
    }
}

/// Waits for the end of the turn that answers `request`. A failed turn has the status 502 and the content received so
/// far.
///
/// # Errors
/// When the answer is too large.
pub(crate) async fn answer(
    dialect: Dialect,
    request: &[u8],
    turn_id: &str,
    mut pieces: Pieces,
) -> Result<Response<Body>, ChatProblem> {
    // The configured event limit was applied when the events were received.
    let mut turn = Turn::new(dialect).answering(std::str::from_utf8(request).unwrap_or_default());
    let mut reader = Reader::new(LARGEST_EVENT);
    let mut bytes = 0;
    while let Some(piece) = pieces.recv().await {
        bytes += piece.len();
        if bytes > MAX_ANSWER_BYTES {
            // The rest is read and dropped, so that the turn still runs to its end.
            turn = Turn::new(dialect);
            continue;
        }
        reader.feed(piece);
        while let Ok(Some(block)) = reader.next_block() {
            if let Some(event) = block.event {
                turn.take(&event.data);
            }
        }
    }
    if bytes > MAX_ANSWER_BYTES {
        return Err(ChatProblem::BadAgent("the answer is larger than 5 MiB; ask for it as text/event-stream".into()));
    }
    let end = turn.end.clone().unwrap_or(End::Failed("cut".to_owned()));
    let status = if matches!(end, End::Failed(_)) { StatusCode::BAD_GATEWAY } else { StatusCode::OK };
    let detail = match &end {
        End::Failed(reason) if reason == "unknown-outcome" => {
            "the agent ended its run with an outcome of an unknown type"
        }
        _ => "the agent reported an error",
    };
    let ProblemDocument { slug: default_code, detail: default_message, .. } =
        ChatProblem::BadAgent(detail.into()).document();
    let error = turn.error.as_ref();
    let object = TurnObject {
        r#type: "turn",
        turn_id,
        end: end.as_str(),
        content: turn.content(),
        messages: turn.messages().iter().map(MessageObject::of).collect(),
        tool_calls: turn.tool_calls().iter().map(ToolCallObject::of).collect(),
        interrupts: turn.interrupts().collect(),
        usage: &turn.usage,
        error: matches!(end, End::Failed(_)).then(|| ErrorObject {
            code: error.and_then(|error| error.code.as_deref()).unwrap_or(default_code),
            message: error.and_then(|error| error.message.as_deref()).unwrap_or(&default_message),
        }),
    };
    let mut response = Response::new(Body::Whole(Bytes::from(serde_json::to_vec(&object).unwrap_or_default())));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}
