//! What an event costs: requests, DynamoDB write units by sample, and what an answer waits for at worst.
//! `cargo bench -p gatehouse-tests --bench cost --profile dev` (nothing is timed, so nothing need be optimized)
//!
//! Write units are those the engine reports for writing the recorded items into an empty table, index included. A sample
//! beside the repository (`../shared/samples`) is measured too where it is there.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::{Path, PathBuf};

use aws_sdk_dynamodb::types::ReturnConsumedCapacity;
use gatehouse_inbox::Clock;
use gatehouse_local::delivery::noise;
use gatehouse_local::engine::{Engine, FREE};
use gatehouse_local::template::Template;
use gatehouse_local::{Delivery, Fault, Options, Rule, Testbed, local_sdk};

#[tokio::main]
async fn main() {
    requests().await;
    worst_wait().await;
    println!("\n{:<50} {:>9} {:>9} {:>6} {:>6}", "write units of a new event", "body B", "stored B", "table", "index");
    for folder in ["fixtures", "../../shared/samples"] {
        for path in samples(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)) {
            let name = format!("{}/{}", folder.trim_start_matches("../"), file_name(&path));
            write_units(&name, &path).await;
        }
    }
}

async fn requests() {
    let stack = Testbed::start(Options { poll: false, ..Options::default() }).await.unwrap();
    let body = include_str!("../fixtures/ada/conversation-message.json");
    let large = format!(r#"{{"noise":"{}"}}"#, noise(1, 1_500_000));
    println!("{:<50} {:>9} {:>9}", "requests", "DynamoDB", "SQS");
    for (what, message_id, body) in [
        ("new event", "msg_1", body.to_owned()),
        ("duplicate", "msg_1", body.to_owned()),
        ("conflict", "msg_1", body.replace("Friday", "Monday")),
        ("new event of 1.5 MB that hardly compress", "msg_2", large.clone()),
        ("duplicate of it", "msg_2", large),
    ] {
        let count = || (stack.dynamodb.counts().values().sum::<usize>(), stack.sqs.counts().values().sum::<usize>());
        let before = count();
        Delivery::ada(message_id, body, Clock::System.now()).send(&stack.url).await.unwrap();
        let after = count();
        println!("{what:<50} {:>9} {:>9}", after.0 - before.0, after.1 - before.1);
    }
}

/// What somebody waits who is answered while neither store says anything.
async fn worst_wait() {
    let stack = Testbed::start(Options { poll: false, ..Options::default() }).await.unwrap();
    stack.dynamodb.fail(Rule::every(Fault::Hang));
    stack.sqs.fail(Rule::every(Fault::Hang));
    println!("\n{:<50} {:>9} {:>9}  {:<12}", "while DynamoDB and SQS hang", "status", "ms", "outcome");
    for name in ["assistant-request", "end-of-call-report"] {
        let body = format!(r#"{{"message":{{"type":"{name}","call":{{"id":"c"}}}}}}"#);
        let answer = Delivery::vapi_server(body).send(&stack.url).await.unwrap();
        println!("{name:<50} {:>9} {:>9}  {:<12}", answer.status, answer.took.as_millis(), answer.outcome());
    }
}

async fn write_units(name: &str, path: &Path) {
    let body = std::fs::read(path).unwrap();
    let stack = Testbed::start(Options { poll: false, ..Options::default() }).await.unwrap();
    let delivery = match name {
        _ if name.contains("vapi/client_") => Delivery::vapi_client(body.clone()),
        _ if name.contains("vapi/") => Delivery::vapi_server(body.clone()),
        _ if name.contains("agntix/") => {
            Delivery::agntix("msg_2yV3nKQe8sYcXhLmT5aWbRzPqJd", body.clone(), Clock::System.now())
        }
        _ => Delivery::ada("msg_2yV3nKQe8sYcXhLmT5aWbRzPqJd", body.clone(), Clock::System.now()),
    };
    let answer = delivery.send(&stack.url).await.unwrap();
    assert_eq!(answer.outcome(), "recorded", "{name}: {}", answer.body);

    let empty = Engine::dynamodb(FREE, None).await.unwrap();
    let client = aws_sdk_dynamodb::Client::new(&local_sdk(&empty.url()));
    Template::read().unwrap().create_table(&client, &stack.table).await.unwrap();
    let (mut table, mut index, mut stored) = (0.0, 0.0, 0);
    let scan = stack.dynamodb_client().scan().table_name(&stack.table).send().await.unwrap();
    for item in scan.items() {
        stored += item.get("payload").map_or(0, |payload| match (payload.as_s(), payload.as_b()) {
            (Ok(text), _) => text.len(),
            (_, Ok(blob)) => blob.as_ref().len(),
            _ => 0,
        });
        let put = client.put_item().table_name(&stack.table).set_item(Some(item.clone()));
        let put = put.return_consumed_capacity(ReturnConsumedCapacity::Indexes).send().await.unwrap();
        let capacity = put.consumed_capacity.unwrap();
        table += capacity.table.and_then(|table| table.capacity_units).unwrap_or_default();
        let indexes = capacity.global_secondary_indexes.unwrap_or_default();
        index += indexes.values().filter_map(|index| index.capacity_units).sum::<f64>();
    }
    println!("{name:<50} {:>9} {stored:>9} {table:>6} {index:>6}", body.len());
}

fn samples(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for vendor in ["ada", "agntix", "vapi"] {
        let Ok(files) = std::fs::read_dir(folder.join(vendor)) else { continue };
        let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        files.sort();
        // What Vapi gets, rather than sends.
        let sent =
            |path: &PathBuf| !["add-message", "inbound_", "response_"].iter().any(|p| file_name(path).contains(p));
        found.extend(files.into_iter().filter(sent));
    }
    found
}

fn file_name(path: &Path) -> String {
    let mut parts = path.iter().rev().map(|part| part.to_string_lossy());
    let (file, folder) = (parts.next().unwrap(), parts.next().unwrap());
    format!("{folder}/{file}")
}
