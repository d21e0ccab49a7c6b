//! Tests the whole stack through its public interfaces.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod answers;
mod architecture;
mod crash;
mod deliveries;
mod delivery_functions;
mod formats;
mod functions;
mod hostile;
mod occurrences;
mod outages;
mod privacy;
mod retry;
mod rotation;
mod sample_vendor;
mod seeds;
mod services;
mod support;
