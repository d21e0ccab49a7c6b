//! Acts at most once on every session that ends. The stream delivers at least once; a conditional write detects
//! repeated deliveries.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use example_consumer::{Batch, Event};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let client = Client::new(&gatehouse_runtime::aws::sdk_config().await);
    let table = std::env::var("ACTED_TABLE")?;
    let (client, table) = (&client, table.as_str());
    lambda_runtime::run(service_fn(move |batch: LambdaEvent<Batch>| handle(batch.payload, client, table))).await
}

/// Handles a batch in order. Lambda retries it from the first change that fails.
async fn handle(batch: Batch, client: &Client, table: &str) -> Result<Value, Error> {
    for change in &batch.changes {
        let result = match change.event() {
            Ok(Some(event)) if event.event_type == "session.ended" => act_once(&event, client, table).await,
            Ok(_) => Ok(()),
            Err(error) => Err(error.into()),
        };
        if result.is_err() {
            return Ok(json!({"batchItemFailures": [{"itemIdentifier": change.sequence()}]}));
        }
    }
    Ok(json!({"batchItemFailures": []}))
}

/// Acts on an event unless its id is already in `table`.
async fn act_once(event: &Event, client: &Client, table: &str) -> Result<(), Error> {
    let id = AttributeValue::S(event.id.clone());
    let put =
        client.put_item().table_name(table).item("event_id", id).condition_expression("attribute_not_exists(event_id)");
    match put.send().await {
        Ok(_) => {
            // Replace this line with what your consumer does when a session ends.
            println!("{}", json!({"message": "session ended", "event_id": event.id}));
            Ok(())
        }
        Err(error) if error.as_service_error().is_some_and(|error| error.is_conditional_check_failed_exception()) => {
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}
