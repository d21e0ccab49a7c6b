//! The code that the guard measures: a receiver without its network, and the parsers of external input with expensive
//! inputs.

pub mod bounded;
pub mod receiver;

/// The cause of a failed measurement.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
