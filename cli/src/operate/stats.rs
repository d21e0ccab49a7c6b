//! `gatehouse stats`: how much came, of what kind, and what became of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use clap::Args;
use gatehouse_inbox::{Clock, Outcome};
use gatehouse_local::Error;
use gatehouse_local::about::Count;
use gatehouse_payload::time::Timestamp;
use serde_json::{Value, json};

use super::deployment::{Deployment, Which};
use super::output::{Form, Moment, Table, json as line, moment};
use super::{NOT_FOUND, Verdict, progress};
use crate::aws::CLOUDWATCH_LOGS;
use crate::shell::print;
use crate::stack::resources;

pub(crate) const EXAMPLES: &str = "\
Counted from the functions' log lines: of a deployed stack by CloudWatch Logs Insights, which bills $0.005 for each GB it reads (a
line has some 600 bytes); of a `gatehouse dev` by itself, since it was started, for a day. Outcomes are of requests and attempts, so that an
event counts as queued, then as failed for each attempt, then as recorded or dead-lettered; what the redrive policy moves has no line. What
gatehouse doctor posts counts as refused. The metrics in CloudWatch have no vendor and no kind, since each
combination would be billed as a metric of its own.

Examples:
  gatehouse stats
  gatehouse stats --since 24h --stack gatehouse
  gatehouse stats --since 7d --json | jq 'select(.outcome == \"conflict\")'";

/// The outcomes that have a column in any case.
const COLUMNS: [Outcome; 6] = [
    Outcome::Recorded,
    Outcome::Duplicate,
    Outcome::Conflict,
    Outcome::Refused,
    Outcome::Queued,
    Outcome::DeadLettered,
];
/// What the lines are asked.
const QUERY: &str = "filter ispresent(outcome) | parse event_id \"*:*\" as vendor, rest \
                     | stats count(*) as n by coalesce(source, vendor) as of, event_type, outcome | limit 10000";
/// How long CloudWatch may take.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// From when on, such as 15min, 1h, 7d, or a time
    #[arg(long, value_name = "WHEN", value_parser = moment, default_value = "24h")]
    since: Moment,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    form: Form,
}

/// By source and type, then by outcome.
type Counts = BTreeMap<(String, String), BTreeMap<String, u64>>;

pub(crate) async fn run(arguments: Arguments) -> Verdict {
    let Arguments { since, which, form } = arguments;
    let deployment = which.find().await?;
    let since = since.from(Clock::System.now());
    let counts = match &deployment.dev {
        Some(answer) => of_dev(&answer.counts, since),
        None => of_stack(&deployment, since).await?,
    };
    if form.json {
        for ((source, kind), outcomes) in &counts {
            for (outcome, count) in outcomes {
                line(&json!({"source": source, "type": kind, "outcome": outcome, "count": count}))?;
            }
        }
    } else if !counts.is_empty() {
        table(&counts).print()?;
    }
    if counts.is_empty() {
        if !form.json {
            print("nothing was counted\n")?;
        }
        return Ok(NOT_FOUND);
    }
    Ok(0)
}

fn table(counts: &Counts) -> Table {
    let columns = COLUMNS.map(Outcome::as_str);
    let others: BTreeSet<&str> =
        counts.values().flat_map(|of| of.keys()).map(String::as_str).filter(|of| !columns.contains(of)).collect();
    let outcomes: Vec<&str> = columns.into_iter().chain(others).collect();
    let heading = ["SOURCE", "TYPE"].into_iter().map(str::to_owned);
    let mut table = Table::of(heading.chain(outcomes.iter().map(|name| name.to_ascii_uppercase())).collect());
    let cell = |n: u64| if n == 0 { "-".to_owned() } else { n.to_string() };
    let mut sums = vec![0; outcomes.len()];
    for ((source, kind), of) in counts {
        let numbers: Vec<u64> = outcomes.iter().map(|name| of.get(*name).copied().unwrap_or_default()).collect();
        sums.iter_mut().zip(&numbers).for_each(|(sum, n)| *sum += n);
        let or = |text: &String| if text.is_empty() { "-".to_owned() } else { text.clone() };
        table.rows([or(source), or(kind)].into_iter().chain(numbers.into_iter().map(cell)).collect());
    }
    table.rows(["all".to_owned(), String::new()].into_iter().chain(sums.into_iter().map(cell)).collect());
    table
}

fn of_dev(told: &[Count], since: Timestamp) -> Counts {
    let mut counts = Counts::new();
    for Count { source, event_type, outcome, count, .. } in
        told.iter().filter(|count| count.minute >= since.as_secs().div_euclid(60))
    {
        let of = counts.entry((source.clone(), event_type.clone())).or_default();
        *of.entry(outcome.clone()).or_default() += count;
    }
    counts
}

async fn of_stack(deployment: &Deployment, since: Timestamp) -> Result<Counts, Error> {
    let Some((sdk, outputs)) = &deployment.deployed else {
        return Err("a table by its name has no counts; name the stack with --stack NAME".into());
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
    let until = tokio::time::Instant::now() + PATIENCE;
    loop {
        let answer = CLOUDWATCH_LOGS.json(sdk, about, "GetQueryResults", &get).await?;
        match answer["status"].as_str() {
            Some("Complete") => {
                bar.finish_and_clear();
                let mut counts = Counts::new();
                for row in answer["results"].as_array().into_iter().flatten() {
                    let (kind, outcome, n) = read(row);
                    *counts.entry(kind).or_default().entry(outcome).or_default() += n;
                }
                return Ok(counts);
            }
            Some("Running" | "Scheduled") if tokio::time::Instant::now() < until => {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            status => {
                let status = status.unwrap_or("without a status");
                return Err(format!("{about}: the query ended {status}; try a shorter --since").into());
            }
        }
    }
}

/// Source and type, outcome, count.
fn read(row: &Value) -> ((String, String), String, u64) {
    let text = |name: &str| {
        let field = row.as_array().into_iter().flatten().find(|field| field["field"] == name);
        field.and_then(|field| field["value"].as_str()).unwrap_or_default().to_owned()
    };
    ((text("of"), text("event_type")), text("outcome"), text("n").parse().unwrap_or_default())
}
