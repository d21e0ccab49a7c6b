//! Fuzzes the parsers of bodies: no parser panics, and white space changes no result.

use bytes::Bytes;
use gatehouse_ag_kit::Dialect;
use gatehouse_ag_kit::check::check;
use gatehouse_messages::vapi::message::{ClientMessage, ServerMessage};
use gatehouse_messages::{ada, agntix};
use gatehouse_payload::Nonce;
use gatehouse_payload::json::Document;
use gatehouse_payload::wire::read;
use gatehouse_receiver::Redaction;
use gatehouse_vendor::Proof;
use gatehouse_vendors::SOURCES;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

fn assert_round_trip<T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(text: &str) {
    let Ok(event) = read::<T>(text) else { return };
    let written = serde_json::to_string(&event).expect("an event can be written");
    assert_eq!(read::<T>(&written).ok(), Some(event), "{written}");
}

/// Passes the body to every parser.
pub fn check_body(body: &[u8]) {
    let Ok(document) = Document::read(body) else { return };
    let proof = Proof { by: "fuzz".to_owned(), message_id: Some("msg_fuzzed".to_owned()) };
    let unsigned = Proof { message_id: None, ..proof.clone() };
    let nonce = Nonce::from_bytes(&[7; 16]).expect("a nonce has sixteen bytes");
    let spaced = format!(" {}\n", document.text());
    let again = Document::read(spaced.as_bytes()).expect("white space changes nothing");
    for source in SOURCES {
        assert_eq!(source.parse(&document), source.parse(&again));
        assert_eq!(source.fingerprint(&document), source.fingerprint(&again));
        for proof in [&proof, &unsigned] {
            let fingerprint = source.fingerprint(&document);
            let identity = source.identify(&document, proof, &fingerprint, &nonce);
            let id = identity.id.as_str();
            assert!(id.len() <= 2048 && id.bytes().all(|byte| byte.is_ascii_graphic()), "{id}");
            assert_eq!(identity, source.identify(&again, proof, &fingerprint, &nonce));
        }
        let subject = source.parse(&document).subject;
        assert!(subject.is_none_or(|subject| subject.as_str().len() <= 1024));
    }
    let redaction = Redaction::default();
    let redacted = redaction.apply(&Bytes::copy_from_slice(body));
    assert!(serde_json::from_slice::<&RawValue>(&redacted).is_ok(), "a redacted body is JSON");
    assert_eq!(redaction.apply(&redacted), redacted, "a second redaction changes nothing");
    // If the body is a typed event, the event can be serialized and parsed again.
    assert_round_trip::<ada::Event>(document.text());
    assert_round_trip::<ClientMessage>(document.text());
    assert_round_trip::<ServerMessage>(document.text());
    let _ = agntix::Delivery::read(document.text());
    for dialect in [Dialect::AgKit, Dialect::AgUi] {
        let _ = check(dialect, document.text());
    }
}
