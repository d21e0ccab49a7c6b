//! Tests of the `--help` texts.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::process::Command;

/// The reviewed file with the help of every command.
const PAGES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli/ops/help.txt");

fn help(path: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatehouse"));
    let output = command.args(path).arg("--help").env("COLUMNS", "80").output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// Returns the subcommands that a help text lists.
fn commands(text: &str) -> Vec<String> {
    let list = text.split("\nCommands:\n").nth(1).unwrap_or_default();
    let names = list.lines().take_while(|line| line.starts_with("  ")).filter(|line| !line.starts_with("   "));
    names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help").map(str::to_owned).collect()
}

/// Returns the help of every command, by its words, in the order of the lists.
fn pages() -> Vec<(Vec<String>, String)> {
    let mut pages = Vec::new();
    let mut paths = vec![Vec::new()];
    while let Some(path) = paths.pop() {
        let words: Vec<&str> = path.iter().map(String::as_str).collect();
        let text = help(&words);
        let subcommands: Vec<Vec<String>> =
            commands(&text).into_iter().map(|name| path.iter().cloned().chain([name]).collect()).collect();
        paths.extend(subcommands.into_iter().rev());
        pages.push((path, text));
    }
    pages
}

#[test]
fn help_of_every_command_is_reviewed_and_fits_80_columns() {
    let mut all = String::new();
    let mut shared = BTreeSet::new();
    for (path, text) in pages() {
        let too_wide: Vec<&str> = text.lines().filter(|line| line.chars().count() > 80).collect();
        assert!(too_wide.is_empty(), "{path:?}: {too_wide:?}");
        let _ = write!(all, "=== gatehouse {}\n\n", path.join(" "));
        // Many commands have the same options for the deployment.
        for (n, block) in text.split("\n\n").enumerate() {
            let is_repeated = block.starts_with("Deployment:") && !shared.insert(block.to_owned());
            let block = if is_repeated { "Deployment: as above" } else { block };
            let _ = write!(all, "{}{block}", if n == 0 { "" } else { "\n\n" });
        }
        all.push('\n');
    }
    if std::env::var_os("GATEHOUSE_WRITE_HELP").is_some() {
        std::fs::write(PAGES, &all).unwrap();
    }
    let reviewed = std::fs::read_to_string(PAGES).unwrap_or_default();
    let differs = reviewed.lines().zip(all.lines()).find(|(old, new)| old != new);
    assert!(
        reviewed == all,
        "the help differs from {PAGES}, first in {differs:?}; write it again with GATEHOUSE_WRITE_HELP=1, and review it"
    );
}

#[test]
fn help_of_every_command_has_an_example() {
    let pages = pages();
    assert!(pages.len() > 40, "{} pages", pages.len());
    for (path, text) in pages.iter().filter(|(path, _)| !path.is_empty()) {
        let example = format!("gatehouse {}", path.join(" "));
        let examples = text.split("Examples:").nth(1).unwrap_or_default();
        assert!(examples.contains(&example), "{example} --help has no example of it:\n{text}");
    }
}

#[test]
fn help_lists_the_exit_codes() {
    let text = help(&[]);
    for expected in ["Exit codes", "  0 ", "  1 ", "  2 ", "  3 "] {
        assert!(text.contains(expected), "{expected}:\n{text}");
    }
}

#[test]
fn mistyped_command_is_never_answered_with_one_that_deletes() {
    for words in [["events", "eras"], ["events", "earse"], ["dead-letters", "discrad"], ["deliveries", "discad"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_gatehouse")).args(words).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2));
        let is_named = ["'erase'", "'discard'"].iter().any(|name| text.contains(name));
        assert!(text.contains("unrecognized subcommand") && !is_named, "{text}");
    }
    let output = Command::new(env!("CARGO_BIN_EXE_gatehouse")).args(["events", "resnd"]).output().unwrap();
    assert!(String::from_utf8(output.stderr).unwrap().contains("'resend'"));
}
