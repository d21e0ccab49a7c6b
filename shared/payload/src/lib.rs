#![doc = include_str!("../README.md")]

pub mod ada;
pub mod agntix;
pub mod json;
pub mod time;
pub mod vapi;

/// The body could not be read as this vendor's envelope.
///
/// Not a reason to refuse it: an authentic event is recorded whatever its shape, only marked as unread.
/// Carries no part of the body, so that it may be logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the body does not have the shape of this vendor's envelope (line {line}, column {column})")]
pub struct Unreadable {
    /// Line of the object's text, from 1; 0 where the position is not known.
    pub line: usize,
    /// Column of that line, from 1; 0 where the position is not known.
    pub column: usize,
}

impl From<serde_json::Error> for Unreadable {
    // The message of a serde error may quote the input: only the place is kept.
    fn from(error: serde_json::Error) -> Self {
        Unreadable { line: error.line(), column: error.column() }
    }
}
