#![doc = include_str!("../README.md")]

pub mod deadline;
pub mod log;
pub mod precheck;
pub mod problem;
pub mod receiver;
pub mod redaction;
pub mod request_id;
pub mod responder;
pub mod secrets;
pub mod skip;

pub use deadline::{Deadline, TIMEOUT};
pub use problem::{Problem, ProblemDocument};
pub use receiver::{Receiver, connect};
pub use redaction::Redaction;
pub use request_id::RequestId;
pub use responder::{Expectation, ReplyPlan, Responder};
pub use secrets::{Refresh, SecretsCache};
pub use skip::Skip;
