//! Starts, lists, cancels and runs message move tasks.

use gatehouse_sqs_protocol::error::{Kind, Result, SqsError};
use gatehouse_sqs_protocol::queue::{arn, name_of};
use gatehouse_sqs_protocol::request::{CancelMove, ListMoves, StartMove, in_range, read};
use serde_json::{Value, json};

use super::message::uuid;
use super::{Sqs, SqsEvent};

/// Interval at which a task moves a tenth of its rate. In milliseconds.
const TICK: i64 = 100;
/// The rate of a task without a rate: the maximum. In messages per second.
const MAX_RATE: i64 = 500;

// AWS' names of the statuses and of a failure reason.
const RUNNING: &str = "RUNNING";
const COMPLETED: &str = "COMPLETED";
const CANCELLED: &str = "CANCELLED";
const FAILED: &str = "FAILED";
const SOURCE_UNKNOWN: &str = "CouldNotDetermineMessageSource";

/// A message move task. Its handle is its position in the list of tasks, counted from 1.
#[derive(Debug, Clone)]
pub(super) struct Task {
    /// The name of a queue.
    source: String,
    /// The name of a queue; `None` if every message returns to its source queue.
    destination: Option<String>,
    /// Messages per second.
    rate: Option<i64>,
    status: &'static str,
    moved: usize,
    /// Number of visible messages at the start.
    to_move: usize,
    failure: Option<&'static str>,
    started_at: i64,
    /// When the task moves its next messages.
    next_at: i64,
    /// What earlier ticks left over, because a tick moves whole messages only. In tenths of a message.
    left_over: i64,
}

impl Sqs {
    /// `StartMessageMoveTask`: starts a task that moves the visible messages of a dead-letter queue to another queue,
    /// or back to their source queues.
    pub(super) fn start_move(&mut self, request: &Value, now: i64) -> Result<Value> {
        let StartMove { source_arn, destination_arn, max_number_of_messages_per_second: rate } = read(request)?;
        let rate = in_range(rate, "MaxNumberOfMessagesPerSecond", 1, MAX_RATE)?;
        let source = name_of(&source_arn).to_owned();
        let queue = self.queue(&source)?;
        if self.sources(&source).next().is_none() {
            return Err(SqsError::invalid("Source queue must be configured as a Dead Letter Queue."));
        }
        let destination = destination_arn.as_deref().map(|arn| name_of(arn).to_owned());
        if let Some(destination) = &destination {
            self.queue(destination)?;
        }
        if destination.as_ref() == Some(&source) {
            return Err(SqsError::invalid("Source queue and destination queue must not be the same."));
        }
        // AWS does not document this error; this is the message that AWS returns.
        if self.tasks.iter().any(|task| task.source == source && task.status == RUNNING) {
            return Err(SqsError::invalid(
                "There is already a task running. \
                 Only one active task is allowed for a source queue arn at a given time.",
            ));
        }
        let stray = queue.messages.values().any(|message| message.visible_at <= now && message.source_arn.is_none());
        if destination.is_none() && stray {
            return Err(SqsError::invalid(
                "A message was sent to this queue directly, so its source is unknown. Pass a DestinationArn.",
            ));
        }
        let to_move = queue.counts(now).visible;
        self.tasks.push(Task {
            source,
            destination,
            rate,
            status: RUNNING,
            moved: 0,
            to_move,
            failure: None,
            started_at: now,
            next_at: now + TICK,
            left_over: 0,
        });
        Ok(json!({"TaskHandle": self.tasks.len().to_string()}))
    }

    /// `ListMessageMoveTasks`: returns the latest tasks of a queue, newest first.
    pub(super) fn list_moves(&self, request: &Value) -> Result<Value> {
        let ListMoves { source_arn, max_results } = read(request)?;
        let max = in_range(max_results, "MaxResults", 1, 10)?.unwrap_or(1);
        let source = name_of(&source_arn);
        let tasks = self.tasks.iter().enumerate().rev().filter(|(_, task)| task.source == source);
        let results = tasks.take(usize::try_from(max).unwrap_or(1)).map(|(index, task)| task.to_json(index + 1));
        Ok(json!({"Results": results.collect::<Vec<_>>()}))
    }

    /// `CancelMessageMoveTask`: stops a running task. Messages that were moved stay moved.
    pub(super) fn cancel_move(&mut self, request: &Value) -> Result<Value> {
        let CancelMove { task_handle } = read(request)?;
        let index = task_handle.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
        let task = index.and_then(|index| self.tasks.get_mut(index)).filter(|task| task.status == RUNNING);
        let Some(task) = task else {
            return Err(SqsError::new(Kind::RESOURCE_NOT_FOUND, "The task does not exist or has ended."));
        };
        task.status = CANCELLED;
        Ok(json!({"ApproximateNumberOfMessagesMoved": task.moved}))
    }

    /// Returns when a task moves messages next, and the task's index.
    pub(super) fn next_piece(&self) -> Option<(i64, usize)> {
        let running = self.tasks.iter().enumerate().filter(|(_, task)| task.status == RUNNING);
        running.map(|(index, task)| (task.next_at, index)).min()
    }

    /// Moves the messages of a task that are due, under new ids. Only those move that were on the queue when the task
    /// started. The task ends when no such message is visible, or one cannot be moved.
    pub(super) fn move_piece(&mut self, index: usize, now: i64) {
        let Some(task) = self.tasks.get_mut(index) else { return };
        let due = task.left_over + task.rate.unwrap_or(MAX_RATE);
        let max = usize::try_from(due / 10).unwrap_or_default();
        task.left_over = due % 10;
        task.next_at += TICK;
        let (source, destination, started_at) = (task.source.clone(), task.destination.clone(), task.started_at);
        // A moved message gets a new `sent_at`, so one that is dead-lettered again is not moved twice by one task.
        let mut waiting = self.queues.get(&source).map_or_else(Vec::new, |queue| {
            let is_older = |number: &u64| queue.messages.get(number).is_some_and(|m| m.sent_at <= started_at);
            queue.visible(now).into_iter().filter(is_older).collect()
        });
        let remain = waiting.len() > max;
        waiting.truncate(max);
        let mut failure = None;
        for number in waiting {
            if let Err(reason) = self.move_message(&source, destination.as_deref(), number, now) {
                failure = Some(reason);
                break;
            }
            self.tasks[index].moved += 1;
        }
        let task = &mut self.tasks[index];
        task.failure = failure;
        task.status = match failure {
            Some(_) => FAILED,
            None if remain => RUNNING,
            None => COMPLETED,
        };
    }

    /// Moves a message to a queue, or back to its source queue. Returns the reason if it cannot be moved.
    fn move_message(
        &mut self,
        from: &str,
        destination: Option<&str>,
        number: u64,
        now: i64,
    ) -> std::result::Result<(), &'static str> {
        let message = self.queues.get(from).and_then(|queue| queue.messages.get(&number));
        let origin = message.and_then(|message| message.source_arn.as_deref()).map(name_of);
        let Some(to) = destination.or(origin).map(str::to_owned) else { return Err(SOURCE_UNKNOWN) };
        if !self.queues.contains_key(&to) {
            return Err(Kind::QUEUE_DOES_NOT_EXIST.code());
        }
        let new_id = uuid(self.next_number());
        let Some(mut message) = self.queues.get_mut(from).and_then(|queue| queue.messages.remove(&number)) else {
            return Ok(());
        };
        let old_id = std::mem::replace(&mut message.id, new_id.clone());
        message.reset(now);
        message.sent_at = now;
        message.source_arn = None;
        message.came_back = false;
        if let Some(queue) = self.queues.get_mut(&to) {
            queue.messages.insert(number, message);
        }
        self.events.push(SqsEvent::Moved { from: from.to_owned(), to, old_id, new_id });
        Ok(())
    }
}

impl Task {
    /// Formats a task, as `ListMessageMoveTasks` returns it.
    fn to_json(&self, handle: usize) -> Value {
        let mut task = json!({
            "Status": self.status,
            "SourceArn": arn(&self.source),
            "ApproximateNumberOfMessagesMoved": self.moved,
            "ApproximateNumberOfMessagesToMove": self.to_move,
            "StartedTimestamp": self.started_at,
        });
        let optional = [
            // Set only while the task can be cancelled.
            ("TaskHandle", (self.status == RUNNING).then(|| json!(handle.to_string()))),
            ("DestinationArn", self.destination.as_deref().map(|name| json!(arn(name)))),
            ("MaxNumberOfMessagesPerSecond", self.rate.map(|rate| json!(rate))),
            ("FailureReason", self.failure.map(|reason| json!(reason))),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                task[name] = value;
            }
        }
        task
    }
}
