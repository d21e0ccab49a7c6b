//! Replies in Rust, for cases that rules cannot express: a database query, a calculation, a call of another service.

use gatehouse_replies::{ToolCall, VapiMessage};
use gatehouse_vapi::response::{
    AssistantResponse, EndpointingResponse, HandoffDestinationResponse, KnowledgeBaseResponse, PredialResponse,
    ToolOutcome, TransferDestinationResponse,
};

/// Hooks that reply to messages, one for each kind of reply. A hook runs before the rules. `None` leaves the reply to
/// the rules.
///
/// A hook has 1.7 s, because the event must be recorded together with the reply. If it takes longer or panics, the
/// failure is logged and the rules reply (if `campaign_predial` fails, the contact is not called). A hook can only be
/// interrupted while it awaits, so use `tokio::task::spawn_blocking` for blocking calls and long calculations.
///
/// A hook runs for every delivery, including retries, before it is known whether the event is new. A duplicate then
/// gets the recorded reply. A hook with side effects must therefore use the id of the call or of the tool call as an
/// idempotency key.
///
/// ```
/// use gatehouse_vapi::response::AssistantResponse;
/// use gatehouse_replies::VapiMessage;
/// use server_message::ReplyHandler;
///
/// struct ByNumber(std::collections::HashMap<String, String>);
///
/// impl ReplyHandler for ByNumber {
///     async fn assistant_request(&self, message: &VapiMessage) -> Option<AssistantResponse> {
///         let number = message.text(&"/phoneNumber/number".parse().ok()?)?;
///         Some(AssistantResponse { assistant_id: Some(self.0.get(&number)?.clone()), ..Default::default() })
///     }
/// }
/// ```
#[allow(unused_variables, reason = "the names document the parameters for implementors")]
pub trait ReplyHandler: Send + Sync {
    /// Replies to `assistant-request` with the assistant of the call.
    fn assistant_request(&self, message: &VapiMessage) -> impl Future<Output = Option<AssistantResponse>> + Send {
        async { None }
    }

    /// Replies to `tool-calls` with the result of one call. Runs concurrently for all calls of a message.
    fn tool_call(&self, call: &ToolCall, message: &VapiMessage) -> impl Future<Output = Option<ToolOutcome>> + Send {
        async { None }
    }

    /// Replies to `transfer-destination-request` with the destination of the call.
    fn transfer_destination_request(
        &self,
        message: &VapiMessage,
    ) -> impl Future<Output = Option<TransferDestinationResponse>> + Send {
        async { None }
    }

    /// Replies to `handoff-destination-request` with the assistant that takes over the call.
    fn handoff_destination_request(
        &self,
        message: &VapiMessage,
    ) -> impl Future<Output = Option<HandoffDestinationResponse>> + Send {
        async { None }
    }

    /// Replies to `knowledge-base-request` with documents.
    fn knowledge_base_request(
        &self,
        message: &VapiMessage,
    ) -> impl Future<Output = Option<KnowledgeBaseResponse>> + Send {
        async { None }
    }

    /// Replies to `call.endpointing.request` with the time after which the customer has finished speaking.
    fn endpointing_request(&self, message: &VapiMessage) -> impl Future<Output = Option<EndpointingResponse>> + Send {
        async { None }
    }

    /// Replies to `campaign.predial`, which asks whether a contact may be called. Without a reply the contact is not
    /// called.
    fn campaign_predial(&self, message: &VapiMessage) -> impl Future<Output = Option<PredialResponse>> + Send {
        async { None }
    }
}

/// The hooks of this deployment. Implement yours here. By default the rules decide all replies.
#[derive(Debug, Clone, Copy, Default)]
pub struct CustomReplies;

impl ReplyHandler for CustomReplies {}
