//! Admission: the checks of a request before it is forwarded to its agent.

use std::sync::Arc;
use std::time::Duration;

use gatehouse_ag_kit::{Dialect, check::check};
use gatehouse_inbox::store::claim::{Claim, Completion};
use gatehouse_inbox::store::slots::{Slot, SlotOutcome};
use gatehouse_payload::json::{self, Document};
use gatehouse_payload::time::Timestamp;
use gatehouse_payload::{EventId, Fingerprint, Nonce};
use gatehouse_receiver::{Deadline, Problem, RequestId, precheck};
use http::{HeaderValue, Request};
use tokio::time::timeout;

use crate::auth::{self, Caller};
use crate::clean_up::CleanUp;
use crate::idempotency::{self, Acquisition, RecordedTurn};
use crate::problem::ChatProblem;
use crate::{AdmittedRequest, Bytes, MARGIN, PATHS, State};

/// Time by which a lease outlasts its invocation, in milliseconds, because clocks may differ.
const LEASE_MARGIN: i64 = 5000;
/// Lease of a key during admission, in milliseconds. The key of a request that is killed during admission is free after
/// this time.
const ADMISSION_LEASE: i64 = 15_000;
/// Longest time that an error response waits for the release of its request's key and slot.
const RELEASE_WAIT: Duration = Duration::from_secs(2);

/// The result of admission.
pub(crate) enum Admission {
    /// The request is forwarded to its agent.
    Forward(Box<AdmittedRequest>),
    /// The request was answered before. Holds the recorded turn and the new request's id.
    Replay(Box<RecordedTurn>, HeaderValue),
}

/// Admits a request. Acquires its key, then its slot, and extends the key's lease last.
pub(crate) async fn admit(
    request: &Request<Bytes>,
    state: &Arc<State>,
    deadline: Deadline,
) -> Result<Admission, ChatProblem> {
    let agent_id = agent_id(request.uri().path()).ok_or(Problem::NotFound { paths: PATHS })?;
    precheck::check_without_path(request, state.limits.body)?;
    let (client, agent) = auth::authorize(request, state, agent_id).await?;
    let document = Document::read(request.body()).map_err(|error| Problem::NotAnObject(error.to_string()))?;
    // `Document` also reads a JSON string that holds an object, which webhooks send. Agents do not accept one.
    if !request.body().trim_ascii_start().starts_with(b"{") {
        return Err(Problem::NotAnObject("the body is a JSON string; send a JSON object".to_owned()).into());
    }
    check(agent.dialect, document.text()).map_err(|error| ChatProblem::WrongRequest(error.to_string()))?;
    let now = state.clock().now();
    let in_ms = |ms: i64| Timestamp::clamped(now.as_millis().saturating_add(ms));
    let lease = in_ms(i64::try_from(deadline.left().as_millis()).unwrap_or(i64::MAX / 2) + LEASE_MARGIN);
    let nonce = state.inbox.random.nonce().map_err(|_| Problem::NotDurable)?;
    let (turn_id, claim) = match idempotency::header(request)? {
        None => (new_turn_id(state, now)?, None),
        Some(key) => {
            let key = idempotency::claim_key(&client.id, agent_id, &key);
            let fingerprint = Fingerprint::of(document.text());
            match idempotency::acquire(state, key, fingerprint, nonce, in_ms(ADMISSION_LEASE).min(lease)).await {
                Ok(Acquisition::Acquired(claim)) => (idempotency::turn_id(&claim), Some(claim)),
                Ok(Acquisition::Recorded(recorded)) => {
                    let request_id = request_id(request, &recorded.turn_id, None);
                    return Ok(Admission::Replay(Box::new(recorded), request_id));
                }
                Err(rejection) => {
                    release(state, rejection.unconfirmed, None, deadline).await;
                    return Err(rejection.problem);
                }
            }
        }
    };
    let mut admitted = AdmittedRequest {
        request_id: request_id(request, &turn_id, claim.as_ref()),
        invocation: RequestId::from_extensions(request.extensions()).cloned(),
        turn_id,
        claim,
        slot: None,
        agent_id: agent_id.to_owned(),
        conversation: conversation(agent.dialect, &document),
        client,
        agent,
        began_at: now,
        body: request.body().clone(),
        json: document.into_text().into_owned(),
    };
    let mut result = acquire_slot(state, &mut admitted, nonce, lease).await;
    if let (Ok(()), Some(claim)) = (&result, &mut admitted.claim) {
        result = idempotency::extend(state, claim, lease).await;
    }
    if let Err(problem) = result {
        release(state, admitted.claim, admitted.slot, deadline).await;
        return Err(problem);
    }
    Ok(Admission::Forward(Box::new(admitted)))
}

/// Releases the key and slot of a request that is not forwarded. Returns after [`RELEASE_WAIT`] at the latest; retries
/// continue in a task.
pub(crate) async fn release(state: &Arc<State>, claim: Option<Claim>, slot: Option<Slot>, deadline: Deadline) {
    if claim.is_none() && slot.is_none() {
        return;
    }
    let claim = claim.map(|claim| (claim, Completion::Failed));
    let until = deadline.instant();
    let clean_up = CleanUp { claim, slot, until: until.checked_sub(MARGIN).unwrap_or(until) };
    let owner = Arc::clone(state);
    let task = state.turns.spawn(async move { clean_up.run(&owner).await });
    let _ = timeout(RELEASE_WAIT, task).await;
}

/// Acquires a slot if the client has limits. While DynamoDB is unavailable, turns are not counted and requests are
/// admitted.
async fn acquire_slot(
    state: &State,
    admitted: &mut AdmittedRequest,
    nonce: Nonce,
    lease: Timestamp,
) -> Result<(), ChatProblem> {
    let Caller { id, limits, .. } = &admitted.client;
    if limits.are_none() {
        return Ok(());
    }
    let slot = Slot { key: slots_key(id), nonce };
    let result = state.inbox.store.acquire_slot(&slot, *limits, lease, admitted.began_at).await;
    match result {
        Ok(SlotOutcome::Acquired) => {}
        Ok(SlotOutcome::Refused(limit)) => return Err(ChatProblem::TooMany(limit)),
        Err(error) => tracing::warn!(error = error.to_string(), "the client's turn could not be counted"),
    }
    // A write that returned an error may have acquired the slot, so the slot is released with the turn.
    admitted.slot = Some(slot);
    Ok(())
}

/// Returns the key of a client's quota: `slots:<client>`.
fn slots_key(client: &str) -> EventId {
    EventId::new(&["slots"], &[client])
}

/// Returns a new id for a turn without an idempotency key: a UUID of version 7, so that ids sort by time.
fn new_turn_id(state: &State, now: Timestamp) -> Result<String, ChatProblem> {
    let id = state.inbox.random.uuid(now).map_err(|_| Problem::NotDurable)?;
    Ok(id.to_string())
}

/// Returns the `AgentId` in the path.
fn agent_id(path: &str) -> Option<&str> {
    let id = path.trim_matches('/').strip_prefix("v1/aibot/bots/")?.strip_suffix("/send-message")?;
    (!id.is_empty() && !id.contains('/')).then_some(id)
}

/// Returns the conversation that the request names.
fn conversation(dialect: Dialect, document: &Document<'_>) -> Option<String> {
    let name = match dialect {
        Dialect::AgKit => "conversationId",
        Dialect::AgUi => "threadId",
    };
    json::text_member(document.text(), name).filter(|id| !id.is_empty())
}

/// Returns the request id for the agent: the client's own if it is valid, else a hash of the idempotency key, else the
/// turn's id. The hash is the same for all attempts under a key, so that the agent can recognize them. It does not
/// reveal the key.
fn request_id(request: &Request<Bytes>, turn_id: &str, claim: Option<&Claim>) -> HeaderValue {
    let is_valid = |text: &str| (1..=200).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    let own = request.headers().get("x-request-id").filter(|value| value.to_str().is_ok_and(is_valid));
    let generated = || match claim {
        None => turn_id.to_owned(),
        Some(claim) => Fingerprint::of(&format!("\"{}\"", claim.key)).to_string(),
    };
    own.cloned().or_else(|| HeaderValue::try_from(generated()).ok()).unwrap_or(HeaderValue::from_static("-"))
}
