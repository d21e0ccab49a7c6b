//! The rules file: which message is answered with what, and what is done about it.

use std::collections::BTreeMap;

use gatehouse_edge::vapi::Channel;
use gatehouse_payload::vapi::message::{ClientMessage, ServerMessage};
use gatehouse_payload::vapi::response::{Line, ToolCallsResponse, ToolOutcome, ToolResult};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::answer::{ANSWERED, Kind, read, to_json, without_values, written_action};
use crate::message::Said;
use crate::template::{Missing, Template};
use crate::when::When;

/// A rules file.
#[derive(Debug, Clone)]
pub struct Rules {
    file: String,
    client: Vec<Rule>,
    server: Vec<Rule>,
}

/// Why a file holds no rules. Names file, rule and member, and shows no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {place}{why}")]
pub struct BadRules {
    file: String,
    /// `server rule 2: `, or nothing.
    place: String,
    why: String,
}

/// What the rules say to a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chosen {
    /// The answer: JSON text.
    pub reply: Option<String>,
    /// The messages to send to the live call: JSON texts.
    pub act: Vec<String>,
    /// Which rules say so: `server rule 2`.
    pub rules: Vec<String>,
    /// Which rules apply, but come to something Vapi would not understand, and why.
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

/// The file's members.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct File<'a> {
    /// For editors.
    #[serde(rename = "$schema", default)]
    _schema: Option<String>,
    #[serde(borrow, default)]
    client: Vec<&'a RawValue>,
    #[serde(borrow, default)]
    server: Vec<&'a RawValue>,
}

/// A rule's members.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct Written {
    /// For readers.
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

    /// Reads a file's text. Every rule is checked as far as it can be before a message is there: a reply with its defaults
    /// in place must be one that Vapi understands.
    ///
    /// # Errors
    /// The first thing that is wrong. `file` is how the error names the file.
    pub fn parse(file: &str, text: &str) -> Result<Self, BadRules> {
        let bad = |place: String, why| BadRules { file: file.to_owned(), place, why };
        // Serde would take an array's elements for the members.
        if text.trim_start().starts_with('[') {
            return Err(bad(String::new(), "an object is needed".to_owned()));
        }
        let members: File<'_> =
            serde_json::from_str(text).map_err(|error| bad(String::new(), without_values(&error)))?;
        let rules = |channel: Channel, rules: Vec<&RawValue>| {
            let rule = |(n, rule): (usize, &RawValue)| {
                let name = format!("{} rule {}", channel.as_str(), n + 1);
                Rule::parse(&name, channel, rule).map_err(|why| bad(format!("{name}: "), why))
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

    /// How many rules there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.client.len() + self.server.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Rules that can hardly be meant: about a type that Vapi does not document, or sends the other way.
    #[must_use]
    pub fn doubts(&self) -> Vec<String> {
        let doubt = |rules: &[Rule], channel: Channel, known: &[&str]| -> Vec<String> {
            let unknown = rules.iter().filter(|rule| !known.contains(&rule.when.message_type.as_str()));
            let doubt = |rule: &Rule| {
                let (file, name, message_type) = (&self.file, &rule.name, &rule.when.message_type);
                format!("{file}: {name}: Vapi documents no {} message of the type {message_type}", channel.as_str())
            };
            unknown.map(doubt).collect()
        };
        let mut doubts = doubt(&self.client, Channel::Client, ClientMessage::KINDS);
        doubts.extend(doubt(&self.server, Channel::Server, ServerMessage::KINDS));
        doubts
    }

    /// What the rules say to a message. The first that applies decides, and one whose reply needs something that the message
    /// does not have does not apply. Of tool calls, each is asked about; `known` holds the outcomes that are known already, by
    /// the call's id.
    #[must_use]
    pub fn choose(&self, channel: Channel, said: &Said<'_>, known: &BTreeMap<String, ToolOutcome>) -> Chosen {
        let mut chosen = Chosen::default();
        let Some(message_type) = said.message_type() else { return chosen };
        let kind = Kind::of(channel, message_type);
        if kind == Some(Kind::Tools) {
            self.choose_for_tools(said, known, &mut chosen);
        } else {
            chosen.reply = self.first(channel, said, &mut chosen).and_then(|(rule, reply)| {
                let reply = kind?.written(reply?);
                reply.map_err(|why| chosen.faults.push(format!("{rule}: reply: {why}"))).ok()
            });
        }
        chosen
    }

    /// One message may call several tools: a result for each call, in the calls' order. Where nobody has a result for any of
    /// them there is no answer; where only some have one, the others are told so.
    fn choose_for_tools(&self, said: &Said<'_>, known: &BTreeMap<String, ToolOutcome>, chosen: &mut Chosen) {
        let mut results = Vec::new();
        let mut is_answered = false;
        for call in said.tool_calls() {
            let outcome = known.get(&call.id).cloned().or_else(|| {
                let (rule, reply) = self.first(Channel::Server, &said.about(&call), chosen)?;
                read(reply?).map_err(|why| chosen.faults.push(format!("{rule}: reply: {why}"))).ok()
            });
            is_answered |= outcome.is_some();
            let outcome =
                outcome.unwrap_or_else(|| ToolOutcome::Error(Line::of("No result is configured for this tool.")));
            let (tool_call_id, name) = (call.id, call.name);
            results.push(ToolResult { tool_call_id, name, outcome, message: None, metadata: None });
        }
        if is_answered {
            let reply = to_json(&ToolCallsResponse::Results(results));
            chosen.reply = reply.map_err(|why| chosen.faults.push(format!("the results: {why}"))).ok();
        }
    }

    /// The first rule that applies, with its reply; what it does goes to `chosen`.
    fn first(&self, channel: Channel, said: &Said<'_>, chosen: &mut Chosen) -> Option<(&str, Option<Value>)> {
        let rules = if channel == Channel::Client { &self.client } else { &self.server };
        let (rule, reply, act) = rules.iter().find_map(|rule| {
            let (reply, act) = rule.fill(said)?;
            Some((rule, reply, act))
        })?;
        chosen.rules.push(rule.name.clone());
        match act.map(written_action) {
            Some(Ok(act)) => chosen.act.push(act),
            Some(Err(why)) => chosen.faults.push(format!("{}: act: {why}", rule.name)),
            None => {}
        }
        Some((&rule.name, reply))
    }
}

impl Rule {
    fn parse(name: &str, channel: Channel, text: &RawValue) -> Result<Self, String> {
        let value: Value = serde_json::from_str(text.get()).map_err(|error| without_values(&error))?;
        let Written { when, reply, act, .. } = read(value)?;
        let kind = Kind::of(channel, &when.message_type);
        if reply.is_none() && act.is_none() {
            return Err("it has neither a reply nor an act".to_owned());
        }
        if when.tool.is_some() && kind != Some(Kind::Tools) {
            return Err("when.tool: only a server's rule about tool-calls has a tool".to_owned());
        }
        let template = |member: &str, value: Option<Value>, check: &dyn Fn(Value) -> Result<String, String>| {
            let Some(value) = value else { return Ok(None) };
            let template = Template::of(value).and_then(|template| check(template.example()).map(|_| template));
            template.map(Some).map_err(|why| format!("{member}: {why}"))
        };
        let of_kind = |reply| match kind {
            Some(kind) => kind.written(reply),
            None => Err(format!(
                "Vapi expects no answer to this message of a server's, only to: {}. To do something about it, use act",
                ANSWERED.map(|answered| answered.0).join(", ")
            )),
        };
        let reply = template("reply", reply, &of_kind)?;
        let act = template("act", act, &written_action)?;
        Ok(Rule { name: name.to_owned(), when, reply, act })
    }

    /// The reply and the action; `None` when the rule does not apply.
    fn fill(&self, said: &Said<'_>) -> Option<(Option<Value>, Option<Value>)> {
        if !self.when.applies(said) {
            return None;
        }
        let fill = |template: &Option<Template>| template.as_ref().map(|template| template.fill(said)).transpose();
        let filled = |reply: Result<_, Missing>, act: Result<_, Missing>| Some((reply.ok()?, act.ok()?));
        filled(fill(&self.reply), fill(&self.act))
    }
}
