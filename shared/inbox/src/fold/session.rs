//! The state of agntix sessions.

use gatehouse_payload::agntix::{Envelope, EventType, readable};
use gatehouse_payload::json::Document;
use gatehouse_payload::time::Timestamp;

use super::members::Members;
use super::{State, in_order};
use crate::store::Record;

/// The state of a session, according to its events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Session {
    /// agntix' id.
    pub id: Option<String>,
    /// Closed if there is a `session.ended`.
    pub state: State,
    /// The agent's id.
    pub agent_id: Option<String>,
    /// The start time.
    pub created_at: Option<Timestamp>,
    /// The end time, if the event contains it.
    pub ended_at: Option<Timestamp>,
    /// Summary, intent, resolution, sentiment and extracted data, as sent: JSON text.
    pub analysis: Option<String>,
    /// The dashboard's URL of the recording.
    pub recording_url: Option<String>,
    /// Descriptions of expected events and data that are missing.
    pub missing: Vec<String>,
    /// The number of folded events.
    pub events: usize,
    /// The number of conflicting copies.
    pub conflicts: usize,
}

/// Folds a session's timeline, in any order. Each member of a body is read separately. An unreadable body counts as an
/// event and contributes nothing else.
#[must_use]
pub fn session(records: &[Record]) -> Session {
    let (ordered, conflicts) = in_order(records);
    let mut session = Session { events: ordered.len(), conflicts, ..Session::default() };
    let (mut has_created, mut has_ended) = (false, false);
    for record in ordered {
        let Ok(document) = Document::read(&record.event.body) else { continue };
        let body = Members(document.text());
        let readable = readable(&document);
        let envelope = Envelope::of(&readable);
        session.id = session.id.or_else(|| envelope.session_id().map(Into::into));
        session.agent_id = body.text(&["agentId"]).or(session.agent_id);
        match envelope.event_type().map(EventType::from) {
            Some(EventType::SessionEnded) => {
                has_ended = true;
                session.state = State::Closed;
                session.ended_at = body.time(&["endedAt"]).or(session.ended_at);
                session.analysis = body.composite(&["analysis"]).or(session.analysis);
                session.recording_url = body.text(&["recordingUrl"]).or(session.recording_url);
                if envelope.once_per_session().is_some() {
                    session.created_at = session.created_at.or(body.time(&["createdAt"]));
                }
            }
            Some(EventType::SessionCreated) => {
                has_created = true;
                session.created_at = session.created_at.or(body.time(&["createdAt"]));
            }
            _ => {}
        }
    }
    if session.events > 0 && !has_created {
        session.missing.push("session.created".to_owned());
    }
    if has_ended && session.analysis.is_none() {
        session.missing.push("the analysis in session.ended".to_owned());
    }
    session
}
