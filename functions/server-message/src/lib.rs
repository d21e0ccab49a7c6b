//! `POST /server` and `POST /`: receives Vapi's server messages and replies to those that need a reply.
//!
//! Replies are defined by the rules in `functions/replies.json`, which is compiled in, or in Rust by [`ReplyHandler`].
//! A `voice-request`, which needs audio, is recorded and answered with 501.

use bytes::Bytes;
use futures_util::future::join_all;
use gatehouse_payload::Event;
use gatehouse_receiver::responder::DECIDE_WITHIN;
use gatehouse_receiver::{Deadline, Expectation, Receiver, ReplyPlan, Responder};
use gatehouse_replies::{Delivery, HookResult, Kind, Replies, VapiMessage, run_hook};
use gatehouse_runtime::Clock;
use gatehouse_vapi::{Channel, Vapi};
use http::{Request, Response};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

mod answers;

pub use answers::{CustomReplies, ReplyHandler};

/// The vendor that calls the function.
pub const VENDOR: Vapi = Vapi::SERVER;

/// The function's timeout in the template. It is longer than that of other webhooks, because a service may take 16 s to
/// answer tool calls.
pub const TIMEOUT: Duration = Duration::from_secs(25);

/// The error message for `voice-request`.
const NO_AUDIO: &str = "Gatehouse does not synthesise speech: set voice.server of the assistant to a service that \
                        answers voice-request with audio";

/// The state that an instance keeps between requests.
#[derive(Debug)]
pub struct State<A = CustomReplies> {
    /// Receives messages.
    pub receiver: Receiver<Vapi>,
    /// Replies by rules.
    pub replies: Replies,
    /// Replies in Rust.
    pub answers: A,
}

impl<A> State<A> {
    /// The clock that measures deadlines.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        self.receiver.clock()
    }
}

impl<A: ReplyHandler> State<A> {
    /// Decides the reply to a message of this kind: by the hook, or by the rules if the hook passes or fails.
    async fn reply(&self, kind: Option<Kind>, message: &VapiMessage, delivery: Delivery<'_>) -> ReplyPlan {
        let (until, known) = (delivery.until, BTreeMap::new());
        let rules = self.replies.decide(Channel::Server, message, &known, delivery);
        let hooks = &self.answers;
        match kind {
            Some(Kind::Assistant) => run_hook(hooks.assistant_request(message), until).await.or(rules).await,
            Some(Kind::Transfer) => run_hook(hooks.transfer_destination_request(message), until).await.or(rules).await,
            Some(Kind::Handoff) => run_hook(hooks.handoff_destination_request(message), until).await.or(rules).await,
            Some(Kind::Knowledge) => run_hook(hooks.knowledge_base_request(message), until).await.or(rules).await,
            Some(Kind::Endpointing) => run_hook(hooks.endpointing_request(message), until).await.or(rules).await,
            Some(Kind::Predial) => match run_hook(hooks.campaign_predial(message), until).await {
                // The failed hook might have forbidden the call, so the rules must not allow it.
                HookResult::Failed(reason) => ReplyPlan { fault: Some(reason.to_owned()), ..ReplyPlan::default() },
                result => result.or(rules).await,
            },
            Some(Kind::Tools) => self.tool_results(message, delivery).await,
            Some(Kind::Client) | None => rules.await,
        }
    }

    /// Decides the results of the tool calls of a message. The hook is run for each call.
    async fn tool_results(&self, message: &VapiMessage, delivery: Delivery<'_>) -> ReplyPlan {
        let (until, calls) = (delivery.until, message.tool_calls().calls);
        let results = join_all(calls.iter().map(|call| run_hook(self.answers.tool_call(call, message), until))).await;
        let mut known = BTreeMap::new();
        let mut failed = None;
        for (call, result) in calls.into_iter().zip(results) {
            match result {
                HookResult::Answered(outcome) => drop(known.insert(call.id, outcome)),
                HookResult::Failed(reason) => failed = Some(reason),
                HookResult::Passed => {}
            }
        }
        let result = failed.map_or(HookResult::<()>::Passed, HookResult::Failed);
        result.or(self.replies.decide(Channel::Server, message, &known, delivery)).await
    }
}

impl<A: ReplyHandler> Responder for State<A> {
    fn decide_within(&self, event: &Event) -> Duration {
        self.replies.decide_within(Channel::Server, event.event_type.as_deref(), DECIDE_WITHIN)
    }

    async fn decide(&self, event: &Event, until: Instant) -> ReplyPlan {
        let message = VapiMessage::by(event);
        let message_type = message.message_type();
        let kind = message_type.and_then(|name| Kind::of(Channel::Server, name));
        let expectation = match kind {
            // A contact may be dialled again with the same id after the rules have changed.
            Some(Kind::Predial) => {
                Expectation::CurrentReply { default: Kind::Predial.default_reply(), decisive: "eligible" }
            }
            Some(kind) => Expectation::Reply { default: kind.default_reply() },
            None if message_type == Some("voice-request") => Expectation::Unsupported(NO_AUDIO),
            None => Expectation::Nothing,
        };
        let delivery = Delivery::new(event, &self.receiver, until);
        ReplyPlan { expectation, ..self.reply(kind, &message, delivery).await }
    }

    async fn refresh(&self) {
        self.replies.refresh_services().await;
    }
}

/// Receives one message. Returns the reply of the hooks or the rules, otherwise the default reply, or a problem
/// document.
///
/// A duplicate gets the first reply again, because Vapi only resends a message if it did not receive the reply. A
/// message that needs a reply gets it even if the event can be neither recorded nor queued. The outcome is then
/// `unrecorded`.
pub async fn handle<A: ReplyHandler>(
    request: Request<Bytes>,
    state: &State<A>,
    deadline: Deadline,
) -> Response<String> {
    state.receiver.receive_and_answer(request, deadline, state).await
}
