//! Doorbells: messages that name a lane in which deliveries wait. They contain no event, so that a doorbell may be
//! lost, late or repeated. They are on the delivery queue, or on the slow delivery queue, which has those for slow
//! destinations.

use aws_config::SdkConfig;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::SendMessageBatchRequestEntry;
use gatehouse_inbox::queue::{CALL_LIMIT, QueueError};
use gatehouse_runtime::aws::{CallLimits, error_code};
use serde::{Deserialize, Serialize};

use crate::lane::Lane;

/// The number of messages that one request sends.
const BATCH: usize = 10;

/// A message that names a lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doorbell {
    /// The lane.
    pub lane: Lane,
    /// Whether the position of the lane is ignored.
    pub is_whole: bool,
    /// Whether it is on the slow delivery queue.
    pub is_slow: bool,
}

/// The JSON of a message.
#[derive(Serialize, Deserialize)]
struct Body {
    lane: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    whole: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    slow: bool,
}

impl Doorbell {
    /// Reads a message's body. `None` if it is not a doorbell.
    #[must_use]
    pub fn read(body: &str) -> Option<Doorbell> {
        let Body { lane, whole, slow } = serde_json::from_str(body).ok()?;
        Some(Doorbell { lane: lane.parse().ok()?, is_whole: whole, is_slow: slow })
    }
}

/// Rings the doorbells of a queue.
#[derive(Debug, Clone)]
pub struct Doorbells {
    client: Client,
    queue: String,
    is_slow: bool,
}

impl Doorbells {
    /// Creates a client of the delivery queue at the URL `queue`.
    #[must_use]
    pub fn new(sdk: &SdkConfig, queue: &str) -> Self {
        let limits = CallLimits::within(CALL_LIMIT);
        let config =
            aws_sdk_sqs::config::Builder::from(sdk).timeout_config(limits.timeouts()).retry_config(limits.retries());
        Doorbells { client: Client::from_conf(config.build()), queue: queue.to_owned(), is_slow: false }
    }

    /// Creates a client of the slow delivery queue at the URL `queue`.
    #[must_use]
    pub fn of_slow(sdk: &SdkConfig, queue: &str) -> Self {
        Doorbells { is_slow: true, ..Doorbells::new(sdk, queue) }
    }

    /// Returns the queue's URL.
    #[must_use]
    pub fn queue(&self) -> &str {
        &self.queue
    }

    /// Rings for each lane. `is_whole` ignores the positions of the lanes. `is_fair` ensures that a destination with
    /// many messages does not delay others; SQS charges more for that. Returns the lanes for which SQS did not accept a
    /// message, with its error code.
    pub async fn ring(&self, lanes: &[Lane], is_whole: bool, is_fair: bool) -> Vec<(Lane, QueueError)> {
        let mut failed = Vec::new();
        for batch in lanes.chunks(BATCH) {
            match self.send(batch, is_whole, is_fair).await {
                Ok(refused) => failed.extend(refused),
                Err(error) => failed.extend(batch.iter().map(|lane| (lane.clone(), error.clone()))),
            }
        }
        failed
    }

    async fn send(&self, batch: &[Lane], whole: bool, is_fair: bool) -> Result<Vec<(Lane, QueueError)>, QueueError> {
        let failure = |code: &str| QueueError::Failed { operation: "SendMessageBatch", code: code.to_owned() };
        let mut entries = Vec::new();
        for (n, lane) in batch.iter().enumerate() {
            let body = Body { lane: lane.to_string(), whole, slow: self.is_slow };
            let body = serde_json::to_string(&body).map_err(|_| failure("encode"))?;
            let group = is_fair.then(|| lane.destination().to_owned());
            let entry = SendMessageBatchRequestEntry::builder().id(n.to_string()).message_body(body);
            entries.push(entry.set_message_group_id(group).build().map_err(|_| failure("build"))?);
        }
        let send = self.client.send_message_batch().queue_url(&self.queue).set_entries(Some(entries));
        let response = send.send().await.map_err(|error| failure(error_code(&error)))?;
        let refused = response.failed.into_iter().filter_map(|entry| {
            let lane = batch.get(entry.id.parse::<usize>().ok()?)?.clone();
            Some((lane, failure(&entry.code)))
        });
        Ok(refused.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_earlier_releases_are_on_the_delivery_queue() {
        let lane = format!("crm/s-{}", "0".repeat(64));
        let read = |members: &str| Doorbell::read(&format!(r#"{{"lane":"{lane}"{members}}}"#));
        for (members, is_whole, is_slow) in
            [("", false, false), (r#","whole":true"#, true, false), (r#","slow":true"#, false, true)]
        {
            assert_eq!(read(members), Some(Doorbell { lane: lane.parse().unwrap(), is_whole, is_slow }));
        }
        assert_eq!(Doorbell::read(r#"{"lane":"crm"}"#), None);
    }
}
