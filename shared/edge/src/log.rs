//! The request log line: one line of JSON for each request, on standard output.
//!
//! | field | unit | |
//! |---|---|---|
//! | `function` | | the function's name |
//! | `source` | | the vendor |
//! | `request_id` | | the invocation's, as Lambda's own lines and a refusal name it |
//! | `event_type` | | the vendor's name for the kind of event, where it is one |
//! | `event_id` | | absent when the delivery was refused before it was identified |
//! | `outcome` | | `recorded`, `duplicate`, `conflict`, `queued`, `unrecorded`, `skipped`, `erased`, `refused`, `unavailable`; of a chat's request `replayed` |
//! | `status` | | the HTTP status |
//! | `ms` | milliseconds | from request to answer |
//! | `problem`, `detail` | | what a refusal named |
//! | `why` | | of what was not verified: `unsigned`, `malformed`, `stale`, `no-match`, `no-secret-configured`; of a client that is not known, what its token lacks |
//! | `rule` | | which rule, or whose code, decided about the answer |
//! | `fault` | | why a rule or code that should have answered did not |
//! | `action`, `action_error` | | `done` or `failed`: what was to be done about the event; why it failed |
//! | `error` | | what failed behind a `queued`, `unrecorded` or `unavailable` |
//! | `parsed`, `identity`, `dated` | | `false`, `weak` and `false` where the body did not tell; else absent |
//!
//! The line of an `unrecorded` event has the level `error`: its sender has an answer, and nobody has the event.
//!
//! Every line with an `outcome` is a metric as well, in CloudWatch's embedded metric format: in the namespace
//! [`NAMESPACE`], by the dimension `stack`, a count of [`OUTCOMES`] and one of its outcome's name, [`SERVER_ERROR`] and
//! [`UNVERIFIED`], and [`WEBHOOK_MS`] of vendors' deliveries.
//!
//! Never a payload, a secret or a token: `call.monitor.controlUrl` alone would let a reader steer a live call.

mod line;

pub use line::{NAMESPACE, OUTCOMES, SERVER_ERROR, UNVERIFIED, WEBHOOK_MS};

use std::time::Duration;

use gatehouse_inbox::{Event, Outcome};
use tracing::{Level, Metadata};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{Targets, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// What a request came to.
#[derive(Debug)]
pub(crate) struct RequestLine<'r> {
    pub(crate) function: &'static str,
    pub(crate) source: &'static str,
    pub(crate) request_id: Option<&'r str>,
    pub(crate) outcome: Outcome,
    pub(crate) status: u16,
    pub(crate) took: Duration,
    pub(crate) told: LogContext,
}

/// What there is to tell about a request besides.
#[derive(Debug, Default)]
pub(crate) struct LogContext {
    pub(crate) event: Option<Event>,
    pub(crate) problem: Option<(&'static str, String)>,
    pub(crate) why: Option<&'static str>,
    pub(crate) rule: Option<String>,
    pub(crate) fault: Option<String>,
    pub(crate) action: Option<Result<(), String>>,
    pub(crate) error: Option<String>,
}

/// A line at the level it is worth: `tracing` wants the level as a constant.
macro_rules! line {
    ($urgent:expr, $($fields:tt)*) => {
        if $urgent { tracing::error!($($fields)*) } else { tracing::info!($($fields)*) }
    };
}

impl RequestLine<'_> {
    pub(crate) fn write(self) {
        let RequestLine { function, source, request_id, outcome, status, .. } = self;
        let LogContext { event, problem, why, rule, fault, action, error } = self.told;
        let event_id = event.as_ref().map(|event| event.id.as_str());
        let event_type = event.as_ref().and_then(|event| event.event_type.as_deref()).filter(|name| is_word(name));
        let marks = event.as_ref().map(|event| event.marks).unwrap_or_default();
        let (problem, detail) = problem.unzip();
        let ms = u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX);
        let parsed = marks.unparsed.then_some(false);
        let identity = marks.weak_identity.then_some("weak");
        let dated = marks.undated.then_some(false);
        let action_error = action.as_ref().and_then(|done| done.as_ref().err());
        let action = action.as_ref().map(|done| if done.is_ok() { "done" } else { "failed" });
        let is_urgent = outcome == Outcome::Unrecorded;
        let outcome = outcome.as_str();
        line!(
            is_urgent,
            function,
            source,
            request_id,
            event_type,
            event_id,
            outcome,
            status,
            ms,
            problem,
            why,
            detail,
            rule,
            fault,
            action,
            action_error,
            error,
            parsed,
            identity,
            dated,
            "request"
        );
    }
}

/// Whether a kind of event may be logged: vendors' are words, and what is none may be anything.
#[must_use]
pub fn is_word(name: &str) -> bool {
    name.len() <= 64 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// Whether a line may be written at all. Below `info` only Gatehouse's own may, whatever `RUST_LOG` says: the Lambda
/// runtime and the SDK trace whole requests, with the bodies and the tokens in them.
#[must_use]
pub fn is_safe(line: &Metadata<'_>) -> bool {
    *line.level() <= Level::INFO || line.target().starts_with("gatehouse")
}

/// A panic is told by its place alone from now on: its words may quote a payload.
pub fn tell_panics_by_place() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        tracing::error!(place, "panicked");
    }));
}

/// Writes every safe line as JSON to standard output, where Lambda collects it. `RUST_LOG` filters; `info` by default.
pub fn init() {
    tell_panics_by_place();
    let filter = std::env::var("RUST_LOG").ok().filter(|filter| !filter.is_empty());
    let asked =
        filter.and_then(|filter| filter.parse().ok()).unwrap_or_else(|| Targets::new().with_default(Level::INFO));
    let stack = std::env::var("STACK_NAME").ok().filter(|stack| !stack.is_empty());
    let lines = tracing_subscriber::fmt::layer().event_format(line::Lines { stack });
    let lines = lines.with_filter(filter_fn(is_safe));
    // A second call changes nothing: the first subscriber stays.
    let _ = tracing_subscriber::registry().with(asked).with(lines).try_init();
}
