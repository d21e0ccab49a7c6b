//! Complete types for Vapi's messages, as in Vapi's OpenAPI document (`ClientMessage`, `ServerMessage`; August 2026).
//!
//! [`message`] lists the types with their structs. Source: <https://api.vapi.ai/api-json>,
//! <https://docs.vapi.ai/server-url/events>.

pub mod assistant;
pub mod conversation;
pub mod message;
pub mod object;
pub mod transfer;
