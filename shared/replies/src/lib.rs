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
use gatehouse_receiver::ReplyPlan;
use gatehouse_vapi::Channel;
use gatehouse_vapi::response::ToolOutcome;
use serde::Serialize;
use tokio::time::{Instant, timeout_at};

pub use answer::Kind;
pub use control::{Control, ControlHosts};
pub use gatehouse_vapi::tool_calls::{ToolCall, ToolCalls};
pub use message::VapiMessage;
pub use rules::{InvalidRules, RuleResult, Rules};

/// The rules and the client that executes their actions.
#[derive(Debug, Clone)]
pub struct Replies {
    rules: Rules,
    control: Option<Control>,
}

/// Why the replies cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum RepliesError {
    /// The rules file is invalid.
    #[error(transparent)]
    Rules(#[from] InvalidRules),
    /// A rule acts on calls, but the root certificates to verify Vapi's certificate cannot be read.
    #[error("rules act on live calls, but this machine's root certificates cannot be read: {0}")]
    Roots(#[from] std::io::Error),
}

/// The rules file that is compiled in.
pub const DEPLOYED: &str = include_str!("../../../functions/replies.json");
/// The path of that file in the repository.
pub const DEPLOYED_FILE: &str = "functions/replies.json";

impl Replies {
    /// No rules: a sender that waits for a reply gets the default reply.
    #[must_use]
    pub fn none() -> Self {
        Replies { rules: Rules::none(), control: None }
    }

    /// The rules that are compiled in from `functions/replies.json`.
    ///
    /// # Errors
    /// Like [`parse`](Self::parse).
    pub fn deployed() -> Result<Self, RepliesError> {
        Self::parse(DEPLOYED_FILE, DEPLOYED, ControlHosts::Vapi)
    }

    /// Builds replies from rules.
    ///
    /// # Errors
    /// If a rule acts on calls and the machine has no root certificates.
    pub fn new(rules: Rules, hosts: ControlHosts) -> Result<Self, RepliesError> {
        let control = rules.act().then(|| Control::new(hosts)).transpose()?;
        Ok(Replies { rules, control })
    }

    /// Builds replies whose actions `control` executes.
    #[must_use]
    pub fn with_control(rules: Rules, control: Control) -> Self {
        Replies { rules, control: Some(control) }
    }

    /// Builds replies from the text of a rules file. `file` is its name in errors.
    ///
    /// # Errors
    /// If a rule is invalid, or a rule acts on calls and the machine has no root certificates.
    pub fn parse(file: &str, text: &str, hosts: ControlHosts) -> Result<Self, RepliesError> {
        Self::new(Rules::parse(file, text)?, hosts)
    }

    /// Decides the reply to a message by the rules, before `until`. `known` has the outcomes of the tool calls that a
    /// hook has answered, by the call's id.
    #[must_use]
    pub fn decide(
        &self,
        channel: Channel,
        message: &VapiMessage,
        known: &BTreeMap<String, ToolOutcome>,
        until: Instant,
    ) -> ReplyPlan {
        let RuleResult { reply, act, rules, faults } = self.rules.choose(channel, message, known, Some(until));
        let action = self.control.as_ref().filter(|_| !act.is_empty()).map(|control| control.act(message, act));
        let code = (!known.is_empty()).then(|| "code".to_owned());
        let decided_by = joined(code.into_iter().chain(rules));
        ReplyPlan { reply, action, decided_by, fault: joined(faults), ..ReplyPlan::default() }
    }
}

/// Joins the first entries of a list for the log.
fn joined(list: impl IntoIterator<Item = String>) -> Option<String> {
    const MAX_ENTRIES: usize = 4;
    let mut list: Vec<String> = list.into_iter().collect();
    let more = list.len().saturating_sub(MAX_ENTRIES);
    list.truncate(MAX_ENTRIES);
    if more > 0 {
        list.push(format!("{more} more"));
    }
    (!list.is_empty()).then(|| list.join("; "))
}

/// The result of a hook, which is Rust code that replies to a message.
#[derive(Debug, Clone, PartialEq)]
pub enum HookResult<T> {
    /// The hook leaves the reply to the rules.
    Passed,
    /// The hook's reply.
    Answered(T),
    /// The hook timed out or panicked, so the rules reply. Contains the reason for the log.
    Failed(&'static str),
}

/// The time that is reserved for the rules in case a hook fails.
const RULES_SHARE: Duration = Duration::from_millis(300);

/// Runs a hook with a deadline shortly before `until`.
///
/// If the hook fails, hangs at an await point or panics, the event is not affected. Work between await points cannot be
/// interrupted.
pub async fn run_hook<T>(hook: impl Future<Output = Option<T>>, until: Instant) -> HookResult<T> {
    let until = until.checked_sub(RULES_SHARE).unwrap_or(until);
    match timeout_at(until, AssertUnwindSafe(hook).catch_unwind()).await {
        Ok(Ok(Some(answer))) => HookResult::Answered(answer),
        Ok(Ok(None)) => HookResult::Passed,
        Ok(Err(_)) => HookResult::Failed("the hook panicked; the log line above says where"),
        Err(_) => HookResult::Failed("the hook timed out"),
    }
}

impl<T: Serialize> HookResult<T> {
    /// The plan of the hook, or of `rules` if the hook passed or failed.
    pub fn or(self, rules: impl FnOnce() -> ReplyPlan) -> ReplyPlan {
        let reason = match self {
            HookResult::Passed => return rules(),
            HookResult::Failed(reason) => reason.to_owned(),
            HookResult::Answered(answer) => match answer::to_json(&answer) {
                Ok(reply) => {
                    return ReplyPlan {
                        reply: Some(reply),
                        decided_by: Some("code".to_owned()),
                        ..ReplyPlan::default()
                    };
                }
                Err(reason) => format!("the hook's reply: {reason}"),
            },
        };
        let plan = rules();
        ReplyPlan { fault: joined([reason].into_iter().chain(plan.fault)), ..plan }
    }
}
