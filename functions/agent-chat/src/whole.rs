//! A turn as one JSON object, for clients that ask for `application/json`.

use bytes::Bytes;
use gatehouse_edge::Problem;
use gatehouse_payload::ag_kit::Dialect;
use gatehouse_payload::ag_kit::turn::{Call, End, Turn};
use gatehouse_payload::wire::Raw;
use gatehouse_sse::Reader;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use serde::Serialize;
use tokio::sync::mpsc;

use crate::body::Body;
use crate::limits::EVENT_BYTES;

/// The longest answer that is held whole, in bytes.
const MOST: usize = 5 * 1024 * 1024;

/// What the client gets.
#[derive(Serialize)]
struct Whole<'a> {
    r#type: &'static str,
    turn_id: &'a str,
    /// `completed`, `interrupted` or `failed`.
    end: &'static str,
    /// The agent's text; of a turn that failed, as far as it came.
    content: &'a str,
    tool_calls: Vec<WholeCall<'a>>,
    interrupts: &'a [Raw],
    usage: &'a [Raw],
}

#[derive(Serialize)]
struct WholeCall<'a> {
    id: &'a str,
    name: &'a str,
    /// JSON text.
    arguments: &'a str,
    /// Without one the call is for the client to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'a str>,
}

impl<'a> WholeCall<'a> {
    fn of(call: &'a Call) -> Self {
        let Call { id, name, arguments, result } = call;
        WholeCall { id, name, arguments, result: result.as_deref() }
    }
}

/// Whether the client asks for one object: for JSON, and not for a stream as well.
pub(crate) fn is_asked_for(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    accept.contains("application/json") && !accept.contains("text/event-stream")
}

/// Waits for the end of a turn. One that failed has the status 502, with what had come by then.
///
/// # Errors
/// When there is too much of it.
pub(crate) async fn answer(
    dialect: Dialect,
    turn_id: &str,
    mut pieces: mpsc::Receiver<Bytes>,
) -> Result<Response<Body>, Problem> {
    // What comes here has been through a reader with the same limit.
    let (mut reader, mut turn) = (Reader::new(EVENT_BYTES), Turn::new(dialect));
    let mut blocks = Vec::new();
    let mut bytes = 0;
    while let Some(piece) = pieces.recv().await {
        bytes += piece.len();
        // The rest is read, so that the turn ends as it would; but it is not held.
        if bytes > MOST || reader.feed(piece, &mut blocks).is_err() {
            turn.end = None;
            continue;
        }
        blocks.drain(..).filter_map(|block| block.event).for_each(|event| turn.take(&event.data));
    }
    if bytes > MOST {
        return Err(Problem::BadAgent("the answer is larger than 5 MiB; ask for it as text/event-stream"));
    }
    let (end, status) = match turn.end {
        Some(End::Completed) => ("completed", StatusCode::OK),
        Some(End::Interrupted) => ("interrupted", StatusCode::OK),
        Some(End::Failed(_)) | None => ("failed", StatusCode::BAD_GATEWAY),
    };
    let whole = Whole {
        r#type: "turn",
        turn_id,
        end,
        content: &turn.text,
        tool_calls: turn.tool_calls.iter().map(WholeCall::of).collect(),
        interrupts: &turn.interrupts,
        usage: &turn.usage,
    };
    let mut response = Response::new(Body::Whole(Bytes::from(serde_json::to_vec(&whole).unwrap_or_default())));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}
