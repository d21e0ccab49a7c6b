//! Computes the state of a session or a conversation from its events, on read.
//!
//! No projection is stored. The same events fold to the same state, in whatever order they arrived; `in_order` ensures
//! this for both folds. Copies of conflicting deliveries are counted but not folded, because the first delivery is the
//! record.

mod conversation;
mod members;
mod session;
mod vapi;

pub use conversation::{Conversation, Message, conversation};
pub use session::{Session, session};

use crate::store::Record;

/// Whether a session or a conversation is open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum State {
    /// No event says that it has ended.
    #[default]
    Open,
    /// An event says that it has ended. No other event reopens it.
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

/// Returns the records of a timeline in the order in which they are folded (by event time, then by arrival), and the
/// number of conflicting copies.
fn in_order(records: &[Record]) -> (Vec<&Record>, usize) {
    let mut ordered: Vec<&Record> = records.iter().filter(|record| !record.conflict).collect();
    let conflicts = records.len() - ordered.len();
    let sort_key = |record: &Record| (record.event.occurred_at, record.event.received_at, record.event.id.clone());
    ordered.sort_by_cached_key(|record| sort_key(record));
    (ordered, conflicts)
}
