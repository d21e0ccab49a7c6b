//! The JSON protocol of SQS, as far as the local SQS and the SQS in memory share it: parameters, attributes, errors,
//! digests and the form of messages. What queues do is in those two, which tests compare with each other.
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
