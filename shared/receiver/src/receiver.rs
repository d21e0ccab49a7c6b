//! Handles one delivery: check, verify, identify, decide, redact, record, act, respond, log.

use std::time::Duration;

use bytes::Bytes;
use gatehouse_inbox::{Inbox, Receipt};
use gatehouse_payload::event::{BODY_LIMIT, Event, Received};
use gatehouse_payload::outcome::Outcome;
use gatehouse_runtime::{Clock, Config, ConfigError};
use gatehouse_vendor::{Credentials, PartSpec, SecretsPart, Unverified, Vendor, Verified};
use http::{HeaderValue, Request, Response, header};
use tokio::time::{Instant, timeout_at};

use crate::log::{LogContext, RequestLine};
use crate::responder::{Action, Expectation, NoReply, ReplyPlan, Responder};
use crate::skip::Skip;
use crate::{Deadline, Problem, Redaction, Refresh, RequestId, SecretsCache, precheck};

/// Time limit of every request, whatever fails, without the time for deciding the reply. Vapi waits 7.5 s for some
/// replies, including a cold start.
const ANSWER_WITHIN: Duration = Duration::from_millis(2800);
/// Time that is reserved for sending the response before Lambda's deadline.
const RESERVE: Duration = Duration::from_millis(200);
/// Time limit for recording and acting: one attempt at the table and one at the queue. What deciding did not need is
/// added.
const RECORD_WITHIN: Duration = Duration::from_secs(2);
/// Time limit of an action.
const ACT_WITHIN: Duration = Duration::from_secs(1);
/// Time limit for notifying services.
const NOTIFY_WITHIN: Duration = Duration::from_secs(2);

/// Receives the deliveries of a vendor: everything a webhook function needs.
#[derive(Debug)]
pub struct Receiver<V: Vendor> {
    /// The vendor.
    pub vendor: V,
    /// Records events.
    pub inbox: Inbox,
    /// The vendor's credentials.
    pub secrets: SecretsCache<V::Credentials>,
    /// The credentials that are removed from bodies before they are stored.
    pub redaction: Redaction,
    /// The event types that are not stored.
    pub skip: Skip,
    /// The largest body, in bytes.
    pub body_limit: usize,
}

impl<V: Vendor> Receiver<V> {
    /// Builds the receiver of `vendor` from the environment, and [connects](connect) it.
    ///
    /// # Errors
    /// If a variable about the table or the queue is missing or not usable.
    pub async fn from_env(vendor: V) -> Result<Self, ConfigError> {
        let get = |name: &str| std::env::var(name).ok();
        let (inbox, secrets) = connect(&vendor.profile().secrets, &get).await?;
        let (redaction, skip) = (Redaction::read(&get)?, Skip::read(&get)?);
        let body_limit = precheck::body_limit(&get, BODY_LIMIT)?;
        Ok(Receiver { vendor, inbox, secrets, redaction, skip, body_limit })
    }

    /// Returns the clock for the times of events and for deadlines.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.inbox.clock
    }

    /// Handles a request and logs it. A 200 has the vendor's default body.
    pub async fn receive(&self, request: Request<Bytes>, deadline: Deadline) -> Response<String> {
        self.receive_and_answer(request, deadline, &NoReply).await
    }

    /// Handles a request and logs it. `responder` decides the body of a 200.
    pub async fn receive_and_answer(
        &self,
        request: Request<Bytes>,
        deadline: Deadline,
        responder: &impl Responder,
    ) -> Response<String> {
        let started = Instant::now();
        let end = deadline.instant().checked_sub(RESERVE).unwrap_or(started);
        let result = self.handle(&request, started, end, responder).await;
        let request_id = RequestId::from_extensions(request.extensions());
        let (response, outcome, context) = match result {
            Ok(Accepted { body, outcome, context }) => (Response::new(body), outcome, context),
            Err(Rejected { problem, outcome, context }) => {
                let (document, why) = (problem.document(), problem.why());
                let context = LogContext { problem: Some((document.slug, problem.log_detail())), why, ..*context };
                (document.to_response(request_id), outcome, context)
            }
        };
        let response = with_headers(response, outcome, context.event.as_ref());
        RequestLine {
            function: self.vendor.profile().function,
            source: self.vendor.profile().vendor,
            request_id: request_id.map(RequestId::as_str),
            outcome,
            status: response.status().as_u16(),
            took: started.elapsed(),
            context,
        }
        .write();
        response
    }

    async fn handle(
        &self,
        request: &Request<Bytes>,
        started: Instant,
        end: Instant,
        responder: &impl Responder,
    ) -> Result<Accepted, Rejected> {
        precheck::check(request, self.vendor.profile().paths, self.body_limit)?;
        let delivery = Unverified::new(request.method(), request.headers(), request.body());
        let mut event = self.identify(&self.verify(delivery).await?)?;

        let now = Instant::now();
        let decide_within = responder.decide_within(&event);
        let end = end.min(started + decide_within + ANSWER_WITHIN).min(now + decide_within + RECORD_WITHIN);
        let plan = responder.decide(&event, end.checked_sub(RECORD_WITHIN).unwrap_or(now)).await;
        let ReplyPlan { reply, expectation, action, notify, notified, asks, decided_by, fault, .. } = plan;
        event.asked.clone_from(&asks.asked);
        let mut context = LogContext { rule: decided_by, fault, asks, ..LogContext::default() };
        if self.skip.excludes(&event) {
            self.secrets.refresh_if_stale().await;
            return Ok(self.accept(Outcome::Skipped, reply, expectation, event, context));
        }
        if let Some(outcome) = plan.recorded_by_copy {
            context.rule = None;
            self.secrets.refresh_if_stale().await;
            return Ok(self.accept(outcome, reply, expectation, event, context));
        }
        if plan.is_asked_by_copy {
            context.error = Some("another copy of the event was not recorded in time".to_owned());
            if !expectation.is_awaited() {
                return Err(Rejected::new(Problem::NotDurable, Outcome::Unavailable, Some(event), context));
            }
            return Ok(self.accept(Outcome::Unrecorded, reply, expectation, event, context));
        }
        event.answer = reply;
        event.body = self.redaction.apply(&event.body);
        let (recorded, (), ()) =
            tokio::join!(self.inbox.record(&event, end), self.secrets.refresh_if_stale(), responder.refresh());
        let (outcome, reply) = match recorded {
            Ok(Receipt { outcome, answer, error }) => {
                context.error = error.map(|error| error.to_string());
                // A weak id may be that of another event, so it does not justify an action.
                let may_act = outcome == Outcome::Recorded && !event.flags.weak_identity;
                let notify = notify.filter(|_| outcome == Outcome::Recorded);
                context.notified = notified.filter(|_| notify.is_some());
                let began = Instant::now();
                context.action = act(action.filter(|_| may_act), notify, end).await;
                context.notify_took = began.elapsed();
                if outcome == Outcome::Duplicate {
                    // The rule of the first delivery has decided.
                    context.rule = None;
                }
                (outcome, expectation.reply_to_send(answer, event.answer.as_ref()))
            }
            Err(error) => {
                context.error = Some(error.to_string());
                if !expectation.is_awaited() {
                    return Err(Rejected::new(Problem::NotDurable, Outcome::Unavailable, Some(event), context));
                }
                (Outcome::Unrecorded, event.answer.clone())
            }
        };
        if let Expectation::Unsupported(detail) = expectation {
            return Err(Rejected::new(Problem::Unsupported(detail), outcome, Some(event), context));
        }
        Ok(self.accept(outcome, reply, expectation, event, context))
    }

    /// Chooses the body of a 200: the reply, or else the expected default, or else the vendor's default.
    fn accept(
        &self,
        outcome: Outcome,
        reply: Option<String>,
        expectation: Expectation,
        event: Event,
        context: LogContext,
    ) -> Accepted {
        let body = reply.or_else(|| expectation.default_reply());
        let body = body.unwrap_or_else(|| self.vendor.respond(outcome, &event.id));
        Accepted { body, outcome, context: LogContext { event: Some(event), ..context } }
    }

    async fn verify<'r>(&self, delivery: Unverified<'r>) -> Result<Verified<'r>, Problem> {
        let now = self.clock().now();
        let secrets = self.secrets.get().await;
        let mut secrets =
            secrets.ok_or(Problem::NoSecrets("the secrets cannot be loaded; send the same delivery again"))?;
        let mut verified = secrets.verify(delivery, now);
        // A mismatch and missing secrets may both be the result of a change that this instance has not loaded yet.
        if verified.as_ref().is_err_and(|rejection| rejection.may_match_later) || !secrets.is_open() {
            match self.secrets.refresh_after_mismatch(&secrets).await {
                Refresh::Unchanged => {}
                Refresh::New(newer) => {
                    verified = newer.verify(delivery, now);
                    secrets = newer;
                }
                Refresh::Unavailable => {
                    let detail = "no secret matches, and newer secrets cannot be loaded; send the same delivery again";
                    return Err(Problem::NoSecrets(detail));
                }
            }
        }
        if !secrets.is_open() {
            let detail = "the configured secrets are not usable; the log has the reason";
            return Err(if self.secrets.has_defects() { Problem::NoSecrets(detail) } else { Problem::Closed });
        }
        verified.map_err(Problem::Unverified)
    }

    fn identify(&self, delivery: &Verified<'_>) -> Result<Event, Rejected> {
        let document = delivery.document().map_err(|error| Problem::NotAnObject(error.to_string()))?;
        let received_at = self.clock().now();
        let nonce = self.inbox.random.nonce().map_err(|error| {
            let context = LogContext { error: Some(format!("no random bytes: {error}")), ..LogContext::default() };
            Rejected::new(Problem::NotDurable, Outcome::Unavailable, None, context)
        })?;
        let fingerprint = self.vendor.fingerprint(&document);
        let identity = self.vendor.identify(&document, delivery.proof(), &fingerprint, &nonce);
        let received = Received {
            id: identity.id,
            weak_identity: identity.weak,
            nonce,
            fingerprint,
            received_at,
            verified_by: delivery.proof().by.clone(),
            body: delivery.body().clone(),
            answer: None,
            asked: None,
        };
        Ok(self.vendor.event(&document, received))
    }
}

/// Builds the inbox and the cache of a part of the secrets from the environment. Then it loads the secrets and opens the
/// connection to DynamoDB, both at once, unless `CONNECT_AT_START` is `false`. If either fails, the first request tries
/// again.
///
/// # Errors
/// If a variable about the table or the queue is missing or not usable.
pub async fn connect<P: SecretsPart>(
    part: &PartSpec,
    get: &dyn Fn(&str) -> Option<String>,
) -> Result<(Inbox, SecretsCache<P>), ConfigError> {
    let (config, clock) = (Config::read(get)?, Clock::System);
    let sdk = gatehouse_runtime::aws::function_config();
    let secrets = SecretsCache::from_env(*part, &sdk, get, clock.clone());
    let inbox = Inbox::new(&sdk, config, clock);
    if get("CONNECT_AT_START").is_none_or(|value| value != "false") {
        tokio::join!(secrets.get(), inbox.store.warm(inbox.clock.now()));
    }
    Ok((inbox, secrets))
}

/// A delivery with a response of 200.
struct Accepted {
    body: String,
    outcome: Outcome,
    context: LogContext,
}

/// A delivery with an error response.
struct Rejected {
    problem: Problem,
    outcome: Outcome,
    context: Box<LogContext>,
}

impl Rejected {
    fn new(problem: Problem, outcome: Outcome, event: Option<Event>, context: LogContext) -> Self {
        Rejected { problem, outcome, context: Box::new(LogContext { event, ..context }) }
    }
}

impl From<Problem> for Rejected {
    fn from(problem: Problem) -> Self {
        let outcome = problem.document().outcome;
        Rejected { problem, outcome, context: Box::default() }
    }
}

/// Runs an action, and notifies services, at the same time and each within its limit. `None` if there is neither.
async fn act(action: Option<Action>, notify: Option<Action>, end: Instant) -> Option<Result<(), String>> {
    let run = async |action: Option<Action>, within| {
        let until = end.min(Instant::now() + within);
        Some(timeout_at(until + RESERVE, action?(until)).await.unwrap_or_else(|_| Err("out of time".to_owned())))
    };
    let (acted, notified) = tokio::join!(run(action, ACT_WITHIN), run(notify, NOTIFY_WITHIN));
    match (acted, notified) {
        (Some(Err(acted)), Some(Err(notified))) => Some(Err(format!("{acted}; {notified}"))),
        (Some(acted), notified) => Some(acted.and(notified.unwrap_or(Ok(())))),
        (None, notified) => notified,
    }
}

/// Adds the headers that every response has: content type, outcome, and the event id if it is known.
fn with_headers(mut response: Response<String>, outcome: Outcome, event: Option<&Event>) -> Response<String> {
    let headers = response.headers_mut();
    headers.entry(header::CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
    headers.insert("gatehouse-outcome", HeaderValue::from_static(outcome.as_str()));
    // An id is visible ASCII, so it is a valid header value.
    if let Some(id) = event.and_then(|event| HeaderValue::from_str(event.id.as_str()).ok()) {
        headers.insert("gatehouse-event-id", id);
    }
    response
}
