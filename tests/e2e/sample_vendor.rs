//! Takes a vendor that is not in the registry through the whole system: verification, recording, the retry queue,
//! listing and fold. No other code knows the vendor, so a new vendor needs no change outside its own folder.

use std::collections::BTreeSet;
use std::time::Duration;

use gatehouse_inbox::queue::{from_message, to_message};
use gatehouse_inbox::store::by_source::{ListedEvent, SourceQuery, hours};
use gatehouse_local::{Delivery, Testbed};
use gatehouse_payload::event::Received;
use gatehouse_payload::json::Document;
use gatehouse_payload::time::Timestamp;
use gatehouse_payload::{Event, EventId, Fingerprint, Nonce, Outcome, Subject};
use gatehouse_receiver::Deadline;
use gatehouse_timeline::{State, fold, fold_with};
use gatehouse_vendor::signature::SigningKeys;
use gatehouse_vendor::{
    Conversation, Credentials, CredentialsShape, Identity, Members, Message, Parsed, PartReader, PartSpec, Profile,
    Proof, Sample, SecretsPart, Source, Vendor,
};
use gatehouse_vendors::{SOURCES, Secrets};
use http::Request;

use crate::support::{now, send, stack};

/// A vendor of support tickets.
#[derive(Debug, Clone, Copy)]
struct Tickets;

const PROFILE: Profile = Profile {
    name: "tickets",
    vendor: "tickets",
    about: "ticket webhook",
    function: "ticket-webhooks",
    paths: &["/tickets"],
    secrets: PartSpec {
        name: "tickets",
        development: r#"{"signing_secrets": ["whsec_dGlja2V0cy1zaWduaW5nLXNlY3JldC1vZi10aGUtdGVzdA=="]}"#,
    },
    shape: CredentialsShape::SigningSecrets,
    stateful: &["ticket"],
    command: Some("tickets"),
    lifecycle: None,
    expects_reply: false,
    steps: &["Store its signing secret: gatehouse secrets set tickets"],
};

const SAMPLES: [Sample; 2] = [
    Sample {
        name: "ticket-commented",
        body: r#"{"kind": "commented", "ticket": "t1", "at": "2026-11-20T09:00:00Z", "text": "Hello"}"#,
        ids: &["/ticket"],
        times: &["/at"],
    },
    Sample {
        name: "ticket-closed",
        body: r#"{"kind": "closed", "ticket": "t1", "at": "2026-11-20T09:05:00Z"}"#,
        ids: &["/ticket"],
        times: &["/at"],
    },
];

impl Vendor for Tickets {
    type Credentials = SigningKeys;
}

impl Source for Tickets {
    fn profile(&self) -> &'static Profile {
        &PROFILE
    }

    fn credentials(&self, part: &mut PartReader<'_>) -> Box<dyn Credentials> {
        Box::new(SigningKeys::read(part))
    }

    fn parse(&self, document: &Document<'_>) -> Parsed {
        let body = Members(document.text());
        Parsed {
            event_type: body.text(&["kind"]),
            subject: body.text(&["ticket"]).map(|ticket| Subject::new("tickets", "ticket", &ticket)),
            occurred_at: body.time(&["at"]),
            unparsed: false,
        }
    }

    fn identify(&self, _: &Document<'_>, proof: &Proof, _: &Fingerprint, _: &Nonce) -> Identity {
        let message_id = proof.message_id.as_deref().unwrap_or_default();
        Identity { id: EventId::new(&["tickets"], &[message_id]), weak: false }
    }

    fn respond(&self, outcome: Outcome, _: &EventId) -> String {
        format!("{{\"outcome\":\"{outcome}\"}}")
    }

    fn fold(&self, events: &[&Event]) -> Conversation {
        let mut ticket = Conversation { events: events.len(), ..Conversation::default() };
        for event in events {
            match event.event_type.as_deref() {
                Some("closed") => ticket.state = State::Closed,
                _ => ticket.messages.push(Message { at: event.occurred_at, role: None, text: None }),
            }
        }
        ticket
    }

    fn ping(&self, _: &str, at: Timestamp) -> String {
        format!("{{\"kind\":\"gatehouse.ping\",\"at\":\"{at}\"}}")
    }

    fn samples(&self) -> &'static [Sample] {
        &SAMPLES
    }
}

fn secrets() -> String {
    format!("{{\"tickets\":{}}}", PROFILE.secrets.development)
}

fn signed(message_id: &str, body: String) -> Delivery {
    let secrets = Secrets::parse_for(&[&Tickets], &secrets(), true).unwrap();
    assert_eq!(secrets.defects, Vec::<String>::new());
    Delivery::signed(&Tickets, &secrets, message_id, body, now()).unwrap()
}

/// The events of a vendor that were received since `started`.
async fn listed(stack: &Testbed, vendor: &str, started: Timestamp) -> Vec<ListedEvent> {
    let mut listed = Vec::new();
    for hour in hours(started, now()) {
        listed.extend(
            stack.store().list_by_source(SourceQuery::latest_first(vendor, hour, now()), now(), None).await.unwrap().0,
        );
    }
    listed
}

#[tokio::test(flavor = "multi_thread")]
async fn vendor_outside_the_registry_is_received_listed_and_folded() {
    let (stack, started) = (stack().await, now());
    let receiver = stack.receiver_with(Tickets, &secrets()).unwrap();
    let receive = async |delivery: Delivery| {
        let mut request = Request::post(format!("/{}", delivery.path));
        for (name, value) in &delivery.headers {
            request = request.header(name, value);
        }
        let request = request.body(delivery.body).unwrap();
        receiver.receive(request, Deadline::within(Duration::from_secs(10))).await
    };

    let [commented, closed] = SAMPLES.each_ref().map(|sample| sample.fresh("t7", now()));
    let response = receive(signed("msg_1", commented.clone())).await;
    assert_eq!((response.status().as_u16(), response.body().as_str()), (200, r#"{"outcome":"recorded"}"#));
    assert_eq!(response.headers()["gatehouse-event-id"], "tickets:msg_1");
    assert_eq!(receive(signed("msg_1", commented.clone())).await.headers()["gatehouse-outcome"], "duplicate");
    let forged = Delivery { body: "{}".into(), ..signed("msg_2", closed.clone()) };
    assert_eq!(receive(forged).await.status(), 401);
    let elsewhere = Delivery { path: String::new(), ..signed("msg_2", closed.clone()) };
    assert_eq!(receive(elsewhere).await.status(), 404);

    // An event that was queued becomes the same event when it is read back.
    assert_eq!(receive(signed("msg_2", closed)).await.status(), 200);
    let record = stack.store().get(&EventId::new(&["tickets"], &["msg_2"]), now()).await.unwrap().unwrap();
    let queued = from_message(&to_message(&Received::of(&record.event)).unwrap()).unwrap();
    let body = queued.body.clone();
    assert_eq!(Tickets.event(&Document::read(&body).unwrap(), queued), record.event);

    assert_eq!(listed(&stack, "tickets", started).await.len(), 2);
    let subject = Subject::parse("tickets:ticket:t7").unwrap();
    let records = stack.store().whole_timeline(&subject, now()).await.unwrap().records;
    let ticket = fold_with(&Tickets, &records);
    assert_eq!((ticket.state, ticket.events, ticket.messages.len()), (State::Closed, 2, 1));
}

/// The sources of the registry that receive webhooks.
fn webhook_sources() -> impl Iterator<Item = &'static dyn Source> {
    SOURCES.into_iter().filter(|source| source.profile().shape != CredentialsShape::Nothing)
}

/// Every source of the registry is received, listed and folded like the vendor above, by its own function.
#[tokio::test(flavor = "multi_thread")]
async fn samples_of_every_source_are_recorded_once_listed_and_folded() {
    let (stack, started) = (stack().await, now());
    for source in webhook_sources() {
        let profile = source.profile();
        let mut ids = BTreeSet::new();
        for (n, sample) in source.samples().iter().enumerate() {
            let body = sample.fresh(&format!("{}-{n}", profile.name), now());
            let delivery = Delivery::of(source, &format!("msg_{n}"), body, now());
            for outcome in ["recorded", "duplicate"] {
                let answer = send(&stack, &delivery).await;
                let case = format!("{} {}: {}", profile.name, sample.name, answer.body);
                assert_eq!((answer.status, answer.outcome()), (200, outcome), "{case}");
                ids.insert(answer.header("gatehouse-event-id").to_owned());
            }
            let unsigned = Delivery { headers: vec![], ..delivery };
            assert_eq!(send(&stack, &unsigned).await.status, 401, "{}", profile.name);
        }
        let mut listed = listed(&stack, profile.vendor, started).await;
        listed.retain(|event| ids.contains(event.id.as_str()));
        assert_eq!(listed.len(), ids.len(), "{}", profile.name);
        for subject in listed.iter().filter_map(|event| event.subject.as_ref()) {
            let records = stack.store().whole_timeline(subject, now()).await.unwrap().records;
            assert!(fold(&records).events > 0, "{subject:?}");
        }
    }
}

/// Every source of the registry has a sample that its own credentials verify, and that identifies an event.
#[test]
fn samples_of_every_source_are_valid_and_fresh_ones_are_new_events() {
    for source in webhook_sources() {
        let profile = source.profile();
        assert!(!source.samples().is_empty(), "{}", profile.name);
        for sample in source.samples() {
            let identity = |body: &str, message_id: &str| {
                let document = Document::read(body.as_bytes()).unwrap();
                let parsed = source.parse(&document);
                assert!(parsed.event_type.is_some() && !parsed.unparsed, "{}: {}", profile.name, sample.name);
                let proof = Proof { by: "test".to_owned(), message_id: Some(message_id.to_owned()) };
                let (fingerprint, nonce) = (source.fingerprint(&document), Nonce::from_bytes(&[7; 16]).unwrap());
                (source.identify(&document, &proof, &fingerprint, &nonce).id, fingerprint)
            };
            let at = now();
            let first = identity(&sample.fresh("fresh-1", at), "msg_1");
            let second = identity(&sample.fresh("fresh-2", at), "msg_2");
            assert_ne!(first, second, "{}: {}", profile.name, sample.name);
            assert_eq!(first, identity(&sample.fresh("fresh-1", at), "msg_1"), "{}", sample.name);
        }
        let ping = source.ping("p1", now());
        let parsed = source.parse(&Document::read(ping.as_bytes()).unwrap());
        assert_eq!(parsed.event_type.as_deref(), Some("gatehouse.ping"), "{}", profile.name);
    }
}
