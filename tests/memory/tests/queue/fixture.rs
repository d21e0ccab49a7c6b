//! An in-memory SQS at a time that the test sets, with scripted choices.

use std::collections::VecDeque;

use gatehouse_memory::{Choose, Sqs};
use serde_json::{Value, json};

/// Makes the given choices, and otherwise the plainest one. A choice is a limit and the number to return: it answers
/// the next call with this limit. Each choice waits for those before it.
#[derive(Default)]
pub(super) struct Script(VecDeque<(usize, usize)>);

impl Choose for Script {
    fn below(&mut self, limit: usize) -> usize {
        match self.0.front() {
            Some((next, number)) if *next == limit => {
                let number = *number;
                self.0.pop_front();
                number
            }
            _ => 0,
        }
    }
}

/// The SQS, its time in milliseconds, and the next choices.
pub(super) struct Fixture {
    pub(super) sqs: Sqs,
    pub(super) now: i64,
    pub(super) script: Script,
}

pub(super) fn arn(queue: &str) -> String {
    format!("arn:aws:sqs:us-east-1:000000000000:{queue}")
}

pub(super) fn url(queue: &str) -> String {
    format!("http://sqs/000000000000/{queue}")
}

impl Fixture {
    /// Creates the queues `dead` and `orders`, whose messages move to `dead` after three receives.
    pub(super) fn new() -> Fixture {
        let mut fixture = Fixture { sqs: Sqs::new("http://sqs"), now: 0, script: Script::default() };
        fixture.run("CreateQueue", &json!({"QueueName": "dead"}));
        let policy = json!({"deadLetterTargetArn": arn("dead"), "maxReceiveCount": 3}).to_string();
        let attributes = json!({"RedrivePolicy": policy});
        fixture.run("CreateQueue", &json!({"QueueName": "orders", "Attributes": attributes}));
        fixture
    }

    /// Sets the next choices. Panics if earlier ones were not made.
    pub(super) fn choose(&mut self, choices: impl IntoIterator<Item = (usize, usize)>) {
        assert!(self.script.0.is_empty(), "choices that were not made: {:?}", self.script.0);
        self.script.0.extend(choices);
    }

    /// Runs an operation that succeeds. Returns its output.
    pub(super) fn run(&mut self, operation: &str, request: &Value) -> Value {
        let response = self.sqs.answer(operation, request, self.now, &mut self.script);
        assert_eq!(response.status, 200, "{operation}: {}", response.body);
        response.body
    }

    /// Runs an operation that fails. Returns its error code.
    pub(super) fn refused(&mut self, operation: &str, request: &Value) -> String {
        let response = self.sqs.answer(operation, request, self.now, &mut self.script);
        response.code().unwrap().to_owned()
    }

    /// Sends a message. Returns its id.
    pub(super) fn send_to(&mut self, queue: &str, body: &str) -> String {
        let sent = self.run("SendMessage", &json!({"QueueUrl": url(queue), "MessageBody": body}));
        sent["MessageId"].as_str().unwrap().to_owned()
    }

    pub(super) fn send(&mut self, body: &str) -> String {
        self.send_to("orders", body)
    }

    pub(super) fn send_all(&mut self, bodies: &[&str]) {
        for body in bodies {
            self.send(body);
        }
    }

    /// Receives up to ten messages with their system attributes.
    pub(super) fn receive_from(&mut self, queue: &str) -> Vec<Value> {
        let request = json!({"QueueUrl": url(queue), "MaxNumberOfMessages": 10, "AttributeNames": ["All"]});
        self.run("ReceiveMessage", &request)["Messages"].as_array().cloned().unwrap_or_default()
    }

    pub(super) fn receive(&mut self) -> Vec<Value> {
        self.receive_from("orders")
    }

    pub(super) fn delete(&mut self, message: &Value) {
        self.run("DeleteMessage", &json!({"QueueUrl": url("orders"), "ReceiptHandle": message["ReceiptHandle"]}));
    }

    /// Returns a count of a queue, such as `ApproximateNumberOfMessages`.
    pub(super) fn count(&mut self, queue: &str, name: &str) -> String {
        let output = self.run("GetQueueAttributes", &json!({"QueueUrl": url(queue), "AttributeNames": [name]}));
        output["Attributes"][name].as_str().unwrap().to_owned()
    }
}

/// Returns the bodies of received messages.
pub(super) fn bodies(messages: &[Value]) -> Vec<&str> {
    messages.iter().map(|message| message["Body"].as_str().unwrap()).collect()
}
