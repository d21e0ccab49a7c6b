//! Checks that the types have every member and value of Ada's published schemas. The schemas are in `../shared/facts`
//! outside the repository; the test passes without them.

use std::collections::BTreeSet;
use std::path::Path;

use gatehouse_messages::ada::{
    Activity, AuditLogData, AuditLogEmitted, Author, Capabilities, Channel, Content, ConversationCreatedData,
    ConversationEndedData, ConversationHandoffEndedData, ConversationMessage, ConversationMessageData, CustomChannel,
    EndUserCreated, EndUserData, Ender, EnderRole, Event, FileContent, LinkContent, Modality, NativeChannel, Profile,
    Role, SystemProperties, TextContent,
};
use serde_json::Value;

#[test]
fn every_member_and_value_of_the_ada_schemas_is_known() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/facts/ada-schemas.json");
    let Ok(text) = std::fs::read_to_string(file) else { return };
    let schemas: Value = serde_json::from_str(&text).unwrap();
    let schemas = schemas["schemas"].as_object().unwrap();
    let members = [
        ("ConversationMessageWebhookPayload", ConversationMessage::MEMBERS),
        ("ConversationCreatedWebhookPayloadData", ConversationCreatedData::MEMBERS),
        ("ConversationMessageWebhookPayloadData", ConversationMessageData::MEMBERS),
        ("ConversationEndedWebhookPayloadData", ConversationEndedData::MEMBERS),
        ("ConversationHandoffEndedWebhookPayloadData", ConversationHandoffEndedData::MEMBERS),
        ("EndUserCreatedWebhookPayload", EndUserCreated::MEMBERS),
        ("EndUserCreatedWebhookPayloadData", EndUserData::MEMBERS),
        ("EndUserUpdatedWebhookPayloadData", EndUserData::MEMBERS),
        ("EndUserProfile", Profile::MEMBERS),
        ("EndUserProfileSystemProperties", SystemProperties::MEMBERS),
        ("AuditLogWebhookPayload", AuditLogEmitted::MEMBERS),
        ("AuditLogWebhookEventData", AuditLogData::MEMBERS),
        ("ConversationMessageWebhookPayloadDataAuthor", Author::MEMBERS),
        ("ConversationEndedWebhookPayloadDataEndedBy", Ender::MEMBERS),
        ("BaseChannelCapabilities", Capabilities::MEMBERS),
        ("TextContent", TextContent::MEMBERS),
        ("LinkContent", LinkContent::MEMBERS),
        ("FileContent", FileContent::MEMBERS),
    ];
    for (schema, known) in members {
        let named: BTreeSet<&str> =
            schemas[schema]["properties"].as_object().unwrap().keys().map(String::as_str).collect();
        assert!(named.is_subset(&known.iter().copied().collect()), "{schema}: {named:?}");
    }
    let channels = schemas["ConversationMessageWebhookChannel"]["oneOf"].as_array().unwrap();
    for (channel, known) in channels.iter().zip([NativeChannel::MEMBERS, CustomChannel::MEMBERS]) {
        let mut named = channel["properties"].as_object().unwrap().keys();
        assert!(named.all(|name| known.contains(&name.as_str())), "{channel}");
    }
    let words = [
        ("AuditLogWebhookEventDataActivity", Activity::WORDS),
        ("BaseChannelModality", Modality::WORDS),
        ("ConversationEndedWebhookPayloadDataEndedByRole", EnderRole::WORDS),
        ("ConversationMessageWebhookPayloadDataAuthorRole", Role::WORDS),
        ("ConversationMessageWebhookCustomChannelType", Channel::KINDS),
        ("ConversationMessageWebhookNativeChannelType", Channel::KINDS),
        ("TextContentType", Content::KINDS),
        ("LinkContentType", Content::KINDS),
        ("FileContentType", Content::KINDS),
        ("ConversationCreatedWebhookPayloadType", Event::KINDS),
        ("ConversationMessageWebhookPayloadType", Event::KINDS),
        ("ConversationEndedWebhookPayloadType", Event::KINDS),
        ("ConversationHandoffEndedWebhookPayloadType", Event::KINDS),
    ];
    for (schema, known) in words {
        let mut named = schemas[schema]["enum"].as_array().unwrap().iter().map(|word| word.as_str().unwrap());
        assert!(named.all(|word| known.contains(&word)), "{schema}");
    }
}
