//! Decides from the record of a turn whether the turn is replayed.

use std::collections::BTreeMap;

use bytes::Bytes;
use data_encoding::BASE64;
use gatehouse_ag_kit::Dialect;
use gatehouse_sse::Reader;
use http::HeaderMap;
use serde::Deserialize;

use crate::limits::LARGEST_EVENT;

/// A turn with a complete record, which can be replayed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RecordedTurn {
    pub(crate) turn_id: String,
    pub(crate) dialect: Dialect,
    pub(crate) headers: HeaderMap,
    /// The whole events of the answer.
    pub(crate) answer: Bytes,
}

/// The replay that a turn's record allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Replay {
    /// The turn ended well, and its record is complete.
    Complete(RecordedTurn),
    /// The turn ended well, but its answer was cut or has been erased.
    Partial,
    /// The turn failed.
    Failed,
    /// There is no record.
    Missing,
}

/// The members of a [record](crate::record) that decide about its replay.
#[derive(Deserialize)]
struct RecordBody {
    turn_id: String,
    dialect: String,
    end: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    answer: Option<String>,
    answer_base64: Option<String>,
    #[serde(default)]
    answer_cut: bool,
}

impl Replay {
    /// Returns the replay that the body of a turn's record allows.
    pub(super) fn of(body: &[u8]) -> Replay {
        let Ok(record) = serde_json::from_slice::<RecordBody>(body) else { return Replay::Partial };
        if !["completed", "interrupted", "cancelled"].contains(&record.end.as_str()) {
            return Replay::Failed;
        }
        let base64 = |text: String| BASE64.decode(text.as_bytes()).ok();
        let answer = record.answer.map(String::into_bytes).or_else(|| base64(record.answer_base64?));
        match (answer, Dialect::from_name(&record.dialect)) {
            (Some(answer), Some(dialect)) if !record.answer_cut => {
                let header = |(name, value): (String, String)| Some((name.parse().ok()?, value.parse().ok()?));
                let headers: HeaderMap = record.headers.into_iter().filter_map(header).collect();
                let answer = whole_events(Bytes::from(answer));
                Replay::Complete(RecordedTurn { turn_id: record.turn_id, dialect, headers, answer })
            }
            _ => Replay::Partial,
        }
    }
}

/// Returns the complete events of an answer, which were sent to the client. Leaves out an incomplete event at the end.
fn whole_events(answer: Bytes) -> Bytes {
    let mut reader = Reader::new(LARGEST_EVENT);
    reader.feed(answer.clone());
    let mut whole = 0;
    // The client was sent nothing after an event that was too large.
    while let Ok(Some(block)) = reader.next_block() {
        whole += block.bytes.len();
    }
    answer.slice(..whole)
}

#[cfg(test)]
#[allow(clippy::panic)]
mod tests {
    use super::Replay;

    /// A record as earlier releases wrote it. Later records may only add members.
    fn old_record(end: &str, answer: &str) -> String {
        format!(
            "{{\"type\":\"turn\",\"turn_id\":\"t1\",\"client\":\"web\",\"agent\":\"kit\",\"dialect\":\"ag-kit\",\
             \"conversation\":\"c\",\"request_id\":\"r\",\"began_at\":\"2026-11-01T09:00:00Z\",\"end\":\"{end}\",\
             \"first_event_ms\":3,\"duration_ms\":9,\"received_bytes\":14,\"sent_bytes\":14,\"events\":1,\
             \"headers\":{{\"content-type\":\"text/event-stream\"}},\"request\":{{\"messages\":[]}},{answer}}}"
        )
    }

    #[test]
    fn turns_of_the_previous_release_are_replayed() {
        for end in ["completed", "interrupted"] {
            for answer in [r#""answer":"data: [DONE]\n\n""#, r#""answer_base64":"ZGF0YTogW0RPTkVdCgo=""#] {
                let Replay::Complete(recorded) = Replay::of(old_record(end, answer).as_bytes()) else {
                    panic!("{end} {answer}")
                };
                assert_eq!((recorded.turn_id.as_str(), &*recorded.answer), ("t1", &b"data: [DONE]\n\n"[..]));
                assert_eq!(recorded.headers["content-type"], "text/event-stream");
            }
            let cut = old_record(end, r#""answer":"data: [DONE]\n\n","answer_cut":true"#);
            assert_eq!(Replay::of(cut.as_bytes()), Replay::Partial);
        }
        let failed = old_record("failed:cut", r#""answer":"data: x\n\n""#);
        assert_eq!(Replay::of(failed.as_bytes()), Replay::Failed);
    }
}
