//! Tests the index of events by source and hour.

use gatehouse_inbox::store::by_source::{ListedEvent, SourceQuery, hours};
use gatehouse_payload::time::Timestamp;
use gatehouse_payload::{Event, Flags};

use crate::table::{TTL_DAYS, Table, event, noise, now};

fn at(seconds: i64) -> Timestamp {
    now().plus_secs(seconds)
}

async fn list(table: &Table, source: &str, since: Timestamp, until: Timestamp) -> Vec<ListedEvent> {
    let mut listed = Vec::new();
    for hour in hours(since, until) {
        let mut from = None;
        loop {
            let (page, next) =
                table.store.list_by_source(SourceQuery::latest_first(source, hour, until), until, from).await.unwrap();
            listed.extend(page);
            from = next;
            if from.is_none() {
                break;
            }
        }
    }
    listed
}

#[tokio::test]
async fn events_of_a_source_are_listed_latest_first() {
    let table = Table::new().await;
    for (id, source, seconds) in [("a", "ada", 0), ("b", "ada", 3599), ("c", "ada", 3600), ("d", "vapi", 10)] {
        let event = Event { source: source.to_owned(), received_at: at(seconds), ..event(id, "{}") };
        table.record(&event, now()).await.unwrap();
    }
    let ids = |listed: Vec<ListedEvent>| listed.into_iter().map(|event| event.id.to_string()).collect::<Vec<_>>();
    assert_eq!(ids(list(&table, "ada", at(0), at(3600)).await), ["test:c", "test:b", "test:a"]);
    assert_eq!(ids(list(&table, "ada", at(1), at(3599)).await), ["test:b"], "both ends are inclusive");
    assert_eq!(ids(list(&table, "vapi", at(0), at(3600)).await), ["test:d"]);
}

#[tokio::test]
async fn listed_event_has_subject_times_and_flags_of_its_record() {
    let table = Table::new().await;
    let flags = Flags { unparsed: true, weak_identity: true, undated: false };
    let first = Event { flags, occurred_at: at(-60), ..event("a", "{}") };
    table.record(&first, now()).await.unwrap();
    table.record(&Event { received_at: at(1), ..event("a", "[]") }, now()).await.unwrap();
    let listed = list(&table, "ada", at(0), at(60)).await;
    assert_eq!(listed.len(), 2);
    let (copy, record) = (&listed[0], &listed[1]);
    assert_eq!((copy.id.as_str(), copy.conflict), ("test:a", true));
    assert_eq!((record.id.as_str(), record.conflict), ("test:a", false));
    assert_eq!(record.event_type.as_deref(), Some("v1.conversation.message"));
    assert_eq!(record.subject, first.subject);
    assert_eq!((record.occurred_at, record.received_at), (at(-60), at(0)));
    assert!(record.unparsed && record.weak_identity && !copy.unparsed);
}

#[tokio::test]
async fn list_reads_no_payloads_and_hides_expired_records() {
    let table = Table::new().await;
    table.record(&event("a", &noise(1, 1_500_000)), now()).await.unwrap();
    let queries = table.requests(async { assert_eq!(list(&table, "ada", at(0), at(60)).await.len(), 1) }).await;
    assert_eq!(queries, [("Query".to_owned(), 1)]);
    let later = at(i64::from(TTL_DAYS) * 86_400 + 1);
    let (page, _) =
        table.store.list_by_source(SourceQuery::latest_first("ada", at(0), at(60)), later, None).await.unwrap();
    assert_eq!(page, []);
}
