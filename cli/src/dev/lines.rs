//! Prints one line for each log line of the functions: readable text with colours on a terminal, or JSON.

use std::fmt::Write as _;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use gatehouse_local::Error;
use gatehouse_local::status::Counts;
use gatehouse_receiver::log;
use gatehouse_runtime::Clock;
use gatehouse_vendors::SOURCES;
use serde::{Serialize, Serializer};
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{FilterExt, Targets, filter_fn};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::shell::outcome_style;

/// Time limit for writing the last lines at the end.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);
/// Number of lines that are buffered for a slow reader.
const MAX_BUFFERED: usize = 4096;
/// The fields that every JSON line has, in this order after `time`. The value of a field that the log line lacks is
/// `null`.
const JSON_FIELDS: [&str; 8] = ["function", "status", "outcome", "ms", "event_id", "source", "event_type", "subject"];

/// The format of the lines.
#[derive(Debug, Clone, Copy)]
pub(super) enum Format {
    /// Every line is text on standard output.
    Text,
    /// The lines of events are JSON on standard output, all others text on standard error.
    Json,
}

/// The threads that write the lines.
pub(super) struct Lines(Vec<Writer>);

/// Writes lines in a separate thread, because a pipe that is not read must not block a request. Lines that do not fit
/// into the buffer are dropped and counted.
struct Writer {
    sink: Sink,
    /// Disconnected when everything is written.
    written: Receiver<()>,
}

/// The buffer of a [`Writer`]. `None` ends its thread.
type Sink = SyncSender<Option<String>>;

/// Tracing layer that formats events as lines.
struct LineLayer {
    text: Sink,
    /// The sink for the lines of events, if they are JSON.
    json: Option<Sink>,
    dropped: AtomicU64,
}

impl Lines {
    /// Installs the subscriber that prints all log lines from now on. `RUST_LOG` filters them, except for the lines of
    /// events. The default is `info` for Gatehouse's own crates and `error` for all others.
    ///
    /// # Errors
    /// If `RUST_LOG` is not a filter.
    pub(super) fn start(format: Format, counts: Counts) -> Result<Lines, Error> {
        let writers = match format {
            Format::Text => vec![Writer::start(anstream::stdout())],
            Format::Json => vec![Writer::start(anstream::stderr()), Writer::start(std::io::stdout())],
        };
        let functions = SOURCES.into_iter().map(|source| source.profile().function.replace('-', "_"));
        let targets = functions.chain(["gatehouse", "event_retry", "outbox", "deliver"].map(str::to_owned));
        let default = Targets::new().with_default(Level::ERROR);
        let default = default.with_targets(targets.map(|target| (target, Level::INFO)));
        let filter = log::filter(&|name| std::env::var(name).ok(), default)?;
        let filter = filter.with_target(log::OUTCOME_TARGET, Level::INFO);
        let mut sinks = writers.iter().map(|writer| writer.sink.clone());
        let text = sinks.next().ok_or("there is no output for the lines")?;
        let layer = LineLayer { text, json: sinks.next(), dropped: AtomicU64::new(0) };
        // Fails only if a subscriber is installed already, which then stays.
        let _ = tracing_subscriber::registry()
            .with(layer.with_filter(filter.and(filter_fn(log::is_safe))))
            .with(counts.with_filter(Targets::new().with_target(log::OUTCOME_TARGET, Level::INFO)))
            .try_init();
        Ok(Lines(writers))
    }

    /// Waits until the buffered lines are written, at most [`FLUSH_TIMEOUT`] for each output, and only if its buffer is
    /// not full.
    pub(super) fn finish(self) {
        for Writer { sink, written } in self.0 {
            if sink.try_send(None).is_ok() {
                let _ = written.recv_timeout(FLUSH_TIMEOUT);
            }
        }
    }
}

impl Writer {
    fn start(mut out: impl Write + Send + 'static) -> Writer {
        let (sink, lines) = sync_channel::<Option<String>>(MAX_BUFFERED);
        let (writing, written) = sync_channel(0);
        std::thread::spawn(move || {
            let _writing: SyncSender<()> = writing;
            while let Ok(Some(line)) = lines.recv() {
                // A closed stream must not stop the stack.
                let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
            }
        });
        Writer { sink, written }
    }
}

impl LineLayer {
    /// Buffers a line, and before it the number of lines that were dropped since the last one.
    fn send(&self, sink: &Sink, line: String) {
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let warning = format!("… {dropped} lines dropped, because this output was not read fast enough\n");
            // The line itself is more important than the warning.
            let _ = self.text.try_send(Some(warning));
        }
        if sink.try_send(Some(line)).is_err() {
            self.dropped.fetch_add(dropped + 1, Ordering::Relaxed);
        }
    }
}

impl<S: Subscriber> Layer<S> for LineLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let now = Clock::System.now().to_string();
        match &self.json {
            Some(json) if fields.is_outcome() => self.send(json, fields.into_json(now)),
            _ => self.send(&self.text, fields.into_text(&now, *event.metadata().level())),
        }
    }
}

/// The names and values of a log line's fields.
#[derive(Default)]
struct Fields(Vec<(&'static str, Value)>);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.push((field.name(), value.into()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.push((field.name(), value.into()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.push((field.name(), value.into()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.push((field.name(), value.into()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.push((field.name(), format!("{value:?}").into()));
    }
}

/// Serializes as a JSON object with its members in the order of the fields.
impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl Fields {
    /// Whether this is the line of a request, a turn or a queued message.
    fn is_outcome(&self) -> bool {
        ["function", "outcome"].iter().all(|name| self.0.iter().any(|(field, _)| field == name))
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        let index = self.0.iter().position(|field| field.0 == name)?;
        Some(self.0.remove(index).1)
    }

    fn take_text(&mut self, name: &str) -> Option<String> {
        self.take(name).map(text)
    }

    fn into_json(mut self, now: String) -> String {
        self.take("message");
        // A queued message's log line has no source; the event id starts with it.
        let source = self.0.iter().find(|(name, _)| *name == "event_id").and_then(|(_, id)| id.as_str());
        let source = source.and_then(|id| id.split(':').next()).map(Value::from);
        let mut line = Fields(vec![("time", now.into())]);
        for name in JSON_FIELDS {
            let value = self.take(name).or_else(|| source.clone().filter(|_| name == "source"));
            line.0.push((name, value.unwrap_or(Value::Null)));
        }
        line.0.append(&mut self.0);
        // Only a map with keys that are not text can fail.
        let line = serde_json::to_string(&line).unwrap_or_default();
        line + "\n"
    }

    fn into_text(mut self, now: &str, level: Level) -> String {
        let time = now.get(11..23).unwrap_or(now);
        let mut line = dim(time);
        let message = self.take_text("message").unwrap_or_default();
        if self.is_outcome() {
            let function = self.take_text("function").unwrap_or_default();
            let outcome = self.take_text("outcome").unwrap_or_default();
            let status = self.take_text("status").unwrap_or_default();
            let ms = self.take_text("ms").unwrap_or_default();
            let id = self.take("event_id").or_else(|| self.take("message_id"));
            // The function and the status imply these fields; request ids are of no use on one machine.
            for implied in ["source", "problem", "message_id", "request_id"] {
                self.take(implied);
            }
            let outcome = styled(&format!("{outcome:<13}"), outcome_style(&outcome));
            let _ = write!(line, "  {function:<21}  {status:<3}  {outcome}  {ms:>4} ms");
            for value in [self.take("event_type"), self.take("subject"), id].into_iter().flatten() {
                let _ = write!(line, "  {}", text(value));
            }
        } else if let Some(state) = self.take_text("delivery") {
            let function = self.take_text("function").unwrap_or_default();
            let status = self.take_text("status").unwrap_or_default();
            let ms = self.take_text("ms").unwrap_or_default();
            let values = ["event_type", "subject", "event_id"].map(|name| self.take(name));
            let destination = self.take_text("destination").unwrap_or_default();
            let state = styled(&format!("{state:<13}"), outcome_style(&state));
            let _ = write!(line, "  {function:<21}  {status:<3}  {state}  {ms:>4} ms  {destination}");
            for value in values.into_iter().flatten() {
                let _ = write!(line, "  {}", text(value));
            }
        } else {
            let style = if level <= Level::WARN { AnsiColor::Yellow.on_default() } else { Style::new() };
            let level = level.as_str().to_ascii_lowercase();
            let _ = write!(line, "  {}  {message}", styled(&level, style));
        }
        for (name, value) in self.0 {
            let value = text(value);
            let _ = if name == "detail" { write!(line, "  {value}") } else { write!(line, "  {name}={value}") };
        }
        line.push('\n');
        line
    }
}

/// Returns a field's value as it stands in a line of text.
fn text(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

fn styled(text: &str, style: Style) -> String {
    format!("{style}{text}{style:#}")
}

pub(super) fn bold(text: &str) -> String {
    styled(text, Style::new().bold())
}

fn dim(text: &str) -> String {
    styled(text, Style::new().dimmed())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-11-30T06:15:31.288Z";

    fn fields(fields: &[(&'static str, Value)]) -> Fields {
        Fields(fields.to_vec())
    }

    fn line(of: &[(&'static str, Value)]) -> String {
        let line = anstream::adapter::strip_str(&fields(of).into_text(NOW, Level::INFO)).to_string();
        line[12..].to_owned()
    }

    fn recorded() -> Vec<(&'static str, Value)> {
        vec![
            ("message", "request".into()),
            ("function", "conversation-webhooks".into()),
            ("outcome", "recorded".into()),
            ("ms", 3.into()),
            ("source", "ada".into()),
            ("event_type", "v1.conversation.message".into()),
            ("event_id", "ada:msg_1".into()),
            ("subject", "ada:conversation:1".into()),
            ("status", 200.into()),
        ]
    }

    #[test]
    fn request_line_shows_function_status_outcome_time_type_subject_and_event() {
        assert_eq!(
            line(&recorded()),
            "  conversation-webhooks  200  recorded          3 ms  v1.conversation.message  ada:conversation:1  ada:msg_1\n"
        );
    }

    #[test]
    fn json_line_has_the_same_members_for_every_event() {
        let mut with_rule = recorded();
        with_rule.push(("rule", "server rule 1".into()));
        assert_eq!(
            fields(&with_rule).into_json(NOW.to_owned()),
            concat!(
                r#"{"time":"2026-11-30T06:15:31.288Z","function":"conversation-webhooks","status":200,"#,
                r#""outcome":"recorded","ms":3,"event_id":"ada:msg_1","source":"ada","#,
                r#""event_type":"v1.conversation.message","subject":"ada:conversation:1","rule":"server rule 1"}"#,
                "\n"
            )
        );
        let retried =
            [("function", "event-retry".into()), ("outcome", "recorded".into()), ("event_id", "ada:1".into())];
        assert_eq!(
            fields(&retried).into_json(NOW.to_owned()),
            concat!(
                r#"{"time":"2026-11-30T06:15:31.288Z","function":"event-retry","status":null,"outcome":"recorded","#,
                r#""ms":null,"event_id":"ada:1","source":"ada","event_type":null,"subject":null}"#,
                "\n"
            )
        );
    }

    #[test]
    fn outcome_is_coloured_by_severity() {
        for (outcome, code) in [
            ("recorded", "\u{1b}[32m"),
            ("skipped", "\u{1b}[32m"),
            ("erased", "\u{1b}[32m"),
            ("replayed", "\u{1b}[32m"),
            ("queued", "\u{1b}[33m"),
            ("refused", "\u{1b}[31m"),
        ] {
            let line = fields(&[("function", "f".into()), ("outcome", outcome.into())]).into_text(NOW, Level::INFO);
            assert!(line.contains(&format!("{code}{outcome}")));
        }
    }

    #[test]
    fn refusal_line_shows_detail_and_failure_line_shows_error() {
        let refused = [
            ("function", "f".into()),
            ("outcome", "refused".into()),
            ("status", 401.into()),
            ("detail", "no signature".into()),
        ];
        assert!(line(&refused).ends_with("  no signature\n"));
        let failed = [
            ("function", "event-retry".into()),
            ("outcome", "failed".into()),
            ("receives", 2.into()),
            ("error", "timeout".into()),
        ];
        assert!(line(&failed).ends_with("  receives=2  error=timeout\n"));
    }
}
