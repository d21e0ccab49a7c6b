//! Time and size limits of a chat turn.

use std::time::Duration;

use gatehouse_receiver::precheck;
use gatehouse_runtime::config::ConfigError;

/// The limits. Each can be set by an environment variable; the defaults are given here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// `CHAT_CONNECT_SECONDS`: longest time for connecting to an agent; 3.
    pub connect: Duration,
    /// `CHAT_COMMIT_SECONDS`: longest time that the status waits for the first event, so that an early failure can have
    /// an error status; 10.
    pub commit: Duration,
    /// `CHAT_FIRST_EVENT_SECONDS`: longest time until the first event; 60.
    pub first_event: Duration,
    /// `CHAT_IDLE_SECONDS`: longest time between two pieces of an answer; 60.
    pub idle: Duration,
    /// `CHAT_AFTER_END_SECONDS`: longest time from a terminal event to the end of the answer; 10.
    pub after_end: Duration,
    /// `CHAT_HEARTBEAT_SECONDS`: time without data from the agent after which the client gets a heartbeat; 15.
    pub heartbeat: Duration,
    /// `BODY_MAX_BYTES`: largest request, in bytes; 1 MiB.
    pub body: usize,
    /// `CHAT_EVENT_MAX_BYTES`: largest event of an agent, in bytes; 1 MiB. Also limits the data before the first event.
    pub event: usize,
    /// `CHAT_BUFFER_BYTES`: largest part of an answer that is buffered for a slow client, in bytes; 256 KiB. A larger
    /// event is buffered alone.
    pub buffer: usize,
    /// `CHAT_ANSWER_MAX_BYTES`: longest stream, in bytes; 190,000,000, because Lambda cuts a response at 200 MB.
    pub answer: usize,
}

/// Largest event that can be read from a record, in bytes. `CHAT_EVENT_MAX_BYTES` may not be larger.
pub(crate) const LARGEST_EVENT: usize = 8 * 1024 * 1024;

impl Limits {
    /// Reads the variables with `get`, which is `std::env::var` outside tests.
    ///
    /// # Errors
    /// When a variable is not a number or is out of its range.
    pub fn read(get: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let default = Limits::default();
        let set = |name: &'static str| get(name).filter(|value| !value.is_empty());
        let seconds = |name: &'static str, default: Duration| match set(name) {
            None => Ok(default),
            Some(value) => match value.parse() {
                Ok(seconds @ 1..=900) => Ok(Duration::from_secs(seconds)),
                _ => Err(ConfigError::Invalid(name, "seconds, from 1 to 900")),
            },
        };
        let bytes = |name: &'static str, default: usize, max: usize, rule: &'static str| match set(name) {
            None => Ok(default),
            Some(value) => match value.parse() {
                Ok(bytes) if (1024..=max).contains(&bytes) => Ok(bytes),
                _ => Err(ConfigError::Invalid(name, rule)),
            },
        };
        let up_to_8_mib = "a number of bytes, from 1024 to 8388608";
        Ok(Limits {
            connect: seconds("CHAT_CONNECT_SECONDS", default.connect)?,
            commit: seconds("CHAT_COMMIT_SECONDS", default.commit)?,
            first_event: seconds("CHAT_FIRST_EVENT_SECONDS", default.first_event)?,
            idle: seconds("CHAT_IDLE_SECONDS", default.idle)?,
            after_end: seconds("CHAT_AFTER_END_SECONDS", default.after_end)?,
            heartbeat: seconds("CHAT_HEARTBEAT_SECONDS", default.heartbeat)?,
            body: precheck::body_limit(get, default.body)?,
            event: bytes("CHAT_EVENT_MAX_BYTES", default.event, LARGEST_EVENT, up_to_8_mib)?,
            buffer: bytes("CHAT_BUFFER_BYTES", default.buffer, LARGEST_EVENT, up_to_8_mib)?,
            answer: bytes(
                "CHAT_ANSWER_MAX_BYTES",
                default.answer,
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
