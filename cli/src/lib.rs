//! The commands of `gatehouse`, the command-line tool.
//!
//! The binary calls [`run`]. A program without a terminal calls [`commands`].

// A closed pipe or a full disk must not end a command with a panic: `shell::print`, `write` and `note` report it.
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod aws;
mod chat;
mod command_line;
pub mod commands;
mod demo;
mod dev;
mod endpoints;
mod help;
mod ops;
mod replies;
mod secrets;
mod send;
mod settings;
mod shell;
mod sign;
mod stack;
mod vendor;

pub use command_line::run;
