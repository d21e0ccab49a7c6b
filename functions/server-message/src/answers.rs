//! Answers written in Rust, for what a rule cannot say: a look-up in a database, a calculation, another service.

use gatehouse_payload::vapi::response::{
    AssistantResponse, EndpointingResponse, HandoffDestinationResponse, KnowledgeBaseResponse, PredialResponse,
    ToolOutcome, TransferDestinationResponse,
};
use gatehouse_replies::{Said, ToolCall};

/// One function for each kind of answer. Each is asked before the rules; `None` leaves the answer to them.
///
/// An answer may take 1.7 s, for the event has to be recorded with it: what takes longer, or panics, is logged, and the rules
/// answer (to `campaign.predial`: no). Only what awaits can be interrupted: what blocks the thread, or calculates for long,
/// belongs into `tokio::task::spawn_blocking`.
///
/// Code is asked for every delivery, retries included, before anybody knows whether the event is new; a duplicate then gets the
/// answer that was recorded. What has effects therefore keys them by the call's id, or by the tool call's.
///
/// ```
/// use gatehouse_payload::vapi::response::AssistantResponse;
/// use gatehouse_replies::Said;
/// use server_message::Answers;
///
/// struct ByNumber(std::collections::HashMap<String, String>);
///
/// impl Answers for ByNumber {
///     async fn assistant_request(&self, said: &Said) -> Option<AssistantResponse> {
///         let number = said.text(&"/phoneNumber/number".parse().ok()?)?;
///         Some(AssistantResponse { assistant_id: Some(self.0.get(&number)?.clone()), ..Default::default() })
///     }
/// }
/// ```
#[allow(unused_variables, reason = "the names are for whoever writes one")]
pub trait Answers: Send + Sync {
    /// `assistant-request`: which assistant answers the call?
    fn assistant_request(&self, said: &Said) -> impl Future<Output = Option<AssistantResponse>> + Send {
        async { None }
    }

    /// `tool-calls`: what comes of one of the calls? Asked for each of them at the same time.
    fn tool_call(&self, call: &ToolCall, said: &Said) -> impl Future<Output = Option<ToolOutcome>> + Send {
        async { None }
    }

    /// `transfer-destination-request`: whereto does the call go?
    fn transfer_destination_request(
        &self,
        said: &Said,
    ) -> impl Future<Output = Option<TransferDestinationResponse>> + Send {
        async { None }
    }

    /// `handoff-destination-request`: to which assistant does the call go?
    fn handoff_destination_request(
        &self,
        said: &Said,
    ) -> impl Future<Output = Option<HandoffDestinationResponse>> + Send {
        async { None }
    }

    /// `knowledge-base-request`: what is known about this?
    fn knowledge_base_request(&self, said: &Said) -> impl Future<Output = Option<KnowledgeBaseResponse>> + Send {
        async { None }
    }

    /// `call.endpointing.request`: has the customer finished?
    fn endpointing_request(&self, said: &Said) -> impl Future<Output = Option<EndpointingResponse>> + Send {
        async { None }
    }

    /// `campaign.predial`: may this contact be called? Whoever says nothing says no.
    fn campaign_predial(&self, said: &Said) -> impl Future<Output = Option<PredialResponse>> + Send {
        async { None }
    }
}

/// The answers this deployment's function has in Rust. Write yours here; as it stands, everything is left to the rules.
#[derive(Debug, Clone, Copy, Default)]
pub struct Code;

impl Answers for Code {}
