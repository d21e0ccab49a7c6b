//! The expressions of a request, and the names and values that their placeholders stand for.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::condition::Condition;
use super::error::Failure;
use super::parser::{self, Parsed, Parser, Path, References};
use super::update::Update;
use super::{Item, path, value};

/// The number of texts of one kind whose parsed forms are kept.
const CACHED: usize = 1_000;

/// Parsed expressions by their text. Programs send few different texts.
#[derive(Debug, Default)]
pub(super) struct Expressions {
    conditions: Cache<Condition>,
    updates: Cache<Update>,
    projections: Cache<Vec<Path>>,
}

impl Expressions {
    /// Parses a condition, filter or key condition, if the request has it.
    pub(super) fn condition(
        &mut self,
        request: &Value,
        member: &str,
    ) -> Result<Option<Arc<Parsed<Condition>>>, Failure> {
        self.conditions.get(request, member, Condition::parse)
    }

    /// Parses the update, if the request has one.
    pub(super) fn update(&mut self, request: &Value) -> Result<Option<Arc<Parsed<Update>>>, Failure> {
        self.updates.get(request, "UpdateExpression", Update::parse)
    }

    /// Parses the projection, if the request has one.
    pub(super) fn projection(&mut self, request: &Value) -> Result<Option<Arc<Parsed<Vec<Path>>>>, Failure> {
        self.projections.get(request, "ProjectionExpression", path::parse_projection)
    }
}

#[derive(Debug)]
struct Cache<T>(BTreeMap<String, Arc<Parsed<T>>>);

impl<T> Default for Cache<T> {
    fn default() -> Self {
        Cache(BTreeMap::new())
    }
}

impl<T> Cache<T> {
    fn get(
        &mut self,
        request: &Value,
        member: &str,
        rule: fn(&mut Parser<'_>) -> Result<T, String>,
    ) -> Result<Option<Arc<Parsed<T>>>, Failure> {
        let text = match request.get(member) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::String(text)) => text,
            Some(_) => return Err(Failure::malformed(format!("{member} is not a string"))),
        };
        if let Some(parsed) = self.0.get(text) {
            return Ok(Some(parsed.clone()));
        }
        let parsed = parser::parse(text, rule).map_err(|message| invalid(member, &message))?;
        if self.0.len() >= CACHED {
            self.0.clear();
        }
        let parsed = Arc::new(parsed);
        self.0.insert(text.clone(), parsed.clone());
        Ok(Some(parsed))
    }
}

/// The failure of an expression.
pub(super) fn invalid(member: &str, message: &str) -> Failure {
    Failure::invalid(format!("Invalid {member}: {message}"))
}

/// The names and values that placeholders stand for.
#[derive(Debug, Default)]
pub(super) struct Bindings {
    names: BTreeMap<String, String>,
    values: Item,
}

impl Bindings {
    /// Reads `ExpressionAttributeNames` and `ExpressionAttributeValues`. The request must define exactly the
    /// placeholders that its expressions use.
    ///
    /// # Errors
    /// If a placeholder is invalid, undefined or unused.
    pub(super) fn read(request: &Value, expressions: &[(&str, Option<&References>)]) -> Result<Self, Failure> {
        let mut bindings = Bindings::default();
        let has_expressions = expressions.iter().any(|(_, references)| references.is_some());
        let members = |member: &str| -> Result<_, Failure> {
            let members = match request.get(member) {
                None | Some(Value::Null) => return Ok(None),
                Some(Value::Object(members)) => members,
                Some(_) => return Err(Failure::malformed(format!("{member} is not an object"))),
            };
            if !has_expressions {
                return Err(Failure::invalid(format!("{member} can only be specified when using expressions")));
            }
            match members.is_empty() {
                true => Err(Failure::invalid(format!("{member} must not be empty"))),
                false => Ok(Some(members)),
            }
        };
        for (placeholder, name) in members("ExpressionAttributeNames")?.into_iter().flatten() {
            check_placeholder("ExpressionAttributeNames", placeholder, '#')?;
            let name = name.as_str().ok_or_else(|| Failure::malformed("an attribute name is not a string"))?;
            bindings.names.insert(placeholder.clone(), name.to_owned());
        }
        if members("ExpressionAttributeValues")?.is_some() {
            let json = &request["ExpressionAttributeValues"];
            bindings.values = value::attributes(json, "ExpressionAttributeValues")?;
            for placeholder in bindings.values.keys() {
                check_placeholder("ExpressionAttributeValues", placeholder, ':')?;
            }
        }
        bindings.check(expressions)?;
        Ok(bindings)
    }

    fn check(&self, expressions: &[(&str, Option<&References>)]) -> Result<(), Failure> {
        let used = || expressions.iter().filter_map(|(_, references)| *references);
        for (member, references) in expressions {
            let Some(references) = references else { continue };
            if let Some(name) = references.names.iter().find(|name| !self.names.contains_key(*name)) {
                let message = format!(
                    "An expression attribute name used in the document path is not defined; attribute name: {name}"
                );
                return Err(invalid(member, &message));
            }
            if let Some(value) = references.values.iter().find(|value| !self.values.contains_key(*value)) {
                let message = format!(
                    "An expression attribute value used in expression is not defined; attribute value: {value}"
                );
                return Err(invalid(member, &message));
            }
        }
        let unused = |member: &str, keys: Vec<&str>| match keys.is_empty() {
            true => Ok(()),
            false => Err(Failure::invalid(format!(
                "Value provided in {member} unused in expressions: keys: {{{}}}",
                keys.join(", ")
            ))),
        };
        let names = self.names.keys().filter(|name| !used().any(|references| references.names.contains(*name)));
        unused("ExpressionAttributeNames", names.map(String::as_str).collect())?;
        let values = self.values.keys().filter(|value| !used().any(|references| references.values.contains(*value)));
        unused("ExpressionAttributeValues", values.map(String::as_str).collect())
    }

    /// The attribute name that a name in an expression stands for.
    pub(super) fn name<'b>(&'b self, name: &'b str) -> &'b str {
        self.names.get(name).map_or(name, String::as_str)
    }

    /// The value of a placeholder.
    pub(super) fn value(&self, placeholder: &str) -> Option<&Value> {
        self.values.get(placeholder)
    }
}

fn check_placeholder(member: &str, placeholder: &str, first: char) -> Result<(), Failure> {
    let is_in_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    match placeholder.strip_prefix(first) {
        Some(rest) if !rest.is_empty() && rest.chars().all(is_in_word) => Ok(()),
        _ => Err(Failure::invalid(format!("{member} contains invalid key: Syntax error; key: \"{placeholder}\""))),
    }
}
