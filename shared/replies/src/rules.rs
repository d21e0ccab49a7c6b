//! The rules file: the replies to messages and the actions on calls.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::FutureExt;
use gatehouse_payload::strict::without_values;
use gatehouse_vapi::Channel;
use gatehouse_vapi::response::ToolOutcome;
use gatehouse_vapi::types::{CLIENT_MESSAGE_OPTIONS, CLIENT_MESSAGES, SERVER_MESSAGE_OPTIONS, SERVER_MESSAGES};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::answer::Kind;
use crate::asker::Asker;
use crate::decide::{Decision, RuleResult};
use crate::message::VapiMessage;
use crate::rule::Rule;
use crate::template::Template;
use crate::when::EVERY;

/// A rules file.
#[derive(Debug, Clone)]
pub struct Rules {
    file: String,
    client: Vec<Rule>,
    server: Vec<Rule>,
}

/// Why a rules file is invalid. Names the file, the rule and the member, and quotes no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {place}{reason}")]
pub struct InvalidRules {
    file: String,
    /// `server rule 2: ` or empty.
    place: String,
    reason: String,
}

/// The members of the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct File<'a> {
    /// Ignored; editors use it.
    #[serde(rename = "$schema", default)]
    _schema: Option<String>,
    #[serde(borrow, default)]
    client: Vec<&'a RawValue>,
    #[serde(borrow, default)]
    server: Vec<&'a RawValue>,
}

impl Rules {
    pub(crate) fn none() -> Self {
        Rules { file: String::new(), client: Vec::new(), server: Vec::new() }
    }

    /// Reads the text of a rules file. Every rule is checked as far as possible without a message: a reply with the
    /// defaults of its placeholders must be valid for Vapi.
    ///
    /// # Errors
    /// The first error in the file. `file` is the name of the file in the error.
    pub fn parse(file: &str, text: &str) -> Result<Self, InvalidRules> {
        let invalid = |place: String, reason| InvalidRules { file: file.to_owned(), place, reason };
        // Serde would accept an array and use its elements as the members.
        if text.trim_start().starts_with('[') {
            return Err(invalid(String::new(), "an object is needed".to_owned()));
        }
        let members: File<'_> =
            serde_json::from_str(text).map_err(|error| invalid(String::new(), without_values(&error)))?;
        let rules = |channel: Channel, rules: Vec<&RawValue>| {
            let rule = |(n, rule): (usize, &RawValue)| {
                let name = format!("{} rule {}", channel.as_str(), n + 1);
                Rule::parse(&name, channel, rule).map_err(|reason| invalid(format!("{name}: "), reason))
            };
            rules.into_iter().enumerate().map(rule).collect::<Result<_, _>>()
        };
        Ok(Rules {
            file: file.to_owned(),
            client: rules(Channel::Client, members.client)?,
            server: rules(Channel::Server, members.server)?,
        })
    }

    /// Whether a rule acts on live calls.
    #[must_use]
    pub fn act(&self) -> bool {
        self.client.iter().chain(&self.server).any(|rule| rule.act.is_some())
    }

    /// Returns the rules that ask a service, each with the name of the service.
    pub fn questions(&self) -> impl Iterator<Item = (&str, &str)> {
        let rules = self.client.iter().chain(&self.server);
        rules.filter_map(|rule| Some((rule.name.as_str(), rule.ask.as_ref()?.service.as_str())))
    }

    /// Returns the longest time that a service may take for the reply to a message of this type; `None` if no service
    /// is asked for it.
    #[must_use]
    pub fn longest_question(&self, channel: Channel, message_type: Option<&str>) -> Option<Duration> {
        let kind = Kind::of(channel, message_type.unwrap_or_default())?;
        let of_type = |rule: &&Rule| rule.when.may_be_of(message_type);
        let asks = self.of(channel).iter().filter(of_type).filter_map(|rule| rule.ask.as_ref());
        asks.filter(|ask| !ask.is_notified(Some(kind))).map(|ask| ask.within(kind)).max()
    }

    /// Applies the rules to a message. The first rule that applies decides. A rule does not apply if the message lacks
    /// a text that its reply needs.
    ///
    /// The rules are applied to each tool call separately, except to those in `known`, which has their outcomes by the
    /// call's id. After `until` no more rules are tried. No service is asked: [`RuleResult::unasked`] names the service
    /// that would decide.
    #[must_use]
    pub fn choose(
        &self,
        channel: Channel,
        message: &VapiMessage,
        known: &BTreeMap<String, ToolOutcome>,
        until: Option<Instant>,
    ) -> RuleResult {
        // Nothing is awaited without an asker.
        self.decide(channel, message, known, until, &Asker::none()).now_or_never().unwrap_or_default()
    }

    /// Applies the rules to a message like [`choose`](Self::choose), and asks services with `asker`.
    pub async fn decide(
        &self,
        channel: Channel,
        message: &VapiMessage,
        known: &BTreeMap<String, ToolOutcome>,
        until: Option<Instant>,
        asker: &Asker<'_>,
    ) -> RuleResult {
        Decision { rules: self.of(channel), channel, message, known, until, asker }.run().await
    }

    fn of(&self, channel: Channel) -> &[Rule] {
        if channel == Channel::Client { &self.client } else { &self.server }
    }

    /// Number of rules.
    #[must_use]
    pub fn len(&self) -> usize {
        self.client.len() + self.server.len()
    }

    /// Whether the file has no rules.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Warnings about rules that are valid but probably wrong: unknown message types, pointers that find nothing, rules
    /// that are never reached, and braces that are not a placeholder.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let known = |channel| match channel {
            Channel::Client => [&CLIENT_MESSAGES[..], &CLIENT_MESSAGE_OPTIONS].concat(),
            Channel::Server => [&SERVER_MESSAGES[..], &SERVER_MESSAGE_OPTIONS].concat(),
        };
        let mut warnings = Vec::new();
        for (channel, rules) in [(Channel::Client, &self.client), (Channel::Server, &self.server)] {
            for (n, rule) in rules.iter().enumerate() {
                let mut warn = |warning: String| warnings.push(format!("{}: {}: {warning}", self.file, rule.name));
                let message_type = &rule.when.message_type;
                if message_type != EVERY && !known(channel).contains(&message_type.as_str()) {
                    warn(format!("Vapi documents no {} message of the type {message_type}", channel.as_str()));
                }
                for pointer in rule.pointers() {
                    match pointer.split_first() {
                        Some(("message", _)) => {
                            warn(format!("{pointer} starts at the envelope; omit /message to start at the message"));
                        }
                        Some(("tool", _)) if Kind::of(channel, message_type) != Some(Kind::Tools) => {
                            warn(format!("{pointer} exists only in server rules for tool-calls"));
                        }
                        _ => {}
                    }
                }
                if let Some(earlier) = rules[..n].iter().find(|earlier| earlier.shadows(rule)) {
                    warn(format!("{} always applies first", earlier.name));
                }
                for braces in rule.templates().flat_map(Template::suspicious_braces) {
                    warn(format!(
                        "{braces} is sent to Vapi unchanged; write a placeholder as {{{{/pointer|default}}}}"
                    ));
                }
            }
        }
        warnings
    }
}
