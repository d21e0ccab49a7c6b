//! `gatehouse send`, `sign`, `endpoints` and `ping`.

use std::path::Path;
use std::process::{Command, Stdio};

use gatehouse_agntix::Agntix;
use gatehouse_local::Delivery;
use gatehouse_runtime::Clock;
use gatehouse_vendor::CredentialsShape;
use gatehouse_vendors::SOURCES;
use rustix::process::Signal;
use serde_json::Value;

use crate::process::{Dev, WRONG_SECRET, gatehouse, run};

#[tokio::test(flavor = "multi_thread")]
async fn send_prints_outcome_and_repeat_prints_summary() {
    let dev = Dev::start(&[], &[]);
    let url = format!("{}/lambda-url/conversation-webhooks/", dev.base());
    let to = ["--to", url.as_str()];
    let send = |arguments: &[&str]| run(&[&["send", "ada"], arguments, &to].concat(), &[]);
    let (output, text) = send(&["--message-id", "msg_1"]);
    assert!(output.status.success() && text.starts_with("200 recorded  ada:msg_1  "), "{text}");
    assert!(send(&["--message-id", "msg_1"]).1.starts_with("200 duplicate  ada:msg_1"));
    let (output, text) = send(&["--secret", WRONG_SECRET]);
    assert!(
        !output.status.success() && text.starts_with("401 refused  no configured secret verifies the request"),
        "{text}"
    );
    let (output, text) = send(&["--repeat", "40", "--message-id", "msg_1"]);
    assert!(output.status.success() && text.starts_with("40 sent to ") && text.contains(", 40 answered, "), "{text}");
    assert!(text.contains(" 1  200 duplicate\n") && text.contains(" 39  200 recorded\n"), "{text}");
    assert!(text.contains("latency, ms: min "), "{text}");

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("body.json");
    std::fs::write(&file, "[]").unwrap();
    let (_, text) = send(&[file.to_str().unwrap()]);
    assert!(text.starts_with("400 refused  "), "{text}");
    let (output, text) = send(&["no-such-file.json"]);
    assert!(!output.status.success() && text.starts_with("error: no-such-file.json cannot be read: "), "{text}");
    let unreachable = run(&["send", "ada", "--to", "http://127.0.0.1:1/"], &[]).1;
    assert!(unreachable.starts_with("error: no answer from http://127.0.0.1:1/: "), "{unreachable}");
    let (output, text) = run(&["send", "ada", "--repeat", "100000", "--to", "http://127.0.0.1:1/"], &[]);
    assert!(!output.status.success() && text.contains("stopped: server not reachable"), "{text}");
}

#[test]
fn send_and_sign_refuse_invalid_arguments() {
    for (arguments, message) in [
        (&["send", "ada", "--rate", "1e-300"][..], "such as 10/s"),
        (&["send", "ada", "--message-id", "a\nb"], "visible ASCII"),
        (&["sign", "vapi-client", "--secret", "token\nx-evil: 1"], "visible ASCII"),
        (&["sign", "ada", "--to", "nonsense"], "http:// or https://"),
        (&["send", "ada", "--secret", "whsec_c2hvcnQ="], "--secret is shorter than 24 bytes"),
    ] {
        let (output, text) = run(arguments, &[]);
        assert!(!output.status.success() && text.contains(message), "{text}");
        assert!(!text.contains("panicked"), "{text}");
    }
    let mut upload =
        gatehouse().args(["sign", "ada", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut upload.stdin.take().unwrap(), b"@/etc/passwd").unwrap();
    let curl = String::from_utf8(upload.wait_with_output().unwrap().stdout).unwrap();
    assert!(curl.contains("--data-raw '@/etc/passwd'"), "curl must not read a file: {curl}");
}

#[test]
fn closed_standard_output_is_not_an_error() {
    for command in ["sign ada", "--help"] {
        let mut running = gatehouse();
        let running = running.args(command.split(' ')).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut running = running.spawn().unwrap();
        drop(running.stdout.take());
        let output = running.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn signed_headers_curl_commands_and_lambda_events_are_verified() {
    let mut dev = Dev::start(&[], &[]);
    let url = format!("{}/lambda-url/session-lifecycle/", dev.base());
    let (_, headers) = run(&["sign", "agntix", "--as", "headers"], &[]);
    let mut delivery = Delivery::of(&Agntix, "x", gatehouse_agntix::samples::SESSION_ENDED, Clock::System.now());
    delivery.headers =
        headers.lines().map(|line| line.split_once(": ").unwrap()).map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
    assert_eq!(delivery.send(dev.base()).await.unwrap().outcome(), "recorded");

    let (_, curl) = run(&["sign", "agntix", "--to", &url], &[]);
    // A shell function replaces curl, which may not be installed. It prints its arguments, each followed by NUL.
    let script = format!("curl() {{ for word; do printf '%s\\0' \"$word\"; done; }}\n{curl}");
    let words = Command::new("sh").args(["-c", &script]).output().unwrap().stdout;
    let words: Vec<&str> = std::str::from_utf8(&words).unwrap().split('\0').collect();
    assert!(words.contains(&url.as_str()) && words.iter().any(|word| word.starts_with("svix-signature: v1,")));
    assert!(words.contains(&gatehouse_agntix::samples::SESSION_ENDED));

    for vendor in ["ada", "agntix", "vapi-client", "vapi-server"] {
        for form in ["curl", "headers", "lambda-event"] {
            let (output, text) = run(&["sign", vendor, "--as", form], &[]);
            assert!(output.status.success() && text.contains("application/json"), "{vendor} {form}: {text}");
        }
    }

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("body.json");
    std::fs::write(&file, "{}").unwrap();
    let (_, curl) = run(&["sign", "ada", file.to_str().unwrap()], &[]);
    assert!(curl.contains(&format!("--data-binary '@{}'", file.display())), "{curl}");

    let (_, event) = run(&["sign", "vapi-client", "--as", "lambda-event", "--secret", "a-token-with-a-'quote'"], &[]);
    let event: Value = serde_json::from_str(&event).unwrap();
    assert_eq!((event["rawPath"].as_str(), event["version"].as_str()), (Some("/client"), Some("2.0")));
    assert_eq!(event["headers"]["authorization"], "Bearer a-token-with-a-'quote'");
    dev.stop(Signal::TERM);
}

#[test]
fn endpoints_lists_all_urls_and_ping_probes_them() {
    let dev = Dev::start(&[], &[]);
    let (output, text) = run(&["endpoints", "--at", dev.base()], &[]);
    assert!(output.status.success(), "{text}");
    assert_eq!(text.matches(&format!("{}/lambda-url/", dev.base())).count(), SOURCES.len(), "{text}");
    assert!(text.contains("[ ] Set server.backoffPlan"), "{text}");

    let (output, text) = run(&["ping", "--at", dev.base()], &[]);
    assert!(output.status.success(), "{text}");
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    for (source, line) in SOURCES.into_iter().zip(lines) {
        let result: &[&str] = if source.profile().shape == CredentialsShape::Nothing {
            &["ok", "404"]
        } else {
            &["ok", "200", "recorded"]
        };
        assert_eq!((line[0], &line[1..=result.len()]), (source.profile().function, result), "{text}");
    }

    // Wrong secrets are a failure; endpoints without secrets are reported as closed.
    let other = r#"{"ada":{"signing_secrets":["whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"]}}"#;
    let (output, text) = run(&["ping", "--at", dev.base()], &[("GATEHOUSE_SECRETS", other)]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text.contains("conversation-webhooks  WRONG 401") && text.matches("closed: ").count() == SOURCES.len() - 1,
        "{text}"
    );
    let (output, text) = run(&["ping", "--at", dev.base()], &[("GATEHOUSE_SECRETS", "{}")]);
    assert!(!output.status.success() && text.contains("no endpoint is open"), "{text}");
}

#[test]
fn help_of_commands_has_examples() {
    for command in ["demo", "dev", "sign", "send"] {
        let (_, help) = run(&[command, "--help"], &[]);
        assert!(help.contains(&format!("Examples:\n  gatehouse {command}")), "{help}");
    }
    assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md").exists());
}
