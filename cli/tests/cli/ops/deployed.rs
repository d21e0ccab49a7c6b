//! Tests against a deployed stack, with stubs of CloudFormation, CloudWatch and CloudWatch Logs.

use std::process::Command;

use bytes::Bytes;
use gatehouse_local::SecretsManager;
use gatehouse_local::http_server::{self, Server};
use gatehouse_local::template::logical_id;
use http::{Request, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::bed::{Bed, CommandOutput, MESSAGE, run_command};

const ACTIVE_ALARM: &str = "<DescribeAlarmsResponse xmlns=\"http://monitoring.amazonaws.com/doc/2010-08-01/\">\
    <DescribeAlarmsResult><MetricAlarms><member><AlarmName>gatehouse-DeadLettersAlarm</AlarmName>\
    <StateValue>ALARM</StateValue><AlarmActions><member>arn:aws:sns:x</member></AlarmActions></member></MetricAlarms>\
    </DescribeAlarmsResult></DescribeAlarmsResponse>";

/// Starts a stub of the CloudFormation, CloudWatch and CloudWatch Logs requests that the commands make.
/// The stack lacks the functions in `missing`.
async fn aws_stub(bed: &Bed, missing: &[&str]) -> (Server, String) {
    let mut outputs = vec![
        ("EventTableName".to_owned(), bed.table.clone()),
        ("RetryQueueUrl".to_owned(), bed.retry_queue.clone()),
        ("DeadLetterQueueUrl".to_owned(), bed.dead_letter_queue.clone()),
        ("SecretsArn".to_owned(), "arn:aws:secretsmanager:x".to_owned()),
    ];
    let functions = bed.about.functions.iter().filter(|(function, _)| !missing.contains(&function.as_str()));
    outputs.extend(functions.map(|(function, url)| (format!("{}Url", logical_id(function)), url.clone())));
    let outputs: String = outputs
        .into_iter()
        .map(|(key, value)| format!("<member><OutputKey>{key}</OutputKey><OutputValue>{value}</OutputValue></member>"))
        .collect();
    let stack = format!(
        "<DescribeStacksResponse><DescribeStacksResult><Stacks><member><StackName>gatehouse</StackName>\
         <CreationTime>2026-11-21T00:00:00Z</CreationTime><StackStatus>CREATE_COMPLETE</StackStatus>\
         <EnableTerminationProtection>false</EnableTerminationProtection><Parameters><member>\
         <ParameterKey>Environment</ParameterKey><ParameterValue>prod</ParameterValue></member><member>\
         <ParameterKey>ChatReservedConcurrency</ParameterKey><ParameterValue>20</ParameterValue></member></Parameters>\
         <Outputs>{}</Outputs></member></Stacks></DescribeStacksResult></DescribeStacksResponse>",
        outputs
    );
    let resource = |kind: &str, id: &str| {
        format!(
            "<member><LogicalResourceId>x</LogicalResourceId><PhysicalResourceId>{id}</PhysicalResourceId>\
             <ResourceType>{kind}</ResourceType><LastUpdatedTimestamp>2026-11-21T00:00:00Z</LastUpdatedTimestamp>\
             <ResourceStatus>CREATE_COMPLETE</ResourceStatus></member>"
        )
    };
    let page = |resource: &str, next: &str| {
        Bytes::from(format!(
            "<ListStackResourcesResponse><ListStackResourcesResult><StackResourceSummaries>{resource}\
             </StackResourceSummaries>{next}</ListStackResourcesResult></ListStackResourcesResponse>",
        ))
    };
    let first_page = page(&resource("AWS::Logs::LogGroup", "logs-of-gatehouse"), "<NextToken>2</NextToken>");
    let last_page = page(&resource("AWS::CloudWatch::Alarm", "gatehouse-DeadLettersAlarm"), "");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = http_server::serve(listener, move |request: Request<Bytes>| {
        let body = String::from_utf8_lossy(request.body()).into_owned();
        let target = request.headers().get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
        let answer = match target.rsplit('.').next() {
            Some("StartQuery") => {
                assert!(body.contains("logs-of-gatehouse"), "{body}");
                Bytes::from(json!({"queryId": "q"}).to_string())
            }
            Some("GetQueryResults") => {
                let row = |of: &str, kind: &str, outcome: &str, n: u32| {
                    let field = |name: &str, value: &str| json!({"field": name, "value": value});
                    json!([
                        field("of", of),
                        field("event_type", kind),
                        field("outcome", outcome),
                        field("n", &n.to_string())
                    ])
                };
                let mut asked = row("vapi", "tool-calls", "recorded", 7);
                let of_services = [("asked", "orders,stock"), ("ask", "answered,timeout")];
                let of_services = of_services.map(|(name, value)| json!({"field": name, "value": value}));
                asked.as_array_mut().unwrap().extend(of_services);
                let rows = [row("ada", "v1.conversation.message", "recorded", 41), row("ada", "", "refused", 2), asked];
                Bytes::from(json!({"status": "Complete", "results": rows}).to_string())
            }
            _ if request.uri().path().ends_with("/account-settings/") => {
                let limit = json!({"ConcurrentExecutions": 520, "UnreservedConcurrentExecutions": 20});
                Bytes::from(json!({"AccountLimit": limit}).to_string())
            }
            _ if body.contains("Action=GetMetricStatistics") => {
                let sum = if body.contains("MetricName=fallback") { "9.0" } else { "100.0" };
                Bytes::from(format!(
                    "<GetMetricStatisticsResponse><GetMetricStatisticsResult><Datapoints><member><Sum>{sum}</Sum>\
                     </member></Datapoints></GetMetricStatisticsResult></GetMetricStatisticsResponse>"
                ))
            }
            _ if body.contains("Action=DescribeAlarms") => Bytes::from_static(ACTIVE_ALARM.as_bytes()),
            _ if body.contains("Action=ListStackResources") && !body.contains("NextToken=") => first_page.clone(),
            _ if body.contains("Action=ListStackResources") => last_page.clone(),
            _ => Bytes::from(stack.clone()),
        };
        async move { Some(Response::new(answer)) }
    });
    (server, url)
}

async fn run(bed: &Bed, arguments: &[&str]) -> CommandOutput {
    run_without(bed, &[], arguments).await
}

/// Runs a command against a stack that lacks the functions in `missing`.
async fn run_without(bed: &Bed, missing: &[&str], arguments: &[&str]) -> CommandOutput {
    let document = json!({"ada": {"signing_secrets": ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]},
                          "agntix": {"signing_secrets": ["short"]}});
    let manager = SecretsManager::start(&document.to_string()).await.unwrap();
    let (_server, url) = aws_stub(bed, missing).await;
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatehouse"));
    command.args(arguments).args(["--stack", "gatehouse"]).current_dir(bed.directory.path());
    for service in ["CLOUDFORMATION", "CLOUDWATCH", "CLOUDWATCH_LOGS", "LAMBDA"] {
        command.env(format!("AWS_ENDPOINT_URL_{service}"), &url);
    }
    command.env("AWS_ENDPOINT_URL_SECRETS_MANAGER", manager.proxy.url());
    command.env("AWS_ENDPOINT_URL_DYNAMODB", &bed.about.dynamodb).env("AWS_ENDPOINT_URL_SQS", &bed.about.sqs);
    command.env("AWS_REGION", "us-east-1").env("AWS_ACCESS_KEY_ID", "local").env("AWS_SECRET_ACCESS_KEY", "local");
    run_command(command)
}

#[tokio::test(flavor = "multi_thread")]
async fn stack_is_found_by_its_outputs() {
    let bed = Bed::start().await;
    bed.send("msg_1", MESSAGE).await;
    bed.make_dead_letters(&["dead"]).await;
    assert_eq!(run(&bed, &["events", "show", "ada:msg_1", "--json"]).await.line()["state"], "recorded");
    let redriven = run(&bed, &["dead-letters", "redrive", "--all", "--wait", "0"]).await;
    assert!(redriven.err.contains("the receipt is redrive-20"), "{redriven:?}");
    assert!(redriven.out.contains("dead-letters list --stack 'gatehouse'"), "{redriven:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn stats_of_a_stack_come_from_its_log_lines() {
    let bed = Bed::start().await;
    let lines = run(&bed, &["stats", "--json"]).await.lines();
    let recorded = json!({"source": "ada", "type": "v1.conversation.message", "outcome": "recorded", "count": 41});
    assert!(lines.contains(&recorded) && lines.len() == 5, "{lines:?}");
    assert!(lines.contains(&json!({"service": "stock", "ask": "timeout", "count": 7})), "{lines:?}");
    let table = run(&bed, &["stats"]).await.out;
    let (events, services) = table.split_once("\n\n").unwrap();
    assert!(events.lines().last().unwrap().starts_with("all") && events.contains("REFUSED"), "{table}");
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let lines: Vec<Vec<String>> = services.lines().map(words).collect();
    assert_eq!(lines[0], ["SERVICE", "ANSWERED", "TIMEOUT", "STATUS", "CONNECT", "BREAKER", "UNUSABLE"]);
    assert_eq!(lines[1..], [["orders", "7", "-", "-", "-", "-", "-"], ["stock", "-", "7", "-", "-", "-", "-"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_reports_active_alarms_and_invalid_secrets() {
    let bed = Bed::start().await;
    let doctor = run(&bed, &["doctor", "--json"]).await;
    assert_eq!(doctor.code, 1, "{doctor:?}");
    let lines = doctor.lines();
    let finding = |check: &str| -> &Value {
        lines.iter().find(|line| line["check"] == check).unwrap_or_else(|| panic!("{check}: {lines:?}"))
    };
    assert_eq!(finding("active alarms")["found"], "gatehouse-DeadLettersAlarm");
    let states = (&finding("secrets of ada")["state"], &finding("secrets of agntix")["state"]);
    assert_eq!(states, (&"ok".into(), &"wrong".into()));
    assert!(
        !doctor.out.contains("short\"")
            && finding("secrets of agntix")["advice"].as_str().unwrap().contains("--stack gatehouse")
    );
    assert_eq!(finding("secrets of vapi")["state"], "warning");
    assert_eq!(finding("alarms")["state"], "ok");
    let answers = finding("answers of services");
    assert_eq!(answers["found"], "100 questions in 24 h, 9 without a usable answer");
    assert_eq!(answers["state"], "warning");
    let protection = finding("termination protection");
    assert_eq!((&protection["state"], &protection["found"]), (&"warning".into(), &"off".into()));
    let concurrency = finding("concurrency");
    // Four webhook functions, and 20 instances for chats.
    assert_eq!(
        (&concurrency["state"], &concurrency["found"]),
        (&"warning".into(), &"20 of 520 unreserved; ReservedConcurrency can be up to 100".into())
    );
    for function in bed.about.functions.keys() {
        assert_eq!(finding(function)["state"], "ok", "{function} refuses an unsigned request");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn function_that_a_stack_of_another_release_lacks_is_reported_and_the_others_are_used() {
    let bed = Bed::start().await;
    let missing = ["session-lifecycle"];
    let endpoints = run_without(&bed, &missing, &["endpoints"]).await;
    assert!(endpoints.code == 0 && endpoints.out.contains("session-lifecycle\n  not deployed: "), "{endpoints:?}");
    let ping = run_without(&bed, &missing, &["ping"]).await;
    assert!(ping.out.contains("session-lifecycle      not deployed: "), "{ping:?}");
    // The function has other secrets than the stack's document, so it refuses the probe.
    assert!(ping.out.contains("conversation-webhooks  WRONG 401"), "{ping:?}");
    let doctor = run_without(&bed, &missing, &["doctor", "--json"]).await.lines();
    let state = |check: &str| doctor.iter().find(|line| line["check"] == check).unwrap()["state"].clone();
    assert_eq!((state("session-lifecycle"), state("server-message")), ("warning".into(), "ok".into()));
    let all: Vec<&str> = bed.about.functions.keys().map(String::as_str).collect();
    let none = run_without(&bed, &all, &["endpoints"]).await;
    assert!(none.code != 0 && none.err.contains("is it a Gatehouse stack"), "{none:?}");
}
