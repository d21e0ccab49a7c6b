//! `gatehouse secrets`: checks and changes the secrets document without losing events.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use data_encoding::BASE64;
use gatehouse_ag_kit::AgKit;
use gatehouse_deliveries::destination::Target as DeliveryTarget;
use gatehouse_local::Error;
use gatehouse_payload::Nonce;
use gatehouse_services::Target;
use gatehouse_vendor::secrets::{DESTINATIONS, SERVICES};
use gatehouse_vendor::{SchemeSummary, Source};
use gatehouse_vendors::{of_vendor, vendors};
use serde_json::Value;

mod all;
mod document;
mod place;

pub(crate) use all::AllSecrets;
use document::forms;
pub(crate) use document::{Credential, Document};
use place::PlaceArguments;
pub(crate) use place::{Place, ServicesPlace, write_file};

use crate::shell::{UsageError, print, read_secret, read_text};

pub(crate) const EXAMPLES: &str = "\
Examples:
  gatehouse secrets set ada whsec_…                     in secrets.json
  gatehouse dev --secrets secrets.json                  uses it on this machine
  gatehouse secrets set ada whsec_… --stack gatehouse   in the secret of a deployed stack
  gatehouse secrets set vapi --stack gatehouse          reads the value from standard input, not from the command line
  gatehouse secrets set client:web --new --agents support --stack gatehouse
  gatehouse secrets set agent:support --url https://agent.example.com/run --dialect ag-ui
  gatehouse secrets set agent:support -                 its token, from standard input
  gatehouse secrets set service:orders --url https://orders.example.com/vapi --header 'x-vapi-secret: …' --new
  gatehouse secrets set service:orders --lambda orders:live --stack gatehouse
  gatehouse secrets check --stack gatehouse
  gatehouse secrets rotate vapi --stack gatehouse       adds a new value and prints the next steps
  gatehouse secrets rotate vapi --finish --stack gatehouse
  gatehouse secrets put secrets.json --stack gatehouse

Content of the document: docs/configuration.md";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show what the document opens and which entries are invalid; shows no values
    ///
    /// Exits with 0 only if all entries are valid.
    #[command(after_help = EXAMPLES)]
    Check {
        #[command(flatten)]
        place: PlaceArguments,
    },
    /// Replace all current values of one credential
    #[command(after_help = EXAMPLES)]
    Set(Set),
    /// Replace a value in two steps, so that no event is lost: add the new value, later remove the old one
    #[command(after_help = EXAMPLES)]
    Rotate(Rotate),
    /// Replace the whole document, if the new one is valid
    #[command(after_help = EXAMPLES)]
    Put {
        /// File with the document; `-` reads standard input
        document: PathBuf,
        #[command(flatten)]
        place: PlaceArguments,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Set {
    #[arg(help = format!("Credential: {}", forms()))]
    credential: String,
    /// Values [default: one, read from standard input]
    values: Vec<String>,
    /// Generate a new value and print it
    #[arg(long, conflicts_with = "values")]
    new: bool,
    /// Of client:ID: the agents that the client may call; `*` means all agents
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    agents: Vec<String>,
    /// Of agent:ID: the dialect that the agent speaks
    #[arg(long, value_name = "DIALECT", requires = "url", value_parser = ["ag-kit", "ag-ui"])]
    dialect: Option<String>,
    #[command(flatten)]
    service: ServiceArguments,
    #[command(flatten)]
    place: PlaceArguments,
}

/// The members of a service.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of service:NAME and agent:ID")]
struct ServiceArguments {
    /// URL of the service or of the agent
    #[arg(long, value_name = "URL", conflicts_with = "lambda")]
    url: Option<String>,
    /// Header of each request, such as 'x-vapi-secret: VALUE'; repeatable. `-` reads it from standard input
    #[arg(long, value_name = "NAME: VALUE")]
    header: Vec<String>,
    /// The address may be in a private network
    #[arg(long, requires = "url")]
    private: bool,
    /// Lambda function: its name, name:alias or ARN
    #[arg(long, value_name = "FUNCTION")]
    lambda: Option<String>,
    /// Form of the function's payload: Vapi's message, or the event of a function URL [default: message]
    #[arg(long = "as", value_name = "FORM", requires = "lambda", value_parser = ["message", "http"])]
    payload: Option<String>,
}

impl ServiceArguments {
    /// Returns the members to change; `null` removes a member.
    fn members(&self) -> Result<Vec<(&'static str, Value)>, Error> {
        let text = |text: &Option<String>| text.as_deref().map_or(Value::Null, Value::from);
        let mut members = Vec::new();
        if self.url.is_some() || self.lambda.is_some() {
            let private = if self.private { Value::Bool(true) } else { Value::Null };
            members.extend([("url", text(&self.url)), ("private", private)]);
            members.extend([("lambda", text(&self.lambda)), ("as", text(&self.payload))]);
        }
        if !self.header.is_empty() {
            members.push(("headers", parse_headers(&self.header)?));
        }
        Ok(members)
    }
}

/// Parses headers of the form `NAME: VALUE`, of which `-` is read from standard input.
pub(crate) fn parse_headers(headers: &[String]) -> Result<Value, Error> {
    let mut parsed = serde_json::Map::new();
    for header in headers {
        let read = if header == "-" { read_secret("Header, as NAME: VALUE")? } else { header.clone() };
        let (name, value) = read.split_once(':').ok_or("a header needs the form 'NAME: VALUE'")?;
        parsed.insert(name.trim().to_ascii_lowercase(), value.trim().into());
    }
    Ok(Value::Object(parsed))
}

#[derive(Debug, Args)]
pub(crate) struct Rotate {
    #[arg(help = format!("Credential: {}", forms()))]
    credential: String,
    /// New value. For a vendor that generates its signing secret, the one in its dashboard [default: read from standard
    /// input]; otherwise [default: a generated value, which is printed]
    value: Option<String>,
    /// End the rotation: keep only the first value, which is the new one
    #[arg(long, conflicts_with = "value")]
    finish: bool,
    #[command(flatten)]
    place: PlaceArguments,
}

pub(crate) async fn run(command: Command) -> Result<bool, Error> {
    match command {
        Command::Check { place } => check(&place.place().await?).await,
        Command::Set(arguments) => set(arguments).await,
        Command::Rotate(arguments) => rotate(arguments).await,
        Command::Put { document, place } => {
            let text = read_text(&document)?;
            let defects = AllSecrets::parse(&text, false)?.defects;
            if !defects.is_empty() {
                return Err(format!("nothing is written: {}", defects.join("; ")).into());
            }
            let place = place.place().await?;
            place.write(&text).await?;
            check(&place).await
        }
    }
}

async fn check(place: &Place) -> Result<bool, Error> {
    let Some(text) = place.read().await? else {
        return Err(format!("{place} does not exist yet; create it with: gatehouse secrets set").into());
    };
    let secrets = AllSecrets::parse(&text, false)?;
    print(&summary(place, &secrets))?;
    Ok(secrets.defects.is_empty())
}

async fn set(Set { credential, mut values, new, agents, dialect, service, place }: Set) -> Result<bool, Error> {
    let credential: Credential = credential.parse().map_err(UsageError)?;
    let place = place.place().await?;
    let mut document = Document::read(place.read().await?.as_deref())?;
    let members = service.members()?;
    if let Credential::Service(name) = &credential {
        document.set_named(SERVICES, name, members)?;
        if new {
            values = vec![generate(&credential)?];
        }
        if !values.is_empty() {
            document.set(&credential, &values, &agents)?;
        }
        place.write(&document.text(&credential, values.len())?).await?;
        if new {
            print(&format!("The new signing secret is {}\n", values.concat()))?;
        }
        return check(&place).await;
    }
    if let Credential::Agent(id) = &credential {
        if new {
            return Err("--new cannot be used: an agent's token comes from the agent".into());
        }
        if values.len() > 1 || !agents.is_empty() || members.iter().any(|(name, _)| *name == "headers") {
            let usage =
                format!("{credential} has a --url, a --dialect and one token; --agents and --header are for others");
            return Err(UsageError(usage).into());
        }
        let mut members = members;
        members.retain(|(name, _)| ["url", "private"].contains(name));
        members.extend(dialect.map(|dialect| ("dialect", dialect.into())));
        if values.iter().any(|value| value == "-") {
            values = vec![read_value(&credential)?];
        }
        members.extend(values.first().map(|token| ("token", token.as_str().into())));
        document.set_agent(id, members)?;
        place.write(&document.text(&credential, 1)?).await?;
        return check(&place).await;
    }
    if !members.is_empty() || dialect.is_some() {
        return Err(
            format!("--url, --lambda and --header are for service:NAME and agent:ID, not for {credential}").into()
        );
    }
    if matches!(credential, Credential::Destination(_)) {
        return Err("a destination is set with: gatehouse destinations set NAME".into());
    }
    if new && matches!(credential, Credential::SigningSecrets(_)) {
        return Err("--new cannot be used: this vendor generates the secret itself, and its dashboard shows it".into());
    } else if new {
        values = vec![generate(&credential)?];
    } else if values.is_empty() {
        values = vec![read_value(&credential)?];
    }
    document.set(&credential, &values, &agents)?;
    place.write(&document.text(&credential, values.len())?).await?;
    if new {
        print(&format!("The new value is {}\n", values.concat()))?;
    }
    check(&place).await
}

async fn rotate(Rotate { credential, value, finish, place }: Rotate) -> Result<bool, Error> {
    let credential: Credential = credential.parse().map_err(UsageError)?;
    if matches!(credential, Credential::Agent(_)) {
        return Err(format!("an agent has one token; to replace it: gatehouse secrets set {credential} -").into());
    }
    let command = format!("gatehouse secrets rotate {credential}{}", place.as_options());
    let place = place.place().await?;
    let document = Document::read(place.read().await?.as_deref())?;
    match (document.count(&credential), finish) {
        (0, _) => Err(format!(
            "{credential} has no value yet, so there is nothing to rotate; set one with: gatehouse secrets set \
             {credential}{}",
            if matches!(credential, Credential::Service(_)) { " --new" } else { "" }
        )
        .into()),
        (1, true) => Err(format!("{credential} has one value only; start a rotation with: {command}").into()),
        (_, true) => finish_rotation(&credential, document, &place).await,
        (1, false) => start_rotation(&credential, value, document, &place, &command).await,
        (_, false) => {
            Err(format!("{credential} has several values: a rotation is in progress; end it with: {command} --finish")
                .into())
        }
    }
}

/// Adds a value and prints the next steps. `command` is the rotate command without `--finish`.
async fn start_rotation(
    credential: &Credential,
    value: Option<String>,
    mut document: Document,
    place: &Place,
    command: &str,
) -> Result<bool, Error> {
    let value = match (value, credential) {
        (Some(value), _) => value,
        (None, Credential::SigningSecrets(_)) => read_value(credential)?,
        (None, _) => generate(credential)?,
    };
    let expected = document.usable(credential) + 1;
    document.add(credential, &value)?;
    place.write(&document.text(credential, expected)?).await?;
    print(&steps(credential, place, &value, command))?;
    Ok(true)
}

/// Removes all values but the first one.
async fn finish_rotation(credential: &Credential, mut document: Document, place: &Place) -> Result<bool, Error> {
    document.keep_first(credential)?;
    place.write(&document.text(credential, 1)?).await?;
    print(&format!(
        "{credential}: only the first value is left. Active instances stop using the other values within 5 minutes, all\n\
         instances within 15 minutes.\n"
    ))?;
    Ok(true)
}

/// Describes the remaining steps of a rotation.
fn steps(credential: &Credential, place: &Place, value: &str, command: &str) -> String {
    let mut text = format!("{place} has the new value and the old one. Next steps:\n");
    let mut steps = Vec::new();
    if matches!(place, Place::Manager { .. }) {
        steps.push("Wait 5 minutes, until every instance has loaded both values.".to_owned());
    } else {
        steps.push("Restart the processes that use the file. A gatehouse dev --secrets reads it by itself.".to_owned());
    }
    match credential {
        Credential::SigningSecrets(_) => {
            steps.push("If the endpoint still has the old signing secret in the dashboard, change it now.".to_owned());
            steps.push("Wait until the vendor no longer signs with the old one; its dashboard shows when.".to_owned());
        }
        Credential::Scheme(..) => {
            steps.push(format!("Enter this value in the credential at the vendor: {value}"));
            steps.push("Wait until all calls that began before this change have ended.".to_owned());
        }
        Credential::Client(_) => steps.push(format!("Give the client this token: {value}")),
        // It is not rotated.
        Credential::Agent(_) => {}
        Credential::Service(_) => steps.push(format!("Let the service verify with this secret as well: {value}")),
        Credential::Destination(_) => steps.push(format!("Let the server verify with this secret as well: {value}")),
    }
    steps.push(format!("{command} --finish"));
    for (n, step) in steps.iter().enumerate() {
        let _ = writeln!(text, "  {}. {step}", n + 1);
    }
    text
}

/// Generates a random value of 256 bits. The signing secret of a service or a destination has the form of Standard
/// Webhooks.
fn generate(credential: &Credential) -> Result<String, Error> {
    Ok(match credential {
        Credential::Service(_) | Credential::Destination(_) => new_signing_secret()?,
        _ => format!("{}{}", Nonce::random()?, Nonce::random()?),
    })
}

/// Generates a signing secret of Standard Webhooks, of 256 bits.
pub(crate) fn new_signing_secret() -> Result<String, Error> {
    let (first, second) = (Nonce::random()?, Nonce::random()?);
    Ok(format!("whsec_{}", BASE64.encode(&[*first.as_bytes(), *second.as_bytes()].concat())))
}

/// Reads a value from standard input.
fn read_value(credential: &Credential) -> Result<String, Error> {
    read_secret(&format!("Value of {credential}"))
}

/// Describes what a document opens and which entries are invalid, without values.
fn summary(place: &Place, secrets: &AllSecrets) -> String {
    let mut text = format!("{place}\n");
    let count = |n: usize, noun: &str| if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") };
    let mut line = |name: &str, contents: Vec<String>| {
        let state = if contents.is_empty() { "closed" } else { "open" };
        let line = format!("  {name:<11} {state:<7} {}", contents.join(", "));
        let _ = writeln!(text, "{}", line.trim_end());
    };
    let scheme = |scheme: SchemeSummary| match scheme.header {
        Some(header) => format!("{} in {header} ({})", scheme.kind, count(scheme.values, "value")),
        None => count(scheme.values, "signing secret"),
    };
    for vendor in vendors() {
        let Some(credentials) = of_vendor(vendor).and_then(|source| secrets.vendors.of(source)) else { continue };
        if vendor != AgKit.profile().vendor {
            let usable = credentials.schemes().into_iter().filter(|scheme| scheme.values > 0);
            line(vendor, usable.map(scheme).collect());
        }
    }
    let chat = &secrets.chat;
    let clients = chat.clients.iter().map(|client| format!("client {}", client.id));
    let issuers = chat.issuers.iter().map(|issuer| format!("users of {}", issuer.issuer));
    let agents = chat.agents.keys().map(|agent| format!("agent {agent}"));
    line(AgKit.profile().secrets.name, clients.chain(issuers).chain(agents).collect());
    let services = secrets.services.iter().map(|(name, service)| match &service.target {
        Target::Url { .. } if service.is_loopback() => format!("service {name} (on this machine)"),
        Target::Url { .. } => format!("service {name}"),
        Target::Lambda { .. } => format!("service {name} (Lambda)"),
    });
    let services: Vec<String> = services.collect();
    if !services.is_empty() {
        line(SERVICES, services);
    }
    let destinations = secrets.destinations.iter().map(|(name, destination)| match &destination.target {
        _ if destination.target.is_loopback() => format!("destination {name} (on this machine)"),
        DeliveryTarget::Url { .. } => format!("destination {name}"),
        DeliveryTarget::Queue { .. } => format!("destination {name} (SQS)"),
        DeliveryTarget::Function { .. } => format!("destination {name} (Lambda)"),
    });
    let destinations: Vec<String> = destinations.collect();
    if !destinations.is_empty() {
        line(DESTINATIONS, destinations);
    }
    for defect in &secrets.defects {
        let _ = writeln!(text, "  not used: {defect}");
    }
    for client in &chat.clients {
        let is_unknown = |agent: &&String| *agent != "*" && !chat.agents.contains_key(*agent);
        for agent in client.rights.agents().iter().filter(is_unknown) {
            let (id, set) =
                (&client.id, format!("gatehouse secrets set agent:{agent} --url URL --dialect ag-kit|ag-ui"));
            let _ =
                writeln!(text, "  warning: client {id} may call {agent}, which does not exist yet; to add it: {set}");
        }
    }
    text
}
