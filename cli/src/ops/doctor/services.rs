//! Checks the services that rules ask: whether they are defined, and how they answer.

use aws_config::SdkConfig;
use gatehouse_local::Error;
use gatehouse_local::status::Count;
use gatehouse_payload::time::Timestamp;
use gatehouse_replies::{DEPLOYED, DEPLOYED_FILE, Rules};
use gatehouse_runtime::Clock;
use gatehouse_services::{Service, Target};

use super::Findings;
use crate::aws::{CLOUDWATCH, child, members};
use crate::ops::destinations::lists_function;
use crate::secrets::{AllSecrets, Place};
use crate::stack::Outputs;

/// The span of the questions that are counted, in seconds.
const SPAN: i64 = 86_400;
/// The share of questions without a usable answer, in per cent, above which the check is a warning. Same as in
/// `FallbackAlarm`.
const MAX_FALLBACKS: u64 = 5;
/// The number of questions below which there is no warning. Same as in `FallbackAlarm`.
const MIN_QUESTIONS: u64 = 20;

/// Checks that the secret of a stack has every service of the rules of this release, and that they answer.
pub(super) async fn deployed(sdk: &SdkConfig, outputs: &Outputs, findings: &mut Findings) -> Result<(), Error> {
    let rules = Rules::parse(DEPLOYED_FILE, DEPLOYED)?;
    let document = Place::of_stack(sdk, outputs)?.read().await?.unwrap_or_else(|| "{}".to_owned());
    let secrets = AllSecrets::parse(&document, false)?;
    let functions = outputs.parameter("ServiceFunctionArns").unwrap_or_default();
    let mut names: Vec<&str> = rules.questions().map(|(_, service)| service).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let (state, found, advice) = match secrets.services.get(name) {
            None => {
                let command = format!("gatehouse secrets set service:{name} --url URL --stack {}", outputs.stack);
                ("wrong", "not in the secret", command)
            }
            Some(service) if service.is_loopback() => {
                ("wrong", "on a loopback address", "only gatehouse dev reaches it; set its public URL".to_owned())
            }
            Some(service) if !is_permitted(service, functions) => (
                "wrong",
                "Gatehouse may not invoke this function",
                "add its ARN to ServiceFunctionArns, and deploy".to_owned(),
            ),
            Some(_) => ("ok", "defined", String::new()),
        };
        findings.add(&format!("service {name}"), state, found, advice);
    }
    let questions = sum(sdk, outputs, "questions").await?;
    let fallbacks = sum(sdk, outputs, "fallback").await?;
    answers(questions, fallbacks, findings);
    Ok(())
}

/// Checks how the services of a `gatehouse dev` answer.
pub(super) fn local(counts: &[Count], findings: &mut Findings) {
    let since = (Clock::System.now().as_secs() - SPAN).div_euclid(60);
    let asked = counts.iter().filter(|count| count.minute >= since && !count.asked.is_empty());
    let (mut questions, mut fallbacks) = (0, 0);
    for count in asked {
        questions += count.count;
        if count.ask.split(',').any(|result| result != "answered") {
            fallbacks += count.count;
        }
    }
    answers(questions, fallbacks, findings);
}

fn answers(questions: u64, fallbacks: u64, findings: &mut Findings) {
    if questions == 0 {
        return;
    }
    let is_good = questions < MIN_QUESTIONS || fallbacks * 100 <= questions * MAX_FALLBACKS;
    let found = format!("{questions} questions in 24 h, {fallbacks} without a usable answer");
    let advice = "gatehouse stats shows which service fails and how; the log lines have the field ask";
    findings.add("answers of services", if is_good { "ok" } else { "warning" }, found, advice);
}

/// Whether the functions may invoke a service. Their parameter has ARNs, and the service may have only a name.
fn is_permitted(service: &Service, arns: &str) -> bool {
    let Target::Lambda { function, .. } = &service.target else { return true };
    lists_function(arns, function)
}

/// Returns the sum of a metric of the stack over the span.
async fn sum(sdk: &SdkConfig, outputs: &Outputs, metric: &str) -> Result<u64, Error> {
    let now = Clock::System.now();
    let (from, to) = (Timestamp::clamped(now.as_millis() - SPAN * 1000).to_string(), now.to_string());
    let period = SPAN.to_string();
    let input = [
        ("Namespace", "Gatehouse"),
        ("MetricName", metric),
        ("Dimensions.member.1.Name", "stack"),
        ("Dimensions.member.1.Value", outputs.stack.as_str()),
        ("StartTime", from.as_str()),
        ("EndTime", to.as_str()),
        ("Period", period.as_str()),
        ("Statistics.member.1", "Sum"),
    ];
    CLOUDWATCH
        .query(sdk, "the metrics", "GetMetricStatistics", &input, |document| {
            let points = members(document, "Datapoints");
            let sums =
                points.into_iter().filter_map(|point| child(point, "Sum")?.split('.').next()?.parse::<u64>().ok());
            sums.sum()
        })
        .await
}

#[cfg(test)]
mod tests {
    use gatehouse_services::Payload;

    use super::*;

    #[test]
    fn function_is_permitted_by_its_name_alias_or_arn() {
        let function = |name: &str| {
            let target = Target::Lambda { function: name.to_owned(), payload: Payload::Message };
            Service { target, signing_keys: Vec::new(), headers: Vec::new() }
        };
        let arns = "arn:aws:lambda:eu-west-1:111122223333:function:orders,arn:aws:lambda:eu-west-1:111122223333:function:book:live";
        let partial = "111122223333:function:orders";
        for name in ["orders", "book:live", partial, &format!("arn:aws:lambda:eu-west-1:{partial}")] {
            assert!(is_permitted(&function(name), arns), "{name}");
        }
        for name in ["book", "order", "orders:live"] {
            assert!(!is_permitted(&function(name), arns), "{name}");
        }
        assert!(is_permitted(&Service::at("https://x.example.com".parse().unwrap()), ""));
    }
}
