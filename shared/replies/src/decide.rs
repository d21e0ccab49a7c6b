//! Decides the reply to a message by the rules, and asks services where a rule says so.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use gatehouse_payload::Outcome;
use gatehouse_payload::strict::read;
use gatehouse_vapi::Channel;
use gatehouse_vapi::response::{Line, ToolOutcome, ToolResult};
use gatehouse_vapi::tool_calls::ToolCall;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::answer::{ANSWER_LIMIT, Kind, to_json};
use crate::asker::{Asked, Asker, ServiceQuestion};
use crate::message::VapiMessage;
use crate::rule::{Ask, Filled, Rule};
use crate::service_answer::{self, ToolAnswer};

/// The result of applying the rules to a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleResult {
    /// The reply as JSON text.
    pub reply: Option<String>,
    /// The messages to send to the live call, as JSON texts.
    pub act: Vec<String>,
    /// The services to notify after the event was recorded.
    pub notify: Vec<Notification>,
    /// The names of the rules that were applied, such as `server rule 2`.
    pub rules: BTreeSet<String>,
    /// Errors for the log: invalid replies and actions, services that failed, tool calls without an id or a name, a
    /// reached deadline.
    pub faults: Vec<String>,
    /// The service that was to be asked, if there is no asker. The reply is then unknown.
    pub unasked: Option<String>,
    /// The state of another copy of the event.
    pub copy: OtherCopy,
}

/// The state of another copy of the event.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OtherCopy {
    /// There is no other copy, or it has no effect on this one.
    #[default]
    None,
    /// It was recorded, and its reply is the reply. Contains the outcome of this delivery, if it is known.
    Recorded(Option<Outcome>),
    /// It asks a service, and may still record the event with the answer. This copy must not be recorded.
    Asks,
}

/// A service to notify of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// Its name.
    pub service: String,
    /// Its time limit.
    pub within: Duration,
    /// Whether it gets the unredacted body.
    pub unredacted: bool,
}

/// Bytes that are reserved for a result's id, name and member names.
const RESULT_OVERHEAD: usize = 512;

/// The parameters of a decision.
pub(crate) struct Decision<'a> {
    pub(crate) rules: &'a [Rule],
    pub(crate) channel: Channel,
    pub(crate) message: &'a VapiMessage,
    pub(crate) known: &'a BTreeMap<String, ToolOutcome>,
    pub(crate) until: Option<Instant>,
    pub(crate) asker: &'a Asker<'a>,
}

/// The reply to a tool call.
enum CallReply {
    /// A result or an error.
    Outcome(ToolOutcome),
    /// The result of a service, as JSON text.
    Service(Box<RawValue>),
    /// No rule applies, or the reply of the rule is invalid.
    Nothing,
    /// The rule only acts and leaves the call without a result.
    ActOnly,
}

/// A tool call that needs a reply.
struct OpenCall {
    call: ToolCall,
    /// The message with the call at `/tool`.
    message: VapiMessage,
    /// The position of the next rule to try.
    next: usize,
    reply: Option<CallReply>,
}

/// The next step for a tool call.
enum Step<'a> {
    Reply(CallReply),
    /// The service of a rule is to be asked.
    Ask(CallQuestion<'a>),
}

/// A rule that asks a service about a tool call.
struct CallQuestion<'a> {
    rule: &'a Rule,
    ask: &'a Ask,
    filled: Filled,
    /// The position of the call.
    call: usize,
}

/// A result in the reply to a message with tool calls.
#[derive(Serialize)]
#[serde(untagged)]
enum AnyResult {
    Own(ToolResult),
    Service(Box<RawValue>),
}

#[derive(Serialize)]
struct AllResults<'r> {
    results: &'r [AnyResult],
}

impl<'a> Decision<'a> {
    pub(crate) async fn run(&self) -> RuleResult {
        let mut chosen = RuleResult::default();
        let kind = Kind::of(self.channel, self.message.message_type().unwrap_or_default());
        if kind == Some(Kind::Tools) {
            self.decide_tools(&mut chosen).await;
        } else {
            self.decide_reply(kind, &mut chosen).await;
        }
        chosen
    }

    /// Decides the reply to a message without tool calls.
    async fn decide_reply(&self, kind: Option<Kind>, chosen: &mut RuleResult) {
        let mut from = 0;
        let mut asked = BTreeSet::new();
        while let Some((position, rule, mut filled)) = self.first(self.message, from, chosen) {
            from = position + 1;
            let Some(ask) = &rule.ask else {
                let reply = filled.reply.take().zip(kind).map(|(reply, kind)| kind.checked_json(reply));
                chosen.reply = rule.finish(filled, reply, chosen);
                return;
            };
            let Some(kind) = kind.filter(|_| !ask.is_notified(kind)) else {
                notify(ask, chosen);
                rule.finish::<()>(filled, None, chosen);
                continue;
            };
            // A service is asked once about a message.
            if !asked.insert(&ask.service) {
                continue;
            }
            let mut question = ServiceQuestion::to(&ask.service);
            question.add(ask, kind);
            let answer = match self.asker.ask(vec![question], self.message).await {
                Asked::Answered(answers) => answers.into_iter().next(),
                other => match other.stop(chosen) {
                    Stop::Now => return,
                    Stop::Fallback => None,
                },
            };
            let answer = answer.map(|answer| {
                let answer = answer?.map(|answer| service_answer::checked(kind, answer)).transpose();
                answer.map_err(|reason| self.asker.unusable(&ask.service, &reason))
            });
            match answer {
                Some(Ok(Some(answer))) => {
                    chosen.reply = rule.finish(filled, Some(Ok(answer)), chosen);
                    return;
                }
                Some(Ok(None)) => continue,
                Some(Err(fault)) => chosen.faults.push(format!("{}: service {} {fault}", rule.name, ask.service)),
                None => {}
            }
            if let Some(otherwise) = ask.fill_otherwise(self.message) {
                chosen.reply = rule.finish(filled, Some(kind.checked_json(otherwise)), chosen);
                return;
            }
            // The service might have forbidden the call, so the rules must not allow it.
            if kind == Kind::Predial {
                return;
            }
        }
    }

    /// Replies to a message with tool calls: one result for each call, in the calls' order, except for calls whose rule
    /// only acts. If no call has a result, there is no reply. Otherwise the calls without a rule get an error.
    ///
    /// The services that the rules name are asked at the same time, each once with its calls. Calls that a service does
    /// not answer are left to the following rules, which may name services that were not asked yet.
    async fn decide_tools(&self, chosen: &mut RuleResult) {
        let tool_calls = self.message.tool_calls();
        if tool_calls.unidentified > 0 {
            chosen.faults.push(format!("{} tool calls have no id or no name", tool_calls.unidentified));
        }
        let open = |call: ToolCall| {
            let reply = self.known.get(&call.id).cloned().map(CallReply::Outcome);
            OpenCall { message: self.message.about(&call), call, next: 0, reply }
        };
        let mut calls: Vec<OpenCall> = tool_calls.calls.into_iter().map(open).collect();
        let mut asked = BTreeSet::new();
        loop {
            let questions = self.questions(&mut calls, &asked, chosen);
            if questions.is_empty() {
                break;
            }
            let is_alone = questions.len() == 1 && asked.is_empty() && calls.iter().all(|call| call.reply.is_none());
            let requests = questions.iter().map(|(service, questions)| request(service, questions, &calls));
            let mut answers = match self.asker.ask(requests.collect(), self.message).await {
                Asked::Answered(answers) => answers.into_iter(),
                other => match other.stop(chosen) {
                    Stop::Now => return,
                    Stop::Fallback => Vec::new().into_iter(),
                },
            };
            for (service, questions) in questions {
                let answer =
                    answers.next().map(|answer| self.tool_answer(&service, answer, &questions, &calls, chosen));
                if let Some(Ok(Some(answer))) = &answer
                    && is_alone
                    && questions.iter().all(|question| answer.has(&calls[question.call].call))
                {
                    for question in questions {
                        question.rule.finish::<()>(question.filled, None, chosen);
                    }
                    chosen.reply = Some(answer.text().to_owned());
                    return;
                }
                let mut ids: BTreeMap<String, usize> = BTreeMap::new();
                for question in questions {
                    let before = ids.entry(calls[question.call].call.id.clone()).or_default();
                    settle(question, answer.as_ref(), *before, &mut calls, chosen);
                    *before += 1;
                }
                asked.insert(service);
            }
        }
        self.join(calls, chosen);
    }

    /// Applies the rules to the calls without a reply. Returns the questions that result, by service.
    fn questions(
        &self,
        calls: &mut [OpenCall],
        asked: &BTreeSet<String>,
        chosen: &mut RuleResult,
    ) -> BTreeMap<String, Vec<CallQuestion<'a>>> {
        let mut questions: BTreeMap<String, Vec<CallQuestion<'a>>> = BTreeMap::new();
        for (n, call) in calls.iter_mut().enumerate().filter(|(_, call)| call.reply.is_none()) {
            match self.step(n, call, asked, chosen) {
                Step::Reply(reply) => call.reply = Some(reply),
                Step::Ask(question) => questions.entry(question.ask.service.clone()).or_default().push(question),
            }
        }
        questions
    }

    /// Reads the answer of a service, and reports what is wrong with it.
    fn tool_answer(
        &self,
        service: &str,
        answer: Result<Option<Bytes>, String>,
        questions: &[CallQuestion<'_>],
        calls: &[OpenCall],
        chosen: &mut RuleResult,
    ) -> Result<Option<ToolAnswer>, String> {
        let is_function_call = self.message.message_type() == Some("function-call");
        let answer = answer.and_then(|answer| {
            let answer = answer.map(|answer| ToolAnswer::read(answer, is_function_call)).transpose();
            answer.map_err(|reason| self.asker.unusable(service, &reason))
        });
        if let Ok(Some(answer)) = &answer {
            let missing = questions.iter().filter(|question| !answer.has(&calls[question.call].call)).count();
            if missing > 0 {
                self.asker.unusable(service, "no result");
                chosen
                    .faults
                    .push(format!("service {service} gave no result for {missing} of {} calls", questions.len()));
            }
        }
        answer.inspect_err(|fault| chosen.faults.push(format!("service {service} {fault}")))
    }

    /// Applies the rules from the position `from` to a tool call.
    fn step(&self, n: usize, call: &mut OpenCall, asked: &BTreeSet<String>, chosen: &mut RuleResult) -> Step<'a> {
        while let Some((position, rule, mut filled)) = self.first(&call.message, call.next, chosen) {
            call.next = position + 1;
            match &rule.ask {
                Some(ask) if ask.is_notified(Some(Kind::Tools)) => {
                    notify(ask, chosen);
                    rule.finish::<()>(filled, None, chosen);
                }
                // It was asked about other calls of this message, and is asked once.
                Some(ask) if asked.contains(&ask.service) => {}
                Some(ask) => return Step::Ask(CallQuestion { rule, ask, filled, call: n }),
                None => {
                    let reply = filled.reply.take().map(read);
                    let had_reply = reply.is_some();
                    return Step::Reply(match rule.finish(filled, reply, chosen) {
                        Some(outcome) => CallReply::Outcome(outcome),
                        None if had_reply => CallReply::Nothing,
                        None => CallReply::ActOnly,
                    });
                }
            }
        }
        Step::Reply(CallReply::Nothing)
    }

    /// Joins the replies to the tool calls.
    fn join(&self, calls: Vec<OpenCall>, chosen: &mut RuleResult) {
        // All results share the length limit of the reply.
        let limit = (ANSWER_LIMIT / calls.len().max(1)).saturating_sub(RESULT_OVERHEAD);
        let too_long = |chosen: &mut RuleResult| {
            chosen.faults.push(format!("the result of a tool has more than {limit} bytes"));
            ToolOutcome::Error(Line::of("The result is too long."))
        };
        let mut results = Vec::new();
        let mut is_answered = false;
        for OpenCall { call, reply, .. } in calls {
            let reply = reply.unwrap_or(CallReply::Nothing);
            is_answered |= matches!(reply, CallReply::Outcome(_) | CallReply::Service(_));
            let outcome = match reply {
                CallReply::Service(result) if result.get().len() <= limit => {
                    results.push(AnyResult::Service(result));
                    continue;
                }
                CallReply::Service(_) => too_long(chosen),
                CallReply::Outcome(ToolOutcome::Result(line) | ToolOutcome::Error(line))
                    if line.as_str().len() > limit =>
                {
                    too_long(chosen)
                }
                CallReply::Outcome(outcome) => outcome,
                CallReply::Nothing => ToolOutcome::Error(Line::of("No result is configured for this tool.")),
                CallReply::ActOnly => continue,
            };
            let ToolCall { id: tool_call_id, name, .. } = call;
            results.push(AnyResult::Own(ToolResult { tool_call_id, name, outcome, message: None, metadata: None }));
        }
        if is_answered {
            let reply = match results.as_slice() {
                [AnyResult::Own(one)] if self.message.message_type() == Some("function-call") => to_json(&one.outcome),
                [AnyResult::Service(one)] if self.message.message_type() == Some("function-call") => to_json(one),
                results => to_json(&AllResults { results }),
            };
            chosen.reply = reply.map_err(|reason| chosen.faults.push(format!("the results: {reason}"))).ok();
        }
    }

    /// The first rule that applies, from the position `from`, with its position and its templates filled.
    fn first(&self, message: &VapiMessage, from: usize, chosen: &mut RuleResult) -> Option<(usize, &'a Rule, Filled)> {
        for (position, rule) in self.rules.iter().enumerate().skip(from) {
            if self.until.is_some_and(|until| Instant::now() >= until) {
                chosen.faults.push(format!("deadline reached before {}", rule.name));
                return None;
            }
            if let Some(filled) = rule.fill(message) {
                chosen.rules.insert(rule.name.clone());
                return Some((position, rule, filled));
            }
        }
        None
    }
}

/// Returns the question to a service about its calls.
fn request(service: &str, questions: &[CallQuestion<'_>], calls: &[OpenCall]) -> ServiceQuestion {
    let call = |question: &CallQuestion<'_>| {
        let ToolCall { id, name, .. } = &calls[question.call].call;
        (id.clone(), name.clone())
    };
    let mut request = ServiceQuestion::to(service);
    request.calls = Some(questions.iter().map(call).collect());
    for question in questions {
        request.add(question.ask, Kind::Tools);
    }
    request
}

/// Uses the answer of a service for one of its calls: the result, or the rule's `else`. Otherwise the call is left to
/// the following rules. `before` is the number of the service's calls with the same id before this one.
fn settle(
    question: CallQuestion<'_>,
    answer: Option<&Result<Option<ToolAnswer>, String>>,
    before: usize,
    calls: &mut [OpenCall],
    chosen: &mut RuleResult,
) {
    let CallQuestion { rule, ask, filled, call } = question;
    let call = &mut calls[call];
    let result = match answer {
        Some(Ok(Some(answer))) => answer.result(&call.call, before),
        // The service has no answer.
        Some(Ok(None)) => return,
        Some(Err(_)) | None => None,
    };
    if let Some(result) = result {
        rule.finish::<()>(filled, None, chosen);
        call.reply = Some(CallReply::Service(result));
    } else if let Some(otherwise) = ask.fill_otherwise(&call.message) {
        let outcome = rule.finish(filled, Some(read(otherwise)), chosen);
        call.reply = Some(outcome.map_or(CallReply::Nothing, CallReply::Outcome));
    }
}

/// How the decision goes on if no service was asked.
enum Stop {
    /// The decision is made.
    Now,
    /// The rule's `else` or the following rules decide.
    Fallback,
}

impl Asked {
    fn stop(self, chosen: &mut RuleResult) -> Stop {
        match self {
            Asked::NoAsker(service) => {
                chosen.unasked = Some(service);
                Stop::Now
            }
            Asked::Recorded(copy) => {
                chosen.reply = copy.answer;
                chosen.copy = OtherCopy::Recorded(copy.outcome);
                Stop::Now
            }
            Asked::Taken => {
                chosen.copy = OtherCopy::Asks;
                Stop::Fallback
            }
            Asked::Answered(_) => Stop::Fallback,
        }
    }
}

fn notify(ask: &Ask, chosen: &mut RuleResult) {
    match chosen.notify.iter_mut().find(|other| other.service == ask.service) {
        Some(other) => other.unredacted |= ask.unredacted,
        None => chosen.notify.push(Notification {
            service: ask.service.clone(),
            within: ask.notify_within(),
            unredacted: ask.unredacted,
        }),
    }
}
