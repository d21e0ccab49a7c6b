//! Tests of `events erase`.

use super::bed::{Bed, CONVERSATION, MESSAGE, MESSAGE_TEXT};

/// Returns all items of the table as text.
async fn all_items(bed: &Bed) -> String {
    let items = bed.dynamodb_client().scan().table_name(&bed.table).send().await.unwrap();
    format!("{:?}", items.items)
}

#[tokio::test(flavor = "multi_thread")]
async fn erased_subject_is_removed_and_not_recorded_again() {
    let bed = Bed::start().await;
    bed.send("msg_1", MESSAGE).await;
    bed.send("msg_1", &MESSAGE.replace(MESSAGE_TEXT, "Monday")).await;
    bed.send("msg_2", &MESSAGE.replace("673da1f0c2b94e5f8a017b11", "another")).await;
    bed.make_dead_letters(&["dead"]).await;
    let asked = bed.run(&["events", "erase", "--subject", CONVERSATION]);
    assert!(asked.code == 1 && asked.err.contains("--yes"), "{asked:?}");
    let wrong = bed.run(&["events", "erase", "--subject", "673da1f0c2b94e5f8a017b11", "--yes"]);
    assert!(wrong.code == 1 && wrong.err.contains("ada:conversation:"), "{wrong:?}");

    let erased = bed.run(&["events", "erase", "--subject", CONVERSATION, "--yes", "--json"]).line();
    let removed = ["events", "conflicts", "chunks", "dead_letters"].map(|member| erased[member].as_u64().unwrap());
    assert_eq!(removed, [1, 1, 0, 1], "{erased}");
    let items = all_items(&bed).await;
    assert!(!items.contains("673da1f0c2b94e5f8a017b11\""), "{items}");
    let again = bed.run(&["events", "erase", "--subject", CONVERSATION, "--yes", "--json"]).line();
    assert_eq!(["events", "conflicts", "dead_letters"].map(|member| again[member].as_u64().unwrap()), [0, 0, 0]);

    // The function has not loaded the list of erased subjects yet, but finds the tombstone.
    assert_eq!(bed.send("msg_1", MESSAGE).await.outcome(), "erased");
    let shown = bed.run(&["events", "show", "ada:msg_1", "--json"]).line();
    assert_eq!(shown["state"], "erased");
    assert_eq!(bed.run(&["events", "show", "ada:msg_2", "--json"]).line()["state"], "recorded");
}

#[tokio::test(flavor = "multi_thread")]
async fn queued_event_of_erased_subject_is_not_recorded() {
    let bed = Bed::start().await;
    bed.poison("\"ada:late\"");
    assert_eq!(bed.send("late", MESSAGE).await.outcome(), "queued");
    bed.run(&["events", "erase", "--subject", CONVERSATION, "--yes"]);
    bed.dynamodb.clear_rules();
    assert_eq!(bed.take_batch().await.unwrap().failed, Vec::<String>::new());
    assert_eq!(bed.run(&["events", "show", "ada:late", "--json"]).line()["state"], "erased");
    assert!(!all_items(&bed).await.contains(CONVERSATION));
}

#[tokio::test(flavor = "multi_thread")]
async fn end_user_is_erased_with_all_their_conversations() {
    let bed = Bed::start().await;
    bed.send("msg_1", MESSAGE).await;
    bed.send("msg_2", &MESSAGE.replace("673da1f0c2b94e5f8a017b11", "second")).await;
    bed.send(
        "msg_3",
        &MESSAGE.replace("673da1f0c2b94e5f8a017b11", "third").replace("673da1f0c2b94e5f8a01e0d7", "somebody-else"),
    )
    .await;
    bed.send("msg_4", gatehouse_ada::samples::END_USER_UPDATED).await;
    let erased = bed.run(&["events", "erase", "--end-user", "673da1f0c2b94e5f8a01e0d7", "--yes", "--json"]);
    let subjects: Vec<_> = erased.lines().iter().map(|line| line["subject"].as_str().unwrap().to_owned()).collect();
    assert_eq!(subjects, [CONVERSATION, "ada:conversation:second", "ada:end-user:673da1f0c2b94e5f8a01e0d7"]);
    for (id, state) in [("msg_1", "erased"), ("msg_2", "erased"), ("msg_3", "recorded"), ("msg_4", "erased")] {
        assert_eq!(bed.run(&["events", "show", &format!("ada:{id}"), "--json"]).line()["state"], state, "{id}");
    }
}
