//! Patterns for the types of events.

use std::convert::Infallible;
use std::str::FromStr;

use clap::Args;
use gatehouse_deliveries::filter::Pattern;
use gatehouse_inbox::store::by_source::ListedEvent;
use gatehouse_payload::event::source_names;

/// An argument that selects events by their types.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct TypeArgs {
    /// Only events of these types, separated by commas: TYPE, SOURCE:TYPE or SOURCE:*; a * at the end matches any rest
    #[arg(long = "type", value_name = "TYPE", value_delimiter = ',')]
    types: Vec<TypePattern>,
}

impl TypeArgs {
    /// Parses the value of the argument.
    #[cfg(test)]
    pub(crate) fn of(types: &str) -> TypeArgs {
        TypeArgs { types: types.split(',').map(|pattern| pattern.parse().unwrap()).collect() }
    }

    /// Whether every event is selected.
    pub(crate) fn are_all(&self) -> bool {
        self.types.is_empty()
    }

    /// Whether an event is selected.
    pub(crate) fn select(&self, event: &ListedEvent) -> bool {
        let (source, event_type) = (event.id.vendor(), event.event_type.as_deref());
        self.types.is_empty() || self.types.iter().any(|pattern| pattern.matches(source, event_type))
    }
}

/// A pattern for the source and the type of an event: `ada:*`, `vapi:end-of-call-report`, `session.ended`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct TypePattern {
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
