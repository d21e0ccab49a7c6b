//! The commands of `gatehouse`, the command-line tool.
//!
//! The binary calls [`run`].

mod aws;
mod chat;
mod command_line;
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
