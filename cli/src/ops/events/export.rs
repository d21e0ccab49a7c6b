//! Exports events with their payloads, as JSON lines.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use gatehouse_inbox::store::Content;
use gatehouse_inbox::store::by_source::Order;
use gatehouse_local::Error;
use gatehouse_payload::time::Timestamp;
use serde_json::Value;

use super::EventView;
use crate::ops::deployment::TargetArgs;
use crate::ops::files::create_private_file;
use crate::ops::listing::Span;
use crate::ops::output::{When, counted};
use crate::ops::pattern::TypeArgs;
use crate::ops::{ExitStatus, progress};
use crate::shell::{note, write};

pub(super) const EXAMPLES: &str = "\
Examples:
  gatehouse events export --since 24h > events.jsonl
  gatehouse events export --since 7d --source vapi --type end-of-call-report | jq -r .payload.message.summary
  gatehouse events export --since 30d --out events.jsonl
  gatehouse events export --since 30d --out events.jsonl --resume   continues after an interruption

The lines are those of `gatehouse events timeline --json --payload`, oldest first. --resume does not add events that the
retry queue recorded after the first run with an earlier received_at.

Cost: one query for each vendor and hour, and one read unit for each 4 KB of records.";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    span: Span,
    #[command(flatten)]
    types: TypeArgs,
    /// Write to this file, which must not exist unless --resume is given; only its owner can read it [default: standard
    /// output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Continue the file of --out after its last event
    #[arg(long, requires = "out")]
    resume: bool,
    #[command(flatten)]
    target: TargetArgs,
}

pub(super) async fn export(arguments: Arguments) -> ExitStatus {
    let Arguments { mut span, types, out, resume, target } = arguments;
    let deployment = target.find().await?;
    let mut written = Written::default();
    let mut file = match &out {
        Some(path) if resume => {
            let (file, last) = reopen(path)?;
            written = last;
            Some(file)
        }
        Some(path) => Some(create_private_file(path)?),
        None => None,
    };
    if let Some(at) = written.at {
        span.since = When::At(at);
        note(format!("continuing after {at}"));
    }
    let bar = progress("exporting");
    let (mut count, mut damaged) = (0_usize, 0_usize);
    let mut listing = span.list(&deployment, Order::OldestFirst)?;
    loop {
        let contents = listing.next_contents(|event| types.select(event)).await?;
        if contents.is_empty() {
            break;
        }
        let mut text = String::new();
        for (event, content) in contents {
            match content {
                Content::Record(record) => {
                    let line = serde_json::to_value(EventView::of_record(&record, true))?;
                    if written.has(&line) {
                        continue;
                    }
                    text.push_str(&line.to_string());
                    text.push('\n');
                    count += 1;
                }
                Content::Damaged(reason) => {
                    note(format!("{}: {reason}", event.key));
                    damaged += 1;
                }
                Content::Empty | Content::Erased(_) => {}
            }
        }
        bar.set_length(count as u64);
        bar.set_position(count as u64);
        match &mut file {
            Some(file) => file.write_all(text.as_bytes())?,
            None => write(&text)?,
        }
    }
    bar.finish_and_clear();
    if let (Some(file), Some(path)) = (&file, &out) {
        file.sync_all()?;
        note(format!("{} exported to {}", counted(count, "event"), path.display()));
    } else if count == 0 {
        note("no events in this time; pass an earlier --since, such as 24h or 7d");
    }
    Ok(u8::from(damaged > 0))
}

/// The last events of a file.
#[derive(Debug, Default)]
struct Written {
    /// When the last event was received.
    at: Option<Timestamp>,
    /// The events that were received then.
    events: BTreeSet<String>,
}

impl Written {
    fn add(&mut self, line: &Value) -> Option<()> {
        let at = Timestamp::parse(line["received_at"].as_str()?)?;
        if self.at != Some(at) {
            (self.at, self.events) = (Some(at), BTreeSet::new());
        }
        self.events.insert(identity(line));
        Some(())
    }

    fn has(&self, line: &Value) -> bool {
        self.events.contains(&identity(line))
    }
}

/// Identifies a line among events and their conflicting copies.
fn identity(line: &Value) -> String {
    ["event_id", "received_at", "fingerprint"].map(|name| line[name].to_string()).join(" ")
}

/// Opens a file to append to it. Removes an incomplete last line.
fn reopen(path: &Path) -> Result<(File, Written), Error> {
    let cannot = |what: &str| -> Error { format!("{} cannot be continued: {what}", path.display()).into() };
    let mut file = OpenOptions::new().read(true).write(true).open(path).map_err(|error| cannot(&error.to_string()))?;
    let (mut written, mut end, mut line) = (Written::default(), 0, Vec::new());
    let mut reader = BufReader::new(&file);
    while reader.read_until(b'\n', &mut line)? > 0 {
        if line.last() != Some(&b'\n') {
            break;
        }
        let value = serde_json::from_slice(&line).unwrap_or_default();
        written.add(&value).ok_or_else(|| cannot(&format!("the line at byte {end} is not an exported event")))?;
        end += line.len() as u64;
        line.clear();
    }
    file.set_len(end)?;
    file.seek(SeekFrom::End(0))?;
    Ok((file, written))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(id: &str, at: &str) -> Value {
        serde_json::json!({"event_id": id, "received_at": at, "fingerprint": "f"})
    }

    #[test]
    fn reopened_file_ends_with_its_last_whole_line() {
        let path = tempfile::tempdir().unwrap().keep().join("events.jsonl");
        let (first, second) = (line("ada:1", "2026-11-21T17:00:00.000Z"), line("ada:2", "2026-11-21T17:00:01.000Z"));
        std::fs::write(&path, format!("{first}\n{second}\n{{\"event_id\":\"ada:3")).unwrap();
        let (mut file, written) = reopen(&path).unwrap();
        assert_eq!(written.at, Timestamp::parse("2026-11-21T17:00:01.000Z"));
        assert!(
            written.has(&second) && !written.has(&first) && !written.has(&line("ada:3", "2026-11-21T17:00:01.000Z"))
        );
        file.write_all(b"next\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{first}\n{second}\nnext\n"));
        std::fs::write(&path, "something else\n").unwrap();
        assert!(reopen(&path).unwrap_err().to_string().contains("byte 0 is not an exported event"));
    }
}
