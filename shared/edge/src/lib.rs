#![doc = include_str!("../README.md")]

pub mod answering;
pub mod deadline;
pub mod gate;
pub mod log;
pub mod problem;
pub mod receiver;
pub mod redaction;
pub mod request_id;
pub mod secrets;
pub mod skip;

pub use answering::{Answering, Decision};
pub use deadline::Deadline;
pub use problem::Problem;
pub use receiver::{Receiver, connect};
pub use redaction::Redaction;
pub use request_id::RequestId;
pub use secrets::{Refresh, SecretsCache};
pub use skip::Skip;
