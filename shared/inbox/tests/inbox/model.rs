//! Compares the store with its reference model in random sequences of steps.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};

use gatehouse_inbox::model::Model;
use gatehouse_local::{Fault, Rule};
use gatehouse_payload::{Event, EventId, Nonce};
use proptest::prelude::*;

use crate::table::{TTL_DAYS, Table, event, noise, now};

#[derive(Debug, Clone)]
enum Step {
    /// Records a delivery.
    Deliver { id: u8, body: u8 },
    /// Records the previous event again: with a new nonce as after a resend, or with the same nonce as from the queue.
    Again { same_nonce: bool },
    /// Like `Deliver`, but DynamoDB's first response is lost and the SDK retries.
    LoseOne { id: u8, body: u8 },
    /// Like `Deliver`, but all responses are lost and the event is recorded again from the queue.
    LoseAll { id: u8, body: u8 },
    /// Moves the clock.
    Jump { seconds: i64 },
}

fn step() -> impl Strategy<Value = Step> {
    let (id, body) = (0..3u8, prop_oneof![12 => 0..3u8, 1 => Just(3)]);
    let ttl = i64::from(TTL_DAYS) * 86_400;
    prop_oneof![
        8 => (id.clone(), body.clone()).prop_map(|(id, body)| Step::Deliver { id, body }),
        4 => any::<bool>().prop_map(|same_nonce| Step::Again { same_nonce }),
        1 => (id.clone(), body.clone()).prop_map(|(id, body)| Step::LoseOne { id, body }),
        1 => (id, body).prop_map(|(id, body)| Step::LoseAll { id, body }),
        3 => prop_oneof![Just(ttl), Just(ttl + 1), Just(ttl / 2), Just(1), Just(-1), -ttl..ttl]
            .prop_map(|seconds| Step::Jump { seconds }),
    ]
}

/// One of four bodies. The last one is too large for one item.
fn body(n: u8) -> String {
    if n == 3 { noise(3, 600_000) } else { format!(r#"{{"n":{n}}}"#) }
}

#[test]
fn store_and_model_agree_on_outcomes_and_visible_records() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let table = runtime.block_on(Table::new());
    let case = AtomicU64::new(0);
    let config = gatehouse_seeds::cases(40);
    proptest!(config, |(steps in proptest::collection::vec(step(), 1..24))| {
        // All cases share one table, so each has its own keys.
        let case = case.fetch_add(1, Ordering::Relaxed);
        runtime.block_on(run_steps(&table, case, &steps))?;
    });
}

async fn run_steps(table: &Table, case: u64, steps: &[Step]) -> Result<(), TestCaseError> {
    let mut model = Model::new(TTL_DAYS);
    let mut now = now();
    let mut last: Option<Event> = None;
    let mut seen = HashSet::new();
    for step in steps {
        let deliver = |id: u8, n: u8| event(&format!("{case}-{id}"), &body(n));
        let event = match step {
            Step::Jump { seconds } => {
                now = now.plus_secs(*seconds);
                continue;
            }
            Step::Again { same_nonce } => {
                let Some(mut event) = last.clone() else { continue };
                if !same_nonce {
                    event.nonce = Nonce::random().unwrap();
                }
                event
            }
            Step::Deliver { id, body } | Step::LoseOne { id, body } | Step::LoseAll { id, body } => deliver(*id, *body),
        };
        match step {
            Step::LoseOne { .. } => table.proxy.add_rule(Rule::every(Fault::DropResponse).on("PutItem").times(1)),
            Step::LoseAll { .. } => {
                table.proxy.add_rule(Rule::every(Fault::DropResponse).on("PutItem"));
                let lost = table.record(&event, now).await;
                table.proxy.clear_rules();
                prop_assert!(lost.as_ref().is_err_and(|error| error.is_transient()) || lost.is_ok(), "{lost:?}");
            }
            _ => {}
        }
        let outcome = table.record(&event, now).await;
        table.proxy.clear_rules();
        prop_assert_eq!(outcome, Ok(model.record(&event, now)), "{:?} of {:?}", step, steps);
        seen.insert(event.id.clone());
        last = Some(event);
    }
    for id in &seen {
        let (expected, copies) = model.visible(id, now);
        let record = table.store.get(id, now).await.unwrap();
        prop_assert_eq!(record.map(|record| record.event.fingerprint), expected);
        for copy in copies {
            let key = EventId::from_stored(format!("conflict:{copy}:{id}"));
            let stored = table.store.get(&key, now).await.unwrap();
            prop_assert_eq!(stored.map(|copy| (copy.conflict, copy.event.fingerprint)), Some((true, copy)));
        }
    }
    Ok(())
}
