//! What the guard measures: a front function's door without its network, and the readers of bytes from outside with
//! inputs that are made to cost much.

pub mod bounded;
pub mod door;

/// The cause that keeps the guard from measuring.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
