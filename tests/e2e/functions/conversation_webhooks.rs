//! Tests the conversation-webhooks binary with a local Lambda Runtime API.

use gatehouse_ada::Ada;
use gatehouse_local::runtime_api::{Host, Invoked};
use gatehouse_local::{Delivery, Options, Testbed};
use gatehouse_payload::EventId;
use gatehouse_runtime::Clock;
use serde_json::{Value, json};

const MESSAGE: &str = gatehouse_ada::samples::CONVERSATION_MESSAGE;

async fn start(stack: &Testbed, more: &[(&str, &str)]) -> Host {
    stack.host(env!("CARGO_BIN_EXE_under-test-conversation-webhooks"), gatehouse_receiver::TIMEOUT, more).await.unwrap()
}

async fn answer(host: &mut Host, event: &Value) -> Value {
    match host.invoke(event).await.unwrap() {
        Invoked::Answered(answer) => answer,
        Invoked::Failed(error) => panic!("{error}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn function_url_event_is_recorded_and_logged_in_one_line() {
    let stack = Testbed::start(Options { poll: false, ..Options::default() }).await.unwrap();
    let mut host = start(&stack, &[]).await;
    let delivery = Delivery::of(&Ada, "msg_1", MESSAGE, Clock::System.now());

    let first = answer(&mut host, &delivery.to_lambda_event()).await;
    assert_eq!(first["statusCode"], 200);
    assert_eq!(first["headers"]["gatehouse-outcome"], "recorded");
    assert_eq!(first["headers"]["gatehouse-event-id"], "ada:msg_1");
    let body: Value = serde_json::from_str(first["body"].as_str().unwrap()).unwrap();
    assert_eq!(body, json!({"status": "recorded", "event_id": "ada:msg_1"}));
    let id = EventId::new(&["ada"], &["msg_1"]);
    let record = stack.store().get(&id, Clock::System.now()).await.unwrap().unwrap();
    assert_eq!(record.event.body, delivery.body);

    let again = answer(&mut host, &delivery.to_lambda_event()).await;
    assert_eq!(again["headers"]["gatehouse-outcome"], "duplicate");
    let forged = delivery.with_body("{}").to_lambda_event();
    let refused = answer(&mut host, &forged).await;
    assert_eq!((&refused["statusCode"], &refused["headers"]["gatehouse-outcome"]), (&json!(401), &json!("refused")));

    let output = host.kill().await.unwrap();
    let lines: Vec<Value> = output.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let outcomes: Vec<&str> = lines.iter().map(|line| line["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["recorded", "duplicate", "refused"], "{output}");
    let line = lines[0].as_object().unwrap();
    assert_eq!((&line["function"], &line["source"]), (&json!("conversation-webhooks"), &json!("ada")));
    assert_eq!((&line["event_id"], &line["status"]), (&json!("ada:msg_1"), &json!(200)));
    assert!(line["ms"].is_u64());
    // A refusal has the request id of its log line.
    let problem: Value = serde_json::from_str(refused["body"].as_str().unwrap()).unwrap();
    assert!(problem["request_id"].is_string() && problem["request_id"] == lines[2]["request_id"], "{problem}");
}

#[tokio::test(flavor = "multi_thread")]
async fn signature_is_verified_in_every_lambda_encoding() {
    let stack = Testbed::start(Options { poll: false, ..Options::default() }).await.unwrap();
    let mut host = start(&stack, &[]).await;
    let delivery = |id: &str| Delivery::of(&Ada, id, MESSAGE, Clock::System.now()).to_lambda_event();

    // Lambda encodes a body as base64 if it does not know the content type as text.
    let mut encoded = delivery("msg_1");
    encoded["body"] = data_encoding::BASE64.encode(MESSAGE.as_bytes()).into();
    encoded["isBase64Encoded"] = true.into();
    // Header names in upper case.
    let mut upper_case = delivery("msg_2");
    let headers = upper_case["headers"].as_object().unwrap().clone();
    upper_case["headers"] = headers.into_iter().map(|(name, value)| (name.to_uppercase(), value)).collect();
    for event in [encoded, upper_case] {
        assert_eq!(answer(&mut host, &event).await["headers"]["gatehouse-outcome"], "recorded");
    }
    // A base64 body without the base64 flag, and a signature that is repeated after a comma, are not verified.
    let mut twice = delivery("msg_3");
    twice["body"] = data_encoding::BASE64.encode(MESSAGE.as_bytes()).into();
    let mut joined = delivery("msg_4");
    joined["headers"]["svix-signature"] =
        format!("{0},{0}", joined["headers"]["svix-signature"].as_str().unwrap()).into();
    for event in [twice, joined] {
        assert_eq!(answer(&mut host, &event).await["statusCode"], 401);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_url_gets_a_regular_response() {
    let stack = Testbed::start(Options { poll: false, ..Options::default() }).await.unwrap();
    let mut host = start(&stack, &[]).await;
    let delivery = |n: usize| Delivery::of(&Ada, &format!("msg_{n}"), MESSAGE, Clock::System.now()).to_lambda_event();
    // Endpoints ignore the query and these headers, so any value is accepted.
    for (n, query) in ["\"", "<>", "a b", "\u{7f}", "%", "x=1"].into_iter().enumerate() {
        let mut event = delivery(n);
        event["rawQueryString"] = query.into();
        event["headers"]["host"] = "evil:99999 x".into();
        event["headers"]["x-forwarded-proto"] = "https,http".into();
        assert_eq!(answer(&mut host, &event).await["headers"]["gatehouse-outcome"], "recorded", "{query}");
    }
    let long = format!("/{}", "x".repeat(100_000));
    for (path, status) in
        [("@evil:99999/", 404), ("/\u{7f}\"<>^`{|}\\", 404), (long.as_str(), 404), ("", 404), ("//", 200)]
    {
        let mut event = delivery(100);
        event["rawPath"] = path.into();
        assert_eq!(answer(&mut host, &event).await["statusCode"], status, "{path:.20}");
    }
    let mut broken = delivery(101);
    broken["isBase64Encoded"] = true.into();
    assert_eq!(answer(&mut host, &broken).await["statusCode"], 401);
    let output = host.kill().await.unwrap();
    assert_eq!((output.lines().count(), output.contains("panicked")), (12, false), "{output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn invocation_without_request_is_a_handler_error() {
    let stack = Testbed::start(Options { poll: false, ..Options::default() }).await.unwrap();
    let mut host = start(&stack, &[]).await;
    let Invoked::Failed(error) = host.invoke(&json!({"Records": []})).await.unwrap() else { panic!("answered") };
    assert!(error["errorType"].is_string(), "{error}");
    let delivery = Delivery::of(&Ada, "msg_1", MESSAGE, Clock::System.now());
    assert_eq!(answer(&mut host, &delivery.to_lambda_event()).await["statusCode"], 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn unconfigured_function_exits_and_names_the_variable() {
    for (variables, named) in [
        (vec![], "TABLE_NAME"),
        (vec![("TABLE_NAME", "t"), ("GATEHOUSE_SECRETS", "{}"), ("EVENT_TTL_DAYS", "7")], "EVENT_TTL_DAYS"),
        (vec![("TABLE_NAME", "t"), ("GATEHOUSE_SECRETS", "{}"), ("RUST_LOG", "inof")], "RUST_LOG"),
    ] {
        let host =
            Host::start(env!("CARGO_BIN_EXE_under-test-conversation-webhooks"), variables, 10_000).await.unwrap();
        let (succeeded, output) = host.finish().await.unwrap();
        assert!(!succeeded && output.contains(named), "{output}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unusable_secrets_return_503_and_the_log_names_the_cause() {
    let stack = Testbed::start(Options { poll: false, ..Options::default() }).await.unwrap();
    for (secrets, named) in [
        (None, "SECRETS_ARN"),
        (Some("whsec_oops"), "GATEHOUSE_SECRETS"),
        (Some(r#"{"ada":{"signing_secrets":["whsec_oops"]}}"#), "ada.signing_secrets[0]"),
    ] {
        let mut environment = stack.environment();
        environment.remove("GATEHOUSE_SECRETS");
        // With this variable the function would use the development secrets.
        environment.remove("AWS_SAM_LOCAL");
        let variables = environment.iter().map(|(name, value)| (*name, value.as_str()));
        let variables = variables.chain(secrets.map(|secrets| ("GATEHOUSE_SECRETS", secrets)));
        let mut host =
            Host::start(env!("CARGO_BIN_EXE_under-test-conversation-webhooks"), variables, 10_000).await.unwrap();
        let delivery = Delivery::of(&Ada, "msg_1", MESSAGE, Clock::System.now());
        assert_eq!(answer(&mut host, &delivery.to_lambda_event()).await["statusCode"], 503);
        let output = host.kill().await.unwrap();
        assert!(output.contains(named) && !output.contains("oops"), "{output}");
    }
}

/// The lines of an output that are metrics.
fn metrics(output: &str) -> Vec<Value> {
    let lines = output.lines().map(|line| serde_json::from_str::<Value>(line).expect(line));
    lines.filter(|line| line["_aws"].is_object()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoint_without_a_secret_is_closed_and_one_with_unusable_secrets_is_unavailable() {
    let stack = Testbed::start(Options { poll: false, ..Options::default() }).await.unwrap();
    for (secrets, outcome, errors) in [
        ("{}", "closed", 0),
        (r#"{"vapi":{"schemes":[]}}"#, "closed", 0),
        (r#"{"ada":{"signing_secrets":[]}}"#, "closed", 0),
        (r#"{"ada":{"signing_secrets":["whsec_oops"]}}"#, "unavailable", 1),
        (r#"{"ada":7}"#, "unavailable", 1),
    ] {
        let variables = [("GATEHOUSE_SECRETS", secrets), ("AWS_SAM_LOCAL", ""), ("STACK_NAME", "gatehouse")];
        let mut host = start(&stack, &variables).await;
        let delivery = Delivery::of(&Ada, "msg_1", MESSAGE, Clock::System.now());
        let answer = answer(&mut host, &delivery.to_lambda_event()).await;
        assert_eq!(answer["statusCode"], 503, "{secrets}");
        assert!(answer["headers"]["retry-after"].is_string(), "{secrets}");
        assert_eq!(answer["headers"]["gatehouse-outcome"], outcome, "{secrets}");
        let lines = metrics(&host.kill().await.unwrap());
        assert_eq!((&lines[0]["server_error"], &lines[0][outcome]), (&errors.into(), &1.into()), "{secrets}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_counted_at_every_log_level() {
    let stack = Testbed::start(Options { poll: false, ..Options::default() }).await.unwrap();
    for (n, level) in ["off", "error", "warn,gatehouse=off", "info", "debug"].into_iter().enumerate() {
        let mut host = start(&stack, &[("RUST_LOG", level), ("STACK_NAME", "gatehouse")]).await;
        let delivery = Delivery::of(&Ada, &format!("msg_{n}"), MESSAGE, Clock::System.now());
        answer(&mut host, &delivery.to_lambda_event()).await;
        let lines = metrics(&host.kill().await.unwrap());
        assert_eq!((lines.len(), &lines[0]["recorded"]), (1, &1.into()), "{level}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn line_of_a_flood_counts_the_requests_without_a_line() {
    let stack = Testbed::start(Options { poll: false, ..Options::default() }).await.unwrap();
    let mut host = start(&stack, &[("STACK_NAME", "gatehouse")]).await;
    let forged = Delivery::of(&Ada, "msg_1", MESSAGE, Clock::System.now()).with_body("{}").to_lambda_event();
    // Over the end of a second: one line in each second.
    let (end, mut sent) = (Clock::System.now().as_millis() + 1200, 0);
    while Clock::System.now().as_millis() < end || sent < 20 {
        assert_eq!(answer(&mut host, &forged).await["statusCode"], 401);
        sent += 1;
    }
    let lines = metrics(&host.kill().await.unwrap());
    assert!(lines.len() >= 2 && (lines.len() as u64) < sent, "{sent}: {lines:?}");
    for line in &lines {
        let requests = 1 + line["more"].as_u64().unwrap_or_default();
        for metric in ["outcomes", "refused", "unverified"] {
            assert_eq!(line[metric], requests, "{line}");
        }
    }
    let counted: u64 = lines.iter().map(|line| line["outcomes"].as_u64().unwrap()).sum();
    assert!(counted > lines.len() as u64 && counted <= sent, "{counted} of {sent}");
}

#[tokio::test(flavor = "multi_thread")]
async fn trace_log_shows_no_payload_or_signature() {
    let stack = Testbed::start(Options { poll: false, ..Options::default() }).await.unwrap();
    let everything = [("RUST_LOG", "trace,lambda_runtime=trace,aws_smithy_runtime=trace,hyper=trace")];
    let mut host = start(&stack, &everything).await;
    let delivery = Delivery::of(&Ada, "msg_1", MESSAGE, Clock::System.now());
    let signature = delivery.headers.iter().find(|header| header.0 == "svix-signature").unwrap().1.clone();
    for event in [delivery.to_lambda_event(), delivery.clone().with_body("{\"Friday\"").to_lambda_event()] {
        answer(&mut host, &event).await;
    }
    let output = host.kill().await.unwrap();
    assert!(output.contains("recorded") && output.contains("refused"), "{output}");
    for secret in ["Friday", "Mira", &signature, &signature[3..20]] {
        assert!(!output.contains(secret), "{output}");
    }
}
