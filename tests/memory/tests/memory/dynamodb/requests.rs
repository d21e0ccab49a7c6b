//! Random requests for a few keys and attributes of one table.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

/// A request without its table.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) operation: &'static str,
    pub(crate) body: Value,
}

/// The definition of the table.
pub(crate) fn create_table() -> Value {
    let attribute = |name: &str| json!({"AttributeName": name, "AttributeType": "S"});
    let hash = |name: &str| json!({"AttributeName": name, "KeyType": "HASH"});
    let range = |name: &str| json!({"AttributeName": name, "KeyType": "RANGE"});
    json!({
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [attribute("id"), attribute("g"), attribute("s")],
        "KeySchema": [hash("id")],
        "GlobalSecondaryIndexes": [
            {"IndexName": "keys", "KeySchema": [hash("g"), range("s")], "Projection": {"ProjectionType": "KEYS_ONLY"}},
            {"IndexName": "some", "KeySchema": [hash("s")],
             "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["n", "g"]}},
            {"IndexName": "every", "KeySchema": [hash("g"), range("s")], "Projection": {"ProjectionType": "ALL"}},
        ],
    })
}

// === Values ===

fn text() -> impl Strategy<Value = Value> {
    select(&["", "a", "ab", "b", "ä", "2026-11-20"][..]).prop_map(|text| json!({"S": text}))
}

fn number() -> impl Strategy<Value = Value> {
    const NUMBERS: [&str; 9] = ["0", "1", "-1", "1.50", "10", "1e2", "-0.5", "99999999999999999999", "007"];
    select(NUMBERS.to_vec()).prop_map(|number| json!({"N": number}))
}

fn binary() -> impl Strategy<Value = Value> {
    select(&["", "YQ==", "YWI=", "YWJj"][..]).prop_map(|bytes| json!({"B": bytes}))
}

/// A value that has an order.
fn ordered() -> impl Strategy<Value = Value> {
    prop_oneof![2 => number(), 2 => text(), 1 => binary()]
}

fn set() -> impl Strategy<Value = Value> {
    let members = |kind: &'static str, members: &'static [&'static str]| {
        proptest::sample::subsequence(members, 1..=members.len()).prop_map(move |members| json!({kind: members}))
    };
    // The engine compares the members of number sets as texts in `ADD` and `DELETE`, so all have their stored form.
    prop_oneof![
        members("SS", &["b", "a", "c"]),
        members("NS", &["10", "2", "-1"]),
        members("BS", &["YWI=", "YQ==", "YWJj"]),
    ]
}

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        6 => ordered(),
        1 => any::<bool>().prop_map(|value| json!({"BOOL": value})),
        1 => Just(json!({"NULL": true})),
        2 => set(),
    ]
}

fn list() -> impl Strategy<Value = Value> {
    vec(leaf(), 0..4).prop_map(|values| json!({"L": values}))
}

fn map() -> impl Strategy<Value = Value> {
    (proptest::option::of(ordered()), proptest::option::of(prop_oneof![leaf(), list()])).prop_map(|(x, y)| {
        let members = [("x", x), ("y", y)].into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        json!({"M": members.collect::<Map<_, _>>()})
    })
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![5 => leaf(), 1 => list(), 1 => map(), 1 => invalid_value()]
}

/// A value that is valid in most places.
fn valid_value() -> impl Strategy<Value = Value> {
    prop_oneof![5 => leaf(), 1 => list(), 1 => map()]
}

fn invalid_value() -> impl Strategy<Value = Value> {
    let invalid = [
        json!({"N": "x"}),
        json!({"N": "1e126"}),
        json!({"N": "123456789012345678901234567890123456789"}),
        json!({"B": "%%"}),
        json!({"SS": []}),
        json!({"SS": ["a", "a"]}),
        json!({"NS": ["1", "1.0"]}),
        json!({"NULL": false}),
        json!({}),
        json!({"S": "a", "N": "1"}),
    ];
    prop_oneof![60 => Just(json!({"S": "a"})), 1 => select(invalid.to_vec())]
}

fn key() -> impl Strategy<Value = Value> {
    prop_oneof![
        40 => select(&["k0", "k1", "k2"][..]).prop_map(|key| json!({"id": {"S": key}})),
        1 => select(vec![json!({"id": {"S": ""}}), json!({"id": {"N": "1"}}), json!({}), json!({"x": {"S": "k0"}}),
                         json!({"id": {"S": "k0"}, "s": {"S": "a"}})]),
    ]
}

fn item() -> impl Strategy<Value = Value> {
    let index_key = || {
        prop_oneof![
            12 => select(&["a", "ab", "b"][..]).prop_map(|text| json!({"S": text})),
            1 => value(),
        ]
    };
    let optional = |value: BoxedStrategy<Value>| proptest::option::of(value);
    let plain = (
        optional(number().boxed()),
        optional(set().boxed()),
        optional(list().boxed()),
        optional(map().boxed()),
        optional(value().boxed()),
    );
    (key(), optional(index_key().boxed()), optional(index_key().boxed()), plain).prop_map(
        |(mut item, g, s, (n, t, l, m, v))| {
            for (name, value) in [("g", g), ("s", s), ("n", n), ("t", t), ("l", l), ("m", m), ("v", v)] {
                if let Some(value) = value {
                    item[name] = value;
                }
            }
            item
        },
    )
}

fn path() -> impl Strategy<Value = &'static str> {
    select(&["id", "g", "s", "n", "n", "t", "l", "l[0]", "l[1]", "m", "m.x", "m.y", "m.y[0]", "v", "z", "z.x"][..])
}

// === Expressions ===

/// A text in which `{0}`, `{1}` … stand for values.
type Template = (String, Vec<Value>);

/// Joins templates with a text that has a `%` for each.
fn join(text: &str, parts: Vec<Template>) -> Template {
    let (mut joined, mut values) = (String::new(), Vec::new());
    let mut parts = parts.into_iter();
    for c in text.chars() {
        if c != '%' {
            joined.push(c);
            continue;
        }
        let (part, of_part) = parts.next().unwrap();
        let shifted = (0..of_part.len())
            .rev()
            .fold(part, |part, n| part.replace(&format!("{{{n}}}"), &format!("{{{}}}", n + values.len())));
        joined.push_str(&shifted);
        values.extend(of_part);
    }
    (joined, values)
}

fn literal(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Template> {
    value.prop_map(|value| ("{0}".to_owned(), vec![value]))
}

fn name() -> impl Strategy<Value = Template> {
    path().prop_map(|path| (path.to_owned(), Vec::new()))
}

fn condition() -> impl Strategy<Value = Template> {
    // Not compared: ordering operators with an operand that has no order, and an operand that is compared with itself.
    // AWS rejects both, the engine does not.
    let equality = (name(), select(&["=", "<>"][..]), literal(valid_value()));
    let comparison = (name(), select(&["<", "<=", ">", ">="][..]), literal(ordered()));
    let size = (name(), select(&["=", "<>", "<", ">="][..]), 0..4u8);
    let pairs = (name(), select(&["=", "<>", "<", ">="][..]), name()).prop_filter("distinct", |(a, _, b)| a != b);
    let between = (
        name(),
        prop_oneof![
            Just((json!({"N": "-1"}), json!({"N": "10"}))),
            Just((json!({"S": "a"}), json!({"S": "b"}))),
            Just((json!({"S": "b"}), json!({"S": "a"}))),
            Just((json!({"S": "b"}), json!({"N": "1"}))),
        ],
    );
    let leaf = prop_oneof![
        3 => equality.prop_map(|(a, op, b)| join(&format!("% {op} %"), vec![a, b])),
        3 => comparison.prop_map(|(a, op, b)| join(&format!("% {op} %"), vec![a, b])),
        1 => pairs.prop_map(|(a, op, b)| join(&format!("% {op} %"), vec![a, b])),
        1 => size.prop_map(|(a, op, n)| {
            join(&format!("size(%) {op} %"), vec![a, ("{0}".to_owned(), vec![json!({"N": n.to_string()})])])
        }),
        1 => between.prop_map(|(a, (low, high))| {
            join("% BETWEEN %", vec![a, ("{0} AND {1}".to_owned(), vec![low, high])])
        }),
        1 => (name(), vec(literal(valid_value()), 1..4)).prop_map(|(a, values)| {
            let marks = vec!["%"; values.len()].join(", ");
            join(&format!("% IN ({marks})"), std::iter::once(a).chain(values).collect())
        }),
        2 => name().prop_map(|a| join("attribute_exists(%)", vec![a])),
        2 => name().prop_map(|a| join("attribute_not_exists(%)", vec![a])),
        1 => (name(), select(&["S", "N", "L", "NS", "NULL"][..])).prop_map(|(a, kind)| {
            join("attribute_type(%, %)", vec![a, ("{0}".to_owned(), vec![json!({"S": kind})])])
        }),
        1 => (name(), literal(prop_oneof![text(), binary()])).prop_map(|(a, b)| join("begins_with(%, %)", vec![a, b])),
        2 => (name(), literal(valid_value())).prop_map(|(a, b)| join("contains(%, %)", vec![a, b])),
    ];
    leaf.prop_recursive(2, 6, 2, |inner| {
        let two = (inner.clone(), inner.clone());
        prop_oneof![
            two.clone().prop_map(|(a, b)| join("% AND %", vec![a, b])),
            two.clone().prop_map(|(a, b)| join("% OR %", vec![a, b])),
            two.prop_map(|(a, b)| join("NOT (% OR %)", vec![a, b])),
            inner.prop_map(|a| join("NOT %", vec![a])),
        ]
    })
}

fn set_action() -> impl Strategy<Value = Template> {
    let right = prop_oneof![
        4 => literal(value()),
        1 => name(),
        2 => (name(), select(&["+", "-"][..]), literal(number())).prop_map(|(a, op, b)| {
            join(&format!("% {op} %"), vec![a, b])
        }),
        1 => (name(), literal(number()), literal(number())).prop_map(|(a, zero, b)| {
            join("if_not_exists(%, %) + %", vec![a, zero, b])
        }),
        1 => (name(), literal(valid_value())).prop_map(|(a, b)| join("if_not_exists(%, %)", vec![a, b])),
        1 => (name(), literal(list())).prop_map(|(a, b)| join("list_append(%, %)", vec![a, b])),
        1 => (literal(list()), name()).prop_map(|(a, b)| join("list_append(%, %)", vec![a, b])),
    ];
    (name(), right).prop_map(|(path, right)| join("% = %", vec![path, right]))
}

fn update() -> impl Strategy<Value = Template> {
    let section = |name: &'static str, actions: BoxedStrategy<Template>, max: usize| {
        vec(actions, 0..=max).prop_map(move |actions| match actions.len() {
            0 => (String::new(), Vec::new()),
            n => join(&format!("{name} {} ", vec!["%"; n].join(", ")), actions),
        })
    };
    let operand = prop_oneof![4 => set(), 3 => number(), 1 => text()];
    let pair = |operand: BoxedStrategy<Value>| {
        (name(), literal(operand)).prop_map(|(path, value)| join("% %", vec![path, value])).boxed()
    };
    let sections = (
        section("SET", set_action().boxed(), 2),
        section("REMOVE", name().boxed(), 2),
        section("ADD", pair(operand.clone().boxed()), 1),
        section("DELETE", pair(prop_oneof![9 => set(), 1 => operand].boxed()), 1),
    );
    sections.prop_map(|(a, b, c, d)| join("%%%%", vec![a, b, c, d]))
}

/// An update whose actions mostly fit the types of the attributes: at most one action for each attribute.
fn fitting_update() -> impl Strategy<Value = Template> {
    fn action(section: &'static str, text: &'static str, value: impl Strategy<Value = Value> + 'static) -> Action {
        literal(value).prop_map(move |value| (section, join(text, vec![value]))).boxed()
    }
    fn remove(path: &'static str) -> Action {
        Just(("REMOVE", (path.to_owned(), Vec::new()))).boxed()
    }
    type Action = BoxedStrategy<(&'static str, Template)>;
    let index_key = || select(&["a", "ab", "b"][..]).prop_map(|text| json!({"S": text}));
    let of_attributes = [
        vec![action("SET", "g = %", index_key()), remove("g")],
        vec![action("SET", "s = %", index_key()), action("SET", "s = if_not_exists(s, %)", index_key())],
        vec![
            action("SET", "n = %", number()),
            action("SET", "n = if_not_exists(n, %)", number()),
            action("SET", "n = n - %", number()),
            action("ADD", "n %", number()),
            remove("n"),
        ],
        vec![action("SET", "t = %", set()), action("ADD", "t %", set()), action("DELETE", "t %", set())],
        vec![
            action("SET", "l = %", list()),
            action("SET", "l = list_append(l, %)", list()),
            action("SET", "l[0] = %", valid_value()),
            action("SET", "l[7] = %", valid_value()),
            remove("l[0]"),
            remove("l[1]"),
        ],
        vec![action("SET", "m = %", map()), action("SET", "m.x = %", value()), remove("m.y")],
        vec![action("SET", "v = %", value()), action("SET", "v = n + %", number())],
    ];
    let chosen: Vec<_> = of_attributes
        .into_iter()
        .map(|actions| proptest::option::weighted(0.3, proptest::strategy::Union::new(actions)))
        .collect();
    chosen.prop_map(|actions| {
        let actions: Vec<_> = actions.into_iter().flatten().collect();
        let sections = ["ADD", "DELETE", "REMOVE", "SET"].map(|section| {
            let of_section = actions.iter().filter(|(name, _)| *name == section);
            let templates: Vec<Template> = of_section.map(|(_, template)| template.clone()).collect();
            match templates.len() {
                0 => (String::new(), Vec::new()),
                n => join(&format!("{section} {} ", vec!["%"; n].join(", ")), templates),
            }
        });
        join("%%%%", sections.to_vec())
    })
}

/// Adds expressions to a request: names and values are placeholders if the expression needs or has them.
fn with_expressions(mut body: Value, expressions: Vec<(&str, Template)>, has_names: bool) -> Value {
    let mut values = Map::new();
    for (member, (mut text, of_text)) in expressions {
        let first = values.len();
        for (n, value) in of_text.into_iter().enumerate().rev() {
            text = text.replace(&format!("{{{n}}}"), &format!(":v{}", n + first));
            values.insert(format!(":v{}", n + first), value);
        }
        if has_names && text.contains("m.x") {
            text = text.replace("m.x", "#m.x");
            body["ExpressionAttributeNames"] = json!({"#m": "m"});
        }
        body[member] = json!(text);
    }
    if !values.is_empty() {
        body["ExpressionAttributeValues"] = Value::Object(values);
    }
    body
}

// === Requests ===

fn put() -> impl Strategy<Value = Request> {
    let returns = (select(&["NONE", "ALL_OLD"][..]), select(&["NONE", "ALL_OLD"][..]));
    (item(), proptest::option::of(condition()), returns, any::<bool>()).prop_map(|(item, condition, returns, names)| {
        let body = json!({"Item": item, "ReturnValues": returns.0, "ReturnValuesOnConditionCheckFailure": returns.1});
        let expressions = condition.into_iter().map(|condition| ("ConditionExpression", condition)).collect();
        Request { operation: "PutItem", body: with_expressions(body, expressions, names) }
    })
}

fn delete() -> impl Strategy<Value = Request> {
    let returns = (select(&["NONE", "ALL_OLD"][..]), select(&["NONE", "ALL_OLD"][..]));
    (key(), proptest::option::of(condition()), returns, any::<bool>()).prop_map(|(key, condition, returns, names)| {
        let body = json!({"Key": key, "ReturnValues": returns.0, "ReturnValuesOnConditionCheckFailure": returns.1});
        let expressions = condition.into_iter().map(|condition| ("ConditionExpression", condition)).collect();
        Request { operation: "DeleteItem", body: with_expressions(body, expressions, names) }
    })
}

fn update_item() -> impl Strategy<Value = Request> {
    let returns = select(&["NONE", "ALL_OLD", "ALL_NEW", "UPDATED_OLD", "UPDATED_NEW"][..]);
    let on_failure = select(&["NONE", "ALL_OLD"][..]);
    let update = prop_oneof![3 => fitting_update(), 1 => update()];
    (key(), update, proptest::option::of(condition()), returns, on_failure, any::<bool>()).prop_map(
        |(key, update, condition, returns, on_failure, names)| {
            // For paths into lists, the engine returns the whole attribute, and AWS only the updated elements.
            let returns = if update.0.contains('[') { returns.trim_start_matches("UPDATED_") } else { returns };
            let returns = if ["OLD", "NEW"].contains(&returns) { "ALL_NEW" } else { returns };
            let body = json!({"Key": key, "ReturnValues": returns, "ReturnValuesOnConditionCheckFailure": on_failure});
            let mut expressions = vec![("UpdateExpression", update)];
            expressions.extend(condition.map(|condition| ("ConditionExpression", condition)));
            Request { operation: "UpdateItem", body: with_expressions(body, expressions, names) }
        },
    )
}

fn projection() -> impl Strategy<Value = Option<String>> {
    proptest::option::of(vec(path(), 1..3).prop_map(|paths| paths.join(", ")))
}

fn get() -> impl Strategy<Value = Request> {
    (key(), projection(), any::<bool>()).prop_map(|(key, projection, is_consistent)| {
        let mut body = json!({"Key": key, "ConsistentRead": is_consistent});
        if let Some(projection) = projection {
            body["ProjectionExpression"] = json!(projection);
        }
        Request { operation: "GetItem", body }
    })
}

/// A `BatchGetItem`. The table's name is filled in later.
fn batch() -> impl Strategy<Value = Request> {
    (vec(key(), 0..4), projection()).prop_map(|(keys, projection)| {
        let mut of_table = json!({"Keys": keys});
        if let Some(projection) = projection {
            of_table["ProjectionExpression"] = json!(projection);
        }
        Request { operation: "BatchGetItem", body: of_table }
    })
}

fn query() -> impl Strategy<Value = Request> {
    let partition = || select(&["a", "ab", "b"][..]).prop_map(|text| json!({"S": text}));
    let sort = prop_oneof![
        2 => Just(("".to_owned(), Vec::new())),
        3 => (select(&["=", "<", "<=", ">", ">="][..]), partition()).prop_map(|(op, value)| {
            (format!(" AND s {op} {{0}}"), vec![value])
        }),
        1 => (partition(), partition()).prop_map(|(a, b)| (" AND s BETWEEN {0} AND {1}".to_owned(), vec![a, b])),
        1 => partition().prop_map(|prefix| (" AND begins_with(s, {0})".to_owned(), vec![prefix])),
    ];
    let of_index = (select(&["keys", "every"][..]), partition(), sort).prop_map(|(index, g, sort)| {
        let keys = join("g = %%", vec![("{0}".to_owned(), vec![g]), sort]);
        (json!({"IndexName": index}), keys)
    });
    let of_some = partition().prop_map(|s| (json!({"IndexName": "some"}), ("s = {0}".to_owned(), vec![s])));
    // AWS rejects an empty key, the engine does not.
    let of_table = key().prop_filter_map("has a key", |key| {
        let id = key.get("id").filter(|id| id["S"] != "")?;
        Some((json!({}), ("id = {0}".to_owned(), vec![id.clone()])))
    });
    let filter = proptest::option::weighted(0.2, literal(number()).prop_map(|n| join("n >= %", vec![n])));
    let source = prop_oneof![4 => of_index, 1 => of_some, 1 => of_table];
    (source, any::<bool>(), proptest::option::of(1..3u8), filter).prop_map(
        |((mut body, keys), forward, limit, filter)| {
            body["ScanIndexForward"] = json!(forward);
            // On a table without a sort key, the engine returns the item at the exclusive start again.
            if let Some(limit) = limit.filter(|_| body.get("IndexName").is_some()) {
                body["Limit"] = json!(limit);
            }
            // AWS rejects a filter of attributes that the index does not have; the engine does not.
            let filter = filter.filter(|_| body["IndexName"] != "keys");
            let mut expressions = vec![("KeyConditionExpression", keys)];
            expressions.extend(filter.map(|filter| ("FilterExpression", filter)));
            Request { operation: "Query", body: with_expressions(body, expressions, false) }
        },
    )
}

/// Any request.
pub(crate) fn request() -> impl Strategy<Value = Request> {
    prop_oneof![6 => put(), 6 => update_item(), 2 => delete(), 2 => get(), 1 => batch(), 4 => query()]
}
