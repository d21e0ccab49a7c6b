//! A benchmark in virtual time: how a dead destination delays another one.
//!
//! 23 events arrive per second, which are 500,000 in an outage of six hours, and also for a while after it. Both
//! destinations get each event. A smaller number of events makes the outage shorter.

use std::io::Write;

use bytes::Bytes;
use gatehouse_memory::dynamodb::Item;
use gatehouse_vendors::SOURCES;
use http::Request;
use serde_json::{Value, json};
use tokio::task::{JoinSet, LocalSet};

use crate::fleet::Fleet;
use crate::network::Caller;
use crate::plan::{EventSpec, Fault, FaultKind, Function, Ms, Plan, Service, Signer, Variant};
use crate::world::{DELIVERY_QUEUE, Measured, SLOW_DELIVERY_QUEUE, TABLE, World};
use crate::{event_source, schedule, senders, stream};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

const MINUTE: Ms = 60_000;
/// The time in which 100,000 events arrive, in milliseconds: 500,000 arrive in six hours.
const PER_100_000: Ms = 72 * MINUTE;
/// The shortest and the longest time after the outage in which events arrive.
const AFTER: (Ms, Ms) = (3 * MINUTE, 30 * MINUTE);
/// The longest time from the end of the outage until everything is delivered.
const LONGEST: Ms = 24 * 60 * MINUTE;
/// The beginning of the outage, in which the destination is not known to be dead yet.
const ONSET: Ms = 2 * MINUTE;
/// The promise: a delay that the dead destination must not cause, in milliseconds.
const PROMISED: i64 = 5000;
/// The number of batches that are handled at the same time: the template's `MaximumConcurrency` for the delivery queue
/// and the slow delivery queue.
const MAX_CONCURRENCY: [(&str, usize); 2] = [(DELIVERY_QUEUE, 20), (SLOW_DELIVERY_QUEUE, 5)];
/// Events of one subject.
const PER_SUBJECT: u32 = 5;

/// Returns the time in which `events` arrive.
fn time_of(events: u64) -> Ms {
    events * PER_100_000 / 100_000
}

/// Measures each way in which a destination can be dead, with `events` events in the outage. Returns whether the
/// promise holds.
///
/// # Errors
/// If the output cannot be written, or no event can be recorded.
pub fn measure(events: u32) -> Result<bool> {
    let mut holds = true;
    let end = time_of(events.into());
    let mut output = std::io::stdout();
    writeln!(output, "a destination is dead for {} s; delays of another one in ms\n", end / 1000)?;
    writeln!(
        output,
        "{:<10} {:>11} {:>15} {:>15} {:>9} {:>12}\n{:<10} {:>11} {:>15} {:>15} {:>9} {:>12}",
        "",
        "first 2 min",
        "then",
        "after",
        "waiting",
        "all sent",
        "it",
        "max",
        "median max",
        "median max",
        "",
        "after min"
    )?;
    let ways = [("refuses", FaultKind::Unreachable), ("errs", FaultKind::Internal), ("is silent", FaultKind::Lost)];
    let runs: Vec<Result<Run>> = std::thread::scope(|scope| {
        let threads = ways.map(|(_, kind)| scope.spawn(move || run_alone(events, kind)));
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err("a benchmark thread panicked".into())))
            .collect()
    });
    for ((name, _), run) in ways.into_iter().zip(runs) {
        let run = run?;
        let of = |from: Ms, to: Ms| {
            let within = run.measured.delays.iter().filter(|(at, _)| (from..to).contains(at));
            let mut delays: Vec<i64> = within.map(|(_, delay)| *delay).collect();
            delays.sort_unstable();
            let median = delays.get(delays.len() / 2).copied().unwrap_or_default();
            (median, delays.last().copied().unwrap_or_default())
        };
        let (onset, outage, after) = (of(0, ONSET), of(ONSET, end), of(end.max(ONSET), Ms::MAX));
        let (then, later) = (format!("{} {:>7}", outage.0, outage.1), format!("{} {:>7}", after.0, after.1));
        let minutes = run.done_at.saturating_sub(end) / MINUTE;
        let (first, waiting) = (onset.1, run.waiting);
        writeln!(output, "{name:<10} {first:>11} {then:>15} {later:>15} {waiting:>9} {minutes:>12}")?;
        holds &= [onset, outage, after].iter().all(|(_, max)| *max < PROMISED) && run.is_complete;
    }
    Ok(holds)
}

/// The result of an outage.
struct Run {
    measured: Measured,
    /// The number of events that wait for the dead destination when it is back.
    waiting: u64,
    /// The time at which the dead destination had accepted all events.
    done_at: Ms,
    /// Whether both destinations have got all events.
    is_complete: bool,
}

/// Runs an outage on a runtime of its own.
fn run_alone(events: u32, kind: FaultKind) -> Result<Run> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    LocalSet::new().block_on(&runtime, run(events, kind))
}

async fn run(events: u32, kind: FaultKind) -> Result<Run> {
    fastrand::seed(1);
    let end = time_of(events.into());
    let source = SOURCES.iter().position(|source| source.profile().vendor == "vapi" && !source.samples().is_empty());
    let spec = EventSpec {
        source: source.ok_or("no samples of Vapi")?,
        sample: 0,
        subject: 0,
        large: false,
        is_undated: false,
    };
    let world = World::new(Plan { seed: 1, events: vec![spec], actions: Vec::new(), has_deliveries: true });
    schedule::create_services(&world);
    let fleet = Fleet::new(world.clone());
    let template = record(&world, &fleet, spec).await.ok_or("the event could not be recorded")?;
    {
        let mut state = world.state();
        state.measured = Some(Measured::default());
        state.trace.turn_off();
        state.stream = stream::Stream::default();
        let fault = Fault { service: Service::Archive, kind, share: 1000, lasts: end };
        state.faults.push((end, 0, fault));
    }
    let mut background = JoinSet::new();
    for (queue, concurrency) in MAX_CONCURRENCY {
        for _ in 0..concurrency {
            background.spawn_local(event_source::poll(world.clone(), fleet.clone(), Function::Deliver, queue));
        }
    }
    for shard in 0..stream::SHARDS {
        background.spawn_local(stream::poll(world.clone(), fleet.clone(), shard));
    }
    let (own_world, own_fleet) = (world.clone(), fleet.clone());
    background.spawn_local(async move {
        loop {
            own_world.wait(MINUTE).await;
            own_fleet.sweep().await;
        }
    });
    let after = (end / 12).clamp(AFTER.0, AFTER.1);
    let all = u64::from(events) + after * 100_000 / PER_100_000;
    let mut waiting = 0;
    for n in 0..all {
        world.until(time_of(n)).await;
        if n == u64::from(events) {
            waiting = n - world.state().measured.as_ref().map_or(0, |measured| measured.accepted);
        }
        add(&world, &template, u32::try_from(n)?);
    }
    let accepted = || world.state().measured.as_ref().map_or(0, |measured| measured.accepted);
    while accepted() < all && world.now() < end + LONGEST {
        world.wait(MINUTE).await;
    }
    let done_at = world.now();
    let measured = world.state().measured.take().unwrap_or_default();
    let is_complete = measured.accepted >= all && measured.delays.len() as u64 >= all;
    Ok(Run { measured, waiting, done_at, is_complete })
}

/// Records an event. Returns its item.
async fn record(world: &World, fleet: &Fleet, spec: EventSpec) -> Option<Item> {
    let source = SOURCES[spec.source];
    let body = senders::body(1, spec, 0, Variant::Original, false);
    let headers = world.state().keys.sign(source, "msg_0", body.as_bytes(), world.time(), Signer::Vendor);
    let mut request = Request::post("/").header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let function = Function::named(source.profile().function)?;
    fleet.deliver(function, request.body(Bytes::from(body)).ok()?).await?.1?;
    let state = world.state();
    state.dynamodb.items(TABLE)?.values().find(|item| item.contains_key("source")).cloned()
}

/// Adds a record to the table, as if the event `n` had been recorded now.
fn add(world: &World, template: &Item, n: u32) {
    let (now, time) = (world.epoch_ms(), world.time().to_string());
    let mut item = template.clone();
    let hour = time.get(..13).unwrap_or_default();
    let expires_at = (now / 1000 + 30 * 86_400).to_string();
    let attributes: [(&str, Value); 6] = [
        ("event_id", json!({"S": format!("vapi:server:benchmark:{n}")})),
        ("subject", json!({"S": format!("vapi:call:{}", n / PER_SUBJECT)})),
        ("received_at", json!({"S": time})),
        ("occurred_at", json!({"S": time})),
        ("source_hour", json!({"S": format!("vapi/{hour}")})),
        ("expires_at", json!({"N": expires_at})),
    ];
    item.extend(attributes.map(|(name, value)| (name.to_owned(), value)));
    let body = json!({"TableName": TABLE, "Item": item});
    let mut state = world.state();
    state.dynamodb.answer("PutItem", &body, now);
    let checked = state.observe(Caller::Aws, Service::DynamoDb, "PutItem", &body, now);
    drop(state);
    world.check(checked);
    world.deliveries_changed();
}
