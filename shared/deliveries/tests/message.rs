//! Messages and their headers, compared with documented values and with the verifier of Standard Webhooks.
#![allow(clippy::unwrap_used, missing_docs)]

use bytes::Bytes;
use gatehouse_deliveries::request::{Attempt, headers};
use gatehouse_deliveries::{Message, Shape};
use gatehouse_inbox::store::Record;
use gatehouse_payload::time::Timestamp;
use gatehouse_payload::{Event, EventId, Fingerprint, Flags, Nonce, Subject};
use gatehouse_runtime::Clock;
use gatehouse_vendor::signature::SigningKey;
use http::{HeaderMap, HeaderName};
use serde_json::{Value, json};
use standardwebhooks::Webhook;

const BODY: &str = r#"{"type":"v1.conversation.message", "data":{"n":1.0e0,"text":"ä\u00e5"}}"#;
const OLD: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const NEW: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

fn record(body: &str) -> Record {
    Record {
        event: Event {
            id: EventId::from_stored("ada:msg_1".to_owned()),
            source: "ada".to_owned(),
            event_type: Some("v1.conversation.message".to_owned()),
            subject: Some(Subject::from_stored("ada:conversation:1".to_owned())),
            occurred_at: at("2026-11-21T17:00:00Z"),
            received_at: at("2026-11-21T17:00:00.250Z"),
            fingerprint: Fingerprint::of(body),
            nonce: Nonce::from_bytes(&[7; 16]).unwrap(),
            verified_by: "svix".to_owned(),
            body: Bytes::from(body.to_owned()),
            answer: None,
            asked: None,
            flags: Flags::default(),
            is_one_question: false,
        },
        expires_at: 0,
        conflict: false,
    }
}

fn body(message: &Message) -> Value {
    serde_json::from_slice(&message.body).unwrap()
}

#[test]
fn message_has_the_event_and_its_payload_as_it_stands() {
    let message = Message::of(&record(BODY), Shape::default(), false);
    assert_eq!(message.event_id, "ada:msg_1");
    // printf %s ada:msg_1 | sha256sum
    assert_eq!(message.id, "evt_dcc786f8bbf8f67cccc10da1af0ebd279b51baab86cda6b3c80d6d177b193109");
    assert_eq!(
        std::str::from_utf8(&message.body).unwrap(),
        format!(
            concat!(
                r#"{{"type":"ada.v1.conversation.message","timestamp":"2026-11-21T17:00:00.250Z","#,
                r#""data":{{"event_id":"ada:msg_1","source":"ada","event_type":"v1.conversation.message","#,
                r#""subject":"ada:conversation:1","occurred_at":"2026-11-21T17:00:00.000Z","#,
                r#""received_at":"2026-11-21T17:00:00.250Z","parsed":true,"identity":"strong","kind":"event","#,
                r#""late":false,"payload":{}}}}}"#
            ),
            BODY
        )
    );
}

#[test]
fn marks_tell_what_is_special_about_a_record() {
    let mut special = record(BODY);
    special.event.flags = Flags { unparsed: true, weak_identity: true, undated: false };
    special.event.answer = Some(r#"{"assistantId":"a"}"#.to_owned());
    special.event.subject = None;
    special.event.event_type = None;
    let message = body(&Message::of(&special, Shape::default(), true));
    assert_eq!(message["type"], "ada.unknown");
    let data = &message["data"];
    assert_eq!((&data["parsed"], &data["identity"], &data["late"]), (&json!(false), &json!("weak"), &json!(true)));
    assert_eq!((&data["subject"], &data["event_type"]), (&Value::Null, &Value::Null));
    assert_eq!(data["answer"], json!({"assistantId": "a"}));

    special.event.event_type = Some("turn".to_owned());
    assert_eq!(body(&Message::of(&special, Shape::default(), false))["data"]["kind"], "turn");
}

#[test]
fn conflicting_copy_has_its_own_id_and_names_the_event() {
    let first = Message::of(&record(BODY), Shape::default(), false);
    let copy = Record { conflict: true, ..record(r#"{"other":1}"#) };
    let message = Message::of(&copy, Shape::default(), false);
    let data = &body(&message)["data"];
    assert_eq!((&data["kind"], &data["conflict_of"]), (&json!("conflict"), &json!("ada:msg_1")));
    assert_eq!(data["event_id"], format!("conflict:{}:ada:msg_1", copy.event.fingerprint));
    assert_eq!(data["event_id"], message.event_id.as_str());
    assert_ne!(message.id, first.id);
}

#[test]
fn body_that_is_a_string_is_decoded() {
    let text = serde_json::to_string(r#"{"a": 1}"#).unwrap();
    assert_eq!(body(&Message::of(&record(&text), Shape::default(), false))["data"]["payload"], json!({"a": 1}));
}

#[test]
fn payload_of_a_thin_or_large_message_is_left_out() {
    let large = format!(r#"{{"text":"{}"}}"#, "x".repeat(1000));
    let full = Message::of(&record(&large), Shape::default(), false);
    let exact = Shape { is_thin: false, max_bytes: full.body.len() };
    assert_eq!(Message::of(&record(&large), exact, false), full);
    for shape in [Shape { max_bytes: full.body.len() - 1, ..exact }, Shape { is_thin: true, ..exact }] {
        let mut record = record(&large);
        record.event.answer = Some("{}".to_owned());
        let message = Message::of(&record, shape, false);
        let data = &body(&message)["data"];
        assert_eq!(data["payload_bytes"], large.len());
        assert!(data.get("payload").is_none() && data.get("answer").is_none(), "{data}");
        assert_eq!(message.id, full.id);
    }
}

#[test]
fn official_verifier_accepts_each_of_two_keys() {
    let message = Message::of(&record(BODY), Shape::default(), false);
    let keys = [NEW, OLD].map(|secret| SigningKey::parse(secret).unwrap());
    let attempt = Attempt { number: 3, destination: "crm", at: Clock::System.now() };
    let signed = headers(&message, &keys, attempt);
    let mut map = HeaderMap::new();
    for (name, value) in &signed {
        map.insert(HeaderName::from_static(name), value.parse().unwrap());
    }
    for secret in [OLD, NEW] {
        Webhook::new(secret).unwrap().verify(&message.body, &map).unwrap();
    }
    let other = Webhook::new("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").unwrap();
    assert!(other.verify(&message.body, &map).is_err());
    for (name, value) in [
        ("content-type", "application/json"),
        ("gatehouse-event-id", "ada:msg_1"),
        ("gatehouse-attempt", "3"),
        ("gatehouse-destination", "crm"),
    ] {
        assert_eq!(map[name], value);
    }
}
