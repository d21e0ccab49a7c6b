//! Ada: Svix signatures; the event's id is the message id the signature covers, since the body has none.

use gatehouse_inbox::{EventId, Outcome, Subject};
use gatehouse_payload::ada::{Data, Envelope, readable};
use gatehouse_payload::json::Document;
use gatehouse_payload::time::Timestamp;

use crate::scheme::Parts;
use crate::secrets::Secrets;
use crate::{Identity, Parsed, Unverified, Verified, signature};

/// Verifies the signature.
///
/// # Errors
/// As [`signature::verify`].
pub fn verify(parts: Parts<'_>, secrets: &Secrets, now: Timestamp) -> Result<Verified, Unverified> {
    signature::verify(parts.headers, parts.body, &secrets.ada, now)
}

/// Reads type, conversation (or end user) and time.
#[must_use]
pub fn parse(document: &Document<'_>) -> Parsed {
    let readable = readable(document);
    let envelope = Envelope::of(&readable);
    Parsed {
        occurred_at: envelope.occurred_at(),
        subject: envelope.data.as_ref().and_then(subject),
        event_type: envelope.event_type.map(Into::into),
        unparsed: !readable.is_whole(),
    }
}

fn subject(data: &Data<'_>) -> Option<Subject> {
    let conversation = data.conversation_id().map(|id| Subject::new("ada", "conversation", &id));
    conversation.or_else(|| data.end_user_id().map(|id| Subject::new("ada", "end-user", &id)))
}

/// `ada:<message id>`: the same on every retry and resend.
#[must_use]
pub fn identify(verified: &Verified) -> Identity {
    Identity { id: EventId::new(&["ada"], &[verified.message_id.as_deref().unwrap_or_default()]), weak: false }
}

/// `{"status": …, "event_id": …}`
#[must_use]
pub fn respond(outcome: Outcome, id: &EventId) -> String {
    serde_json::json!({"status": outcome.as_str(), "event_id": id.as_str()}).to_string()
}
