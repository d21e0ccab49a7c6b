#![doc = include_str!("../README.md")]

pub mod ada;
pub mod agntix;
pub mod vapi;

pub use gatehouse_payload::wire::read;
