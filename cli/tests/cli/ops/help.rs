//! Tests of the `--help` texts.

use std::process::Command;

fn help(path: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_gatehouse")).args(path).arg("--help").output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// Returns the subcommands that a help text lists.
fn commands(text: &str) -> Vec<String> {
    let list = text.split("\nCommands:\n").nth(1).unwrap_or_default();
    let names = list.lines().take_while(|line| line.starts_with("  ")).filter(|line| !line.starts_with("   "));
    names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help").map(str::to_owned).collect()
}

#[test]
fn help_of_every_command_has_an_example() {
    let mut paths: Vec<Vec<String>> = commands(&help(&[])).into_iter().map(|name| vec![name]).collect();
    assert!(paths.len() > 12, "{paths:?}");
    while let Some(path) = paths.pop() {
        let words: Vec<&str> = path.iter().map(String::as_str).collect();
        let text = help(&words);
        let example = format!("gatehouse {}", words.join(" "));
        let examples = text.split("Examples:").nth(1).unwrap_or_default();
        assert!(examples.contains(&example), "{example} --help has no example of it:\n{text}");
        paths.extend(commands(&text).into_iter().map(|name| path.iter().cloned().chain([name]).collect()));
    }
}

#[test]
fn help_lists_the_exit_codes() {
    let text = help(&[]);
    for expected in ["Exit codes", "  0 ", "  1 ", "  2 ", "  3 "] {
        assert!(text.contains(expected), "{expected}:\n{text}");
    }
}
