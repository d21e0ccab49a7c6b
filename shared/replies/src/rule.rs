//! One rule: its members, its checks, and what it does with a message.

use std::collections::BTreeSet;
use std::time::Duration;

use gatehouse_payload::json;
use gatehouse_payload::pointer::Pointer;
use gatehouse_payload::strict::{read, without_values};
use gatehouse_vapi::Channel;
use gatehouse_vendor::secrets::is_name;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::answer::{ANSWERED, Kind, NOTIFY_WITHIN, action_json};
use crate::decide::RuleResult;
use crate::message::VapiMessage;
use crate::template::{Missing, Template};
use crate::when::{EVERY, When};

/// Longest `within` of a rule for every message. Each message has the limit of its kind as well.
const MAX_WITHIN: Duration = Kind::Tools.max_within();

#[derive(Debug, Clone)]
pub(crate) struct Rule {
    /// `server rule 2`
    pub(crate) name: String,
    pub(crate) when: When,
    pub(crate) reply: Option<Template>,
    pub(crate) act: Option<Template>,
    pub(crate) ask: Option<Ask>,
}

/// How a rule asks a service.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) service: String,
    /// The time limit, if the rule sets one.
    within: Option<Duration>,
    /// The reply if the service fails.
    pub(crate) otherwise: Option<Template>,
    /// Whether only one copy of an event asks.
    pub(crate) once: bool,
    /// Whether the service's answer is the reply. If not, the service is notified after the event was recorded.
    pub(crate) is_answered: bool,
    /// Whether the service gets the unredacted body.
    pub(crate) unredacted: bool,
}

impl Ask {
    /// Returns the time limit of a notification.
    pub(crate) fn notify_within(&self) -> Duration {
        self.within.unwrap_or(NOTIFY_WITHIN).min(NOTIFY_WITHIN)
    }

    /// Returns the time limit of a question about a message of this kind.
    pub(crate) fn within(&self, kind: Kind) -> Duration {
        self.within.unwrap_or(kind.default_within()).min(kind.max_within())
    }

    /// Returns the reply for a failed service; `None` if a placeholder has no value.
    pub(crate) fn fill_otherwise(&self, message: &VapiMessage) -> Option<Value> {
        self.otherwise.as_ref()?.fill(&|pointer| message.text(pointer)).ok()
    }

    /// Whether the service is notified of a message of this kind, instead of being asked for the reply.
    pub(crate) fn is_notified(&self, kind: Option<Kind>) -> bool {
        !self.is_answered || kind.is_none()
    }
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
    ask: Option<String>,
    within: Option<String>,
    #[serde(rename = "else")]
    otherwise: Option<Value>,
    once: Option<bool>,
    answer: Option<bool>,
    unredacted: Option<bool>,
}

/// A rule's reply and action for one message.
pub(crate) struct Filled {
    pub(crate) reply: Option<Value>,
    pub(crate) act: Option<Result<Value, Missing>>,
}

impl Rule {
    pub(crate) fn parse(name: &str, channel: Channel, text: &RawValue) -> Result<Self, String> {
        reject_repeated_members(text.get())?;
        let value: Value = serde_json::from_str(text.get()).map_err(|error| without_values(&error))?;
        if !value.is_object() {
            return Err("an object is needed".to_owned());
        }
        if value.get("when").is_some_and(|when| !when.is_object()) {
            return Err("when: an object is needed".to_owned());
        }
        let members: RuleMembers = read(value)?;
        let when = members.when.clone();
        let kind = Kind::of(channel, &when.message_type);
        if members.reply.is_none() && members.act.is_none() && members.ask.is_none() {
            return Err("the rule has no reply, no act and no ask".to_owned());
        }
        if when.tool.is_some() && kind != Some(Kind::Tools) {
            return Err("when.tool: only server rules for tool-calls can have a tool".to_owned());
        }
        let is_every = when.message_type == EVERY;
        let check_reply = |reply| match kind {
            Some(kind) => kind.checked_json(reply),
            None if is_every => Err("the reply depends on the type of the message; name the type".to_owned()),
            None => Err(format!(
                "Vapi does not wait for a reply to this server message, only to: {}. Use act to act on the call",
                ANSWERED.map(|answered| answered.0).join(", ")
            )),
        };
        let ask = members.ask(kind, is_every, &check_reply)?;
        let reply = parse_template("reply", members.reply, &check_reply)?;
        let act = parse_template("act", members.act, &action_json)?;
        Ok(Rule { name: name.to_owned(), when, reply, act, ask })
    }

    /// The filled reply and action; `None` if the rule does not apply.
    pub(crate) fn fill(&self, message: &VapiMessage) -> Option<Filled> {
        if !self.when.applies(message) {
            return None;
        }
        let text = |pointer: &Pointer| message.text(pointer);
        let reply = self.reply.as_ref().map(|reply| reply.fill(&text)).transpose().ok()?;
        let act = self.act.as_ref().map(|act| act.fill(&text));
        // A rule that only acts does not apply if its action cannot be filled. Another rule may apply.
        let only_acts = reply.is_none() && self.ask.is_none();
        if only_acts && matches!(act, Some(Err(_))) { None } else { Some(Filled { reply, act }) }
    }

    /// Returns the reply, and adds the action to `chosen`. If the reply is invalid, the action is dropped too.
    pub(crate) fn finish<T>(
        &self,
        filled: Filled,
        reply: Option<Result<T, String>>,
        chosen: &mut RuleResult,
    ) -> Option<T> {
        let mut fault = |member: &str, reason: String| chosen.faults.push(format!("{}: {member}: {reason}", self.name));
        let reply = match reply {
            None => None,
            Some(Ok(reply)) => Some(reply),
            Some(Err(reason)) => {
                fault(if self.ask.is_some() { "else" } else { "reply" }, reason);
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

    pub(crate) fn templates(&self) -> impl Iterator<Item = &Template> {
        let otherwise = self.ask.as_ref().and_then(|ask| ask.otherwise.as_ref());
        self.reply.iter().chain(&self.act).chain(otherwise)
    }

    pub(crate) fn pointers(&self) -> impl Iterator<Item = &Pointer> {
        self.when.conditions.pointers().chain(self.templates().flat_map(Template::pointers))
    }

    /// Whether this rule applies to every message that `other` applies to, and decides its reply.
    pub(crate) fn shadows(&self, other: &Rule) -> bool {
        let same_type = [EVERY, &other.when.message_type].contains(&self.when.message_type.as_str());
        let same_tool = self.when.tool.is_none() || self.when.tool == other.when.tool;
        let is_unconditional = self.when.conditions.is_empty()
            && match (&self.reply, &self.act) {
                (Some(reply), _) => !reply.needs_text(),
                (None, act) => act.as_ref().is_none_or(|act| !act.needs_text()),
            };
        // The rules after a question are for failures of the service.
        same_type && same_tool && is_unconditional && self.ask.is_none()
    }
}

impl RuleMembers {
    fn ask(
        &self,
        kind: Option<Kind>,
        is_every: bool,
        check_reply: &dyn Fn(Value) -> Result<String, String>,
    ) -> Result<Option<Ask>, String> {
        let Some(service) = &self.ask else {
            let options = [
                ("within", self.within.is_some()),
                ("else", self.otherwise.is_some()),
                ("once", self.once.is_some()),
                ("answer", self.answer.is_some()),
                ("unredacted", self.unredacted.is_some()),
            ];
            let lone = options.into_iter().find(|(_, is_set)| *is_set);
            return lone.map_or(Ok(None), |(name, _)| Err(format!("{name}: it is only valid with ask")));
        };
        if !is_name(service) {
            return Err("ask: the name of a service has 1 to 64 letters, digits, - and _".to_owned());
        }
        if self.reply.is_some() {
            return Err("reply: it cannot be combined with ask; put the reply for a failure into else".to_owned());
        }
        let is_answered = self.answer.unwrap_or(true);
        if !is_answered || (kind.is_none() && !is_every) {
            let why = "it has no effect, because the service's answer to this message is ignored";
            let unused = [("else", self.otherwise.is_some()), ("once", self.once.is_some())];
            if let Some((name, _)) = unused.into_iter().find(|(_, is_set)| *is_set) {
                return Err(format!("{name}: {why}"));
            }
        }
        let max = match kind {
            _ if !is_answered => NOTIFY_WITHIN,
            Some(kind) => kind.max_within(),
            None if is_every => MAX_WITHIN,
            None => NOTIFY_WITHIN,
        };
        let within = self.within.as_deref().map(|within| parse_within(within, max)).transpose();
        Ok(Some(Ask {
            service: service.clone(),
            within: within.map_err(|reason| format!("within: {reason}"))?,
            otherwise: parse_template("else", self.otherwise.clone(), check_reply)?,
            once: self.once.unwrap_or(true),
            is_answered,
            unredacted: self.unredacted.unwrap_or(false),
        }))
    }
}

/// Parses a duration such as `8s` or `1500ms`.
fn parse_within(text: &str, max: Duration) -> Result<Duration, String> {
    let shape = || "a duration such as 8s, 2.5s or 1500ms is needed".to_owned();
    let (number, seconds) = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(number), _) => (number, 0.001),
        (None, Some(number)) => (number, 1.0),
        (None, None) => return Err(shape()),
    };
    let is_number = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let number: f64 = number.parse().ok().filter(|_| is_number).ok_or_else(shape)?;
    let within = Duration::try_from_secs_f64(number * seconds).map_err(|_| shape())?;
    if within.is_zero() || within > max {
        return Err(format!("more than 0 s and at most {} s are possible for this message", max.as_secs_f64()));
    }
    Ok(within)
}

fn parse_template(
    member: &str,
    value: Option<Value>,
    check: &dyn Fn(Value) -> Result<String, String>,
) -> Result<Option<Template>, String> {
    let Some(value) = value else { return Ok(None) };
    let template = Template::of(value).and_then(|template| {
        let example = template.example();
        let checked = check(example.clone())?;
        check_shape(&example, &serde_json::from_str(&checked).unwrap_or_default())?;
        Ok(template)
    });
    template.map(Some).map_err(|reason| format!("{member}: {reason}"))
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
