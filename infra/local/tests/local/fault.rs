//! Tests of the fault proxy: its faults, and which requests a rule matches.
#![allow(clippy::unwrap_used, missing_docs)]

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use gatehouse_local::engine::{Engine, FREE};
use gatehouse_local::template::Template;
use gatehouse_local::{Fault, FaultProxy, Rule, local_sdk};
use tokio::time::{Instant, timeout};

/// A table behind a proxy, and a client without retries.
struct Bed {
    proxy: FaultProxy,
    through: Client,
    direct: Client,
    _engine: Engine,
}

impl Bed {
    async fn new() -> Bed {
        let engine = Engine::dynamodb(FREE, None).await.unwrap();
        let direct = Client::new(&local_sdk(&engine.url()));
        Template::read().unwrap().create_table(&direct, "EventTable").await.unwrap();
        let proxy = FaultProxy::start(engine.address).await.unwrap();
        let config = aws_sdk_dynamodb::config::Builder::from(&local_sdk(&proxy.url()));
        let config = config.retry_config(aws_sdk_dynamodb::config::retry::RetryConfig::disabled());
        Bed { proxy, through: Client::from_conf(config.build()), direct, _engine: engine }
    }

    /// Writes an item. Returns `ok`, the error's code, or `connection`.
    async fn put(&self, id: &str) -> String {
        let put = self.through.put_item().table_name("EventTable").item("event_id", AttributeValue::S(id.to_owned()));
        match put.send().await {
            Ok(_) => "ok".to_owned(),
            Err(error) => match error.as_service_error() {
                Some(_) => gatehouse_runtime::aws::error_code(&error).to_owned(),
                None => "connection".to_owned(),
            },
        }
    }

    async fn exists(&self, id: &str) -> bool {
        let get = self.direct.get_item().table_name("EventTable").key("event_id", AttributeValue::S(id.to_owned()));
        get.send().await.unwrap().item.is_some()
    }
}

#[tokio::test]
async fn fault_decides_the_error_and_whether_the_write_is_applied() {
    for (fault, result, applied) in [
        (Fault::Cut, "connection", false),
        (Fault::DropResponse, "connection", true),
        (Fault::THROTTLE, "ProvisionedThroughputExceededException", false),
        (Fault::TRANSACTION_CONFLICT, "TransactionConflictException", false),
        (Fault::INTERNAL, "InternalServerError", false),
        (Fault::INVALID, "ValidationException", false),
    ] {
        let bed = Bed::new().await;
        bed.proxy.add_rule(Rule::every(fault.clone()));
        assert_eq!((bed.put("a").await.as_str(), bed.exists("a").await), (result, applied), "{fault:?}");
        assert_eq!(bed.proxy.fault_count(), 1);
        bed.proxy.clear_rules();
        assert_eq!(bed.put("a").await, "ok");
    }
}

#[tokio::test]
async fn hang_and_hold_response_never_respond() {
    let bed = Bed::new().await;
    for (fault, id, applied) in [(Fault::HoldResponse, "a", true), (Fault::Hang, "b", false)] {
        bed.proxy.add_rule(Rule::every(fault));
        let next_fault = bed.proxy.next_fault();
        tokio::select! {
            result = bed.put(id) => unreachable!("{result}"),
            () = next_fault => {}
        }
        assert_eq!(bed.exists(id).await, applied);
        bed.proxy.clear_rules();
    }
}

#[tokio::test]
async fn delayed_request_is_forwarded_later() {
    let bed = Bed::new().await;
    bed.proxy.add_rule(Rule::every(Fault::Delay(Duration::from_millis(150))));
    let started = Instant::now();
    assert_eq!(timeout(Duration::from_secs(30), bed.put("a")).await.unwrap(), "ok");
    assert!(started.elapsed() >= Duration::from_millis(150));
}

#[tokio::test]
async fn rule_matches_by_operation_content_and_count() {
    let bed = Bed::new().await;
    bed.proxy.add_rule(Rule::every(Fault::INTERNAL).on("PutItem").containing("ada:").after(1).times(2));
    let mut succeeded = Vec::new();
    for id in ["other", "ada:1", "ada:2", "other", "ada:3", "ada:4"] {
        succeeded.push(bed.put(id).await == "ok");
    }
    assert_eq!(succeeded, [true, true, false, true, false, true]);
    let get = bed.through.get_item().table_name("EventTable").key("event_id", AttributeValue::S("ada:1".to_owned()));
    assert!(get.send().await.is_ok(), "another operation");
    assert_eq!((bed.proxy.counts()["PutItem"], bed.proxy.counts()["GetItem"]), (6, 1));
}

#[tokio::test]
async fn seed_reproduces_which_requests_fail() {
    let mut runs = Vec::new();
    for seed in [1, 1, 2] {
        let bed = Bed::new().await;
        bed.proxy.add_rule(Rule::every(Fault::THROTTLE).share(0.4, seed));
        let mut run = String::new();
        for n in 0..60 {
            run.push(if bed.put(&n.to_string()).await == "ok" { '.' } else { 'x' });
        }
        runs.push(run);
    }
    assert_eq!(runs[0], runs[1]);
    assert_ne!(runs[0], runs[2]);
    let failed = runs[0].matches('x').count();
    assert!((10..40).contains(&failed), "{}", runs[0]);
}
