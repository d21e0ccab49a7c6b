//! Cases of the functions that vendors call.

use gatehouse_local::{Delivery, Fault, Rule, Testbed};

use super::case::{Case, Function, Point};
use super::invariants::{Checked, Delivered, drain, ensure, ensure_durable, testbed};
use super::{FAULT_NOT_REACHED, kill_when};

pub(super) async fn run(mut case: Case) -> Checked {
    let bed = testbed(case.point).await;
    let mut delivered = Delivered::default();
    let name = format!("{:x}", case.random.next());
    if case.point == Point::ConflictPut {
        let first = case.delivery(&name, "first");
        let answer = first.send(&bed.url).await.unwrap();
        ensure(answer.outcome() == "recorded", || answer.body.clone())?;
        delivered.add(answer.event_id(), &first);
        delivered.settled.insert(answer.event_id().to_owned(), first.body);
    }
    // The delivery that meets the fault.
    let target = if case.is_large() { case.large_delivery(&name) } else { case.delivery(&name, "second") };

    let rule = case.rule();
    match case.point {
        // Only heads have fingerprints.
        Point::Put | Point::Head => bed.dynamodb.add_rule(rule.on("PutItem").containing("\"fingerprint\"")),
        Point::ConflictPut => bed.dynamodb.add_rule(rule.on("PutItem").containing("conflict:")),
        Point::Chunk => {
            let passing = u32::try_from(case.random.below(2)).unwrap();
            bed.dynamodb.add_rule(rule.on("PutItem").containing("chunk:").after(passing));
        }
        Point::Queue => {
            bed.dynamodb.add_rule(Rule::every(Fault::Cut));
            bed.sqs.add_rule(rule.on("SendMessage"));
        }
        Point::DeadLetter | Point::Hide => unreachable!("only event-retry has this point"),
    }
    let acknowledged = if case.kills() {
        kill(&case, &bed, &target).await?;
        false
    } else {
        let answer = target.send(&bed.url).await.unwrap();
        let faults = bed.dynamodb.fault_count() + bed.sqs.fault_count();
        ensure(faults > 0, || FAULT_NOT_REACHED.to_owned())?;
        let expected = answer.status == 200 || (answer.status == 503 && !answer.header("retry-after").is_empty());
        ensure(expected, || format!("answered with {}: {}", answer.status, answer.body))?;
        let may_be_unrecorded = case.function == Function::ServerMessage && case.point == Point::Queue;
        if may_be_unrecorded && answer.outcome() == "unrecorded" {
            // I1 holds, because the outcome reports the loss. The vendor would not retry, but this test does.
        } else if answer.status == 200 {
            // A write whose response was lost must not look like the write of another attempt.
            let new = if case.point == Point::ConflictPut { "conflict" } else { "recorded" };
            ensure([new, "queued"].contains(&answer.outcome()), || format!("I2: the outcome is {}", answer.outcome()))?;
            ensure_durable(&bed, answer.event_id(), &target.body).await?;
        }
        answer.status == 200 && answer.outcome() != "unrecorded"
    };
    bed.dynamodb.clear_rules();
    bed.sqs.clear_rules();
    // The vendor retries an event that was not acknowledged.
    let retried = if acknowledged { None } else { Some(target.send(&bed.url).await.unwrap()) };
    if let Some(answer) = &retried {
        ensure(answer.status == 200, || format!("the vendor's retry: {} {}", answer.status, answer.body))?;
    }
    drain(&bed).await?;
    let event_id = target.send(&bed.url).await.unwrap().event_id().to_owned();
    delivered.add(&event_id, &target);
    delivered.check(&bed).await
}

/// Sends the delivery to the function's binary and kills the process when the fault is reached.
async fn kill(case: &Case, bed: &Testbed, target: &Delivery) -> Checked {
    let binary = match case.function {
        Function::ClientMessage => env!("CARGO_BIN_EXE_under-test-client-message"),
        Function::ServerMessage => env!("CARGO_BIN_EXE_under-test-server-message"),
        Function::ConversationWebhooks => env!("CARGO_BIN_EXE_under-test-conversation-webhooks"),
        Function::SessionLifecycle => env!("CARGO_BIN_EXE_under-test-session-lifecycle"),
        Function::EventRetry => unreachable!("event-retry receives batches"),
    };
    let fault_reached = if case.point == Point::Queue { bed.sqs.next_fault() } else { bed.dynamodb.next_fault() };
    let host = bed.host(binary, gatehouse_receiver::TIMEOUT, &[]).await.unwrap();
    kill_when(fault_reached, host, &target.to_lambda_event()).await
}
