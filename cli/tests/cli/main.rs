//! Tests of the command-line tool. They share one binary, because each further one would link the engines again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod chat;
mod deliveries;
mod demo;
mod dev;
mod listen;
mod ops;
mod process;
mod replies;
mod secrets;
mod send;
mod services;

/// Sends a signal to a process without the program `kill`, which not every machine has.
fn signal(process: &std::process::Child, signal: rustix::process::Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_child(process), signal).unwrap();
}
