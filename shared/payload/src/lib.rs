#![doc = include_str!("../README.md")]

#[macro_use]
pub mod strict;
#[macro_use]
pub mod wire;

pub mod ada;
pub mod ag_kit;
pub mod agntix;
pub mod json;
pub mod pointer;
pub mod redact;
pub mod time;
pub mod vapi;
