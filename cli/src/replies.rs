//! `gatehouse replies`: checks a rules file and shows the reply to a message.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use clap::{Subcommand, ValueEnum};
use gatehouse_local::Error;
use gatehouse_payload::json::Document;
use gatehouse_replies::{ControlHosts, Kind, RuleResult, Rules, VapiMessage, control};
use gatehouse_vapi::Channel;
use gatehouse_vapi::types::{CLIENT_MESSAGES, SERVER_MESSAGES};

use crate::shell::{print, read, read_text};

/// The rules file that is compiled into the functions.
const FILE: &str = "functions/replies.json";

pub(crate) const EXAMPLES: &str = "\
Examples:
  gatehouse replies check
  gatehouse replies try functions/replies.dev.json --message shared/vendors/vapi/samples/tool-calls.json --as server

Syntax of the rules: docs/replies.md";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Check a rules file and print its errors
    #[command(after_help = EXAMPLES)]
    Check {
        /// Rules file
        #[arg(default_value = FILE)]
        file: PathBuf,
    },
    /// Show the reply to a message by the rules; nothing is sent
    #[command(after_help = EXAMPLES)]
    Try {
        /// Rules file
        file: PathBuf,
        /// File with the message as Vapi delivers it; `-` reads standard input
        #[arg(long, value_name = "FILE")]
        message: PathBuf,
        /// Channel of the message [default: the channels on which Vapi sends this message type]
        #[arg(long = "as", value_name = "CHANNEL")]
        channel: Option<ChannelArg>,
    },
}

/// The channel of a message, by its name on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ChannelArg {
    Client,
    Server,
}

pub(crate) fn run(command: &Command) -> Result<bool, Error> {
    match command {
        Command::Check { file } => {
            let rules = rules(file)?;
            let warnings = rules.warnings();
            let mut text: String = warnings.iter().fold(String::new(), |text, warning| text + warning + "\n");
            let count = match rules.len() {
                0 => "no rules: every message gets its default reply".to_owned(),
                1 => "1 rule".to_owned(),
                n => format!("{n} rules"),
            };
            writeln!(text, "{}: {count}", file.display())?;
            print(&text)?;
            Ok(true)
        }
        Command::Try { file, message, channel } => {
            let rules = rules(file)?;
            let body = read(message)?;
            let (file, message) = (message.display(), VapiMessage::of(&body));
            Document::read(&body).map_err(|error| format!("{file}: {error}"))?;
            let Some(message_type) = message.message_type() else {
                return Err(format!("{file}: not a message of Vapi, because it has no type").into());
            };
            let mut text = String::new();
            for channel in channels(*channel, message_type) {
                let chosen = rules.choose(channel, &message, &BTreeMap::new(), None);
                describe(&mut text, channel, message_type, &message, &chosen)?;
            }
            print(&text)?;
            Ok(true)
        }
    }
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
    } else {
        let default = Kind::of(channel, message_type).map_or("{}", Kind::default_reply);
        writeln!(text, "  answer  {}", chosen.reply.as_deref().unwrap_or(default))?;
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
