//! Formats a log line as one JSON object, which is also a metric if it has an outcome.
//!
//! CloudWatch extracts metrics from log lines in its embedded metric format: the member `_aws` names the members that
//! have the values. So metrics need no extra API call or permission.

use std::fmt;
use std::io;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use gatehouse_payload::Outcome;
use gatehouse_payload::time::Timestamp;
use gatehouse_runtime::Clock;

use super::flood::{Flood, REPEATABLE};

/// The metrics' namespace.
pub const NAMESPACE: &str = "Gatehouse";
/// The metric that counts the lines with an outcome.
pub const OUTCOMES: &str = "outcomes";
/// The metric that counts the requests whose delivery or client is not verified.
pub const UNVERIFIED: &str = "unverified";
/// The metric that counts the responses with a 5xx, except those of a closed endpoint.
pub const SERVER_ERROR: &str = "server_error";
/// The metric with the time to the response to a webhook, in milliseconds, without the time that services took to
/// answer.
pub const WEBHOOK_MS: &str = "webhook_ms";
/// The metric that counts the events about which services were asked.
pub const QUESTIONS: &str = "questions";
/// The metric that counts the events about which a service was asked and did not give a usable answer.
pub const FALLBACK: &str = "fallback";

/// The metric that counts the attempts to deliver an event to a destination.
pub const DELIVERY_ATTEMPTS: &str = "delivery_attempts";
/// The metric that counts the attempts that failed.
pub const DELIVERY_FAILED: &str = "delivery_failed";
/// The metric that counts the deliveries that are dead: every attempt failed, or one failed permanently.
pub const DELIVERY_DEAD: &str = "delivery_dead";
/// The metric that counts, each minute, the destinations that get nothing.
pub const DESTINATION_STOPPED: &str = "destination_stopped";

/// The unit of counts.
const COUNT: &str = "Count";
/// The problems of requests whose delivery or client is not verified.
const NOT_VERIFIED: [&str; 2] = ["unverified", "no-client"];

/// Formats lines. `stack` is the dimension of the metrics; without it there are no metrics.
#[derive(Default)]
pub(super) struct Lines {
    pub(super) stack: Option<String>,
    pub(super) flood: Flood,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let now = Clock::System.now();
        let mut measured = Measured::default();
        event.record(&mut measured);
        // Only lines in CloudWatch cost money.
        let problem = measured.problem.filter(|_| self.stack.is_some());
        let Some(more) = self.flood.admit(problem, now.as_secs()) else { return Ok(()) };
        let mut line = serde_json::Serializer::new(Adapter(&mut writer));
        self.write(&mut line, event, &measured, more, now).map_err(|_| fmt::Error)?;
        writeln!(writer)
    }
}

impl Lines {
    fn write<W: io::Write>(
        &self,
        line: &mut serde_json::Serializer<W>,
        event: &Event<'_>,
        measured: &Measured,
        more: u64,
        now: Timestamp,
    ) -> serde_json::Result<()> {
        let mut map = line.serialize_map(None)?;
        map.serialize_entry("timestamp", &now.to_string())?;
        map.serialize_entry("level", event.metadata().level().as_str())?;
        let mut fields = Fields { map: &mut map, result: Ok(()) };
        event.record(&mut fields);
        fields.result?;
        if more > 0 {
            map.serialize_entry("more", &more)?;
        }
        let values = measured.values(1 + more);
        if let Some(stack) = self.stack.as_ref().filter(|_| !values.is_empty()) {
            map.serialize_entry("stack", stack)?;
            values.iter().try_for_each(|(name, value, _)| map.serialize_entry(name, value))?;
            map.serialize_entry("_aws", &metadata(now.as_millis(), &values))?;
        }
        map.end()
    }
}

/// Returns the member `_aws`, which makes the line a metric.
fn metadata(now: i64, values: &[(&str, u64, &str)]) -> serde_json::Value {
    let metric = |(name, _, unit): &(&str, u64, &str)| serde_json::json!({"Name": name, "Unit": unit});
    let metrics: Vec<_> = values.iter().map(metric).collect();
    serde_json::json!({
        "Timestamp": now,
        "CloudWatchMetrics": [{"Namespace": NAMESPACE, "Dimensions": [["stack"]], "Metrics": metrics}],
    })
}

/// Writes the fields of a line as members of its JSON object.
struct Fields<'m, M: SerializeMap> {
    map: &'m mut M,
    /// The first error, after which no member is written.
    result: Result<(), M::Error>,
}

impl<M: SerializeMap> Fields<'_, M> {
    fn member(&mut self, field: &Field, value: &(impl Serialize + ?Sized)) {
        if self.result.is_ok() {
            self.result = self.map.serialize_entry(field.name(), value);
        }
    }
}

impl<M: SerializeMap> Visit for Fields<'_, M> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.member(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.member(field, &value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.member(field, &value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.member(field, &value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.member(field, &value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.member(field, &format!("{value:?}"));
    }
}

/// The fields of a line from which its metrics are calculated.
#[derive(Default)]
struct Measured {
    outcome: Option<Outcome>,
    /// The problem, if it is one of [`REPEATABLE`].
    problem: Option<&'static str>,
    status: u64,
    /// Whether the line has a `source`, which only the receiver's lines have.
    is_webhook: bool,
    ms: Option<u64>,
    /// How long services took to answer.
    ask_ms: u64,
    /// Whether all services that were asked gave a usable answer; `None` if none was asked.
    is_answered: Option<bool>,
    /// The result of an attempt to deliver an event.
    delivery: Option<Attempt>,
    /// Whether the line reports a destination that gets nothing.
    is_stopped: bool,
}

/// The result of an attempt to deliver an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attempt {
    Delivered,
    Failed,
    Dead,
}

impl Attempt {
    /// Reads the state of a delivery after an attempt. One that is dropped was not attempted.
    fn from_state(state: &str) -> Option<Attempt> {
        match state {
            "delivered" => Some(Attempt::Delivered),
            "waiting" => Some(Attempt::Failed),
            "dead" => Some(Attempt::Dead),
            _ => None,
        }
    }
}

impl Measured {
    /// Returns the names, values and units of the metrics of a line that stands for this number of requests.
    fn values(&self, requests: u64) -> Vec<(&'static str, u64, &'static str)> {
        let mut values = Vec::new();
        if let Some(outcome) = self.outcome {
            let count = |is_counted| if is_counted { requests } else { 0 };
            let is_server_error = self.status >= 500 && outcome != Outcome::Closed;
            let is_unverified = self.problem.is_some_and(|problem| NOT_VERIFIED.contains(&problem));
            let counts = [
                (OUTCOMES, requests),
                (outcome.as_str(), requests),
                (SERVER_ERROR, count(is_server_error)),
                (UNVERIFIED, count(is_unverified)),
            ];
            values.extend(counts.map(|(name, value)| (name, value, COUNT)));
            if let Some(is_answered) = self.is_answered {
                values.extend([(QUESTIONS, 1, COUNT), (FALLBACK, u64::from(!is_answered), COUNT)]);
            }
            let own_ms = self.ms.filter(|_| self.is_webhook).map(|ms| ms.saturating_sub(self.ask_ms));
            values.extend(own_ms.map(|ms| (WEBHOOK_MS, ms, "Milliseconds")));
        }
        if let Some(attempt) = self.delivery {
            let (is_failed, is_dead) = match attempt {
                Attempt::Delivered => (false, false),
                Attempt::Failed => (true, false),
                Attempt::Dead => (true, true),
            };
            let counts =
                [(DELIVERY_ATTEMPTS, 1), (DELIVERY_FAILED, u64::from(is_failed)), (DELIVERY_DEAD, u64::from(is_dead))];
            values.extend(counts.map(|(name, value)| (name, value, COUNT)));
        }
        if self.is_stopped {
            values.push((DESTINATION_STOPPED, 1, COUNT));
        }
        values
    }
}

impl Visit for Measured {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "outcome" => self.outcome = Outcome::from_word(value),
            "problem" => self.problem = REPEATABLE.into_iter().find(|problem| *problem == value),
            "source" => self.is_webhook = true,
            "delivery" => self.delivery = Attempt::from_state(value),
            "stopped" => self.is_stopped = true,
            "ask" => self.is_answered = Some(value.split(',').all(|word| word == "answered")),
            _ => {}
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "status" => self.status = value,
            "ms" => self.ms = Some(value),
            "ask_ms" => self.ask_ms = value,
            _ => {}
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

/// Writes bytes of JSON to a writer of text.
struct Adapter<'a, 'w>(&'a mut Writer<'w>);

impl io::Write for Adapter<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = std::str::from_utf8(bytes).map_err(io::Error::other)?;
        self.0.write_str(text).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::{Value, json};
    use tracing_subscriber::fmt::MakeWriter;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Written {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    /// Returns the line that `log` writes.
    fn line(stack: Option<&str>, log: impl FnOnce()) -> Value {
        let written = Written::default();
        let lines = Lines { stack: stack.map(str::to_owned), ..Lines::default() };
        let layer = tracing_subscriber::fmt::layer().event_format(lines).with_writer(written.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), log);
        let bytes = written.0.lock().unwrap().clone();
        assert!(bytes.ends_with(b"}\n") && bytes.iter().filter(|byte| **byte == b'\n').count() == 1);
        serde_json::from_slice(&bytes).unwrap()
    }

    #[test]
    fn line_with_outcome_is_a_metric() {
        let line = line(Some("gatehouse"), || {
            tracing::info!(
                function = "f",
                source = "ada",
                outcome = "refused",
                problem = "unverified",
                status = 401_u16,
                ms = 3_u64,
                "request"
            );
        });
        for (name, value) in [("message", json!("request")), ("level", json!("INFO")), ("ms", json!(3))] {
            assert_eq!(line[name], value);
        }
        let directive = &line["_aws"]["CloudWatchMetrics"][0];
        let names: Vec<_> = directive["Metrics"].as_array().unwrap().iter().map(|metric| &metric["Name"]).collect();
        assert_eq!(names, ["outcomes", "refused", "server_error", "unverified", "webhook_ms"]);
        // Every metric is a member with a number, and every dimension a member with a text.
        let values: Vec<_> = names.iter().map(|name| line[name.as_str().unwrap()].as_u64().unwrap()).collect();
        assert_eq!(values, [1, 1, 0, 1, 3]);
        assert_eq!((&directive["Namespace"], &directive["Dimensions"]), (&json!("Gatehouse"), &json!([["stack"]])));
        assert_eq!(line["stack"], "gatehouse");
        assert!(line["_aws"]["Timestamp"].as_i64().unwrap() > 1_700_000_000_000);
    }

    #[test]
    fn questions_to_services_are_counted_and_their_time_is_not_gatehouses() {
        let values = |ask: &str| {
            let line = line(Some("gatehouse"), || {
                tracing::info!(source = "vapi", outcome = "recorded", ms = 930_u64, ask, ask_ms = 900_u64, "request");
            });
            ["questions", "fallback", "webhook_ms"].map(|name| line[name].as_u64())
        };
        assert_eq!(values("answered"), [Some(1), Some(0), Some(30)]);
        assert_eq!(values("answered,timeout"), [Some(1), Some(1), Some(30)]);
        let other = line(Some("gatehouse"), || tracing::info!(source = "vapi", outcome = "recorded", "request"));
        assert_eq!(other.get("questions"), None);
    }

    #[test]
    fn attempts_to_deliver_are_counted() {
        let names = ["delivery_attempts", "delivery_failed", "delivery_dead"];
        for (state, expected) in [("delivered", [1, 0, 0]), ("waiting", [1, 1, 0]), ("dead", [1, 1, 1])] {
            let line = line(Some("gatehouse"), || tracing::info!(delivery = state, ms = 3_u64, "delivery"));
            assert_eq!(names.map(|name| line[name].as_u64()), expected.map(Some), "{state}");
            assert_eq!((line.get("outcomes"), line.get("webhook_ms")), (None, None));
        }
        let dropped = line(Some("gatehouse"), || tracing::info!(delivery = "dropped", "delivery"));
        assert_eq!(dropped.get("_aws"), None);
    }

    #[test]
    fn destinations_that_get_nothing_are_counted() {
        let line = line(Some("gatehouse"), || tracing::warn!(stopped = "disabled", destination = "crm", "destination"));
        assert_eq!((&line["destination_stopped"], &line["stopped"]), (&json!(1), &json!("disabled")));
        assert_eq!(line.get("delivery_attempts"), None);
    }

    #[test]
    fn line_without_outcome_or_stack_is_not_a_metric() {
        let other = line(Some("gatehouse"), || tracing::warn!(error = "a \"quoted\"\nword", "something"));
        assert_eq!((&other["error"], other.get("_aws")), (&json!("a \"quoted\"\nword"), None));
        let local = line(None, || tracing::info!(outcome = "recorded", "request"));
        assert_eq!((local.get("_aws"), local.get("recorded")), (None, None));
    }
}
