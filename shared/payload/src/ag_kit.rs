//! AG-Kit and AG-UI: two dialects of `POST /v1/aibot/bots/{AgentId}/send-message`, whose requests and events have nothing in
//! common.
//!
//! | dialect | request | events | ends with |
//! |---|---|---|---|
//! | AG-Kit, 2025 | [`kit::Request`]: `messages`, `tools`, `resume`, `conversationId` | [`kit::Event`], by `type` in lower case | `data: [DONE]` |
//! | AG-UI, now | [`ui::Request`]: `threadId`, `runId`, `messages`, `state`, … | [`ui::Event`], by `type` in upper case | `RUN_FINISHED` or `RUN_ERROR`, then the connection's end; `data: [DONE]` too from servers up to 0.1.13; some end with neither |
//!
//! Nothing tells the dialects apart but their shape: an AG-UI server takes an AG-Kit body with 200 and loses the thread.
//! There is a third, older dialect on this path, which none of these types is for.
//!
//! A turn is one event, whatever it says: it is named by the proxy, not by the body.
//! Sources: the AG-Kit and AG-UI documentation (<https://docs.ag-ui.com>), their servers' code, and what they were seen to send (November 2026).

use std::fmt;

pub mod check;
/// The AG-Kit dialect.
pub mod kit;
pub mod turn;
/// The AG-UI dialect.
pub mod ui;

/// What an agent speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// [`kit`]
    AgKit,
    /// [`ui`]
    AgUi,
}

impl Dialect {
    /// The word in configurations and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Dialect::AgKit => "ag-kit",
            Dialect::AgUi => "ag-ui",
        }
    }

    /// The dialect a word names.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        [Dialect::AgKit, Dialect::AgUi].into_iter().find(|dialect| dialect.as_str() == word)
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
