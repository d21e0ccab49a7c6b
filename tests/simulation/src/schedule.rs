//! Runs one schedule from beginning to end.

use std::time::Duration;

use gatehouse::commands::Selection;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::fleet::{Fleet, VISIBILITY};
use crate::plan::{Action, Ask, DESTINATIONS, Deliver, Function, Ms, Operation, Plan, Signer, Variant, What};
use crate::trace::Trace;
use crate::world::{DELIVERY_QUEUE, DELIVERY_TABLE, RETRY_QUEUE, SLOW_DELIVERY_QUEUE, Stats, TABLE, Violation, World};
use crate::{chats, event_source, logs, operators, senders, stream};

/// The longest schedule. Its actions take less than half of it.
const LONGEST: Ms = 200 * 86_400_000;

/// The time in which the world comes to rest: longer than all back-offs of event-retry together, and than every lease.
const REST: Ms = 5 * 3_600_000;
/// The first action numbers of the steps that follow the plan.
const ERASE_AGAIN: usize = 100_000;
const REDRIVE_AGAIN: usize = 200_000;
const ASK_AGAIN: usize = 300_000;
const DELIVER_AGAIN: usize = 400_000;
const ENABLE_AGAIN: usize = 500_000;

/// The result of a schedule.
#[derive(Debug, Clone)]
pub struct Report {
    /// The invariant that was violated, if any was.
    pub violation: Option<Violation>,
    /// What happened.
    pub trace: Trace,
    /// What was counted.
    pub stats: Stats,
}

/// Runs a schedule on a runtime of its own, whose time is paused.
#[must_use]
pub fn run(plan: Plan) -> Report {
    let failed = |what: String| Report {
        violation: Some(Violation { invariant: "simulation", what, at: 0 }),
        trace: Trace::default(),
        stats: Stats::default(),
    };
    // The SDK draws the lengths of its pauses from this generator.
    fastrand::seed(plan.seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    match runtime {
        Ok(runtime) => tokio::task::LocalSet::new().block_on(&runtime, play(plan)),
        Err(error) => failed(error.to_string()),
    }
}

async fn play(plan: Plan) -> Report {
    let world = World::new(plan.clone());
    let _lines = logs::observe(&world);
    create_services(&world);
    let fleet = Fleet::new(world.clone());
    tokio::select! {
        biased;
        () = world.violated() => {}
        () = live(&world, &fleet, &plan) => {}
        () = world.until(LONGEST) => world.violate("liveness", "the world does not come to rest"),
    }
    let mut state = world.state();
    Report {
        violation: state.violation.clone(),
        trace: std::mem::take(&mut state.trace),
        stats: std::mem::take(&mut state.stats),
    }
}

/// Runs the actions of the plan, then waits until the world has come to rest, and checks it.
async fn live(world: &World, fleet: &Fleet, plan: &Plan) {
    let mut background = JoinSet::new();
    for _ in 0..2 {
        background.spawn_local(event_source::poll(world.clone(), fleet.clone(), Function::EventRetry, RETRY_QUEUE));
    }
    if plan.has_deliveries {
        for queue in [DELIVERY_QUEUE, DELIVERY_QUEUE, DELIVERY_QUEUE, SLOW_DELIVERY_QUEUE] {
            background.spawn_local(event_source::poll(world.clone(), fleet.clone(), Function::Deliver, queue));
        }
        for shard in 0..stream::SHARDS {
            background.spawn_local(stream::poll(world.clone(), fleet.clone(), shard));
        }
        background.spawn_local(stream::sweep(world.clone(), fleet.clone()));
    }
    let mut actions = JoinSet::new();
    for action in plan.actions.clone() {
        let (world, fleet) = (world.clone(), fleet.clone());
        actions.spawn_local(async move {
            world.until(action.at).await;
            match action.what {
                What::Deliver(deliver) => senders::deliver(world, fleet, action, deliver).await,
                What::Ask(ask) => chats::ask(world, fleet, action, ask).await,
                _ => operators::act(world, fleet, action).await,
            }
        });
    }
    while actions.join_next().await.is_some() {}
    world.until(plan.quiet_at()).await;
    world.note("the faults have stopped");
    world.stop_faults();
    settle(world, fleet, plan).await;
}

/// Checks that the world comes to rest, and that nothing changes when everything is done once more.
async fn settle(world: &World, fleet: &Fleet, plan: &Plan) {
    world.wait(REST).await;
    let erased = plan.actions.iter().filter_map(|action| match action.what {
        What::Erase(event) => Some(event),
        _ => None,
    });
    let subjects: Vec<String> = erased.filter_map(|event| world.state().model.subject(event)).collect();
    // A dead letter that was deleted may come back once, before the second run.
    for n in 0..2 {
        if !subjects.is_empty() && !operators::erase_subjects(world, ERASE_AGAIN + n, subjects.clone()).await {
            world.violate("liveness", "subjects cannot be erased although nothing fails");
        }
    }
    let checked = world.state().model.check_no_erased_letter(world.epoch_ms());
    world.check(checked);
    for n in 0..3 {
        if world.state().model.dead_letters().is_empty() {
            break;
        }
        operators::redrive_letters(world, REDRIVE_AGAIN + n, Selection::All).await;
        world.wait(REST).await;
    }
    // The remaining dead letters are not events. The operator discards them, and SQS counts again within a minute.
    operators::purge_dead_letters(world);
    world.wait(120_000).await;
    // A message that was deleted may have come back.
    if world.state().model.has_retry_messages() {
        world.wait(REST).await;
    }
    rest_destinations(world, ENABLE_AGAIN).await;
    let now = world.epoch_ms();
    let checked = world.state().model.check_at_rest(plan.is_calm(), now);
    world.check(checked);
    ask_again(world, fleet, plan).await;
    repeat(world, fleet, plan).await;
    world.wait(REST).await;
    rest_destinations(world, ENABLE_AGAIN + DESTINATIONS.len()).await;
    let checked = world.state().model.check_at_rest(plan.is_calm(), world.epoch_ms());
    world.check(checked);
}

/// Enables the destinations, and waits until nothing is left to deliver. The longest pause between attempts is 29 h.
async fn rest_destinations(world: &World, first_action: usize) {
    if !world.state().plan.has_deliveries {
        return;
    }
    for n in 0..DESTINATIONS.len() {
        operators::operate(world, first_action + n, n, Operation::Enable).await;
    }
    for _ in 0..31 {
        if !world.state().model.destinations.has_waiting() {
            break;
        }
        world.wait(3_600_000).await;
    }
    let now = world.epoch_ms();
    let checked = world.state().model.check_destinations_at_rest(now);
    world.check(checked);
}

/// Uses every key once more: no key may stay locked.
async fn ask_again(world: &World, fleet: &Fleet, plan: &Plan) {
    let mut asks: Vec<Ask> = Vec::new();
    for action in &plan.actions {
        if let What::Ask(ask) = action.what
            && !asks.iter().any(|other| (other.client, other.key) == (ask.client, ask.key))
        {
            asks.push(Ask { leaves_after: None, retries: false, is_forged: false, ..ask });
        }
    }
    for (n, ask) in asks.into_iter().enumerate() {
        // The client `metered` may ask twice a minute.
        world.wait(40_000).await;
        let answer = chats::attempt_turn(world, fleet, ASK_AGAIN + n, ask, 0).await;
        let text = String::from_utf8_lossy(&answer.bytes);
        let is_locked = text.contains("key-in-use") || text.contains("too-many") || [0, 503].contains(&answer.status);
        if is_locked {
            let (key, status) = (ask.key, answer.status);
            world.violate("liveness", format_args!("a request with key {key:?} gets {status} although nothing runs"));
        }
    }
}

/// Delivers every event once more: no record may change.
async fn repeat(world: &World, fleet: &Fleet, plan: &Plan) {
    // No record that is compared expires in the meantime.
    let end = world.epoch_ms() + 3_600_000;
    let before = world.state().model.records(end);
    let mut delivered: Vec<usize> = plan.actions.iter().filter_map(delivered_event).collect();
    delivered.sort_unstable();
    delivered.dedup();
    for event in delivered {
        let deliver =
            Deliver { event, variant: Variant::Original, is_doubled: false, retries: false, signer: Signer::Vendor };
        senders::deliver_once(world, fleet, DELIVER_AGAIN + event, deliver).await;
    }
    let after = world.state().model.records(end);
    for (key, content) in before {
        let expected = Some(&content);
        if after.get(&key) != expected {
            world.violate("I6", format_args!("{key} has changed from {content} to {:?}", after.get(&key)));
        }
    }
}

/// Returns the event that an action delivers.
fn delivered_event(action: &Action) -> Option<usize> {
    match action.what {
        What::Deliver(deliver) => Some(deliver.event),
        _ => None,
    }
}

/// Creates the tables and the queues as the template says.
pub(crate) fn create_services(world: &World) {
    let now = world.epoch_ms();
    let mut state = world.state();
    let attribute = |name: &str| json!({"AttributeName": name, "AttributeType": "S"});
    let key = |name: &str, kind: &str| json!({"AttributeName": name, "KeyType": kind});
    let attributes = ["event_id", "subject", "occurred_at", "source_hour", "received_at"].map(attribute);
    let table = json!({
        "TableName": TABLE, "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": attributes,
        "KeySchema": [key("event_id", "HASH")],
        "GlobalSecondaryIndexes": [
            {"IndexName": "by-subject", "KeySchema": [key("subject", "HASH"), key("occurred_at", "RANGE")],
             "Projection": {"ProjectionType": "KEYS_ONLY"}},
            {"IndexName": "by-source", "KeySchema": [key("source_hour", "HASH"), key("received_at", "RANGE")],
             "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes":
                ["event_type", "subject", "occurred_at", "expires_at", "conflict_of", "parsed", "identity"]}}]});
    state.dynamodb.answer("CreateTable", &table, now);
    let ttl = json!({"TableName": TABLE, "TimeToLiveSpecification": {"AttributeName": "expires_at", "Enabled": true}});
    state.dynamodb.answer("UpdateTimeToLive", &ttl, now);
    if state.plan.has_deliveries {
        create_delivery_table(&mut state.dynamodb, now);
    }
    let mut create = |name: &str, attributes: Value| {
        let mut first = gatehouse_memory::First;
        state.sqs.answer("CreateQueue", &json!({"QueueName": name, "Attributes": attributes}), now, &mut first);
    };
    let retention = Duration::from_secs(14 * 86_400).as_secs().to_string();
    create("DeadLetterQueue", json!({"MessageRetentionPeriod": retention.clone()}));
    let policy = json!({"deadLetterTargetArn": "arn:aws:sqs:us-east-1:000000000000:DeadLetterQueue",
                        "maxReceiveCount": event_retry::MAX_RECEIVES});
    create(
        "RetryQueue",
        json!({"MessageRetentionPeriod": retention,
        "VisibilityTimeout": VISIBILITY.as_secs().to_string(), "RedrivePolicy": policy.to_string()}),
    );
    let visibility = deliver::VISIBILITY.as_secs().to_string();
    for queue in ["DeliveryQueue", "SlowDeliveryQueue"] {
        create(queue, json!({"MessageRetentionPeriod": retention, "VisibilityTimeout": visibility}));
    }
}

/// Creates the delivery table as the template says, and the states of the destinations as `gatehouse destinations set`
/// does.
fn create_delivery_table(dynamodb: &mut gatehouse_memory::DynamoDb, now: i64) {
    let attribute = |name: &str| json!({"AttributeName": name, "AttributeType": "S"});
    let key = |name: &str, kind: &str| json!({"AttributeName": name, "KeyType": kind});
    let attributes = ["lane", "row", "waits_for", "due"].map(attribute);
    let table = json!({
        "TableName": DELIVERY_TABLE, "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": attributes,
        "KeySchema": [key("lane", "HASH"), key("row", "RANGE")],
        "GlobalSecondaryIndexes": [
            {"IndexName": "by-due", "KeySchema": [key("waits_for", "HASH"), key("due", "RANGE")],
             "Projection": {"ProjectionType": "ALL"}}]});
    dynamodb.answer("CreateTable", &table, now);
    let ttl = json!({"AttributeName": "expires_at", "Enabled": true});
    let ttl = json!({"TableName": DELIVERY_TABLE, "TimeToLiveSpecification": ttl});
    dynamodb.answer("UpdateTimeToLive", &ttl, now);
    let since = gatehouse_payload::time::Timestamp::clamped(now).plus_secs(-60).to_string();
    for name in DESTINATIONS {
        let state = json!({"lane": {"S": "destinations"}, "row": {"S": name}, "since": {"S": since}});
        dynamodb.answer("PutItem", &json!({"TableName": DELIVERY_TABLE, "Item": state}), now);
    }
    dynamodb.take_changes();
}
