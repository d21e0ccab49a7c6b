//! Calculates what a deployed stack costs a month: an idle one, and one that receives events.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use gatehouse_local::Error;
use gatehouse_local::template::Template;

use crate::MEMORY;
use crate::cost::{Aws, PLATFORM_LOG};
use crate::report::{Report, Table, Target};

/// Days of a month.
const DAYS: f64 = 30.0;
/// Days for which the template stores events by default.
const RETENTION_DAYS: f64 = 90.0;
/// Empty receives of an event source on an idle queue: Lambda starts five pollers, each of which waits for 20 s.
const POLLS: f64 = 5.0 * 3.0 * 60.0 * 24.0 * DAYS;
/// Times that an instance in use loads the secrets document in an hour.
const SECRET_LOADS: f64 = 12.0;
/// Names of the metrics that webhooks alone produce: outcomes, recorded, duplicate, refused, `server_error`, unverified
/// and `webhook_ms`.
const METRICS: f64 = 7.0;
/// Alarms, and requests to SQS, that are free of charge each month.
const FREE: (f64, f64) = (10.0, 1e6);
/// Bytes that DynamoDB adds to each item, in the table and in an index, when it bills storage.
const OVERHEAD: usize = 100;
/// The members of an item that are stored in each index.
const INDEXES: [&[&str]; 2] = [
    &["event_id", "subject", "occurred_at"],
    &[
        "event_id",
        "source_hour",
        "received_at",
        "event_type",
        "subject",
        "occurred_at",
        "conflict_of",
        "parsed",
        "identity",
        "expires_at",
    ],
];

/// What one event costs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Event {
    /// Milliseconds that Lambda bills.
    pub(crate) billed_ms: f64,
    /// Write units of the table and all indexes.
    pub(crate) write_units: f64,
    /// Bytes of its log line.
    pub(crate) line: f64,
    /// Bytes that are billed for its items.
    pub(crate) bytes: Bytes,
}

/// Bytes that DynamoDB stores.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Bytes {
    table: usize,
    indexes: usize,
}

impl Bytes {
    /// Adds an item.
    pub(crate) fn add(&mut self, item: &HashMap<String, AttributeValue>) {
        let size = |name: &str| item.get(name).map_or(0, |value| name.len() + value_bytes(value));
        self.table += OVERHEAD + item.keys().map(|name| size(name)).sum::<usize>();
        for members in INDEXES {
            // Items without the index's key are not in it.
            if members.get(1).is_some_and(|key| item.contains_key(*key)) {
                self.indexes += OVERHEAD + members.iter().map(|name| size(name)).sum::<usize>();
            }
        }
    }
}

/// Returns the bytes that DynamoDB counts for a value.
fn value_bytes(value: &AttributeValue) -> usize {
    match value {
        AttributeValue::S(text) => text.len(),
        AttributeValue::B(blob) => blob.as_ref().len(),
        AttributeValue::N(digits) => digits.len().div_ceil(2) + 1,
        _ => 1,
    }
}

/// Calculates the tables, and the dollars of a month with a million and with ten million events.
///
/// # Errors
/// If the template cannot be read.
pub(crate) fn run(prices: &Aws, event: Event) -> Result<(Report, Vec<f64>), Error> {
    let mut report = Report::default();
    let alarms = Template::read()?.alarm_metrics() as f64;
    let idle = Idle::of(prices, alarms);
    report.targets.push(Target::at_most(
        "dollars a month of an idle stack without alarms",
        idle.without_alarms(),
        0.70,
    ));
    report.targets.push(Target::at_most("dollars a month of an idle stack with alarms", idle.with_alarms(), 3.50));
    report.tables.push(idle.table(prices, alarms));
    let (table, totals) = months(prices, event, &idle);
    report.tables.push(table);
    Ok((report, totals))
}

/// The monthly cost of a stack without events, in dollars.
struct Idle {
    secret: f64,
    polling: f64,
    alarms: f64,
}

impl Idle {
    fn of(prices: &Aws, alarms: f64) -> Self {
        let polling = POLLS / 1e6 * prices.sqs_million_requests;
        Idle { secret: prices.secret_month, polling, alarms: alarms * prices.alarm_month }
    }

    fn without_alarms(&self) -> f64 {
        self.secret + self.polling
    }

    fn with_alarms(&self) -> f64 {
        self.without_alarms() + self.alarms
    }

    fn table(&self, prices: &Aws, alarms: f64) -> Table {
        let about = format!(
            "Dollars a month without any event. An alarm costs its price for each metric that it uses: all alarms use \
             {alarms}. The second column counts AWS' free tiers of a month: {} alarms and a million requests to SQS.",
            FREE.0
        );
        let mut table = Table::new("An idle stack", &about, &["", "dollars", "with free tiers"]);
        let free_alarms = (alarms - FREE.0).max(0.0) * prices.alarm_month;
        let free_polling = (POLLS - FREE.1).max(0.0) / 1e6 * prices.sqs_million_requests;
        for (name, dollars, with_free_tiers) in [
            ("the secret", self.secret, self.secret),
            ("polling of the retry queue", self.polling, free_polling),
            ("**without alarms**", self.without_alarms(), self.secret + free_polling),
            ("alarms", self.alarms, free_alarms),
            ("**with alarms**", self.with_alarms(), self.secret + free_polling + free_alarms),
        ] {
            table.rows.push(vec![name.into(), dollars.into(), with_free_tiers.into()]);
        }
        table
    }
}

/// Calculates the cost of a month with events, as a table, and for a million and ten million events.
fn months(prices: &Aws, event: Event, idle: &Idle) -> (Table, Vec<f64>) {
    let about = format!(
        "Dollars a month for Ada messages of 800 B, without free tiers, with the default parameters \
         (`SourceIndex=true`, {RETENTION_DAYS} days) and with alarms. Storage is that of the steady state, without the \
         logs' storage ($0.03/GB). Logs: a line of {:.0} B, and {PLATFORM_LOG} B of Lambda's own, which \
         `SystemLogLevel=WARN` saves. Secrets: at least one instance in use at all times.",
        event.line
    );
    let volumes = [("10 thousand events", 1e4), ("1 million", 1e6), ("100 million", 1e8)];
    let mut columns = vec![""];
    columns.extend(volumes.map(|(name, _)| name));
    let mut table = Table::new("A month of a whole stack", &about, &columns);
    let gb = |bytes: f64| bytes / 1024.0_f64.powi(3);
    let stored = |bytes: usize, events: f64| gb(bytes as f64 * events * RETENTION_DAYS / DAYS);
    type Price<'p> = Box<dyn Fn(f64) -> f64 + 'p>;
    let lines: [(&str, Price<'_>); 10] = [
        ("Lambda: requests", Box::new(|events| events / 1e6 * prices.lambda_million_requests)),
        (
            "Lambda: time",
            Box::new(|events| {
                events * event.billed_ms / 1e3 * f64::from(MEMORY) / 1024.0 * prices.lambda_gb_second_arm64
            }),
        ),
        ("DynamoDB: writes", Box::new(|events| events / 1e6 * event.write_units * prices.dynamodb_million_write_units)),
        (
            "DynamoDB: storage of table and indexes",
            Box::new(|events| stored(event.bytes.table + event.bytes.indexes, events) * prices.dynamodb_gb_month),
        ),
        ("DynamoDB: backup", Box::new(|events| stored(event.bytes.table, events) * prices.backup_gb_month)),
        ("logs", Box::new(|events| (event.line + PLATFORM_LOG) * events / 1e9 * prices.logs_gb)),
        ("metrics", Box::new(|_| METRICS * prices.metric_month)),
        ("alarms", Box::new(|_| idle.alarms)),
        ("polling of the retry queue", Box::new(|_| idle.polling)),
        (
            "the secret and its loads",
            Box::new(|events| {
                let busy = events / (DAYS * 86_400.0) * event.billed_ms / 1e3;
                let loads = busy.ceil().max(1.0) * SECRET_LOADS * 24.0 * DAYS;
                idle.secret + loads / 1e6 * prices.secret_million_loads
            }),
        ),
    ];
    for (name, price) in &lines {
        let mut row = vec![(*name).into()];
        row.extend(volumes.map(|(_, events)| price(events).into()));
        table.rows.push(row);
    }
    let total = |events: f64| lines.iter().map(|(_, price)| price(events)).sum::<f64>();
    let mut row = vec!["**all**".into()];
    row.extend(volumes.map(|(_, events)| total(events).into()));
    table.rows.push(row);
    let mut row = vec!["**for each million events**".into()];
    row.extend(volumes.map(|(_, events)| (total(events) / events * 1e6).into()));
    table.rows.push(row);
    (table, vec![total(1e6), total(1e7)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_counted_with_names_values_and_overhead() {
        let text = |text: &str| AttributeValue::S(text.to_owned());
        let mut bytes = Bytes::default();
        let item = [("event_id", "ada:1"), ("subject", "s"), ("occurred_at", "t"), ("payload", "{}")];
        bytes.add(&item.map(|(name, value)| (name.to_owned(), text(value))).into());
        assert_eq!(bytes.table, 100 + (8 + 5) + (7 + 1) + (11 + 1) + (7 + 2));
        // The item has no source_hour, so it is in one index only.
        assert_eq!(bytes.indexes, 100 + (8 + 5) + (7 + 1) + (11 + 1));
    }
}
