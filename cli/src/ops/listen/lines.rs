//! Output: two lines of text for each event, or one line of JSON.

use std::time::Duration;

use anstyle::{AnsiColor, Style};
use gatehouse_deliveries::message::{Kind, message_type};
use gatehouse_inbox::store::by_source::ListedEvent;
use gatehouse_local::Error;
use gatehouse_payload::Subject;
use gatehouse_receiver::log::milliseconds;
use gatehouse_runtime::Clock;
use serde::Serialize;
use serde_json::Value;

use super::receiver::Answer;
use crate::ops::output::{escape_control, pretty_json, print_json, print_styled};
use crate::shell::note;

/// When a destination would be sent the message again after its first failure.
const RETRY: &str = "a destination would get it again in 5 s";
/// The same for the status 410.
const DISABLED: &str = "a destination would be disabled";

/// Prints events.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lines {
    pub(super) json: bool,
    /// Whether payloads are printed.
    pub(super) payload: bool,
}

#[derive(Serialize)]
struct JsonLine<'e> {
    time: String,
    event_id: &'e str,
    source: &'e str,
    event_type: Option<&'e str>,
    subject: Option<&'e str>,
    received_at: String,
    kind: Kind,
    late: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Value>,
}

impl JsonLine<'_> {
    /// Returns the line of an event without a result.
    fn of(event: &ListedEvent, late: bool) -> JsonLine<'_> {
        JsonLine {
            time: Clock::System.now().to_string(),
            event_id: &event.key,
            source: event.id.vendor(),
            event_type: event.event_type.as_deref(),
            subject: event.subject.as_ref().map(Subject::as_str),
            received_at: event.received_at.to_string(),
            kind: Kind::of(event.event_type.as_deref(), event.conflict),
            late,
            status: None,
            ms: None,
            error: None,
            message: None,
        }
    }
}

impl Lines {
    /// Prints an event before it is forwarded. `body` is the message's body.
    pub(super) fn event(self, event: &ListedEvent, body: Option<&[u8]>) -> Result<(), Error> {
        if self.json {
            return Ok(());
        }
        let mut line = format!(
            "{}  -->  {}",
            now(),
            escape_control(&message_type(event.id.vendor(), event.event_type.as_deref()))
        );
        if let Some(subject) = &event.subject {
            line.push_str(&format!("  {subject}"));
        }
        line.push_str(&format!("  {}[{}]{:#}\n", dim(), event.key, dim()));
        print_styled(&line)?;
        body.filter(|_| self.payload).map_or(Ok(()), print_body)
    }

    /// Prints the result of forwarding an event. `answer` is absent if events are only shown.
    pub(super) fn result(
        self,
        event: &ListedEvent,
        is_late: bool,
        body: Option<&[u8]>,
        answer: Option<(&Answer, Duration)>,
    ) -> Result<(), Error> {
        let (status, error) = match answer.map(|(answer, _)| answer) {
            Some(Answer::Status { status, reason }) => (Some(*status), reason.clone()),
            Some(Answer::Unreachable(error) | Answer::Broken(error)) => (None, Some(error.clone())),
            None => (None, None),
        };
        let took = answer.map(|(_, took)| milliseconds(took));
        if self.json {
            let body = body.filter(|_| self.payload).and_then(|body| serde_json::from_slice(body).ok());
            return print_json(&JsonLine { status, ms: took, error, message: body, ..JsonLine::of(event, is_late) });
        }
        let Some((answer, _)) = answer else { return Ok(()) };
        let style = if answer.is_success() { AnsiColor::Green } else { AnsiColor::Red }.on_default();
        let status = status.map_or_else(|| "failed".to_owned(), |status| status.to_string());
        let mut line = format!("{}  <--  {style}{status}{style:#}  {} ms", now(), took.unwrap_or_default());
        if let Some(error) = error {
            line.push_str(&format!("  {}", escape_control(&error)));
        }
        if !answer.is_success() {
            let then = if status == "410" { DISABLED } else { RETRY };
            line.push_str(&format!("; {then}"));
        }
        line.push_str(&format!("  {}[{}]{:#}\n", dim(), event.key, dim()));
        print_styled(&line)
    }

    /// Prints that an event cannot be forwarded, because its record is gone or damaged.
    pub(super) fn skipped(self, event: &ListedEvent, is_late: bool, reason: &str) -> Result<(), Error> {
        if self.json {
            return print_json(&JsonLine { error: Some(reason.to_owned()), ..JsonLine::of(event, is_late) });
        }
        note(format!("{}  {}: {reason}", now(), event.key));
        Ok(())
    }
}

/// Prints the body of a message, indented.
pub(super) fn print_body(body: &[u8]) -> Result<(), Error> {
    let text = pretty_json(&String::from_utf8_lossy(body));
    let lines: String = text.lines().map(|line| format!("    {}\n", escape_control(line))).collect();
    print_styled(&lines)
}

/// Returns the time of day in UTC.
fn now() -> String {
    let now = Clock::System.now().to_string();
    now.get(11..19).unwrap_or(&now).to_owned()
}

fn dim() -> Style {
    Style::new().dimmed()
}
