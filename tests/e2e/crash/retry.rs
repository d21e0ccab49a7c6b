//! Cases of `event-retry`, which fails in the middle of a batch.

use std::time::Duration;

use gatehouse_local::{Fault, Rule, Testbed};

use super::case::{Case, Point};
use super::invariants::{Checked, Delivered, drain, ensure, testbed};
use super::{FAULT_NOT_REACHED, kill_when};
use crate::support::record;

pub(super) async fn run(mut case: Case) -> Checked {
    let bed = testbed(case.point).await;
    let mut delivered = Delivered::default();
    let names: Vec<String> = (0..3 + case.random.below(4)).map(|_| format!("{:x}", case.random.next())).collect();
    // The name of the event that meets the fault.
    let target = case.random.one_of(&names).clone();
    let target_id = format!("ada:msg_{target}");
    if case.point == Point::ConflictPut {
        let first = case.delivery(&target, "first");
        ensure(first.send(&bed.url).await.unwrap().outcome() == "recorded", || {
            "the first event was not recorded".to_owned()
        })?;
        delivered.add(&target_id, &first);
        delivered.settled.insert(target_id.clone(), first.body);
    }
    bed.dynamodb.add_rule(Rule::every(Fault::Cut));
    for name in &names {
        let large = *name == target && case.is_large();
        let delivery = if large { case.large_delivery(name) } else { case.delivery(name, "second") };
        let answer = delivery.send(&bed.url).await.unwrap();
        ensure(answer.outcome() == "queued", || answer.body.clone())?;
        delivered.add(answer.event_id(), &delivery);
    }
    bed.dynamodb.clear_rules();

    let rule = case.rule();
    match case.point {
        Point::Put | Point::Head => bed.dynamodb.add_rule(rule.on("PutItem").containing(&target_id)),
        Point::Chunk => {
            let passing = u32::try_from(case.random.below(2)).unwrap();
            bed.dynamodb.add_rule(rule.on("PutItem").containing("chunk:").after(passing));
        }
        Point::ConflictPut => bed.dynamodb.add_rule(rule.on("PutItem").containing("conflict:")),
        Point::DeadLetter => {
            bed.dynamodb.add_rule(Rule::every(Fault::INVALID).on("PutItem").containing(&target_id));
            for _ in 1..event_retry::MAX_RECEIVES {
                bed.take_batch().await.unwrap();
            }
            bed.sqs.add_rule(rule.on("SendMessage"));
        }
        Point::Hide => {
            bed.dynamodb.add_rule(Rule::every(Fault::THROTTLE).on("PutItem").containing(&target_id));
            bed.sqs.add_rule(rule.on("ChangeMessageVisibility"));
        }
        Point::Queue => unreachable!("event-retry does not have this point"),
    }
    if case.kills() {
        kill(&case, &bed).await?;
    } else {
        let before = bed.dynamodb.fault_count() + bed.sqs.fault_count();
        let batch = bed.take_batch().await.unwrap();
        ensure(bed.dynamodb.fault_count() + bed.sqs.fault_count() > before, || FAULT_NOT_REACHED.to_owned())?;
        ensure(batch.failed.len() <= 1, || format!("I10: {} messages failed", batch.failed.len()))?;
        for name in names.iter().filter(|name| **name != target) {
            let recorded = record(&bed, &format!("ada:msg_{name}")).await.is_some();
            ensure(recorded, || format!("I10: {name} shared a batch with the failing event and is not recorded"))?;
        }
    }
    bed.dynamodb.clear_rules();
    bed.sqs.clear_rules();
    drain(&bed).await?;
    delivered.check(&bed).await
}

/// Passes a batch to the function's binary and kills the process when the fault is reached.
async fn kill(case: &Case, bed: &Testbed) -> Checked {
    let fault_reached = match case.point {
        Point::DeadLetter | Point::Hide => bed.sqs.next_fault(),
        _ => bed.dynamodb.next_fault(),
    };
    let host = bed.host(env!("CARGO_BIN_EXE_under-test-event-retry"), event_retry::TIMEOUT, &[]).await.unwrap();
    let source = bed.event_source();
    let batch = source.receive(Duration::from_secs(5)).await.unwrap().ok_or("no batch was received")?;
    let event = serde_json::to_value(&batch).unwrap();
    kill_when(fault_reached, host, &event).await?;
    // Makes the batch visible, as the visibility timeout would.
    let _ = source.release(batch).await;
    Ok(())
}
