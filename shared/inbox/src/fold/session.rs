//! agntix sessions.

use gatehouse_payload::agntix::{Envelope, EventType, readable};
use gatehouse_payload::json::Document;
use gatehouse_payload::time::Timestamp;

use super::members::Members;
use super::{State, in_order};
use crate::store::Record;

/// A session as its events tell it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Session {
    /// agntix' id.
    pub id: Option<String>,
    /// Closed once a `session.ended` has come.
    pub state: State,
    /// The agent's id.
    pub agent_id: Option<String>,
    /// When it started.
    pub created_at: Option<Timestamp>,
    /// When it ended, as the event says; absent where it does not.
    pub ended_at: Option<Timestamp>,
    /// Summary, intent, resolution, sentiment and extracted data, as sent: JSON text.
    pub analysis: Option<String>,
    /// Where the dashboard plays the recording.
    pub recording_url: Option<String>,
    /// What should have come and has not, in words.
    pub missing: Vec<String>,
    /// How many events were folded.
    pub events: usize,
    /// How many deliveries contradict one of them.
    pub conflicts: usize,
}

/// Folds a session's timeline, in any order. Each member of a body is read by itself; a body that cannot be read
/// counts and tells nothing.
#[must_use]
pub fn session(records: &[Record]) -> Session {
    let (ordered, conflicts) = in_order(records);
    let mut session = Session { events: ordered.len(), conflicts, ..Session::default() };
    let (mut was_created, mut was_ended) = (false, false);
    for record in ordered {
        let Ok(document) = Document::read(&record.event.body) else { continue };
        let body = Members(document.text());
        let readable = readable(&document);
        let envelope = Envelope::of(&readable);
        session.id = session.id.or_else(|| envelope.session_id().map(Into::into));
        session.agent_id = body.text(&["agentId"]).or(session.agent_id);
        match envelope.event_type().map(EventType::from) {
            Some(EventType::SessionEnded) => {
                was_ended = true;
                session.state = State::Closed;
                session.ended_at = body.time(&["endedAt"]).or(session.ended_at);
                session.analysis = body.composite(&["analysis"]).or(session.analysis);
                session.recording_url = body.text(&["recordingUrl"]).or(session.recording_url);
                if envelope.once_per_session().is_some() {
                    session.created_at = session.created_at.or(body.time(&["createdAt"]));
                }
            }
            Some(EventType::SessionCreated) => {
                was_created = true;
                session.created_at = session.created_at.or(body.time(&["createdAt"]));
            }
            _ => {}
        }
    }
    if session.events > 0 && !was_created {
        session.missing.push("session.created".to_owned());
    }
    if was_ended && session.analysis.is_none() {
        session.missing.push("the analysis in session.ended".to_owned());
    }
    session
}
