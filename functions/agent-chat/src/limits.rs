//! Time and size limits of a chat turn.

use std::time::Duration;

use gatehouse_edge::gate;
use gatehouse_inbox::config::ConfigError;

/// The limits. Each is a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// `CHAT_CONNECT_SECONDS`: connecting to an agent; 3.
    pub connect: Duration,
    /// `CHAT_COMMIT_SECONDS`: how long the status waits for the first event, so that an early failure has a status of
    /// its own; 10.
    pub commit: Duration,
    /// `CHAT_FIRST_EVENT_SECONDS`: until the first event; 60.
    pub first_event: Duration,
    /// `CHAT_IDLE_SECONDS`: between two pieces of an answer; 60.
    pub idle: Duration,
    /// `CHAT_AFTER_END_SECONDS`: how long the agent may take to end its answer after a terminal event; 10.
    pub after_end: Duration,
    /// `CHAT_HEARTBEAT_SECONDS`: the silence after which the client gets a comment; 15.
    pub heartbeat: Duration,
    /// `BODY_MAX_BYTES`: the largest request, in bytes; 1 MiB.
    pub body: usize,
    /// `CHAT_EVENT_MAX_BYTES`: the largest event of an agent, in bytes; 1 MiB. Also what may come before the first
    /// event.
    pub event: usize,
    /// `CHAT_BUFFER_BYTES`: how much of an answer may wait for a client that reads slowly, in bytes; 256 KiB. A larger
    /// event waits alone.
    pub buffer: usize,
    /// `CHAT_ANSWER_MAX_BYTES`: the longest stream, in bytes; 190,000,000, since Lambda cuts a response at 200 MB.
    pub answer: usize,
}

/// The largest event that a record is read back with, in bytes: no limit of an event may be larger.
pub(crate) const LARGEST_EVENT: usize = 8 * 1024 * 1024;

impl Limits {
    /// Reads the variables by `get`, which is `std::env::var` outside tests.
    ///
    /// # Errors
    /// When a variable is no number, or out of its range.
    pub fn read(get: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let usual = Limits::default();
        let set = |name: &'static str| get(name).filter(|value| !value.is_empty());
        let seconds = |name: &'static str, usual: Duration| match set(name) {
            None => Ok(usual),
            Some(value) => match value.parse() {
                Ok(seconds @ 1..=900) => Ok(Duration::from_secs(seconds)),
                _ => Err(ConfigError::Invalid(name, "seconds, from 1 to 900")),
            },
        };
        let bytes = |name: &'static str, usual: usize, most: usize, rule: &'static str| match set(name) {
            None => Ok(usual),
            Some(value) => match value.parse() {
                Ok(bytes) if (1024..=most).contains(&bytes) => Ok(bytes),
                _ => Err(ConfigError::Invalid(name, rule)),
            },
        };
        let up_to_8_mib = "a number of bytes, from 1024 to 8388608";
        Ok(Limits {
            connect: seconds("CHAT_CONNECT_SECONDS", usual.connect)?,
            commit: seconds("CHAT_COMMIT_SECONDS", usual.commit)?,
            first_event: seconds("CHAT_FIRST_EVENT_SECONDS", usual.first_event)?,
            idle: seconds("CHAT_IDLE_SECONDS", usual.idle)?,
            after_end: seconds("CHAT_AFTER_END_SECONDS", usual.after_end)?,
            heartbeat: seconds("CHAT_HEARTBEAT_SECONDS", usual.heartbeat)?,
            body: gate::body_limit(get, usual.body)?,
            event: bytes("CHAT_EVENT_MAX_BYTES", usual.event, LARGEST_EVENT, up_to_8_mib)?,
            buffer: bytes("CHAT_BUFFER_BYTES", usual.buffer, LARGEST_EVENT, up_to_8_mib)?,
            answer: bytes(
                "CHAT_ANSWER_MAX_BYTES",
                usual.answer,
                190_000_000,
                "a number of bytes, from 1024 to 190000000",
            )?,
        })
    }
}

impl Default for Limits {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Limits {
            connect: seconds(3),
            commit: seconds(10),
            first_event: seconds(60),
            idle: seconds(60),
            after_end: seconds(10),
            heartbeat: seconds(15),
            body: 1024 * 1024,
            event: 1024 * 1024,
            buffer: 256 * 1024,
            answer: 190_000_000,
        }
    }
}
