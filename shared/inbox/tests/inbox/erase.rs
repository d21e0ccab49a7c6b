//! Tests that erased data is removed and not recorded again.

use gatehouse_inbox::Store;
use gatehouse_inbox::store::Content;
use gatehouse_inbox::store::erase::{Removed, STALE};
use gatehouse_local::{Fault, Rule, local_sdk};
use gatehouse_payload::{Event, EventId, Outcome, Subject};

use crate::table::{TTL_DAYS, Table, event, noise, now};

fn c1() -> Subject {
    Subject::new("ada", "conversation", "c1")
}

async fn erase(table: &Table, subject: &Subject) -> Removed {
    table.store.mark_erased(subject, now()).await.unwrap();
    table.store.erase(subject, now()).await.unwrap()
}

#[tokio::test]
async fn erase_removes_all_data_of_its_subject_and_no_other() {
    let table = Table::new().await;
    let other = Event { subject: Some(Subject::new("ada", "conversation", "c2")), ..event("other", "{}") };
    for event in
        [event("a", "secret"), event("a", "another secret"), event("large", &noise(1, 1_500_000)), other.clone()]
    {
        table.record(&event, now()).await.unwrap();
    }
    assert_eq!(erase(&table, &c1()).await, Removed { events: 2, conflicts: 1, chunks: 4 });
    let remaining = table.client.scan().table_name(Table::NAME).send().await.unwrap().items.unwrap();
    let remaining = format!("{remaining:?}");
    for erased in ["secret", "chunk:", "conversation:c1"] {
        assert!(!remaining.contains(erased), "{erased}: {remaining}");
    }
    assert_eq!(table.store.get(&other.id, now()).await.unwrap().unwrap().event, other);
    assert_eq!(table.store.whole_timeline(&c1(), now()).await.unwrap().records, []);
    let id = EventId::new(&["test"], &["a"]);
    assert_eq!(table.store.content(&id, now()).await.unwrap(), Content::Erased(now()));
    assert_eq!(table.store.get(&id, now()).await.unwrap(), None);
}

#[tokio::test]
async fn records_of_a_chat_under_both_names_are_read_and_erased_together() {
    let of = |name: &str| Subject::new(name, "conversation", "c1");
    for erased_as in ["chat", "ag-kit"] {
        let table = Table::new().await;
        let turn = |id: &str, name: &str| Event { subject: Some(of(name)), ..event(id, "{}") };
        for (id, name) in [("1", "ag-kit"), ("2", "ag-kit"), ("3", "chat"), ("4", "chat")] {
            table.record(&turn(id, name), now()).await.unwrap();
        }
        for name in ["chat", "ag-kit"] {
            assert_eq!(table.store.whole_timeline(&of(name), now()).await.unwrap().records.len(), 4, "{name}");
            assert_eq!(table.store.keys(&of(name)).await.unwrap().len(), 4, "{name}");
            assert!(table.store.has_subject(&of(name)).await.unwrap());
            // In pages, which do not end between the names.
            let (mut pages, mut from) = (0, None);
            loop {
                let page = table.store.timeline(&of(name), now(), from, 1).await.unwrap();
                pages += page.records.len();
                from = page.next;
                if from.is_none() {
                    break;
                }
            }
            assert_eq!(pages, 4, "{name}");
        }
        assert_eq!(erase(&table, &of(erased_as)).await.events, 4);
        for name in ["chat", "ag-kit"] {
            let outcome = table.store.record(&turn("5", name), now()).await.unwrap().outcome;
            assert_eq!(outcome, Outcome::Erased, "{name}, erased as {erased_as}");
        }
    }
}

#[tokio::test]
async fn erased_event_is_not_recorded_again() {
    let table = Table::new().await;
    let first = event("a", "{}");
    table.record(&first, now()).await.unwrap();
    erase(&table, &c1()).await;
    // Another instance does not know the erased subject and finds only the tombstone.
    let instance = Store::with_long_limits(&local_sdk(&table.proxy.url()), Table::NAME, TTL_DAYS);
    for event in [first, event("a", "{}"), event("a", "[1]")] {
        assert_eq!(instance.record(&event, now()).await.unwrap().outcome, Outcome::Erased);
    }
    assert_eq!(table.store.whole_timeline(&c1(), now()).await.unwrap().records, []);
}

#[tokio::test]
async fn erased_subject_gets_no_new_events_on_any_instance() {
    let table = Table::new().await;
    let running = Store::with_long_limits(&local_sdk(&table.proxy.url()), Table::NAME, TTL_DAYS);
    running.warm(now()).await;
    erase(&table, &c1()).await;
    assert_eq!(table.record(&event("b", "{}"), now()).await, Ok(Outcome::Erased));
    let started = Store::with_long_limits(&local_sdk(&table.proxy.url()), Table::NAME, TTL_DAYS);
    started.warm(now()).await;
    assert_eq!(started.record(&event("c", "{}"), now()).await.unwrap().outcome, Outcome::Erased);
    // A running instance refreshes the list once a minute while it records, and undoes a write for an erased subject.
    let later = now().plus_secs(STALE);
    let large = event("d", &noise(1, 1_500_000));
    for event in [event("e", "{}"), large] {
        let cold = Store::with_long_limits(&local_sdk(&table.proxy.url()), Table::NAME, TTL_DAYS);
        let outcome = cold.record(&event, later).await.unwrap().outcome;
        assert_eq!(outcome, Outcome::Erased);
        assert_eq!(table.store.content(&event.id, later).await.unwrap(), Content::Erased(later));
    }
    assert_eq!(running.record(&event("f", "{}"), later).await.unwrap().outcome, Outcome::Erased);
    let items = table.client.scan().table_name(Table::NAME).send().await.unwrap().items.unwrap();
    assert!(items.iter().all(|item| !item.contains_key("payload")), "no payload is left");
}

#[tokio::test]
async fn write_with_a_lost_response_is_undone_when_its_subject_was_erased() {
    let table = Table::new().await;
    erase(&table, &c1()).await;
    // The second attempt of the SDK finds the item of the first one.
    table.proxy.add_rule(Rule::every(Fault::DropResponse).on("PutItem").containing("\"payload\"").times(1));
    let cold = Store::with_long_limits(&local_sdk(&table.proxy.url()), Table::NAME, TTL_DAYS);
    let event = event("a", "{}");
    assert_eq!(cold.record(&event, now()).await.unwrap().outcome, Outcome::Erased);
    assert_eq!(table.store.content(&event.id, now()).await.unwrap(), Content::Erased(now()));
}

#[tokio::test]
async fn event_that_was_written_before_its_subject_was_erased_leaves_no_payload_when_it_is_retried() {
    let table = Table::new().await;
    let events = [event("small", "{}"), event("large", &noise(1, 1_500_000))];
    let unaware = Store::with_long_limits(&local_sdk(&table.proxy.url()), Table::NAME, TTL_DAYS);
    for event in &events {
        assert_eq!(unaware.record(event, now()).await.unwrap().outcome, Outcome::Recorded);
    }
    table.store.mark_erased(&c1(), now()).await.unwrap();
    for event in &events {
        assert_eq!(table.record(event, now()).await, Ok(Outcome::Erased));
    }
    let items = table.client.scan().table_name(Table::NAME).send().await.unwrap().items.unwrap();
    assert!(items.iter().all(|item| !item.contains_key("payload")), "no payload is left");
}

#[tokio::test]
async fn event_of_other_subject_with_erased_id_is_stored() {
    let table = Table::new().await;
    table.record(&event("a", "{}"), now()).await.unwrap();
    erase(&table, &c1()).await;
    let other = Event { subject: Some(Subject::new("ada", "conversation", "c2")), ..event("a", "[2]") };
    assert_eq!(table.record(&other, now()).await, Ok(Outcome::Conflict));
    assert_eq!(table.store.whole_timeline(other.subject.as_ref().unwrap(), now()).await.unwrap().records.len(), 1);
}

#[tokio::test]
async fn events_are_recorded_while_the_list_of_erased_subjects_hangs() {
    let table = Table::new().await;
    table.proxy.add_rule(Rule::every(Fault::Hang).on("GetItem"));
    let store = Store::new(&local_sdk(&table.proxy.url()), Table::NAME, TTL_DAYS);
    for id in ["a", "b", "c"] {
        assert_eq!(store.record(&event(id, "{}"), now()).await.unwrap().outcome, Outcome::Recorded);
    }
    assert_eq!(table.proxy.counts()["GetItem"], 2, "one request by the table's store, one by this store");
}

#[tokio::test]
async fn second_erase_removes_only_events_recorded_since() {
    let table = Table::new().await;
    table.record(&event("a", "{}"), now()).await.unwrap();
    let instance = Store::with_long_limits(&local_sdk(&table.proxy.url()), Table::NAME, TTL_DAYS);
    instance.warm(now()).await;
    assert_eq!(erase(&table, &c1()).await.events, 1);
    assert_eq!(erase(&table, &c1()).await, Removed::default());
    // The instance does not refresh its list for a minute.
    assert_eq!(instance.record(&event("b", "{}"), now()).await.unwrap().outcome, Outcome::Recorded);
    assert_eq!(erase(&table, &c1()).await, Removed { events: 1, ..Removed::default() });
}

#[tokio::test]
async fn concurrent_erases_lose_no_subject() {
    let table = Table::new().await;
    let subjects: Vec<_> = (0..6).map(|n| Subject::new("ada", "conversation", &n.to_string())).collect();
    let mark_erased = async |subject: &Subject| {
        let store = Store::with_long_limits(&local_sdk(&table.proxy.url()), Table::NAME, TTL_DAYS);
        while store.mark_erased(subject, now()).await.is_err() {}
    };
    futures_util::future::join_all(subjects.iter().map(mark_erased)).await;
    let store = Store::with_long_limits(&local_sdk(&table.proxy.url()), Table::NAME, TTL_DAYS);
    store.warm(now()).await;
    for (n, subject) in subjects.into_iter().enumerate() {
        let event = Event { subject: Some(subject), ..event(&n.to_string(), "{}") };
        assert_eq!(store.record(&event, now()).await.unwrap().outcome, Outcome::Erased);
    }
}

#[tokio::test]
async fn list_of_erased_subjects_contains_no_names() {
    let table = Table::new().await;
    erase(&table, &Subject::new("ada", "end-user", "jane@example.com")).await;
    let items = format!("{:?}", table.client.scan().table_name(Table::NAME).send().await.unwrap().items);
    assert!(!items.contains("jane") && items.contains("erased"), "{items}");
}
