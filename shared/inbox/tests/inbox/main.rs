//! The store and the queue against embedded engines.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod fold;
mod model;
mod record;
mod table;
mod timeline;
