//! Tests timelines of subjects: order, pages and expiry.

use gatehouse_payload::time::Timestamp;
use gatehouse_payload::{Event, Subject};

use crate::table::{TTL_DAYS, Table, event, noise, now};

fn at(id: &str, minute: u32) -> Event {
    let occurred_at = Timestamp::parse(&format!("2026-11-20T09:{minute:02}:00Z")).unwrap();
    Event { occurred_at, ..event(id, &format!(r#"{{"minute":{minute}}}"#)) }
}

fn subject() -> Subject {
    Subject::new("ada", "conversation", "c1")
}

async fn ids(table: &Table, now: Timestamp) -> Vec<String> {
    let records = table.store.whole_timeline(&subject(), now).await.unwrap().records;
    records.iter().map(|record| record.event.id.to_string()).collect()
}

#[tokio::test]
async fn timeline_is_ordered_by_occurrence_not_by_arrival() {
    let table = Table::new().await;
    for (id, minute) in [("c", 30), ("a", 10), ("d", 30), ("b", 20)] {
        table.record(&at(id, minute), now()).await.unwrap();
    }
    assert_eq!(ids(&table, now()).await, ["test:a", "test:b", "test:c", "test:d"]);
}

#[tokio::test]
async fn pages_of_any_size_form_the_whole_timeline() {
    let table = Table::new().await;
    for minute in 0..23 {
        table.record(&at(&format!("e{minute:02}"), minute), now()).await.unwrap();
    }
    let whole = ids(&table, now()).await;
    assert_eq!(whole.len(), 23);
    for limit in [1, 5, 22, 23, 100] {
        let (mut paged, mut next) = (Vec::new(), None);
        loop {
            let page = table.store.timeline(&subject(), now(), next, limit).await.unwrap();
            assert!(page.records.len() <= usize::from(limit));
            paged.extend(page.records.iter().map(|record| record.event.id.to_string()));
            next = page.next;
            if next.is_none() {
                break;
            }
        }
        assert_eq!(paged, whole, "{limit}");
    }
}

#[tokio::test]
async fn timeline_larger_than_one_response_is_read_completely() {
    let table = Table::new().await;
    for minute in 0..50 {
        let body = noise(u64::from(minute), 360_000);
        let event = Event { occurred_at: at("", minute).occurred_at, ..event(&format!("e{minute}"), &body) };
        table.record(&event, now()).await.unwrap();
    }
    let records = table.store.whole_timeline(&subject(), now()).await.unwrap().records;
    assert_eq!(records.len(), 50);
    assert!(records.iter().all(|record| record.event.body.len() > 360_000));
}

#[tokio::test]
async fn timeline_hides_expired_events_and_other_subjects() {
    let table = Table::new().await;
    table.record(&at("old", 10), now()).await.unwrap();
    let later = now().plus_secs(i64::from(TTL_DAYS) * 86_400 + 1);
    table.record(&at("new", 20), later).await.unwrap();
    let other = Event { subject: Some(Subject::new("ada", "conversation", "c2")), ..at("other", 30) };
    table.record(&other, later).await.unwrap();
    table.record(&Event { subject: None, ..at("none", 40) }, later).await.unwrap();
    assert_eq!(ids(&table, later).await, ["test:new"]);
}

#[tokio::test]
async fn damaged_item_is_named_and_hides_no_other_item() {
    let table = Table::new().await;
    for (id, minute) in [("a", 10), ("b", 20)] {
        table.record(&at(id, minute), now()).await.unwrap();
    }
    let key = aws_sdk_dynamodb::types::AttributeValue::S("test:a".to_owned());
    let newer = aws_sdk_dynamodb::types::AttributeValue::N("2".to_owned());
    let update = table.client.update_item().table_name(Table::NAME).key("event_id", key);
    update.update_expression("SET v = :v").expression_attribute_values(":v", newer).send().await.unwrap();
    let page = table.store.whole_timeline(&subject(), now()).await.unwrap();
    assert_eq!(page.records.len(), 1);
    assert_eq!(page.damaged, [("test:a".to_owned(), gatehouse_inbox::store::Damaged::Format(2))]);
}
