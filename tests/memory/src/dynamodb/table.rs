//! Tables and their global secondary indexes.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::error::Failure;
use super::units::Units;
use super::{Item, value};

/// The maximum size of a partition key in bytes.
const MAX_KEY_BYTES: usize = 2048;
/// The maximum size of a sort key in bytes.
const MAX_SORT_KEY_BYTES: usize = 1024;
/// DynamoDB does not remove items whose TTL was more than five years ago. In seconds.
const TTL_PAST: i64 = 5 * 365 * 86_400;

/// The character between a partition key and a sort key. It sorts before all others.
pub const KEY_SEPARATOR: char = '\0';

/// The names of a table's keys, which are of type S.
#[derive(Debug, Clone, Default)]
pub(super) struct KeyNames {
    pub(super) partition: String,
    pub(super) sort: Option<String>,
}

impl KeyNames {
    /// Whether an attribute is a key.
    pub(super) fn has(&self, name: &str) -> bool {
        name == self.partition || self.sort.as_deref() == Some(name)
    }

    /// The names of the keys.
    pub(super) fn iter(&self) -> impl Iterator<Item = &String> {
        std::iter::once(&self.partition).chain(&self.sort)
    }
}

/// A table.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) keys: KeyNames,
    /// The items by their keys: the partition key, and [`KEY_SEPARATOR`] and the sort key if the table has one.
    pub(super) items: BTreeMap<String, Item>,
    pub(super) indexes: Vec<Index>,
    /// The attribute that says when an item expires, in seconds since 1970.
    ttl: Option<String>,
    /// The keys of items by the time at which they expire.
    expiry: BTreeSet<(i64, String)>,
    /// Whether point-in-time recovery is enabled.
    pub(super) has_backups: bool,
    /// The time of creation in milliseconds since 1970.
    pub(super) created: i64,
}

/// The partition key, the sort key and the table's key of an index entry. The sort key is empty if the index has none.
pub(super) type EntryKey = (String, String, String);

/// A global secondary index with keys of type S.
#[derive(Debug, Clone)]
pub(super) struct Index {
    pub(super) name: String,
    /// The name of the partition key.
    pub(super) partition: String,
    /// The name of the sort key.
    pub(super) sort: Option<String>,
    pub(super) projection: Projection,
    pub(super) entries: BTreeMap<EntryKey, Item>,
}

/// The attributes that an index contains besides the keys.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Projection {
    KeysOnly,
    Include(BTreeSet<String>),
    All,
}

/// A change of an index that queries may not see yet.
#[derive(Debug, Clone)]
pub(super) struct IndexChange {
    pub(super) index: String,
    remove: Option<EntryKey>,
    insert: Option<(EntryKey, Item)>,
    /// The write units of the change.
    pub(super) units: u64,
}

impl Table {
    /// Stores an item or removes it. Returns the previous item, and the changes of indexes in their order.
    pub(super) fn store(&mut self, key: &str, new: Option<Item>) -> (Option<Item>, Vec<IndexChange>) {
        let old = self.items.get(key);
        let changes =
            self.indexes.iter().filter_map(|index| index.change(&self.keys, key, old, new.as_ref())).collect();
        let (expired, expires) =
            (old.and_then(|old| self.expires(old)), new.as_ref().and_then(|new| self.expires(new)));
        if expired != expires {
            if let Some(at) = expired {
                self.expiry.remove(&(at, key.to_owned()));
            }
            if let Some(at) = expires {
                self.expiry.insert((at, key.to_owned()));
            }
        }
        let old = match new {
            Some(new) => self.items.insert(key.to_owned(), new),
            None => self.items.remove(key),
        };
        (old, changes)
    }

    /// Applies a change to its index, if that still exists.
    pub(super) fn apply(&mut self, change: IndexChange) {
        if let Some(index) = self.indexes.iter_mut().find(|index| index.name == change.index) {
            index.apply(change);
        }
    }

    /// Returns an index.
    ///
    /// # Errors
    /// If the table does not have it.
    pub(super) fn index(&self, name: &str) -> Result<&Index, Failure> {
        let found = self.indexes.iter().find(|index| index.name == name);
        found.ok_or_else(|| Failure::invalid(format!("The table does not have the specified index: {name}")))
    }

    /// Adds an index with the entries of all items.
    pub(super) fn add_index(&mut self, mut index: Index) {
        for (key, item) in &self.items {
            if let Some(change) = index.change(&self.keys, key, None, Some(item)) {
                index.apply(change);
            }
        }
        self.indexes.push(index);
    }

    // === Keys ===

    /// Returns the key of a `Key`, which has no other attributes.
    ///
    /// # Errors
    /// If it is not a key of this table.
    pub(super) fn key_of(&self, key: &Item) -> Result<String, Failure> {
        if key.len() != self.keys.iter().count() {
            return Err(Failure::invalid("The provided key element does not match the schema"));
        }
        self.stored_key(key, |_, _| Failure::invalid("The provided key element does not match the schema"))
    }

    /// Returns the key of an item, and checks the keys of its indexes.
    ///
    /// # Errors
    /// If a key is invalid.
    pub(super) fn key_of_item(&self, item: &Item) -> Result<String, Failure> {
        let key = self.stored_key(item, |name, kind| {
            Failure::parameter(match kind {
                None => format!("Missing the key {name} in the item"),
                Some(kind) => format!("Type mismatch for key {name} expected: S actual: {kind}"),
            })
        })?;
        self.check_index_keys(item)?;
        Ok(key)
    }

    /// Returns the key of an item. `wrong` is the error for a key with this name that is missing or of another type.
    fn stored_key(&self, item: &Item, wrong: impl Fn(&str, Option<&str>) -> Failure) -> Result<String, Failure> {
        let text = |name: &String, max: usize| -> Result<String, Failure> {
            let (kind, content) = value::typed(item.get(name).ok_or_else(|| wrong(name, None))?);
            let text = content.as_str().filter(|_| kind == "S").ok_or_else(|| wrong(name, Some(kind)))?;
            checked_key(name, text, max)
        };
        let mut key = text(&self.keys.partition, MAX_KEY_BYTES)?;
        if let Some(sort) = &self.keys.sort {
            key.push(KEY_SEPARATOR);
            key.push_str(&text(sort, MAX_SORT_KEY_BYTES)?);
        }
        Ok(key)
    }

    /// Checks the attributes of an item that are keys of indexes. An item without them is not in the index.
    ///
    /// # Errors
    /// If one is empty, too large or not of type S.
    pub(super) fn check_index_keys(&self, item: &Item) -> Result<(), Failure> {
        for index in &self.indexes {
            let keys = [(Some(&index.partition), MAX_KEY_BYTES), (index.sort.as_ref(), MAX_SORT_KEY_BYTES)];
            for (name, max) in keys.into_iter().filter_map(|(name, max)| Some((name?, max))) {
                let Some(value) = item.get(name) else { continue };
                let (kind, content) = value::typed(value);
                let of_index = &index.name;
                match content.as_str().filter(|_| kind == "S") {
                    None => {
                        return Err(Failure::parameter(format!(
                            "Type mismatch for Index Key {name} Expected: S Actual: {kind} IndexName: {of_index}"
                        )));
                    }
                    Some("") => {
                        return Err(Failure::invalid(format!(
                            "One or more parameter values are not valid. A value specified for a secondary index key \
                             is not supported. The AttributeValue for a key attribute cannot contain an empty string \
                             value. IndexName: {of_index}, IndexKey: {name}"
                        )));
                    }
                    Some(text) if text.len() > max => {
                        return Err(Failure::parameter(format!(
                            "Size of the index key {name} has exceeded the maximum size limit of {max} bytes. \
                             IndexName: {of_index}"
                        )));
                    }
                    Some(_) => {}
                }
            }
        }
        Ok(())
    }

    // === TTL ===

    /// The attribute that says when an item expires.
    pub(super) fn ttl(&self) -> Option<&str> {
        self.ttl.as_deref()
    }

    /// Sets the attribute that says when an item expires.
    pub(super) fn set_ttl(&mut self, attribute: Option<String>) {
        self.ttl = attribute;
        let expires = |(key, item): (&String, &Item)| Some((self.expires(item)?, key.clone()));
        self.expiry = self.items.iter().filter_map(expires).collect();
    }

    fn expires(&self, item: &Item) -> Option<i64> {
        let text = value::text(item.get(self.ttl.as_ref()?)?, "N")?;
        text.split('.').next()?.parse().ok()
    }

    /// The keys of items that expired before `now`, in seconds since 1970. The first expired comes first.
    pub(super) fn expired(&self, now: i64) -> Vec<String> {
        let range = (now - TTL_PAST, String::new())..(now, String::new());
        self.expiry.range(range).map(|(_, key)| key.clone()).collect()
    }
}

/// Checks the value of the key `name`.
fn checked_key(name: &str, text: &str, max: usize) -> Result<String, Failure> {
    if text.is_empty() {
        return Err(Failure::invalid(format!(
            "One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an \
             empty string value. Key: {name}"
        )));
    }
    if text.len() > max {
        let kind = if max == MAX_KEY_BYTES { "hashkey" } else { "rangekey" };
        return Err(Failure::parameter(format!("Size of {kind} has exceeded the maximum size limit of{max} bytes")));
    }
    Ok(text.to_owned())
}

impl Index {
    /// Whether the index contains an attribute.
    pub(super) fn has(&self, table_keys: &KeyNames, name: &str) -> bool {
        let is_key = table_keys.has(name) || name == self.partition || self.sort.as_deref() == Some(name);
        is_key
            || match &self.projection {
                Projection::KeysOnly => false,
                Projection::Include(names) => names.contains(name),
                Projection::All => true,
            }
    }

    /// The key of an item's entry; `None` if the item has none.
    fn entry_key(&self, key: &str, item: &Item) -> Option<EntryKey> {
        let text = |name: &str| Some(value::text(item.get(name)?, "S")?.to_owned());
        let sort = self.sort.as_ref().map_or(Some(String::new()), |sort| text(sort))?;
        Some((text(&self.partition)?, sort, key.to_owned()))
    }

    fn projected<'i>(
        &'i self,
        table_keys: &'i KeyNames,
        item: &'i Item,
    ) -> impl Iterator<Item = (&'i String, &'i Value)> {
        item.iter().filter(move |(name, _)| self.has(table_keys, name))
    }

    /// The change of this index when an item changes; `None` if its entry stays the same.
    fn change(&self, table_keys: &KeyNames, key: &str, old: Option<&Item>, new: Option<&Item>) -> Option<IndexChange> {
        let entry = |item: Option<&Item>| self.entry_key(key, item?);
        let (remove, insert) = (entry(old), entry(new));
        let size = |item: Option<&Item>| -> usize {
            let attributes = item.into_iter().flat_map(|item| self.projected(table_keys, item));
            attributes.map(|(name, value)| name.len() + value::size(value)).sum()
        };
        let units = match (&remove, &insert, old, new) {
            (None, None, ..) => return None,
            (Some(from), Some(to), Some(old), Some(new)) if from == to => {
                if self.projected(table_keys, old).eq(self.projected(table_keys, new)) {
                    return None;
                }
                Units::writing(size(Some(old)).max(size(Some(new))))
            }
            (Some(_), Some(_), ..) => Units::writing(size(old)) + Units::writing(size(new)),
            (Some(_), None, ..) => Units::writing(size(old)),
            (None, Some(_), ..) => Units::writing(size(new)),
        };
        let remove = remove.filter(|from| insert.as_ref() != Some(from));
        let projected = |item: &Item| {
            let attributes = self.projected(table_keys, item);
            attributes.map(|(name, value)| (name.clone(), value.clone())).collect()
        };
        let insert = insert.zip(new.map(projected));
        Some(IndexChange { index: self.name.clone(), remove, insert, units })
    }

    fn apply(&mut self, change: IndexChange) {
        if let Some(key) = change.remove {
            self.entries.remove(&key);
        }
        if let Some((key, entry)) = change.insert {
            self.entries.insert(key, entry);
        }
    }
}

// === Definition ===

impl Table {
    /// Creates a table from a `CreateTable` request.
    ///
    /// # Errors
    /// If the definition is invalid or not supported.
    pub(super) fn create(request: &Value, now: i64) -> Result<Self, Failure> {
        let types = key_types(request)?;
        let (partition, sort) = keys(&request["KeySchema"], &types)?;
        let mut table = Table { keys: KeyNames { partition, sort }, created: now, ..Table::default() };
        let indexes = request["GlobalSecondaryIndexes"].as_array().map(Vec::as_slice).unwrap_or_default();
        for definition in indexes {
            table.add_index(Index::create(definition, &types)?);
        }
        match request["LocalSecondaryIndexes"].as_array().is_some_and(|indexes| !indexes.is_empty()) {
            true => Err(Failure::invalid("the in-memory DynamoDB does not support local secondary indexes")),
            false => Ok(table),
        }
    }

    /// The description in responses.
    pub(super) fn description(&self, name: &str) -> Value {
        let mut names: BTreeSet<&String> = self.keys.iter().collect();
        names.extend(self.indexes.iter().flat_map(|index| [Some(&index.partition), index.sort.as_ref()]).flatten());
        let definitions = names.iter().map(|name| json!({"AttributeName": name, "AttributeType": "S"}));
        let mut description = json!({
            "TableName": name,
            "TableStatus": "ACTIVE",
            "TableArn": format!("arn:aws:dynamodb:us-east-1:123456789012:table/{name}"),
            "AttributeDefinitions": definitions.collect::<Vec<_>>(),
            "KeySchema": key_schema(&self.keys.partition, self.keys.sort.as_ref()),
            "BillingModeSummary": {"BillingMode": "PAY_PER_REQUEST"},
            "CreationDateTime": self.created / 1000,
            "ItemCount": self.items.len(),
        });
        if !self.indexes.is_empty() {
            description["GlobalSecondaryIndexes"] = self.indexes.iter().map(Index::description).collect();
        }
        description
    }
}

impl Index {
    /// Creates an empty index from its definition.
    ///
    /// # Errors
    /// If the definition is invalid.
    pub(super) fn create(definition: &Value, types: &BTreeMap<&str, &str>) -> Result<Self, Failure> {
        let (partition, sort) = keys(&definition["KeySchema"], types)?;
        let projection = match definition["Projection"]["ProjectionType"].as_str() {
            Some("KEYS_ONLY") => Projection::KeysOnly,
            Some("ALL") => Projection::All,
            Some("INCLUDE") => {
                let names = definition["Projection"]["NonKeyAttributes"].as_array().into_iter().flatten();
                Projection::Include(names.filter_map(|name| name.as_str().map(str::to_owned)).collect())
            }
            _ => return Err(Failure::parameter("Unknown ProjectionType")),
        };
        let name = definition["IndexName"].as_str().unwrap_or_default().to_owned();
        Ok(Index { name, partition, sort, projection, entries: BTreeMap::new() })
    }

    fn description(&self) -> Value {
        let keys = key_schema(&self.partition, self.sort.as_ref());
        let projection = match &self.projection {
            Projection::KeysOnly => json!({"ProjectionType": "KEYS_ONLY"}),
            Projection::Include(names) => json!({"ProjectionType": "INCLUDE", "NonKeyAttributes": names}),
            Projection::All => json!({"ProjectionType": "ALL"}),
        };
        json!({"IndexName": self.name, "IndexStatus": "ACTIVE", "KeySchema": keys, "Projection": projection})
    }
}

/// The `KeySchema` of a description.
fn key_schema(partition: &str, sort: Option<&String>) -> Vec<Value> {
    let mut keys = vec![json!({"AttributeName": partition, "KeyType": "HASH"})];
    keys.extend(sort.map(|sort| json!({"AttributeName": sort, "KeyType": "RANGE"})));
    keys
}

/// The types of attributes by `AttributeDefinitions`.
pub(super) fn key_types(request: &Value) -> Result<BTreeMap<&str, &str>, Failure> {
    let definitions = request["AttributeDefinitions"].as_array().into_iter().flatten();
    definitions
        .map(|definition| match (definition["AttributeName"].as_str(), definition["AttributeType"].as_str()) {
            (Some(name), Some(kind)) => Ok((name, kind)),
            _ => Err(Failure::parameter("AttributeDefinitions need a name and a type")),
        })
        .collect()
}

/// The names of the partition key and the sort key of a `KeySchema`.
fn keys(schema: &Value, types: &BTreeMap<&str, &str>) -> Result<(String, Option<String>), Failure> {
    let mut keys = Vec::new();
    for key in schema.as_array().into_iter().flatten() {
        let name = key["AttributeName"].as_str().unwrap_or_default();
        let kind = if keys.is_empty() { "HASH" } else { "RANGE" };
        if key["KeyType"] != kind {
            return Err(Failure::invalid(format!("Invalid KeySchema: the key {name} must have the type {kind}")));
        }
        match types.get(name) {
            Some(&"S") => keys.push(name.to_owned()),
            Some(kind) => {
                return Err(Failure::invalid(format!(
                    "the in-memory DynamoDB does not support keys of type {kind}: {name}"
                )));
            }
            None => {
                return Err(Failure::parameter(format!(
                    "Some index key attributes are not defined in AttributeDefinitions. Keys: [{name}]"
                )));
            }
        }
    }
    let mut keys = keys.into_iter();
    match (keys.next(), keys.next(), keys.next()) {
        (Some(partition), sort, None) => Ok((partition, sort)),
        _ => Err(Failure::invalid("Invalid KeySchema: a table or an index has one or two keys")),
    }
}
