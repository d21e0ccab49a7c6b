//! `gatehouse search`: finds events by a text in their payloads.

use std::collections::BTreeSet;
use std::io::IsTerminal;

use clap::Args;
use gatehouse_inbox::store::Content;
use gatehouse_inbox::store::by_source::Order;
use gatehouse_runtime::Clock;
use serde_json::{Value, json};

use super::deployment::TargetArgs;
use super::listing::{LimitArgs, Period, Span, sources};
use super::output::{OutputArgs, When, age, counted, print_json};
use super::pattern::TypeArgs;
use super::{ExitStatus, progress};
use crate::shell::{Interrupts, confirm, note};

pub(crate) const EXAMPLES: &str = "\
Examples:
  gatehouse search '+49 170 1234567'                 a telephone number, however it is written
  gatehouse search jane@example.com --since 7d
  gatehouse search 673da1f0 --source ada --type 'v1.conversation.*' --json | jq -r .subject

Searches the values of payloads, ignores case, and prints in which member the text is, but no payload. A telephone
number with at least six digits is found with any spaces and punctuation.

Cost: each event in the time range is read, one read unit for each 4 KB. The command prints their number first. On a
terminal, it asks before it reads more than 10,000 events.";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Telephone number, e-mail address, id or other text
    #[arg(value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    text: String,
    /// Only events of these vendors, separated by commas [default: all vendors]
    #[arg(long, value_name = "SOURCE", value_delimiter = ',', value_parser = sources())]
    source: Vec<String>,
    #[command(flatten)]
    types: TypeArgs,
    #[command(flatten)]
    period: Period,
    #[command(flatten)]
    limit: LimitArgs,
    /// Do not ask for confirmation before reading more than 10,000 events
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    target: TargetArgs,
}

/// The number of events above which the command asks at a terminal.
const ASK_ABOVE: usize = 10_000;

pub(crate) async fn run(arguments: Arguments) -> ExitStatus {
    let Arguments { text, source, types, period: Period { since, until }, limit, yes, output, target } = arguments;
    let deployment = target.find().await?;
    let now = Clock::System.now();
    // The end is fixed, so that both passes see the same events.
    let until = Some(When::At(until.map_or(now, |until| until.resolve(now))));
    let span = Span { source, since: When::At(since.resolve(now)), until };
    let mut listing = span.list(&deployment, Order::LatestFirst)?;
    let mut all = 0;
    while let Some(event) = listing.next().await? {
        all += usize::from(types.select(&event));
    }
    let mut stop = Interrupts::listen();
    note(format!("reading the payloads of {}", counted(all, "event")));
    if all > ASK_ABOVE && !yes && std::io::stdin().is_terminal() && !confirm("Continue?", &mut stop).await? {
        return Ok(1);
    }

    let (needle, rows) = (Needle::new(&text), limit.rows());
    let mut table = output.table(["AGE", "TYPE", "SUBJECT", "EVENT", "WHERE"]);
    let (mut subjects, mut count, mut has_more, mut was_interrupted) = (BTreeSet::new(), 0, false, false);
    let bar = progress("searching");
    bar.set_length(all as u64);
    let mut listing = span.list(&deployment, Order::LatestFirst)?;
    'search: loop {
        let contents = tokio::select! {
            contents = listing.next_contents(|event| types.select(event)) => contents?,
            () = stop.next() => {
                was_interrupted = true;
                break;
            }
        };
        if contents.is_empty() {
            break;
        }
        bar.inc(contents.len() as u64);
        for (listed, content) in contents {
            let Content::Record(record) = content else { continue };
            let event = &record.event;
            let Some(place) = needle.find(&event.body) else { continue };
            if Some(count) == rows {
                has_more = true;
                break 'search;
            }
            count += 1;
            subjects.extend(event.subject.clone());
            let subject = event.subject.as_ref().map(ToString::to_string);
            if output.json {
                print_json(&json!({"event_id": event.id.as_str(), "source": event.source, "type": event.event_type,
                    "subject": subject, "received_at": event.received_at, "where": place}))?;
            } else {
                let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
                let (kind, at) = (or_dash(event.event_type.clone()), age(listed.received_at, now));
                table.row([at, kind, or_dash(subject), event.id.to_string(), place]);
            }
        }
    }
    bar.finish_and_clear();
    if !table.is_empty() {
        table.print()?;
    }
    if was_interrupted {
        return Err("interrupted: there may be more".into());
    }
    let (events, about) = (counted(count, "event"), counted(subjects.len(), "subject"));
    note(match (count, has_more) {
        (0, _) => "nothing found in this time; pass an earlier --since, such as 7d".to_owned(),
        (_, true) => format!("there are more: the latest {events} are shown; pass -n N for more rows"),
        (_, false) => format!("{events} of {about}; gatehouse show SUBJECT{} shows one", deployment.flags),
    });
    Ok(0)
}

/// A text to be found.
struct Needle {
    /// In small letters.
    text: String,
    /// The digits of a telephone number.
    digits: Option<String>,
}

/// The shortest number that is found without regard to spaces and signs.
const MIN_DIGITS: usize = 6;

impl Needle {
    fn new(text: &str) -> Needle {
        let digits = digits_of(text).filter(|digits| digits.len() >= MIN_DIGITS);
        Needle { text: text.to_lowercase(), digits }
    }

    /// Returns where a body contains the text: the JSON pointer of the first value with it.
    fn find(&self, body: &[u8]) -> Option<String> {
        match serde_json::from_slice::<Value>(body) {
            Ok(value) => self.find_in(&value, &mut String::new()),
            // Too deep, or not JSON.
            Err(_) => self.is_in(&String::from_utf8_lossy(body)).then(|| "-".to_owned()),
        }
    }

    fn find_in(&self, value: &Value, pointer: &mut String) -> Option<String> {
        let length = pointer.len();
        let mut step = |name: &str, value: &Value| {
            pointer.push('/');
            pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
            let found = self.find_in(value, pointer);
            pointer.truncate(length);
            found
        };
        match value {
            Value::Object(members) => members.iter().find_map(|(name, value)| step(name, value)),
            Value::Array(values) => values.iter().enumerate().find_map(|(n, value)| step(&n.to_string(), value)),
            Value::String(text) => self.is_in(text).then(|| pointer.clone()),
            Value::Number(number) => self.is_in(&number.to_string()).then(|| pointer.clone()),
            Value::Null | Value::Bool(_) => None,
        }
    }

    fn is_in(&self, text: &str) -> bool {
        let has_digits = |digits: &String| digits_of(text).is_some_and(|own| own.contains(digits));
        text.to_lowercase().contains(&self.text) || self.digits.as_ref().is_some_and(has_digits)
    }
}

/// Returns the digits of a text that may be a telephone number, without the prefix of international calls.
fn digits_of(text: &str) -> Option<String> {
    if text.is_empty() || !text.chars().all(|c| c.is_ascii_digit() || " +()-./".contains(c)) {
        return None;
    }
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    Some(digits.strip_prefix("00").map_or(digits.clone(), str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(text: &str, body: &str) -> Option<String> {
        Needle::new(text).find(body.as_bytes())
    }

    #[test]
    fn telephone_number_is_found_however_it_is_written() {
        let body = r#"{"message":{"customer":{"number":"+491701234567"}}}"#;
        for written in ["+491701234567", "+49 170 1234567", "0049 (170) 123-4567", "1701234567", "170/123 45 67"] {
            assert_eq!(find(written, body).as_deref(), Some("/message/customer/number"), "{written}");
        }
        for other in ["+491701234568", "+49 170 12345678", "12345 and more"] {
            assert_eq!(find(other, body), None, "{other}");
        }
    }

    #[test]
    fn text_is_found_in_values_regardless_of_case() {
        let body = r#"{"a/b":[{"mail":"Jane@Example.com"},7],"deep":{"n":1795173466000}}"#;
        assert_eq!(find("jane@example.com", body).as_deref(), Some("/a~1b/0/mail"));
        assert_eq!(find("1795173466", body).as_deref(), Some("/deep/n"));
        assert_eq!(find("mail", body), None, "a name is not a value");
        let deep = format!("{}\"Jane\"{}", "[".repeat(500), "]".repeat(500));
        assert_eq!(find("jane", &deep).as_deref(), Some("-"));
    }
}
