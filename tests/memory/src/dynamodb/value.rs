//! Attribute values in DynamoDB's JSON, such as `{"S": "x"}`: validation, size and comparison.

use std::cmp::Ordering;

use data_encoding::BASE64;
use serde_json::{Map, Value, json};

use super::error::Failure;
use super::{Item, number};

/// The maximum number of levels of lists and maps.
const MAX_DEPTH: usize = 32;
/// The maximum size of an item in bytes.
pub(super) const MAX_ITEM_BYTES: usize = 400 * 1024;
/// The names of the types.
pub(super) const TYPES: [&str; 10] = ["B", "NULL", "SS", "BOOL", "L", "BS", "N", "NS", "S", "M"];

/// Splits a valid attribute value into its type and its content.
pub(super) fn typed(value: &Value) -> (&str, &Value) {
    let member = value.as_object().and_then(|members| members.iter().next());
    member.map_or(("", &Value::Null), |(name, content)| (name.as_str(), content))
}

/// The content of a value of this type that is text: of types S, N and B.
pub(super) fn text<'v>(value: &'v Value, wanted: &str) -> Option<&'v str> {
    let (name, content) = typed(value);
    content.as_str().filter(|_| name == wanted)
}

/// Returns an item as a JSON object.
pub(super) fn object(item: Item) -> Value {
    Value::Object(item.into_iter().collect())
}

/// Returns the attributes of a JSON object in their stored form.
///
/// # Errors
/// If the JSON is not an object of valid attribute values.
pub(super) fn attributes(json: &Value, what: &str) -> Result<Item, Failure> {
    let Some(members) = json.as_object() else {
        return Err(Failure::malformed(format!("{what} is not an object")));
    };
    let mut item = Item::new();
    for (name, value) in members {
        if name.is_empty() {
            return Err(Failure::parameter("Empty attribute name"));
        }
        let mut value = value.clone();
        normalize(&mut value, 0)?;
        item.insert(name.clone(), value);
    }
    Ok(item)
}

/// Validates a value and changes it to its stored form: numbers without superfluous zeros, and sets in order.
///
/// # Errors
/// If the value is invalid.
pub(super) fn normalize(value: &mut Value, depth: usize) -> Result<(), Failure> {
    let Some(members) = value.as_object_mut() else {
        return Err(Failure::malformed("an attribute value is not an object"));
    };
    if members.len() > 1 {
        return Err(Failure::invalid(
            "Supplied AttributeValue has more than one datatypes set, must contain exactly one of the supported \
             datatypes",
        ));
    }
    let Some((name, content)) = members.iter_mut().next() else { return Err(empty()) };
    if depth > MAX_DEPTH {
        return Err(Failure::invalid("Nesting Levels have exceeded supported limits"));
    }
    let malformed = || Failure::malformed("an attribute value does not have the JSON type of its datatype");
    match (name.as_str(), content) {
        ("S", Value::String(_)) | ("BOOL", Value::Bool(_)) | ("NULL", Value::Bool(true)) => Ok(()),
        ("NULL", Value::Bool(false)) => {
            Err(Failure::parameter("Null attribute value types must have the value of true"))
        }
        ("N", Value::String(text)) => normalize_number(text),
        ("B", Value::String(text)) => decode(text).map(drop),
        ("SS", Value::Array(members)) => normalize_set(members, "string", |_| Ok(()), str::cmp),
        ("NS", Value::Array(members)) => normalize_set(members, "number", normalize_number, number::compare),
        ("BS", Value::Array(members)) => {
            normalize_set(members, "binary", |text| decode(text).map(drop), |a, b| bytes(a).cmp(&bytes(b)))
        }
        ("L", Value::Array(values)) => values.iter_mut().try_for_each(|value| normalize(value, depth + 1)),
        ("M", Value::Object(values)) => values.values_mut().try_for_each(|value| normalize(value, depth + 1)),
        (name, _) if TYPES.contains(&name) => Err(malformed()),
        _ => Err(empty()),
    }
}

fn empty() -> Failure {
    Failure::invalid("Supplied AttributeValue is empty, must contain exactly one of the supported datatypes")
}

fn normalize_number(text: &mut String) -> Result<(), Failure> {
    if let Some(normalized) = number::normalized(text).map_err(Failure::invalid)? {
        *text = normalized;
    }
    Ok(())
}

fn normalize_set(
    members: &mut [Value],
    kind: &str,
    normalize: impl Fn(&mut String) -> Result<(), Failure>,
    compare: impl Fn(&str, &str) -> Ordering,
) -> Result<(), Failure> {
    if members.is_empty() {
        return Err(Failure::parameter(format!("An {kind} set  may not be empty")));
    }
    for member in members.iter_mut() {
        let Value::String(text) = member else {
            return Err(Failure::malformed("a member of a set is not a string"));
        };
        normalize(text)?;
    }
    members.sort_by(|a, b| compare(a.as_str().unwrap_or_default(), b.as_str().unwrap_or_default()));
    if members.windows(2).any(|pair| pair.first() == pair.last()) {
        let members: Vec<&str> = members.iter().filter_map(Value::as_str).collect();
        return Err(Failure::parameter(format!("Input collection [{}] contains duplicates.", members.join(", "))));
    }
    Ok(())
}

/// Sorts the members of a valid set.
pub(super) fn sort_set(kind: &str, members: &mut [Value]) {
    let compare: fn(&str, &str) -> Ordering = match kind {
        "NS" => number::compare,
        "BS" => |a, b| bytes(a).cmp(&bytes(b)),
        _ => str::cmp,
    };
    members.sort_by(|a, b| compare(a.as_str().unwrap_or_default(), b.as_str().unwrap_or_default()));
}

fn decode(text: &str) -> Result<Vec<u8>, Failure> {
    // The message is part of the shape of the request: AWS decodes the text while it reads the JSON.
    BASE64.decode(text.as_bytes()).map_err(|_| Failure::malformed("Invalid base64 in a binary value"))
}

/// The bytes of valid base64.
fn bytes(text: &str) -> Vec<u8> {
    BASE64.decode(text.as_bytes()).unwrap_or_default()
}

/// The number of bytes of valid base64.
fn binary_len(text: &str) -> usize {
    text.len() / 4 * 3 - text.bytes().rev().take_while(|byte| *byte == b'=').count()
}

// === Sizes ===

/// The size of an item in bytes, by which DynamoDB limits and bills it.
pub(super) fn item_size(item: &Item) -> usize {
    item.iter().map(|(name, value)| name.len() + size(value)).sum()
}

/// The size of a valid value in bytes.
pub(super) fn size(value: &Value) -> usize {
    let of_text = |kind: &str, content: &Value| {
        let text = content.as_str().unwrap_or_default();
        match kind {
            "N" | "NS" => number::size(text),
            "B" | "BS" => binary_len(text),
            _ => text.len(),
        }
    };
    match typed(value) {
        ("M", Value::Object(values)) => {
            3 + values.iter().map(|(name, value)| name.len() + 1 + size(value)).sum::<usize>()
        }
        ("L", Value::Array(values)) => 3 + values.iter().map(|value| 1 + size(value)).sum::<usize>(),
        (kind, Value::Array(members)) => members.iter().map(|member| of_text(kind, member)).sum(),
        (kind, content @ Value::String(_)) => of_text(kind, content),
        _ => 1,
    }
}

/// The result of the function `size` in a condition; `None` for types without one.
pub(super) fn size_in_condition(value: &Value) -> Option<Value> {
    let size = match typed(value) {
        ("S", Value::String(text)) => text.encode_utf16().count(),
        ("B", Value::String(text)) => binary_len(text),
        (_, Value::Array(members)) => members.len(),
        ("M", Value::Object(values)) => values.len(),
        _ => return None,
    };
    Some(json!({"N": size.to_string()}))
}

// === Comparisons ===

/// Compares two valid values of the same type; `None` if the types differ or have no order.
pub(super) fn order(a: &Value, b: &Value) -> Option<Ordering> {
    let ((kind, a), (other, b)) = (typed(a), typed(b));
    let (a, b) = (a.as_str().filter(|_| kind == other)?, b.as_str()?);
    match kind {
        "S" => Some(a.cmp(b)),
        "N" => Some(number::compare(a, b)),
        "B" => Some(bytes(a).cmp(&bytes(b))),
        _ => None,
    }
}

/// Whether a text, set or list contains a value, as the function `contains` defines it.
pub(super) fn contains(value: &Value, wanted: &Value) -> bool {
    let (kind, content) = typed(value);
    let (wanted_kind, wanted_content) = typed(wanted);
    match (kind, content) {
        ("L", Value::Array(values)) => values.contains(wanted),
        ("SS" | "NS" | "BS", Value::Array(members)) => {
            kind.strip_suffix('S') == Some(wanted_kind) && members.contains(wanted_content)
        }
        ("S", Value::String(text)) => self::text(wanted, "S").is_some_and(|wanted| text.contains(wanted)),
        ("B", Value::String(text)) => self::text(wanted, "B").is_some_and(|wanted| {
            let (content, wanted) = (bytes(text), bytes(wanted));
            wanted.is_empty() || content.windows(wanted.len()).any(|window| window == wanted)
        }),
        _ => false,
    }
}

/// Whether a text or binary value begins with another.
pub(super) fn begins_with(value: &Value, prefix: &Value) -> bool {
    match (typed(value), typed(prefix)) {
        (("S", Value::String(text)), ("S", Value::String(prefix))) => text.starts_with(prefix.as_str()),
        (("B", Value::String(text)), ("B", Value::String(prefix))) => bytes(text).starts_with(&bytes(prefix)),
        _ => false,
    }
}

/// The attributes of an item as a JSON object, cloned.
pub(super) fn cloned_object(item: &Item) -> Value {
    Value::Object(item.iter().map(|(name, value)| (name.clone(), value.clone())).collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normalized(mut value: Value) -> Result<Value, Failure> {
        normalize(&mut value, 0).map(|()| value)
    }

    #[test]
    fn stored_form_has_canonical_numbers_and_ordered_sets() {
        assert_eq!(normalized(json!({"N": "01.50"})).unwrap(), json!({"N": "1.5"}));
        assert_eq!(normalized(json!({"NS": ["10", "9.0", "-1"]})).unwrap(), json!({"NS": ["-1", "9", "10"]}));
        assert_eq!(normalized(json!({"SS": ["b", "a"]})).unwrap(), json!({"SS": ["a", "b"]}));
        let nested = json!({"M": {"a": {"L": [{"N": "1e1"}]}}});
        assert_eq!(normalized(nested).unwrap(), json!({"M": {"a": {"L": [{"N": "10"}]}}}));
    }

    #[test]
    fn invalid_values_are_rejected() {
        for value in [
            json!({}),
            json!("x"),
            json!({"S": 1}),
            json!({"S": "x", "N": "1"}),
            json!({"N": "x"}),
            json!({"B": "%%"}),
            json!({"B": "YQ"}),
            json!({"NULL": false}),
            json!({"SS": []}),
            json!({"SS": ["a", "a"]}),
            json!({"NS": ["1", "1.0"]}),
            json!({"X": "x"}),
        ] {
            assert!(normalized(value.clone()).is_err(), "{value}");
        }
    }

    #[test]
    fn values_nested_deeper_than_32_levels_are_rejected() {
        let nested = |levels: usize| (0..levels).fold(json!({"S": ""}), |value, _| json!({"L": [value]}));
        assert!(normalized(nested(32)).is_ok());
        assert!(normalized(nested(33)).is_err());
    }

    #[test]
    fn sizes_follow_the_documented_rules() {
        for (value, bytes) in [
            (json!({"S": "äb"}), 3),
            (json!({"N": "42"}), 2),
            (json!({"B": "YWJj"}), 3),
            (json!({"B": "YQ=="}), 1),
            (json!({"BOOL": false}), 1),
            (json!({"NULL": true}), 1),
            (json!({"SS": ["ab", "c"]}), 3),
            (json!({"L": [{"S": "ab"}]}), 6),
            (json!({"M": {"ab": {"S": "c"}}}), 7),
        ] {
            assert_eq!(size(&value), bytes, "{value}");
        }
    }
}
