//! What we send to Vapi: the published forms can be written, and nothing else.

use std::path::Path;

use gatehouse_payload::strict::{BoundedString, BoundedU32};
use gatehouse_payload::vapi::inbound::Reply;
use gatehouse_payload::vapi::response::{
    AssistantResponse, EndpointingResponse, HandoffDestinationResponse, KnowledgeBaseResponse, Line, PredialResponse,
    ToolCallsResponse, ToolOutcome, ToolResult, TransferDestinationResponse, VoiceResponse,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Read as `T` and written again, it is the same.
fn stays<T: DeserializeOwned + Serialize>(what: &str, value: &Value) {
    let read: T = serde_json::from_value(value.clone()).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(serde_json::to_value(&read).unwrap(), *value, "{what}");
}

fn refused<T: DeserializeOwned>(value: Value) {
    assert!(serde_json::from_value::<T>(value.clone()).is_err(), "{value}");
}

#[test]
fn speech_is_written_with_each_samples_lower_byte_first() {
    let speech = VoiceResponse { samples: vec![0, 1, -1, 0x1234, i16::MIN] };
    assert_eq!(speech.to_bytes(), [0, 0, 1, 0, 0xff, 0xff, 0x34, 0x12, 0x00, 0x80]);
}

#[test]
fn the_six_inbound_messages_are_written_as_published() {
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
        stays::<Reply>("inbound", &json!({"message": message}));
    }
}

#[test]
fn what_the_schema_forbids_cannot_be_an_inbound_message() {
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
        refused::<Reply>(json!({"message": message}));
    }
    refused::<Reply>(json!({"type": "end-call"}));
}

#[test]
fn the_responses_are_written_bare_and_as_published() {
    stays::<AssistantResponse>("assistant", &json!({"assistantId": "a"}));
    stays::<AssistantResponse>("assistant", &json!({"destination": {"type": "number", "number": "+4670000000"}}));
    stays::<AssistantResponse>("assistant", &json!({"error": "We are closed."}));
    stays::<ToolCallsResponse>(
        "tools",
        &json!({"results": [
        {"toolCallId": "c1", "name": "berth", "result": "C14"}, {"toolCallId": "c2", "name": "pay", "error": "declined"}]}),
    );
    stays::<TransferDestinationResponse>(
        "transfer",
        &json!({"destination": {"type": "assistant", "assistantName": "x", "transferMode": "delete-history"}}),
    );
    stays::<TransferDestinationResponse>(
        "transfer",
        &json!({"destination": {"type": "number", "number": "+4670000000"}, "message": {"type": "request-start"}}),
    );
    stays::<HandoffDestinationResponse>("handoff", &json!({"destination": {"type": "assistant"}, "result": "x"}));
    stays::<KnowledgeBaseResponse>("knowledge", &json!({"documents": []}));
    stays::<KnowledgeBaseResponse>("knowledge", &json!({"message": {"type": "custom-message", "content": "x"}}));
    stays::<ToolCallsResponse>("tools", &json!({"error": "The shop is closed."}));
    stays::<ToolCallsResponse>(
        "tools",
        &json!({"results": [{"toolCallId": "c1", "name": "berth", "result": "C14",
            "message": {"type": "request-complete", "content": "Done"}, "metadata": {"mine": 1}}]}),
    );
    stays::<KnowledgeBaseResponse>("knowledge", &json!({"documents": [{"content": "x", "similarity": 0.92}]}));
    stays::<EndpointingResponse>("endpointing", &json!({"timeoutSeconds": 0.5}));
    stays::<PredialResponse>("predial", &json!({"eligible": false}));
    assert!(!PredialResponse::default().eligible, "who says nothing says no");
}

#[test]
fn what_the_schema_forbids_cannot_be_a_response() {
    refused::<AssistantResponse>(json!({"assistantID": "a"}));
    refused::<ToolCallsResponse>(json!({"results": [{"toolCallId": "c1", "result": "x"}]}));
    refused::<ToolCallsResponse>(json!({"results": [{"toolCallId": "c1", "name": "n"}]}));
    refused::<ToolCallsResponse>(json!({"results": [{"toolCallId": "c1", "name": "n", "result": "x", "error": "y"}]}));
    refused::<TransferDestinationResponse>(json!({"destination": {"type": "assistant"}}));
    refused::<TransferDestinationResponse>(json!({"destination": {"type": "number", "number": "+1"}}));
    refused::<KnowledgeBaseResponse>(json!({}));
    refused::<ToolCallsResponse>(json!({}));
    refused::<TransferDestinationResponse>(json!({"message": {}}));
    refused::<KnowledgeBaseResponse>(json!({"message": {"content": "x"}}));
    refused::<HandoffDestinationResponse>(json!({"result": "x"}));
    refused::<KnowledgeBaseResponse>(json!({"documents": [{"content": "x"}]}));
    for seconds in [json!(-0.1), json!(15.1), json!("1")] {
        refused::<EndpointingResponse>(json!({"timeoutSeconds": seconds}));
    }
    refused::<PredialResponse>(json!({}));
}

#[test]
fn a_tools_result_has_no_line_breaks() {
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
fn the_published_examples_stay_as_they_are() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let fixture = std::fs::read_to_string(root.join("../../tests/fixtures/vapi/add-message.json")).unwrap();
    stays::<Reply>("add-message", &serde_json::from_str(&fixture).unwrap());
    let Ok(files) = std::fs::read_dir(root.join("../../../shared/samples/vapi")) else { return };
    for path in files.map(|file| file.unwrap().path()) {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let value = || serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        match name.as_str() {
            name if name.starts_with("inbound_") => stays::<Reply>(name, &value()),
            name if name.starts_with("response_assistant") => stays::<AssistantResponse>(name, &value()),
            name if name.starts_with("response_call_endpointing") => stays::<EndpointingResponse>(name, &value()),
            name if name.starts_with("response_campaign") => stays::<PredialResponse>(name, &value()),
            name if name.starts_with("response_knowledge") => stays::<KnowledgeBaseResponse>(name, &value()),
            name if name.starts_with("response_tool_calls") => stays::<ToolCallsResponse>(name, &value()),
            name if name.starts_with("response_transfer") => stays::<TransferDestinationResponse>(name, &value()),
            _ => {}
        }
    }
}
