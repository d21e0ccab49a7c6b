//! Any body: read or refused, and of what is read every reader makes something.

use bytes::Bytes;
use gatehouse_edge::vapi::Channel;
use gatehouse_edge::{Redaction, Source, Verified};
use gatehouse_inbox::Nonce;
use gatehouse_payload::ag_kit::Dialect;
use gatehouse_payload::ag_kit::check::check;
use gatehouse_payload::json::Document;
use gatehouse_payload::vapi::message::{ClientMessage, ServerMessage};
use gatehouse_payload::wire::read;
use gatehouse_payload::{ada, agntix};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

fn written_again<T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(text: &str) {
    let Ok(event) = read::<T>(text) else { return };
    let written = serde_json::to_string(&event).expect("an event can be written");
    assert_eq!(read::<T>(&written).ok(), Some(event), "{written}");
}

/// Reads the body in every way there is.
pub fn holds(body: &[u8]) {
    let Ok(document) = Document::read(body) else { return };
    let verified = Verified { by: "fuzz".to_owned(), message_id: Some("msg_fuzzed".to_owned()) };
    let unsigned = Verified { message_id: None, ..verified.clone() };
    let nonce = Nonce::from_bytes(&[7; 16]).expect("a nonce has sixteen bytes");
    let spaced = format!(" {}\n", document.text());
    let again = Document::read(spaced.as_bytes()).expect("white space changes nothing");
    let sources =
        [Source::Ada, Source::Agntix, Source::Vapi(Channel::Client), Source::Vapi(Channel::Server), Source::AgKit];
    for source in sources {
        assert_eq!(source.parse(&document), source.parse(&again));
        assert_eq!(source.fingerprint(&document), source.fingerprint(&again));
        for verified in [&verified, &unsigned] {
            let fingerprint = source.fingerprint(&document);
            let identity = source.identify(&document, verified, &fingerprint, &nonce);
            let id = identity.id.as_str();
            assert!(id.len() <= 2048 && id.bytes().all(|byte| byte.is_ascii_graphic()), "{id}");
            assert_eq!(identity, source.identify(&again, verified, &fingerprint, &nonce));
        }
        let subject = source.parse(&document).subject;
        assert!(subject.is_none_or(|subject| subject.as_str().len() <= 1024));
    }
    let redaction = Redaction::default();
    let kept = redaction.apply(&Bytes::copy_from_slice(body));
    assert!(serde_json::from_slice::<&RawValue>(&kept).is_ok(), "what is kept is JSON");
    assert_eq!(redaction.apply(&kept), kept, "nothing is left to take out");
    // A typed event may not be made of it; if it is, it is written as it can be read again.
    written_again::<ada::event::Event>(document.text());
    written_again::<ClientMessage>(document.text());
    written_again::<ServerMessage>(document.text());
    let _ = agntix::event::Delivery::read(document.text());
    for dialect in [Dialect::AgKit, Dialect::AgUi] {
        let _ = check(dialect, document.text());
    }
}
