//! Creates, lists, configures, purges and deletes queues.

use serde::Deserialize;
use serde_json::{Value, json};

use super::attributes::{self, Attributes, RedrivePolicy};
use super::error::{Kind, SqsError};
use super::store::{Queue, Store};
use super::{NO_FIFO, Result, Sqs, arn, parse_for_queue, read};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Create {
    queue_name: String,
    #[serde(default)]
    attributes: Attributes,
    // AWS' model has a lower-case name in this operation.
    #[serde(default, alias = "tags")]
    tags: Attributes,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetUrl {
    queue_name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct List {
    #[serde(default)]
    queue_name_prefix: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetAttributes {
    #[serde(default)]
    attribute_names: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SetAttributes {
    #[serde(default)]
    attributes: Attributes,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ChangeTags {
    #[serde(default)]
    tags: Attributes,
    #[serde(default)]
    tag_keys: Vec<String>,
}

/// An operation without parameters except the queue.
#[derive(Deserialize)]
struct NoParameters {}

impl Sqs {
    pub(super) fn create_queue(&self, store: &mut Store, body: &[u8]) -> Result<Value> {
        let Create { queue_name, attributes, tags } = read(body)?;
        check_name(&queue_name)?;
        check_attributes(store, &attributes)?;
        store.create(&queue_name, &attributes, &tags)?;
        Ok(json!({"QueueUrl": self.url(&queue_name)}))
    }

    pub(super) fn queue_url(&self, store: &Store, body: &[u8]) -> Result<Value> {
        let GetUrl { queue_name } = read(body)?;
        Ok(json!({"QueueUrl": self.url(&store.queue(&queue_name)?.name)}))
    }

    pub(super) fn list_queues(&self, store: &Store, body: &[u8]) -> Result<Value> {
        let List { queue_name_prefix } = read(body)?;
        Ok(json!({"QueueUrls": self.urls(&store.queues(&queue_name_prefix)?)}))
    }

    pub(super) fn list_source_queues(&self, store: &Store, body: &[u8]) -> Result<Value> {
        let (queue, NoParameters {}) = parse_for_queue(store, body)?;
        // AWS' model has a lower-case name in this operation.
        Ok(json!({"queueUrls": self.urls(&store.sources(&queue.name)?)}))
    }

    fn urls(&self, queues: &[Queue]) -> Vec<String> {
        queues.iter().map(|queue| self.url(&queue.name)).collect()
    }
}

pub(super) fn delete(store: &mut Store, body: &[u8]) -> Result<Value> {
    let (queue, NoParameters {}) = parse_for_queue(store, body)?;
    store.delete_queue(&queue.name)?;
    Ok(json!({}))
}

pub(super) fn get_attributes(store: &Store, body: &[u8]) -> Result<Value> {
    let (queue, GetAttributes { attribute_names: names }) = parse_for_queue(store, body)?;
    if let Some(unknown) = names.iter().find(|name| *name != "All" && !attributes::is_known(name)) {
        return Err(SqsError::new(Kind::InvalidAttributeName, format!("Unknown Attribute {unknown}.")));
    }
    let mut attributes = attributes::with_defaults(&queue.attributes);
    let (visible, in_flight, delayed) = store.counts(&queue.name)?;
    let seconds = |ms: i64| (ms / 1000).to_string();
    let computed = [
        arn(&queue.name),
        seconds(queue.created_at),
        seconds(queue.modified_at),
        visible.to_string(),
        in_flight.to_string(),
        delayed.to_string(),
    ];
    attributes.extend(attributes::COMPUTED.map(str::to_owned).into_iter().zip(computed));
    attributes.retain(|attribute, _| names.iter().any(|name| name == "All" || name == attribute));
    Ok(if attributes.is_empty() { json!({}) } else { json!({"Attributes": attributes}) })
}

pub(super) fn set_attributes(store: &mut Store, body: &[u8]) -> Result<Value> {
    let (mut queue, requested) = parse_for_queue::<SetAttributes>(store, body)?;
    check_attributes(store, &requested.attributes)?;
    queue.attributes.extend(requested.attributes);
    // An empty policy removes the policy.
    queue.attributes.retain(|_, value| !value.is_empty());
    store.set(&queue.name, &queue.attributes, &queue.tags)?;
    Ok(json!({}))
}

pub(super) fn change_tags(store: &mut Store, body: &[u8]) -> Result<Value> {
    let (mut queue, change) = parse_for_queue::<ChangeTags>(store, body)?;
    queue.tags.extend(change.tags);
    queue.tags.retain(|name, _| !change.tag_keys.contains(name));
    store.set(&queue.name, &queue.attributes, &queue.tags)?;
    Ok(json!({}))
}

pub(super) fn list_tags(store: &Store, body: &[u8]) -> Result<Value> {
    let (queue, NoParameters {}) = parse_for_queue(store, body)?;
    Ok(json!({"Tags": queue.tags}))
}

pub(super) fn purge(store: &mut Store, body: &[u8]) -> Result<Value> {
    let (queue, NoParameters {}) = parse_for_queue(store, body)?;
    store.purge(&queue)?;
    Ok(json!({}))
}

fn check_name(name: &str) -> Result<()> {
    if name.ends_with(".fifo") {
        return Err(SqsError::new(Kind::UnsupportedOperation, NO_FIFO));
    }
    let valid = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || name.len() > 80 || !name.chars().all(valid) {
        return Err(SqsError::invalid(
            "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length",
        ));
    }
    Ok(())
}

/// Checks the attributes of a request, and that the queue of a redrive policy exists.
fn check_attributes(store: &Store, requested: &Attributes) -> Result<()> {
    attributes::validate(requested)?;
    if let Some(policy) = RedrivePolicy::of(requested) {
        let name = policy.target_arn.rsplit(':').next().unwrap_or_default();
        if arn(name) != policy.target_arn || store.find(name)?.is_none() {
            return Err(SqsError::invalid(format!(
                "Value for parameter RedrivePolicy is invalid. Reason: Dead letter target {} does not exist.",
                policy.target_arn
            )));
        }
    }
    Ok(())
}
