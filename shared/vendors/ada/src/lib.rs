#![doc = include_str!("../README.md")]

mod envelope;
mod fold;
pub mod samples;

pub use envelope::{Data, Envelope, EventType, readable};
use gatehouse_payload::json::Document;
use gatehouse_payload::{Event, EventId, Fingerprint, Nonce, Outcome, Subject};
use gatehouse_vendor::signature::SigningKeys;
use gatehouse_vendor::{
    Conversation, Credentials, CredentialsShape, Identity, Lifecycle, Parsed, PartReader, PartSpec, Profile, Proof,
    Sample, SecretsPart, Source, Vendor,
};

/// Ada's conversation and end-user webhooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ada;

const PROFILE: Profile = Profile {
    name: "ada",
    vendor: "ada",
    about: "Ada conversation or end-user webhook",
    function: "conversation-webhooks",
    paths: &["/"],
    secrets: PartSpec { name: "ada", development: include_str!("../development.json") },
    shape: CredentialsShape::SigningSecrets,
    stateful: &["conversation"],
    command: Some("conversations"),
    lifecycle: Some(Lifecycle { created: Some("v1.conversation.created"), ended: "v1.conversation.ended" }),
    expects_reply: false,
    steps: &[
        "Add the URL as a webhook endpoint in Ada's dashboard, or with POST /v2/webhooks/ of Ada's API.",
        "Set no event filter to receive all events.",
        "Store the endpoint's signing secret: gatehouse secrets set ada",
        "More: docs/ada.md",
    ],
};

impl Vendor for Ada {
    type Credentials = SigningKeys;
}

impl Source for Ada {
    fn profile(&self) -> &'static Profile {
        &PROFILE
    }

    fn credentials(&self, part: &mut PartReader<'_>) -> Box<dyn Credentials> {
        Box::new(SigningKeys::read(part))
    }

    /// Reads the type, the conversation (or end user) and the time.
    fn parse(&self, document: &Document<'_>) -> Parsed {
        let readable = readable(document);
        let envelope = Envelope::of(&readable);
        Parsed {
            occurred_at: envelope.occurred_at(),
            subject: envelope.data.as_ref().and_then(subject),
            event_type: envelope.event_type.map(Into::into),
            unparsed: !readable.is_complete(),
        }
    }

    /// Returns `ada:<message id>`, which is the same for every retry and resend. The body has no id.
    fn identify(&self, _: &Document<'_>, proof: &Proof, _: &Fingerprint, _: &Nonce) -> Identity {
        let message_id = proof.message_id.as_deref().unwrap_or_default();
        Identity { id: EventId::new(&[PROFILE.vendor], &[message_id]), weak: false }
    }

    /// Returns `{"status": …, "event_id": …}`.
    fn respond(&self, outcome: Outcome, id: &EventId) -> String {
        serde_json::json!({"status": outcome.as_str(), "event_id": id.as_str()}).to_string()
    }

    fn fold(&self, events: &[&Event]) -> Conversation {
        fold::fold(events)
    }

    fn ping(&self, _: &str, at: gatehouse_payload::time::Timestamp) -> String {
        serde_json::json!({"type": "gatehouse.ping", "timestamp": at.to_string(), "data": {}}).to_string()
    }

    fn samples(&self) -> &'static [Sample] {
        &samples::ALL
    }
}

fn subject(data: &Data<'_>) -> Option<Subject> {
    let conversation = data.conversation_id().map(|id| Subject::new(PROFILE.vendor, "conversation", &id));
    conversation.or_else(|| data.end_user_id().map(|id| Subject::new(PROFILE.vendor, "end-user", &id)))
}
