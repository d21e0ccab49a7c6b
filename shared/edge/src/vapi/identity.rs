//! Which event a Vapi message is: the parts of its id, by type.
//!
//! The parts follow what each type's schema requires and what was seen on the wire; their quality differs. A strong key
//! names a thing that happens once. A weak one is put together from the call, the time and what the message says.

use std::borrow::Cow;

use gatehouse_inbox::{EventId, Fingerprint};
use gatehouse_payload::json::{Document, members};
use gatehouse_payload::time::Timestamp;
use gatehouse_payload::vapi::{COMMON_MEMBERS, Envelope, EventType, Identified, Message, is_volatile};

use super::{Channel, fingerprint};
use crate::{Identity, Verified};

/// Where a `conversation-update` holds the conversation; which of them is filled has changed over time.
const CONVERSATION: [&str; 3] = ["messages", "messagesOpenAIFormatted", "conversation"];

enum Key<'a> {
    Strong(Vec<Cow<'a, str>>),
    Weak(Vec<Cow<'a, str>>),
}

/// `vapi:<channel>:<type>:<parts>`.
///
/// A weak type takes the message id instead, where the signature covers one. Where parts are missing the message's hash
/// and the hour stand in: `…:<sha256>:<2026-04-08T05>`.
#[must_use]
pub fn identify(channel: Channel, document: &Document<'_>, verified: &Verified, received_at: Timestamp) -> Identity {
    let envelope = Envelope::of(document);
    let readable = envelope.readable();
    let message = Message::of(&readable);
    let head = ["vapi", channel.as_str(), message.event_type().unwrap_or("unknown")];
    let id = |parts: &[&str]| EventId::new(&head, parts);

    let key = key(&message, &envelope);
    let own = |parts: Vec<Cow<'_, str>>| id(&parts.iter().map(AsRef::as_ref).collect::<Vec<_>>());
    match (key, &verified.message_id) {
        (Some(Key::Strong(parts)), _) => Identity { id: own(parts), weak: false },
        (_, Some(message_id)) => Identity { id: id(&[message_id]), weak: false },
        (Some(Key::Weak(parts)), None) => Identity { id: own(parts), weak: false },
        (None, None) => {
            let received = received_at.to_string();
            let hour = received.get(..13).unwrap_or_default();
            Identity { id: id(&[&fingerprint(document).to_string(), hour]), weak: true }
        }
    }
}

/// `None` when a part is missing.
fn key<'a>(message: &'a Message<'_>, envelope: &Envelope<'_>) -> Option<Key<'a>> {
    use EventType as E;
    let call = message.call.as_ref().and_then(Identified::id);
    let call_or_none = || call.clone().unwrap_or_default();
    let at = message.occurred_at().map(|at| Cow::from(at.as_millis().to_string()));
    let at_or_none = || at.clone().unwrap_or_default();
    let answered = message.tool_call_result_id();
    let turn = message.turn().map(|turn| Cow::from(turn.to_string()));
    let said = |names: &[&str]| Cow::from(hash_of(envelope, &|name| names.contains(&name)));

    Some(match E::from(message.event_type()?) {
        E::ToolCalls => {
            Key::Strong(with(call_or_none(), sorted(message.tool_call_list.iter().flatten().map(Identified::id))?))
        }
        E::ToolCallsResult if answered.is_some() => Key::Strong(vec![call_or_none(), answered?]),
        E::ChatCreated | E::ChatDeleted => Key::Strong(vec![id_of(&message.chat)?]),
        E::SessionCreated | E::SessionDeleted => Key::Strong(vec![id_of(&message.session)?]),
        E::SessionUpdated => {
            let version = message.session.as_ref()?.updated_at()?;
            Key::Strong(vec![id_of(&message.session)?, version])
        }
        E::EndOfCallReport | E::AssistantRequest | E::CallDeleted | E::CallDeleteFailed => Key::Strong(vec![call?]),
        E::StatusUpdate => Key::Strong(vec![call?, message.status.as_deref()?.into()]),
        E::CampaignPredial => Key::Strong(vec![message.campaign_id.as_deref()?.into(), id_of(&message.contact)?]),
        E::CallArtifactUpload => {
            let kinds = message.artifacts.iter().flatten().map(|artifact| artifact.kind.as_deref().map(Cow::from));
            Key::Strong(with(call?, sorted(kinds)?))
        }
        E::SpeechUpdate => {
            let (role, status) = (message.role.as_deref()?, message.status.as_deref()?);
            turn.as_ref().or(at.as_ref())?;
            Key::Strong(vec![call?, role.into(), status.into(), turn.unwrap_or_default(), at_or_none()])
        }
        E::ConversationUpdate if tells(envelope, &CONVERSATION) => Key::Strong(vec![call?, said(&CONVERSATION)]),
        E::UserInterrupted => Key::Weak(vec![call?, message.turn_id.as_deref().map(Cow::from).or(at)?]),
        E::AssistantSpeechStarted => {
            turn.as_ref().or(at.as_ref())?;
            Key::Weak(vec![call?, turn.unwrap_or_default(), said(&["text", "timing"]), at_or_none()])
        }
        E::ModelOutput => {
            let turn_id = message.turn_id.as_deref().unwrap_or_default();
            Key::Weak(vec![call?, turn_id.into(), said(&["output"]), at?])
        }
        E::Transcript => {
            let (role, kind) = (message.role.as_deref()?, message.transcript_type()?);
            Key::Weak(vec![call?, role.into(), kind.into(), said(&["transcript"]), at?])
        }
        // Also every type added since.
        _ => Key::Weak(vec![call?, at?, hash_of(envelope, &|name| !COMMON_MEMBERS.contains(&name)).into()]),
    })
}

fn id_of<'a>(object: &'a Option<Identified<'_>>) -> Option<Cow<'a, str>> {
    object.as_ref()?.id()
}

/// `None` when there is none, or one is missing or empty.
fn sorted<'a>(ids: impl Iterator<Item = Option<Cow<'a, str>>>) -> Option<Vec<Cow<'a, str>>> {
    let mut ids: Vec<Cow<'a, str>> = ids.map(|id| id.filter(|id| !id.is_empty())).collect::<Option<_>>()?;
    ids.sort_unstable();
    (!ids.is_empty()).then_some(ids)
}

/// Whether one of the named members is there and holds anything.
fn tells(envelope: &Envelope<'_>, names: &[&str]) -> bool {
    let holds = |value: &str| !matches!(value, "null" | "[]" | "{}" | "\"\"");
    members(envelope.text()).iter().any(|(name, value)| names.contains(&name.as_ref()) && holds(value.get()))
}

fn with<'a>(first: Cow<'a, str>, rest: Vec<Cow<'a, str>>) -> Vec<Cow<'a, str>> {
    std::iter::once(first).chain(rest).collect()
}

/// The hash of some of the message's members.
fn hash_of(envelope: &Envelope<'_>, named: &dyn Fn(&str) -> bool) -> String {
    let omit = |path: &[&str], name: &str| (path.is_empty() && !named(name)) || is_volatile(path, name);
    Fingerprint::of(envelope.text(), &omit).to_string()
}
