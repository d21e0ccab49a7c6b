//! Stores queues and messages in SQLite.
//!
//! Every change is committed before the response is sent, so acknowledged messages survive a `kill -9`. Times are in
//! milliseconds since 1970.

mod moves;

use std::collections::HashMap;
use std::path::Path;

use gatehouse_payload::Nonce;
use gatehouse_runtime::Clock;
use gatehouse_sqs_protocol::attributes::{self, Attributes, RedrivePolicy};
use gatehouse_sqs_protocol::error::{Kind, SqsError};
use gatehouse_sqs_protocol::message::{MessageAttributes, ReceivedMessage};
use gatehouse_sqs_protocol::queue::{arn, check_same, does_not_exist, message_id_of, name_of};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, named_params, params};

use super::error::Failure;
use crate::Error;

const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    CREATE TABLE IF NOT EXISTS queues (
        name TEXT PRIMARY KEY,
        attributes TEXT NOT NULL,
        tags TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        modified_at INTEGER NOT NULL,
        purged_at INTEGER NOT NULL DEFAULT 0
    );
    CREATE TABLE IF NOT EXISTS messages (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        queue TEXT NOT NULL,
        body TEXT NOT NULL,
        attributes TEXT NOT NULL,
        sent_at INTEGER NOT NULL,
        visible_at INTEGER NOT NULL,
        receives INTEGER NOT NULL DEFAULT 0,
        first_received_at INTEGER,
        handle TEXT,              -- the latest receipt handle; only this one deletes the message
        taken INTEGER NOT NULL DEFAULT 0,  -- hidden by a receive, not by ChangeMessageVisibility
        source TEXT,              -- the ARN of the queue whose redrive policy moved it here
        message_group TEXT NOT NULL DEFAULT ''
    );
    CREATE INDEX IF NOT EXISTS by_visibility ON messages (queue, visible_at, seq);
    CREATE TABLE IF NOT EXISTS tasks (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        source TEXT NOT NULL,     -- name of a queue, like destination
        destination TEXT,         -- NULL: every message returns to its source queue
        rate INTEGER,             -- messages per second; NULL: no limit
        status TEXT NOT NULL,
        moved INTEGER NOT NULL DEFAULT 0,
        to_move INTEGER NOT NULL, -- number of visible messages at the start
        failure TEXT,
        started_at INTEGER NOT NULL
    );
    DROP TABLE IF EXISTS moves;   -- from an older version; its moves have all ended
";

/// Adds the column that the files of older versions lack.
const ADD_GROUPS: &str = "ALTER TABLE messages ADD COLUMN message_group TEXT NOT NULL DEFAULT ''";
const GROUP_INDEX: &str = "CREATE INDEX IF NOT EXISTS by_group ON messages (queue, message_group, visible_at, seq)";

/// The groups of a queue (?1), each with the first of its messages that is visible at a time (?2).
const FIRST_OF_GROUPS: &str = "
    WITH RECURSIVE groups(name) AS (
        SELECT MIN(message_group) FROM messages WHERE queue = ?1
        UNION ALL
        SELECT (SELECT MIN(message_group) FROM messages WHERE queue = ?1 AND message_group > name)
        FROM groups WHERE name IS NOT NULL
    )
    SELECT name, (SELECT seq FROM messages WHERE queue = ?1 AND message_group = name AND visible_at <= ?2
                  ORDER BY visible_at, seq LIMIT 1)
    FROM groups WHERE name IS NOT NULL";

pub(super) type Result<T> = std::result::Result<T, Failure>;

/// The queues of one SQLite database.
#[derive(Debug)]
pub(super) struct Store {
    connection: Connection,
    /// The number of the receive that last returned a message of a group, by queue and group.
    served: HashMap<(String, String), u64>,
    receives: u64,
}

/// A queue. `attributes` contains only attributes that were set.
#[derive(Debug, Clone)]
pub(super) struct Queue {
    pub(super) name: String,
    pub(super) attributes: Attributes,
    pub(super) tags: Attributes,
    pub(super) created_at: i64,
    pub(super) modified_at: i64,
    purged_at: i64,
}

/// A received message.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) id: String,
    pub(super) body: String,
    pub(super) attributes: MessageAttributes,
    pub(super) sent_at: i64,
    pub(super) receives: i64,
    pub(super) first_received_at: i64,
    pub(super) handle: String,
    pub(super) source: Option<String>,
    group: String,
}

pub(super) fn now() -> i64 {
    Clock::System.now().as_millis()
}

impl Message {
    /// Returns the message as responses contain it.
    pub(super) fn as_received(&self) -> ReceivedMessage<'_> {
        ReceivedMessage {
            id: &self.id,
            handle: &self.handle,
            body: &self.body,
            attributes: &self.attributes,
            sent_at: self.sent_at,
            receives: self.receives,
            first_received_at: self.first_received_at,
            source: self.source.as_deref(),
            group: Some(&*self.group).filter(|group| !group.is_empty()),
        }
    }
}

impl Store {
    /// Opens a database file, or an in-memory database. Messages that were in flight when the last process ended become
    /// visible again; those older than their queue's retention period are deleted.
    pub(super) fn open(path: Option<&Path>) -> std::result::Result<Self, Error> {
        let connection = match path {
            Some(path) => Connection::open(path)?,
            None => Connection::open_in_memory()?,
        };
        connection.execute_batch(SCHEMA)?;
        let has_groups = "SELECT COUNT(*) FROM pragma_table_info('messages') WHERE name = 'message_group'";
        if connection.query_row(has_groups, [], |row| row.get::<_, i64>(0))? == 0 {
            connection.execute(ADD_GROUPS, [])?;
        }
        connection.execute(GROUP_INDEX, [])?;
        connection.execute("UPDATE messages SET visible_at = 0, taken = 0 WHERE taken", [])?;
        let store = Store { connection, served: HashMap::new(), receives: 0 };
        for queue in store.queues("")? {
            let oldest = now() - attributes::number(&queue.attributes, "MessageRetentionPeriod") * 1000;
            let delete = "DELETE FROM messages WHERE queue = ?1 AND sent_at < ?2";
            store.connection.execute(delete, params![queue.name, oldest])?;
        }
        Ok(store)
    }

    /// Begins a transaction that can write.
    fn transaction(&mut self) -> Result<Transaction<'_>> {
        Ok(self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?)
    }

    /// Returns a queue by its name; `None` if it does not exist.
    pub(super) fn find(&self, name: &str) -> Result<Option<Queue>> {
        let select = "SELECT name, attributes, tags, created_at, modified_at, purged_at FROM queues WHERE name = ?1";
        Ok(self.connection.prepare_cached(select)?.query_row([name], queue_of).optional()?)
    }

    /// Returns a queue by its name.
    pub(super) fn queue(&self, name: &str) -> Result<Queue> {
        self.find(name)?.ok_or_else(|| does_not_exist(name).into())
    }

    /// Returns the queues whose names start with `prefix`, sorted by name.
    pub(super) fn queues(&self, prefix: &str) -> Result<Vec<Queue>> {
        let select = "SELECT name, attributes, tags, created_at, modified_at, purged_at FROM queues ORDER BY name";
        let mut select = self.connection.prepare_cached(select)?;
        let queues = select.query_map([], queue_of)?.collect::<rusqlite::Result<Vec<_>>>()?;
        Ok(queues.into_iter().filter(|queue| queue.name.starts_with(prefix)).collect())
    }

    /// Creates a queue, unless it exists with the same attributes.
    pub(super) fn create(&mut self, name: &str, requested: &Attributes, tags: &Attributes) -> Result<()> {
        if let Some(queue) = self.find(name)? {
            return Ok(check_same(&queue.attributes, requested)?);
        }
        let insert = "INSERT INTO queues (name, attributes, tags, created_at, modified_at) VALUES (?1, ?2, ?3, ?4, ?4)";
        self.connection.execute(insert, params![name, json(requested), json(tags), now()])?;
        Ok(())
    }

    /// Replaces a queue's attributes and tags.
    pub(super) fn set(&mut self, name: &str, attributes: &Attributes, tags: &Attributes) -> Result<()> {
        let update = "UPDATE queues SET attributes = ?2, tags = ?3, modified_at = ?4 WHERE name = ?1";
        self.connection.execute(update, params![name, json(attributes), json(tags), now()])?;
        Ok(())
    }

    /// Deletes a queue and its messages.
    pub(super) fn delete_queue(&mut self, name: &str) -> Result<()> {
        let transaction = self.transaction()?;
        transaction.execute("DELETE FROM messages WHERE queue = ?1", [name])?;
        transaction.execute("DELETE FROM queues WHERE name = ?1", [name])?;
        Ok(transaction.commit()?)
    }

    /// Deletes the messages of a queue, at most once a minute.
    pub(super) fn purge(&mut self, queue: &Queue) -> Result<()> {
        if now() - queue.purged_at < 60_000 {
            let message = format!("Only one PurgeQueue operation on {} is allowed every 60 seconds.", queue.name);
            return Err(SqsError::new(Kind::PURGE_IN_PROGRESS, message).into());
        }
        let transaction = self.transaction()?;
        transaction.execute("DELETE FROM messages WHERE queue = ?1", [&queue.name])?;
        transaction.execute("UPDATE queues SET purged_at = ?2 WHERE name = ?1", params![queue.name, now()])?;
        Ok(transaction.commit()?)
    }

    /// Counts the messages that are visible, in flight, and delayed.
    pub(super) fn counts(&self, queue: &str) -> Result<(i64, i64, i64)> {
        let select = "SELECT COALESCE(SUM(visible_at <= ?2), 0), COALESCE(SUM(visible_at > ?2 AND receives > 0), 0), \
                      COALESCE(SUM(visible_at > ?2 AND receives = 0), 0) FROM messages WHERE queue = ?1";
        let row = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
        Ok(self.connection.prepare_cached(select)?.query_row(params![queue, now()], row)?)
    }

    /// Stores a message and returns its id. `delay` is in seconds.
    pub(super) fn send(
        &mut self,
        queue: &str,
        body: &str,
        attributes: &MessageAttributes,
        group: &str,
        delay: i64,
    ) -> Result<String> {
        let (id, now) = (uuid()?, now());
        let insert = "INSERT INTO messages (id, queue, body, attributes, message_group, sent_at, visible_at) \
                      VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        let mut insert = self.connection.prepare_cached(insert)?;
        insert.execute(params![id, queue, body, json(attributes), group, now, now + delay * 1000])?;
        Ok(id)
    }

    /// Receives up to `max` messages and hides them for `visibility` seconds. A message that reached the redrive
    /// policy's limit is moved to the dead-letter queue instead.
    pub(super) fn receive(&mut self, queue: &Queue, max: i64, visibility: i64) -> Result<Vec<Message>> {
        let now = now();
        let policy = RedrivePolicy::of(&queue.attributes);
        // A policy whose target does not exist moves nothing.
        let policy = match policy {
            Some(policy) if self.find(name_of(&policy.target_arn))?.is_some() => Some(policy),
            _ => None,
        };
        let mut messages = Vec::new();
        let mut transaction: Option<Transaction<'_>> = None;
        while i64::try_from(messages.len()).unwrap_or(max) < max {
            let connection: &Connection = transaction.as_deref().unwrap_or(&self.connection);
            let mut select = connection.prepare_cached(FIRST_OF_GROUPS)?;
            let first = |row: &Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, Option<i64>>(1)?));
            let groups = select.query_map(params![queue.name, now], first)?.collect::<rusqlite::Result<Vec<_>>>()?;
            drop(select);
            // The least recently served group comes first: a fair queue of AWS serves quiet groups first.
            let groups = groups.into_iter().filter_map(|(group, seq)| Some(((queue.name.clone(), group), seq?)));
            let next = groups.min_by_key(|(group, seq)| (self.served.get(group).copied().unwrap_or_default(), *seq));
            let Some((group, seq)) = next else { break };
            self.receives += 1;
            self.served.insert(group, self.receives);
            let select = "SELECT id, body, attributes, sent_at, receives, first_received_at, source, message_group \
                          FROM messages WHERE seq = ?1";
            let mut message = connection.prepare_cached(select)?.query_row([seq], message_of)?;
            if transaction.is_none() {
                // Begins only now, so that polling an empty queue does not lock the database for writing.
                transaction = Some(Transaction::new_unchecked(&self.connection, TransactionBehavior::Immediate)?);
            }
            let connection: &Connection = transaction.as_deref().unwrap_or(&self.connection);
            if let Some(policy) = policy.as_ref().filter(|policy| message.receives >= policy.max_receives) {
                let update = "UPDATE messages SET queue = :target, source = :source, receives = 0, \
                              first_received_at = NULL, handle = NULL, visible_at = :now WHERE id = :id";
                let target = name_of(&policy.target_arn);
                let source = arn(&queue.name);
                let mut update = connection.prepare_cached(update)?;
                update.execute(named_params! {":target": target, ":source": source, ":now": now, ":id": message.id})?;
                continue;
            }
            message.receives += 1;
            if message.first_received_at == 0 {
                message.first_received_at = now;
            }
            message.handle = format!("{}:{}:{}", queue.name, message.id, Nonce::random().map_err(no_random)?);
            let update = "UPDATE messages SET receives = :receives, first_received_at = :first, handle = :handle, \
                          visible_at = :until, taken = 1 WHERE id = :id";
            let mut update = connection.prepare_cached(update)?;
            // One call must not receive a message twice, even with a visibility timeout of 0.
            let until = now + (visibility * 1000).max(1);
            update.execute(named_params! {
                ":receives": message.receives, ":first": message.first_received_at, ":handle": message.handle,
                ":until": until, ":id": message.id,
            })?;
            messages.push(message);
        }
        if let Some(transaction) = transaction {
            transaction.commit()?;
        }
        Ok(messages)
    }

    /// Returns when the next message becomes visible; `None` if the queue is empty.
    pub(super) fn next_visible(&self, queue: &str) -> Result<Option<i64>> {
        let select = "SELECT MIN(visible_at) FROM messages WHERE queue = ?1";
        Ok(self.connection.prepare_cached(select)?.query_row([queue], |row| row.get(0))?)
    }

    /// Deletes a message by its receipt handle. A superseded handle deletes nothing, without an error.
    pub(super) fn delete(&mut self, queue: &str, handle: &str) -> Result<()> {
        let id = message_id_of(queue, handle)?;
        let mut delete = self.connection.prepare_cached("DELETE FROM messages WHERE id = ?1 AND handle = ?2")?;
        delete.execute([id, handle])?;
        Ok(())
    }

    /// Sets the visibility timeout of a message in flight to `seconds` from now.
    pub(super) fn change_visibility(&mut self, queue: &str, handle: &str, seconds: i64) -> Result<()> {
        let (id, now) = (message_id_of(queue, handle)?, now());
        let update = "UPDATE messages SET visible_at = ?3, taken = 0 WHERE id = ?1 AND handle = ?2 AND visible_at > ?4";
        let mut update = self.connection.prepare_cached(update)?;
        if update.execute(params![id, handle, now + seconds * 1000, now])? == 0 {
            let message = "The message is not in flight: its visibility timeout has ended, or it was deleted.";
            return Err(SqsError::new(Kind::MESSAGE_NOT_INFLIGHT, message).into());
        }
        Ok(())
    }

    /// Returns the queues whose redrive policies name this queue.
    pub(super) fn sources(&self, queue: &str) -> Result<Vec<Queue>> {
        let targets_queue = |source: &Queue| {
            RedrivePolicy::of(&source.attributes).is_some_and(|policy| policy.target_arn == arn(queue))
        };
        Ok(self.queues("")?.into_iter().filter(targets_queue).collect())
    }
}

fn queue_of(row: &Row<'_>) -> rusqlite::Result<Queue> {
    Ok(Queue {
        name: row.get(0)?,
        attributes: read(row, 1)?,
        tags: read(row, 2)?,
        created_at: row.get(3)?,
        modified_at: row.get(4)?,
        purged_at: row.get(5)?,
    })
}

fn message_of(row: &Row<'_>) -> rusqlite::Result<Message> {
    Ok(Message {
        id: row.get(0)?,
        body: row.get(1)?,
        attributes: read(row, 2)?,
        sent_at: row.get(3)?,
        receives: row.get(4)?,
        first_received_at: row.get::<_, Option<i64>>(5)?.unwrap_or_default(),
        source: row.get(6)?,
        group: row.get(7)?,
        handle: String::new(),
    })
}

fn json(value: &impl serde::Serialize) -> String {
    // Maps with string keys always serialize.
    serde_json::to_string(value).unwrap_or_default()
}

fn read<T: serde::de::DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    let invalid =
        |error| rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error));
    serde_json::from_str(&text).map_err(invalid)
}

/// Returns a random UUID (version 4).
pub(super) fn uuid() -> Result<String> {
    let bytes = *Nonce::random().map_err(no_random)?.as_bytes();
    Ok(uuid::Builder::from_random_bytes(bytes).into_uuid().to_string())
}

fn no_random(error: impl std::fmt::Display) -> Failure {
    Failure::Random(error.to_string())
}
