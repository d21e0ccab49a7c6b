//! `gatehouse stats`: counts events by vendor, type and outcome.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use clap::Args;
use gatehouse_local::Error;
use gatehouse_local::status::Count;
use gatehouse_payload::Outcome;
use gatehouse_payload::event::present_source;
use gatehouse_payload::time::Timestamp;
use gatehouse_runtime::Clock;
use serde_json::{Value, json};

use super::deployment::{Deployment, TargetArgs};
use super::output::{OutputArgs, Table, When, parse_when, print_json};
use super::{ExitStatus, progress};
use crate::aws::CLOUDWATCH_LOGS;
use crate::shell::{note, write};
use crate::stack::resources;

pub(crate) const EXAMPLES: &str = "\
Counts the functions' log lines. For a deployed stack, CloudWatch Logs Insights reads them and bills $0.005 per GB
(a line has about 600 bytes). A `gatehouse dev` counts its log lines since it started, for up to a day.

Outcomes belong to requests and attempts: an event may count as queued, then as failed for each attempt, then as
recorded or dead-lettered. Messages that the redrive policy moves have no line. Probes of gatehouse doctor count as
refused. The metrics in CloudWatch have no vendor and no type, because each combination would be billed as a separate
metric.

A second table shows how services answer: the questions to each service by their result.

Examples:
  gatehouse stats
  gatehouse stats --since 24h --stack gatehouse
  gatehouse stats --since 7d --json | jq 'select(.outcome == \"conflict\")'";

/// The outcomes that always have a column.
const COLUMNS: [Outcome; 6] = [
    Outcome::Recorded,
    Outcome::Duplicate,
    Outcome::Conflict,
    Outcome::Refused,
    Outcome::Queued,
    Outcome::DeadLettered,
];
/// The CloudWatch Logs Insights query.
const QUERY: &str = "filter ispresent(outcome) | parse event_id \"*:*\" as vendor, rest \
                     | stats sum(coalesce(outcomes, 1)) as n \
                     by coalesce(source, vendor) as of, event_type, outcome, asked, ask | limit 10000";
/// The results of services, which always have a column.
const RESULTS: [&str; 6] = ["answered", "timeout", "status", "connect", "breaker", "unusable"];
/// Time limit of a query.
const QUERY_TIMEOUT: Duration = Duration::from_secs(120);

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Start: a span before now such as 15min, 1h or 7d, or a time
    #[arg(long, value_name = "WHEN", value_parser = parse_when, default_value = "24h")]
    since: When,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    target: TargetArgs,
}

/// Counts of events and of questions to services.
#[derive(Default)]
struct Counts {
    /// By source and type, then by outcome.
    events: BTreeMap<(String, String), BTreeMap<String, u64>>,
    /// By service, then by the word for the result.
    questions: BTreeMap<String, BTreeMap<String, u64>>,
}

impl Counts {
    fn add(&mut self, count: Count) {
        let source = present_source(&count.source).to_owned();
        let by_outcome = self.events.entry((source, count.event_type)).or_default();
        *by_outcome.entry(count.outcome).or_default() += count.count;
        for (service, result) in
            count.asked.split(',').zip(count.ask.split(',')).filter(|(service, _)| !service.is_empty())
        {
            let by_result = self.questions.entry(service.to_owned()).or_default();
            *by_result.entry(result.to_owned()).or_default() += count.count;
        }
    }
}

pub(crate) async fn run(arguments: Arguments) -> ExitStatus {
    let Arguments { since, output, target } = arguments;
    let deployment = target.find().await?;
    let since = since.resolve(Clock::System.now());
    let counts = match &deployment.dev {
        Some(answer) => dev_counts(&answer.counts, since),
        None => stack_counts(&deployment, since).await?,
    };
    if output.json {
        for ((source, kind), outcomes) in &counts.events {
            for (outcome, count) in outcomes {
                print_json(&json!({"source": source, "type": kind, "outcome": outcome, "count": count}))?;
            }
        }
        for (service, results) in &counts.questions {
            for (result, count) in results {
                print_json(&json!({"service": service, "ask": result, "count": count}))?;
            }
        }
    } else if !counts.events.is_empty() {
        table(&counts, output).print()?;
        if !counts.questions.is_empty() {
            write("\n")?;
            questions(&counts, output).print()?;
        }
    }
    if counts.events.is_empty() {
        note(match deployment.dev {
            Some(_) => {
                "no events were counted since this gatehouse dev started; gatehouse events list shows stored ones"
            }
            None => "no events were counted; --since 7d looks further back",
        });
    }
    Ok(0)
}

fn table(counts: &Counts, output: OutputArgs) -> Table {
    let columns = COLUMNS.map(Outcome::as_str);
    let others: BTreeSet<&str> = counts.events.values().flat_map(BTreeMap::keys).map(String::as_str).collect();
    let others = others.into_iter().filter(|name| !columns.contains(name));
    let outcomes: Vec<&str> = columns.into_iter().chain(others).collect();
    let names: Vec<String> = outcomes.iter().map(|name| name.to_ascii_uppercase()).collect();
    let mut table = output.table(["SOURCE", "TYPE"].into_iter().chain(names.iter().map(String::as_str)));
    let mut sums = vec![0; outcomes.len()];
    for ((source, kind), by_outcome) in &counts.events {
        let numbers: Vec<u64> =
            outcomes.iter().map(|name| by_outcome.get(*name).copied().unwrap_or_default()).collect();
        sums.iter_mut().zip(&numbers).for_each(|(sum, n)| *sum += n);
        let or_dash = |text: &String| if text.is_empty() { "-".to_owned() } else { text.clone() };
        table.row([or_dash(source), or_dash(kind)].into_iter().chain(numbers.into_iter().map(cell)));
    }
    table.row(["all".to_owned(), String::new()].into_iter().chain(sums.into_iter().map(cell)));
    table
}

fn cell(n: u64) -> String {
    if n == 0 { "-".to_owned() } else { n.to_string() }
}

/// Returns the table of how services answer.
fn questions(counts: &Counts, output: OutputArgs) -> Table {
    let names = RESULTS.map(str::to_ascii_uppercase);
    let mut table = output.table(["SERVICE"].into_iter().chain(names.iter().map(String::as_str)));
    for (service, by_result) in &counts.questions {
        let numbers = RESULTS.map(|result| cell(by_result.get(result).copied().unwrap_or_default()));
        table.row([service.clone()].into_iter().chain(numbers));
    }
    table
}

fn dev_counts(dev: &[Count], since: Timestamp) -> Counts {
    let mut counts = Counts::default();
    let since = since.as_secs().div_euclid(60);
    dev.iter().filter(|count| count.minute >= since).for_each(|count| counts.add(count.clone()));
    counts
}

async fn stack_counts(deployment: &Deployment, since: Timestamp) -> Result<Counts, Error> {
    let Some((sdk, outputs)) = &deployment.deployed else {
        return Err("a table has no log lines to count; pass --stack NAME instead of --table".into());
    };
    let groups = resources(sdk, &outputs.stack, "AWS::Logs::LogGroup").await?;
    let about = "CloudWatch Logs Insights";
    let start = json!({
        "logGroupNames": groups,
        "startTime": since.as_secs(),
        "endTime": Clock::System.now().as_secs(),
        "queryString": QUERY,
    });
    let query = CLOUDWATCH_LOGS.json(sdk, about, "StartQuery", &start).await?;
    let get = json!({"queryId": query["queryId"]});
    let bar = progress("counting");
    let deadline = tokio::time::Instant::now() + QUERY_TIMEOUT;
    loop {
        let answer = CLOUDWATCH_LOGS.json(sdk, about, "GetQueryResults", &get).await?;
        match answer["status"].as_str() {
            Some("Complete") => {
                bar.finish_and_clear();
                let mut counts = Counts::default();
                answer["results"].as_array().into_iter().flatten().for_each(|row| counts.add(parse_row(row)));
                return Ok(counts);
            }
            Some("Running" | "Scheduled") if tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            status => {
                let status = status.unwrap_or("unknown");
                return Err(format!("{about}: the query has the status {status}; try a shorter --since").into());
            }
        }
    }
}

/// Parses a result row.
fn parse_row(row: &Value) -> Count {
    let text = |name: &str| {
        let field = row.as_array().into_iter().flatten().find(|field| field["field"] == name);
        field.and_then(|field| field["value"].as_str()).unwrap_or_default().to_owned()
    };
    Count {
        minute: 0,
        source: text("of"),
        event_type: text("event_type"),
        outcome: text("outcome"),
        asked: text("asked"),
        ask: text("ask"),
        count: count(&text("n")),
    }
}

/// Parses a sum, which CloudWatch may print with decimals: `41.0`.
fn count(sum: &str) -> u64 {
    sum.split('.').next().and_then(|digits| digits.parse().ok()).unwrap_or_default()
}
