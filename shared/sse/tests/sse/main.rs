//! Tests the event stream reader against the HTML standard and against another reader.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod conformance;
mod reader;
