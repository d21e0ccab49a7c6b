//! Selects events by type, subject and marks.

use gatehouse_deliveries::filter::{Filters, Match};
use gatehouse_deliveries::message::is_ping;
use gatehouse_inbox::store::by_source::ListedEvent;
use gatehouse_payload::Subject;

use crate::ops::listing::is_failure;
use crate::ops::pattern::TypeArgs;

/// Which events are shown. The probes of `gatehouse ping` never are.
#[derive(Debug, Clone, Default)]
pub(super) struct EventFilter {
    pub(super) types: TypeArgs,
    /// The whole subject, or the vendor's id of it.
    pub(super) subject: Option<String>,
    /// Only conflicts and unparsed bodies.
    pub(super) failed: bool,
    /// The filters of a destination, of which any must match. Those on payloads are applied later.
    pub(super) filters: Filters,
}

impl EventFilter {
    pub(super) fn matches(&self, event: &ListedEvent) -> bool {
        let (source, event_type) = (event.id.vendor(), event.event_type.as_deref());
        let has_type = self.types.select(event);
        let has_subject =
            self.subject.as_deref().is_none_or(|text| event.subject.iter().any(|subject| is_named(subject, text)));
        let is_for_destination = self.filters.match_name(source, event_type) != Match::No;
        !is_ping(event_type) && has_type && has_subject && is_for_destination && (!self.failed || is_failure(event))
    }
}

/// Whether a text is a subject, under any of its names, or the id in it.
fn is_named(subject: &Subject, text: &str) -> bool {
    let id = subject.as_str().splitn(3, ':').nth(2);
    id == Some(text) || subject.names().any(|name| name.as_str() == text)
}

#[cfg(test)]
mod tests {
    use gatehouse_payload::EventId;
    use gatehouse_payload::time::Timestamp;

    use super::*;

    fn event(id: &str, event_type: Option<&str>) -> ListedEvent {
        ListedEvent {
            id: EventId::from_stored(id.to_owned()),
            key: id.to_owned(),
            conflict: false,
            event_type: event_type.map(str::to_owned),
            subject: Some(Subject::from_stored("ada:conversation:1".to_owned())),
            occurred_at: Timestamp::clamped(0),
            received_at: Timestamp::clamped(0),
            expires_at: i64::MAX,
            unparsed: false,
            weak_identity: false,
        }
    }

    fn of_types(types: &str) -> EventFilter {
        EventFilter { types: TypeArgs::of(types), ..EventFilter::default() }
    }

    #[test]
    fn types_are_patterns_with_an_optional_source() {
        let report = event("vapi:server:1", Some("end-of-call-report"));
        for (types, expected) in [
            ("vapi:end-of-call-report", true),
            ("end-of-call-report", true),
            ("vapi:*", true),
            ("*", true),
            ("ada:*", false),
            ("ada:*,vapi:end*", true),
            ("vapi:end", false),
            ("ada:end-of-call-report", false),
        ] {
            assert_eq!(of_types(types).matches(&report), expected, "{types}");
        }
        assert!(of_types("ada:*").matches(&event("ada:1", None)));
        assert!(!of_types("ada:v1.*").matches(&event("ada:1", None)));
    }

    #[test]
    fn probes_are_never_shown() {
        assert!(!EventFilter::default().matches(&event("ada:1", Some("gatehouse.ping"))));
    }

    #[test]
    fn subject_and_failures_are_further_conditions() {
        let of_subject = |subject: &str| EventFilter { subject: Some(subject.to_owned()), ..EventFilter::default() };
        assert!(of_subject("ada:conversation:1").matches(&event("ada:1", None)));
        assert!(of_subject("1").matches(&event("ada:1", None)));
        assert!(!of_subject("ada:conversation:2").matches(&event("ada:1", None)));
        let failed = EventFilter { failed: true, ..EventFilter::default() };
        assert!(!failed.matches(&event("ada:1", Some("x"))));
        assert!(failed.matches(&event("ada:1", None)), "without a type");
        assert!(failed.matches(&ListedEvent { conflict: true, ..event("ada:1", None) }));
        assert!(failed.matches(&ListedEvent { unparsed: true, ..event("ada:1", None) }));
    }
}
