//! What a run waits for, once for each interrupt however often it is told.

use std::collections::HashSet;

use crate::json;
use crate::wire::Raw;

/// The interrupts of the current run.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Interrupts {
    told: Vec<Told>,
    ids: HashSet<String>,
    /// How many of `told` come from `CUSTOM` events and may be told again by the outcome.
    customs: usize,
    /// Whether the run's outcome listed its interrupts.
    is_listed: bool,
}

#[derive(Debug, Clone, PartialEq)]
struct Told {
    id: Option<String>,
    is_custom: bool,
    what: Raw,
}

impl Interrupts {
    pub(super) fn is_empty(&self) -> bool {
        self.told.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Raw> {
        self.told.iter().map(|told| &told.what)
    }

    /// Takes an `interrupt` event of AG-Kit.
    pub(super) fn event(&mut self, what: Raw) {
        self.add(what, false);
    }

    /// Takes the value of an `on_interrupt` event, which older AG-UI servers send. Newer ones send both, for older clients:
    /// behind the outcome's list it says nothing new unless it has an id of its own.
    pub(super) fn custom(&mut self, what: Raw) {
        if !self.is_listed || id_of(&what).is_some() {
            self.add(what, true);
        }
    }

    /// Takes the interrupts that an outcome lists. They replace those that `CUSTOM` events told without an id or with the
    /// same one.
    pub(super) fn listed(&mut self, list: Vec<Raw>) {
        if list.is_empty() {
            return;
        }
        self.is_listed = true;
        if self.customs > 0 {
            let named: HashSet<String> = list.iter().filter_map(id_of).collect();
            let ids = &mut self.ids;
            self.told.retain(|told| {
                let is_told_again = told.is_custom && told.id.as_ref().is_none_or(|id| named.contains(id));
                if let (true, Some(id)) = (is_told_again, &told.id) {
                    ids.remove(id);
                }
                !is_told_again
            });
            self.told.iter_mut().for_each(|told| told.is_custom = false);
            self.customs = 0;
        }
        list.into_iter().for_each(|what| self.add(what, false));
    }

    fn add(&mut self, what: Raw, is_custom: bool) {
        let id = id_of(&what);
        let is_new = match &id {
            Some(id) => self.ids.insert(id.clone()),
            None => self.told.last().is_none_or(|last| last.what != what),
        };
        if is_new {
            self.customs += usize::from(is_custom);
            self.told.push(Told { id, is_custom, what });
        }
    }
}

/// The id of an interrupt: an object's `id` or `interruptId`. The object may stand in a string.
fn id_of(what: &Raw) -> Option<String> {
    let inner: Option<String> = what.read().ok();
    let object = inner.as_deref().unwrap_or(what.text());
    let id = |name| json::text_member(object, name).filter(|id| !id.is_empty());
    id("id").or_else(|| id("interruptId"))
}
