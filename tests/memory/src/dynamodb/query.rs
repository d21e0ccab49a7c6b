//! Operations that read many items: `Query` and `Scan`.

use std::ops::Bound;

use serde_json::{Value, json};

use super::admin::table_name;
use super::bindings::{Bindings, invalid};
use super::condition::{Comparator, Condition, Operand};
use super::error::Failure;
use super::parser::{Path, Step};
use super::read::{is_consistent, resolved, shown};
use super::table::{EntryKey, Index, KEY_SEPARATOR, Projection, Table};
use super::units::{Consumed, Units};
use super::{DynamoDb, Item, value};

/// The maximum size of the items of a page in bytes.
const MAX_PAGE_BYTES: usize = 1024 * 1024;
const FILTER: &str = "FilterExpression";
const KEY_CONDITION: &str = "KeyConditionExpression";
const PROJECTION: &str = "ProjectionExpression";
/// Parameters of the API before expressions, which AWS still accepts, and parallel scans.
const UNSUPPORTED: [&str; 6] =
    ["KeyConditions", "QueryFilter", "ScanFilter", "AttributesToGet", "ConditionalOperator", "TotalSegments"];

impl DynamoDb {
    pub(super) fn query(&mut self, request: &Value) -> Result<Value, Failure> {
        let name = table_name(request)?;
        let keys = self.expressions.condition(request, KEY_CONDITION)?;
        let reader = Reader::new(self, request, keys.as_ref().map(|keys| &keys.references))?;
        let Some(keys) = keys else {
            return Err(Failure::invalid(
                "Either the KeyConditions or KeyConditionExpression parameter must be specified in the request.",
            ));
        };
        keys.expression.check(&reader.bindings).map_err(|message| invalid(KEY_CONDITION, &message))?;
        let table = self.tables.get(name).ok_or_else(Failure::no_table)?;
        let index = reader.index(table)?;
        let is_forward = request["ScanIndexForward"].as_bool().unwrap_or(true);
        let page = match index {
            None => {
                let sort = table.keys.sort.as_deref();
                let range = KeyRange::new(&keys.expression, &table.keys.partition, sort, &reader.bindings)?;
                let start = reader.start_of_table(table)?;
                let is_after = |key: &str| {
                    start.as_deref().is_none_or(|start| match is_forward {
                        true => key > start,
                        false => key < start,
                    })
                };
                match sort {
                    None => {
                        let item = table.items.get_key_value(&range.partition).filter(|(key, _)| is_after(key));
                        reader.page(item.map(|(_, item)| item).into_iter())
                    }
                    Some(_) => {
                        let prefix = format!("{}{KEY_SEPARATOR}", range.partition);
                        // The smallest text that is greater than all texts with the prefix.
                        let items = table.items.range(prefix.clone()..format!("{}\u{1}", range.partition));
                        let has = |key: &str| range.has(key.strip_prefix(&prefix).unwrap_or_default());
                        let items = items.filter(|(key, _)| is_after(key) && has(key)).map(|(_, item)| item);
                        if is_forward { reader.page(items) } else { reader.page(items.rev()) }
                    }
                }
            }
            Some(index) => {
                let range = KeyRange::new(&keys.expression, &index.partition, index.sort.as_deref(), &reader.bindings)?;
                let start = reader.start_of_index(table, index)?;
                let entries = index.entries.range(range.bounds(start, is_forward));
                let entries = entries.filter(|((_, sort, _), _)| range.has(sort)).map(|(_, entry)| entry);
                if is_forward { reader.page(entries) } else { reader.page(entries.rev()) }
            }
        };
        self.units = page.consumed(&reader, index).total();
        page.response(&reader, name, table, index)
    }

    pub(super) fn scan(&mut self, request: &Value) -> Result<Value, Failure> {
        let name = table_name(request)?;
        let reader = Reader::new(self, request, None)?;
        let table = self.tables.get(name).ok_or_else(Failure::no_table)?;
        let index = reader.index(table)?;
        let page = match index {
            None => {
                let start = reader.start_of_table(table)?.map_or(Bound::Unbounded, Bound::Excluded);
                reader.page(table.items.range((start, Bound::Unbounded)).map(|(_, item)| item))
            }
            Some(index) => {
                let start = reader.start_of_index(table, index)?.map_or(Bound::Unbounded, Bound::Excluded);
                reader.page(index.entries.range((start, Bound::Unbounded)).map(|(_, entry)| entry))
            }
        };
        self.units = page.consumed(&reader, index).total();
        page.response(&reader, name, table, index)
    }
}

/// What `Query` and `Scan` have in common.
struct Reader<'r> {
    request: &'r Value,
    bindings: Bindings,
    filter: Option<std::sync::Arc<super::parser::Parsed<Condition>>>,
    projection: Option<Vec<Path>>,
    limit: usize,
    is_count: bool,
}

/// A page of items.
struct Page<'t> {
    items: Vec<&'t Item>,
    scanned: usize,
    bytes: usize,
    /// The last item, if there may be more.
    last: Option<&'t Item>,
}

impl<'r> Reader<'r> {
    fn new(db: &mut DynamoDb, request: &'r Value, keys: Option<&super::parser::References>) -> Result<Self, Failure> {
        if let Some(member) = UNSUPPORTED.iter().find(|member| request.get(**member).is_some()) {
            return Err(Failure::invalid(format!("the in-memory DynamoDB does not support {member}")));
        }
        let filter = db.expressions.condition(request, FILTER)?;
        let projection = db.expressions.projection(request)?;
        let bindings = Bindings::read(
            request,
            &[
                (KEY_CONDITION, keys),
                (FILTER, filter.as_ref().map(|filter| &filter.references)),
                (PROJECTION, projection.as_ref().map(|projection| &projection.references)),
            ],
        )?;
        if let Some(filter) = &filter {
            filter.expression.check(&bindings).map_err(|message| invalid(FILTER, &message))?;
        }
        let projection = projection.map(|projection| resolved(&projection.expression, &bindings)).transpose()?;
        let limit = match request.get("Limit") {
            None | Some(Value::Null) => usize::MAX,
            Some(limit) => match limit.as_u64().and_then(|limit| usize::try_from(limit).ok()) {
                Some(limit) if limit > 0 => limit,
                _ => {
                    return Err(Failure::invalid(format!(
                        "1 validation error detected: Value '{limit}' at 'limit' failed to satisfy constraint: Member \
                         must have value greater than or equal to 1"
                    )));
                }
            },
        };
        Consumed::default().shown(request, "")?;
        let is_count = request["Select"] == "COUNT";
        if is_count && projection.is_some() {
            return Err(Failure::invalid(
                "Cannot specify the ProjectionExpression when choosing to get only the Count",
            ));
        }
        Ok(Reader { request, bindings, filter, projection, limit, is_count })
    }

    /// Returns the index that the request names.
    fn index<'t>(&self, table: &'t Table) -> Result<Option<&'t Index>, Failure> {
        let Some(name) = self.request["IndexName"].as_str() else { return Ok(None) };
        let index = table.index(name)?;
        if is_consistent(self.request) {
            return Err(Failure::invalid("Consistent reads are not supported on global secondary indexes"));
        }
        if self.request["Select"] == "ALL_ATTRIBUTES" && index.projection != Projection::All {
            return Err(Failure::parameter(format!(
                "Select type ALL_ATTRIBUTES is not supported for global secondary index {name} because its projection \
                 type is not ALL"
            )));
        }
        let filtered = self.filter.as_ref().map(|filter| filter.expression.paths()).unwrap_or_default();
        for path in self.projection.iter().flatten().chain(filtered) {
            if let Some(Step::Name(attribute)) = path.first()
                && !index.has(&table.keys, self.bindings.name(attribute))
            {
                return Err(Failure::parameter(format!(
                    "Global secondary index {name} does not project [{}]",
                    self.bindings.name(attribute)
                )));
            }
        }
        Ok(Some(index))
    }

    fn start(&self) -> Result<Option<Item>, Failure> {
        match self.request.get("ExclusiveStartKey") {
            None | Some(Value::Null) => Ok(None),
            Some(key) => value::attributes(key, "ExclusiveStartKey").map(Some),
        }
    }

    fn start_of_table(&self, table: &Table) -> Result<Option<String>, Failure> {
        let Some(start) = self.start()? else { return Ok(None) };
        table.key_of(&start).map(Some).map_err(|_| invalid_start())
    }

    fn start_of_index(&self, table: &Table, index: &Index) -> Result<Option<EntryKey>, Failure> {
        let Some(start) = self.start()? else { return Ok(None) };
        let text = |name: &str| start.get(name).and_then(|value| value::text(value, "S")).map(str::to_owned);
        let sort = index.sort.as_deref().map_or(Some(String::new()), text);
        let names = key_names(table, Some(index));
        let own: Item = table.keys.iter().filter_map(|name| Some((name.clone(), start.get(name)?.clone()))).collect();
        match (text(&index.partition), sort, table.key_of(&own).ok()) {
            (Some(partition), Some(sort), Some(key)) if start.keys().all(|name| names.contains(&name.as_str())) => {
                Ok(Some((partition, sort, key)))
            }
            _ => Err(invalid_start()),
        }
    }

    /// Reads items until the page is full.
    fn page<'t>(&self, items: impl Iterator<Item = &'t Item>) -> Page<'t> {
        let mut page = Page { items: Vec::new(), scanned: 0, bytes: 0, last: None };
        let mut previous = None;
        for item in items {
            let size = value::item_size(item);
            if page.scanned > 0 && page.bytes + size > MAX_PAGE_BYTES {
                page.last = previous;
                break;
            }
            page.bytes += size;
            page.scanned += 1;
            if self.filter.as_ref().is_none_or(|filter| filter.expression.holds(item, &self.bindings)) {
                page.items.push(item);
            }
            // A full page has a last key even if no items follow.
            if page.scanned == self.limit {
                page.last = Some(item);
                break;
            }
            previous = Some(item);
        }
        page
    }
}

impl Page<'_> {
    fn consumed(&self, reader: &Reader<'_>, index: Option<&Index>) -> Consumed {
        let units = Units::reading(self.bytes, is_consistent(reader.request));
        let mut consumed = Consumed::default();
        match index {
            Some(index) => drop(consumed.indexes.insert(index.name.clone(), units)),
            None => consumed.table = units,
        }
        consumed
    }

    fn response(
        &self,
        reader: &Reader<'_>,
        name: &str,
        table: &Table,
        index: Option<&Index>,
    ) -> Result<Value, Failure> {
        let mut body = json!({"Count": self.items.len(), "ScannedCount": self.scanned});
        if !reader.is_count {
            body["Items"] = self.items.iter().map(|item| shown(item, reader.projection.as_deref())).collect();
        }
        if let Some(last) = self.last {
            let names = key_names(table, index);
            let keys = last.iter().filter(|(name, _)| names.contains(&name.as_str()));
            body["LastEvaluatedKey"] = value::object(keys.map(|(name, key)| (name.clone(), key.clone())).collect());
        }
        if let Some(capacity) = self.consumed(reader, index).shown(reader.request, name)? {
            body["ConsumedCapacity"] = capacity;
        }
        Ok(body)
    }
}

fn invalid_start() -> Failure {
    Failure::invalid("The provided starting key is invalid")
}

/// The names of the keys of a table and an index.
fn key_names<'t>(table: &'t Table, index: Option<&'t Index>) -> Vec<&'t str> {
    let mut names: Vec<&str> = table.keys.iter().map(String::as_str).collect();
    if let Some(index) = index {
        names.push(&index.partition);
        names.extend(index.sort.as_deref());
    }
    names
}

// === Key conditions ===

/// The keys that a key condition selects.
struct KeyRange<'b> {
    partition: String,
    sort: Option<SortCondition<'b>>,
}

enum SortCondition<'b> {
    Compare(Comparator, &'b Value),
    Between(&'b Value, &'b Value),
    BeginsWith(&'b Value),
}

impl<'b> KeyRange<'b> {
    /// Reads `partition = :value`, with a condition for the sort key or without.
    fn new(condition: &Condition, name: &str, sort: Option<&str>, bindings: &'b Bindings) -> Result<Self, Failure> {
        let terms = match condition {
            Condition::And(left, right) => vec![&**left, &**right],
            term => vec![term],
        };
        let mut terms = terms.into_iter().map(|term| Self::term(term, bindings)).collect::<Result<Vec<_>, _>>()?;
        let missed = |name: &str| Failure::invalid(format!("Query condition missed key schema element: {name}"));
        let found = terms.iter().position(|(found, _)| *found == name).ok_or_else(|| missed(name))?;
        let (_, of_partition) = terms.swap_remove(found);
        let SortCondition::Compare(Comparator::Equal, value) = of_partition else {
            return Err(Failure::invalid("Query key condition not supported"));
        };
        let sort = match (terms.pop(), sort) {
            (None, _) => None,
            (Some((found, condition)), Some(sort)) if found == sort => Some(condition),
            (Some(_), Some(sort)) => return Err(missed(sort)),
            (Some(_), None) => return Err(Failure::invalid("Query key condition not supported")),
        };
        let partition = text(value)?;
        if partition.is_empty() {
            return Err(Failure::invalid(format!(
                "One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an \
                 empty string value. Key: {name}"
            )));
        }
        Ok(KeyRange { partition: partition.to_owned(), sort })
    }

    fn term<'c>(condition: &'c Condition, bindings: &'b Bindings) -> Result<(&'c str, SortCondition<'b>), Failure>
    where
        'b: 'c,
    {
        let unsupported = || invalid(KEY_CONDITION, "Query key condition not supported");
        let value = |operand: &Operand| operand.literal(bindings).ok_or_else(unsupported);
        let (operand, condition) = match condition {
            Condition::Compare(operand, comparator, right) if *comparator != Comparator::NotEqual => {
                (operand, SortCondition::Compare(*comparator, value(right)?))
            }
            Condition::Between(operand, lower, upper) => {
                (operand, SortCondition::Between(value(lower)?, value(upper)?))
            }
            Condition::BeginsWith(operand, prefix) => (operand, SortCondition::BeginsWith(value(prefix)?)),
            _ => return Err(Failure::invalid("Invalid operator used in KeyConditionExpression")),
        };
        for value in condition.values() {
            text(value)?;
        }
        match operand {
            Operand::Path(path) => match path.as_slice() {
                [Step::Name(name)] => Ok((bindings.name(name), condition)),
                _ => Err(unsupported()),
            },
            Operand::Value(_) | Operand::Size(_) => Err(unsupported()),
        }
    }

    fn has(&self, sort: &str) -> bool {
        self.sort.as_ref().is_none_or(|condition| condition.holds(sort))
    }

    /// The bounds of the entries, in which all entries lie that fulfil the condition.
    fn bounds(&self, start: Option<EntryKey>, is_forward: bool) -> (Bound<EntryKey>, Bound<EntryKey>) {
        let entry = |sort: &str| (self.partition.clone(), sort.to_owned(), String::new());
        let (lowest, highest) = self.sort.as_ref().map_or((None, None), SortCondition::bounds);
        let lower = entry(lowest.unwrap_or_default());
        // The smallest text that is greater than another one has a zero character more.
        let upper = match highest {
            Some(highest) => entry(&format!("{highest}\0")),
            None => (format!("{}\0", self.partition), String::new(), String::new()),
        };
        match start {
            Some(start) if is_forward && start >= upper => (Bound::Excluded(upper.clone()), Bound::Included(upper)),
            Some(start) if is_forward => (Bound::Excluded(start.max(lower)), Bound::Excluded(upper)),
            Some(start) if start <= lower => (Bound::Included(lower.clone()), Bound::Excluded(lower)),
            Some(start) => (Bound::Included(lower), Bound::Excluded(start.min(upper))),
            None => (Bound::Included(lower), Bound::Excluded(upper)),
        }
    }
}

/// The text of a value for a key.
fn text(value: &Value) -> Result<&str, Failure> {
    let mismatch = || Failure::parameter("Condition parameter type does not match schema type");
    value::text(value, "S").ok_or_else(mismatch)
}

impl SortCondition<'_> {
    fn values(&self) -> Vec<&Value> {
        match self {
            SortCondition::Compare(_, value) | SortCondition::BeginsWith(value) => vec![value],
            SortCondition::Between(lower, upper) => vec![lower, upper],
        }
    }

    fn holds(&self, sort: &str) -> bool {
        let of = |value: &'_ Value| value::text(value, "S").unwrap_or_default().to_owned();
        match self {
            SortCondition::Compare(comparator, value) => comparator.holds_for(sort.cmp(&of(value))),
            SortCondition::Between(lower, upper) => *of(lower) <= *sort && *sort <= *of(upper),
            SortCondition::BeginsWith(prefix) => sort.starts_with(&of(prefix)),
        }
    }

    /// The least and the greatest sort key that may fulfil the condition.
    fn bounds(&self) -> (Option<&str>, Option<&str>) {
        match self {
            SortCondition::Compare(Comparator::Equal, value) => (value::text(value, "S"), value::text(value, "S")),
            SortCondition::Compare(Comparator::Less | Comparator::LessOrEqual, value) => {
                (None, value::text(value, "S"))
            }
            SortCondition::Compare(_, value) | SortCondition::BeginsWith(value) => (value::text(value, "S"), None),
            SortCondition::Between(lower, upper) => (value::text(lower, "S"), value::text(upper, "S")),
        }
    }
}
