#![doc = include_str!("../README.md")]

mod channel;
mod credentials;
mod envelope;
mod fold;
mod identity;
pub mod inbound;
pub mod response;
pub mod samples;
pub mod scheme;
pub mod tool_calls;
pub mod types;

pub use channel::Channel;
pub use credentials::Schemes;
pub use envelope::{COMMON_MEMBERS, Envelope, EventType, FINAL_TRANSCRIPT, Identified, Message, compared};
use gatehouse_payload::json::{Compared, Document};
use gatehouse_payload::time::Timestamp;
use gatehouse_payload::{Event, EventId, Fingerprint, Nonce, Outcome, Subject};
use gatehouse_vendor::{
    Conversation, Credentials, CredentialsShape, Identity, Lifecycle, Parsed, PartReader, PartSpec, Profile, Proof,
    Sample, SecretsPart, Source, Vendor,
};
pub use identity::{Class, identify, is_one_question};

/// Vapi's messages of one channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Vapi(pub Channel);

impl Vapi {
    /// Client messages.
    pub const CLIENT: Vapi = Vapi(Channel::Client);
    /// Server messages.
    pub const SERVER: Vapi = Vapi(Channel::Server);
}

const VENDOR: &str = "vapi";
const SECRETS: PartSpec = PartSpec { name: VENDOR, development: include_str!("../development.json") };

const CLIENT: Profile = Profile {
    name: "vapi-client",
    vendor: VENDOR,
    about: "Vapi client message",
    function: "client-message",
    paths: &["/client"],
    secrets: SECRETS,
    shape: CredentialsShape::Schemes,
    stateful: &["call", "chat", "session"],
    command: Some("calls"),
    lifecycle: Some(Lifecycle { created: None, ended: "end-of-call-report" }),
    expects_reply: true,
    steps: &["Use the URL in clients that post Vapi's client messages, with the same credential. More: docs/vapi.md"],
};

const SERVER: Profile = Profile {
    name: "vapi-server",
    about: "Vapi server message",
    function: "server-message",
    paths: &["/server", "/"],
    steps: &[
        "Enter the URL in the Vapi dashboard as Server URL of the assistant, phone number or organisation.",
        "Give the Server URL a credential.",
        "Create and store the credential's token: gatehouse secrets set vapi --new",
        "Set server.backoffPlan: without it Vapi never retries a failed delivery.",
        "More, and the messages to unselect: docs/vapi.md",
    ],
    ..CLIENT
};

impl Vendor for Vapi {
    type Credentials = Schemes;
}

impl Source for Vapi {
    fn profile(&self) -> &'static Profile {
        match self.0 {
            Channel::Client => &CLIENT,
            Channel::Server => &SERVER,
        }
    }

    fn credentials(&self, part: &mut PartReader<'_>) -> Box<dyn Credentials> {
        Box::new(Schemes::read(part))
    }

    /// Reads the type, the call (or chat, or session) and the time.
    fn parse(&self, document: &Document<'_>) -> Parsed {
        let envelope = Envelope::of(document);
        let readable = envelope.readable();
        let message = Message::of(&readable);
        Parsed {
            event_type: message.event_type().map(str::to_owned),
            subject: subject(&message),
            occurred_at: message.occurred_at(),
            unparsed: !readable.is_complete(),
        }
    }

    fn fingerprint(&self, document: &Document<'_>) -> Fingerprint {
        fingerprint(document)
    }

    fn identify(&self, document: &Document<'_>, proof: &Proof, fingerprint: &Fingerprint, nonce: &Nonce) -> Identity {
        identify(self.0, document, proof, fingerprint, nonce)
    }

    fn is_one_question(&self, event_type: Option<&str>, id: &EventId) -> bool {
        is_one_question(event_type, id)
    }

    /// Whether the id begins with `vapi:<channel>:`.
    fn owns(&self, id: &EventId) -> bool {
        Channel::of(id) == Some(self.0)
    }

    fn id_is_in_body(&self, document: &Document<'_>, id: &EventId) -> bool {
        let event_type = self.parse(document).event_type.unwrap_or_default();
        let is_one_part = id.as_str().split(':').count() == 4;
        !is_one_part || Class::of(&event_type) == Class::NamedOnce || event_type == "assistant-request"
    }

    /// Returns `{}`, which is an empty reply for Vapi.
    fn respond(&self, _: Outcome, _: &EventId) -> String {
        "{}".to_owned()
    }

    fn fold(&self, events: &[&Event]) -> Conversation {
        fold::fold(events)
    }

    fn ping(&self, id: &str, at: Timestamp) -> String {
        let message = serde_json::json!({"type": "gatehouse.ping", "timestamp": at.as_millis(), "call": {"id": id}});
        serde_json::json!({ "message": message }).to_string()
    }

    fn samples(&self) -> &'static [Sample] {
        match self.0 {
            Channel::Client => &samples::CLIENT,
            Channel::Server => &samples::SERVER,
        }
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
    by_relevance.into_iter().find_map(|(kind, object)| Some(Subject::new("vapi", kind, &object?.id()?)))
}

/// Computes the fingerprint of the message and the other members of its wrapper.
///
/// For [`Class::NamedOnce`], the fingerprint is that of the message without its time and its snapshots, which differ in
/// a resend.
fn fingerprint(document: &Document<'_>) -> Fingerprint {
    let envelope = Envelope::of(document);
    let named = {
        let readable = envelope.readable();
        Message::of(&readable).event_type().filter(|name| Class::of(name) == Class::NamedOnce).map(str::to_owned)
    };
    if let Some(event_type) = named {
        let object = event_type.split('.').next().unwrap_or_default();
        let compared = |path: &[&str], name: &str| match path {
            [] if name != object && COMMON_MEMBERS.contains(&name) => Compared::Not,
            _ => compared(path, name),
        };
        return Fingerprint::of_selected(envelope.text(), &compared);
    }
    let text = if envelope.is_alone() { envelope.text() } else { document.text() };
    Fingerprint::of_selected(text, &compared)
}
