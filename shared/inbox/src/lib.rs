#![doc = include_str!("../README.md")]

pub mod aws;
pub mod clock;
pub mod config;
pub mod event;
pub mod fold;
pub mod inbox;
pub mod model;
pub mod outcome;
pub mod queue;
pub mod store;

pub use clock::Clock;
pub use config::Config;
pub use event::{Event, EventId, Fingerprint, Marks, Nonce, Subject};
pub use inbox::{Inbox, Receipt, Unavailable};
pub use outcome::Outcome;
pub use store::{Store, StoreError};
