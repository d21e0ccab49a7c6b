//! What happens to events while DynamoDB, or SQS, is away.

use std::time::Duration;

use aws_sdk_sqs::types::Message;
use gatehouse_inbox::Outcome;
use gatehouse_local::{Error, Fault, Rule};
use tokio::time::{Instant, timeout};

use super::scene::Scene;

const MESSAGE: &str = include_str!("../../../tests/fixtures/ada/conversation-message.json");
/// By when the front door answers, whatever fails.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

pub(super) async fn closed(scene: &mut Scene) -> Result<(), Error> {
    outage(scene, "msg_demo_closed", Fault::Cut).await
}

pub(super) async fn silent(scene: &mut Scene) -> Result<(), Error> {
    outage(scene, "msg_demo_silent", Fault::Hang).await
}

async fn outage(scene: &mut Scene, message_id: &str, fault: Fault) -> Result<(), Error> {
    scene.stack.dynamodb.fail(Rule::every(fault));
    let delivery = scene.ada(message_id, MESSAGE)?;
    let answer = scene.send("a message, meanwhile", &delivery).await?;
    scene.expect_outcome(&answer, Outcome::Queued.as_str());
    scene.expect("an answer within 5 s", answer.took < ANSWER_WITHIN);
    let early = scene.record(answer.event_id()).await?;
    scene.expect("nothing in the table yet", answer.status == 200 && early.is_none());
    scene.stack.dynamodb.heal();
    let record = scene.record_by_retry(answer.event_id()).await?;
    let whole = record.is_some_and(|record| record.event.body == delivery.body);
    scene.expect("it in the table, recorded by event-retry once DynamoDB is back", whole);
    Ok(())
}

pub(super) async fn nothing(scene: &mut Scene) -> Result<(), Error> {
    scene.stack.dynamodb.fail(Rule::every(Fault::Cut));
    scene.stack.sqs.fail(Rule::every(Fault::Cut));
    let delivery = scene.ada("msg_demo_nothing", MESSAGE)?;
    let answer = scene.send("a message, meanwhile", &delivery).await?;
    let refused = answer.status == 503 && answer.outcome() == "unavailable" && !answer.header("retry-after").is_empty();
    scene.expect("503 unavailable with Retry-After, within 5 s", refused && answer.took < ANSWER_WITHIN);
    scene.stack.dynamodb.heal();
    scene.stack.sqs.heal();
    let answer = scene.send("the vendor's own retry", &delivery).await?;
    scene.expect_recorded(&answer, &delivery).await
}

pub(super) async fn lost_answer(scene: &mut Scene) -> Result<(), Error> {
    let puts = |scene: &Scene| scene.stack.dynamodb.counts().get("PutItem").copied().unwrap_or_default();
    let before = puts(scene);
    scene.stack.dynamodb.fail(Rule::every(Fault::LoseAnswer).on("PutItem").times(1));
    let delivery = scene.ada("msg_demo_lost_answer", MESSAGE)?;
    let answer = scene.send("a message, meanwhile", &delivery).await?;
    scene.expect_recorded(&answer, &delivery).await?;
    let attempts = puts(scene) - before;
    scene.expect("two writes: the second found the first one's nonce", attempts == 2);
    let again = scene.send("the same again", &delivery).await?;
    scene.expect_outcome(&again, Outcome::Duplicate.as_str());
    Ok(())
}

pub(super) async fn poison(scene: &mut Scene) -> Result<(), Error> {
    let refuse = Fault::INVALID;
    scene.stack.dynamodb.fail(Rule::every(refuse).on("PutItem").containing("msg_demo_poison"));
    let delivery = scene.ada("msg_demo_poison", MESSAGE)?;
    let answer = scene.send("a message DynamoDB refuses", &delivery).await?;
    scene.expect_outcome(&answer, Outcome::Queued.as_str());
    let letter = if answer.status == 200 { dead_letter(scene).await? } else { None };
    let attribute = |name: &str| {
        let attributes = letter.as_ref().and_then(|letter| letter.message_attributes.as_ref());
        attributes.and_then(|all| all.get(name)?.string_value.clone()).unwrap_or_default()
    };
    let told = ["reason", "last_error", "first_failed_at", "attempts"].map(attribute);
    println!(
        "      dead letter: reason={} last_error={:?} first_failed_at={} attempts={}",
        told[0], told[1], told[2], told[3]
    );
    let why = told[0] == "refused" && told[1].contains("ValidationException") && told[3] == "5";
    scene.expect("it on the dead-letter queue with its reason, after five attempts", why && !told[2].is_empty());
    scene.stack.dynamodb.heal();
    scene.stack.redrive().await?;
    println!("      redriven");
    let record = scene.record_by_retry(answer.event_id()).await?;
    scene.expect("it in the table, now that the cause is gone", record.is_some_and(|r| r.event.body == delivery.body));
    Ok(())
}

/// Waits for a dead letter and looks at it without taking it away.
async fn dead_letter(scene: &Scene) -> Result<Option<Message>, Error> {
    let client = scene.stack.sqs_client();
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(10) {
        let receive = client.receive_message().queue_url(&scene.stack.dead_letter_queue).message_attribute_names("All");
        let received =
            timeout(Duration::from_secs(5), receive.wait_time_seconds(2).visibility_timeout(0).send()).await??;
        if let Some(letter) = received.messages.unwrap_or_default().pop() {
            return Ok(Some(letter));
        }
    }
    Ok(None)
}
