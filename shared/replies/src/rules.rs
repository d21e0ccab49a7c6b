//! The rules file: the replies to messages and the actions on calls.

use std::collections::{BTreeMap, BTreeSet};

use gatehouse_payload::json;
use gatehouse_payload::pointer::Pointer;
use gatehouse_payload::strict::{read, without_values};
use gatehouse_vapi::Channel;
use gatehouse_vapi::response::{Line, ToolCallsResponse, ToolOutcome, ToolResult};
use gatehouse_vapi::tool_calls::ToolCall;
use gatehouse_vapi::types::{CLIENT_MESSAGE_OPTIONS, CLIENT_MESSAGES, SERVER_MESSAGE_OPTIONS, SERVER_MESSAGES};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use tokio::time::Instant;

use crate::answer::{ANSWER_LIMIT, ANSWERED, Kind, action_json, to_json};
use crate::message::VapiMessage;
use crate::template::{Missing, Template};
use crate::when::When;

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

/// The result of applying the rules to a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleResult {
    /// The reply as JSON text.
    pub reply: Option<String>,
    /// The messages to send to the live call, as JSON texts.
    pub act: Vec<String>,
    /// The names of the rules that were applied, such as `server rule 2`.
    pub rules: BTreeSet<String>,
    /// Errors for the log: invalid replies and actions, tool calls without an id or a name, a reached deadline.
    pub faults: Vec<String>,
}

#[derive(Debug, Clone)]
struct Rule {
    /// `server rule 2`
    name: String,
    when: When,
    reply: Option<Template>,
    act: Option<Template>,
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

/// The members of a rule.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct RuleMembers {
    /// Ignored; a comment for readers.
    #[serde(rename = "about", default)]
    _about: Option<String>,
    when: When,
    reply: Option<Value>,
    act: Option<Value>,
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
                if !known(channel).contains(&message_type.as_str()) {
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

    /// Applies the rules to a message. The first rule that applies decides. A rule does not apply if the message lacks
    /// a text that its reply needs.
    ///
    /// The rules are applied to each tool call separately, except to those in `known`, which has their outcomes by the
    /// call's id. After `until` no more rules are tried.
    #[must_use]
    pub fn choose(
        &self,
        channel: Channel,
        message: &VapiMessage,
        known: &BTreeMap<String, ToolOutcome>,
        until: Option<Instant>,
    ) -> RuleResult {
        let mut chosen = RuleResult::default();
        let Some(message_type) = message.message_type() else { return chosen };
        let kind = Kind::of(channel, message_type);
        if kind == Some(Kind::Tools) {
            self.choose_for_tools(message, known, until, &mut chosen);
        } else if let Some((rule, mut filled)) = self.first(channel, message, until, &mut chosen) {
            let reply = filled.reply.take().zip(kind).map(|(reply, kind)| kind.checked_json(reply));
            chosen.reply = rule.finish(filled, reply, &mut chosen);
        }
        chosen
    }

    /// Replies to a message with tool calls: one result for each call, in the calls' order, except for calls whose rule
    /// only acts. If no call has a result, there is no reply. Otherwise the calls without a rule get an error.
    fn choose_for_tools(
        &self,
        message: &VapiMessage,
        known: &BTreeMap<String, ToolOutcome>,
        until: Option<Instant>,
        chosen: &mut RuleResult,
    ) {
        let tool_calls = message.tool_calls();
        if tool_calls.unidentified > 0 {
            chosen.faults.push(format!("{} tool calls have no id or no name", tool_calls.unidentified));
        }
        // All results share the length limit of the reply.
        let limit = (ANSWER_LIMIT / tool_calls.calls.len().max(1)).saturating_sub(RESULT_OVERHEAD);
        let mut results = Vec::new();
        let mut is_answered = false;
        for call in tool_calls.calls {
            let reply = match known.get(&call.id) {
                Some(outcome) => ToolReply::Outcome(outcome.clone()),
                None => self.result(&call, message, until, chosen),
            };
            is_answered |= matches!(reply, ToolReply::Outcome(_));
            let error = |reason: &str| ToolOutcome::Error(Line::of(reason));
            let outcome = match reply {
                ToolReply::Outcome(ToolOutcome::Result(line) | ToolOutcome::Error(line))
                    if line.as_str().len() > limit =>
                {
                    chosen.faults.push(format!("the result of a tool has more than {limit} bytes"));
                    error("The result is too long.")
                }
                ToolReply::Outcome(outcome) => outcome,
                ToolReply::NoReply => error("No result is configured for this tool."),
                ToolReply::ActOnly => continue,
            };
            let ToolCall { id: tool_call_id, name, .. } = call;
            results.push(ToolResult { tool_call_id, name, outcome, message: None, metadata: None });
        }
        if is_answered {
            let reply = match results.as_slice() {
                [one] if message.message_type() == Some("function-call") => to_json(&one.outcome),
                _ => to_json(&ToolCallsResponse::Results(results)),
            };
            chosen.reply = reply.map_err(|reason| chosen.faults.push(format!("the results: {reason}"))).ok();
        }
    }

    /// Applies the rules to one tool call.
    fn result(
        &self,
        call: &ToolCall,
        message: &VapiMessage,
        until: Option<Instant>,
        chosen: &mut RuleResult,
    ) -> ToolReply {
        let Some((rule, mut filled)) = self.first(Channel::Server, &message.about(call), until, chosen) else {
            return ToolReply::NoReply;
        };
        let reply = filled.reply.take().map(read);
        let had_reply = reply.is_some();
        match rule.finish(filled, reply, chosen) {
            Some(outcome) => ToolReply::Outcome(outcome),
            None if had_reply => ToolReply::NoReply,
            None => ToolReply::ActOnly,
        }
    }

    /// The first rule that applies, with its templates filled.
    fn first(
        &self,
        channel: Channel,
        message: &VapiMessage,
        until: Option<Instant>,
        chosen: &mut RuleResult,
    ) -> Option<(&Rule, Filled)> {
        for rule in if channel == Channel::Client { &self.client } else { &self.server } {
            if until.is_some_and(|until| Instant::now() >= until) {
                chosen.faults.push(format!("deadline reached before {}", rule.name));
                return None;
            }
            if let Some(filled) = rule.fill(message) {
                chosen.rules.insert(rule.name.clone());
                return Some((rule, filled));
            }
        }
        None
    }
}

/// The reply of the rules to a tool call.
enum ToolReply {
    /// A result or an error.
    Outcome(ToolOutcome),
    /// No rule applies, or the reply of the rule is invalid.
    NoReply,
    /// The rule only acts and leaves the call without a result.
    ActOnly,
}

/// Bytes that are reserved for a result's id, name and member names.
const RESULT_OVERHEAD: usize = 512;

/// A rule's reply and action for one message.
struct Filled {
    reply: Option<Value>,
    act: Option<Result<Value, Missing>>,
}

impl Rule {
    fn parse(name: &str, channel: Channel, text: &RawValue) -> Result<Self, String> {
        reject_repeated_members(text.get())?;
        let value: Value = serde_json::from_str(text.get()).map_err(|error| without_values(&error))?;
        if !value.is_object() {
            return Err("an object is needed".to_owned());
        }
        if value.get("when").is_some_and(|when| !when.is_object()) {
            return Err("when: an object is needed".to_owned());
        }
        let RuleMembers { when, reply, act, .. } = read(value)?;
        let kind = Kind::of(channel, &when.message_type);
        if reply.is_none() && act.is_none() {
            return Err("the rule has neither a reply nor an act".to_owned());
        }
        if when.tool.is_some() && kind != Some(Kind::Tools) {
            return Err("when.tool: only server rules for tool-calls can have a tool".to_owned());
        }
        let parse_template = |member: &str, value: Option<Value>, check: &dyn Fn(Value) -> Result<String, String>| {
            let Some(value) = value else { return Ok(None) };
            let template = Template::of(value).and_then(|template| {
                let example = template.example();
                let checked = check(example.clone())?;
                check_shape(&example, &serde_json::from_str(&checked).unwrap_or_default())?;
                Ok(template)
            });
            template.map(Some).map_err(|reason| format!("{member}: {reason}"))
        };
        let check_reply = |reply| match kind {
            Some(kind) => kind.checked_json(reply),
            None => Err(format!(
                "Vapi does not wait for a reply to this server message, only to: {}. Use act to act on the call",
                ANSWERED.map(|answered| answered.0).join(", ")
            )),
        };
        let reply = parse_template("reply", reply, &check_reply)?;
        let act = parse_template("act", act, &action_json)?;
        Ok(Rule { name: name.to_owned(), when, reply, act })
    }

    /// The filled reply and action; `None` if the rule does not apply.
    fn fill(&self, message: &VapiMessage) -> Option<Filled> {
        if !self.when.applies(message) {
            return None;
        }
        let text = |pointer: &Pointer| message.text(pointer);
        let reply = self.reply.as_ref().map(|reply| reply.fill(&text)).transpose().ok()?;
        let act = self.act.as_ref().map(|act| act.fill(&text));
        // A rule that only acts does not apply if its action cannot be filled. Another rule may apply.
        if reply.is_none() && matches!(act, Some(Err(_))) { None } else { Some(Filled { reply, act }) }
    }

    /// Returns the reply, and adds the action to `chosen`. If the reply is invalid, the action is dropped too.
    fn finish<T>(&self, filled: Filled, reply: Option<Result<T, String>>, chosen: &mut RuleResult) -> Option<T> {
        let mut fault = |member: &str, reason: String| chosen.faults.push(format!("{}: {member}: {reason}", self.name));
        let reply = match reply {
            None => None,
            Some(Ok(reply)) => Some(reply),
            Some(Err(reason)) => {
                fault("reply", reason);
                return None;
            }
        };
        match filled.act {
            None => {}
            Some(Err(Missing(pointer))) => fault("act", format!("the message has no text at {pointer}")),
            Some(Ok(act)) => match action_json(act) {
                Ok(act) => chosen.act.push(act),
                Err(reason) => fault("act", reason),
            },
        }
        reply
    }

    fn templates(&self) -> impl Iterator<Item = &Template> {
        self.reply.iter().chain(&self.act)
    }

    fn pointers(&self) -> impl Iterator<Item = &Pointer> {
        self.when.conditions.keys().map(|key| &key.0).chain(self.templates().flat_map(Template::pointers))
    }

    /// Whether this rule applies to every message that `other` applies to.
    fn shadows(&self, other: &Rule) -> bool {
        let same_type = self.when.message_type == other.when.message_type;
        let same_tool = self.when.tool.is_none() || self.when.tool == other.when.tool;
        let is_unconditional = self.when.conditions.is_empty()
            && match (&self.reply, &self.act) {
                (Some(reply), _) => !reply.needs_text(),
                (None, act) => act.as_ref().is_none_or(|act| !act.needs_text()),
            };
        same_type && same_tool && is_unconditional
    }
}

/// Rejects repeated members at any depth. Serde would silently use the last one.
fn reject_repeated_members(value: &str) -> Result<(), String> {
    let mut names = BTreeSet::new();
    for (name, value) in json::members(value) {
        reject_repeated_members(value.get()).map_err(|reason| format!("{name}.{reason}"))?;
        if let Some(repeated) = names.replace(name) {
            return Err(format!("{repeated}: the member occurs twice"));
        }
    }
    for (n, value) in serde_json::from_str::<Vec<&RawValue>>(value).unwrap_or_default().into_iter().enumerate() {
        reject_repeated_members(value.get()).map_err(|reason| format!("[{n}].{reason}"))?;
    }
    Ok(())
}

/// Rejects an array in place of an object. Serde would use its elements as the members.
fn check_shape(given: &Value, checked: &Value) -> Result<(), String> {
    match (given, checked) {
        (Value::Array(_), Value::Array(_)) | (Value::Object(_), Value::Object(_)) => {}
        (Value::Array(_), _) => return Err("an object is needed".to_owned()),
        _ => return Ok(()),
    }
    let parts: Vec<(String, &Value, &Value)> = match (given, checked) {
        (Value::Array(a), Value::Array(b)) => {
            a.iter().zip(b).enumerate().map(|(n, (a, b))| (format!("[{n}]"), a, b)).collect()
        }
        (Value::Object(a), Value::Object(b)) => {
            a.iter().filter_map(|(name, a)| Some((name.clone(), a, b.get(name)?))).collect()
        }
        _ => Vec::new(),
    };
    parts.into_iter().try_for_each(|(place, a, b)| check_shape(a, b).map_err(|reason| format!("{place}: {reason}")))
}
