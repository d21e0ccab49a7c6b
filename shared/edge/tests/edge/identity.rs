//! Which event a delivery is: by vendor, by type, and whatever the wrapping.

use bytes::Bytes;
use gatehouse_edge::vapi::Channel;
use gatehouse_edge::{Identity, Source, Verified};
use gatehouse_inbox::Subject;
use gatehouse_payload::json::Document;
use gatehouse_payload::time::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

const CLIENT: Source = Source::Vapi(Channel::Client);
const SERVER: Source = Source::Vapi(Channel::Server);

fn verified(message_id: Option<&str>) -> Verified {
    Verified { by: "test".to_owned(), message_id: message_id.map(str::to_owned) }
}

fn received_at() -> Timestamp {
    Timestamp::parse("2026-11-20T05:59:59.999Z").unwrap()
}

fn identify(source: Source, body: &str, message_id: Option<&str>) -> Identity {
    source.identify(&Document::read(body.as_bytes()).unwrap(), &verified(message_id), received_at())
}

fn subject(source: Source, body: &str) -> Option<String> {
    source.parse(&Document::read(body.as_bytes()).unwrap()).subject.map(|subject: Subject| subject.to_string())
}

/// The id of a Vapi message on the client channel, which must not be weak.
fn id(message: &Value) -> String {
    let identity = identify(CLIENT, &json!({ "message": message }).to_string(), None);
    assert!(!identity.weak, "{message} is weak: {}", identity.id);
    identity.id.to_string()
}

fn is_weak(message: &Value) -> bool {
    identify(CLIENT, &json!({ "message": message }).to_string(), None).weak
}

#[test]
fn ada_is_identified_by_the_signed_message_id_alone() {
    for body in [r#"{"type":"v1.conversation.created"}"#, "{}", r#"{"type":7}"#] {
        assert_eq!(identify(Source::Ada, body, Some("msg_1")).id.as_str(), "ada:msg_1");
    }
}

#[test]
fn adas_subject_is_the_conversation_or_else_the_end_user() {
    let body = |data: &str| format!(r#"{{"type":"v1.x","data":{data}}}"#);
    let of = |data: &str| subject(Source::Ada, &body(data));
    assert_eq!(of(r#"{"conversation_id":"c","end_user_id":"u"}"#).as_deref(), Some("ada:conversation:c"));
    assert_eq!(of(r#"{"end_user_id":"u"}"#).as_deref(), Some("ada:end-user:u"));
    assert_eq!(of(r#"{"conversation_id":"","end_user_id":null}"#), None);
    assert_eq!(subject(Source::Ada, r#"{"type":"v1.audit_log.emitted"}"#), None);
}

#[test]
fn an_agntix_session_has_one_start_and_one_end_whatever_the_message_id() {
    let id = |body: &str| identify(Source::Agntix, body, Some("msg_1")).id.to_string();
    assert_eq!(id(r#"{"id":"s","eventType":"session.created","type":"VOICE"}"#), "agntix:session.created:s");
    assert_eq!(id(r#"{"id":"s","eventType":"session.ended","type":"VOICE"}"#), "agntix:session.ended:s");
    for other in [
        r#"{"id":"","eventType":"session.ended"}"#,
        r#"{"eventType":"session.ended"}"#,
        r#"{"id":"s","eventType":"session.updated"}"#,
        r#"{"id":"evt_1","type":"session.ended","data":{"sessionId":"s"}}"#,
        r#"{"id":7,"eventType":"session.ended"}"#,
        r#"{"id":"s","id":"t","eventType":"session.ended"}"#,
    ] {
        assert_eq!(id(other), "agntix:msg_1", "{other}");
    }
}

#[test]
fn vapi_types_that_name_a_thing_are_identified_by_it() {
    let call = json!({"id": "c1"});
    for (message, expected) in [
        (json!({"type": "tool-calls", "toolCallList": [{"id": "b"}, {"id": "a"}], "call": call}), "tool-calls:c1:a:b"),
        (json!({"toolCallList": [{"id": "a"}]}), "tool-calls::a"),
        (
            json!({"type": "tool-calls-result", "toolCallResult": {"toolCallId": "a"}, "call": call}),
            "tool-calls-result:c1:a",
        ),
        (json!({"type": "chat.created", "chat": {"id": "h"}}), "chat.created:h"),
        (json!({"type": "chat.deleted", "chat": {"id": "h"}}), "chat.deleted:h"),
        (json!({"type": "session.created", "session": {"id": "s"}}), "session.created:s"),
        (json!({"type": "session.deleted", "session": {"id": "s"}}), "session.deleted:s"),
        (
            json!({"type": "session.updated", "session": {"id": "s", "updatedAt": "2026-01-01T00:00:00Z"}}),
            "session.updated:s:2026-01-01T00%3A00%3A00Z",
        ),
        (json!({"type": "end-of-call-report", "call": call}), "end-of-call-report:c1"),
        (json!({"type": "status-update", "status": "ended", "call": call}), "status-update:c1:ended"),
        (json!({"type": "assistant-request", "call": call}), "assistant-request:c1"),
        (json!({"type": "call.deleted", "call": call}), "call.deleted:c1"),
        (json!({"type": "call.delete.failed", "call": call}), "call.delete.failed:c1"),
        (json!({"type": "campaign.predial", "campaignId": "p", "contact": {"id": "k"}}), "campaign.predial:p:k"),
        (
            json!({"type": "call.artifact.upload", "call": call, "artifacts": [{"type": "pcap"}, {"type": "log"}]}),
            "call.artifact.upload:c1:log:pcap",
        ),
        (
            json!({"type": "speech-update", "call": call, "role": "user", "status": "started", "turn": 0, "timestamp": 1_795_166_264_913_i64}),
            "speech-update:c1:user:started:0:1795166264913",
        ),
        (json!({"type": "user-interrupted", "call": call, "turnId": "t"}), "user-interrupted:c1:t"),
    ] {
        assert_eq!(id(&message), format!("vapi:client:{expected}"));
    }
}

#[test]
fn vapi_types_that_name_nothing_are_told_apart_by_time_and_content() {
    let at = |timestamp: i64| json!({"call": {"id": "c1"}, "timestamp": timestamp});
    let with = |mut base: Value, own: Value| {
        base.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
        base
    };
    let (first, later) = (1_795_166_264_913, 1_795_166_264_914);
    for (own, other) in [
        (
            json!({"type": "transcript", "role": "user", "transcriptType": "final", "transcript": "Hello."}),
            json!({"transcript": "Hello!"}),
        ),
        (json!({"type": "model-output", "turnId": "t", "output": "Hel"}), json!({"output": "lo"})),
        (json!({"type": "assistant.speechStarted", "turn": 1, "text": "Hel"}), json!({"text": "Hello"})),
        (
            json!({"type": "transfer-update", "destination": {"type": "number"}}),
            json!({"destination": {"type": "sip"}}),
        ),
        (json!({"type": "a-type-of-next-year", "anything": [1]}), json!({"anything": [2]})),
    ] {
        let message = with(at(first), own.clone());
        assert_eq!(id(&message), id(&message));
        assert_ne!(id(&message), id(&with(message.clone(), other)), "{own}");
        assert_ne!(id(&message), id(&with(at(later), own)), "at another time");
        // The assistant's whole configuration is repeated in every message and may change between two deliveries.
        assert_eq!(id(&message), id(&with(message.clone(), json!({"assistant": {"name": "renamed"}}))));
    }
}

#[test]
fn missing_parts_make_an_id_of_the_messages_hash_and_the_hour() {
    for message in [
        json!({"type": "workflow.node.started", "node": {}}),
        json!({"type": "hang"}),
        json!({"type": "hang", "call": {"id": "c1"}}),
        json!({"type": "end-of-call-report"}),
        json!({"type": "status-update", "call": {"id": "c1"}}),
        json!({"type": "tool-calls", "toolCallList": []}),
        json!({"type": "tool-calls", "toolCallList": [{"id": "a"}, {}]}),
        json!({"type": "session.updated", "session": {"id": "s"}}),
        json!({"type": "status-update", "status": 7, "call": {"id": "c1"}}),
        json!({"type": "speech-update", "role": "user", "status": "started", "turn": {"text": "x"}, "call": {"id": "c1"}}),
        json!({}),
    ] {
        assert!(is_weak(&message), "{message}");
    }
    let weak = identify(CLIENT, r#"{"message":{"type":"hang"}}"#, None).id.to_string();
    let parts: Vec<&str> = weak.split(':').collect();
    assert_eq!((parts[..3].join(":").as_str(), parts[3].len(), parts[4]), ("vapi:client:hang", 64, "2026-11-20T05"));
}

#[test]
fn an_odd_member_weakens_no_other() {
    let odd = json!({"type": "end-of-call-report", "role": 7, "artifacts": {}, "session": "s", "call": {"id": "c1", "updatedAt": 5}});
    assert_eq!(id(&odd), "vapi:client:end-of-call-report:c1");
    assert_eq!(subject(CLIENT, &odd.to_string()).as_deref(), Some("vapi:call:c1"));
}

#[test]
fn updates_that_tell_nothing_of_the_conversation_are_told_apart_by_time() {
    let update = |at: i64| json!({"type": "conversation-update", "call": {"id": "c1"}, "timestamp": at, "messagesOpenAIFormatted": []});
    assert_ne!(id(&update(1_795_166_264_913)), id(&update(1_795_166_264_914)));
    let telling = |at: i64| {
        let mut update = update(at);
        update["messages"] = json!([{"role": "user", "message": "Hello."}]);
        update
    };
    assert_eq!(id(&telling(1_795_166_264_913)), id(&telling(1_795_166_264_914)));
}

#[test]
fn a_signed_message_id_stands_in_for_weak_parts_only() {
    let body = r#"{"message":{"type":"hang","call":{"id":"c1"},"timestamp":1795166264913}}"#;
    assert_eq!(identify(SERVER, body, Some("msg_1")).id.as_str(), "vapi:server:hang:msg_1");
    let strong = r#"{"message":{"type":"end-of-call-report","call":{"id":"c1"}}}"#;
    assert_eq!(identify(SERVER, strong, Some("msg_1")).id.as_str(), "vapi:server:end-of-call-report:c1");
}

#[test]
fn the_wrapping_changes_neither_id_nor_fingerprint() {
    let message = r#"{"type":"status-update","status":"ended","call":{"id":"c1"}}"#;
    let wrapped = format!(r#"{{ "message" : {message} }}"#);
    let all = [message.to_owned(), wrapped.clone(), json!(message).to_string(), json!(wrapped).to_string()];
    let seen: std::collections::HashSet<_> = all
        .iter()
        .map(|body| (identify(CLIENT, body, None).id, CLIENT.fingerprint(&Document::read(body.as_bytes()).unwrap())))
        .collect();
    assert_eq!(seen.len(), 1);
    let beside = format!(r#"{{"message":{message},"note":"new"}}"#);
    let fingerprint = |body: &str| CLIENT.fingerprint(&Document::read(body.as_bytes()).unwrap());
    assert_ne!(fingerprint(&wrapped), fingerprint(&beside), "what stands beside the message counts");
}

#[test]
fn a_retry_with_fresh_presigned_urls_says_the_same() {
    let report = include_str!("../../../../tests/fixtures/vapi/end-of-call-report.json");
    let retry = report.replace("X-Signature=first", "X-Signature=second").replace("12:17:44", "12:17:52");
    let fingerprint = |body: &str| SERVER.fingerprint(&Document::read(body.as_bytes()).unwrap());
    assert_ne!(report, retry);
    assert_eq!(fingerprint(report), fingerprint(&retry));
    assert_ne!(fingerprint(report), fingerprint(&report.replace("Moved", "Did not move")));
}

#[test]
fn vapis_subject_follows_the_kind_of_message() {
    let of = |message: Value| subject(CLIENT, &json!({ "message": message }).to_string());
    let all = json!({"call": {"id": "c"}, "chat": {"id": "h"}, "session": {"id": "s"}});
    let with_type = |name: &str| {
        let mut message = all.clone();
        message["type"] = json!(name);
        of(message)
    };
    assert_eq!(with_type("transcript").as_deref(), Some("vapi:call:c"));
    assert_eq!(with_type("chat.created").as_deref(), Some("vapi:chat:h"));
    assert_eq!(with_type("session.updated").as_deref(), Some("vapi:session:s"));
    assert_eq!(of(json!({"type": "x", "session": {"id": "s"}})).as_deref(), Some("vapi:session:s"));
    assert_eq!(of(json!({"type": "hang"})), None);
}

/// JSON of any shape, with the names identity is read from among its members.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        Just(json!("session.ended")),
        Just(json!("end-of-call-report")),
        Just(json!("2026-11-20T09:00:00")),
    ];
    let name = prop_oneof![
        "[a-z]{1,3}",
        proptest::sample::select(vec![
            "type",
            "message",
            "call",
            "id",
            "timestamp",
            "data",
            "eventType",
            "status",
            "toolCallList",
            "session",
            "conversation_id",
            "createdAt",
            "endedAt",
            "turn",
            "artifacts",
        ])
        .prop_map(str::to_owned),
    ];
    leaf.prop_recursive(4, 32, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(name.clone(), inner, 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(gatehouse_seeds::cases(256))]

    #[test]
    fn every_object_has_an_identity_and_it_depends_on_nothing_but_what_is_said(value in any_json()) {
        let Value::Object(members) = value else { return Ok(()) };
        let compact = Value::Object(members.clone()).to_string();
        let pretty = serde_json::to_string_pretty(&Value::Object(members.clone())).unwrap();
        let reversed: Vec<String> = members.iter().rev().map(|(name, value)| format!("{}:{value}", json!(name))).collect();
        let reversed = format!("{{{}}}", reversed.join(","));
        for source in [Source::Ada, Source::Agntix, CLIENT, SERVER] {
            let (a, b, c) = (
                Document::read(compact.as_bytes()).unwrap(),
                Document::read(pretty.as_bytes()).unwrap(),
                Document::read(reversed.as_bytes()).unwrap(),
            );
            for other in [&b, &c] {
                let verified = verified(Some("msg_1"));
                prop_assert_eq!(source.fingerprint(&a), source.fingerprint(other));
                prop_assert_eq!(source.parse(&a), source.parse(other));
                prop_assert_eq!(source.identify(&a, &verified, received_at()), source.identify(other, &verified, received_at()));
            }
        }
    }

    #[test]
    fn no_body_makes_a_vendor_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(document) = Document::read(&Bytes::from(body)) {
            for source in [Source::Ada, Source::Agntix, CLIENT] {
                let _ = (source.parse(&document), source.identify(&document, &verified(None), received_at()));
            }
        }
    }
}
