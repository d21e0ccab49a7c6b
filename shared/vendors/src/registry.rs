//! The registry: one row for each source of events.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use gatehouse_ada::Ada;
use gatehouse_ag_kit::AgKit;
use gatehouse_agntix::Agntix;
use gatehouse_payload::EventId;
use gatehouse_payload::event::present_source;
use gatehouse_vapi::Vapi;
use gatehouse_vendor::Source;
use serde_json::value::RawValue;

/// All sources. A new vendor adds its rows here.
pub static SOURCES: [&dyn Source; 5] = [&Ada, &Agntix, &Vapi::SERVER, &Vapi::CLIENT, &AgKit];

/// Returns the source that an event id names; `None` for ids of no known source.
#[must_use]
pub fn of_event(id: &EventId) -> Option<&'static dyn Source> {
    SOURCES.into_iter().find(|source| source.owns(id))
}

/// Returns the first source of a vendor.
#[must_use]
pub fn of_vendor(vendor: &str) -> Option<&'static dyn Source> {
    SOURCES.into_iter().find(|source| source.profile().vendor == present_source(vendor))
}

/// Returns the source of a name, such as `vapi-server`.
#[must_use]
pub fn named(name: &str) -> Option<&'static dyn Source> {
    SOURCES.into_iter().find(|source| source.profile().name == name)
}

/// Returns the names of the vendors, each once.
pub fn vendors() -> impl Iterator<Item = &'static str> {
    let names = SOURCES.into_iter().map(|source| source.profile().vendor);
    let mut seen = Vec::new();
    names.filter(move |name| {
        !seen.contains(name) && {
            seen.push(*name);
            true
        }
    })
}

/// Returns the secrets document for development: the published part of every vendor. It protects nothing.
#[must_use]
pub fn development() -> &'static str {
    static DOCUMENT: LazyLock<String> = LazyLock::new(|| {
        let parts = SOURCES.into_iter().map(|source| source.profile().secrets);
        let raw = |part| serde_json::from_str::<&RawValue>(part).unwrap_or(RawValue::NULL);
        let parts: BTreeMap<&str, &RawValue> = parts.map(|part| (part.name, raw(part.development))).collect();
        serde_json::to_string(&parts).unwrap_or_default()
    });
    &DOCUMENT
}
