#![doc = include_str!("../README.md")]

pub mod aws;
pub mod clock;
pub mod config;
pub mod random;
pub mod signing;

pub use clock::Clock;
pub use config::{Config, ConfigError};
pub use random::Random;
