//! The way of one event: gate, verify, parse, identify, decide, redact, record, act, respond, log.

use std::time::Duration;

use bytes::Bytes;
use gatehouse_inbox::config::ConfigError;
use gatehouse_inbox::event::{BODY_LIMIT, Event, Nonce};
use gatehouse_inbox::queue::{Envelope, Queues};
use gatehouse_inbox::{Clock, Config, Inbox, Outcome, Receipt, Store};
use gatehouse_payload::json::Document;
use http::{HeaderValue, Request, Response, header};
use tokio::time::{Instant, timeout_at};

use crate::answering::{Action, Answering, Decision, Unanswered};
use crate::log::{LogContext, RequestLine};
use crate::scheme::Parts;
use crate::secrets::{DEVELOPMENT, Refresh, SecretsCache};
use crate::skip::Skip;
use crate::{Deadline, Problem, Redaction, RequestId, Source, Verified, gate};

/// By when every request is answered, whatever fails: Vapi waits 7.5 s for some answers, cold start included.
const ANSWER_WITHIN: Duration = Duration::from_millis(4800);
/// What is left for the answer itself before Lambda's deadline.
const RESERVE: Duration = Duration::from_millis(200);
/// What deciding, recording and acting may take together.
const RECORD_WITHIN: Duration = Duration::from_secs(4);
/// What of it deciding leaves for recording: a try at each store.
const RECORD_SHARE: Duration = Duration::from_secs(2);
/// What an action may take.
const ACT_WITHIN: Duration = Duration::from_secs(1);

/// One function's place in the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    /// The function's name.
    pub function: &'static str,
    /// The paths it answers at.
    pub paths: &'static [&'static str],
    /// Who calls it.
    pub source: Source,
}

/// What a front function needs to take events in.
#[derive(Debug)]
pub struct Receiver {
    /// Records them.
    pub inbox: Inbox,
    /// Verifies them.
    pub secrets: SecretsCache,
    /// What of them is not kept.
    pub redaction: Redaction,
    /// Which of them are not kept at all.
    pub skip: Skip,
    /// How large they may be, in bytes.
    pub body_limit: usize,
}

impl Receiver {
    /// Builds the door from the environment, then looks the secrets up and opens the connection to DynamoDB, both at
    /// once, unless `CONNECT_AT_START` is `false`. What fails in the latter two is for the first request to find, and
    /// without usable secrets every delivery is answered with 503: whoever sends it will send it again.
    ///
    /// # Errors
    /// When a variable about the table or the queue is missing or not usable.
    pub async fn from_env() -> Result<Self, ConfigError> {
        let get = |name: &str| std::env::var(name).ok();
        let config = Config::read(&get)?;
        let (redaction, skip) = (Redaction::read(&get)?, Skip::read(&get)?);
        let body_limit = gate::body_limit(&get, BODY_LIMIT)?;
        let sdk = gatehouse_inbox::aws::function_config();
        let clock = Clock::System;
        // `sam local` sets it; a deployed function never sees it.
        let development = get("AWS_SAM_LOCAL").is_some_and(|value| value == "true");
        let document = get("GATEHOUSE_SECRETS").or_else(|| development.then(|| DEVELOPMENT.to_owned()));
        let secrets = match (get("SECRETS_ARN").filter(|arn| !arn.is_empty()), document) {
            (Some(arn), _) => SecretsCache::manager(&sdk, arn, development, clock.clone()),
            (None, Some(document)) => {
                SecretsCache::fixed(&document, development, clock.clone()).unwrap_or_else(|error| {
                    tracing::error!(%error, "GATEHOUSE_SECRETS is not usable: every delivery is answered with 503");
                    SecretsCache::closed(clock.clone())
                })
            }
            (None, None) => {
                tracing::error!(
                    "neither SECRETS_ARN nor GATEHOUSE_SECRETS is set: every delivery is answered with 503"
                );
                SecretsCache::closed(clock.clone())
            }
        };
        let inbox = Inbox {
            store: Store::new(&sdk, &config.table, config.ttl_days),
            queues: Queues::new(&sdk, config.queue_max_bytes),
            retry_queue: config.retry_queue,
            clock,
        };
        let door = Receiver { inbox, secrets, redaction, skip, body_limit };
        if get("CONNECT_AT_START").is_none_or(|value| value != "false") {
            tokio::join!(door.secrets.get(), door.inbox.store.warm(door.clock().now()));
        }
        Ok(door)
    }

    /// The clock events and deadlines are dated by.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.inbox.clock
    }

    /// Takes a request to its answer, and logs it. A 200 has the body the vendor expects.
    pub async fn receive(&self, endpoint: &Endpoint, request: Request<Bytes>, deadline: Deadline) -> Response<String> {
        self.receive_and_answer(endpoint, request, deadline, &Unanswered).await
    }

    /// Takes a request to its answer, and logs it. `answering` decides about the body of a 200.
    pub async fn receive_and_answer(
        &self,
        endpoint: &Endpoint,
        request: Request<Bytes>,
        deadline: Deadline,
        answering: &impl Answering,
    ) -> Response<String> {
        let started = Instant::now();
        let end = deadline.instant().checked_sub(RESERVE).unwrap_or(started);
        let taken = self.take(endpoint, &request, end.min(started + ANSWER_WITHIN), answering).await;
        let request_id = RequestId::among(request.extensions());
        let (response, outcome, told) = match taken {
            Ok(Taken { body, outcome, told }) => (Response::new(body), outcome, told),
            Err(Refused { problem, outcome, told }) => {
                let why = problem.why();
                let told = LogContext { problem: Some((problem.slug(), problem.log_detail())), why, ..*told };
                (problem.to_response(request_id), outcome, told)
            }
        };
        let response = answer(response, outcome, told.event.as_ref());
        RequestLine {
            function: endpoint.function,
            source: endpoint.source.vendor(),
            request_id: request_id.map(RequestId::as_str),
            outcome,
            status: response.status().as_u16(),
            took: started.elapsed(),
            told,
        }
        .write();
        response
    }

    async fn take(
        &self,
        endpoint: &Endpoint,
        request: &Request<Bytes>,
        end: Instant,
        answering: &impl Answering,
    ) -> Result<Taken, Refused> {
        gate::check(request, endpoint.paths, self.body_limit)?;
        let verified = self.verify(endpoint.source, request).await?;
        let mut event = self.identify(endpoint.source, request.body(), verified)?;

        let now = Instant::now();
        let end = end.min(now + RECORD_WITHIN);
        let Decision { answer, otherwise, only_if_still_so, is_awaited, unsupported, action, by, fault } =
            answering.decide(&event, end.checked_sub(RECORD_SHARE).unwrap_or(now)).await;
        if self.skip.names(&event) {
            self.secrets.refresh_if_stale().await;
            let body = answer.or(otherwise.map(str::to_owned));
            let body = body.unwrap_or_else(|| endpoint.source.respond(Outcome::Skipped, &event.id));
            let told = LogContext { rule: by, fault, event: Some(event), ..LogContext::default() };
            return Ok(Taken { body, outcome: Outcome::Skipped, told });
        }
        event.answer = answer;
        event.body = self.redaction.apply(&event.body);
        let (recorded, ()) = tokio::join!(self.inbox.record(&event, end), self.secrets.refresh_if_stale());
        let mut told = LogContext { rule: by, fault, ..LogContext::default() };
        let (outcome, answer) = match recorded {
            Ok(Receipt { outcome, answer, error }) => {
                told.error = error.map(|error| error.to_string());
                // An id that is a guess is no ground to act on.
                if outcome == Outcome::Recorded
                    && !event.marks.weak_identity
                    && let Some(action) = action
                {
                    told.action = Some(act(action, end).await);
                }
                if outcome == Outcome::Duplicate {
                    // It is answered by what was decided then.
                    told.rule = None;
                }
                (outcome, answer.filter(|answer| !only_if_still_so || Some(answer) == event.answer.as_ref()))
            }
            Err(error) => {
                told.error = Some(error.to_string());
                if !is_awaited {
                    told.event = Some(event);
                    return Err(Refused {
                        problem: Problem::NotDurable,
                        outcome: Outcome::Unavailable,
                        told: Box::new(told),
                    });
                }
                (Outcome::Unrecorded, event.answer.clone())
            }
        };
        if let Some(detail) = unsupported {
            told.event = Some(event);
            return Err(Refused { problem: Problem::Unsupported(detail), outcome, told: Box::new(told) });
        }
        let body =
            answer.or(otherwise.map(str::to_owned)).unwrap_or_else(|| endpoint.source.respond(outcome, &event.id));
        told.event = Some(event);
        Ok(Taken { body, outcome, told })
    }

    async fn verify(&self, source: Source, request: &Request<Bytes>) -> Result<Verified, Problem> {
        let parts = Parts { method: request.method(), headers: request.headers(), body: request.body() };
        let now = self.clock().now();
        let secrets = self.secrets.get().await;
        let mut secrets =
            secrets.ok_or(Problem::NoSecrets("the secrets cannot be looked up; send the same delivery again"))?;
        let mut verdict = source.verify(parts, &secrets, now);
        // Either may be the trace of a change that has not reached this instance yet.
        if verdict.as_ref().is_err_and(|unverified| unverified.may_match_later) || !source.is_open(&secrets) {
            match self.secrets.look_again(&secrets).await {
                Refresh::Unchanged => {}
                Refresh::New(newer) => {
                    verdict = source.verify(parts, &newer, now);
                    secrets = newer;
                }
                Refresh::Unavailable => {
                    let detail = "no secret matches, and whether there is a newer one cannot be looked up; send the same delivery again";
                    return Err(Problem::NoSecrets(detail));
                }
            }
        }
        if !source.is_open(&secrets) {
            return Err(Problem::NoSecrets(
                "no usable secret is configured for this vendor; the log names what is wrong",
            ));
        }
        verdict.map_err(Problem::Unverified)
    }

    fn identify(&self, source: Source, body: &Bytes, verified: Verified) -> Result<Event, Refused> {
        let document = Document::read(body).map_err(|error| Problem::NotAnObject(error.to_string()))?;
        let received_at = self.clock().now();
        let nonce = Nonce::random().map_err(|error| {
            let told = LogContext { error: Some(format!("no random bytes: {error}")), ..LogContext::default() };
            Refused { problem: Problem::NotDurable, outcome: Outcome::Unavailable, told: Box::new(told) }
        })?;
        let fingerprint = source.fingerprint(&document);
        let identity = source.identify(&document, &verified, &fingerprint, &nonce);
        let envelope = Envelope {
            event_id: identity.id,
            weak_identity: identity.weak,
            nonce,
            fingerprint,
            received_at,
            verified_by: verified.by,
            body: body.clone(),
            answer: None,
        };
        Ok(source.event(&document, envelope))
    }
}

struct Taken {
    body: String,
    outcome: Outcome,
    told: LogContext,
}

struct Refused {
    problem: Problem,
    outcome: Outcome,
    told: Box<LogContext>,
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        let outcome = problem.outcome();
        Refused { problem, outcome, told: Box::default() }
    }
}

/// Acts for as long as it may.
async fn act(action: Action, end: Instant) -> Result<(), String> {
    let until = end.min(Instant::now() + ACT_WITHIN);
    timeout_at(until + RESERVE, action(until)).await.unwrap_or_else(|_| Err("out of time".to_owned()))
}

/// Every answer says what became of the delivery, and of which event.
fn answer(mut response: Response<String>, outcome: Outcome, event: Option<&Event>) -> Response<String> {
    let headers = response.headers_mut();
    headers.entry(header::CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
    headers.insert("gatehouse-outcome", HeaderValue::from_static(outcome.as_str()));
    // Ids are made of visible ASCII.
    if let Some(id) = event.and_then(|event| HeaderValue::from_str(event.id.as_str()).ok()) {
        headers.insert("gatehouse-event-id", id);
    }
    response
}
