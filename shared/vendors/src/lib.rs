#![doc = include_str!("../README.md")]

mod any;
mod registry;
mod secrets;

pub use any::{AnyCredentials, AnyVendor};
pub use registry::{SOURCES, development, named, of_event, of_vendor, vendors};
pub use secrets::Secrets;
