//! The stream of the embedded DynamoDB: indexes and trimming for its storage, and responses as AWS sends them.
//!
//! The engine (dynoxide 3.2) writes a stream record with every change, in the same transaction. It lacks two things: an
//! index, without which each write reads all stream records, and trimming, without which they stay forever. Both are
//! added in its SQLite database, through a second connection.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gatehouse_runtime::Clock;
use http::{HeaderMap, Request, Response, header};
use rusqlite::{Connection, params};
use serde_json::Value;
use tokio::sync::RwLock;
use tokio::time::interval;

/// The operations of DynamoDB Streams begin with this.
const TARGET: &str = "DynamoDBStreams_20120810.";
/// The first part of the engine's shard ids. The name of the table follows.
const ENGINE_SHARD: &str = "shardId-00000001-";
/// The first part of the shard ids that clients see. AWS' shard ids have 28 to 65 characters, and the SDK for Python
/// rejects shorter ones.
const SHARD: &str = "shardId-0000000000000001-";
/// Lifetime of a stream record in AWS, in seconds.
const RETENTION: i64 = 24 * 60 * 60;
/// How often expired stream records are deleted.
const TRIM_EVERY: Duration = Duration::from_secs(60);
/// Maximum number of stream records that one transaction deletes. Requests wait for it, for about 10 ms.
const TRIM_BATCH: usize = 1000;

/// Indexes for the engine's queries: the next sequence number, the records of a shard, and the expired records.
const INDEXES: &str = "\
    CREATE INDEX IF NOT EXISTS gatehouse_stream_by_number
        ON _stream_records (table_name, CAST(sequence_number AS INTEGER));
    CREATE INDEX IF NOT EXISTS gatehouse_stream_by_shard
        ON _stream_records (table_name, shard_id, CAST(sequence_number AS INTEGER));
    CREATE INDEX IF NOT EXISTS gatehouse_stream_by_age ON _stream_records (created_at);";

/// Opens a second connection to the engine's database, and adds the indexes. A database in memory exists as long as a
/// connection to it.
///
/// # Errors
/// If the database cannot be opened or written.
pub(super) fn open(database: &str) -> rusqlite::Result<Connection> {
    let connection = Connection::open(database)?;
    connection.execute_batch(INDEXES)?;
    Ok(connection)
}

/// Deletes expired stream records every minute, until the task is aborted. `requests` is locked for reading by each
/// request to the engine, so that the two connections do not write at the same time.
pub(super) async fn trim_forever(mut connection: Connection, requests: Arc<RwLock<()>>) {
    let mut ticks = interval(TRIM_EVERY);
    loop {
        ticks.tick().await;
        let until = Clock::System.now().as_secs() - RETENTION;
        loop {
            let no_requests = requests.write().await;
            let trimmed = tokio::task::spawn_blocking(move || (trim(&connection, until), connection)).await;
            drop(no_requests);
            let Ok((trimmed, returned)) = trimmed else { return };
            connection = returned;
            match trimmed {
                Ok(TRIM_BATCH) => {}
                Ok(_) => break,
                Err(error) => {
                    tracing::warn!(%error, "expired stream records could not be deleted; retrying in a minute");
                    break;
                }
            }
        }
    }
}

/// Deletes at most [`TRIM_BATCH`] stream records that were written before `until`, in seconds since 1970. Returns their
/// number.
fn trim(connection: &Connection, until: i64) -> rusqlite::Result<usize> {
    let delete = "DELETE FROM _stream_records WHERE rowid IN \
                  (SELECT rowid FROM _stream_records WHERE created_at < ?1 ORDER BY created_at LIMIT ?2)";
    connection.execute(delete, params![until, TRIM_BATCH])
}

/// A request to DynamoDB Streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    DescribeStream,
    Other,
}

/// Returns the operation if the request is for DynamoDB Streams. Then replaces the shard id in it by the engine's.
pub(super) fn translate_request(request: &mut Request<Bytes>) -> Option<Operation> {
    let target = request.headers().get("x-amz-target")?.to_str().ok()?;
    let operation = match target.strip_prefix(TARGET)? {
        "DescribeStream" => Operation::DescribeStream,
        _ => Operation::Other,
    };
    // The engine reports a body that is not JSON.
    let mut body: Value = serde_json::from_slice(request.body()).ok()?;
    for member in ["ShardId", "ExclusiveStartShardId"] {
        let table = body[member].as_str().and_then(|shard| shard.strip_prefix(SHARD));
        if let Some(shard) = table.map(|table| format!("{ENGINE_SHARD}{table}")) {
            body[member] = Value::String(shard);
        }
    }
    replace_body(request, &body);
    Some(operation)
}

/// Changes a response of the engine to what AWS would send: a longer shard id, and no last sequence number, because the
/// shard is open.
pub(super) fn translate_response(operation: Operation, mut response: Response<Bytes>) -> Response<Bytes> {
    if operation != Operation::DescribeStream {
        return response;
    }
    let Ok(mut body) = serde_json::from_slice::<Value>(response.body()) else { return response };
    let shards = body.pointer_mut("/StreamDescription/Shards").and_then(Value::as_array_mut);
    for shard in shards.into_iter().flatten() {
        let table = shard["ShardId"].as_str().and_then(|id| id.strip_prefix(ENGINE_SHARD));
        if let Some(id) = table.map(|table| format!("{SHARD}{table}")) {
            shard["ShardId"] = Value::String(id);
        }
        if let Some(range) = shard["SequenceNumberRange"].as_object_mut() {
            range.remove("EndingSequenceNumber");
        }
    }
    *response.body_mut() = Bytes::from(body.to_string());
    remove_digests(response.headers_mut());
    response
}

fn replace_body(request: &mut Request<Bytes>, body: &Value) {
    *request.body_mut() = Bytes::from(body.to_string());
    remove_digests(request.headers_mut());
}

/// Removes the headers that describe the former body.
fn remove_digests(headers: &mut HeaderMap) {
    headers.remove(header::CONTENT_LENGTH);
    headers.remove("x-amz-crc32");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A later engine may change its table or its queries. Then each write would read all stream records again.
    #[test]
    fn queries_of_the_engine_use_the_indexes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.db");
        let database = path.to_str().unwrap();
        let _engine = dynoxide::Database::new(database).unwrap();
        let connection = open(database).unwrap();
        let number = "CAST(sequence_number AS INTEGER)";
        for (query, index) in [
            (
                format!("SELECT COALESCE(MAX({number}), 0) + 1 FROM _stream_records WHERE table_name = 't'"),
                "gatehouse_stream_by_number",
            ),
            (
                format!(
                    "SELECT event_name FROM _stream_records WHERE table_name = 't' AND shard_id = 's' AND {number} > 1 \
                     ORDER BY {number} ASC LIMIT 10"
                ),
                "gatehouse_stream_by_shard",
            ),
            (
                "SELECT rowid FROM _stream_records WHERE created_at < 1 ORDER BY created_at LIMIT 10".to_owned(),
                "gatehouse_stream_by_age",
            ),
        ] {
            let plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {query}"));
            let mut plan = plan.unwrap();
            let steps: Vec<String> = plan.query_map([], |row| row.get(3)).unwrap().collect::<Result<_, _>>().unwrap();
            assert!(steps.iter().any(|step| step.contains(index)), "{query}: {steps:?}");
            assert!(!steps.iter().any(|step| step.contains("TEMP B-TREE")), "{query}: {steps:?}");
        }
    }

    #[test]
    fn shard_ids_are_long_enough_for_every_sdk_and_translated_both_ways() {
        let described = r#"{"StreamDescription": {"Shards": [{"ShardId": "shardId-00000001-EventTable",
            "SequenceNumberRange": {"StartingSequenceNumber": "1", "EndingSequenceNumber": "2"}}]}}"#;
        let response = Response::builder().header("x-amz-crc32", "1").body(Bytes::from(described)).unwrap();
        let response = translate_response(Operation::DescribeStream, response);
        let body: Value = serde_json::from_slice(response.body()).unwrap();
        let shard = &body["StreamDescription"]["Shards"][0];
        let id = shard["ShardId"].as_str().unwrap();
        assert!((28..=65).contains(&id.len()), "{id}");
        assert_eq!(shard["SequenceNumberRange"], serde_json::json!({"StartingSequenceNumber": "1"}));
        assert!(response.headers().is_empty());

        let body = serde_json::json!({"ShardId": id, "ShardIteratorType": "LATEST"}).to_string();
        let request = Request::builder().header("x-amz-target", "DynamoDBStreams_20120810.GetShardIterator");
        let mut request = request.header(header::CONTENT_LENGTH, body.len()).body(Bytes::from(body)).unwrap();
        assert_eq!(translate_request(&mut request), Some(Operation::Other));
        let body: Value = serde_json::from_slice(request.body()).unwrap();
        assert_eq!(body, serde_json::json!({"ShardId": "shardId-00000001-EventTable", "ShardIteratorType": "LATEST"}));
    }

    #[test]
    fn requests_to_dynamodb_itself_stay_as_they_are() {
        let body = r#"{ "ShardId": "shardId-0000000000000001-EventTable" }"#;
        let request = Request::builder().header("x-amz-target", "DynamoDB_20120810.PutItem");
        let mut request = request.header(header::CONTENT_LENGTH, body.len()).body(Bytes::from(body)).unwrap();
        assert_eq!(translate_request(&mut request), None);
        assert_eq!((request.body(), request.headers().len()), (&Bytes::from(body), 2));
    }

    #[test]
    fn only_expired_stream_records_are_trimmed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.db");
        let database = path.to_str().unwrap();
        let _engine = dynoxide::Database::new(database).unwrap();
        let connection = open(database).unwrap();
        let insert = "INSERT INTO _stream_records \
                      (table_name, event_name, keys_json, sequence_number, shard_id, created_at) \
                      VALUES ('t', 'INSERT', '{}', ?1, 's', ?2)";
        for age in 0..10 {
            connection.execute(insert, params![age.to_string(), 1000 - age]).unwrap();
        }
        assert_eq!(trim(&connection, 995).unwrap(), 4);
        let left: i64 = connection.query_row("SELECT COUNT(*) FROM _stream_records", [], |row| row.get(0)).unwrap();
        assert_eq!((left, trim(&connection, 995).unwrap()), (6, 0));
    }

    /// The engine may end while the records are trimmed. A connection that was opened then would find no tables.
    #[test]
    fn database_in_memory_can_be_trimmed_after_the_engine_has_ended() {
        let name = "file:gatehouse-ended-engine?mode=memory&cache=shared";
        let engine = dynoxide::Database::new(name).unwrap();
        let connection = open(name).unwrap();
        drop(engine);
        assert_eq!(trim(&connection, i64::MAX).unwrap(), 0);
    }
}
