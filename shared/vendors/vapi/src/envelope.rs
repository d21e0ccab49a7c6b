//! The parts of a Vapi message that identify an event.
//!
//! A message contains no event id. [`Message`] has the members of every documented type from which an id can be
//! derived, and no others.
//!
//! Source: <https://api.vapi.ai/api-json>, <https://docs.vapi.ai/server-url/events> (August 2026), and captured
//! messages. The documents and the captures differ, and the list of types grows several times a year.

use std::borrow::Cow;

use gatehouse_payload::json::{self, Compared, Document, Readable};
use gatehouse_payload::open_enum;
use gatehouse_payload::time::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::tool_calls;

/// The message in a delivery: wrapped in `{"message": …}`, bare, or either of the two inside a JSON string.
#[derive(Debug)]
pub struct Envelope<'a> {
    text: Cow<'a, str>,
    alone: bool,
}

impl<'a> Envelope<'a> {
    /// Finds the message.
    ///
    /// An object is a wrapper if it has no `type` and its member `message` is an object or a string that contains one.
    #[must_use]
    pub fn of(document: &'a Document<'_>) -> Self {
        let picked = json::pick(document.text(), &["message", "type"]);
        let bare = || Envelope { text: Cow::Borrowed(document.text()), alone: true };
        let Some(message) = picked.get("message") else { return bare() };
        if picked.has("type") {
            return bare();
        }
        let alone = picked.members() == 1;
        match Document::from_value(message) {
            Ok(message) => Envelope { text: message.into_text(), alone },
            Err(_) => bare(),
        }
    }

    /// The message's text: a JSON object.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The part of the message's text that [`Message`] can read.
    #[must_use]
    pub fn readable(&self) -> Readable<'_> {
        Self::readable_in(&self.text)
    }

    /// The part of a message's text that [`Message`] can read.
    #[must_use]
    pub fn readable_in(message: &str) -> Readable<'_> {
        Readable::of(message, &MEMBERS, |text| serde_json::from_str::<Message<'_>>(text).is_ok())
    }

    /// Whether the delivery contains only the message: it is bare, or its wrapper has no other members.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.alone
    }
}

/// The members of a message that identify its event.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Message<'a> {
    #[serde(borrow, rename = "type", default)]
    event_type: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    timestamp: Option<&'a RawValue>,
    /// The call as it was when it was created. Present in almost every message.
    #[serde(borrow, default)]
    pub call: Option<Identified<'a>>,
    /// The chat. Present in the `chat.*` messages and in some others.
    #[serde(borrow, default)]
    pub chat: Option<Identified<'a>>,
    /// The session. Present in the `session.*` messages.
    #[serde(borrow, default)]
    pub session: Option<Identified<'a>>,
    /// The status. Present in `status-update` and `speech-update`.
    #[serde(borrow, default)]
    pub status: Option<Cow<'a, str>>,
    /// The speaker: `assistant` or `user`. Present in `speech-update` and `transcript`.
    #[serde(borrow, default)]
    pub role: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    turn: Option<&'a RawValue>,
    /// The id of the turn. Present in `model-output` and `user-interrupted`.
    #[serde(borrow, default)]
    pub turn_id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    transcript_type: Option<Cow<'a, str>>,
    /// The id of the campaign. Present in `campaign.predial`.
    #[serde(borrow, default)]
    pub campaign_id: Option<Cow<'a, str>>,
    /// The contact to call. Present in `campaign.predial`.
    #[serde(borrow, default)]
    pub contact: Option<Identified<'a>>,
    /// The type that is derived from the tool calls of a message without a type.
    #[serde(skip)]
    type_by_calls: Option<&'static str>,
}

/// The members of [`Message`].
const MEMBERS: [&str; 16] = [
    "type",
    "timestamp",
    "call",
    "chat",
    "session",
    "status",
    "role",
    "turn",
    "turnId",
    "transcriptType",
    "campaignId",
    "contact",
    "toolCallList",
    "toolCalls",
    "toolWithToolCallList",
    "functionCall",
];

/// An object with an id.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Identified<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    updated_at: Option<&'a RawValue>,
}

open_enum! {
    /// The documented types of both channels. Types that only the configuration or an SDK names are `Other`.
    EventType {
        AssistantRequest = "assistant-request",
        AssistantSpeechStarted = "assistant.speechStarted",
        AssistantStarted = "assistant.started",
        CallArtifactUpload = "call.artifact.upload",
        CallDeleteFailed = "call.delete.failed",
        CallDeleted = "call.deleted",
        CallEndpointingRequest = "call.endpointing.request",
        CampaignPredial = "campaign.predial",
        ChatCreated = "chat.created",
        ChatDeleted = "chat.deleted",
        ConversationUpdate = "conversation-update",
        EndOfCallReport = "end-of-call-report",
        FunctionCall = "function-call",
        Hang = "hang",
        HandoffDestinationRequest = "handoff-destination-request",
        KnowledgeBaseRequest = "knowledge-base-request",
        LanguageChangeDetected = "language-change-detected",
        Metadata = "metadata",
        ModelOutput = "model-output",
        PhoneCallControl = "phone-call-control",
        SessionCreated = "session.created",
        SessionDeleted = "session.deleted",
        SessionUpdated = "session.updated",
        SpeechUpdate = "speech-update",
        StatusUpdate = "status-update",
        ToolCalls = "tool-calls",
        ToolCallsResult = "tool-calls-result",
        Transcript = "transcript",
        TransferDestinationRequest = "transfer-destination-request",
        TransferUpdate = "transfer-update",
        UserInterrupted = "user-interrupted",
        VoiceInput = "voice-input",
        VoiceRequest = "voice-request",
        WorkflowNodeStarted = "workflow.node.started",
    }
}

/// The second documented type of final transcripts.
pub const FINAL_TRANSCRIPT: &str = r#"transcript[transcriptType="final"]"#;

impl<'a> Message<'a> {
    /// Reads a message's members.
    #[must_use]
    pub fn of(readable: &'a Readable<'_>) -> Self {
        let mut message: Self = serde_json::from_str(readable.text()).unwrap_or_default();
        if message.event_type.as_deref().is_none_or(str::is_empty) {
            message.type_by_calls = tool_calls::ToolCalls::type_of(readable.text());
        }
        message
    }

    /// The name of the type. `transcript[transcriptType="final"]` counts as `transcript`. A message without a type gets
    /// it from its tool calls, since `tool-calls` is the only type that Vapi's schema allows to be absent.
    #[must_use]
    pub fn event_type(&self) -> Option<&str> {
        match self.event_type.as_deref().filter(|name| !name.is_empty()) {
            Some(FINAL_TRANSCRIPT) => Some("transcript"),
            Some(name) => Some(name),
            None => self.type_by_calls,
        }
    }

    /// `partial` or `final`, from the member `transcriptType` or else from the type's name.
    #[must_use]
    pub fn transcript_type(&self) -> Option<&str> {
        let from_type = (self.event_type.as_deref() == Some(FINAL_TRANSCRIPT)).then_some("final");
        self.transcript_type.as_deref().or(from_type)
    }

    /// The number of the turn, from 0. Present in `speech-update` and `assistant.speechStarted`.
    #[must_use]
    pub fn turn(&self) -> Option<u64> {
        self.turn?.get().parse().ok()
    }

    /// The time of the event: milliseconds since the epoch, or ISO 8601 as in 2024.
    #[must_use]
    pub fn occurred_at(&self) -> Option<Timestamp> {
        Timestamp::from_json(self.timestamp?)
    }
}

impl<'a> Identified<'a> {
    /// The id; `None` if it is missing or empty.
    #[must_use]
    pub fn id(&self) -> Option<Cow<'a, str>> {
        json::id(self.id)
    }

    /// The time of the last change of a session, which identifies the version of its state.
    #[must_use]
    pub fn updated_at(&self) -> Option<Cow<'a, str>> {
        json::id(self.updated_at)
    }
}

/// The members that a message of any type may have. All others belong to one type.
pub const COMMON_MEMBERS: [&str; 9] =
    ["type", "timestamp", "phoneNumber", "assistantVersion", "call", "customer", "assistant", "artifact", "chat"];

/// The part of a member that counts when two deliveries are compared.
///
/// The URLs in an artifact are signed again for each delivery, so their query and their expiry time are ignored. `path`
/// leads to the member's object, from the message or from its wrapper.
#[must_use]
pub fn compared(path: &[&str], name: &str) -> Compared {
    let path = path.strip_prefix(&["message"]).unwrap_or(path);
    let in_artifact = matches!(path, ["artifact"] | ["call" | "chat" | "session", "artifact"]);
    match name {
        "presignedUrlsExpiresAt" if in_artifact => Compared::IsText,
        name if in_artifact && name.starts_with("presigned") && name.ends_with("Url") => Compared::WithoutQuery,
        _ => Compared::Whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn type_of(body: &str) -> String {
        let document = Document::read(body.as_bytes()).unwrap();
        let envelope = Envelope::of(&document);
        Message::of(&envelope.readable()).event_type().unwrap_or("none").to_owned()
    }

    #[test]
    fn message_is_found_wrapped_bare_and_double_encoded() {
        for body in [
            r#"{"message":{"type":"hang"}}"#,
            r#"{"type":"hang"}"#,
            r#""{\"message\":{\"type\":\"hang\"}}""#,
            r#""{\"type\":\"hang\"}""#,
            r#"{"message":"{\"type\":\"hang\"}"}"#,
            r#"{"type":"hang","message":{"type":"other"}}"#,
        ] {
            assert_eq!(type_of(body), "hang", "{body}");
        }
        for body in [r#"{"message":5}"#, r#"{"message":[{}]}"#, "{}", r#"{"message":{}}"#] {
            assert_eq!(type_of(body), "none", "{body}");
        }
    }

    #[test]
    fn other_members_of_the_wrapper_are_detected() {
        let alone = |body: &str| Envelope::of(&Document::read(body.as_bytes()).unwrap()).is_alone();
        assert!(alone(r#"{"message":{"type":"hang"}}"#));
        assert!(!alone(r#"{"message":{"type":"hang"},"note":1}"#));
    }

    #[test]
    fn both_names_of_final_transcripts_are_one_type() {
        assert_eq!(type_of(r#"{"type":"transcript[transcriptType=\"final\"]"}"#), "transcript");
        let document = Document::read(br#"{"type":"transcript[transcriptType=\"final\"]"}"#).unwrap();
        let envelope = Envelope::of(&document);
        assert_eq!(Message::of(&envelope.readable()).transcript_type(), Some("final"));
    }

    #[test]
    fn tool_calls_without_a_type_are_recognized() {
        assert_eq!(type_of(r#"{"message":{"toolCallList":[{"id":"call_1"}]}}"#), "tool-calls");
    }

    #[test]
    fn invalid_member_does_not_hide_the_others() {
        let body =
            r#"{"type":"end-of-call-report","role":7,"session":"s","call":{"id":"c1","updatedAt":1750314425860}}"#;
        let document = Document::read(body.as_bytes()).unwrap();
        let envelope = Envelope::of(&document);
        let readable = envelope.readable();
        let message = Message::of(&readable);
        assert!(!readable.is_complete());
        assert_eq!(
            (message.event_type(), message.call.as_ref().unwrap().id().unwrap().as_ref()),
            (Some("end-of-call-report"), "c1")
        );
    }

    #[test]
    fn only_presigned_urls_in_an_artifact_are_volatile() {
        assert_eq!(compared(&["artifact"], "presignedMonoUrl"), Compared::WithoutQuery);
        assert_eq!(compared(&["message", "call", "artifact"], "presignedUrlsExpiresAt"), Compared::IsText);
        assert_eq!(compared(&[], "presignedMonoUrl"), Compared::Whole);
        assert_eq!(compared(&["artifact"], "recordingUrl"), Compared::Whole);
        assert_eq!(
            compared(&["toolCallList", "function", "arguments", "artifact"], "presignedMonoUrl"),
            Compared::Whole
        );
    }

    #[test]
    fn every_member_is_read_if_another_is_invalid() {
        // A member that is missing in `MEMBERS` would be lost if another member were invalid.
        for (member, invalid) in [("status", "role"), ("role", "status"), ("turnId", "role"), ("campaignId", "role")] {
            let text = format!(r#"{{"{member}":"x","{invalid}":7}}"#);
            assert!(Envelope::readable_in(&text).text().contains(member), "{member}");
        }
        for member in ["call", "chat", "session", "contact"] {
            let text = format!(r#"{{"{member}":{{"id":"x"}},"role":7}}"#);
            assert!(Envelope::readable_in(&text).text().contains(member), "{member}");
        }
        for member in ["timestamp", "turn"] {
            assert!(Envelope::readable_in(&format!(r#"{{"{member}":1,"role":7}}"#)).text().contains(member));
        }
    }
}
