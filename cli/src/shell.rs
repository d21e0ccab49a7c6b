//! What connects a command with the shell it was called from.

use std::io::{Read, Write};
use std::path::Path;

use gatehouse_local::Error;

/// A variable of the environment; empty is unset.
pub(crate) fn variable(name: &str) -> Result<Option<String>, Error> {
    match std::env::var_os(name).map(std::ffi::OsString::into_string) {
        None => Ok(None),
        Some(Ok(value)) => Ok((!value.is_empty()).then_some(value)),
        Some(Err(_)) => Err(format!("the environment variable {name} is not UTF-8").into()),
    }
}

/// Prints; whoever closed standard output does not want to read it.
pub(crate) fn print(text: &str) -> Result<(), Error> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

/// A file's bytes; `-` is standard input.
pub(crate) fn read(file: &Path) -> Result<Vec<u8>, Error> {
    if file == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes)?;
        return Ok(bytes);
    }
    std::fs::read(file).map_err(|error| format!("{} cannot be read: {error}", file.display()).into())
}

/// A file's text.
pub(crate) fn read_text(file: &Path) -> Result<String, Error> {
    String::from_utf8(read(file)?).map_err(|_| format!("{} is not UTF-8", file.display()).into())
}

/// The cause at the bottom: the ones above it say "client error".
pub(crate) fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

/// As one word for a POSIX shell.
pub(crate) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_a_quoted_text_as_it_was() {
        for text in ["", "plain", "it's", "$HOME `x` \"y\" \\ \n z"] {
            let script = format!("printf %s {}", quoted(text));
            let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), text);
        }
    }
}
