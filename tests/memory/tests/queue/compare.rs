//! A property test: the in-memory SQS and the local one give the same responses to the same requests.
//!
//! Only the ids, the handles and the times may differ. The time of the local SQS cannot be set, so no request depends
//! on it: timeouts are 0 or longer than a test.

use std::collections::BTreeMap;

use gatehouse_local::engine::{Engine, FREE};
use gatehouse_memory::sqs::query_error;
use gatehouse_memory::{First, Response, Sqs};
use gatehouse_runtime::Clock;
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::fixture::{arn, url};

/// Maximum number of messages that the in-memory SQS moves at a time. The order after a larger move may differ.
const MAX_MOVED: usize = 50;
/// Keys whose values are times.
const TIMES: [&str; 5] = [
    "SentTimestamp",
    "ApproximateFirstReceiveTimestamp",
    "CreatedTimestamp",
    "LastModifiedTimestamp",
    "StartedTimestamp",
];

/// A request. A receipt handle or a task handle in it is a number, which refers to an earlier response.
#[derive(Debug, Clone)]
struct Step {
    operation: &'static str,
    request: Value,
}

// === Steps ===

fn queue() -> impl Strategy<Value = &'static str> {
    prop_oneof![16 => Just("orders"), 10 => Just("dead"), 1 => Just("other"), 1 => Just("missing")]
}

fn queue_url() -> impl Strategy<Value = Value> {
    queue().prop_map(|queue| json!({"QueueUrl": url(queue)}))
}

/// A request parameter, which may be missing and is rarely invalid.
fn optional(name: &'static str, valid: &'static [i64], invalid: &'static [i64]) -> impl Strategy<Value = Value> {
    prop_oneof![
        10 => Just(json!({})),
        20 => prop::sample::select(valid).prop_map(move |value| json!({name: value})),
        1 => prop::sample::select(invalid).prop_map(move |value| json!({name: value})),
    ]
}

/// Merges objects.
fn merged(objects: impl IntoIterator<Item = Value>) -> Value {
    let entries = objects.into_iter().flat_map(|object| object.as_object().cloned().unwrap_or_default());
    Value::Object(entries.collect())
}

fn message() -> impl Strategy<Value = Value> {
    let body = prop_oneof![
        40 => "[a-z]{1,3}".prop_map(Value::String),
        1 => prop::sample::select(vec![json!(""), json!("\u{1}"), json!("é\t\n"), json!("x".repeat(2000)), json!(5)]),
    ];
    let text = json!({"DataType": "String.label", "StringValue": "because"});
    let binary = json!({"DataType": "Binary", "BinaryValue": "AP8="});
    let many: BTreeMap<String, Value> = (0..11).map(|n| (n.to_string(), text.clone())).collect();
    let attributes = prop_oneof![
        20 => Just(json!({})),
        8 => prop::sample::select(vec![
            json!({"MessageAttributes": {"trace.id": text}}),
            json!({"MessageAttributes": {"reason": text, "blob": binary}}),
        ]),
        1 => prop::sample::select(vec![
            json!({"MessageAttributes": {"no type": {"StringValue": "x"}}}),
            json!({"MessageAttributes": many}),
        ]),
    ];
    (body, attributes, optional("DelaySeconds", &[0, 0, 0, 900], &[901]))
        .prop_map(|(body, attributes, delay)| merged([json!({"MessageBody": body}), attributes, delay]))
}

/// A receipt handle: one of the latest, any earlier one, or rarely a malformed one.
fn handle() -> impl Strategy<Value = Value> {
    let number = prop_oneof![12 => 0_usize..3, 4 => 0_usize..100].prop_map(|number| json!({"ReceiptHandle": number}));
    prop_oneof![16 => number, 1 => Just(json!({"ReceiptHandle": "garbage"}))]
}

/// The queue of an operation with a receipt handle: the handle's own queue, or rarely any queue.
fn queue_of_handle() -> impl Strategy<Value = Value> {
    prop_oneof![16 => Just(json!({"QueueUrl": null})), 1 => queue_url()]
}

fn visibility() -> impl Strategy<Value = Value> {
    prop_oneof![12 => Just(0), 4 => Just(900), 1 => Just(43_201)].prop_map(|n| json!({"VisibilityTimeout": n}))
}

/// The entries of a batch. Their ids are rarely equal.
fn entries(entry: impl Strategy<Value = Value> + 'static, max: usize) -> impl Strategy<Value = Value> {
    let distinct = prop_oneof![10 => Just(true), 1 => Just(false)];
    let entries = prop_oneof![20 => 1..=max, 1 => Just(0_usize)].prop_flat_map({
        let entry = entry.boxed();
        move |count| prop::collection::vec(entry.clone(), count)
    });
    (entries, distinct).prop_map(|(entries, distinct)| {
        let id = |n: usize| json!({"Id": if distinct { n.to_string() } else { "same".to_owned() }});
        let entries = entries.into_iter().enumerate().map(|(n, entry)| merged([id(n), entry]));
        json!({"Entries": entries.collect::<Vec<_>>()})
    })
}

fn receive() -> impl Strategy<Value = Value> {
    let names = prop::sample::select(vec![
        json!({}),
        json!({"AttributeNames": ["All"], "MessageAttributeNames": ["All"]}),
        json!({"AttributeNames": ["All"], "MessageAttributeNames": [".*"]}),
        json!({"MessageSystemAttributeNames": ["ApproximateReceiveCount", "DeadLetterQueueSourceArn"]}),
        json!({"MessageAttributeNames": ["trace.*", "blob"]}),
    ]);
    let max = optional("MaxNumberOfMessages", &[1, 2, 3, 10, 10], &[0, 11]);
    let visibility = optional("VisibilityTimeout", &[0, 0, 0, 900], &[-1]);
    (names, max, visibility, optional("WaitTimeSeconds", &[0], &[21]))
        .prop_map(|(names, max, visibility, wait)| merged([names, max, visibility, wait]))
}

fn attributes() -> impl Strategy<Value = Value> {
    let policy = |target: &str, count: Value| {
        let policy = json!({"deadLetterTargetArn": arn(target), "maxReceiveCount": count});
        json!({"RedrivePolicy": policy.to_string()})
    };
    prop::sample::select(vec![
        policy("dead", json!(1)),
        policy("dead", json!(2)),
        policy("dead", json!("3")),
        policy("other", json!(1)),
        policy("missing", json!(1)),
        policy("dead", json!(0)),
        json!({"RedrivePolicy": ""}),
        json!({"DelaySeconds": "0"}),
        json!({"VisibilityTimeout": "900"}),
        json!({"VisibilityTimeout": "x"}),
        json!({"MaximumMessageSize": "1024"}),
        json!({"MessageRetentionPeriod": "59"}),
        json!({"KmsDataKeyReusePeriodSeconds": "60"}),
        json!({"Colour": "red"}),
        json!({"QueueArn": "x"}),
        json!({}),
    ])
    .prop_map(|attributes| json!({"Attributes": attributes}))
}

/// Steps with an operation on a queue.
fn on_queue(operation: &'static str, parameters: impl Strategy<Value = Value>) -> impl Strategy<Value = Step> {
    (queue_url(), parameters).prop_map(move |(url, parameters)| Step { operation, request: merged([url, parameters]) })
}

/// Steps with an operation on a received message.
fn on_handle(operation: &'static str, parameters: impl Strategy<Value = Value>) -> impl Strategy<Value = Step> {
    (queue_of_handle(), parameters)
        .prop_map(move |(url, parameters)| Step { operation, request: merged([url, parameters]) })
}

/// Steps on queues and their attributes.
fn queue_step() -> impl Strategy<Value = Step> {
    let name = prop::sample::select(vec!["orders", "dead", "other", "missing", "a.fifo", "no spaces", ""]);
    let create = (name.clone(), attributes()).prop_map(|(name, attributes)| Step {
        operation: "CreateQueue",
        request: merged([json!({"QueueName": name, "tags": {"team": "voice"}}), attributes]),
    });
    let get_url = name.prop_map(|name| Step { operation: "GetQueueUrl", request: json!({"QueueName": name}) });
    let list = prop::sample::select(vec!["", "o", "x"])
        .prop_map(|prefix| Step { operation: "ListQueues", request: json!({"QueueNamePrefix": prefix}) });
    let names = prop::sample::select(vec![json!([]), json!(["All"]), json!(["QueueArn", "Policy"]), json!(["Colour"])])
        .prop_map(|names| json!({"AttributeNames": names}));
    prop_oneof![
        2 => create,
        1 => get_url,
        1 => list,
        1 => on_queue("ListDeadLetterSourceQueues", Just(json!({}))),
        1 => on_queue("DeleteQueue", Just(json!({}))),
        4 => on_queue("GetQueueAttributes", names),
        6 => on_queue("SetQueueAttributes", attributes()),
        1 => on_queue("TagQueue", Just(json!({"Tags": {"a": "1", "b": "2"}}))),
        1 => on_queue("UntagQueue", Just(json!({"TagKeys": ["a", "team"]}))),
        1 => on_queue("ListQueueTags", Just(json!({}))),
        1 => on_queue("PurgeQueue", Just(json!({}))),
        1 => on_queue("AddPermission", Just(json!({}))),
    ]
}

/// Steps on move tasks.
fn move_step() -> impl Strategy<Value = Step> {
    let source = prop_oneof![6 => Just("dead"), 1 => queue()];
    let start = (source, prop::option::of(queue())).prop_map(|(source, destination)| Step {
        operation: "StartMessageMoveTask",
        request: json!({"SourceArn": arn(source), "DestinationArn": destination.map(arn)}),
    });
    let list = (queue(), optional("MaxResults", &[1, 2, 10], &[11])).prop_map(|(source, max)| Step {
        operation: "ListMessageMoveTasks",
        request: merged([json!({"SourceArn": arn(source)}), max]),
    });
    let cancel = prop_oneof![(0_usize..10).prop_map(|number| json!(number)), Just(json!("garbage"))]
        .prop_map(|handle| Step { operation: "CancelMessageMoveTask", request: json!({"TaskHandle": handle}) });
    prop_oneof![3 => start, 2 => list, 1 => cancel]
}

fn step() -> impl Strategy<Value = Step> {
    let change = (handle(), visibility()).prop_map(|(handle, visibility)| merged([handle, visibility]));
    // Makes at most one message visible: the order of several depends on the milliseconds.
    let change_batch = (entries(handle(), 3), visibility()).prop_map(|(mut entries, first)| {
        for (n, entry) in entries["Entries"].as_array_mut().into_iter().flatten().enumerate() {
            entry["VisibilityTimeout"] = if n == 0 { first["VisibilityTimeout"].clone() } else { json!(900) };
        }
        entries
    });
    prop_oneof![
        6 => on_queue("SendMessage", message()),
        3 => on_queue("SendMessageBatch", entries(message(), 4)),
        16 => on_queue("ReceiveMessage", receive()),
        4 => on_handle("DeleteMessage", handle()),
        1 => on_handle("DeleteMessageBatch", entries(handle(), 3)),
        4 => on_handle("ChangeMessageVisibility", change),
        1 => on_handle("ChangeMessageVisibilityBatch", change_batch),
        6 => queue_step(),
        3 => move_step(),
    ]
}

// === The two services ===

/// The ids and handles of one service, in the order of their first appearance.
#[derive(Default)]
struct Names {
    ids: Vec<String>,
    receipts: Vec<String>,
    tasks: Vec<String>,
}

impl Names {
    /// Replaces the numbers in a request with this service's handles: 0 with the latest. Sets the queue to that of the
    /// handle if it is null.
    fn resolve(&self, request: &mut Value) {
        let mut queue = "orders".to_owned();
        each(request, &mut |key, value| {
            let handles = match key {
                "ReceiptHandle" => &self.receipts,
                "TaskHandle" => &self.tasks,
                _ => return,
            };
            if let Some(number) = value.as_u64() {
                let number = usize::try_from(number).unwrap() % handles.len().max(1);
                let handle = handles.iter().rev().nth(number).map_or("orders:none:none", String::as_str);
                queue = handle.split(':').next().unwrap().to_owned();
                *value = json!(handle);
            }
        });
        if request["QueueUrl"].is_null() && request.get("QueueUrl").is_some() {
            request["QueueUrl"] = json!(url(&queue));
        }
    }

    /// Replaces this service's ids and handles in a response with numbers, and times with nothing.
    fn mask(&mut self, response: &mut Value) {
        each(response, &mut |key, value| {
            let names = match key {
                "MessageId" => &mut self.ids,
                "ReceiptHandle" => &mut self.receipts,
                "TaskHandle" => &mut self.tasks,
                _ if TIMES.contains(&key) => {
                    *value = Value::Null;
                    return;
                }
                _ => return,
            };
            let name = value.as_str().unwrap();
            let number = names.iter().position(|known| known == name).unwrap_or_else(|| {
                names.push(name.to_owned());
                names.len() - 1
            });
            *value = json!(number);
        });
    }
}

/// Calls a function with each key of a JSON value and the key's value.
fn each(value: &mut Value, visit: &mut impl FnMut(&str, &mut Value)) {
    match value {
        Value::Object(entries) => {
            for (key, value) in entries {
                visit(key, value);
                each(value, visit);
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| each(value, visit)),
        _ => {}
    }
}

/// A response that can be compared: the status, the error header and the body. Of an error, the body is its type.
type Masked = (u16, Option<String>, Value);

fn masked(response: Response, header: Option<String>, names: &mut Names) -> Masked {
    let Response { status, mut body } = response;
    if status != 200 {
        return (status, header, body["__type"].take());
    }
    names.mask(&mut body);
    (status, header, body)
}

/// Both services.
struct Pair {
    engine: Engine,
    engine_names: Names,
    memory: Sqs,
    memory_names: Names,
    /// How far the clock of the in-memory service is ahead. In milliseconds.
    ahead: i64,
}

impl Pair {
    async fn new() -> Pair {
        let engine = Engine::sqs(FREE, None).await.unwrap();
        let memory = Sqs::new(&engine.url());
        Pair { engine, engine_names: Names::default(), memory, memory_names: Names::default(), ahead: 0 }
    }

    /// Runs a step on both services and compares the responses.
    async fn run(&mut self, step: &Step) -> Result<(), TestCaseError> {
        let Step { operation, request } = step;
        if *operation == "StartMessageMoveTask" {
            let source = request["SourceArn"].as_str().and_then(|arn| arn.rsplit(':').next()).unwrap();
            if self.memory.messages(source).count() > MAX_MOVED {
                return Ok(());
            }
        }
        let (mut to_engine, mut to_memory) = (request.clone(), request.clone());
        self.engine_names.resolve(&mut to_engine);
        self.memory_names.resolve(&mut to_memory);
        let (response, header) = self.call(operation, &to_engine).await;
        let from_engine = masked(response, header, &mut self.engine_names);
        let response = self.memory.answer(operation, &to_memory, self.now(), &mut First);
        let header = query_error(&response);
        let from_memory = masked(response, header, &mut self.memory_names);
        prop_assert_eq!(&from_engine, &from_memory, "{}", operation);
        if *operation == "StartMessageMoveTask" && from_engine.0 == 200 {
            self.end_move(&json!({"SourceArn": request["SourceArn"]})).await;
        }
        if *operation == "GetQueueAttributes" {
            return Ok(());
        }
        // The order of messages depends on the milliseconds in which they became visible.
        let end = Clock::System.now().as_millis();
        while Clock::System.now().as_millis() <= end + 1 {
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    fn now(&self) -> i64 {
        Clock::System.now().as_millis() + self.ahead
    }

    /// Waits until the latest move task of a queue has ended in both services.
    async fn end_move(&mut self, list: &Value) {
        let is_running = |response: &Response| response.body["Results"][0]["Status"] == "RUNNING";
        while is_running(&self.call("ListMessageMoveTasks", list).await.0) {}
        while is_running(&self.memory.answer("ListMessageMoveTasks", list, self.now(), &mut First)) {
            self.ahead += 100;
        }
    }

    /// Sends a request to the local SQS. Returns the response and its error header.
    async fn call(&self, operation: &str, request: &Value) -> (Response, Option<String>) {
        let body = request.to_string();
        let head = format!(
            "POST / HTTP/1.1\r\nhost: sqs\r\nx-amz-target: AmazonSQS.{operation}\r\ncontent-length: {}\r\n\
             connection: close\r\n\r\n",
            body.len()
        );
        let mut stream = TcpStream::connect(self.engine.address).await.unwrap();
        stream.write_all((head + &body).as_bytes()).await.unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let header = head.lines().find_map(|line| line.strip_prefix("x-amzn-query-error: ")).map(str::to_owned);
        (Response { status, body: serde_json::from_str(body).unwrap() }, header)
    }
}

proptest! {
    #![proptest_config(gatehouse_seeds::cases(32))]

    #[test]
    fn memory_and_local_sqs_give_the_same_responses(steps in prop::collection::vec(step(), 1..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut pair = Pair::new().await;
            for name in ["dead", "orders"] {
                pair.run(&Step { operation: "CreateQueue", request: json!({"QueueName": name}) }).await?;
            }
            let policy = json!({"deadLetterTargetArn": arn("dead"), "maxReceiveCount": 2}).to_string();
            let request = json!({"QueueUrl": url("orders"), "Attributes": {"RedrivePolicy": policy}});
            pair.run(&Step { operation: "SetQueueAttributes", request }).await?;
            for step in &steps {
                pair.run(step).await?;
                // Shows more of what the step has changed.
                for name in ["orders", "dead"] {
                    let request = json!({"QueueUrl": url(name), "AttributeNames": ["All"]});
                    pair.run(&Step { operation: "GetQueueAttributes", request }).await?;
                }
            }
            Ok::<(), TestCaseError>(())
        })?;
    }
}
