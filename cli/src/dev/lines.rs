//! Prints one readable line for each log line of the functions, with colours on a terminal.

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

/// The stream that lines are written to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stream {
    Stdout,
    Stderr,
}

/// Writes lines in a separate thread, because a pipe that is not read must not block a request. Lines that do not fit
/// into the buffer are dropped and counted.
pub(super) struct Lines {
    /// `None` ends the thread.
    sender: SyncSender<Option<String>>,
    /// Disconnected when everything is written.
    written: Receiver<()>,
}

/// Tracing layer that formats events as lines.
struct LineLayer {
    sender: SyncSender<Option<String>>,
    dropped: AtomicU64,
}

impl Lines {
    /// Installs the subscriber that prints all log lines from now on. `RUST_LOG` filters them. The default is `info`
    /// for Gatehouse's own crates and `error` for all others.
    ///
    /// # Errors
    /// If `RUST_LOG` is not a filter.
    pub(super) fn start(stream: Stream, counts: Counts) -> Result<Lines, Error> {
        let (sender, receiver) = sync_channel::<Option<String>>(MAX_BUFFERED);
        let (writing, written) = sync_channel(0);
        std::thread::spawn(move || {
            let _writing: SyncSender<()> = writing;
            let mut out: Box<dyn Write> = match stream {
                Stream::Stdout => Box::new(anstream::stdout()),
                Stream::Stderr => Box::new(anstream::stderr()),
            };
            while let Ok(Some(line)) = receiver.recv() {
                // A closed stream must not stop the stack.
                let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
            }
        });
        let functions = SOURCES.into_iter().map(|source| source.profile().function.replace('-', "_"));
        let targets = functions.chain(["gatehouse", "event_retry"].map(str::to_owned));
        let default = Targets::new().with_default(Level::ERROR);
        let default = default.with_targets(targets.map(|target| (target, Level::INFO)));
        let filter = log::filter(&|name| std::env::var(name).ok(), default)?;
        let layer = LineLayer { sender: sender.clone(), dropped: AtomicU64::new(0) };
        // Fails only if a subscriber is installed already, which then stays.
        let _ = tracing_subscriber::registry()
            .with(layer.with_filter(filter.and(filter_fn(log::is_safe))))
            .with(counts.with_filter(Targets::new().with_target(log::OUTCOME_TARGET, Level::INFO)))
            .try_init();
        Ok(Lines { sender, written })
    }

    /// Waits until the buffered lines are written, at most [`FLUSH_TIMEOUT`] and only if the buffer is not full.
    pub(super) fn finish(self) {
        if self.sender.try_send(None).is_ok() {
            let _ = self.written.recv_timeout(FLUSH_TIMEOUT);
        }
    }
}

impl<S: Subscriber> Layer<S> for LineLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut line = fields.into_line(*event.metadata().level());
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            line = format!("… {dropped} lines dropped, because this output was not read fast enough\n{line}");
        }
        if self.sender.try_send(Some(line)).is_err() {
            self.dropped.fetch_add(dropped + 1, Ordering::Relaxed);
        }
    }
}

/// The names and values of a log line's fields.
#[derive(Default)]
struct Fields(Vec<(&'static str, String)>);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.push((field.name(), value.to_owned()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.push((field.name(), format!("{value:?}")));
    }
}

impl Fields {
    fn take(&mut self, name: &str) -> Option<String> {
        let index = self.0.iter().position(|field| field.0 == name)?;
        Some(self.0.remove(index).1)
    }

    fn into_line(mut self, level: Level) -> String {
        let now = Clock::System.now().to_string();
        let time = now.get(11..23).unwrap_or(&now);
        let mut line = dim(time);
        let message = self.take("message").unwrap_or_default();
        if let (Some(function), Some(outcome)) = (self.take("function"), self.take("outcome")) {
            let status = self.take("status").unwrap_or_default();
            let ms = self.take("ms").unwrap_or_default();
            let id = self.take("event_id").or_else(|| self.take("message_id")).unwrap_or_default();
            // The function and the status imply these fields; request ids are of no use on one machine.
            for implied in ["source", "problem", "message_id", "request_id", "event_type"] {
                self.take(implied);
            }
            let outcome = styled(&format!("{outcome:<13}"), outcome_style(&outcome));
            let _ = write!(line, "  {function:<21}  {status:<3}  {outcome}  {ms:>4} ms  {id}");
        } else {
            let style = if level <= Level::WARN { AnsiColor::Yellow.on_default() } else { Style::new() };
            let level = level.as_str().to_ascii_lowercase();
            let _ = write!(line, "  {}  {message}", styled(&level, style));
        }
        for (name, value) in self.0 {
            let _ = if name == "detail" { write!(line, "  {value}") } else { write!(line, "  {name}={value}") };
        }
        line.push('\n');
        line
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

    fn line(fields: &[(&'static str, &str)]) -> String {
        let fields = Fields(fields.iter().map(|(name, value)| (*name, (*value).to_owned())).collect());
        let line = anstream::adapter::strip_str(&fields.into_line(Level::INFO)).to_string();
        line[12..].to_owned()
    }

    #[test]
    fn request_line_shows_function_status_outcome_time_and_event() {
        let recorded = [
            ("message", "request"),
            ("function", "conversation-webhooks"),
            ("source", "ada"),
            ("event_id", "ada:msg_1"),
            ("outcome", "recorded"),
            ("status", "200"),
            ("ms", "3"),
        ];
        assert_eq!(line(&recorded), "  conversation-webhooks  200  recorded          3 ms  ada:msg_1\n");
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
            let fields = vec![("function", "f".to_owned()), ("outcome", outcome.to_owned())];
            assert!(Fields(fields).into_line(Level::INFO).contains(&format!("{code}{outcome}")));
        }
    }

    #[test]
    fn refusal_line_shows_detail_and_failure_line_shows_error() {
        let refused = [("function", "f"), ("outcome", "refused"), ("status", "401"), ("detail", "no signature")];
        assert!(line(&refused).ends_with("  no signature\n"));
        let failed = [("function", "event-retry"), ("outcome", "failed"), ("receives", "2"), ("error", "timeout")];
        assert!(line(&failed).ends_with("  receives=2  error=timeout\n"));
    }
}
