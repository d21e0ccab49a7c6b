#![doc = include_str!("../README.md")]

pub mod answer;
pub mod asker;
pub mod control;
pub mod decide;
pub mod message;
mod rule;
pub mod rules;
#[cfg(feature = "schema")]
pub mod schema;
mod service_answer;
mod template;
mod when;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures_util::FutureExt;
use gatehouse_receiver::ReplyPlan;
use gatehouse_vapi::Channel;
use gatehouse_vapi::response::ToolOutcome;
use serde::Serialize;
use tokio::time::{Instant, timeout_at};

pub use answer::Kind;
pub use asker::{Asker, Delivery, ServiceAccess};
pub use control::{Control, ControlHosts};
pub use decide::{Notification, OtherCopy, RuleResult};
pub use gatehouse_vapi::tool_calls::{ToolCall, ToolCalls};
pub use message::VapiMessage;
pub use rules::{InvalidRules, Rules};

/// The rules, and the clients that execute their actions and ask services. Clones share them.
#[derive(Debug, Clone)]
pub struct Replies {
    current: Arc<RwLock<Arc<Current>>>,
    services: Option<Arc<ServiceAccess>>,
}

/// The rules that are in use.
#[derive(Debug)]
struct Current {
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
        Self::of(Rules::none(), None)
    }

    fn of(rules: Rules, control: Option<Control>) -> Self {
        Replies { current: Arc::new(RwLock::new(Arc::new(Current { rules, control }))), services: None }
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
        Ok(Self::of(rules, control))
    }

    /// Builds replies whose actions `control` executes.
    #[must_use]
    pub fn with_control(rules: Rules, control: Control) -> Self {
        Self::of(rules, Some(control))
    }

    /// Builds replies from the text of a rules file. `file` is its name in errors.
    ///
    /// # Errors
    /// If a rule is invalid, or a rule acts on calls and the machine has no root certificates.
    pub fn parse(file: &str, text: &str, hosts: ControlHosts) -> Result<Self, RepliesError> {
        Self::new(Rules::parse(file, text)?, hosts)
    }

    /// Adds the access to services. Without it, the rules that ask services do not apply.
    #[must_use]
    pub fn with_services(self, services: ServiceAccess) -> Self {
        Replies { services: Some(Arc::new(services)), ..self }
    }

    /// Replaces the rules by those of `other`, in all clones.
    pub fn replace(&self, other: &Replies) {
        let new = other.current();
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = new;
    }

    fn current(&self) -> Arc<Current> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether a rule asks a service.
    #[must_use]
    pub fn ask(&self) -> bool {
        self.current().rules.questions().next().is_some()
    }

    /// Returns the time limit for deciding the reply to a message of this type: the time for the slowest service that
    /// may be asked, and at least `default`.
    #[must_use]
    pub fn decide_within(&self, channel: Channel, message_type: Option<&str>, default: Duration) -> Duration {
        self.current().rules.longest_question(channel, message_type).map_or(default, |longest| longest.max(default))
    }

    /// Refreshes the configuration of the services if it is old. Runs while an event is recorded.
    pub async fn refresh_services(&self) {
        if let Some(services) = &self.services {
            services.services().refresh_if_stale().await;
        }
    }

    /// Decides the reply to a message by the rules, before `delivery.until`. `known` has the outcomes of the tool calls
    /// that a hook has answered, by the call's id.
    pub async fn decide(
        &self,
        channel: Channel,
        message: &VapiMessage,
        known: &BTreeMap<String, ToolOutcome>,
        delivery: Delivery<'_>,
    ) -> ReplyPlan {
        let asker = self.services.as_ref().map_or_else(Asker::none, |services| Asker::new(services, delivery));
        let current = self.current();
        // A service may take the whole time, and then the following rules decide.
        let until = delivery.until + RULES_SHARE;
        let result = current.rules.decide(channel, message, known, Some(until), &asker).await;
        let RuleResult { reply, act, notify, rules, mut faults, unasked, copy } = result;
        faults.extend(
            unasked.map(|service| format!("service {service} was not asked, because there is no access to services")),
        );
        let action = current.control.as_ref().filter(|_| !act.is_empty()).map(|control| control.act(message, act));
        let services = self.services.as_ref().filter(|_| !notify.is_empty());
        let code = (!known.is_empty()).then(|| "code".to_owned());
        let decided_by = joined(code.into_iter().chain(rules));
        ReplyPlan {
            reply,
            action,
            notified: joined_names(&notify),
            notify: services.map(|services| services.notify(notify, message, delivery)),
            decided_by,
            fault: joined(faults),
            asks: asker.summary(),
            is_asked_by_copy: copy == OtherCopy::Asks,
            recorded_by_copy: if let OtherCopy::Recorded(outcome) = copy { outcome } else { None },
            ..ReplyPlan::default()
        }
    }
}

/// Returns the names of the services that are notified, for the log.
fn joined_names(notifications: &[Notification]) -> Option<String> {
    let names: Vec<&str> = notifications.iter().map(|notification| notification.service.as_str()).collect();
    (!names.is_empty()).then(|| names.join(","))
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

/// Time limit of a hook.
const HOOK_LIMIT: Duration = Duration::from_millis(1700);
/// The time that is reserved for the rules in case a hook or a service fails.
const RULES_SHARE: Duration = Duration::from_millis(300);

/// Runs a hook for at most 1.7 s, until shortly before `until`.
///
/// If the hook fails, hangs at an await point or panics, the event is not affected. Work between await points cannot be
/// interrupted.
pub async fn run_hook<T>(hook: impl Future<Output = Option<T>>, until: Instant) -> HookResult<T> {
    let until = until.checked_sub(RULES_SHARE).unwrap_or(until).min(Instant::now() + HOOK_LIMIT);
    match timeout_at(until, AssertUnwindSafe(hook).catch_unwind()).await {
        Ok(Ok(Some(answer))) => HookResult::Answered(answer),
        Ok(Ok(None)) => HookResult::Passed,
        Ok(Err(_)) => HookResult::Failed("the hook panicked; the log line above says where"),
        Err(_) => HookResult::Failed("the hook timed out"),
    }
}

impl<T: Serialize> HookResult<T> {
    /// The plan of the hook, or of `rules` if the hook passed or failed.
    pub async fn or(self, rules: impl Future<Output = ReplyPlan>) -> ReplyPlan {
        let reason = match self {
            HookResult::Passed => return rules.await,
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
        let plan = rules.await;
        ReplyPlan { fault: joined([reason].into_iter().chain(plan.fault)), ..plan }
    }
}
