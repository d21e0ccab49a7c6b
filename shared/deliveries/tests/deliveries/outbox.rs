//! Which events are delivered, and what their receivers get.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_sqs::types::QueueAttributeName;
use data_encoding::HEXLOWER;
use gatehouse_deliveries::deliver::Rung;
use gatehouse_deliveries::destination::{Order, Target};
use gatehouse_deliveries::filter::{Filter, Filters, Pattern};
use gatehouse_deliveries::lane::Lane;
use gatehouse_deliveries::message::Format;
use gatehouse_deliveries::send::{CONNECT_TIMEOUT, Sender};
use gatehouse_deliveries::table::State;
use gatehouse_deliveries::{Destination, Shape};
use gatehouse_egress::{ScopedClient, Tls};
use gatehouse_local::{Fault, Rule};
use gatehouse_payload::event::PING;
use gatehouse_payload::{Event, Nonce};
use gatehouse_vendor::SecretsDocument;
use gatehouse_vendor::signature::SigningKey;
use http::{HeaderMap, HeaderName};
use serde_json::json;
use standardwebhooks::Webhook;

use crate::support::{Receiver, World, event};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn at(receiver: &Receiver) -> Destination {
    Destination::at(Target::Url { url: receiver.url.parse().unwrap(), is_private: false })
}

#[tokio::test]
async fn recorded_event_is_delivered_once_with_a_signature() {
    let receiver = Receiver::start().await;
    let headers = vec![("x-token".parse().unwrap(), "t0ken".parse().unwrap())];
    let crm = Destination { signing_keys: vec![SigningKey::parse(SECRET).unwrap()], headers, ..at(&receiver) };
    let mut world = World::with(receiver, [("crm", crm)]).await;
    let recorded = world.record("ada:msg_1", "ada:conversation:1", 0).await;
    assert_eq!(world.fill_outbox().await, 1);
    assert_eq!(world.deliver().await, [Rung::Done]);
    let delivery = world.delivery("crm", &recorded).await;
    assert_eq!((delivery.state, delivery.attempts, delivery.status), (State::Delivered, 1, Some(200)));

    let received = world.receiver.received();
    let [message] = received.as_slice() else { unreachable!("one message: {received:?}") };
    assert_eq!(message.body["data"]["payload"], json!({"type": "x", "n": 1}));
    let named = ["gatehouse-attempt", "gatehouse-destination", "x-token"].map(|name| &*message.headers[name]);
    assert_eq!(named, ["1", "crm", "t0ken"]);
    let headers =
        message.headers.iter().map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()));
    let headers: HeaderMap = headers.collect();
    Webhook::new(SECRET).unwrap().verify(&message.bytes, &headers).unwrap_or_else(|error| unreachable!("{error}"));

    // A repeated batch and a second doorbell change nothing.
    let event_again = gatehouse_deliveries::table::Delivery { state: State::Waiting, attempts: 0, ..delivery.clone() };
    world.table.add(&event_again).await.unwrap();
    assert_eq!(world.drain_again(&delivery.lane, true).await, Rung::Done);
    assert_eq!(world.delivery("crm", &recorded).await, delivery);
    assert_eq!(world.receiver.received().len(), 1);
}

#[tokio::test]
async fn delivery_costs_four_writes_and_few_reads() {
    let mut world = World::start().await;
    world.record("ada:1", "ada:conversation:1", 0).await;
    let before = world.proxies.each_ref().map(gatehouse_local::FaultProxy::counts);
    assert_eq!(world.fill_outbox().await, 1);
    world.deliver().await;
    let after = world.proxies.each_ref().map(gatehouse_local::FaultProxy::counts);
    let count = |service: usize, operation: &str| {
        after[service].get(operation).unwrap_or(&0) - before[service].get(operation).unwrap_or(&0)
    };
    // The delivery, the result of the attempt, and acquiring and releasing the lease.
    assert_eq!((count(0, "PutItem"), count(0, "UpdateItem"), count(0, "DeleteItem")), (2, 2, 0));
    // The position of the lane and the event; twice the lane and twice the states of destinations, which are cached.
    assert_eq!((count(0, "GetItem"), count(0, "Query"), count(0, "BatchGetItem")), (2, 4, 0));
    assert_eq!(count(1, "SendMessageBatch"), 1);
    // Ten events of the subject share the lease.
    for n in 0..10 {
        world.record(&format!("ada:1{n}"), "ada:conversation:1", n).await;
    }
    world.fill_outbox().await;
    world.deliver().await;
    let last = world.proxies[0].counts();
    let writes = |operation: &str| last[operation] - after[0][operation];
    assert_eq!((writes("PutItem"), writes("UpdateItem")), (20, 2));
}

#[tokio::test]
async fn filters_select_events_by_name_and_payload() {
    let receiver = Receiver::start().await;
    let filter = |filter: &str| serde_json::from_str::<Filter>(filter).unwrap();
    let with = |filters: &[&str]| Destination {
        filters: Filters(filters.iter().map(|text| filter(text)).collect()),
        ..at(&receiver)
    };
    let destinations = [
        ("all", with(&[])),
        ("ada", with(&[r#"{"source": "ada", "type": "v1.*"}"#])),
        ("vapi", with(&[r#"{"source": "vapi"}"#])),
        ("odd", with(&[r#"{"source": "vapi"}"#, r#"{"where": {"/n": 1}}"#])),
        ("even", with(&[r#"{"where": {"/n": 2}}"#])),
    ];
    let mut world = World::with(receiver.clone(), destinations).await;
    for (id, body) in [("ada:1", r#"{"n":1}"#), ("ada:2", r#"{"n":2}"#)] {
        world.record_event(&event(id, "", world.now(), body)).await;
    }
    let ping = event("ada:ping", "", world.now(), "{}");
    world.record_event(&gatehouse_payload::Event { event_type: Some(PING.to_owned()), ..ping }).await;
    assert_eq!(world.fill_outbox().await, 6);
    world.deliver().await;
    let mut received: Vec<_> = world
        .receiver
        .received()
        .iter()
        .map(|r| (r.headers["gatehouse-destination"].clone(), r.event().to_owned()))
        .collect();
    received.sort();
    let expected = [("ada", 1), ("ada", 2), ("all", 1), ("all", 2), ("even", 2), ("odd", 1)];
    assert_eq!(received, expected.map(|(name, n)| (name.to_owned(), format!("ada:{n}"))));
    assert!(Pattern::new("v1.*").matches("v1.x") && !Pattern::new("v1").matches("v1.x"));
}

#[tokio::test]
async fn large_event_is_delivered_whole_up_to_the_limit() {
    let receiver = Receiver::start().await;
    let shape = Shape { max_bytes: 1024 * 1024, ..Shape::default() };
    let whole = Destination {
        shape,
        filters: Filters(vec![serde_json::from_str(r#"{"where":{"/n":1}}"#).unwrap()]),
        ..at(&receiver)
    };
    let mut world = World::with(receiver.clone(), [("default", at(&receiver)), ("whole", whole)]).await;
    // Random text, so that the record has chunks.
    let text: String = (0..27_000).map(|_| HEXLOWER.encode(Nonce::random().unwrap().as_bytes())).collect();
    let body = json!({"n": 1, "text": text}).to_string();
    world.record_event(&event("ada:large", "", world.now(), &body)).await;
    world.fill_outbox().await;
    world.deliver().await;
    for received in world.receiver.received() {
        let data = &received.body["data"];
        match &*received.headers["gatehouse-destination"] {
            "whole" => assert_eq!(data["payload"].to_string(), body),
            _ => assert_eq!((data.get("payload"), &data["payload_bytes"]), (None, &json!(body.len()))),
        }
    }
    assert_eq!(world.receiver.received().len(), 2);
}

#[tokio::test]
async fn events_before_the_first_use_of_a_destination_are_not_delivered() {
    let mut world = World::start().await;
    world.record("ada:old", "ada:conversation:1", -3600).await;
    world.record("ada:new", "ada:conversation:1", 0).await;
    assert_eq!(world.fill_outbox().await, 1);
    world.deliver().await;
    assert_eq!(world.receiver.events(), ["ada:new"]);
}

#[tokio::test]
async fn conflicting_copies_are_delivered_and_marked() {
    let mut world = World::start().await;
    let first = world.record("ada:msg", "ada:conversation:1", 0).await;
    let other = event("ada:msg", "ada:conversation:1", first.received_at.plus_secs(1), r#"{"type":"y"}"#);
    world.record_event(&other).await;
    assert_eq!(world.fill_outbox().await, 2);
    world.deliver().await;
    let received = world.receiver.received();
    assert_eq!(received.iter().map(|r| r.body["data"]["kind"].clone()).collect::<Vec<_>>(), ["event", "conflict"]);
    assert_eq!(received[1].body["data"]["conflict_of"], "ada:msg");
    assert_ne!(received[0].headers["webhook-id"], received[1].headers["webhook-id"]);
}

#[tokio::test]
async fn erased_event_is_not_sent() {
    let mut world = World::start().await;
    let erased = world.record("ada:msg", "ada:conversation:1", 0).await;
    world.fill_outbox().await;
    let subject = erased.subject.clone().unwrap();
    world.store.mark_erased(&subject, world.now()).await.unwrap();
    world.store.erase(&subject, world.now()).await.unwrap();
    assert_eq!(world.fill_outbox().await, 0, "a tombstone is no event");
    world.deliver().await;
    let delivery = world.delivery("crm", &erased).await;
    assert_eq!((delivery.state, delivery.reason.as_deref()), (State::Dropped, Some("erased")));
    assert!(world.receiver.received().is_empty());
}

#[tokio::test]
async fn queue_gets_the_message_and_its_headers_as_attributes() {
    let receiver = Receiver::start().await;
    let mut world = World::with(receiver.clone(), [("queue", at(&receiver))]).await;
    let queue = world.sqs.create_queue().queue_name("events").send().await.unwrap().queue_url.unwrap();
    let target = Target::Queue { url: queue.clone() };
    let destination = Destination { order: Order::None, ..Destination::at(target) };
    world.destinations = gatehouse_deliveries::Destinations::from_map([("queue".to_owned(), destination)].into());
    world.record("ada:msg", "ada:conversation:1", 0).await;
    world.fill_outbox().await;
    world.deliver().await;
    let receive = world.sqs.receive_message().queue_url(&queue).message_attribute_names("All");
    let messages = receive.send().await.unwrap().messages.unwrap();
    let body: serde_json::Value = serde_json::from_str(messages[0].body().unwrap()).unwrap();
    assert_eq!(body["data"]["event_id"], "ada:msg");
    let attributes = messages[0].message_attributes().unwrap();
    assert_eq!(attributes["gatehouse-event-id"].string_value(), Some("ada:msg"));
    assert!(attributes["webhook-id"].string_value().unwrap().starts_with("evt_"));
}

/// A secrets document is changed by hand, too. What is recorded until it is repaired must not be lost.
#[tokio::test]
async fn events_wait_for_a_destination_whose_entry_has_a_defect_and_are_filtered_when_it_is_repaired() {
    let mut world = World::start().await;
    let url = world.receiver.url.clone();
    let destinations = |pattern: &str| {
        let entry = json!({"url": url, "when": [{"type": "v1.*", pattern: "ada"}]});
        let document = json!({"destinations": {"crm": entry}}).to_string();
        SecretsDocument::parse(&document, true).unwrap().read(&gatehouse_deliveries::PART).0
    };
    world.destinations = destinations("sorce");
    for (n, event_type) in ["v1.a", "v2.b", "v1.c"].iter().enumerate() {
        let received_at = world.now().plus_secs(i64::try_from(n).unwrap());
        let event = event(&format!("ada:{n}"), "ada:conversation:1", received_at, r#"{"type":"x"}"#);
        world.record_event(&Event { event_type: Some((*event_type).to_owned()), ..event }).await;
    }
    assert_eq!(world.fill_outbox().await, 3);
    assert_eq!(world.deliver().await, [Rung::Done]);
    assert_eq!(world.stopped().await, ["crm"]);
    world.destinations = destinations("source");
    assert_eq!(world.sweep().await, 1);
    assert_eq!(world.receiver.events(), ["ada:0", "ada:2"]);
    assert!(world.stopped().await.is_empty());
}

#[tokio::test]
async fn later_event_is_not_added_before_an_earlier_one_of_its_subject() {
    let mut world = World::start().await;
    for n in 0..8 {
        world.record(&format!("ada:{n}"), &format!("ada:conversation:{}", n % 2), n).await;
    }
    let batch = world.stream.next().await.unwrap();
    // Each request of the outbox fails in turn, until one run makes fewer requests than that.
    for request in 0.. {
        let struck_before = world.proxies[0].fault_count();
        world.proxies[0].add_rule(Rule::every(Fault::INTERNAL).after(request).times(4));
        let added = world.outbox.add(&batch, &world.destinations, world.now()).await;
        world.proxies[0].clear_rules();
        for subject in ["ada:conversation:0", "ada:conversation:1"] {
            let lane = Lane::of("crm", Order::Subject, Some(subject), "");
            let rows: Vec<_> = world.table.lane(&lane).await.unwrap().into_iter().map(|row| row.event_key).collect();
            let all: Vec<_> = (0..8).filter(|n| format!("ada:conversation:{}", n % 2) == subject).collect();
            let first: Vec<_> = all.iter().take(rows.len()).map(|n| format!("ada:{n}")).collect();
            assert_eq!(rows, first, "request {request}");
        }
        if world.proxies[0].fault_count() == struck_before {
            assert!(added.error.is_none());
            break;
        }
    }
}

/// A group orders the events of a subject, and SQS drops what has the same id as another message.
#[tokio::test]
async fn fifo_queue_gets_a_group_for_each_subject_and_the_webhook_id() {
    let receiver = Receiver::start().await;
    // The embedded SQS has no FIFO queues.
    let url = format!("{}/000000000000/events.fifo", receiver.url.trim_end_matches("/hook"));
    let fifo = Destination::at(Target::Queue { url });
    let sqs = gatehouse_local::local_sdk(receiver.url.trim_end_matches("/hook"));
    let mut world = World::with(receiver, [("crm", fifo)]).await;
    world.receiver.respond(|_| "400 No".to_owned());
    world.deliverer.sender = Sender::new(ScopedClient::new(&Tls::native().unwrap(), CONNECT_TIMEOUT), sqs, true);
    for (id, subject) in [("ada:1", "ada:conversation:1"), ("ada:2", "ada:conversation:2"), ("ada:3", "")] {
        world.record(id, subject, 0).await;
    }
    world.fill_outbox().await;
    world.deliver().await;
    let received = world.receiver.received();
    let groups: BTreeSet<_> = received.iter().map(|r| r.body["MessageGroupId"].as_str().unwrap().to_owned()).collect();
    assert_eq!((received.len(), groups.len()), (3, 3));
    assert!(groups.iter().all(|group| group.len() <= 128));
    for request in received {
        let attributes = &request.body["MessageAttributes"];
        assert_eq!(request.body["MessageDeduplicationId"], attributes["webhook-id"]["StringValue"]);
    }
}

/// SQS refuses some characters, and a queue may accept less than SQS does. Waiting changes neither.
#[tokio::test]
async fn queue_gets_each_body_that_it_can_represent_and_other_deliveries_are_dead_at_once() {
    let receiver = Receiver::start().await;
    let mut world = World::with(receiver.clone(), [("queue", at(&receiver))]).await;
    let create = world.sqs.create_queue().queue_name("events");
    let queue = create.attributes(QueueAttributeName::MaximumMessageSize, "2048").send().await.unwrap();
    let target = Target::Queue { url: queue.queue_url.unwrap() };
    let destination = Destination { order: Order::None, format: Format::Vendor, ..Destination::at(target) };
    world.destinations = gatehouse_deliveries::Destinations::from_map([("queue".to_owned(), destination)].into());
    let large = format!(r#"{{"text":"{}"}}"#, "x".repeat(2048));
    let cases = [
        ("json", r#"{"text":"ü 😀 日本"}"#, Ok(r#"{"text":"ü 😀 日本"}"#)),
        ("json-refused", "{\"text\":\"ü\u{ffff}\"}", Ok(r#"{"text":"ü\uffff"}"#)),
        ("text", "ü 😀 日本", Ok("ü 😀 日本")),
        ("text-refused", "ü\u{1}", Err("the body is not JSON and has a character that SQS refuses")),
        ("large", &large, Err("2059 bytes are too large for the queue; set max_bytes")),
    ];
    for (n, (id, body, _)) in cases.iter().enumerate() {
        let received_at = world.now().plus_secs(i64::try_from(n).unwrap());
        world.record_event(&crate::support::event(&format!("ada:{id}"), "", received_at, body)).await;
    }
    world.fill_outbox().await;
    world.deliver().await;
    let receive = world.sqs.receive_message().queue_url(match &world.destinations.get("queue").unwrap().target {
        Target::Queue { url } => url,
        _ => unreachable!(),
    });
    let messages = receive.message_attribute_names("All").max_number_of_messages(10).send().await.unwrap();
    let received: BTreeMap<_, _> = messages
        .messages()
        .iter()
        .map(|message| {
            let id = message.message_attributes().unwrap()["gatehouse-event-id"].string_value().unwrap();
            (id.to_owned(), message.body().unwrap().to_owned())
        })
        .collect();
    let dead = world.table.dead("queue", world.now().plus_secs(1), None).await.unwrap().0;
    for (id, _, expected) in cases {
        let key = format!("ada:{id}");
        let reason = dead.iter().find(|delivery| delivery.event_key == key).and_then(|dead| dead.reason.as_deref());
        match expected {
            Ok(body) => assert_eq!((received.get(&key).map(String::as_str), reason), (Some(body), None), "{id}"),
            Err(expected) => assert_eq!((received.get(&key), reason), (None, Some(expected)), "{id}"),
        }
    }
    assert_eq!(world.table.destinations().await.unwrap()["queue"].failures, 0);
}
