//! The identity of the event in a Vapi message.
//!
//! A message contains no event id. The id is built from other members. These depend on the [`Class`] of the message's
//! type.

use std::borrow::Cow;

use gatehouse_payload::json::{Compared, Document};
use gatehouse_payload::{EventId, Fingerprint, Nonce};
use gatehouse_vendor::{Identity, Proof};

use crate::channel::Channel;
use crate::envelope::{COMMON_MEMBERS, Envelope, EventType, Identified, Message, compared};
use crate::tool_calls::ToolCalls;

/// The kind of a message type, which determines how event ids are built. `docs/table.md` lists the class of every type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Vapi identifies the event, which happens once: the creation or deletion of a chat or session, a version of a
    /// session, the deletion of a call.
    NamedOnce,
    /// Vapi waits for an answer, or the message causes an action. The same question is one event even if its time
    /// differs. Every delivery of it gets the first answer.
    Answered,
    /// The message only informs. A delivery with another fingerprint is another event.
    Informs,
    /// The message is a piece of a stream. Every delivery is another event, since equal pieces may follow each other.
    Streamed,
}

impl Class {
    /// Returns the class of a type. The messages of an unknown type only inform.
    #[must_use]
    pub fn of(event_type: &str) -> Self {
        use EventType as E;
        match E::from(event_type) {
            E::ChatCreated
            | E::ChatDeleted
            | E::SessionCreated
            | E::SessionUpdated
            | E::SessionDeleted
            | E::CallDeleted => Class::NamedOnce,
            E::AssistantRequest
            | E::CallEndpointingRequest
            | E::CampaignPredial
            | E::FunctionCall
            | E::HandoffDestinationRequest
            | E::KnowledgeBaseRequest
            | E::PhoneCallControl
            | E::ToolCalls
            | E::TransferDestinationRequest
            | E::VoiceRequest => Class::Answered,
            E::ModelOutput | E::VoiceInput => Class::Streamed,
            _ => Class::Informs,
        }
    }

    /// Returns the name of the class in `docs/table.md`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Class::NamedOnce => "named once",
            Class::Answered => "answered or acted on",
            Class::Informs => "only informs",
            Class::Streamed => "only informs, piece of a stream",
        }
    }
}

/// Returns the identity of the event: `vapi:<channel>:<type>:<parts>`. The parts are the first of these that exists:
///
/// 1. for an `assistant-request`, the call, because a call has only one such request;
/// 2. the message id, if the signature covers one;
/// 3. the ids that Vapi assigns ([`Class::NamedOnce`]), or the question ([`Class::Answered`]);
/// 4. the call (or chat, or session), the time and the message's fingerprint; for a piece of a stream also the
///    delivery's nonce. Without a call or a time, such an id is weak: two occurrences may have the same id.
#[must_use]
pub fn identify(
    channel: Channel,
    document: &Document<'_>,
    proof: &Proof,
    fingerprint: &Fingerprint,
    nonce: &Nonce,
) -> Identity {
    let envelope = Envelope::of(document);
    let readable = envelope.readable();
    let message = Message::of(&readable);
    let event_type = message.event_type();
    let strong = |parts: &[&str]| Identity { id: id(channel, event_type, parts), weak: false };
    match (natural_key(&message, &envelope), &proof.message_id) {
        (Some(parts), None) => strong(&as_strs(&parts)),
        (Some(parts), Some(_)) if event_type == Some("assistant-request") => strong(&as_strs(&parts)),
        (_, Some(message_id)) => strong(&[message_id]),
        (None, None) => {
            let subjects = [&message.call, &message.chat, &message.session];
            let subject_id = subjects.into_iter().flatten().find_map(Identified::id);
            let at = message.occurred_at().map(|at| at.as_millis().to_string());
            let weak = subject_id.is_none() || at.is_none();
            let (subject_id, at) = (subject_id.unwrap_or_default(), at.unwrap_or_default());
            let (fingerprint, nonce) = (fingerprint.to_string(), nonce.to_string());
            let mut parts = vec![subject_id.as_ref(), at.as_str(), fingerprint.as_str()];
            if event_type.map(Class::of) == Some(Class::Streamed) {
                parts.push(nonce.as_str());
            }
            Identity { id: id(channel, event_type, &parts), weak }
        }
    }
}

/// Whether every delivery with this id asks the same question. A different body is then a duplicate, and not a
/// conflict. An id that is built from a signed message id has one part after the type.
#[must_use]
pub fn is_one_question(event_type: Option<&str>, event_id: &EventId) -> bool {
    let Some(event_type) = event_type.filter(|name| Class::of(name) == Class::Answered) else { return false };
    let parts: Vec<&str> = event_id.as_str().split(':').skip(3).collect();
    match parts.as_slice() {
        // Parts that are too long for an id are replaced by one hash.
        [part] => event_type == "assistant-request" || part.starts_with("parts-sha256="),
        _ => true,
    }
}

fn id(channel: Channel, event_type: Option<&str>, parts: &[&str]) -> EventId {
    EventId::new(&["vapi", channel.as_str(), event_type.unwrap_or("unknown")], parts)
}

fn as_strs<'p>(parts: &'p [Cow<'_, str>]) -> Vec<&'p str> {
    parts.iter().map(AsRef::as_ref).collect()
}

/// Returns the members that identify the event or the question. `None` for a class without such members, or if one is
/// missing.
fn natural_key<'a>(message: &'a Message<'_>, envelope: &Envelope<'_>) -> Option<Vec<Cow<'a, str>>> {
    use EventType as E;
    let call = message.call.as_ref().and_then(Identified::id);
    let subject_id = call.clone().or_else(|| id_of(&message.chat)).or_else(|| id_of(&message.session));
    let event_type = message.event_type()?;
    let parts = match E::from(event_type) {
        E::ChatCreated | E::ChatDeleted => vec![id_of(&message.chat)?],
        E::SessionCreated | E::SessionDeleted => vec![id_of(&message.session)?],
        E::SessionUpdated => vec![id_of(&message.session)?, message.session.as_ref()?.updated_at()?],
        E::CallDeleted | E::AssistantRequest => vec![call?],
        E::CampaignPredial => vec![message.campaign_id.as_deref()?.into(), id_of(&message.contact)?],
        E::ToolCalls | E::FunctionCall => tool_call_key(message, envelope, subject_id)?,
        _ if Class::of(event_type) == Class::Answered => {
            let compared = |path: &[&str], name: &str| match path {
                [] if COMMON_MEMBERS.contains(&name) => Compared::Not,
                _ => compared(path, name),
            };
            vec![subject_id?, Fingerprint::of_selected(envelope.text(), &compared).to_string().into()]
        }
        _ => return None,
    };
    Some(parts)
}

/// Returns the call (or chat, or session), the ids of its tool calls, and the fingerprint of the tool calls. The time
/// is added if no tool call has a unique id; `None` if it is then missing, or if the call is.
fn tool_call_key<'a>(
    message: &Message<'_>,
    envelope: &Envelope<'_>,
    subject_id: Option<Cow<'a, str>>,
) -> Option<Vec<Cow<'a, str>>> {
    let mut calls = ToolCalls::of(envelope.text()).calls;
    if calls.is_empty() {
        return None;
    }
    calls.sort_by_cached_key(|call| call.identity());
    let at = if calls.iter().any(|call| call.has_unique_id()) {
        None
    } else {
        subject_id.as_ref()?;
        Some(Cow::Owned(message.occurred_at()?.as_millis().to_string()))
    };
    let identities: Vec<String> = calls.iter().map(|call| call.identity()).collect();
    let fingerprint = Fingerprint::of(&format!("[{}]", identities.join(","))).to_string();
    let ids = calls.into_iter().map(|call| Cow::Owned(call.id));
    Some([subject_id.unwrap_or_default()].into_iter().chain(ids).chain([fingerprint.into()]).chain(at).collect())
}

fn id_of<'a>(object: &'a Option<Identified<'_>>) -> Option<Cow<'a, str>> {
    object.as_ref()?.id()
}
