//! The file in which a `gatehouse dev` without `--secrets` keeps its destinations.

use std::path::{Path, PathBuf};

use gatehouse_local::{DataDir, Error};
use gatehouse_payload::json::members;
use gatehouse_vendor::secrets::DESTINATIONS;
use tempfile::TempDir;

use crate::secrets::write_file;

/// A secrets document that has only destinations. `gatehouse destinations set` changes it.
pub(super) struct DestinationsFile {
    pub(super) file: PathBuf,
    /// Deletes the file at the end, if there is no data directory.
    _directory: Option<TempDir>,
}

impl DestinationsFile {
    /// Opens the file in the data directory, or creates a temporary one. A new file has the destinations of `document`.
    ///
    /// # Errors
    /// If the file cannot be created.
    pub(super) fn open(data: Option<&DataDir>, document: Option<&str>) -> Result<DestinationsFile, Error> {
        let directory = if data.is_some() { None } else { Some(tempfile::tempdir()?) };
        let parent = data.map(DataDir::path).or(directory.as_ref().map(TempDir::path)).unwrap_or(Path::new("."));
        let file = parent.join("destinations.json");
        if !file.exists() {
            let parts = members(document.unwrap_or("{}"));
            let destinations = parts.iter().find(|(name, _)| name == DESTINATIONS).map_or("{}", |(_, part)| part.get());
            write_file(&file, &format!("{{\"{DESTINATIONS}\": {destinations}}}\n"))?;
        }
        Ok(DestinationsFile { file, _directory: directory })
    }
}
