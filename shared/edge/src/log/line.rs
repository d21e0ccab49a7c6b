//! How a line is written: one JSON object, which is a metric as well where it says what became of something.
//!
//! CloudWatch reads metrics out of log lines in its embedded metric format: a member `_aws` names the members that are values. So a
//! function needs neither a call nor a right to count.

use std::fmt;
use std::io;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use gatehouse_inbox::Clock;

/// The metrics' namespace.
pub const NAMESPACE: &str = "Gatehouse";
/// A metric: lines that say what became of something.
pub const OUTCOMES: &str = "outcomes";
/// A metric, 1 where nobody could verify a delivery or a client, else 0: its average is their share.
pub const UNVERIFIED: &str = "unverified";
/// A metric, 1 where the answer is a 5xx, else 0: its average is their share.
pub const SERVER_ERROR: &str = "server_error";
/// A metric: how long a webhook's answer took, in milliseconds.
pub const WEBHOOK_MS: &str = "webhook_ms";

/// Writes lines; `stack` is what the metrics are counted by. Without it there are none.
pub(super) struct Lines {
    pub(super) stack: Option<String>,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = serde_json::Serializer::new(Adapter(&mut writer));
        self.write(&mut line, event).map_err(|_| fmt::Error)?;
        writeln!(writer)
    }
}

impl Lines {
    fn write<W: io::Write>(&self, line: &mut serde_json::Serializer<W>, event: &Event<'_>) -> serde_json::Result<()> {
        let now = Clock::System.now();
        let mut map = line.serialize_map(None)?;
        map.serialize_entry("timestamp", &now.to_string())?;
        map.serialize_entry("level", event.metadata().level().as_str())?;
        let mut fields = Fields { map: &mut map, told: Told::default(), wrong: Ok(()) };
        event.record(&mut fields);
        let Fields { told, wrong, .. } = fields;
        wrong?;
        if let (Some(stack), Some(outcome)) = (&self.stack, &told.outcome) {
            let flags = [(SERVER_ERROR, u64::from(told.is_server_error)), (UNVERIFIED, u64::from(told.is_unverified))];
            let counts = [(OUTCOMES, 1), (outcome.as_str(), 1)].into_iter().chain(flags);
            let values = counts.map(|(name, value)| (name, value, "Count"));
            let took = told.ms.filter(|_| told.is_webhook).map(|ms| (WEBHOOK_MS, ms, "Milliseconds"));
            let values: Vec<_> = values.chain(took).collect();
            map.serialize_entry("stack", stack)?;
            values.iter().try_for_each(|(name, value, _)| map.serialize_entry(name, value))?;
            map.serialize_entry("_aws", &metadata(now.as_millis(), &values))?;
        }
        map.end()
    }
}

fn metadata(now: i64, values: &[(&str, u64, &str)]) -> serde_json::Value {
    let metric = |(name, _, unit): &(&str, u64, &str)| serde_json::json!({"Name": name, "Unit": unit});
    let metrics: Vec<_> = values.iter().map(metric).collect();
    serde_json::json!({
        "Timestamp": now,
        "CloudWatchMetrics": [{"Namespace": NAMESPACE, "Dimensions": [["stack"]], "Metrics": metrics}],
    })
}

/// A line's fields, as its members.
struct Fields<'m, M: SerializeMap> {
    map: &'m mut M,
    told: Told,
    wrong: Result<(), M::Error>,
}

/// What of a line is counted.
#[derive(Default)]
struct Told {
    outcome: Option<String>,
    is_unverified: bool,
    is_server_error: bool,
    /// Only the door's lines name a source.
    is_webhook: bool,
    ms: Option<u64>,
}

impl<M: SerializeMap> Fields<'_, M> {
    fn member(&mut self, field: &Field, value: &(impl Serialize + ?Sized)) {
        if self.wrong.is_ok() {
            self.wrong = self.map.serialize_entry(field.name(), value);
        }
    }
}

impl<M: SerializeMap> Visit for Fields<'_, M> {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "outcome" => self.told.outcome = Some(value.to_owned()),
            "problem" => self.told.is_unverified = ["unverified", "no-client"].contains(&value),
            "source" => self.told.is_webhook = true,
            _ => {}
        }
        self.member(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.member(field, &value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.member(field, &value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "status" => self.told.is_server_error = value >= 500,
            "ms" => self.told.ms = Some(value),
            _ => {}
        }
        self.member(field, &value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.member(field, &value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.member(field, &format!("{value:?}"));
    }
}

/// Bytes of JSON into what takes text.
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

    /// The line of what is told.
    fn line(stack: Option<&str>, tell: impl FnOnce()) -> Value {
        let written = Written::default();
        let lines = Lines { stack: stack.map(str::to_owned) };
        let layer = tracing_subscriber::fmt::layer().event_format(lines).with_writer(written.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), tell);
        let bytes = written.0.lock().unwrap().clone();
        assert!(bytes.ends_with(b"}\n") && bytes.iter().filter(|byte| **byte == b'\n').count() == 1);
        serde_json::from_slice(&bytes).unwrap()
    }

    #[test]
    fn what_became_of_something_is_counted_by_its_outcome() {
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
        // Every name is a member with a number, and every dimension one with a text.
        let values: Vec<_> = names.iter().map(|name| line[name.as_str().unwrap()].as_u64().unwrap()).collect();
        assert_eq!(values, [1, 1, 0, 1, 3]);
        assert_eq!((&directive["Namespace"], &directive["Dimensions"]), (&json!("Gatehouse"), &json!([["stack"]])));
        assert_eq!(line["stack"], "gatehouse");
        assert!(line["_aws"]["Timestamp"].as_i64().unwrap() > 1_700_000_000_000);
    }

    #[test]
    fn other_lines_and_other_machines_count_nothing() {
        let other = line(Some("gatehouse"), || tracing::warn!(error = "a \"quoted\"\nword", "something"));
        assert_eq!((&other["error"], other.get("_aws")), (&json!("a \"quoted\"\nword"), None));
        let local = line(None, || tracing::info!(outcome = "recorded", "request"));
        assert_eq!((local.get("_aws"), local.get("recorded")), (None, None));
    }
}
