//! The objects that Vapi's messages are made of.
//!
//! Source: `Call`, `CreateCustomerDTO`, `Artifact`, `Chat`, `Session` and the telephone numbers of Vapi's OpenAPI document
//! (<https://api.vapi.ai/api-json>, August 2026), and captures. Nothing is required but what says so; in captures, what is not
//! set is often `null` where the schema has it absent.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::time::Timestamp;
use crate::wire::{Bag, Item, Number, Raw, TextOr, Unnamed};

use super::assistant::{Assistant, Squad};
use super::conversation::{Entry, OpenAiMessage};
use super::transfer::TransferDestination;

/// A time: milliseconds since 1970, sometimes with a fraction; ISO 8601 in 2024.
#[derive(Debug, Clone, PartialEq)]
pub struct Time(Raw);

impl Time {
    /// The moment; `None` when it cannot be read, or lies outside 2000–2100.
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

impl Unnamed for Time {
    fn unnamed(&self, _: &str, _: &mut Vec<String>) {}
}

object! {
    /// A call, as it was when it was created: the same in every message of it, its `status` included. Use the message's
    /// own `status` and type.
    Call {
        /// The call's UUID.
        id: String = "id",
        /// The organisation's UUID.
        org_id: String = "orgId",
        /// When it was created; ISO 8601.
        created_at: String = "createdAt",
        /// When it was last changed; ISO 8601.
        updated_at: String = "updatedAt",
        /// Which kind of call.
        kind: CallType = "type",
        /// `queued` in all messages seen: see above.
        status: CallStatus = "status",
        /// Who carries it.
        phone_call_provider: PhoneCallProvider = "phoneCallProvider",
        /// The carrier's id of it. Deprecated.
        phone_call_provider_id: String = "phoneCallProviderId",
        /// How it is carried.
        phone_call_transport: PhoneCallTransport = "phoneCallTransport",
        /// URLs to hear and to steer the call: whoever has `controlUrl` can speak in it. Treat them as secrets.
        monitor: Monitor = "monitor",
        /// The assistant, if it is a saved one; may be `null`.
        assistant_id: String = "assistantId",
        /// The assistant, if it is not.
        assistant: Assistant = "assistant",
        /// What differs from the assistant in this call.
        assistant_overrides: Assistant = "assistantOverrides",
        /// The squad, if it is a saved one; may be `null`.
        squad_id: String = "squadId",
        /// The squad, if it is not.
        squad: Squad = "squad",
        /// The workflow.
        workflow_id: String = "workflowId",
        /// Vapi's id of the telephone number.
        phone_number_id: String = "phoneNumberId",
        /// The telephone number.
        phone_number: PhoneNumber = "phoneNumber",
        /// The customer, if it is a saved one.
        customer_id: String = "customerId",
        /// The customer.
        customer: Customer = "customer",
        /// The campaign that dialled.
        campaign_id: String = "campaignId",
        /// A name, up to 40 characters.
        name: String = "name",
        /// When it began; ISO 8601.
        started_at: String = "startedAt",
        /// When it ended; ISO 8601.
        ended_at: String = "endedAt",
        /// Why it ended: one of some 600 values, and growing.
        ended_reason: String = "endedReason",
        /// How the media travel.
        transport: Bag = "transport",
        /// Where a web call takes place.
        web_call_url: String = "webCallUrl",
        /// What it leaves behind.
        artifact: Artifact = "artifact",
    }
}

words! {
    /// Which kind of call.
    CallType {
        /// Someone called.
        InboundPhoneCall = "inboundPhoneCall",
        /// Someone was called.
        OutboundPhoneCall = "outboundPhoneCall",
        /// From a web page or an app.
        WebCall = "webCall",
        /// Over a WebSocket.
        WebsocketCall = "vapi.websocketCall",
    }
}

words! {
    /// How far a call is.
    CallStatus {
        /// It will be made later.
        Scheduled = "scheduled",
        /// It waits to be made.
        Queued = "queued",
        /// It rings.
        Ringing = "ringing",
        /// People talk.
        InProgress = "in-progress",
        /// It is being handed on.
        Forwarding = "forwarding",
        /// It is over.
        Ended = "ended",
        /// There is none.
        NotFound = "not-found",
        /// Its data could not be removed.
        DeletionFailed = "deletion-failed",
    }
}

words! {
    /// Who carries a call.
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

words! {
    /// How a call is carried.
    PhoneCallTransport {
        /// SIP.
        Sip = "sip",
        /// The telephone network.
        Pstn = "pstn",
    }
}

object! {
    /// How to hear and to steer a call. Secrets.
    Monitor {
        /// A WebSocket with the call's audio.
        listen_url: String = "listenUrl",
        /// Takes client inbound messages without their envelope, by POST.
        control_url: String = "controlUrl",
        /// Which monitors watch it.
        monitors: Vec<Item<Raw>> = "monitors",
    }
}

union! {
    /// A telephone number, told apart by whose it is. Credentials of the carrier may be among it.
    PhoneNumber by "provider" {
        /// One's own, over SIP.
        Byo(ByoPhoneNumber) = "byo-phone-number",
        /// Twilio's.
        Twilio(TwilioPhoneNumber) = "twilio",
        /// Vonage's.
        Vonage(VonagePhoneNumber) = "vonage",
        /// Vapi's.
        Vapi(VapiPhoneNumber) = "vapi",
        /// Telnyx'.
        Telnyx(TelnyxPhoneNumber) = "telnyx",
    }
}

/// A struct for a telephone number: what every one has, and its own members.
macro_rules! phone_number {
    ($(#[$about:meta])* $name:ident { $($own:tt)* }) => {
        object! {
            $(#[$about])*
            $name {
                /// Whose number it is.
                provider: String = "provider",
                /// Vapi's id of it.
                id: String = "id",
                /// The organisation's UUID.
                org_id: String = "orgId",
                /// A name; may be `null`, as all that follow.
                name: String = "name",
                /// The number, E.164. Required of Twilio's, Vonage's and Telnyx'.
                number: String = "number",
                /// The carrier's credential. Required of one's own, Vonage's and Telnyx'; in 2024 on every number.
                credential_id: String = "credentialId",
                /// The address of a number of Vapi's; in 2024 on every number.
                sip_uri: String = "sipUri",
                /// Which assistant answers.
                assistant_id: String = "assistantId",
                /// Which squad answers.
                squad_id: String = "squadId",
                /// Where calls go that nobody answers.
                fallback_destination: TransferDestination = "fallbackDestination",
                /// The same, in 2024.
                fallback_forwarding_phone_number: String = "fallbackForwardingPhoneNumber",
                /// Where its messages are posted, in 2024.
                server_url: String = "serverUrl",
                /// A secret.
                server_url_secret: String = "serverUrlSecret",
                /// When it was created; ISO 8601.
                created_at: String = "createdAt",
                /// When it was last changed; ISO 8601.
                updated_at: String = "updatedAt",
                /// Of numbers bought at Vapi, in 2024.
                stripe_subscription_id: String = "stripeSubscriptionId",
                /// Of numbers bought at Vapi, in 2024.
                stripe_subscription_status: String = "stripeSubscriptionStatus",
                /// Of numbers bought at Vapi, in 2024.
                stripe_subscription_current_period_start: String = "stripeSubscriptionCurrentPeriodStart",
                $($own)*
            }
        }
    };
}

phone_number! {
    /// A number of one's own, over SIP.
    ByoPhoneNumber {}
}

phone_number! {
    /// A number of Twilio's.
    TwilioPhoneNumber {
        /// Documented as required; may be `null` or missing.
        twilio_account_sid: String = "twilioAccountSid",
        /// A secret; may be `null`.
        twilio_auth_token: String = "twilioAuthToken",
        /// The caller id; may be `null`.
        twilio_outgoing_caller_id: String = "twilioOutgoingCallerId",
    }
}

phone_number! {
    /// A number of Vonage's.
    VonagePhoneNumber {}
}

phone_number! {
    /// A number of Vapi's.
    VapiPhoneNumber {}
}

phone_number! {
    /// A number of Telnyx'.
    TelnyxPhoneNumber {}
}

object! {
    /// A customer. Nothing is required.
    Customer {
        /// The number, 3 to 40 characters; E.164 unless `numberE164CheckEnabled` is `false`.
        number: String = "number",
        /// Whether the number is checked; `true` when absent.
        number_e164_check_enabled: bool = "numberE164CheckEnabled",
        /// An extension, up to 10 characters.
        extension: String = "extension",
        /// A name, up to 40 characters.
        name: String = "name",
        /// An address, up to 40 characters.
        email: String = "email",
        /// The integrator's id, up to 40 characters.
        external_id: String = "externalId",
        /// An address.
        sip_uri: String = "sipUri",
        /// What differs from the assistant for this customer.
        assistant_overrides: Assistant = "assistantOverrides",
        /// What differs from the squad for this customer.
        squad_overrides: Bag = "squadOverrides",
    }
}

object! {
    /// What a call leaves behind.
    Artifact {
        /// The conversation, entry by entry.
        messages: Vec<Item<Entry>> = "messages",
        /// The conversation, as OpenAI's API writes it.
        messages_open_ai_formatted: Vec<Item<OpenAiMessage>> = "messagesOpenAIFormatted",
        /// The conversation, as one text.
        transcript: String = "transcript",
        /// Recordings.
        recording: Bag = "recording",
        /// Deprecated: in `recording`.
        recording_url: String = "recordingUrl",
        /// Deprecated: in `recording`.
        stereo_recording_url: String = "stereoRecordingUrl",
        /// Whereto the call was handed on.
        transfers: Vec<Item<Raw>> = "transfers",
        /// A workflow's nodes.
        nodes: Vec<Item<Raw>> = "nodes",
        /// Which assistants took part.
        assistant_activations: Vec<Item<Raw>> = "assistantActivations",
        /// The values of variables.
        variable_values: Bag = "variableValues",
        /// In 2025, the same.
        variables: Bag = "variables",
        /// What was extracted.
        structured_outputs: Bag = "structuredOutputs",
        /// How it was judged.
        scorecards: Bag = "scorecards",
        /// How fast it was.
        performance_metrics: Bag = "performanceMetrics",
        /// The log.
        log_url: String = "logUrl",
        /// The packets.
        pcap_url: String = "pcapUrl",
        /// A URL to both voices in one channel. Signed anew for each delivery: differs between two of one event, as all
        /// `presigned` members.
        presigned_mono_url: String = "presignedMonoUrl",
        /// The same: both voices, a channel each.
        presigned_stereo_url: String = "presignedStereoUrl",
        /// The same: the video.
        presigned_video_url: String = "presignedVideoUrl",
        /// The same: the assistant's voice.
        presigned_assistant_url: String = "presignedAssistantUrl",
        /// The same: the customer's voice.
        presigned_customer_url: String = "presignedCustomerUrl",
        /// The same: the packets.
        presigned_pcap_url: String = "presignedPcapUrl",
        /// The same: the log.
        presigned_log_url: String = "presignedLogUrl",
        /// Until when they are good.
        presigned_urls_expires_at: String = "presignedUrlsExpiresAt",
    }
}

/// A struct for a chat or a session: what both have, and its own members.
macro_rules! exchange {
    ($(#[$about:meta])* $name:ident { $($rest:tt)* }) => {
        object! {
            $(#[$about])*
            $name {
                /// The UUID.
                id: String = "id",
                /// The organisation's UUID.
                org_id: String = "orgId",
                /// When it was created; ISO 8601.
                created_at: String = "createdAt",
                /// When it was last changed; ISO 8601.
                updated_at: String = "updatedAt",
                /// A name, up to 40 characters.
                name: String = "name",
                /// The assistant, if it is a saved one.
                assistant_id: String = "assistantId",
                /// The assistant, if it is not.
                assistant: Assistant = "assistant",
                /// What differs from it here.
                assistant_overrides: Assistant = "assistantOverrides",
                /// The squad, if it is a saved one.
                squad_id: String = "squadId",
                /// The squad, if it is not.
                squad: Squad = "squad",
                /// What was written.
                messages: Vec<Item<Raw>> = "messages",
                /// What it cost, in dollars.
                cost: Number = "cost",
                /// The same, item by item.
                costs: Vec<Item<Raw>> = "costs",
                $($rest)*
            }
        }
    };
}

exchange! {
    /// A chat: one question and its answer.
    Chat {
        /// The session it belongs to.
        session_id: String = "sessionId",
        /// The chat before.
        previous_chat_id: String = "previousChatId",
        /// What was asked: a text, or messages.
        input: TextOr<Vec<Item<Raw>>> = "input",
        /// Whether the answer is streamed; `false` when absent.
        stream: bool = "stream",
        /// What was answered.
        output: Vec<Item<Raw>> = "output",
    }
}

exchange! {
    /// A session: chats that belong together.
    Session {
        /// Whether it goes on.
        status: SessionStatus = "status",
        /// How long it lasts: 60 to 2592000 seconds.
        expiration_seconds: Number = "expirationSeconds",
        /// The customer.
        customer: Customer = "customer",
        /// The customer, if it is a saved one.
        customer_id: String = "customerId",
        /// Vapi's id of the telephone number.
        phone_number_id: String = "phoneNumberId",
        /// The telephone number.
        phone_number: PhoneNumber = "phoneNumber",
        /// What it leaves behind.
        artifact: Artifact = "artifact",
    }
}

words! {
    /// Whether a session goes on.
    SessionStatus {
        /// It does.
        Active = "active",
        /// It does not.
        Completed = "completed",
    }
}
