//! Measures the cost of events: requests, write units, billed milliseconds, and dollars by a dated table of prices.

use std::path::{Path, PathBuf};

use aws_sdk_dynamodb::types::{AttributeValue, ReturnConsumedCapacity};
use gatehouse_ada::Ada;
use gatehouse_local::delivery::noise;
use gatehouse_local::engine::{Engine, FREE};
use gatehouse_local::template::Template;
use gatehouse_local::{Delivery, Error, Options, Testbed, local_sdk};
use gatehouse_runtime::Clock;
use gatehouse_vendor::{CredentialsShape, Source};
use gatehouse_vendors::{named, of_vendor, vendors};
use serde::Deserialize;

use crate::process;
use crate::report::{Report, Table, Target};
use crate::warm::{self, Kind, SIZES, size};
use crate::{Bench, MEMORY, event, month};

/// Published prices and their dates.
const PRICES: &str = include_str!("../prices.json");
/// Assumed time of a DynamoDB write in ms. It is not measured here; AWS states single-digit milliseconds.
const DYNAMODB_MS: f64 = 5.0;
/// Estimated bytes that Lambda logs for an invocation: start and report as JSON.
pub(crate) const PLATFORM_LOG: f64 = 480.0;
/// Bytes of a message whose item is smaller than 1 KB.
const SMALL: usize = 800;
/// The index that the parameter `SourceIndex` can leave out.
const OPTIONAL_INDEX: &str = "by-source";

#[derive(Debug, Deserialize)]
struct Prices {
    read: String,
    region: String,
    aws: Aws,
    gateways: Vec<Gateway>,
}

/// Prices of AWS in dollars.
#[derive(Debug, Deserialize)]
#[allow(missing_docs, reason = "the names say what each price is for")]
pub(crate) struct Aws {
    pub(crate) lambda_million_requests: f64,
    pub(crate) lambda_gb_second_arm64: f64,
    pub(crate) dynamodb_million_write_units: f64,
    pub(crate) dynamodb_gb_month: f64,
    pub(crate) backup_gb_month: f64,
    pub(crate) sqs_million_requests: f64,
    pub(crate) logs_gb: f64,
    pub(crate) metric_month: f64,
    pub(crate) alarm_month: f64,
    pub(crate) secret_month: f64,
    pub(crate) secret_million_loads: f64,
}

/// A hosted gateway.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Gateway {
    /// The provider and the plan.
    pub(crate) name: String,
    monthly: f64,
    included: f64,
    /// The upper limit of each tier in events a month, and the dollars for a million events in it.
    tiers: Vec<(Option<f64>, f64)>,
}

impl Gateway {
    /// The price in dollars of this number of events in a month.
    #[must_use]
    pub(crate) fn month(&self, events: f64) -> f64 {
        let (mut dollars, mut from) = (self.monthly, self.included);
        for (upper, million) in &self.tiers {
            let to = upper.unwrap_or(f64::INFINITY).min(events);
            dollars += (to - from).max(0.0) / 1e6 * million;
            from = from.max(to);
        }
        dollars
    }
}

/// The cost of writing an event: bytes, write units and requests.
#[derive(Debug, Clone, Copy, Default)]
struct Units {
    /// Bytes of the body.
    body: usize,
    /// Bytes of the stored payload.
    stored: usize,
    /// Write units of the table.
    table: f64,
    /// Write units of all indexes.
    indexes: f64,
    /// Write units of the optional index.
    optional: f64,
    /// Estimated write units of an item with the uncompressed body.
    raw: f64,
    /// Requests to SQS.
    sqs: usize,
    /// Requests to DynamoDB.
    requests: usize,
    /// Bytes that DynamoDB stores.
    bytes: month::Bytes,
}

impl Units {
    fn without_optional(self) -> f64 {
        self.table + self.indexes - self.optional
    }
}

/// Measures the costs and compares them with hosted gateways.
///
/// # Errors
/// Fails if an event is not recorded.
pub(crate) async fn run(bench: &Bench) -> Result<Report, Error> {
    let prices: Prices = serde_json::from_str(PRICES)?;
    let mut report = Report::default();
    report.tables.push(requests().await?);
    let (samples, of_samples) = samples().await?;
    report.tables.push(samples);
    let worst = of_samples.iter().map(|(_, units)| units.table).fold(0.0, f64::max);
    report.targets.push(Target::at_most("most write units of the table for an Ada or agntix sample", worst, 1.0));

    let memory = match process::can_throttle() {
        Ok(()) => MEMORY,
        Err(error) => {
            println!("Billed milliseconds are of a whole processor: processes cannot be throttled here ({error})");
            process::WHOLE_CPU_MB
        }
    };
    let both = [(bench.headline.clone(), Kind::Gatehouse), (bench.reports.clone(), Kind::Report)];
    let measured = warm::measure(bench, &both, memory).await?;
    let billed_of = |measured: &warm::Measured| measured.own.mean().ceil() + DYNAMODB_MS;
    let billed: Vec<Vec<f64>> = measured.iter().map(|sizes| sizes.iter().map(billed_of).collect()).collect();
    let mut table = Table::new(
        "Dollars for a million events",
        &format!(
            "Prices of {}, read {}, without free tiers. Billed: the event's mean own time at {MEMORY} MB (arm64's \
             price), and {DYNAMODB_MS} ms for DynamoDB's response, which is not measured here. Logs: the event's line, which is also a \
             metric, and about {PLATFORM_LOG} bytes of Lambda's own. Write units: in the table, in the index by-subject, and \
             in by-source if `SourceIndex` is true.",
            prices.region, prices.read
        ),
        &[
            "",
            "body, B",
            "stored, B",
            "write units",
            "raw",
            "SQS",
            "billed, ms",
            "dollars",
            "with by-source",
            "logs apart",
        ],
    );
    let line = log_line(bench).await?;
    let logs = (line + PLATFORM_LOG) / 1e9 * prices.aws.logs_gb * 1e6;
    let mut by_size = Vec::new();
    for (kind, billed) in [Kind::Gatehouse, Kind::Report].into_iter().zip(&billed) {
        // The time of the smallest measured size also applies to a message whose item fits one write unit.
        let small = (kind == Kind::Gatehouse).then_some((&SMALL, billed.first().unwrap_or(&f64::NAN)));
        for (&bytes, &ms) in small.into_iter().chain(SIZES.iter().zip(billed)) {
            let delivery = if kind == Kind::Gatehouse { event::ada(bytes) } else { event::report(bytes) };
            let units = units_of(&delivery).await?;
            let gb_seconds = ms / 1000.0 * f64::from(MEMORY) / 1024.0 * 1e6;
            let without_writes = prices.aws.lambda_million_requests
                + gb_seconds * prices.aws.lambda_gb_second_arm64
                + units.sqs as f64 * prices.aws.sqs_million_requests;
            let dollars = without_writes + units.without_optional() * prices.aws.dynamodb_million_write_units;
            let with_by_source = dollars + units.optional * prices.aws.dynamodb_million_write_units;
            let vendor = if kind == Kind::Gatehouse { "Ada, message of" } else { "Vapi, report of" };
            table.rows.push(vec![
                format!("{vendor} {}", size(bytes)).into(),
                (units.body as f64).into(),
                (units.stored as f64).into(),
                format!("{} + {} + {}", units.table, units.indexes - units.optional, units.optional).into(),
                units.raw.into(),
                (units.sqs as f64).into(),
                ms.into(),
                dollars.into(),
                with_by_source.into(),
                logs.into(),
            ]);
            by_size.push((kind, bytes, units, dollars, with_by_source));
        }
    }
    report.tables.push(table);
    for &(kind, bytes, units, dollars, with_by_source) in &by_size {
        match (kind, bytes) {
            (Kind::Gatehouse, SMALL) => {
                report.targets.push(Target::at_most(
                    "dollars for a million, up to 1 KB stored, SourceIndex=false",
                    dollars,
                    1.60,
                ));
                report.targets.push(Target::at_most(
                    "dollars for a million, up to 1 KB stored, SourceIndex=true",
                    with_by_source,
                    1.60,
                ));
                report.targets.push(Target::at_most("SQS requests of a new event", units.sqs as f64, 0.0));
                report.targets.push(Target::at_most("DynamoDB requests of a new event", units.requests as f64, 1.0));
            }
            (Kind::Report, 3_000) => {
                report.targets.push(Target::at_most(
                    "dollars for a million 3 KB Vapi reports, SourceIndex=false",
                    dollars,
                    2.20,
                ));
                report.targets.push(Target::at_most(
                    "dollars for a million 3 KB Vapi reports, SourceIndex=true",
                    with_by_source,
                    2.20,
                ));
            }
            (Kind::Report, 20_000) => {
                report.targets.push(Target::at_most(
                    "write units of a 20 KB report in the table, relative to storing it raw",
                    units.table / units.raw,
                    0.25,
                ));
            }
            _ => {}
        }
    }
    let mut whole_stack = Vec::new();
    if let (Some(&(.., small, _, _)), Some(&ms)) =
        (by_size.iter().find(|ours| ours.1 == SMALL), billed.first().and_then(|times| times.first()))
    {
        let write_units = small.table + small.indexes;
        let event = month::Event { billed_ms: ms, write_units, line, bytes: small.bytes };
        let (months, totals) = month::run(&prices.aws, event)?;
        report.extend(months);
        whole_stack = totals;
    }
    report.tables.push(gateways(
        &prices,
        &whole_stack,
        &by_size
            .iter()
            .map(|&(kind, bytes, _, dollars, with_by_source)| (kind, bytes, dollars, with_by_source))
            .collect::<Vec<_>>(),
    ));
    let ours: Vec<_> = by_size
        .iter()
        .map(|&(kind, bytes, _, dollars, with_by_source)| (kind, bytes as f64, dollars, with_by_source))
        .collect();
    let hosted: Vec<_> = prices.gateways.iter().map(|gateway| (gateway.name.as_str(), gateway.month(1e6))).collect();
    bench.plots.cost(&ours, &hosted)?;
    Ok(report)
}

fn gateways(prices: &Prices, whole_stack: &[f64], ours: &[(Kind, usize, f64, f64)]) -> Table {
    let mut table = Table::new(
        "A month, compared with hosted gateways",
        &format!(
            "Dollars, with published prices (prices.json has sources and dates, read {}). The first row is the whole \
             stack, with storage, logs, metrics and alarms; the other rows of Gatehouse are requests and writes only. \
             The gateways also differ in features.",
            prices.read
        ),
        &["", "1 million events", "10 million events"],
    );
    let mut row = vec!["**Gatehouse, the whole stack, Ada messages of 800 B**".into()];
    row.extend(whole_stack.iter().map(|&dollars| dollars.into()));
    table.rows.push(row);
    for &(kind, bytes, dollars, with_by_source) in ours.iter().filter(|ours| [SMALL, 3_000, 20_000].contains(&ours.1)) {
        let vendor = if kind == Kind::Gatehouse { "Ada messages" } else { "Vapi reports" };
        let name = format!("Gatehouse, {vendor} of {}", size(bytes));
        table.rows.push(vec![name.clone().into(), dollars.into(), (dollars * 10.0).into()]);
        table.rows.push(vec![
            format!("{name}, with by-source").into(),
            with_by_source.into(),
            (with_by_source * 10.0).into(),
        ]);
    }
    for gateway in &prices.gateways {
        table.rows.push(vec![gateway.name.as_str().into(), gateway.month(1e6).into(), gateway.month(10e6).into()]);
    }
    table
}

/// Counts the requests for each kind of delivery.
async fn requests() -> Result<Table, Error> {
    let stack = Testbed::start(Options { poll: false, ..Options::default() }).await?;
    let small = event::ada(1_000).body;
    let other = String::from_utf8(small.to_vec())?.replace("A customer", "Another customer");
    let large = format!(r#"{{"noise":"{}"}}"#, noise(1, 1_500_000));
    let mut table = Table::new("Requests for each kind of delivery", "", &["", "DynamoDB", "SQS"]);
    let count = || (stack.dynamodb.counts().values().sum::<usize>(), stack.sqs.counts().values().sum::<usize>());
    let row = |kind: &str, before: (usize, usize)| {
        let after = count();
        vec![kind.into(), ((after.0 - before.0) as f64).into(), ((after.1 - before.1) as f64).into()]
    };
    for (kind, message_id, body) in [
        ("a new event", "msg_1", small.clone()),
        ("a duplicate", "msg_1", small),
        ("a different body under its id", "msg_1", other.into()),
        ("a new event of 1.5 MB that hardly compresses", "msg_2", large.clone().into()),
        ("a duplicate of it", "msg_2", large.into()),
    ] {
        let before = count();
        Delivery::of(&Ada, message_id, body, Clock::System.now()).send(&stack.url).await?;
        table.rows.push(row(kind, before));
    }
    for (kind, key) in
        [("a chat turn", None), ("a chat turn with a key", Some("k")), ("the same request again, a replay", Some("k"))]
    {
        let before = count();
        let turn = chat_turn(key).send(&stack.url).await?;
        if turn.status != 200 {
            return Err(format!("a chat turn was answered with {}: {}", turn.status, turn.body).into());
        }
        table.rows.push(row(kind, before));
    }
    Ok(table)
}

/// A request to the built-in test agent.
fn chat_turn(key: Option<&str>) -> Delivery {
    let token = "Bearer gatehouse-development-chat".to_owned();
    let mut headers =
        vec![("authorization".to_owned(), token), ("content-type".to_owned(), "application/json".to_owned())];
    headers.extend(key.map(|key| ("idempotency-key".to_owned(), key.to_owned())));
    Delivery {
        function: "agent-chat".to_owned(),
        path: "v1/aibot/bots/ag-kit/send-message".to_owned(),
        method: "POST".to_owned(),
        headers,
        body: r#"{"conversationId":"c","messages":[{"role":"user","content":"Hello"}]}"#.into(),
    }
}

/// Measures the write units of a new event for each sample. Also returns those of Ada and agntix, which have a target.
async fn samples() -> Result<(Table, Vec<(String, Units)>), Error> {
    let mut table = Table::new(
        "Write units of a new event, by sample",
        "As the engine reports them for writing the recorded items to an empty table. Includes the samples in \
         `../shared/samples`, outside the repository, if they are present.",
        &["", "body, B", "stored, B", "table", "by-subject", "by-source", "raw"],
    );
    let mut with_target = Vec::new();
    for Sample { name, path, is_outside, source } in sample_files() {
        let body = std::fs::read_to_string(&path)?;
        let delivery = event::signed(source, "msg_2yV3nKQe8sYcXhLmT5aWbRzPqJd", body);
        let units = units_of(&delivery).await?;
        table.rows.push(vec![
            format!("{}{name}", if is_outside { "samples/" } else { "" }).into(),
            (units.body as f64).into(),
            (units.stored as f64).into(),
            units.table.into(),
            (units.indexes - units.optional).into(),
            units.optional.into(),
            units.raw.into(),
        ]);
        if !name.starts_with("vapi/") {
            with_target.push((name, units));
        }
    }
    Ok((table, with_target))
}

/// Records a delivery, then writes the recorded items to an empty table to measure their write units.
async fn units_of(delivery: &Delivery) -> Result<Units, Error> {
    let options = Options { poll: false, secrets: event::SECRETS.to_owned(), ..Options::default() };
    let stack = Testbed::start(options).await?;
    let before = stack.dynamodb.counts().values().sum::<usize>();
    let answer = delivery.send(&stack.url).await?;
    if answer.outcome() != "recorded" {
        return Err(format!("an event was not recorded but {}: {}", answer.outcome(), answer.body).into());
    }
    let requests = stack.dynamodb.counts().values().sum::<usize>() - before;
    let sqs = stack.sqs.counts().values().sum();
    let empty = Engine::dynamodb(FREE, None).await?;
    let client = aws_sdk_dynamodb::Client::new(&local_sdk(&empty.url()));
    Template::read()?.create_table(&client, &stack.table).await?;
    let mut units = Units { body: delivery.body.len(), sqs, requests, ..Units::default() };
    let scan = stack.dynamodb_client().scan().table_name(&stack.table).send().await?;
    for item in scan.items() {
        units.bytes.add(item);
        units.stored += match item.get("payload") {
            Some(AttributeValue::S(text)) => text.len(),
            Some(AttributeValue::B(blob)) => blob.as_ref().len(),
            _ => 0,
        };
        let put = client.put_item().table_name(&stack.table).set_item(Some(item.clone()));
        let put = put.return_consumed_capacity(ReturnConsumedCapacity::Indexes).send().await?;
        let capacity = put.consumed_capacity.ok_or("the engine reports no capacity")?;
        units.table += capacity.table.and_then(|table| table.capacity_units).unwrap_or_default();
        for (name, index) in capacity.global_secondary_indexes.unwrap_or_default() {
            let of_index = index.capacity_units.unwrap_or_default();
            units.indexes += of_index;
            if name == OPTIONAL_INDEX {
                units.optional += of_index;
            }
        }
    }
    // One unit for each started KB of the body and about 300 B of keys and dates.
    units.raw = ((units.body + 300) as f64 / 1024.0).ceil();
    Ok(units)
}

/// Measures the length of an event's log line, in bytes.
async fn log_line(bench: &Bench) -> Result<f64, Error> {
    const EVENTS: usize = 20;
    let log = bench.folder.path().join("line.log");
    let host = crate::host::Host::start().await?;
    let process = process::Process::start(&bench.headline.program, &host, process::WHOLE_CPU_MB, &log)?;
    host.ready().await?;
    let before = std::fs::metadata(&log)?.len();
    for _ in 0..EVENTS {
        host.invoke(event::invocation(&event::ada(1_000))).await?;
    }
    process.stop().await;
    Ok((std::fs::metadata(&log)?.len() - before) as f64 / EVENTS as f64)
}

/// A body of a vendor.
struct Sample {
    /// The vendor and the file: `ada/conversation-message.json`.
    name: String,
    path: PathBuf,
    /// Whether the file is outside the repository.
    is_outside: bool,
    source: &'static dyn Source,
}

fn sample_files() -> Vec<Sample> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut samples = Vec::new();
    for is_outside in [false, true] {
        for vendor in vendors() {
            let inside = format!("shared/vendors/{vendor}/samples");
            let folder = if is_outside { format!("../shared/samples/{vendor}") } else { inside };
            let Ok(files) = std::fs::read_dir(root.join(folder)) else { continue };
            let mut files: Vec<_> = files.filter_map(|file| Some(file.ok()?.path())).collect();
            files.sort();
            for path in files {
                let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                // Skips messages that are sent to Vapi.
                let to_vendor = ["add-message", "inbound_", "response_", "_index"];
                let is_delivery = !to_vendor.iter().any(|start| file.starts_with(start)) && file.ends_with(".json");
                let source = if file.starts_with("client_") { named("vapi-client") } else { of_vendor(vendor) };
                let delivers = |source: &&dyn Source| source.profile().shape != CredentialsShape::Nothing;
                if let Some(source) = source.filter(delivers).filter(|_| is_delivery) {
                    samples.push(Sample { name: format!("{vendor}/{file}"), path, is_outside, source });
                }
            }
        }
    }
    samples
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_file_can_be_signed() {
        let samples = sample_files();
        assert!(samples.iter().filter(|sample| !sample.is_outside).count() > 5);
        for Sample { path, source, .. } in samples {
            let body = std::fs::read_to_string(&path).unwrap();
            assert!(!event::signed(source, "msg_1", body).headers.is_empty(), "{}", path.display());
        }
    }
}
