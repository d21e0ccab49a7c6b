#![doc = include_str!("../README.md")]

pub mod aws;
pub mod clock;
pub mod config;

pub use clock::Clock;
pub use config::{Config, ConfigError};
