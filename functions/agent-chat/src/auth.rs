//! Authenticates the client and checks its access to the agent.

use gatehouse_chat::{Agent, AgentChat};
use gatehouse_inbox::store::slots::Limits;
use gatehouse_receiver::Problem;
use gatehouse_receiver::secrets::Refresh;
use http::{Request, header};

use crate::problem::ChatProblem;
use crate::{Bytes, State, jwt};

/// An authenticated client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    /// The client's id, or `<issuer>:<sub>`.
    pub(crate) id: String,
    /// The kind of authentication, for the record: `token` or `jwt`.
    pub(crate) verified_by: &'static str,
    pub(crate) limits: Limits,
}

/// The client list is unavailable; the same request may succeed later.
const CLIENTS_UNAVAILABLE: ChatProblem =
    ChatProblem::Request(Problem::NoSecrets("the list of clients is unavailable; send the same request again"));

/// The secrets document has no client.
const NO_CLIENTS: ChatProblem = ChatProblem::Request(Problem::Closed);

/// The secrets document has clients, but none of them is usable.
const UNUSABLE_CLIENTS: ChatProblem =
    ChatProblem::Request(Problem::NoSecrets("no usable client is configured; the log has the reason"));

/// Authenticates the client. Returns it with the agent of the request.
pub(crate) async fn authorize(
    request: &Request<Bytes>,
    state: &State,
    agent_id: &str,
) -> Result<(Caller, Agent), ChatProblem> {
    let secrets = state.secrets.get().await.ok_or(CLIENTS_UNAVAILABLE)?;
    let token = bearer_token(request)?;
    let result = check_access(&secrets, state, token, agent_id).await;
    if !result.as_ref().is_err_and(may_need_newer_secrets) {
        return result;
    }
    match state.secrets.refresh_after_mismatch(&secrets).await {
        Refresh::New(newer) => check_access(&newer, state, token, agent_id).await,
        Refresh::Unchanged => result,
        Refresh::Unavailable => Err(CLIENTS_UNAVAILABLE),
    }
}

/// Whether a newer secrets document may contain the client or the agent.
fn may_need_newer_secrets(problem: &ChatProblem) -> bool {
    matches!(problem, ChatProblem::NoClient(_) | ChatProblem::NoAgent | ChatProblem::Forbidden)
        || [NO_CLIENTS, UNUSABLE_CLIENTS].contains(problem)
}

async fn check_access(
    chat: &AgentChat,
    state: &State,
    token: &str,
    agent_id: &str,
) -> Result<(Caller, Agent), ChatProblem> {
    if !chat.is_open() {
        return Err(if state.secrets.has_defects() { UNUSABLE_CLIENTS } else { NO_CLIENTS });
    }
    let (id, verified_by, rights) = match chat.client(token) {
        Some(client) => (client.id.clone(), "token", &client.rights),
        None => {
            let (id, rights) = jwt::verify(token, &chat.issuers, state).await?;
            (id, "jwt", rights)
        }
    };
    if !rights.may_call(agent_id) {
        return Err(ChatProblem::Forbidden);
    }
    let agent = chat.agents.get(agent_id).ok_or(ChatProblem::NoAgent)?;
    Ok((Caller { id, verified_by, limits: rights.limits }, agent.clone()))
}

/// Returns the token of the `Authorization` header.
fn bearer_token(request: &Request<Bytes>) -> Result<&str, ChatProblem> {
    let value = request.headers().get(header::AUTHORIZATION).ok_or(ChatProblem::NoClient("no token"))?;
    let (scheme, token) = value.to_str().ok().and_then(|value| value.split_once(' ')).unwrap_or_default();
    if scheme.eq_ignore_ascii_case("bearer") { Ok(token.trim()) } else { Err(ChatProblem::NoClient("no bearer")) }
}
