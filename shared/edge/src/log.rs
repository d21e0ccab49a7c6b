//! The request log line: one line of JSON for each request, on standard output.
//!
//! | field | unit | |
//! |---|---|---|
//! | `function` | | the function's name |
//! | `source` | | the vendor |
//! | `event_id` | | absent when the delivery was refused before it was identified |
//! | `outcome` | | `recorded`, `duplicate`, `conflict`, `queued`, `refused`, `unavailable` |
//! | `status` | | the HTTP status |
//! | `ms` | milliseconds | from request to answer |
//! | `problem`, `detail` | | what a refusal named |
//! | `error` | | what failed behind a `queued` or `unavailable` |
//! | `parsed`, `identity`, `dated` | | `false`, `weak` and `false` where the body did not tell; else absent |
//!
//! Never a payload, a secret or a token: `call.monitor.controlUrl` alone would let a reader steer a live call.

use std::time::Duration;

use gatehouse_inbox::Marks;
use tracing::{Level, Metadata};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{Targets, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// What a request came to.
#[derive(Debug)]
pub(crate) struct RequestLine<'a> {
    pub(crate) function: &'static str,
    pub(crate) source: &'static str,
    pub(crate) event_id: Option<&'a str>,
    pub(crate) outcome: &'static str,
    pub(crate) status: u16,
    pub(crate) took: Duration,
    pub(crate) problem: Option<(&'static str, String)>,
    pub(crate) error: Option<String>,
    pub(crate) marks: Marks,
}

impl RequestLine<'_> {
    pub(crate) fn write(self) {
        let RequestLine { function, source, event_id, outcome, status, .. } = self;
        let (problem, detail) = self.problem.unzip();
        let ms = u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX);
        let parsed = self.marks.unparsed.then_some(false);
        let identity = self.marks.weak_identity.then_some("weak");
        let dated = self.marks.undated.then_some(false);
        let error = self.error;
        tracing::info!(
            function, source, event_id, outcome, status, ms, problem, detail, error, parsed, identity, dated, "request"
        );
    }
}

/// Whether a line may be written at all. Below `info` only Gatehouse's own may, whatever `RUST_LOG` says: the Lambda runtime
/// and the SDK trace whole requests, with the bodies and the tokens in them.
#[must_use]
pub fn is_safe(line: &Metadata<'_>) -> bool {
    *line.level() <= Level::INFO || line.target().starts_with("gatehouse")
}

/// Writes every safe line as JSON to standard output, where Lambda collects it. `RUST_LOG` filters; `info` by default.
pub fn init() {
    let filter = std::env::var("RUST_LOG").ok().filter(|filter| !filter.is_empty());
    let asked =
        filter.and_then(|filter| filter.parse().ok()).unwrap_or_else(|| Targets::new().with_default(Level::INFO));
    let lines = tracing_subscriber::fmt::layer().json().flatten_event(true).with_current_span(false);
    let lines = lines.with_span_list(false).with_target(false).with_filter(filter_fn(is_safe));
    // A second call changes nothing: the first subscriber stays.
    let _ = tracing_subscriber::registry().with(asked).with(lines).try_init();
}
