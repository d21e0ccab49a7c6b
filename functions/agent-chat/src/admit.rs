//! Admission: the checks of a request before its agent is asked.

use std::sync::Arc;
use std::time::Duration;

use gatehouse_edge::chat::{self, claim_key, slots_key};
use gatehouse_edge::{Deadline, Problem, RequestId, gate};
use gatehouse_inbox::store::claim::{Claim, Completion};
use gatehouse_inbox::store::slots::{Full, Slot};
use gatehouse_inbox::{Fingerprint, Nonce};
use gatehouse_payload::ag_kit::{Dialect, check::check};
use gatehouse_payload::json::{self, Document};
use gatehouse_payload::time::Timestamp;
use http::{HeaderValue, Request};
use tokio::time::timeout;

use crate::auth::{self, Caller};
use crate::clean_up::CleanUp;
use crate::idempotency::{self, Key};
use crate::record::Stored;
use crate::{Asked, Bytes, MARGIN, PATHS, State};

/// How much longer than the invocation its claims hold, since a clock may be behind. In milliseconds.
const GRACE: i64 = 5000;
/// The lease of a key until its agent is asked: a request that stops before it shuts its key for no longer. In
/// milliseconds.
const ADMISSION: i64 = 15_000;
/// How long a refusal waits for its key and slot to be free.
const SETTLE: Duration = Duration::from_secs(2);

/// What is to be done about a request.
pub(crate) enum Admitted {
    /// The agent is asked.
    Ask(Box<Asked>),
    /// It has been answered before; the request's own id goes along.
    Replay(Box<Stored>, HeaderValue),
}

/// Admits a request. Takes its key, then its slot, and extends the key's lease last.
pub(crate) async fn admit(
    request: &Request<Bytes>,
    state: &Arc<State>,
    deadline: Deadline,
) -> Result<Admitted, Problem> {
    let agent_id = agent_id(request.uri().path()).ok_or(Problem::NotFound { paths: PATHS })?;
    gate::check_form(request, state.limits.body)?;
    let (client, agent) = auth::authorize(request, state, agent_id).await?;
    let document = Document::read(request.body()).map_err(|error| Problem::NotAnObject(error.to_string()))?;
    // A string that holds an object is taken from webhooks alone; agents take none.
    if !request.body().trim_ascii_start().starts_with(b"{") {
        return Err(Problem::NotAnObject("the body is a string; an object is needed".to_owned()));
    }
    check(agent.dialect, document.text()).map_err(|wrong| Problem::WrongRequest(wrong.to_string()))?;
    let now = state.clock().now();
    let in_ms = |ms: i64| Timestamp::clamped(now.as_millis().saturating_add(ms));
    let lease = in_ms(i64::try_from(deadline.left().as_millis()).unwrap_or(i64::MAX / 2) + GRACE);
    let nonce = Nonce::random().map_err(|_| Problem::NotDurable)?;
    let (turn_id, claim) = match idempotency::header(request)? {
        None => (chat::new_turn_id(), None),
        Some(key) => {
            let key = claim_key(&client.id, agent_id, &key);
            let fingerprint = Fingerprint::of(document.text());
            match idempotency::take(state, key, fingerprint, nonce, in_ms(ADMISSION).min(lease)).await {
                Ok(Key::Taken(claim)) => (chat::turn_id(&claim), Some(claim)),
                Ok(Key::Answered(stored)) => {
                    let request_id = request_id(request, &stored.turn_id, None);
                    return Ok(Admitted::Replay(Box::new(stored), request_id));
                }
                Err(refused) => {
                    give_back(state, refused.unconfirmed, None, deadline).await;
                    return Err(refused.problem);
                }
            }
        }
    };
    let mut asked = Asked {
        request_id: request_id(request, &turn_id, claim.as_ref()),
        invocation: RequestId::among(request.extensions()).cloned(),
        turn_id,
        claim,
        slot: None,
        agent_id: agent_id.to_owned(),
        conversation: conversation(agent.dialect, &document),
        client,
        agent,
        began_at: now,
        body: request.body().clone(),
        request: document.into_text().into_owned(),
    };
    let mut admitted = take_slot(state, &mut asked, nonce, lease).await;
    if let (Ok(()), Some(claim)) = (&admitted, &mut asked.claim) {
        admitted = idempotency::extend(state, claim, lease).await;
    }
    if let Err(problem) = admitted {
        give_back(state, asked.claim, asked.slot, deadline).await;
        return Err(problem);
    }
    Ok(Admitted::Ask(Box::new(asked)))
}

/// Releases the key and slot of a request whose agent was not asked. The refusal waits briefly; retries go on until
/// done.
pub(crate) async fn give_back(state: &Arc<State>, claim: Option<Claim>, slot: Option<Slot>, deadline: Deadline) {
    if claim.is_none() && slot.is_none() {
        return;
    }
    let claim = claim.map(|claim| (claim, Completion::Failed));
    let until = deadline.instant();
    let clean_up = CleanUp { claim, slot, until: until.checked_sub(MARGIN).unwrap_or(until) };
    let owner = Arc::clone(state);
    let cleaning_up = state.turns.spawn(async move { clean_up.run(&owner).await });
    let _ = timeout(SETTLE, cleaning_up).await;
}

/// Takes a slot, where the client has limits. While the table is away nobody counts, and the agent is asked.
async fn take_slot(state: &State, asked: &mut Asked, nonce: Nonce, lease: Timestamp) -> Result<(), Problem> {
    let Caller { id, limits, .. } = &asked.client;
    if limits.are_none() {
        return Ok(());
    }
    let slot = Slot { key: slots_key(id), nonce };
    let taken = state.inbox.store.take_slot(&slot, *limits, lease, asked.began_at).await;
    match taken {
        Ok(Ok(())) => {}
        Ok(Err(Full::Concurrent { retry_after })) => {
            return Err(Problem::TooMany("as many turns are running as the client may have at a time", retry_after));
        }
        Ok(Err(Full::PerMinute { retry_after })) => {
            return Err(Problem::TooMany("as many turns have begun as the client may have in a minute", retry_after));
        }
        Err(error) => tracing::warn!(error = error.to_string(), "the client's turns are not counted"),
    }
    // It may have been taken even if nobody said so.
    asked.slot = Some(slot);
    Ok(())
}

/// The AgentId in the path.
fn agent_id(path: &str) -> Option<&str> {
    let id = path.trim_matches('/').strip_prefix("v1/aibot/bots/")?.strip_suffix("/send-message")?;
    (!id.is_empty() && !id.contains('/')).then_some(id)
}

fn conversation(dialect: Dialect, document: &Document<'_>) -> Option<String> {
    let name = match dialect {
        Dialect::AgKit => "conversationId",
        Dialect::AgUi => "threadId",
    };
    json::text_member(document.text(), name).filter(|id| !id.is_empty())
}

/// The request id for the agent: the client's own if it is valid, else the turn's id or, under a key, a hash of the
/// key. The hash is the same for all attempts, so that the agent can recognize them. It does not reveal the key.
fn request_id(request: &Request<Bytes>, turn_id: &str, claim: Option<&Claim>) -> HeaderValue {
    let is_id = |text: &str| (1..=200).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    let own = request.headers().get("x-request-id").filter(|value| value.to_str().is_ok_and(is_id));
    let ours = || match claim {
        None => turn_id.to_owned(),
        Some(claim) => Fingerprint::of(&format!("\"{}\"", claim.key)).to_string(),
    };
    own.cloned().or_else(|| HeaderValue::try_from(ours()).ok()).unwrap_or(HeaderValue::from_static("-"))
}
