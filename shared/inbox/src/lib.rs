#![doc = include_str!("../README.md")]

pub mod inbox;
pub mod model;
pub mod queue;
pub mod store;

pub use inbox::{Inbox, Receipt, Unavailable};
pub use store::{Store, StoreError};
