//! Operators' commands on deliveries: find, resend, discard and erase.

use gatehouse_inbox::StoreError;
use gatehouse_inbox::store::item::text_of;
use gatehouse_inbox::store::request::failure;
use gatehouse_payload::Nonce;
use gatehouse_payload::time::Timestamp;

use super::{Delivery, DeliveryTable, ROW, State, key};
use crate::destination::Order;
use crate::lane::{Lane, RowKey};

/// The lease under which a lane is erased, in seconds.
const ERASE_LEASE: i64 = 60;

impl DeliveryTable {
    /// Returns all deliveries of a lane, in order.
    ///
    /// # Errors
    /// If DynamoDB does not respond.
    pub async fn lane(&self, lane: &Lane) -> Result<Vec<Delivery>, StoreError> {
        Ok(self.partition(&lane.to_string()).await?.iter().filter_map(Delivery::from_item).collect())
    }

    /// Returns the deliveries of an event to a destination. There are several if the event was recorded again after it
    /// had expired.
    ///
    /// # Errors
    /// If DynamoDB does not respond.
    pub async fn of_event(
        &self,
        destination: &str,
        event_key: &str,
        subject: Option<&str>,
    ) -> Result<Vec<Delivery>, StoreError> {
        // The order may have been changed since the delivery was added.
        let mut lanes = vec![Lane::of(destination, Order::None, subject, event_key)];
        lanes.extend(subject.map(|_| Lane::of(destination, Order::Subject, subject, event_key)));
        let mut deliveries = Vec::new();
        for lane in lanes {
            deliveries.extend(self.lane(&lane).await?.into_iter().filter(|delivery| delivery.event_key == event_key));
        }
        Ok(deliveries)
    }

    /// Makes a delivery wait for a new series of attempts, which begins at once. Returns false if it has changed
    /// meanwhile.
    ///
    /// # Errors
    /// If DynamoDB did not confirm it.
    pub async fn resend(&self, delivery: &Delivery, now: Timestamp) -> Result<bool, StoreError> {
        let again = Delivery { state: State::Waiting, attempts: 0, due: Some(now), at: now, ..delivery.clone() };
        if !self.replace(delivery, &again).await? {
            return Ok(false);
        }
        if delivery.lane.is_ordered() {
            self.make_findable(&delivery.lane, &delivery.row).await?;
        }
        Ok(true)
    }

    /// Drops a waiting or dead delivery, which is then not sent. Deliveries of its lane that waited for it are sent.
    /// `reason` is a few words. Returns false if it has another state or has changed meanwhile.
    ///
    /// # Errors
    /// If DynamoDB did not confirm it.
    pub async fn drop_waiting(&self, delivery: &Delivery, reason: &str, now: Timestamp) -> Result<bool, StoreError> {
        if !matches!(delivery.state, State::Waiting | State::Dead) {
            return Ok(false);
        }
        // The next delivery is woken first, so that the sweep finds it even if this process ends in between.
        self.wake_next(&delivery.lane, Some(&delivery.row), now).await?;
        let (state, reason) = (State::Dropped, Some(reason.to_owned()));
        if !self.replace(delivery, &Delivery { state, reason, due: None, at: now, ..delivery.clone() }).await? {
            return Ok(false);
        }
        // Another delivery may have been added meanwhile.
        self.wake_next(&delivery.lane, None, now).await?;
        Ok(true)
    }

    /// Ensures that the sweep finds the next delivery of a lane, after the key `after`.
    async fn wake_next(&self, lane: &Lane, after: Option<&RowKey>, now: Timestamp) -> Result<(), StoreError> {
        match self.waiting(lane, after).await?.0.first() {
            Some(next) => self.wake(next, now).await.map(drop),
            None => Ok(()),
        }
    }

    /// Drops a delivery for an operator, like [`drop_waiting`](Self::drop_waiting).
    ///
    /// # Errors
    /// If DynamoDB did not confirm it.
    pub async fn discard(&self, delivery: &Delivery, now: Timestamp) -> Result<bool, StoreError> {
        self.drop_waiting(delivery, "discarded by an operator", now).await
    }

    /// Ensures that the sweep finds a delivery that waits without a time. Returns whether it did.
    ///
    /// # Errors
    /// If DynamoDB did not confirm it.
    pub async fn wake(&self, delivery: &Delivery, now: Timestamp) -> Result<bool, StoreError> {
        if delivery.state != State::Waiting || delivery.due.is_some() {
            return Ok(false);
        }
        self.replace(delivery, &Delivery { due: Some(now), ..delivery.clone() }).await
    }

    /// Deletes all deliveries of a lane. Returns their number; `None` if a sender holds the lane, so that the call must
    /// be repeated.
    ///
    /// # Errors
    /// If DynamoDB does not respond. The call may be repeated.
    pub async fn erase_lane(&self, lane: &Lane, holder: Nonce, now: Timestamp) -> Result<Option<usize>, StoreError> {
        if lane.is_ordered() {
            if self.partition(&lane.to_string()).await?.is_empty() {
                return Ok(Some(0));
            }
            if self.acquire(lane, holder, now.plus_secs(ERASE_LEASE), now).await?.is_none() {
                return Ok(None);
            }
        }
        let items = self.partition(&lane.to_string()).await?;
        let mut deliveries = 0;
        for item in &items {
            let row = text_of(item, ROW).unwrap_or_default();
            let delete = self.client.delete_item().table_name(&self.table).set_key(Some(key(&lane.to_string(), row)));
            delete.send().await.map_err(|error| failure("DeleteItem", &error))?;
            deliveries += usize::from(Delivery::from_item(item).is_some());
        }
        Ok(Some(deliveries))
    }
}
