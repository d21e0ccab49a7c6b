//! Who may chat with which agent, and where the agents are: the part `agent_chat` of the secrets document.
//!
//! ```json
//! { "clients": [{ "id": "web", "token": "…", "agents": ["*"], "limits": { "concurrent": 20, "per_minute": 300 } },
//!               { "kind": "jwt", "issuer": "https://…", "jwks_url": "https://…", "audience": "…", "agents": ["support"] }],
//!   "agents":  { "support": { "url": "https://…/send-message", "dialect": "ag-kit", "token": "…" } } }
//! ```

use std::collections::BTreeMap;

use gatehouse_inbox::store::claim::Claim;
use gatehouse_inbox::{EventId, Subject};
use gatehouse_payload::json::{self, Document};
use gatehouse_payload::time::Timestamp;
use http::Uri;
use serde::Deserialize;
use serde_json::value::RawValue;
use subtle::ConstantTimeEq;

use crate::{Identity, Parsed};

mod agent;
mod client;

pub use agent::Agent;
pub(crate) use agent::AgentPart;
pub use client::{Client, Issuer, Rights};
pub(crate) use client::{ClientPart, IssuerPart, is_issuer};

/// Clients and agents.
#[derive(Debug, Clone, Default)]
pub struct AgentChat {
    /// Who may call, by a token of their own.
    pub clients: Vec<Client>,
    /// Whose tokens for their users are accepted.
    pub issuers: Vec<Issuer>,
    /// Whom they may call, by AgentId.
    pub agents: BTreeMap<String, Agent>,
}

impl AgentChat {
    /// Whether anybody may call.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.clients.is_empty() || !self.issuers.is_empty()
    }

    /// The client whose token this is. Takes the same time whichever it is, and whether it is one.
    #[must_use]
    pub fn client(&self, token: &str) -> Option<&Client> {
        let mut found = None;
        for client in &self.clients {
            if bool::from(client.token.as_bytes().ct_eq(token.as_bytes())) {
                found = Some(client);
            }
        }
        found
    }
}

/// Reads a turn's record, as `agent-chat` writes it: what kind of event, of which conversation, and when.
#[must_use]
pub fn parse(turn: &Document<'_>) -> Parsed {
    let text = |name| json::text_member(turn.text(), name);
    Parsed {
        event_type: text("type"),
        subject: text("conversation").map(|id| subject(&id)),
        occurred_at: text("began_at").and_then(|at| Timestamp::parse(&at)),
        unparsed: false,
    }
}

/// Whom turns of a conversation are about.
#[must_use]
pub fn subject(conversation: &str) -> Subject {
    Subject::new("ag-kit", "conversation", conversation)
}

/// What claims an idempotency key: `claim:<client>:<agent>:<key>`, so that nobody meets another client's or agent's turn.
#[must_use]
pub fn claim_key(client: &str, agent: &str, key: &str) -> EventId {
    EventId::new(&["claim"], &[client, agent, key])
}

/// A new id for a turn without an idempotency key: a UUID of version 7, so that ids sort by time.
#[must_use]
pub fn new_turn_id() -> String {
    uuid::Uuid::now_v7().to_string()
}

/// The id of the turn a claim is for: `<client>:<agent>:<key>:<fence>`. Each attempt has its own.
#[must_use]
pub fn turn_id(claim: &Claim) -> String {
    let key = claim.key.as_str();
    format!("{}:{}", key.strip_prefix("claim:").unwrap_or(key), claim.fence)
}

/// What counts a client's turns: `slots:<client>`.
#[must_use]
pub fn slots_key(client: &str) -> EventId {
    EventId::new(&["slots"], &[client])
}

/// The event a turn is: `ag-kit:<turn id>`. A turn id is a UUID, or was [made of a claim](turn_id).
#[must_use]
pub fn event_id(turn_id: &str) -> EventId {
    // The parts of ours are escaped; one that is not is none of ours.
    if turn_id.len() <= 2000 && turn_id.bytes().all(|byte| byte.is_ascii_graphic()) {
        EventId::from_stored(format!("ag-kit:{turn_id}"))
    } else {
        EventId::new(&["ag-kit"], &[turn_id])
    }
}

/// The event a turn's record is.
#[must_use]
pub fn identify(turn: &Document<'_>) -> Identity {
    let turn_id = json::text_member(turn.text(), "turn_id").unwrap_or_default();
    Identity { id: event_id(&turn_id), weak: false }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Part {
    #[serde(default)]
    pub(crate) clients: Vec<Box<RawValue>>,
    #[serde(default)]
    pub(crate) agents: BTreeMap<String, Box<RawValue>>,
}

/// An address to ask: `https`, or `http` on a loopback address.
fn url(text: &str) -> Option<Uri> {
    let url: Uri = text.parse().ok()?;
    let host = url.host().unwrap_or_default();
    let is_loopback = ["127.0.0.1", "localhost", "[::1]"].contains(&host);
    match url.scheme_str() {
        Some("https") if !host.is_empty() => Some(url),
        Some("http") if is_loopback => Some(url),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secrets::Secrets;

    fn parse(part: &str) -> Secrets {
        Secrets::parse(&format!(r#"{{"agent_chat":{part}}}"#), false).unwrap()
    }

    const TOKEN: &str = "a-token-that-is-long-enough";

    #[test]
    fn a_client_is_known_by_its_token_and_calls_the_agents_it_may() {
        let chat = parse(&format!(
            r#"{{"clients":[{{"id":"web","token":"{TOKEN}","agents":["support"]}},
                           {{"id":"ops","token":"{TOKEN}-2","agents":["*"]}}],
                "agents":{{"support":{{"url":"https://agents.example.com/send-message","dialect":"ag-ui","token":"t"}}}}}}"#
        ));
        assert_eq!(chat.defects, Vec::<String>::new());
        let chat = chat.agent_chat;
        let web = chat.client(TOKEN).unwrap();
        assert_eq!(web.id, "web");
        assert!(web.rights.may_call("support") && !web.rights.may_call("sales") && !web.rights.may_call("*"));
        assert!(chat.client(&format!("{TOKEN}-2")).unwrap().rights.may_call("sales"));
        for other in ["", "a-token", "a-token-that-is-long-enough-", "A-token-that-is-long-enough"] {
            assert!(chat.client(other).is_none(), "{other}");
        }
        assert_eq!(chat.agents["support"].dialect, gatehouse_payload::ag_kit::Dialect::AgUi);
    }

    #[test]
    fn what_cannot_be_used_is_named_by_its_place_and_closes_no_more_than_itself() {
        let secrets = parse(&format!(
            r#"{{"clients":[{{"id":"a","token":"s3cret","agents":["*"]}},{{"id":"","token":"{TOKEN}","agents":["*"]}},
                {{"id":"b","token":"{TOKEN}","agents":[]}},{{"id":"c"}},{{"id":"d","token":"{TOKEN}","agents":["*"]}},
                {{"id":"e","token":"{TOKEN}","agents":["x"]}},{{"id":"d","token":"{TOKEN}-new","agents":["x"]}}],
                "agents":{{"plain":{{"url":"http://example.com/x","dialect":"ag-kit"}},"none":{{"url":"x","dialect":"ag-kit"}},
                "dialect":{{"url":"https://example.com","dialect":"l"}},"here":{{"url":"http://127.0.0.1:9/x","dialect":"ag-kit"}}}}}}"#
        ));
        let told = secrets.defects.join("\n");
        for expected in [
            "agent_chat.clients[0].token is shorter than 16 bytes",
            "agent_chat.clients[1].id is not up to 100",
            "agent_chat.clients[2].agents is empty",
            "agent_chat.clients[3] has not the shape",
            "agent_chat.clients[5].token is that of another client",
            "agent_chat.clients[6].agents or .limits differ",
            "agent_chat.agents.plain.url does not begin with https://",
            "agent_chat.agents.none.url",
            "agent_chat.agents.dialect.dialect is neither",
        ] {
            assert!(told.contains(expected), "{expected}\n{told}");
        }
        assert!(!told.contains("s3cret") && !told.contains(TOKEN));
        assert_eq!((secrets.agent_chat.clients.len(), secrets.agent_chat.agents.len()), (1, 1));
        assert!(!format!("{:?}", secrets.agent_chat).contains(TOKEN));
    }

    #[test]
    fn an_issuer_of_tokens_is_a_kind_of_client_and_limits_are_anyones() {
        let secrets = parse(&format!(
            r#"{{"clients":[{{"kind":"jwt","issuer":"https://id.example.com","jwks_url":"https://id.example.com/keys",
                  "audience":"chat","agents":["support"],"limits":{{"per_minute":6}}}},
                {{"kind":"token","id":"web","token":"{TOKEN}","agents":["*"],"limits":{{"concurrent":2}}}},
                {{"kind":"jwt","issuer":"","jwks_url":"https://x.example.com","audience":"a","agents":["*"]}},
                {{"kind":"jwt","issuer":"i","jwks_url":"http://x.example.com","audience":"a","agents":["*"]}},
                {{"kind":"jwt","issuer":"i","jwks_url":"https://x.example.com","audience":"","agents":["*"]}},
                {{"kind":"jwt","issuer":"i","jwks_url":"https://x.example.com","audience":"a","agents":[]}},
                {{"kind":"jwt","issuer":"i","jwks_url":"https://x.example.com","agents":["*"]}},
                {{"kind":"saml","id":"x","token":"{TOKEN}-2","agents":["*"]}},
                {{"id":"y","token":"{TOKEN}-3","agents":["*"],"limits":{{"per_minute":0}}}}]}}"#
        ));
        let told: Vec<&str> =
            secrets.defects.iter().filter_map(|defect| defect.strip_prefix("agent_chat.clients")).collect();
        let places =
            ["[2].issuer", "[3].jwks_url", "[4].audience", "[5].agents", "[6] has not", "[7] has not", "[8] has not"];
        assert_eq!(told.len(), places.len(), "{told:?}");
        assert!(told.iter().zip(places).all(|(told, place)| told.starts_with(place)), "{told:?}");
        let chat = secrets.agent_chat;
        let [issuer] = chat.issuers.as_slice() else { panic!("{:?}", chat.issuers) };
        assert_eq!((issuer.rights.limits.concurrent, issuer.rights.limits.per_minute), (None, Some(6)));
        assert_eq!(chat.client(TOKEN).unwrap().rights.limits.concurrent, Some(2));
        assert_eq!(issuer.client_id("a:b%ü d"), "https://id.example.com:a%3Ab%25%C3%BC%20d");
    }

    #[test]
    fn a_turns_id_holds_client_agent_key_and_fence_and_names_its_event() {
        let key = claim_key("web", "kit", "order 7:1");
        assert_eq!(key.as_str(), "claim:web:kit:order%207%3A1");
        assert_eq!(event_id("01997d").as_str(), "ag-kit:01997d");
        let turn = r#"{"turn_id":"web:kit:order%207%3A1:2"}"#;
        assert_eq!(identify(&Document::read(turn.as_bytes()).unwrap()).id.as_str(), "ag-kit:web:kit:order%207%3A1:2");
    }
}
