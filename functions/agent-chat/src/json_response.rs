//! A turn as one JSON object, for clients that prefer `application/json`.

use bytes::Bytes;
use gatehouse_edge::Problem;
use gatehouse_payload::ag_kit::Dialect;
use gatehouse_payload::ag_kit::turn::{Call, End, Message, Turn};
use gatehouse_payload::wire::Raw;
use gatehouse_sse::Reader;
use http::{HeaderValue, Response, StatusCode, header};
use serde::Serialize;

use crate::body::Body;
use crate::limits::LARGEST_EVENT;
use crate::pieces::Pieces;

/// The longest answer that is held whole, in bytes.
const MOST: usize = 5 * 1024 * 1024;

/// The answer's JSON.
#[derive(Serialize)]
struct Whole<'a> {
    r#type: &'static str,
    turn_id: &'a str,
    /// `completed`, `interrupted`, `cancelled` or `failed`.
    end: &'static str,
    /// The texts of the assistant's messages, joined by a blank line; of a failed turn, as far as they came.
    content: String,
    messages: Vec<WholeMessage<'a>>,
    tool_calls: Vec<WholeCall<'a>>,
    interrupts: Vec<&'a Raw>,
    usage: &'a [Raw],
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<WholeError<'a>>,
}

#[derive(Serialize)]
struct WholeMessage<'a> {
    /// `null` in AG-Kit, whose messages have no ids.
    id: Option<&'a str>,
    role: &'a str,
    content: &'a str,
}

#[derive(Serialize)]
struct WholeCall<'a> {
    id: &'a str,
    name: &'a str,
    /// JSON text.
    arguments: &'a str,
    /// A call without a result is the client's to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'a str>,
}

/// Why the turn failed: in the agent's own words, else in the proxy's.
#[derive(Serialize)]
struct WholeError<'a> {
    code: &'a str,
    message: &'a str,
}

impl<'a> WholeMessage<'a> {
    fn of(message: &'a Message) -> Self {
        let Message { id, role, content } = message;
        WholeMessage { id: id.as_deref(), role, content }
    }
}

impl<'a> WholeCall<'a> {
    fn of(call: &'a Call) -> Self {
        let Call { id, name, arguments, result } = call;
        WholeCall { id, name, arguments, result: result.as_deref() }
    }
}

/// Waits for the end of the turn that answers `request`. A failed one has the status 502, and what had come by then.
///
/// # Errors
/// When the answer is too large.
pub(crate) async fn answer(
    dialect: Dialect,
    request: &[u8],
    turn_id: &str,
    mut pieces: Pieces,
) -> Result<Response<Body>, Problem> {
    // What comes here has been through a reader with the configured limit.
    let mut turn = Turn::new(dialect).answering(std::str::from_utf8(request).unwrap_or_default());
    let mut reader = Reader::new(LARGEST_EVENT);
    let mut bytes = 0;
    while let Some(piece) = pieces.recv().await {
        bytes += piece.len();
        if bytes > MOST {
            // The rest is read, so that the turn ends as it would, but not held.
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
    if bytes > MOST {
        return Err(Problem::BadAgent("the answer is larger than 5 MiB; ask for it as text/event-stream".into()));
    }
    let end = turn.end.clone().unwrap_or(End::Failed("cut".to_owned()));
    let status = if matches!(end, End::Failed(_)) { StatusCode::BAD_GATEWAY } else { StatusCode::OK };
    let otherwise = match &end {
        End::Failed(why) if why == "unknown-outcome" => "the agent ended its run with an outcome of no known type",
        _ => "the agent reported an error",
    };
    let otherwise = Problem::BadAgent(otherwise.into());
    let (code, message) = (otherwise.slug(), otherwise.detail());
    let error = turn.error.as_ref();
    let whole = Whole {
        r#type: "turn",
        turn_id,
        end: end.as_str(),
        content: turn.content(),
        messages: turn.messages().iter().map(WholeMessage::of).collect(),
        tool_calls: turn.tool_calls().iter().map(WholeCall::of).collect(),
        interrupts: turn.interrupts().collect(),
        usage: &turn.usage,
        error: matches!(end, End::Failed(_)).then(|| WholeError {
            code: error.and_then(|error| error.code.as_deref()).unwrap_or(code),
            message: error.and_then(|error| error.message.as_deref()).unwrap_or(&message),
        }),
    };
    let mut response = Response::new(Body::Whole(Bytes::from(serde_json::to_vec(&whole).unwrap_or_default())));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}
