//! `gatehouse secrets` with a file and with the secret of a deployed stack.

use std::io::Write;
use std::process::{Command, Stdio};

use bytes::Bytes;
use gatehouse_local::http_server::{self, Server};
use gatehouse_local::{Fault, Rule, SecretsManager};
use gatehouse_vendors::Secrets;
use http::{Request, Response, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::spawn_blocking;

const OLD: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const NEW: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

/// Runs `gatehouse secrets`. Returns whether it succeeded, and its output.
fn secrets_in(
    directory: &std::path::Path,
    arguments: &[&str],
    input: &str,
    variables: &[(&str, &str)],
) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatehouse"));
    command.arg("secrets").args(arguments).current_dir(directory).envs(variables.iter().copied());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = command.spawn().unwrap();
    // Fails if the command does not read its standard input.
    let _ = running.stdin.take().unwrap().write_all(input.as_bytes());
    let output = running.wait_with_output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success(), text)
}

#[test]
fn file_is_created_checked_and_rotated_without_showing_secrets() {
    let directory = tempfile::tempdir().unwrap();
    let secrets = |arguments: &[&str], input: &str| secrets_in(directory.path(), arguments, input, &[]);
    let file =
        || -> Value { serde_json::from_slice(&std::fs::read(directory.path().join("secrets.json")).unwrap()).unwrap() };

    let (succeeded, output) = secrets(&["check"], "");
    assert!(!succeeded && output.contains("secrets.json does not exist yet"), "{output}");
    let (succeeded, output) = secrets(&["set", "ada"], &format!("{OLD}\n"));
    assert!(
        succeeded && output.contains("ada         open    1 signing secret") && output.contains("agntix      closed"),
        "{output}"
    );
    let (succeeded, output) = secrets(&["set", "client:web", "--new", "--agents", "support"], "");
    let token = file()["agent_chat"]["clients"][0]["token"].as_str().unwrap().to_owned();
    assert!(succeeded && output.contains(&token) && token.len() == 64, "{output}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(directory.path().join("secrets.json")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    for (arguments, error) in [
        (&["set", "ada", "whsec_oops"][..], "ada.signing_secrets[0]"),
        (&["rotate", "ada", "--finish"], "has one value only"),
        (&["rotate", "agntix", NEW], "nothing to rotate"),
        (&["rotate", "ada", OLD], "ada.signing_secrets[1]"),
        (&["set", "client:app", "short"], "--agents"),
        (&["set", "svix", OLD], "use ada"),
        (&["set", "whsec_oops"], "use ada"),
        (&["set", "ada", "--new"], "its dashboard shows it"),
    ] {
        let before = file();
        let (succeeded, output) = secrets(arguments, "");
        assert!(!succeeded && output.contains(error) && !output.contains("oops\""), "{arguments:?}: {output}");
        assert_eq!(file(), before);
    }

    let (succeeded, output) = secrets(&["rotate", "ada", NEW], "");
    assert!(succeeded && output.contains("gatehouse secrets rotate ada --finish") && !output.contains(NEW), "{output}");
    assert_eq!(file()["ada"]["signing_secrets"], json!([NEW, OLD]));
    assert!(!secrets(&["rotate", "ada", OLD], "").0, "one rotation at a time");
    assert!(secrets(&["rotate", "ada", "--finish"], "").0);
    assert_eq!(file()["ada"]["signing_secrets"], json!([NEW]));
    let (succeeded, output) = secrets(&["check"], "");
    assert!(succeeded && !output.contains("whsec") && !output.contains(&token), "{output}");
}

/// Starts a server that answers `DescribeStacks` as CloudFormation does, for the stack `gatehouse` only.
async fn cloud_formation() -> (Server, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = http_server::serve(listener, |request: Request<Bytes>| async move {
        let is_known = request.body().windows(19).any(|window| window == b"StackName=gatehouse");
        let (status, xml) = if is_known {
            let output =
                "<member><OutputKey>SecretsArn</OutputKey><OutputValue>arn:aws:secretsmanager:x</OutputValue></member>";
            let stack = format!(
                "<StackName>gatehouse</StackName><CreationTime>2026-11-21T00:00:00Z</CreationTime><StackStatus>CREATE_COMPLETE</StackStatus><Outputs>{output}</Outputs>"
            );
            (
                200,
                format!(
                    "<DescribeStacksResponse><DescribeStacksResult><Stacks><member>{stack}</member></Stacks></DescribeStacksResult></DescribeStacksResponse>"
                ),
            )
        } else {
            (400, "<ErrorResponse><Error><Type>Sender</Type><Code>ValidationError</Code><Message>Stack does not exist</Message></Error></ErrorResponse>".to_owned())
        };
        let mut response = Response::new(Bytes::from(xml));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        Some(response)
    });
    (server, url)
}

#[tokio::test(flavor = "multi_thread")]
async fn secret_of_stack_is_found_and_changed() {
    let manager = SecretsManager::start("{}").await.unwrap();
    let (_server, cloud_formation) = cloud_formation().await;
    let url = manager.proxy.url();
    let secrets = async |arguments: &[&str]| {
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let variables = [
            ("AWS_ENDPOINT_URL_SECRETS_MANAGER", url.clone()),
            ("AWS_ENDPOINT_URL_CLOUDFORMATION", cloud_formation.clone()),
            ("AWS_REGION", "eu-north-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", "local".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "local".to_owned()),
        ];
        spawn_blocking(move || {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let variables = variables.each_ref().map(|(name, value)| (*name, value.as_str()));
            secrets_in(std::path::Path::new("."), &arguments, "", &variables)
        })
        .await
        .unwrap()
    };
    let (succeeded, output) = secrets(&["set", "vapi", "--new", "--stack", "gatehouse"]).await;
    assert!(succeeded && output.contains("the secret of the stack gatehouse"), "{output}");
    let opened = Secrets::parse(&manager.text(), false).unwrap();
    assert_eq!((opened.part("vapi").unwrap().schemes().len(), opened.defects.len()), (1, 0));

    let (succeeded, output) = secrets(&["rotate", "vapi", "--stack", "gatehouse"]).await;
    let values = serde_json::from_str::<Value>(&manager.text()).unwrap()["vapi"]["schemes"][0]["values"].clone();
    assert!(
        succeeded && output.contains(values[0].as_str().unwrap()) && !output.contains(values[1].as_str().unwrap()),
        "{output}"
    );
    assert!(
        output.contains("1. Wait 5 minutes") && output.contains("rotate vapi --stack 'gatehouse' --finish"),
        "{output}"
    );
    let (succeeded, _) = secrets(&["rotate", "vapi", "--finish", "--secret", "arn:aws:secretsmanager:x"]).await;
    let left = serde_json::from_str::<Value>(&manager.text()).unwrap()["vapi"]["schemes"][0]["values"].clone();
    assert!(succeeded && left == json!([values[0]]));

    let (succeeded, output) = secrets(&["check", "--stack", "another"]).await;
    assert!(
        !succeeded && output.contains("the stack another in eu-north-1: ValidationError: Stack does not exist"),
        "{output}"
    );
    manager.proxy.add_rule(Rule::every(Fault::Cut));
    let (succeeded, output) = secrets(&["check", "--stack", "gatehouse"]).await;
    assert!(!succeeded && output.contains("could not reach AWS"), "{output}");
}
