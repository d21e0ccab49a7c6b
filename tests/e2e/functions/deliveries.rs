//! Tests the outbox and deliver binaries with a local Lambda Runtime API.

use aws_sdk_dynamodb::types::AttributeValue;
use gatehouse_deliveries::DeliveryTable;
use gatehouse_local::Testbed;
use gatehouse_local::runtime_api::{Host, Invoked};
use serde_json::{Value, json};

use crate::support::{send_message, stack};

/// Starts a binary with one destination, a queue.
async fn start(stack: &Testbed, binary: &str, timeout: std::time::Duration, queue: &str) -> Host {
    let secrets = json!({"destinations": {"audit": {"sqs": queue}}}).to_string();
    let variables = [
        ("DELIVERY_TABLE_NAME", stack.delivery_table.as_str()),
        ("DELIVERY_QUEUE_URL", &stack.delivery_queue),
        ("SLOW_DELIVERY_QUEUE_URL", &stack.slow_delivery_queue),
        ("GATEHOUSE_SECRETS", &secrets),
        ("STACK_NAME", "gatehouse"),
    ];
    stack.host(binary, timeout, &variables).await.unwrap()
}

fn answer(invoked: Invoked) -> Value {
    let Invoked::Answered(answer) = invoked else { panic!("{invoked:?}") };
    answer
}

/// Returns the only item of the event table as the stream has it.
async fn streamed(stack: &Testbed) -> Value {
    let items = stack.dynamodb_client().scan().table_name(&stack.table).send().await.unwrap().items.unwrap();
    let members = items[0].iter().filter_map(|(name, value)| match value {
        AttributeValue::S(text) => Some((name.clone(), json!({"S": text}))),
        AttributeValue::N(number) => Some((name.clone(), json!({"N": number}))),
        _ => None,
    });
    json!({"NewImage": members.collect::<serde_json::Map<_, _>>(), "SequenceNumber": "7"})
}

/// Takes the only message of a queue, as Lambda passes it to a function.
async fn message(stack: &Testbed, queue: &str) -> Value {
    let receive = stack.sqs_client().receive_message().queue_url(queue).message_attribute_names("All");
    let [message] = receive.send().await.unwrap().messages.unwrap().try_into().unwrap();
    json!({"messageId": message.message_id, "receiptHandle": message.receipt_handle, "body": message.body,
           "attributes": {"ApproximateReceiveCount": "1"}, "messageAttributes": {}, "eventSource": "aws:sqs",
           "awsRegion": "us-east-1"})
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_event_passes_the_outbox_and_the_delivery_queue_and_reaches_its_destination() {
    let stack = stack().await;
    let queue = stack.sqs_client().create_queue().queue_name("audit").send().await.unwrap().queue_url.unwrap();
    let mut outbox = start(&stack, env!("CARGO_BIN_EXE_under-test-outbox"), outbox::TIMEOUT, &queue).await;
    let mut deliver = start(&stack, env!("CARGO_BIN_EXE_under-test-deliver"), deliver::TIMEOUT, &queue).await;
    let done = json!({"batchItemFailures": []});
    assert_eq!(send_message(&stack, "msg_1").await.outcome(), "recorded");
    let batch = json!({"Records": [{"eventName": "INSERT", "dynamodb": streamed(&stack).await}]});
    assert_eq!(answer(outbox.invoke(&batch).await.unwrap()), done);

    let doorbell = message(&stack, &stack.delivery_queue).await;
    assert_eq!(answer(deliver.invoke(&json!({"Records": [doorbell]})).await.unwrap()), done);
    let delivered: Value = serde_json::from_str(message(&stack, &queue).await["body"].as_str().unwrap()).unwrap();
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
    let mut outbox = start(&stack, env!("CARGO_BIN_EXE_under-test-outbox"), outbox::TIMEOUT, "not a url").await;
    let mut deliver = start(&stack, env!("CARGO_BIN_EXE_under-test-deliver"), deliver::TIMEOUT, "not a url").await;
    assert_eq!(send_message(&stack, "msg_1").await.outcome(), "recorded");
    let batch = json!({"Records": [{"eventName": "INSERT", "dynamodb": streamed(&stack).await}]});
    // A destination with a defect gets the event later.
    assert_eq!(answer(outbox.invoke(&batch).await.unwrap()), json!({"batchItemFailures": []}));
    stack.dynamodb.add_rule(gatehouse_local::Rule::every(gatehouse_local::Fault::INTERNAL));
    let failed = json!({"batchItemFailures": [{"itemIdentifier": "7"}]});
    assert_eq!(answer(outbox.invoke(&batch).await.unwrap()), failed);
    let mut doorbell = message(&stack, &stack.delivery_queue).await;
    let failed = json!({"batchItemFailures": [{"itemIdentifier": doorbell["messageId"]}]});
    assert_eq!(answer(deliver.invoke(&json!({"Records": [doorbell]})).await.unwrap()), failed);
    // What is no doorbell cannot be handled later either.
    doorbell["body"] = json!("no lane");
    assert_eq!(
        answer(deliver.invoke(&json!({"Records": [doorbell]})).await.unwrap()),
        json!({"batchItemFailures": []})
    );
    assert!(matches!(deliver.invoke(&json!({"Records": 7})).await.unwrap(), Invoked::Failed(_)));
}
