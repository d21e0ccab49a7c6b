//! agntix: Svix signatures; the start and the end of a session are identified by the session, all else by the message
//! id.

use gatehouse_inbox::{EventId, Outcome, Subject};
use gatehouse_payload::agntix::{Envelope, readable};
use gatehouse_payload::json::Document;
use gatehouse_payload::time::Timestamp;

use crate::scheme::Parts;
use crate::secrets::Secrets;
use crate::{Identity, Parsed, Unverified, Verified, ada, signature};

/// Verifies the signature.
///
/// # Errors
/// As [`signature::verify`].
pub fn verify(parts: Parts<'_>, secrets: &Secrets, now: Timestamp) -> Result<Verified, Unverified> {
    signature::verify(parts.headers, parts.body, &secrets.agntix, now)
}

/// Reads type, session and time.
#[must_use]
pub fn parse(document: &Document<'_>) -> Parsed {
    let readable = readable(document);
    let envelope = Envelope::of(&readable);
    Parsed {
        event_type: envelope.event_type().map(str::to_owned),
        subject: envelope.session_id().map(|id| Subject::new("agntix", "session", &id)),
        occurred_at: envelope.occurred_at(),
        unparsed: !readable.is_whole(),
    }
}

/// `agntix:session.created:<session>`, `agntix:session.ended:<session>`, else `agntix:<message id>`.
#[must_use]
pub fn identify(document: &Document<'_>, verified: &Verified) -> Identity {
    let id = match Envelope::of(&readable(document)).once_per_session() {
        Some((event_type, session)) => EventId::new(&["agntix", event_type], &[session]),
        None => EventId::new(&["agntix"], &[verified.message_id.as_deref().unwrap_or_default()]),
    };
    Identity { id, weak: false }
}

/// As for Ada: both senders are Svix.
#[must_use]
pub fn respond(outcome: Outcome, id: &EventId) -> String {
    ada::respond(outcome, id)
}
