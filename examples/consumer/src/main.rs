//! Acts at most once on every session that ends. The stream delivers at least once; a conditional write detects
//! repeated deliveries.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use example_consumer::{Batch, Change};
use gatehouse_inbox::Store;
use gatehouse_payload::Event;
use gatehouse_runtime::Clock;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let sdk = gatehouse_runtime::aws::sdk_config().await;
    // The store only reads here, so the time to live has no effect.
    let store = Store::new(&sdk, &std::env::var("TABLE_NAME")?, 30);
    let (client, acted) = (Client::new(&sdk), std::env::var("ACTED_TABLE")?);
    let (store, client, acted) = (&store, &client, acted.as_str());
    lambda_runtime::run(service_fn(move |batch: LambdaEvent<Batch>| handle(batch.payload, store, client, acted))).await
}

/// Handles a batch in order. Lambda retries it from the first change that fails.
async fn handle(batch: Batch, store: &Store, client: &Client, acted: &str) -> Result<Value, Error> {
    for change in &batch.changes {
        if let Err(error) = handle_change(change, store, client, acted).await {
            println!("{}", json!({"message": "change failed", "error": error.to_string()}));
            return Ok(json!({"batchItemFailures": [{"itemIdentifier": change.sequence()}]}));
        }
    }
    Ok(json!({"batchItemFailures": []}))
}

async fn handle_change(change: &Change, store: &Store, client: &Client, acted: &str) -> Result<(), Error> {
    let Some(recorded) = change.record().filter(|record| record.event_type.as_deref() == Some("session.ended")) else {
        return Ok(());
    };
    // The stream shows a record as it was written. Since then it may have been erased, or it may have expired and been
    // replaced. So the record itself is read, with the chunks of a large payload.
    match store.get(&recorded.event_id, Clock::System.now()).await? {
        Some(record) if record.event.nonce == recorded.nonce => act_once(&record.event, client, acted).await,
        _ => Ok(()),
    }
}

/// Returns the body. It is a JSON object, or a JSON string that contains one.
fn body(event: &Event) -> Result<Value, serde_json::Error> {
    match serde_json::from_slice(&event.body)? {
        Value::String(text) => serde_json::from_str(&text),
        body => Ok(body),
    }
}

/// Acts on an event unless it is already in `table`. The nonce differs if an expired record was replaced: then it is
/// another event with the same id.
async fn act_once(event: &Event, client: &Client, table: &str) -> Result<(), Error> {
    let session = body(event)?["id"].take();
    let nonce = AttributeValue::B(Blob::new(*event.nonce.as_bytes()));
    let put = client
        .put_item()
        .table_name(table)
        .item("event_id", AttributeValue::S(event.id.to_string()))
        .item("nonce", nonce.clone())
        .condition_expression("attribute_not_exists(event_id) OR nonce <> :nonce")
        .expression_attribute_values(":nonce", nonce);
    match put.send().await {
        Ok(_) => {
            // Replace this line with your consumer's action.
            println!("{}", json!({"message": "session ended", "event_id": event.id.as_str(), "session": session}));
            Ok(())
        }
        Err(error) if error.as_service_error().is_some_and(|error| error.is_conditional_check_failed_exception()) => {
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}
