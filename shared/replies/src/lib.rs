#![doc = include_str!("../README.md")]

pub mod answer;
pub mod control;
pub mod message;
pub mod rules;
#[cfg(feature = "schema")]
pub mod schema;
mod template;
mod when;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use gatehouse_edge::Decision;
use gatehouse_edge::vapi::Channel;
use gatehouse_payload::vapi::response::ToolOutcome;
use serde::Serialize;
use tokio::time::{Instant, timeout_at};

pub use answer::Kind;
pub use control::{Control, Hosts};
pub use gatehouse_payload::vapi::tool_calls::{ToolCall, ToolCalls};
pub use message::Said;
pub use rules::{BadRules, Chosen, Rules};

/// The rules, and what they need to act.
#[derive(Debug, Clone)]
pub struct Replies {
    rules: Rules,
    control: Option<Control>,
}

/// Why there are no replies.
#[derive(Debug, thiserror::Error)]
pub enum NoReplies {
    /// The rules file is wrong.
    #[error(transparent)]
    Rules(#[from] BadRules),
    /// A rule acts, and there is nothing to verify Vapi's certificate with.
    #[error("rules act on live calls, and this machine's root certificates cannot be read: {0}")]
    Roots(#[from] std::io::Error),
}

/// The rules a function is deployed with, as they were when this was built.
pub const DEPLOYED: &str = include_str!("../../../functions/replies.json");
/// Where they are in the repository.
pub const DEPLOYED_FILE: &str = "functions/replies.json";

impl Replies {
    /// No rules: whoever waits for an answer gets the one that says nothing.
    #[must_use]
    pub fn none() -> Self {
        Replies { rules: Rules::none(), control: None }
    }

    /// The rules a function is deployed with: `functions/replies.json`, as it was when this was built.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn deployed() -> Result<Self, NoReplies> {
        Self::parse(DEPLOYED_FILE, DEPLOYED, Hosts::Vapi)
    }

    /// Prepares for what the rules say.
    ///
    /// # Errors
    /// When a rule acts, and the machine has no root certificates.
    pub fn new(rules: Rules, hosts: Hosts) -> Result<Self, NoReplies> {
        let control = rules.act().then(|| Control::new(hosts)).transpose()?;
        Ok(Replies { rules, control })
    }

    /// Reads a rules file and prepares for what it says; `file` is how errors name it.
    ///
    /// # Errors
    /// When a rule is wrong, or acts and the machine has no root certificates.
    pub fn parse(file: &str, text: &str, hosts: Hosts) -> Result<Self, NoReplies> {
        Self::new(Rules::parse(file, text)?, hosts)
    }

    /// What the rules decide about a message, before `until`. `known` holds the outcomes of tool calls that are known already,
    /// by the call's id.
    #[must_use]
    pub fn decide(
        &self,
        channel: Channel,
        said: &Said,
        known: &BTreeMap<String, ToolOutcome>,
        until: Instant,
    ) -> Decision {
        let Chosen { reply, act, rules, faults } = self.rules.choose(channel, said, known, Some(until));
        let action = self.control.as_ref().filter(|_| !act.is_empty()).map(|control| control.act(said, act));
        let code = (!known.is_empty()).then(|| "code".to_owned());
        let by = listed(code.into_iter().chain(rules));
        Decision { answer: reply, action, by, fault: listed(faults), ..Decision::default() }
    }
}

/// A few of them, for the log.
fn listed(list: impl IntoIterator<Item = String>) -> Option<String> {
    const MOST: usize = 4;
    let mut list: Vec<String> = list.into_iter().collect();
    let more = list.len().saturating_sub(MOST);
    list.truncate(MOST);
    if more > 0 {
        list.push(format!("{more} more"));
    }
    (!list.is_empty()).then(|| list.join("; "))
}

/// What code came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Asked<T> {
    /// It leaves the answer to the rules.
    Passed,
    /// Its answer.
    Answered(T),
    /// It took too long, or panicked: the rules answer. What happened, for the log.
    Failed(&'static str),
}

/// What code leaves of the time for the rules, should it fail.
const RULES_SHARE: Duration = Duration::from_millis(300);

/// Lets code answer, almost until `until`. What it awaits may fail, hang or panic without the event noticing. What it does without
/// awaiting cannot be interrupted.
pub async fn ask<T>(code: impl Future<Output = Option<T>>, until: Instant) -> Asked<T> {
    let until = until.checked_sub(RULES_SHARE).unwrap_or(until);
    match timeout_at(until, AssertUnwindSafe(code).catch_unwind()).await {
        Ok(Ok(Some(answer))) => Asked::Answered(answer),
        Ok(Ok(None)) => Asked::Passed,
        Ok(Err(_)) => Asked::Failed("the code that answers panicked; the line above says where"),
        Err(_) => Asked::Failed("the code that answers is out of time"),
    }
}

impl<T: Serialize> Asked<T> {
    /// The decision: the code's, else what `rules` decide.
    pub fn or(self, rules: impl FnOnce() -> Decision) -> Decision {
        let why = match self {
            Asked::Passed => return rules(),
            Asked::Failed(why) => why.to_owned(),
            Asked::Answered(answer) => match answer::to_json(&answer) {
                Ok(answer) => {
                    return Decision { answer: Some(answer), by: Some("code".to_owned()), ..Decision::default() };
                }
                Err(why) => format!("the code's answer: {why}"),
            },
        };
        let decision = rules();
        Decision { fault: listed([why].into_iter().chain(decision.fault)), ..decision }
    }
}
