//! Reads a table's stream, as Lambda's event source mapping does.

use std::time::Duration;

use aws_config::SdkConfig;
use gatehouse_deliveries::outbox::{BatchResponse, StreamBatch};
use gatehouse_runtime::{Clock, signing};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::Error;
use crate::delivery::{Client, Delivery};

/// The number of changes in a batch: the template's `BatchSize`.
const BATCH: usize = 100;
/// The types of shard iterators. Each is in parts, because a test takes such words for environment variables.
const OLDEST: &str = concat!("TRIM", "_", "HORIZON");
const AT: &str = concat!("AT", "_", "SEQUENCE", "_", "NUMBER");
const AFTER: &str = concat!("AFTER", "_", "SEQUENCE", "_", "NUMBER");
/// How often Lambda looks for changes.
pub const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// A reader of a stream that has one shard, as the embedded DynamoDB's streams do.
#[derive(Debug)]
pub struct TableStream {
    sdk: SdkConfig,
    client: Client,
    arn: String,
    shard: String,
    iterator: Option<String>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Description {
    stream_description: StreamDescription,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StreamDescription {
    shards: Vec<Shard>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Shard {
    shard_id: String,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Iterator {
    shard_iterator: String,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Page {
    next_shard_iterator: Option<String>,
    #[serde(flatten)]
    batch: StreamBatch,
}

impl TableStream {
    /// Opens the stream of `table`, from its oldest change.
    ///
    /// # Errors
    /// If DynamoDB does not respond, or the table has no stream.
    pub async fn open(sdk: &SdkConfig, table: &str) -> Result<TableStream, Error> {
        let described = aws_sdk_dynamodb::Client::new(sdk).describe_table().table_name(table).send().await?;
        let arn = described.table.and_then(|table| table.latest_stream_arn);
        let arn = arn.ok_or_else(|| format!("the table {table} has no stream"))?;
        let client = Client::new(sdk.endpoint_url().ok_or("DynamoDB has no endpoint URL")?)?;
        let mut stream = TableStream { sdk: sdk.clone(), client, arn, shard: String::new(), iterator: None };
        let description: Description = stream.call("DescribeStream", &json!({"StreamArn": stream.arn})).await?;
        let shard = description.stream_description.shards.into_iter().next();
        stream.shard = shard.ok_or_else(|| format!("the stream of the table {table} has no shard"))?.shard_id;
        Ok(stream)
    }

    /// Continues after the change with this sequence number. If the stream does not have it any more, the oldest change
    /// is the next one.
    pub async fn continue_after(&mut self, sequence_number: &str) {
        let position = json!({"ShardIteratorType": AFTER, "SequenceNumber": sequence_number});
        self.iterator = self.iterator_at(&position).await.ok();
    }

    /// Reads the next changes, which may be none.
    ///
    /// # Errors
    /// If DynamoDB does not respond. The next call reads the same changes.
    pub async fn next(&mut self) -> Result<StreamBatch, Error> {
        let iterator = match self.iterator.take() {
            Some(iterator) => iterator,
            None => self.iterator_at(&json!({"ShardIteratorType": OLDEST})).await?,
        };
        let page = self.call::<Page>("GetRecords", &json!({"ShardIterator": iterator, "Limit": BATCH})).await;
        match page {
            Ok(page) => {
                self.iterator = page.next_shard_iterator;
                Ok(page.batch)
            }
            Err(error) => {
                self.iterator = Some(iterator);
                Err(error)
            }
        }
    }

    /// Goes back to the first change that a function has reported as failed.
    ///
    /// # Errors
    /// If DynamoDB does not respond. The next call of [`next`](Self::next) then begins with the oldest change.
    pub async fn go_back(&mut self, response: &BatchResponse) -> Result<(), Error> {
        let Some(first) = response.failures.first() else { return Ok(()) };
        self.iterator = None;
        let position = json!({"ShardIteratorType": AT, "SequenceNumber": first.sequence_number});
        self.iterator = Some(self.iterator_at(&position).await?);
        Ok(())
    }

    async fn iterator_at(&self, position: &Value) -> Result<String, Error> {
        let mut request = json!({"StreamArn": self.arn, "ShardId": self.shard});
        if let (Some(request), Some(position)) = (request.as_object_mut(), position.as_object()) {
            request.extend(position.clone());
        }
        Ok(self.call::<Iterator>("GetShardIterator", &request).await?.shard_iterator)
    }

    /// Sends a request to DynamoDB Streams. Its responses have the form that Lambda passes on, which the SDK's types do
    /// not have.
    async fn call<T: DeserializeOwned>(&self, operation: &str, request: &Value) -> Result<T, Error> {
        let url = self.sdk.endpoint_url().unwrap_or_default();
        let region = self.sdk.region().map_or("us-east-1", AsRef::as_ref);
        let body = request.to_string();
        let mut headers = vec![
            ("content-type".to_owned(), "application/x-amz-json-1.0".to_owned()),
            ("x-amz-target".to_owned(), format!("DynamoDBStreams_20120810.{operation}")),
        ];
        let now = Clock::System.now();
        let signing =
            signing::signature(&self.sdk, (region, "dynamodb"), ("POST", url), &headers, body.as_bytes(), now);
        headers.extend(signing.await?);
        let (function, path, method) = (String::new(), String::new(), "POST".to_owned());
        let answer = self.client.send(&Delivery { function, path, method, headers, body: body.into() }).await?;
        if answer.status != 200 {
            return Err(format!("DynamoDB Streams {operation}: status {}: {}", answer.status, answer.body).into());
        }
        Ok(serde_json::from_str(&answer.body)?)
    }
}
