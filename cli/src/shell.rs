//! Environment variables, files, terminal output and Ctrl-C.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::{IsTerminal, Read, Write};
use std::path::Path;

use anstyle::{AnsiColor, Style};
use gatehouse_local::Error;
use gatehouse_payload::Outcome;
use gatehouse_payload::outcome::Severity;
#[cfg(unix)]
use rustix::termios::LocalModes;

/// Returns the value of an environment variable. An empty value counts as unset.
pub(crate) fn variable(name: &str) -> Result<Option<String>, Error> {
    match std::env::var_os(name).map(std::ffi::OsString::into_string) {
        None => Ok(None),
        Some(Ok(value)) => Ok((!value.is_empty()).then_some(value)),
        Some(Err(_)) => Err(format!("the environment variable {name} is not UTF-8").into()),
    }
}

/// The arguments do not fit together.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct UsageError(pub(crate) String);

/// The reader of standard output has closed it, and needs no more text. A command that only prints ends successfully.
#[derive(Debug, thiserror::Error)]
#[error("standard output is closed")]
pub(crate) struct ClosedPipe;

/// Prints text to standard output, of a list or of another command that only prints.
///
/// # Errors
/// [`ClosedPipe`] if the reader has closed it; another error if it cannot be written.
pub(crate) fn write(text: &str) -> Result<(), Error> {
    write_bytes(escape_control_characters(text).as_bytes())
}

/// Writes bytes to standard output as they are.
///
/// # Errors
/// Like [`write`].
pub(crate) fn write_bytes(bytes: &[u8]) -> Result<(), Error> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(ClosedPipe.into()),
        Err(error) => Err(format!("standard output cannot be written: {error}").into()),
    }
}

/// Prints text to standard output. A closed pipe is not an error: the command does its work nevertheless.
pub(crate) fn print(text: &str) -> Result<(), Error> {
    write(text).or_else(|error| if error.is::<ClosedPipe>() { Ok(()) } else { Err(error) })
}

/// Prints a line on standard error. Ignores errors, because there is no other place to report them.
pub(crate) fn note(text: impl Display) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Escapes, as JSON does, all characters that could move the cursor or change the direction of text. Line ends, tabs
/// and colours stay.
pub(crate) fn escape_control_characters(text: &str) -> Cow<'_, str> {
    let is_harmful = |c: char| {
        let is_bidirectional =
            matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        is_bidirectional || matches!(c, '\u{2028}' | '\u{2029}') || (c.is_control() && c != '\n' && c != '\t')
    };
    if !text.contains(is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut written = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        if !is_harmful(c) || (c == '\u{1b}' && is_colour(text.get(at..).unwrap_or_default())) {
            written.push(c);
        } else {
            written.push_str(&format!("\\u{:04x}", u32::from(c)));
        }
    }
    Cow::Owned(written)
}

/// Whether a text begins with an escape sequence that only changes colours or text style.
fn is_colour(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("\u{1b}[") else { return false };
    rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';').starts_with('m')
}

/// Reads the bytes of a file; `-` is standard input.
pub(crate) fn read(file: &Path) -> Result<Vec<u8>, Error> {
    if file == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes)?;
        return Ok(bytes);
    }
    std::fs::read(file).map_err(|error| format!("{} cannot be read: {error}", file.display()).into())
}

/// Reads the text of a file; `-` is standard input.
pub(crate) fn read_text(file: &Path) -> Result<String, Error> {
    String::from_utf8(read(file)?).map_err(|_| format!("{} is not UTF-8", file.display()).into())
}

/// Receives every Ctrl-C after its creation, including those that arrive before [`next`](Self::next) is called.
#[derive(Debug)]
pub(crate) struct Interrupts(tokio::sync::watch::Receiver<u64>);

impl Interrupts {
    pub(crate) fn listen() -> Self {
        let (sender, interrupts) = tokio::sync::watch::channel(0);
        tokio::spawn(async move {
            while tokio::signal::ctrl_c().await.is_ok() {
                sender.send_modify(|count| *count += 1);
            }
        });
        Interrupts(interrupts)
    }

    /// Returns interrupts that never arrive.
    pub(crate) fn never() -> Self {
        let (_, interrupts) = tokio::sync::watch::channel(0);
        Interrupts(interrupts)
    }

    /// Waits for the next Ctrl-C.
    pub(crate) async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            // There are no signals.
            std::future::pending::<()>().await;
        }
    }
}

/// Asks the user a question and returns whether the answer is yes. Ctrl-C means no.
pub(crate) async fn confirm(question: &str, interrupts: &mut Interrupts) -> Result<bool, Error> {
    if !std::io::stdin().is_terminal() {
        return Err("standard input is not a terminal; pass --yes to confirm".into());
    }
    let _ = write!(std::io::stderr().lock(), "{question} [y/N] ");
    let (sender, answer) = tokio::sync::oneshot::channel();
    // A plain thread rather than a blocking task: the runtime would wait for such a task after Ctrl-C.
    std::thread::spawn(move || {
        let mut answer = String::new();
        let read = std::io::stdin().read_line(&mut answer).map(|_| answer);
        let _ = sender.send(read);
    });
    tokio::select! {
        answer = answer => Ok(["y", "yes"].contains(&answer??.trim().to_ascii_lowercase().as_str())),
        () = interrupts.next() => Ok(false),
    }
}

/// Reads a line from standard input. At a terminal, it asks for it and does not show what is typed.
///
/// # Errors
/// If standard input cannot be read, or Ctrl-C is typed.
pub(crate) fn read_secret(prompt: &str) -> Result<String, Error> {
    let mut line = String::new();
    #[cfg(unix)]
    if let Some(_mode) = TerminalMode::without_echo() {
        let _ = write!(std::io::stderr().lock(), "{prompt} (not shown), then Enter: ");
        let mut bytes = Vec::new();
        for byte in std::io::stdin().lock().bytes() {
            match byte? {
                b'\r' | b'\n' | 4 => break,
                // Ctrl-C, which this mode passes on.
                3 => {
                    note("");
                    return Err("interrupted: nothing is written".into());
                }
                8 | 127 => drop(bytes.pop()),
                byte => bytes.push(byte),
            }
        }
        note("");
        return Ok(String::from_utf8(bytes).map_err(|_| "the value is not UTF-8")?.trim().to_owned());
    }
    if std::io::stdin().is_terminal() {
        let _ = write!(std::io::stderr().lock(), "{prompt}, then Enter: ");
    }
    std::io::stdin().read_line(&mut line)?;
    Ok(line.trim().to_owned())
}

/// The mode of a terminal that passes single keys on and does not show them. Dropping it restores the mode before.
#[cfg(unix)]
#[derive(Debug)]
pub(crate) struct TerminalMode(rustix::termios::Termios);

#[cfg(unix)]
impl TerminalMode {
    /// Sets the mode for single keys; Ctrl-C interrupts the process as usual. `None` if standard input is no terminal.
    pub(crate) fn of_keys() -> Option<TerminalMode> {
        TerminalMode::without(LocalModes::ICANON | LocalModes::ECHO)
    }

    /// Sets the mode for a secret, in which Ctrl-C is a key too. `None` if standard input is no terminal.
    fn without_echo() -> Option<TerminalMode> {
        TerminalMode::without(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }

    fn without(modes: LocalModes) -> Option<TerminalMode> {
        use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
        let before = tcgetattr(std::io::stdin()).ok()?;
        let mut mode = before.clone();
        mode.local_modes.remove(modes);
        tcsetattr(std::io::stdin(), OptionalActions::Now, &mode).ok()?;
        Some(TerminalMode(before))
    }
}

#[cfg(unix)]
impl Drop for TerminalMode {
    fn drop(&mut self) {
        // Fails only if the terminal is gone.
        let _ = rustix::termios::tcsetattr(std::io::stdin(), rustix::termios::OptionalActions::Now, &self.0);
    }
}

/// Returns the text of the innermost cause. The outer ones only say "client error".
pub(crate) fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

/// Quotes a text as one word of a POSIX shell.
pub(crate) fn shell_quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Returns the style of an outcome. Other words get no style.
pub(crate) fn outcome_style(word: &str) -> Style {
    match word {
        "delivered" => return AnsiColor::Green.on_default(),
        "waiting" => return AnsiColor::Yellow.on_default(),
        "dead" => return AnsiColor::Red.on_default(),
        _ => {}
    }
    match Outcome::from_word(word).map(Outcome::severity) {
        Some(Severity::Normal) => AnsiColor::Green.on_default(),
        Some(Severity::Repeated) => Style::new().dimmed(),
        Some(Severity::Notice) => AnsiColor::Yellow.on_default(),
        Some(Severity::Error) => AnsiColor::Red.on_default(),
        None => Style::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printed_text_cannot_move_cursor_or_change_text_direction() {
        let harmful = "a\u{1b}]0;x\u{7}\u{9b}31m\u{202e}b\r\u{2066}\u{2028}";
        assert_eq!(escape_control_characters(harmful), "a\\u001b]0;x\\u0007\\u009b31m\\u202eb\\u000d\\u2066\\u2028");
        for harmless_text in ["plain\n\tü 😀 日本", "\u{1b}[1;32mgreen\u{1b}[0m"] {
            assert_eq!(escape_control_characters(harmless_text), harmless_text);
        }
        let line = serde_json::json!({"x": "\u{9b}\u{202e}"}).to_string();
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&escape_control_characters(&line)).unwrap()["x"],
            "\u{9b}\u{202e}"
        );
    }

    #[test]
    fn shell_reads_quoted_text_unchanged() {
        for text in ["", "plain", "it's", "$HOME `x` \"y\" \\ \n z"] {
            let script = format!("printf %s {}", shell_quote(text));
            let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), text);
        }
    }
}
