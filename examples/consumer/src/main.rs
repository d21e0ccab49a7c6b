//! Acts at most once on every session that ends. The stream delivers at least once; a conditional write detects
//! repeated deliveries.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use example_consumer::{Batch, Change};
use gatehouse_inbox::Store;
use gatehouse_payload::Event;
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
            eprintln!("{}", json!({"message": "change failed", "error": error.to_string()}));
            return Ok(json!({"batchItemFailures": [{"itemIdentifier": change.sequence()}]}));
        }
    }
    Ok(json!({"batchItemFailures": []}))
}

async fn handle_change(change: &Change, store: &Store, client: &Client, acted: &str) -> Result<(), Error> {
    let Some(head) = change.new_record() else { return Ok(()) };
    // A large payload is in chunks, which the store reads from the event table.
    let event = store.decode(&head).await?.event;
    if event.event_type.as_deref() == Some("session.ended") { act_once(&event, client, acted).await } else { Ok(()) }
}

/// Acts on an event unless its id is already in `table`.
async fn act_once(event: &Event, client: &Client, table: &str) -> Result<(), Error> {
    let id = AttributeValue::S(event.id.to_string());
    let put =
        client.put_item().table_name(table).item("event_id", id).condition_expression("attribute_not_exists(event_id)");
    match put.send().await {
        Ok(_) => {
            // Replace this line with your consumer's action.
            println!(
                "{}",
                json!({"message": "session ended", "event_id": event.id.as_str(), "bytes": event.body.len()})
            );
            Ok(())
        }
        Err(error) if error.as_service_error().is_some_and(|error| error.is_conditional_check_failed_exception()) => {
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}
