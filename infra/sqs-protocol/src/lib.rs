//! The JSON protocol of SQS, as far as the local SQS and the SQS in memory share it: parameters, attributes, errors,
//! digests and the form of messages. Each of the two implements the queues itself, and tests
//! compare them.
//!
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/>

pub mod attributes;
mod batch;
pub mod digest;
pub mod error;
pub mod message;
pub mod queue;
pub mod request;

/// The reason why FIFO queues are rejected.
pub const NO_FIFO: &str = "FIFO queues are not supported";
