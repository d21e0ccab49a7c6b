//! Prints an event's item as it is stored.

use aws_sdk_dynamodb::types::AttributeValue;
use data_encoding::BASE64;
use gatehouse_inbox::store::Item;
use serde_json::{Value, json};

use crate::ops::deployment::Deployment;
use crate::ops::output::print_json;
use crate::ops::{ExitStatus, NOT_FOUND};

/// Prints the item of an event in DynamoDB JSON.
pub(super) async fn raw(deployment: &Deployment, id: &str) -> ExitStatus {
    let Some(item) = deployment.store.raw(id).await? else { return Ok(NOT_FOUND) };
    print_json(&as_dynamodb_json(&item))?;
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
