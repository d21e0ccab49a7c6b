//! The trace of a schedule: what happened in the world, line by line. Equal schedules have equal traces.

use std::fmt::{self, Write};
use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::Value;

use crate::plan::Ms;

/// The lines of a trace.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Trace {
    lines: Vec<(Ms, String)>,
    is_off: bool,
}

impl Trace {
    /// Adds a line.
    pub fn add(&mut self, at: Ms, line: impl fmt::Display) {
        if !self.is_off {
            self.lines.push((at, line.to_string()));
        }
    }

    /// Keeps no lines, for a run that is too long.
    pub fn turn_off(&mut self) {
        self.is_off = true;
    }

    /// Returns the number of lines.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether the trace has no lines.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Returns the hash of all lines. It is the same in every process.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.lines.hash(&mut hasher);
        hasher.finish()
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|(at, line)| writeln!(f, "{}  {line}", Moment(*at)))
    }
}

/// A virtual time as days, hours, minutes, seconds and milliseconds: `1d 02:03:04.567`.
#[derive(Debug, Clone, Copy)]
pub struct Moment(pub Ms);

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0 / 1000;
        let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
        write!(f, "{days}d {hours:02}:{minutes:02}:{:02}.{:03}", seconds % 60, self.0 % 1000)
    }
}

/// Hashes what is written.
struct Hashed(DefaultHasher);

impl Write for Hashed {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}

/// Returns a short hash of a JSON value. The order of members does not matter.
#[must_use]
pub fn digest(value: &Value) -> u64 {
    let mut hashed = Hashed(DefaultHasher::new());
    // Hashing cannot fail.
    let _ = write!(hashed, "{value}");
    hashed.0.finish()
}
