//! Vapi: whichever schemes are configured; the event's id is derived from the message, which carries none.

mod identity;

use gatehouse_inbox::{Fingerprint, Subject};
use gatehouse_payload::json::{Compared, Document};
use gatehouse_payload::time::Timestamp;
use gatehouse_payload::vapi::{COMMON_MEMBERS, Envelope, Message, compared};
pub use identity::{Class, identify, is_one_question};

use crate::scheme::Parts;
use crate::secrets::Secrets;
use crate::{Parsed, Unverified, Verified, Why};

/// Which of Vapi's two streams a message belongs to. The same event may come on both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Channel {
    /// `POST /client`
    Client,
    /// `POST /server`
    Server,
}

impl Channel {
    /// The word in event ids.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Channel::Client => "client",
            Channel::Server => "server",
        }
    }

    /// The channel a word names.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        [Channel::Client, Channel::Server].into_iter().find(|channel| channel.as_str() == word)
    }
}

/// Verifies with the first scheme that accepts the delivery.
///
/// # Errors
/// When none does: what the scheme whose header is there found wrong, or else which headers would do. All but a timestamp
/// out of range may be the trace of a change of the schemes.
pub fn verify(parts: Parts<'_>, secrets: &Secrets, now: Timestamp) -> Result<Verified, Unverified> {
    let (mut failure, mut may_match_later) = (None::<Unverified>, false);
    let rank = |why: Why| [Why::Unsigned, Why::Malformed, Why::Stale, Why::NoMatch].iter().position(|w| *w == why);
    for scheme in secrets.vapi.iter().filter(|scheme| parts.headers.contains_key(scheme.header())) {
        match scheme.verify(parts, now) {
            Ok(verified) => return Ok(verified),
            Err(found) => {
                may_match_later |= found.why != Why::Stale;
                if failure.as_ref().is_none_or(|told| rank(told.why) < rank(found.why)) {
                    failure = Some(found);
                }
            }
        }
    }
    Err(failure.map(|told| Unverified { may_match_later, ..told }).unwrap_or_else(|| {
        let headers: Vec<&str> = secrets.vapi.iter().map(|scheme| scheme.header()).collect();
        let headers = headers.join(", ");
        let detail = format!(
            "no header that authenticates Vapi is there (configured: {headers}); attach a credential to the server URL. \
             Vapi sends none for a transient assistant"
        );
        Unverified { may_match_later: true, ..Unverified::new(Why::Unsigned, detail) }
    }))
}

/// Reads type, call (or chat, or session) and time.
#[must_use]
pub fn parse(document: &Document<'_>) -> Parsed {
    let envelope = Envelope::of(document);
    let readable = envelope.readable();
    let message = Message::of(&readable);
    Parsed {
        event_type: message.event_type().map(str::to_owned),
        subject: subject(&message),
        occurred_at: message.occurred_at(),
        unparsed: !readable.is_whole(),
    }
}

fn subject(message: &Message<'_>) -> Option<Subject> {
    let call = ("call", message.call.as_ref());
    let chat = ("chat", message.chat.as_ref());
    let session = ("session", message.session.as_ref());
    let by_relevance = match message.event_type().unwrap_or_default() {
        name if name.starts_with("chat.") => [chat, call, session],
        name if name.starts_with("session.") => [session, call, chat],
        _ => [call, chat, session],
    };
    by_relevance.into_iter().find_map(|(kind, of)| Some(Subject::new("vapi", kind, &of?.id()?)))
}

/// What the message says; what stands beside it in its wrapper counts too. Of a message about something that Vapi
/// names and that happens once, only that and the message's own members count: its time and the snapshots beside it
/// differ in a resend.
#[must_use]
pub fn fingerprint(document: &Document<'_>) -> Fingerprint {
    let envelope = Envelope::of(document);
    let named = {
        let readable = envelope.readable();
        Message::of(&readable).event_type().filter(|name| Class::of(name) == Class::NamedOnce).map(str::to_owned)
    };
    if let Some(event_type) = named {
        let object = event_type.split('.').next().unwrap_or_default();
        let own = |path: &[&str], name: &str| match path {
            [] if name != object && COMMON_MEMBERS.contains(&name) => Compared::Not,
            _ => compared(path, name),
        };
        return Fingerprint::of_compared(envelope.text(), &own);
    }
    let said = if envelope.is_alone() { envelope.text() } else { document.text() };
    Fingerprint::of_compared(said, &compared)
}

/// `{}`: Vapi expects nothing for a message without a reply of its own.
#[must_use]
pub fn respond() -> String {
    "{}".to_owned()
}
