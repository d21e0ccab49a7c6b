//! The claims on idempotency keys.

use gatehouse_memory::dynamodb::Item;
use gatehouse_payload::time::Timestamp;

use super::{Chat, TurnRecord, number};
use crate::fleet::MAX_SKEW;
use crate::model::Checked;
use crate::network::Caller;
use crate::plan::TTL_DAYS;

/// How long a claim is kept at least, in milliseconds: as long as the record of its turn, which may have waited on a
/// queue for two weeks.
const KEPT_FOR: i64 = (TTL_DAYS as i64 + 14) * 86_400_000;
/// The time within which a claim is acquired, in milliseconds.
const ACQUIRED_WITHIN: i64 = 20_000;

/// A claim on an idempotency key, as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) state: String,
    pub(super) fence: i64,
    pub(super) nonce: String,
    pub(super) lease_until: i64,
    pub(super) is_unasked: bool,
    pub(super) expires_at: i64,
    /// Who acquired it last.
    pub(super) holder: Caller,
    /// When it last changed, in milliseconds since 1970.
    pub(super) changed_at: i64,
}

impl Chat {
    /// Sees the change of a claim. See [`Chat::item_changed`].
    pub(super) fn claim_changed(
        &mut self,
        key: &str,
        item: &Item,
        caller: Caller,
        turn: TurnRecord,
        now: i64,
    ) -> Checked {
        let text = |name: &str| item.get(name).and_then(|value| value["S"].as_str()).unwrap_or_default().to_owned();
        let number = |name: &str| number(item, name);
        let nonce = item.get("nonce").and_then(|nonce| nonce["B"].as_str()).unwrap_or_default().to_owned();
        let lease_until = Timestamp::parse(&text("lease_until")).map(Timestamp::as_millis).unwrap_or_default();
        let old = self.claims.get(key).cloned();
        let is_new = old.as_ref().is_none_or(|old| old.nonce != nonce);
        let holder = if is_new { caller } else { old.as_ref().map_or(caller, |old| old.holder) };
        let new = Claim {
            state: text("state"),
            fence: number("fence"),
            nonce,
            lease_until,
            is_unasked: item.contains_key("unasked"),
            expires_at: number("expires_at"),
            holder,
            changed_at: now,
        };
        if new.expires_at * 1000 < now + KEPT_FOR - MAX_SKEW {
            return Err(("I9", format!("{key} expires before the record of its turn may")));
        }
        if is_new && new.fence < (now - ACQUIRED_WITHIN) / 1000 {
            return Err(("claim", format!("the fence of {key} is less than the time of the request")));
        }
        let checked = match &old {
            Some(old) if is_new => old.may_become(&new, turn, now),
            Some(_) if new.state == "lost" && self.is_queue_working => {
                Err(("claim", "its turn is lost although the queue works".to_owned()))
            }
            Some(old) => old.may_be_settled(&new, caller, turn.is_recorded),
            None => Ok(()),
        };
        self.claims.insert(key.to_owned(), new);
        checked.map_err(|(invariant, what)| (invariant, format!("{key}: {what}")))
    }
}

impl Claim {
    /// Checks that the claim may be replaced by `new`.
    pub(super) fn may_become(&self, new: &Claim, turn: TurnRecord, now: i64) -> Checked {
        let error = |what: &str| Err(("claim", what.to_owned()));
        let is_expired = self.expires_at * 1000 < now + MAX_SKEW;
        if is_expired {
            return Ok(());
        }
        if new.fence <= self.fence {
            return error("a new claim has no greater fence");
        }
        match self.state.as_str() {
            "lost" => error("a lost claim is taken over"),
            "running" if self.lease_until >= now + MAX_SKEW => error("a claim is taken over before its lease ends"),
            "running" if turn.is_countable => error("a claim is taken over although its turn is recorded"),
            "finished" if turn.is_recorded => error("a finished claim is taken over although its turn is recorded"),
            _ => Ok(()),
        }
    }

    /// Checks that `caller` may change the state of the claim to that of `new`.
    pub(super) fn may_be_settled(&self, new: &Claim, caller: Caller, is_answered: bool) -> Checked {
        let error = |what: String| Err(("claim", what));
        if self.state != "running" && new.state != self.state {
            return error(format!("a {} claim becomes {}", self.state, new.state));
        }
        if new.state == "finished" && !is_answered {
            return error("it is finished, but its turn is not recorded".to_owned());
        }
        // An instance that replays the turn of an expired claim may settle it.
        if caller != self.holder && new.state != "finished" {
            return error(format!("{caller} settles it, but {} holds it", self.holder));
        }
        Ok(())
    }

    /// Checks that its holder may ask the agent now.
    pub(super) fn may_ask(&self, caller: Caller, is_answered: bool, deadline: i64, now: i64) -> Result<(), String> {
        if self.holder != caller {
            return Err(format!("{caller} asks the agent, but {} holds the claim", self.holder));
        }
        if self.state != "running" || self.is_unasked {
            return Err(format!("the agent is asked, but the claim is {}", self.state));
        }
        if self.lease_until < now - MAX_SKEW {
            return Err("the agent is asked after the lease has ended".to_owned());
        }
        if self.lease_until < deadline + 2 * MAX_SKEW {
            return Err("the lease may end before the invocation".to_owned());
        }
        if is_answered { Err("the agent is asked again although its answer is recorded".to_owned()) } else { Ok(()) }
    }
}
