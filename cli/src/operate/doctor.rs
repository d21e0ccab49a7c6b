//! `gatehouse doctor`: whether a deployment is whole, and what to do where it is not.

use aws_sdk_dynamodb::types::{IndexStatus, PointInTimeRecoveryStatus, TableStatus, TimeToLiveStatus};
use aws_sdk_sqs::types::QueueAttributeName;
use bytes::Bytes;
use clap::Args;
use gatehouse_edge::Source;
use gatehouse_edge::secrets::Secrets;
use gatehouse_edge::vapi::Channel;
use gatehouse_inbox::Clock;
use gatehouse_inbox::store::SUBJECT_INDEX;
use gatehouse_inbox::store::arrivals::SOURCE_INDEX;
use gatehouse_local::Error;
use gatehouse_local::delivery::{Client, Delivery};
use serde_json::json;

use super::deployment::{Deployment, Which};
use super::output::{Form, Table, json as line};
use super::{Verdict, dead_letters};
use crate::aws::{CLOUDWATCH, child, members};
use crate::endpoints;
use crate::secrets::Place;
use crate::shell::{innermost, print};
use crate::stack::{Outputs, resources, told};

pub(crate) const EXAMPLES: &str = "\
Looks, and changes nothing: the requests it posts are not signed, and must be refused. Exits with 1 where something is wrong.

Examples:
  gatehouse doctor
  gatehouse doctor --stack gatehouse
  gatehouse doctor --stack gatehouse --json | jq 'select(.state != \"ok\")'";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    form: Form,
}

/// How long one check may take.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(15);
/// How far this machine's clock may be from a function's. In seconds; Svix' senders are refused beyond five minutes.
const SKEW: i64 = 30;

#[derive(Default)]
struct Findings(Vec<Finding>);

struct Finding {
    what: String,
    /// `ok`, `warning`, `wrong`
    state: &'static str,
    found: String,
    /// What to do about it.
    advice: String,
}

impl Findings {
    fn add(&mut self, what: &str, state: &'static str, found: impl Into<String>, advice: impl Into<String>) {
        let advice = if state == "ok" { String::new() } else { advice.into() };
        self.0.push(Finding { what: what.to_owned(), state, found: found.into(), advice });
    }

    fn check(&mut self, what: &str, is_good: bool, found: impl Into<String>, advice: impl Into<String>) {
        self.add(what, if is_good { "ok" } else { "wrong" }, found, advice);
    }
}

pub(crate) async fn run(arguments: Arguments) -> Verdict {
    let Arguments { which, form } = arguments;
    let deployment = which.find().await?;
    let mut findings = Findings::default();
    let deploy = "is it there, and may you ask for it? sam deploy puts back what infra/template.yaml says";
    bounded(&mut findings, "table", deploy, async |findings| table(&deployment, findings).await).await;
    if deployment.dev.is_none() {
        bounded(&mut findings, "recovery", deploy, async |findings| recovery(&deployment, findings).await).await;
    }
    if deployment.has_queues() {
        bounded(&mut findings, "queues", deploy, async |findings| queues(&deployment, findings).await).await;
    }
    if let Some((sdk, outputs)) = &deployment.deployed {
        let check = "gatehouse secrets check --stack names what is wrong";
        bounded(&mut findings, "secrets", check, async |findings| secrets(sdk, outputs, findings).await).await;
        bounded(&mut findings, "alarms", deploy, async |findings| alarms(sdk, outputs, findings).await).await;
    }
    let advice = "does anything answer there?";
    bounded(&mut findings, "URLs", advice, async |findings| urls(&deployment, findings).await).await;

    let Findings(findings) = findings;
    let wrong = findings.iter().filter(|finding| finding.state == "wrong").count();
    let mut table = Table::new(["CHECK", "STATE", "FOUND", "WHAT TO DO"]);
    for Finding { what, state, found, advice } in findings {
        if form.json {
            line(&json!({"check": what, "state": state, "found": found, "advice": advice}))?;
        } else {
            table.row([what, state.to_owned(), found, advice]);
        }
    }
    if !form.json {
        table.print()?;
        print(&if wrong == 0 { "nothing is wrong\n".to_owned() } else { format!("{wrong} wrong\n") })?;
    }
    Ok(u8::from(wrong > 0))
}

/// One check, which may fail, or take too long.
async fn bounded(
    findings: &mut Findings,
    what: &str,
    advice: &str,
    check: impl AsyncFnOnce(&mut Findings) -> Result<(), Error>,
) {
    let checked = tokio::time::timeout(PATIENCE, check(findings)).await;
    let late = || Err(format!("no answer within {} s", PATIENCE.as_secs()).into());
    if let Err(error) = checked.unwrap_or_else(|_| late()) {
        findings.add(what, "wrong", error.to_string(), advice);
    }
}

async fn table(deployment: &Deployment, findings: &mut Findings) -> Result<(), Error> {
    let (client, name) = (&deployment.dynamodb, &deployment.table);
    let described = client.describe_table().table_name(name).send().await.map_err(|error| told(name, &error))?;
    let table = described.table.ok_or("DynamoDB describes no table")?;
    let status = table.table_status().map_or("unknown", TableStatus::as_str).to_owned();
    findings.check(
        "table",
        status == "ACTIVE",
        format!("{name}: {status}"),
        "wait while it is updated; else look at it in the console",
    );
    for (index, advice) in [
        (SUBJECT_INDEX, "timelines need it; sam deploy adds it"),
        (SOURCE_INDEX, "lists by vendor and time need it; deploy with SourceIndex=true if you want them"),
    ] {
        let found = table.global_secondary_indexes().iter().find(|found| found.index_name() == Some(index));
        let status = found.and_then(|found| found.index_status()).map_or("missing", IndexStatus::as_str).to_owned();
        let state = match status.as_str() {
            "ACTIVE" => "ok",
            _ if index == SOURCE_INDEX => "warning",
            _ => "wrong",
        };
        findings.add(&format!("index {index}"), state, status, advice);
    }
    let expiry = client.describe_time_to_live().table_name(name).send().await.map_err(|error| told(name, &error))?;
    let expiry = expiry.time_to_live_description();
    let is_on = expiry.is_some_and(|expiry| {
        matches!(expiry.time_to_live_status(), Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling))
            && expiry.attribute_name() == Some("expires_at")
    });
    let found = if is_on { "on, by expires_at" } else { "off" };
    findings.check("expiry", is_on, found, "events are kept, and billed, for ever; sam deploy turns it on");
    Ok(())
}

/// Of what AWS keeps of the table besides: no local engine does.
async fn recovery(deployment: &Deployment, findings: &mut Findings) -> Result<(), Error> {
    let (client, name) = (&deployment.dynamodb, &deployment.table);
    let backups = client.describe_continuous_backups().table_name(name).send().await;
    let backups = backups.map_err(|error| told(name, &error))?;
    let recovery = backups.continuous_backups_description().and_then(|told| told.point_in_time_recovery_description());
    let status = recovery.and_then(|recovery| recovery.point_in_time_recovery_status());
    let is_on = status == Some(&PointInTimeRecoveryStatus::Enabled);
    let advice = "what is deleted by mistake is gone; sam deploy turns it on";
    findings.check("recovery", is_on, if is_on { "to any second of 35 days" } else { "off" }, advice);
    Ok(())
}

async fn queues(deployment: &Deployment, findings: &mut Findings) -> Result<(), Error> {
    let (retry, dead) = (deployment.retry_queue()?, deployment.dead_letter_queue()?);
    let policy = deployment.attribute(retry, QueueAttributeName::RedrivePolicy).await.unwrap_or_default();
    let policy: serde_json::Value = serde_json::from_str(&policy).unwrap_or_default();
    let (target, arn) =
        (policy["deadLetterTargetArn"].as_str().unwrap_or_default().to_owned(), deployment.arn(dead).await?);
    let found =
        if target.is_empty() { "no dead-letter queue".to_owned() } else { format!("dead letters go to {target}") };
    let advice = "what event-retry cannot finish would be lost after 14 days; sam deploy mends it";
    findings.check("redrive policy", target == arn, found, advice);
    let most = &policy["maxReceiveCount"];
    let most = most.as_i64().or_else(|| most.as_str()?.parse().ok());
    let wanted = i64::from(event_retry::MAX_RECEIVES);
    let found = format!("after {} receives", most.map_or("?".to_owned(), |n| n.to_string()));
    let advice = format!("event-retry counts to {wanted}; sam deploy mends it");
    findings.check("receives", most == Some(wanted), found, advice);

    let (visible, hidden) = deployment.counts(retry).await?;
    let found = format!("{visible} to be taken, {hidden} tried again later");
    let advice = "if the first number does not fall, nobody takes them: is event-retry's event source mapping enabled? aws lambda \
                  list-event-source-mappings tells; its log says what fails";
    findings.add("retry queue", if visible + hidden == 0 { "ok" } else { "warning" }, found, advice);
    let (letters, held) = dead_letters::waiting(deployment).await?;
    let advice = format!("gatehouse dead-letters list{} says why; redrive once the cause is gone", deployment.again);
    let found =
        if held == 0 { format!("{letters} waiting") } else { format!("{letters} waiting, {held} being looked at") };
    findings.check("dead letters", letters + held == 0, found, advice);
    Ok(())
}

async fn secrets(sdk: &aws_config::SdkConfig, outputs: &Outputs, findings: &mut Findings) -> Result<(), Error> {
    let document = Place::of_stack(sdk, outputs)?.read().await?.unwrap_or_else(|| "{}".to_owned());
    let secrets = Secrets::parse(&document, false)?;
    let stack = &outputs.stack;
    for (part, source) in [
        ("ada", Source::Ada),
        ("agntix", Source::Agntix),
        ("vapi", Source::Vapi(Channel::Server)),
        ("agent_chat", Source::AgKit),
    ] {
        let of: Vec<_> = secrets.defects.iter().filter(|defect| defect.contains(part)).cloned().collect();
        let (state, found) = match (source.is_open(&secrets), of.is_empty()) {
            (true, true) => ("ok", "open".to_owned()),
            (true, false) => ("wrong", format!("open, but {}", of.join("; "))),
            (false, true) => ("warning", "closed: it has no secret".to_owned()),
            (false, false) => ("wrong", format!("closed: {}", of.join("; "))),
        };
        findings.add(
            &format!("secrets of {part}"),
            state,
            found,
            format!("gatehouse secrets set {part} --stack {stack}, if it is wanted"),
        );
    }
    Ok(())
}

async fn alarms(sdk: &aws_config::SdkConfig, outputs: &Outputs, findings: &mut Findings) -> Result<(), Error> {
    let names = resources(sdk, &outputs.stack, "AWS::CloudWatch::Alarm").await?;
    let mut sounding = Vec::new();
    let mut there = 0;
    for part in names.chunks(100) {
        let keys: Vec<String> = (1..=part.len()).map(|n| format!("AlarmNames.member.{n}")).collect();
        let names = keys.iter().map(String::as_str).zip(part.iter().map(String::as_str));
        let input: Vec<(&str, &str)> = names.chain([("MaxRecords", "100")]).collect();
        let describe = CLOUDWATCH.query(sdk, "the alarms", "DescribeAlarms", &input, |answer| {
            let alarms = members(answer, "MetricAlarms");
            there += alarms.len();
            let named = alarms.into_iter().filter(|alarm| child(*alarm, "StateValue") == Some("ALARM"));
            sounding.extend(named.filter_map(|alarm| child(alarm, "AlarmName")).map(str::to_owned));
        });
        describe.await?;
    }
    let advice = "sam deploy puts back what was deleted by hand";
    findings.check("alarms", there == names.len() && there > 0, format!("{there} of {}", names.len()), advice);
    let found = if sounding.is_empty() { "none".to_owned() } else { sounding.join(", ") };
    findings.check("alarms that sound", sounding.is_empty(), found, "docs/operations.md says what each means");
    Ok(())
}

/// Each endpoint must answer, and refuse what is not signed. What it says of the time is held against this machine's.
async fn urls(deployment: &Deployment, findings: &mut Findings) -> Result<(), Error> {
    let functions = match (&deployment.deployed, &deployment.dev) {
        (Some((_, outputs)), _) => endpoints::of_stack(outputs),
        (None, Some(dev)) => Ok(endpoints::of_dev(&dev.about.functions)),
        (None, None) => return Ok(()),
    }?;
    let mut skews = Vec::new();
    for (function, url) in functions {
        let delivery = Delivery {
            function: String::new(),
            path: String::new(),
            method: "POST".to_owned(),
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            body: Bytes::from_static(b"{}"),
        };
        let sent = match Client::new(&url) {
            Ok(client) => client.send(&delivery).await,
            Err(error) => Err(error),
        };
        match sent {
            Ok(answer) => {
                let (state, advice) = match answer.status {
                    401 => ("ok", ""),
                    403 => {
                        ("wrong", "Lambda refuses everybody: the URL's permission is missing; sam deploy puts it back")
                    }
                    503 => ("warning", "it has no usable secret: gatehouse secrets check"),
                    429 => ("warning", "Lambda turns requests away: ReservedConcurrency, or the account's limit"),
                    _ => ("wrong", "what is not signed must be refused; its log tells more"),
                };
                findings.add(&function, state, format!("HTTP status {}", answer.status), advice);
                let at = httpdate::parse_http_date(answer.header("date")).ok();
                let at = at.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
                skews.extend(
                    at.and_then(|at| i64::try_from(at.as_secs()).ok()).map(|at| at - Clock::System.now().as_secs()),
                );
            }
            Err(error) => {
                let advice = "is the URL right, and the network? Deployed URLs are open to everybody (AuthType NONE)";
                findings.add(&function, "wrong", format!("no answer: {}", innermost(&*error)), advice);
            }
        }
    }
    if let Some(skew) = skews.into_iter().max_by_key(|skew| skew.abs()) {
        let found = format!("{skew} s between the functions' clocks and this machine's");
        let advice = "set this machine's clock; signatures made here are refused beyond 300 s, and spans such as --since 1h are off";
        findings.check("clock", skew.abs() <= SKEW, found, advice);
    }
    Ok(())
}
