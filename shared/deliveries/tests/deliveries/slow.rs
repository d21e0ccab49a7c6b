//! Slow destinations: their deliveries have a queue of their own, so that they do not occupy all senders.

use std::cell::Cell;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::join_all;
use gatehouse_deliveries::deliver::{Rung, SlowLimits};
use gatehouse_deliveries::doorbell::{Doorbell, Doorbells};
use gatehouse_deliveries::table::State;
use gatehouse_payload::Event;
use tokio::time::timeout;

use crate::support::World;

/// A world whose destination does not respond, and in which `attempts` slow attempts make it slow.
async fn silent(attempts: u32) -> World {
    let mut world = World::start().await;
    world.deliverer.slow_limits = SlowLimits { after: Duration::from_millis(10), attempts };
    world.receiver.set_open(false);
    // Events may have been received earlier than now.
    world.clock.advance(10);
    world
}

/// Records an event of each of `count` subjects, and adds its deliveries.
async fn record(world: &mut World, name: &str, count: usize) -> Vec<Event> {
    let mut events = Vec::new();
    for n in 0..count {
        events.push(world.record(&format!("ada:{name}{n}"), &format!("ada:conversation:{name}{n}"), 0).await);
    }
    world.fill_outbox().await;
    events
}

/// Waits until this number of updates of the delivery table has been made.
async fn wait_for_updates(world: &World, count: usize) {
    while world.proxies[0].counts().get("UpdateItem").is_none_or(|updates| *updates < count) {
        tokio::task::yield_now().await;
    }
}

async fn answer_all(world: &World, doorbells: &[Doorbell]) -> Vec<Rung> {
    join_all(doorbells.iter().map(|doorbell| async { world.answer(doorbell).await.unwrap() })).await
}

#[tokio::test(flavor = "multi_thread")]
async fn few_slow_attempts_are_waited_for() {
    let mut world = silent(10).await;
    let events = record(&mut world, "", 3).await;
    let doorbells = world.rung().await;
    let (rung, ()) = tokio::join!(answer_all(&world, &doorbells), async {
        // Each acquires its lease, and counts as slow.
        wait_for_updates(&world, 6).await;
        world.receiver.set_open(true);
    });
    assert_eq!(rung, [Rung::Done; 3]);
    for event in &events {
        assert_eq!(world.delivery("crm", event).await.state, State::Delivered);
    }
    assert_eq!((world.receiver.received().len(), world.rung().await.len()), (3, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_slow_attempts_move_a_destination_to_the_queue_of_slow_ones() {
    let mut world = silent(2).await;
    let events = record(&mut world, "", 3).await;
    let doorbells = world.rung().await;
    // One attempt is waited for. The others are aborted, and free their senders.
    let aborted = Cell::new(0);
    let answer = async |doorbell| {
        let rung = world.answer(doorbell).await.unwrap();
        aborted.set(aborted.get() + usize::from(rung != Rung::Done));
        if aborted.get() == 2 {
            world.receiver.set_open(true);
        }
        rung
    };
    let mut rung = join_all(doorbells.iter().map(answer)).await;
    rung.sort_by_key(|rung| *rung != Rung::Done);
    let pause = Duration::from_secs(21);
    assert_eq!(rung, [Rung::Done, Rung::Again(pause), Rung::Again(pause)]);
    let mut states = Vec::new();
    for event in &events {
        let delivery = world.delivery("crm", event).await;
        states.push((delivery.state.as_str(), delivery.attempts));
    }
    states.sort_unstable();
    assert_eq!(states, [("delivered", 1), ("waiting", 0), ("waiting", 0)], "an aborted attempt is no failure");
    assert!(world.table.destinations().await.unwrap()["crm"].is_slow(world.now()));

    // Nothing else of a lane is sent while the destination may still work on an aborted attempt, not even what precedes
    // it.
    for event in &events {
        let subject = event.subject.as_ref().unwrap().as_str();
        world.record(&format!("{}-earlier", event.id.as_str()), subject, -1).await;
    }
    world.fill_outbox().await;
    answer_all(&world, &world.rung().await).await;
    let slow = world.rung().await;
    assert!(slow.len() == 3 && slow.iter().all(|doorbell| doorbell.is_slow), "{slow:?}");
    answer_all(&world, &slow).await;
    assert_eq!(world.receiver.received().len(), 4, "what precedes the delivered one");

    // The doorbells ring again. On the other queue, the whole time of an attempt is waited for.
    world.clock.advance(21);
    let again: Vec<_> = doorbells.iter().map(|doorbell| Doorbell { is_whole: true, ..doorbell.clone() }).collect();
    assert_eq!(answer_all(&world, &again).await, [Rung::Done; 3]);
    let slow = world.rung().await;
    world.receiver.set_open(false);
    {
        let mut answered = pin!(answer_all(&world, &slow));
        assert!(timeout(world.deliverer.slow_limits.after * 10, &mut answered).await.is_err());
        world.receiver.set_open(true);
        assert_eq!(answered.await, [Rung::Done; 3]);
    }
    for event in &events {
        assert_eq!(world.delivery("crm", event).await.state, State::Delivered);
    }
    assert!(world.receiver.received().iter().all(|received| received.headers["gatehouse-attempt"] == "1"));

    // As long as it is slow, doorbells are passed on without an attempt.
    record(&mut world, "later", 1).await;
    let [usual] = world.rung().await.try_into().unwrap();
    assert_eq!(answer_all(&world, std::slice::from_ref(&usual)).await, [Rung::Done]);
    assert_eq!(world.receiver.received().len(), 8);
    let [passed_on] = world.rung().await.try_into().unwrap();
    assert_eq!(passed_on, Doorbell { is_slow: true, ..usual });
    assert_eq!(answer_all(&world, &[passed_on]).await, [Rung::Done]);
    assert_eq!(world.receiver.received().len(), 9);

    // Five minutes later, it gets messages from the usual senders.
    world.clock.advance(301);
    record(&mut world, "last", 1).await;
    world.deliver().await;
    assert_eq!((world.receiver.received().len(), world.rung().await.len()), (10, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_attempts_keep_a_destination_slow() {
    let mut world = silent(1).await;
    assert!(world.table.count_slow("crm", 1, world.now()).await.unwrap());
    world.clock.advance(200);
    record(&mut world, "", 1).await;
    answer_all(&world, &world.rung().await).await;
    let slow = world.rung().await;
    let mut answered = pin!(answer_all(&world, &slow));
    assert!(timeout(world.deliverer.slow_limits.after * 10, &mut answered).await.is_err());
    world.receiver.set_open(true);
    assert_eq!(answered.await, [Rung::Done]);
    world.clock.advance(200);
    assert!(world.table.destinations().await.unwrap()["crm"].is_slow(world.now()));
}

#[tokio::test(flavor = "multi_thread")]
async fn doorbell_that_cannot_be_passed_on_rings_again() {
    let mut world = silent(1).await;
    record(&mut world, "", 1).await;
    let doorbells = world.rung().await;
    world.deliverer.slow_doorbells = Doorbells::of_slow(
        &gatehouse_local::local_sdk(&world.proxies[1].url()),
        &world.deliverer.slow_doorbells.queue().replace("Slow", "Missing"),
    );
    assert!(matches!(answer_all(&world, &doorbells).await[..], [Rung::Again(_)]));
    let error = world.answer(&doorbells[0]).await.unwrap_err().to_string();
    assert!(error.contains("SendMessageBatch"), "{error}");
    assert_eq!(world.receiver.received().len(), 1, "the second time, the destination is known to be slow");
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_attempts_that_are_counted_at_once_are_all_counted() {
    let world = World::start().await;
    for round in 0..3 {
        let counted = join_all((0..10).map(|_| world.table.count_slow("crm", 10, world.now()))).await;
        let slow = counted.into_iter().filter(|is_slow| *is_slow.as_ref().unwrap()).count();
        assert_eq!(slow, 1, "round {round}");
        // Longer than the state lasts, so that it is not slow in the next round.
        world.clock.advance(301);
    }
}
