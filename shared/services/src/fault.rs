//! The faults of services, and their words in the log.

/// Why a service did not answer. The message contains no content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No service has this name.
    #[error("is not in the secrets document")]
    Undefined,
    /// The service is on this machine, which only `gatehouse dev` allows.
    #[error("is at a loopback address, which only gatehouse dev can reach")]
    Loopback,
    /// The time limit was reached. The service may have received the question.
    #[error("did not answer in time")]
    Timeout,
    /// Another status than 2xx.
    #[error("answered with status {0}")]
    Status(u16),
    /// The Lambda function failed.
    #[error("failed: the function's log has the error")]
    FunctionError,
    /// No connection was made.
    #[error("cannot be reached")]
    Connect,
    /// The connection broke. The service may have received the question.
    #[error("closed the connection without an answer")]
    Broken,
    /// The breaker is open: the service has failed several times.
    #[error("was not asked, because it has failed several times")]
    Breaker,
    /// The answer is not usable. Contains the reason.
    #[error("gave an unusable answer: {0}")]
    Unusable(String),
    /// The request cannot be built. Contains the reason.
    #[error("cannot be asked: {0}")]
    Request(String),
}

impl Fault {
    /// Returns the word for the log field `ask`.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Fault::Timeout => "timeout",
            Fault::Status(_) | Fault::FunctionError => "status",
            Fault::Connect | Fault::Broken => "connect",
            Fault::Breaker => "breaker",
            Fault::Undefined | Fault::Loopback | Fault::Unusable(_) | Fault::Request(_) => "unusable",
        }
    }

    /// Whether the fault shows that the service is not working, so that the breaker counts it.
    pub(crate) fn is_failure(&self) -> bool {
        match self {
            Fault::Timeout | Fault::Connect | Fault::Broken | Fault::FunctionError => true,
            Fault::Status(status) => *status >= 500 || *status == 429,
            Fault::Undefined | Fault::Loopback | Fault::Breaker | Fault::Unusable(_) | Fault::Request(_) => false,
        }
    }
}
