#![doc = include_str!("../README.md")]

mod envelope;
mod fold;
pub mod samples;

pub use envelope::{Envelope, EventType, is_event_name, readable};
use gatehouse_payload::json::Document;
use gatehouse_payload::time::Timestamp;
use gatehouse_payload::{Event, EventId, Fingerprint, Nonce, Outcome, Subject};
use gatehouse_vendor::signature::SigningKeys;
use gatehouse_vendor::{
    Conversation, Credentials, CredentialsShape, Identity, Lifecycle, Parsed, PartReader, PartSpec, Profile, Proof,
    Sample, SecretsPart, Source, Vendor,
};

/// agntix' session webhooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Agntix;

const PROFILE: Profile = Profile {
    name: "agntix",
    vendor: "agntix",
    about: "agntix session webhook",
    function: "session-lifecycle",
    paths: &["/"],
    secrets: PartSpec { name: "agntix", development: include_str!("../development.json") },
    shape: CredentialsShape::SigningSecrets,
    stateful: &["session"],
    command: Some("sessions"),
    lifecycle: Some(Lifecycle { created: Some("session.created"), ended: "session.ended" }),
    expects_reply: false,
    steps: &[
        "Add the URL in the agntix dashboard: Developer, + Add Endpoint. Choose session.created and session.ended.",
        "Store the endpoint's signing secret: gatehouse secrets set agntix",
        "More: docs/agntix.md",
    ],
};

impl Vendor for Agntix {
    type Credentials = SigningKeys;
}

impl Source for Agntix {
    fn profile(&self) -> &'static Profile {
        &PROFILE
    }

    fn credentials(&self, part: &mut PartReader<'_>) -> Box<dyn Credentials> {
        Box::new(SigningKeys::read(part))
    }

    /// Reads the type, the session and the time.
    fn parse(&self, document: &Document<'_>) -> Parsed {
        let readable = readable(document);
        let envelope = Envelope::of(&readable);
        Parsed {
            event_type: envelope.event_type().map(str::to_owned),
            subject: envelope.session_id().map(|id| Subject::new(PROFILE.vendor, "session", &id)),
            occurred_at: envelope.occurred_at(),
            unparsed: !readable.is_complete(),
        }
    }

    /// Returns `agntix:session.created:<session>` or `agntix:session.ended:<session>`. The id of every other event is
    /// `agntix:<message id>`.
    fn identify(&self, document: &Document<'_>, proof: &Proof, _: &Fingerprint, _: &Nonce) -> Identity {
        let id = match Envelope::of(&readable(document)).once_per_session() {
            Some((event_type, session)) => EventId::new(&[PROFILE.vendor, event_type], &[session]),
            None => EventId::new(&[PROFILE.vendor], &[proof.message_id.as_deref().unwrap_or_default()]),
        };
        Identity { id, weak: false }
    }

    fn id_is_in_body(&self, document: &Document<'_>, _: &EventId) -> bool {
        Envelope::of(&readable(document)).once_per_session().is_some()
    }

    /// Returns `{"status": …, "event_id": …}`.
    fn respond(&self, outcome: Outcome, id: &EventId) -> String {
        serde_json::json!({"status": outcome.as_str(), "event_id": id.as_str()}).to_string()
    }

    fn fold(&self, events: &[&Event]) -> Conversation {
        fold::fold(events)
    }

    fn ping(&self, _: &str, at: Timestamp) -> String {
        serde_json::json!({"eventType": "gatehouse.ping", "createdAt": at.to_string()}).to_string()
    }

    fn samples(&self) -> &'static [Sample] {
        &samples::ALL
    }
}
