//! Tests of the commands as functions.

use std::collections::BTreeSet;
use std::time::Duration;

use gatehouse::commands::{Deployment, MoveEnd, Parts, Queues, Removed, Selection, erase, redrive};
use gatehouse_local::{Fault, Rule, local_sdk};
use gatehouse_payload::Subject;
use gatehouse_runtime::{Clock, Random};

use super::bed::{Bed, CONVERSATION, MESSAGE};

fn deployment(bed: &Bed) -> Deployment {
    Deployment::new(Parts {
        dynamodb: local_sdk(&bed.dynamodb.url()),
        sqs: local_sdk(&bed.sqs.url()),
        table: bed.table.clone(),
        queues: Some(Queues { retry: bed.retry_queue.clone(), dead_letter: bed.dead_letter_queue.clone() }),
        delivery_table: None,
        clock: Clock::System,
        random: Random::System,
        ttl_days: 90,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn redrive_function_returns_the_outcome_of_each_selected_letter() {
    let bed = Bed::start().await;
    bed.make_dead_letters(&["msg_1", "msg_2"]).await;
    let deployment = deployment(&bed);
    let one = Selection::Ids(vec!["ada:msg_1".to_owned()]);
    let redriven = redrive(&deployment, one, None, Duration::ZERO).await.unwrap();
    assert!(matches!(redriven.end, MoveEnd::Completed) && !redriven.is_complete, "{redriven:?}");
    let outcomes: Vec<_> = redriven.letters.iter().map(|l| (l.event_id.as_deref(), l.outcome.as_str())).collect();
    assert_eq!(outcomes, [(Some("ada:msg_1"), "waiting on the retry queue")]);
    let consume = async {
        loop {
            bed.take_batch_within(Duration::from_millis(100)).await.unwrap();
        }
    };
    // Also holds that the longest wait is accepted.
    let redriven = tokio::select! {
        redriven = redrive(&deployment, Selection::All, None, Duration::MAX) => redriven.unwrap(),
        () = consume => unreachable!(),
    };
    assert!(matches!(redriven.end, MoveEnd::Completed) && redriven.is_complete, "{redriven:?}");
    let outcomes: Vec<_> = redriven.letters.iter().map(|l| (l.event_id.as_deref(), l.outcome.as_str())).collect();
    assert_eq!(outcomes, [(Some("ada:msg_2"), "recorded")]);
    assert_eq!(redrive(&deployment, Selection::All, None, Duration::ZERO).await.unwrap().letters, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn erase_function_removes_events_and_dead_letters() {
    let bed = Bed::start().await;
    bed.send("msg_1", MESSAGE).await;
    bed.make_dead_letters(&["dead"]).await;
    let subject = Subject::from_stored(CONVERSATION.to_owned());
    let erased = erase(&deployment(&bed), &BTreeSet::from([subject.clone()])).await.unwrap();
    assert_eq!(erased.removed, [(subject.clone(), Removed { events: 1, conflicts: 0, chunks: 0 })]);
    assert_eq!(erased.dead_letters.deleted.get(&subject), Some(&1));
    assert_eq!((erased.dead_letters.unreadable, erased.dead_letters.held_elsewhere), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_released_if_a_request_fails() {
    let bed = Bed::start().await;
    bed.make_dead_letters(&["msg_1", "msg_2"]).await;
    let (deployment, subject) = (deployment(&bed), Subject::from_stored(CONVERSATION.to_owned()));
    bed.sqs.add_rule(Rule::every(Fault::INVALID).on("ReceiveMessage").after(1));
    redrive(&deployment, Selection::All, None, Duration::ZERO).await.unwrap_err();
    bed.sqs.clear_rules();
    bed.sqs.add_rule(Rule::every(Fault::INVALID).on("DeleteMessage"));
    let subjects = BTreeSet::from([subject.clone()]);
    erase(&deployment, &subjects).await.unwrap_err();
    bed.sqs.clear_rules();
    let erased = erase(&deployment, &subjects).await.unwrap().dead_letters;
    assert_eq!((erased.deleted.get(&subject), erased.held_elsewhere), (Some(&2), 0));
}
