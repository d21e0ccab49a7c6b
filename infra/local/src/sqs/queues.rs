//! Creates, lists, configures, purges and deletes queues.

use gatehouse_sqs_protocol::attributes::Attributes;
use gatehouse_sqs_protocol::queue::{self, arn, check_name, named_attributes};
use gatehouse_sqs_protocol::request::{
    ChangeTags, CreateQueue, GetAttributes, GetQueueUrl, ListQueues, NoParameters, SetAttributes, read,
};
use serde_json::{Value, json};

use super::store::{Queue, Store};
use super::{Result, Sqs, parse_for_queue};

impl Sqs {
    pub(super) fn create_queue(&self, store: &mut Store, request: &Value) -> Result<Value> {
        let CreateQueue { queue_name, attributes, tags } = read(request)?;
        check_name(&queue_name)?;
        check_attributes(store, &attributes)?;
        store.create(&queue_name, &attributes, &tags)?;
        Ok(json!({"QueueUrl": self.url(&queue_name)}))
    }

    pub(super) fn queue_url(&self, store: &Store, request: &Value) -> Result<Value> {
        let GetQueueUrl { queue_name } = read(request)?;
        Ok(json!({"QueueUrl": self.url(&store.queue(&queue_name)?.name)}))
    }

    pub(super) fn list_queues(&self, store: &Store, request: &Value) -> Result<Value> {
        let ListQueues { queue_name_prefix } = read(request)?;
        Ok(json!({"QueueUrls": self.urls(&store.queues(&queue_name_prefix)?)}))
    }

    pub(super) fn list_source_queues(&self, store: &Store, request: &Value) -> Result<Value> {
        let (queue, NoParameters {}) = parse_for_queue(store, request)?;
        // AWS' model has a lower-case name in this operation.
        Ok(json!({"queueUrls": self.urls(&store.sources(&queue.name)?)}))
    }

    fn urls(&self, queues: &[Queue]) -> Vec<String> {
        queues.iter().map(|queue| self.url(&queue.name)).collect()
    }
}

pub(super) fn delete(store: &mut Store, request: &Value) -> Result<Value> {
    let (queue, NoParameters {}) = parse_for_queue(store, request)?;
    store.delete_queue(&queue.name)?;
    Ok(json!({}))
}

pub(super) fn get_attributes(store: &Store, request: &Value) -> Result<Value> {
    let (queue, GetAttributes { attribute_names: names }) = parse_for_queue(store, request)?;
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
    let attributes = named_attributes(&names, &queue.attributes, computed)?;
    Ok(if attributes.is_empty() { json!({}) } else { json!({"Attributes": attributes}) })
}

pub(super) fn set_attributes(store: &mut Store, request: &Value) -> Result<Value> {
    let (mut queue, requested) = parse_for_queue::<SetAttributes>(store, request)?;
    check_attributes(store, &requested.attributes)?;
    queue.attributes.extend(requested.attributes);
    // An empty policy removes the policy.
    queue.attributes.retain(|_, value| !value.is_empty());
    store.set(&queue.name, &queue.attributes, &queue.tags)?;
    Ok(json!({}))
}

pub(super) fn change_tags(store: &mut Store, request: &Value) -> Result<Value> {
    let (mut queue, change) = parse_for_queue::<ChangeTags>(store, request)?;
    queue.tags.extend(change.tags);
    queue.tags.retain(|name, _| !change.tag_keys.contains(name));
    store.set(&queue.name, &queue.attributes, &queue.tags)?;
    Ok(json!({}))
}

pub(super) fn list_tags(store: &Store, request: &Value) -> Result<Value> {
    let (queue, NoParameters {}) = parse_for_queue(store, request)?;
    Ok(json!({"Tags": queue.tags}))
}

pub(super) fn purge(store: &mut Store, request: &Value) -> Result<Value> {
    let (queue, NoParameters {}) = parse_for_queue(store, request)?;
    store.purge(&queue)?;
    Ok(json!({}))
}

/// Checks the attributes of a request.
fn check_attributes(store: &Store, requested: &Attributes) -> Result<()> {
    queue::check_attributes(requested, |name| Ok(store.find(name)?.is_some()))
}
