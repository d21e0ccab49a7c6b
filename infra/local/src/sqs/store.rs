//! Queues and messages in SQLite: the one place that knows their state.
//!
//! Every change is committed before it is answered, so that what was acknowledged survives a `kill -9`. Times are in
//! milliseconds since 1970.

mod moves;

use std::path::Path;

use gatehouse_inbox::{Clock, Nonce};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, named_params, params};

use super::arn;
use super::attributes::{self, Attributes, RedrivePolicy};
use super::digest::MessageAttributes;
use super::error::{Kind, SqsError};
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
        handle TEXT,              -- the latest receipt handle: no other deletes
        taken INTEGER NOT NULL DEFAULT 0,  -- hidden because someone is taking it, rather than because someone asked
        source TEXT               -- the ARN of the queue whose redrive policy moved it here
    );
    CREATE INDEX IF NOT EXISTS by_visibility ON messages (queue, visible_at, seq);
    CREATE TABLE IF NOT EXISTS tasks (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        source TEXT NOT NULL,     -- a queue's name, as the destination is
        destination TEXT,         -- none: every message goes back where it came from
        rate INTEGER,             -- messages a second; none: as fast as it goes
        status TEXT NOT NULL,
        moved INTEGER NOT NULL DEFAULT 0,
        to_move INTEGER NOT NULL, -- what was visible at the start
        failure TEXT,
        started_at INTEGER NOT NULL
    );
    DROP TABLE IF EXISTS moves;   -- an older version's, and all of them over
";

pub(super) type Result<T> = std::result::Result<T, SqsError>;

#[derive(Debug)]
pub(super) struct Store {
    connection: Connection,
}

#[derive(Debug, Clone)]
pub(super) struct Queue {
    pub(super) name: String,
    pub(super) attributes: Attributes,
    pub(super) tags: Attributes,
    pub(super) created_at: i64,
    pub(super) modified_at: i64,
    purged_at: i64,
}

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
}

pub(super) fn now() -> i64 {
    Clock::System.now().as_millis()
}

fn name_of(arn: &str) -> &str {
    arn.rsplit(':').next().unwrap_or_default()
}

impl Store {
    /// Opens the file, or a store that ends with the process. What was being taken when the last process ended is visible
    /// again, and what is older than its queue's retention period is gone.
    pub(super) fn open(path: Option<&Path>) -> std::result::Result<Self, Error> {
        let connection = match path {
            Some(path) => Connection::open(path)?,
            None => Connection::open_in_memory()?,
        };
        connection.execute_batch(SCHEMA)?;
        connection.execute("UPDATE messages SET visible_at = 0, taken = 0 WHERE taken", [])?;
        let store = Store { connection };
        for queue in store.queues("")? {
            let oldest = now() - attributes::number(&queue.attributes, "MessageRetentionPeriod") * 1000;
            let delete = "DELETE FROM messages WHERE queue = ?1 AND sent_at < ?2";
            store.connection.execute(delete, params![queue.name, oldest])?;
        }
        Ok(store)
    }

    fn change(&mut self) -> Result<Transaction<'_>> {
        Ok(self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?)
    }

    pub(super) fn find(&self, name: &str) -> Result<Option<Queue>> {
        let select = "SELECT name, attributes, tags, created_at, modified_at, purged_at FROM queues WHERE name = ?1";
        Ok(self.connection.prepare_cached(select)?.query_row([name], queue).optional()?)
    }

    /// The queue a request names by URL, ARN or name.
    pub(super) fn queue(&self, name: &str) -> Result<Queue> {
        self.find(name)?.ok_or_else(|| {
            SqsError::new(Kind::QueueDoesNotExist, format!("The specified queue does not exist: {name:?}."))
        })
    }

    pub(super) fn queues(&self, prefix: &str) -> Result<Vec<Queue>> {
        let select = "SELECT name, attributes, tags, created_at, modified_at, purged_at FROM queues ORDER BY name";
        let mut select = self.connection.prepare_cached(select)?;
        let queues = select.query_map([], queue)?.collect::<rusqlite::Result<Vec<_>>>()?;
        Ok(queues.into_iter().filter(|queue| queue.name.starts_with(prefix)).collect())
    }

    pub(super) fn create(&mut self, name: &str, given: &Attributes, tags: &Attributes) -> Result<()> {
        if let Some(queue) = self.find(name)? {
            let has = attributes::whole(&queue.attributes);
            return match given.iter().find(|(name, value)| has.get(*name) != Some(value)) {
                None => Ok(()),
                Some((attribute, _)) => Err(SqsError::new(
                    Kind::QueueNameExists,
                    format!(
                        "A queue already exists with the same name and a different value for attribute {attribute}"
                    ),
                )),
            };
        }
        let insert = "INSERT INTO queues (name, attributes, tags, created_at, modified_at) VALUES (?1, ?2, ?3, ?4, ?4)";
        self.connection.execute(insert, params![name, json(given), json(tags), now()])?;
        Ok(())
    }

    /// Replaces attributes and tags.
    pub(super) fn set(&mut self, name: &str, attributes: &Attributes, tags: &Attributes) -> Result<()> {
        let update = "UPDATE queues SET attributes = ?2, tags = ?3, modified_at = ?4 WHERE name = ?1";
        self.connection.execute(update, params![name, json(attributes), json(tags), now()])?;
        Ok(())
    }

    pub(super) fn delete_queue(&mut self, name: &str) -> Result<()> {
        let change = self.change()?;
        change.execute("DELETE FROM messages WHERE queue = ?1", [name])?;
        change.execute("DELETE FROM queues WHERE name = ?1", [name])?;
        Ok(change.commit()?)
    }

    pub(super) fn purge(&mut self, queue: &Queue) -> Result<()> {
        if now() - queue.purged_at < 60_000 {
            let message = format!("Only one PurgeQueue operation on {} is allowed every 60 seconds.", queue.name);
            return Err(SqsError::new(Kind::PurgeQueueInProgress, message));
        }
        let change = self.change()?;
        change.execute("DELETE FROM messages WHERE queue = ?1", [&queue.name])?;
        change.execute("UPDATE queues SET purged_at = ?2 WHERE name = ?1", params![queue.name, now()])?;
        Ok(change.commit()?)
    }

    /// How many messages are visible, taken or hidden, and delayed.
    pub(super) fn counts(&self, queue: &str) -> Result<(i64, i64, i64)> {
        let select = "SELECT COALESCE(SUM(visible_at <= ?2), 0), COALESCE(SUM(visible_at > ?2 AND receives > 0), 0), \
                      COALESCE(SUM(visible_at > ?2 AND receives = 0), 0) FROM messages WHERE queue = ?1";
        let row = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
        Ok(self.connection.prepare_cached(select)?.query_row(params![queue, now()], row)?)
    }

    /// The new message's id.
    pub(super) fn send(
        &mut self,
        queue: &str,
        body: &str,
        attributes: &MessageAttributes,
        delay: i64,
    ) -> Result<String> {
        let (id, now) = (uuid()?, now());
        let insert =
            "INSERT INTO messages (id, queue, body, attributes, sent_at, visible_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let mut insert = self.connection.prepare_cached(insert)?;
        insert.execute(params![id, queue, body, json(attributes), now, now + delay * 1000])?;
        Ok(id)
    }

    /// Up to `max` messages, hidden for `visibility` seconds from now on. Those that the redrive policy takes away move
    /// instead.
    pub(super) fn receive(&mut self, queue: &Queue, max: i64, visibility: i64) -> Result<Vec<Message>> {
        let now = now();
        let policy = RedrivePolicy::of(&queue.attributes);
        // Without its target a policy moves nothing.
        let policy = match policy {
            Some(policy) if self.find(name_of(&policy.target_arn))?.is_some() => Some(policy),
            _ => None,
        };
        let mut messages = Vec::new();
        let mut change: Option<Transaction<'_>> = None;
        while i64::try_from(messages.len()).unwrap_or(max) < max {
            let connection: &Connection = change.as_deref().unwrap_or(&self.connection);
            let select = "SELECT id, body, attributes, sent_at, receives, first_received_at, source FROM messages \
                          WHERE queue = ?1 AND visible_at <= ?2 ORDER BY visible_at, seq LIMIT 1";
            let found = connection.prepare_cached(select)?.query_row(params![queue.name, now], message).optional()?;
            let Some(mut message) = found else { break };
            if change.is_none() {
                // Nothing is written, not even an empty change, where there is nothing to receive.
                change = Some(Transaction::new_unchecked(&self.connection, TransactionBehavior::Immediate)?);
            }
            let connection: &Connection = change.as_deref().unwrap_or(&self.connection);
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
            // A message that stays visible must not be received twice by one call.
            let until = now + (visibility * 1000).max(1);
            update.execute(named_params! {
                ":receives": message.receives, ":first": message.first_received_at, ":handle": message.handle,
                ":until": until, ":id": message.id,
            })?;
            messages.push(message);
        }
        if let Some(change) = change {
            change.commit()?;
        }
        Ok(messages)
    }

    /// When the next hidden message shows again.
    pub(super) fn next_visible(&self, queue: &str) -> Result<Option<i64>> {
        let select = "SELECT MIN(visible_at) FROM messages WHERE queue = ?1";
        Ok(self.connection.prepare_cached(select)?.query_row([queue], |row| row.get(0))?)
    }

    /// Deletes by a receipt handle. One that has been superseded deletes nothing, and is no error.
    pub(super) fn delete(&mut self, queue: &str, handle: &str) -> Result<()> {
        let id = id_of(queue, handle)?;
        let mut delete = self.connection.prepare_cached("DELETE FROM messages WHERE id = ?1 AND handle = ?2")?;
        delete.execute([id, handle])?;
        Ok(())
    }

    /// Hides a message that is being taken for so many seconds from now.
    pub(super) fn hide(&mut self, queue: &str, handle: &str, seconds: i64) -> Result<()> {
        let (id, now) = (id_of(queue, handle)?, now());
        let update = "UPDATE messages SET visible_at = ?3, taken = 0 WHERE id = ?1 AND handle = ?2 AND visible_at > ?4";
        let mut update = self.connection.prepare_cached(update)?;
        if update.execute(params![id, handle, now + seconds * 1000, now])? == 0 {
            let message = "The message is not in flight: its visibility timeout has ended, or it was deleted.";
            return Err(SqsError::new(Kind::MessageNotInflight, message));
        }
        Ok(())
    }

    /// Whether some queue's redrive policy points here.
    pub(super) fn sources(&self, queue: &str) -> Result<Vec<Queue>> {
        let points_here = |source: &Queue| {
            RedrivePolicy::of(&source.attributes).is_some_and(|policy| policy.target_arn == arn(queue))
        };
        Ok(self.queues("")?.into_iter().filter(points_here).collect())
    }
}

fn queue(row: &Row<'_>) -> rusqlite::Result<Queue> {
    Ok(Queue {
        name: row.get(0)?,
        attributes: read(row, 1)?,
        tags: read(row, 2)?,
        created_at: row.get(3)?,
        modified_at: row.get(4)?,
        purged_at: row.get(5)?,
    })
}

fn message(row: &Row<'_>) -> rusqlite::Result<Message> {
    Ok(Message {
        id: row.get(0)?,
        body: row.get(1)?,
        attributes: read(row, 2)?,
        sent_at: row.get(3)?,
        receives: row.get(4)?,
        first_received_at: row.get::<_, Option<i64>>(5)?.unwrap_or_default(),
        source: row.get(6)?,
        handle: String::new(),
    })
}

fn json(value: &impl serde::Serialize) -> String {
    // Maps from text to text, or to plain structs: they have a JSON form.
    serde_json::to_string(value).unwrap_or_default()
}

fn read<T: serde::de::DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    let wrong = |error| rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error));
    serde_json::from_str(&text).map_err(wrong)
}

/// The message a receipt handle belongs to: `<queue>:<message id>:<nonce>`.
fn id_of<'h>(queue: &str, handle: &'h str) -> Result<&'h str> {
    let mut parts = handle.split(':');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(of), Some(id), Some(_), None) if of == queue => Ok(id),
        _ => Err(SqsError::new(Kind::ReceiptHandleIsInvalid, "The input receipt handle is not one of this queue.")),
    }
}

/// A random UUID (version 4).
pub(super) fn uuid() -> Result<String> {
    let mut bytes = *Nonce::random().map_err(no_random)?.as_bytes();
    bytes[6] = (bytes[6] & 0x0F) | 0x40;
    bytes[8] = (bytes[8] & 0x3F) | 0x80;
    let hex = data_encoding::HEXLOWER.encode(&bytes);
    Ok(format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]))
}

fn no_random(error: impl std::fmt::Display) -> SqsError {
    SqsError::new(Kind::InternalError, format!("no random bytes: {error}"))
}
