//! The lease of a lane, which only one sender can hold.
//!
//! The lease remembers how far the lane is done, so that a holder does not read the whole lane. A delivery may be added
//! below that position, because an event can be recorded late. Two rules ensure that its holder finds it:
//!
//! 1. A writer that adds a delivery then reads the position, and removes it unless it is below the delivery.
//! 2. A holder that moves the position reads the lane once more from where it began, after it has released the lease.
//!    If it finds a delivery, it reads the whole lane. If it ends before that, its doorbell rings again, and the next
//!    holder reads the whole lane.

use std::collections::HashMap;

use gatehouse_inbox::StoreError;
use gatehouse_inbox::store::item::{binary, number, text, text_of};
use gatehouse_payload::Nonce;
use gatehouse_payload::time::Timestamp;

use super::{DeliveryTable, Update};
use crate::lane::{Lane, RowKey};

const ROW: &str = "lease";
const DONE_TO: &str = "done_to";
const LATEST: &str = "latest";
/// The value of `until` in a lease that nobody holds. It sorts before every time.
const FREE: &str = "-";
/// How long the item is stored after its last use, in seconds: longer than any event waits in a queue.
const TTL: i64 = 30 * 86_400;

/// A lease that the caller holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The lane.
    pub lane: Lane,
    /// The delivery up to which the lane is done.
    pub done_to: Option<RowKey>,
    /// The last delivery that was sent. An earlier one is late.
    pub latest: Option<RowKey>,
    holder: Nonce,
}

/// The result of releasing a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Released {
    /// The lease is free.
    Yes,
    /// A delivery was added below the position, or another sender has the lease by now. Acquire it again.
    Changed,
}

impl DeliveryTable {
    /// Acquires the lease of a lane until `until`; `None` if another sender holds it. The same holder may acquire it
    /// again.
    ///
    /// # Errors
    /// If DynamoDB did not confirm it. The lease may be held nevertheless, until it expires.
    pub async fn acquire(
        &self,
        lane: &Lane,
        holder: Nonce,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Option<Lease>, StoreError> {
        let item = self
            .update(Update {
                lane: &lane.to_string(),
                row: ROW,
                expression: "SET holder = :holder, #until = :until, expires_at = :expires_at",
                condition: Some("attribute_not_exists(holder) OR #until < :now OR holder = :holder"),
                names: names(),
                values: HashMap::from([
                    (":holder".to_owned(), binary(holder.as_bytes())),
                    (":until".to_owned(), text(&until.to_string())),
                    (":now".to_owned(), text(&now.to_string())),
                    (":expires_at".to_owned(), number(now.as_secs() + TTL)),
                ]),
            })
            .await?;
        Ok(item.map(|item| {
            let row = |name| text_of(&item, name).map(|key| RowKey::from_stored(key.to_owned()));
            Lease { lane: lane.clone(), done_to: row(DONE_TO), latest: row(LATEST), holder }
        }))
    }

    /// Sets the position of a lane to `done_to`, and releases its lease. If `until` is given, the lease expires at that
    /// time instead. After a release, the caller must read the lane once more from the position that it began with.
    ///
    /// # Errors
    /// If DynamoDB did not confirm it. The lease then expires.
    pub async fn release(
        &self,
        lease: &Lease,
        done_to: Option<&RowKey>,
        latest: Option<&RowKey>,
        until: Option<Timestamp>,
    ) -> Result<Released, StoreError> {
        let mut expression = "SET #until = :until".to_owned();
        let until = until.map_or(FREE.to_owned(), |until| until.to_string());
        if done_to.is_none() {
            expression.insert_str(0, "REMOVE done_to ");
        }
        let mut values = HashMap::from([
            (":until".to_owned(), text(&until)),
            (":holder".to_owned(), binary(lease.holder.as_bytes())),
        ]);
        for (name, value) in [(DONE_TO, done_to), (LATEST, latest)] {
            if let Some(value) = value {
                expression.push_str(&format!(", {name} = :{name}"));
                values.insert(format!(":{name}"), text(value.as_str()));
            }
        }
        let condition = match &lease.done_to {
            None => "holder = :holder AND attribute_not_exists(done_to)",
            Some(before) => {
                values.insert(":before".to_owned(), text(before.as_str()));
                "holder = :holder AND done_to = :before"
            }
        };
        let lane = lease.lane.to_string();
        let (names, condition) = (names(), Some(condition));
        let update = Update { lane: &lane, row: ROW, expression: &expression, condition, names, values };
        Ok(if self.update(update).await?.is_some() { Released::Yes } else { Released::Changed })
    }

    /// Releases a lease whose holder no longer exists. The next holder reads the whole lane.
    ///
    /// # Errors
    /// If DynamoDB does not respond.
    pub async fn break_lease(&self, lane: &Lane) -> Result<(), StoreError> {
        let update = Update {
            lane: &lane.to_string(),
            row: ROW,
            expression: "REMOVE done_to SET #until = :free",
            condition: Some("attribute_exists(holder)"),
            names: names(),
            values: HashMap::from([(":free".to_owned(), text(FREE))]),
        };
        self.update(update).await.map(drop)
    }

    /// Removes the position of a lane if it is not below `row`.
    pub(super) async fn make_findable(&self, lane: &Lane, row: &RowKey) -> Result<(), StoreError> {
        let lane = lane.to_string();
        let Some(item) = self.item(&lane, ROW).await? else { return Ok(()) };
        if text_of(&item, DONE_TO).is_none_or(|done_to| done_to < row.as_str()) {
            return Ok(());
        }
        let update = Update {
            lane: &lane,
            row: ROW,
            expression: "REMOVE done_to",
            condition: Some("done_to >= :row"),
            names: HashMap::new(),
            values: HashMap::from([(":row".to_owned(), text(row.as_str()))]),
        };
        self.update(update).await.map(drop)
    }
}

/// `until` is a reserved word of DynamoDB.
fn names() -> HashMap<String, String> {
    HashMap::from([("#until".to_owned(), "until".to_owned())])
}
