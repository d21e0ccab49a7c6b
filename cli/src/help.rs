//! Fits the help texts of all commands to the width of the terminal.
//!
//! clap would break long examples at any space, and it keeps the line breaks of our prose, so this module does both.
//! In the source, a note follows an example after at least three spaces. It is printed as a comment of the shell.

use clap::Command;

/// The width of help that is not printed on a terminal, like clap's.
const DEFAULT_WIDTH: usize = 100;
/// The indentation of examples.
const EXAMPLE: &str = "  ";
/// The spaces between an example and its note.
const BEFORE_NOTE: &str = "   ";
/// The indentation of notes and continued lines of an example.
const NOTE: &str = "      ";

/// Fits the text after the options of a command and of its subcommands.
pub(crate) fn fitted(command: Command) -> Command {
    fit(command, width())
}

fn width() -> usize {
    let columns = || std::env::var("COLUMNS").ok()?.parse().ok();
    let terminal = terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
    terminal.or_else(columns).unwrap_or(DEFAULT_WIDTH)
}

fn fit(command: Command, width: usize) -> Command {
    let command = match command.get_after_help().map(ToString::to_string) {
        Some(text) => command.after_help(fit_text(&text, width)),
        None => command,
    };
    command.mut_subcommands(|subcommand| fit(subcommand, width))
}

/// Joins the lines of paragraphs, which clap wraps, and breaks long examples so that they can be pasted.
fn fit_text(text: &str, width: usize) -> String {
    let mut lines: Vec<String> = Vec::new();
    for paragraph in text.split("\n\n") {
        let is_prose = |line: &str| !line.starts_with(' ') && !line.ends_with(':');
        let mut was_prose = false;
        let is_examples = paragraph.starts_with("Examples:");
        let paragraph = if is_examples { with_comments(paragraph) } else { paragraph.to_owned() };
        // The notes beside examples are aligned, so all of a paragraph are moved if one does not fit.
        let is_long = |line: &str| line.starts_with(EXAMPLE) && line.chars().count() > width;
        let has_long = is_examples && paragraph.lines().any(is_long);
        for line in paragraph.lines() {
            match lines.last_mut() {
                Some(last) if was_prose && is_prose(line) => {
                    last.push(' ');
                    last.push_str(line);
                }
                _ if has_long && line.starts_with(EXAMPLE) => lines.extend(fit_example(line, width)),
                _ => lines.push(line.to_owned()),
            }
            was_prose = is_prose(line);
        }
        lines.push(String::new());
    }
    lines.join("\n").trim_end().to_owned()
}

/// Turns the notes of examples into comments, so that a line can be pasted.
fn with_comments(examples: &str) -> String {
    let comment = |line: &str| match line.trim_start().split_once(BEFORE_NOTE) {
        Some((_, note)) if !note.trim().is_empty() => {
            let note = note.trim_start();
            format!("{}# {note}", &line[..line.len() - note.len()])
        }
        _ => line.to_owned(),
    };
    examples.lines().map(comment).collect::<Vec<_>>().join("\n")
}

/// Puts the note of an example on a line of its own, and continues a long command on the next line.
fn fit_example(line: &str, width: usize) -> Vec<String> {
    let line = line.trim();
    let (command, note) = line.split_once(BEFORE_NOTE).map_or((line, ""), |(command, note)| (command, note.trim()));
    let (mut lines, mut current) = (Vec::new(), EXAMPLE.to_owned());
    for word in words(command) {
        let needed = current.chars().count() + word.chars().count() + " \\".len();
        if needed > width && !current.trim().is_empty() {
            lines.push(format!("{current}\\"));
            current = NOTE.to_owned();
        }
        current.push_str(&word);
        current.push(' ');
    }
    lines.push(current.trim_end().to_owned());
    if !note.is_empty() {
        lines.push(format!("{NOTE}{note}"));
    }
    lines
}

/// Splits a command at spaces that are not within single quotes.
fn words(command: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut is_quoted = false;
    for part in command.split(' ') {
        match words.last_mut() {
            Some(word) if is_quoted => {
                word.push(' ');
                word.push_str(part);
            }
            _ => words.push(part.to_owned()),
        }
        is_quoted ^= part.matches('\'').count() % 2 == 1;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_is_joined_and_short_examples_stay() {
        let text = "One line of prose,\nand another one.\n\nExamples:\n  gatehouse x   note\n  gatehouse y";
        let fitted = "One line of prose, and another one.\n\nExamples:\n  gatehouse x   # note\n  gatehouse y";
        assert_eq!(fit_text(text, 80), fitted);
    }

    #[test]
    fn long_example_can_still_be_pasted() {
        let text =
            "Examples:\n  gatehouse secrets set client:web --new --agents support   a client\n  gatehouse x   short";
        let fitted = fit_text(text, 40);
        assert!(fitted.lines().all(|line| line.chars().count() <= 40), "{fitted}");
        assert!(
            fitted.contains("  gatehouse secrets set client:web \\\n      --new --agents support\n      # a client")
        );
        assert!(fitted.ends_with("  gatehouse x\n      # short"), "{fitted}");
        let quoted = fit_text("Examples:\n  gatehouse events list --json | jq 'select(.state != \"ok\")'", 40);
        assert!(quoted.ends_with("\n      'select(.state != \"ok\")'"), "{quoted}");
    }
}
