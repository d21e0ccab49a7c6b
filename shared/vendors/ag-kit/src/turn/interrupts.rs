//! The interrupts that a run waits for. An interrupt that is reported several times is stored once.

use std::collections::HashSet;

use gatehouse_payload::json;
use gatehouse_payload::wire::Raw;

/// The interrupts of the current run.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Interrupts {
    reported: Vec<Raw>,
    /// The interrupts from `CUSTOM` events with their ids. The outcome may list them again.
    customs: Vec<(Option<String>, Raw)>,
    ids: HashSet<String>,
    /// Whether the run's outcome listed its interrupts.
    is_listed: bool,
}

impl Interrupts {
    pub(super) fn is_empty(&self) -> bool {
        self.reported.is_empty() && self.customs.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Raw> {
        self.reported.iter().chain(self.customs.iter().map(|(_, interrupt)| interrupt))
    }

    /// Adds the value of an `on_interrupt` event, which older AG-UI servers send. Newer servers send it in addition to
    /// the outcome, for older clients. After the outcome's list it is a repetition unless it has a new id.
    pub(super) fn add_custom(&mut self, interrupt: Raw) {
        let id = id_of(&interrupt);
        let is_known = match &id {
            Some(id) => self.ids.contains(id),
            None => self.is_listed || self.customs.last().is_some_and(|(_, last)| *last == interrupt),
        };
        if !is_known {
            self.ids.extend(id.clone());
            self.customs.push((id, interrupt));
        }
    }

    /// Adds the interrupts that an outcome lists. They replace the interrupts from `CUSTOM` events that have no id or
    /// the same id.
    pub(super) fn add_listed(&mut self, list: Vec<Raw>) {
        if list.is_empty() {
            return;
        }
        self.is_listed = true;
        let named: HashSet<String> = list.iter().filter_map(id_of).collect();
        // A list without ids repeats interrupts whose ids are known from `CUSTOM` events.
        if named.is_empty() && self.customs.iter().any(|(id, _)| id.is_some()) {
            return;
        }
        for (id, interrupt) in std::mem::take(&mut self.customs) {
            match id {
                Some(id) if named.contains(&id) => drop(self.ids.remove(&id)),
                Some(_) => self.reported.push(interrupt),
                None => {}
            }
        }
        list.into_iter().for_each(|interrupt| self.add(interrupt));
    }

    /// Adds an interrupt, such as an `interrupt` event of AG-Kit, unless it repeats an earlier one.
    pub(super) fn add(&mut self, interrupt: Raw) {
        let is_new = match id_of(&interrupt) {
            Some(id) => self.ids.insert(id),
            None => self.reported.last().is_none_or(|last| *last != interrupt),
        };
        if is_new {
            self.reported.push(interrupt);
        }
    }
}

/// The id of an interrupt: the `id` or `interruptId` of an object, or of an object in a string.
pub(super) fn id_of(interrupt: &Raw) -> Option<String> {
    let inner: Option<String> = interrupt.read().ok();
    let object = inner.as_deref().unwrap_or(interrupt.text());
    let id = |name| json::text_member(object, name).filter(|id| !id.is_empty());
    id("id").or_else(|| id("interruptId"))
}
