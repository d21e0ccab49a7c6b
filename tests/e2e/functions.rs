//! The deployed binaries under a Lambda Runtime API host.

mod agent_chat;
mod client_message;
mod code_answers;
mod conversation_webhooks;
mod event_retry;
mod server_message;
mod session_lifecycle;
