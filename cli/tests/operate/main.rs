//! The commands that look into a running deployment, as whoever is on call runs them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod bed;
mod dead_letters;
mod deployed;
mod doctor;
mod erase;
mod events;
mod help;
mod incident;
mod replay;
mod state;
