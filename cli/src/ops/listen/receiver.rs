//! The receiver of forwarded events: a server, or a shell command.

use std::process::Stdio;
use std::time::Duration;

use gatehouse_deliveries::Message;
use gatehouse_deliveries::request::{Attempt, headers};
use gatehouse_local::Error;
use gatehouse_local::delivery::{Client, Delivery, is_connect_error, url_of};
use gatehouse_runtime::Clock;
use gatehouse_vendor::signature::SigningKey;
use http::{HeaderName, HeaderValue};
use http_body_util::{BodyExt, Limited};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::{Instant, timeout};

use crate::shell::innermost;

/// Time limit of one attempt.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The largest part of a response or of a command's errors that is read, in bytes.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// The longest reason that is printed, in characters.
const MAX_REASON_CHARS: usize = 200;
/// The name of the destination in the requests of a listener.
const DESTINATION: &str = "listen";
/// The header of the requests of a listener.
const MARK: &str = "gatehouse-listen";

/// Where events go.
#[derive(Debug)]
pub(super) enum Receiver {
    /// Events are only shown.
    Nobody,
    Server {
        url: String,
        client: Box<Client>,
        headers: Vec<(String, String)>,
        key: SigningKey,
    },
    /// A shell command. If it is quiet, what it prints goes to standard error.
    Command {
        command: String,
        is_quiet: bool,
    },
}

impl PartialEq for Receiver {
    /// Whether both are of the same kind.
    fn eq(&self, other: &Receiver) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

/// What the receiver needs beside the message.
#[derive(Debug, Clone)]
pub(super) struct About {
    pub(super) message_type: String,
    pub(super) subject: Option<String>,
}

/// The result of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// The status of the response. For a command, 200 is success and 500 is failure.
    Status { status: u16, reason: Option<String> },
    /// No server listens there, so the message was not sent.
    Unreachable(String),
    /// There was no complete response.
    Broken(String),
}

impl Answer {
    pub(super) fn is_success(&self) -> bool {
        matches!(self, Answer::Status { status: 200..=299, .. })
    }
}

impl Receiver {
    /// Creates the receiver at a URL. `headers` have the form `NAME: VALUE`.
    ///
    /// # Errors
    /// If the URL or a header is invalid, or the machine has no root certificates.
    pub(super) fn server(url: &str, headers: &[String], key: SigningKey) -> Result<Receiver, Error> {
        // Not checked by clap, whose error message would show a token.
        let headers = headers.iter().map(|header| parse_header(header)).collect::<Result<_, _>>()?;
        Ok(Receiver::Server { url: url.to_owned(), client: Box::new(Client::new(url)?), headers, key })
    }

    /// Passes a message on, and waits for the result.
    pub(super) async fn send(&self, message: &Message, about: &About) -> (Answer, Duration) {
        let started = Instant::now();
        let attempt = async {
            match self {
                Receiver::Nobody => Answer::Status { status: 200, reason: None },
                Receiver::Server { client, headers, key, .. } => post(client, headers, key, message).await,
                Receiver::Command { command, is_quiet } => execute(command, *is_quiet, message, about).await,
            }
        };
        let late = || Answer::Broken(format!("no response within {} s", TIMEOUT.as_secs()));
        let answer = timeout(TIMEOUT, attempt).await.unwrap_or_else(|_| late());
        (answer, started.elapsed())
    }
}

async fn post(client: &Client, more: &[(String, String)], key: &SigningKey, message: &Message) -> Answer {
    let attempt = Attempt { number: 1, destination: DESTINATION, at: Clock::System.now() };
    let own = headers(message, std::slice::from_ref(key), attempt).into_iter();
    let headers = own.map(|(name, value)| (name.to_owned(), value)).chain([(MARK.to_owned(), "true".to_owned())]);
    let mut delivery = Delivery {
        function: String::new(),
        path: String::new(),
        method: "POST".to_owned(),
        headers: headers.collect(),
        body: message.body.clone(),
    };
    for (name, value) in more {
        delivery = delivery.with_header(name, value);
    }
    let response = match client.open(&delivery).await {
        Ok(response) => response,
        Err(error) if is_connect_error(&error) => return Answer::Unreachable(innermost(&*error)),
        Err(error) => return Answer::Broken(innermost(&*error)),
    };
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await;
    let body = body.map(|body| body.to_bytes()).unwrap_or_default();
    let reason = (!status.is_success()).then(|| first_line(&body)).flatten();
    Answer::Status { status: status.as_u16(), reason }
}

async fn execute(command: &str, is_quiet: bool, message: &Message, about: &About) -> Answer {
    let mut process = Command::new("sh");
    process.args(["-c", command]).stdin(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    if is_quiet {
        process.stdout(std::io::stderr());
    }
    process.env("GATEHOUSE_EVENT_ID", &message.event_id).env("GATEHOUSE_EVENT_TYPE", &about.message_type);
    process.env("GATEHOUSE_EVENT_SUBJECT", about.subject.as_deref().unwrap_or_default());
    let run = async {
        let mut child = process.spawn()?;
        let stdin = child.stdin.take();
        let write = async {
            if let Some(mut stdin) = stdin {
                // A command that does not read its input closes the pipe, which is no failure.
                let _ = stdin.write_all(&message.body).await;
            }
        };
        // At the same time: the command may fill its other pipe before it reads.
        let ((), output) = tokio::join!(write, child.wait_with_output());
        output
    };
    match run.await {
        Ok(output) if output.status.success() => Answer::Status { status: 200, reason: None },
        Ok(output) => {
            let errors = output.stderr.get(..MAX_ANSWER_BYTES).unwrap_or(&output.stderr);
            let reason = first_line(errors).map_or(String::new(), |line| format!(": {line}"));
            Answer::Status { status: 500, reason: Some(format!("{}{reason}", output.status)) }
        }
        Err(error) => Answer::Broken(error.to_string()),
    }
}

/// Returns the first line that is not empty, shortened.
fn first_line(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty())?;
    Some(line.chars().take(MAX_REASON_CHARS).collect())
}

/// Parses the value of `--forward-to`: a URL, a host and port, or a port of localhost.
pub(super) fn parse_url(text: &str) -> Result<String, String> {
    let url = match text.parse::<u16>() {
        Ok(port) => format!("http://localhost:{port}"),
        Err(_) if text.contains("://") => text.to_owned(),
        Err(_) => format!("http://{text}"),
    };
    url_of(&url).map(|_| url).map_err(|error| error.to_string())
}

/// Parses a header of the form `NAME: VALUE`.
fn parse_header(text: &str) -> Result<(String, String), &'static str> {
    const NEEDED: &str = "a value of --header is not a header of the form NAME: VALUE";
    let (name, value) = text.split_once(':').ok_or(NEEDED)?;
    let (name, value) = (name.trim(), value.trim());
    let is_valid = HeaderName::try_from(name).is_ok() && HeaderValue::try_from(value).is_ok();
    if is_valid { Ok((name.to_ascii_lowercase(), value.to_owned())) } else { Err(NEEDED) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_is_a_url_a_host_or_a_port() {
        for (text, url) in [
            ("3000", "http://localhost:3000"),
            ("localhost:3000/hook", "http://localhost:3000/hook"),
            ("http://127.0.0.1:1/x?y", "http://127.0.0.1:1/x?y"),
            ("https://example.com", "https://example.com"),
        ] {
            assert_eq!(parse_url(text).unwrap(), url);
        }
        for text in ["ftp://example.com", "", "http://", "a b"] {
            assert!(parse_url(text).is_err(), "{text}");
        }
    }

    #[test]
    fn headers_have_a_name_and_a_value() {
        assert_eq!(parse_header("X-Api-Key: a:b ").unwrap(), ("x-api-key".to_owned(), "a:b".to_owned()));
        for text in ["x", "a b: c", ": c", "x: a\nb"] {
            assert!(parse_header(text).is_err(), "{text}");
        }
    }

    #[test]
    fn reason_is_the_first_line_of_a_response() {
        assert_eq!(first_line(b"\n  no such table \nmore"), Some("no such table".to_owned()));
        assert_eq!(first_line(b" \n"), None);
        assert_eq!(first_line("ä".repeat(1000).as_bytes()).unwrap().chars().count(), MAX_REASON_CHARS);
    }
}
