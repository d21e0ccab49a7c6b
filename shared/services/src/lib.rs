#![doc = include_str!("../README.md")]

mod breaker;
pub mod client;
pub mod fault;
pub mod lambda;
pub mod question;
pub mod service;

pub use client::Client;
pub use fault::Fault;
pub use question::Question;
pub use service::{PART, Payload, Service, Services, Target};
