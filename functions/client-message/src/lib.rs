//! `POST /client`: receives Vapi's client messages and may reply with a client inbound message.
//!
//! Replies are defined by the rules in `functions/replies.json`, which is compiled in, or in Rust by [`ReplyHandler`].

use bytes::Bytes;
use gatehouse_payload::Event;
use gatehouse_receiver::responder::DECIDE_WITHIN;
use gatehouse_receiver::{Deadline, Receiver, ReplyPlan, Responder};
use gatehouse_replies::{Delivery, Replies, VapiMessage, run_hook};
use gatehouse_runtime::Clock;
use gatehouse_vapi::{Channel, Vapi};
use http::{Request, Response};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

mod answers;

pub use answers::{CustomReplies, ReplyHandler};

/// The vendor that calls the function.
pub const VENDOR: Vapi = Vapi::CLIENT;

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

impl<A: ReplyHandler> Responder for State<A> {
    fn decide_within(&self, event: &Event) -> Duration {
        self.replies.decide_within(Channel::Client, event.event_type.as_deref(), DECIDE_WITHIN)
    }

    async fn decide(&self, event: &Event, until: Instant) -> ReplyPlan {
        let (message, known) = (VapiMessage::by(event), BTreeMap::new());
        let delivery = Delivery::new(event, &self.receiver, until);
        let rules = self.replies.decide(Channel::Client, &message, &known, delivery);
        run_hook(self.answers.reply(&message), until).await.or(rules).await
    }

    async fn refresh(&self) {
        self.replies.refresh_services().await;
    }
}

/// Receives one message. Returns the reply of the hook or the rules, otherwise `{}`, or a problem document.
///
/// A duplicate gets the first reply again, because Vapi only resends a message if it did not receive the reply.
pub async fn handle<A: ReplyHandler>(
    request: Request<Bytes>,
    state: &State<A>,
    deadline: Deadline,
) -> Response<String> {
    state.receiver.receive_and_answer(request, deadline, state).await
}
