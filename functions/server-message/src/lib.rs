//! `POST /server`, and `/`: Vapi's server messages, and the answers to those that want one.
//!
//! What is answered is said by the rules in `functions/replies.json`, which is compiled in, or in Rust by [`Answers`].
//! `voice-request`, which wants audio, is recorded and answered with 501.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use gatehouse_edge::vapi::Channel;
use gatehouse_edge::{Answering, Deadline, Decision, Endpoint, Receiver, Source};
use gatehouse_inbox::{Clock, Event};
use gatehouse_replies::{Asked, Kind, Replies, Said, ask};
use http::{Request, Response};
use tokio::time::Instant;

mod answers;

pub use answers::{Answers, Code};

/// Where the function answers, and whom.
pub const ENDPOINT: Endpoint =
    Endpoint { function: "server-message", paths: &["/server", "/"], source: Source::Vapi(Channel::Server) };
/// The function's timeout in the template.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// What `voice-request` is told.
const NO_AUDIO: &str = "Gatehouse does not synthesise speech: let voice.server of the assistant lead to a service that \
                        answers voice-request with audio";

/// What an instance keeps between requests.
#[derive(Debug)]
pub struct State<A = Code> {
    /// Takes messages in.
    pub door: Receiver,
    /// Answers by rules.
    pub replies: Replies,
    /// Answers in Rust.
    pub answers: A,
}

impl<A> State<A> {
    /// The clock deadlines are measured by.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        self.door.clock()
    }
}

impl<A: Answers> State<A> {
    async fn answer(&self, kind: Option<Kind>, said: &Said, until: Instant) -> Decision {
        let rules = || self.replies.decide(Channel::Server, said, &BTreeMap::new(), until);
        let answers = &self.answers;
        match kind {
            Some(Kind::Assistant) => ask(answers.assistant_request(said), until).await.or(rules),
            Some(Kind::Transfer) => ask(answers.transfer_destination_request(said), until).await.or(rules),
            Some(Kind::Handoff) => ask(answers.handoff_destination_request(said), until).await.or(rules),
            Some(Kind::Knowledge) => ask(answers.knowledge_base_request(said), until).await.or(rules),
            Some(Kind::Endpointing) => ask(answers.endpointing_request(said), until).await.or(rules),
            Some(Kind::Predial) => match ask(answers.campaign_predial(said), until).await {
                // Who was to say no has not been heard.
                Asked::Failed(why) => Decision { fault: Some(why.to_owned()), ..Decision::default() },
                asked => asked.or(rules),
            },
            Some(Kind::Tools) => self.results(said, until).await,
            Some(Kind::Client) | None => rules(),
        }
    }

    async fn results(&self, said: &Said, until: Instant) -> Decision {
        let calls = said.tool_calls().calls;
        let asked = join_all(calls.iter().map(|call| ask(self.answers.tool_call(call, said), until))).await;
        let mut known = BTreeMap::new();
        let mut failed = None;
        for (call, asked) in calls.into_iter().zip(asked) {
            match asked {
                Asked::Answered(outcome) => drop(known.insert(call.id, outcome)),
                Asked::Failed(why) => failed = Some(why),
                Asked::Passed => {}
            }
        }
        let asked = failed.map_or(Asked::<()>::Passed, Asked::Failed);
        asked.or(|| self.replies.decide(Channel::Server, said, &known, until))
    }
}

impl<A: Answers> Answering for State<A> {
    async fn decide(&self, event: &Event, until: Instant) -> Decision {
        let said = Said::by(event);
        let message_type = said.message_type();
        let kind = message_type.and_then(|name| Kind::of(Channel::Server, name));
        Decision {
            otherwise: kind.map(Kind::otherwise),
            is_awaited: kind.is_some(),
            // A contact may be dialled again, under the same id, after the rules have changed.
            only_if_still_so: kind == Some(Kind::Predial),
            unsupported: (message_type == Some("voice-request")).then_some(NO_AUDIO),
            ..self.answer(kind, &said, until).await
        }
    }
}

/// Takes one message in. Answers with what the rules or the code say, else `{}`, or with a problem document.
///
/// A duplicate is answered like the first: Vapi sends one again only when it has not seen the answer. Where nothing can
/// take the event, a message whose sender waits for the answer gets it all the same, as `unrecorded`.
pub async fn handle<A: Answers>(request: Request<Bytes>, state: &State<A>, deadline: Deadline) -> Response<String> {
    state.door.receive_and_answer(&ENDPOINT, request, deadline, state).await
}
