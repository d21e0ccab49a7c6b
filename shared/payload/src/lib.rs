#![doc = include_str!("../README.md")]

pub mod ada;
pub mod agntix;
pub mod json;
pub mod time;
pub mod vapi;
