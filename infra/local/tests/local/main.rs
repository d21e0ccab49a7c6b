//! The parts of the local stack, as an SDK sees them.
#![allow(clippy::unwrap_used, missing_docs)]

mod data_dir;
mod fault;
mod moves;
mod sqs;
mod table;
