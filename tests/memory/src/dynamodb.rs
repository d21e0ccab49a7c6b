//! DynamoDB: tables and global secondary indexes with a partition key, and perhaps a sort key, of type S.
//!
//! It follows AWS, including the codes of errors and the capacity units. It does not support legacy parameters,
//! transactions, `BatchWriteItem`, PartiQL, local indexes and parallel scans; such a request fails.

mod admin;
mod bindings;
mod condition;
mod error;
mod number;
mod parser;
mod path;
mod query;
mod read;
mod reserved;
mod table;
mod units;
mod update;
mod value;
mod write;

use std::collections::{BTreeMap, VecDeque};

use serde_json::Value;

use crate::Response;
use bindings::Expressions;
use error::Failure;
use table::{IndexChange, Table};

pub use table::KEY_SEPARATOR;
pub use units::Units;

/// An item: its attributes in DynamoDB's JSON, such as `{"S": "x"}`, by their names.
pub type Item = BTreeMap<String, Value>;

/// A write of an item, which may have left the item as it was.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The name of the table.
    pub table: String,
    /// The key: the value of the partition key, and [`KEY_SEPARATOR`] and the sort key if the table has one.
    pub key: String,
    /// The item before the write; `None` if it did not exist.
    pub old: Option<Item>,
    /// The item after the write; `None` if it was removed.
    pub new: Option<Item>,
    /// Whether the item was removed because it had expired.
    pub expired: bool,
}

/// A DynamoDB in memory.
#[derive(Debug, Default)]
pub struct DynamoDb {
    tables: BTreeMap<String, Table>,
    expressions: Expressions,
    changes: Vec<Change>,
    holds_indexes: bool,
    pending: VecDeque<Pending>,
    units: Units,
}

/// A change of an index that queries do not see yet.
#[derive(Debug)]
struct Pending {
    table: String,
    change: IndexChange,
}

impl DynamoDb {
    /// Creates a DynamoDB without tables.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Answers a request: an operation such as `PutItem`, and its JSON body. `now` is in milliseconds since 1970.
    pub fn answer(&mut self, operation: &str, request: &Value, now: i64) -> Response {
        self.units = Units::default();
        let answer = match operation {
            "GetItem" => self.get_item(request),
            "PutItem" => self.put_item(request),
            "UpdateItem" => self.update_item(request),
            "DeleteItem" => self.delete_item(request),
            "BatchGetItem" => self.batch_get_item(request),
            "Query" => self.query(request),
            "Scan" => self.scan(request),
            "CreateTable" => self.create_table(request, now),
            "DescribeTable" => self.describe_table(request),
            "UpdateTable" => self.update_table(request),
            "ListTables" => Ok(self.list_tables()),
            "UpdateTimeToLive" => self.update_time_to_live(request),
            "DescribeTimeToLive" => self.describe_time_to_live(request),
            "UpdateContinuousBackups" => self.update_continuous_backups(request),
            "DescribeContinuousBackups" => self.describe_continuous_backups(request),
            _ => Err(Failure::unknown_operation(operation)),
        };
        answer.map_or_else(Failure::response, Response::ok)
    }

    /// The items of a table by their keys, as in [`Change::key`].
    #[must_use]
    pub fn items(&self, table: &str) -> Option<&BTreeMap<String, Item>> {
        self.tables.get(table).map(|table| &table.items)
    }

    /// The capacity units of the last request.
    #[must_use]
    pub fn last_units(&self) -> Units {
        self.units
    }

    /// Returns the writes since the last call, in their order.
    pub fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    // === Indexes that lag behind ===

    /// Holds back the changes of indexes: queries see the indexes as they are now. `false` applies all changes that
    /// are pending.
    pub fn hold_indexes(&mut self, held: bool) {
        self.holds_indexes = held;
        if !held {
            self.apply_pending(self.pending.len());
        }
    }

    /// Applies the oldest pending changes of indexes.
    pub fn apply_pending(&mut self, count: usize) {
        for Pending { table, change } in self.pending.drain(..count.min(self.pending.len())) {
            if let Some(table) = self.tables.get_mut(&table) {
                table.apply(change);
            }
        }
    }

    /// The number of pending changes of indexes. A write of an item is one change of each index that it affects.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    // === Expiry ===

    /// The keys of expired items, the first expired first. `now` is in seconds since 1970. Expired items stay in the
    /// table until they are removed with [`remove_expired`](Self::remove_expired).
    #[must_use]
    pub fn expired(&self, table: &str, now: i64) -> Vec<String> {
        self.tables.get(table).map(|table| table.expired(now)).unwrap_or_default()
    }

    /// Removes an item because it has expired. It costs no units.
    pub fn remove_expired(&mut self, table: &str, key: &str) {
        let units = self.units;
        self.write(table, key, None, true);
        self.units = units;
    }
}
