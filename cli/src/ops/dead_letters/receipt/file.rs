//! The file of a receipt: one JSON line for each dead letter and its outcome.

use std::io::Write;
use std::path::{Path, PathBuf};

use gatehouse_local::Error;
use gatehouse_payload::Nonce;

use super::Receipt;
use crate::ops::files::create_private_file;

/// A receipt file.
#[derive(Debug)]
pub(in crate::ops::dead_letters) struct ReceiptFile {
    path: PathBuf,
}

impl ReceiptFile {
    /// Creates a file with the receipt.
    ///
    /// # Errors
    /// If the file exists or cannot be written.
    pub(in crate::ops::dead_letters) fn create(path: PathBuf, receipt: &Receipt) -> Result<ReceiptFile, Error> {
        create_private_file(&path).map_err(|error| format!("{}: {error}; nothing was moved", path.display()))?;
        let file = ReceiptFile { path };
        file.save(receipt)?;
        Ok(file)
    }

    /// Reads a file and its receipt.
    ///
    /// # Errors
    /// If the file cannot be read or is not a receipt.
    pub(in crate::ops::dead_letters) fn read(path: PathBuf) -> Result<(ReceiptFile, Receipt), Error> {
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let entry = |(n, line): (usize, &str)| {
            let invalid = |error| format!("{}, line {}: not a line of a receipt: {error}", path.display(), n + 1);
            serde_json::from_str(line).map_err(invalid)
        };
        let entries = text.lines().enumerate().map(entry).collect::<Result<_, _>>()?;
        Ok((ReceiptFile { path }, Receipt { entries }))
    }

    /// Replaces the file atomically.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(in crate::ops::dead_letters) fn save(&self, receipt: &Receipt) -> Result<(), Error> {
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}", Nonce::random()?));
        let new = self.path.with_file_name(name);
        let mut file = create_private_file(&new)?;
        for entry in &receipt.entries {
            writeln!(file, "{}", serde_json::to_string(entry)?)?;
        }
        file.sync_all()?;
        Ok(std::fs::rename(new, &self.path)?)
    }

    /// The file's path.
    pub(in crate::ops::dead_letters) fn path(&self) -> &Path {
        &self.path
    }
}
