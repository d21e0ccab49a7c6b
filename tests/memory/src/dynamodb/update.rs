//! Update expressions.

use serde_json::{Value, json};

use super::bindings::Bindings;
use super::parser::{Parser, Path};
use super::{Item, number, path, value};

/// The message for an operand that has the wrong type for its operation.
const WRONG_TYPE: &str = "An operand in the update expression has an incorrect data type";

/// A parsed update.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Update {
    sets: Vec<(Path, Operand)>,
    removes: Vec<Path>,
    /// Paths, and placeholders of values.
    adds: Vec<(Path, String)>,
    deletes: Vec<(Path, String)>,
}

/// The right side of a `SET`.
#[derive(Debug, Clone, PartialEq)]
enum Operand {
    Path(Path),
    /// A placeholder such as `:value`.
    Value(String),
    IfNotExists(Path, Box<Operand>),
    ListAppend(Box<Operand>, Box<Operand>),
    Plus(Box<Operand>, Box<Operand>),
    Minus(Box<Operand>, Box<Operand>),
}

// === Syntax ===

impl Update {
    /// Parses an update: each section at most once, in any order.
    pub(super) fn parse(parser: &mut Parser<'_>) -> Result<Self, String> {
        let mut update = Update::default();
        while !parser.is_at_end() || update == Update::default() {
            if parser.takes_keyword("SET") {
                section(parser, "SET", &mut update.sets, |parser| {
                    let path = parser.path()?;
                    parser.expect("=")?;
                    Ok((path, Operand::parse(parser)?))
                })?;
            } else if parser.takes_keyword("REMOVE") {
                section(parser, "REMOVE", &mut update.removes, Parser::path)?;
            } else if parser.takes_keyword("ADD") {
                section(parser, "ADD", &mut update.adds, path_and_value)?;
            } else if parser.takes_keyword("DELETE") {
                section(parser, "DELETE", &mut update.deletes, path_and_value)?;
            } else {
                return Err(parser.syntax_error());
            }
        }
        Ok(update)
    }
}

fn section<'t, T>(
    parser: &mut Parser<'t>,
    name: &str,
    actions: &mut Vec<T>,
    rule: impl Fn(&mut Parser<'t>) -> Result<T, String>,
) -> Result<(), String> {
    if !actions.is_empty() {
        return Err(format!("The \"{name}\" section can only be used once in an update expression;"));
    }
    actions.push(rule(parser)?);
    while parser.takes(",") {
        actions.push(rule(parser)?);
    }
    Ok(())
}

fn path_and_value(parser: &mut Parser<'_>) -> Result<(Path, String), String> {
    let path = parser.path()?;
    match parser.value() {
        Some(value) => Ok((path, value)),
        None => Err(parser.syntax_error()),
    }
}

impl Operand {
    fn parse(parser: &mut Parser<'_>) -> Result<Self, String> {
        let left = Operand::single(parser)?;
        if parser.takes("+") {
            Ok(Operand::Plus(Box::new(left), Box::new(Operand::single(parser)?)))
        } else if parser.takes("-") {
            Ok(Operand::Minus(Box::new(left), Box::new(Operand::single(parser)?)))
        } else {
            Ok(left)
        }
    }

    fn single(parser: &mut Parser<'_>) -> Result<Self, String> {
        if parser.takes("(") {
            let operand = Operand::parse(parser)?;
            parser.expect(")")?;
            return Ok(operand);
        }
        let operand = match parser.function() {
            Some("if_not_exists") => {
                let path = parser.path()?;
                parser.expect(",")?;
                Operand::IfNotExists(path, Box::new(Operand::single(parser)?))
            }
            Some("list_append") => {
                let first = Operand::single(parser)?;
                parser.expect(",")?;
                Operand::ListAppend(Box::new(first), Box::new(Operand::single(parser)?))
            }
            Some(function) => return Err(format!("Invalid function name; function: {function}")),
            None => {
                return match parser.value() {
                    Some(value) => Ok(Operand::Value(value)),
                    None => Ok(Operand::Path(parser.path()?)),
                };
            }
        };
        parser.expect(")")?;
        Ok(operand)
    }
}

// === Checks that need no item ===

impl Update {
    /// The paths that the update changes, without placeholders.
    pub(super) fn targets(&self, bindings: &Bindings) -> Vec<Path> {
        let sets = self.sets.iter().map(|(path, _)| path);
        let others = self.adds.iter().chain(&self.deletes).map(|(path, _)| path);
        sets.chain(&self.removes).chain(others).map(|path| path::resolved(path, bindings)).collect()
    }

    /// Checks what DynamoDB checks before it reads the item.
    ///
    /// # Errors
    /// DynamoDB's message, without the name of the parameter.
    pub(super) fn check(&self, bindings: &Bindings) -> Result<(), String> {
        let kind = |placeholder: &str| bindings.value(placeholder).map_or("", |value| value::typed(value).0);
        for (operator, actions, allowed) in
            [("ADD", &self.adds, &["N", "SS", "NS", "BS"][..]), ("DELETE", &self.deletes, &["SS", "NS", "BS"])]
        {
            if let Some((_, value)) = actions.iter().find(|(_, value)| !allowed.contains(&kind(value))) {
                return Err(format!(
                    "Incorrect operand type for operator or function; operator: {operator}, operand type: {}, \
                     typeSet: ALLOWED_FOR_ADD_OPERAND",
                    type_name(kind(value))
                ));
            }
        }
        self.sets.iter().try_for_each(|(_, operand)| operand.check(bindings))?;
        path::check_overlaps(&self.targets(bindings))
    }
}

/// The name that messages about `ADD` and `DELETE` give a type.
fn type_name(kind: &str) -> &str {
    match kind {
        "S" => "STRING",
        "N" => "NUMBER",
        "B" => "BINARY",
        "L" => "LIST",
        "M" => "MAP",
        "BOOL" => "BOOLEAN",
        other => other,
    }
}

impl Operand {
    fn check(&self, bindings: &Bindings) -> Result<(), String> {
        let (operator, wanted, operands) = match self {
            Operand::Path(_) | Operand::Value(_) => return Ok(()),
            Operand::IfNotExists(_, default) => return default.check(bindings),
            Operand::ListAppend(first, second) => ("list_append", "L", [first, second]),
            Operand::Plus(left, right) => ("+", "N", [left, right]),
            Operand::Minus(left, right) => ("-", "N", [left, right]),
        };
        for operand in operands {
            operand.check(bindings)?;
            if let Operand::Value(name) = &**operand
                && let Some((kind, _)) = bindings.value(name).map(value::typed)
                && kind != wanted
            {
                return Err(format!(
                    "Incorrect operand type for operator or function; operator or function: {operator}, operand type: \
                     {kind}"
                ));
            }
        }
        Ok(())
    }
}

// === Application ===

impl Update {
    /// Returns the changed item. All operands are read from the item as it was.
    ///
    /// # Errors
    /// DynamoDB's message, if the item does not have what the update needs.
    pub(super) fn apply(&self, old: &Item, bindings: &Bindings) -> Result<Item, String> {
        let stored = |path: &Path| path::get(old, path, &Bindings::default());
        let literal = |name: &str| bindings.value(name).ok_or_else(|| WRONG_TYPE.to_owned());
        let (mut writes, mut removals, mut unchanged) = (Vec::new(), Vec::new(), Vec::new());
        for (path, name) in &self.adds {
            let path = path::resolved(path, bindings);
            let value = added(stored(&path), literal(name)?)?;
            writes.push((path, value));
        }
        for (path, name) in &self.deletes {
            let path = path::resolved(path, bindings);
            match stored(&path).map(|stored| without_members(stored, literal(name)?)).transpose()? {
                None => unchanged.push(path),
                Some(None) => removals.push(path),
                Some(Some(value)) => writes.push((path, value)),
            }
        }
        for (path, operand) in &self.sets {
            writes.push((path::resolved(path, bindings), operand.value(old, bindings)?));
        }
        unchanged.iter().try_for_each(|path| path::check_parent(old, path))?;
        // Values are appended to a list in the order of their indexes.
        writes.sort_by(|(a, _), (b, _)| a.cmp(b));
        let mut new = old.clone();
        for (path, value) in writes {
            path::set(&mut new, &path, value)?;
        }
        for path in &self.removes {
            let path = path::resolved(path, bindings);
            path::check_parent(old, &path)?;
            if path::get(old, &path, &Bindings::default()).is_some() {
                removals.push(path);
            }
        }
        // The last elements of a list are removed first, so that the indexes of the others stay valid.
        removals.sort_by(|a, b| b.cmp(a));
        removals.iter().for_each(|path| path::remove(&mut new, path));
        Ok(new)
    }
}

impl Operand {
    fn value(&self, item: &Item, bindings: &Bindings) -> Result<Value, String> {
        match self {
            Operand::Path(path) => path::get(item, path, bindings).cloned().ok_or_else(|| {
                "The provided expression refers to an attribute that does not exist in the item".to_owned()
            }),
            Operand::Value(name) => bindings.value(name).cloned().ok_or_else(|| WRONG_TYPE.to_owned()),
            Operand::IfNotExists(path, default) => match path::get(item, path, bindings) {
                Some(value) => Ok(value.clone()),
                None => default.value(item, bindings),
            },
            Operand::ListAppend(first, second) => match (first.value(item, bindings)?, second.value(item, bindings)?) {
                (Value::Object(mut first), Value::Object(mut second)) => {
                    let lists = (first.remove("L"), second.remove("L"));
                    let (Some(Value::Array(mut list)), Some(Value::Array(more))) = lists else {
                        return Err(WRONG_TYPE.to_owned());
                    };
                    list.extend(more);
                    Ok(json!({"L": list}))
                }
                _ => Err(WRONG_TYPE.to_owned()),
            },
            Operand::Plus(left, right) => {
                calculated(&left.value(item, bindings)?, &right.value(item, bindings)?, number::sum)
            }
            Operand::Minus(left, right) => {
                calculated(&left.value(item, bindings)?, &right.value(item, bindings)?, number::difference)
            }
        }
    }
}

fn calculated(a: &Value, b: &Value, operation: fn(&str, &str) -> Result<String, String>) -> Result<Value, String> {
    match (value::text(a, "N"), value::text(b, "N")) {
        (Some(a), Some(b)) => Ok(json!({"N": operation(a, b)?})),
        _ => Err(WRONG_TYPE.to_owned()),
    }
}

/// The value that `ADD` stores: a sum, or a union of sets.
fn added(stored: Option<&Value>, value: &Value) -> Result<Value, String> {
    let Some(stored) = stored else { return Ok(value.clone()) };
    match (value::typed(stored), value::typed(value)) {
        (("N", _), ("N", _)) => calculated(stored, value, number::sum),
        ((kind @ ("SS" | "NS" | "BS"), Value::Array(members)), (other, Value::Array(more))) if kind == other => {
            let mut members = members.clone();
            members.extend(more.iter().filter(|member| !members.contains(member)).cloned().collect::<Vec<_>>());
            value::sort_set(kind, &mut members);
            Ok(json!({kind: members}))
        }
        _ => Err(WRONG_TYPE.to_owned()),
    }
}

/// The set that `DELETE` stores; `None` if it has no members.
fn without_members(stored: &Value, value: &Value) -> Result<Option<Value>, String> {
    match (value::typed(stored), value::typed(value)) {
        ((kind, Value::Array(members)), (other, Value::Array(removed))) if kind == other && kind != "L" => {
            let members: Vec<&Value> = members.iter().filter(|member| !removed.contains(member)).collect();
            Ok((!members.is_empty()).then(|| json!({kind: members})))
        }
        _ => Err(WRONG_TYPE.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dynamodb::parser;

    fn item(json: Value) -> Item {
        value::attributes(&json, "item").unwrap()
    }

    fn updated(old: Value, update: &str, values: Value) -> Result<Value, String> {
        let parsed = parser::parse(update, Update::parse)?;
        let request = match values.as_object().is_some_and(|values| !values.is_empty()) {
            true => json!({"ExpressionAttributeValues": values}),
            false => json!({}),
        };
        let bindings = Bindings::read(&request, &[("UpdateExpression", Some(&parsed.references))]).unwrap();
        parsed.expression.check(&bindings)?;
        parsed.expression.apply(&item(old), &bindings).map(value::object)
    }

    #[test]
    fn update_has_each_section_at_most_once_and_in_any_order() {
        let values = json!({":n": {"N": "1"}, ":s": {"SS": ["a"]}});
        let old = json!({"b": {"S": "b"}, "d": {"SS": ["a", "b"]}});
        let new = updated(old, "remove b ADD c :n DELETE d :s SET a = :n, e = :s", values).unwrap();
        let one = json!({"N": "1"});
        assert_eq!(new, json!({"a": one, "c": one, "d": {"SS": ["b"]}, "e": {"SS": ["a"]}}));
        for invalid in
            ["SET a = :n SET b = :n", "a = :n", "SET a", "SET a = ", "ADD a b", "SET a == :n", "SET a = f(b)"]
        {
            assert!(parser::parse(invalid, Update::parse).is_err(), "{invalid}");
        }
    }

    #[test]
    fn operands_are_read_from_the_item_as_it_was() {
        let old = json!({"a": {"N": "1"}, "b": {"N": "2"}});
        let new = updated(old, "SET a = b, b = a + :n", json!({":n": {"N": "10"}})).unwrap();
        assert_eq!(new, json!({"a": {"N": "2"}, "b": {"N": "11"}}));
    }

    #[test]
    fn elements_are_removed_by_their_former_indexes() {
        let list = |values: &[&str]| json!({"l": {"L": values.iter().map(|v| json!({"S": v})).collect::<Vec<_>>()}});
        let new = updated(list(&["a", "b", "c"]), "REMOVE l[0], l[2] SET l[9] = :v", json!({":v": {"S": "d"}}));
        assert_eq!(new.unwrap(), list(&["b", "d"]));
    }

    #[test]
    fn defaults_apply_only_to_absent_attributes() {
        let values = || json!({":zero": {"N": "0"}, ":one": {"N": "1"}});
        let update = "SET a = if_not_exists(a, :zero) + :one";
        assert_eq!(updated(json!({}), update, values()).unwrap(), json!({"a": {"N": "1"}}));
        assert_eq!(updated(json!({"a": {"N": "5"}}), update, values()).unwrap(), json!({"a": {"N": "6"}}));
        assert!(updated(json!({"a": {"S": "5"}}), update, values()).is_err());
        assert!(updated(json!({}), "SET a = a + :one", json!({":one": {"N": "1"}})).is_err());
    }
}
