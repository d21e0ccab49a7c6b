//! Operations on tables.

use serde_json::{Value, json};

use super::DynamoDb;
use super::error::Failure;
use super::table::{Index, Table, key_types};

impl DynamoDb {
    pub(super) fn create_table(&mut self, request: &Value, now: i64) -> Result<Value, Failure> {
        let name = table_name(request)?;
        if self.tables.contains_key(name) {
            return Err(Failure::table_exists(name));
        }
        let table = Table::create(request, now)?;
        let description = table.description(name);
        self.tables.insert(name.to_owned(), table);
        Ok(json!({"TableDescription": description}))
    }

    pub(super) fn describe_table(&self, request: &Value) -> Result<Value, Failure> {
        let name = table_name(request)?;
        let table = self.tables.get(name).ok_or_else(|| Failure::no_table_named(name))?;
        Ok(json!({"Table": table.description(name)}))
    }

    /// Adds and removes indexes. Other updates are ignored.
    pub(super) fn update_table(&mut self, request: &Value) -> Result<Value, Failure> {
        let name = table_name(request)?;
        let table = self.tables.get_mut(name).ok_or_else(|| Failure::no_table_named(name))?;
        for update in request["GlobalSecondaryIndexUpdates"].as_array().into_iter().flatten() {
            if let Some(definition) = update.get("Create").filter(|definition| !definition.is_null()) {
                let index = Index::create(definition, &key_types(request)?)?;
                if table.index(&index.name).is_ok() {
                    return Err(Failure::parameter(format!("the index {} exists already", index.name)));
                }
                table.add_index(index);
            } else if let Some(index) = update["Delete"]["IndexName"].as_str() {
                table.indexes.retain(|found| found.name != index);
            }
        }
        Ok(json!({"TableDescription": table.description(name)}))
    }

    pub(super) fn list_tables(&self) -> Value {
        json!({"TableNames": self.tables.keys().collect::<Vec<_>>()})
    }

    pub(super) fn update_time_to_live(&mut self, request: &Value) -> Result<Value, Failure> {
        let name = table_name(request)?;
        let specification = &request["TimeToLiveSpecification"];
        let (Some(attribute), Some(enabled)) =
            (specification["AttributeName"].as_str(), specification["Enabled"].as_bool())
        else {
            return Err(Failure::invalid("TimeToLiveSpecification needs AttributeName and Enabled"));
        };
        let table = self.tables.get_mut(name).ok_or_else(|| Failure::no_table_named(name))?;
        match (table.ttl(), enabled) {
            (Some(_), true) => return Err(Failure::invalid("TimeToLive is already enabled")),
            (None, false) => return Err(Failure::invalid("TimeToLive is already disabled")),
            (Some(current), false) if current != attribute => {
                return Err(Failure::invalid(format!("TimeToLive is active on a different AttributeName: {current}")));
            }
            _ => table.set_ttl(enabled.then(|| attribute.to_owned())),
        }
        Ok(json!({"TimeToLiveSpecification": specification}))
    }

    pub(super) fn describe_time_to_live(&self, request: &Value) -> Result<Value, Failure> {
        let name = table_name(request)?;
        let table = self.tables.get(name).ok_or_else(|| Failure::no_table_named(name))?;
        let description = match table.ttl() {
            Some(attribute) => json!({"TimeToLiveStatus": "ENABLED", "AttributeName": attribute}),
            None => json!({"TimeToLiveStatus": "DISABLED"}),
        };
        Ok(json!({"TimeToLiveDescription": description}))
    }

    pub(super) fn update_continuous_backups(&mut self, request: &Value) -> Result<Value, Failure> {
        let name = table_name(request)?;
        let enabled = request["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"].as_bool();
        let enabled = enabled.ok_or_else(|| Failure::invalid("PointInTimeRecoveryEnabled is missing"))?;
        self.tables.get_mut(name).ok_or_else(|| Failure::no_table_named(name))?.has_backups = enabled;
        self.describe_continuous_backups(request)
    }

    pub(super) fn describe_continuous_backups(&self, request: &Value) -> Result<Value, Failure> {
        let name = table_name(request)?;
        let table = self.tables.get(name).ok_or_else(|| Failure::no_table_named(name))?;
        let status = if table.has_backups { "ENABLED" } else { "DISABLED" };
        Ok(json!({"ContinuousBackupsDescription": {
            "ContinuousBackupsStatus": "ENABLED",
            "PointInTimeRecoveryDescription": {"PointInTimeRecoveryStatus": status},
        }}))
    }
}

/// Returns the name of the table.
///
/// # Errors
/// If the request does not have a valid one.
pub(super) fn table_name(request: &Value) -> Result<&str, Failure> {
    let Some(name) = request["TableName"].as_str() else {
        return Err(Failure::invalid("The parameter 'TableName' is required but was not present in the request"));
    };
    let is_valid = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    match (3..=255).contains(&name.len()) && name.chars().all(is_valid) {
        true => Ok(name),
        false => Err(Failure::invalid(
            "Invalid table/index name.  Table/index names must be between 3 and 255 characters long, and may contain \
             only the characters a-z, A-Z, 0-9, '_', '-', and '.'",
        )),
    }
}
