//! Operations that write an item.

use std::sync::Arc;

use serde_json::{Value, json};

use super::admin::table_name;
use super::bindings::{Bindings, invalid};
use super::condition::Condition;
use super::error::Failure;
use super::parser::Parsed;
use super::table::Table;
use super::units::{Consumed, Units, option};
use super::value::{self, MAX_ITEM_BYTES};
use super::{Change, DynamoDb, Item, Pending, path};

/// Parameters of the API before expressions, which AWS still accepts.
const LEGACY: [&str; 3] = ["Expected", "AttributeUpdates", "ConditionalOperator"];

impl DynamoDb {
    pub(super) fn put_item(&mut self, request: &Value) -> Result<Value, Failure> {
        let name = table_name(request)?;
        let item = value::attributes(&request["Item"], "Item")?;
        let condition = self.expressions.condition(request, CONDITION)?;
        let bindings = Bindings::read(request, &[(CONDITION, references(&condition))])?;
        let returns = option(request, "ReturnValues", &["ALL_OLD", "NONE"])?;
        if value::item_size(&item) > MAX_ITEM_BYTES {
            return Err(Failure::invalid("Item size has exceeded the maximum allowed size"));
        }
        let check = Check::new(request, condition, bindings)?;
        let table = self.tables.get(name).ok_or_else(Failure::no_table)?;
        let key = table.key_of_item(&item)?;
        check.run(table, &key, &mut self.units)?;
        let (old, consumed) = self.write(name, &key, Some(item), false);
        response(request, name, &consumed, old.filter(|_| returns == "ALL_OLD").cloned())
    }

    pub(super) fn delete_item(&mut self, request: &Value) -> Result<Value, Failure> {
        let name = table_name(request)?;
        let key = value::attributes(&request["Key"], "Key")?;
        let condition = self.expressions.condition(request, CONDITION)?;
        let bindings = Bindings::read(request, &[(CONDITION, references(&condition))])?;
        let returns = option(request, "ReturnValues", &["ALL_OLD", "NONE"])?;
        let check = Check::new(request, condition, bindings)?;
        let table = self.tables.get(name).ok_or_else(Failure::no_table)?;
        let key = table.key_of(&key)?;
        check.run(table, &key, &mut self.units)?;
        let (old, consumed) = self.write(name, &key, None, false);
        response(request, name, &consumed, old.filter(|_| returns == "ALL_OLD").cloned())
    }

    pub(super) fn update_item(&mut self, request: &Value) -> Result<Value, Failure> {
        let name = table_name(request)?;
        let key = value::attributes(&request["Key"], "Key")?;
        let update = self.expressions.update(request)?;
        let condition = self.expressions.condition(request, CONDITION)?;
        let used = update.as_ref().map(|update| &update.references);
        let bindings = Bindings::read(request, &[(UPDATE, used), (CONDITION, references(&condition))])?;
        if let Some(update) = &update {
            update.expression.check(&bindings).map_err(|message| invalid(UPDATE, &message))?;
        }
        let returns = option(request, "ReturnValues", &["ALL_NEW", "UPDATED_OLD", "ALL_OLD", "NONE", "UPDATED_NEW"])?;
        let check = Check::new(request, condition, bindings)?;
        let table = self.tables.get(name).ok_or_else(Failure::no_table)?;
        let text = table.key_of(&key)?;
        let targets = update.as_ref().map(|update| update.expression.targets(&check.bindings)).unwrap_or_default();
        check.run(table, &text, &mut self.units)?;
        let is_target = |name: &&String| {
            targets.iter().any(|target| target.first() == Some(&super::parser::Step::Name((*name).clone())))
        };
        if let Some(key) = table.keys.iter().find(is_target) {
            return Err(Failure::parameter(format!(
                "Cannot update attribute {key}. This attribute is part of the key"
            )));
        }
        let old = table.items.get(&text).unwrap_or(&key);
        let new = match &update {
            Some(update) => update.expression.apply(old, &check.bindings).map_err(Failure::invalid)?,
            None => old.clone(),
        };
        for target in &targets {
            // An update can nest values deeper, but its numbers are valid already.
            if let Some(Some(value)) = target.first().map(|_| path::get(&new, target, &Bindings::default())) {
                value::normalize(&mut value.clone(), target.len() - 1)?;
            }
        }
        table.check_index_keys(&new)?;
        if value::item_size(&new) > MAX_ITEM_BYTES {
            return Err(Failure::invalid("Item size to update has exceeded the maximum allowed size"));
        }
        let new_values = match returns {
            "ALL_NEW" => Some(new.clone()),
            "UPDATED_NEW" => Some(path::project(&new, &targets)),
            _ => None,
        };
        let (old, consumed) = self.write(name, &text, Some(new), false);
        let values = match returns {
            "ALL_OLD" => old.cloned(),
            "UPDATED_OLD" => old.map(|old| path::project(old, &targets)),
            _ => new_values,
        };
        response(request, name, &consumed, values.filter(|values| !values.is_empty()))
    }

    /// Writes or removes an item, and changes the indexes unless they are held.
    pub(super) fn write(
        &mut self,
        name: &str,
        key: &str,
        new: Option<Item>,
        expired: bool,
    ) -> (Option<&Item>, Consumed) {
        let mut consumed = Consumed::default();
        let Some(table) = self.tables.get_mut(name) else { return (None, consumed) };
        let new_size = new.as_ref().map(value::item_size);
        let (old, changes) = table.store(key, new.clone());
        let size = new_size.max(old.as_ref().map(value::item_size)).unwrap_or_default();
        consumed.table.write = Units::writing(size);
        for change in changes {
            consumed.indexes.insert(change.index.clone(), Units { read: 0.0, write: change.units });
            if self.holds_indexes {
                self.pending.push_back(Pending { table: name.to_owned(), change });
            } else {
                table.apply(change);
            }
        }
        self.units = consumed.total();
        if old.is_none() && new.is_none() {
            return (None, consumed);
        }
        let (table, key) = (name.to_owned(), key.to_owned());
        self.changes.push(Change { table, key, old, new, expired });
        (self.changes.last().and_then(|change| change.old.as_ref()), consumed)
    }
}

const CONDITION: &str = "ConditionExpression";
const UPDATE: &str = "UpdateExpression";

fn references<T>(parsed: &Option<Arc<Parsed<T>>>) -> Option<&super::parser::References> {
    parsed.as_ref().map(|parsed| &parsed.references)
}

fn response(request: &Value, name: &str, consumed: &Consumed, values: Option<Item>) -> Result<Value, Failure> {
    let mut body = json!({});
    if let Some(values) = values {
        body["Attributes"] = value::object(values);
    }
    if let Some(capacity) = consumed.shown(request, name)? {
        body["ConsumedCapacity"] = capacity;
    }
    Ok(body)
}

/// The condition of a write.
struct Check {
    condition: Option<Arc<Parsed<Condition>>>,
    bindings: Bindings,
    returns_old: bool,
}

impl Check {
    fn new(request: &Value, condition: Option<Arc<Parsed<Condition>>>, bindings: Bindings) -> Result<Self, Failure> {
        if let Some(legacy) = LEGACY.iter().find(|legacy| request.get(**legacy).is_some()) {
            return Err(Failure::invalid(format!("the in-memory DynamoDB does not support {legacy}")));
        }
        if let Some(condition) = &condition {
            condition.expression.check(&bindings).map_err(|message| invalid(CONDITION, &message))?;
        }
        Consumed::default().shown(request, "")?;
        let on_failure = option(request, "ReturnValuesOnConditionCheckFailure", &["ALL_OLD", "NONE"])?;
        Ok(Check { condition, bindings, returns_old: on_failure == "ALL_OLD" })
    }

    /// Checks the stored item. A failed condition costs as much as writing the item that it found.
    fn run(&self, table: &Table, key: &str, units: &mut Units) -> Result<(), Failure> {
        let Some(condition) = &self.condition else { return Ok(()) };
        let stored = table.items.get(key);
        if condition.expression.holds(stored.unwrap_or(&Item::new()), &self.bindings) {
            return Ok(());
        }
        units.write = Units::writing(stored.map(value::item_size).unwrap_or_default());
        Err(Failure::condition(stored.filter(|_| self.returns_old).cloned()))
    }
}
