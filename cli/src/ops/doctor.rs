//! `gatehouse doctor`: checks the health of a deployment, with advice on each problem.

use aws_sdk_dynamodb::types::{IndexStatus, PointInTimeRecoveryStatus, TableStatus, TimeToLiveStatus};
use aws_sdk_sqs::types::QueueAttributeName;
use bytes::Bytes;
use clap::Args;
use gatehouse_inbox::store::SUBJECT_INDEX;
use gatehouse_inbox::store::by_source::SOURCE_INDEX;
use gatehouse_local::Error;
use gatehouse_local::delivery::{Client, Delivery};
use gatehouse_runtime::Clock;
use gatehouse_vendor::CredentialsShape;
use gatehouse_vendors::SOURCES;
use serde_json::json;

mod destinations;
mod services;

use super::deployment::{Deployment, TargetArgs};
use super::output::{OutputArgs, counted, print_json};
use super::{ExitStatus, dead_letters};
use crate::aws::{CLOUDWATCH, LAMBDA, child, members};
use crate::endpoints;
use crate::secrets::{AllSecrets, Place};
use crate::shell::{innermost, write};
use crate::stack::{Outputs, aws_error, resources};

pub(crate) const EXAMPLES: &str = "\
Exits with 1 if a check has the state wrong or warning. The command changes nothing: it posts unsigned requests, which
must be refused.

Examples:
  gatehouse doctor
  gatehouse doctor --stack gatehouse
  gatehouse doctor --stack gatehouse --json | jq 'select(.state != \"ok\")'";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    target: TargetArgs,
}

/// Timeout of one check.
const CHECK_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(15);
/// Tolerated difference between this machine's clock and a function's, in seconds. Signatures fail beyond five minutes.
const CLOCK_SKEW: i64 = 30;

/// The number of unreserved concurrent instances below which an account's limit is a warning. Lambda keeps as many
/// unreserved.
const MIN_CONCURRENCY: u64 = 100;

/// The results of the checks.
#[derive(Default)]
struct Findings(Vec<Finding>);

/// The result of one check.
struct Finding {
    check: String,
    /// `ok`, `warning` or `wrong`.
    state: &'static str,
    found: String,
    /// What to do; empty if the state is `ok`.
    advice: String,
}

impl Findings {
    fn add(&mut self, check: &str, state: &'static str, found: impl Into<String>, advice: impl Into<String>) {
        let advice = if state == "ok" { String::new() } else { advice.into() };
        self.0.push(Finding { check: check.to_owned(), state, found: found.into(), advice });
    }

    fn check(&mut self, check: &str, is_ok: bool, found: impl Into<String>, advice: impl Into<String>) {
        self.add(check, if is_ok { "ok" } else { "wrong" }, found, advice);
    }

    fn number_of(&self, state: &str) -> usize {
        self.0.iter().filter(|finding| finding.state == state).count()
    }

    fn print(&self, output: OutputArgs) -> Result<(), Error> {
        let mut table = output.table(["CHECK", "STATE", "FOUND", "WHAT TO DO"]).with_prose([2, 3]);
        for Finding { check, state, found, advice } in &self.0 {
            if output.json {
                print_json(&json!({"check": check, "state": state, "found": found, "advice": advice}))?;
            } else {
                table.row([check.clone(), (*state).to_owned(), found.clone(), advice.clone()]);
            }
        }
        if !output.json {
            table.print()?;
            write(&match (self.number_of("wrong"), self.number_of("warning")) {
                (0, 0) => "nothing is wrong\n".to_owned(),
                (0, warnings) => format!("{}\n", counted(warnings, "warning")),
                (wrong, 0) => format!("{wrong} wrong\n"),
                (wrong, warnings) => format!("{wrong} wrong, {}\n", counted(warnings, "warning")),
            })?;
        }
        Ok(())
    }
}

pub(crate) async fn run(arguments: Arguments) -> ExitStatus {
    let Arguments { output, target } = arguments;
    let deployment = target.find().await?;
    let mut findings = Findings::default();
    let restore =
        "check that it exists and that you may read it; sam deploy restores everything in infra/template.yaml";
    run_check(&mut findings, "table", restore, async |findings| table(&deployment, findings).await).await;
    if deployment.dev.is_none() {
        run_check(&mut findings, "recovery", restore, async |findings| recovery(&deployment, findings).await).await;
    }
    if deployment.has_queues() {
        run_check(&mut findings, "queues", restore, async |findings| queues(&deployment, findings).await).await;
    }
    if let Some((sdk, outputs)) = &deployment.deployed {
        let check = format!("run gatehouse secrets check --stack {}", outputs.stack);
        run_check(&mut findings, "secrets", &check, async |findings| secrets(sdk, outputs, findings).await).await;
        run_check(&mut findings, "services", &check, async |findings| services::deployed(sdk, outputs, findings).await)
            .await;
        run_check(&mut findings, "alarms", restore, async |findings| alarms(sdk, outputs, findings).await).await;
        protection(outputs, &mut findings);
        let advice = "allow lambda:GetAccountSettings to check the account's concurrency";
        run_check(&mut findings, "concurrency", advice, async |findings| concurrency(sdk, outputs, findings).await)
            .await;
    }
    if let Some(dev) = &deployment.dev {
        services::local(&dev.counts, &mut findings);
    }
    // Every gatehouse dev delivers; a stack does if it is deployed so.
    if crate::ops::destinations::are_known(&deployment) {
        let check = "check that you may read the delivery table and the secret";
        run_check(&mut findings, "destinations", check, async |findings| {
            destinations::check(&deployment, findings).await
        })
        .await;
    }
    let advice = "check that the URLs are reachable";
    run_check(&mut findings, "URLs", advice, async |findings| urls(&deployment, findings).await).await;

    findings.print(output)?;
    Ok(u8::from(findings.number_of("wrong") + findings.number_of("warning") > 0))
}

/// Runs a check. An error or a timeout of the check itself is a finding too.
async fn run_check(
    findings: &mut Findings,
    name: &str,
    advice: &str,
    check: impl AsyncFnOnce(&mut Findings) -> Result<(), Error>,
) {
    let checked = tokio::time::timeout(CHECK_TIMEOUT, check(findings)).await;
    let timed_out = || Err(format!("no response within {} s", CHECK_TIMEOUT.as_secs()).into());
    if let Err(error) = checked.unwrap_or_else(|_| timed_out()) {
        findings.add(name, "wrong", error.to_string(), advice);
    }
}

async fn table(deployment: &Deployment, findings: &mut Findings) -> Result<(), Error> {
    let (client, name) = (&deployment.dynamodb, &deployment.table);
    let described = client.describe_table().table_name(name).send().await.map_err(|error| aws_error(name, &error))?;
    let table = described.table.ok_or("DynamoDB describes no table")?;
    let status = table.table_status().map_or("unknown", TableStatus::as_str).to_owned();
    findings.check(
        "table",
        status == "ACTIVE",
        format!("{name}: {status}"),
        "wait if it is being updated; otherwise check it in the console",
    );
    for (index, advice) in [
        (SUBJECT_INDEX, "timelines need it; sam deploy adds it"),
        (SOURCE_INDEX, "lists by vendor and time need it; to enable them, deploy with SourceIndex=true"),
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
    let expiry =
        client.describe_time_to_live().table_name(name).send().await.map_err(|error| aws_error(name, &error))?;
    let expiry = expiry.time_to_live_description();
    let is_on = expiry.is_some_and(|expiry| {
        matches!(expiry.time_to_live_status(), Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling))
            && expiry.attribute_name() == Some("expires_at")
    });
    let found = if is_on { "on, by expires_at" } else { "off" };
    findings.check("expiry", is_on, found, "events never expire, and their storage is billed; sam deploy turns it on");
    Ok(())
}

/// Checks point-in-time recovery, which the local engine does not have.
async fn recovery(deployment: &Deployment, findings: &mut Findings) -> Result<(), Error> {
    let (client, name) = (&deployment.dynamodb, &deployment.table);
    let backups = client.describe_continuous_backups().table_name(name).send().await;
    let backups = backups.map_err(|error| aws_error(name, &error))?;
    let recovery = backups
        .continuous_backups_description()
        .and_then(|description| description.point_in_time_recovery_description());
    let status = recovery.and_then(|recovery| recovery.point_in_time_recovery_status());
    let is_on = status == Some(&PointInTimeRecoveryStatus::Enabled);
    let advice = "data deleted by mistake cannot be restored; sam deploy turns it on";
    findings.check("recovery", is_on, if is_on { "to any second of the last 35 days" } else { "off" }, advice);
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
    let advice = "messages that event-retry cannot process would be lost after 14 days; sam deploy fixes it";
    findings.check("redrive policy", target == arn, found, advice);
    let max_receives = &policy["maxReceiveCount"];
    let max_receives = max_receives.as_i64().or_else(|| max_receives.as_str()?.parse().ok());
    let expected = i64::from(event_retry::MAX_RECEIVES);
    let found = max_receives.map_or("?".to_owned(), |n| n.to_string());
    let advice = format!("event-retry expects {expected}; sam deploy fixes it");
    findings.check("max receives", max_receives == Some(expected), found, advice);

    let (visible, hidden) = deployment.counts(retry).await?;
    let found = format!("{visible} visible, {hidden} delayed");
    let advice = "if visible does not fall, messages are not being consumed: check event-retry's event source mapping \
                  (aws lambda list-event-source-mappings) and its log";
    findings.add("retry queue", if visible + hidden == 0 { "ok" } else { "warning" }, found, advice);
    let (letters, held) = dead_letters::dead_letter_counts(deployment).await?;
    let advice = format!("gatehouse dead-letters list{} says why; redrive after the cause is fixed", deployment.flags);
    let found =
        if held == 0 { format!("{letters} waiting") } else { format!("{letters} waiting, {held} held by a command") };
    findings.check("dead letters", letters + held == 0, found, advice);
    Ok(())
}

async fn secrets(sdk: &aws_config::SdkConfig, outputs: &Outputs, findings: &mut Findings) -> Result<(), Error> {
    let document = Place::of_stack(sdk, outputs)?.read().await?.unwrap_or_else(|| "{}".to_owned());
    let secrets = AllSecrets::parse(&document, false)?;
    let stack = &outputs.stack;
    let mut parts: Vec<&str> = SOURCES.into_iter().map(|source| source.profile().secrets.name).collect();
    // Sources of one vendor share a part.
    parts.dedup();
    for part in parts {
        let defects: Vec<_> = secrets.defects.iter().filter(|defect| defect.contains(part)).cloned().collect();
        let (state, found) = match (secrets.is_open(part), defects.is_empty()) {
            (true, true) => ("ok", "open".to_owned()),
            (true, false) => ("wrong", format!("open, but {}", defects.join("; "))),
            (false, true) => ("warning", "closed: it has no secret".to_owned()),
            (false, false) => ("wrong", format!("closed: {}", defects.join("; "))),
        };
        findings.add(
            &format!("secrets of {part}"),
            state,
            found,
            format!("to use it: gatehouse secrets set {part} --stack {stack}"),
        );
    }
    Ok(())
}

async fn alarms(sdk: &aws_config::SdkConfig, outputs: &Outputs, findings: &mut Findings) -> Result<(), Error> {
    let names = resources(sdk, &outputs.stack, "AWS::CloudWatch::Alarm").await?;
    if names.is_empty() {
        let advice = "nobody is told of failures: set the parameter AlarmTopicArn, or Alarms=all";
        findings.add("alarms", "warning", "none", advice);
        return Ok(());
    }
    let mut active = Vec::new();
    let mut existing = 0;
    for part in names.chunks(100) {
        let keys: Vec<String> = (1..=part.len()).map(|n| format!("AlarmNames.member.{n}")).collect();
        let names = keys.iter().map(String::as_str).zip(part.iter().map(String::as_str));
        let input: Vec<(&str, &str)> = names.chain([("MaxRecords", "100")]).collect();
        let describe = CLOUDWATCH.query(sdk, "the alarms", "DescribeAlarms", &input, |answer| {
            let alarms = members(answer, "MetricAlarms");
            existing += alarms.len();
            let in_alarm = alarms.into_iter().filter(|alarm| child(*alarm, "StateValue") == Some("ALARM"));
            active.extend(in_alarm.filter_map(|alarm| child(alarm, "AlarmName")).map(str::to_owned));
        });
        describe.await?;
    }
    let advice = "sam deploy restores alarms that were deleted by hand";
    findings.check("alarms", existing == names.len(), format!("{existing} of {}", names.len()), advice);
    let found = if active.is_empty() { "none".to_owned() } else { active.join(", ") };
    findings.check("active alarms", active.is_empty(), found, "docs/operations.md explains each alarm");
    Ok(())
}

/// Checks that a production stack cannot be deleted by mistake, together with its queues and its secret.
fn protection(outputs: &Outputs, findings: &mut Findings) {
    if outputs.parameter("Environment") == Some("prod") {
        let advice = format!(
            "aws cloudformation update-termination-protection --enable-termination-protection --stack-name {}",
            outputs.stack
        );
        let (state, found) = if outputs.is_protected { ("ok", "on") } else { ("warning", "off") };
        findings.add("termination protection", state, found, advice);
    }
}

/// Checks that the account can run more than a few instances at the same time. Computes how many each function can
/// reserve.
async fn concurrency(sdk: &aws_config::SdkConfig, outputs: &Outputs, findings: &mut Findings) -> Result<(), Error> {
    let settings = LAMBDA.json(sdk, "the account's settings", "2016-08-19/account-settings/", &json!({})).await?;
    let limit = |name: &str| settings["AccountLimit"][name].as_u64().ok_or("Lambda did not say the account's limit");
    let (all, unreserved) = (limit("ConcurrentExecutions")?, limit("UnreservedConcurrentExecutions")?);
    let webhooks = SOURCES.into_iter().filter(|source| source.profile().shape != CredentialsShape::Nothing).count();
    let available = all.saturating_sub(MIN_CONCURRENCY);
    // Agent-chat reserves its own number, none, or as many as each webhook function.
    let most = match outputs.parameter("ChatReservedConcurrency").unwrap_or("-1").parse::<u64>() {
        Ok(chats) => available.saturating_sub(chats) / webhooks as u64,
        Err(_) => available / (webhooks as u64 + 1),
    };
    let advice = format!(
        "{unreserved} open chats occupy all instances that are not reserved: raise the quota \"Concurrent \
         executions\" of Lambda"
    );
    let state = if unreserved >= MIN_CONCURRENCY { "ok" } else { "warning" };
    let found = format!("{unreserved} of {all} unreserved; ReservedConcurrency can be up to {most}");
    findings.add("concurrency", state, found, advice);
    Ok(())
}

/// Checks that each endpoint refuses an unsigned request. Compares the `Date` header with this machine's clock.
async fn urls(deployment: &Deployment, findings: &mut Findings) -> Result<(), Error> {
    let functions = match (&deployment.deployed, &deployment.dev) {
        (Some((_, outputs)), _) => endpoints::of_stack(outputs),
        (None, Some(dev)) => Ok(endpoints::of_dev(&dev.about.functions)),
        (None, None) => return Ok(()),
    }?;
    let mut skews = Vec::new();
    for (function, url) in functions {
        let Some(url) = url else {
            findings.add(
                &function,
                "warning",
                endpoints::NOT_DEPLOYED.to_owned(),
                "deploy the release of this command",
            );
            continue;
        };
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
                    403 => (
                        "wrong",
                        "Lambda denies public access: the URL's permission is missing; sam deploy restores it",
                    ),
                    503 => ("warning", "the endpoint has no usable secret; run gatehouse secrets check"),
                    429 => ("warning", "Lambda throttles requests; check ReservedConcurrency and the account's limit"),
                    _ => ("wrong", "an unsigned request must be refused; see the function's log"),
                };
                let found = match answer.status {
                    401 => "refuses an unsigned request (HTTP status 401)".to_owned(),
                    status => format!("HTTP status {status}"),
                };
                findings.add(&function, state, found, advice);
                let date = httpdate::parse_http_date(answer.header("date")).ok();
                let date = date.and_then(|date| date.duration_since(std::time::UNIX_EPOCH).ok());
                let seconds = date.and_then(|date| i64::try_from(date.as_secs()).ok());
                skews.extend(seconds.map(|seconds| seconds - Clock::System.now().as_secs()));
            }
            Err(error) => {
                let advice = "check the URL and the network; deployed URLs are public (AuthType NONE)";
                findings.add(&function, "wrong", format!("no response: {}", innermost(&*error)), advice);
            }
        }
    }
    if let Some(skew) = skews.into_iter().max_by_key(|skew| skew.abs()) {
        let found = format!("{skew} s between the functions' clocks and this machine's");
        let advice = "correct this machine's clock: beyond 300 s, its signatures are refused, and spans such as \
                      --since 1h are wrong";
        findings.check("clock", skew.abs() <= CLOCK_SKEW, found, advice);
    }
    Ok(())
}
