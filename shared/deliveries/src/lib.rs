#![doc = include_str!("../README.md")]

pub mod message;
pub mod request;

pub use message::{Message, Shape};
