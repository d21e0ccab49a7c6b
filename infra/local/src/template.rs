//! What `infra/template.yaml` says, so that the local stack and the deployed one cannot drift.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, Projection, TimeToLiveSpecification,
};
use serde::Deserialize;
use serde_json::Value;

use crate::Error;

/// The template as it stands in the repository.
const TEMPLATE: &str = include_str!("../../template.yaml");

/// The template's resources. Tags such as `!Ref` are read as the text behind them: a logical id.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Template {
    globals: Value,
    resources: BTreeMap<String, Resource>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Resource {
    r#type: String,
    #[serde(default)]
    properties: Value,
}

impl Template {
    /// Reads the template.
    ///
    /// # Errors
    /// When it is not the YAML of a SAM template.
    pub fn read() -> Result<Self, Error> {
        Ok(serde_saphyr::from_str(TEMPLATE)?)
    }

    fn properties(&self, logical_id: &str) -> Result<&Value, Error> {
        let resource = self.resources.get(logical_id);
        Ok(&resource.ok_or_else(|| format!("the template has no resource {logical_id}"))?.properties)
    }

    /// The logical ids of the resources of a type.
    pub fn resources_of<'t>(&'t self, resource_type: &'t str) -> impl Iterator<Item = &'t str> {
        self.resources.iter().filter(move |(_, resource)| resource.r#type == resource_type).map(|(id, _)| id.as_str())
    }

    /// A function's property: its own, else the one all functions share.
    #[must_use]
    pub fn function(&self, logical_id: &str, property: &str) -> Value {
        let own = self.properties(logical_id).ok().and_then(|properties| properties.get(property)).cloned();
        own.unwrap_or_else(|| self.globals["Function"][property].clone())
    }

    /// A queue's attributes as `CreateQueue` takes them; `arn_of` resolves another queue's logical id.
    ///
    /// # Errors
    /// When the template has no such queue.
    pub fn queue_attributes(
        &self,
        logical_id: &str,
        arn_of: &dyn Fn(&str) -> Option<String>,
    ) -> Result<BTreeMap<String, String>, Error> {
        let properties = self.properties(logical_id)?.as_object().cloned().unwrap_or_default();
        let mut attributes = BTreeMap::new();
        for (name, value) in properties {
            let value = match value {
                Value::String(text) => text,
                Value::Object(mut policy) => {
                    let target = policy["deadLetterTargetArn"].as_str().unwrap_or_default().to_owned();
                    let target = target.trim_end_matches(".Arn");
                    let arn =
                        arn_of(target).ok_or_else(|| format!("{logical_id} names {target}, which is no queue yet"))?;
                    policy.insert("deadLetterTargetArn".to_owned(), Value::String(arn));
                    Value::Object(policy).to_string()
                }
                other => other.to_string(),
            };
            attributes.insert(name, value);
        }
        Ok(attributes)
    }

    /// Creates the table under its logical id, with its index and its expiry.
    ///
    /// # Errors
    /// When the template has no such table, or DynamoDB does not take it.
    pub async fn create_table(&self, client: &aws_sdk_dynamodb::Client, logical_id: &str) -> Result<(), Error> {
        let table: Table = serde_json::from_value(self.properties(logical_id)?.clone())?;
        let mut create =
            client.create_table().table_name(logical_id).billing_mode(BillingMode::from(&*table.billing_mode));
        for (name, kind) in table.attribute_definitions.iter().map(|a| (&a.attribute_name, &*a.attribute_type)) {
            let definition = AttributeDefinition::builder().attribute_name(name).attribute_type(kind.into());
            create = create.attribute_definitions(definition.build()?);
        }
        for key in &table.key_schema {
            create = create.key_schema(key.build()?);
        }
        for index in &table.global_secondary_indexes {
            let keys = index.key_schema.iter().map(Key::build).collect::<Result<_, _>>()?;
            let projection = Projection::builder().projection_type((&*index.projection.projection_type).into());
            let index = GlobalSecondaryIndex::builder().index_name(&index.index_name).set_key_schema(Some(keys));
            create = create.global_secondary_indexes(index.projection(projection.build()).build()?);
        }
        create.send().await?;
        let expiry = &table.time_to_live_specification;
        let expiry = TimeToLiveSpecification::builder().attribute_name(&expiry.attribute_name).enabled(expiry.enabled);
        client.update_time_to_live().table_name(logical_id).time_to_live_specification(expiry.build()?).send().await?;
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Table {
    billing_mode: String,
    attribute_definitions: Vec<Attribute>,
    key_schema: Vec<Key>,
    global_secondary_indexes: Vec<Index>,
    time_to_live_specification: Expiry,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Attribute {
    attribute_name: String,
    attribute_type: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Key {
    attribute_name: String,
    key_type: String,
}

impl Key {
    fn build(&self) -> Result<KeySchemaElement, aws_sdk_dynamodb::error::BuildError> {
        KeySchemaElement::builder().attribute_name(&self.attribute_name).key_type((&*self.key_type).into()).build()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Index {
    index_name: String,
    key_schema: Vec<Key>,
    projection: ProjectionType,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ProjectionType {
    projection_type: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Expiry {
    attribute_name: String,
    enabled: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_retry_knows_its_queues_limits() {
        let template = Template::read().unwrap();
        let attributes = template.queue_attributes("RetryQueue", &|id| Some(format!("arn:{id}"))).unwrap();
        let policy: Value = serde_json::from_str(&attributes["RedrivePolicy"]).unwrap();
        assert_eq!(policy["maxReceiveCount"], event_retry::MAX_RECEIVES);
        assert_eq!(policy["deadLetterTargetArn"], "arn:DeadLetterQueue");
        assert_eq!(attributes["VisibilityTimeout"], event_retry::VISIBILITY.as_secs().to_string());
    }

    #[test]
    fn each_function_knows_its_timeout() {
        let template = Template::read().unwrap();
        for (logical_id, timeout) in [
            ("ClientMessage", client_message::TIMEOUT),
            ("ConversationWebhooks", conversation_webhooks::TIMEOUT),
            ("SessionLifecycle", session_lifecycle::TIMEOUT),
            ("EventRetry", event_retry::TIMEOUT),
        ] {
            assert_eq!(template.function(logical_id, "Timeout"), timeout.as_secs(), "{logical_id}");
        }
        assert_eq!(template.resources_of("AWS::Serverless::Function").count(), 4);
    }

    #[test]
    fn queues_keep_messages_for_two_weeks() {
        let template = Template::read().unwrap();
        for queue in template.resources_of("AWS::SQS::Queue") {
            let attributes = template.queue_attributes(queue, &|_| Some(String::new())).unwrap();
            assert_eq!(attributes["MessageRetentionPeriod"], (14 * 86_400).to_string());
        }
    }
}
