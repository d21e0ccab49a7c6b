//! Message move tasks in the store. A task moves its messages in pieces.

use gatehouse_sqs_protocol::error::{Kind, SqsError};
use gatehouse_sqs_protocol::queue::{arn, name_of};
use rusqlite::{OptionalExtension, Row, named_params, params};
use serde::Serialize;

use super::{Result, Store, now, uuid};

// AWS' names of the statuses and of a failure reason.
const RUNNING: &str = "RUNNING";
const COMPLETED: &str = "COMPLETED";
const CANCELLED: &str = "CANCELLED";
const FAILED: &str = "FAILED";
const SOURCE_UNKNOWN: &str = "CouldNotDetermineMessageSource";

/// A task, as `ListMessageMoveTasks` returns it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(in crate::sqs) struct Task {
    /// Set only while the task can be cancelled.
    #[serde(skip_serializing_if = "Option::is_none")]
    task_handle: Option<String>,
    status: String,
    source_arn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    destination_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_number_of_messages_per_second: Option<i64>,
    approximate_number_of_messages_moved: i64,
    approximate_number_of_messages_to_move: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure_reason: Option<String>,
    started_timestamp: i64,
}

impl Store {
    /// Records a task that moves the visible messages of a dead-letter queue to another queue, or back to their source
    /// queues. [`Store::move_piece`] moves them. Returns the task's number.
    pub(in crate::sqs) fn start_task(
        &mut self,
        source_arn: &str,
        destination_arn: Option<&str>,
        rate: Option<i64>,
    ) -> Result<i64> {
        let source = self.queue(name_of(source_arn))?.name;
        if self.sources(&source)?.is_empty() {
            return Err(SqsError::invalid("Source queue must be configured as a Dead Letter Queue.").into());
        }
        let destination = destination_arn.map(|arn| self.queue(name_of(arn))).transpose()?.map(|queue| queue.name);
        if destination.as_ref() == Some(&source) {
            return Err(SqsError::invalid("Source queue and destination queue must not be the same.").into());
        }
        // AWS does not document this error; this is the message that AWS returns.
        if self.exists("SELECT 1 FROM tasks WHERE source = ?1 AND status = ?2", params![source, RUNNING])? {
            return Err(SqsError::invalid(
                "There is already a task running. \
                 Only one active task is allowed for a source queue arn at a given time.",
            )
            .into());
        }
        let now = now();
        let strays = "SELECT 1 FROM messages WHERE queue = ?1 AND visible_at <= ?2 AND source IS NULL";
        if destination.is_none() && self.exists(strays, params![source, now])? {
            return Err(SqsError::invalid(
                "A message was sent to this queue directly, so its source is unknown. Pass a DestinationArn.",
            )
            .into());
        }
        let (to_move, ..) = self.counts(&source)?;
        let insert = "INSERT INTO tasks (source, destination, rate, status, to_move, started_at) \
                      VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        self.connection.execute(insert, params![source, destination, rate, RUNNING, to_move, now])?;
        Ok(self.connection.last_insert_rowid())
    }

    /// Returns the running tasks and their rates.
    pub(in crate::sqs) fn running_tasks(&self) -> Result<Vec<(i64, Option<i64>)>> {
        let mut select = self.connection.prepare("SELECT seq, rate FROM tasks WHERE status = ?1")?;
        let rows = select.query_map([RUNNING], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Moves up to `max` of the messages that were on the queue when the task started, under new ids. Returns whether
    /// the task is still running: it ends when no such message is visible, or one cannot be moved.
    pub(in crate::sqs) fn move_piece(&mut self, task: i64, max: i64) -> Result<bool> {
        let transaction = self.transaction()?;
        let select = "SELECT source, destination, started_at FROM tasks WHERE seq = ?1 AND status = ?2";
        let row = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
        let found = transaction.prepare_cached(select)?.query_row(params![task, RUNNING], row).optional()?;
        let Some((source, destination, started_at)): Option<(String, Option<String>, i64)> = found else {
            return Ok(false);
        };
        let now = now();
        // A moved message gets a new `sent_at`, so one that is dead-lettered again is not moved twice by one task.
        let select = "SELECT seq, source FROM messages WHERE queue = ?1 AND visible_at <= ?2 AND sent_at <= ?3 \
                      ORDER BY visible_at, seq LIMIT ?4";
        let waiting: Vec<(i64, Option<String>)> = transaction
            .prepare_cached(select)?
            // One more than may be moved, to know whether any message is left.
            .query_map(params![source, now, started_at, max + 1], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<rusqlite::Result<_>>()?;
        let (mut moved, mut failure) = (0, None);
        for (seq, origin) in &waiting {
            if moved == max {
                break;
            }
            let Some(to) = destination.as_deref().or(origin.as_deref().map(name_of)) else {
                failure = Some(SOURCE_UNKNOWN);
                break;
            };
            let update = "UPDATE messages SET id = :id, queue = :to, sent_at = :now, visible_at = :now, receives = 0, \
                          first_received_at = NULL, handle = NULL, source = NULL \
                          WHERE seq = :seq AND EXISTS (SELECT 1 FROM queues WHERE name = :to)";
            let mut update = transaction.prepare_cached(update)?;
            if update.execute(named_params! {":id": uuid()?, ":to": to, ":now": now, ":seq": seq})? == 0 {
                failure = Some(Kind::QUEUE_DOES_NOT_EXIST.code());
                break;
            }
            moved += 1;
        }
        let status = match failure {
            Some(_) => FAILED,
            None if i64::try_from(waiting.len()).is_ok_and(|waiting| waiting > moved) => RUNNING,
            None => COMPLETED,
        };
        // A piece that changes nothing writes nothing.
        if moved > 0 || status != RUNNING {
            let update = "UPDATE tasks SET moved = moved + ?2, status = ?3, failure = ?4 WHERE seq = ?1";
            transaction.execute(update, params![task, moved, status, failure])?;
        }
        transaction.commit()?;
        Ok(status == RUNNING)
    }

    /// Cancels a running task and returns how many messages it has moved. The status `CANCELLING` is not used: a piece
    /// holds the store's lock, so none is in progress here.
    pub(in crate::sqs) fn cancel_task(&mut self, handle: &str) -> Result<i64> {
        let update = "UPDATE tasks SET status = ?2 WHERE seq = ?1 AND status = ?3 RETURNING moved";
        let moved = match handle.parse::<i64>() {
            Ok(task) => {
                self.connection.query_row(update, params![task, CANCELLED, RUNNING], |row| row.get(0)).optional()?
            }
            Err(_) => None,
        };
        moved.ok_or_else(|| SqsError::new(Kind::RESOURCE_NOT_FOUND, "The task does not exist or has ended.").into())
    }

    /// Returns the latest tasks of a queue, newest first.
    pub(in crate::sqs) fn tasks(&self, source_arn: &str, max: i64) -> Result<Vec<Task>> {
        let select = "SELECT seq, status, source, destination, rate, moved, to_move, failure, started_at FROM tasks \
                      WHERE source = ?1 ORDER BY seq DESC LIMIT ?2";
        let mut select = self.connection.prepare_cached(select)?;
        let tasks = select.query_map(params![name_of(source_arn), max], task_of)?;
        Ok(tasks.collect::<rusqlite::Result<_>>()?)
    }

    /// Whether a query returns any row.
    fn exists(&self, select: &str, params: impl rusqlite::Params) -> Result<bool> {
        Ok(self.connection.prepare_cached(select)?.exists(params)?)
    }
}

fn task_of(row: &Row<'_>) -> rusqlite::Result<Task> {
    let (handle, status): (i64, String) = (row.get(0)?, row.get(1)?);
    Ok(Task {
        task_handle: (status == RUNNING).then(|| handle.to_string()),
        status,
        source_arn: arn(&row.get::<_, String>(2)?),
        destination_arn: row.get::<_, Option<String>>(3)?.as_deref().map(arn),
        max_number_of_messages_per_second: row.get(4)?,
        approximate_number_of_messages_moved: row.get(5)?,
        approximate_number_of_messages_to_move: row.get(6)?,
        failure_reason: row.get(7)?,
        started_timestamp: row.get(8)?,
    })
}
