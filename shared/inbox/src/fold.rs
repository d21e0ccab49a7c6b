//! The state of a session or a conversation, folded from its events on read.
//!
//! There is no projection to keep right: whatever the order events arrived in, the same events fold to the same state.
//! `in_order` makes that so once for both folds. Copies of conflicting deliveries are counted, not folded: the record
//! is what was recorded first.

mod conversation;
mod members;
mod session;
mod vapi;

pub use conversation::{Conversation, Message, conversation};
pub use session::{Session, session};

use crate::store::Record;

/// Whether a session or a conversation goes on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum State {
    /// Nothing says that it has ended.
    #[default]
    Open,
    /// An event says that it has ended. No other event opens it again.
    Closed,
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            State::Open => "OPEN",
            State::Closed => "CLOSED",
        })
    }
}

/// The records of a timeline in the one order folding takes them in: by time, then by arrival. Beside them, how many
/// conflicting copies there are.
fn in_order(records: &[Record]) -> (Vec<&Record>, usize) {
    let mut ordered: Vec<&Record> = records.iter().filter(|record| !record.conflict).collect();
    let conflicts = records.len() - ordered.len();
    let place = |record: &Record| (record.event.occurred_at, record.event.received_at, record.event.id.clone());
    ordered.sort_by_cached_key(|record| place(record));
    (ordered, conflicts)
}
