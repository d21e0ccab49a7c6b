//! The request log line: one line of JSON for each request, on standard output.
//!
//! | field | unit | |
//! |---|---|---|
//! | `function` | | the name of the function |
//! | `source` | | the vendor |
//! | `request_id` | | the invocation's id, which is also in Lambda's own lines and in problem documents |
//! | `event_type` | | the vendor's name for the type of the event; absent if it does not look like a name |
//! | `event_id` | | absent if the delivery was rejected before it was identified |
//! | `subject` | | the conversation, call, session or chat of the event; absent if the body does not name one |
//! | `outcome` | | `recorded`, `duplicate`, `conflict`, `queued`, `unrecorded`, `skipped`, `erased`, `refused`, `closed`, `unavailable`; `replayed` for chat requests |
//! | `status` | | the HTTP status |
//! | `ms` | milliseconds | from request to response |
//! | `more` | | the number of requests with the same `problem` since its last line, which have no line of their own |
//! | `problem`, `detail` | | slug and detail of the problem, if the request was rejected |
//! | `why` | | why a delivery is not verified: `unsigned`, `malformed`, `stale`, `no-match`, `no-secret-configured`; or why a client's token was rejected |
//! | `rule` | | the rule or the code that decided the reply |
//! | `fault` | | why a rule or code that should have decided the reply did not |
//! | `asked`, `ask` | | the services that were asked for the reply, and a word for the result of each: `answered`, `timeout`, `status`, `connect`, `breaker`, `unusable` |
//! | `ask_ms` | milliseconds | how long asking took, or waiting for the answer to another copy |
//! | `claim` | | `taken`: another copy of the event has asked; `none`: a service was asked without a claim, because DynamoDB did not respond |
//! | `notified` | | the services that were notified after the event was recorded |
//! | `notify_ms` | milliseconds | how long that took |
//! | `action`, `action_error` | | `done` or `failed`, if there was an action or a service was notified; and why it failed |
//! | `error` | | the cause of a `queued`, `unrecorded` or `unavailable` |
//! | `parsed`, `identity`, `dated` | | `false`, `weak` and `false` if the body could not be read, has no id or has no time; else absent |
//!
//! In a deployed stack, of the requests that are rejected with the same problem before they are verified, the first one
//! in a second gets a line. The next such line counts the others, also in its metrics; what an instance has not written
//! when it ends is lost. No log level excludes a line with an `outcome`.
//!
//! The line of an `unrecorded` event has the level `error`, because its sender got a reply but the event is not stored.
//!
//! Every line with an `outcome` is also a metric in CloudWatch's embedded metric format. Its namespace is
//! [`NAMESPACE`], its dimension `stack`. It counts [`OUTCOMES`], the outcome by its name, [`SERVER_ERROR`] and
//! [`UNVERIFIED`], and has [`WEBHOOK_MS`] for vendors' deliveries. If services were asked, it counts [`QUESTIONS`] and
//! [`FALLBACK`].
//!
//! The lines of attempts to deliver an event have the fields `delivery` (the state after the attempt: `delivered`,
//! `waiting`, `dead`, `dropped`), `destination`, `attempt` and `reason`, and count [`DELIVERY_ATTEMPTS`],
//! [`DELIVERY_FAILED`] and [`DELIVERY_DEAD`].
//!
//! Each minute, a line reports each destination that gets nothing, with the fields `stopped` (`failing`, `disabled` or
//! `unusable`), `destination` and `reason`. It counts [`DESTINATION_STOPPED`].
//!
//! A line never contains a payload, a secret or a token. With `call.monitor.controlUrl` alone, a reader could control a
//! live call.

mod filter;
mod flood;
mod line;

pub use filter::{InvalidLogLevel, OUTCOME_TARGET, filter};
pub use line::{
    DELIVERY_ATTEMPTS, DELIVERY_DEAD, DELIVERY_FAILED, DESTINATION_STOPPED, FALLBACK, NAMESPACE, OUTCOMES, QUESTIONS,
    SERVER_ERROR, UNVERIFIED, WEBHOOK_MS,
};

use std::time::Duration;

use gatehouse_payload::{Event, Outcome, Subject};

use crate::responder::AskSummary;
use tracing::{Level, Metadata};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{Targets, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// The log line of a request.
#[derive(Debug)]
pub(crate) struct RequestLine<'r> {
    pub(crate) function: &'static str,
    pub(crate) source: &'static str,
    pub(crate) request_id: Option<&'r str>,
    pub(crate) outcome: Outcome,
    pub(crate) status: u16,
    pub(crate) took: Duration,
    pub(crate) context: LogContext,
}

/// The optional fields of a request's log line.
#[derive(Debug, Default)]
pub(crate) struct LogContext {
    pub(crate) event: Option<Event>,
    pub(crate) problem: Option<(&'static str, String)>,
    pub(crate) why: Option<&'static str>,
    pub(crate) rule: Option<String>,
    pub(crate) fault: Option<String>,
    pub(crate) asks: AskSummary,
    pub(crate) notified: Option<String>,
    pub(crate) notify_took: Duration,
    pub(crate) action: Option<Result<(), String>>,
    pub(crate) error: Option<String>,
}

/// Writes the log line of a request, a turn or a queued message: a message, the function's name, the outcome, its
/// duration, and more fields. Fields that are `None` are left out. An [`Outcome::Unrecorded`] has the level `error`, every
/// other outcome `info`.
#[macro_export]
macro_rules! log_outcome {
    ($message:literal, $function:expr, $outcome:expr, $took:expr $(, $field:ident $(= $value:expr)?)* $(,)?) => {{
        let (function, outcome, ms) = ($function, $outcome, $crate::log::milliseconds($took));
        let word = outcome.as_str();
        // `tracing` requires constant levels.
        if $crate::log::is_error(outcome) {
            ::tracing::error!(
                target: $crate::log::OUTCOME_TARGET, function, outcome = word, ms $(, $field $(= $value)?)*, $message
            );
        } else {
            ::tracing::info!(
                target: $crate::log::OUTCOME_TARGET, function, outcome = word, ms $(, $field $(= $value)?)*, $message
            );
        }
    }};
}

/// Whether the line of an outcome has the level `error`.
#[must_use]
pub fn is_error(outcome: Outcome) -> bool {
    outcome == Outcome::Unrecorded
}

/// Returns a duration in whole milliseconds.
#[must_use]
pub fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl RequestLine<'_> {
    pub(crate) fn write(self) {
        let RequestLine { function, source, request_id, outcome, status, .. } = self;
        let LogContext { event, problem, why, rule, fault, asks, action, error, notified, notify_took } = self.context;
        let event_id = event.as_ref().map(|event| event.id.as_str());
        let event_type = event.as_ref().and_then(|event| event.event_type.as_deref()).filter(|name| is_word(name));
        let subject = event.as_ref().and_then(|event| event.subject.as_ref()).map(Subject::as_str);
        let flags = event.as_ref().map(|event| event.flags).unwrap_or_default();
        let (problem, detail) = problem.unzip();
        let parsed = flags.unparsed.then_some(false);
        let identity = flags.weak_identity.then_some("weak");
        let dated = flags.undated.then_some(false);
        let AskSummary { asked, results: ask, took, claim } = asks;
        // A copy that waits for another one waits for the service too.
        let ask_ms = (asked.is_some() || claim == Some("taken")).then(|| milliseconds(took));
        let notify_ms = notified.as_ref().map(|_| milliseconds(notify_took));
        let action_error = action.as_ref().and_then(|result| result.as_ref().err());
        let action = action.as_ref().map(|result| if result.is_ok() { "done" } else { "failed" });
        log_outcome!(
            "request",
            function,
            outcome,
            self.took,
            source,
            request_id,
            event_type,
            event_id,
            subject,
            status,
            problem,
            why,
            detail,
            rule,
            fault,
            asked,
            ask,
            ask_ms,
            claim,
            notified,
            notify_ms,
            action,
            action_error,
            error,
            parsed,
            identity,
            dated,
        );
    }
}

/// Whether the name of an event type may be logged. The vendors' names are words; any other text may be sensitive.
#[must_use]
pub fn is_word(name: &str) -> bool {
    name.len() <= 64 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// Whether a line may be written, independent of `RUST_LOG`. Below `info` only Gatehouse's own lines may be, because
/// the Lambda runtime and the SDK trace whole requests with their bodies and tokens.
#[must_use]
pub fn is_safe(line: &Metadata<'_>) -> bool {
    *line.level() <= Level::INFO || line.target().starts_with("gatehouse")
}

/// Makes panics log only their location, because their messages may quote a payload.
pub fn log_panics_by_location() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        tracing::error!(place, "panicked");
    }));
}

/// Starts writing every [safe](is_safe) line as JSON to standard output, which Lambda sends to CloudWatch. `RUST_LOG`
/// filters the lines; its default is `info`.
///
/// # Errors
/// If `RUST_LOG` is not a filter. The error is logged.
pub fn init() -> Result<(), InvalidLogLevel> {
    log_panics_by_location();
    let default = Targets::new().with_default(Level::INFO);
    let get = |name: &str| std::env::var(name).ok();
    let filter = filter(&get, default.clone());
    let targets = filter.clone().unwrap_or(default).with_target(OUTCOME_TARGET, Level::INFO);
    let stack = std::env::var("STACK_NAME").ok().filter(|stack| !stack.is_empty());
    let lines = tracing_subscriber::fmt::layer().event_format(line::Lines { stack, ..line::Lines::default() });
    let lines = lines.with_filter(filter_fn(is_safe));
    // A second call fails and changes nothing.
    let _ = tracing_subscriber::registry().with(targets).with(lines).try_init();
    filter.map(drop).inspect_err(|error| tracing::error!(%error, "cannot start"))
}
