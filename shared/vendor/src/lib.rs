#![doc = include_str!("../README.md")]

pub mod conversation;
pub mod headers;
pub mod members;
pub mod sample;
pub mod secret;
pub mod secrets;
pub mod signature;
pub mod source;
pub mod verification;

pub use conversation::{Conversation, Message, State};
pub use members::Members;
pub use sample::Sample;
pub use secret::Secret;
pub use secrets::{PartReader, PartSpec, SecretsDocument, SecretsPart, UnreadableSecrets};
pub use source::{CredentialsShape, Identity, Lifecycle, Parsed, Profile, Source, Vendor};
pub use verification::{Credentials, Parts, Proof, Reason, Rejection, SchemeSummary, Unverified, Verified};
