//! Operations that read items by their keys.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::admin::table_name;
use super::bindings::{Bindings, Expressions, invalid};
use super::error::Failure;
use super::parser::Path;
use super::units::{Consumed, Units};
use super::{DynamoDb, Item, path, value};

/// The maximum number of keys of a `BatchGetItem`.
const MAX_KEYS: usize = 100;
/// The maximum size of the items of a `BatchGetItem` in bytes.
const MAX_BATCH_BYTES: usize = 16 * 1024 * 1024;
const PROJECTION: &str = "ProjectionExpression";

impl DynamoDb {
    pub(super) fn get_item(&mut self, request: &Value) -> Result<Value, Failure> {
        let name = table_name(request)?;
        let key = value::attributes(&request["Key"], "Key")?;
        let projection = projection(&mut self.expressions, request)?;
        let is_consistent = is_consistent(request);
        Consumed::default().shown(request, name)?;
        let table = self.tables.get(name).ok_or_else(Failure::no_table)?;
        let item = table.items.get(&table.key_of(&key)?);
        let size = item.map(value::item_size).unwrap_or_default();
        let consumed = Consumed { table: Units::reading(size, is_consistent), indexes: BTreeMap::new() };
        self.units = consumed.total();
        let mut body = json!({});
        if let Some(item) = item {
            body["Item"] = shown(item, projection.as_deref());
        }
        if let Some(capacity) = consumed.shown(request, name)? {
            body["ConsumedCapacity"] = capacity;
        }
        Ok(body)
    }

    pub(super) fn batch_get_item(&mut self, request: &Value) -> Result<Value, Failure> {
        let Some(tables) = request["RequestItems"].as_object().filter(|tables| !tables.is_empty()) else {
            return Err(Failure::invalid(
                "1 validation error detected: Value at 'requestItems' failed to satisfy constraint: Member must have \
                 length greater than or equal to 1",
            ));
        };
        let mut wanted = Vec::new();
        let mut count = 0;
        for (name, of_table) in tables {
            let json = of_table["Keys"].as_array().map(Vec::as_slice).unwrap_or_default();
            let keys = json.iter().map(|key| value::attributes(key, "Key")).collect::<Result<Vec<_>, _>>()?;
            count += keys.len();
            let unique: BTreeSet<String> = keys.iter().map(|key| value::cloned_object(key).to_string()).collect();
            if unique.len() < keys.len() {
                return Err(Failure::invalid("Provided list of item keys contains duplicates"));
            }
            if keys.is_empty() || count > MAX_KEYS {
                return Err(Failure::invalid(format!(
                    "1 validation error detected: Value at 'requestItems.{name}.member.keys' failed to satisfy \
                     constraint: Member must have length between 1 and {MAX_KEYS}"
                )));
            }
            wanted.push((name, of_table, keys, projection(&mut self.expressions, of_table)?));
        }
        Consumed::default().shown(request, "")?;
        let (mut responses, mut unprocessed, mut capacities) = (json!({}), json!({}), Vec::new());
        let (mut bytes, mut is_full, mut units) = (0, false, Units::default());
        for (name, of_table, keys, projection) in wanted {
            let table = self.tables.get(name).ok_or_else(Failure::no_table)?;
            let (mut items, mut left, mut consumed) = (Vec::new(), Vec::new(), Consumed::default());
            for key in keys {
                let item = table.items.get(&table.key_of(&key)?);
                let size = item.map(value::item_size).unwrap_or_default();
                is_full |= bytes + size > MAX_BATCH_BYTES;
                if is_full {
                    left.push(value::object(key));
                    continue;
                }
                bytes += size;
                consumed.table += Units::reading(size, is_consistent(of_table));
                items.extend(item.map(|item| shown(item, projection.as_deref())));
            }
            responses[name] = Value::Array(items);
            if !left.is_empty() {
                unprocessed[name] = of_table.clone();
                unprocessed[name]["Keys"] = Value::Array(left);
            }
            units += consumed.total();
            capacities.extend(consumed.shown(request, name)?);
        }
        self.units = units;
        let mut body = json!({"Responses": responses, "UnprocessedKeys": unprocessed});
        if !capacities.is_empty() {
            body["ConsumedCapacity"] = Value::Array(capacities);
        }
        Ok(body)
    }
}

/// Whether the request asks for a consistent read.
pub(super) fn is_consistent(request: &Value) -> bool {
    request["ConsistentRead"].as_bool().unwrap_or(false)
}

/// The item, or its projected attributes.
pub(super) fn shown(item: &Item, projection: Option<&[Path]>) -> Value {
    match projection {
        Some(paths) => value::object(path::project(item, paths)),
        None => value::cloned_object(item),
    }
}

/// Reads the projection of a request that has no other expressions.
fn projection(expressions: &mut Expressions, request: &Value) -> Result<Option<Vec<Path>>, Failure> {
    if request.get("AttributesToGet").is_some() {
        return Err(Failure::invalid("the in-memory DynamoDB does not support AttributesToGet"));
    }
    let parsed = expressions.projection(request)?;
    let bindings = Bindings::read(request, &[(PROJECTION, parsed.as_ref().map(|parsed| &parsed.references))])?;
    let Some(parsed) = parsed else { return Ok(None) };
    resolved(&parsed.expression, &bindings).map(Some)
}

/// Replaces the placeholders of projected paths by names.
pub(super) fn resolved(paths: &[Path], bindings: &Bindings) -> Result<Vec<Path>, Failure> {
    let paths: Vec<Path> = paths.iter().map(|path| path::resolved(path, bindings)).collect();
    path::check_overlaps(&paths).map_err(|message| invalid(PROJECTION, &message))?;
    Ok(paths)
}
