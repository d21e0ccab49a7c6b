//! `gatehouse secrets`: the secrets document, checked and changed without losing an event.

use std::fmt::Write as _;
use std::io::{BufRead, IsTerminal};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use gatehouse_edge::secrets::Secrets;
use gatehouse_inbox::Nonce;
use gatehouse_local::Error;

mod document;
mod place;

use document::{Document, Whose};
pub(crate) use place::Place;
use place::PlaceArguments;

use crate::shell::{print, read_text};

pub(crate) const EXAMPLES: &str = "\
Examples:
  gatehouse secrets set ada whsec_…                     into secrets.json, for GATEHOUSE_SECRETS=\"$(cat secrets.json)\" gatehouse dev
  gatehouse secrets set ada whsec_… --stack gatehouse   into a deployed stack's secret
  gatehouse secrets set vapi --stack gatehouse          reads the value from standard input, so that no history keeps it
  gatehouse secrets set client:web --new --agents support,sales --stack gatehouse
  gatehouse secrets check --stack gatehouse
  gatehouse secrets rotate vapi --stack gatehouse       a new value beside the old one, and what to do then
  gatehouse secrets rotate vapi --finish --stack gatehouse
  gatehouse secrets put secrets.json --stack gatehouse

What the document can hold: docs/configuration.md";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Say what the document opens, and what is wrong with it; shows no value
    ///
    /// Exits with 0 only if nothing is.
    #[command(after_help = EXAMPLES)]
    Check {
        #[command(flatten)]
        place: PlaceArguments,
    },
    /// Put a value in the place of those that are there
    #[command(after_help = EXAMPLES)]
    Set(Set),
    /// Change a value without losing an event: beside the old one first, later alone
    #[command(after_help = EXAMPLES)]
    Rotate(Rotate),
    /// Put a whole document in the place of the one that is there, if nothing is wrong with it
    #[command(after_help = EXAMPLES)]
    Put {
        /// The document; `-` reads standard input
        document: PathBuf,
        #[command(flatten)]
        place: PlaceArguments,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Set {
    /// Whose: ada, agntix, vapi, vapi:HEADER of its scheme, client:ID
    whose: String,
    /// The values [default: one, read from standard input]
    values: Vec<String>,
    /// Make a new value, and print it
    #[arg(long, conflicts_with = "values")]
    new: bool,
    /// Which agents a client may call; `*` is every one
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    agents: Vec<String>,
    #[command(flatten)]
    place: PlaceArguments,
}

#[derive(Debug, Args)]
pub(crate) struct Rotate {
    /// Whose: ada, agntix, vapi, vapi:HEADER of its scheme, client:ID
    whose: String,
    /// The new value. Of Ada and agntix the one their dashboard shows [default: read from standard input]; else
    /// [default: a new one, which is printed]
    value: Option<String>,
    /// Leave the first value alone, which is the new one: the others are not used any more
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
            let defects = Secrets::parse(&text, false)?.defects;
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
        return Err(format!("{place} is not there yet; gatehouse secrets set makes it").into());
    };
    let secrets = Secrets::parse(&text, false)?;
    print(&summary(place, &secrets))?;
    Ok(secrets.defects.is_empty())
}

async fn set(Set { whose, mut values, new, agents, place }: Set) -> Result<bool, Error> {
    let whose: Whose = whose.parse()?;
    let place = place.place().await?;
    let mut document = Document::read(place.read().await?.as_deref())?;
    if new && matches!(whose, Whose::Ada | Whose::Agntix) {
        return Err("--new makes no secret that this vendor has: it makes its own, and its dashboard shows it".into());
    } else if new {
        values = vec![made()?];
    } else if values.is_empty() {
        values = vec![asked(&whose)?];
    }
    document.set(&whose, &values, &agents)?;
    place.write(&document.text(&whose, values.len())?).await?;
    if new {
        print(&format!("The new value is {}\n", values.concat()))?;
    }
    check(&place).await
}

async fn rotate(Rotate { whose, value, finish, place: arguments }: Rotate) -> Result<bool, Error> {
    let whose: Whose = whose.parse()?;
    let place = arguments.place().await?;
    let mut document = Document::read(place.read().await?.as_deref())?;
    let again = format!("gatehouse secrets rotate {whose}{}", arguments.again());
    match (document.count(&whose), finish) {
        (0, _) => {
            return Err(format!(
                "{whose} has no value yet, so there is nothing to rotate; use: gatehouse secrets set {whose}"
            )
            .into());
        }
        (1, true) => return Err(format!("{whose} has one value only; begin with: {again}").into()),
        (_, true) => document.keep_first(&whose)?,
        (1, false) => {
            let value = match (value, &whose) {
                (Some(value), _) => value,
                (None, Whose::Ada | Whose::Agntix) => asked(&whose)?,
                (None, Whose::Vapi(_) | Whose::Client(_)) => made()?,
            };
            let wanted = document.usable(&whose) + 1;
            document.add(&whose, &value)?;
            place.write(&document.text(&whose, wanted)?).await?;
            let shown = if matches!(whose, Whose::Ada | Whose::Agntix) { None } else { Some(value.as_str()) };
            print(&steps(&whose, &place, shown, &again))?;
            return Ok(true);
        }
        (_, false) => {
            return Err(
                format!("{whose} is being rotated: it has several values; end it with: {again} --finish").into()
            );
        }
    }
    place.write(&document.text(&whose, 1)?).await?;
    print(&format!(
        "{whose}: the first value is kept, and the others are not used any more: by instances in use within 5 minutes, by all\n\
         within 15.\n"
    ))?;
    Ok(true)
}

/// What is left to do, in its order.
fn steps(whose: &Whose, place: &Place, value: Option<&str>, again: &str) -> String {
    let mut told = format!("{place} holds the new value beside the old one. What is left:\n");
    let mut steps = Vec::new();
    if matches!(place, Place::Manager { .. }) {
        steps.push("Wait 5 minutes: by then every instance knows both.".to_owned());
    } else {
        steps.push("Start whatever uses the file again.".to_owned());
    }
    match whose {
        Whose::Ada | Whose::Agntix => {
            steps.push("If the dashboard has not changed the endpoint's signing secret yet, change it now.".to_owned());
            steps.push("Wait until it does not sign with the old one any more: its dashboard says when.".to_owned());
        }
        Whose::Vapi(_) => {
            steps.push(format!("Put this value into the credential at Vapi: {}", value.unwrap_or_default()));
            steps.push("Wait until no call that began before is running.".to_owned());
        }
        Whose::Client(_) => steps.push(format!("Give the client this token: {}", value.unwrap_or_default())),
    }
    steps.push(format!("{again} --finish"));
    for (n, step) in steps.iter().enumerate() {
        let _ = writeln!(told, "  {}. {step}", n + 1);
    }
    told
}

/// A value nobody can guess: 256 bits.
fn made() -> Result<String, Error> {
    Ok(format!("{}{}", Nonce::random()?, Nonce::random()?))
}

/// A value from standard input.
fn asked(whose: &Whose) -> Result<String, Error> {
    if std::io::stdin().is_terminal() {
        print(&format!("The value of {whose}, then Enter: "))?;
    }
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(line.trim().to_owned())
}

fn summary(place: &Place, secrets: &Secrets) -> String {
    let mut told = format!("{place}\n");
    let count = |n: usize, one: &str| if n == 1 { format!("1 {one}") } else { format!("{n} {one}s") };
    let mut line = |name: &str, what: Vec<String>| {
        let state = if what.is_empty() { "closed" } else { "open" };
        let line = format!("  {name:<11} {state:<7} {}", what.join(", "));
        let _ = writeln!(told, "{}", line.trim_end());
    };
    for (name, keys) in [("ada", secrets.ada.len()), ("agntix", secrets.agntix.len())] {
        line(name, (keys > 0).then(|| count(keys, "signing secret")).into_iter().collect());
    }
    let scheme = |scheme: &gatehouse_edge::scheme::Scheme| {
        format!("{} in {} ({})", scheme.kind(), scheme.header(), count(scheme.len(), "value"))
    };
    line("vapi", secrets.vapi.iter().map(scheme).collect());
    let chat = &secrets.agent_chat;
    let clients = chat.clients.iter().map(|client| format!("client {}", client.id));
    let issuers = chat.issuers.iter().map(|issuer| format!("users of {}", issuer.issuer));
    let agents = chat.agents.keys().map(|agent| format!("agent {agent}"));
    line("agent_chat", clients.chain(issuers).chain(agents).collect());
    for defect in &secrets.defects {
        let _ = writeln!(told, "  not used: {defect}");
    }
    told
}
