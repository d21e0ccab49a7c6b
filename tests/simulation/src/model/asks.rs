//! The questions to the user's service: one copy of an event asks it while its claim holds.

use std::collections::{BTreeMap, BTreeSet};

use gatehouse_memory::dynamodb::{Change, Item};
use gatehouse_payload::time::Timestamp;
use sha2::{Digest, Sha256};

use super::Checked;
use crate::fleet::MAX_SKEW;
use crate::network::Caller;

/// How long a claim is stored, in seconds.
const CLAIM_SECONDS: i64 = 86_400;
/// The largest difference between the expiry of a claim and the documented one, in seconds.
const EXPIRY_TOLERANCE: i64 = 900;

/// The claims and the questions.
#[derive(Debug, Default)]
pub struct Asks {
    /// The claims by the message id of their question.
    claims: BTreeMap<String, Claim>,
    /// The number of questions.
    count: usize,
    /// The questions of each instance, with the time at which its invocation began.
    of_invocations: BTreeSet<(Caller, i64, String)>,
}

/// A claim on a question.
#[derive(Debug, Clone)]
struct Claim {
    holder: Caller,
    nonce: String,
    /// The end of the lease, in milliseconds since 1970.
    until: i64,
    /// The expiry, in seconds since 1970.
    expires_at: i64,
    /// Whether its holder has asked.
    is_asked: bool,
}

/// Returns the record and the service of a claim's key.
fn parts(key: &str) -> Option<(&str, &str)> {
    key.strip_prefix("ask:")?.rsplit_once(':')
}

/// Returns the message id of the question about a record, computed independently by docs/replies.md.
fn message_id(record: &str) -> String {
    format!("evt_{}", data_encoding::HEXLOWER.encode(&Sha256::digest(record)))
}

impl Asks {
    /// Checks a changed claim.
    pub(super) fn item_changed(&mut self, change: &Change, caller: Caller, now: i64) -> Checked {
        let key = &change.key;
        let Some((record, _)) = parts(key) else { return Err(("I11", format!("{key} is not a claim"))) };
        let id = message_id(record);
        let Some(item) = &change.new else {
            // The claim has expired, or its event was erased.
            self.claims.remove(&id);
            return Ok(());
        };
        let text = |name: &str, kind: &str| item.get(name).and_then(|value| value[kind].as_str()).unwrap_or_default();
        let new = Claim {
            holder: caller,
            nonce: text("nonce", "B").to_owned(),
            until: Timestamp::parse(text("lease_until", "S")).map_or(0, Timestamp::as_millis),
            expires_at: expiry(item),
            is_asked: false,
        };
        if (new.expires_at - now / 1000 - CLAIM_SECONDS).abs() > EXPIRY_TOLERANCE {
            return Err(("I9", format!("{key} expires at {}", new.expires_at)));
        }
        if let Some(old) = self.claims.get(&id)
            && old.nonce != new.nonce
            && old.until > now + MAX_SKEW
            && old.expires_at * 1000 > now + MAX_SKEW
        {
            return Err(("I11", format!("{caller} takes {key}, but {} holds it", old.holder)));
        }
        let is_asked = self.claims.get(&id).is_some_and(|old| old.nonce == new.nonce && old.is_asked);
        self.claims.insert(id, Claim { is_asked, ..new });
        Ok(())
    }

    /// Sees a question in the invocation that began at `began_at`. `is_disturbed` says whether a fault hit the
    /// instance, so that it may ask without a claim. Returns the number of the question.
    pub fn asked(&mut self, caller: Caller, id: &str, began_at: i64, is_disturbed: bool) -> (usize, Checked) {
        self.count += 1;
        let is_new = self.of_invocations.insert((caller, began_at, id.to_owned()));
        let checked = match self.claims.get_mut(id) {
            _ if !is_new => Err(("I11", format!("{caller} asks {id} twice in one invocation"))),
            Some(claim) if claim.holder == caller && claim.is_asked && !is_disturbed => {
                Err(("I11", format!("{caller} asks {id} twice under one claim")))
            }
            Some(claim) if claim.holder == caller => {
                claim.is_asked = true;
                Ok(())
            }
            _ if is_disturbed => Ok(()),
            _ => Err(("I11", format!("{caller} asks {id} without the claim"))),
        };
        (self.count, checked)
    }

    /// Whether another instance has the claim on the question about an event.
    pub(super) fn is_claimed_by_another(&self, event_id: &str, instance: usize) -> bool {
        self.claims.get(&message_id(event_id)).is_some_and(|claim| claim.holder != Caller::Instance(instance))
    }
}

fn expiry(item: &Item) -> i64 {
    item.get("expires_at").and_then(|value| value["N"].as_str()?.parse().ok()).unwrap_or_default()
}
