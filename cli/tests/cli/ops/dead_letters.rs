//! Tests of `dead-letters`.

use std::collections::BTreeMap;
use std::process::Command;

use gatehouse_local::Testbed;
use serde_json::Value;

use super::bed::{Bed, MESSAGE, MESSAGE_TEXT, run_command};

async fn visible(bed: &Testbed, queue: &str) -> usize {
    use aws_sdk_sqs::types::QueueAttributeName as Name;
    let get =
        bed.sqs_client().get_queue_attributes().queue_url(queue).attribute_names(Name::ApproximateNumberOfMessages);
    get.send().await.unwrap().attributes.unwrap()[&Name::ApproximateNumberOfMessages].parse().unwrap()
}

async fn recorded(bed: &Bed, message_id: &str) -> bool {
    let id = gatehouse_payload::EventId::from_stored(format!("ada:{message_id}"));
    bed.store().get(&id, gatehouse_runtime::Clock::System.now()).await.unwrap().is_some()
}

fn receipt(bed: &Bed, name: &str) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(bed.directory.path().join(name)).unwrap();
    let line = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        (line["event_id"].as_str().unwrap_or("-").to_owned(), line["outcome"].as_str().unwrap().to_owned())
    };
    text.lines().map(line).collect()
}

/// Consumes the retry queue until it is empty.
async fn consume(bed: &Bed) {
    while bed.take_batch_within(std::time::Duration::ZERO).await.unwrap().received > 0 {}
}

#[tokio::test(flavor = "multi_thread")]
async fn list_shows_reasons_and_leaves_dead_letters_in_place() {
    let bed = Bed::start().await;
    assert_eq!(bed.run(&["dead-letters", "list"]).err, "no dead letters\n");
    let ids: Vec<String> = (0..23).map(|n| format!("msg_{n}")).collect();
    bed.make_dead_letters(&ids.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let listed = bed.run(&["dead-letters", "list", "--json"]);
    let lines = listed.lines();
    assert_eq!(lines.len(), 23);
    for line in &lines {
        assert_eq!(
            (&line["reason"], &line["source"], &line["attempts"]),
            (&"refused".into(), &"ada".into(), &5.into())
        );
        assert_eq!(line["first_error"], "DynamoDB PutItem: ValidationException");
        assert_eq!(line["last_error"], "DynamoDB PutItem: ValidationException");
    }
    assert!(!listed.out.contains(MESSAGE_TEXT), "no payload");
    assert_eq!(visible(&bed, &bed.dead_letter_queue).await, 23, "all are visible");
    let table = bed.run(&["dead-letters", "list"]).out;
    assert!(table.contains("ada:msg_7") && table.ends_with("23 dead letters: 23 refused\n"), "{table}");
    assert_eq!(bed.run(&["dead-letters", "list", "--reason", "panic"]).err, "no matching dead letters\n");
    assert_eq!(bed.run(&["dead-letters", "list", "--id", "ada:msg_7", "--json"]).lines().len(), 1);

    let shown = bed.run(&["dead-letters", "show", "ada:msg_7"]);
    assert!(shown.out.contains("what to do") && !shown.out.contains(MESSAGE_TEXT), "{}", shown.out);
    assert!(bed.run(&["dead-letters", "show", "ada:msg_7", "--payload"]).out.contains(MESSAGE_TEXT));
    assert_eq!(bed.run(&["dead-letters", "show", "ada:unknown"]).code, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn unreadable_messages_are_listed_as_never_finished() {
    let bed = Bed::start().await;
    let send = |body: &str| bed.sqs_client().send_message().queue_url(&bed.dead_letter_queue).message_body(body).send();
    send("not an envelope").await.unwrap();
    send(r#"{"v":9,"event_id":"ada:of_a_newer_release"}"#).await.unwrap();
    let lines = bed.run(&["dead-letters", "list", "--json"]).lines();
    assert!(lines.iter().all(|line| line["reason"] == "never-finished"), "{lines:?}");
    let ids: Vec<_> = lines.iter().map(|line| line["event_id"].as_str()).collect();
    assert!(ids.contains(&None) && ids.contains(&Some("ada:of_a_newer_release")), "{ids:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn receipt_has_the_outcome_of_each_redriven_event() {
    let bed = Bed::with(gatehouse_local::Options::default()).await;
    bed.poison("\"ada:msg_");
    for n in 0..12 {
        assert_eq!(bed.send(&format!("msg_{n}"), MESSAGE).await.outcome(), "queued");
    }
    let mut batches = bed.batches.clone();
    while visible(&bed, &bed.dead_letter_queue).await < 12 {
        batches.changed().await.unwrap();
    }
    bed.dynamodb.clear_rules();
    // msg_0 is recorded by a retry of the vendor, msg_1 by a conflicting delivery; msg_2 still cannot be recorded.
    assert_eq!(bed.send("msg_0", MESSAGE).await.outcome(), "recorded");
    assert_eq!(bed.send("msg_1", &MESSAGE.replace(MESSAGE_TEXT, "Monday")).await.outcome(), "recorded");
    bed.poison("\"ada:msg_2\"");
    let dry = bed.run(&["dead-letters", "redrive", "--all", "--dry-run"]);
    assert!(dry.err.contains("would move 12 dead letters") && dry.code == 0, "{dry:?}");
    assert_eq!(visible(&bed, &bed.dead_letter_queue).await, 12);

    let redriven = bed.run(&["dead-letters", "redrive", "--all", "--receipt", "r.jsonl"]);
    let receipt = receipt(&bed, "r.jsonl");
    assert_eq!(receipt.len(), 12);
    assert_eq!(receipt["ada:msg_0"], "duplicate");
    assert_eq!(receipt["ada:msg_1"], "conflict");
    assert_eq!(receipt["ada:msg_2"], "dead again: refused");
    assert_eq!(receipt.values().filter(|outcome| *outcome == "recorded").count(), 9, "{receipt:?}");
    assert_eq!(redriven.code, 1, "one is left: {redriven:?}");
    assert!(redriven.out.contains("       9  recorded"), "{}", redriven.out);

    bed.dynamodb.clear_rules();
    let again = bed.run(&["dead-letters", "redrive", "--resume", "r.jsonl"]);
    assert_eq!(again.code, 0, "{again:?}");
    assert!(recorded(&bed, "msg_2").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn selected_dead_letters_are_redriven_and_others_stay() {
    let bed = Bed::start().await;
    bed.make_dead_letters(&["msg_1", "msg_2", "msg_3"]).await;
    let redrive =
        ["dead-letters", "redrive", "--id", "ada:msg_1", "--id", "ada:msg_3", "--receipt", "r.jsonl", "--wait", "0"];
    let redriven = bed.run(&redrive);
    assert_eq!(receipt(&bed, "r.jsonl")["ada:msg_1"], "waiting on the retry queue", "{redriven:?}");
    assert_eq!(visible(&bed, &bed.dead_letter_queue).await, 1);
    consume(&bed).await;
    assert!(recorded(&bed, "msg_1").await && recorded(&bed, "msg_3").await && !recorded(&bed, "msg_2").await);
    let resumed = bed.run(&["dead-letters", "redrive", "--resume", "r.jsonl"]);
    assert_eq!(resumed.code, 0, "{resumed:?}");
    assert_eq!(receipt(&bed, "r.jsonl").into_values().collect::<Vec<_>>(), ["recorded", "recorded"]);
    assert_eq!(visible(&bed, &bed.dead_letter_queue).await, 1, "dead letters that are not in the receipt stay");
    assert_eq!(bed.run(&["dead-letters", "redrive", "--id", "ada:unknown"]).code, 3);
    let unselected = bed.run(&["dead-letters", "redrive"]);
    assert!(unselected.code == 2 && unselected.err.contains("no dead letters are selected"), "{unselected:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn interrupted_redrive_continues_from_its_receipt() {
    let bed = Bed::start().await;
    let ids: Vec<String> = (0..40).map(|n| format!("msg_{n}")).collect();
    bed.make_dead_letters(&ids.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let redrive = ["dead-letters", "redrive", "--all", "--rate", "10/s", "--receipt", "r.jsonl"];
    let running = bed.command(&redrive).spawn().unwrap();
    while visible(&bed, &bed.retry_queue).await == 0 {
        tokio::task::yield_now().await;
    }
    crate::signal(&running, rustix::process::Signal::INT);
    let output = running.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && stderr.contains("--resume 'r.jsonl'"), "{stderr}");
    let (moved, left) = (visible(&bed, &bed.retry_queue).await, visible(&bed, &bed.dead_letter_queue).await);
    assert!(moved > 0 && left > 0 && moved + left == 40, "{moved} moved, {left} left");
    let outcomes = receipt(&bed, "r.jsonl");
    assert_eq!(outcomes.values().filter(|outcome| *outcome == "not moved").count(), left, "{outcomes:?}");
    assert_eq!(outcomes.len(), 40, "all are in the receipt");

    bed.run(&["dead-letters", "redrive", "--resume", "r.jsonl", "--wait", "0"]);
    consume(&bed).await;
    let resumed = bed.run(&["dead-letters", "redrive", "--resume", "r.jsonl"]);
    assert_eq!(resumed.code, 0, "{resumed:?}");
    assert!(receipt(&bed, "r.jsonl").values().all(|outcome| outcome == "recorded"));
}

#[tokio::test(flavor = "multi_thread")]
async fn discard_asks_first_and_writes_copies() {
    let bed = Bed::start().await;
    bed.make_dead_letters(&["msg_1", "msg_2"]).await;
    let asked = bed.run(&["dead-letters", "discard", "--id", "ada:msg_1"]);
    assert!(asked.code == 1 && asked.err.contains("--yes"), "not a terminal: {asked:?}");
    let unselected = bed.run(&["dead-letters", "discard", "--yes"]);
    assert!(unselected.code == 2 && unselected.err.contains("no dead letters are selected"), "{unselected:?}");
    std::fs::write(bed.directory.path().join("existing"), "").unwrap();
    let existing = bed.run(&["dead-letters", "discard", "--id", "ada:msg_1", "--yes", "--keep", "existing"]);
    assert!(existing.code == 1 && existing.err.contains("nothing was discarded"), "{existing:?}");
    assert_eq!(visible(&bed, &bed.dead_letter_queue).await, 2);

    let discarded = bed.run(&["dead-letters", "discard", "--id", "ada:msg_1", "--yes", "--keep", "copies.jsonl"]);
    assert_eq!(discarded.code, 0, "{discarded:?}");
    assert_eq!(visible(&bed, &bed.dead_letter_queue).await, 1);
    let copy = std::fs::read_to_string(bed.directory.path().join("copies.jsonl")).unwrap();
    let copy: Value = serde_json::from_str(&copy).unwrap();
    let received = gatehouse_inbox::queue::from_message(copy["message"].as_str().unwrap()).unwrap();
    assert_eq!(received.body, MESSAGE, "the copy is the whole message");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(bed.directory.path().join("copies.jsonl")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn queue_option_finds_the_dead_letter_queue() {
    let bed = Bed::start().await;
    bed.make_dead_letters(&["msg_1"]).await;
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatehouse"));
    command.args(["dead-letters", "list", "--json", "--table", &bed.table, "--queue", &bed.retry_queue]);
    command.args(["--endpoint-url", &bed.about.sqs]);
    assert_eq!(run_command(command).line()["event_id"], "ada:msg_1");
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_held_elsewhere_are_reported() {
    let bed = Bed::start().await;
    bed.make_dead_letters(&["msg_1"]).await;
    let receive = bed.sqs_client().receive_message().queue_url(&bed.dead_letter_queue).visibility_timeout(600);
    assert_eq!(receive.send().await.unwrap().messages.unwrap().len(), 1);
    for arguments in [
        &["dead-letters", "list"][..],
        &["dead-letters", "redrive", "--all"],
        &["dead-letters", "discard", "--all", "--yes"],
        &["events", "erase", "--subject", super::bed::CONVERSATION, "--yes"],
    ] {
        let output = bed.run(arguments);
        assert!(output.code == 1 && output.err.contains("held by another command"), "{arguments:?}: {output:?}");
    }
    assert!(
        bed.run(&["events", "show", "ada:msg_1"])
            .out
            .contains("it may be a dead letter that another command holds (1 held)")
    );
    let found = bed.run(&["doctor", "--json"]).lines();
    assert!(found.iter().any(|line| line["check"] == "dead letters" && line["state"] == "wrong"), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn receipt_never_overwrites_a_file() {
    let bed = Bed::start().await;
    bed.make_dead_letters(&["msg_1"]).await;
    std::fs::write(bed.directory.path().join("there.jsonl"), "important").unwrap();
    let redriven = bed.run(&["dead-letters", "redrive", "--all", "--receipt", "there.jsonl"]);
    assert!(redriven.code == 1 && redriven.err.contains("nothing was moved"), "{redriven:?}");
    assert_eq!(std::fs::read_to_string(bed.directory.path().join("there.jsonl")).unwrap(), "important");
    assert_eq!(visible(&bed, &bed.dead_letter_queue).await, 1, "the message was released");
    let resumed = bed.run(&["dead-letters", "redrive", "--resume", "there.jsonl"]);
    assert!(resumed.code == 1 && resumed.err.contains("line 1: not a line of a receipt"), "{resumed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_option_values_are_refused() {
    let bed = Bed::start().await;
    for arguments in [["--reason", "unavailble"], ["--source", "foo"]] {
        assert_eq!(bed.run(&[&["dead-letters", "list"], &arguments[..]].concat()).code, 2);
    }
    assert_eq!(bed.run(&["dead-letters", "redrive", "--all", "--rate", "600/s"]).code, 2);
}
