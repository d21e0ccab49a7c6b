//! The state of a conversation, call, session or chat, folded from its events.

use std::fmt;

use gatehouse_payload::time::Timestamp;

/// Whether a conversation continues.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum State {
    /// No event says that it has ended.
    #[default]
    Open,
    /// An event says that it has ended. No other event opens it again.
    Closed,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            State::Open => "OPEN",
            State::Closed => "CLOSED",
        })
    }
}

/// The state of a conversation, call, session or chat.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Conversation {
    /// Whether it continues: closed if an event says that it has ended.
    pub state: State,
    /// The start, if an event gives it.
    pub started_at: Option<Timestamp>,
    /// The end: the time that the event gives, or else the time of the event.
    pub ended_at: Option<Timestamp>,
    /// The participant or the reason that ended it, in the vendor's word.
    pub ended_by: Option<String>,
    /// The customer's telephone number.
    pub number: Option<String>,
    /// The agent or assistant: its name, or else its id.
    pub agent: Option<String>,
    /// The cost in dollars, as written by the vendor.
    pub cost: Option<String>,
    /// The URL of the recording.
    pub recording_url: Option<String>,
    /// The messages by time, then in the order of arrival.
    pub messages: Vec<Message>,
    /// The vendor's analysis as sent: JSON text.
    pub analysis: Option<String>,
    /// The events and parts that were expected and have not arrived, in words.
    pub missing: Vec<String>,
    /// Number of events that were folded.
    pub events: usize,
    /// Number of deliveries that conflict with one of them.
    pub conflicts: usize,
}

/// A message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The time at which it was written or spoken.
    pub at: Timestamp,
    /// The author's role, in the vendor's word: `end_user`, `ai_agent`, `assistant`, `user`, …
    pub role: Option<String>,
    /// The text, or the address of a link or file. Absent for other kinds of messages.
    pub text: Option<String>,
}

impl Conversation {
    /// Returns the duration in seconds, if both ends are known.
    #[must_use]
    pub fn seconds(&self) -> Option<i64> {
        Some(self.ended_at?.as_secs() - self.started_at?.as_secs())
    }
}
