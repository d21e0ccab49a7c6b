//! Patterns for the types of events.

use std::convert::Infallible;
use std::str::FromStr;

use gatehouse_deliveries::filter::Pattern;
use gatehouse_payload::event::source_names;

/// A pattern for the source and the type of an event: `ada:*`, `vapi:end-of-call-report`, `session.ended`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TypePattern {
    source: Option<Pattern>,
    event_type: Pattern,
}

impl FromStr for TypePattern {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        let (source, event_type) = match text.split_once(':') {
            Some((source, event_type)) => (Some(Pattern::new(source)), event_type),
            None => (None, text),
        };
        Ok(TypePattern { source, event_type: Pattern::new(event_type) })
    }
}

impl TypePattern {
    fn matches(&self, source: &str, event_type: Option<&str>) -> bool {
        let has_source = |pattern: &Pattern| source_names(source).any(|name| pattern.matches(name));
        let has_source = self.source.as_ref().is_none_or(has_source);
        has_source && self.event_type.matches(event_type.unwrap_or_default())
    }
}

/// Whether a type matches any of the patterns. Every type does if there are none.
pub(crate) fn are_of(patterns: &[TypePattern], source: &str, event_type: Option<&str>) -> bool {
    patterns.is_empty() || patterns.iter().any(|pattern| pattern.matches(source, event_type))
}
