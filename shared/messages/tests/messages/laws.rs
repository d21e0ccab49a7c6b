//! Properties of all types: reading is lossless, never rejects an object for its shape, and never panics.

use std::path::Path;

use gatehouse_messages::{ada, agntix, vapi};
use gatehouse_payload::json::Document;
use gatehouse_payload::wire::{Raw, Undocumented, read};
use gatehouse_vapi::types;
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Reads a text as `T` and writes it again; `None` if it is not a `T`.
fn round_trip<T: DeserializeOwned + Serialize>(text: &str) -> Option<String> {
    read::<T>(text).ok().map(|value| serde_json::to_string(&value).unwrap())
}

fn same(a: &str, b: &str) -> bool {
    read::<Raw>(a).unwrap() == read::<Raw>(b).unwrap()
}

/// Generates JSON. Most members have one of these names, and some strings are one of these words.
fn json(names: Vec<&'static str>, words: Vec<&'static str>) -> BoxedStrategy<String> {
    let text = |text: String| serde_json::to_string(&text).unwrap();
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|b| b.to_string()),
        prop::sample::select(vec!["0", "-0", "1.50", "1e400", "123456789012345678901234567890", "0.1"])
            .prop_map(str::to_owned),
        any::<String>().prop_map(text),
        prop::sample::select(words).prop_map(move |word| text(word.to_owned())),
        // Valid JSON that a Rust string cannot contain.
        Just(r#""\ud800""#.to_owned()),
    ];
    let name = prop_oneof![9 => prop::sample::select(names).prop_map(str::to_owned), 1 => any::<String>()];
    leaf.prop_recursive(5, 64, 8, move |inner| {
        let members = prop::collection::vec((name.clone(), inner.clone()), 0..8);
        let object = members.prop_map(|members| {
            let members: Vec<_> =
                members.iter().map(|(n, v)| format!("{}:{v}", serde_json::to_string(n).unwrap())).collect();
            format!("{{{}}}", members.join(" , "))
        });
        prop_oneof![
            1 => prop::collection::vec(inner, 0..5).prop_map(|items| format!("[{}]", items.join(","))),
            3 => object,
        ]
    })
    .boxed()
}

/// Generates a property test for each type. `$names` and `$words` are the names and words that occur in the type.
macro_rules! laws {
    ($($test:ident: $type:ty, $names:expr, $words:expr;)*) => {$(
        proptest! {
            #![proptest_config(gatehouse_seeds::cases(512))]
            #[test]
            fn $test(text in json($names, $words)) {
                match round_trip::<$type>(&text) {
                    Some(written) => prop_assert!(same(&text, &written), "{text} was written as {written}"),
                    // Only values that are not objects are rejected.
                    None => prop_assert!(!text.starts_with('{'), "{text} was rejected"),
                }
            }
        }
    )*};
}

/// Generates a property test for each union, with objects of all its documented kinds.
macro_rules! laws_of_unions {
    ($($test:ident: $type:ty, $tag:literal, $names:expr, $words:expr;)*) => {$(
        proptest! {
            #![proptest_config(gatehouse_seeds::cases(512))]
            #[test]
            fn $test(
                kind in prop::sample::select(<$type>::KINDS.to_vec()),
                members in prop::collection::vec((prop::sample::select($names), json($names, $words)), 0..8),
            ) {
                let mut members: Vec<String> =
                    members.iter().filter(|(n, _)| *n != $tag).map(|(n, v)| format!("{n:?}:{v}")).collect();
                members.insert(members.len() / 2, format!("{:?}:{}", $tag, serde_json::to_string(kind).unwrap()));
                let text = format!("{{{}}}", members.join(","));
                type Union = $type;
                let value: Union = read(&text).unwrap();
                prop_assert!(!matches!(value, Union::Other(_)), "{text} is of a known kind");
                prop_assert!(same(&text, &serde_json::to_string(&value).unwrap()), "{text}");
            }
        }
    )*};
}

fn ada_names() -> Vec<&'static str> {
    use ada::{
        AuditLogData, Author, ConversationCreatedData, ConversationEndedData, ConversationMessage,
        ConversationMessageData, CustomChannel, FileContent, LinkContent, Profile, TextContent,
    };
    [
        ConversationMessage::MEMBERS,
        ConversationCreatedData::MEMBERS,
        ConversationMessageData::MEMBERS,
        ConversationEndedData::MEMBERS,
        AuditLogData::MEMBERS,
        Profile::MEMBERS,
        CustomChannel::MEMBERS,
        Author::MEMBERS,
        TextContent::MEMBERS,
        LinkContent::MEMBERS,
        FileContent::MEMBERS,
    ]
    .concat()
}

fn ada_words() -> Vec<&'static str> {
    use ada::{Channel, Content, Event, Role};
    [Event::KINDS, Channel::KINDS, Content::KINDS, Role::WORDS].concat()
}

fn agntix_names() -> Vec<&'static str> {
    use agntix::{Analysis, IntentOf, MessageAdded, MessageAddedData, Metadata, Resolution, Sentiment, Session};
    [
        Session::MEMBERS,
        Metadata::MEMBERS,
        Analysis::MEMBERS,
        IntentOf::MEMBERS,
        Resolution::MEMBERS,
        Sentiment::MEMBERS,
        MessageAdded::MEMBERS,
        MessageAddedData::MEMBERS,
    ]
    .concat()
}

fn agntix_words() -> Vec<&'static str> {
    use agntix::{Enveloped, Event, Feeling, Kind, State};
    [Event::KINDS, Enveloped::KINDS, State::WORDS, Kind::WORDS, Feeling::WORDS].concat()
}

fn vapi_names() -> Vec<&'static str> {
    use vapi::assistant::{Assistant, Server, Squad, SquadMember};
    use vapi::conversation::{BotEntry, ComputerTool, OpenAiMessage};
    use vapi::message::{ConversationUpdate, EndOfCallReport, SessionCreated, StatusUpdate, ToolCalls, Transcript};
    use vapi::object::{Artifact, Call, TwilioPhoneNumber};
    use vapi::transfer::{CustomMessage, TransferDestinationNumber, TransferPlan};
    [
        CustomMessage::MEMBERS,
        TransferPlan::MEMBERS,
        TwilioPhoneNumber::MEMBERS,
        ConversationUpdate::MEMBERS,
        EndOfCallReport::MEMBERS,
        SessionCreated::MEMBERS,
        StatusUpdate::MEMBERS,
        ToolCalls::MEMBERS,
        Transcript::MEMBERS,
        Artifact::MEMBERS,
        BotEntry::MEMBERS,
        Call::MEMBERS,
        OpenAiMessage::MEMBERS,
        ComputerTool::MEMBERS,
        Assistant::MEMBERS,
        Server::MEMBERS,
        Squad::MEMBERS,
        SquadMember::MEMBERS,
        TransferDestinationNumber::MEMBERS,
    ]
    .concat()
}

fn vapi_words() -> Vec<&'static str> {
    use vapi::conversation::{Entry, ToolWithToolCall};
    use vapi::message::{ClientMessage, ServerMessage};
    use vapi::object::{CallStatus, PhoneNumber};
    use vapi::transfer::{ContextPlan, TransferDestination};
    [
        ContextPlan::KINDS,
        PhoneNumber::KINDS,
        ClientMessage::KINDS,
        ServerMessage::KINDS,
        CallStatus::WORDS,
        Entry::KINDS,
        ToolWithToolCall::KINDS,
        TransferDestination::KINDS,
    ]
    .concat()
}

fn ag_kit_names() -> Vec<&'static str> {
    use gatehouse_ag_kit::{kit, ui};
    [
        kit::Request::MEMBERS,
        kit::AssistantMessage::MEMBERS,
        kit::ToolCall::MEMBERS,
        kit::Interrupt::MEMBERS,
        ui::Request::MEMBERS,
        ui::Message::MEMBERS,
        ui::RunFinished::MEMBERS,
        ui::Interrupt::MEMBERS,
        ui::Usage::MEMBERS,
    ]
    .concat()
}

fn ag_kit_words() -> Vec<&'static str> {
    use gatehouse_ag_kit::{kit, ui};
    [kit::Event::KINDS, kit::Message::KINDS, ui::Event::KINDS, ui::Outcome::KINDS, ui::Role::WORDS].concat()
}

laws! {
    ag_kit_requests_are_written_as_they_were_read: gatehouse_ag_kit::kit::Request, ag_kit_names(), ag_kit_words();
    ag_kit_events_are_written_as_they_were_read: gatehouse_ag_kit::kit::Event, ag_kit_names(), ag_kit_words();
    ag_ui_requests_are_written_as_they_were_read: gatehouse_ag_kit::ui::Request, ag_kit_names(), ag_kit_words();
    ag_ui_events_are_written_as_they_were_read: gatehouse_ag_kit::ui::Event, ag_kit_names(), ag_kit_words();
    vapi_client_messages_are_written_as_they_were_read: vapi::message::ClientMessage, vapi_names(), vapi_words();
    vapi_server_messages_are_written_as_they_were_read: vapi::message::ServerMessage, vapi_names(), vapi_words();
    vapi_conversations_are_written_as_they_were_read: vapi::message::ConversationUpdate, vapi_names(), vapi_words();
    vapi_reports_are_written_as_they_were_read: vapi::message::EndOfCallReport, vapi_names(), vapi_words();
    vapi_tool_calls_are_written_as_they_were_read: vapi::message::ToolCalls, vapi_names(), vapi_words();
    vapi_calls_are_written_as_they_were_read: vapi::object::Call, vapi_names(), vapi_words();
    ada_events_are_written_as_they_were_read: ada::Event, ada_names(), ada_words();
    ada_messages_are_written_as_they_were_read: ada::ConversationMessage, ada_names(), ada_words();
    ada_message_data_is_written_as_it_was_read: ada::ConversationMessageData, ada_names(), ada_words();
    ada_audit_logs_are_written_as_they_were_read: ada::AuditLogEmitted, ada_names(), ada_words();
    agntix_events_are_written_as_they_were_read: agntix::Event, agntix_names(), agntix_words();
    agntix_sessions_are_written_as_they_were_read: agntix::Session, agntix_names(), agntix_words();
    agntix_analyses_are_written_as_they_were_read: agntix::Analysis, agntix_names(), agntix_words();
    agntix_envelopes_are_written_as_they_were_read: agntix::Enveloped, agntix_names(), agntix_words();
}

laws_of_unions! {
    vapi_client_messages_of_every_kind_are_lossless: vapi::message::ClientMessage, "type", vapi_names(), vapi_words();
    vapi_server_messages_of_every_kind_are_lossless: vapi::message::ServerMessage, "type", vapi_names(), vapi_words();
    vapi_entries_of_every_kind_are_lossless: vapi::conversation::Entry, "role", vapi_names(), vapi_words();
    vapi_tools_of_every_kind_are_lossless: vapi::conversation::ToolWithToolCall, "type", vapi_names(), vapi_words();
    vapi_phone_numbers_of_every_kind_are_lossless: vapi::object::PhoneNumber, "provider", vapi_names(), vapi_words();
    vapi_timings_of_every_kind_are_lossless: vapi::message::Timing, "type", vapi_names(), vapi_words();
    vapi_transfer_destinations_of_every_kind_are_lossless: vapi::transfer::TransferDestination, "type", vapi_names(), vapi_words();
    vapi_context_plans_of_every_kind_are_lossless: vapi::transfer::ContextPlan, "type", vapi_names(), vapi_words();
    ada_events_of_every_kind_are_lossless: ada::Event, "type", ada_names(), ada_words();
    ada_channels_of_every_kind_are_lossless: ada::Channel, "type", ada_names(), ada_words();
    ada_contents_of_every_kind_are_lossless: ada::Content, "type", ada_names(), ada_words();
    agntix_events_of_every_kind_are_lossless: agntix::Event, "eventType", agntix_names(), agntix_words();
    agntix_enveloped_events_of_every_kind_are_lossless: agntix::Enveloped, "type", agntix_names(), agntix_words();
    ag_kit_messages_of_every_kind_are_lossless: gatehouse_ag_kit::kit::Message, "role", ag_kit_names(), ag_kit_words();
    ag_kit_events_of_every_kind_are_lossless: gatehouse_ag_kit::kit::Event, "type", ag_kit_names(), ag_kit_words();
    ag_ui_events_of_every_kind_are_lossless: gatehouse_ag_kit::ui::Event, "type", ag_kit_names(), ag_kit_words();
    ag_ui_outcomes_of_every_kind_are_lossless: gatehouse_ag_kit::ui::Outcome, "type", ag_kit_names(), ag_kit_words();
}

proptest! {
    #![proptest_config(gatehouse_seeds::cases(256))]

    #[test]
    fn arbitrary_text_never_panics(text in any::<String>()) {
        let _ = round_trip::<ada::Event>(&text);
        let _ = round_trip::<agntix::Event>(&text);
        let _ = round_trip::<agntix::Enveloped>(&text);
        let _ = round_trip::<vapi::message::ClientMessage>(&text);
        let _ = round_trip::<vapi::message::ServerMessage>(&text);
        let _ = round_trip::<gatehouse_ag_kit::kit::Event>(&text);
        let _ = round_trip::<gatehouse_ag_kit::ui::Event>(&text);
    }
}

/// Returns the sample files of a vendor: those in this repository, and the collected ones if they are present.
fn samples(vendor: &str) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut samples = Vec::new();
    for folder in [format!("../vendors/{vendor}/samples"), format!("../../../shared/samples/{vendor}")] {
        let Ok(files) = std::fs::read_dir(root.join(folder)) else { continue };
        for file in files {
            let path = file.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "json") {
                samples.push((path.display().to_string(), std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(!samples.is_empty());
    samples
}

/// Returns the paths of the parts of a sample that its type does not document.
fn undocumented<T: DeserializeOwned + Serialize + Undocumented>(path: &str, text: &str) -> Vec<String> {
    let value: T = read(text).unwrap_or_else(|error| panic!("{path}: {error}"));
    assert!(same(text, &serde_json::to_string(&value).unwrap()), "{path}");
    let mut found = Vec::new();
    value.undocumented("", &mut found);
    found
}

#[test]
fn every_member_of_the_ada_samples_is_a_field() {
    for (path, text) in samples("ada") {
        // Ada's page shows `{}`, but the schema requires a string or null.
        let expected = if path.contains("docs_verbatim") {
            vec![".data.handoff_integration (unexpected)".to_owned()]
        } else {
            Vec::new()
        };
        assert_eq!(undocumented::<ada::Event>(&path, &text), expected, "{path}");
    }
}

#[test]
fn every_member_of_the_agntix_samples_is_a_field() {
    // This sample is a part of a request to agntix.
    let is_event = |path: &str| !path.contains("session_variables_correlation");
    for (path, text) in samples("agntix").into_iter().filter(|(path, _)| is_event(path)) {
        let found = if path.contains("message_added") {
            undocumented::<agntix::Enveloped>(&path, &text)
        } else {
            undocumented::<agntix::Event>(&path, &text)
        };
        assert_eq!(found, Vec::<String>::new(), "{path}");
    }
}

#[test]
fn every_member_of_the_vapi_samples_is_a_field() {
    let mut seen = 0;
    for (path, text) in samples("vapi") {
        let name = path.rsplit('/').next().unwrap();
        // These samples are sent to Vapi.
        if ["inbound_", "response_", "add-message"].iter().any(|beginning| name.starts_with(beginning)) {
            continue;
        }
        let document = Document::read(text.as_bytes()).unwrap();
        let envelope = gatehouse_vapi::Envelope::of(&document);
        let to_servers = ["server_", "assistant-request", "end-of-call-report", "status-update"];
        let found = if to_servers.iter().any(|beginning| name.starts_with(beginning)) {
            undocumented::<vapi::message::ServerMessage>(&path, envelope.text())
        } else {
            undocumented::<vapi::message::ClientMessage>(&path, envelope.text())
        };
        let expected = if name.contains("unknown_type") { vec![" (unknown kind)".to_owned()] } else { Vec::new() };
        assert_eq!(found, expected, "{path}");
        seen += 1;
    }
    assert!(seen >= 5);
}

#[test]
fn every_member_of_recorded_requests_is_a_field() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/samples/ag-kit");
    let Ok(files) = std::fs::read_dir(folder) else { return };
    for path in files.map(|file| file.unwrap().path()) {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if !name.ends_with(".json") || name.contains("response") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let found = match name.split('_').next() {
            Some("agkit") => undocumented::<gatehouse_ag_kit::kit::Request>(&name, &text),
            Some("agui") => undocumented::<gatehouse_ag_kit::ui::Request>(&name, &text),
            _ => continue,
        };
        let expected =
            if name.contains("bad_role") { vec![".messages[] (unknown kind)".to_owned()] } else { Vec::new() };
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn every_documented_kind_has_a_type() {
    assert_eq!(vapi::message::ClientMessage::KINDS.len(), 23 + 3, "23 constants, and 3 that occur without a schema");
    assert_eq!(vapi::message::ServerMessage::KINDS.len(), 30 + 2, "30 constants, and 2 that occur without a schema");
    assert_eq!((ada::Event::KINDS.len(), agntix::Event::KINDS.len()), (7, 3));
    assert_eq!(vapi::message::ClientMessage::KINDS, types::CLIENT_MESSAGES);
    assert_eq!(vapi::message::ServerMessage::KINDS, types::SERVER_MESSAGES);
    assert_eq!(vapi::assistant::ClientMessageName::WORDS, types::CLIENT_MESSAGE_OPTIONS);
    assert_eq!(vapi::assistant::ServerMessageName::WORDS, types::SERVER_MESSAGE_OPTIONS);
}

#[test]
fn agntix_envelope_is_chosen_by_event_type_then_by_type() {
    use agntix::{Delivery, Enveloped, Event};
    let read = |text: &str| Delivery::read(text).unwrap();
    for (text, flat) in [
        (r#"{"eventType":"session.ended","type":"VOICE"}"#, true),
        (r#"{"eventType":"session.ended","type":"message.added"}"#, true),
        (r#"{"type":"VOICE"}"#, true),
        (r#"{"type":"message.added"}"#, false),
        (r#"{"eventType":null,"type":"session.ended"}"#, false),
    ] {
        assert_eq!(matches!(read(text), Delivery::Flat(_)), flat, "{text}");
    }
    assert!(matches!(read(r#"{"eventType":"session.ended"}"#), Delivery::Flat(Event::SessionEnded(_))));
    assert!(matches!(read(r#"{"type":"message.added"}"#), Delivery::Enveloped(Enveloped::MessageAdded(_))));
}

/// Returns the events of recorded streams: the `data` lines that are JSON. The recordings are in `../shared/samples`,
/// outside the repository; without them, the result is empty.
fn recorded_events(dialect: &str) -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/samples/ag-kit");
    let Ok(files) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut events = Vec::new();
    for path in files.map(|file| file.unwrap().path()) {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name.starts_with(dialect) && name.ends_with(".sse") {
            let text = std::fs::read_to_string(&path).unwrap();
            let data = text.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| data.starts_with('{'));
            events.extend(data.map(|data| (name.clone(), data.to_owned())));
        }
    }
    events
}

#[test]
fn every_member_of_recorded_streams_is_a_field() {
    for (name, event) in recorded_events("agkit") {
        assert_eq!(
            undocumented::<gatehouse_ag_kit::kit::Event>(&name, &event),
            Vec::<String>::new(),
            "{name}: {event}"
        );
    }
    for (name, event) in recorded_events("agui") {
        assert_eq!(undocumented::<gatehouse_ag_kit::ui::Event>(&name, &event), Vec::<String>::new(), "{name}: {event}");
    }
}

#[test]
fn events_of_both_dialects_are_read() {
    use gatehouse_ag_kit::{kit, ui};
    let event = read(r#"{"type":"interrupt","id":"i","reason":null,"payload":[{"description":"d"}]}"#).unwrap();
    assert!(matches!(event, kit::Event::Interrupt(interrupt) if interrupt.id.get().unwrap() == "i"));
    let kit::Event::Other(untyped) = read(r#"{"error": "Server error", "details": "x"}"#).unwrap() else {
        unreachable!()
    };
    assert_eq!(untyped.read::<kit::CouldNotBegin>().unwrap().error.get().unwrap(), "Server error");
    let finished =
        r#"{"type":"RUN_FINISHED","outcome":{"type":"interrupt","interrupts":[{"id":"i","reason":"confirmation"}]}}"#;
    let ui::Event::RunFinished(run) = read(finished).unwrap() else { unreachable!() };
    assert!(
        matches!(run.outcome.get(), Some(ui::Outcome::Interrupt(outcome)) if outcome.interrupts.get().unwrap().len() == 1)
    );
    assert!(
        matches!(read(r#"{"type":"text","content":"x"}"#).unwrap(), ui::Event::Other(_)),
        "an event of the other dialect"
    );
}

#[test]
fn captured_deviations_from_the_schemas_are_read() {
    use gatehouse_payload::time::Timestamp;
    use gatehouse_payload::wire::{Field, Item};
    use vapi::message::{ClientMessage, ToolCalls, Transcript};
    // The arguments of a tool call are an object or a string, `type` may be missing, and times are numbers or strings.
    for arguments in [r#"{"city":"Oslo"}"#, r#""{\"city\":\"Oslo\"}""#] {
        let message = format!(
            r#"{{"timestamp":"2024-07-28T10:00:00.000Z","toolCallList":[{{"id":"c","type":"function","function":{{"name":"f","arguments":{arguments}}}}}]}}"#
        );
        let ClientMessage::ToolCalls(calls) = read(&message).unwrap() else { unreachable!("{message}") };
        let ToolCalls { tool_call_list: Field::Is(list), timestamp: Field::Is(time), .. } = *calls else {
            unreachable!()
        };
        let Item::Is(call) = &list[0] else { unreachable!() };
        assert_eq!(call.function.get().unwrap().arguments.get().unwrap().text(), arguments);
        assert_eq!(time.moment(), Timestamp::parse("2024-07-28T10:00:00Z"));
    }
    let final_transcript = r#"{"type":"transcript[transcriptType=\"final\"]","timestamp":1728393715369,"role":"user"}"#;
    let ClientMessage::Transcript(transcript) = read(final_transcript).unwrap() else { unreachable!() };
    let Transcript { timestamp: Field::Is(time), .. } = *transcript else { unreachable!() };
    assert_eq!(time.moment().map(Timestamp::as_millis), Some(1_728_393_715_369));
    // agntix sends `null`, 0 and `N/A` for unknown values, which differs from absent members.
    let sentiment =
        r#"{"id":"s","analysis":{"sentiment":{"message":{"sentiment":null,"score":0,"detectedLanguage":"N/A"}}}}"#;
    let session: agntix::Session = read(sentiment).unwrap();
    let sentiment = session.analysis.get().unwrap().sentiment.get().unwrap().message.get().unwrap();
    assert_eq!(sentiment.sentiment, Field::Null);
    assert_eq!(sentiment.detected_language, Field::Is("N/A".to_owned()));
    assert_eq!(sentiment.explanation, Field::Absent);
    let session: agntix::Session = read(r#"{"id":null,"analysis":"N/A"}"#).unwrap();
    assert_eq!(session.id, Field::Null);
    assert!(matches!(&session.analysis, Field::Unexpected(raw) if raw.text() == r#""N/A""#));
    // Ada's times without an offset are UTC.
    let ended: ada::ConversationEnded = read(r#"{"timestamp":"2024-07-28T10:00:00.123456"}"#).unwrap();
    assert_eq!(ada::Timestamped::occurred_at(&ended), Timestamp::parse("2024-07-28T10:00:00.123456Z"));
}

#[test]
fn absent_null_known_and_unexpected_members_differ() {
    use ada::{Author, Role};
    use gatehouse_payload::wire::Field;
    let author: Author = read(r#"{"id":null,"role":"robot","avatar":7,"new":[1.50]}"#).unwrap();
    assert_eq!(author.id, Field::Null);
    assert_eq!(author.role, Field::Is(Role::Other("robot".to_owned())));
    assert!(matches!(&author.avatar, Field::Unexpected(raw) if raw.text() == "7"));
    assert_eq!(author.display_name, Field::Absent);
    assert_eq!(author.extra.get("new").unwrap().text(), "[1.50]");
}

#[test]
fn union_is_chosen_by_its_discriminator_alone() {
    use ada::Content;
    // The object has the members of a text, but its type is `link`.
    let content: Content = read(r#"{"type":"link","body":"hello"}"#).unwrap();
    assert!(matches!(content, Content::Link(_)));
    for unknown in [r#"{"type":"poll","body":"hello"}"#, r#"{"body":"hello"}"#, r#"{"type":null}"#] {
        assert!(matches!(read(unknown).unwrap(), Content::Other(_)), "{unknown}");
    }
}
