//! A source of the registry as a vendor, for tests and tools that handle all sources in the same way.

use std::fmt;

use gatehouse_payload::json::Document;
use gatehouse_payload::time::Timestamp;
use gatehouse_payload::{Event, EventId, Fingerprint, Nonce, Outcome};
use gatehouse_vendor::{
    Conversation, Credentials, Identity, Parsed, PartReader, Parts, Profile, Proof, Reason, Rejection, Sample,
    SchemeSummary, SecretsPart, Source, Unverified, Vendor, Verified,
};

use crate::SOURCES;

/// A source whose type is known only at run time. A function binds its vendor by type instead.
#[derive(Debug, Clone, Copy)]
pub struct AnyVendor(pub &'static dyn Source);

/// The credentials of a source whose type is known only at run time.
#[derive(Default)]
pub struct AnyCredentials(Option<Box<dyn Credentials>>);

impl fmt::Debug for AnyCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl SecretsPart for AnyCredentials {
    /// Reads the part with the source that it belongs to.
    fn read(reader: &mut PartReader<'_>) -> Self {
        let source = SOURCES.into_iter().find(|source| source.profile().secrets.name == reader.name());
        AnyCredentials(source.map(|source| source.credentials(reader)))
    }
}

impl Credentials for AnyCredentials {
    fn schemes(&self) -> Vec<SchemeSummary> {
        self.0.as_ref().map(|credentials| credentials.schemes()).unwrap_or_default()
    }

    fn verify<'r>(&self, delivery: Unverified<'r>, now: Timestamp) -> Result<Verified<'r>, Rejection> {
        let absent = || Rejection::new(Reason::Unsigned, "no credentials were read".to_owned());
        self.0.as_ref().ok_or_else(absent)?.verify(delivery, now)
    }

    fn sign(&self, parts: Parts<'_>, message_id: &str, at: Timestamp) -> Option<Vec<(String, String)>> {
        self.0.as_ref()?.sign(parts, message_id, at)
    }
}

impl Vendor for AnyVendor {
    type Credentials = AnyCredentials;
}

impl Source for AnyVendor {
    fn profile(&self) -> &'static Profile {
        self.0.profile()
    }

    fn credentials(&self, part: &mut PartReader<'_>) -> Box<dyn Credentials> {
        self.0.credentials(part)
    }

    fn parse(&self, document: &Document<'_>) -> Parsed {
        self.0.parse(document)
    }

    fn fingerprint(&self, document: &Document<'_>) -> Fingerprint {
        self.0.fingerprint(document)
    }

    fn identify(&self, document: &Document<'_>, proof: &Proof, fingerprint: &Fingerprint, nonce: &Nonce) -> Identity {
        self.0.identify(document, proof, fingerprint, nonce)
    }

    fn is_one_question(&self, event_type: Option<&str>, id: &EventId) -> bool {
        self.0.is_one_question(event_type, id)
    }

    fn owns(&self, id: &EventId) -> bool {
        self.0.owns(id)
    }

    fn id_is_in_body(&self, document: &Document<'_>, id: &EventId) -> bool {
        self.0.id_is_in_body(document, id)
    }

    fn respond(&self, outcome: Outcome, id: &EventId) -> String {
        self.0.respond(outcome, id)
    }

    fn fold(&self, events: &[&Event]) -> Conversation {
        self.0.fold(events)
    }

    fn ping(&self, id: &str, at: Timestamp) -> String {
        self.0.ping(id, at)
    }

    fn samples(&self) -> &'static [Sample] {
        self.0.samples()
    }
}
