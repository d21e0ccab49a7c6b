//! `gatehouse dead-letters redrive`: moves dead letters to the retry queue, and writes a receipt with their outcomes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use gatehouse_local::Error;
use serde_json::json;

use super::queue::DeadLetter;
use super::receipt::{Receipt, ReceiptFile};
use super::{NOTHING_SELECTED, SelectionArgs, count_by_reason};
use crate::ops::console::Console;
use crate::ops::deployment::TargetArgs;
use crate::ops::files::receipt_path;
use crate::ops::output::{OutputArgs, counted, escape_control, print_json};
use crate::ops::{ExitStatus, NOT_FOUND, USAGE};
use crate::send::rate;
use crate::shell::{note, print, shell_quote};

mod moves;
mod run;
pub(crate) mod unattended;

pub use moves::MoveEnd;
use run::Redrive;

pub(super) const EXAMPLES: &str = "\
With --all, SQS moves the dead letters; selected ones are moved one by one. Ctrl-C stops the redrive; messages
already moved stay moved. The receipt is a file with one JSON line for each dead letter; --resume continues an
interrupted redrive from it. A redrive never changes events that are recorded already.

Exits with 0 if each event is recorded, a duplicate, a conflict or erased.

Examples:
  gatehouse dead-letters redrive --all
  gatehouse dead-letters redrive --all --rate 50/s --receipt redrive.jsonl
  gatehouse dead-letters redrive --resume redrive.jsonl
  gatehouse dead-letters redrive --id ada:msg_2x --id ada:msg_3y
  gatehouse dead-letters redrive --reason unavailable --dry-run";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    selection: SelectionArgs,
    /// Maximum rate, such as 50/s; with --all at most 500/s [default: as fast as possible]
    #[arg(long, value_name = "N/s", value_parser = rate)]
    rate: Option<f64>,
    /// Print the dead letters that would be moved, and move none
    #[arg(long)]
    dry_run: bool,
    // Applies to --dry-run only.
    #[command(flatten)]
    output: OutputArgs,
    /// File for the receipt; it must not exist [default: redrive-TIME.jsonl]
    #[arg(long, value_name = "FILE")]
    receipt: Option<PathBuf>,
    /// Continue an interrupted redrive from its receipt
    #[arg(long, value_name = "FILE", conflicts_with_all = ["all", "receipt", "ids", "source", "reason"])]
    resume: Option<PathBuf>,
    /// Maximum time to wait until the moved events are recorded, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    wait: u64,
    #[command(flatten)]
    target: TargetArgs,
}

pub(super) async fn run(arguments: Arguments) -> ExitStatus {
    let Arguments { selection, rate, dry_run, output, receipt: path, resume, wait, target } = arguments;
    if let Some(mistake) = mistake(&selection, rate, resume.is_some()) {
        note(format!("error: {mistake}"));
        return Ok(USAGE);
    }
    let (deployment, console) = (target.find().await?, Console::Attached);
    let mut stop = console.interrupts();
    let (file, resumed) = resume.map(ReceiptFile::read).transpose()?.unzip();
    let redrive = Redrive::receive(&deployment, &selection, resumed, console, &mut stop).await?;
    if dry_run || redrive.has_nothing_to_do() {
        redrive.cancel(&deployment).await?;
        return print_preview(redrive.letters(), output, selection.names_letters());
    }
    let new_path = || path.unwrap_or_else(|| receipt_path("redrive", deployment.clock.now()));
    let file = match file.map_or_else(|| ReceiptFile::create(new_path(), redrive.receipt()), Ok) {
        Ok(file) => file,
        Err(error) => {
            redrive.cancel(&deployment).await?;
            return Err(error);
        }
    };
    note(format!("the receipt is {}", file.path().display()));
    let (receipt, end) = redrive.run(&deployment, rate, Duration::from_secs(wait), console, &mut stop).await?;
    file.save(&receipt)?;
    print(&summary(&receipt, file.path()))?;
    let (advice, code) = conclusion(&receipt, end, file.path(), &deployment.flags)?;
    print(&advice)?;
    Ok(code)
}

/// Returns what is wrong with the arguments of a redrive, if anything.
pub(crate) fn mistake(selection: &SelectionArgs, rate: Option<f64>, is_resumed: bool) -> Option<&'static str> {
    if selection.selects_nothing() && !is_resumed {
        return Some(NOTHING_SELECTED);
    }
    if rate.is_some_and(|rate| rate > 500.0) && selection.selects_everything() {
        return Some("SQS moves at most 500 messages per second; pass a --rate of up to 500/s");
    }
    None
}

/// Prints the dead letters that a redrive would move.
fn print_preview(letters: &[DeadLetter], output: OutputArgs, are_named: bool) -> ExitStatus {
    for letter in letters {
        if output.json {
            print_json(
                &json!({"event_id": letter.event_id, "message_id": letter.message_id, "reason": letter.reason}),
            )?;
        } else {
            let id = letter.event_id.as_ref().unwrap_or(&letter.message_id);
            let error = letter.last_error.as_deref().unwrap_or("-");
            print(&format!("{}\n", escape_control(&format!("{id}  {}  {error}", letter.reason))))?;
        }
    }
    if letters.is_empty() {
        note("no matching dead letters");
        return Ok(if are_named { NOT_FOUND } else { 0 });
    }
    note(format!("would move {}", count_by_reason(letters)));
    Ok(0)
}

/// Formats the number of dead letters for each outcome.
fn summary(receipt: &Receipt, path: &Path) -> String {
    let mut text = format!("{}, in {}:\n", counted(receipt.entries.len(), "dead letter"), path.display());
    for (outcome, n) in receipt.count_by_outcome() {
        text.push_str(&format!("{n:>8}  {}\n", escape_control(outcome)));
    }
    text
}

/// Returns the closing advice and the exit code. `flags` selects the deployment in the suggested commands.
fn conclusion(receipt: &Receipt, end: MoveEnd, path: &Path, flags: &str) -> Result<(String, u8), Error> {
    let path = shell_quote(&path.display().to_string());
    let resume = format!("gatehouse dead-letters redrive --resume {path}{flags}");
    match end {
        MoveEnd::Completed if receipt.is_complete() => Ok((String::new(), 0)),
        MoveEnd::Completed => {
            Ok((format!("To see what is left: gatehouse dead-letters list{flags}; to continue: {resume}\n"), 1))
        }
        MoveEnd::Interrupted => {
            Err(format!("interrupted; messages already moved stay moved. To continue: {resume}").into())
        }
        MoveEnd::Failed(error) => {
            Err(format!("{error}; messages already moved stay moved. To continue: {resume}").into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt(outcomes: &[&str]) -> Receipt {
        let entry = |outcome: &&str| {
            let entry = json!({"event_id": "ada:msg_1", "outcome": outcome, "message_id": "m", "nonce": null,
                               "fingerprint": null, "is_of_all": true});
            serde_json::from_value(entry).unwrap()
        };
        Receipt { entries: outcomes.iter().map(entry).collect() }
    }

    #[test]
    fn summary_counts_entries_by_outcome() {
        let text = summary(&receipt(&["recorded", "pending", "recorded"]), Path::new("r.jsonl"));
        assert_eq!(text, "3 dead letters, in r.jsonl:\n       1  pending\n       2  recorded\n");
    }

    #[test]
    fn complete_redrive_has_no_advice() {
        let receipt = receipt(&["recorded", "duplicate", "conflict", "erased"]);
        assert_eq!(conclusion(&receipt, MoveEnd::Completed, Path::new("r.jsonl"), "").unwrap(), (String::new(), 0));
    }

    #[test]
    fn incomplete_redrive_suggests_how_to_continue() {
        let receipt = receipt(&["recorded", "pending"]);
        let resume = "gatehouse dead-letters redrive --resume 'r.jsonl' --stack x";
        let conclusion = |end| conclusion(&receipt, end, Path::new("r.jsonl"), " --stack x");
        let (advice, code) = conclusion(MoveEnd::Completed).unwrap();
        assert_eq!(code, 1);
        assert!(advice.contains("gatehouse dead-letters list --stack x") && advice.contains(resume), "{advice}");
        for end in [MoveEnd::Interrupted, MoveEnd::Failed("SQS failed".into())] {
            let error = conclusion(end).unwrap_err().to_string();
            assert!(error.ends_with(resume), "{error}");
        }
    }
}
