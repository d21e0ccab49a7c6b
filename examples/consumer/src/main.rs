//! Acts once on every session that ends: the stream delivers at least once, and a conditional write tells the first time.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use example_consumer::{Batch, Event};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let client = Client::new(&gatehouse_inbox::aws::sdk_config().await);
    let table = std::env::var("ACTED_TABLE")?;
    let (client, table) = (&client, table.as_str());
    lambda_runtime::run(service_fn(move |batch: LambdaEvent<Batch>| take(batch.payload, client, table))).await
}

/// The first change that fails is where the batch goes on from, so that nothing is passed over.
async fn take(batch: Batch, client: &Client, table: &str) -> Result<Value, Error> {
    for change in &batch.changes {
        let taken = match change.event() {
            Ok(Some(event)) if event.event_type == "session.ended" => once(&event, client, table).await,
            Ok(_) => Ok(()),
            Err(error) => Err(error.into()),
        };
        if taken.is_err() {
            return Ok(json!({"batchItemFailures": [{"itemIdentifier": change.sequence()}]}));
        }
    }
    Ok(json!({"batchItemFailures": []}))
}

async fn once(event: &Event, client: &Client, table: &str) -> Result<(), Error> {
    let id = AttributeValue::S(event.id.clone());
    let put =
        client.put_item().table_name(table).item("event_id", id).condition_expression("attribute_not_exists(event_id)");
    match put.send().await {
        Ok(_) => {
            // Whatever is to be done when a session ends.
            println!("{}", json!({"message": "session ended", "event_id": event.id}));
            Ok(())
        }
        Err(error) if error.as_service_error().is_some_and(|error| error.is_conditional_check_failed_exception()) => {
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}
