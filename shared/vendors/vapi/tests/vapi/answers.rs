//! Tests that the types of replies to Vapi accept exactly what Vapi's schema allows.

use std::path::Path;

use gatehouse_payload::strict::{BoundedString, BoundedU32};
use gatehouse_vapi::inbound::Reply;
use gatehouse_vapi::response::{
    AssistantResponse, EndpointingResponse, HandoffDestinationResponse, KnowledgeBaseResponse, Line, PredialResponse,
    ToolCallsResponse, ToolOutcome, ToolResult, TransferDestinationResponse, VoiceResponse,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Asserts that a value is unchanged after it is read as `T` and written again.
fn assert_round_trip<T: DeserializeOwned + Serialize>(name: &str, value: &Value) {
    let read: T = serde_json::from_value(value.clone()).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(serde_json::to_value(&read).unwrap(), *value, "{name}");
}

fn assert_rejected<T: DeserializeOwned>(value: Value) {
    assert!(serde_json::from_value::<T>(value.clone()).is_err(), "{value}");
}

#[test]
fn speech_is_written_in_little_endian_samples() {
    let speech = VoiceResponse { samples: vec![0, 1, -1, 0x1234, i16::MIN] };
    assert_eq!(speech.to_bytes(), [0, 0, 1, 0, 0xff, 0xff, 0x34, 0x12, 0x00, 0x80]);
}

#[test]
fn inbound_messages_are_written_as_published() {
    for message in [
        json!({"type": "add-message", "message": {"role": "assistant", "content": "Hello"}, "triggerResponseEnabled": false}),
        json!({"type": "add-message", "message": {"role": "tool", "content": null}}),
        json!({"type": "control", "control": "say-first-message"}),
        json!({"type": "say", "content": "One moment", "interruptAssistantEnabled": true}),
        json!({"type": "say"}),
        json!({"type": "end-call"}),
        json!({"type": "transfer"}),
        json!({"type": "transfer", "content": "Bye", "destination": {"type": "number", "number": "+4670000000",
            "numberE164CheckEnabled": true, "extension": "12", "transferPlan": {
                "mode": "warm-transfer-wait-for-operator-to-speak-first-and-then-say-summary", "timeout": 600,
                "sipVerb": "dial", "fallbackPlan": {"message": "Nobody is there", "endCallEnabled": false},
                "contextEngineeringPlan": {"type": "lastNMessages", "maxMessages": 3}}}}),
        json!({"type": "transfer", "destination": {"type": "number", "number": "+4670000000", "message":
            {"type": "custom-message", "content": "One moment", "contents": [{"type": "text", "text": "x", "language": "sv"}]},
            "transferPlan": {"mode": "blind-transfer", "fallbackPlan": {"message": {"type": "custom-message"}}}}}),
        json!({"type": "transfer", "destination": {"type": "number", "number": "0700", "numberE164CheckEnabled": false}}),
        json!({"type": "transfer", "destination": {"type": "sip", "sipUri": "sip:a@example.invalid", "sipHeaders": {"x": "1"},
            "transferPlan": {"mode": "blind-transfer", "contextEngineeringPlan": {"type": "none"}}}}),
        json!({"type": "send-transport-message", "message": {"transport": "vapi.sip", "sipVerb": "NOTIFY", "body": "x"}}),
        json!({"type": "send-transport-message", "message": {"transport": "twilio", "twiml": "<Response/>"}}),
    ] {
        assert_round_trip::<Reply>("inbound", &json!({"message": message}));
    }
}

#[test]
fn inbound_messages_outside_the_schema_are_rejected() {
    for message in [
        json!({}),
        json!({"type": "hangup"}),
        json!({"type": "add-message"}),
        json!({"type": "add-message", "message": {"role": "assistant"}}),
        json!({"type": "add-message", "message": {"role": "robot", "content": "x"}}),
        json!({"type": "control", "control": "explode"}),
        json!({"type": "say", "message": "the web SDK's name for content"}),
        json!({"type": "end-call", "content": "Bye"}),
        json!({"type": "transfer", "destination": {"type": "assistant", "assistantName": "x"}}),
        json!({"type": "transfer", "destination": {"type": "number"}}),
        json!({"type": "transfer", "destination": {"type": "number", "number": "+1"}}),
        json!({"type": "transfer", "destination": {"type": "number", "number": "+4670000000", "extension": ""}}),
        json!({"type": "transfer", "destination": {"type": "sip", "sipUri": "sip:a", "transferPlan": {}}}),
        json!({"type": "transfer", "destination": {"type": "sip", "sipUri": "sip:a",
            "transferPlan": {"mode": "blind-transfer", "timeout": 601}}}),
        json!({"type": "transfer", "destination": {"type": "sip", "sipUri": "sip:a",
            "transferPlan": {"mode": "blind-transfer", "twiml": "x".repeat(4097)}}}),
        json!({"type": "transfer", "destination": {"type": "number", "number": "070-000000"}}),
        json!({"type": "transfer", "destination": {"type": "number", "number": "+4670000000", "message": {"content": "x"}}}),
        json!({"type": "transfer", "destination": {"type": "number", "number": "+4670000000",
            "message": {"type": "custom-message", "content": "x".repeat(1001)}}}),
        json!({"type": "send-transport-message", "message": {"transport": "twilio"}}),
        json!({"type": "send-transport-message", "message": {"transport": "vapi.sip", "sipVerb": "INVITE"}}),
    ] {
        assert_rejected::<Reply>(json!({"message": message}));
    }
    assert_rejected::<Reply>(json!({"type": "end-call"}));
}

#[test]
fn responses_are_written_bare_and_as_published() {
    assert_round_trip::<AssistantResponse>("assistant", &json!({"assistantId": "a"}));
    assert_round_trip::<AssistantResponse>(
        "assistant",
        &json!({"destination": {"type": "number", "number": "+4670000000"}}),
    );
    assert_round_trip::<AssistantResponse>("assistant", &json!({"error": "We are closed."}));
    assert_round_trip::<ToolCallsResponse>(
        "tools",
        &json!({"results": [
        {"toolCallId": "c1", "name": "berth", "result": "C14"}, {"toolCallId": "c2", "name": "pay", "error": "declined"}]}),
    );
    assert_round_trip::<TransferDestinationResponse>(
        "transfer",
        &json!({"destination": {"type": "assistant", "assistantName": "x", "transferMode": "delete-history"}}),
    );
    assert_round_trip::<TransferDestinationResponse>(
        "transfer",
        &json!({"destination": {"type": "number", "number": "+4670000000"}, "message": {"type": "request-start"}}),
    );
    assert_round_trip::<HandoffDestinationResponse>(
        "handoff",
        &json!({"destination": {"type": "assistant"}, "result": "x"}),
    );
    assert_round_trip::<KnowledgeBaseResponse>("knowledge", &json!({"documents": []}));
    assert_round_trip::<KnowledgeBaseResponse>(
        "knowledge",
        &json!({"message": {"type": "custom-message", "content": "x"}}),
    );
    assert_round_trip::<ToolCallsResponse>("tools", &json!({"error": "The shop is closed."}));
    assert_round_trip::<ToolCallsResponse>(
        "tools",
        &json!({"results": [{"toolCallId": "c1", "name": "berth", "result": "C14",
            "message": {"type": "request-complete", "content": "Done"}, "metadata": {"mine": 1}}]}),
    );
    assert_round_trip::<KnowledgeBaseResponse>(
        "knowledge",
        &json!({"documents": [{"content": "x", "similarity": 0.92}]}),
    );
    assert_round_trip::<EndpointingResponse>("endpointing", &json!({"timeoutSeconds": 0.5}));
    assert_round_trip::<PredialResponse>("predial", &json!({"eligible": false}));
    assert!(!PredialResponse::default().eligible, "the default is no");
}

#[test]
fn responses_outside_the_schema_are_rejected() {
    assert_rejected::<AssistantResponse>(json!({"assistantID": "a"}));
    assert_rejected::<ToolCallsResponse>(json!({"results": [{"toolCallId": "c1", "result": "x"}]}));
    assert_rejected::<ToolCallsResponse>(json!({"results": [{"toolCallId": "c1", "name": "n"}]}));
    assert_rejected::<ToolCallsResponse>(
        json!({"results": [{"toolCallId": "c1", "name": "n", "result": "x", "error": "y"}]}),
    );
    assert_rejected::<TransferDestinationResponse>(json!({"destination": {"type": "assistant"}}));
    assert_rejected::<TransferDestinationResponse>(json!({"destination": {"type": "number", "number": "+1"}}));
    assert_rejected::<KnowledgeBaseResponse>(json!({}));
    assert_rejected::<ToolCallsResponse>(json!({}));
    assert_rejected::<TransferDestinationResponse>(json!({"message": {}}));
    assert_rejected::<KnowledgeBaseResponse>(json!({"message": {"content": "x"}}));
    assert_rejected::<HandoffDestinationResponse>(json!({"result": "x"}));
    assert_rejected::<KnowledgeBaseResponse>(json!({"documents": [{"content": "x"}]}));
    for seconds in [json!(-0.1), json!(15.1), json!("1")] {
        assert_rejected::<EndpointingResponse>(json!({"timeoutSeconds": seconds}));
    }
    assert_rejected::<PredialResponse>(json!({}));
}

#[test]
fn tool_result_has_no_line_breaks() {
    let outcome = ToolOutcome::Result(Line::of("  one \r\n two\n\n three\u{2028}four\u{85}five\u{c}six "));
    let (tool_call_id, name) = ("c".to_owned(), "n".to_owned());
    let result = ToolResult { tool_call_id, name, outcome, message: None, metadata: None };
    assert_eq!(serde_json::to_value(result).unwrap()["result"], "one two three four five six");
}

#[test]
fn bounds_are_in_characters_and_inclusive() {
    assert!(BoundedString::<3, 4>::new("åäö").is_ok() && BoundedString::<3, 4>::new("åäöü").is_ok());
    assert!(BoundedString::<3, 4>::new("åä").is_err() && BoundedString::<3, 4>::new("åäöüé").is_err());
    assert!(BoundedU32::<1, 600>::new(1).is_ok() && BoundedU32::<1, 600>::new(600).is_ok());
    let error = BoundedU32::<1, 600>::new(601).unwrap_err();
    assert_eq!(error.to_string(), "a whole number from 1 to 600 is needed");
}

#[test]
fn published_examples_are_written_as_they_were_read() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let fixture = std::fs::read_to_string(root.join("samples/add-message.json")).unwrap();
    assert_round_trip::<Reply>("add-message", &serde_json::from_str(&fixture).unwrap());
    let Ok(files) = std::fs::read_dir(root.join("../../../../shared/samples/vapi")) else { return };
    for path in files.map(|file| file.unwrap().path()) {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let value = || serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        match name.as_str() {
            name if name.starts_with("inbound_") => assert_round_trip::<Reply>(name, &value()),
            name if name.starts_with("response_assistant") => assert_round_trip::<AssistantResponse>(name, &value()),
            name if name.starts_with("response_call_endpointing") => {
                assert_round_trip::<EndpointingResponse>(name, &value())
            }
            name if name.starts_with("response_campaign") => assert_round_trip::<PredialResponse>(name, &value()),
            name if name.starts_with("response_knowledge") => {
                assert_round_trip::<KnowledgeBaseResponse>(name, &value())
            }
            name if name.starts_with("response_tool_calls") => assert_round_trip::<ToolCallsResponse>(name, &value()),
            name if name.starts_with("response_transfer") => {
                assert_round_trip::<TransferDestinationResponse>(name, &value())
            }
            _ => {}
        }
    }
}
