//! The clients and agents of `agent-chat`: the part `agent_chat` of the secrets document.
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

/// The clients and agents of `agent-chat`.
#[derive(Debug, Clone, Default)]
pub struct AgentChat {
    /// Clients with their own token.
    pub clients: Vec<Client>,
    /// Issuers whose users are clients.
    pub issuers: Vec<Issuer>,
    /// The agents by id.
    pub agents: BTreeMap<String, Agent>,
}

impl AgentChat {
    /// Whether any client is configured.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.clients.is_empty() || !self.issuers.is_empty()
    }

    /// Returns the client with this token. Takes the same time whether and wherever there is one.
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

/// Parses the record of a turn, which `agent-chat` writes.
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

/// Returns the subject of the turns of a conversation.
#[must_use]
pub fn subject(conversation: &str) -> Subject {
    Subject::new("ag-kit", "conversation", conversation)
}

/// Returns the key of the claim on an idempotency key: `claim:<client>:<agent>:<key>`. Each client has its own keys for
/// each agent.
#[must_use]
pub fn claim_key(client: &str, agent: &str, key: &str) -> EventId {
    EventId::new(&["claim"], &[client, agent, key])
}

/// Returns a new id for a turn without an idempotency key: a UUID of version 7, so that ids sort by time.
#[must_use]
pub fn new_turn_id() -> String {
    uuid::Uuid::now_v7().to_string()
}

/// Returns the id of the turn under a claim: `<client>:<agent>:<key>:<fence>`. Each attempt has its own id.
#[must_use]
pub fn turn_id(claim: &Claim) -> String {
    let key = claim.key.as_str();
    format!("{}:{}", key.strip_prefix("claim:").unwrap_or(key), claim.fence)
}

/// Returns the key of the item that counts a client's turns: `slots:<client>`.
#[must_use]
pub fn slots_key(client: &str) -> EventId {
    EventId::new(&["slots"], &[client])
}

/// Returns the event id of a turn: `ag-kit:<turn id>`. A turn id is a UUID, or [made of a claim](turn_id).
#[must_use]
pub fn event_id(turn_id: &str) -> EventId {
    // Turn ids of Gatehouse are escaped already. Only ids in foreign records can need escaping here.
    if turn_id.len() <= 2000 && turn_id.bytes().all(|byte| byte.is_ascii_graphic()) {
        EventId::from_stored(format!("ag-kit:{turn_id}"))
    } else {
        EventId::new(&["ag-kit"], &[turn_id])
    }
}

/// Returns the identity of a turn from its record.
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

/// Parses the URL of an agent or a key set: `https`, or `http` on a loopback address.
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
    fn client_is_found_by_token_and_limited_to_its_agents() {
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
    fn unusable_clients_and_agents_are_reported_and_left_out() {
        let secrets = parse(&format!(
            r#"{{"clients":[{{"id":"a","token":"s3cret","agents":["*"]}},{{"id":"","token":"{TOKEN}","agents":["*"]}},
                {{"id":"b","token":"{TOKEN}","agents":[]}},{{"id":"c"}},{{"id":"d","token":"{TOKEN}","agents":["*"]}},
                {{"id":"e","token":"{TOKEN}","agents":["x"]}},{{"id":"d","token":"{TOKEN}-new","agents":["x"]}}],
                "agents":{{"plain":{{"url":"http://example.com/x","dialect":"ag-kit"}},"none":{{"url":"x","dialect":"ag-kit"}},
                "dialect":{{"url":"https://example.com","dialect":"l"}},"here":{{"url":"http://127.0.0.1:9/x","dialect":"ag-kit"}}}}}}"#
        ));
        let defects = secrets.defects.join("\n");
        for expected in [
            "agent_chat.clients[0].token is shorter than 16 bytes",
            "agent_chat.clients[1].id does not have 1 to 100",
            "agent_chat.clients[2].agents is empty",
            "agent_chat.clients[3] has not the shape",
            "agent_chat.clients[5].token is that of another client",
            "agent_chat.clients[6].agents or .limits differ",
            "agent_chat.agents.plain.url does not begin with https://",
            "agent_chat.agents.none.url",
            "agent_chat.agents.dialect.dialect is neither",
        ] {
            assert!(defects.contains(expected), "{expected}\n{defects}");
        }
        assert!(!defects.contains("s3cret") && !defects.contains(TOKEN));
        assert_eq!((secrets.agent_chat.clients.len(), secrets.agent_chat.agents.len()), (1, 1));
        assert!(!format!("{:?}", secrets.agent_chat).contains(TOKEN));
    }

    #[test]
    fn issuers_are_parsed_and_limits_apply_to_every_client() {
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
        let defects: Vec<&str> =
            secrets.defects.iter().filter_map(|defect| defect.strip_prefix("agent_chat.clients")).collect();
        let places =
            ["[2].issuer", "[3].jwks_url", "[4].audience", "[5].agents", "[6] has not", "[7] has not", "[8] has not"];
        assert_eq!(defects.len(), places.len(), "{defects:?}");
        assert!(defects.iter().zip(places).all(|(defect, place)| defect.starts_with(place)), "{defects:?}");
        let chat = secrets.agent_chat;
        let [issuer] = chat.issuers.as_slice() else { panic!("{:?}", chat.issuers) };
        assert_eq!((issuer.rights.limits.concurrent, issuer.rights.limits.per_minute), (None, Some(6)));
        assert_eq!(chat.client(TOKEN).unwrap().rights.limits.concurrent, Some(2));
        assert_eq!(issuer.client_id("a:b%ü d"), "https://id.example.com:a%3Ab%25%C3%BC%20d");
    }

    #[test]
    fn turn_and_event_ids_are_built_from_a_claim() {
        let key = claim_key("web", "kit", "order 7:1");
        assert_eq!(key.as_str(), "claim:web:kit:order%207%3A1");
        assert_eq!(event_id("01997d").as_str(), "ag-kit:01997d");
        let turn = r#"{"turn_id":"web:kit:order%207%3A1:2"}"#;
        assert_eq!(identify(&Document::read(turn.as_bytes()).unwrap()).id.as_str(), "ag-kit:web:kit:order%207%3A1:2");
    }
}
