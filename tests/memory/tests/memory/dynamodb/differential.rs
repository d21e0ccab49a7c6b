//! Compares DynamoDB with the embedded engine in random sequences of requests.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use gatehouse_local::engine::{Engine, FREE};
use gatehouse_memory::{DynamoDb, Response};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::requests::{Request, create_table, request};

/// A client of the embedded engine.
struct Embedded {
    engine: Engine,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Embedded {
    async fn start() -> Self {
        let engine = Engine::dynamodb(FREE, None).await.unwrap();
        Embedded { engine, client: Client::builder(TokioExecutor::new()).build_http() }
    }

    async fn answer(&self, operation: &str, body: &Value) -> Response {
        let credential = "AWS4-HMAC-SHA256 Credential=local/20261120/us-east-1/dynamodb/aws4_request, \
                          SignedHeaders=host, Signature=0";
        let request = http::Request::post(self.engine.url())
            .header("content-type", "application/x-amz-json-1.0")
            .header("x-amz-target", format!("DynamoDB_20120810.{operation}"))
            .header("x-amz-date", "20261120T090000Z")
            .header("authorization", credential)
            .body(Full::new(Bytes::from(body.to_string())))
            .unwrap();
        let response = self.client.request(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        Response { status, body: serde_json::from_slice(&body).unwrap() }
    }
}

/// Both services with a table of the same name.
struct Pair<'e> {
    embedded: &'e Embedded,
    memory: DynamoDb,
    table: String,
    /// Whether the table has the sort key `r`.
    has_sort: bool,
}

impl Pair<'_> {
    /// Sends a request to both and compares the responses. Returns the one of the memory.
    async fn answer(&mut self, operation: &str, body: &Value) -> Result<Response, TestCaseError> {
        let memory = self.memory.answer(operation, body, 0);
        let mut embedded = self.embedded.answer(operation, body).await;
        if body["ReturnValues"] == "ALL_OLD"
            && operation == "UpdateItem"
            && memory.body.get("Attributes").is_none()
            && embedded.body["Attributes"] == body["Key"]
        {
            // The engine returns the key of an item that the update has created, and AWS nothing.
            embedded.body.as_object_mut().unwrap().remove("Attributes");
        }
        let context = format!("{operation} {body}\nmemory: {memory:?}\nembedded: {embedded:?}");
        prop_assert_eq!(memory.status, embedded.status, "{}", context);
        prop_assert_eq!(memory.code(), embedded.code(), "{}", context);
        match memory.status {
            200 => prop_assert_eq!(comparable(&memory.body), comparable(&embedded.body), "{}", context),
            _ => prop_assert_eq!(memory.body.get("Item"), embedded.body.get("Item"), "{}", context),
        }
        Ok(memory)
    }

    /// Runs the request number `n`.
    async fn run(&mut self, n: usize, request: &Request) -> Result<(), TestCaseError> {
        let mut body = request.body.clone();
        if self.has_sort {
            add_sort_key(&mut body, n);
        }
        if request.operation == "BatchGetItem" {
            let table = &self.table;
            body = json!({"RequestItems": {table: body}, "ReturnConsumedCapacity": "TOTAL"});
            return self.answer(request.operation, &body).await.map(drop);
        }
        body["TableName"] = json!(self.table);
        body["ReturnConsumedCapacity"] = json!("INDEXES");
        loop {
            let answer = self.answer(request.operation, &body).await?;
            match answer.body.get("LastEvaluatedKey") {
                Some(last) => body["ExclusiveStartKey"] = last.clone(),
                None => return Ok(()),
            }
        }
    }
}

/// Adds the sort key `r` to the keys of a request, and a condition for it to a query of the table.
fn add_sort_key(body: &mut Value, n: usize) {
    const SORT_KEYS: [&str; 4] = ["a", "ab", "b", "ä"];
    let sort = |n: usize| json!({"S": SORT_KEYS[n % 4]});
    for name in ["Key", "Item"] {
        if let Some(key) = body[name].as_object_mut() {
            key.insert("r".to_owned(), sort(n));
        }
    }
    for (position, key) in body["Keys"].as_array_mut().into_iter().flatten().enumerate() {
        key["r"] = sort(n + position);
    }
    // Indexing has added the names that were missing.
    body.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    if let Some(keys) = body.get("KeyConditionExpression").filter(|_| body.get("IndexName").is_none()) {
        let (low, high) = (sort(n), sort(n + 1));
        let condition = [
            "",
            " AND r = :low",
            " AND r < :low",
            " AND r >= :low",
            " AND r BETWEEN :low AND :high",
            " AND begins_with(r, :low)",
        ][n % 6];
        body["KeyConditionExpression"] = json!(format!("{}{condition}", keys.as_str().unwrap()));
        for (name, value) in [(":low", low), (":high", high)] {
            if condition.contains(name) {
                body["ExpressionAttributeValues"][name] = value;
            }
        }
        body["Limit"] = json!(n % 3 + 1);
    }
}

/// The body with items in an order that does not depend on the service.
fn comparable(body: &Value) -> Value {
    let mut body = body.clone();
    for items in body["Responses"].as_object_mut().into_iter().flat_map(|tables| tables.values_mut()) {
        if let Some(items) = items.as_array_mut() {
            items.sort_by_key(Value::to_string);
        }
    }
    if body["Responses"].is_null() {
        body.as_object_mut().unwrap().remove("Responses");
    }
    body
}

#[test]
fn memory_and_embedded_engine_give_the_same_answers() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let embedded = runtime.block_on(Embedded::start());
    let case = AtomicU64::new(0);
    let config = gatehouse_seeds::cases(60);
    let requests = proptest::collection::vec(request(), 1..40);
    proptest!(config, |(requests in requests, has_sort in any::<bool>())| {
        let table = format!("case-{}", case.fetch_add(1, Ordering::Relaxed));
        let mut pair = Pair { embedded: &embedded, memory: DynamoDb::new(), table, has_sort };
        runtime.block_on(run(&mut pair, &requests))?;
    });
}

async fn run(pair: &mut Pair<'_>, requests: &[Request]) -> Result<(), TestCaseError> {
    let mut definition = create_table();
    definition["TableName"] = json!(pair.table);
    if pair.has_sort {
        let attributes = definition["AttributeDefinitions"].as_array_mut().unwrap();
        attributes.push(json!({"AttributeName": "r", "AttributeType": "S"}));
        definition["KeySchema"].as_array_mut().unwrap().push(json!({"AttributeName": "r", "KeyType": "RANGE"}));
    }
    assert_eq!(pair.memory.answer("CreateTable", &definition, 0).status, 200);
    assert_eq!(pair.embedded.answer("CreateTable", &definition).await.status, 200);
    for (n, request) in requests.iter().enumerate() {
        pair.run(n, request).await?;
    }
    let scan = json!({"TableName": pair.table});
    let sorted = |mut answer: Response| {
        let mut items = answer.body["Items"].take();
        items.as_array_mut().unwrap().sort_by_key(Value::to_string);
        items
    };
    // Number sets have another order in a Scan; see AWS' `HashSet`. Their members were compared above.
    let strip = |mut items: Value| {
        for item in items.as_array_mut().unwrap() {
            sort_sets(item);
        }
        items
    };
    let memory = strip(sorted(pair.memory.answer("Scan", &scan, 0)));
    prop_assert_eq!(memory, strip(sorted(pair.embedded.answer("Scan", &scan).await)));
    Ok(())
}

/// Sorts the members of all number sets as texts.
fn sort_sets(value: &mut Value) {
    match value {
        Value::Object(members) => {
            if let Some(Value::Array(set)) = members.get_mut("NS") {
                set.sort_by_key(Value::to_string);
            }
            members.values_mut().for_each(sort_sets);
        }
        Value::Array(values) => values.iter_mut().for_each(sort_sets),
        _ => {}
    }
}
