#![doc = include_str!("../README.md")]

pub mod condition;
pub mod event;
pub mod json;
pub mod outcome;
pub mod pointer;
pub mod redact;
pub mod strict;
pub mod time;
pub mod wire;

pub use event::{Event, EventId, Fingerprint, Flags, Nonce, Subject};
pub use outcome::Outcome;
