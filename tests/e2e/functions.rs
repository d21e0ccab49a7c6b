//! Tests the binaries that are deployed, with a local Lambda Runtime API.

mod agent_chat;
mod client_message;
mod code_answers;
mod conversation_webhooks;
mod deliveries;
mod event_retry;
mod server_message;
mod session_lifecycle;
