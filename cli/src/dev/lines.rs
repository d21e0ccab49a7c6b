//! One readable line for each log line of the functions, coloured on a terminal.

use std::fmt::Write as _;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use gatehouse_inbox::Clock;
use gatehouse_local::Error;
use gatehouse_local::about::Counts;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{Targets, filter_fn};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::shell::style_of;

/// How long the last lines may take.
const FAREWELL: Duration = Duration::from_secs(1);
/// How many lines may wait for a reader that is slower than the events.
const WAITING: usize = 4096;

/// Where lines go.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stream {
    Stdout,
    Stderr,
}

/// The lines' way out: a thread of their own, since a pipe that nobody reads must not hold up a request. What does not
/// fit is left out, and counted.
pub(super) struct Lines {
    sender: SyncSender<Option<String>>,
    /// Disconnected when everything is written.
    written: Receiver<()>,
}

struct Layered {
    sender: SyncSender<Option<String>>,
    left_out: AtomicU64,
}

impl Lines {
    /// Takes over what is logged from now on. `RUST_LOG` filters; by default Gatehouse's own lines from `info` on, and
    /// everybody's errors.
    ///
    /// # Errors
    /// When `RUST_LOG` is no filter.
    pub(super) fn start(stream: Stream, counts: Counts) -> Result<Lines, Error> {
        let (sender, receiver) = sync_channel::<Option<String>>(WAITING);
        let (writing, written) = sync_channel(0);
        std::thread::spawn(move || {
            let _writing: SyncSender<()> = writing;
            let mut out: Box<dyn Write> = match stream {
                Stream::Stdout => Box::new(anstream::stdout()),
                Stream::Stderr => Box::new(anstream::stderr()),
            };
            while let Ok(Some(line)) = receiver.recv() {
                // Whoever closed the stream does not want to read it.
                let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
            }
        });
        let own = [
            "gatehouse",
            "agent_chat",
            "event_retry",
            "client_message",
            "server_message",
            "conversation_webhooks",
            "session_lifecycle",
        ];
        let default = Targets::new().with_default(Level::ERROR).with_targets(own.map(|target| (target, Level::INFO)));
        let asked = std::env::var("RUST_LOG").ok().filter(|filter| !filter.is_empty());
        let wrong = "RUST_LOG is not usable; set it to a level such as debug, or to target=level, separated by commas";
        let asked = asked.map_or(Ok(default), |filter| filter.parse::<Targets>()).map_err(|_| wrong)?;
        let layer = Layered { sender: sender.clone(), left_out: AtomicU64::new(0) };
        // A second call changes nothing: the first subscriber stays.
        let _ = tracing_subscriber::registry()
            .with(asked)
            .with(layer.with_filter(filter_fn(gatehouse_edge::log::is_safe)))
            .with(counts)
            .try_init();
        Ok(Lines { sender, written })
    }

    /// Writes what is waiting, unless nobody reads it.
    pub(super) fn finish(self) {
        if self.sender.try_send(None).is_ok() {
            let _ = self.written.recv_timeout(FAREWELL);
        }
    }
}

impl<S: Subscriber> Layer<S> for Layered {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut line = fields.into_line(*event.metadata().level());
        let left_out = self.left_out.swap(0, Ordering::Relaxed);
        if left_out > 0 {
            line = format!("… {left_out} lines left out: they came faster than they were read\n{line}");
        }
        if self.sender.try_send(Some(line)).is_err() {
            self.left_out.fetch_add(left_out + 1, Ordering::Relaxed);
        }
    }
}

/// A log line's fields, as text.
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
        let at = self.0.iter().position(|field| field.0 == name)?;
        Some(self.0.remove(at).1)
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
            // The function says it, the status implies it, and here nobody looks a request up.
            for implied in ["source", "problem", "message_id", "request_id", "event_type"] {
                self.take(implied);
            }
            let outcome = styled(&format!("{outcome:<13}"), style_of(&outcome));
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
    fn a_request_is_its_function_status_outcome_time_and_event() {
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
    fn an_outcome_has_the_colour_of_what_it_means() {
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
    fn a_refusal_says_why_and_a_failure_names_the_error() {
        let refused = [("function", "f"), ("outcome", "refused"), ("status", "401"), ("detail", "no signature")];
        assert!(line(&refused).ends_with("  no signature\n"));
        let failed = [("function", "event-retry"), ("outcome", "failed"), ("receives", "2"), ("error", "timeout")];
        assert!(line(&failed).ends_with("  receives=2  error=timeout\n"));
    }
}
