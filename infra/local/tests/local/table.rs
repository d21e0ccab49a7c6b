//! Tests that the table is created from the template.

use aws_sdk_dynamodb::types::AttributeValue;
use gatehouse_local::engine::{Engine, FREE};
use gatehouse_local::local_sdk;
use gatehouse_local::template::Template;

const NAME: &str = "EventTable";

#[tokio::test]
async fn create_table_adds_a_missing_index_and_fills_it() {
    let engine = Engine::dynamodb(FREE, None).await.unwrap();
    let client = aws_sdk_dynamodb::Client::new(&local_sdk(&engine.url()));
    let template = Template::read().unwrap();
    template.create_table(&client, NAME).await.unwrap();
    let indexes = async || {
        let table = client.describe_table().table_name(NAME).send().await.unwrap().table.unwrap();
        let names = table.global_secondary_indexes().iter().filter_map(|index| index.index_name().map(str::to_owned));
        let mut names: Vec<String> = names.collect();
        names.sort_unstable();
        names
    };
    assert_eq!(indexes().await, ["by-source", "by-subject"]);

    let text = |text: &str| AttributeValue::S(text.to_owned());
    let put = client.put_item().table_name(NAME).item("event_id", text("ada:msg_1"));
    let put = put.item("source_hour", text("ada/2026-11-21T17")).item("received_at", text("2026-11-21T17:00:00.000Z"));
    put.item("payload", text("{}")).send().await.unwrap();
    let drop = aws_sdk_dynamodb::types::DeleteGlobalSecondaryIndexAction::builder().index_name("by-source").build();
    let drop = aws_sdk_dynamodb::types::GlobalSecondaryIndexUpdate::builder().delete(drop.unwrap()).build();
    client.update_table().table_name(NAME).global_secondary_index_updates(drop).send().await.unwrap();
    assert_eq!(indexes().await, ["by-subject"]);

    template.create_table(&client, NAME).await.unwrap();
    assert_eq!(indexes().await, ["by-source", "by-subject"]);
    let query = client.query().table_name(NAME).index_name("by-source").key_condition_expression("source_hour = :hour");
    let found = query.expression_attribute_values(":hour", text("ada/2026-11-21T17")).send().await.unwrap();
    assert_eq!(found.count(), 1);
    assert!(!found.items()[0].contains_key("payload"), "the index has no payload");
}
