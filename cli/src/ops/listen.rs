//! `gatehouse listen` and `gatehouse tail`: show events as they are recorded, and forward them to a server or a
//! command.
//!
//! Events are found in the index `by-source`, never in the table's stream, whose readers are limited. Nothing is
//! written: a listener does not change what is delivered to destinations.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use gatehouse_deliveries::Destination;
use gatehouse_inbox::store::Content;
use gatehouse_inbox::store::by_source::ListedEvent;
use gatehouse_local::Error;
use gatehouse_payload::EventId;
use gatehouse_runtime::Clock;
use tokio::time::{Instant, sleep};

mod feed;
mod filter;
mod forwarder;
mod keys;
mod lines;
mod receiver;
mod secret;

use self::feed::Feed;
use self::filter::EventFilter;
use self::forwarder::Forwarder;
use self::keys::{Key, Keys};
use self::lines::Lines;
use self::receiver::Receiver;
use self::secret::ListenerSecret;
use super::deployment::{Deployment, TargetArgs};
use super::output::{When, counted, parse_when};
use super::pattern::TypeArgs;
use super::{ExitStatus, NOT_FOUND, USAGE, destinations};
use crate::shell::{Interrupts, note, print};

pub(crate) const LISTEN_EXAMPLES: &str = "\
Examples:
  gatehouse listen --forward-to 3000                        to http://localhost:3000, signed
  gatehouse listen --forward-to http://localhost:3000/hook --type 'vapi:end-of-call-report,ada:*'
  gatehouse listen --exec ./on-event.py --stack gatehouse   the body is on standard input
  gatehouse listen --forward-to 3000 --since 10min          also the last ten minutes
  gatehouse listen --as crm --forward-to 3000               what the destination crm gets, signed with its secret
  gatehouse listen --print-secret

Needs the right to query the table and its index by-source. Nothing is written, and no tunnel is needed.";

pub(crate) const RESEND_EXAMPLES: &str = "\
Examples:
  gatehouse events resend ada:msg_2x --forward-to 3000
  gatehouse events resend ada:msg_2x --forward-to https://staging.example.com/hook --stack gatehouse";
pub(crate) const TAIL_EXAMPLES: &str = "\
Examples:
  gatehouse tail
  gatehouse tail --stack gatehouse --type vapi:status-update
  gatehouse tail --subject ada:conversation:673da1f0c2b94e5f8a017b11 --payload
  gatehouse tail --json | jq -r .event_id";

/// How often new events are looked for.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Arguments that select events and the form of the output.
#[derive(Debug, Clone, Args)]
pub(crate) struct FeedArgs {
    #[command(flatten)]
    types: TypeArgs,
    /// Only events about this conversation, call, session or chat
    #[arg(long, value_name = "SUBJECT")]
    subject: Option<String>,
    /// Only failures: conflicts, unparsed bodies and events without a type
    #[arg(long)]
    failed: bool,
    /// Begin with past events: a span before now such as 10min, or a time such as 2026-11-21T17:00:00Z
    #[arg(long, value_name = "WHEN", value_parser = parse_when)]
    since: Option<When>,
    /// Begin with this event
    #[arg(long, value_name = "EVENT")]
    event: Option<String>,
    /// Exit after this number of events; the exit code is 1 if one of them failed
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    exit_after: Option<u64>,
    /// Also print the payloads
    #[arg(long)]
    payload: bool,
    /// Print one JSON object per event
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: TargetArgs,
}

/// Arguments that select the receiver of events.
#[derive(Debug, Clone, Args)]
pub(crate) struct ForwardArgs {
    /// Forward each event to this URL, or to this port of localhost
    #[arg(long, value_name = "URL|PORT", value_parser = receiver::parse_url)]
    forward_to: Option<String>,
    /// Forward what this destination gets: with its filter, its format and its signing secret
    #[arg(long = "as", value_name = "NAME", conflicts_with_all = ["print_secret", "env_file"])]
    destination: Option<String>,
    /// Run this shell command for each event. It gets the body on standard input, and the event's id, type and subject
    /// in GATEHOUSE_EVENT_ID, GATEHOUSE_EVENT_TYPE and GATEHOUSE_EVENT_SUBJECT. Exit code 0 is success
    #[arg(long, value_name = "CMD", conflicts_with = "forward_to")]
    exec: Option<String>,
    /// Also send this header; repeatable
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// Print the signing secret, and exit. Not with --as, which signs with the destination's secret
    #[arg(long)]
    print_secret: bool,
    /// Write the signing secret to this file, as GATEHOUSE_WEBHOOK_SECRET
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ListenArguments {
    #[command(flatten)]
    forward: ForwardArgs,
    #[command(flatten)]
    feed: FeedArgs,
}

/// Runs `gatehouse listen`.
pub(crate) async fn listen(arguments: ListenArguments) -> ExitStatus {
    let ListenArguments { forward, feed } = arguments;
    if !forward.headers.is_empty() && forward.forward_to.is_none() {
        note("error: --header needs --forward-to");
        return Ok(USAGE);
    }
    let destination = match &forward.destination {
        Some(name) => match destinations::find(&feed.target, name).await? {
            Some(destination) => Some(destination),
            None => return Ok(NOT_FOUND),
        },
        None => None,
    };
    let key = destination.as_ref().and_then(|destination| destination.signing_keys.first().cloned());
    let secret = ListenerSecret::of(&feed.target).await?;
    if let Some(file) = &forward.env_file {
        secret.write_to(file)?;
    }
    if forward.print_secret {
        print(&format!("{}\n", secret.text()))?;
        return Ok(0);
    }
    let receiver = match (forward.forward_to, forward.exec) {
        (Some(url), _) => Receiver::server(&url, &forward.headers, key.clone().map_or_else(|| secret.key(), Ok)?)?,
        (None, Some(command)) => Receiver::Command { command, is_quiet: feed.json },
        (None, None) => Receiver::Nobody,
    };
    // The secret of a destination is not shown again.
    let shown = Some(&secret).filter(|_| key.is_none());
    run(feed, receiver, shown, destination).await
}

/// Runs `gatehouse tail`.
pub(crate) async fn tail(feed: FeedArgs) -> ExitStatus {
    run(feed, Receiver::Nobody, None, None).await
}

/// Shows events, and passes them to the receiver, until Ctrl-C.
async fn run(
    arguments: FeedArgs,
    receiver: Receiver,
    secret: Option<&ListenerSecret>,
    destination: Option<Destination>,
) -> ExitStatus {
    let mut interrupts = Interrupts::listen();
    let mut deployment = arguments.target.find().await?;
    let filters = destination.as_ref().map(|destination| destination.filters.clone()).unwrap_or_default();
    let filter = EventFilter { types: arguments.types, subject: arguments.subject, failed: arguments.failed, filters };
    let lines = Lines { json: arguments.json, payload: arguments.payload };
    let mut keys = if lines.json { Keys::none() } else { Keys::listen() };
    let receiver = Arc::new(receiver);
    let mut forwarder = Forwarder::new(deployment.store.clone(), Arc::clone(&receiver), lines, arguments.exit_after);
    if let Some(destination) = destination {
        forwarder.forward_as(destination);
    }
    greet(&deployment, &receiver, secret, keys.are_available());

    if let Some(id) = &arguments.event {
        let Some(event) = find(&deployment, id).await? else {
            note(format!("there is no event {id}"));
            return Ok(NOT_FOUND);
        };
        forwarder.take(event).await;
    }
    let start = arguments.since.map_or_else(|| Clock::System.now(), |since| since.resolve(Clock::System.now()));
    let mut feed = Feed::new(start);
    let mut failing_since: Option<Instant> = None;
    loop {
        let is_done = tokio::select! {
            is_done = forwarder.is_done() => is_done,
            () = interrupts.next() => true,
        };
        if is_done {
            break;
        }
        let mut taken = 0;
        let poll = feed.poll(&deployment.store, async |event| {
            if filter.matches(&event) {
                forwarder.take(event).await;
                taken += 1;
            }
            !forwarder.is_done().await
        });
        let polled = tokio::select! {
            polled = poll => polled,
            () = interrupts.next() => break,
        };
        match polled {
            Ok(()) => {
                if let Some(since) = failing_since.take() {
                    let seconds = since.elapsed().as_secs();
                    note(format!("connected again after {seconds} s; {} recorded meanwhile", counted(taken, "event")));
                }
            }
            Err(error) if feed.has_begun() && (error.is_transient() || deployment.dev.is_some()) => {
                if failing_since.is_none() {
                    note(format!("{error}; retrying. Events that are recorded meanwhile follow"));
                    failing_since = Some(Instant::now());
                }
                // If it is not reachable, the next poll fails too, and retries.
                let _ = deployment.reconnect(&arguments.target).await;
                forwarder.use_store(deployment.store.clone());
            }
            Err(error) => return Err(super::listing::list_error(&deployment, &error)),
        }
        let pause = sleep(POLL_INTERVAL);
        tokio::pin!(pause);
        let is_interrupted = loop {
            tokio::select! {
                () = &mut pause => break false,
                () = interrupts.next() => break true,
                key = keys.next() => match key {
                    Key::Resend => forwarder.resend().await,
                    Key::Details => forwarder.print_details().await?,
                },
            }
        };
        if is_interrupted {
            break;
        }
    }
    let is_complete = forwarder.is_full();
    let (succeeded, failed) = forwarder.finish();
    if *receiver != Receiver::Nobody {
        note(format!("{} forwarded, {failed} failed", counted(succeeded + failed, "event")));
    }
    Ok(u8::from(is_complete && failed > 0))
}

/// Prints what the command does, on standard error.
fn greet(deployment: &Deployment, receiver: &Receiver, secret: Option<&ListenerSecret>, has_keys: bool) {
    let from =
        if deployment.flags.is_empty() { "gatehouse dev".to_owned() } else { deployment.flags.trim().to_owned() };
    let action = match receiver {
        Receiver::Nobody => "Showing".to_owned(),
        Receiver::Server { url, .. } => format!("Forwarding to {url}"),
        Receiver::Command { command, .. } => format!("Running {command} with"),
    };
    note(format!("Ready! {action} the events of {from} as they are recorded. Ctrl-C stops."));
    if let (Receiver::Server { .. }, Some(secret)) = (receiver, secret) {
        note(format!("Your webhook signing secret is {}; it stays the same.", secret.text()));
    }
    if has_keys {
        let resend = if *receiver == Receiver::Nobody { "" } else { "r forwards the last event again, " };
        note(format!("Keys: {resend}d shows the last event."));
    }
}

/// Returns an event as a list shows it.
async fn find(deployment: &Deployment, id: &str) -> Result<Option<ListedEvent>, Error> {
    let id = EventId::from_stored(id.to_owned());
    Ok(match deployment.store.content(&id, Clock::System.now()).await? {
        Content::Record(record) => Some(ListedEvent::of_record(&record)),
        Content::Empty | Content::Erased(_) => None,
        Content::Damaged(damaged) => return Err(damaged.into()),
    })
}

/// Runs `gatehouse events resend`: forwards one event. Exits with 1 if that fails, and with 3 if there is no event.
pub(crate) async fn resend(arguments: ResendArguments) -> ExitStatus {
    let ResendArguments { id, forward_to, to, headers, payload, json, target } = arguments;
    let deployment = target.find().await?;
    if let Some(name) = to {
        return super::deliveries::resend_event(&deployment, &id, &name, json).await;
    }
    let Some(event) = find(&deployment, &id).await? else {
        note(format!("there is no event {id}"));
        return Ok(NOT_FOUND);
    };
    let key = ListenerSecret::of(&target).await?.key()?;
    let receiver = Receiver::server(&forward_to.unwrap_or_default(), &headers, key)?;
    let lines = Lines { json, payload };
    let mut forwarder = Forwarder::new(deployment.store.clone(), Arc::new(receiver), lines, Some(1));
    forwarder.take(event).await;
    forwarder.is_done().await;
    let (_, failed) = forwarder.finish();
    Ok(u8::from(failed > 0))
}

/// Arguments of `gatehouse events resend`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ResendArguments {
    /// The event's id, as in responses, logs and lists
    #[arg(value_name = "EVENT")]
    id: String,
    /// The URL that gets the event, or a port of localhost
    #[arg(long, value_name = "URL|PORT", value_parser = receiver::parse_url, required_unless_present = "to")]
    forward_to: Option<String>,
    /// The destination that gets the event, from the deployment, also if it did not get it before
    #[arg(long, value_name = "NAME", conflicts_with_all = ["forward_to", "headers", "payload"])]
    to: Option<String>,
    /// Also send this header; repeatable
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// Also print the payload
    #[arg(long)]
    payload: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: TargetArgs,
}
