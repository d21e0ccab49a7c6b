//! The two streams of Vapi's messages.

use gatehouse_payload::EventId;

/// A stream of messages. The same event may arrive on both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Channel {
    /// `POST /client`
    Client,
    /// `POST /server`
    Server,
}

impl Channel {
    /// Returns the word in event ids.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Channel::Client => "client",
            Channel::Server => "server",
        }
    }

    /// Returns the channel of an event id: `vapi:client:…`, `vapi:server:…`.
    #[must_use]
    pub fn of(id: &EventId) -> Option<Self> {
        let mut parts = id.as_str().split(':');
        if parts.next() == Some("vapi") { parts.next().and_then(Self::from_word) } else { None }
    }

    /// Returns the channel with this word; `None` for any other word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Channel::Client, Channel::Server].into_iter().find(|channel| channel.as_str() == word)
    }
}
