#![doc = include_str!("../README.md")]

pub mod delivery;
pub mod engine;
pub mod event_source;
pub mod fault;
pub mod function_url;
pub mod http_server;
mod redrive;
pub mod runtime_api;
pub mod stack;
pub mod template;

pub use delivery::{Answer, Delivery};
pub use engine::local_sdk;
pub use event_source::Batch;
pub use fault::{Fault, FaultProxy, Rule};
pub use stack::{Options, Stack};

/// Whatever keeps the local stack from starting or going on.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
