//! Tests the outbox and deliver binaries with a local Lambda Runtime API.

use gatehouse_deliveries::DeliveryTable;
use gatehouse_local::runtime_api::Invoked;
use serde_json::{Value, json};

use crate::delivery_functions::{Function, changes, queue_batch, start, to_queue};
use crate::support::{send_message, stack};

fn answer(invoked: Invoked) -> Value {
    let Invoked::Answered(answer) = invoked else { panic!("{invoked:?}") };
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_event_passes_the_outbox_and_the_delivery_queue_and_reaches_its_destination() {
    let stack = stack().await;
    let queue = stack.sqs_client().create_queue().queue_name("audit").send().await.unwrap().queue_url.unwrap();
    let document = to_queue("audit", &queue);
    let mut outbox = start(&stack, Function::Outbox, &document).await;
    let mut deliver = start(&stack, Function::Deliver, &document).await;
    let done = json!({"batchItemFailures": []});
    assert_eq!(send_message(&stack, "msg_1").await.outcome(), "recorded");
    let batch = changes(&stack, &["ada:msg_1"]).await;
    assert_eq!(answer(outbox.invoke(&batch).await.unwrap()), done);

    let doorbells = queue_batch(&stack, &stack.delivery_queue).await;
    assert_eq!(answer(deliver.invoke(&doorbells).await.unwrap()), done);
    let delivered = &queue_batch(&stack, &queue).await["Records"][0]["body"];
    let delivered: Value = serde_json::from_str(delivered.as_str().unwrap()).unwrap();
    assert_eq!(delivered["data"]["event_id"], "ada:msg_1");

    // The timer reports a destination that gets nothing.
    let table = DeliveryTable::new(&gatehouse_local::local_sdk(&stack.dynamodb.url()), &stack.delivery_table);
    table.disable("audit", "by an operator").await.unwrap();
    let timer = json!({"version": "0", "detail-type": "Scheduled Event", "source": "aws.events"});
    assert_eq!(answer(deliver.invoke(&timer).await.unwrap()), done);
    let lines = deliver.kill().await.unwrap();
    let lines: Vec<Value> = lines.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let attempt = lines.iter().find(|line| line["message"] == "delivery").unwrap();
    assert_eq!((&attempt["delivery"], &attempt["delivery_attempts"]), (&json!("delivered"), &json!(1)));
    let stopped = lines.iter().find(|line| line["message"] == "destination").unwrap();
    for (member, value) in [
        ("stopped", json!("disabled")),
        ("destination", json!("audit")),
        ("reason", json!("by an operator")),
        ("destination_stopped", json!(1)),
    ] {
        assert_eq!(stopped[member], value, "{stopped}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn batch_that_cannot_be_handled_is_repeated() {
    let stack = stack().await;
    let document = to_queue("audit", "not a url");
    let mut outbox = start(&stack, Function::Outbox, &document).await;
    let mut deliver = start(&stack, Function::Deliver, &document).await;
    assert_eq!(send_message(&stack, "msg_1").await.outcome(), "recorded");
    let batch = changes(&stack, &["ada:msg_1"]).await;
    // A destination with a defect gets the event later.
    assert_eq!(answer(outbox.invoke(&batch).await.unwrap()), json!({"batchItemFailures": []}));
    stack.dynamodb.add_rule(gatehouse_local::Rule::every(gatehouse_local::Fault::INTERNAL));
    let failed = json!({"batchItemFailures": [{"itemIdentifier": "7"}]});
    assert_eq!(answer(outbox.invoke(&batch).await.unwrap()), failed);
    let mut doorbells = queue_batch(&stack, &stack.delivery_queue).await;
    let failed = json!({"batchItemFailures": [{"itemIdentifier": doorbells["Records"][0]["messageId"]}]});
    assert_eq!(answer(deliver.invoke(&doorbells).await.unwrap()), failed);
    // What is no doorbell cannot be handled later either.
    doorbells["Records"][0]["body"] = json!("no lane");
    assert_eq!(answer(deliver.invoke(&doorbells).await.unwrap()), json!({"batchItemFailures": []}));
    assert!(matches!(deliver.invoke(&json!({"Records": 7})).await.unwrap(), Invoked::Failed(_)));
}
