//! `gatehouse dev`: serves the whole stack on this machine until Ctrl-C.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use aws_config::SdkConfig;
use clap::Args;
use gatehouse_local::engine::{Engine, bind};
use gatehouse_local::status::Counts;
use gatehouse_local::{ChatLimits, DataDir, Error, Options, Services, Stack, external_sdk, local_sdk};
use gatehouse_receiver::{Redaction, Skip};
use gatehouse_runtime::Config;
use gatehouse_vendors::development;
#[cfg(unix)]
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

mod banner;
mod destinations;
mod lines;
mod replies;

use crate::secrets::AllSecrets;
use crate::shell::{read_text, variable};
use destinations::DestinationsFile;
use lines::{Format, Lines};

pub(crate) const EXAMPLES: &str = "\
Examples:
  gatehouse dev                                      in memory; data is lost at the end
  gatehouse dev --data-dir ~/.gatehouse              stores events and queued messages
  gatehouse dev --port 0 --json                      for a program: free ports, lines of JSON
  gatehouse dev --answer http://localhost:3000       your own Vapi server answers
  gatehouse dev --secrets secrets.json --host 0.0.0.0

Environment variables: docs/configuration.md";

/// Time limit for the start, which waits for external DynamoDB and SQS services.
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// Default rules of `gatehouse dev`.
pub(crate) const DEVELOPMENT_REPLIES: &str = include_str!("../../functions/replies.dev.json");
pub(crate) const DEVELOPMENT_REPLIES_FILE: &str = "functions/replies.dev.json";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Port of the functions; 0 takes free ports for the functions and the engines
    #[arg(long, default_value_t = 9000)]
    port: u16,
    /// Store events and queued messages in this directory, so that they survive a restart or a crash
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Address to listen on; 0.0.0.0 listens on all interfaces, so that containers can reach the stack
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// Rules that answer Vapi's messages, read again when they change [default: the built-in
    /// functions/replies.dev.json]
    #[arg(long, value_name = "FILE")]
    replies: Option<PathBuf>,
    /// Ask the server at this URL about every message of Vapi, in place of rules
    #[arg(long, value_name = "URL", conflicts_with = "replies")]
    answer: Option<String>,
    /// Secrets document, read again when it changes [default: the variable GATEHOUSE_SECRETS, else built-in secrets]
    #[arg(long, value_name = "FILE")]
    secrets: Option<PathBuf>,
    /// Print JSON on standard output: one line when ready, then one line for each event
    #[arg(long)]
    json: bool,
    /// Also answer requests for this host name; repeatable. Requests for other names get 421
    #[arg(long, value_name = "NAME")]
    allow_host: Vec<String>,
    /// Port of DynamoDB; 0 takes a free port [default: the port after --port, 9001]
    #[arg(long, value_name = "PORT")]
    dynamodb_port: Option<u16>,
    /// Port of SQS; 0 takes a free port [default: the second port after --port, 9002]
    #[arg(long, value_name = "PORT")]
    sqs_port: Option<u16>,
}

impl Arguments {
    /// Returns the port of an engine: `given`, or the `n`-th one after `--port`. 0 is a free port.
    fn engine_port(&self, given: Option<u16>, n: u16) -> u16 {
        match (given, self.port) {
            (Some(port), _) => port,
            (None, 0) => 0,
            (None, port) => port.checked_add(n).unwrap_or(0),
        }
    }
}

/// The running stack and the facts that the banner prints.
struct Dev {
    stack: Stack,
    dynamodb: Service,
    sqs: Service,
    secrets: AllSecrets,
    /// The file with the secrets document, if it is not in a variable.
    secrets_file: Option<PathBuf>,
    /// Whether the published development secrets are used.
    development: bool,
    host: IpAddr,
    data: Option<DataDir>,
    /// Describes the source of the rules that answer Vapi.
    replies: String,
    _destinations: DestinationsFile,
}

/// DynamoDB or SQS.
struct Service {
    url: String,
    /// The engine in this process; `None` for an external service.
    engine: Option<Engine>,
}

pub(crate) async fn run(arguments: Arguments) -> Result<bool, Error> {
    let started = Instant::now();
    // Installed first: a program may send a signal as soon as it has read the ready line.
    let mut signals = Signals::new()?;
    let counts = Counts::default();
    let lines = Lines::start(if arguments.json { Format::Json } else { Format::Text }, counts.clone())?;
    gatehouse_receiver::log::log_panics_by_location();
    let dev = start(&arguments, counts).await?;
    banner::warn(&dev);
    if arguments.json {
        banner::print_json(&dev)?
    } else {
        banner::print(&dev, started.elapsed())
    }
    signals.next().await;
    tokio::spawn(async move {
        // A second signal ends the process at once.
        signals.next().await;
        std::process::exit(130);
    });
    let turns = dev.stack.running_turns();
    if turns > 0 {
        tracing::info!(turns, "waiting for the running chat turns; press Ctrl-C again to stop at once");
    }
    dev.stack.shut_down().await;
    tracing::info!("stopped");
    lines.finish();
    Ok(true)
}

async fn start(arguments: &Arguments, counts: Counts) -> Result<Dev, Error> {
    let get = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let host = resolve(&arguments.host)?;
    let document = match &arguments.secrets {
        Some(file) => Some(read_text(file)?),
        None => variable("GATEHOUSE_SECRETS")?,
    };
    let place = arguments.secrets.as_ref().map_or("GATEHOUSE_SECRETS".to_owned(), |file| file.display().to_string());
    let secrets = secrets(document.as_deref(), &place, host)?;
    let config = Config::read(&|name| if name == "TABLE_NAME" { Some("EventTable".to_owned()) } else { get(name) })?;
    let seconds = get("GATEHOUSE_RETRY_VISIBILITY_SECONDS");
    let visibility = event_retry::visibility("GATEHOUSE_RETRY_VISIBILITY_SECONDS", seconds.as_deref())?;
    let source = match (&arguments.replies, &arguments.answer) {
        (Some(file), _) => replies::Source::File(file.clone()),
        (None, Some(url)) => replies::Source::Service(url.clone()),
        (None, None) => replies::Source::BuiltIn,
    };
    let data = arguments.data_dir.as_deref().map(DataDir::open).transpose()?;
    let destinations = DestinationsFile::open(data.as_ref(), document.as_deref())?;
    let allowed_hosts = gatehouse_local::Hosts::of(&arguments.host, host, &arguments.allow_host);
    let options = Options {
        hosts: allowed_hosts.clone(),
        visibility,
        batch_visibility: visibility.max(event_retry::TIMEOUT),
        ttl_days: config.ttl_days,
        redaction: Redaction::read(&get)?,
        skip: Skip::read(&get)?,
        chat: ChatLimits::read(&get)?,
        counts,
        secrets: document.clone().unwrap_or_else(|| development().to_owned()),
        secrets_file: arguments.secrets.clone(),
        destinations_file: Some(destinations.file.clone()),
        data_dir: data.as_ref().and_then(|data| data.path().canonicalize().ok()),
        ..Options::default()
    };
    let replies = replies::replies(&source, &options)?;
    replies::warn_of_missing_services(&source, &secrets)?;
    if let replies::Source::File(file) = &source {
        tokio::spawn(replies::reload(file.clone(), replies.clone()));
    }
    let options = Options { replies, ..options };

    let listener = bind(SocketAddr::new(host, arguments.port)).await;
    let listener = listener.map_err(|error| format!("{error}; choose another with --port, or 0 for a free one"))?;
    let dynamodb = match external("AWS_ENDPOINT_URL_DYNAMODB")? {
        Some(url) => Service { url, engine: None },
        None => {
            let address = SocketAddr::new(host, arguments.engine_port(arguments.dynamodb_port, 1));
            let engine = Engine::dynamodb_for(allowed_hosts.clone(), address, data.as_ref()).await;
            Service::embedded(engine.map_err(|error| engine_error("DynamoDB", "--dynamodb-port", &error))?)
        }
    };
    let sqs = match external("AWS_ENDPOINT_URL_SQS")? {
        Some(url) => Service { url, engine: None },
        None => {
            let address = SocketAddr::new(host, arguments.engine_port(arguments.sqs_port, 2));
            let engine = Engine::sqs_for(allowed_hosts, address, data.as_ref()).await;
            Service::embedded(engine.map_err(|error| engine_error("SQS", "--sqs-port", &error))?)
        }
    };
    let services =
        Services { dynamodb: dynamodb.sdk(&get), sqs: sqs.sdk(&get), queue_max_bytes: config.queue_max_bytes };
    let stack = timeout(START_TIMEOUT, Stack::start(options, services, listener)).await;
    let timed_out = |_| format!("no answer within {} s from {} or {}", START_TIMEOUT.as_secs(), dynamodb.url, sqs.url);
    let stack = stack.map_err(timed_out)??;
    let (development, secrets_file) = (document.is_none(), arguments.secrets.clone());
    let replies = source.to_string();
    Ok(Dev {
        stack,
        dynamodb,
        sqs,
        secrets,
        secrets_file,
        development,
        host,
        data,
        replies,
        _destinations: destinations,
    })
}

/// Adds the option that chooses another port to the error of an engine whose port is in use.
fn engine_error(engine: &str, option: &str, error: &Error) -> Error {
    let error = error.to_string();
    let hint = format!("; choose another with {option}, or 0 for a free one");
    format!("{engine}: {error}{}", if error.ends_with("is in use") { hint.as_str() } else { "" }).into()
}

impl Service {
    fn embedded(engine: Engine) -> Self {
        Service { url: engine.url(), engine: Some(engine) }
    }

    fn sdk(&self, get: &dyn Fn(&str) -> Option<String>) -> SdkConfig {
        if self.engine.is_some() { local_sdk(&self.url) } else { external_sdk(&self.url, get) }
    }
}

/// Returns the URL of an external service, if the environment variable `name` has one.
fn external(name: &str) -> Result<Option<String>, Error> {
    match variable(name)? {
        Some(url) if !url.starts_with("http://") && !url.starts_with("https://") => {
            Err(format!("{name} is not usable; set it to a URL that begins with http:// or https://").into())
        }
        url => Ok(url),
    }
}

fn resolve(host: &str) -> Result<IpAddr, Error> {
    let address = (host, 0).to_socket_addrs().ok().and_then(|mut addresses| addresses.next());
    let address = address.ok_or_else(|| format!("--host {host} cannot be resolved; use 127.0.0.1 or 0.0.0.0"))?;
    Ok(address.ip())
}

/// Parses the secrets document. Unlike in AWS, any unusable value is an error, so that mistakes are found at once.
fn secrets(document: Option<&str>, place: &str, host: IpAddr) -> Result<AllSecrets, Error> {
    if document.is_none() && !host.is_loopback() {
        return Err(format!(
            "--host {host} is reachable from other machines, and the development secrets are public; set \
             GATEHOUSE_SECRETS to your own document, or pass --secrets FILE"
        )
        .into());
    }
    let secrets = AllSecrets::parse(document.unwrap_or(development()), host.is_loopback());
    let secrets = secrets.map_err(|error| format!("{place}: {error}"))?;
    if secrets.defects.is_empty() {
        return Ok(secrets);
    }
    Err(format!("{place}: {}", secrets.defects.join("; ")).into())
}

/// The SIGINT and SIGTERM signals that arrive after this is created.
struct Signals(mpsc::UnboundedReceiver<()>);

impl Signals {
    fn new() -> Result<Self, Error> {
        let (sender, signals) = mpsc::unbounded_channel();
        #[cfg(unix)]
        for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
            let (mut signal, sender) = (signal(kind)?, sender.clone());
            tokio::spawn(async move { while signal.recv().await.is_some() && sender.send(()).is_ok() {} });
        }
        #[cfg(not(unix))]
        tokio::spawn(async move { while tokio::signal::ctrl_c().await.is_ok() && sender.send(()).is_ok() {} });
        Ok(Signals(signals))
    }

    async fn next(&mut self) {
        // `recv` cannot fail: the sending tasks live as long as the process.
        let _ = self.0.recv().await;
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Dev {
        #[command(flatten)]
        arguments: Arguments,
    }

    #[test]
    fn engines_use_the_two_ports_after_the_functions() {
        for (arguments, expected) in [
            (&[][..], (9000, 9001, 9002)),
            (&["--port", "9100"], (9100, 9101, 9102)),
            (&["--port", "9100", "--sqs-port", "7"], (9100, 9101, 7)),
            (&["--port", "0"], (0, 0, 0)),
            (&["--port", "0", "--dynamodb-port", "9001"], (0, 9001, 0)),
            (&["--dynamodb-port", "0"], (9000, 0, 9002)),
            (&["--port", "65535"], (65535, 0, 0)),
        ] {
            let Dev { arguments } = Dev::parse_from([&["dev"], arguments].concat());
            let (dynamodb, sqs) = (arguments.dynamodb_port, arguments.sqs_port);
            let ports = (arguments.port, arguments.engine_port(dynamodb, 1), arguments.engine_port(sqs, 2));
            assert_eq!(ports, expected);
        }
    }
}
