//! `POST /client`: Vapi's client messages, answered with a client inbound message where there is one.
//!
//! What is answered is said by the rules in `functions/replies.json`, which is compiled in, or in Rust by [`Answers`].

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use gatehouse_edge::vapi::Channel;
use gatehouse_edge::{Answering, Deadline, Decision, Endpoint, Receiver, Source};
use gatehouse_inbox::{Clock, Event};
use gatehouse_replies::{Replies, Said, ask};
use http::{Request, Response};
use tokio::time::Instant;

mod answers;

pub use answers::{Answers, Code};

/// Where the function answers, and whom.
pub const ENDPOINT: Endpoint =
    Endpoint { function: "client-message", paths: &["/client"], source: Source::Vapi(Channel::Client) };
/// The function's timeout in the template.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// What an instance keeps between requests.
#[derive(Debug)]
pub struct State<A = Code> {
    /// Takes messages in.
    pub door: Receiver,
    /// Replies by rules.
    pub replies: Replies,
    /// Replies in Rust.
    pub answers: A,
}

impl<A> State<A> {
    /// The clock deadlines are measured by.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        self.door.clock()
    }
}

impl<A: Answers> Answering for State<A> {
    async fn decide(&self, event: &Event, until: Instant) -> Decision {
        let said = Said::by(event);
        let rules = || self.replies.decide(Channel::Client, &said, &BTreeMap::new(), until);
        ask(self.answers.reply(&said), until).await.or(rules)
    }
}

/// Takes one message in. Answers with what the rules or the code say, else `{}`, or with a problem document.
///
/// A duplicate is answered like the first: Vapi sends one again only when it has not seen the answer.
pub async fn handle<A: Answers>(request: Request<Bytes>, state: &State<A>, deadline: Deadline) -> Response<String> {
    state.door.receive_and_answer(&ENDPOINT, request, deadline, state).await
}
