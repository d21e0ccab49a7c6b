//! The record of a chat turn, as `agent-chat` writes it: an event that no vendor delivers.

use gatehouse_payload::event::{CHAT, FORMER_CHAT, present_source};
use gatehouse_payload::json::{self, Document};
use gatehouse_payload::time::Timestamp;
use gatehouse_payload::{Event, EventId, Fingerprint, Nonce, Outcome, Subject};
use gatehouse_vendor::{
    Conversation, Credentials, CredentialsShape, Identity, Parsed, PartReader, PartSpec, Parts, Profile, Proof, Reason,
    Rejection, Sample, SchemeSummary, Source, Unverified, Verified,
};

/// The source of chat turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AgKit;

const PROFILE: Profile = Profile {
    name: CHAT,
    vendor: CHAT,
    about: "chat turn",
    function: "agent-chat",
    paths: &["/v1/aibot/bots/<AgentId>/send-message"],
    secrets: PartSpec { name: "agent_chat", development: include_str!("../development.json") },
    shape: CredentialsShape::Nothing,
    stateful: &["conversation"],
    command: Some("conversations"),
    lifecycle: None,
    expects_reply: false,
    steps: &["Use the URL in your front end. Clients and agents: docs/chat.md"],
};

impl Source for AgKit {
    fn profile(&self) -> &'static Profile {
        &PROFILE
    }

    fn credentials(&self, _: &mut PartReader<'_>) -> Box<dyn Credentials> {
        Box::new(NotDelivered)
    }

    /// Reads the type, the conversation and the start.
    fn parse(&self, turn: &Document<'_>) -> Parsed {
        let text = |name| json::text_member(turn.text(), name);
        Parsed {
            event_type: text("type"),
            subject: text("conversation").map(|id| subject(&id)),
            occurred_at: text("began_at").and_then(|at| Timestamp::parse(&at)),
            unparsed: false,
        }
    }

    fn owns(&self, id: &EventId) -> bool {
        present_source(id.vendor()) == CHAT
    }

    /// Returns `chat:<turn id>`.
    fn identify(&self, turn: &Document<'_>, _: &Proof, _: &Fingerprint, _: &Nonce) -> Identity {
        let turn_id = json::text_member(turn.text(), "turn_id").unwrap_or_default();
        Identity { id: event_id(&turn_id), weak: false }
    }

    fn respond(&self, _: Outcome, _: &EventId) -> String {
        "{}".to_owned()
    }

    fn fold(&self, events: &[&Event]) -> Conversation {
        crate::fold::fold(events)
    }

    fn ping(&self, _: &str, _: Timestamp) -> String {
        "{}".to_owned()
    }

    fn samples(&self) -> &'static [Sample] {
        &[]
    }
}

/// Returns the subject of a conversation's turns.
#[must_use]
pub fn subject(conversation: &str) -> Subject {
    Subject::new(PROFILE.vendor, "conversation", conversation)
}

/// Returns the event id of a turn: `chat:<turn id>`.
#[must_use]
pub fn event_id(turn_id: &str) -> EventId {
    id_of(CHAT, turn_id)
}

/// Returns the event id under which an earlier release recorded a turn: `ag-kit:<turn id>`.
#[must_use]
pub fn former_event_id(turn_id: &str) -> EventId {
    id_of(FORMER_CHAT, turn_id)
}

fn id_of(source: &str, turn_id: &str) -> EventId {
    // The parts of Gatehouse's own turn ids are escaped already. Any other id is escaped as a whole.
    if turn_id.len() <= 2000 && turn_id.bytes().all(|byte| byte.is_ascii_graphic()) {
        EventId::from_stored(format!("{source}:{turn_id}"))
    } else {
        EventId::new(&[source], &[turn_id])
    }
}

/// Credentials that accept nothing: turns come from `agent-chat` and are never delivered.
#[derive(Debug)]
struct NotDelivered;

impl Credentials for NotDelivered {
    fn schemes(&self) -> Vec<SchemeSummary> {
        Vec::new()
    }

    fn verify<'r>(&self, _: Unverified<'r>, _: Timestamp) -> Result<Verified<'r>, Rejection> {
        let detail = "chat turns are not delivered; they come from agent-chat";
        Err(Rejection::new(Reason::Unsigned, detail.to_owned()))
    }

    fn sign(&self, _: Parts<'_>, _: &str, _: Timestamp) -> Option<Vec<(String, String)>> {
        None
    }
}
