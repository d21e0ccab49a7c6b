//! `gatehouse dev`: the whole stack on this machine, until Ctrl-C.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_config::SdkConfig;
use clap::Args;
use gatehouse_edge::secrets::{DEVELOPMENT, Secrets};
use gatehouse_edge::{Redaction, Skip};
use gatehouse_inbox::Config;
use gatehouse_local::about::Counts;
use gatehouse_local::engine::{Engine, bind};
use gatehouse_local::{ChatLimits, DataDir, Error, Options, Services, Stack, foreign_sdk, local_sdk};
use gatehouse_replies::{Hosts, Replies, Rules};
#[cfg(unix)]
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

mod banner;
mod lines;

use crate::shell::{read_text, variable};
use lines::{Lines, Stream};

pub(crate) const EXAMPLES: &str = "\
Examples:
  gatehouse dev                                      all in memory, gone at the end
  gatehouse dev --data-dir ~/.gatehouse              keeps events and queued messages
  gatehouse dev --port 0 --json                      for a program: free ports, one JSON line when ready
  GATEHOUSE_SECRETS=\"$(cat secrets.json)\" gatehouse dev --host 0.0.0.0

What the environment configures: docs/configuration.md";

/// By when an engine that is not this process' own must have answered.
const PATIENCE: Duration = Duration::from_secs(10);
/// The rules for one's own machine.
pub(crate) const DEVELOPMENT_REPLIES: &str = include_str!("../../functions/replies.dev.json");
pub(crate) const DEVELOPMENT_REPLIES_FILE: &str = "functions/replies.dev.json";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Where the functions listen; 0 takes a free port
    #[arg(long, default_value_t = 9000)]
    port: u16,
    /// Keep events and queued messages in this directory, over a restart and a crash
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The address to listen on; 0.0.0.0 is every interface, so that a container can reach the stack
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// The rules that answer Vapi's messages [default: functions/replies.dev.json as it was when this was built]
    #[arg(long, value_name = "FILE")]
    replies: Option<PathBuf>,
    /// Print one line of JSON when ready, and nothing else, on standard output; events go to standard error
    #[arg(long)]
    json: bool,
    /// Answer to this host name too; may be given several times. Requests for other names get 421
    #[arg(long, value_name = "NAME")]
    allow_host: Vec<String>,
    /// Where DynamoDB listens; 0 takes a free port
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    dynamodb_port: u16,
    /// Where SQS listens; 0 takes a free port
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    sqs_port: u16,
}

/// What runs, and what there is to say about it.
struct Dev {
    stack: Stack,
    dynamodb: Place,
    sqs: Place,
    secrets: Secrets,
    /// The published secrets, for want of others.
    development: bool,
    host: IpAddr,
    data: Option<DataDir>,
    /// Where the rules that answer Vapi come from.
    replies: String,
}

/// Where a service is: an engine of this process, or someone else's.
struct Place {
    url: String,
    engine: Option<Engine>,
}

pub(crate) async fn run(arguments: Arguments) -> Result<bool, Error> {
    let started = Instant::now();
    // Before anything is said: whoever reads that the stack is ready may want to stop it at once.
    let mut signals = Signals::new()?;
    let counts = Counts::default();
    let lines = Lines::start(if arguments.json { Stream::Stderr } else { Stream::Stdout }, counts.clone())?;
    gatehouse_edge::log::tell_panics_by_place();
    let dev = start(&arguments, counts).await?;
    banner::warn(&dev);
    if arguments.json {
        banner::print_json(&dev)?
    } else {
        banner::print(&dev, started.elapsed())
    }
    signals.next().await;
    tokio::spawn(async move {
        // Whoever is in a hurry says so twice.
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
    let document = variable("GATEHOUSE_SECRETS")?;
    let secrets = secrets(document.as_deref(), host)?;
    let config = Config::read(&|name| if name == "TABLE_NAME" { Some("EventTable".to_owned()) } else { get(name) })?;
    let seconds = get("GATEHOUSE_RETRY_VISIBILITY_SECONDS");
    let visibility = event_retry::visibility("GATEHOUSE_RETRY_VISIBILITY_SECONDS", seconds.as_deref())?;
    let replies = match arguments.replies.as_deref() {
        None => DEVELOPMENT_REPLIES.to_owned(),
        Some(file) => read_text(file)?,
    };
    let replies_file = arguments.replies.as_deref().unwrap_or(Path::new(DEVELOPMENT_REPLIES_FILE));
    let rules = Rules::parse(&replies_file.display().to_string(), &replies)?;
    for doubt in rules.doubts() {
        tracing::warn!("{doubt}");
    }
    // A delivery that is played again here must not be heard in a real call, unless somebody asked for rules of his
    // own.
    let hosts = if arguments.replies.is_some() { Hosts::VapiAndLoopback } else { Hosts::Loopback };
    let replies = Replies::new(rules, hosts)?;
    let said = match &arguments.replies {
        Some(file) => format!("{}, read now", file.display()),
        None => format!("{DEVELOPMENT_REPLIES_FILE}, as it was when this was built; --replies FILE reads others"),
    };
    let hosts_taken = gatehouse_local::Hosts::of(&arguments.host, host, &arguments.allow_host);
    let options = Options {
        replies,
        hosts: hosts_taken.clone(),
        visibility,
        batch_visibility: visibility.max(event_retry::TIMEOUT),
        ttl_days: config.ttl_days,
        redaction: Redaction::read(&get)?,
        skip: Skip::read(&get)?,
        chat: ChatLimits::read(&get)?,
        counts,
        secrets: document.clone().unwrap_or_else(|| DEVELOPMENT.to_owned()),
        ..Options::default()
    };

    let listener = bind(SocketAddr::new(host, arguments.port)).await;
    let listener = listener.map_err(|error| format!("{error}; choose another with --port, or 0 for a free one"))?;
    let data = arguments.data_dir.as_deref().map(DataDir::open).transpose()?;
    let dynamodb = match foreign("AWS_ENDPOINT_URL_DYNAMODB")? {
        Some(url) => Place { url, engine: None },
        None => {
            let engine = Engine::dynamodb_for(
                hosts_taken.clone(),
                SocketAddr::new(host, arguments.dynamodb_port),
                data.as_ref(),
            )
            .await;
            Place::of(engine.map_err(|error| format!("DynamoDB (--dynamodb-port): {error}"))?)
        }
    };
    let sqs = match foreign("AWS_ENDPOINT_URL_SQS")? {
        Some(url) => Place { url, engine: None },
        None => {
            let engine = Engine::sqs_for(hosts_taken, SocketAddr::new(host, arguments.sqs_port), data.as_ref()).await;
            Place::of(engine.map_err(|error| format!("SQS (--sqs-port): {error}"))?)
        }
    };
    let services =
        Services { dynamodb: dynamodb.sdk(&get), sqs: sqs.sdk(&get), queue_max_bytes: config.queue_max_bytes };
    let stack = timeout(PATIENCE, Stack::start(options, services, listener)).await;
    let late = |_| format!("no answer within {} s from {} or {}", PATIENCE.as_secs(), dynamodb.url, sqs.url);
    let stack = stack.map_err(late)??;
    Ok(Dev { stack, dynamodb, sqs, secrets, development: document.is_none(), host, data, replies: said })
}

impl Place {
    fn of(engine: Engine) -> Self {
        Place { url: engine.url(), engine: Some(engine) }
    }

    fn sdk(&self, get: &dyn Fn(&str) -> Option<String>) -> SdkConfig {
        if self.engine.is_some() { local_sdk(&self.url) } else { foreign_sdk(&self.url, get) }
    }
}

/// A service someone else runs.
fn foreign(name: &str) -> Result<Option<String>, Error> {
    match variable(name)? {
        Some(url) if !url.starts_with("http://") && !url.starts_with("https://") => {
            Err(format!("{name} is not usable; set it to a URL that begins with http:// or https://").into())
        }
        url => Ok(url),
    }
}

fn resolve(host: &str) -> Result<IpAddr, Error> {
    let found = (host, 0).to_socket_addrs().ok().and_then(|mut found| found.next());
    Ok(found.ok_or_else(|| format!("--host {host} is no address of this machine; 127.0.0.1 and 0.0.0.0 are"))?.ip())
}

/// The secrets, all of them usable: on one's own machine a mistake is better found at once.
fn secrets(document: Option<&str>, host: IpAddr) -> Result<Secrets, Error> {
    if document.is_none() && !host.is_loopback() {
        return Err(format!(
            "--host {host} can be reached from other machines, and the development secrets are published; set \
             GATEHOUSE_SECRETS to a document of your own"
        )
        .into());
    }
    let secrets = Secrets::parse(document.unwrap_or(DEVELOPMENT), host.is_loopback());
    let secrets = secrets.map_err(|error| format!("GATEHOUSE_SECRETS: {error}"))?;
    if secrets.defects.is_empty() {
        return Ok(secrets);
    }
    Err(format!("GATEHOUSE_SECRETS: {}", secrets.defects.join("; ")).into())
}

/// Ctrl-C and polite kills, from when this is made on.
struct Signals(mpsc::UnboundedReceiver<()>);

impl Signals {
    fn new() -> Result<Self, Error> {
        let (told, signals) = mpsc::unbounded_channel();
        #[cfg(unix)]
        for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
            let (mut signal, told) = (signal(kind)?, told.clone());
            tokio::spawn(async move { while signal.recv().await.is_some() && told.send(()).is_ok() {} });
        }
        #[cfg(not(unix))]
        tokio::spawn(async move { while tokio::signal::ctrl_c().await.is_ok() && told.send(()).is_ok() {} });
        Ok(Signals(signals))
    }

    async fn next(&mut self) {
        // The sender lives as long as the process.
        let _ = self.0.recv().await;
    }
}
