//! Which events a destination gets: any of its filters must match.

use gatehouse_inbox::store::Record;
use gatehouse_payload::condition::Conditions;
use gatehouse_payload::event::source_names;
use gatehouse_payload::json::Document;
use serde::Deserialize;

use crate::message::is_ping;

/// A pattern for the name of a source or an event type. A `*` at its end matches any rest.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Pattern(String);

impl Pattern {
    /// Creates a pattern.
    #[must_use]
    pub fn new(pattern: &str) -> Pattern {
        Pattern(pattern.to_owned())
    }

    /// Whether a name matches.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        self.0.strip_suffix('*').map_or(self.0 == name, |start| name.starts_with(start))
    }
}

/// Conditions on an event. All of them must hold.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// The vendor.
    #[serde(default)]
    pub source: Option<Pattern>,
    /// The vendor's name for the event.
    #[serde(default, rename = "type")]
    pub event_type: Option<Pattern>,
    /// JSON pointers into the payload, each with a condition on its value.
    #[serde(default, rename = "where")]
    pub conditions: Conditions,
}

impl Filter {
    fn matches_name(&self, source: &str, event_type: Option<&str>) -> bool {
        self.source.as_ref().is_none_or(|pattern| source_names(source).any(|name| pattern.matches(name)))
            && self.event_type.as_ref().is_none_or(|pattern| pattern.matches(event_type.unwrap_or_default()))
    }

    /// Whether the conditions on the payload hold. A body that is not a JSON object has no values.
    fn matches_payload(&self, body: &[u8]) -> bool {
        let document = Document::read(body);
        let text = document.as_ref().map_or("{}", Document::text);
        self.conditions.is_empty() || self.conditions.hold(|pointer| pointer.find(text))
    }
}

/// Filters, at least one of which must match. If there are none, every event matches. The probes of `gatehouse ping`
/// never match.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filters(pub Vec<Filter>);

/// The result of applying filters to the name of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Match {
    /// The event matches, whatever its payload is.
    Yes,
    /// The event does not match.
    No,
    /// The payload decides.
    ByPayload,
}

impl Filters {
    /// Applies the filters as far as possible without the payload.
    #[must_use]
    pub fn match_name(&self, source: &str, event_type: Option<&str>) -> Match {
        if is_ping(event_type) {
            return Match::No;
        }
        let mut named = self.0.iter().filter(|filter| filter.matches_name(source, event_type)).peekable();
        if self.0.is_empty() || named.clone().any(|filter| filter.conditions.is_empty()) {
            Match::Yes
        } else if named.peek().is_some() {
            Match::ByPayload
        } else {
            Match::No
        }
    }

    /// Whether the filters match a record.
    #[must_use]
    pub fn match_record(&self, record: &Record) -> bool {
        let (source, event_type) = (record.event.source.as_str(), record.event.event_type.as_deref());
        match self.match_name(source, event_type) {
            Match::Yes => true,
            Match::No => false,
            Match::ByPayload => {
                let named = self.0.iter().filter(|filter| filter.matches_name(source, event_type));
                named.into_iter().any(|filter| filter.matches_payload(&record.event.body))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chat_turns_match_the_present_and_the_former_name_of_their_source() {
        for pattern in ["chat", "ag-kit", "ag-*", "c*"] {
            let filter = Filter { source: Some(Pattern::new(pattern)), ..Filter::default() };
            for source in ["chat", "ag-kit"] {
                assert!(filter.matches_name(source, Some("turn")), "{pattern} {source}");
            }
            assert!(!filter.matches_name("ada", None), "{pattern}");
        }
    }
}
