//! Tests new occurrences and resends of every Vapi event type: outcomes, replies and actions.

use gatehouse_ada::Ada;
use gatehouse_local::{Delivery, Options, Testbed};
use gatehouse_runtime::Clock;
use gatehouse_vapi::EventType;
use gatehouse_vapi::Vapi;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use crate::answers::Call;
use crate::support::{replies, send, stack_with};

const FIRST: u64 = 1_795_173_390_500;

/// The expected outcome of a later delivery, as `docs/table.md` describes it.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Expected {
    Recorded,
    Duplicate,
    Conflict,
}

/// The difference between a later delivery and the first.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Differs {
    Nothing,
    Time,
    /// A member that messages of every type may have.
    Common,
    /// The object that the message is about, such as the call, session or tool arguments.
    Own,
    /// A member that does not identify the object.
    Detail,
}

/// Types that happen once to the chat, session or call that they name.
const NAMED_ONCE: [&str; 6] =
    ["chat.created", "chat.deleted", "session.created", "session.updated", "session.deleted", "call.deleted"];
/// Types that are answered or acted on.
const ANSWERED: [&str; 10] = [
    "assistant-request",
    "tool-calls",
    "function-call",
    "campaign.predial",
    "transfer-destination-request",
    "handoff-destination-request",
    "knowledge-base-request",
    "call.endpointing.request",
    "voice-request",
    "phone-call-control",
];
/// Answered types that are identified by their call, campaign, contact or tool calls alone.
const IDENTIFIED: [&str; 4] = ["assistant-request", "campaign.predial", "tool-calls", "function-call"];
/// Types whose messages are pieces of a stream.
const STREAMED: [&str; 2] = ["model-output", "voice-input"];

fn expected(kind: &str, differs: Differs) -> Expected {
    match differs {
        _ if STREAMED.contains(&kind) => Expected::Recorded,
        Differs::Nothing => Expected::Duplicate,
        Differs::Own => Expected::Recorded,
        Differs::Time | Differs::Common if ANSWERED.contains(&kind) || NAMED_ONCE.contains(&kind) => {
            Expected::Duplicate
        }
        Differs::Time | Differs::Common => Expected::Recorded,
        Differs::Detail if NAMED_ONCE.contains(&kind) => Expected::Conflict,
        // Only the campaign and contact, the call, or the tool calls identify these requests.
        Differs::Detail if IDENTIFIED.contains(&kind) => Expected::Duplicate,
        Differs::Detail => Expected::Recorded,
    }
}

/// A message of a type about the call, chat, session and contact with this name.
fn message(kind: &str, name: &str, differs: Differs, control_url: &str) -> Value {
    let own = if differs == Differs::Own { "Friday" } else { "Monday" };
    let id = if differs == Differs::Own { format!("{name}-other") } else { name.to_owned() };
    let has_own_call = ["assistant-request", "call.deleted"].contains(&kind);
    let call = if has_own_call { &id } else { name };
    let tool = json!({"id": format!("call_{name}"), "function": {"name": "find", "arguments": {"day": own}}});
    let mut message = json!({
        "type": kind,
        "timestamp": if differs == Differs::Time { FIRST + 30_000 } else { FIRST },
        "call": {"id": call, "monitor": {"controlUrl": control_url}},
        "detail": if differs == Differs::Detail { "Sunday" } else { own },
    });
    let more = match kind {
        "tool-calls" => json!({"toolCallList": [tool]}),
        "function-call" => json!({"functionCall": {"id": name, "name": "find", "parameters": {"day": own}}}),
        "campaign.predial" => json!({"campaignId": "p", "contact": {"id": id}}),
        "chat.created" | "chat.deleted" => json!({"chat": {"id": id}}),
        _ if kind.starts_with("session.") => json!({"session": {"id": id, "updatedAt": "2026-11-20T10:00:00Z"}}),
        _ => json!({}),
    };
    message.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    if differs == Differs::Common {
        message["assistant"] = json!({"name": "renamed"});
    }
    json!({ "message": message })
}

async fn stack() -> Testbed {
    // Replies contain the time of the message, so that a later reply differs from the first.
    let act = json!({"type": "say", "content": "{{/timestamp}}"});
    let mut rules = vec![
        json!({"when": {"type": "tool-calls", "tool": "find"}, "reply": {"result": "{{/timestamp}}"}, "act": act}),
        json!({"when": {"type": "assistant-request"}, "reply": {"assistantId": "{{/timestamp}}"}, "act": act}),
        json!({"when": {"type": "knowledge-base-request"},
               "reply": {"documents": [{"content": "{{/timestamp}}", "similarity": 1}]}, "act": act}),
    ];
    let others = EventType::WORDS.iter().filter(|kind| {
        !["tool-calls", "function-call", "assistant-request", "knowledge-base-request", "voice-request"].contains(kind)
    });
    rules.extend(others.map(|kind| json!({"when": {"type": kind}, "act": act})));
    stack_with(Options { replies: replies(&json!({ "server": rules }).to_string()), ..Options::default() }).await
}

#[test]
fn every_type_distinguishes_resends_from_new_occurrences() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let stack = runtime.block_on(stack());
    let kinds: Vec<&str> = EventType::WORDS.iter().copied().filter(|kind| *kind != "voice-request").collect();
    let differs = [Differs::Nothing, Differs::Time, Differs::Common, Differs::Own, Differs::Detail];
    let case = (prop::sample::select(kinds), prop::collection::vec(prop::sample::select(differs.to_vec()), 1..4));
    let count = std::cell::Cell::new(0);
    let mut runner = TestRunner::new(gatehouse_seeds::cases(60));
    let check = |(kind, later): (&str, Vec<Differs>)| {
        count.set(count.get() + 1);
        runtime.block_on(async {
            let call = Call::answering(200).await;
            let name = format!("n{}", count.get());
            let deliver = async |differs| {
                let body = message(kind, &name, differs, &call.url).to_string();
                let answer = send(&stack, &Delivery::now(&Vapi::SERVER, body)).await;
                (answer.outcome().to_owned(), answer.body)
            };
            let (outcome, first) = deliver(Differs::Nothing).await;
            prop_assert_eq!(&outcome, "recorded", "{}", kind);
            prop_assert_eq!(call.received().len(), 1, "{} runs one action", kind);
            let mut seen = vec![Differs::Nothing];
            for differs in later {
                let before = call.received().len();
                let (outcome, body) = deliver(differs).await;
                let is_repeated = seen.contains(&differs) && expected(kind, differs) == Expected::Recorded;
                let expected = match expected(kind, differs) {
                    // The same new occurrence was delivered before.
                    _ if is_repeated && !STREAMED.contains(&kind) => "duplicate",
                    Expected::Recorded => "recorded",
                    Expected::Duplicate => "duplicate",
                    Expected::Conflict => "conflict",
                };
                prop_assert_eq!(&outcome, expected, "{} {:?} after {:?}", kind, differs, &seen);
                let acted = call.received().len() - before;
                prop_assert_eq!(acted, usize::from(expected == "recorded"), "{} {:?}", kind, differs);
                if expected == "duplicate" && ![Differs::Own, Differs::Detail].contains(&differs) {
                    prop_assert_eq!(&body, &first, "{} {:?} gets the first reply", kind, differs);
                }
                seen.push(differs);
            }
            Ok(())
        })
    };
    runner.run(&case, check).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn signed_message_id_identifies_the_event() {
    let stack = stack().await;
    let body = r#"{"type":"v1.conversation.message","data":{"conversation_id":"c"}}"#;
    for (id, body, outcome) in [
        ("msg_1", body, "recorded"),
        ("msg_1", body, "duplicate"),
        ("msg_2", body, "recorded"),
        ("msg_1", r#"{"type":"v1.conversation.ended"}"#, "conflict"),
    ] {
        assert_eq!(send(&stack, &Delivery::of(&Ada, id, body, Clock::System.now())).await.outcome(), outcome, "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn legacy_function_call_is_answered_by_its_tool_rule() {
    let stack = stack().await;
    let call = json!({"name": "find", "parameters": {"day": "Monday"}});
    let body = |at: u64| json!({"message": {"type": "function-call", "timestamp": at, "call": {"id": "c"}, "functionCall": call}});
    for (at, outcome, result) in
        [(FIRST, "recorded", FIRST), (FIRST, "duplicate", FIRST), (FIRST + 1, "recorded", FIRST + 1)]
    {
        let answer = send(&stack, &Delivery::now(&Vapi::SERVER, body(at).to_string())).await;
        let expected = json!({"result": result.to_string()});
        assert_eq!((answer.outcome(), serde_json::from_str::<Value>(&answer.body).unwrap()), (outcome, expected));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn byte_order_mark_and_doubled_content_type_are_accepted() {
    let stack = stack().await;
    let body = "\u{feff}{\"message\":{\"type\":\"hang\",\"timestamp\":1790000000000,\"call\":{\"id\":\"c\"}}}";
    let delivery = Delivery::now(&Vapi::SERVER, body).with_header("content-type", "Application/JSON, application/json");
    assert_eq!(send(&stack, &delivery).await.outcome(), "recorded");
    assert_eq!(send(&stack, &delivery).await.outcome(), "duplicate");
    let record = crate::support::timeline(&stack, "vapi:call:c").await;
    assert_eq!(record[0].event.body, body.as_bytes());
}
