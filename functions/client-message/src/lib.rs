//! `POST /client`: receives Vapi's client messages and may reply with a client inbound message.
//!
//! Replies are defined by the rules in `functions/replies.json`, which is compiled in, or in Rust by [`Answers`].

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use gatehouse_edge::vapi::Channel;
use gatehouse_edge::{Answering, Deadline, Decision, Endpoint, Receiver, Source};
use gatehouse_inbox::{Clock, Event};
use gatehouse_replies::{Replies, Said, run_hook};
use http::{Request, Response};
use tokio::time::Instant;

mod answers;

pub use answers::{Answers, Code};

/// The function's path and the source of its requests.
pub const ENDPOINT: Endpoint =
    Endpoint { function: "client-message", paths: &["/client"], source: Source::Vapi(Channel::Client) };
/// The function's timeout in the template.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// The state that an instance keeps between requests.
#[derive(Debug)]
pub struct State<A = Code> {
    /// Receives messages.
    pub door: Receiver,
    /// Replies by rules.
    pub replies: Replies,
    /// Replies in Rust.
    pub answers: A,
}

impl<A> State<A> {
    /// The clock that measures deadlines.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        self.door.clock()
    }
}

impl<A: Answers> Answering for State<A> {
    async fn decide(&self, event: &Event, until: Instant) -> Decision {
        let message = Said::by(event);
        let rules = || self.replies.decide(Channel::Client, &message, &BTreeMap::new(), until);
        run_hook(self.answers.reply(&message), until).await.or(rules)
    }
}

/// Receives one message. Returns the reply of the hook or the rules, otherwise `{}`, or a problem document.
///
/// A duplicate gets the first reply again, because Vapi only resends a message if it did not receive the reply.
pub async fn handle<A: Answers>(request: Request<Bytes>, state: &State<A>, deadline: Deadline) -> Response<String> {
    state.door.receive_and_answer(&ENDPOINT, request, deadline, state).await
}
