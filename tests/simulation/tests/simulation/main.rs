//! Tests of the simulation itself, and the seeds of bugs that it has found.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::process::Command;

use simulation::plan::{Action, Ask, Deliver, EventSpec, Fault, FaultKind, Plan, Service, Signer, Variant, What};
use simulation::world::Violation;
use simulation::{faults, schedule};

/// Runs the binary with these arguments. Returns its standard output.
fn simulate(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_simulation")).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn fifty_seeds_have_the_same_traces_in_two_processes() {
    let digests = |jobs| simulate(&["--seed", "1", "--schedules", "50", "--digests", "--jobs", jobs]);
    let first = digests("1");
    assert_eq!(first.lines().filter(|line| line.starts_with("trace ")).count(), 50);
    // Two schedules run at the same time in the second process.
    assert_eq!(sorted(&first), sorted(&digests("2")));
}

fn sorted(text: &str) -> Vec<&str> {
    let mut traces: Vec<&str> = text.lines().filter(|line| line.starts_with("trace ")).collect();
    traces.sort_unstable();
    traces
}

#[test]
fn every_planted_fault_applies() {
    let faults = faults::all().unwrap();
    assert!(faults.len() >= 15, "{}", faults.len());
    for (name, patch) in faults {
        let apply = Command::new("git").args(["apply", "--check"]).arg(patch).current_dir(faults::root()).output();
        let output = apply.unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Runs a plan that was found by a seed, and made small. It is written down, because the plans of seeds change with the
/// simulation.
fn run(seed: u64, events: Vec<EventSpec>, actions: Vec<(u64, What)>) -> Option<Violation> {
    let actions = actions.into_iter().enumerate().map(|(n, (at, what))| Action { n, at, what });
    schedule::run(Plan { seed, events, actions: actions.collect(), has_deliveries: false }).violation
}

/// The record of a completed turn became a dead letter, its key could not be settled, and the agent was asked again.
#[test]
fn agent_is_not_asked_again_while_its_answer_is_a_dead_letter() {
    let ask =
        |body, key| Ask { client: 1, key, body, leaves_after: None, retries: true, is_forged: false, is_json: false };
    let rejected = Fault { service: Service::DynamoDb, kind: FaultKind::Rejected, share: 1000, lasts: 120_000 };
    let actions = vec![
        (100, What::Ask(ask(5, None))),
        (2492, What::Ask(ask(2, Some(2)))),
        (2626, What::Fault(rejected)),
        (1_821_742, What::Ask(ask(2, Some(2)))),
    ];
    for seed in 0..20 {
        assert_eq!(run(seed, Vec::new(), actions.clone()), None, "seed {seed}");
    }
}

/// SQS returned a dead letter twice, and the command deleted it with the receipt handle that was no longer valid.
#[test]
fn erasure_deletes_dead_letters_that_are_received_twice() {
    let event = |sample| EventSpec { source: 0, sample, subject: 0, large: false, is_undated: false };
    let deliver = |event| Deliver {
        event,
        variant: Variant::Original,
        is_doubled: false,
        retries: false,
        signer: Signer::Vendor,
    };
    let rejected = Fault { service: Service::DynamoDb, kind: FaultKind::Rejected, share: 1000, lasts: 120_000 };
    // The first erasure fails, so that there are dead letters when the world is at rest and the subject is erased again.
    let mut actions = vec![(0, What::Fault(rejected)), (50, What::Erase(0))];
    actions.extend((0..3).map(|event| (100, What::Deliver(deliver(event)))));
    for seed in 0..60 {
        assert_eq!(run(seed, (0..3).map(event).collect(), actions.clone()), None, "seed {seed}");
    }
}

#[test]
fn schedules_are_as_large_as_promised() {
    for seed in 1..200 {
        let plan = Plan::of(seed);
        let count = |is_it: fn(&What) -> bool| plan.actions.iter().filter(|action| is_it(&action.what)).count();
        let deliveries = count(|what| matches!(what, What::Deliver(_)));
        let turns = count(|what| matches!(what, What::Ask(_)));
        let faults =
            count(|what| matches!(what, What::Fault(_) | What::Kill { .. } | What::Pause { .. } | What::Retire(_)));
        assert!(deliveries >= 20 || turns >= 5, "seed {seed}: {deliveries} deliveries, {turns} turns");
        assert!(plan.is_calm() || faults >= 3, "seed {seed}: {faults} faults");
    }
}
