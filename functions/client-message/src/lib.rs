//! `POST /client`: Vapi's client messages, answered with a client inbound message where one is configured.

use std::time::Duration;

use bytes::Bytes;
use gatehouse_edge::vapi::Channel;
use gatehouse_edge::{Deadline, Door, Endpoint, Source};
use gatehouse_inbox::Clock;
use gatehouse_inbox::config::ConfigError;
use http::{Request, Response};

mod replies;

pub use replies::{BadReplies, Replies};

/// Where the function answers, and whom.
pub const ENDPOINT: Endpoint =
    Endpoint { function: "client-message", path: "/client", source: Source::Vapi(Channel::Client) };
/// The function's timeout in the template.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// What an instance keeps between requests.
#[derive(Debug)]
pub struct State {
    /// Takes messages in.
    pub door: Door,
    /// Answers some of them.
    pub replies: Replies,
}

impl State {
    /// Builds the state from the environment: the door's variables, and `CLIENT_REPLIES` (see [`Replies`]). Replies that
    /// cannot be used are logged and not sent: events matter more.
    ///
    /// # Errors
    /// As [`Door::from_env`].
    pub async fn from_env() -> Result<Self, ConfigError> {
        let replies = std::env::var("CLIENT_REPLIES").ok().filter(|text| !text.is_empty());
        let replies = replies.map(|text| Replies::parse(&text)).transpose().unwrap_or_else(|error| {
            tracing::error!(%error, "CLIENT_REPLIES is not usable: every message is answered with {{}}");
            None
        });
        Ok(State { door: Door::from_env().await?, replies: replies.unwrap_or_default() })
    }

    /// The clock deadlines are measured by.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        self.door.clock()
    }
}

/// Takes one message in. Answers with the reply configured for its type, else `{}`, or with a problem document.
///
/// A duplicate is answered like the first: Vapi sends one again only when it has not seen the answer.
pub async fn handle(request: Request<Bytes>, state: &State, deadline: Deadline) -> Response<String> {
    let respond = |received: &gatehouse_edge::Received<'_>| match state.replies.to(received.event) {
        Some(reply) => reply.to_owned(),
        None => received.respond(ENDPOINT.source),
    };
    state.door.receive(&ENDPOINT, request, deadline, respond).await
}
