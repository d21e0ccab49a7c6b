//! The keys of a turn: its idempotency key's lock, its client's quota, and its own id.

use gatehouse_inbox::store::claim::Claim;
use gatehouse_payload::EventId;

/// Returns the key of an idempotency key's lock: `claim:<client>:<agent>:<key>`. No client and no agent shares a lock
/// with another.
pub(crate) fn claim_key(client: &str, agent: &str, key: &str) -> EventId {
    EventId::new(&["claim"], &[client, agent, key])
}

/// Returns the key of a client's quota: `slots:<client>`.
pub(crate) fn slots_key(client: &str) -> EventId {
    EventId::new(&["slots"], &[client])
}

/// Returns a new id for a turn without an idempotency key: a UUID of version 7, so that ids sort by time.
pub(crate) fn new_turn_id() -> String {
    uuid::Uuid::now_v7().to_string()
}

/// Returns the id of the turn that a lock is for: `<client>:<agent>:<key>:<fence>`. Each attempt has its own.
pub(crate) fn turn_id(claim: &Claim) -> String {
    let key = claim.key.as_str();
    format!("{}:{}", key.strip_prefix("claim:").unwrap_or(key), claim.fence)
}

#[cfg(test)]
mod tests {
    use gatehouse_ag_kit::{AgKit, event_id};
    use gatehouse_payload::json::Document;
    use gatehouse_payload::{Fingerprint, Nonce};
    use gatehouse_vendor::{Proof, Source};

    use super::*;

    #[test]
    fn turn_id_holds_client_agent_key_and_fence() {
        let key = claim_key("web", "kit", "order 7:1");
        assert_eq!(key.as_str(), "claim:web:kit:order%207%3A1");
        assert_eq!(event_id("01997d").as_str(), "ag-kit:01997d");
        let turn = Document::read(br#"{"turn_id":"web:kit:order%207%3A1:2"}"#).unwrap();
        let proof = Proof { by: "client:web".to_owned(), message_id: None };
        let (fingerprint, nonce) = (Fingerprint::of("{}"), Nonce::from_bytes(&[0; 16]).unwrap());
        assert_eq!(AgKit.identify(&turn, &proof, &fingerprint, &nonce).id.as_str(), "ag-kit:web:kit:order%207%3A1:2");
    }
}
