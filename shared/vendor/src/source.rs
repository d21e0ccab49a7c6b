//! The contract between a vendor's crate and everything that handles its deliveries.

use std::fmt;

use gatehouse_payload::event::{self, Event, EventId, Fingerprint, Flags, Nonce, Received, Subject};
use gatehouse_payload::json::Document;
use gatehouse_payload::outcome::Outcome;
use gatehouse_payload::time::Timestamp;

use crate::conversation::Conversation;
use crate::sample::Sample;
use crate::secrets::{PartReader, PartSpec, SecretsPart};
use crate::verification::{Credentials, Proof};

/// A source of events: the deliveries of one vendor to one function. A vendor with deliveries to two functions has two
/// sources.
///
/// The trait is implemented in the vendor's crate, and every method depends on its arguments alone. Bodies that reach
/// [`parse`](Self::parse), [`identify`](Self::identify) and [`fingerprint`](Self::fingerprint) have been verified.
pub trait Source: fmt::Debug + Send + Sync {
    /// Returns the source's names, paths and instructions.
    fn profile(&self) -> &'static Profile;

    /// Reads the vendor's part of the secrets document.
    fn credentials(&self, part: &mut PartReader<'_>) -> Box<dyn Credentials>;

    /// Reads the event's type, subject and time.
    fn parse(&self, document: &Document<'_>) -> Parsed;

    /// Returns the hash of the message, without the members that are known to differ between two deliveries of one
    /// event.
    fn fingerprint(&self, document: &Document<'_>) -> Fingerprint {
        Fingerprint::of(document.text())
    }

    /// Returns the identity of a delivery's event.
    fn identify(&self, document: &Document<'_>, proof: &Proof, fingerprint: &Fingerprint, nonce: &Nonce) -> Identity;

    /// Whether every delivery with this id asks the same question. A different body is then a duplicate, and not a
    /// conflict.
    fn is_one_question(&self, event_type: Option<&str>, id: &EventId) -> bool {
        let _ = (event_type, id);
        false
    }

    /// Whether an event id names an event of this source.
    fn owns(&self, id: &EventId) -> bool {
        id.vendor() == self.profile().vendor
    }

    /// Whether the stored id can be computed from the body again. A signed message id cannot.
    fn id_is_in_body(&self, document: &Document<'_>, id: &EventId) -> bool {
        let _ = (document, id);
        false
    }

    /// Returns the body of a response with status 200 for which no reply was decided.
    fn respond(&self, outcome: Outcome, id: &EventId) -> String;

    /// Folds the events of one subject, which are ordered by time and then by arrival, into its state.
    fn fold(&self, events: &[&Event]) -> Conversation;

    /// Returns the body of a `gatehouse.ping`, an event without content that tests an endpoint. `id` is unique.
    fn ping(&self, id: &str, at: Timestamp) -> String;

    /// Returns valid bodies, for tools and tests. `gatehouse send` sends the first one by default.
    fn samples(&self) -> &'static [Sample];

    /// Builds the event of a delivery. The receiver calls it for a request, `event-retry` for a queued message.
    fn event(&self, document: &Document<'_>, received: Received) -> Event {
        let parsed = self.parse(document);
        Event {
            is_one_question: self.is_one_question(parsed.event_type.as_deref(), &received.id),
            id: received.id,
            source: self.profile().vendor.to_owned(),
            event_type: parsed.event_type.map(event::word),
            subject: parsed.subject,
            occurred_at: parsed.occurred_at.unwrap_or(received.received_at),
            received_at: received.received_at,
            fingerprint: received.fingerprint,
            nonce: received.nonce,
            verified_by: received.verified_by,
            body: received.body,
            answer: received.answer,
            asked: received.asked,
            flags: Flags {
                unparsed: parsed.unparsed,
                weak_identity: received.weak_identity,
                undated: parsed.occurred_at.is_none(),
            },
        }
    }
}

/// A source that a function binds by its type, together with the type of its credentials.
pub trait Vendor: Source + Clone + 'static {
    /// The type that the vendor's part of the secrets document is read into.
    type Credentials: Credentials + SecretsPart;
}

/// The facts about a source that functions and tools need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile {
    /// The source's name on the command line: `ada`, `vapi-server`.
    pub name: &'static str,
    /// The vendor's name: the first part of its event ids, and the log field `source`.
    pub vendor: &'static str,
    /// A description of the events, for help texts: `Ada conversation or end-user webhook`.
    pub about: &'static str,
    /// The function that receives the deliveries.
    pub function: &'static str,
    /// The paths at which the function receives them. The first is the one to register.
    pub paths: &'static [&'static str],
    /// The vendor's part of the secrets document.
    pub secrets: PartSpec,
    /// The shape of that part.
    pub shape: CredentialsShape,
    /// The kinds of subjects that have a state, the usual one first: `conversation`.
    pub stateful: &'static [&'static str],
    /// The command that shows that state: `conversations`.
    pub command: Option<&'static str>,
    /// The events with which a subject of the usual kind begins and ends.
    pub lifecycle: Option<Lifecycle>,
    /// Whether the vendor reads the body of a 200.
    pub expects_reply: bool,
    /// The steps to register the endpoint at the vendor.
    pub steps: &'static [&'static str],
}

/// The event types with which a subject begins and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifecycle {
    /// The type of the first event, if it is sent for every subject: `session.created`.
    pub created: Option<&'static str>,
    /// The type of the last event: `session.ended`.
    pub ended: &'static str,
}

/// The shape of a part of the secrets document, by which `gatehouse secrets` changes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialsShape {
    /// `{"signing_secrets": […]}`: the vendor creates the secret and signs with it, by Standard Webhooks or by a scheme of
    /// its own.
    SigningSecrets,
    /// `{"schemes": [{"kind": "bearer", "values": […]}, …]}`: the schemes that the user can configure at Vapi.
    Schemes,
    /// The source has no deliveries, so it needs no credentials.
    Nothing,
}

/// The properties of an event that are read from its body, except its identity.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parsed {
    /// The vendor's name for the type of the event.
    pub event_type: Option<String>,
    /// The subject that the event is about.
    pub subject: Option<Subject>,
    /// The time of the event.
    pub occurred_at: Option<Timestamp>,
    /// Whether the vendor's types could not read the body completely.
    pub unparsed: bool,
}

/// The identity of a delivery's event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The idempotency key.
    pub id: EventId,
    /// Whether two occurrences may have the same id.
    pub weak: bool,
}
