//! The schemes that verify Vapi's deliveries.

use std::fmt;

use gatehouse_payload::time::Timestamp;
use gatehouse_vendor::{
    Credentials, PartReader, Parts, Reason, Rejection, SchemeSummary, SecretsPart, Unverified, Verified,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::scheme::Scheme;

/// The accepted schemes. Several may be accepted at once, for example during a rotation.
#[derive(Clone, Default)]
pub struct Schemes(pub Vec<Scheme>);

impl fmt::Debug for Schemes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.schemes()).finish()
    }
}

#[derive(Deserialize)]
struct Part {
    schemes: Vec<Box<RawValue>>,
}

impl SecretsPart for Schemes {
    /// Reads `{"schemes": […]}`. A scheme without a usable value is ignored.
    fn read(part: &mut PartReader<'_>) -> Self {
        let mut schemes = Vec::new();
        let raw = part.part::<Part>().map(|part| part.schemes).unwrap_or_default();
        for (n, raw) in raw.iter().enumerate() {
            let place = format!("{}.schemes[{n}]", part.name());
            let Some(mut scheme) = part.value::<Scheme>(&place, raw) else { continue };
            if let Some(defect) = scheme.defect() {
                part.defects.push(format!("{place}: {defect}"));
                continue;
            }
            let values = std::mem::take(scheme.values_mut());
            let defect = |value: &str| scheme.value_defect(value).map(str::to_owned);
            let usable = part.values(&format!("{place}.values"), &values, defect);
            if !usable.is_empty() {
                *scheme.values_mut() = usable;
                schemes.push(scheme);
            }
        }
        Schemes(schemes)
    }
}

impl Credentials for Schemes {
    fn schemes(&self) -> Vec<SchemeSummary> {
        let summary = |scheme: &Scheme| SchemeSummary {
            kind: scheme.kind(),
            header: Some(scheme.header().to_owned()),
            values: scheme.len(),
        };
        self.0.iter().map(summary).collect()
    }

    fn is_open(&self) -> bool {
        !self.0.is_empty()
    }

    /// Verifies with the first scheme that accepts the delivery.
    ///
    /// # Errors
    /// If no scheme accepts it. The error is the rejection by a scheme whose header is present, with the highest
    /// [`Reason`]; without such a header it lists the configured ones. Newer schemes might accept the delivery, unless
    /// every rejection is a stale timestamp.
    fn verify<'r>(&self, delivery: Unverified<'r>, now: Timestamp) -> Result<Verified<'r>, Rejection> {
        let parts = delivery.parts();
        let (mut rejection, mut may_match_later) = (None::<Rejection>, false);
        for scheme in self.0.iter().filter(|scheme| parts.headers.contains_key(scheme.header())) {
            match scheme.verify(parts, now) {
                Ok(proof) => return Ok(delivery.verified(proof)),
                Err(error) => {
                    may_match_later |= error.reason != Reason::Stale;
                    if rejection.as_ref().is_none_or(|previous| previous.reason < error.reason) {
                        rejection = Some(error);
                    }
                }
            }
        }
        Err(rejection.map(|rejection| Rejection { may_match_later, ..rejection }).unwrap_or_else(|| {
            let headers: Vec<&str> = self.0.iter().map(Scheme::header).collect();
            let detail = format!(
                "no header that authenticates Vapi is present (configured: {}); attach a credential to the server URL. \
                 Vapi sends no credential for a transient assistant",
                headers.join(", ")
            );
            Rejection { may_match_later: true, ..Rejection::new(Reason::Unsigned, detail) }
        }))
    }

    fn sign(&self, parts: Parts<'_>, message_id: &str, at: Timestamp) -> Option<Vec<(String, String)>> {
        self.0.first()?.sign(parts, message_id, at)
    }
}
