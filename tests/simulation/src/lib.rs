#![doc = include_str!("../README.md")]

pub mod chance;
pub mod chats;
pub mod event_source;
pub mod faults;
pub mod fleet;
pub mod isolation;
pub mod keys;
pub mod logs;
pub mod model;
pub mod network;
pub mod operators;
mod outgoing;
pub mod plan;
pub mod schedule;
pub mod senders;
pub mod shrink;
pub mod stream;
pub mod trace;
pub mod world;
