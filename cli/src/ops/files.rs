//! Files that commands write for their user.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

use gatehouse_local::Error;
use gatehouse_payload::time::Timestamp;

/// Creates a file that only the current user can read. Fails if the file exists.
pub(crate) fn create_private_file(path: &Path) -> Result<File, Error> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    Ok(options.open(path)?)
}

/// The path of the receipt of `command` that is created at `now`, if the command line has none: `COMMAND-TIME.jsonl`.
pub(crate) fn receipt_path(command: &str, now: Timestamp) -> PathBuf {
    let time = now.to_string();
    PathBuf::from(format!("{command}-{}.jsonl", time.get(..19).unwrap_or(&time).replace(':', "")))
}
