//! The state of an agntix session.

use gatehouse_payload::Event;
use gatehouse_payload::json::Document;
use gatehouse_vendor::{Conversation, Members, State};

use crate::{Envelope, EventType, readable};

/// Folds the events of a session. Each member of a body is read separately. A body that cannot be read is counted, and
/// changes nothing else.
pub(crate) fn fold(events: &[&Event]) -> Conversation {
    let mut session = Conversation { events: events.len(), ..Conversation::default() };
    let (mut was_created, mut was_ended) = (false, false);
    for event in events {
        let Ok(document) = Document::read(&event.body) else { continue };
        let body = Members(document.text());
        let readable = readable(&document);
        let envelope = Envelope::of(&readable);
        session.agent = body.text(&["agentId"]).or(session.agent);
        match envelope.event_type().map(EventType::from) {
            Some(EventType::SessionEnded) => {
                was_ended = true;
                session.state = State::Closed;
                session.ended_at = body.time(&["endedAt"]).or(session.ended_at);
                session.analysis = body.composite(&["analysis"]).or(session.analysis);
                session.recording_url = body.text(&["recordingUrl"]).or(session.recording_url);
                // The older envelope's `createdAt` is the time of the event.
                if envelope.once_per_session().is_some() {
                    session.started_at = session.started_at.or(body.time(&["createdAt"]));
                }
            }
            Some(EventType::SessionCreated) => {
                was_created = true;
                session.started_at = session.started_at.or(body.time(&["createdAt"]));
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
