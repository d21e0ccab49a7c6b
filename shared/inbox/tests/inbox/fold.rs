//! Sessions and conversations read the same whatever order their events came in.

use gatehouse_inbox::fold::{State, conversation, session};
use gatehouse_inbox::store::Record;
use gatehouse_inbox::{Event, Subject};
use gatehouse_payload::time::Timestamp;
use proptest::prelude::*;

use crate::table::event;

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!("../../../../tests/fixtures/", $name))
    };
}

fn record(source: &str, id: &str, at: &str, body: &str) -> Record {
    let event = Event {
        source: source.to_owned(),
        subject: Some(Subject::new(source, "x", "y")),
        occurred_at: Timestamp::parse(at).unwrap(),
        ..event(id, body)
    };
    Record { event, expires_at: i64::MAX, conflict: false }
}

fn agntix() -> Vec<Record> {
    vec![
        record("agntix", "created", "2026-11-20T11:15:02.250Z", fixture!("agntix/session-created.json")),
        record(
            "agntix",
            "updated",
            "2026-11-20T11:16:00Z",
            r#"{"eventType":"session.updated","state":"OPEN","id":"x"}"#,
        ),
        record("agntix", "ended", "2026-11-20T11:17:44.913Z", fixture!("agntix/session-ended.json")),
        record("agntix", "odd", "2026-11-20T11:18:00Z", r#"{"eventType":["session.created"],"state":"OPEN"}"#),
    ]
}

fn ada() -> Vec<Record> {
    vec![
        record("ada", "1", "2026-11-20T09:00:00.125Z", fixture!("ada/conversation-created.json")),
        record("ada", "2", "2026-11-20T09:00:04Z", fixture!("ada/conversation-message.json")),
        record(
            "ada",
            "3",
            // Its event overtook the first message's; the message itself came later.
            "2026-11-20T09:00:02Z",
            r#"{"type":"v1.conversation.message","data":{"created_at":"2026-11-20T09:00:09","author":{"role":"supervisor"},
                "content":{"type":"presence"}}}"#,
        ),
        record("ada", "4", "2026-11-20T09:07:00Z", fixture!("ada/conversation-ended.json")),
    ]
}

fn vapi() -> Vec<Record> {
    vec![
        record("vapi", "1", "2026-11-20T11:16:10.500Z", fixture!("vapi/transcript-final.json")),
        record(
            "vapi",
            "2",
            "2026-11-20T11:16:10.100Z",
            r#"{"message":{"type":"transcript","transcriptType":"partial","transcript":"Fri"}}"#,
        ),
        record("vapi", "3", "2026-11-20T11:17:44.913Z", fixture!("vapi/status-update-ended.json")),
        record("vapi", "4", "2026-11-20T11:17:46Z", fixture!("vapi/end-of-call-report.json")),
    ]
}

#[test]
fn a_session_reads_as_its_events_say() {
    let session = session(&agntix());
    assert_eq!(session.state, State::Closed);
    assert_eq!(session.id.as_deref(), Some("7d1c1f6e-57d8-4b62-9d0e-0a5a0c1be9f3"));
    assert_eq!(session.created_at.unwrap().to_string(), "2026-11-20T11:15:02.250Z");
    assert_eq!(session.ended_at.unwrap().to_string(), "2026-11-20T11:17:44.913Z");
    assert!(session.analysis.unwrap().contains("berth_confirmed"));
    assert_eq!((session.events, session.conflicts), (4, 0));
}

#[test]
fn a_session_without_its_end_is_open_and_one_without_its_start_is_closed() {
    let all = agntix();
    assert_eq!(session(&all[..2]).state, State::Open);
    let end_only = session(&all[2..3]);
    assert_eq!(end_only.state, State::Closed);
    assert_eq!(end_only.created_at.unwrap().to_string(), "2026-11-20T11:15:02.250Z");
    assert_eq!(session(&[]), gatehouse_inbox::fold::Session::default());
}

#[test]
fn an_ada_conversation_reads_as_its_events_say() {
    let conversation = conversation(&ada());
    assert_eq!((conversation.state, conversation.ended_by.as_deref()), (State::Closed, Some("human_agent")));
    assert_eq!(conversation.started_at.unwrap().to_string(), "2026-11-20T09:00:00.120Z");
    let roles: Vec<_> = conversation.messages.iter().map(|message| message.role.as_deref().unwrap()).collect();
    assert_eq!(roles, ["end_user", "supervisor"]);
    assert_eq!(conversation.messages[0].text.as_deref(), Some("Can I move my berth to Friday?"));
}

#[test]
fn a_vapi_call_reads_as_its_events_say() {
    let conversation = conversation(&vapi());
    assert_eq!((conversation.state, conversation.ended_by.as_deref()), (State::Closed, Some("customer-ended-call")));
    assert_eq!(conversation.ended_at.unwrap().to_string(), "2026-11-20T11:17:44.000Z");
    assert_eq!(conversation.messages.len(), 1, "partial transcripts are no messages");
    assert!(conversation.analysis.unwrap().contains("Moved"));
}

#[test]
fn conflicting_copies_are_counted_and_not_folded() {
    let mut records = agntix();
    records[2].conflict = true;
    let session = session(&records);
    assert_eq!((session.state, session.events, session.conflicts), (State::Open, 3, 1));
}

proptest! {
    #![proptest_config(gatehouse_seeds::cases(256))]

    #[test]
    fn any_order_of_arrival_folds_to_the_same_state(
        agntix in Just(agntix()).prop_shuffle(), ada in Just(ada()).prop_shuffle(), vapi in Just(vapi()).prop_shuffle(),
    ) {
        prop_assert_eq!(session(&agntix), session(&self::agntix()));
        prop_assert_eq!(conversation(&ada), conversation(&self::ada()));
        prop_assert_eq!(conversation(&vapi), conversation(&self::vapi()));
    }
}
