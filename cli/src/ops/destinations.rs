//! `gatehouse destinations`: configures the systems that get recorded events.

use std::time::Duration;

use clap::{Args, Subcommand};
use gatehouse_deliveries::destination::{Order, Target};
use gatehouse_deliveries::lane::Lane;
use gatehouse_deliveries::request::Attempt;
use gatehouse_deliveries::send::{CONNECT_TIMEOUT, Sender};
use gatehouse_deliveries::{DeliveryTable, Destination, Destinations, Message};
use gatehouse_egress::{ScopedClient, Tls};
use gatehouse_local::{Error, external_sdk};
use gatehouse_payload::Nonce;
use gatehouse_payload::time::Timestamp;
use gatehouse_runtime::Clock;
use gatehouse_runtime::aws::function_config;
use gatehouse_vendor::secrets::{DESTINATIONS, is_name};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::deliveries::reconcile;
use super::deployment::{Deployment, TargetArgs};
use super::output::{OutputArgs, When};
use super::{ExitStatus, NOT_FOUND};
use crate::secrets::{AllSecrets, Credential, Document, Place, new_signing_secret, parse_headers};
use crate::shell::{Interrupts, note, print};

mod access;
mod list;

pub(crate) use access::lists_function;
pub(crate) use list::{Listed, listed};

pub(crate) const EXAMPLES: &str = "\
Examples:
  gatehouse destinations set crm --url https://crm.example.com/gatehouse   prints its signing secret once
  gatehouse destinations set crm --type 'vapi:end-of-call-report,ada:*'      which events it gets
  gatehouse destinations set web --when '{\"source\":\"vapi\",\"where\":{\"/message/call/type\":\"webCall\"}}'
  gatehouse destinations set audit --sqs https://sqs.eu-west-1.amazonaws.com/123456789012/audit --stack gatehouse
  gatehouse destinations list --stack gatehouse
  gatehouse destinations test crm
  gatehouse destinations disable crm                                       its deliveries wait
  gatehouse destinations enable crm                                        they are sent
  gatehouse destinations remove crm

Requests, order and retries: docs/deliveries.md";

/// The time after which all functions use a change of the secrets document.
const IN_EFFECT_WITHIN: Duration = Duration::from_secs(60);

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a destination, or change the given options of an existing one. A new one gets events received from now on
    #[command(after_help = EXAMPLES)]
    Set(Box<Set>),
    /// List the destinations with their state and the numbers of failing and dead deliveries
    #[command(after_help = EXAMPLES)]
    List {
        #[command(flatten)]
        output: OutputArgs,
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Send a test message from this machine, and print the response
    ///
    /// Exits with 0 only if the destination accepts it.
    #[command(after_help = EXAMPLES)]
    Test(Name),
    /// Enable a destination, and send its waiting deliveries
    #[command(after_help = EXAMPLES)]
    Enable(Name),
    /// Disable a destination. Its deliveries wait until it is enabled
    #[command(after_help = EXAMPLES)]
    Disable(Name),
    /// Remove a destination. Its waiting deliveries are kept, and are sent if a destination with its name is set again
    #[command(after_help = EXAMPLES)]
    Remove(Name),
}

#[derive(Debug, Args)]
pub(crate) struct Name {
    /// The destination's name
    name: String,
    #[command(flatten)]
    target: TargetArgs,
}

#[derive(Debug, Args)]
pub(crate) struct Set {
    /// The destination's name: letters, digits, - and _
    #[arg(value_parser = parse_name)]
    name: String,
    /// URL of a server
    #[arg(long, value_name = "URL", conflicts_with_all = ["sqs", "lambda"])]
    url: Option<String>,
    /// URL of an SQS queue, standard or FIFO
    #[arg(long, value_name = "URL", conflicts_with = "lambda")]
    sqs: Option<String>,
    /// Lambda function: its name, name:alias or ARN
    #[arg(long, value_name = "FUNCTION")]
    lambda: Option<String>,
    /// Header of each request, such as 'authorization: Bearer …'; repeatable. `-` reads it from standard input
    #[arg(long, value_name = "NAME: VALUE")]
    header: Vec<String>,
    /// The server's address may be in a private network
    #[arg(long, requires = "url")]
    private: bool,
    /// Only events of these types: SOURCE:TYPE, TYPE or SOURCE:*; several with commas
    #[arg(long = "type", value_name = "TYPES", value_delimiter = ',', conflicts_with = "when")]
    types: Vec<String>,
    /// Only events that match this filter, in JSON; repeatable: any of them must match
    #[arg(long, value_name = "FILTER")]
    when: Vec<String>,
    /// Every event, without a filter
    #[arg(long, conflicts_with_all = ["types", "when"])]
    all: bool,
    /// Form of the body: Gatehouse's webhook, or the vendor's own body
    #[arg(long, value_name = "FORMAT", value_parser = ["standard", "vendor"])]
    format: Option<String>,
    /// Leave the payload out
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    thin: Option<bool>,
    /// Leave the payload out if the body would be larger, in bytes
    #[arg(long, value_name = "BYTES")]
    max_bytes: Option<u64>,
    /// Whether events of one subject follow each other
    #[arg(long, value_name = "ORDER", value_parser = ["subject", "none"])]
    order: Option<String>,
    /// Generate a new signing secret, and print it. The old secret no longer signs; to keep both for a while, use:
    /// gatehouse secrets rotate destination:NAME
    #[arg(long)]
    new: bool,
    /// Do not wait until a stack uses a new destination
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    target: TargetArgs,
}

fn parse_name(text: &str) -> Result<String, String> {
    let invalid = || "the name of a destination has 1 to 64 letters, digits, - and _".to_owned();
    if is_name(text) { Ok(text.to_owned()) } else { Err(invalid()) }
}

/// Runs `gatehouse destinations`.
pub(crate) async fn run(command: Command) -> ExitStatus {
    match command {
        Command::Set(arguments) => set(*arguments).await,
        Command::List { output, target } => list::list(output, &target).await,
        Command::Test(arguments) => test(&arguments).await,
        Command::Enable(Name { name, target }) => {
            let deployment = Configured::find(&target).await?;
            let Some(state) = deployment.table.destinations().await?.remove(&name) else {
                return Ok(deployment.unknown(&name));
            };
            deployment.table.enable(&name).await?;
            let change = if state.disabled.is_some() { "is enabled" } else { "was enabled already" };
            print(&format!("{name} {change}; deliveries that are due are sent within a minute\n"))?;
            Ok(0)
        }
        Command::Disable(Name { name, target }) => {
            let deployment = Configured::find(&target).await?;
            let destinations = deployment.destinations().await?;
            if destinations.get(&name).is_none() && !destinations.has_defect(&name) {
                return Ok(deployment.unknown(&name));
            }
            deployment.table.destination(&name, Clock::System.now()).await?;
            deployment.table.disable(&name, "by an operator").await?;
            print(&format!("{name} is disabled; its deliveries wait until it is enabled\n"))?;
            Ok(0)
        }
        Command::Remove(Name { name, target }) => {
            let deployment = Configured::find(&target).await?;
            let mut document = Document::read(deployment.place.read().await?.as_deref())?;
            if !document.remove_destination(&name)? {
                return Ok(deployment.unknown(&name));
            }
            deployment.place.write(&document.remaining()).await?;
            let flags = &deployment.deployment.flags;
            let discard = format!("gatehouse deliveries discard --all --to {name}{flags}");
            print(&format!(
                "{name} is removed; deliveries to it stop within a minute. To drop failing ones: {discard}\n"
            ))?;
            Ok(0)
        }
    }
}

/// Returns the destinations of a deployment.
pub(crate) async fn of(deployment: &Deployment) -> Result<Destinations, Error> {
    read_destinations(&place_of(deployment)?).await
}

/// Whether a deployment delivers events, and its destinations can be read.
pub(crate) fn are_known(deployment: &Deployment) -> bool {
    deployment.delivery_table().is_ok() && place_of(deployment).is_ok()
}

/// Returns a destination of a deployment. If it does not exist or has a defect, prints a message on standard error.
pub(crate) async fn find(target: &TargetArgs, name: &str) -> Result<Option<Destination>, Error> {
    let configured = Configured::find(target).await?;
    let destinations = configured.destinations().await?;
    let destination = destinations.get(name).cloned();
    if destination.is_none() {
        report_unusable(&configured.deployment, &destinations, name);
    }
    Ok(destination)
}

/// Says why a destination cannot be used: it has a defect or does not exist. Returns the exit code.
pub(crate) fn report_unusable(deployment: &Deployment, destinations: &Destinations, name: &str) -> u8 {
    if destinations.has_defect(name) {
        let check = format!("gatehouse secrets check{}", deployment.flags);
        note(format!("{name} cannot be used until its defect is repaired: {check} names the defect"));
        return 1;
    }
    report_unknown(deployment, name)
}

/// Says that there is no such destination. Returns the exit code.
pub(crate) fn report_unknown(deployment: &Deployment, name: &str) -> u8 {
    note(format!("there is no destination {name}; gatehouse destinations list{} shows them", deployment.flags));
    NOT_FOUND
}

/// A deployment with its delivery table and its secrets document.
struct Configured {
    deployment: Deployment,
    table: DeliveryTable,
    place: Place,
}

impl Configured {
    /// Finds a deployment that delivers events.
    async fn find(target: &TargetArgs) -> Result<Configured, Error> {
        let deployment = target.find().await?;
        let (table, place) = (deployment.delivery_table()?, place_of(&deployment)?);
        Ok(Configured { deployment, table, place })
    }

    async fn destinations(&self) -> Result<Destinations, Error> {
        read_destinations(&self.place).await
    }

    /// Says that there is no such destination. Returns the exit code.
    fn unknown(&self, name: &str) -> u8 {
        report_unknown(&self.deployment, name)
    }
}

/// Returns the place of the secrets document with the destinations of a deployment.
fn place_of(deployment: &Deployment) -> Result<Place, Error> {
    match (&deployment.deployed, &deployment.dev) {
        (Some((sdk, outputs)), _) => Place::of_stack(sdk, outputs),
        (None, dev) => {
            let file = dev.as_ref().and_then(|dev| dev.about.destinations_file.clone());
            Ok(Place::File(file.ok_or("this gatehouse dev has no file for destinations; start the current release")?))
        }
    }
}

async fn read_destinations(place: &Place) -> Result<Destinations, Error> {
    let text = place.read().await?.unwrap_or_else(|| "{}".to_owned());
    Ok(AllSecrets::parse(&text, true)?.destinations)
}

impl Set {
    /// Returns the members to change; `null` removes a member.
    fn members(&self) -> Result<Vec<(&'static str, Value)>, Error> {
        let text = |text: &Option<String>| text.as_deref().map_or(Value::Null, Value::from);
        let mut members = Vec::new();
        if self.url.is_some() || self.sqs.is_some() || self.lambda.is_some() {
            let private = if self.private { Value::Bool(true) } else { Value::Null };
            members.extend([("url", text(&self.url)), ("sqs", text(&self.sqs)), ("lambda", text(&self.lambda))]);
            members.push(("private", private));
        }
        // What only a server, or only a server and a queue can have.
        if self.sqs.is_some() || self.lambda.is_some() {
            members.push(("headers", Value::Null));
        }
        if self.lambda.is_some() {
            members.push(("signing_secrets", Value::Null));
        }
        if !self.header.is_empty() {
            members.push(("headers", parse_headers(&self.header)?));
        }
        if self.all {
            members.push(("when", Value::Null));
        } else if !self.types.is_empty() {
            members.push(("when", self.types.iter().map(|pattern| filter_of(pattern)).collect()));
        } else if !self.when.is_empty() {
            let filter = |text: &String| {
                serde_json::from_str::<Value>(text)
                    .map_err(|_| "a --when is not JSON; pass an object such as {\"source\":\"vapi\"}")
            };
            members.push(("when", self.when.iter().map(filter).collect::<Result<Value, _>>()?));
        }
        for (name, value) in [("format", &self.format), ("order", &self.order)] {
            members.extend(value.as_deref().map(|value| (name, Value::from(value))));
        }
        members.extend(self.thin.map(|thin| ("thin", Value::from(thin))));
        members.extend(self.max_bytes.map(|bytes| ("max_bytes", Value::from(bytes))));
        Ok(members)
    }
}

/// Returns the filter for a type in the form of the command line, such as `vapi:end-of-call-report`.
fn filter_of(pattern: &str) -> Value {
    match pattern.split_once(':') {
        Some((source, event_type)) => json!({"source": source, "type": event_type}),
        None => json!({"type": pattern}),
    }
}

async fn set(arguments: Set) -> ExitStatus {
    let Configured { deployment, table, place } = Configured::find(&arguments.target).await?;
    let mut document = Document::read(place.read().await?.as_deref())?;
    let (name, members) = (&arguments.name, arguments.members()?);
    document.set_named(DESTINATIONS, name, members)?;
    let credential = Credential::Destination(name.clone());
    if deployment.deployed.is_some() && document.destination(name)?.is_some_and(|named| named.target.is_loopback()) {
        return Err("a stack cannot reach a URL of this machine; try it with gatehouse dev, or gatehouse listen".into());
    }
    let is_function = matches!(document.destination(name)?, Some(Destination { target: Target::Function { .. }, .. }));
    let secret = if arguments.new || (document.count(&credential) == 0 && !is_function) {
        Some(new_signing_secret()?)
    } else {
        None
    };
    if let Some(secret) = &secret {
        document.set(&credential, std::slice::from_ref(secret), &[])?;
    }
    let wanted = usize::from(secret.is_some());
    // Before the document: otherwise the first events could be older than the destination.
    let now = Clock::System.now();
    let state = table.destination(name, now).await?;
    place.write(&document.text(&credential, wanted)?).await?;
    print(&format!("{name} is set; events that were received before {} are not delivered\n", state.since))?;
    if let Some(secret) = secret {
        print(&format!("Its signing secret, which is not shown again, is {secret}\n"))?;
    }
    if let Some(reason) = state.disabled {
        print(&format!(
            "It is disabled ({reason}); enable it with: gatehouse destinations enable {name}{}\n",
            deployment.flags
        ))?;
    }
    if let Some(advice) = document.destination(name)?.and_then(|named| access::advice(&deployment, &named)) {
        note(format!("the stack cannot reach {name} yet: {advice}"));
    }
    if deployment.dev.is_none() {
        let is_new = state.since == now;
        return in_effect(&deployment, name, state.since, is_new && !arguments.no_wait).await;
    }
    Ok(0)
}

/// Waits until every function of a stack uses a new destination. Then adds the events that came before that.
async fn in_effect(deployment: &Deployment, name: &str, since: Timestamp, waits: bool) -> ExitStatus {
    let later = format!(
        "After this minute, run this to add its events:\n  gatehouse deliveries reconcile --since 5min --to {name}{}\n",
        deployment.flags
    );
    if !waits {
        print(&format!("The stack uses the change within a minute. {later}"))?;
        return Ok(0);
    }
    print("Waiting for a minute, until the whole stack uses the change. Ctrl-C ends the wait\n")?;
    tokio::select! {
        () = tokio::time::sleep(IN_EFFECT_WITHIN) => {
            reconcile(deployment, When::At(since), Some(name)).await.or_else(|error| {
                note(format!("{name} is set, but events of this minute could not be added: {error}"));
                print(&later)?;
                Ok(1)
            })
        }
        () = async { Interrupts::listen().next().await } => {
            print(&later)?;
            Ok(0)
        }
    }
}

async fn test(Name { name, target }: &Name) -> ExitStatus {
    let configured = Configured::find(target).await?;
    let destinations = configured.destinations().await?;
    let Some(destination) = destinations.get(name) else {
        return Ok(report_unusable(&configured.deployment, &destinations, name));
    };
    if let Some(advice) = access::advice(&configured.deployment, destination) {
        note(format!("the stack cannot reach {name} yet: {advice}. This test is sent from here, with your rights"));
    }
    let (result, took) = send_test(&configured, name, destination).await?;
    let ms = took.as_millis();
    match result {
        Ok(status) => {
            print(&format!("{name} accepted a test message: status {status}, {ms} ms\n"))?;
            Ok(0)
        }
        Err(failure) => {
            let response = failure.response.map(|response| format!("\n{}", response.trim_end())).unwrap_or_default();
            note(format!("{name} did not accept a test message after {ms} ms: {}{response}", failure.reason));
            Ok(1)
        }
    }
}

async fn send_test(
    configured: &Configured,
    name: &str,
    destination: &Destination,
) -> Result<(Result<u16, gatehouse_deliveries::send::Failure>, Duration), Error> {
    let at = Clock::System.now();
    let message = Message::test(&Nonce::random()?.to_string(), at);
    let lane = Lane::of(name, Order::None, None, &message.event_id);
    let http = ScopedClient::new(&Tls::native()?, CONNECT_TIMEOUT);
    let sender = match (&configured.deployment.deployed, &configured.deployment.dev) {
        (None, Some(dev)) => {
            let get = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
            Sender::new(http, function_config(), true).with_local_queues(&external_sdk(&dev.about.sqs, &get))
        }
        (Some((sdk, _)), _) => Sender::new(http, sdk.clone(), false),
        (None, None) => Sender::new(http, function_config(), false),
    };
    let started = Instant::now();
    let result = sender.send(destination, &message, &lane, Attempt { number: 1, destination: name, at }).await;
    Ok((result, started.elapsed()))
}
