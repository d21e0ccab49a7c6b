//! Deliveries about one subject follow each other, in the order of receipt.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use gatehouse_deliveries::deliver::Rung;
use gatehouse_deliveries::lane::Lane;
use gatehouse_deliveries::table::{Delivery, Released, State};
use gatehouse_payload::Nonce;

use crate::support::{World, event};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_senders_keep_the_order_of_each_subject() {
    let mut world = World::start().await;
    for n in 0..24 {
        world.record(&format!("ada:{n:02}"), &format!("ada:conversation:{}", n % 3), n).await;
    }
    assert_eq!(world.fill_outbox().await, 24);
    let mut lanes = world.doorbells().await;
    assert_eq!(lanes.len(), 3, "one doorbell for each lane of the batch");
    // Every lane rings eight times.
    lanes = lanes.iter().cycle().take(24).cloned().collect();
    let world = Arc::new(world);
    let senders = lanes.into_iter().map(|lane| {
        let world = Arc::clone(&world);
        tokio::spawn(async move { world.drain(&lane).await })
    });
    for rung in join_all(senders).await {
        assert_eq!(rung.unwrap(), Rung::Done);
    }
    let mut by_subject: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for received in world.receiver.received() {
        let subject = received.body["data"]["subject"].to_string();
        by_subject.entry(subject).or_default().push(received.event().to_owned());
        assert_eq!(received.body["data"]["late"], false);
    }
    for events in by_subject.values() {
        assert!(events.is_sorted() && events.len() == 8, "{events:?}");
    }
    assert_eq!((by_subject.len(), world.receiver.most_at_once()), (3, 1));
}

#[tokio::test]
async fn event_that_is_recorded_late_is_delivered_and_marked() {
    let mut world = World::start().await;
    world.table.destination("crm", world.now().plus_secs(-7200)).await.unwrap();
    for (id, seconds) in [("ada:first", 10), ("ada:second", 20)] {
        world.record(id, "ada:conversation:1", seconds).await;
    }
    world.fill_outbox().await;
    world.deliver().await;
    // It was on the retry queue.
    world.record("ada:late", "ada:conversation:1", 5).await;
    world.record("ada:third", "ada:conversation:1", 30).await;
    world.fill_outbox().await;
    assert_eq!(world.deliver().await, [Rung::Done]);
    let received = world.receiver.received();
    let late: Vec<_> = received.iter().map(|r| (r.event(), r.body["data"]["late"].as_bool().unwrap())).collect();
    let expected = [("ada:first", false), ("ada:second", false), ("ada:late", true), ("ada:third", false)];
    assert_eq!(late, expected);
}

#[tokio::test]
async fn lease_of_a_sender_that_died_expires() {
    let mut world = World::start().await;
    world.record("ada:1", "ada:conversation:1", 0).await;
    world.fill_outbox().await;
    let lane = world.doorbells().await.remove(0);
    let (dead, until) = (Nonce::random().unwrap(), world.now().plus_secs(65));
    assert!(world.table.acquire(&lane, dead, until, world.now()).await.unwrap().is_some());
    assert_eq!(world.drain(&lane).await, Rung::Done);
    // SQS can deliver the doorbell of the dead sender twice.
    assert_eq!(world.drain_again(&lane, true).await, Rung::Again(Duration::from_secs(1)));
    assert!(world.receiver.received().is_empty(), "the other sender has the lane");
    world.clock.advance(66);
    // The doorbell of the dead sender rings again.
    assert_eq!(world.drain_again(&lane, true).await, Rung::Done);
    assert_eq!(world.receiver.events(), ["ada:1"]);
}

#[tokio::test]
async fn position_is_not_moved_over_a_delivery_that_was_added_meanwhile() {
    let mut world = World::start().await;
    let second = world.record("ada:second", "ada:conversation:1", 20).await;
    world.fill_outbox().await;
    let lane = world.doorbells().await.remove(0);
    world.drain(&lane).await;
    let row = world.delivery("crm", &second).await.row;
    let lease = world.table.acquire(&lane, Nonce::random().unwrap(), world.now().plus_secs(60), world.now()).await;
    let lease = lease.unwrap().unwrap();
    assert_eq!(lease.done_to.as_ref(), Some(&row));
    // Added while the lease is held: the outbox removes the position.
    world.record("ada:first", "ada:conversation:1", 10).await;
    world.fill_outbox().await;
    assert_eq!(world.table.release(&lease, Some(&row), None, None).await.unwrap(), Released::Changed);
    world.clock.advance(61);
    world.deliver().await;
    assert_eq!(world.receiver.events(), ["ada:second", "ada:first"]);
}

#[tokio::test]
async fn delivery_that_a_dead_sender_passed_is_found_by_a_repeated_doorbell() {
    let mut world = World::start().await;
    let second = world.record("ada:second", "ada:conversation:1", 20).await;
    let first = world.record("ada:first", "ada:conversation:1", 10).await;
    world.fill_outbox().await;
    let lane = world.doorbells().await.remove(0);
    // A sender moves the position over a delivery that it has not seen, and dies before it reads the lane once more.
    let lease = world.table.acquire(&lane, Nonce::random().unwrap(), world.now().plus_secs(60), world.now()).await;
    let passed =
        [&first, &second].map(|event| gatehouse_deliveries::lane::RowKey::of(event.received_at, event.id.as_str()));
    world.table.release(&lease.unwrap().unwrap(), Some(&passed[1]), None, None).await.unwrap();
    assert_eq!(world.drain(&lane).await, Rung::Done);
    assert!(world.receiver.received().is_empty());
    assert_eq!(world.drain_again(&lane, true).await, Rung::Done);
    assert_eq!(world.receiver.events(), ["ada:first", "ada:second"]);
}

/// Records an event that was received `seconds` from now, and adds its delivery, as the outbox does.
async fn add(world: &World, lane: &Lane, id: &str, seconds: i64) {
    let event = event(id, "ada:conversation:1", world.now().plus_secs(seconds), r#"{"type":"x"}"#);
    world.record_event(&event).await;
    assert!(world.table.add(&Delivery::new(lane.clone(), id, event.received_at, world.now())).await.unwrap());
}

/// Handles a doorbell. `meanwhile` happens while the destination has the first message.
async fn drain_while(world: &World, lane: &Lane, meanwhile: impl Future<Output = ()>) -> Rung {
    world.receiver.set_open(false);
    let (rung, ()) = tokio::join!(world.drain(lane), async {
        world.receiver.wait_for(1).await;
        meanwhile.await;
        world.receiver.set_open(true);
    });
    rung
}

#[tokio::test(flavor = "multi_thread")]
async fn delivery_that_is_added_below_the_one_in_progress_is_sent() {
    let mut world = World::start().await;
    world.record("ada:second", "ada:conversation:1", 20).await;
    world.fill_outbox().await;
    let lane = world.doorbells().await.remove(0);
    let rung = drain_while(&world, &lane, async {
        add(&world, &lane, "ada:first", 10).await;
        assert_eq!(world.drain(&lane).await, Rung::Done, "the lane is taken");
    });
    assert_eq!(rung.await, Rung::Done);
    assert_eq!(world.receiver.events(), ["ada:second", "ada:first"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn delivery_that_is_added_between_two_that_wait_is_sent_between_them() {
    let mut world = World::start().await;
    world.record("ada:first", "ada:conversation:1", 10).await;
    world.record("ada:third", "ada:conversation:1", 30).await;
    world.fill_outbox().await;
    let lane = world.doorbells().await.remove(0);
    let rung = drain_while(&world, &lane, async {
        add(&world, &lane, "ada:second", 20).await;
        // The destination needs so long to respond.
        world.clock.advance(2);
    });
    assert_eq!(rung.await, Rung::Done);
    assert_eq!(world.receiver.events(), ["ada:first", "ada:second", "ada:third"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn delivery_that_is_added_before_the_destination_is_disabled_is_sent_afterwards() {
    let mut world = World::start().await;
    world.record("ada:second", "ada:conversation:1", 20).await;
    world.record("ada:third", "ada:conversation:1", 30).await;
    world.fill_outbox().await;
    let lane = world.doorbells().await.remove(0);
    world.receiver.respond(|r| if r.event() == "ada:third" { "410 Gone" } else { "200 OK" }.to_owned());
    assert_eq!(drain_while(&world, &lane, add(&world, &lane, "ada:first", 10)).await, Rung::Done);
    world.receiver.respond(|_| "200 OK".to_owned());
    world.table.enable("crm").await.unwrap();
    world.clock.advance(10);
    assert!(world.sweep().await > 0);
    let mut events = world.receiver.events();
    assert_eq!(events.remove(0), "ada:second");
    events.sort();
    events.dedup();
    assert_eq!(events, ["ada:first", "ada:third"]);
}

#[tokio::test]
async fn sweep_finds_a_delivery_below_the_position_of_its_lane() {
    let mut world = World::start().await;
    let first = world.record("ada:first", "ada:conversation:1", 10).await;
    world.record("ada:second", "ada:conversation:1", 20).await;
    world.fill_outbox().await;
    world.deliver().await;
    // A command that resends it ends before it has reset the position.
    let delivered = world.delivery("crm", &first).await;
    let again = Delivery { state: State::Waiting, due: Some(world.now()), ..delivered.clone() };
    assert!(world.table.replace(&delivered, &again).await.unwrap());
    assert_eq!(world.sweep().await, 1);
    assert_eq!(world.receiver.events(), ["ada:first", "ada:second", "ada:first"]);
    assert_eq!(world.sweep().await, 0);
}
