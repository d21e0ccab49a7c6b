//! `gatehouse replies`: is a rules file right, and what would a message get?

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use clap::{Subcommand, ValueEnum};
use gatehouse_edge::vapi::Channel;
use gatehouse_local::Error;
use gatehouse_payload::json::Document;
use gatehouse_payload::vapi::message::{ClientMessage, ServerMessage};
use gatehouse_replies::{Chosen, Hosts, Kind, Rules, Said, control};

use crate::shell::{print, read, read_text};

/// The rules that the functions are built with.
const FILE: &str = "functions/replies.json";

pub(crate) const EXAMPLES: &str = "\
Examples:
  gatehouse replies check
  gatehouse replies try functions/replies.dev.json --message tests/fixtures/vapi/tool-calls.json --as server

How rules are written: docs/replies.md";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Say whether a rules file is right, and what is wrong with it
    #[command(after_help = EXAMPLES)]
    Check {
        /// The rules
        #[arg(default_value = FILE)]
        file: PathBuf,
    },
    /// Show what a message would get by the rules; nothing is sent
    #[command(after_help = EXAMPLES)]
    Try {
        /// The rules
        file: PathBuf,
        /// The message, as Vapi delivers it; `-` reads standard input
        #[arg(long, value_name = "FILE")]
        message: PathBuf,
        /// As what it comes [default: as whatever Vapi sends messages of its type]
        #[arg(long = "as", value_name = "CHANNEL")]
        channel: Option<To>,
    },
}

/// Which of Vapi's two streams a message comes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum To {
    Client,
    Server,
}

pub(crate) fn run(command: &Command) -> Result<bool, Error> {
    match command {
        Command::Check { file } => {
            let rules = rules(file)?;
            let doubts = rules.doubts();
            let mut told: String = doubts.iter().fold(String::new(), |told, doubt| told + doubt + "\n");
            let count = match rules.len() {
                0 => "no rules: every message gets the answer that says nothing".to_owned(),
                1 => "1 rule".to_owned(),
                n => format!("{n} rules"),
            };
            writeln!(told, "{}: {count}", file.display())?;
            print(&told)?;
            Ok(true)
        }
        Command::Try { file, message, channel } => {
            let rules = rules(file)?;
            let body = read(message)?;
            let said = Said::of(&body);
            let file = message.display();
            Document::read(&body).map_err(|error| format!("{file}: {error}"))?;
            let Some(message_type) = said.message_type() else {
                return Err(format!("{file}: it is no message of Vapi's: it has no type").into());
            };
            let mut told = String::new();
            for channel in channels(*channel, message_type) {
                let chosen = rules.choose(channel, &said, &BTreeMap::new(), None);
                tell(&mut told, channel, message_type, &said, &chosen)?;
            }
            print(&told)?;
            Ok(true)
        }
    }
}

fn rules(file: &Path) -> Result<Rules, Error> {
    Ok(Rules::parse(&file.display().to_string(), &read_text(file)?)?)
}

/// Where a message of this type may come: both ways when Vapi documents neither.
fn channels(asked: Option<To>, message_type: &str) -> Vec<Channel> {
    let documented = [(Channel::Client, ClientMessage::KINDS), (Channel::Server, ServerMessage::KINDS)];
    let known = documented.iter().filter(|(_, kinds)| kinds.contains(&message_type)).map(|(channel, _)| *channel);
    match asked {
        Some(To::Client) => vec![Channel::Client],
        Some(To::Server) => vec![Channel::Server],
        None => {
            let known: Vec<_> = known.collect();
            if known.is_empty() { vec![Channel::Client, Channel::Server] } else { known }
        }
    }
}

fn tell(
    told: &mut String,
    channel: Channel,
    message_type: &str,
    said: &Said,
    chosen: &Chosen,
) -> Result<(), std::fmt::Error> {
    let rules: Vec<&str> = chosen.rules.iter().map(String::as_str).collect();
    let rules = if rules.is_empty() { "no rule applies".to_owned() } else { rules.join(", ") };
    // What stands in a file may move the cursor.
    let plain = !message_type.chars().any(char::is_control);
    let shown = if plain { message_type.to_owned() } else { format!("{message_type:?}") };
    writeln!(told, "{shown}, as a {} message: {rules}", channel.as_str())?;
    if (channel, message_type) == (Channel::Server, "voice-request") {
        writeln!(told, "  answer  501: it wants audio")?;
    } else {
        let otherwise = Kind::of(channel, message_type).map_or("{}", Kind::otherwise);
        writeln!(told, "  answer  {}", chosen.reply.as_deref().unwrap_or(otherwise))?;
    }
    for act in &chosen.act {
        writeln!(told, "  act     {act}")?;
    }
    if let (false, Err(why)) = (chosen.act.is_empty(), control::target(Hosts::Vapi, said)) {
        let here =
            if control::target(Hosts::Loopback, said).is_ok() { ", but to this machine: in dev it is" } else { "" };
        writeln!(told, "          not done in AWS: {why}{here}")?;
    }
    chosen.faults.iter().try_for_each(|fault| writeln!(told, "  wrong   {fault}"))
}
