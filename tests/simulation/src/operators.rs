//! Operators redrive dead letters, erase subjects, rotate secrets and deploy. AWS removes expired items and updates
//! indexes late.

use std::collections::BTreeSet;
use std::time::Duration;

use gatehouse::commands::{Deployment, Parts, Queues, Selection, erase, redrive};
use gatehouse_deliveries::DeliveryTable;
use gatehouse_inbox::StoreError;
use gatehouse_payload::Subject;
use gatehouse_runtime::Random;
use serde_json::json;

use crate::chance::Chance;
use crate::fleet::{Fleet, sdk};
use crate::keys::Keys;
use crate::network::{Caller, Wire};
use crate::plan::{Action, DESTINATIONS, Fault, Ms, Operation, Poison, Service, TTL_DAYS, What};
use crate::world::{DEAD_LETTER_QUEUE, DELIVERY_TABLE, RETRY_QUEUE, TABLE, World};

/// The time between the addition of a new secret and its first use.
const BEFORE_SWITCH: Ms = 60_000;
/// The time between the first use of a new secret and the removal of the old one.
const BEFORE_REMOVAL: Ms = 20 * 60_000;

/// Does what an action says, except what vendors and chat clients do.
pub async fn act(world: World, fleet: Fleet, action: Action) {
    let now = world.now();
    match action.what {
        What::Deliver(_) | What::Ask(_) => {}
        What::Fault(fault) => {
            let Fault { service, kind, share, lasts } = fault;
            world.note(format_args!("{service:?}: {kind:?} for {share} of 1000 requests, {lasts} ms"));
            world.state().faults.push((now + lasts, action.n, fault));
        }
        What::Kill { function, after, death } => {
            let mut state = world.state();
            let mut alive: Vec<_> = state
                .instances
                .iter_mut()
                .filter(|instance_state| instance_state.function == function && !instance_state.is_dead)
                .collect();
            let chosen = alive.len().checked_sub(1).map(|last| last - action.n % (last + 1));
            if let Some(instance_state) = chosen.and_then(|chosen| alive.get_mut(chosen)) {
                instance_state.kill_at = Some((instance_state.requests + 1 + after, death));
            }
        }
        What::Pause { function, lasts } => {
            let instances: Vec<usize> = {
                let state = world.state();
                let instances = state.instances.iter().enumerate();
                instances
                    .filter(|(_, instance_state)| instance_state.function == function && !instance_state.is_dead)
                    .map(|(n, _)| n)
                    .collect()
            };
            world.note(format_args!("{function}: all instances stand still for {lasts} ms"));
            world.state().stats.faults += 1;
            instances.into_iter().for_each(|instance| world.pause(instance, lasts));
        }
        What::Retire(function) => {
            world.note(format_args!("{function}: idle instances end"));
            fleet.retire(function);
        }
        What::Deploy(version) => {
            world.note(format_args!("version {version} is deployed"));
            world.state().version = version;
        }
        What::Rotate(part) => rotate(&world, part).await,
        What::BreakSecrets(breakage, lasts) => {
            world.note(format_args!("the secrets document has an error for {lasts} ms: {breakage:?}"));
            change_secrets(&world, |keys| keys.break_document(breakage));
            world.wait(lasts).await;
            change_secrets(&world, |keys| keys.repair(breakage));
        }
        What::RedriveAll => drop(redrive_letters(&world, action.n, Selection::All).await),
        What::RedriveEach => {
            let ids = world.state().model.dead_letters();
            if !ids.is_empty() {
                redrive_letters(&world, action.n, Selection::Ids(ids)).await;
            }
        }
        What::Erase(event) => {
            let subject = world.state().model.subject(event);
            if let Some(subject) = subject {
                erase_subjects(&world, action.n, vec![subject]).await;
            }
        }
        What::Lag(lasts) => {
            world.note(format_args!("the indexes lag for {lasts} ms"));
            world.state().dynamodb.hold_indexes(true);
            world.wait(lasts).await;
            world.state().dynamodb.hold_indexes(false);
        }
        What::Sweep => sweep(&world, action.n),
        What::Poison(poison) => send_poison(&world, poison),
        What::Destination(n, operation) => operate(&world, action.n, n, operation).await,
    }
}

async fn rotate(world: &World, part: &'static str) {
    world.note(format_args!("the secret of {part} is rotated"));
    change_secrets(world, |keys| keys.add(part));
    world.wait(BEFORE_SWITCH).await;
    change_secrets(world, |keys| keys.switch(part));
    world.wait(BEFORE_REMOVAL).await;
    let now = world.epoch_ms();
    change_secrets(world, |keys| keys.remove_old(part, now));
    world.note(format_args!("the old secret of {part} is removed"));
}

/// Changes the secrets, and stores the new document.
fn change_secrets(world: &World, change: impl FnOnce(&mut Keys)) {
    let mut state = world.state();
    change(&mut state.keys);
    state.secrets_manager.secret = Some(state.keys.document());
}

fn deployment(world: &World, action: usize) -> Deployment {
    let plan = world.state().plan.clone();
    let sdk = sdk(world, Wire { world: world.clone(), caller: Caller::Operator(action) });
    let queues = Queues { retry: RETRY_QUEUE.to_owned(), dead_letter: DEAD_LETTER_QUEUE.to_owned() };
    Deployment::new(Parts {
        dynamodb: sdk.clone(),
        sqs: sdk,
        table: TABLE.to_owned(),
        queues: Some(queues),
        delivery_table: plan.has_deliveries.then(|| DELIVERY_TABLE.to_owned()),
        clock: world.clock(0),
        random: Random::seeded(Chance::of(plan.seed, &[11, action as u64]).seed()),
        ttl_days: TTL_DAYS,
    })
}

/// Redrives dead letters. Returns whether the command succeeded.
pub async fn redrive_letters(world: &World, action: usize, selection: Selection) -> bool {
    world.note(format_args!("the operator redrives {selection:?}"));
    let result = redrive(&deployment(world, action), selection, None, Duration::from_secs(60)).await;
    match &result {
        Ok(result) => world.note(format_args!("the redrive ends: {result:?}")),
        Err(error) => world.note(format_args!("the redrive fails: {error}")),
    }
    result.is_ok()
}

/// Erases subjects. Returns whether the command succeeded.
pub async fn erase_subjects(world: &World, action: usize, subjects: Vec<String>) -> bool {
    let names = subjects.join(", ");
    world.note(format_args!("the operator erases {names}"));
    let subjects: BTreeSet<Subject> = subjects.into_iter().map(Subject::from_stored).collect();
    let result = erase(&deployment(world, action), &subjects).await;
    match &result {
        Ok(_) => world.note(format_args!("erased: {names}")),
        Err(error) => world.note(format_args!("the erasure fails: {error}")),
    }
    result.is_ok()
}

/// Performs an operation on a destination.
pub async fn operate(world: &World, action: usize, destination: usize, operation: Operation) {
    let sdk = sdk(world, Wire { world: world.clone(), caller: Caller::Operator(action) });
    let (table, name) = (DeliveryTable::new(&sdk, DELIVERY_TABLE), DESTINATIONS[destination]);
    world.note(format_args!("the operator performs {operation:?} on the destination {name}"));
    let result = match operation {
        Operation::Disable => table.disable(name, "disabled by an operator").await,
        Operation::Enable => table.enable(name).await,
        Operation::Resend => resend(world, &table, name).await,
        Operation::Discard => discard(world, &table, name).await,
    };
    match result {
        Ok(()) => world.note("done"),
        Err(error) => world.note(format_args!("the operation fails: {error}")),
    }
}

async fn resend(world: &World, table: &DeliveryTable, destination: &str) -> Result<(), StoreError> {
    let now = world.time();
    let (mut deliveries, _) = table.dead(destination, now, None).await?;
    deliveries.extend(table.due(destination, now.plus_secs(10 * 86_400), None).await?.0);
    for delivery in deliveries {
        table.resend(&delivery, world.time()).await?;
    }
    Ok(())
}

async fn discard(world: &World, table: &DeliveryTable, destination: &str) -> Result<(), StoreError> {
    let (deliveries, _) = table.due(destination, world.time().plus_secs(10 * 86_400), None).await?;
    match deliveries.first() {
        Some(delivery) => table.discard(delivery, world.time()).await.map(drop),
        None => Ok(()),
    }
}

/// Lets DynamoDB remove some of the expired items.
pub fn sweep(world: &World, action: usize) {
    let now = world.epoch_ms();
    let mut state = world.state();
    let mut chance = Chance::of(state.plan.seed, &[6, action as u64]);
    for table in [TABLE, DELIVERY_TABLE] {
        for key in state.dynamodb.expired(table, now / 1000) {
            if chance.happens(700) {
                state.dynamodb.remove_expired(table, &key);
            }
        }
    }
    let checked = state.observe(Caller::Aws, Service::Sqs, "", &json!({}), now);
    drop(state);
    world.check(checked);
}

/// Discards all dead letters.
pub fn purge_dead_letters(world: &World) {
    world.note("the operator discards the dead letters that are left");
    crate::event_source::request(world, "PurgeQueue", &json!({"QueueUrl": DEAD_LETTER_QUEUE}));
}

fn send_poison(world: &World, poison: Poison) {
    let body = match poison {
        Poison::Garbage => "not an event".to_owned(),
        Poison::Newer => json!({"v": 2, "sealed": "x"}).to_string(),
    };
    world.note(format_args!("a message that is not an event is on the retry queue: {poison:?}"));
    crate::event_source::request(world, "SendMessage", &json!({"QueueUrl": RETRY_QUEUE, "MessageBody": body}));
}
