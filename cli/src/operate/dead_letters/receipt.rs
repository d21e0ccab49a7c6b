//! A redrive's receipt: a file with a JSON line for each dead letter, which says what became of it, and by which an
//! interrupted redrive is gone on with.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Write;
use std::path::{Path, PathBuf};

use gatehouse_inbox::store::{Place, conflict_key};
use gatehouse_inbox::{Clock, EventId, Fingerprint, Nonce, Outcome};
use gatehouse_local::Error;
use serde::{Deserialize, Serialize};

use super::private;
use super::queue::Letter;
use crate::operate::deployment::Deployment;
use crate::operate::output::shown;
use crate::shell::print;

/// Its record says something else: for a moment, until it is known whether it is kept beside it.
const OTHER: &str = "other";
const PENDING: &str = "pending";
const WAITING: &str = "waiting on the retry queue";
/// How many entries are looked up at once.
const BATCH: usize = 100;

/// Whether a dead letter is settled: the table has its event, or keeps it out.
fn leaves_nothing_to_do(outcome: &str) -> bool {
    use Outcome::{Conflict, Duplicate, Erased, Recorded};
    Outcome::named(outcome).is_some_and(|outcome| [Recorded, Duplicate, Conflict, Erased].contains(&outcome))
}

#[derive(Debug)]
pub(super) struct Receipt {
    pub(super) path: PathBuf,
    pub(super) entries: Vec<Entry>,
}

/// A line.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Entry {
    event_id: Option<String>,
    /// `pending` until it is known.
    outcome: String,
    message_id: String,
    /// Hexadecimal, as the fingerprint: what tells whose the record is.
    nonce: Option<String>,
    fingerprint: Option<String>,
    /// Whether it was moved as one of all.
    is_of_all: bool,
}

impl Receipt {
    /// A new file.
    ///
    /// # Errors
    /// When it is there already, or cannot be written.
    pub(super) fn create(path: PathBuf, letters: &[Letter], is_of_all: bool) -> Result<Receipt, Error> {
        private(&path).map_err(|error| format!("{}: {error}; nothing was moved", path.display()))?;
        let receipt = Receipt { path, entries: letters.iter().map(|letter| Entry::of(letter, is_of_all)).collect() };
        receipt.save()?;
        Ok(receipt)
    }

    /// One that was written earlier.
    ///
    /// # Errors
    /// When it is none.
    pub(super) fn read(path: PathBuf) -> Result<Receipt, Error> {
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let entry = |(n, line): (usize, &str)| {
            let wrong = |error| format!("{}, line {}: no line of a receipt: {error}", path.display(), n + 1);
            serde_json::from_str(line).map_err(wrong)
        };
        let entries = text.lines().enumerate().map(entry).collect::<Result<_, _>>()?;
        Ok(Receipt { path, entries })
    }

    /// Replaces the file as a whole: a receipt is never half of one.
    pub(super) fn save(&self) -> Result<(), Error> {
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}", Nonce::random()?));
        let new = self.path.with_file_name(name);
        let mut file = private(&new)?;
        for entry in &self.entries {
            writeln!(file, "{}", serde_json::to_string(entry)?)?;
        }
        file.sync_all()?;
        Ok(std::fs::rename(new, &self.path)?)
    }

    /// Whether all dead letters that there were are in it.
    pub(super) fn is_of_all(&self) -> bool {
        self.entries.iter().all(|entry| entry.is_of_all)
    }

    pub(super) fn names(&self, letter: &Letter) -> bool {
        self.entries.iter().any(|entry| entry.is_of(letter))
    }

    /// Takes over what these are called now: each death gives a message another id.
    pub(super) fn rename(&mut self, letters: &[Letter]) {
        for entry in &mut self.entries {
            if let Some(letter) = letters.iter().find(|letter| entry.is_of(letter)) {
                entry.message_id.clone_from(&letter.message_id);
            }
        }
    }

    /// Whether nothing is left to do about any.
    pub(super) fn is_good(&self) -> bool {
        self.entries.iter().all(|entry| leaves_nothing_to_do(&entry.outcome))
    }

    /// Looks some of those up that are not recorded yet: how many are left.
    pub(super) async fn look(&mut self, deployment: &Deployment) -> Result<usize, Error> {
        let is_open = |entry: &&mut Entry| !leaves_nothing_to_do(&entry.outcome);
        let mut some: Vec<_> = self.entries.iter_mut().filter(is_open).take(BATCH).collect();
        settle(deployment, &mut some, &HashMap::new()).await?;
        Ok(self.entries.iter_mut().filter(is_open).count())
    }

    /// What became of each, by the table and by what is on the dead-letter queue, of which somebody may hold some.
    pub(super) async fn settle(
        &mut self,
        deployment: &Deployment,
        dead: &[Letter],
        elsewhere: u64,
    ) -> Result<(), Error> {
        let by_message = dead.iter().map(|letter| (letter.message_id.as_str(), letter));
        let by_event = dead.iter().filter_map(|letter| Some((letter.event_id.as_deref()?, letter)));
        let dead: HashMap<&str, &Letter> = by_message.chain(by_event).collect();
        let mut open: Vec<_> = self.entries.iter_mut().filter(|entry| !leaves_nothing_to_do(&entry.outcome)).collect();
        for part in open.chunks_mut(BATCH) {
            settle(deployment, part, &dead).await?;
        }
        if elsewhere > 0 {
            for entry in open.into_iter().filter(|entry| entry.outcome == WAITING) {
                entry.outcome = "waiting on the retry queue, or held of the dead letters by somebody".to_owned();
            }
        }
        Ok(())
    }

    pub(super) fn summary(&self) -> Result<(), Error> {
        let mut outcomes = BTreeMap::<&str, usize>::new();
        for entry in &self.entries {
            *outcomes.entry(&entry.outcome).or_default() += 1;
        }
        let mut text = format!("{} dead letters, in {}:\n", self.entries.len(), self.path.display());
        for (outcome, n) in outcomes {
            text.push_str(&format!("{n:>8}  {}\n", shown(outcome)));
        }
        print(&text)
    }
}

async fn settle(deployment: &Deployment, part: &mut [&mut Entry], dead: &HashMap<&str, &Letter>) -> Result<(), Error> {
    let places = read(deployment, part.iter().filter_map(|entry| entry.event_id.clone())).await?;
    for entry in part.iter_mut() {
        let dead = dead.get(entry.event_id.as_ref().unwrap_or(&entry.message_id).as_str());
        entry.outcome = entry.settled(entry.event_id.as_ref().and_then(|id| places.get(id)), dead.copied());
    }
    // Only where the record says something else is it worth looking for the copy.
    let copies = part.iter().filter(|entry| entry.outcome == OTHER).filter_map(|entry| entry.copy());
    let copies = read(deployment, copies).await?;
    for entry in part.iter_mut().filter(|entry| entry.outcome == OTHER) {
        let is_kept = entry.copy().is_some_and(|key| copies.contains_key(&key));
        let dead = dead.get(entry.event_id.as_deref().unwrap_or_default());
        entry.outcome = if is_kept { "conflict".to_owned() } else { entry.settled(None, dead.copied()) };
    }
    Ok(())
}

async fn read(deployment: &Deployment, keys: impl Iterator<Item = String>) -> Result<HashMap<String, Place>, Error> {
    let keys: BTreeSet<String> = keys.collect();
    Ok(deployment.store.read(keys.into_iter().collect(), Clock::System.now()).await?)
}

impl Entry {
    fn of(letter: &Letter, is_of_all: bool) -> Entry {
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

    /// The key of the copy that is kept where the record says something else.
    fn copy(&self) -> Option<String> {
        let fingerprint = Fingerprint::from_hex(self.fingerprint.as_deref()?)?;
        Some(conflict_key(&fingerprint, &EventId::from_stored(self.event_id.clone()?)))
    }

    /// What became of it, in words.
    fn settled(&self, place: Option<&Place>, dead: Option<&Letter>) -> String {
        let is = |text: String, own: &Option<String>| Some(text) == *own;
        match (place, dead) {
            (Some(Place::Erased(_)), _) => "erased".to_owned(),
            (Some(Place::Record(record)), _) if is(record.event.nonce.to_string(), &self.nonce) => {
                "recorded".to_owned()
            }
            (Some(Place::Record(record)), _) if is(record.event.fingerprint.to_string(), &self.fingerprint) => {
                "duplicate".to_owned()
            }
            (Some(_), _) => OTHER.to_owned(),
            (None, Some(letter)) if letter.message_id == self.message_id => "not moved".to_owned(),
            (None, Some(letter)) => format!("dead again: {}", letter.reason),
            (None, None) if self.nonce.is_none() => "moved, and not traceable: it is no envelope".to_owned(),
            (None, None) => WAITING.to_owned(),
        }
    }

    fn is_of(&self, letter: &Letter) -> bool {
        match &self.event_id {
            Some(id) => letter.event_id.as_ref() == Some(id),
            None => letter.message_id == self.message_id,
        }
    }
}

/// Where a receipt goes if nobody says.
pub(super) fn default_path() -> PathBuf {
    let time = Clock::System.now().to_string();
    Path::new(&format!("redrive-{}.jsonl", time.get(..19).unwrap_or(&time).replace(':', ""))).to_owned()
}
