//! Tests the event ids, subjects and fingerprints of deliveries.

use bytes::Bytes;
use gatehouse_ada::Ada;
use gatehouse_agntix::Agntix;
use gatehouse_payload::json::Document;
use gatehouse_payload::{Nonce, Subject};
use gatehouse_vapi::EventType;
use gatehouse_vapi::{Class, Vapi, is_one_question};
use gatehouse_vendor::{Identity, Proof, Source};
use proptest::prelude::*;
use serde_json::{Value, json};

const CLIENT: &dyn Source = &Vapi::CLIENT;
const SERVER: &dyn Source = &Vapi::SERVER;

fn proof(message_id: Option<&str>) -> Proof {
    Proof { by: "test".to_owned(), message_id: message_id.map(str::to_owned) }
}

/// The nonce of delivery number `n`. Each delivery has a different one.
fn nonce(n: u8) -> Nonce {
    Nonce::from_bytes(&[n; 16]).unwrap()
}

fn identify_as(source: &dyn Source, body: &str, message_id: Option<&str>, n: u8) -> Identity {
    let document = Document::read(body.as_bytes()).unwrap();
    source.identify(&document, &proof(message_id), &source.fingerprint(&document), &nonce(n))
}

fn identify(source: &dyn Source, body: &str, message_id: Option<&str>) -> Identity {
    identify_as(source, body, message_id, 1)
}

fn subject(source: &dyn Source, body: &str) -> Option<String> {
    source.parse(&Document::read(body.as_bytes()).unwrap()).subject.map(|subject: Subject| subject.to_string())
}

/// The id of a Vapi client message. Panics if it is weak.
fn id(message: &Value) -> String {
    let identity = identify(CLIENT, &json!({ "message": message }).to_string(), None);
    assert!(!identity.weak, "{message} is weak: {}", identity.id);
    identity.id.to_string()
}

fn is_weak(message: &Value) -> bool {
    identify(CLIENT, &json!({ "message": message }).to_string(), None).weak
}

#[test]
fn ada_event_id_is_the_signed_message_id() {
    for body in [r#"{"type":"v1.conversation.created"}"#, "{}", r#"{"type":7}"#] {
        assert_eq!(identify(&Ada, body, Some("msg_1")).id.as_str(), "ada:msg_1");
    }
}

#[test]
fn ada_subject_is_the_conversation_or_the_end_user() {
    let body = |data: &str| format!(r#"{{"type":"v1.x","data":{data}}}"#);
    let of = |data: &str| subject(&Ada, &body(data));
    assert_eq!(of(r#"{"conversation_id":"c","end_user_id":"u"}"#).as_deref(), Some("ada:conversation:c"));
    assert_eq!(of(r#"{"end_user_id":"u"}"#).as_deref(), Some("ada:end-user:u"));
    assert_eq!(of(r#"{"conversation_id":"","end_user_id":null}"#), None);
    assert_eq!(subject(&Ada, r#"{"type":"v1.audit_log.emitted"}"#), None);
}

#[test]
fn agntix_session_start_and_end_ignore_the_message_id() {
    let id = |body: &str| identify(&Agntix, body, Some("msg_1")).id.to_string();
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
fn vapi_event_about_an_object_is_identified_by_its_id() {
    let call = json!({"id": "c1"});
    for (message, expected) in [
        (json!({"type": "chat.created", "chat": {"id": "h"}}), "chat.created:h"),
        (json!({"type": "chat.deleted", "chat": {"id": "h"}}), "chat.deleted:h"),
        (json!({"type": "session.created", "session": {"id": "s"}}), "session.created:s"),
        (json!({"type": "session.deleted", "session": {"id": "s"}}), "session.deleted:s"),
        (
            json!({"type": "session.updated", "session": {"id": "s", "updatedAt": "2026-01-01T00:00:00Z"}}),
            "session.updated:s:2026-01-01T00%3A00%3A00Z",
        ),
        (json!({"type": "assistant-request", "call": call}), "assistant-request:c1"),
        (json!({"type": "call.deleted", "call": call}), "call.deleted:c1"),
        (json!({"type": "campaign.predial", "campaignId": "p", "contact": {"id": "k"}}), "campaign.predial:p:k"),
    ] {
        assert_eq!(id(&message), format!("vapi:client:{expected}"));
    }
}

fn with(base: &Value, more: Value) -> Value {
    let mut message = base.clone();
    message.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    message
}

const FIRST: i64 = 1_795_166_264_913;
const LATER: i64 = FIRST + 30_000;

/// A message of a documented type, and the members of a different occurrence.
fn message_of(event_type: &str) -> (Value, Value) {
    let call =
        |name: &str, day: &str| json!([{"id": "call_8fK2", "function": {"name": name, "arguments": {"day": day}}}]);
    let (members, other) = match event_type {
        "tool-calls" => {
            (json!({"toolCallList": call("find", "Monday")}), json!({"toolCallList": call("find", "Friday")}))
        }
        "function-call" => (
            json!({"functionCall": {"id": "f1", "name": "find", "parameters": {"day": "Monday"}}}),
            json!({"functionCall": {"id": "f1", "name": "find", "parameters": {"day": "Friday"}}}),
        ),
        "campaign.predial" => {
            (json!({"campaignId": "p", "contact": {"id": "k"}}), json!({"campaignId": "p", "contact": {"id": "l"}}))
        }
        "chat.created" | "chat.deleted" => (json!({"chat": {"id": "h"}}), json!({"chat": {"id": "i"}})),
        "session.created" | "session.updated" | "session.deleted" => (
            json!({"session": {"id": "s", "updatedAt": "2026-01-01T00:00:00Z"}}),
            json!({"session": {"id": "t", "updatedAt": "2026-01-01T00:00:00Z"}}),
        ),
        "call.deleted" | "assistant-request" => (json!({}), json!({"call": {"id": "c2"}})),
        _ => (json!({"detail": {"text": "Hello."}}), json!({"detail": {"text": "Hello!"}})),
    };
    (with(&json!({"type": event_type, "call": {"id": "c1"}, "timestamp": FIRST}), members), other)
}

fn classes() -> impl Iterator<Item = (&'static str, Class)> {
    let documented = EventType::WORDS.iter().copied();
    documented.chain(["a-type-of-next-year"]).map(|name| (name, Class::of(name)))
}

#[test]
fn resend_has_the_same_id_but_new_occurrence_does_not() {
    for (event_type, class) in classes() {
        let (message, other) = message_of(event_type);
        let id_as = |message: &Value, n| identify_as(CLIENT, &json!({ "message": message }).to_string(), None, n).id;
        let resend = id_as(&message, 1) == id_as(&message, 2);
        assert_eq!(resend, class != Class::Streamed, "{event_type}: a byte-identical copy");
        assert_ne!(id(&message), id(&with(&message, other)), "{event_type}: another occurrence");
        let later = id(&message) == id(&with(&message, json!({"timestamp": LATER})));
        let is_question = class == Class::Answered || class == Class::NamedOnce;
        assert_eq!(later, is_question, "{event_type}: the same at another time");
        let longer = id(&message) == id(&with(&message, json!({"artifact": {"messages": [1]}})));
        assert_eq!(longer, is_question, "{event_type}: the same with a longer history");
    }
}

#[test]
fn class_of_every_type_equals_the_class_in_docs_table() {
    let page = include_str!("../../../../docs/table.md");
    let rows: Vec<(&str, &str)> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| Vapi ")?.split_once(" | "))
        .map(|(types, rest)| (types, rest.split(" | ").next().unwrap()))
        .collect();
    for (event_type, class) in classes().filter(|(name, _)| *name != "a-type-of-next-year") {
        let named: Vec<&str> =
            rows.iter().filter(|(types, _)| types.contains(&format!("`{event_type}`"))).map(|row| row.1).collect();
        assert_eq!(named, [class.name()], "{event_type}");
    }
    for vendor in ["Ada", "agntix"] {
        assert!(
            page.lines().any(|line| line.starts_with(&format!("| {vendor} ")) && line.contains("named once")),
            "{vendor}"
        );
    }
}

#[test]
fn tool_calls_are_identified_by_id_name_and_arguments() {
    let calls =
        |id: &str, name: &str, day: Value| json!([{"id": id, "function": {"name": name, "arguments": {"day": day}}}]);
    let message =
        |list: Value| json!({"type": "tool-calls", "call": {"id": "c1"}, "timestamp": FIRST, "toolCallList": list});
    let first = message(calls("call_8fK2", "find", json!("Monday")));
    for other in [
        calls("call_8fK2", "find", json!("Friday")),
        calls("call_8fK2", "move", json!("Monday")),
        calls("call_9", "find", json!("Monday")),
    ] {
        assert_ne!(id(&first), id(&message(other.clone())), "{other}");
    }
    // The order of the calls, the form of arguments and the member that contains the calls do not matter.
    let (a, b) = (
        json!({"id": "a", "name": "x", "arguments": {"n": 1}}),
        json!({"id": "b", "name": "y", "arguments": "{\"n\": 2}"}),
    );
    let same = json!({"id": "b", "function": {"name": "y", "arguments": {"n": 2}}});
    let expected = id(&message(json!([a, b])));
    assert_eq!(id(&message(json!([same, a]))), expected);
    let elsewhere = json!({"call": {"id": "c1"}, "toolCallList": null, "toolCalls": [same, a]});
    assert_eq!(id(&elsewhere), expected);
    // An id that many calls share identifies none of them, so the time is part of the id.
    for constant in ["hook-function-call", "find:0"] {
        let first = message(calls(constant, "find", json!("Monday")));
        assert_eq!(id(&first), id(&with(&first, json!({"assistant": {"name": "renamed"}}))));
        assert_ne!(id(&first), id(&with(&first, json!({"timestamp": LATER}))), "{constant}");
    }
    // Arguments of any type are compared.
    let with_arguments =
        |arguments: Value| message(json!([{"id": "call_8fK2", "name": "find", "arguments": arguments}]));
    for (one, other) in
        [(json!("Monday"), json!("Tuesday")), (json!(["a"]), json!(["b"])), (json!("{\"day\":"), json!({}))]
    {
        assert_ne!(id(&with_arguments(one.clone())), id(&with_arguments(other)), "{one}");
    }
    // If another call has a unique id, the time is not needed.
    let both = message(json!([{"id": "hook-function-call", "name": "x"}, {"id": "call_8fK2", "name": "y"}]));
    assert_eq!(id(&both), id(&with(&both, json!({"timestamp": LATER}))));
    for without in ["call", "timestamp"] {
        let mut incomplete = message(calls("hook-function-call", "find", json!("Monday")));
        incomplete.as_object_mut().unwrap().remove(without);
        assert!(is_weak(&incomplete), "{without}");
    }
    let chat =
        json!({"type": "handoff-destination-request", "chat": {"id": "h"}, "timestamp": FIRST, "parameters": {}});
    assert_eq!(id(&chat), id(&with(&chat, json!({"timestamp": LATER}))), "a request of a chat");
    let without_id =
        json!({"type": "function-call", "call": {"id": "c1"}, "timestamp": FIRST, "functionCall": {"name": "find"}});
    assert_ne!(id(&without_id), id(&with(&without_id, json!({"timestamp": LATER}))));
}

#[test]
fn event_without_call_or_time_has_a_weak_id() {
    for message in [
        json!({"type": "workflow.node.started", "node": {}}),
        json!({"type": "hang"}),
        json!({"type": "hang", "call": {"id": "c1"}}),
        json!({"type": "hang", "timestamp": FIRST}),
        json!({"type": "end-of-call-report"}),
        json!({"type": "tool-calls", "toolCallList": []}),
        json!({"type": "session.updated", "session": {"id": "s"}}),
        json!({}),
    ] {
        assert!(is_weak(&message), "{message}");
    }
    // The id contains no time, so a late retry has the same id.
    let weak = identify(CLIENT, r#"{"message":{"type":"hang"}}"#, None).id.to_string();
    let parts: Vec<&str> = weak.split(':').collect();
    assert_eq!((parts[..5].join(":").as_str(), parts[5].len(), parts.len()), ("vapi:client:hang::", 64, 6));
}

#[test]
fn unexpected_member_does_not_weaken_the_id() {
    let unexpected =
        json!({"type": "assistant-request", "role": 7, "session": "s", "call": {"id": "c1", "updatedAt": 5}});
    assert_eq!(id(&unexpected), "vapi:client:assistant-request:c1");
    assert_eq!(subject(CLIENT, &unexpected.to_string()).as_deref(), Some("vapi:call:c1"));
}

#[test]
fn message_of_any_size_is_identified() {
    let words: Vec<String> = (0..120_000).map(|n| format!("{{\"w\":\"a{n}\",\"p\":0.5}}")).collect();
    let many: Vec<String> = (0..300_000).map(|n| format!("\"m{n}\":0")).collect();
    for members in [format!("\"words\":[{}]", words.join(",")), many.join(",")] {
        let body = format!(
            "{{\"message\":{{\"type\":\"end-of-call-report\",\"role\":7,{members},\"timestamp\":{FIRST},\"call\":{{\"id\":\"c1\"}}}}}}"
        );
        let identity = identify(SERVER, &body, None);
        assert!(!identity.weak && identity.id.as_str().starts_with("vapi:server:end-of-call-report:c1:1795166264913:"));
        assert_eq!(subject(SERVER, &body).as_deref(), Some("vapi:call:c1"));
    }
}

#[test]
fn signed_message_id_identifies_every_event_but_assistant_requests() {
    let body = |event_type: &str| json!({"message": message_of(event_type).0}).to_string();
    for event_type in ["hang", "end-of-call-report", "tool-calls", "model-output", "session.created"] {
        let id = identify(SERVER, &body(event_type), Some("msg_1")).id;
        assert_eq!(id.as_str(), format!("vapi:server:{event_type}:msg_1"));
    }
    // A call has only one assistant-request, so its id does not contain the message id.
    assert_eq!(
        identify(SERVER, &body("assistant-request"), Some("msg_1")).id.as_str(),
        "vapi:server:assistant-request:c1"
    );
}

#[test]
fn fingerprint_of_resend_ignores_time_and_snapshots() {
    let fingerprint = |message: &Value| {
        let body = json!({ "message": message }).to_string();
        SERVER.fingerprint(&Document::read(body.as_bytes()).unwrap())
    };
    for (event_type, _) in classes().filter(|(_, class)| *class == Class::NamedOnce) {
        let (message, other) = message_of(event_type);
        for same in [json!({"timestamp": LATER}), json!({"assistant": {"name": "renamed"}, "artifact": {}})] {
            assert_eq!(fingerprint(&message), fingerprint(&with(&message, same)), "{event_type}");
        }
        let other = if event_type == "call.deleted" { json!({"call": {"id": "c1", "x": 1}}) } else { other };
        for different in [json!({"detail": 1}), other] {
            assert_ne!(fingerprint(&message), fingerprint(&with(&message, different)), "{event_type}");
        }
    }
}

#[test]
fn one_question_is_recognized_by_its_event_id() {
    for (event_type, class) in classes() {
        let body = json!({"message": message_of(event_type).0}).to_string();
        for message_id in [None, Some("msg_1"), Some("a:b")] {
            let id = identify(SERVER, &body, message_id).id;
            let is_id_of_question = event_type == "assistant-request" || message_id.is_none();
            assert_eq!(is_one_question(Some(event_type), &id), class == Class::Answered && is_id_of_question, "{id}");
        }
    }
    let calls: Vec<Value> = (0..40).map(|n| json!({"id": format!("call_{n:040}"), "name": "find"})).collect();
    let many = json!({"message": {"type": "tool-calls", "call": {"id": "c"}, "toolCallList": calls}}).to_string();
    let id = identify(SERVER, &many, None).id;
    assert!(id.as_str().contains(":parts-sha256=") && is_one_question(Some("tool-calls"), &id), "{id}");
}

#[test]
fn wrapping_changes_neither_id_nor_fingerprint() {
    let message = r#"{"type":"status-update","status":"ended","call":{"id":"c1"}}"#;
    let wrapped = format!(r#"{{ "message" : {message} }}"#);
    let all = [message.to_owned(), wrapped.clone(), json!(message).to_string(), json!(wrapped).to_string()];
    let seen: std::collections::HashSet<_> = all
        .iter()
        .map(|body| (identify(CLIENT, body, None).id, CLIENT.fingerprint(&Document::read(body.as_bytes()).unwrap())))
        .collect();
    assert_eq!(seen.len(), 1);
    let with_note = format!(r#"{{"message":{message},"note":"new"}}"#);
    let fingerprint = |body: &str| CLIENT.fingerprint(&Document::read(body.as_bytes()).unwrap());
    assert_ne!(fingerprint(&wrapped), fingerprint(&with_note), "other members of the wrapper are compared");
}

#[test]
fn fingerprint_ignores_signatures_of_presigned_urls() {
    let report = gatehouse_vapi::samples::END_OF_CALL_REPORT;
    let retry = report.replace("X-Signature=first", "X-Signature=second").replace("12:17:44", "12:17:52");
    let without = report.replace("presignedMonoUrl", "somethingElse");
    let fingerprint = |body: &str| SERVER.fingerprint(&Document::read(body.as_bytes()).unwrap());
    assert_ne!(report, retry);
    assert_eq!(fingerprint(report), fingerprint(&retry));
    assert_ne!(fingerprint(report), fingerprint(&without), "a report with a recording differs from one without");
    assert_ne!(fingerprint(report), fingerprint(&report.replace("Moved", "Did not move")));
}

#[test]
fn vapi_subject_depends_on_the_message_type() {
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

/// Random JSON whose member names include those that identity depends on.
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
    fn identity_ignores_member_order_and_white_space(value in any_json()) {
        let Value::Object(members) = value else { return Ok(()) };
        let compact = Value::Object(members.clone()).to_string();
        let pretty = serde_json::to_string_pretty(&Value::Object(members.clone())).unwrap();
        let reversed: Vec<String> = members.iter().rev().map(|(name, value)| format!("{}:{value}", json!(name))).collect();
        let reversed = format!("{{{}}}", reversed.join(","));
        for source in [&Ada as &dyn Source, &Agntix, CLIENT, SERVER] {
            let (a, b, c) = (
                Document::read(compact.as_bytes()).unwrap(),
                Document::read(pretty.as_bytes()).unwrap(),
                Document::read(reversed.as_bytes()).unwrap(),
            );
            for other in [&b, &c] {
                let proof = proof(Some("msg_1"));
                prop_assert_eq!(source.fingerprint(&a), source.fingerprint(other));
                prop_assert_eq!(source.parse(&a), source.parse(other));
                prop_assert_eq!(source.identify(&a, &proof, &source.fingerprint(&a), &nonce(1)), source.identify(other, &proof, &source.fingerprint(other), &nonce(1)));
            }
        }
    }

    #[test]
    fn no_body_makes_parsing_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(document) = Document::read(&Bytes::from(body)) {
            for source in [&Ada as &dyn Source, &Agntix, CLIENT] {
                let _ = (source.parse(&document), source.identify(&document, &proof(None), &source.fingerprint(&document), &nonce(1)));
            }
        }
    }
}
