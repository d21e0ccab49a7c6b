//! The objects that Vapi's messages are made of.
//!
//! Source: `Call`, `CreateCustomerDTO`, `Artifact`, `Chat`, `Session` and the telephone numbers of Vapi's OpenAPI
//! document (<https://api.vapi.ai/api-json>, August 2026), and captures. A member is optional unless its documentation
//! says "required". In captures, unset members are often `null`, while the schema omits them.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use gatehouse_payload::time::Timestamp;
use gatehouse_payload::wire::{Item, JsonObject, Number, Raw, TextOr, Undocumented};
use gatehouse_payload::{open_enum, open_struct, open_union};

use super::assistant::{Assistant, Squad};
use super::conversation::{Entry, OpenAiMessage};
use super::transfer::TransferDestination;

/// A time in milliseconds since 1970, sometimes with a fraction; ISO 8601 in 2024.
#[derive(Debug, Clone, PartialEq)]
pub struct Time(Raw);

impl Time {
    /// The point in time; `None` if it cannot be read or is outside 2000–2100.
    #[must_use]
    pub fn moment(&self) -> Option<Timestamp> {
        let raw: &serde_json::value::RawValue = serde_json::from_str(self.0.text()).ok()?;
        Timestamp::from_json(raw)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let raw = Raw::deserialize(deserializer)?;
        let fits = raw.text().starts_with(|c: char| c == '"' || c == '-' || c.is_ascii_digit());
        if fits { Ok(Time(raw)) } else { Err(D::Error::custom("neither a number nor a string")) }
    }
}

impl Undocumented for Time {
    fn undocumented(&self, _: &str, _: &mut Vec<String>) {}
}

open_struct! {
    /// A call as it was when it was created. It is the same in every message of the call, including its `status`. Use
    /// the `status` and the type of the message instead.
    Call {
        /// The call's UUID.
        id: String = "id",
        /// The organisation's UUID.
        org_id: String = "orgId",
        /// Time of creation; ISO 8601.
        created_at: String = "createdAt",
        /// Time of the last change; ISO 8601.
        updated_at: String = "updatedAt",
        /// The kind of call.
        kind: CallType = "type",
        /// The status at creation, such as `queued` or `ringing`.
        status: CallStatus = "status",
        /// The carrier.
        phone_call_provider: PhoneCallProvider = "phoneCallProvider",
        /// The carrier's id of the call. Deprecated.
        phone_call_provider_id: String = "phoneCallProviderId",
        /// The carrier's transport.
        phone_call_transport: PhoneCallTransport = "phoneCallTransport",
        /// URLs to listen to the call and to control it. Anyone with `controlUrl` can speak in the call, so treat both
        /// as secrets.
        monitor: Monitor = "monitor",
        /// The id of a saved assistant; may be `null`.
        assistant_id: String = "assistantId",
        /// The configuration of an assistant that is not saved.
        assistant: Assistant = "assistant",
        /// Overrides of the assistant for this call.
        assistant_overrides: Assistant = "assistantOverrides",
        /// The id of a saved squad; may be `null`.
        squad_id: String = "squadId",
        /// The configuration of a squad that is not saved.
        squad: Squad = "squad",
        /// The workflow's id.
        workflow_id: String = "workflowId",
        /// Vapi's id of the telephone number.
        phone_number_id: String = "phoneNumberId",
        /// The telephone number.
        phone_number: PhoneNumber = "phoneNumber",
        /// The id of a saved customer.
        customer_id: String = "customerId",
        /// The customer.
        customer: Customer = "customer",
        /// The campaign that made the call.
        campaign_id: String = "campaignId",
        /// A name, up to 40 characters.
        name: String = "name",
        /// Start of the call; ISO 8601.
        started_at: String = "startedAt",
        /// End of the call; ISO 8601.
        ended_at: String = "endedAt",
        /// The reason for the end of the call: one of about 600 values; the list grows.
        ended_reason: String = "endedReason",
        /// The transport of the media.
        transport: JsonObject = "transport",
        /// The URL of a web call.
        web_call_url: String = "webCallUrl",
        /// Recordings, transcripts and other results.
        artifact: Artifact = "artifact",
    }
}

open_enum! {
    /// The kind of call.
    CallType {
        /// A customer called.
        InboundPhoneCall = "inboundPhoneCall",
        /// A customer was called.
        OutboundPhoneCall = "outboundPhoneCall",
        /// A call from a web page or an app.
        WebCall = "webCall",
        /// A call over a WebSocket.
        WebsocketCall = "vapi.websocketCall",
    }
}

open_enum! {
    /// The status of a call.
    CallStatus {
        /// The call is planned for later.
        Scheduled = "scheduled",
        /// The call is waiting to be made.
        Queued = "queued",
        /// The telephone is ringing.
        Ringing = "ringing",
        /// The conversation is in progress.
        InProgress = "in-progress",
        /// The call is being transferred.
        Forwarding = "forwarding",
        /// The call has ended.
        Ended = "ended",
        /// The call does not exist.
        NotFound = "not-found",
        /// The call's data could not be deleted.
        DeletionFailed = "deletion-failed",
    }
}

open_enum! {
    /// The carrier of a call.
    PhoneCallProvider {
        /// Twilio.
        Twilio = "twilio",
        /// Vonage.
        Vonage = "vonage",
        /// Vapi.
        Vapi = "vapi",
        /// Telnyx.
        Telnyx = "telnyx",
    }
}

open_enum! {
    /// The transport of a call.
    PhoneCallTransport {
        /// SIP.
        Sip = "sip",
        /// The telephone network.
        Pstn = "pstn",
    }
}

open_struct! {
    /// URLs to listen to a call and to control it. Both are secrets.
    Monitor {
        /// The URL of a WebSocket with the call's audio.
        listen_url: String = "listenUrl",
        /// The URL that accepts client inbound messages without their envelope, by POST.
        control_url: String = "controlUrl",
        /// The monitors of the call.
        monitors: Vec<Item<Raw>> = "monitors",
    }
}

open_union! {
    /// A telephone number; the kind depends on its provider. May contain the carrier's credentials.
    PhoneNumber by "provider" {
        /// A number that the organisation brought along (BYO), over SIP.
        Byo(ByoPhoneNumber) = "byo-phone-number",
        /// A Twilio number.
        Twilio(TwilioPhoneNumber) = "twilio",
        /// A Vonage number.
        Vonage(VonagePhoneNumber) = "vonage",
        /// A Vapi number.
        Vapi(VapiPhoneNumber) = "vapi",
        /// A Telnyx number.
        Telnyx(TelnyxPhoneNumber) = "telnyx",
    }
}

/// Generates a struct for a telephone number from the members of all kinds and the members of this kind.
macro_rules! phone_number {
    ($(#[$attribute:meta])* $name:ident { $($members:tt)* }) => {
        open_struct! {
            $(#[$attribute])*
            $name {
                /// The provider of the number.
                provider: String = "provider",
                /// Vapi's id of the number.
                id: String = "id",
                /// The organisation's UUID.
                org_id: String = "orgId",
                /// A name; may be `null`, like all members below.
                name: String = "name",
                /// The number in E.164. Required for Twilio, Vonage and Telnyx numbers.
                number: String = "number",
                /// The id of the carrier's credential. Required for BYO, Vonage and Telnyx numbers; in 2024 present on
                /// every number.
                credential_id: String = "credentialId",
                /// The SIP address of a Vapi number; in 2024 present on every number.
                sip_uri: String = "sipUri",
                /// The assistant that answers calls.
                assistant_id: String = "assistantId",
                /// The squad that answers calls.
                squad_id: String = "squadId",
                /// The destination of unanswered calls.
                fallback_destination: TransferDestination = "fallbackDestination",
                /// The destination of unanswered calls, in 2024.
                fallback_forwarding_phone_number: String = "fallbackForwardingPhoneNumber",
                /// The URL that messages are posted to, in 2024.
                server_url: String = "serverUrl",
                /// The secret of `serverUrl`. A secret.
                server_url_secret: String = "serverUrlSecret",
                /// Time of creation; ISO 8601.
                created_at: String = "createdAt",
                /// Time of the last change; ISO 8601.
                updated_at: String = "updatedAt",
                /// The subscription of a number that was bought from Vapi, in 2024.
                stripe_subscription_id: String = "stripeSubscriptionId",
                /// The status of that subscription, in 2024.
                stripe_subscription_status: String = "stripeSubscriptionStatus",
                /// The start of the subscription's current period, in 2024.
                stripe_subscription_current_period_start: String = "stripeSubscriptionCurrentPeriodStart",
                $($members)*
            }
        }
    };
}

phone_number! {
    /// A number that the organisation brought along (BYO), over SIP.
    ByoPhoneNumber {}
}

phone_number! {
    /// A Twilio number.
    TwilioPhoneNumber {
        /// The account. Documented as required; may be `null` or missing.
        twilio_account_sid: String = "twilioAccountSid",
        /// The account's token. A secret; may be `null`.
        twilio_auth_token: String = "twilioAuthToken",
        /// The caller id; may be `null`.
        twilio_outgoing_caller_id: String = "twilioOutgoingCallerId",
    }
}

phone_number! {
    /// A Vonage number.
    VonagePhoneNumber {}
}

phone_number! {
    /// A Vapi number.
    VapiPhoneNumber {}
}

phone_number! {
    /// A Telnyx number.
    TelnyxPhoneNumber {}
}

open_struct! {
    /// A customer. No member is required.
    Customer {
        /// The telephone number, 3 to 40 characters; E.164 unless `numberE164CheckEnabled` is `false`.
        number: String = "number",
        /// Whether the number is checked; `true` if absent.
        number_e164_check_enabled: bool = "numberE164CheckEnabled",
        /// An extension, up to 10 characters.
        extension: String = "extension",
        /// A name, up to 40 characters.
        name: String = "name",
        /// The e-mail address, up to 40 characters.
        email: String = "email",
        /// The integrator's id, up to 40 characters.
        external_id: String = "externalId",
        /// The SIP address.
        sip_uri: String = "sipUri",
        /// Overrides of the assistant for this customer.
        assistant_overrides: Assistant = "assistantOverrides",
        /// Overrides of the squad for this customer.
        squad_overrides: JsonObject = "squadOverrides",
    }
}

open_struct! {
    /// The results of a call, such as recordings and transcripts.
    Artifact {
        /// The conversation as entries.
        messages: Vec<Item<Entry>> = "messages",
        /// The conversation in OpenAI's format.
        messages_open_ai_formatted: Vec<Item<OpenAiMessage>> = "messagesOpenAIFormatted",
        /// The conversation as one text.
        transcript: String = "transcript",
        /// The recordings.
        recording: JsonObject = "recording",
        /// Deprecated; part of `recording`.
        recording_url: String = "recordingUrl",
        /// Deprecated; part of `recording`.
        stereo_recording_url: String = "stereoRecordingUrl",
        /// The transfers of the call.
        transfers: Vec<Item<Raw>> = "transfers",
        /// The nodes of the workflow.
        nodes: Vec<Item<Raw>> = "nodes",
        /// The assistants that took part.
        assistant_activations: Vec<Item<Raw>> = "assistantActivations",
        /// The values of variables.
        variable_values: JsonObject = "variableValues",
        /// The values of variables, in 2025.
        variables: JsonObject = "variables",
        /// The extracted values.
        structured_outputs: JsonObject = "structuredOutputs",
        /// The scorecards of the call.
        scorecards: JsonObject = "scorecards",
        /// The performance metrics of the call.
        performance_metrics: JsonObject = "performanceMetrics",
        /// The URL of the log.
        log_url: String = "logUrl",
        /// The URL of the packet capture.
        pcap_url: String = "pcapUrl",
        /// A URL of the recording with both voices in one channel. Signed again for each delivery, so two deliveries of
        /// one event differ in this and all other `presigned` members.
        presigned_mono_url: String = "presignedMonoUrl",
        /// A presigned URL of the recording with one channel for each voice.
        presigned_stereo_url: String = "presignedStereoUrl",
        /// A presigned URL of the video.
        presigned_video_url: String = "presignedVideoUrl",
        /// A presigned URL of the assistant's voice.
        presigned_assistant_url: String = "presignedAssistantUrl",
        /// A presigned URL of the customer's voice.
        presigned_customer_url: String = "presignedCustomerUrl",
        /// A presigned URL of the packet capture.
        presigned_pcap_url: String = "presignedPcapUrl",
        /// A presigned URL of the log.
        presigned_log_url: String = "presignedLogUrl",
        /// The time when the presigned URLs expire.
        presigned_urls_expires_at: String = "presignedUrlsExpiresAt",
    }
}

/// Generates a struct for a chat or a session from the members of both and the members of this kind.
macro_rules! exchange {
    ($(#[$attribute:meta])* $name:ident { $($members:tt)* }) => {
        open_struct! {
            $(#[$attribute])*
            $name {
                /// The UUID.
                id: String = "id",
                /// The organisation's UUID.
                org_id: String = "orgId",
                /// Time of creation; ISO 8601.
                created_at: String = "createdAt",
                /// Time of the last change; ISO 8601.
                updated_at: String = "updatedAt",
                /// A name, up to 40 characters.
                name: String = "name",
                /// The id of a saved assistant.
                assistant_id: String = "assistantId",
                /// The configuration of an assistant that is not saved.
                assistant: Assistant = "assistant",
                /// Overrides of the assistant.
                assistant_overrides: Assistant = "assistantOverrides",
                /// The id of a saved squad.
                squad_id: String = "squadId",
                /// The configuration of a squad that is not saved.
                squad: Squad = "squad",
                /// The messages.
                messages: Vec<Item<Raw>> = "messages",
                /// The cost in dollars.
                cost: Number = "cost",
                /// The cost of each item.
                costs: Vec<Item<Raw>> = "costs",
                $($members)*
            }
        }
    };
}

exchange! {
    /// A chat, which is one request and its response.
    Chat {
        /// The session of the chat.
        session_id: String = "sessionId",
        /// The id of the previous chat.
        previous_chat_id: String = "previousChatId",
        /// The request: a text or messages.
        input: TextOr<Vec<Item<Raw>>> = "input",
        /// Whether the response is streamed; `false` if absent.
        stream: bool = "stream",
        /// The messages of the response.
        output: Vec<Item<Raw>> = "output",
    }
}

exchange! {
    /// A session, which is a sequence of chats.
    Session {
        /// The status.
        status: SessionStatus = "status",
        /// The lifetime: 60 to 2592000 seconds.
        expiration_seconds: Number = "expirationSeconds",
        /// The customer.
        customer: Customer = "customer",
        /// The id of a saved customer.
        customer_id: String = "customerId",
        /// Vapi's id of the telephone number.
        phone_number_id: String = "phoneNumberId",
        /// The telephone number.
        phone_number: PhoneNumber = "phoneNumber",
        /// Recordings, transcripts and other results.
        artifact: Artifact = "artifact",
    }
}

open_enum! {
    /// The status of a session.
    SessionStatus {
        /// The session is open.
        Active = "active",
        /// The session has ended.
        Completed = "completed",
    }
}
