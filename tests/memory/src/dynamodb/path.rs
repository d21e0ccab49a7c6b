//! Document paths in items: reading, changing and projecting.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::bindings::Bindings;
use super::parser::{Parser, Path, Step};
use super::{Item, value};

/// The message for a path that an update cannot follow.
const INVALID_PATH: &str = "The document path provided in the update expression is invalid for update";

/// Returns the value at a path.
pub(super) fn get<'i>(item: &'i Item, path: &[Step], bindings: &Bindings) -> Option<&'i Value> {
    let (first, rest) = path.split_first()?;
    let Step::Name(name) = first else { return None };
    rest.iter().try_fold(item.get(bindings.name(name))?, |value, step| match (step, value::typed(value)) {
        (Step::Name(name), ("M", Value::Object(members))) => members.get(bindings.name(name)),
        (Step::Index(index), ("L", Value::Array(elements))) => elements.get(*index),
        _ => None,
    })
}

/// Replaces placeholders of a path by names.
pub(super) fn resolved(path: &[Step], bindings: &Bindings) -> Path {
    let step = |step: &Step| match step {
        Step::Name(name) => Step::Name(bindings.name(name).to_owned()),
        Step::Index(index) => Step::Index(*index),
    };
    path.iter().map(step).collect()
}

/// Shows a path as DynamoDB's messages do.
pub(super) fn shown(path: &[Step]) -> String {
    let steps: Vec<String> = path
        .iter()
        .map(|step| match step {
            Step::Name(name) => name.clone(),
            Step::Index(index) => format!("[{index}]"),
        })
        .collect();
    format!("[{}]", steps.join(", "))
}

/// Checks that no path is a part of another.
///
/// # Errors
/// DynamoDB's message, without the name of the parameter.
pub(super) fn check_overlaps(paths: &[Path]) -> Result<(), String> {
    for (n, second) in paths.iter().enumerate() {
        for first in paths.iter().take(n) {
            if first.starts_with(second) || second.starts_with(first) {
                return Err(format!(
                    "Two document paths overlap with each other; must remove or rewrite one of these paths; path one: \
                     {}, path two: {}",
                    shown(first),
                    shown(second)
                ));
            }
        }
    }
    Ok(())
}

// === Changes ===

/// The map or list that contains the last step of a path.
enum Parent<'i> {
    Item(&'i mut Item),
    Map(&'i mut Map<String, Value>),
    List(&'i mut Vec<Value>),
}

fn parent<'i>(item: &'i mut Item, path: &[Step]) -> Option<Parent<'i>> {
    let (Step::Name(first), rest) = path.split_first()? else { return None };
    let Some((_, parents)) = rest.split_last() else { return Some(Parent::Item(item)) };
    let mut value = item.get_mut(first)?;
    for step in parents {
        value = match (step, content(value)?) {
            (Step::Name(name), Value::Object(members)) => members.get_mut(name)?,
            (Step::Index(index), Value::Array(elements)) => elements.get_mut(*index)?,
            _ => return None,
        };
    }
    match content(value)? {
        Value::Object(members) => Some(Parent::Map(members)),
        Value::Array(elements) => Some(Parent::List(elements)),
        _ => None,
    }
}

/// The content of a value without its type.
fn content(value: &mut Value) -> Option<&mut Value> {
    value.as_object_mut()?.values_mut().next()
}

/// Checks that the map or list exists that contains the last step of a resolved path.
///
/// # Errors
/// DynamoDB's message.
pub(super) fn check_parent(item: &Item, path: &[Step]) -> Result<(), String> {
    let Some((last, parents)) = path.split_last() else { return Err(INVALID_PATH.to_owned()) };
    if parents.is_empty() {
        return Ok(());
    }
    match (get(item, parents, &Bindings::default()).map(value::typed), last) {
        (Some(("M", _)), Step::Name(_)) | (Some(("L", _)), Step::Index(_)) => Ok(()),
        _ => Err(INVALID_PATH.to_owned()),
    }
}

/// Sets the value at a resolved path. An index behind the end of a list appends.
///
/// # Errors
/// DynamoDB's message, if the parent does not exist.
pub(super) fn set(item: &mut Item, path: &[Step], value: Value) -> Result<(), String> {
    check_parent(item, path)?;
    match (parent(item, path), path.last()) {
        (Some(Parent::Item(item)), Some(Step::Name(name))) => drop(item.insert(name.clone(), value)),
        (Some(Parent::Map(members)), Some(Step::Name(name))) => drop(members.insert(name.clone(), value)),
        (Some(Parent::List(elements)), Some(Step::Index(index))) => match elements.get_mut(*index) {
            Some(element) => *element = value,
            None => elements.push(value),
        },
        _ => return Err(INVALID_PATH.to_owned()),
    }
    Ok(())
}

/// Removes the value at a resolved path, if it exists.
pub(super) fn remove(item: &mut Item, path: &[Step]) {
    match (parent(item, path), path.last()) {
        (Some(Parent::Item(item)), Some(Step::Name(name))) => drop(item.remove(name)),
        (Some(Parent::Map(members)), Some(Step::Name(name))) => drop(members.remove(name)),
        (Some(Parent::List(elements)), Some(Step::Index(index))) if *index < elements.len() => {
            elements.remove(*index);
        }
        _ => {}
    }
}

// === Projections ===

/// Parses a projection: paths separated by commas.
pub(super) fn parse_projection(parser: &mut Parser<'_>) -> Result<Vec<Path>, String> {
    let mut paths = vec![parser.path()?];
    while parser.takes(",") {
        paths.push(parser.path()?);
    }
    Ok(paths)
}

/// A part of a value.
enum Part<'v> {
    Whole(&'v Value),
    Map(BTreeMap<&'v str, Part<'v>>),
    List(BTreeMap<usize, Part<'v>>),
}

/// Returns the parts of an item at resolved paths, within their maps and lists.
pub(super) fn project(item: &Item, paths: &[Path]) -> Item {
    let mut parts: BTreeMap<&str, Part<'_>> = BTreeMap::new();
    for path in paths {
        if let Some((Step::Name(name), rest)) = path.split_first()
            && let Some(value) = item.get(name)
            && get(item, path, &Bindings::default()).is_some()
        {
            insert(parts.entry(name).or_insert_with(|| empty_part(rest, value)), value, rest);
        }
    }
    parts.into_iter().map(|(name, part)| (name.to_owned(), part.value())).collect()
}

fn empty_part<'v>(rest: &[Step], value: &'v Value) -> Part<'v> {
    match rest.first() {
        None => Part::Whole(value),
        Some(Step::Name(_)) => Part::Map(BTreeMap::new()),
        Some(Step::Index(_)) => Part::List(BTreeMap::new()),
    }
}

fn insert<'v>(part: &mut Part<'v>, value: &'v Value, path: &[Step]) {
    let Some((first, rest)) = path.split_first() else { return };
    match (part, first, value::typed(value).1) {
        (Part::Map(parts), Step::Name(name), Value::Object(members)) => {
            if let Some((name, value)) = members.get_key_value(name) {
                insert(parts.entry(name).or_insert_with(|| empty_part(rest, value)), value, rest);
            }
        }
        (Part::List(parts), Step::Index(index), Value::Array(elements)) => {
            if let Some(value) = elements.get(*index) {
                insert(parts.entry(*index).or_insert_with(|| empty_part(rest, value)), value, rest);
            }
        }
        _ => {}
    }
}

impl Part<'_> {
    fn value(self) -> Value {
        match self {
            Part::Whole(value) => value.clone(),
            Part::Map(parts) => {
                let members = parts.into_iter().map(|(name, part)| (name.to_owned(), part.value()));
                json!({"M": members.collect::<Map<_, _>>()})
            }
            Part::List(parts) => json!({"L": parts.into_values().map(Part::value).collect::<Vec<_>>()}),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dynamodb::parser;

    fn item() -> Item {
        let item =
            json!({"a": {"M": {"b": {"L": [{"S": "0"}, {"S": "1"}, {"S": "2"}]}, "c": {"S": "c"}}}, "d": {"S": "d"}});
        item.as_object().unwrap().clone().into_iter().collect()
    }

    fn paths(text: &str) -> Vec<Path> {
        parser::parse(text, parse_projection).unwrap().expression
    }

    #[test]
    fn projection_keeps_the_maps_and_lists_around_its_parts() {
        let projected = project(&item(), &paths("a.b[2], a.b[0], d, absent, a.c.x"));
        let expected = json!({"a": {"M": {"b": {"L": [{"S": "0"}, {"S": "2"}]}}}, "d": {"S": "d"}});
        assert_eq!(value::object(projected), expected);
    }

    #[test]
    fn overlapping_paths_are_rejected() {
        for text in ["a, a", "a, a.b", "a.b[0].c, a.b[0]"] {
            assert!(check_overlaps(&paths(text)).is_err(), "{text}");
        }
        assert!(check_overlaps(&paths("a.b[0], a.b[1], a.c, d")).is_ok());
    }

    #[test]
    fn index_behind_the_end_of_a_list_appends() {
        let mut changed = item();
        set(&mut changed, &paths("a.b[9]")[0], json!({"S": "3"})).unwrap();
        assert_eq!(get(&changed, &paths("a.b[3]")[0], &Bindings::default()), Some(&json!({"S": "3"})));
        for absent in ["x.y", "d.e", "a.b.c", "a[0]"] {
            assert!(set(&mut changed, &paths(absent)[0], json!({"S": ""})).is_err(), "{absent}");
        }
    }
}
