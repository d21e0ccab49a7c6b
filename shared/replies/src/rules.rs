//! The rules file: which message is answered with what, and what is done about it.

use std::collections::{BTreeMap, BTreeSet};

use gatehouse_edge::vapi::Channel;
use gatehouse_payload::json;
use gatehouse_payload::pointer::Pointer;
use gatehouse_payload::strict::{read, without_values};
use gatehouse_payload::vapi::assistant::{ClientMessageName, ServerMessageName};
use gatehouse_payload::vapi::message::{ClientMessage, ServerMessage};
use gatehouse_payload::vapi::response::{Line, ToolCallsResponse, ToolOutcome, ToolResult};
use gatehouse_payload::vapi::tool_calls::ToolCall;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use tokio::time::Instant;

use crate::answer::{ANSWER_LIMIT, ANSWERED, Kind, to_json, written_action};
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
    pub rules: BTreeSet<String>,
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

    /// What can hardly be meant, though it is no mistake: types nobody sends, pointers that lead nowhere, rules that never get
    /// their turn, braces that are no place.
    #[must_use]
    pub fn doubts(&self) -> Vec<String> {
        let known = |channel| match channel {
            Channel::Client => [ClientMessage::KINDS, ClientMessageName::WORDS].concat(),
            Channel::Server => [ServerMessage::KINDS, ServerMessageName::WORDS].concat(),
        };
        let mut doubts = Vec::new();
        for (channel, rules) in [(Channel::Client, &self.client), (Channel::Server, &self.server)] {
            for (n, rule) in rules.iter().enumerate() {
                let mut doubt = |what: String| doubts.push(format!("{}: {}: {what}", self.file, rule.name));
                let message_type = &rule.when.message_type;
                if !known(channel).contains(&message_type.as_str()) {
                    doubt(format!("Vapi documents no {} message of the type {message_type}", channel.as_str()));
                }
                for pointer in rule.pointers() {
                    match pointer.split_first() {
                        Some(("message", _)) => doubt(format!("{pointer} begins in the message, not in its envelope")),
                        Some(("tool", _)) if Kind::of(channel, message_type) != Some(Kind::Tools) => {
                            doubt(format!("{pointer} is there only in a server's rules about tool-calls"));
                        }
                        _ => {}
                    }
                }
                if let Some(earlier) = rules[..n].iter().find(|earlier| earlier.takes_all_of(rule)) {
                    doubt(format!("{} always applies first", earlier.name));
                }
                for braces in rule.templates().flat_map(Template::doubtful) {
                    doubt(format!(
                        "{braces} is sent to Vapi as it stands; a place is written {{{{/pointer|default}}}}"
                    ));
                }
            }
        }
        doubts
    }

    /// What the rules say to a message. The first that applies decides, and one whose reply needs something that the message
    /// does not have does not apply. Of tool calls, each is asked about; `known` holds the outcomes that are known already, by
    /// the call's id. After `until` no more rules are asked.
    #[must_use]
    pub fn choose(
        &self,
        channel: Channel,
        said: &Said,
        known: &BTreeMap<String, ToolOutcome>,
        until: Option<Instant>,
    ) -> Chosen {
        let mut chosen = Chosen::default();
        let Some(message_type) = said.message_type() else { return chosen };
        let kind = Kind::of(channel, message_type);
        if kind == Some(Kind::Tools) {
            self.choose_for_tools(said, known, until, &mut chosen);
        } else if let Some((rule, mut filled)) = self.first(channel, said, until, &mut chosen) {
            let reply = filled.reply.take().zip(kind).map(|(reply, kind)| kind.written(reply));
            chosen.reply = rule.settle(filled, reply, &mut chosen);
        }
        chosen
    }

    /// One message may call several tools: a result for each call, in the calls' order. Where nobody has a result for any of
    /// them there is no answer; where only some have one, those that no rule is about are told so.
    fn choose_for_tools(
        &self,
        said: &Said,
        known: &BTreeMap<String, ToolOutcome>,
        until: Option<Instant>,
        chosen: &mut Chosen,
    ) {
        let called = said.tool_calls();
        if called.nameless > 0 {
            chosen.faults.push(format!("{} tool calls have no id or no name", called.nameless));
        }
        // All results share what an answer may have.
        let limit = (ANSWER_LIMIT / called.calls.len().max(1)).saturating_sub(RESULT_ROOM);
        let mut results = Vec::new();
        let mut is_answered = false;
        for call in called.calls {
            let outcome = match known.get(&call.id) {
                Some(outcome) => Some(Ok(outcome.clone())),
                None => self.result(&call, said, until, chosen),
            };
            // A rule is about it, and says nothing.
            let Some(outcome) = outcome else { continue };
            is_answered |= outcome.is_ok();
            let error = |why: &str| ToolOutcome::Error(Line::of(why));
            let outcome = match outcome {
                Ok(ToolOutcome::Result(line) | ToolOutcome::Error(line)) if line.as_str().len() > limit => {
                    chosen.faults.push(format!("the result of one of the tools has more than {limit} bytes"));
                    error("The result is too long.")
                }
                Ok(outcome) => outcome,
                Err(Unanswered) => error("No result is configured for this tool."),
            };
            let ToolCall { id: tool_call_id, name, .. } = call;
            results.push(ToolResult { tool_call_id, name, outcome, message: None, metadata: None });
        }
        if is_answered {
            let reply = match results.as_slice() {
                [one] if said.message_type() == Some("function-call") => to_json(&one.outcome),
                _ => to_json(&ToolCallsResponse::Results(results)),
            };
            chosen.reply = reply.map_err(|why| chosen.faults.push(format!("the results: {why}"))).ok();
        }
    }

    /// What comes of a tool call; `None` where the rule about it has no reply.
    fn result(
        &self,
        call: &ToolCall,
        said: &Said,
        until: Option<Instant>,
        chosen: &mut Chosen,
    ) -> Option<Result<ToolOutcome, Unanswered>> {
        let Some((rule, mut filled)) = self.first(Channel::Server, &said.about(call), until, chosen) else {
            return Some(Err(Unanswered));
        };
        let reply = filled.reply.take().map(read);
        let had_reply = reply.is_some();
        let outcome = rule.settle(filled, reply, chosen);
        if had_reply { Some(outcome.ok_or(Unanswered)) } else { None }
    }

    /// The first rule that applies, filled.
    fn first(
        &self,
        channel: Channel,
        said: &Said,
        until: Option<Instant>,
        chosen: &mut Chosen,
    ) -> Option<(&Rule, Filled)> {
        for rule in if channel == Channel::Client { &self.client } else { &self.server } {
            if until.is_some_and(|until| Instant::now() >= until) {
                chosen.faults.push(format!("out of time before {}", rule.name));
                return None;
            }
            if let Some(filled) = rule.fill(said) {
                chosen.rules.insert(rule.name.clone());
                return Some((rule, filled));
            }
        }
        None
    }
}

/// No rule is about a tool call.
struct Unanswered;

/// What a result needs besides its line: id, name and the names of its members. In bytes.
const RESULT_ROOM: usize = 512;

/// A rule's reply and action for one message.
struct Filled {
    reply: Option<Value>,
    act: Option<Result<Value, Missing>>,
}

impl Rule {
    fn parse(name: &str, channel: Channel, text: &RawValue) -> Result<Self, String> {
        stands_once(text.get())?;
        let value: Value = serde_json::from_str(text.get()).map_err(|error| without_values(&error))?;
        if !value.is_object() {
            return Err("an object is needed".to_owned());
        }
        if value.get("when").is_some_and(|when| !when.is_object()) {
            return Err("when: an object is needed".to_owned());
        }
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
            let template = Template::of(value).and_then(|template| {
                let example = template.example();
                let written = check(example.clone())?;
                has_shape_of(&example, &serde_json::from_str(&written).unwrap_or_default())?;
                Ok(template)
            });
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
    fn fill(&self, said: &Said) -> Option<Filled> {
        if !self.when.applies(said) {
            return None;
        }
        let text = |pointer: &Pointer| said.text(pointer);
        let reply = self.reply.as_ref().map(|reply| reply.fill(&text)).transpose().ok()?;
        let act = self.act.as_ref().map(|act| act.fill(&text));
        // An action alone that cannot be taken is for another rule.
        if reply.is_none() && matches!(act, Some(Err(_))) { None } else { Some(Filled { reply, act }) }
    }

    /// Takes the reply as it is sent, and the action unless the reply is wrong: what was not said is not followed up.
    fn settle<T>(&self, filled: Filled, reply: Option<Result<T, String>>, chosen: &mut Chosen) -> Option<T> {
        let mut fault = |member: &str, why: String| chosen.faults.push(format!("{}: {member}: {why}", self.name));
        let reply = match reply {
            None => None,
            Some(Ok(reply)) => Some(reply),
            Some(Err(why)) => {
                fault("reply", why);
                return None;
            }
        };
        match filled.act {
            None => {}
            Some(Err(Missing(pointer))) => fault("act", format!("the message has no text at {pointer}")),
            Some(Ok(act)) => match written_action(act) {
                Ok(act) => chosen.act.push(act),
                Err(why) => fault("act", why),
            },
        }
        reply
    }

    fn templates(&self) -> impl Iterator<Item = &Template> {
        self.reply.iter().chain(&self.act)
    }

    fn pointers(&self) -> impl Iterator<Item = &Pointer> {
        self.when.holds.keys().map(|at| &at.0).chain(self.templates().flat_map(Template::pointers))
    }

    /// Whether it applies wherever `other` does.
    fn takes_all_of(&self, other: &Rule) -> bool {
        let same_type = self.when.message_type == other.when.message_type;
        let any_tool = self.when.tool.is_none() || self.when.tool == other.when.tool;
        let needs_nothing = self.when.holds.is_empty()
            && match (&self.reply, &self.act) {
                (Some(reply), _) => !reply.needs_text(),
                (None, act) => act.as_ref().is_none_or(|act| !act.needs_text()),
            };
        same_type && any_tool && needs_nothing
    }
}

/// Refuses members that stand twice, wherever: serde would take the last one and say nothing.
fn stands_once(value: &str) -> Result<(), String> {
    let mut names = BTreeSet::new();
    for (name, value) in json::members(value) {
        stands_once(value.get()).map_err(|why| format!("{name}.{why}"))?;
        if let Some(twice) = names.replace(name) {
            return Err(format!("{twice}: it stands twice"));
        }
    }
    for (n, value) in serde_json::from_str::<Vec<&RawValue>>(value).unwrap_or_default().into_iter().enumerate() {
        stands_once(value.get()).map_err(|why| format!("[{n}].{why}"))?;
    }
    Ok(())
}

/// Refuses an array where an object is meant: serde would take its elements for the members.
fn has_shape_of(given: &Value, written: &Value) -> Result<(), String> {
    match (given, written) {
        (Value::Array(_), Value::Array(_)) | (Value::Object(_), Value::Object(_)) => {}
        (Value::Array(_), _) => return Err("an object is needed".to_owned()),
        _ => return Ok(()),
    }
    let parts: Vec<(String, &Value, &Value)> = match (given, written) {
        (Value::Array(a), Value::Array(b)) => {
            a.iter().zip(b).enumerate().map(|(n, (a, b))| (format!("[{n}]"), a, b)).collect()
        }
        (Value::Object(a), Value::Object(b)) => {
            a.iter().filter_map(|(name, a)| Some((name.clone(), a, b.get(name)?))).collect()
        }
        _ => Vec::new(),
    };
    parts.into_iter().try_for_each(|(place, a, b)| has_shape_of(a, b).map_err(|why| format!("{place}: {why}")))
}
