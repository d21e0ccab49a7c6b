//! Reduces a failing schedule to the actions that the failure needs, and prints it.

use std::fmt::Write;

use gatehouse_vendors::SOURCES;

use crate::plan::{
    Action, Ask, Breakage, CLIENTS, DESTINATIONS, Death, Deliver, Fault, Operation, Plan, Poison, Signer, Variant, What,
};
use crate::schedule::{self, Report};
use crate::trace::Moment;
use crate::world::Violation;

/// The largest number of schedules that are run to shrink one.
const MAX_RUNS: usize = 600;

/// A failing schedule from which no action can be removed.
#[derive(Debug)]
pub struct Shrunk {
    /// The plan.
    pub plan: Plan,
    /// Its report.
    pub report: Report,
    /// The invariant that is violated.
    pub violation: Violation,
}

/// Removes all actions that the violation of the same invariant does not need. `None` if the plan does not fail.
#[must_use]
pub fn shrink(plan: &Plan) -> Option<Shrunk> {
    let report = schedule::run(plan.clone());
    let violation = report.violation.clone()?;
    let invariant = violation.invariant;
    let mut shrunk = Shrunk { plan: plan.clone(), report, violation };
    minimize(plan.actions.clone(), MAX_RUNS, |actions| {
        let plan = Plan { actions: actions.to_vec(), ..plan.clone() };
        let report = schedule::run(plan.clone());
        let violation = report.violation.clone().filter(|violation| violation.invariant == invariant);
        let still_fails = violation.is_some();
        if let Some(violation) = violation {
            shrunk = Shrunk { plan, report, violation };
        }
        still_fails
    });
    Some(shrunk)
}

/// Removes items as long as `fails` is true for the others, first many at once, then each alone. Calls `fails` at most
/// `max_runs` times.
fn minimize<T: Clone>(mut items: Vec<T>, max_runs: usize, mut fails: impl FnMut(&[T]) -> bool) -> Vec<T> {
    let mut runs = 0;
    let mut size = items.len().div_ceil(2);
    while size > 0 {
        let (mut start, mut has_shrunk) = (0, false);
        while start < items.len() {
            if runs == max_runs {
                return items;
            }
            runs += 1;
            let mut fewer = items.clone();
            fewer.drain(start..(start + size).min(items.len()));
            if fails(&fewer) {
                items = fewer;
                has_shrunk = true;
            } else {
                start += size;
            }
        }
        // An item that was needed before may not be needed without the others.
        if size > 1 || !has_shrunk {
            size /= 2;
        }
    }
    items
}

impl Shrunk {
    /// Returns the plan and what happened. The last lines are the invariant, the seed and the command that
    /// replays it.
    #[must_use]
    pub fn story(&self) -> String {
        let Violation { invariant, what, .. } = &self.violation;
        let mut story =
            format!("The schedule of seed {}, with the actions that the failure needs:\n\n", self.plan.seed);
        let mut actions = self.plan.actions.clone();
        actions.sort_by_key(|action| action.at);
        for action in &actions {
            let _ = writeln!(story, "  {}  {}", Moment(action.at), describe(&self.plan, action));
        }
        story.push_str("\nWhat happened:\n\n");
        for line in self.report.trace.to_string().lines() {
            let _ = writeln!(story, "{}", without_digests(line));
        }
        let _ =
            write!(story, "\ninvariant: {invariant}: {what}\nseed: {}\nreplay: {}\n", self.plan.seed, self.command());
        story
    }

    /// Returns the command that runs exactly this schedule.
    #[must_use]
    pub fn command(&self) -> String {
        let numbers: Vec<String> = self.plan.actions.iter().map(|action| action.n.to_string()).collect();
        let keep = if numbers.is_empty() { "none".to_owned() } else { numbers.join(",") };
        format!("cargo run --release -p simulation -- --seed {} --keep {keep}", self.plan.seed)
    }
}

/// Returns a line of a trace without digests, and with long ids shortened in the middle.
fn without_digests(line: &str) -> String {
    const LONGEST_WORD: usize = 56;
    let is_digest = |word: &&str| word.len() == 18 && word.starts_with('[') && word.ends_with(']');
    let words = line.split(' ').filter(|word| !is_digest(word));
    let shorten = |word: &str| match (word.get(..30), word.len().checked_sub(12).and_then(|end| word.get(end..))) {
        (Some(start), Some(end)) if word.len() > LONGEST_WORD => format!("{start}…{end}"),
        _ => word.to_owned(),
    };
    words.map(shorten).collect::<Vec<_>>().join(" ")
}

/// Describes an action in one line.
fn describe(plan: &Plan, action: &Action) -> String {
    match &action.what {
        What::Deliver(Deliver { event, variant, is_doubled, retries, signer }) => {
            let spec = plan.events[*event];
            let source = SOURCES[spec.source];
            let mut text =
                format!("{} delivers event {event}, {}", source.profile().name, source.samples()[spec.sample].name);
            for (is_true, part) in [
                (*variant == Variant::Other, ", with another body"),
                (spec.large, ", large"),
                (*is_doubled, ", twice at once"),
                (*retries, ", and retries"),
                (*signer == Signer::WrongSecret, ", signed by a forger"),
                (*signer == Signer::Tampered, ", changed by a forger"),
                (*signer == Signer::RemovedSecret, ", signed with a removed secret"),
            ] {
                text.push_str(if is_true { part } else { "" });
            }
            text
        }
        What::Ask(Ask { client, key, body, leaves_after, retries, is_forged, is_json }) => {
            let mut text = format!("client {} asks the agent (request {body}", CLIENTS[*client]);
            let _ = key.map(|key| write!(text, ", key {key}"));
            let _ = leaves_after.map(|ms| write!(text, ", leaves after {ms} ms"));
            text.push_str(if *is_json { ", as JSON" } else { "" });
            text.push_str(if *is_forged { ", without a valid token" } else { "" });
            text.push_str(if *retries { ", retries)" } else { ")" });
            text
        }
        What::Fault(Fault { service, kind, share, lasts }) => {
            format!("{service:?}: {share} of 1000 requests are {kind:?}, for {lasts} ms")
        }
        What::Kill { function, after, death } => {
            let when = if *death == Death::AfterRequest { "after" } else { "before" };
            format!("an instance of {function} dies {when} its request {} from now", after + 1)
        }
        What::Pause { function, lasts } => format!("all instances of {function} stand still for {lasts} ms"),
        What::Retire(function) => format!("the idle instances of {function} end"),
        What::Deploy(version) => format!("version {version} is deployed"),
        What::BreakSecrets(Breakage::Document, lasts) => format!("the secrets document is not JSON for {lasts} ms"),
        What::BreakSecrets(Breakage::Part(part), lasts) => {
            format!("the part {part} of the secrets document is wrong for {lasts} ms")
        }
        What::Rotate(part) => format!("the secret of {part} is rotated"),
        What::RedriveAll => "the operator redrives all dead letters".to_owned(),
        What::RedriveEach => "the operator redrives the dead letters by their ids".to_owned(),
        What::Erase(event) => format!("the operator erases the subject of event {event}"),
        What::Lag(lasts) => format!("the indexes lag for {lasts} ms"),
        What::Sweep => "DynamoDB removes expired items".to_owned(),
        What::Poison(Poison::Garbage) => "a message that is not an event is on the retry queue".to_owned(),
        What::Poison(Poison::Newer) => "a message of a newer release is on the retry queue".to_owned(),
        What::Destination(n, operation) => {
            let name = DESTINATIONS[*n];
            match operation {
                Operation::Disable => format!("the operator disables the destination {name}"),
                Operation::Enable => format!("the operator enables the destination {name}"),
                Operation::Resend => format!("the operator resends the failing and the dead deliveries to {name}"),
                Operation::Discard => format!("the operator discards the oldest failing delivery to {name}"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minimize_keeps_only_what_fails_together() {
        let items: Vec<u32> = (0..100).collect();
        let fails = |kept: &[u32]| [7, 41, 98].iter().all(|needed| kept.contains(needed));
        assert_eq!(minimize(items.clone(), 1000, fails), [7, 41, 98]);
        assert_eq!(minimize(items.clone(), 1000, |_| true), [0_u32; 0]);
        assert_eq!(minimize(items.clone(), 0, |_| true), items);
    }

    #[test]
    fn story_shows_no_digests_and_no_long_ids() {
        let id = format!("vapi:server:transcript:{}", "0123456789".repeat(8));
        let line = without_digests(&format!("0d  PutItem {id} [0123456789abcdef] -> ok [0123456789abcdef]"));
        assert_eq!(line, "0d  PutItem vapi:server:transcript:0123456…890123456789 -> ok");
    }

    #[test]
    fn story_ends_with_invariant_seed_and_command() {
        let plan = Plan::of(1).keep(&[0, 2]);
        let violation = Violation { invariant: "I1", what: "an event is lost".to_owned(), at: 5 };
        let shrunk = Shrunk { report: schedule::run(plan.clone()), plan, violation };
        let story = shrunk.story();
        let last: Vec<&str> = story.lines().rev().take(3).collect();
        assert_eq!(last[2], "invariant: I1: an event is lost");
        assert_eq!(last[1], "seed: 1");
        assert_eq!(last[0], "replay: cargo run --release -p simulation -- --seed 1 --keep 0,2");
    }
}
