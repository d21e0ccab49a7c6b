//! The receipt of a redrive: the dead letters and their outcomes. An interrupted redrive continues from it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use gatehouse_inbox::store::{Content, conflict_key};
use gatehouse_local::Error;
use gatehouse_payload::{EventId, Fingerprint, Outcome};
use serde::{Deserialize, Serialize};

use super::queue::DeadLetter;
use crate::ops::deployment::Deployment;

mod file;

pub(super) use file::ReceiptFile;

/// Temporary outcome: the record has another fingerprint, and the conflicting copy has not been read yet.
const OTHER: &str = "other";
const PENDING: &str = "pending";
const WAITING: &str = "waiting on the retry queue";
/// Maximum number of entries in one read of the table.
const BATCH: usize = 100;

/// Whether an outcome is final: the event is recorded, or it was erased.
fn is_final(outcome: &str) -> bool {
    use Outcome::{Conflict, Duplicate, Erased, Recorded};
    Outcome::from_word(outcome).is_some_and(|outcome| [Recorded, Duplicate, Conflict, Erased].contains(&outcome))
}

/// The dead letters of a redrive, with their outcomes.
#[derive(Debug)]
pub(super) struct Receipt {
    pub(super) entries: Vec<Entry>,
}

/// A dead letter in a receipt. Its JSON is a line of the receipt's file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) event_id: Option<String>,
    /// `pending` until the outcome is known.
    pub(super) outcome: String,
    pub(super) message_id: String,
    /// The nonce in hexadecimal. The record has the same one if this message was recorded.
    nonce: Option<String>,
    /// The fingerprint in hexadecimal.
    fingerprint: Option<String>,
    /// Whether the redrive selected all dead letters.
    is_of_all: bool,
}

impl Receipt {
    /// Creates a receipt without outcomes.
    pub(super) fn new(letters: &[DeadLetter], is_of_all: bool) -> Receipt {
        Receipt { entries: letters.iter().map(|letter| Entry::of(letter, is_of_all)).collect() }
    }

    /// Whether the redrive selected all dead letters.
    pub(super) fn is_of_all(&self) -> bool {
        self.entries.iter().all(|entry| entry.is_of_all)
    }

    pub(super) fn contains(&self, letter: &DeadLetter) -> bool {
        self.entries.iter().any(|entry| entry.matches(letter))
    }

    /// Updates the message ids, because a message gets a new id each time it becomes a dead letter.
    pub(super) fn update_message_ids(&mut self, letters: &[DeadLetter]) {
        for entry in &mut self.entries {
            // Several letters may have the same event id. A letter that was not moved keeps its message id.
            if letters.iter().any(|letter| letter.message_id == entry.message_id) {
                continue;
            }
            if let Some(letter) = letters.iter().find(|letter| entry.matches(letter)) {
                entry.message_id.clone_from(&letter.message_id);
            }
        }
    }

    /// Whether all outcomes are final.
    pub(super) fn is_complete(&self) -> bool {
        self.entries.iter().all(|entry| is_final(&entry.outcome))
    }

    /// Reads the outcomes of up to [`BATCH`] open entries from the table. Returns the number of entries still open.
    pub(super) async fn refresh_batch(&mut self, deployment: &Deployment) -> Result<usize, Error> {
        let is_open = |entry: &&mut Entry| !is_final(&entry.outcome);
        let mut batch: Vec<_> = self.entries.iter_mut().filter(is_open).take(BATCH).collect();
        resolve(deployment, &mut batch, &HashMap::new()).await?;
        Ok(self.entries.iter_mut().filter(is_open).count())
    }

    /// Determines the outcome of each open entry from the table and the dead-letter queue. Another command may hold
    /// `held_elsewhere` dead letters.
    pub(super) async fn resolve(
        &mut self,
        deployment: &Deployment,
        dead: &[DeadLetter],
        held_elsewhere: u64,
    ) -> Result<(), Error> {
        let by_message = dead.iter().map(|letter| (letter.message_id.as_str(), letter));
        let by_event = dead.iter().filter_map(|letter| Some((letter.event_id.as_deref()?, letter)));
        let dead: HashMap<&str, &DeadLetter> = by_message.chain(by_event).collect();
        let mut open: Vec<_> = self.entries.iter_mut().filter(|entry| !is_final(&entry.outcome)).collect();
        for part in open.chunks_mut(BATCH) {
            resolve(deployment, part, &dead).await?;
        }
        if held_elsewhere > 0 {
            for entry in open.into_iter().filter(|entry| entry.outcome == WAITING) {
                entry.outcome = "waiting on the retry queue, or a dead letter held by another command".to_owned();
            }
        }
        Ok(())
    }

    /// The number of entries for each outcome.
    pub(super) fn count_by_outcome(&self) -> BTreeMap<&str, usize> {
        let mut outcomes = BTreeMap::new();
        for entry in &self.entries {
            *outcomes.entry(entry.outcome.as_str()).or_default() += 1;
        }
        outcomes
    }
}

/// Determines the outcomes of `entries` from the table and from `dead`, the dead letters by event id or message id.
async fn resolve(
    deployment: &Deployment,
    entries: &mut [&mut Entry],
    dead: &HashMap<&str, &DeadLetter>,
) -> Result<(), Error> {
    let contents = read(deployment, entries.iter().filter_map(|entry| entry.event_id.clone())).await?;
    for entry in entries.iter_mut() {
        let content = entry.event_id.as_ref().and_then(|id| contents.get(id));
        entry.outcome = entry.outcome_from(content, entry.letter_in(dead));
    }
    // A conflicting copy can exist only if the record has another fingerprint.
    let copies = entries.iter().filter(|entry| entry.outcome == OTHER).filter_map(|entry| entry.conflict_key());
    let copies = read(deployment, copies).await?;
    for entry in entries.iter_mut().filter(|entry| entry.outcome == OTHER) {
        let has_copy = entry.conflict_key().is_some_and(|key| copies.contains_key(&key));
        let letter = entry.letter_in(dead);
        entry.outcome = if has_copy { "conflict".to_owned() } else { entry.outcome_from(None, letter) };
    }
    Ok(())
}

async fn read(deployment: &Deployment, keys: impl Iterator<Item = String>) -> Result<HashMap<String, Content>, Error> {
    let keys: BTreeSet<String> = keys.collect();
    Ok(deployment.store.contents(keys.into_iter().collect(), deployment.clock.now()).await?)
}

impl Entry {
    fn of(letter: &DeadLetter, is_of_all: bool) -> Entry {
        let envelope = letter.envelope.as_ref();
        Entry {
            event_id: letter.event_id.clone(),
            outcome: PENDING.to_owned(),
            message_id: letter.message_id.clone(),
            nonce: envelope.map(|envelope| envelope.nonce.to_string()),
            fingerprint: envelope.map(|envelope| envelope.fingerprint.to_string()),
            is_of_all,
        }
    }

    /// The key of the entry's conflicting copy, which exists if the record has another fingerprint.
    fn conflict_key(&self) -> Option<String> {
        let fingerprint = Fingerprint::from_hex(self.fingerprint.as_deref()?)?;
        Some(conflict_key(&fingerprint, &EventId::from_stored(self.event_id.clone()?)))
    }

    /// The outcome according to the item in the table and the dead letter, if any.
    fn outcome_from(&self, content: Option<&Content>, dead: Option<&DeadLetter>) -> String {
        let equals = |text: String, expected: &Option<String>| Some(text) == *expected;
        match (content, dead) {
            (Some(Content::Erased(_)), _) => "erased".to_owned(),
            (Some(Content::Record(record)), _) if equals(record.event.nonce.to_string(), &self.nonce) => {
                "recorded".to_owned()
            }
            (Some(Content::Record(record)), _) if equals(record.event.fingerprint.to_string(), &self.fingerprint) => {
                "duplicate".to_owned()
            }
            (Some(_), _) => OTHER.to_owned(),
            (None, Some(letter)) if letter.message_id == self.message_id => "not moved".to_owned(),
            (None, Some(letter)) => format!("dead again: {}", letter.reason),
            (None, None) if self.nonce.is_none() => {
                "moved; it cannot be traced because it is not an envelope".to_owned()
            }
            (None, None) => WAITING.to_owned(),
        }
    }

    /// Returns the entry's letter among `dead`, the letters by event id and message id.
    ///
    /// Several letters may have the same event id, so the message id comes first.
    fn letter_in<'l>(&self, dead: &HashMap<&str, &'l DeadLetter>) -> Option<&'l DeadLetter> {
        let by_event = || dead.get(self.event_id.as_deref()?);
        dead.get(self.message_id.as_str()).or_else(by_event).copied()
    }

    fn matches(&self, letter: &DeadLetter) -> bool {
        match &self.event_id {
            Some(id) => letter.event_id.as_ref() == Some(id),
            None => letter.message_id == self.message_id,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_of_one_event_are_told_apart_by_their_message_ids() {
        let [first, second] = ["m1", "m2"].map(|id| DeadLetter::sample(Some("ada:msg_1"), id));
        let letters = [first, second.clone()];
        let mut receipt = Receipt::new(&letters, false);
        receipt.update_message_ids(&letters);
        let ids: Vec<&str> = receipt.entries.iter().map(|entry| entry.message_id.as_str()).collect();
        assert_eq!(ids, ["m1", "m2"]);
        // The second letter is still on the queue. The first became a dead letter again, with another id.
        let again = DeadLetter::sample(Some("ada:msg_1"), "m3");
        let dead = HashMap::from([("m3", &again), ("m2", &second), ("ada:msg_1", &again)]);
        let outcomes: Vec<_> = receipt.entries.iter().map(|e| e.outcome_from(None, e.letter_in(&dead))).collect();
        assert_eq!(outcomes, ["dead again: never-finished", "not moved"]);
    }
}
