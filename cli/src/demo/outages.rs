//! Demo steps in which DynamoDB or SQS is unavailable.

use std::time::Duration;

use aws_sdk_sqs::types::Message;
use gatehouse_local::{Error, Fault, Rule};
use gatehouse_payload::Outcome;
use tokio::time::{Instant, timeout};

use super::scene::Scene;

const MESSAGE: &str = gatehouse_ada::samples::CONVERSATION_MESSAGE;
/// Time within which every request is answered, whatever fails.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

pub(super) async fn closed(scene: &mut Scene) -> Result<(), Error> {
    outage(scene, "msg_demo_closed", Fault::Cut).await
}

pub(super) async fn silent(scene: &mut Scene) -> Result<(), Error> {
    outage(scene, "msg_demo_silent", Fault::Hang).await
}

async fn outage(scene: &mut Scene, message_id: &str, fault: Fault) -> Result<(), Error> {
    scene.stack.dynamodb.add_rule(Rule::every(fault));
    let delivery = scene.ada(message_id, MESSAGE)?;
    let answer = scene.send("a message during the outage", &delivery).await?;
    scene.expect_outcome(&answer, Outcome::Queued.as_str());
    scene.expect("an answer within 5 s", answer.took < ANSWER_WITHIN);
    let early_record = scene.record(answer.event_id()).await?;
    scene.expect("nothing in the table yet", answer.status == 200 && early_record.is_none());
    scene.stack.dynamodb.clear_rules();
    let record = scene.record_by_retry(answer.event_id()).await?;
    let is_recorded = record.is_some_and(|record| record.event.body == delivery.body);
    scene.expect("the event in the table, recorded by event-retry after the outage", is_recorded);
    Ok(())
}

pub(super) async fn nothing(scene: &mut Scene) -> Result<(), Error> {
    scene.stack.dynamodb.add_rule(Rule::every(Fault::Cut));
    scene.stack.sqs.add_rule(Rule::every(Fault::Cut));
    let delivery = scene.ada("msg_demo_nothing", MESSAGE)?;
    let answer = scene.send("a message during the outage", &delivery).await?;
    let is_refused =
        answer.status == 503 && answer.outcome() == "unavailable" && !answer.header("retry-after").is_empty();
    scene.expect("503 unavailable with Retry-After, within 5 s", is_refused && answer.took < ANSWER_WITHIN);
    scene.stack.dynamodb.clear_rules();
    scene.stack.sqs.clear_rules();
    let answer = scene.send("the vendor's retry", &delivery).await?;
    scene.expect_recorded(&answer, &delivery).await
}

pub(super) async fn lost_answer(scene: &mut Scene) -> Result<(), Error> {
    let put_count = |scene: &Scene| scene.stack.dynamodb.counts().get("PutItem").copied().unwrap_or_default();
    let before = put_count(scene);
    scene.stack.dynamodb.add_rule(Rule::every(Fault::DropResponse).on("PutItem").times(1));
    let delivery = scene.ada("msg_demo_lost_answer", MESSAGE)?;
    let answer = scene.send("a message whose response is lost", &delivery).await?;
    scene.expect_recorded(&answer, &delivery).await?;
    let attempts = put_count(scene) - before;
    scene.expect("two writes, of which the second found the nonce of the first", attempts == 2);
    let again = scene.send("the same delivery again", &delivery).await?;
    scene.expect_outcome(&again, Outcome::Duplicate.as_str());
    Ok(())
}

pub(super) async fn poison(scene: &mut Scene) -> Result<(), Error> {
    scene.stack.dynamodb.add_rule(Rule::every(Fault::INVALID).on("PutItem").containing("msg_demo_poison"));
    let delivery = scene.ada("msg_demo_poison", MESSAGE)?;
    let answer = scene.send("a message that DynamoDB refuses", &delivery).await?;
    scene.expect_outcome(&answer, Outcome::Queued.as_str());
    let letter = if answer.status == 200 { dead_letter(scene).await? } else { None };
    let attribute = |name: &str| {
        let attributes = letter.as_ref().and_then(|letter| letter.message_attributes.as_ref());
        attributes.and_then(|all| all.get(name)?.string_value.clone()).unwrap_or_default()
    };
    let [reason, last_error, first_failed_at, attempts] =
        ["reason", "last_error", "first_failed_at", "attempts"].map(attribute);
    scene.say(&format!(
        "      dead letter: reason={reason} last_error={last_error:?} first_failed_at={first_failed_at} \
         attempts={attempts}"
    ));
    let is_explained = reason == "refused" && last_error.contains("ValidationException") && attempts == "5";
    scene.expect("a dead letter with its reason, after five attempts", is_explained && !first_failed_at.is_empty());
    scene.stack.dynamodb.clear_rules();
    scene.stack.redrive().await?;
    scene.say("      redriven");
    let record = scene.record_by_retry(answer.event_id()).await?;
    scene.expect(
        "the event in the table, after the fault was removed",
        record.is_some_and(|record| record.event.body == delivery.body),
    );
    Ok(())
}

/// Waits for a dead letter and reads it without removing it from the queue.
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
