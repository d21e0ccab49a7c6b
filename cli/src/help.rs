//! Fits the help texts of all commands to the width of the terminal.
//!
//! clap wraps descriptions, but it would break the lines of examples anywhere, and our prose is wrapped in the source.

use clap::Command;

/// The width of help that is not printed on a terminal, like clap's.
const DEFAULT_WIDTH: usize = 100;
/// The indentation of examples.
const EXAMPLE: &str = "  ";
/// The indentation of what belongs to an example.
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
        // The notes beside examples are aligned, so all of a paragraph are moved if one does not fit.
        let is_long = |line: &str| line.starts_with(EXAMPLE) && line.chars().count() > width;
        let has_long = paragraph.starts_with("Examples:") && paragraph.lines().any(is_long);
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

/// Puts the note of an example on a line of its own, and continues a long command on the next line.
fn fit_example(line: &str, width: usize) -> Vec<String> {
    let (command, note) =
        line.trim().split_once("   ").map_or((line.trim(), ""), |(command, note)| (command, note.trim()));
    let (mut lines, mut current) = (Vec::new(), EXAMPLE.to_owned());
    for word in command.split(' ') {
        let needed = current.chars().count() + word.chars().count() + " \\".len();
        if needed > width && !current.trim().is_empty() {
            lines.push(format!("{current}\\"));
            current = NOTE.to_owned();
        }
        current.push_str(word);
        current.push(' ');
    }
    lines.push(current.trim_end().to_owned());
    if !note.is_empty() {
        lines.push(format!("{NOTE}{note}"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_is_joined_and_short_examples_stay() {
        let text = "One line of prose,\nand another one.\n\nExamples:\n  gatehouse x   note\n  gatehouse y";
        let fitted = "One line of prose, and another one.\n\nExamples:\n  gatehouse x   note\n  gatehouse y";
        assert_eq!(fit_text(text, 80), fitted);
    }

    #[test]
    fn long_example_can_still_be_pasted() {
        let text =
            "Examples:\n  gatehouse secrets set client:web --new --agents support   a client\n  gatehouse x   short";
        let fitted = fit_text(text, 40);
        assert!(fitted.lines().all(|line| line.chars().count() <= 40), "{fitted}");
        assert!(fitted.contains("  gatehouse secrets set client:web \\\n      --new --agents support\n      a client"));
        assert!(fitted.ends_with("  gatehouse x\n      short"), "{fitted}");
    }
}
