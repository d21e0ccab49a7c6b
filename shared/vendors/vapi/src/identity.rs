//! Which event a Vapi message is.
//!
//! A message carries no event id. What stands for it depends on what a type's messages are for ([`Class`]): whether
//! Vapi itself names what happened, whether somebody waits for an answer, or whether a message only informs.

use std::borrow::Cow;

use gatehouse_payload::json::{Compared, Document};
use gatehouse_payload::{EventId, Fingerprint, Nonce};
use gatehouse_vendor::{Identity, Proof};

use crate::channel::Channel;
use crate::envelope::{COMMON_MEMBERS, Envelope, EventType, Identified, Message, compared};
use crate::tool_calls::ToolCalls;

/// How the deliveries of a type are told apart. `docs/table.md` lists the class of every type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Vapi names what happened, and it happens once: a chat, a session and its version, a call's deletion.
    NamedOnce,
    /// Somebody waits for an answer, or something is done. The same question is one event whatever its time, and every
    /// delivery of it gets the first answer.
    Answered,
    /// A message that only informs: a copy that differs in anything is an event of its own.
    Informs,
    /// A piece of a stream: every delivery is an event of its own, since equal pieces may follow each other.
    Streamed,
}

impl Class {
    /// The class of a type's messages. A type that is not known only informs.
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

    /// The class as `docs/table.md` names it.
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

/// Names the event: `vapi:<channel>:<type>:<parts>`. The parts are, in this order:
///
/// 1. of an `assistant-request`, the call, which has one;
/// 2. the message id, where the signature covers one;
/// 3. what Vapi names ([`Class::NamedOnce`]), or what is asked ([`Class::Answered`]);
/// 4. the call (or chat, or session), the time and the fingerprint of everything the message says; of a piece of a stream
///    the delivery's nonce too. Without a call or a time such an id is weak: two occurrences may have the same.
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
    let own = key(&message, &envelope);
    match (own, &proof.message_id) {
        (Some(parts), None) => strong(&refs(&parts)),
        (Some(parts), Some(_)) if event_type == Some("assistant-request") => strong(&refs(&parts)),
        (_, Some(message_id)) => strong(&[message_id]),
        (None, None) => {
            let about = [&message.call, &message.chat, &message.session];
            let about = about.into_iter().flatten().find_map(Identified::id);
            let at = message.occurred_at().map(|at| at.as_millis().to_string());
            let weak = about.is_none() || at.is_none();
            let (about, at) = (about.unwrap_or_default(), at.unwrap_or_default());
            let (fingerprint, nonce) = (fingerprint.to_string(), nonce.to_string());
            let mut parts = vec![about.as_ref(), at.as_str(), fingerprint.as_str()];
            if event_type.map(Class::of) == Some(Class::Streamed) {
                parts.push(nonce.as_str());
            }
            Identity { id: id(channel, event_type, &parts), weak }
        }
    }
}

/// Whether every delivery under this id asks the same question, so that a different body is a duplicate and no
/// conflict. The id tells: one that is made of a signed message id has one part behind the type.
#[must_use]
pub fn is_one_question(event_type: Option<&str>, event_id: &EventId) -> bool {
    let Some(event_type) = event_type.filter(|name| Class::of(name) == Class::Answered) else { return false };
    let parts: Vec<&str> = event_id.as_str().split(':').skip(3).collect();
    match parts.as_slice() {
        // What is too long for an id stands there as a hash.
        [one] => event_type == "assistant-request" || one.starts_with("parts-sha256="),
        _ => true,
    }
}

fn id(channel: Channel, event_type: Option<&str>, parts: &[&str]) -> EventId {
    EventId::new(&["vapi", channel.as_str(), event_type.unwrap_or("unknown")], parts)
}

fn refs<'p>(parts: &'p [Cow<'_, str>]) -> Vec<&'p str> {
    parts.iter().map(AsRef::as_ref).collect()
}

/// What Vapi names, or what is asked. `None` for the other classes, and where a part is missing.
fn key<'a>(message: &'a Message<'_>, envelope: &Envelope<'_>) -> Option<Vec<Cow<'a, str>>> {
    use EventType as E;
    let call = message.call.as_ref().and_then(Identified::id);
    let about = call.clone().or_else(|| id_of(&message.chat)).or_else(|| id_of(&message.session));
    let event_type = message.event_type()?;
    let parts = match E::from(event_type) {
        E::ChatCreated | E::ChatDeleted => vec![id_of(&message.chat)?],
        E::SessionCreated | E::SessionDeleted => vec![id_of(&message.session)?],
        E::SessionUpdated => vec![id_of(&message.session)?, message.session.as_ref()?.updated_at()?],
        E::CallDeleted | E::AssistantRequest => vec![call?],
        E::CampaignPredial => vec![message.campaign_id.as_deref()?.into(), id_of(&message.contact)?],
        E::ToolCalls | E::FunctionCall => called(message, envelope, about)?,
        _ if Class::of(event_type) == Class::Answered => {
            let own = |path: &[&str], name: &str| match path {
                [] if COMMON_MEMBERS.contains(&name) => Compared::Not,
                _ => compared(path, name),
            };
            vec![about?, Fingerprint::of_selected(envelope.text(), &own).to_string().into()]
        }
        _ => return None,
    };
    Some(parts)
}

/// The call (or chat, or session), the ids of its tool calls, and what they call with what. Where no id names its
/// call, the time as well: without that, or without a call, nothing tells one question from the next.
fn called<'a>(
    message: &Message<'_>,
    envelope: &Envelope<'_>,
    about: Option<Cow<'a, str>>,
) -> Option<Vec<Cow<'a, str>>> {
    let mut calls = ToolCalls::of(envelope.text()).calls;
    if calls.is_empty() {
        return None;
    }
    calls.sort_by_cached_key(|call| call.identity());
    let at = if calls.iter().any(|call| call.has_unique_id()) {
        None
    } else {
        about.as_ref()?;
        Some(Cow::Owned(message.occurred_at()?.as_millis().to_string()))
    };
    let asked: Vec<String> = calls.iter().map(|call| call.identity()).collect();
    let asked = Fingerprint::of(&format!("[{}]", asked.join(","))).to_string();
    let ids = calls.into_iter().map(|call| Cow::Owned(call.id));
    Some([about.unwrap_or_default()].into_iter().chain(ids).chain([asked.into()]).chain(at).collect())
}

fn id_of<'a>(object: &'a Option<Identified<'_>>) -> Option<Cow<'a, str>> {
    object.as_ref()?.id()
}
