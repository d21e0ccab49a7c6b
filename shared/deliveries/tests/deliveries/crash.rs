//! Strikes the outbox, the sender and the sweep at every request that they make: they are killed before or after
//! DynamoDB or SQS applies the request, or when the destination has it, or the service fails from that request on. Then
//! everything is delivered, in order.

use std::pin::pin;
use std::time::Duration;

use gatehouse_deliveries::deliver::{Rung, SlowLimits};
use gatehouse_deliveries::doorbell::Doorbell;
use gatehouse_deliveries::lane::Lane;
use gatehouse_deliveries::table::State;
use gatehouse_local::{Fault, Rule};
use gatehouse_payload::Event;
use tokio::time::Instant;

use crate::support::World;

/// The part that is struck.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Outbox,
    /// The destination accepts what it gets.
    Sender,
    /// The destination refuses the first message.
    Refused,
    /// The destination wants no further messages.
    Gone,
    /// A sweep, after the first message was refused.
    Sweep,
    /// The destination does not respond in time, and is slow from then on.
    Slow,
}

impl Part {
    /// The status line with which the destination responds while the part works.
    fn response(self) -> &'static str {
        match self {
            Part::Outbox | Part::Sender | Part::Slow => "200 OK",
            Part::Refused | Part::Sweep => "500 No",
            Part::Gone => "410 Gone",
        }
    }
}

/// How it is struck.
#[derive(Debug, Clone, Copy)]
enum Strike {
    /// It is killed; the request was not applied.
    KillBefore,
    /// It is killed; the request was applied.
    KillAfter,
    /// The service fails until the end of the attempt.
    Fail,
}

impl Strike {
    fn rule(self, request: u32) -> Rule {
        match self {
            Strike::KillBefore => Rule::every(Fault::Hang).after(request).times(1),
            Strike::KillAfter => Rule::every(Fault::HoldResponse).after(request).times(1),
            Strike::Fail => Rule::every(Fault::INTERNAL).after(request),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_is_delivered_in_order_wherever_a_function_is_struck() {
    let mut world = World::start().await;
    let mut cases = 0;
    for part in [Part::Outbox, Part::Sender, Part::Refused, Part::Gone, Part::Sweep, Part::Slow] {
        for strike in [Strike::KillBefore, Strike::KillAfter, Strike::Fail] {
            for service in [0, 1] {
                // Until the part makes fewer requests than that.
                let mut request = 0;
                while strike_at(&mut world, part, strike, service, request).await {
                    (request, cases) = (request + 1, cases + 1);
                }
            }
        }
    }
    assert!(cases > 100, "{cases} cases");
    assert_eq!(world.receiver.most_at_once(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_is_delivered_in_order_if_its_sender_is_killed_while_the_destination_has_the_request() {
    let mut world = World::start().await;
    for request in 0..3 {
        let mut events = Vec::new();
        for n in 0..3 {
            let (id, subject) = (format!("ada:{request}-{n}"), format!("ada:conversation:{request}"));
            events.push(world.record(&id, &subject, n).await);
        }
        world.fill_outbox().await;
        let lane = world.delivery("crm", &events[0]).await.lane;
        let received = world.receiver.wait_for(world.receiver.received().len() + request + 1);
        assert!(killed(drain(&world, &lane, false), received).await);
        // The lease of the sender expires, and its doorbell rings again.
        world.clock.advance(66);
        assert_eq!(drain(&world, &lane, true).await, Some(Rung::Done));
        check(&world, &events).await;
    }
}

/// Strikes `part` at a request to DynamoDB (0) or SQS (1). Returns whether it made that request.
async fn strike_at(world: &mut World, part: Part, strike: Strike, service: usize, request: u32) -> bool {
    let case = format!("{part:?}-{strike:?}-{service}-{request}");
    let subject = format!("ada:conversation:{case}");
    let mut events = Vec::new();
    for n in 0..3 {
        events.push(world.record(&format!("ada:{case}-{n}"), &subject, n).await);
    }
    let batch = world.stream.next().await.unwrap();
    let struck_before = world.proxies[service].fault_count();
    let is_struck = |world: &World| world.proxies[service].fault_count() > struck_before;

    if part == Part::Outbox {
        world.proxies[service].add_rule(strike.rule(request));
        let add = world.outbox.add(&batch, &world.destinations, world.now());
        let failed = match strike {
            Strike::Fail => !add.await.response.failures.is_empty(),
            Strike::KillBefore | Strike::KillAfter => killed(add, world.proxies[service].next_fault()).await,
        };
        assert_eq!(failed, is_struck(world), "a failure is reported");
        world.proxies[service].clear_rules();
    }
    // Lambda repeats a batch that failed. A batch that succeeded may be repeated too.
    let added = world.outbox.add(&batch, &world.destinations, world.now()).await;
    assert_eq!((added.response.failures.len(), added.deliveries), (0, 3), "{case}");

    let lane = world.delivery("crm", &events[0]).await.lane;
    let mut is_repeated = false;
    if part != Part::Outbox {
        world.receiver.respond(move |_| part.response().to_owned());
        if part == Part::Slow {
            world.receiver.set_open(false);
            world.deliverer.slow_limits = SlowLimits { after: Duration::from_millis(10), attempts: 1 };
        }
        if part == Part::Sweep {
            assert!(matches!(drain(world, &lane, false).await, Some(Rung::Again(_))));
            world.clock.advance(66);
        }
        world.proxies[service].add_rule(strike.rule(request));
        let until = Instant::now() + Duration::from_secs(60);
        {
            let mut works = pin!(async {
                if part == Part::Sweep {
                    let _ = world.deliverer.sweep(&world.destinations, until).await;
                } else {
                    drain(world, &lane, false).await;
                }
            });
            if killed(&mut works, world.proxies[service].next_fault()).await && matches!(strike, Strike::Fail) {
                world.receiver.set_open(true);
                works.await;
            }
        }
        is_repeated = is_struck(world);
        world.proxies[service].clear_rules();
        world.receiver.respond(|_| "200 OK".to_owned());
        world.receiver.set_open(true);
        world.receiver.wait_until_idle().await;
        world.deliverer.slow_limits = SlowLimits::default();
        if part == Part::Gone {
            world.table.enable("crm").await.unwrap();
        }
        // The lease of the sender expires, and its doorbell rings again.
        world.clock.advance(66);
    }
    if drain(world, &lane, is_repeated).await != Some(Rung::Done) || part == Part::Gone {
        // Another instance of the state of the destination is needed, or the breaker was half-open.
        world.clock.advance(66);
        world.deliverer.sweep(&world.destinations, Instant::now() + Duration::from_secs(60)).await.unwrap();
        drain(world, &lane, true).await;
    }
    if part == Part::Slow {
        world.deliver().await;
        world.clock.advance(600);
    }
    check(world, &events).await;
    is_struck(world)
}

/// Runs a part until it ends, or until the fault, which kills it. Returns whether it was killed.
async fn killed<T>(part: impl Future<Output = T>, fault: impl Future<Output = ()>) -> bool {
    tokio::select! {
        biased;
        _ = part => false,
        () = fault => true,
    }
}

async fn drain(world: &World, lane: &Lane, is_repeated: bool) -> Option<Rung> {
    world.answer(&Doorbell { lane: lane.clone(), is_whole: is_repeated, is_slow: false }).await.ok()
}

/// Checks that the events are delivered in order. One that was sent when its sender was struck may be repeated.
async fn check(world: &World, events: &[Event]) {
    for event in events {
        assert_eq!(world.delivery("crm", event).await.state, State::Delivered, "{}", event.id);
    }
    let ids: Vec<&str> = events.iter().map(|event| event.id.as_str()).collect();
    let mut received = world.receiver.events();
    received.retain(|id| ids.contains(&&**id));
    received.dedup();
    assert_eq!(received, ids);
}
