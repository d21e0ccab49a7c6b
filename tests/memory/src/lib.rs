#![doc = include_str!("../README.md")]

pub mod dynamodb;
pub mod response;
pub mod secrets_manager;
pub mod sqs;

pub use dynamodb::DynamoDb;
pub use response::{Choose, First, Response};
pub use secrets_manager::SecretsManager;
pub use sqs::Sqs;
