//! AG-Kit and AG-UI: two dialects of `POST /v1/aibot/bots/{AgentId}/send-message`. Their requests and events have
//! nothing in common.
//!
//! | dialect | request | events | ends with |
//! |---|---|---|---|
//! | AG-Kit, 2025 | [`kit::Request`]: `messages`, `tools`, `resume`, `conversationId` | [`kit::Event`], by `type` in lower case | `data: [DONE]` |
//! | AG-UI, current | [`ui::Request`]: `threadId`, `runId`, `messages`, `state`, … | [`ui::Event`], by `type` in upper case | `RUN_FINISHED` or `RUN_ERROR`, then the end of the connection; servers up to 0.1.13 also send `data: [DONE]`; some servers send neither |
//!
//! | dialect | `type` | struct |
//! |---|---|---|
//! | AG-Kit | `text` | [`kit::Text`] |
//! | AG-Kit | `tool-call-start` | [`kit::ToolCallStart`] |
//! | AG-Kit | `tool-call-args` | [`kit::ToolCallArgs`] |
//! | AG-Kit | `tool-call-end` | [`kit::ToolCallEnd`] |
//! | AG-Kit | `tool-result` | [`kit::ToolResult`] |
//! | AG-Kit | `interrupt` | [`kit::Interrupt`] |
//! | AG-Kit | `error` | [`kit::Failure`] |
//! | AG-UI | `RUN_STARTED` | [`ui::RunStarted`] |
//! | AG-UI | `RUN_FINISHED` | [`ui::RunFinished`] |
//! | AG-UI | `RUN_ERROR` | [`ui::RunError`] |
//! | AG-UI | `STEP_STARTED` | [`ui::StepStarted`] |
//! | AG-UI | `STEP_FINISHED` | [`ui::StepFinished`] |
//! | AG-UI | `TEXT_MESSAGE_START` | [`ui::TextMessageStart`] |
//! | AG-UI | `TEXT_MESSAGE_CONTENT` | [`ui::TextMessageContent`] |
//! | AG-UI | `TEXT_MESSAGE_END` | [`ui::TextMessageEnd`] |
//! | AG-UI | `TEXT_MESSAGE_CHUNK` | [`ui::TextMessageChunk`] |
//! | AG-UI | `TOOL_CALL_START` | [`ui::ToolCallStart`] |
//! | AG-UI | `TOOL_CALL_ARGS` | [`ui::ToolCallArgs`] |
//! | AG-UI | `TOOL_CALL_END` | [`ui::ToolCallEnd`] |
//! | AG-UI | `TOOL_CALL_CHUNK` | [`ui::ToolCallChunk`] |
//! | AG-UI | `TOOL_CALL_RESULT` | [`ui::ToolCallResult`] |
//! | AG-UI | `STATE_SNAPSHOT` | [`ui::StateSnapshot`] |
//! | AG-UI | `STATE_DELTA` | [`ui::StateDelta`] |
//! | AG-UI | `MESSAGES_SNAPSHOT` | [`ui::MessagesSnapshot`] |
//! | AG-UI | `ACTIVITY_SNAPSHOT` | [`ui::ActivitySnapshot`] |
//! | AG-UI | `ACTIVITY_DELTA` | [`ui::ActivityDelta`] |
//! | AG-UI | `RAW` | [`ui::Foreign`] |
//! | AG-UI | `CUSTOM` | [`ui::Custom`] |
//! | AG-UI | `REASONING_START` | [`ui::ReasoningStart`] |
//! | AG-UI | `REASONING_END` | [`ui::ReasoningEnd`] |
//! | AG-UI | `REASONING_MESSAGE_START` | [`ui::ReasoningMessageStart`] |
//! | AG-UI | `REASONING_MESSAGE_CONTENT` | [`ui::ReasoningMessageContent`] |
//! | AG-UI | `REASONING_MESSAGE_END` | [`ui::ReasoningMessageEnd`] |
//! | AG-UI | `REASONING_MESSAGE_CHUNK` | [`ui::ReasoningMessageChunk`] |
//! | AG-UI | `REASONING_ENCRYPTED_VALUE` | [`ui::ReasoningEncryptedValue`] |
//! | AG-UI | `THINKING_…`, from older servers | [`ui::Thinking`] |
//!
//! Only the form of a request distinguishes the dialects: an AG-UI server answers an AG-Kit body with 200 and loses the
//! thread. A third, older dialect on this path is not supported.
//!
//! A turn is one event. Its body has no id; the proxy assigns the event id `ag-kit:<turn id>` in both dialects.
//!
//! Sources: the AG-Kit and AG-UI documentation (<https://docs.ag-ui.com>), the servers' code, and captures of their
//! responses (November 2026).

pub mod check;
mod dialect;
mod fold;
/// The AG-Kit dialect.
pub mod kit;
mod record;
pub mod turn;
/// The AG-UI dialect.
pub mod ui;

pub use dialect::Dialect;
pub use record::{AgKit, event_id, former_event_id, subject};
