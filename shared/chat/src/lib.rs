#![doc = include_str!("../README.md")]
//!
//! The part `agent_chat` of the secrets document:
//!
//! ```json
//! { "clients": [{ "id": "web", "token": "…", "agents": ["*"], "limits": { "concurrent": 20, "per_minute": 300 } },
//!               { "kind": "jwt", "issuer": "https://…", "jwks_url": "https://…", "audience": "…", "agents": ["support"] }],
//!   "agents":  { "support": { "url": "https://…/send-message", "dialect": "ag-kit", "token": "…" } } }
//! ```

use std::collections::BTreeMap;

use gatehouse_vendor::{PartReader, SecretsPart};
use http::Uri;
use serde::Deserialize;
use serde_json::value::RawValue;
use subtle::ConstantTimeEq;

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

    /// Returns the client with this token. The tokens of all clients are compared, each in constant time.
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

impl SecretsPart for AgentChat {
    /// Reads clients, issuers and agents. An element that cannot be used is ignored and reported as a defect.
    fn read(reader: &mut PartReader<'_>) -> Self {
        let name = reader.name();
        let Some(Part { clients, agents }) = reader.part() else { return AgentChat::default() };
        let mut chat = AgentChat::default();
        for (n, raw) in clients.iter().enumerate() {
            let place = format!("{name}.clients[{n}]");
            if is_issuer(raw) {
                let issuer = reader.object::<IssuerPart>(&place, raw).map(IssuerPart::issuer);
                chat.issuers.extend(issuer.and_then(|issuer| reader.usable(&place, issuer)));
                continue;
            }
            let Some(client) = reader.object::<ClientPart>(&place, raw) else { continue };
            let duplicate = chat.client(&client.token).is_some().then(|| "is that of another client".to_owned());
            let defect = client.token_defect().or(duplicate);
            if reader.check(&format!("{place}.token"), &client.token, defect) {
                let client = client.client(&chat.clients);
                chat.clients.extend(reader.usable(&place, client));
            }
        }
        for (id, raw) in &agents {
            let place = format!("{name}.agents.{id}");
            let Some(agent) = reader.object::<AgentPart>(&place, raw) else { continue };
            let agent = reader.usable(&place, agent.agent());
            chat.agents.extend(agent.map(|agent| (id.clone(), agent)));
        }
        chat
    }
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
    use gatehouse_ag_kit::AgKit;
    use gatehouse_vendor::{SecretsDocument, Source};

    use super::*;

    fn parse(part: &str) -> (AgentChat, Vec<String>) {
        let document = format!(r#"{{"agent_chat":{part}}}"#);
        SecretsDocument::parse(&document, false).unwrap().read(&AgKit.profile().secrets)
    }

    const TOKEN: &str = "a-token-that-is-long-enough";

    #[test]
    fn client_is_found_by_token_and_limited_to_its_agents() {
        let (chat, defects) = parse(&format!(
            r#"{{"clients":[{{"id":"web","token":"{TOKEN}","agents":["support"]}},
                           {{"id":"ops","token":"{TOKEN}-2","agents":["*"]}}],
                "agents":{{"support":{{"url":"https://agents.example.com/send-message","dialect":"ag-ui","token":"t"}}}}}}"#
        ));
        assert_eq!(defects, Vec::<String>::new());
        let web = chat.client(TOKEN).unwrap();
        assert_eq!(web.id, "web");
        assert!(web.rights.may_call("support") && !web.rights.may_call("sales") && !web.rights.may_call("*"));
        assert!(chat.client(&format!("{TOKEN}-2")).unwrap().rights.may_call("sales"));
        for other in ["", "a-token", "a-token-that-is-long-enough-", "A-token-that-is-long-enough"] {
            assert!(chat.client(other).is_none(), "{other}");
        }
        assert_eq!(chat.agents["support"].dialect, gatehouse_ag_kit::Dialect::AgUi);
    }

    #[test]
    fn unusable_clients_and_agents_are_reported_and_ignored() {
        let (chat, defects) = parse(&format!(
            r#"{{"clients":[{{"id":"a","token":"s3cret","agents":["*"]}},{{"id":"","token":"{TOKEN}","agents":["*"]}},
                {{"id":"b","token":"{TOKEN}","agents":[]}},{{"id":"c"}},{{"id":"d","token":"{TOKEN}","agents":["*"]}},
                {{"id":"e","token":"{TOKEN}","agents":["x"]}},{{"id":"d","token":"{TOKEN}-new","agents":["x"]}}],
                "agents":{{"plain":{{"url":"http://example.com/x","dialect":"ag-kit"}},"none":{{"url":"x","dialect":"ag-kit"}},
                "dialect":{{"url":"https://example.com","dialect":"l"}},"here":{{"url":"http://127.0.0.1:9/x","dialect":"ag-kit"}}}}}}"#
        ));
        let defects = defects.join("\n");
        for expected in [
            "agent_chat.clients[0].token is shorter than 16 bytes",
            "agent_chat.clients[1].id does not have 1 to 100",
            "agent_chat.clients[2].agents is empty",
            "agent_chat.clients[3] does not have the shape",
            "agent_chat.clients[5].token is that of another client",
            "agent_chat.clients[6].agents or .limits differ",
            "agent_chat.agents.plain.url does not begin with https://",
            "agent_chat.agents.none.url",
            "agent_chat.agents.dialect.dialect is neither",
        ] {
            assert!(defects.contains(expected), "{expected}\n{defects}");
        }
        assert!(!defects.contains("s3cret") && !defects.contains(TOKEN));
        assert_eq!((chat.clients.len(), chat.agents.len()), (1, 1));
        assert!(!format!("{:?}", chat).contains(TOKEN));
    }

    #[test]
    fn issuers_are_parsed_and_limits_apply_to_every_client() {
        let (chat, defects) = parse(&format!(
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
            defects.iter().filter_map(|defect| defect.strip_prefix("agent_chat.clients")).collect();
        let places = [
            "[2].issuer",
            "[3].jwks_url",
            "[4].audience",
            "[5].agents",
            "[6] does not",
            "[7] does not",
            "[8] does not",
        ];
        assert_eq!(defects.len(), places.len(), "{defects:?}");
        assert!(defects.iter().zip(places).all(|(defect, place)| defect.starts_with(place)), "{defects:?}");
        let [issuer] = chat.issuers.as_slice() else { panic!("{:?}", chat.issuers) };
        assert_eq!((issuer.rights.limits.concurrent, issuer.rights.limits.per_minute), (None, Some(6)));
        assert_eq!(chat.client(TOKEN).unwrap().rights.limits.concurrent, Some(2));
        assert_eq!(issuer.client_id("a:b%ü d"), "https://id.example.com:a%3Ab%25%C3%BC%20d");
    }
}
