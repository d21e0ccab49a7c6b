//! Condition, filter and key condition expressions.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::Value;

use super::bindings::Bindings;
use super::parser::{Parser, Path};
use super::{Item, path, value};

/// The maximum number of operands of `IN`.
const MAX_IN: usize = 100;

/// A parsed condition.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Condition {
    Compare(Operand, Comparator, Operand),
    Between(Operand, Operand, Operand),
    In(Operand, Vec<Operand>),
    Exists(Path),
    NotExists(Path),
    HasType(Path, Operand),
    BeginsWith(Operand, Operand),
    Contains(Operand, Operand),
    And(Box<Condition>, Box<Condition>),
    Or(Box<Condition>, Box<Condition>),
    Not(Box<Condition>),
}

/// An operand of a condition.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Operand {
    Path(Path),
    /// A placeholder such as `:value`.
    Value(String),
    /// The size of an attribute.
    Size(Path),
}

/// A comparison operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparator {
    const ALL: [(Comparator, &str); 6] = [
        (Comparator::Equal, "="),
        (Comparator::NotEqual, "<>"),
        (Comparator::LessOrEqual, "<="),
        (Comparator::Less, "<"),
        (Comparator::GreaterOrEqual, ">="),
        (Comparator::Greater, ">"),
    ];

    /// Whether two values compare so. Values of different types are not equal and have no order.
    pub(super) fn holds(self, left: &Value, right: &Value) -> bool {
        match self {
            Comparator::Equal => left == right,
            Comparator::NotEqual => left != right,
            _ => value::order(left, right).is_some_and(|order| self.holds_for(order)),
        }
    }

    /// Whether the operator holds for two values in this order.
    pub(super) fn holds_for(self, order: Ordering) -> bool {
        match self {
            Comparator::Equal => order.is_eq(),
            Comparator::NotEqual => order.is_ne(),
            Comparator::Less => order.is_lt(),
            Comparator::LessOrEqual => order.is_le(),
            Comparator::Greater => order.is_gt(),
            Comparator::GreaterOrEqual => order.is_ge(),
        }
    }

    fn symbol(self) -> &'static str {
        Comparator::ALL.iter().find(|(comparator, _)| *comparator == self).map_or("", |(_, symbol)| symbol)
    }
}

// === Syntax ===

impl Condition {
    /// Parses a condition. `OR` binds weaker than `AND`, which binds weaker than `NOT`.
    pub(super) fn parse(parser: &mut Parser<'_>) -> Result<Self, String> {
        let mut condition = Condition::conjunction(parser)?;
        while parser.takes_keyword("OR") {
            condition = Condition::Or(Box::new(condition), Box::new(Condition::conjunction(parser)?));
        }
        Ok(condition)
    }

    fn conjunction(parser: &mut Parser<'_>) -> Result<Self, String> {
        let mut condition = Condition::negation(parser)?;
        while parser.takes_keyword("AND") {
            condition = Condition::And(Box::new(condition), Box::new(Condition::negation(parser)?));
        }
        Ok(condition)
    }

    fn negation(parser: &mut Parser<'_>) -> Result<Self, String> {
        match parser.takes_keyword("NOT") {
            true => Ok(Condition::Not(Box::new(Condition::negation(parser)?))),
            false => Condition::term(parser),
        }
    }

    fn term(parser: &mut Parser<'_>) -> Result<Self, String> {
        if parser.takes("(") {
            let condition = Condition::parse(parser)?;
            parser.expect(")")?;
            return Ok(condition);
        }
        let condition = match parser.function() {
            Some("attribute_exists") => Condition::Exists(parser.path()?),
            Some("attribute_not_exists") => Condition::NotExists(parser.path()?),
            Some("attribute_type") => {
                let path = parser.path()?;
                parser.expect(",")?;
                Condition::HasType(path, Operand::parse(parser)?)
            }
            Some("begins_with") => {
                let (left, right) = Operand::pair(parser)?;
                Condition::BeginsWith(left, right)
            }
            Some("contains") => {
                let (left, right) = Operand::pair(parser)?;
                Condition::Contains(left, right)
            }
            Some("size") => {
                let path = parser.path()?;
                parser.expect(")")?;
                return Condition::comparison(parser, Operand::Size(path));
            }
            Some(function) => return Err(format!("Invalid function name; function: {function}")),
            None => {
                let operand = Operand::parse(parser)?;
                return Condition::comparison(parser, operand);
            }
        };
        parser.expect(")")?;
        Ok(condition)
    }

    fn comparison(parser: &mut Parser<'_>, left: Operand) -> Result<Self, String> {
        if parser.takes_keyword("BETWEEN") {
            let lower = Operand::parse(parser)?;
            if !parser.takes_keyword("AND") {
                return Err(parser.syntax_error());
            }
            return Ok(Condition::Between(left, lower, Operand::parse(parser)?));
        }
        if parser.takes_keyword("IN") {
            parser.expect("(")?;
            let mut operands = vec![Operand::parse(parser)?];
            while parser.takes(",") {
                operands.push(Operand::parse(parser)?);
            }
            parser.expect(")")?;
            return Ok(Condition::In(left, operands));
        }
        for (comparator, symbol) in Comparator::ALL {
            if parser.takes(symbol) {
                return Ok(Condition::Compare(left, comparator, Operand::parse(parser)?));
            }
        }
        Err(parser.syntax_error())
    }
}

impl Operand {
    fn parse(parser: &mut Parser<'_>) -> Result<Self, String> {
        match parser.function() {
            Some("size") => {
                let path = parser.path()?;
                parser.expect(")")?;
                return Ok(Operand::Size(path));
            }
            Some(function) => return Err(format!("Invalid function name; function: {function}")),
            None => {}
        }
        match parser.value() {
            Some(value) => Ok(Operand::Value(value)),
            None => Ok(Operand::Path(parser.path()?)),
        }
    }

    fn pair(parser: &mut Parser<'_>) -> Result<(Self, Self), String> {
        let left = Operand::parse(parser)?;
        parser.expect(",")?;
        Ok((left, Operand::parse(parser)?))
    }

    fn get<'v>(&self, item: &'v Item, bindings: &'v Bindings) -> Option<Cow<'v, Value>> {
        match self {
            Operand::Path(path) => path::get(item, path, bindings).map(Cow::Borrowed),
            Operand::Value(name) => bindings.value(name).map(Cow::Borrowed),
            Operand::Size(path) => value::size_in_condition(path::get(item, path, bindings)?).map(Cow::Owned),
        }
    }

    /// The value of a placeholder.
    pub(super) fn literal<'v>(&self, bindings: &'v Bindings) -> Option<&'v Value> {
        match self {
            Operand::Value(name) => bindings.value(name),
            Operand::Path(_) | Operand::Size(_) => None,
        }
    }
}

// === Checks that need no item ===

impl Condition {
    /// Checks operands that DynamoDB checks before it reads an item.
    ///
    /// # Errors
    /// DynamoDB's message, without the name of the parameter.
    pub(super) fn check(&self, bindings: &Bindings) -> Result<(), String> {
        match self {
            Condition::Compare(left, comparator, right) => {
                distinct(comparator.symbol(), left, right, bindings)?;
                if !matches!(comparator, Comparator::Equal | Comparator::NotEqual) {
                    ordered("operator", comparator.symbol(), left, bindings)?;
                    ordered("operator", comparator.symbol(), right, bindings)?;
                }
                Ok(())
            }
            Condition::Between(operand, lower, upper) => {
                for operand in [operand, lower, upper] {
                    ordered("operator", "BETWEEN", operand, bindings)?;
                }
                check_bounds(lower, upper, bindings)
            }
            Condition::In(_, operands) if operands.len() > MAX_IN => Err(format!(
                "Invalid number of operands for operator or function; operator or function: IN, number of operands: {}",
                operands.len() + 1
            )),
            Condition::BeginsWith(left, right) => {
                distinct("begins_with", left, right, bindings)?;
                for operand in [left, right] {
                    if let Some((kind, _)) = operand.literal(bindings).map(value::typed)
                        && !["S", "B"].contains(&kind)
                    {
                        return Err(wrong_type("operator or function", "begins_with", kind));
                    }
                }
                Ok(())
            }
            Condition::Contains(left, right) => distinct("contains", left, right, bindings),
            Condition::HasType(_, operand) => {
                let Some(literal) = operand.literal(bindings) else { return Ok(()) };
                match value::text(literal, "S") {
                    None => Err(wrong_type("operator or function", "attribute_type", value::typed(literal).0)),
                    Some(name) if !value::TYPES.contains(&name) => Err(format!(
                        "Invalid attribute type name found; type: {name}, valid types: {{{}}}",
                        value::TYPES.join(",")
                    )),
                    Some(_) => Ok(()),
                }
            }
            Condition::And(left, right) | Condition::Or(left, right) => {
                left.check(bindings)?;
                right.check(bindings)
            }
            Condition::Not(condition) => condition.check(bindings),
            Condition::In(..) | Condition::Exists(_) | Condition::NotExists(_) => Ok(()),
        }
    }
}

fn wrong_type(what: &str, operator: &str, kind: &str) -> String {
    format!("Incorrect operand type for operator or function; {what}: {operator}, operand type: {kind}")
}

fn ordered(what: &str, operator: &str, operand: &Operand, bindings: &Bindings) -> Result<(), String> {
    match operand.literal(bindings).map(value::typed) {
        Some((kind, _)) if !["S", "N", "B"].contains(&kind) => Err(wrong_type(what, operator, kind)),
        _ => Ok(()),
    }
}

fn distinct(operator: &str, left: &Operand, right: &Operand, bindings: &Bindings) -> Result<(), String> {
    let name = match left {
        _ if left != right => return Ok(()),
        Operand::Value(name) => name.clone(),
        Operand::Path(path) | Operand::Size(path) => path::shown(&path::resolved(path, bindings)),
    };
    Err(format!(
        "The first operand must be distinct from the remaining operands for this operator or function; operator: \
         {operator}, first operand: {name}"
    ))
}

fn check_bounds(lower: &Operand, upper: &Operand, bindings: &Bindings) -> Result<(), String> {
    let (Some(low), Some(high)) = (lower.literal(bindings), upper.literal(bindings)) else { return Ok(()) };
    let shown = |value: &Value| {
        let (kind, content) = value::typed(value);
        format!("AttributeValue: {{{kind}:{}}}", content.as_str().unwrap_or_default())
    };
    let fails = |rule: &str| {
        Err(format!(
            "The BETWEEN operator requires {rule}; lower bound operand: {}, upper bound operand: {}",
            shown(low),
            shown(high)
        ))
    };
    match value::order(low, high) {
        None => fails("same data type for lower and upper bounds"),
        Some(Ordering::Greater) => fails("upper bound to be greater than or equal to lower bound"),
        Some(_) => Ok(()),
    }
}

// === Evaluation ===

impl Condition {
    /// Whether an item fulfils the condition. An item that does not exist has no attributes.
    pub(super) fn holds(&self, item: &Item, bindings: &Bindings) -> bool {
        let get = |operand: &'_ Operand| -> Option<Cow<'_, Value>> { operand.get(item, bindings) };
        match self {
            Condition::Compare(left, comparator, right) => match (get(left), get(right)) {
                (Some(left), Some(right)) => comparator.holds(&left, &right),
                _ => *comparator == Comparator::NotEqual,
            },
            Condition::Between(operand, lower, upper) => match (get(operand), get(lower), get(upper)) {
                (Some(value), Some(lower), Some(upper)) => {
                    Comparator::GreaterOrEqual.holds(&value, &lower) && Comparator::LessOrEqual.holds(&value, &upper)
                }
                _ => false,
            },
            Condition::In(operand, operands) => {
                let value = get(operand);
                value.is_some() && operands.iter().any(|operand| get(operand) == value)
            }
            Condition::Exists(path) => path::get(item, path, bindings).is_some(),
            Condition::NotExists(path) => path::get(item, path, bindings).is_none(),
            Condition::HasType(path, kind) => match (path::get(item, path, bindings), get(kind)) {
                (Some(value), Some(kind)) => value::text(&kind, "S") == Some(value::typed(value).0),
                _ => false,
            },
            Condition::BeginsWith(left, right) => match (get(left), get(right)) {
                (Some(left), Some(right)) => value::begins_with(&left, &right),
                _ => false,
            },
            Condition::Contains(left, right) => match (get(left), get(right)) {
                (Some(left), Some(right)) => value::contains(&left, &right),
                _ => false,
            },
            Condition::And(left, right) => left.holds(item, bindings) && right.holds(item, bindings),
            Condition::Or(left, right) => left.holds(item, bindings) || right.holds(item, bindings),
            Condition::Not(condition) => !condition.holds(item, bindings),
        }
    }

    /// The paths that the condition reads.
    pub(super) fn paths(&self) -> Vec<&Path> {
        let mut paths = Vec::new();
        self.collect_paths(&mut paths);
        paths
    }

    fn collect_paths<'c>(&'c self, paths: &mut Vec<&'c Path>) {
        let operands: Vec<&Operand> = match self {
            Condition::Compare(left, _, right)
            | Condition::BeginsWith(left, right)
            | Condition::Contains(left, right) => vec![left, right],
            Condition::Between(operand, lower, upper) => vec![operand, lower, upper],
            Condition::In(operand, operands) => std::iter::once(operand).chain(operands).collect(),
            Condition::Exists(path) | Condition::NotExists(path) | Condition::HasType(path, _) => {
                return paths.push(path);
            }
            Condition::And(left, right) | Condition::Or(left, right) => {
                left.collect_paths(paths);
                return right.collect_paths(paths);
            }
            Condition::Not(condition) => return condition.collect_paths(paths),
        };
        paths.extend(operands.into_iter().filter_map(|operand| match operand {
            Operand::Path(path) | Operand::Size(path) => Some(path),
            Operand::Value(_) => None,
        }));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::dynamodb::parser;

    fn holds(condition: &str, item: Value) -> bool {
        let parsed = parser::parse(condition, Condition::parse).unwrap();
        let request = json!({"ExpressionAttributeValues": {":one": {"N": "1"}, ":two": {"N": "2"}, ":a": {"S": "a"}}});
        let mut references = parsed.references.clone();
        references.values.extend([":one", ":two", ":a"].map(str::to_owned));
        let bindings = Bindings::read(&request, &[("ConditionExpression", Some(&references))]).unwrap();
        parsed.expression.check(&bindings).unwrap();
        parsed.expression.holds(&value::attributes(&item, "item").unwrap(), &bindings)
    }

    #[test]
    fn and_binds_stronger_than_or_and_not_stronger_than_and() {
        let item = || json!({"x": {"N": "1"}});
        assert!(holds("x = :one OR x = :two AND x = :two", item()));
        assert!(!holds("(x = :one OR x = :two) AND x = :two", item()));
        assert!(!holds("NOT x = :one AND x = :one", item()));
        assert!(holds("NOT (x = :one AND x = :two)", item()));
        assert!(holds("x between :one and :two AND x IN (:two, :one)", item()));
    }

    #[test]
    fn absent_attributes_and_other_types_are_only_unequal() {
        for operator in ["=", "<", "<=", ">", ">="] {
            assert!(!holds(&format!("x {operator} :one"), json!({})), "{operator}");
            assert!(!holds(&format!("x {operator} :one"), json!({"x": {"S": "1"}})), "{operator}");
        }
        assert!(holds("x <> :one", json!({})) && holds("x <> :one", json!({"x": {"S": "1"}})));
        assert!(!holds("x BETWEEN :one AND :two", json!({})) && !holds("x IN (:one)", json!({})));
    }

    #[test]
    fn sizes_are_compared_as_numbers() {
        assert!(holds("size(x) = :two", json!({"x": {"S": "ab"}})));
        assert!(holds("size(x.y) > :one", json!({"x": {"M": {"y": {"L": [{"S": ""}, {"S": ""}]}}}})));
        assert!(!holds("size(x) < :two", json!({"x": {"N": "1"}})), "a number has no size");
    }

    #[test]
    fn invalid_conditions_are_rejected() {
        for invalid in [
            "x",
            "x =",
            "x = :one AND",
            "(x = :one",
            "((x = :one))",
            "x BETWEEN :one",
            "x IN ()",
            "attribute_exists(:one)",
            "Attribute_exists(x)",
            "size(x)",
            "x = :one y",
            "state = :one",
        ] {
            assert!(parser::parse(invalid, Condition::parse).is_err(), "{invalid}");
        }
    }
}
