//! Reads `infra/template.yaml`, so that the local stack and the deployed one have the same configuration.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_dynamodb::error::BuildError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, CreateGlobalSecondaryIndexAction, GlobalSecondaryIndex,
    GlobalSecondaryIndexUpdate, KeySchemaElement, Projection, StreamSpecification, TimeToLiveSpecification,
};
use gatehouse_runtime::aws::error_code;
use serde::Deserialize;
use serde_json::Value;

use crate::Error;
use crate::cors::Cors;

/// The template's text.
const TEMPLATE: &str = include_str!("../../template.yaml");
/// The text that `!Ref AWS::NoValue` is read as.
const NO_VALUE: &str = "AWS::NoValue";

/// The parsed template. YAML tags are ignored: `!Ref EventTable` is read as the text `EventTable`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Template {
    #[serde(default)]
    parameters: BTreeMap<String, Value>,
    #[serde(default)]
    conditions: BTreeMap<String, Value>,
    globals: Value,
    resources: BTreeMap<String, Resource>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Resource {
    r#type: String,
    #[serde(default)]
    condition: Option<String>,
    #[serde(default)]
    properties: Value,
}

impl Template {
    /// Parses the template.
    ///
    /// # Errors
    /// If it is not a SAM template in YAML.
    pub fn read() -> Result<Self, Error> {
        Ok(serde_saphyr::from_str(TEMPLATE)?)
    }

    fn properties(&self, logical_id: &str) -> Result<&Value, Error> {
        let resource = self.resources.get(logical_id);
        Ok(&resource.ok_or_else(|| format!("the template has no resource {logical_id}"))?.properties)
    }

    /// Returns the logical ids of the resources of a type.
    pub fn resources_of<'t>(&'t self, resource_type: &'t str) -> impl Iterator<Item = &'t str> {
        self.resources.iter().filter(move |(_, resource)| resource.r#type == resource_type).map(|(id, _)| id.as_str())
    }

    /// Returns a property of a function, or else the one in `Globals`.
    #[must_use]
    pub fn function(&self, logical_id: &str, property: &str) -> Value {
        let value = self.properties(logical_id).ok().and_then(|properties| properties.get(property)).cloned();
        value.unwrap_or_else(|| self.globals["Function"][property].clone())
    }

    /// Returns a function's timeout.
    ///
    /// # Errors
    /// If the template does not have such a function with a timeout in seconds.
    pub fn timeout(&self, logical_id: &str) -> Result<Duration, Error> {
        let seconds = self.function(logical_id, "Timeout");
        let seconds = seconds.as_u64().ok_or_else(|| format!("the template has no Timeout for {logical_id}"))?;
        Ok(Duration::from_secs(seconds))
    }

    /// Returns the number of metrics that the alarms of a stack without deliveries use. CloudWatch bills each.
    #[must_use]
    pub fn alarm_metrics(&self) -> usize {
        let metrics = |alarm: &Resource| {
            let parts = alarm.properties["Metrics"].as_array().map(Vec::as_slice).unwrap_or_default();
            parts.iter().filter(|part| part.get("MetricStat").is_some()).count().max(1)
        };
        let is_alarm = |resource: &&Resource| {
            resource.r#type == "AWS::CloudWatch::Alarm" && resource.condition.as_deref() == Some("HasAlarms")
        };
        self.resources.values().filter(is_alarm).map(metrics).sum()
    }

    /// Returns the names of the functions, such as `client-message`.
    pub fn functions(&self) -> impl Iterator<Item = String> {
        self.resources_of("AWS::Serverless::Function").map(function_name)
    }

    /// Returns the `Cors` block of a function's URL, with the default values of parameters.
    ///
    /// # Errors
    /// If AWS would not accept the block.
    pub fn cors(&self, logical_id: &str) -> Result<Option<Cors>, Error> {
        let mut cors = self.function(logical_id, "FunctionUrlConfig")["Cors"].clone();
        let Some(members) = cors.as_object_mut() else { return Ok(None) };
        for value in members.values_mut() {
            let parameter = value.as_str().and_then(|name| self.parameters.get(name));
            if let Some(default) = parameter.and_then(|parameter| parameter["Default"].as_str()) {
                *value = default.split(',').map(str::trim).collect();
            }
        }
        Ok(Some(serde_json::from_value(cors)?))
    }

    /// Returns a queue's attributes in the form of `CreateQueue`. `arn_of` returns the ARN of another queue.
    ///
    /// # Errors
    /// If the template has no such queue, or `arn_of` returns `None`.
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
                    if let Some(target) = policy.get("deadLetterTargetArn").and_then(Value::as_str) {
                        let target = target.trim_end_matches(".Arn");
                        let arn = arn_of(target);
                        let arn =
                            arn.ok_or_else(|| format!("{logical_id} names {target}, which has not been created"))?;
                        policy.insert("deadLetterTargetArn".to_owned(), Value::String(arn));
                    }
                    Value::Object(policy).to_string()
                }
                other => other.to_string(),
            };
            attributes.insert(name, value);
        }
        Ok(attributes)
    }

    /// Resolves the `!If`s of a value with the default values of parameters. Removes `AWS::NoValue` from lists.
    fn resolve(&self, value: &Value) -> Value {
        match value {
            Value::Array(items) => match self.branch(items) {
                Some(branch) => self.resolve(branch),
                None => items.iter().map(|item| self.resolve(item)).filter(|item| item != NO_VALUE).collect(),
            },
            Value::Object(members) => members.iter().map(|(name, value)| (name.clone(), self.resolve(value))).collect(),
            other => other.clone(),
        }
    }

    /// Returns the selected branch of an `!If`. Supports conditions of the form `!Equals [!Ref <parameter>, <value>]`;
    /// `None` for any other list.
    fn branch<'v>(&self, items: &'v [Value]) -> Option<&'v Value> {
        let [Value::String(condition), then, otherwise] = items else { return None };
        let [Value::String(parameter), wanted] = self.conditions.get(condition)?.as_array()?.as_slice() else {
            return None;
        };
        let holds = self.parameters.get(parameter)?["Default"] == *wanted;
        Some(if holds { then } else { otherwise })
    }

    /// Creates the table, with its indexes, TTL and stream, under its logical id. If the table exists, adds missing
    /// indexes and the stream: an earlier release may have created it.
    ///
    /// # Errors
    /// If the template has no such table, or a DynamoDB request fails.
    pub async fn create_table(&self, client: &aws_sdk_dynamodb::Client, logical_id: &str) -> Result<(), Error> {
        let table: Table = serde_json::from_value(self.resolve(self.properties(logical_id)?))?;
        match client.describe_table().table_name(logical_id).send().await {
            Ok(found) => {
                let found = found.table.ok_or("DynamoDB describes the table without its properties")?;
                let indexes = found.global_secondary_indexes();
                let has = |wanted: &&Index| indexes.iter().any(|index| index.index_name() == Some(&wanted.index_name));
                for missing in table.global_secondary_indexes.iter().filter(|wanted| !has(wanted)) {
                    let failed = |error: &dyn std::fmt::Display| {
                        format!("cannot add the index {} to the table {logical_id}: {error}", missing.index_name)
                    };
                    let update = GlobalSecondaryIndexUpdate::builder().create(missing.create_action()?).build();
                    let update = client.update_table().table_name(logical_id).global_secondary_index_updates(update);
                    let update = update.set_attribute_definitions(Some(table.definitions()?));
                    update.send().await.map_err(|error| failed(&error_code(&error)))?;
                }
                let has_stream = found.stream_specification().is_some_and(|stream| stream.stream_enabled);
                if let Some(stream) = table.stream_specification.as_ref().filter(|_| !has_stream) {
                    let update = client.update_table().table_name(logical_id).stream_specification(stream.build()?);
                    let failed = |code: &str| format!("cannot add the stream to the table {logical_id}: {code}");
                    update.send().await.map_err(|error| failed(error_code(&error)))?;
                }
                return Ok(());
            }
            Err(error) if error.as_service_error().is_some_and(|e| e.is_resource_not_found_exception()) => {}
            Err(error) => return Err(error_code(&error).into()),
        }
        let indexes = table.global_secondary_indexes.iter().map(Index::build).collect::<Result<_, _>>()?;
        let keys = table.key_schema.iter().map(Key::build).collect::<Result<_, _>>()?;
        let stream = table.stream_specification.as_ref().map(Stream::build).transpose()?;
        let create = client
            .create_table()
            .table_name(logical_id)
            .billing_mode(BillingMode::from(&*table.billing_mode))
            .set_attribute_definitions(Some(table.definitions()?))
            .set_key_schema(Some(keys))
            .set_global_secondary_indexes(Some(indexes))
            .set_stream_specification(stream);
        create.send().await?;
        let ttl = &table.time_to_live_specification;
        let ttl = TimeToLiveSpecification::builder().attribute_name(&ttl.attribute_name).enabled(ttl.enabled);
        client.update_time_to_live().table_name(logical_id).time_to_live_specification(ttl.build()?).send().await?;
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
    time_to_live_specification: TimeToLive,
    stream_specification: Option<Stream>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Stream {
    stream_view_type: String,
}

impl Stream {
    fn build(&self) -> Result<StreamSpecification, BuildError> {
        let stream = StreamSpecification::builder().stream_enabled(true);
        stream.stream_view_type((&*self.stream_view_type).into()).build()
    }
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

impl Table {
    fn definitions(&self) -> Result<Vec<AttributeDefinition>, BuildError> {
        let definition = |attribute: &Attribute| {
            let name = AttributeDefinition::builder().attribute_name(&attribute.attribute_name);
            name.attribute_type((&*attribute.attribute_type).into()).build()
        };
        self.attribute_definitions.iter().map(definition).collect()
    }
}

impl Index {
    fn keys(&self) -> Result<Vec<KeySchemaElement>, BuildError> {
        self.key_schema.iter().map(Key::build).collect()
    }

    fn build(&self) -> Result<GlobalSecondaryIndex, BuildError> {
        let index = GlobalSecondaryIndex::builder().index_name(&self.index_name).set_key_schema(Some(self.keys()?));
        index.projection(self.projection.build()).build()
    }

    fn create_action(&self) -> Result<CreateGlobalSecondaryIndexAction, BuildError> {
        let index = CreateGlobalSecondaryIndexAction::builder().index_name(&self.index_name);
        index.set_key_schema(Some(self.keys()?)).projection(self.projection.build()).build()
    }
}

impl ProjectionType {
    fn build(&self) -> Projection {
        let attributes = Some(self.non_key_attributes.clone()).filter(|attributes| !attributes.is_empty());
        let projection = Projection::builder().projection_type((&*self.projection_type).into());
        projection.set_non_key_attributes(attributes).build()
    }
}

impl Key {
    fn build(&self) -> Result<KeySchemaElement, BuildError> {
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
    #[serde(default)]
    non_key_attributes: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TimeToLive {
    attribute_name: String,
    enabled: bool,
}

/// Returns a function's logical id in the template: `ClientMessage` for `client-message`.
#[must_use]
pub fn logical_id(function: &str) -> String {
    let mut words = function.split('-').map(|word| word.split_at(1));
    words.by_ref().fold(String::new(), |id, (initial, rest)| id + &initial.to_ascii_uppercase() + rest)
}

/// Returns a function's name from its logical id: `client-message` for `ClientMessage`.
fn function_name(logical_id: &str) -> String {
    let mut name = String::new();
    for c in logical_id.chars() {
        if c.is_ascii_uppercase() && !name.is_empty() {
            name.push('-');
        }
        name.push(c.to_ascii_lowercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_retry_constants_match_the_retry_queue() {
        let template = Template::read().unwrap();
        let attributes = template.queue_attributes("RetryQueue", &|id| Some(format!("arn:{id}"))).unwrap();
        let policy: Value = serde_json::from_str(&attributes["RedrivePolicy"]).unwrap();
        assert_eq!(policy["maxReceiveCount"], event_retry::MAX_RECEIVES);
        assert_eq!(policy["deadLetterTargetArn"], "arn:DeadLetterQueue");
        assert_eq!(attributes["VisibilityTimeout"], event_retry::VISIBILITY.as_secs().to_string());
    }

    #[test]
    fn timeouts_match_the_functions_constants() {
        let template = Template::read().unwrap();
        for name in template.functions() {
            let timeout = match name.as_str() {
                "agent-chat" => agent_chat::TIMEOUT,
                "event-retry" => event_retry::TIMEOUT,
                "outbox" => outbox::TIMEOUT,
                "deliver" => deliver::TIMEOUT,
                "server-message" => server_message::TIMEOUT,
                _ => gatehouse_receiver::TIMEOUT,
            };
            assert_eq!(template.timeout(&logical_id(&name)).unwrap(), timeout, "{name}");
        }
    }

    #[test]
    fn functions_have_the_names_that_their_logical_ids_say() {
        let template = Template::read().unwrap();
        assert!(template.functions().all(|name| template.function(&logical_id(&name), "Timeout").is_number()));
        for source in gatehouse_vendors::SOURCES {
            let function = source.profile().function;
            assert!(template.functions().any(|name| name == function), "{function}");
        }
    }

    #[test]
    fn only_functions_for_browsers_have_a_cors_block() {
        let template = Template::read().unwrap();
        let cors = template.cors("ClientMessage").unwrap().unwrap();
        assert_eq!((cors.allow_origins, cors.allow_methods), (vec!["*".to_owned()], vec!["POST".to_owned()]));
        assert_eq!(template.cors("ConversationWebhooks").unwrap(), None);
    }

    #[test]
    fn alarms_use_the_metrics_of_log_lines() {
        use gatehouse_payload::Outcome;
        use gatehouse_receiver::log::{
            DELIVERY_ATTEMPTS, DELIVERY_DEAD, DELIVERY_FAILED, DESTINATION_STOPPED, FALLBACK, NAMESPACE, OUTCOMES,
            QUESTIONS, SERVER_ERROR, UNVERIFIED, WEBHOOK_MS,
        };
        let template = Template::read().unwrap();
        let mut watched = std::collections::BTreeSet::new();
        for alarm in template.resources_of("AWS::CloudWatch::Alarm") {
            let alarm = template.properties(alarm).unwrap();
            let parts = alarm["Metrics"].as_array().map(Vec::as_slice).unwrap_or_default();
            let parts = parts.iter().map(|part| &part["MetricStat"]["Metric"]).filter(|metric| metric.is_object());
            for metric in parts.chain([alarm]).filter(|metric| metric["Namespace"] == NAMESPACE) {
                assert_eq!(metric["Dimensions"][0]["Name"], "stack", "{alarm}");
                watched.insert(metric["MetricName"].as_str().unwrap().to_owned());
            }
        }
        let outcomes = [Outcome::Conflict, Outcome::Unrecorded, Outcome::Queued, Outcome::Failed].map(Outcome::as_str);
        let deliveries = [DELIVERY_ATTEMPTS, DELIVERY_DEAD, DELIVERY_FAILED, DESTINATION_STOPPED];
        let others = [OUTCOMES, SERVER_ERROR, UNVERIFIED, WEBHOOK_MS, QUESTIONS, FALLBACK];
        assert_eq!(watched, outcomes.into_iter().chain(others).chain(deliveries).map(str::to_owned).collect());
        assert_eq!(template.globals["Function"]["Environment"]["Variables"]["STACK_NAME"], "AWS::StackName");
    }

    #[test]
    fn queues_retain_messages_for_two_weeks() {
        let template = Template::read().unwrap();
        for queue in template.resources_of("AWS::SQS::Queue") {
            let attributes = template.queue_attributes(queue, &|_| Some(String::new())).unwrap();
            assert_eq!(attributes["MessageRetentionPeriod"], (14 * 86_400).to_string());
        }
    }
}
