//! `gatehouse replies`: checks a rules file and shows the reply to a message.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use gatehouse_local::Error;
use gatehouse_payload::json::Document;
use gatehouse_replies::{ControlHosts, DEPLOYED, DEPLOYED_FILE, Kind, RuleResult, Rules, VapiMessage, control};
use gatehouse_services::PART;
use gatehouse_vapi::Channel;
use gatehouse_vapi::types::{CLIENT_MESSAGES, SERVER_MESSAGES};

mod ask;

use crate::replies::ask::Asking;
use crate::secrets::{AllSecrets, ServicesPlace};
use crate::shell::{print, read, read_text};

/// The rules file that is compiled into the functions.
const FILE: &str = "functions/replies.json";

pub(crate) const EXAMPLES: &str = "\
Examples:
  gatehouse replies check
  gatehouse replies check --stack gatehouse          also checks that the stack's secret has the services
  gatehouse replies try functions/replies.dev.json --message shared/vendors/vapi/samples/tool-calls.json --as server
  gatehouse replies try mine.json --message message.json --ask --secrets secrets.json

Syntax of the rules: docs/replies.md";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Check a rules file and print its errors
    ///
    /// Exits with 1 if the file is invalid, or if a service is not defined.
    #[command(after_help = EXAMPLES)]
    Check {
        /// Rules file
        #[arg(default_value = FILE)]
        file: PathBuf,
        #[command(flatten)]
        services: ServicesPlace,
    },
    /// Show the reply to a message by the rules; nothing is sent without --ask
    #[command(after_help = EXAMPLES)]
    Try(Try),
}

#[derive(Debug, Args)]
pub(crate) struct Try {
    /// Rules file
    file: PathBuf,
    /// File with the message as Vapi delivers it; `-` reads standard input
    #[arg(long, value_name = "FILE")]
    message: PathBuf,
    /// Channel of the message [default: the channels on which Vapi sends this message type]
    #[arg(long = "as", value_name = "CHANNEL")]
    channel: Option<ChannelArg>,
    /// Really ask the services, and print each request
    #[arg(long)]
    ask: bool,
    #[command(flatten)]
    services: ServicesPlace,
}

/// The channel of a message, by its name on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ChannelArg {
    Client,
    Server,
}

pub(crate) async fn run(command: Command) -> Result<bool, Error> {
    match command {
        Command::Check { file, services } => check(&file, &services).await,
        Command::Try(arguments) => try_rules(arguments).await,
    }
}

async fn check(file: &Path, services: &ServicesPlace) -> Result<bool, Error> {
    // Outside the repository, the rules that are compiled into the functions are checked.
    let is_built_in = file == Path::new(FILE) && !file.exists();
    let rules = if is_built_in { Rules::parse(DEPLOYED_FILE, DEPLOYED)? } else { rules(file)? };
    let warnings = rules.warnings();
    let mut text: String = warnings.iter().fold(String::new(), |text, warning| text + warning + "\n");
    let count = match rules.len() {
        0 => "no rules: every message gets its default reply".to_owned(),
        1 => "1 rule".to_owned(),
        n => format!("{n} rules"),
    };
    let file = file.display();
    let mut is_good = true;
    if rules.questions().next().is_some() {
        match services.read().await? {
            Some((document, place)) => {
                let secrets = AllSecrets::parse(&document, true)?;
                for (rule, service) in rules.questions().filter(|(_, service)| secrets.services.get(service).is_none())
                {
                    is_good = false;
                    let command = format!("gatehouse secrets set service:{service} --url URL");
                    writeln!(text, "{file}: {rule}: ask: {place} has no usable service {service}; run: {command}")?;
                }
                let mut defects = secrets.defects.iter().filter(|defect| defect.starts_with(PART.name));
                defects.try_for_each(|defect| writeln!(text, "{place}: {defect}"))?;
            }
            None => writeln!(text, "{file}: the services are not checked; pass --secrets FILE or --stack NAME")?,
        }
    }
    writeln!(text, "{file}: {count}")?;
    print(&text)?;
    Ok(is_good)
}

async fn try_rules(arguments: Try) -> Result<bool, Error> {
    let Try { file, message, channel, ask, services } = arguments;
    let rules = rules(&file)?;
    let body = read(&message)?;
    let (file, message) = (message.display(), VapiMessage::of(&body));
    Document::read(&body).map_err(|error| format!("{file}: {error}"))?;
    let Some(message_type) = message.message_type() else {
        return Err(format!("{file}: not a message of Vapi, because it has no type").into());
    };
    let asking = match ask {
        true => Some(Asking::new(&services).await?),
        false => None,
    };
    let mut text = String::new();
    for channel in channels(channel, message_type) {
        let chosen = match &asking {
            Some(asking) => asking.decide(&rules, channel, &message, &body, &mut text).await?,
            None => rules.choose(channel, &message, &BTreeMap::new(), None),
        };
        describe(&mut text, channel, message_type, &message, &chosen)?;
    }
    print(&text)?;
    Ok(true)
}

fn rules(file: &Path) -> Result<Rules, Error> {
    Ok(Rules::parse(&file.display().to_string(), &read_text(file)?)?)
}

/// Returns the requested channel, by default those on which Vapi sends this message type. Both if the type is unknown.
fn channels(requested: Option<ChannelArg>, message_type: &str) -> Vec<Channel> {
    let documented = [(Channel::Client, &CLIENT_MESSAGES[..]), (Channel::Server, &SERVER_MESSAGES[..])];
    let known = documented.iter().filter(|(_, kinds)| kinds.contains(&message_type)).map(|(channel, _)| *channel);
    match requested {
        Some(ChannelArg::Client) => vec![Channel::Client],
        Some(ChannelArg::Server) => vec![Channel::Server],
        None => {
            let known: Vec<_> = known.collect();
            if known.is_empty() { vec![Channel::Client, Channel::Server] } else { known }
        }
    }
}

/// Writes which rules apply to a message, and the answer, action and faults that result.
fn describe(
    text: &mut String,
    channel: Channel,
    message_type: &str,
    message: &VapiMessage,
    chosen: &RuleResult,
) -> Result<(), std::fmt::Error> {
    let rules: Vec<&str> = chosen.rules.iter().map(String::as_str).collect();
    let rules = if rules.is_empty() { "no rule applies".to_owned() } else { rules.join(", ") };
    // A type from a file may contain control characters, which could forge lines of this output.
    let is_plain = !message_type.chars().any(char::is_control);
    let shown_type = if is_plain { message_type.to_owned() } else { format!("{message_type:?}") };
    writeln!(text, "{shown_type}, as a {} message: {rules}", channel.as_str())?;
    if (channel, message_type) == (Channel::Server, "voice-request") {
        writeln!(text, "  answer  501: Vapi asks for audio, which Gatehouse does not support")?;
    } else if let Some(service) = &chosen.unasked {
        writeln!(text, "  answer  by the service {service}; pass --ask to ask it")?;
    } else {
        let default = Kind::of(channel, message_type).map_or("{}", Kind::default_reply);
        writeln!(text, "  answer  {}", chosen.reply.as_deref().unwrap_or(default))?;
    }
    for notification in &chosen.notify {
        writeln!(text, "  notify  the service {}, after the event was recorded", notification.service)?;
    }
    for act in &chosen.act {
        writeln!(text, "  act     {act}")?;
    }
    if let (false, Err(why)) = (chosen.act.is_empty(), control::target(ControlHosts::Vapi, message)) {
        let in_dev = if control::target(ControlHosts::Loopback, message).is_ok() { "; done in dev" } else { "" };
        writeln!(text, "          not done in AWS: {why}{in_dev}")?;
    }
    chosen.faults.iter().try_for_each(|fault| writeln!(text, "  wrong   {fault}"))
}
