//! Strikes the functions that deliver events, at every request that they make, and counts what arrives.

use std::collections::{BTreeMap, BTreeSet};

use deliver::TIMEOUT;
use futures_util::stream::{self, StreamExt};
use gatehouse_ada::Ada;
use gatehouse_deliveries::deliver::{Deliverer, SlowLimits};
use gatehouse_deliveries::doorbell::Doorbells;
use gatehouse_deliveries::send::{CONNECT_TIMEOUT, Sender};
use gatehouse_deliveries::{DeliveryTable, PART};
use gatehouse_egress::{ScopedClient, Tls};
use gatehouse_inbox::Store;
use gatehouse_inbox::queue::Queues;
use gatehouse_local::runtime_api::Invoked;
use gatehouse_local::{Delivery, Fault, FaultProxy, Rule, Testbed, local_sdk};
use gatehouse_receiver::{Deadline, SecretsCache};
use gatehouse_runtime::{Clock, Random};
use serde_json::{Value, json};

use crate::delivery_functions::{Function, changes, queue_batch, start};
use crate::support::{now, send, stack};

/// Number of cases that run concurrently.
const CONCURRENCY: usize = 4;
/// Time after which the lease of a killed sender has expired, and a failed delivery is due again, in seconds.
const LATER: i64 = 70;

/// What is struck.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// `outbox`, with three events.
    Outbox,
    /// `deliver`, whose destination accepts them.
    Deliver,
    /// `deliver`, whose destination refuses the first one, so that it hides the doorbell.
    Refused,
    /// The timer of `deliver`, when a delivery is due. Another destination is disabled.
    Timer,
}

/// How it is struck.
#[derive(Debug, Clone, Copy)]
enum Strike {
    /// The process is killed; the request was not applied.
    KillBefore,
    /// The process is killed; the request was applied.
    KillAfter,
    /// The service fails from this request on.
    Fail,
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_is_delivered_wherever_its_function_is_killed_or_a_service_fails() {
    let mut cases = Vec::new();
    for part in [Part::Outbox, Part::Deliver, Part::Refused, Part::Timer] {
        for strike in [Strike::KillBefore, Strike::KillAfter, Strike::Fail] {
            cases.extend([0, 1].map(|service| (part, strike, service)));
        }
    }
    let struck = stream::iter(cases).map(|(part, strike, service)| async move {
        let bed = stack().await;
        let mut requests = 0;
        // Until the function makes fewer requests than that.
        while strike_at(&bed, part, strike, service, requests).await {
            requests += 1;
        }
        assert!(requests > 0, "{part:?} made no request to service {service}");
        requests
    });
    let requests: u32 = struck.buffer_unordered(CONCURRENCY).collect::<Vec<_>>().await.into_iter().sum();
    assert!(requests >= 100, "{requests} requests were struck");
}

/// Strikes `part` at a request to DynamoDB (0) or SQS (1). Returns whether it made that request.
async fn strike_at(bed: &Testbed, part: Part, strike: Strike, service: usize, request: u32) -> bool {
    let case = format!("{part:?}-{strike:?}-{service}-{request}");
    // Each request has a destination of its own, so that no breaker is open.
    let destination = format!("audit-{request}-only");
    let (clock, table) =
        (Clock::manual(now()), DeliveryTable::new(&local_sdk(&bed.dynamodb.url()), &bed.delivery_table));
    let create =
        async |name: &str| bed.sqs_client().create_queue().queue_name(name).send().await.unwrap().queue_url.unwrap();
    let refused = create(&format!("refused-{request}")).await;
    let name = format!("accepted-{request}");
    // Until it is created, it refuses everything.
    let queue = refused.replace(&format!("refused-{request}"), &name);
    let disabled = json!({"sqs": queue, "when": [{"source": "vapi"}]});
    let document = json!({"destinations": {&destination: {"sqs": queue}, "disabled": disabled}}).to_string();
    for name in [&destination, "disabled"] {
        table.destination(name, clock.now()).await.unwrap();
    }
    table.disable("disabled", "by an operator").await.unwrap();
    let recovery = Recovery { bed, destination: &destination, state: deliver_state(bed, &clock, &document) };
    if !matches!(part, Part::Refused | Part::Timer) {
        create(&name).await;
    }

    let mut ids = Vec::new();
    for n in 0..3 {
        let body = format!(r#"{{"type":"v1.conversation.message","data":{{"conversation_id":"c_{case}","n":{n}}}}}"#);
        let delivery = Delivery::of(&Ada, &format!("msg_{case}_{n}"), body, now());
        let answer = send(bed, &delivery).await;
        assert_eq!(answer.outcome(), "recorded");
        ids.push(answer.event_id().to_owned());
    }
    let events = changes(bed, &ids.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let proxies = [&bed.dynamodb, &bed.sqs];
    let struck = |event: Value, function: Function| {
        strike_function(bed, proxies[service], strike, request, event, function, &document)
    };

    let mut is_struck = false;
    if part == Part::Outbox {
        is_struck = struck(events.clone(), Function::Outbox).await;
    }
    // Lambda repeats a batch that failed, and may repeat one that succeeded.
    let invoked = start(bed, Function::Outbox, &document).await.invoke(&events).await.unwrap();
    assert_eq!(invoked, Invoked::Answered(json!({"batchItemFailures": []})), "{case}");

    let mut doorbells = recovery.doorbells().await;
    match part {
        Part::Outbox => {}
        Part::Deliver | Part::Refused => is_struck = struck(doorbells.clone(), Function::Deliver).await,
        Part::Timer => {
            clock.advance(-400);
            recovery.handle(doorbells.clone()).await;
            clock.advance(400);
            is_struck = struck(json!({"source": "aws.events"}), Function::Deliver).await;
        }
    }
    create(&name).await;
    if is_struck {
        for doorbell in doorbells["Records"].as_array_mut().unwrap() {
            doorbell["attributes"]["ApproximateReceiveCount"] = json!("2");
        }
    }
    clock.advance(LATER);
    recovery.handle(doorbells).await;
    let mut arrived: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for _ in 0..10 {
        recovery.take(&queue, &mut arrived).await;
        if ids.iter().all(|id| arrived.contains_key(id)) {
            break;
        }
        clock.advance(LATER);
        recovery.handle(json!({})).await;
        recovery.handle(recovery.doorbells().await).await;
    }
    assert_eq!(arrived.keys().collect::<Vec<_>>(), ids.iter().collect::<Vec<_>>(), "{case}: the events that arrived");
    assert!(arrived.values().all(|ids| ids.len() == 1), "{case}: an event has two webhook ids: {arrived:?}");
    is_struck
}

/// Passes an event to a function's binary and strikes it at a request to the service behind `proxy`. Returns whether it
/// made that request.
async fn strike_function(
    bed: &Testbed,
    proxy: &FaultProxy,
    strike: Strike,
    request: u32,
    event: Value,
    function: Function,
    document: &str,
) -> bool {
    let rule = match strike {
        Strike::KillBefore => Rule::every(Fault::Hang).times(1),
        Strike::KillAfter => Rule::every(Fault::HoldResponse).times(1),
        Strike::Fail => Rule::every(Fault::INTERNAL),
    };
    let mut host = start(bed, function, document).await;
    let before = proxy.fault_count();
    proxy.add_rule(rule.after(request));
    let fault = proxy.next_fault();
    match strike {
        Strike::KillBefore | Strike::KillAfter => tokio::select! {
            invoked = host.invoke(&event) => drop(invoked.unwrap()),
            () = fault => drop(host.kill().await.unwrap()),
        },
        Strike::Fail => {
            let is_failed = match host.invoke(&event).await.unwrap() {
                Invoked::Answered(answer) => answer != json!({"batchItemFailures": []}),
                Invoked::Failed(_) => true,
            };
            let is_struck = proxy.fault_count() > before;
            assert!(is_failed || !is_struck, "a failure is reported: {event}");
        }
    }
    proxy.clear_rules();
    proxy.fault_count() > before
}

/// What happens after a function was struck, with the function `deliver` in this process, so that time can pass.
struct Recovery<'a> {
    bed: &'a Testbed,
    destination: &'a str,
    state: deliver::State,
}

impl Recovery<'_> {
    /// Receives the visible doorbells of the destination.
    async fn doorbells(&self) -> Value {
        let mut batch = queue_batch(self.bed, &self.bed.delivery_queue).await;
        let records = batch["Records"].as_array_mut().unwrap();
        records.retain(|record| record["body"].as_str().unwrap().contains(self.destination));
        batch
    }

    async fn handle(&self, event: Value) {
        deliver::handle(event, &self.state, Deadline::within(TIMEOUT)).await.unwrap();
    }

    /// Takes the messages of a queue, and adds their webhook ids to `arrived`, by event id.
    async fn take(&self, queue: &str, arrived: &mut BTreeMap<String, BTreeSet<String>>) {
        loop {
            let batch = queue_batch(self.bed, queue).await;
            let messages = batch["Records"].as_array().unwrap();
            if messages.is_empty() {
                return;
            }
            for message in messages {
                let header =
                    |name: &str| message["messageAttributes"][name]["stringValue"].as_str().unwrap().to_owned();
                arrived.entry(header("gatehouse-event-id")).or_default().insert(header("webhook-id"));
            }
        }
    }
}

/// The state of the function `deliver` with a clock of its own.
fn deliver_state(bed: &Testbed, clock: &Clock, document: &str) -> deliver::State {
    let (dynamodb, sqs) = (local_sdk(&bed.dynamodb.url()), local_sdk(&bed.sqs.url()));
    let http = ScopedClient::new(&Tls::native().unwrap(), CONNECT_TIMEOUT);
    deliver::State {
        deliverer: Deliverer {
            store: Store::new(&dynamodb, &bed.table, 90),
            table: DeliveryTable::new(&dynamodb, &bed.delivery_table),
            sender: Sender::new(http, sqs.clone(), false).with_local_queues(&sqs),
            doorbells: Doorbells::new(&sqs, &bed.delivery_queue),
            slow_doorbells: Doorbells::of_slow(&sqs, &bed.slow_delivery_queue),
            slow_limits: SlowLimits::default(),
            clock: clock.clone(),
            random: Random::System,
            states: Default::default(),
        },
        queues: Queues::new(&sqs, 1_048_576),
        destinations: SecretsCache::fixed(PART, document, true, Clock::System).unwrap(),
    }
}
