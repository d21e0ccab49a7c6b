//! Tests folding events into sessions and conversations, in any order of arrival.

use bytes::Bytes;
use gatehouse_inbox::store::Record;
use gatehouse_payload::time::Timestamp;
use gatehouse_payload::{Event, EventId, Fingerprint, Flags, Nonce, Subject};
use gatehouse_timeline::{State, fold};
use proptest::prelude::*;
use serde_json::{Value, json};

fn now() -> Timestamp {
    Timestamp::parse("2026-11-20T09:00:00Z").unwrap()
}

fn record(source: &str, id: &str, at: &str, body: &str) -> Record {
    let event = Event {
        id: EventId::new(&["test"], &[id]),
        source: source.to_owned(),
        event_type: Some("v1.conversation.message".to_owned()),
        subject: Some(Subject::new(source, "x", "y")),
        occurred_at: Timestamp::parse(at).unwrap(),
        received_at: now(),
        fingerprint: Fingerprint::of(body),
        nonce: Nonce::from_bytes(&[1; 16]).unwrap(),
        verified_by: "svix".to_owned(),
        body: Bytes::from(body.to_owned()),
        answer: None,
        asked: None,
        flags: Flags::default(),
        is_one_question: false,
    };
    Record { event, expires_at: i64::MAX, conflict: false }
}

fn agntix() -> Vec<Record> {
    vec![
        record("agntix", "created", "2026-11-20T11:15:02.250Z", gatehouse_agntix::samples::SESSION_CREATED),
        record(
            "agntix",
            "updated",
            "2026-11-20T11:16:00Z",
            r#"{"eventType":"session.updated","state":"OPEN","id":"x"}"#,
        ),
        record("agntix", "ended", "2026-11-20T11:17:44.913Z", gatehouse_agntix::samples::SESSION_ENDED),
        record("agntix", "odd", "2026-11-20T11:18:00Z", r#"{"eventType":["session.created"],"state":"OPEN"}"#),
    ]
}

fn ada() -> Vec<Record> {
    vec![
        record("ada", "1", "2026-11-20T09:00:00.125Z", gatehouse_ada::samples::CONVERSATION_CREATED),
        record("ada", "2", "2026-11-20T09:00:04Z", gatehouse_ada::samples::CONVERSATION_MESSAGE),
        record(
            "ada",
            "3",
            // This event is earlier than event 2, but its message is later.
            "2026-11-20T09:00:02Z",
            r#"{"type":"v1.conversation.message","data":{"created_at":"2026-11-20T09:00:09","author":{"role":"supervisor"},
                "content":{"type":"of-next-year"}}}"#,
        ),
        record("ada", "4", "2026-11-20T09:07:00Z", gatehouse_ada::samples::CONVERSATION_ENDED),
    ]
}

fn vapi() -> Vec<Record> {
    vec![
        record("vapi", "1", "2026-11-20T11:16:10.500Z", gatehouse_vapi::samples::TRANSCRIPT_FINAL),
        record(
            "vapi",
            "2",
            "2026-11-20T11:16:10.100Z",
            r#"{"message":{"type":"transcript","transcriptType":"partial","transcript":"Fri"}}"#,
        ),
        record("vapi", "3", "2026-11-20T11:17:44.913Z", gatehouse_vapi::samples::STATUS_UPDATE_ENDED),
        record("vapi", "4", "2026-11-20T11:17:46Z", gatehouse_vapi::samples::END_OF_CALL_REPORT),
    ]
}

#[test]
fn session_is_folded_from_its_events() {
    let session = fold(&agntix());
    assert_eq!(session.state, State::Closed);
    assert_eq!(session.started_at.unwrap().to_string(), "2026-11-20T11:15:02.250Z");
    assert_eq!(session.ended_at.unwrap().to_string(), "2026-11-20T11:17:44.913Z");
    assert!(session.analysis.unwrap().contains("berth_confirmed"));
    assert_eq!((session.events, session.conflicts), (4, 0));
}

#[test]
fn session_is_closed_only_by_its_end() {
    let all = agntix();
    assert_eq!(fold(&all[..2]).state, State::Open);
    let end_only = fold(&all[2..3]);
    assert_eq!(end_only.state, State::Closed);
    assert_eq!(end_only.started_at.unwrap().to_string(), "2026-11-20T11:15:02.250Z");
    assert_eq!(fold(&[]), gatehouse_timeline::Conversation::default());
}

#[test]
fn ada_conversation_is_folded_from_its_events() {
    let conversation = fold(&ada());
    assert_eq!((conversation.state, conversation.ended_by.as_deref()), (State::Closed, Some("human_agent")));
    assert_eq!(conversation.started_at.unwrap().to_string(), "2026-11-20T09:00:00.120Z");
    let roles: Vec<_> = conversation.messages.iter().map(|message| message.role.as_deref().unwrap()).collect();
    assert_eq!(roles, ["end_user", "supervisor"]);
    assert_eq!(conversation.messages[0].text.as_deref(), Some("Can I move my berth to Friday?"));
}

#[test]
fn vapi_call_is_folded_from_its_events() {
    let conversation = fold(&vapi());
    assert_eq!((conversation.state, conversation.ended_by.as_deref()), (State::Closed, Some("customer-ended-call")));
    assert_eq!(conversation.ended_at.unwrap().to_string(), "2026-11-20T11:17:44.000Z");
    assert_eq!(conversation.messages.len(), 1, "partial transcripts are not messages");
    assert!(conversation.analysis.unwrap().contains("Moved"));
}

#[test]
fn conflicting_copies_are_counted_and_not_folded() {
    let mut records = agntix();
    records[2].conflict = true;
    let session = fold(&records);
    assert_eq!((session.state, session.events, session.conflicts), (State::Open, 3, 1));
}

proptest! {
    #![proptest_config(gatehouse_seeds::cases(256))]

    #[test]
    fn any_order_of_arrival_folds_to_the_same_state(
        agntix in Just(agntix()).prop_shuffle(), ada in Just(ada()).prop_shuffle(), vapi in Just(vapi()).prop_shuffle(),
    ) {
        prop_assert_eq!(fold(&agntix), fold(&self::agntix()));
        prop_assert_eq!(fold(&ada), fold(&self::ada()));
        prop_assert_eq!(fold(&vapi), fold(&self::vapi()));
    }
}

/// Returns a record of a Vapi event. Its type and subject are taken from `body`, and its channel from `id`.
fn vapi_record(id: &str, at: &str, body: &str) -> Record {
    let mut record = record("vapi", id, at, body);
    let body: Value = serde_json::from_str(&body.replace("\\ud83d", "")).unwrap();
    let message = body.get("message").unwrap_or(&body);
    record.event.event_type = message["type"].as_str().map(str::to_owned);
    record.event.subject = message["type"].as_str().map(|name| {
        let kind = name.split('.').next().filter(|kind| ["chat", "session"].contains(kind));
        Subject::new("vapi", kind.unwrap_or("call"), "c")
    });
    record.event.id = EventId::from_stored(id.to_owned());
    record
}

fn transcript(id: &str, second: u32, role: &str, text: &str) -> Record {
    let body = json!({"message": {"type": "transcript", "transcriptType": "final", "role": role, "transcript": text}});
    vapi_record(id, &format!("2026-11-20T10:00:{second:02}Z"), &body.to_string())
}

fn report(messages: Value) -> Record {
    let body = json!({"type": "end-of-call-report", "endedReason": "hung-up", "artifact": {"messages": messages}});
    vapi_record("vapi:server:report", "2026-11-20T10:01:00Z", &body.to_string())
}

#[test]
fn transcripts_of_both_channels_are_merged_without_duplicates() {
    let spoken = [("assistant", "Hello."), ("user", "A berth, please."), ("user", "Yes."), ("user", "Yes.")];
    for (absent_on_server, absent_on_client) in [(9, 9), (0, 9), (9, 1), (1, 2), (2, 9)] {
        let mut records = Vec::new();
        for (n, (role, text)) in spoken.iter().enumerate() {
            let second = u32::try_from(n).unwrap();
            for (channel, absent) in [("server", absent_on_server), ("client", absent_on_client)] {
                if n != absent {
                    records.push(transcript(&format!("vapi:{channel}:{n}"), second, role, text));
                }
            }
        }
        let messages = fold(&records).messages;
        let texts: Vec<&str> = messages.iter().map(|message| message.text.as_deref().unwrap()).collect();
        assert_eq!(texts, ["Hello.", "A berth, please.", "Yes.", "Yes."], "{absent_on_server} {absent_on_client}");
    }
}

#[test]
fn missing_transcripts_are_found_by_comparing_texts() {
    let hello = || transcript("vapi:server:1", 0, "assistant", "Hello, harbour office.");
    let bot = |text: &str| json!({"role": "bot", "message": text});
    let user = |text: &str| json!({"role": "user", "message": text});
    let sms = json!({"role": "user", "message": "my plate is AB123", "metadata": {"type": "sms"}});
    for (messages, missing) in [
        (json!([bot("hello harbour office")]), None),
        (json!([bot("Hello, harbour office."), sms]), None),
        (json!([bot("Hello, harbour office."), {"role": "system", "message": "You are"}, user("")]), None),
        (json!([bot("Hello, harbour office."), user("Hi"), bot("Bye")]), Some("received 1 of the 3")),
        (json!([bot("Hello, harbour office."), bot("Hello, harbour office.")]), Some("received 1 of the 2")),
        (json!([user("Hello, harbour office.")]), Some("received 0 of the 1")),
    ] {
        let found = fold(&[hello(), report(messages.clone())]).missing;
        let expected = missing.map(|some| format!("transcripts: {some} in end-of-call-report"));
        assert_eq!(found, Vec::from_iter(expected), "{messages}");
    }
    // A report joins consecutive transcripts of one speaker.
    let pieces = [hello(), transcript("vapi:server:2", 1, "assistant", "How can I help?")];
    let joined = report(json!([bot("Hello, harbour office. How can I help?")]));
    assert_eq!(fold(&[&pieces[..], &[joined]].concat()).missing, Vec::<String>::new());
}

#[test]
fn without_transcripts_messages_come_from_the_longest_report() {
    let texts = |messages: &[gatehouse_timeline::Message]| -> Vec<String> {
        messages.iter().map(|message| message.text.clone().unwrap()).collect()
    };
    let first = report(json!([{"role": "bot", "message": "Hello."}]));
    let body = json!({"message": {"type": "end-of-call-report", "cost": 0.25, "startedAt": "2026-11-20T10:00:00Z",
        "endedAt": "2026-11-20T10:00:42Z", "analysis": {"summary": "s"}, "customer": {"number": "+15550100"},
        "assistant": {"name": "Harbour"}, "artifact": {"recordingUrl": "https://x.example/r",
        "messages": [{"role": "bot", "message": "Hello."}, {"role": "user", "message": "Hi."}]}}});
    let second = vapi_record("vapi:server:report2", "2026-11-20T10:02:00Z", &body.to_string());
    let second_report = second.clone();
    for records in [[first.clone(), second.clone()], [second, first]] {
        let call = fold(&records);
        assert_eq!(texts(&call.messages), ["Hello.", "Hi."]);
        assert_eq!(
            (call.ended_by.as_deref(), call.seconds(), call.cost.as_deref()),
            (Some("hung-up"), Some(42), Some("0.25"))
        );
        assert_eq!((call.number.as_deref(), call.agent.as_deref()), (Some("+15550100"), Some("Harbour")));
        assert_eq!(call.recording_url.as_deref(), Some("https://x.example/r"));
        assert!(call.analysis.unwrap().contains("summary") && call.missing.is_empty());
    }
    // A later snapshot removes nothing.
    let snapshot =
        json!({"message": {"type": "call.artifact.upload", "call": {"id": "c", "cost": 0, "assistantId": "a1"}}});
    let snapshot = vapi_record("vapi:server:upload", "2026-11-20T10:03:00Z", &snapshot.to_string());
    let empty = vapi_record(
        "vapi:server:report3",
        "2026-11-20T10:04:00Z",
        r#"{"type":"end-of-call-report","analysis":{},"artifact":{"messages":[]}}"#,
    );
    let call = fold(&[second_report, snapshot, empty]);
    assert_eq!((call.cost.as_deref(), call.agent.as_deref()), (Some("0.25"), Some("Harbour")));
    assert!(call.analysis.unwrap().contains("summary") && call.messages.len() == 2);
    let without_time = json!([{"role": "bot", "message": "a", "time": 1795000000000_u64}, {"role": "user", "message": "b", "time": null},
                          {"role": "bot", "message": "c", "time": 1795000009000_u64}]);
    assert_eq!(texts(&fold(&[report(without_time)]).messages), ["a", "b", "c"]);
    let text = json!({"type": "end-of-call-report", "artifact": {"transcript": "AI: Bye \u{1F44B}"}}).to_string();
    let only_text = vapi_record("vapi:server:report", "2026-11-20T10:01:00Z", &text.replace("\u{1F44B}", "\\ud83d"));
    assert_eq!(texts(&fold(&[only_text]).messages), ["AI: Bye \u{fffd}"]);
}

#[test]
fn vapi_chats_and_sessions_are_folded_from_their_events() {
    let of = |kind: &str, object: Value, at: &str| {
        let name = kind.split('.').next().unwrap();
        vapi_record(&format!("vapi:server:{kind}"), at, &json!({"message": {"type": kind, name: object}}).to_string())
    };
    let hi = json!([{"role": "user", "content": "Hi"}]);
    let chat = json!({"id": "h", "createdAt": "2026-11-20T10:00:00Z", "input": hi, "messages": hi,
                      "output": [{"role": "assistant", "content": "Hello!"}]});
    let hello = json!([{"role": "assistant", "content": "Hello!"}]);
    let whole = json!([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]);
    for (messages, input) in
        [(whole.clone(), hi.clone()), (whole, json!("Hi")), (json!([]), json!("Hi")), (Value::Null, hi.clone())]
    {
        let chat = json!({"id": "h", "messages": messages, "input": input, "output": hello});
        let chat = fold(&[of("chat.created", chat, "2026-11-20T10:00:05Z")]);
        let texts: Vec<_> = chat.messages.iter().map(|message| message.text.as_deref().unwrap()).collect();
        assert_eq!(texts, ["Hi", "Hello!"], "{messages} {input}");
    }
    let created = of("chat.created", chat.clone(), "2026-11-20T10:00:05Z");
    let open = fold(std::slice::from_ref(&created));
    let texts: Vec<_> = open.messages.iter().map(|message| message.text.as_deref().unwrap()).collect();
    assert_eq!((open.state, texts), (State::Open, vec!["Hi", "Hello!"]));
    assert_eq!(open.started_at.unwrap().to_string(), "2026-11-20T10:00:00.000Z");
    assert_eq!(fold(&[created, of("chat.deleted", chat, "2026-11-20T10:09:00Z")]).state, State::Closed);

    let session =
        |status: &str| json!({"id": "s", "createdAt": "2026-11-20T10:00:00Z", "status": status, "messages": hi});
    let created = of("session.created", session("active"), "2026-11-20T10:00:00Z");
    assert_eq!(fold(std::slice::from_ref(&created)).state, State::Open);
    let updated = of("session.updated", session("completed"), "2026-11-20T10:05:00Z");
    let completed = fold(&[updated, created.clone()]);
    assert_eq!((completed.state, completed.messages.len(), completed.missing), (State::Closed, 1, Vec::new()));
    let deleted = of("session.deleted", session("active"), "2026-11-20T10:06:00Z");
    assert_eq!(fold(&[created, deleted]).state, State::Closed);
}

#[test]
fn presence_is_not_a_message_but_other_content_is() {
    let message = |content: Value| {
        let body =
            json!({"type": "v1.conversation.message", "data": {"author": {"role": "ai_agent"}, "content": content}});
        fold(&[record("ada", "1", "2026-11-20T10:00:00Z", &body.to_string())]).messages
    };
    assert_eq!(message(json!({"type": "presence", "body": "typing"})), []);
    for (content, text) in [
        (json!({"type": "text", "body": "Hi"}), Some("Hi")),
        (json!({"type": "file", "url": "https://x.example/f"}), Some("https://x.example/f")),
        (json!({"type": "of-next-year", "body": "Hi"}), Some("Hi")),
        (json!("plain"), Some("plain")),
        (json!(7), None),
        (Value::Null, None),
    ] {
        let messages = message(content.clone());
        assert_eq!((messages.len(), messages[0].text.as_deref()), (1, text), "{content}");
        assert_eq!(messages[0].role.as_deref(), Some("ai_agent"));
    }
}

#[test]
fn messages_with_equal_times_stay_in_order_of_arrival() {
    let mut records: Vec<Record> =
        (0..6_u32).map(|n| transcript(&format!("vapi:server:{}", 9 - n), 0, "user", &n.to_string())).collect();
    for (n, record) in records.iter_mut().enumerate() {
        record.event.received_at = now().plus_secs(i64::try_from(n).unwrap());
    }
    records.reverse();
    let texts: Vec<_> = fold(&records).messages.into_iter().map(|message| message.text.unwrap()).collect();
    assert_eq!(texts, ["0", "1", "2", "3", "4", "5"]);
}

/// Collects the paths of all members of a value, at any depth.
fn paths(value: &Value, at: &str, found: &mut Vec<String>) {
    let mut below = |name: String, value: &Value| {
        let path = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
        found.push(path.clone());
        paths(value, &path, found);
    };
    match value {
        Value::Object(members) => members.iter().for_each(|(name, value)| below(name.clone(), value)),
        Value::Array(values) => values.iter().enumerate().for_each(|(n, value)| below(n.to_string(), value)),
        _ => {}
    }
}

/// Replaces each member of each event by unexpected values, one at a time. The state, the end, the analysis and the
/// messages may change only if they depend on the member.
#[test]
fn unexpected_member_changes_only_what_depends_on_it() {
    /// Stands for a lone surrogate, which a Rust string cannot contain.
    const LONE_SURROGATE: &str = "lone surrogate";
    let unexpected = [json!(null), json!(7), json!("x"), json!(["x"]), json!({"x": 1}), json!(LONE_SURROGATE)];
    let value = |text: Option<String>| text.map(|text| serde_json::from_str::<Value>(&text).unwrap());
    let mut tried = 0;
    for timeline in [agntix(), ada(), vapi()] {
        let fold = |records: &[Record]| {
            let folded = fold(records);
            let ended_by = folded.ended_by.clone();
            (folded.state, folded.ended_at, ended_by, value(folded.analysis), folded.messages)
        };
        let expected = fold(&timeline);
        for (n, record) in timeline.iter().enumerate() {
            let body: Value = serde_json::from_slice(&record.event.body).unwrap();
            let mut all = Vec::new();
            paths(&body, "", &mut all);
            for path in all {
                // A path touches a member if it is the member, one of its parents or one of its children.
                let touches = |members: &[&str]| {
                    let names: Vec<&str> = path.split('/').skip(1).collect();
                    members.iter().any(|member| {
                        let member: Vec<&str> = member.split('/').collect();
                        let is_above = member.starts_with(&names);
                        let is_below = names.starts_with(&member);
                        is_above || is_below
                    })
                };
                for replacement in &unexpected {
                    let mut body = body.clone();
                    *body.pointer_mut(&path).unwrap() = replacement.clone();
                    let text = body.to_string().replace(&format!("\"{LONE_SURROGATE}\""), "\"\\ud83d\"");
                    let mut changed = timeline.clone();
                    changed[n].event.body = Bytes::from(text);
                    let (state, ended_at, ended_by, analysis, messages) = fold(&changed);
                    let name = format!("{} {n} {path} {replacement}", record.event.source);
                    let kind = ["type", "eventType", "message/type", "message/status", "message/transcriptType", "id"];
                    if touches(&kind) {
                        continue;
                    }
                    tried += 1;
                    assert_eq!(state, expected.0, "{name}");
                    if !touches(&["endedAt", "message/endedAt", "createdAt"]) {
                        assert_eq!(ended_at, expected.1, "{name}");
                    }
                    if !touches(&["data/ended_by", "message/endedReason"]) {
                        assert_eq!(ended_by, expected.2, "{name}");
                    }
                    if !touches(&["analysis", "message/analysis"]) {
                        assert_eq!(analysis, expected.3, "{name}");
                    }
                    let message_members = [
                        "data/content",
                        "data/author",
                        "data/created_at",
                        "message/transcript",
                        "message/role",
                        "message/artifact",
                    ];
                    if !touches(&message_members) {
                        assert_eq!(messages, expected.4, "{name}");
                    }
                }
            }
        }
    }
    assert!(tried > 500, "{tried}");
}
