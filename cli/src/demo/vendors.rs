//! Demo steps with deliveries of each vendor, of known and unknown types.

use gatehouse_local::Error;
use gatehouse_timeline::{State, fold};
use gatehouse_vapi::Vapi;
use serde_json::{Value, json};

use super::REPLY;
use super::scene::Scene;

const ADA: [(&str, &str); 4] = [
    ("msg_demo_created", gatehouse_ada::samples::CONVERSATION_CREATED),
    ("msg_demo_message", gatehouse_ada::samples::CONVERSATION_MESSAGE),
    ("msg_demo_handoff", gatehouse_ada::samples::CONVERSATION_HANDOFF_ENDED),
    ("msg_demo_ended", gatehouse_ada::samples::CONVERSATION_ENDED),
];
pub(super) const SESSION_CREATED: &str = gatehouse_agntix::samples::SESSION_CREATED;
pub(super) const SESSION_ENDED: &str = gatehouse_agntix::samples::SESSION_ENDED;

pub(super) async fn vapi(scene: &mut Scene) -> Result<(), Error> {
    let delivery = scene.vapi(Vapi::CLIENT, gatehouse_vapi::samples::WORKFLOW_NODE_STARTED)?;
    let answer = scene.send("workflow.node.started", &delivery).await?;
    scene.expect_recorded(&answer, &delivery).await?;
    let (expected, reply): (Value, Value) =
        (serde_json::from_str(REPLY)?, serde_json::from_str(&answer.body).unwrap_or_default());
    scene.expect("the configured add-message as the reply", expected == reply);
    Ok(())
}

const ASSISTANT_REQUEST: &str = gatehouse_vapi::samples::ASSISTANT_REQUEST;

pub(super) async fn answers(scene: &mut Scene) -> Result<(), Error> {
    let predial = r#"{"message":{"type":"campaign.predial","campaignId":"demo","contact":{"id":"demo","number":"+46700000000"}}}"#;
    let tool_calls = gatehouse_vapi::samples::TOOL_CALLS;
    for (label, body, pointer, expected) in [
        ("which assistant?", ASSISTANT_REQUEST, "/assistantOverrides/variableValues/name", json!("Mira")),
        ("is a berth free?", tool_calls, "/results/0/result", json!("Berth C14 is free on Friday.")),
        ("may we call? (no rule allows it)", predial, "/eligible", json!(false)),
    ] {
        let delivery = scene.vapi(Vapi::SERVER, body)?;
        let answer = scene.send(label, &delivery).await?;
        scene.expect_recorded(&answer, &delivery).await?;
        let reply: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        scene.expect(&format!("{expected} at {pointer} of the reply"), reply.pointer(pointer) == Some(&expected));
        let again = scene.send("the same delivery again", &delivery).await?;
        let is_same = again.outcome() == "duplicate" && again.body == answer.body;
        scene.expect("200 duplicate, with the same reply", is_same);
    }
    Ok(())
}

pub(super) async fn ada(scene: &mut Scene) -> Result<(), Error> {
    for (message_id, body) in ADA {
        let delivery = scene.ada(message_id, body)?;
        let answer = scene.send(message_id, &delivery).await?;
        scene.expect_recorded(&answer, &delivery).await?;
    }
    let records = scene.timeline("ada:conversation:673da1f0c2b94e5f8a017b11").await?;
    let conversation = fold(&records);
    let is_closed = conversation.state == State::Closed && conversation.messages.len() == 1 && conversation.events == 4;
    scene.expect("a CLOSED conversation with its four events and one message", is_closed);
    Ok(())
}

pub(super) async fn agntix(scene: &mut Scene) -> Result<(), Error> {
    for (label, message_id, body) in [
        ("session.created", "msg_demo_session_1", SESSION_CREATED),
        ("session.ended, same session", "msg_demo_session_2", SESSION_ENDED),
    ] {
        let delivery = scene.agntix(message_id, body)?;
        let answer = scene.send(label, &delivery).await?;
        scene.expect_recorded(&answer, &delivery).await?;
    }
    Ok(())
}

pub(super) async fn unknown(scene: &mut Scene) -> Result<(), Error> {
    for (label, message_id, body) in [
        ("an unknown event type", "msg_demo_new_type", r#"{"type":"v2.conversation.merged","data":{"into":"x"}}"#),
        (
            "an unknown role",
            "msg_demo_new_role",
            r#"{"type":"v1.conversation.message","timestamp":"2026-11-20T09:00:00","data":{"author":{"role":"supervisor"}}}"#,
        ),
        (
            "a lone surrogate",
            "msg_demo_surrogate",
            r#"{"type":"v1.conversation.message","data":{"content":{"body":"\ud83d"}}}"#,
        ),
        ("members of unexpected types", "msg_demo_shape", r#"{"type":["v1"],"data":7}"#),
    ] {
        let delivery = scene.ada(message_id, body)?;
        let answer = scene.send(label, &delivery).await?;
        scene.expect_recorded(&answer, &delivery).await?;
    }
    let record = scene.record("ada:msg_demo_shape").await?;
    scene.expect("the mark unparsed on the last event", record.is_some_and(|record| record.event.flags.unparsed));
    Ok(())
}
