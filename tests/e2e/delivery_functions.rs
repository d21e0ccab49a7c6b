//! Runs the binaries `outbox` and `deliver`, with the events that Lambda passes to them.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_sqs::types::MessageSystemAttributeName as SystemAttribute;
use gatehouse_local::Testbed;
use gatehouse_local::runtime_api::Host;
use serde_json::{Map, Value, json};

/// A function of deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Function {
    Outbox,
    Deliver,
}

/// A secrets document with one destination, a queue.
pub(crate) fn to_queue(destination: &str, url: &str) -> String {
    json!({"destinations": {destination: {"sqs": url}}}).to_string()
}

/// Starts a function's binary with the secrets of `document`.
pub(crate) async fn start(stack: &Testbed, function: Function, document: &str) -> Host {
    let (binary, timeout) = match function {
        Function::Outbox => (env!("CARGO_BIN_EXE_under-test-outbox"), outbox::TIMEOUT),
        Function::Deliver => (env!("CARGO_BIN_EXE_under-test-deliver"), deliver::TIMEOUT),
    };
    let variables = [
        ("DELIVERY_TABLE_NAME", stack.delivery_table.as_str()),
        ("DELIVERY_QUEUE_URL", &stack.delivery_queue),
        ("SLOW_DELIVERY_QUEUE_URL", &stack.slow_delivery_queue),
        ("GATEHOUSE_SECRETS", document),
        ("STACK_NAME", "gatehouse"),
    ];
    stack.host(binary, timeout, &variables).await.unwrap()
}

/// The batch of the table's stream that contains the records of these events.
pub(crate) async fn changes(stack: &Testbed, event_ids: &[&str]) -> Value {
    let mut records = Vec::new();
    for event_id in event_ids {
        let key = AttributeValue::S((*event_id).to_owned());
        let get = stack.dynamodb_client().get_item().table_name(&stack.table).key("event_id", key);
        let image = streamed(get.send().await.unwrap().item.unwrap());
        let sequence_number = (7 + records.len()).to_string();
        let change = json!({"NewImage": image, "SequenceNumber": sequence_number});
        records.push(json!({"eventName": "INSERT", "dynamodb": change}));
    }
    json!({"Records": records})
}

/// An item as the stream has it, without binary attributes.
fn streamed(item: HashMap<String, AttributeValue>) -> Map<String, Value> {
    let members = item.into_iter().filter_map(|(name, value)| match value {
        AttributeValue::S(text) => Some((name, json!({"S": text}))),
        AttributeValue::N(number) => Some((name, json!({"N": number}))),
        _ => None,
    });
    members.collect()
}

/// Receives the visible messages of a queue, at most ten, as Lambda passes them to a function.
pub(crate) async fn queue_batch(stack: &Testbed, queue: &str) -> Value {
    let receive = stack.sqs_client().receive_message().queue_url(queue).max_number_of_messages(10);
    let receive = receive.message_attribute_names("All").message_system_attribute_names(SystemAttribute::All);
    let messages = receive.send().await.unwrap().messages.unwrap_or_default();
    let records = messages.into_iter().map(|message| {
        let receives = &message.attributes.unwrap()[&SystemAttribute::ApproximateReceiveCount];
        let attributes = message.message_attributes.unwrap_or_default().into_iter();
        let attributes = attributes.map(|(name, value)| {
            let value = json!({"stringValue": value.string_value, "dataType": value.data_type});
            (name, value)
        });
        json!({"messageId": message.message_id, "receiptHandle": message.receipt_handle, "body": message.body,
               "attributes": {"ApproximateReceiveCount": receives}, "messageAttributes": attributes.collect::<Map<_, _>>(),
               "eventSource": "aws:sqs", "awsRegion": "us-east-1"})
    });
    json!({"Records": records.collect::<Vec<_>>()})
}
