//! Prints an event's item, or its body, as it is stored.

use aws_sdk_dynamodb::types::AttributeValue;
use data_encoding::BASE64;
use gatehouse_inbox::store::{Content, Item};
use gatehouse_payload::EventId;
use gatehouse_runtime::Clock;
use serde_json::{Value, json};

use crate::ops::deployment::Deployment;
use crate::ops::output::print_json;
use crate::ops::{ExitStatus, NOT_FOUND};
use crate::shell::{note, write_bytes};

/// Prints the item of an event in DynamoDB JSON.
pub(super) async fn raw(deployment: &Deployment, id: &str) -> ExitStatus {
    let Some(item) = deployment.store.raw(id).await? else {
        note(format!("there is no item {id}; gatehouse events show {id}{} says why", deployment.flags));
        return Ok(NOT_FOUND);
    };
    print_json(&as_dynamodb_json(&item))?;
    Ok(0)
}

/// Prints the body of an event: its bytes as they were delivered, except for credentials.
pub(super) async fn body(deployment: &Deployment, id: &str) -> ExitStatus {
    let id = EventId::from_stored(id.to_owned());
    match deployment.store.content(&id, Clock::System.now()).await? {
        Content::Record(record) => write_bytes(&record.event.body)?,
        Content::Damaged(damaged) => return Err(damaged.into()),
        Content::Empty | Content::Erased(_) => {
            note(format!("there is no record of {id}; gatehouse events show {id}{} says why", deployment.flags));
            return Ok(NOT_FOUND);
        }
    }
    Ok(0)
}

/// Converts an item to DynamoDB JSON, as the AWS CLI prints it.
fn as_dynamodb_json(item: &Item) -> Value {
    let value = |value: &AttributeValue| match value {
        AttributeValue::S(text) => json!({"S": text}),
        AttributeValue::N(number) => json!({"N": number}),
        AttributeValue::B(bytes) => json!({"B": BASE64.encode(bytes.as_ref())}),
        AttributeValue::Bool(flag) => json!({"BOOL": flag}),
        AttributeValue::M(map) => json!({"M": as_dynamodb_json(map)}),
        other => json!(format!("{other:?}")),
    };
    let sorted: std::collections::BTreeMap<_, _> = item.iter().map(|(name, v)| (name, value(v))).collect();
    json!(sorted)
}
