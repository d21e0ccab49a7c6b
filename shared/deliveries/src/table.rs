//! The delivery table. docs/deliveries.md describes its items.
//!
//! | item | partition key `lane` | sort key `row` |
//! |---|---|---|
//! | a delivery | its lane | `<received_at>/<message id>` |
//! | the lease of a lane | the lane | `lease` |
//! | the state of a destination | `destinations` | its name |
//!
//! The sparse index `by-due` has the deliveries that wait for a time, by destination, and the dead ones.

use std::collections::HashMap;

use aws_config::SdkConfig;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::types::AttributeValue;
use gatehouse_inbox::StoreError;
use gatehouse_inbox::store::item::{Item, number, number_of, text, text_of};
use gatehouse_inbox::store::request::{conditional_put, conditional_update, failure};
use gatehouse_payload::time::Timestamp;
use gatehouse_runtime::aws::CallLimits;

use crate::lane::{Lane, RowKey};

mod lease;
mod operate;
mod state;

pub use lease::{Lease, Released};
pub use state::{Breaker, DestinationState};

/// Time limit of one request, including its second attempt.
const CALL_LIMIT: std::time::Duration = std::time::Duration::from_secs(3);
/// The index of the deliveries that wait, and of the dead ones.
pub const DUE_INDEX: &str = "by-due";
/// The number of deliveries that a query reads.
const PAGE: i32 = 50;
/// The number of deliveries that a query of the index reads.
const INDEX_PAGE: i32 = 1000;
/// How much longer a delivery is stored than its event, in seconds, so that it shows that the event has expired.
const EXTRA_TTL: i64 = 7 * 86_400;
/// The longest part of a response that is stored, in bytes.
pub const MAX_RESPONSE_BYTES: usize = 1024;

/// The names of attributes.
mod attribute {
    pub(super) const LANE: &str = "lane";
    pub(super) const ROW: &str = "row";
    pub(super) const EVENT_KEY: &str = "event_key";
    pub(super) const EVENT_TYPE: &str = "event_type";
    pub(super) const SUBJECT: &str = "subject";
    pub(super) const STATE: &str = "state";
    pub(super) const ATTEMPTS: &str = "attempts";
    pub(super) const DUE: &str = "due";
    pub(super) const WAITS_FOR: &str = "waits_for";
    pub(super) const REASON: &str = "reason";
    pub(super) const STATUS: &str = "status";
    pub(super) const RESPONSE: &str = "response";
    pub(super) const AT: &str = "at";
    pub(super) const EXPIRES_AT: &str = "expires_at";
    pub(super) const UNFILTERED: &str = "unfiltered";
}
use attribute::{
    AT, ATTEMPTS, DUE, EVENT_KEY, EVENT_TYPE, EXPIRES_AT, LANE, REASON, RESPONSE, ROW, STATE, STATUS, SUBJECT,
    UNFILTERED, WAITS_FOR,
};

/// The delivery table.
#[derive(Debug, Clone)]
pub struct DeliveryTable {
    client: Client,
    table: String,
}

/// The state of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It waits for its first or its next attempt.
    Waiting,
    /// The destination has accepted it.
    Delivered,
    /// Every attempt failed. It can be resent.
    Dead,
    /// There is nothing to send: the event was erased or has expired, or an operator discarded the delivery.
    Dropped,
}

impl State {
    /// Returns the word in the table and in lists.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            State::Waiting => "waiting",
            State::Delivered => "delivered",
            State::Dead => "dead",
            State::Dropped => "dropped",
        }
    }

    fn parse(word: &str) -> Option<State> {
        [State::Waiting, State::Delivered, State::Dead, State::Dropped].into_iter().find(|state| state.as_str() == word)
    }
}

/// A delivery of an event to a destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Its lane.
    pub lane: Lane,
    /// Its key within the lane.
    pub row: RowKey,
    /// The key of the event's record.
    pub event_key: String,
    /// The vendor's name for the event.
    pub event_type: Option<String>,
    /// The subject of the event.
    pub subject: Option<String>,
    /// The time after which DynamoDB deletes the delivery, in seconds since the epoch.
    pub expires_at: i64,
    /// Whether it was added without its destination's filter, because that could not be read.
    pub is_unfiltered: bool,
    /// Its state.
    pub state: State,
    /// The number of attempts so far.
    pub attempts: u32,
    /// The time of the next attempt, if it waits for a time.
    pub due: Option<Timestamp>,
    /// Why the last attempt failed, or why the delivery was dropped: a few words.
    pub reason: Option<String>,
    /// The HTTP status of the last attempt.
    pub status: Option<u16>,
    /// The first bytes of the response to the last attempt, if it failed.
    pub response: Option<String>,
    /// The time of the last change.
    pub at: Timestamp,
}

impl Delivery {
    /// Creates the delivery of an event that was received at `received_at`.
    #[must_use]
    pub fn new(lane: Lane, event_key: &str, received_at: Timestamp, now: Timestamp) -> Delivery {
        Delivery {
            lane,
            row: RowKey::of(received_at, event_key),
            event_key: event_key.to_owned(),
            event_type: None,
            subject: None,
            expires_at: i64::MAX,
            is_unfiltered: false,
            state: State::Waiting,
            attempts: 0,
            due: None,
            reason: None,
            status: None,
            response: None,
            at: now,
        }
    }

    /// Sets the expiry of its event, in seconds since the epoch.
    #[must_use]
    pub fn of_event_until(self, expires_at: i64) -> Delivery {
        Delivery { expires_at: expires_at.saturating_add(EXTRA_TTL), ..self }
    }

    /// Whether an attempt may begin now.
    #[must_use]
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.state == State::Waiting && self.due.is_none_or(|due| due <= now)
    }

    /// Whether its event has expired, so that there is nothing to send.
    #[must_use]
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.expires_at.saturating_sub(EXTRA_TTL) < now.as_secs()
    }

    /// Returns the partition of the index [`DUE_INDEX`] that shows it.
    fn waits_for(&self) -> Option<String> {
        match self.state {
            State::Waiting => self.due.map(|_| self.lane.destination().to_owned()),
            State::Dead => Some(dead_of(self.lane.destination())),
            State::Delivered | State::Dropped => None,
        }
    }

    fn to_item(&self) -> Item {
        let mut item = Item::from([
            (LANE.to_owned(), text(&self.lane.to_string())),
            (ROW.to_owned(), text(self.row.as_str())),
            (EVENT_KEY.to_owned(), text(&self.event_key)),
            (STATE.to_owned(), text(self.state.as_str())),
            (ATTEMPTS.to_owned(), number(self.attempts)),
            (AT.to_owned(), text(&self.at.to_string())),
            (EXPIRES_AT.to_owned(), number(self.expires_at)),
        ]);
        let due = match self.state {
            // The dead ones are sorted by the time of their death.
            State::Dead => Some(self.at),
            _ => self.due,
        };
        let optional = [
            (EVENT_TYPE, self.event_type.clone()),
            (SUBJECT, self.subject.clone()),
            (REASON, self.reason.clone()),
            (RESPONSE, self.response.clone()),
            (WAITS_FOR, self.waits_for()),
            (DUE, due.map(|due| due.to_string())),
        ];
        let optional = optional.into_iter().filter_map(|(name, value)| Some((name.to_owned(), text(&value?))));
        item.extend(optional);
        item.extend(self.is_unfiltered.then(|| (UNFILTERED.to_owned(), AttributeValue::Bool(true))));
        item.extend(self.status.map(|status| (STATUS.to_owned(), number(status))));
        item
    }

    /// Reads a delivery. `None` if the item is not one that this release can read.
    fn from_item(item: &Item) -> Option<Delivery> {
        let state = State::parse(text_of(item, STATE)?)?;
        let own = |name| text_of(item, name).map(str::to_owned);
        Some(Delivery {
            lane: text_of(item, LANE)?.parse().ok()?,
            row: RowKey::from_stored(own(ROW)?),
            event_key: own(EVENT_KEY)?,
            event_type: own(EVENT_TYPE),
            subject: own(SUBJECT),
            expires_at: number_of(item, EXPIRES_AT)?,
            is_unfiltered: item.contains_key(UNFILTERED),
            state,
            attempts: number_of(item, ATTEMPTS)?,
            due: text_of(item, DUE).and_then(Timestamp::parse).filter(|_| state == State::Waiting),
            reason: own(REASON),
            status: number_of(item, STATUS),
            response: own(RESPONSE),
            at: text_of(item, AT).and_then(Timestamp::parse)?,
        })
    }
}

/// Returns the partition of the index that has the dead deliveries to a destination.
fn dead_of(destination: &str) -> String {
    format!("{destination}/dead")
}

/// The position at which a list continues.
#[derive(Debug, Clone, PartialEq)]
pub struct Position(Item);

impl DeliveryTable {
    /// Creates a client of the table `table`.
    #[must_use]
    pub fn new(sdk: &SdkConfig, table: &str) -> Self {
        let limits = CallLimits::within(CALL_LIMIT);
        let config = aws_sdk_dynamodb::config::Builder::from(sdk)
            .timeout_config(limits.timeouts())
            .retry_config(limits.retries());
        Self::with_client(Client::from_conf(config.build()), table)
    }

    /// Creates a client of the table `table` that uses another client.
    #[must_use]
    pub fn with_client(client: Client, table: &str) -> Self {
        DeliveryTable { client, table: table.to_owned() }
    }

    /// Adds a delivery, unless it exists. Returns whether it is new. Ensures that the holder of its lane finds it,
    /// although a later one may have been delivered.
    ///
    /// # Errors
    /// If DynamoDB did not confirm it. The call may be repeated.
    pub async fn add(&self, delivery: &Delivery) -> Result<bool, StoreError> {
        let put = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(delivery.to_item()))
            .condition_expression("attribute_not_exists(lane)");
        let is_new = conditional_put(put.send().await)?.is_done();
        if delivery.lane.is_ordered() {
            self.make_findable(&delivery.lane, &delivery.row).await?;
        }
        Ok(is_new)
    }

    /// Returns the next deliveries of a lane that wait, after the key `after`, in order, and whether there are no more.
    ///
    /// # Errors
    /// If DynamoDB does not respond.
    pub async fn waiting(&self, lane: &Lane, after: Option<&RowKey>) -> Result<(Vec<Delivery>, bool), StoreError> {
        // Keys of deliveries begin with a year. A space sorts before every other character of a key, so that the
        // delivery `after` itself is left out.
        let after = after.map_or("0".to_owned(), |row| format!("{} ", row.as_str()));
        let lane = &lane.to_string();
        let mut from = None;
        loop {
            let query = self
                .read_lane(lane)
                .key_condition_expression("lane = :lane AND #row BETWEEN :after AND :end")
                .expression_attribute_names("#row", ROW)
                .expression_attribute_values(":after", text(&after))
                .expression_attribute_values(":end", text("9"))
                .limit(PAGE)
                .set_exclusive_start_key(from.take());
            let response = query.send().await.map_err(|error| failure("Query", &error))?;
            let rows = response.items().iter().filter_map(Delivery::from_item);
            let waiting: Vec<_> = rows.filter(|row| row.state == State::Waiting).collect();
            from = response.last_evaluated_key;
            if !waiting.is_empty() || from.is_none() {
                return Ok((waiting, from.is_none()));
            }
        }
    }

    /// Replaces a delivery by its new version, if `before` is still what the table has: another holder of its lane may
    /// have changed it. Returns whether it was replaced.
    ///
    /// # Errors
    /// If DynamoDB did not confirm it.
    pub async fn replace(&self, before: &Delivery, after: &Delivery) -> Result<bool, StoreError> {
        let put = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(after.to_item()))
            .condition_expression("#state = :state AND attempts = :attempts AND #at = :at")
            .expression_attribute_names("#state", STATE)
            .expression_attribute_names("#at", AT)
            .expression_attribute_values(":state", text(before.state.as_str()))
            .expression_attribute_values(":attempts", number(before.attempts))
            .expression_attribute_values(":at", text(&before.at.to_string()));
        Ok(conditional_put(put.send().await)?.is_done())
    }

    /// Returns a page of the deliveries to a destination that wait for a time until `until`, the longest waiting ones
    /// first.
    ///
    /// # Errors
    /// If DynamoDB does not respond.
    pub async fn due(
        &self,
        destination: &str,
        until: Timestamp,
        from: Option<Position>,
    ) -> Result<(Vec<Delivery>, Option<Position>), StoreError> {
        self.indexed(destination, until, from).await
    }

    /// Whether a delivery to a destination waits for its next attempt.
    ///
    /// # Errors
    /// If DynamoDB does not respond.
    pub async fn has_failing(&self, destination: &str) -> Result<bool, StoreError> {
        let query = self.query_index(destination, Timestamp::clamped(i64::MAX)).limit(1);
        Ok(query.send().await.map_err(|error| failure("Query", &error))?.count() > 0)
    }

    /// Returns a page of the dead deliveries to a destination, oldest first.
    ///
    /// # Errors
    /// If DynamoDB does not respond.
    pub async fn dead(
        &self,
        destination: &str,
        until: Timestamp,
        from: Option<Position>,
    ) -> Result<(Vec<Delivery>, Option<Position>), StoreError> {
        self.indexed(&dead_of(destination), until, from).await
    }

    async fn indexed(
        &self,
        waits_for: &str,
        until: Timestamp,
        from: Option<Position>,
    ) -> Result<(Vec<Delivery>, Option<Position>), StoreError> {
        let query = self.query_index(waits_for, until).limit(INDEX_PAGE);
        let query = query.set_exclusive_start_key(from.map(|position| position.0));
        let response = query.send().await.map_err(|error| failure("Query", &error))?;
        let deliveries = response.items().iter().filter_map(Delivery::from_item).collect();
        Ok((deliveries, response.last_evaluated_key.map(Position)))
    }

    /// Begins a query of the index for the time until `until`.
    fn query_index(&self, waits_for: &str, until: Timestamp) -> QueryFluentBuilder {
        let query = self.client.query().table_name(&self.table).index_name(DUE_INDEX);
        let query = query.key_condition_expression("waits_for = :waits_for AND due <= :until");
        let query = query.expression_attribute_values(":waits_for", text(waits_for));
        query.expression_attribute_values(":until", text(&until.to_string()))
    }

    /// Returns a delivery.
    ///
    /// # Errors
    /// If DynamoDB does not respond.
    pub async fn get(&self, lane: &Lane, row: &RowKey) -> Result<Option<Delivery>, StoreError> {
        Ok(self.item(&lane.to_string(), row.as_str()).await?.as_ref().and_then(Delivery::from_item))
    }

    /// Returns all items with this partition key.
    async fn partition(&self, lane: &str) -> Result<Vec<Item>, StoreError> {
        let (mut items, mut from) = (Vec::new(), None);
        loop {
            let query =
                self.read_lane(lane).key_condition_expression("lane = :lane").set_exclusive_start_key(from.take());
            let response = query.send().await.map_err(|error| failure("Query", &error))?;
            items.extend(response.items.unwrap_or_default());
            from = response.last_evaluated_key;
            if from.is_none() {
                return Ok(items);
            }
        }
    }

    /// Begins a consistent query with the value `:lane`.
    fn read_lane(&self, lane: &str) -> QueryFluentBuilder {
        let query = self.client.query().table_name(&self.table).consistent_read(true);
        query.expression_attribute_values(":lane", text(lane))
    }

    async fn item(&self, lane: &str, row: &str) -> Result<Option<Item>, StoreError> {
        let get = self.client.get_item().table_name(&self.table).set_key(Some(key(lane, row))).consistent_read(true);
        Ok(get.send().await.map_err(|error| failure("GetItem", &error))?.item)
    }

    /// Updates an item if the condition holds. Returns its new attributes; `None` if the condition does not hold.
    async fn update(&self, update: Update<'_>) -> Result<Option<Item>, StoreError> {
        let request = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key(update.lane, update.row)))
            .update_expression(update.expression)
            .set_condition_expression(update.condition.map(str::to_owned))
            .set_expression_attribute_names(Some(update.names).filter(|names| !names.is_empty()))
            .set_expression_attribute_values(Some(update.values).filter(|values| !values.is_empty()))
            .return_values(aws_sdk_dynamodb::types::ReturnValue::AllNew);
        match request.send().await {
            Ok(response) => Ok(Some(response.attributes.unwrap_or_default())),
            failed => conditional_update(failed).map(|_| None),
        }
    }
}

/// A conditional update of an item.
struct Update<'a> {
    lane: &'a str,
    row: &'a str,
    expression: &'a str,
    condition: Option<&'a str>,
    names: HashMap<String, String>,
    values: HashMap<String, AttributeValue>,
}

fn key(lane: &str, row: &str) -> Item {
    HashMap::from([(LANE.to_owned(), text(lane)), (ROW.to_owned(), text(row))])
}
