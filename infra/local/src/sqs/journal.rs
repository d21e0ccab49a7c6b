//! What the queues hold, in a SQLite file: the engine itself keeps everything in memory.
//!
//! A change is committed here before it is answered, so that what was acknowledged survives a `kill -9`.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, params};
use rustack_sqs_core::provider::SqsSnapshot;
use rustack_sqs_model::input::SendMessageInput;

use crate::Error;

const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    CREATE TABLE IF NOT EXISTS queues (snapshot TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS messages (
        id TEXT PRIMARY KEY,
        queue TEXT NOT NULL,
        input TEXT NOT NULL,
        sent_at INTEGER NOT NULL,
        receives INTEGER NOT NULL DEFAULT 0,
        hidden_until INTEGER NOT NULL DEFAULT 0
    );
    CREATE INDEX IF NOT EXISTS by_sent_at ON messages (sent_at);
";

/// The file. Times are in milliseconds since 1970.
#[derive(Debug)]
pub(super) struct Journal {
    connection: Connection,
}

/// A message as it was kept.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) id: String,
    /// The queue's name.
    pub(super) queue: String,
    pub(super) input: SendMessageInput,
    pub(super) sent_at: i64,
    pub(super) hidden_until: i64,
}

impl Journal {
    /// Opens the file, or a journal that ends with the process.
    pub(super) fn open(path: Option<&Path>) -> Result<Self, Error> {
        let connection = match path {
            Some(path) => Connection::open(path)?,
            None => Connection::open_in_memory()?,
        };
        connection.execute_batch(SCHEMA)?;
        Ok(Journal { connection })
    }

    pub(super) fn queues(&self) -> Result<SqsSnapshot, Error> {
        let select = "SELECT snapshot FROM queues";
        let snapshot: Option<String> = self.connection.query_row(select, [], |row| row.get(0)).optional()?;
        Ok(snapshot.map_or_else(|| Ok(SqsSnapshot::default()), |snapshot| serde_json::from_str(&snapshot))?)
    }

    /// Keeps the queues, and of the messages those whose queue there still is.
    pub(super) fn set_queues(&mut self, snapshot: &SqsSnapshot) -> Result<(), Error> {
        let names: Vec<&str> = snapshot.queues.iter().map(|queue| queue.name.as_str()).collect();
        let change = self.connection.transaction()?;
        change.execute("DELETE FROM queues", [])?;
        change.execute("INSERT INTO queues (snapshot) VALUES (?1)", [serde_json::to_string(snapshot)?])?;
        let names = serde_json::to_string(&names)?;
        change.execute("DELETE FROM messages WHERE queue NOT IN (SELECT value FROM json_each(?1))", [names])?;
        Ok(change.commit()?)
    }

    /// All messages, in the order they were sent.
    pub(super) fn messages(&self) -> Result<Vec<Kept>, Error> {
        let select = "SELECT id, queue, input, sent_at, hidden_until FROM messages ORDER BY sent_at, rowid";
        let mut select = self.connection.prepare(select)?;
        let mut rows = select.query([])?;
        let mut messages = Vec::new();
        while let Some(row) = rows.next()? {
            let input: String = row.get(2)?;
            messages.push(Kept {
                id: row.get(0)?,
                queue: row.get(1)?,
                input: serde_json::from_str(&input)?,
                sent_at: row.get(3)?,
                hidden_until: row.get(4)?,
            });
        }
        Ok(messages)
    }

    pub(super) fn sent(&self, id: &str, queue: &str, input: &SendMessageInput, at: i64) -> Result<(), Error> {
        let until = at + i64::from(input.delay_seconds.unwrap_or_default()) * 1000;
        let insert = "INSERT INTO messages (id, queue, input, sent_at, hidden_until) VALUES (?1, ?2, ?3, ?4, ?5)";
        let mut insert = self.connection.prepare_cached(insert)?;
        insert.execute(params![id, queue, serde_json::to_string(input)?, at, until])?;
        Ok(())
    }

    /// Counts a receive: how many there are now. A message that shows up in another queue was moved there by the redrive
    /// policy, and its count begins anew. `None` when it has been deleted meanwhile.
    pub(super) fn received(&self, id: &str, queue: &str) -> Result<Option<u32>, Error> {
        let update = "UPDATE messages SET receives = CASE queue WHEN ?2 THEN receives + 1 ELSE 1 END, queue = ?2, \
                      hidden_until = 0 WHERE id = ?1 RETURNING receives";
        let mut update = self.connection.prepare_cached(update)?;
        Ok(update.query_row([id, queue], |row| row.get(0)).optional()?)
    }

    pub(super) fn hidden(&self, id: &str, until: i64) -> Result<(), Error> {
        let mut update = self.connection.prepare_cached("UPDATE messages SET hidden_until = ?2 WHERE id = ?1")?;
        update.execute(params![id, until])?;
        Ok(())
    }

    pub(super) fn deleted(&self, id: &str) -> Result<(), Error> {
        self.connection.prepare_cached("DELETE FROM messages WHERE id = ?1")?.execute([id])?;
        Ok(())
    }

    pub(super) fn purged(&self, queue: &str) -> Result<(), Error> {
        self.connection.execute("DELETE FROM messages WHERE queue = ?1", [queue])?;
        Ok(())
    }
}
