//! The JSON Schema of the rules file, by which editors complete and check the file. It is generated from the types:
//! `cargo run -p gatehouse-replies --example schema --features schema > functions/replies.schema.json`.

use gatehouse_vapi::inbound::{Inbound, Reply};
use gatehouse_vapi::response::{
    AssistantResponse, EndpointingResponse, HandoffDestinationResponse, KnowledgeBaseResponse, PredialResponse,
    ToolOutcome, TransferDestinationResponse,
};
use gatehouse_vapi::types::{CLIENT_MESSAGES, SERVER_MESSAGES};
use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Value, json};

use crate::answer::{ANSWERED, Kind};
use crate::when::When;

/// Generates the schema in draft 7, which all editors support.
#[must_use]
pub fn schema() -> Value {
    let mut generator = SchemaSettings::draft07().into_generator();
    let when = generator.subschema_for::<When>();
    let act = generator.subschema_for::<Inbound>();
    let reply = generator.subschema_for::<Reply>();
    let rule = |about: &str, types: &[&str], more: Value| {
        let mut rule = json!({
            "description": about,
            "type": "object",
            "additionalProperties": false,
            "required": ["when"],
            "anyOf": [{"required": ["reply"]}, {"required": ["act"]}, {"required": ["ask"]}],
            "dependencies": {
                "within": ["ask"], "else": ["ask"], "once": ["ask"], "answer": ["ask"], "unredacted": ["ask"],
                "ask": {"properties": {"reply": false}},
            },
            "properties": {
                "about": {"type": "string", "description": "A comment about the rule for readers."},
                "when": {"allOf": [when, {"properties": {"type": {"anyOf": [{"enum": types}, {"type": "string"}]}}}]},
                "reply": {
                    "description": "The reply. {{/pointer|default}} is replaced by text from the message.",
                },
                "act": {
                    "description": "A message that is sent to the live call once, after the event has been recorded.",
                    "allOf": [act],
                },
                "ask": {
                    "description": "The name of the service that is asked for the reply.",
                    "type": "string",
                    "pattern": "^[A-Za-z0-9_-]{1,64}$",
                },
                "within": {
                    "description": "The time limit of the service, such as 8s or 1500ms.",
                    "type": "string",
                    "pattern": "^[0-9]+(\\.[0-9]+)?m?s$",
                },
                "else": {
                    "description": "The reply if the service fails. Without it, the following rules decide.",
                },
                "once": {
                    "description": "Whether the service is asked once for all copies of an event. Default: true.",
                    "type": "boolean",
                },
                "answer": {
                    "description": "Whether the service's answer is the reply. false: the service is notified after the \
                                    event was recorded, and the following rules decide the reply. Default: true.",
                    "type": "boolean",
                },
                "unredacted": {
                    "description": "Whether the service gets the values that are redacted in the record. Default: false.",
                    "type": "boolean",
                },
            },
        });
        if let (Some(rule), Value::Object(more)) = (rule.as_object_mut(), more) {
            rule.extend(more);
        }
        rule
    };
    let client = rule(
        "A rule for client messages.",
        &CLIENT_MESSAGES,
        json!({"allOf": [{"properties": {"reply": reply, "else": reply, "when": {"not": {"required": ["tool"]}}}}]}),
    );

    // One `if` for each message type, so that an editor reports only the errors of the reply to that type.
    let of_type = |name: &str| json!({"properties": {"when": {"properties": {"type": {"const": name}}}}});
    let mut kinds: Vec<Value> = ANSWERED
        .iter()
        .map(|(name, kind)| {
            let reply = reply_of(*kind, &mut generator);
            json!({"if": of_type(name), "then": {"properties": {"reply": reply, "else": reply}}})
        })
        .collect();
    let answered = ANSWERED.map(|answered| answered.0);
    kinds.push(json!({
        "if": {"properties": {"when": {"properties": {"type": {"not": {"enum": answered}}}}}},
        "then": {"properties": {"reply": false, "else": false}},
    }));
    kinds.push(json!({
        "if": {"not": of_type("tool-calls")},
        "then": {"properties": {"when": {"not": {"required": ["tool"]}}}},
    }));
    let server = rule("A rule for server messages.", &SERVER_MESSAGES, json!({"allOf": kinds}));
    let list = |about: &str, rule: Value| json!({"description": about, "type": "array", "items": rule});
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Gatehouse's reply rules",
        "description": "Rules for replies to Vapi's messages. The first rule that applies decides.",
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "$schema": {"type": "string"},
            "client": list("Rules for client messages.", client),
            "server": list("Rules for server messages.", server),
        },
        "definitions": generator.take_definitions(true),
    })
}

fn reply_of(kind: Kind, generator: &mut SchemaGenerator) -> Schema {
    match kind {
        Kind::Client => generator.subschema_for::<Reply>(),
        Kind::Assistant => generator.subschema_for::<AssistantResponse>(),
        Kind::Tools => generator.subschema_for::<ToolOutcome>(),
        Kind::Transfer => generator.subschema_for::<TransferDestinationResponse>(),
        Kind::Handoff => generator.subschema_for::<HandoffDestinationResponse>(),
        Kind::Knowledge => generator.subschema_for::<KnowledgeBaseResponse>(),
        Kind::Endpointing => generator.subschema_for::<EndpointingResponse>(),
        Kind::Predial => generator.subschema_for::<PredialResponse>(),
    }
}
