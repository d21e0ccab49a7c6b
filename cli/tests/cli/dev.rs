//! `gatehouse dev`.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_sdk_dynamodb::types::{StreamSpecification, StreamViewType};
use aws_sdk_sqs::types::QueueAttributeName;
use bytes::Bytes;
use gatehouse_local::agent::{Agent, Answer, Piece};
use gatehouse_local::engine::{Engine, FREE};
use gatehouse_local::{Delivery, Fault, FaultProxy, Rule, local_sdk};
use gatehouse_vapi::Vapi;
use gatehouse_vendor::CredentialsShape;
use gatehouse_vendors::{SOURCES, development};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::process::{Dev, Running, WRONG_SECRET, ada, gatehouse, run};

/// The subject of the sample event.
const CONVERSATION: &str = "ada:conversation:673da1f0c2b94e5f8a017b11";
/// Time limit of waits.
const WAIT_LIMIT: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn dev_json_line_has_all_urls_and_sdks_can_use_them() {
    let mut dev = Dev::start(&[], &[]);
    let functions: BTreeSet<&str> = dev.ready["functions"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(functions, SOURCES.into_iter().map(|source| source.profile().function).collect());
    assert_eq!(ada("msg_1").send(dev.base()).await.unwrap().outcome(), "recorded");
    let client = aws_sdk_dynamodb::Client::new(&local_sdk(dev.text("dynamodb")));
    let scan = client.scan().table_name(dev.text("table")).send().await.unwrap();
    assert_eq!(scan.items()[0]["event_id"].as_s().unwrap(), "ada:msg_1");
    let sqs = aws_sdk_sqs::Client::new(&local_sdk(dev.text("sqs")));
    for queue in ["retry_queue", "dead_letter_queue"] {
        assert!(sqs.receive_message().queue_url(dev.text(queue)).send().await.unwrap().messages.is_none());
    }

    assert_eq!(dev.stop(Signal::INT), Some(0));
    assert_eq!(dev.events().count(), 1, "standard output has only the lines of events");
    let lines: Vec<String> = dev.lines().iter().collect();
    assert!(lines.iter().any(|line| line.contains("stopped")), "{lines:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_four_copies_run_at_once_and_share_no_data() {
    let starting: Vec<_> = (0..24).map(|_| std::thread::spawn(|| Dev::start(&[], &[]))).collect();
    let copies: Vec<Dev> = starting.into_iter().map(|copy| copy.join().unwrap()).collect();
    for dev in &copies {
        assert_eq!(ada("msg_1").send(dev.base()).await.unwrap().outcome(), "recorded");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn banner_commands_post_deliveries_that_dev_prints() {
    let mut dev = Running(gatehouse().args(["dev", "--port", "0"]).stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(dev.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let banner: Vec<String> = lines.by_ref().take_while(|line| !line.starts_with("Secrets: ")).collect();
    let commands: Vec<&String> = banner.iter().filter(|line| line.contains(" send ")).collect();
    let deliver = SOURCES.into_iter().filter(|source| source.profile().shape != CredentialsShape::Nothing);
    assert_eq!(commands.len(), deliver.count(), "{banner:#?}");
    let has = |text: &str| banner.iter().any(|line| line.contains(text));
    assert!(has("aws dynamodb scan --endpoint-url http://127.0.0.1:") && has("--table-name EventTable"));
    assert!(has("aws sqs receive-message --endpoint-url http://127.0.0.1:"), "{banner:#?}");
    assert!(has("table EventTable, queues RetryQueue and DeadLetterQueue"), "{banner:#?}");
    for command in commands {
        let sent = Command::new("sh").args(["-c", command]).output().unwrap();
        let output = String::from_utf8(sent.stdout).unwrap();
        assert!(sent.status.success() && output.starts_with("200 recorded  "), "{command}: {output}");
        let line = lines.by_ref().find(|line| !line.is_empty()).unwrap();
        assert!(line.contains("  200  recorded  ") && line.contains(output.split("  ").nth(1).unwrap()), "{line}");
        assert!(!line.contains('\u{1b}'), "no colours unless standard output is a terminal");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_events_survive_kill_under_load() {
    let folder = tempfile::tempdir().unwrap();
    let data = ["--data-dir", folder.path().to_str().unwrap()];
    let mut dev = Dev::start(&data, &[]);
    let stop = Arc::new(AtomicBool::new(false));
    let (acknowledgement, mut acknowledgements) = mpsc::unbounded_channel();
    let senders: Vec<_> = (0..8)
        .map(|sender| {
            let (base, stop, acknowledgement) = (dev.base().to_owned(), Arc::clone(&stop), acknowledgement.clone());
            tokio::spawn(async move {
                let mut acknowledged = Vec::new();
                for n in 0.. {
                    let id = format!("msg_{sender}_{n}");
                    match ada(&id).send(&base).await {
                        Ok(answer) if answer.status == 200 => {
                            acknowledged.push(id);
                            let _ = acknowledgement.send(());
                        }
                        _ if stop.load(Ordering::SeqCst) => break,
                        answer => panic!("{answer:?}"),
                    }
                }
                acknowledged
            })
        })
        .collect();
    drop(acknowledgement);
    for _ in 0..150 {
        timeout(WAIT_LIMIT, acknowledgements.recv()).await.unwrap().expect("every sender has ended");
    }
    stop.store(true, Ordering::SeqCst);
    dev.stop(Signal::KILL);

    let dev = Dev::start(&data, &[]);
    let mut count = 0;
    for sender in senders {
        for id in sender.await.unwrap() {
            assert!(dev.record(&format!("ada:{id}")).await.is_some(), "{id} was acknowledged");
            count += 1;
        }
    }
    assert!(count > 100, "{count}");
}

#[tokio::test(flavor = "multi_thread")]
async fn queued_events_survive_kill_and_are_recorded_after_outage() {
    let folder = tempfile::tempdir().unwrap();
    let data = ["--data-dir", folder.path().to_str().unwrap()];
    let engine = Engine::dynamodb(FREE, None).await.unwrap();
    let proxy = FaultProxy::start(engine.address).await.unwrap();
    let url = proxy.url();
    let external = [("AWS_ENDPOINT_URL_DYNAMODB", url.as_str()), ("GATEHOUSE_RETRY_VISIBILITY_SECONDS", "1")];
    let mut dev = Dev::start(&data, &external);
    assert_eq!(dev.text("dynamodb"), url);
    let sqs = aws_sdk_sqs::Client::new(&local_sdk(dev.text("sqs")));
    let visibility = QueueAttributeName::VisibilityTimeout;
    let get = sqs.get_queue_attributes().queue_url(dev.text("retry_queue")).attribute_names(visibility.clone());
    assert_eq!(get.send().await.unwrap().attributes.unwrap()[&visibility], "1");
    proxy.add_rule(Rule::every(Fault::Cut));
    let mut ids = Vec::new();
    for n in 0..5 {
        let answer = ada(&format!("msg_{n}")).send(dev.base()).await.unwrap();
        assert_eq!((answer.status, answer.outcome()), (200, "queued"));
        ids.push(answer.event_id().to_owned());
    }
    dev.stop(Signal::KILL);
    proxy.clear_rules();
    let mut dev = Dev::start(&data, &external);
    let is_recorded = |event: &Value| event["function"] == "event-retry" && event["outcome"] == "recorded";
    assert_eq!(dev.events().filter(is_recorded).take(ids.len()).count(), ids.len());
    for id in ids {
        assert!(dev.record(&id).await.is_some(), "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dev_uses_external_dynamodb_and_sqs_also_after_restart() {
    let dynamodb = Engine::dynamodb(FREE, None).await.unwrap();
    let sqs = Engine::sqs(FREE, None).await.unwrap();
    let (dynamodb, sqs) = (dynamodb.url(), (sqs.url(), sqs));
    let external = [("AWS_ENDPOINT_URL_DYNAMODB", dynamodb.as_str()), ("AWS_ENDPOINT_URL_SQS", &sqs.0)];
    for (visibility, outcome) in [("1", "recorded"), ("2", "duplicate")] {
        let environment = [&external[..], &[("GATEHOUSE_RETRY_VISIBILITY_SECONDS", visibility)]].concat();
        let dev = Dev::start(&[], &environment);
        assert_eq!((dev.text("dynamodb"), dev.text("sqs")), (dynamodb.as_str(), sqs.0.as_str()));
        assert!(dev.text("retry_queue").starts_with(&sqs.0));
        assert_eq!(ada("msg_1").send(dev.base()).await.unwrap().outcome(), outcome);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dev_on_all_interfaces_warns_and_serves() {
    let secrets = format!(r#"{{"ada":{{"signing_secrets":["{WRONG_SECRET}"]}}}}"#);
    let mut dev = Dev::start(&["--host", "0.0.0.0"], &[("GATEHOUSE_SECRETS", &secrets)]);
    assert!(dev.lines().recv_timeout(WAIT_LIMIT).unwrap().starts_with("warning: the functions, and DynamoDB and SQS"));
    assert_eq!(ada("msg_1").send(dev.base()).await.unwrap().status, 401, "the function is reachable");
}

#[tokio::test(flavor = "multi_thread")]
async fn unread_output_blocks_neither_requests_nor_shutdown() {
    let mut dev = Dev::start(&[], &[]);
    // More lines than the pipe and the buffer of `dev` can hold.
    let url = format!("{}/lambda-url/conversation-webhooks/", dev.base());
    let (output, text) = run(&["send", "ada", "--repeat", "6000", "--secret", WRONG_SECRET, "--to", &url], &[]);
    assert!(text.contains("6000  401 refused"), "{text}");
    assert!(!output.status.success());
    assert_eq!(ada("msg_1").send(dev.base()).await.unwrap().outcome(), "recorded");
    assert_eq!(dev.stop(Signal::TERM), Some(0));
}

#[test]
fn signal_right_after_ready_line_stops_dev() {
    for signal in [Signal::INT, Signal::TERM].repeat(5) {
        assert_eq!(Dev::start(&[], &[]).stop(signal), Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn vendors_missing_in_secrets_document_are_closed() {
    let secrets = format!(r#"{{"ada":{{"signing_secrets":["{WRONG_SECRET}"]}}}}"#);
    let environment = [("GATEHOUSE_SECRETS", secrets.as_str())];
    let dev = Dev::start(&[], &environment);
    assert_eq!(ada("msg_1").send(dev.base()).await.unwrap().status, 401, "signed with the development secret");
    let url = format!("{}/lambda-url/conversation-webhooks/", dev.base());
    let (output, text) = run(&["send", "ada", "--to", &url], &environment);
    assert!(output.status.success() && text.starts_with("200 recorded"), "{text}");
    assert_eq!(
        Delivery::now(&Vapi::CLIENT, r#"{"message":{"type":"hang"}}"#).send(dev.base()).await.unwrap().status,
        503
    );
    let (_, text) = run(&["send", "vapi-client"], &environment);
    assert_eq!(text, "error: the secrets document holds no usable secret for vapi\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn log_of_actions_has_neither_control_url_nor_payload() {
    const MARK: &str = "c0ffee-in-confidence";
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("rules.json");
    let reply = r#"{"message":{"type":"transfer","destination":{"type":"number","number":"{{/text|+4670000000}}"}}}"#;
    let act = r#"{"type":"say","content":"{{/text}}"}"#;
    let text = format!(
        r#"{{"server":[{{"when":{{"type":"hang"}},"act":{act}}}],"client":[{{"when":{{"type":"hang"}},"reply":{reply}}}]}}"#
    );
    std::fs::write(&rules, text).unwrap();
    let mut dev = Dev::start(&["--replies", rules.to_str().unwrap()], &[("RUST_LOG", "trace")]);
    let message = |url: &str| {
        let (text, call) = (MARK, format!(r#"{{"id":"{url}","monitor":{{"controlUrl":"{url}"}}}}"#));
        format!(r#"{{"message":{{"type":"hang","timestamp":1795173390500,"text":"{text}","call":{call}}}}}"#)
    };
    // No server listens at the first URL, and the second one does not belong to Vapi.
    for url in [format!("http://127.0.0.1:1/{MARK}"), format!("https://example.com/{MARK}")] {
        for delivery in [Delivery::now(&Vapi::SERVER, message(&url)), Delivery::now(&Vapi::CLIENT, message("none"))] {
            assert_eq!(delivery.send(dev.base()).await.unwrap().status, 200);
        }
    }
    assert_eq!(dev.stop(Signal::INT), Some(0));
    let events = dev.events().map(|event| event.to_string());
    let log = events.chain(dev.lines()).collect::<Vec<_>>().join("\n");
    for expected in
        [r#""action":"failed""#, "cannot be reached", "does not lead to Vapi", r#""fault":"client rule 1: reply: "#]
    {
        assert!(log.contains(expected), "{expected}: {log}");
    }
    // The event id contains the call id, percent-encoded.
    assert!(!log.replace(&format!("%2F{MARK}"), "").contains(MARK), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn cors_settings_of_template_are_applied() {
    let dev = Dev::start(&[], &[]);
    let mut preflight = Delivery::now(&Vapi::CLIENT, "");
    preflight.method = "OPTIONS".to_owned();
    let preflight =
        preflight.with_header("origin", "https://app.example").with_header("access-control-request-method", "POST");
    let answer = preflight.send(dev.base()).await.unwrap();
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, "*"));
    assert!(answer.header("access-control-allow-headers").contains("authorization"));
    let message = Delivery::now(&Vapi::CLIENT, r#"{"message":{"type":"hang"}}"#);
    let answer = message.with_header("origin", "https://app.example").send(dev.base()).await.unwrap();
    assert_eq!((answer.outcome(), answer.header("access-control-allow-origin")), ("recorded", "*"));
    let answer = ada("msg_1").with_header("origin", "https://app.example").send(dev.base()).await.unwrap();
    assert_eq!(answer.header("access-control-allow-origin"), "", "only servers call this function");
}

#[test]
fn failed_start_of_dev_prints_one_line() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let (file, dir) = (file.to_str().unwrap(), folder.path().to_str().unwrap());
    let _holder = Dev::start(&["--data-dir", dir], &[]);
    type Case<'c> = (&'c [&'c str], &'c [(&'c str, &'c str)], &'c str);
    let cases: [Case<'_>; 16] = [
        (&["--port", &port], &[], "is in use; choose another with --port"),
        (&["--dynamodb-port", &port], &[], "is in use; choose another with --dynamodb-port, or 0 for a free one"),
        (&["--sqs-port", &port], &[], "is in use; choose another with --sqs-port, or 0 for a free one"),
        (&["--data-dir", file], &[], "cannot hold data: "),
        (&["--data-dir", dir], &[], "another `gatehouse dev` is using it"),
        (&["--host", "0.0.0.0"], &[], "set GATEHOUSE_SECRETS"),
        (&["--host", "0.0.0.0"], &[("GATEHOUSE_SECRETS", development())], "is published in Gatehouse's repository"),
        (&["--host", "no such host"], &[], "--host no such host cannot be resolved"),
        (&[], &[("GATEHOUSE_SECRETS", "{")], "GATEHOUSE_SECRETS: the secrets document is not a JSON object"),
        (&[], &[("GATEHOUSE_SECRETS", r#"{"ada":{"signing_secrets":["unmistakable"]}}"#)], "ada.signing_secrets[0]"),
        (&[], &[("GATEHOUSE_SECRETS", r#"{"Ada":{}}"#)], "member 1 of the document is not one of ada"),
        (&[], &[("RUST_LOG", "a=b=c")], "RUST_LOG is not usable"),
        (&[], &[("RUST_LOG", "inof")], "RUST_LOG is not usable"),
        (&[], &[("AWS_ENDPOINT_URL_SQS", "127.0.0.1:1")], "AWS_ENDPOINT_URL_SQS is not usable"),
        (&[], &[("GATEHOUSE_RETRY_VISIBILITY_SECONDS", "soon")], "GATEHOUSE_RETRY_VISIBILITY_SECONDS is not usable"),
        (&[], &[("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:1")], "DynamoDB at http://127.0.0.1:1 cannot be used"),
    ];
    for (arguments, environment, message) in cases {
        let free: &[&str] = if arguments.contains(&"--port") { &[] } else { &["--port", "0"] };
        let arguments = [&["dev"], free, arguments].concat();
        let (output, text) = run(&arguments, environment);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.starts_with("error: ") && text.contains(message), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(!text.contains("unmistakable"), "a secret is never shown: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stats_counts_requests_by_vendor_type_and_outcome() {
    let dev = Dev::start(&[], &[]);
    for _ in 0..2 {
        ada("msg_1").send(dev.base()).await.unwrap();
    }
    ada("msg_2").with_header("svix-signature", "v1,AAAA").send(dev.base()).await.unwrap();
    let (output, _) = run(&["stats", "--json", "--at", dev.base()], &[]);
    let lines: Vec<Value> =
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let count =
        |kind: &str, outcome: &str| serde_json::json!({"source": "ada", "type": kind, "outcome": outcome, "count": 1});
    let message = "v1.conversation.message";
    assert_eq!(lines, [count("", "refused"), count(message, "duplicate"), count(message, "recorded")]);
}

/// Sends a raw request and returns the status line and the headers of the response, in lower case.
fn head_of(url: &str, request: &str) -> String {
    use std::io::Write;
    let address = url.trim_start_matches("http://").split('/').next().unwrap();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let lines = BufReader::new(stream).lines().map_while(Result::ok);
    lines.take_while(|line| !line.is_empty()).collect::<Vec<_>>().join("\n").to_lowercase()
}

#[test]
fn functions_and_engines_answer_only_to_allowed_hosts() {
    let dev = Dev::start(&["--allow-host", "my.box"], &[]);
    for url in [dev.base(), dev.text("dynamodb"), dev.text("sqs")] {
        let status = |host: &str| {
            let head = head_of(url, &format!("GET /gatehouse HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"));
            head.split(' ').nth(1).unwrap().to_owned()
        };
        for host in ["evil.example", "evil.example:80", "10.0.0.1"] {
            assert_eq!(status(host), "421", "{url} {host}");
        }
        for host in ["localhost", "127.0.0.1:1", "[::1]", "x.localhost", "my.box", "MY.BOX:9000"] {
            assert_ne!(status(host), "421", "{url} {host}");
        }
        // Pages of other origins must not be able to read responses.
        let preflight = "OPTIONS / HTTP/1.1\r\nhost: localhost\r\norigin: http://evil.example\r\n\
             access-control-request-method: POST\r\naccess-control-request-headers: x-amz-target\r\nconnection: close\r\n\r\n";
        assert!(!head_of(url, preflight).contains("access-control-allow-origin"), "{url}");
    }
}

#[cfg(unix)]
#[test]
fn files_in_data_directory_are_readable_by_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    // An earlier release may have created this file with wider permissions.
    std::fs::write(folder.path().join("queues.db"), "").unwrap();
    std::fs::set_permissions(folder.path().join("queues.db"), PermissionsExt::from_mode(0o644)).unwrap();
    let mut dev = Dev::start(&["--data-dir", folder.path().to_str().unwrap()], &[]);
    let mut files = 0;
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let file = file.unwrap();
        let mode = file.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", file.path().display());
        files += 1;
    }
    assert!(files >= 3, "{files}");
    dev.stop(Signal::TERM);
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_waits_for_chat_turns_of_disconnected_clients() {
    let (sender, answer) = Answer::stream();
    let answer = std::sync::Mutex::new(Some(answer));
    let agent = Agent::start(move |_| answer.lock().unwrap().take()).await.unwrap();
    let secrets = json!({"agent_chat": {
        "clients": [{"id": "web", "token": "client-token-in-confidence", "agents": ["*"]}],
        "agents": {"kit": {"url": format!("{}/x", agent.url), "dialect": "ag-kit"}}}});
    let folder = tempfile::tempdir().unwrap();
    let data = ["--data-dir", folder.path().to_str().unwrap()];
    let mut dev = Dev::start(&data, &[("GATEHOUSE_SECRETS", &secrets.to_string())]);
    let lines = dev.lines();

    sender.send(Piece::Bytes(Bytes::from("data: {\"type\":\"text\",\"content\":\"x\"}\n\n"))).unwrap();
    let base = dev.base().strip_prefix("http://").unwrap().to_owned();
    let body = r#"{"conversationId":"c","messages":[{"role":"user","content":"x"}]}"#;
    let head = head_of(
        &base,
        &format!(
            "POST /lambda-url/agent-chat/v1/aibot/bots/kit/send-message HTTP/1.1\r\nhost: {base}\r\ncontent-length: {}\r\n\
             authorization: Bearer client-token-in-confidence\r\ncontent-type: application/json\r\n\r\n{body}",
            body.len()
        ),
    );
    let turn = head.lines().find_map(|line| line.strip_prefix("gatehouse-turn-id: ")).unwrap().trim().to_owned();
    crate::signal(&dev.process.0, Signal::TERM);
    lines.iter().find(|line| line.contains("waiting for the running chat turns")).unwrap();
    sender.send(Piece::Bytes(Bytes::from("data: [DONE]\n\n"))).unwrap();
    drop(sender);
    assert_eq!(dev.process.0.wait().unwrap().code(), Some(0));

    let again = Dev::start(&data, &[]);
    let record = again.record(&format!("chat:{turn}")).await.unwrap();
    let record: Value = serde_json::from_slice(&record.event.body).unwrap();
    assert_eq!((&record["end"], &record["client_left"]), (&json!("completed"), &json!(true)));
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_counted_at_every_log_level() {
    for level in ["error", "off", "warn,hyper=info"] {
        let dev = Dev::start(&[], &[("RUST_LOG", level)]);
        assert_eq!(ada("msg_1").send(dev.base()).await.unwrap().outcome(), "recorded");
        let (output, _) = run(&["stats", "--json", "--at", dev.base()], &[]);
        let count: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&count["outcome"], &count["count"]), (&"recorded".into(), &1.into()), "{level}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn json_has_one_line_for_each_event() {
    let mut dev = Dev::start(&[], &[]);
    ada("msg_1").send(dev.base()).await.unwrap();
    ada("msg_1").with_header("svix-signature", "v1,AAAA").send(dev.base()).await.unwrap();
    let mut events = dev.events();
    let recorded = events.next().unwrap();
    for (member, value) in [
        ("function", json!("conversation-webhooks")),
        ("status", json!(200)),
        ("outcome", json!("recorded")),
        ("event_id", json!("ada:msg_1")),
        ("source", json!("ada")),
        ("event_type", json!("v1.conversation.message")),
        ("subject", json!(CONVERSATION)),
    ] {
        assert_eq!(recorded[member], value, "{recorded}");
    }
    assert!(recorded["ms"].is_u64() && recorded["time"].as_str().unwrap().ends_with('Z'), "{recorded}");
    let refused = events.next().unwrap();
    assert_eq!((&refused["status"], &refused["outcome"]), (&json!(401), &json!("refused")));
    assert_eq!((&refused["event_id"], &refused["subject"]), (&Value::Null, &Value::Null));
}

/// A table that an earlier release created has no stream.
#[tokio::test(flavor = "multi_thread")]
async fn table_has_the_stream_of_the_template_also_if_an_earlier_release_created_it() {
    let engine = Engine::dynamodb(FREE, None).await.unwrap();
    let external = [("AWS_ENDPOINT_URL_DYNAMODB", &*engine.url())];
    let client = aws_sdk_dynamodb::Client::new(&local_sdk(&engine.url()));
    let stream = async || {
        let table = client.describe_table().table_name("EventTable").send().await.unwrap().table.unwrap();
        table.stream_specification.filter(|stream| stream.stream_enabled).and_then(|stream| stream.stream_view_type)
    };
    drop(Dev::start(&[], &external));
    assert_eq!(stream().await, Some(StreamViewType::NewImage));
    let disabled = StreamSpecification::builder().stream_enabled(false).build().unwrap();
    client.update_table().table_name("EventTable").stream_specification(disabled).send().await.unwrap();
    assert_eq!(stream().await, None);
    drop(Dev::start(&[], &external));
    assert_eq!(stream().await, Some(StreamViewType::NewImage));
}

#[tokio::test(flavor = "multi_thread")]
async fn followed_timeline_continues_after_dev_is_restarted_with_other_ports() {
    let folder = tempfile::tempdir().unwrap();
    let data = ["--data-dir", folder.path().to_str().unwrap()];
    let mut dev = Dev::start(&data, &[]);
    ada("msg_1").send(dev.base()).await.unwrap();
    let base = dev.base().to_owned();
    let follow = ["events", "timeline", CONVERSATION, "--follow", "--json", "--at", &base];
    let follow = gatehouse().args(follow).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut follow = Running(follow);
    let mut lines = BufReader::new(follow.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.next().unwrap().contains("ada:msg_1"));

    dev.stop(Signal::KILL);
    let port = base.rsplit(':').next().unwrap();
    // The engines get free ports, which differ from those before.
    let arguments = ["--port", port, "--dynamodb-port", "0", "--sqs-port", "0", data[0], data[1]];
    let dev = Dev::start_with(&arguments, &[]);
    ada("msg_2").send(dev.base()).await.unwrap();
    assert!(lines.next().unwrap().contains("ada:msg_2"));
}
