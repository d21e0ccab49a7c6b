//! Who may chat with which agent, and where the agents are: the part `agent_chat` of the secrets document.
//!
//! ```json
//! { "clients": [{ "id": "web", "token": "…", "agents": ["*"] }],
//!   "agents":  { "support": { "url": "https://…/send-message", "dialect": "ag-kit", "token": "…" } } }
//! ```

use std::collections::BTreeMap;
use std::fmt;

use gatehouse_inbox::{EventId, Subject};
use gatehouse_payload::ag_kit::Dialect;
use gatehouse_payload::json::{self, Document};
use gatehouse_payload::time::Timestamp;
use http::Uri;
use serde::Deserialize;
use serde_json::value::RawValue;
use subtle::ConstantTimeEq;

use crate::{Identity, Parsed};

/// The shortest token, in bytes.
const SHORTEST: usize = 16;

/// Clients and agents.
#[derive(Debug, Clone, Default)]
pub struct AgentChat {
    /// Who may call.
    pub clients: Vec<Client>,
    /// Whom they may call, by AgentId.
    pub agents: BTreeMap<String, Agent>,
}

/// Who may call.
#[derive(Clone)]
pub struct Client {
    /// Names the client in records and logs.
    pub id: String,
    token: String,
    agents: Vec<String>,
}

/// An agent.
#[derive(Clone)]
pub struct Agent {
    /// Where it takes messages: `https`, or `http` on a loopback address.
    pub url: Uri,
    /// What it speaks.
    pub dialect: Dialect,
    /// What it is asked with, as a bearer; `None` for agents that ask for nothing.
    pub token: Option<String>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("id", &self.id).field("agents", &self.agents).finish_non_exhaustive()
    }
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agent").field("dialect", &self.dialect).finish_non_exhaustive()
    }
}

impl AgentChat {
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

impl Client {
    /// Whether it may call this agent.
    #[must_use]
    pub fn may_call(&self, agent: &str) -> bool {
        self.agents.iter().any(|allowed| allowed == "*" || allowed == agent)
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

/// The id of a turn: `ag-kit:<turn id>`.
#[must_use]
pub fn event_id(turn_id: &str) -> EventId {
    EventId::new(&["ag-kit"], &[turn_id])
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClientPart {
    id: String,
    pub(crate) token: String,
    agents: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AgentPart {
    url: String,
    dialect: String,
    #[serde(default)]
    pub(crate) token: Option<String>,
}

impl ClientPart {
    /// What is wrong with the token: the rest is checked by [`Self::client`].
    pub(crate) fn token_defect(&self) -> Option<String> {
        token_defect(&self.token)
    }

    /// The client, or what is wrong with it.
    pub(crate) fn client(self, others: &[Client]) -> Result<Client, &'static str> {
        let ClientPart { id, token, agents } = self;
        let is_word = |id: &str| !id.is_empty() && id.len() <= 100 && id.bytes().all(|byte| byte.is_ascii_graphic());
        match () {
            () if !is_word(&id) => Err(".id is not up to 100 visible ASCII characters"),
            () if others.iter().any(|other| other.id == id && other.agents != agents) => {
                Err(".agents differ from those of another client of this id")
            }
            () if agents.is_empty() => Err(".agents is empty; \"*\" stands for every agent"),
            () => Ok(Client { id, token, agents }),
        }
    }
}

impl AgentPart {
    pub(crate) fn token_defect(&self) -> Option<String> {
        let visible = |token: &String| token.bytes().all(|byte| byte.is_ascii_graphic());
        match &self.token {
            Some(token) if token.is_empty() || !visible(token) => Some("cannot stand in a header".to_owned()),
            _ => None,
        }
    }

    /// The agent, or what is wrong with it.
    pub(crate) fn agent(self) -> Result<Agent, &'static str> {
        let url: Uri = self.url.parse().map_err(|_| ".url is no URL")?;
        let host = url.host().unwrap_or_default();
        let is_loopback = ["127.0.0.1", "localhost", "[::1]"].contains(&host);
        match url.scheme_str() {
            Some("https") if !host.is_empty() => {}
            Some("http") if is_loopback => {}
            _ => return Err(".url does not begin with https://"),
        }
        let dialect = Dialect::named(&self.dialect).ok_or(".dialect is neither ag-kit nor ag-ui")?;
        Ok(Agent { url, dialect, token: self.token })
    }
}

fn token_defect(token: &str) -> Option<String> {
    let visible = token.bytes().all(|byte| byte.is_ascii_graphic());
    match token.len() {
        _ if !visible => Some("is not of visible ASCII characters".to_owned()),
        length if length < SHORTEST => Some(format!("is shorter than {SHORTEST} bytes")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
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
        assert!((web.id == "web") && web.may_call("support") && !web.may_call("sales") && !web.may_call("*"));
        assert!(chat.client(&format!("{TOKEN}-2")).unwrap().may_call("sales"));
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
            "agent_chat.clients[6].agents differ",
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
}
