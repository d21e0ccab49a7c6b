//! SQS.

/// An SQS in memory.
#[derive(Debug, Default)]
pub struct Sqs {}
