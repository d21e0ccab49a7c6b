//! Tests what the embedded engine does not have or does not do as AWS: lagging indexes, expiry, changes and limits.

use gatehouse_memory::dynamodb::Units;
use gatehouse_memory::{DynamoDb, Response};
use serde_json::{Value, json};

use super::requests::create_table;

const TABLE: &str = "Table";

fn db() -> DynamoDb {
    let mut db = DynamoDb::new();
    let mut definition = create_table();
    definition["TableName"] = json!(TABLE);
    assert_eq!(db.answer("CreateTable", &definition, 0).status, 200);
    let ttl = json!({"TableName": TABLE, "TimeToLiveSpecification": {"AttributeName": "ttl", "Enabled": true}});
    assert_eq!(db.answer("UpdateTimeToLive", &ttl, 0).status, 200);
    db
}

fn ask(db: &mut DynamoDb, operation: &str, mut request: Value) -> Response {
    request["TableName"] = json!(TABLE);
    db.answer(operation, &request, 0)
}

fn put(db: &mut DynamoDb, item: Value) {
    let answer = ask(db, "PutItem", json!({"Item": item}));
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// The ids of the entries of an index with `g` = "a".
fn listed(db: &mut DynamoDb, index: &str) -> Vec<String> {
    let values = json!({":g": {"S": "a"}});
    let query = json!({"IndexName": index, "KeyConditionExpression": "g = :g", "ExpressionAttributeValues": values});
    let answer = ask(db, "Query", query);
    answer.body["Items"].as_array().unwrap().iter().map(|item| item["id"]["S"].as_str().unwrap().to_owned()).collect()
}

fn entry(id: &str, s: &str) -> Value {
    json!({"id": {"S": id}, "g": {"S": "a"}, "s": {"S": s}})
}

/// The error code of a request that fails.
fn refused(db: &mut DynamoDb, operation: &str, request: Value) -> String {
    let answer = ask(db, operation, request);
    let prefix = answer.body["__type"].as_str().unwrap().starts_with("com.amazonaws.dynamodb.v20120810#");
    assert!(prefix && answer.status == 400, "{answer:?}");
    answer.code().unwrap().to_owned()
}

#[test]
fn held_indexes_show_changes_in_their_order_when_they_are_applied() {
    let mut db = db();
    put(&mut db, entry("1", "b"));
    db.hold_indexes(true);
    put(&mut db, entry("2", "a"));
    put(&mut db, entry("1", "c"));
    assert_eq!(ask(&mut db, "DeleteItem", json!({"Key": {"id": {"S": "2"}}})).status, 200);
    assert_eq!(listed(&mut db, "keys"), ["1"]);
    // Each write changes three indexes.
    assert_eq!(db.pending(), 9);
    db.apply_pending(3);
    assert_eq!(listed(&mut db, "keys"), ["2", "1"]);
    assert_eq!(listed(&mut db, "every"), ["2", "1"]);
    db.apply_pending(100);
    assert_eq!((listed(&mut db, "keys"), db.pending()), (vec!["1".to_owned()], 0));
    put(&mut db, entry("3", "a"));
    db.hold_indexes(false);
    assert_eq!((listed(&mut db, "keys"), db.pending()), (vec!["3".to_owned(), "1".to_owned()], 0));
}

#[test]
fn expired_items_stay_until_they_are_removed() {
    let mut db = db();
    let now = 1_795_165_200;
    let item = |id: &str, ttl: Value| json!({"id": {"S": id}, "ttl": ttl});
    put(&mut db, item("late", json!({"N": (now - 1).to_string()})));
    put(&mut db, item("early", json!({"N": (now - 100).to_string()})));
    put(&mut db, item("now", json!({"N": now.to_string()})));
    put(&mut db, item("text", json!({"S": "1"})));
    put(&mut db, item("ancient", json!({"N": "1"})));
    assert_eq!(db.expired(TABLE, now), ["early", "late"]);
    put(&mut db, item("early", json!({"N": (now + 100).to_string()})));
    assert_eq!(db.expired(TABLE, now), ["late"]);
    db.take_changes();
    db.remove_expired(TABLE, "late");
    db.remove_expired(TABLE, "late");
    assert_eq!(db.expired(TABLE, now), [""; 0]);
    let changes = db.take_changes();
    assert_eq!(changes.len(), 1);
    assert!(changes[0].expired && changes[0].key == "late" && changes[0].old.is_some() && changes[0].new.is_none());
    assert_eq!(db.items(TABLE).unwrap().len(), 4);
}

#[test]
fn every_successful_write_is_a_change() {
    let mut db = db();
    put(&mut db, entry("1", "a"));
    put(&mut db, entry("1", "a"));
    let failing = json!({"Item": entry("1", "b"), "ConditionExpression": "attribute_not_exists(id)"});
    assert_eq!(refused(&mut db, "PutItem", failing), "ConditionalCheckFailedException");
    let key = json!({"id": {"S": "1"}});
    ask(&mut db, "UpdateItem", json!({"Key": key, "UpdateExpression": "REMOVE s"}));
    ask(&mut db, "DeleteItem", json!({"Key": key}));
    ask(&mut db, "DeleteItem", json!({"Key": key}));
    let changes = db.take_changes();
    let shape: Vec<_> = changes.iter().map(|change| (change.old.is_some(), change.new.is_some())).collect();
    assert_eq!(shape, [(false, true), (true, true), (true, true), (true, false)]);
    assert!(changes[1].old == changes[1].new && changes.iter().all(|change| !change.expired && change.table == TABLE));
    assert_eq!(db.take_changes(), []);
}

#[test]
fn failed_condition_returns_the_stored_item_and_costs_its_size() {
    let mut db = db();
    let item = json!({"id": {"S": "1"}, "v": {"S": "x".repeat(3000)}});
    put(&mut db, item.clone());
    assert_eq!(db.last_units(), Units { read: 0.0, write: 3 });
    let mut request = json!({"Item": {"id": {"S": "1"}}, "ConditionExpression": "attribute_not_exists(id)",
                             "ReturnValuesOnConditionCheckFailure": "ALL_OLD", "TableName": TABLE});
    let answer = db.answer("PutItem", &request, 0);
    assert_eq!((answer.code(), &answer.body["Item"]), (Some("ConditionalCheckFailedException"), &item));
    assert_eq!(answer.body["message"], "The conditional request failed");
    assert_eq!(db.last_units(), Units { read: 0.0, write: 3 });
    request["ReturnValuesOnConditionCheckFailure"] = json!("NONE");
    assert_eq!(db.answer("PutItem", &request, 0).body.get("Item"), None);
}

#[test]
fn units_count_started_kilobytes_and_changed_index_entries() {
    let mut db = db();
    put(&mut db, entry("1", "a"));
    assert_eq!(db.last_units().write, 4, "the table and an entry in each of three indexes");
    put(&mut db, entry("1", "a"));
    assert_eq!(db.last_units().write, 1, "no entry changes");
    let mut with_number = entry("1", "a");
    with_number["n"] = json!({"N": "1"});
    put(&mut db, with_number);
    assert_eq!(db.last_units().write, 3, "two indexes contain the number");
    put(&mut db, entry("1", "b"));
    assert_eq!(db.last_units().write, 7, "three entries move");
    ask(&mut db, "GetItem", json!({"Key": {"id": {"S": "1"}}}));
    assert_eq!(db.last_units(), Units { read: 0.5, write: 0 });
    ask(&mut db, "GetItem", json!({"Key": {"id": {"S": "absent"}}, "ConsistentRead": true}));
    assert_eq!(db.last_units(), Units { read: 1.0, write: 0 });
}

#[test]
fn item_has_at_most_400_kilobytes_with_its_names() {
    let mut db = db();
    // "id", "1" and "v" are four bytes.
    let item = |bytes: usize| json!({"id": {"S": "1"}, "v": {"S": "x".repeat(bytes)}});
    put(&mut db, item(400 * 1024 - 4));
    assert_eq!(refused(&mut db, "PutItem", json!({"Item": item(400 * 1024 - 3)})), "ValidationException");
    let update = json!({"Key": {"id": {"S": "1"}}, "UpdateExpression": "SET w = :w",
                        "ExpressionAttributeValues": {":w": {"S": ""}}});
    assert_eq!(refused(&mut db, "UpdateItem", update), "ValidationException");
}

#[test]
fn batch_returns_16_megabytes_and_the_keys_of_the_rest() {
    let mut db = db();
    for n in 0..50 {
        put(&mut db, json!({"id": {"S": format!("{n:02}")}, "v": {"S": "x".repeat(400_000)}}));
    }
    let keys =
        |range: std::ops::Range<u32>| -> Value { range.map(|n| json!({"id": {"S": format!("{n:02}")}})).collect() };
    let answer = db.answer("BatchGetItem", &json!({"RequestItems": {TABLE: {"Keys": keys(0..50)}}}), 0);
    let returned = answer.body["Responses"][TABLE].as_array().unwrap().len();
    let left = &answer.body["UnprocessedKeys"][TABLE]["Keys"];
    assert_eq!((returned, left), (41, &keys(41..50)));
    for invalid in [keys(0..101), json!([]), json!([{"id": {"S": "1"}}, {"id": {"S": "1"}}])] {
        let answer = db.answer("BatchGetItem", &json!({"RequestItems": {TABLE: {"Keys": invalid}}}), 0);
        assert_eq!(answer.code(), Some("ValidationException"));
    }
}

#[test]
fn page_of_a_query_has_at_most_a_megabyte() {
    let mut db = db();
    for n in 0..5 {
        let mut item = entry(&n.to_string(), &n.to_string());
        item["v"] = json!({"S": "x".repeat(300_000)});
        put(&mut db, item);
    }
    let mut query = json!({"IndexName": "every", "KeyConditionExpression": "g = :g",
                           "ExpressionAttributeValues": {":g": {"S": "a"}}, "ScanIndexForward": false});
    let first = ask(&mut db, "Query", query.clone()).body;
    assert_eq!((&first["Count"], &first["LastEvaluatedKey"]), (&json!(3), &entry("2", "2")));
    query["ExclusiveStartKey"] = first["LastEvaluatedKey"].clone();
    let second = ask(&mut db, "Query", query).body;
    assert_eq!((&second["Count"], second.get("LastEvaluatedKey")), (&json!(2), None));
}

#[test]
fn scan_returns_all_items_in_pages() {
    let mut db = db();
    for n in 0..5 {
        put(&mut db, entry(&n.to_string(), "a"));
    }
    let mut request = json!({"Limit": 2});
    let mut pages = Vec::new();
    loop {
        let page = ask(&mut db, "Scan", request.clone()).body;
        pages.push(page["Count"].as_u64().unwrap());
        match page.get("LastEvaluatedKey") {
            Some(last) => request["ExclusiveStartKey"] = last.clone(),
            None => break,
        }
    }
    assert_eq!(pages, [2, 2, 1]);
    let filter = json!({"FilterExpression": "id > :id", "ExpressionAttributeValues": {":id": {"S": "2"}}});
    let filtered = ask(&mut db, "Scan", filter).body;
    assert_eq!((&filtered["Count"], &filtered["ScannedCount"]), (&json!(2), &json!(5)));
}

#[test]
fn operands_that_have_no_order_or_are_compared_with_themselves_are_rejected() {
    let mut db = db();
    for (condition, value) in [
        ("v < :v", json!({"BOOL": true})),
        ("v BETWEEN :v AND :v", json!({"NULL": true})),
        ("begins_with(v, :v)", json!({"N": "1"})),
        ("attribute_type(v, :v)", json!({"S": "STRING"})),
        ("v = v AND w = :v", json!({"S": "a"})),
        ("contains(:v, :v)", json!({"S": "a"})),
    ] {
        let values = json!({":v": value});
        let request = json!({"Item": {"id": {"S": "1"}}, "ConditionExpression": condition,
                             "ExpressionAttributeValues": values});
        assert_eq!(refused(&mut db, "PutItem", request), "ValidationException", "{condition}");
    }
}

#[test]
fn placeholders_must_be_defined_and_used() {
    let mut db = db();
    for request in [
        json!({"ConditionExpression": "v = :v"}),
        json!({"ConditionExpression": "attribute_exists(#v)"}),
        json!({"ConditionExpression": "attribute_exists(v)", "ExpressionAttributeValues": {":v": {"S": "a"}}}),
        json!({"ConditionExpression": "attribute_exists(v)", "ExpressionAttributeNames": {"#v": "v"}}),
        json!({"ConditionExpression": "attribute_exists(v)", "ExpressionAttributeNames": {}}),
        json!({"ExpressionAttributeNames": {"#v": "v"}}),
    ] {
        let mut request = request;
        request["Item"] = json!({"id": {"S": "1"}});
        assert_eq!(refused(&mut db, "PutItem", request.clone()), "ValidationException", "{request}");
    }
}

#[test]
fn unsupported_requests_and_unknown_tables_are_errors() {
    let mut db = db();
    for (operation, request, code) in [
        ("GetItem", json!({"TableName": "Other", "Key": {"id": {"S": "1"}}}), "ResourceNotFoundException"),
        ("DescribeTable", json!({"TableName": "Other"}), "ResourceNotFoundException"),
        ("TransactWriteItems", json!({}), "UnknownOperationException"),
        ("PutItem", json!({"TableName": TABLE, "Item": {"id": {"S": "1"}}, "Expected": {}}), "ValidationException"),
    ] {
        assert_eq!(db.answer(operation, &request, 0).code(), Some(code), "{operation}");
    }
    let mut again = create_table();
    again["TableName"] = json!(TABLE);
    assert_eq!(db.answer("CreateTable", &again, 0).code(), Some("ResourceInUseException"));
    let numeric = json!({"TableName": "Numeric", "KeySchema": [{"AttributeName": "n", "KeyType": "HASH"}],
                         "AttributeDefinitions": [{"AttributeName": "n", "AttributeType": "N"}]});
    assert_eq!(db.answer("CreateTable", &numeric, 0).code(), Some("ValidationException"));
}
