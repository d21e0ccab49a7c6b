#![doc = include_str!("../README.md")]

pub mod agent;
pub mod cors;
pub mod deliveries;
pub mod delivery;
pub mod demo_agent;
pub mod engine;
pub mod event_source;
pub mod fault;
mod forward;
pub mod function_url;
pub mod hosts;
pub mod http_server;
pub mod random;
pub mod runtime_api;
pub mod secrets_manager;
pub mod services;
mod sqs;
pub mod stack;
pub mod status;
pub mod table_stream;
pub mod template;
pub mod testbed;

pub use agent_chat::Limits as ChatLimits;
pub use delivery::{Answer, Delivery, dev_url};
pub use engine::{DataDir, Engine};
pub use event_source::Batch;
pub use fault::{Fault, FaultProxy, Rule};
pub use hosts::Hosts;
pub use secrets_manager::SecretsManager;
pub use services::{Services, external_sdk, local_sdk};
pub use sqs::arn as queue_arn;
pub use stack::{Options, Stack};
pub use table_stream::TableStream;
pub use testbed::Testbed;

/// An error of the local stack.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
