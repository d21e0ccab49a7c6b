//! Lambda's event sources of the queues: they receive batches, give them to their functions, and delete the messages
//! that the functions do not report as failed.

use aws_lambda_events::sqs::{SqsEvent, SqsMessage, SqsMessageAttribute};
use gatehouse_memory::Response;
use serde_json::{Value, json};

use crate::fleet::Fleet;
use crate::network::Caller;
use crate::plan::{Function, Ms, Service};
use crate::world::{START, World};

/// The time within which event-retry attempts every message of a batch, in milliseconds.
const LONGEST_BATCH: Ms = 20_000;

/// Polls a queue for a function forever.
pub async fn poll(world: World, fleet: Fleet, function: Function, queue: &'static str) {
    loop {
        let batch = receive(&world, queue);
        if batch.records.is_empty() {
            let next = next_visible(&world, queue);
            world.until_queue_changes(next).await;
            continue;
        }
        world.wait(2).await;
        let receipts: Vec<_> =
            batch.records.iter().map(|record| (record.message_id.clone(), record.receipt_handle.clone())).collect();
        let began = world.now();
        let Some((instance, response)) = fleet.handle_batch(function, batch.clone()).await else { continue };
        let failed: Vec<&str> = response.batch_item_failures.iter().map(|item| &*item.item_identifier).collect();
        // After `LONGEST_BATCH`, event-retry starts no further message, because its time runs out.
        let is_whole = world.now() - began < LONGEST_BATCH && !world.has_paused(instance, began);
        if function == Function::EventRetry && is_whole {
            let checked = world.state().model.check_batch(instance, &batch, &failed);
            world.check(checked);
        }
        world.wait(2).await;
        for (id, handle) in &receipts {
            if !failed.contains(&id.as_deref().unwrap_or_default()) {
                request(&world, "DeleteMessage", &json!({"QueueUrl": queue, "ReceiptHandle": handle}));
            }
        }
    }
}

/// Returns when the next message of a queue becomes visible, if there is one.
fn next_visible(world: &World, queue: &str) -> Option<Ms> {
    let now = world.now();
    let state = world.state();
    let name = queue.rsplit('/').next().unwrap_or_default();
    let next = state.sqs.messages(name).map(|message| message.visible_at).min()?;
    let next = u64::try_from(next - START).unwrap_or_default();
    // SQS may have kept back a visible message.
    Some(next.max(now + 20))
}

pub(crate) fn request(world: &World, operation: &str, body: &Value) -> Response {
    let now = world.epoch_ms();
    let mut state = world.state();
    let crate::world::State { sqs, choices, .. } = &mut *state;
    let response = sqs.answer(operation, body, now, choices);
    let checked = state.observe(Caller::Aws, Service::Sqs, operation, body, now);
    drop(state);
    world.check(checked);
    if operation == "SendMessage" {
        world.queue_changed();
    }
    response
}

fn receive(world: &World, queue: &str) -> SqsEvent {
    let body = json!({"QueueUrl": queue, "MaxNumberOfMessages": 10, "WaitTimeSeconds": 20,
                      "MessageSystemAttributeNames": ["All"], "MessageAttributeNames": ["All"]});
    let response = request(world, "ReceiveMessage", &body);
    let mut event = SqsEvent::default();
    event.records = response.body["Messages"].as_array().into_iter().flatten().map(record_of).collect();
    if !event.records.is_empty() {
        let name = queue.rsplit('/').next().unwrap_or_default();
        world.note(format_args!("event source receives {} messages of {name}", event.records.len()));
    }
    event
}

/// Converts a message to the form that Lambda passes to a function.
fn record_of(message: &Value) -> SqsMessage {
    let text = |name: &str| message[name].as_str().map(str::to_owned);
    let mut record = SqsMessage::default();
    record.message_id = text("MessageId");
    record.receipt_handle = text("ReceiptHandle");
    record.body = text("Body");
    for (name, value) in message["Attributes"].as_object().into_iter().flatten() {
        record.attributes.insert(name.clone(), value.as_str().unwrap_or_default().to_owned());
    }
    for (name, value) in message["MessageAttributes"].as_object().into_iter().flatten() {
        let mut attribute = SqsMessageAttribute::default();
        attribute.string_value = value["StringValue"].as_str().map(str::to_owned);
        attribute.data_type = value["DataType"].as_str().map(str::to_owned);
        record.message_attributes.insert(name.clone(), attribute);
    }
    record
}
