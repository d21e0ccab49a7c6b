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
                     typeSet: ALLOWED_FOR_{operator}_OPERAND",
                    kind(value)
                ));
            }
        }
        self.sets.iter().try_for_each(|(_, operand)| operand.check(bindings))?;
        path::check_overlaps(&self.targets(bindings))
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

/// A change of one path.
enum Write<'v> {
    Set(Value),
    Add(&'v Value),
    Delete(&'v Value),
}

impl Update {
    /// Returns the changed item. All operands are read from the item as it was.
    ///
    /// # Errors
    /// DynamoDB's message, if the item does not have what the update needs.
    pub(super) fn apply(&self, old: &Item, bindings: &Bindings) -> Result<Item, String> {
        let mut writes = Vec::new();
        for (path, operand) in &self.sets {
            writes.push((path::resolved(path, bindings), Write::Set(operand.value(old, bindings)?)));
        }
        let literal = |name: &str| bindings.value(name).ok_or_else(|| WRONG_TYPE.to_owned());
        for (path, name) in &self.adds {
            writes.push((path::resolved(path, bindings), Write::Add(literal(name)?)));
        }
        for (path, name) in &self.deletes {
            writes.push((path::resolved(path, bindings), Write::Delete(literal(name)?)));
        }
        // Values are appended to a list in the order of their indexes.
        writes.sort_by(|(a, _), (b, _)| a.cmp(b));
        let mut new = old.clone();
        let mut removals = Vec::new();
        for (path, write) in writes {
            let stored = path::get(old, &path, &Bindings::default());
            let value = match write {
                Write::Set(value) => Some(value),
                Write::Add(value) => Some(added(stored, value)?),
                Write::Delete(value) => {
                    path::check_parent(old, &path)?;
                    match stored {
                        None => continue,
                        Some(stored) => without_members(stored, value)?,
                    }
                }
            };
            match value {
                Some(value) => path::set(&mut new, &path, value)?,
                None => removals.push(path),
            }
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
