//! The commands of `gatehouse`, the command-line tool.
//!
//! The binary calls [`run`]. A program without a terminal calls [`commands`].

mod aws;
mod chat;
mod command_line;
pub mod commands;
mod demo;
mod dev;
mod endpoints;
mod ops;
mod replies;
mod secrets;
mod send;
mod shell;
mod sign;
mod stack;
mod vendor;

pub use command_line::run;
