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
/// A metric: deliveries and clients nobody could verify.
pub const UNVERIFIED: &str = "unverified";

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
        let mut fields = Fields { map: &mut map, outcome: None, is_unverified: false, wrong: Ok(()) };
        event.record(&mut fields);
        let Fields { outcome, is_unverified, wrong, .. } = fields;
        wrong?;
        if let (Some(stack), Some(outcome)) = (&self.stack, outcome) {
            let unverified = if is_unverified { &[UNVERIFIED][..] } else { &[] };
            map.serialize_entry("stack", stack)?;
            let counted = [OUTCOMES, &outcome].into_iter().chain(unverified.iter().copied());
            counted.clone().try_for_each(|name| map.serialize_entry(name, &1))?;
            map.serialize_entry("_aws", &metadata(now.as_millis(), counted))?;
        }
        map.end()
    }
}

fn metadata<'n>(now: i64, names: impl Iterator<Item = &'n str>) -> serde_json::Value {
    let metrics: Vec<_> = names.map(|name| serde_json::json!({"Name": name, "Unit": "Count"})).collect();
    serde_json::json!({
        "Timestamp": now,
        "CloudWatchMetrics": [{"Namespace": NAMESPACE, "Dimensions": [["stack"]], "Metrics": metrics}],
    })
}

/// A line's fields, as its members.
struct Fields<'m, M: SerializeMap> {
    map: &'m mut M,
    outcome: Option<String>,
    is_unverified: bool,
    wrong: Result<(), M::Error>,
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
            "outcome" => self.outcome = Some(value.to_owned()),
            "problem" => self.is_unverified = ["unverified", "no-client"].contains(&value),
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
            tracing::info!(function = "f", outcome = "refused", problem = "unverified", ms = 3_u64, "request");
        });
        for (name, value) in [("message", json!("request")), ("level", json!("INFO")), ("ms", json!(3))] {
            assert_eq!(line[name], value);
        }
        let directive = &line["_aws"]["CloudWatchMetrics"][0];
        let names: Vec<_> = directive["Metrics"].as_array().unwrap().iter().map(|metric| &metric["Name"]).collect();
        assert_eq!(names, ["outcomes", "refused", "unverified"]);
        // Every name is a member with a number, and every dimension one with a text.
        assert!(names.iter().all(|name| line[name.as_str().unwrap()] == 1));
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
