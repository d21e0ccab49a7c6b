//! How long what may take, and how large it may be.

use std::time::Duration;

use gatehouse_edge::gate;
use gatehouse_inbox::config::ConfigError;

/// The limits, each of which a variable sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// `CHAT_CONNECT_SECONDS`: until an agent is connected to; 3.
    pub connect: Duration,
    /// `CHAT_COMMIT_SECONDS`: how long the status is kept back for the first event, so that an early failure has a status of
    /// its own; 10.
    pub commit: Duration,
    /// `CHAT_FIRST_EVENT_SECONDS`: until the first event; 60.
    pub first_event: Duration,
    /// `CHAT_IDLE_SECONDS`: between two pieces of an answer; 60.
    pub idle: Duration,
    /// `CHAT_HEARTBEAT_SECONDS`: after how much silence the client hears a comment; 15.
    pub heartbeat: Duration,
    /// `BODY_MAX_BYTES`: the largest request, in bytes; 1 MiB.
    pub body: usize,
}

impl Limits {
    /// Reads the variables by `get`, which is `std::env::var` outside tests.
    ///
    /// # Errors
    /// When one is no number of seconds from 1 to 900, or of bytes.
    pub fn read(get: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let usual = Limits::default();
        let limit = |name: &'static str, usual: Duration| match get(name).filter(|value| !value.is_empty()) {
            None => Ok(usual),
            Some(value) => match value.parse() {
                Ok(seconds @ 1..=900) => Ok(Duration::from_secs(seconds)),
                _ => Err(ConfigError::Invalid(name, "seconds, from 1 to 900")),
            },
        };
        Ok(Limits {
            connect: limit("CHAT_CONNECT_SECONDS", usual.connect)?,
            commit: limit("CHAT_COMMIT_SECONDS", usual.commit)?,
            first_event: limit("CHAT_FIRST_EVENT_SECONDS", usual.first_event)?,
            idle: limit("CHAT_IDLE_SECONDS", usual.idle)?,
            heartbeat: limit("CHAT_HEARTBEAT_SECONDS", usual.heartbeat)?,
            body: gate::body_limit(get, usual.body)?,
        })
    }
}

/// The largest event, in bytes.
pub const EVENT_BYTES: usize = 1024 * 1024;

impl Default for Limits {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Limits {
            connect: seconds(3),
            commit: seconds(10),
            first_event: seconds(60),
            idle: seconds(60),
            heartbeat: seconds(15),
            body: 1024 * 1024,
        }
    }
}
