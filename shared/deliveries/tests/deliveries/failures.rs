//! Retries, dead letters, disabled destinations and the circuit breaker.

use std::time::Duration;

use gatehouse_deliveries::Destination;
use gatehouse_deliveries::deliver::{Rung, SETTLE_LIMIT};
use gatehouse_deliveries::destination::{Order, Target};
use gatehouse_deliveries::schedule::MAX_ATTEMPTS;
use gatehouse_deliveries::send::{ATTEMPT_LIMIT, CONNECT_TIMEOUT, Sender};
use gatehouse_deliveries::table::State;
use gatehouse_egress::{ScopedClient, Tls};
use gatehouse_local::{Fault, Rule};
use tokio::time::Instant;

use crate::support::{Receiver, UNFINISHED, World};

#[tokio::test]
async fn failed_delivery_holds_back_its_subject_until_it_succeeds() {
    let mut world = World::start().await;
    world.receiver.respond(|received| {
        let fails = received.event() == "ada:1" && received.headers["gatehouse-attempt"] != "3";
        if fails { "503 Busy" } else { "200 OK" }.to_owned()
    });
    let first = world.record("ada:1", "ada:conversation:1", 0).await;
    world.record("ada:2", "ada:conversation:1", 1).await;
    world.record("ada:other", "ada:conversation:2", 2).await;
    world.fill_outbox().await;
    let mut rung = world.deliver().await;
    rung.sort_by_key(|rung| *rung != Rung::Done);
    let Rung::Again(pause) = rung[1] else { unreachable!("the doorbell is hidden: {rung:?}") };
    assert!((Duration::from_secs(4)..=Duration::from_secs(6)).contains(&pause), "{pause:?}");
    let delivery = world.delivery("crm", &first).await;
    assert_eq!((delivery.state, delivery.attempts, delivery.status), (State::Waiting, 1, Some(503)));
    assert_eq!((delivery.reason.as_deref(), delivery.response.as_deref()), (Some("status 503"), Some("note")));

    // The doorbell rings again after the pause; the next one is longer, so that a sweep rings.
    world.clock.advance(7);
    assert_eq!(world.drain_again(&delivery.lane, true).await, Rung::Done);
    assert_eq!(world.sweep().await, 0);
    world.clock.advance(7 * 60);
    assert_eq!(world.sweep().await, 1);
    let mut of_subject = world.receiver.events();
    of_subject.retain(|event| event != "ada:other");
    assert_eq!(of_subject, ["ada:1", "ada:1", "ada:1", "ada:2"]);
    let attempts: Vec<_> = world.receiver.received().iter().filter(|r| r.event() == "ada:1").cloned().collect();
    assert!(attempts.iter().all(|r| r.headers["webhook-id"] == attempts[0].headers["webhook-id"]));
    assert_eq!(world.delivery("crm", &first).await.state, State::Delivered);
    assert_eq!(world.sweep().await, 0);
}

#[tokio::test]
async fn delivery_is_dead_after_ten_attempts_and_the_lane_goes_on() {
    let mut world = World::start().await;
    world.receiver.respond(|r| if r.event() == "ada:1" { "500 No" } else { "200 OK" }.to_owned());
    let first = world.record("ada:1", "ada:conversation:1", 0).await;
    world.record("ada:2", "ada:conversation:1", 1).await;
    world.fill_outbox().await;
    world.deliver().await;
    for attempt in 2..=MAX_ATTEMPTS {
        assert_eq!(world.delivery("crm", &first).await.attempts, attempt - 1);
        world.clock.advance(30 * 3600);
        // Ten failures would open the breaker.
        world.table.forget_failures("crm").await.unwrap();
        assert_eq!(world.sweep().await, 1, "{attempt}");
    }
    let delivery = world.delivery("crm", &first).await;
    assert_eq!((delivery.state, delivery.attempts, delivery.reason.as_deref()), (State::Dead, 10, Some("status 500")));
    assert_eq!(world.receiver.events().last().unwrap(), "ada:2");
    let (dead, _) = world.table.dead("crm", world.now(), None).await.unwrap();
    assert_eq!(dead, [delivery]);
    world.clock.advance(30 * 3600);
    assert_eq!(world.sweep().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_attempt_begins_if_the_record_is_read_so_late_that_it_would_be_cut_off() {
    let mut world = World::start().await;
    world.record("ada:1", "ada:conversation:1", 0).await;
    world.fill_outbox().await;
    let [doorbell] = world.rung().await.try_into().unwrap();
    let spare = SETTLE_LIMIT / 2 + Duration::from_millis(200);
    world.proxies[0].add_rule(Rule::every(Fault::Delay(spare)).on("GetItem"));
    let until = Instant::now() + ATTEMPT_LIMIT + SETTLE_LIMIT + Duration::from_millis(100);
    let rung = world.deliverer.drain(&doorbell, &world.destinations, until, &|_| {}).await.unwrap();
    assert_eq!((rung, world.receiver.received().len()), (Rung::Again(Duration::ZERO), 0));
    world.proxies[0].clear_rules();
    assert_eq!(world.drain_again(&doorbell.lane, true).await, Rung::Done);
    assert_eq!(world.receiver.received().len(), 1);
}

#[tokio::test]
async fn retry_after_is_obeyed() {
    let mut world = World::start().await;
    world.receiver.respond(|_| "429 Slow\r\nretry-after: 1000".to_owned());
    let event = world.record("ada:1", "ada:conversation:1", 0).await;
    world.fill_outbox().await;
    assert_eq!(world.deliver().await, [Rung::Done]);
    let due = world.delivery("crm", &event).await.due.unwrap();
    assert_eq!(due.as_secs() - world.now().as_secs(), 1000);
}

#[tokio::test]
async fn status_410_disables_a_destination_and_nothing_is_lost() {
    let mut world = World::start().await;
    world.receiver.respond(|_| "410 Gone".to_owned());
    for n in 1..=3 {
        world.record(&format!("ada:{n}"), &format!("ada:conversation:{}", n % 2), n).await;
    }
    world.fill_outbox().await;
    world.deliver().await;
    assert_eq!(world.receiver.received().len(), 1);
    let state = world.table.destinations().await.unwrap().remove("crm").unwrap();
    assert_eq!(state.disabled.as_deref(), Some("the server responded with status 410"));
    assert_eq!(world.stopped().await, ["crm"]);
    world.clock.advance(3600);
    assert_eq!(world.sweep().await, 0);
    world.receiver.respond(|_| "204 Yes".to_owned());
    world.table.enable("crm").await.unwrap();
    assert!(world.stopped().await.is_empty());
    assert_eq!(world.sweep().await, 2);
    let mut events = world.receiver.events()[1..].to_vec();
    events.sort();
    assert_eq!(events, ["ada:1", "ada:2", "ada:3"]);
}

#[tokio::test]
async fn delivery_behind_an_expired_one_is_sent_when_its_destination_is_enabled() {
    let mut world = World::start().await;
    world.table.disable("crm", "disabled by an operator").await.unwrap();
    let first = world.record("ada:1", "ada:conversation:1", 0).await;
    world.fill_outbox().await;
    world.deliver().await;
    assert_eq!(world.sweep().await, 0);
    assert_eq!(world.delivery("crm", &first).await.state, State::Waiting);
    // The event expires after 90 days. A week later, the table deletes the delivery.
    world.clock.advance(91 * 86_400);
    world.record("ada:2", "ada:conversation:1", 0).await;
    world.fill_outbox().await;
    world.deliver().await;
    assert_eq!(world.sweep().await, 0);
    let dropped = world.delivery("crm", &first).await;
    assert_eq!((dropped.state, dropped.reason.as_deref()), (State::Dropped, Some("expired")));
    world.table.enable("crm").await.unwrap();
    // The sender knows it after a few seconds.
    world.clock.advance(10);
    assert_eq!(world.sweep().await, 1);
    assert_eq!(world.receiver.events(), ["ada:2"]);
}

#[tokio::test]
async fn deliveries_to_an_undefined_destination_wait_for_it() {
    let mut world = World::start().await;
    world.record("ada:1", "ada:conversation:1", 0).await;
    world.fill_outbox().await;
    let destinations = std::mem::take(&mut world.destinations);
    world.deliver().await;
    assert_eq!(world.sweep().await, 0);
    world.destinations = destinations;
    assert_eq!(world.sweep().await, 1);
    assert_eq!(world.receiver.events(), ["ada:1"]);
}

#[tokio::test]
async fn breaker_opens_after_ten_failures_in_a_minute_and_one_probe_closes_it() {
    let receiver = Receiver::start().await;
    let target = Target::Url { url: receiver.url.parse().unwrap(), is_private: false };
    let crm = Destination { order: Order::None, ..Destination::at(target) };
    let mut world = World::with(receiver, [("crm", crm)]).await;
    world.receiver.respond(|_| "500 No".to_owned());
    for n in 0..15 {
        world.record(&format!("ada:{n:02}"), "ada:conversation:1", 0).await;
    }
    world.fill_outbox().await;
    for (n, lane) in world.doorbells().await.iter().enumerate() {
        if n == 11 {
            world.clock.advance(61);
        }
        world.drain(lane).await;
    }
    // The twelfth failure opens the breaker, because the failures before it took less than a minute.
    assert_eq!(world.receiver.received().len(), 12);
    assert_eq!(world.sweep().await, 0, "the breaker is open");
    assert_eq!(world.stopped().await, ["crm"]);
    world.clock.advance(61);
    assert_eq!(world.stopped().await, ["crm"], "only a probe may be sent");
    assert!(world.sweep().await > 1, "a lane may be blocked");
    assert_eq!(world.receiver.received().len(), 13, "one probe");
    world.receiver.respond(|_| "200 OK".to_owned());
    world.clock.advance(1000);
    world.sweep().await;
    assert!(world.receiver.received().len() > 14, "the probe has closed the breaker");
    world.clock.advance(10);
    world.sweep().await;
    assert_eq!(world.receiver.received().len(), 28);
    assert!(world.stopped().await.is_empty());
}

#[tokio::test]
async fn damaged_record_is_retried_like_a_failure() {
    let mut world = World::start().await;
    let event = world.record("ada:1", "ada:conversation:1", 0).await;
    world.fill_outbox().await;
    let sdk = gatehouse_local::local_sdk(&world.engines[0].url());
    let update = aws_sdk_dynamodb::Client::new(&sdk).update_item().table_name("EventTable");
    let key = aws_sdk_dynamodb::types::AttributeValue::S("ada:1".to_owned());
    update.key("event_id", key).update_expression("REMOVE payload").send().await.unwrap();
    assert!(matches!(world.deliver().await[..], [Rung::Again(_)]));
    let delivery = world.delivery("crm", &event).await;
    assert_eq!((delivery.state, delivery.attempts), (State::Waiting, 1));
    assert!(delivery.reason.unwrap().contains("payload"));
    assert!(world.receiver.received().is_empty());
}

#[tokio::test]
async fn deliveries_behind_a_discarded_one_are_sent() {
    let mut world = World::start().await;
    world.receiver.respond(|r| if r.event() == "ada:1" { "500 No" } else { "200 OK" }.to_owned());
    let first = world.record("ada:1", "ada:conversation:1", 0).await;
    world.record("ada:2", "ada:conversation:1", 1).await;
    world.fill_outbox().await;
    world.deliver().await;
    let failing = world.delivery("crm", &first).await;
    assert!(world.table.discard(&failing, world.now()).await.unwrap());
    assert!(!world.table.discard(&failing, world.now()).await.unwrap(), "it has changed");
    assert_eq!(world.sweep().await, 1);
    assert_eq!(world.receiver.events(), ["ada:1", "ada:2"]);
}

#[tokio::test]
async fn function_gets_the_event_asynchronously_and_what_it_cannot_accept_is_dead_at_once() {
    let receiver = Receiver::start().await;
    let function = Destination::at(Target::Function { name: "consume:live".to_owned() });
    let lambda = gatehouse_local::local_sdk(&receiver.url);
    let mut world = World::with(receiver, [("crm", function)]).await;
    let http = ScopedClient::new(&Tls::native().unwrap(), CONNECT_TIMEOUT);
    world.deliverer.sender = Sender::new(http, lambda, true);
    for (n, (status, state, reason)) in [
        ("202 Accepted", State::Delivered, ""),
        ("413 Payload Too Large", State::Dead, "too large for the function; set max_bytes"),
        ("400 Bad Request", State::Waiting, "status 400"),
        ("429 Too Many Requests", State::Waiting, "status 429"),
    ]
    .into_iter()
    .enumerate()
    {
        world.receiver.respond(|_| status.to_owned());
        let event = world.record(&format!("ada:{n}"), &format!("ada:conversation:{n}"), 0).await;
        world.fill_outbox().await;
        world.deliver().await;
        let delivery = world.delivery("crm", &event).await;
        assert_eq!((delivery.state, delivery.attempts), (state, 1), "{delivery:?}");
        assert!(delivery.reason.unwrap_or_default().contains(reason), "{status}");
    }
    let received = world.receiver.received();
    assert_eq!(received[0].headers["x-amz-invocation-type"], "Event");
    assert_eq!((received.len(), &received[0].body["data"]["event_id"]), (4, &serde_json::json!("ada:0")));
}

#[tokio::test]
async fn status_of_a_response_counts_although_its_body_never_ends() {
    let mut world = World::start().await;
    world.receiver.respond(|_| format!("410 Gone\r\n{UNFINISHED}"));
    let event = world.record("ada:1", "ada:conversation:1", 0).await;
    world.fill_outbox().await;
    world.deliver().await;
    let delivery = world.delivery("crm", &event).await;
    assert_eq!((delivery.status, delivery.response.as_deref()), (Some(410), Some("note")));
    assert_eq!(world.stopped().await, ["crm"]);
}

#[tokio::test]
async fn ten_failures_in_a_row_over_five_days_disable_a_destination() {
    let world = World::start().await;
    let is_disabled = async || world.table.destinations().await.unwrap()["crm"].disabled.is_some();
    // A destination with few events has few failures.
    for _ in 0..9 {
        world.table.count_failure("crm", world.now()).await.unwrap();
        world.clock.advance(86_400);
    }
    assert!(!is_disabled().await);
    world.table.count_failure("crm", world.now()).await.unwrap();
    assert!(is_disabled().await);
}

#[tokio::test]
async fn failing_destination_is_reported_while_deliveries_wait_for_their_next_attempt() {
    let mut world = World::start().await;
    for _ in 0..11 {
        world.clock.advance(10);
        world.table.count_failure("crm", world.now()).await.unwrap();
    }
    assert!(world.stopped().await.is_empty());
    world.record("ada:1", "ada:conversation:1", 0).await;
    world.fill_outbox().await;
    world.deliver().await;
    assert_eq!(world.stopped().await, ["crm"]);
}

/// Its breaker would open after three days.
#[tokio::test]
async fn failing_destination_with_one_event_is_reported_after_a_quarter_of_an_hour() {
    let mut world = World::start().await;
    world.receiver.respond(|_| "500 No".to_owned());
    let event = world.record("ada:1", "ada:conversation:1", 0).await;
    world.fill_outbox().await;
    world.deliver().await;
    for seconds in [7, 400] {
        assert!(world.stopped().await.is_empty());
        world.clock.advance(seconds);
        assert!(matches!(world.drain(&world.delivery("crm", &event).await.lane).await, Rung::Again(_) | Rung::Done));
    }
    assert!(world.stopped().await.is_empty());
    world.clock.advance(900);
    assert_eq!(world.stopped().await, ["crm"], "the next attempt is due only later");
}

#[tokio::test]
async fn message_that_is_too_large_for_a_queue_is_dead_at_once() {
    let receiver = Receiver::start().await;
    let target = Target::Queue { url: "http://127.0.0.1:1/000000000000/q".to_owned() };
    let queue = Destination { format: gatehouse_deliveries::message::Format::Vendor, ..Destination::at(target) };
    let mut world = World::with(receiver, [("crm", queue)]).await;
    let body = format!(r#"{{"text":"{}"}}"#, "x".repeat(1024 * 1024));
    let large = crate::support::event("ada:1", "ada:conversation:1", world.now(), &body);
    world.record_event(&large).await;
    world.fill_outbox().await;
    assert_eq!(world.deliver().await, [Rung::Done]);
    let delivery = world.delivery("crm", &large).await;
    assert_eq!((delivery.state, delivery.attempts), (State::Dead, 1));
    assert!(delivery.reason.unwrap().contains("too large for the queue"));
    assert_eq!(world.table.destinations().await.unwrap()["crm"].failures, 0);
}
