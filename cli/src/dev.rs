//! `gatehouse dev`: the whole stack on this machine, until Ctrl-C.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use client_message::Replies;
use gatehouse_edge::secrets::{DEVELOPMENT, Secrets};
use gatehouse_inbox::Config;
use gatehouse_local::engine::{Engine, bind};
use gatehouse_local::services::QUEUE_MAX_BYTES;
use gatehouse_local::{DataDir, Error, Options, Services, Stack, foreign_sdk, local_sdk};
use tokio::time::{Instant, timeout};

mod banner;
mod lines;

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
    /// Print one line of JSON when ready, and nothing else, on standard output; events go to standard error
    #[arg(long)]
    json: bool,
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
    dynamodb: String,
    sqs: String,
    secrets: Secrets,
    /// The published secrets, for want of others.
    development: bool,
    host: IpAddr,
    data: Option<DataDir>,
    _engines: [Option<Engine>; 2],
}

pub(crate) async fn run(arguments: Arguments) -> Result<bool, Error> {
    let started = Instant::now();
    let lines = Lines::start(if arguments.json { Stream::Stderr } else { Stream::Stdout });
    let dev = start(&arguments).await?;
    banner::warn(&dev);
    if arguments.json {
        banner::print_json(&dev)?
    } else {
        banner::print(&dev, started.elapsed())
    }
    interrupted().await?;
    tokio::spawn(async {
        // Whoever is in a hurry says so twice.
        let _ = interrupted().await;
        std::process::exit(130);
    });
    dev.stack.shut_down().await;
    lines.finish();
    Ok(true)
}

async fn start(arguments: &Arguments) -> Result<Dev, Error> {
    let get = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let host = resolve(&arguments.host)?;
    let document = get("GATEHOUSE_SECRETS");
    let secrets = secrets(document.as_deref(), host)?;
    let foreign = (get("AWS_ENDPOINT_URL_DYNAMODB"), get("AWS_ENDPOINT_URL_SQS"));
    let embedded_limit = foreign.1.is_none().then(|| QUEUE_MAX_BYTES.to_string());
    let config = Config::read(&|name| match name {
        "TABLE_NAME" => Some("EventTable".to_owned()),
        "QUEUE_MAX_BYTES" => get(name).or_else(|| embedded_limit.clone()),
        _ => get(name),
    })?;
    let visibility = visibility(get("GATEHOUSE_RETRY_VISIBILITY_SECONDS").as_deref())?;
    let replies = get("CLIENT_REPLIES").map(|text| Replies::parse(&text)).transpose();
    let options = Options {
        replies: replies.map_err(|error| format!("CLIENT_REPLIES: {error}"))?.unwrap_or_default(),
        visibility,
        batch_visibility: visibility.max(event_retry::TIMEOUT),
        ttl_days: config.ttl_days,
        secrets: document.clone().unwrap_or_else(|| DEVELOPMENT.to_owned()),
        ..Options::default()
    };

    let listener = bind(SocketAddr::new(host, arguments.port)).await;
    let listener = listener.map_err(|error| format!("{error}; choose another with --port, or 0 for a free one"))?;
    let data = arguments.data_dir.as_deref().map(DataDir::open).transpose()?;
    let mut engines = [None, None];
    let dynamodb = match foreign.0 {
        Some(url) => (foreign_sdk(&url, &get), url),
        None => {
            let at = SocketAddr::new(host, arguments.dynamodb_port);
            let engine = engines[0].insert(Engine::dynamodb(at, data.as_ref()).await?);
            (local_sdk(&engine.url()), engine.url())
        }
    };
    let sqs = match foreign.1 {
        Some(url) => (foreign_sdk(&url, &get), url),
        None => {
            let at = SocketAddr::new(host, arguments.sqs_port);
            let engine = engines[1].insert(Engine::sqs(at, data.as_ref()).await?);
            (local_sdk(&engine.url()), engine.url())
        }
    };
    let services = Services { dynamodb: dynamodb.0, sqs: sqs.0, queue_max_bytes: config.queue_max_bytes };
    let stack = timeout(PATIENCE, Stack::start(options, services, listener)).await;
    let late = |_| format!("no answer within {} s from {} or {}", PATIENCE.as_secs(), dynamodb.1, sqs.1);
    Ok(Dev {
        stack: stack.map_err(late)??,
        dynamodb: dynamodb.1,
        sqs: sqs.1,
        secrets,
        development: document.is_none(),
        host,
        data,
        _engines: engines,
    })
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

fn visibility(seconds: Option<&str>) -> Result<Duration, Error> {
    let wrong = "GATEHOUSE_RETRY_VISIBILITY_SECONDS is not usable; set it to seconds, from 1 to 43200";
    match seconds.map(str::parse) {
        None => Ok(event_retry::VISIBILITY),
        Some(Ok(seconds @ 1..=43_200)) => Ok(Duration::from_secs(seconds)),
        Some(_) => Err(wrong.into()),
    }
}

/// Ctrl-C, or a polite kill.
async fn interrupted() -> Result<(), Error> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            interrupt = tokio::signal::ctrl_c() => interrupt?,
            _ = terminate.recv() => {}
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await?;
    Ok(())
}
