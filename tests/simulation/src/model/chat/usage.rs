//! The turns of clients that have limits: their slots and counts.

use std::collections::BTreeMap;

use gatehouse_memory::dynamodb::Item;
use serde_json::Value;

use super::{Chat, number};
use crate::fleet::MAX_SKEW;
use crate::model::Checked;
use crate::network::Caller;
use crate::plan::{CONCURRENT_TURNS, TURNS_PER_MINUTE};

/// The longest time by which a slot outlasts its invocation, in milliseconds: 5 s, and the time of pauses before it.
const SLOT_MARGIN: i64 = 50_000;
/// The turns of a client that has limits.
#[derive(Debug, Clone, Default)]
pub(super) struct Usage {
    /// The expiry of each slot in seconds since 1970 and who acquired it, by name.
    pub(super) slots: BTreeMap<String, (i64, Caller)>,
    /// The minute since 1970 in which the last turn began, and the number of turns that began in it.
    pub(super) minute: i64,
    pub(super) turns: i64,
    /// When a limit was last reached, in milliseconds since 1970.
    pub(super) full_at: i64,
}

impl Chat {
    /// Sees the change of a client's slots.
    pub(super) fn usage_changed(&mut self, key: &str, item: &Item, caller: Caller, now: i64) -> Checked {
        let slots = item.get("slots").and_then(|slots| slots["M"].as_object());
        let until = |until: &Value| until["N"].as_str().and_then(|until| until.parse::<i64>().ok());
        let old = self.usages.remove(key).unwrap_or_default();
        let holder = |name: &String| old.slots.get(name).map_or(caller, |(_, holder)| *holder);
        let slots = slots.into_iter().flatten().filter_map(|(name, value)| Some((name, until(value)?)));
        let slots: BTreeMap<_, _> = slots.map(|(name, until)| (name.clone(), (until, holder(name)))).collect();
        let (minute, turns) = (number(item, "in_minute"), number(item, "turns"));
        let mut new = Usage { slots, minute, turns, full_at: old.full_at };
        // A slot that has expired a short time ago may have been counted.
        if new.is_full(key, now) || old.is_full(key, now - 20_000) {
            new.full_at = now;
        }
        let checked = new.may_follow(&old, key, caller, self.deadline(caller), now);
        self.usages.insert(key.to_owned(), new);
        checked.map_err(|what| ("slots", format!("{key}: {what}")))
    }
}

impl Usage {
    /// Whether a limit is reached for a turn that begins at `at`, in milliseconds since 1970.
    pub(super) fn is_full(&self, key: &str, at: i64) -> bool {
        let running = || self.slots.values().filter(|(until, _)| until * 1000 > at - MAX_SKEW).count();
        match key {
            "slots:limited" => running() >= CONCURRENT_TURNS,
            _ => self.turns >= TURNS_PER_MINUTE && self.minute >= (at - MAX_SKEW) / 60_000,
        }
    }

    /// Checks a change from `old` by `caller`, whose invocation ends at `deadline`.
    fn may_follow(&self, old: &Usage, key: &str, caller: Caller, deadline: i64, now: i64) -> Result<(), String> {
        let mut missing = old.slots.iter().filter(|(name, _)| !self.slots.contains_key(*name));
        if missing.any(|(_, (until, holder))| until * 1000 >= now + MAX_SKEW + 1000 && *holder != caller) {
            return Err("the slot of a running turn is lost".to_owned());
        }
        let running = self.slots.values().filter(|(until, _)| until * 1000 >= now + MAX_SKEW).count();
        if key == "slots:limited" && running > CONCURRENT_TURNS {
            return Err(format!("{running} turns run at the same time"));
        }
        if key == "slots:metered" && self.turns > TURNS_PER_MINUTE {
            return Err(format!("{} turns begin in a minute", self.turns));
        }
        let added: Vec<_> = self.slots.iter().filter(|(name, _)| !old.slots.contains_key(*name)).collect();
        let expected = if self.minute == old.minute { old.turns + added.len() as i64 } else { 1 };
        if self.turns != expected || self.minute < old.minute {
            return Err(format!("{} turns are counted in the minute, not {expected}", self.turns));
        }
        match added.iter().find(|(_, (until, _))| !(deadline..=deadline + SLOT_MARGIN).contains(&(until * 1000))) {
            Some((_, (until, _))) => Err(format!("a slot expires at {until}, its invocation ends at {deadline} ms")),
            None => Ok(()),
        }
    }
}
