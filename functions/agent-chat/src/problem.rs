//! Error responses to chat requests, as problem documents (RFC 9457).

use std::borrow::Cow;

use gatehouse_inbox::store::slots::LimitReached;
use gatehouse_receiver::problem::RETRY_AFTER;
use gatehouse_receiver::{Problem, ProblemDocument};
use http::{HeaderValue, StatusCode, header};

/// Why a chat request was rejected, or its turn failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ChatProblem {
    /// A problem that webhook deliveries can have, too.
    Request(Problem),
    /// 401: no client has this token. Only the log shows why.
    NoClient(&'static str),
    /// 403: the client may not call this agent.
    Forbidden,
    /// 404: no agent has this id.
    NoAgent,
    /// 422: the request is not valid in the agent's dialect. Names the member and the rule.
    WrongRequest(String),
    /// 400: the `Idempotency-Key` is invalid.
    WrongKey,
    /// 409: the first request with this `Idempotency-Key` is still being processed.
    KeyInUse,
    /// 422: the `Idempotency-Key` belongs to another request.
    KeyReused,
    /// 409: the first request with this `Idempotency-Key` was answered, but its answer is not stored completely.
    NotReplayable,
    /// 503: the state of the `Idempotency-Key` is unavailable.
    KeyUnknown,
    /// 429: the client has reached a limit.
    TooMany(LimitReached),
    /// The agent rejected the request with this status and this `Retry-After`.
    AgentRefused(ClientErrorStatus, Option<HeaderValue>),
    /// 502: the agent's response is invalid, or there is none. Contains the cause, without the agent's text.
    BadAgent(Cow<'static, str>),
    /// 504: the agent did not respond in time.
    SlowAgent(&'static str),
}

/// A status from 400 to 499.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClientErrorStatus(StatusCode);

impl ClientErrorStatus {
    /// Returns `None` for any other status.
    pub(crate) fn new(status: StatusCode) -> Option<Self> {
        status.is_client_error().then_some(ClientErrorStatus(status))
    }
}

impl From<Problem> for ChatProblem {
    fn from(problem: Problem) -> Self {
        ChatProblem::Request(problem)
    }
}

impl ChatProblem {
    /// Returns the problem document.
    pub(crate) fn document(&self) -> ProblemDocument {
        match self {
            ChatProblem::Request(problem) => problem.document(),
            // RFC 9110 requires a challenge with every 401.
            ChatProblem::NoClient(_) => ProblemDocument::new(
                StatusCode::UNAUTHORIZED,
                "no-client",
                "The client is unknown",
                "send Authorization: Bearer with the token of a configured client",
            )
            .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")),
            ChatProblem::Forbidden => ProblemDocument::new(
                StatusCode::FORBIDDEN,
                "forbidden",
                "The client may not call this agent",
                "the client's list of agents does not name this one",
            ),
            ChatProblem::NoAgent => ProblemDocument::new(
                StatusCode::NOT_FOUND,
                "no-agent",
                "There is no such agent",
                "no agent of this id is configured",
            ),
            ChatProblem::WrongRequest(detail) => ProblemDocument::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "wrong-request",
                "The request is not valid in the agent's dialect",
                detail.as_str(),
            ),
            ChatProblem::WrongKey => ProblemDocument::new(
                StatusCode::BAD_REQUEST,
                "wrong-key",
                "The Idempotency-Key is invalid",
                "send one Idempotency-Key, of up to 200 visible ASCII characters",
            ),
            ChatProblem::KeyInUse => ProblemDocument::new(
                StatusCode::CONFLICT,
                "key-in-use",
                "The request is still being processed",
                "send the same request again later; once the answer is complete, the response contains it",
            )
            .with_retry_after(RETRY_AFTER),
            ChatProblem::KeyReused => ProblemDocument::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "key-reused",
                "The Idempotency-Key belongs to another request",
                "send another key, or the request with which the key was first sent",
            ),
            ChatProblem::NotReplayable => ProblemDocument::new(
                StatusCode::CONFLICT,
                "not-replayable",
                "The answer cannot be sent again",
                "the turn has ended, but its answer was too large to be stored completely, or was erased",
            ),
            ChatProblem::KeyUnknown => ProblemDocument::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "key-unknown",
                "The state of the Idempotency-Key is unavailable",
                "the agent did not receive the request; send the same request again",
            )
            .with_retry_after(RETRY_AFTER),
            ChatProblem::TooMany(limit) => {
                let (detail, retry_after) = match *limit {
                    LimitReached::Concurrent { retry_after } => {
                        ("the client has reached its limit of concurrent turns", retry_after)
                    }
                    LimitReached::PerMinute { retry_after } => {
                        ("the client has reached its limit of turns per minute", retry_after)
                    }
                };
                ProblemDocument::new(
                    StatusCode::TOO_MANY_REQUESTS,
                    "too-many",
                    "The client has reached its limit of turns",
                    detail,
                )
                .with_retry_after(retry_after)
            }
            ChatProblem::AgentRefused(ClientErrorStatus(status), retry_after) => {
                let document = ProblemDocument::new(
                    *status,
                    "agent-refused",
                    "The agent rejected the request",
                    format!("the agent responded with status {}; its response is not shown", status.as_u16()),
                );
                match retry_after {
                    Some(value) => document.with_header(header::RETRY_AFTER, value.clone()),
                    None => document,
                }
            }
            ChatProblem::BadAgent(detail) => {
                ProblemDocument::new(StatusCode::BAD_GATEWAY, "bad-agent", "The agent did not answer", detail.as_ref())
            }
            ChatProblem::SlowAgent(detail) => ProblemDocument::new(
                StatusCode::GATEWAY_TIMEOUT,
                "slow-agent",
                "The agent did not answer in time",
                *detail,
            ),
        }
    }

    /// Returns the detail for the log. Contains no value of the request.
    pub(crate) fn log_detail(&self) -> String {
        if let ChatProblem::Request(problem) = self { problem.log_detail() } else { self.document().detail }
    }

    /// Returns why the sender is not a client, in a word or two. Only for the log.
    pub(crate) fn why(&self) -> Option<&'static str> {
        match self {
            ChatProblem::Request(problem) => problem.why(),
            ChatProblem::NoClient(why) => Some(why),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agent_refused_has_only_statuses_from_400_to_499() {
        for status in 100..1000 {
            let is_accepted = ClientErrorStatus::new(StatusCode::from_u16(status).unwrap()).is_some();
            assert_eq!(is_accepted, (400..500).contains(&status), "{status}");
        }
    }
}
