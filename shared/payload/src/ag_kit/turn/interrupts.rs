//! What a run waits for, once for each interrupt however often it is told.

use std::collections::HashSet;

use crate::json;
use crate::wire::Raw;

/// The interrupts of the current run.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Interrupts {
    told: Vec<Raw>,
    /// Those that `CUSTOM` events told. The outcome may list them again.
    customs: Vec<(Option<String>, Raw)>,
    ids: HashSet<String>,
    /// Whether the run's outcome listed its interrupts.
    is_listed: bool,
}

impl Interrupts {
    pub(super) fn is_empty(&self) -> bool {
        self.told.is_empty() && self.customs.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Raw> {
        self.told.iter().chain(self.customs.iter().map(|(_, what)| what))
    }

    /// Takes an `interrupt` event of AG-Kit.
    pub(super) fn event(&mut self, what: Raw) {
        self.add(what);
    }

    /// Takes the value of an `on_interrupt` event, which older AG-UI servers send. Newer ones send both, for older
    /// clients: behind the outcome's list it says nothing new unless it has an id of its own.
    pub(super) fn custom(&mut self, what: Raw) {
        let id = id_of(&what);
        let is_known = match &id {
            Some(id) => self.ids.contains(id),
            None => self.is_listed || self.customs.last().is_some_and(|(_, last)| *last == what),
        };
        if !is_known {
            self.ids.extend(id.clone());
            self.customs.push((id, what));
        }
    }

    /// Takes the interrupts that an outcome lists. They replace those that `CUSTOM` events told without an id or with
    /// the same one.
    pub(super) fn listed(&mut self, list: Vec<Raw>) {
        if list.is_empty() {
            return;
        }
        self.is_listed = true;
        let named: HashSet<String> = list.iter().filter_map(id_of).collect();
        // A list without ids tells again what has ids already.
        if named.is_empty() && self.customs.iter().any(|(id, _)| id.is_some()) {
            return;
        }
        for (id, what) in std::mem::take(&mut self.customs) {
            match id {
                Some(id) if named.contains(&id) => drop(self.ids.remove(&id)),
                Some(_) => self.told.push(what),
                None => {}
            }
        }
        list.into_iter().for_each(|what| self.add(what));
    }

    fn add(&mut self, what: Raw) {
        let is_new = match id_of(&what) {
            Some(id) => self.ids.insert(id),
            None => self.told.last().is_none_or(|last| *last != what),
        };
        if is_new {
            self.told.push(what);
        }
    }
}

/// The id of an interrupt: an object's `id` or `interruptId`. The object may stand in a string.
pub(super) fn id_of(what: &Raw) -> Option<String> {
    let inner: Option<String> = what.read().ok();
    let object = inner.as_deref().unwrap_or(what.text());
    let id = |name| json::text_member(object, name).filter(|id| !id.is_empty());
    id("id").or_else(|| id("interruptId"))
}
