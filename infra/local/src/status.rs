//! Describes a running local stack at `GET /gatehouse`: the URLs of its parts, and its event counts.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use gatehouse_runtime::Clock;
use serde::{Deserialize, Serialize};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// The path of the description.
pub const PATH: &str = "/gatehouse";
/// Time for which counts are stored, in minutes.
const RETENTION: usize = 24 * 60;

/// The URLs and names of a stack's parts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct About {
    /// Each function's URL, by its name.
    pub functions: BTreeMap<String, String>,
    /// DynamoDB's endpoint.
    pub dynamodb: String,
    /// SQS' endpoint.
    pub sqs: String,
    /// The table's name.
    pub table: String,
    /// The retry queue's URL.
    pub retry_queue: String,
    /// The dead-letter queue's URL.
    pub dead_letter_queue: String,
    /// The delivery table's name.
    #[serde(default)]
    pub delivery_table: String,
    /// The delivery queue's URL.
    #[serde(default)]
    pub delivery_queue: String,
    /// The slow delivery queue's URL.
    #[serde(default)]
    pub slow_delivery_queue: String,
    /// The file with the destinations, if they can be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destinations_file: Option<PathBuf>,
    /// The directory with the data, if they outlive the stack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_dir: Option<PathBuf>,
}

/// The number of events with the same source, type, outcome and results of services in one minute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// The minute, in minutes since 1970.
    pub minute: i64,
    /// The vendor; empty if the log line does not name one.
    pub source: String,
    /// The vendor's event type; empty if it is unknown, for example for a refused request.
    pub event_type: String,
    /// The outcome, as the log line names it.
    pub outcome: String,
    /// The services that were asked, separated by commas; empty if none was.
    #[serde(default)]
    pub asked: String,
    /// The result of each of them, separated by commas.
    #[serde(default)]
    pub ask: String,
    /// The number of events.
    pub count: u64,
}

/// The response at [`PATH`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Answer {
    /// The stack's parts.
    #[serde(flatten)]
    pub about: About,
    /// The counts of the last day.
    pub counts: Vec<Count>,
}

/// A `tracing` layer that counts the functions' log lines, like CloudWatch metrics. Clones share the counts.
#[derive(Debug, Clone, Default)]
pub struct Counts(Arc<Mutex<VecDeque<Minute>>>);

#[derive(Debug)]
struct Minute {
    minute: i64,
    counts: BTreeMap<Kind, u64>,
}

#[derive(Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    source: String,
    event_type: String,
    outcome: String,
    asked: String,
    ask: String,
}

impl Counts {
    /// Returns the counts of the last day, by minute.
    #[must_use]
    pub fn read(&self) -> Vec<Count> {
        let minutes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count_of = |minute: &Minute, (kind, count): (&Kind, &u64)| Count {
            minute: minute.minute,
            source: kind.source.clone(),
            event_type: kind.event_type.clone(),
            outcome: kind.outcome.clone(),
            asked: kind.asked.clone(),
            ask: kind.ask.clone(),
            count: *count,
        };
        minutes.iter().flat_map(|minute| minute.counts.iter().map(move |kind| count_of(minute, kind))).collect()
    }

    fn add(&self, kind: Kind) {
        let minute = Clock::System.now().as_secs().div_euclid(60);
        let mut minutes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if minutes.back().is_none_or(|last| last.minute != minute) {
            minutes.push_back(Minute { minute, counts: BTreeMap::new() });
            let expired = minutes.len().saturating_sub(RETENTION);
            minutes.drain(..expired);
        }
        if let Some(last) = minutes.back_mut() {
            *last.counts.entry(kind).or_default() += 1;
        }
    }
}

impl<S: Subscriber> Layer<S> for Counts {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut kind = Kind::default();
        event.record(&mut kind);
        if !kind.outcome.is_empty() {
            self.add(kind);
        }
    }
}

impl Visit for Kind {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "outcome" => self.outcome = value.to_owned(),
            "source" => self.source = value.to_owned(),
            "event_type" => self.event_type = value.to_owned(),
            "asked" => self.asked = value.to_owned(),
            "ask" => self.ask = value.to_owned(),
            // event-retry's log lines have no source; the event id starts with it.
            "event_id" if self.source.is_empty() => {
                self.source = value.split(':').next().unwrap_or_default().to_owned();
            }
            _ => {}
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[test]
    fn counts_group_log_lines_by_source_type_and_outcome() {
        let counts = Counts::default();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(counts.clone()), || {
            for _ in 0..2 {
                tracing::info!(function = "f", source = "ada", event_type = "v1.x", outcome = "recorded", "request");
            }
            tracing::info!(function = "event-retry", event_id = "ada:msg_1", outcome = "dead-lettered", "message");
            tracing::info!("ready");
        });
        let mut counted: Vec<_> =
            counts.read().into_iter().map(|c| (c.source, c.event_type, c.outcome, c.count)).collect();
        counted.sort();
        let count = |source: &str, kind: &str, outcome: &str, n| (source.into(), kind.into(), outcome.into(), n);
        assert_eq!(counted, [count("ada", "", "dead-lettered", 1), count("ada", "v1.x", "recorded", 2)]);
    }
}
