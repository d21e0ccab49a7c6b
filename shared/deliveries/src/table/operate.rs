//! Operators' commands on deliveries: find, resend, discard and erase.

use gatehouse_inbox::StoreError;
use gatehouse_inbox::store::item::{text, text_of};
use gatehouse_inbox::store::request::failure;
use gatehouse_payload::Nonce;
use gatehouse_payload::time::Timestamp;

use super::{Delivery, DeliveryTable, Position, ROW, STATE, State, key};
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
        let mut deliveries = Vec::new();
        for lane in lanes_of(destination, event_key, subject) {
            deliveries.extend(self.lane(&lane).await?.into_iter().filter(|delivery| delivery.event_key == event_key));
        }
        Ok(deliveries)
    }

    /// Returns a page of the waiting deliveries to a destination that have no due time. The pages read the whole table.
    ///
    /// # Errors
    /// If DynamoDB does not respond.
    pub async fn not_due(
        &self,
        destination: &str,
        from: Option<Position>,
    ) -> Result<(Vec<Delivery>, Option<Position>), StoreError> {
        let scan = self
            .client
            .scan()
            .table_name(&self.table)
            .filter_expression("begins_with(lane, :lane) AND #state = :state AND attribute_not_exists(due)")
            .expression_attribute_names("#state", STATE)
            .expression_attribute_values(":lane", text(&format!("{destination}/")))
            .expression_attribute_values(":state", text(State::Waiting.as_str()))
            .set_exclusive_start_key(from.map(|position| position.0));
        let response = scan.send().await.map_err(|error| failure("Scan", &error))?;
        let deliveries = response.items().iter().filter_map(Delivery::from_item).collect();
        Ok((deliveries, response.last_evaluated_key.map(Position)))
    }

    /// Returns the delivery of an event that was received at `received_at` to a destination.
    ///
    /// # Errors
    /// If DynamoDB does not respond.
    pub async fn of_receipt(
        &self,
        destination: &str,
        event_key: &str,
        subject: Option<&str>,
        received_at: Timestamp,
    ) -> Result<Option<Delivery>, StoreError> {
        for lane in lanes_of(destination, event_key, subject) {
            if let Some(delivery) = self.get(&lane, &RowKey::of(received_at, event_key)).await? {
                return Ok(Some(delivery));
            }
        }
        Ok(None)
    }

    /// Makes a delivery wait for a new series of attempts, which begins at once. Returns false if it has changed
    /// meanwhile.
    ///
    /// # Errors
    /// If DynamoDB did not confirm it.
    pub async fn resend(&self, delivery: &Delivery, now: Timestamp) -> Result<bool, StoreError> {
        let (state, attempts, due) = (State::Waiting, 0, Some(now));
        // The operator wants it sent, whatever the filter says.
        let again = Delivery { state, attempts, due, at: now, is_unfiltered: false, ..delivery.clone() };
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

    /// Deletes all deliveries of a lane. Returns whether a sender without a lease may be sending one of them. Returns
    /// `None` if a sender holds the lease of the lane; then the call must be repeated.
    ///
    /// # Errors
    /// If DynamoDB does not respond. The call may be repeated.
    pub async fn erase_lane(&self, lane: &Lane, holder: Nonce, now: Timestamp) -> Result<Option<bool>, StoreError> {
        if lane.is_ordered() {
            if self.partition(&lane.to_string()).await?.is_empty() {
                return Ok(Some(false));
            }
            if self.acquire(lane, holder, now.plus_secs(ERASE_LEASE), now).await?.is_none() {
                return Ok(None);
            }
        }
        let items = self.partition(&lane.to_string()).await?;
        for item in &items {
            let row = text_of(item, ROW).unwrap_or_default();
            let delete = self.client.delete_item().table_name(&self.table).set_key(Some(key(&lane.to_string(), row)));
            delete.send().await.map_err(|error| failure("DeleteItem", &error))?;
        }
        let waits = items.iter().filter_map(Delivery::from_item).any(|delivery| delivery.state == State::Waiting);
        Ok(Some(waits && !lane.is_ordered()))
    }
}

/// Returns the lanes that can have the delivery of an event: the order may have been changed since it was added.
fn lanes_of(destination: &str, event_key: &str, subject: Option<&str>) -> Vec<Lane> {
    let mut lanes = vec![Lane::of(destination, Order::None, subject, event_key)];
    lanes.extend(subject.map(|_| Lane::of(destination, Order::Subject, subject, event_key)));
    lanes
}
