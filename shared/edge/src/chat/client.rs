//! The clients: servers with a token of their own, and the users of issuers of tokens.

use std::fmt;
use std::num::NonZeroU32;

use gatehouse_inbox::store::slots::Limits;
use http::Uri;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::secrets::Secret;

/// The shortest token, in bytes.
const SHORTEST: usize = 16;

/// Who may call, by a token of its own.
#[derive(Clone)]
pub struct Client {
    /// Names the client in records and logs.
    pub id: String,
    pub(super) token: Secret,
    /// What it may do.
    pub rights: Rights,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("id", &self.id).field("rights", &self.rights).finish_non_exhaustive()
    }
}

/// Whose tokens for their users are accepted: JSON Web Tokens (RFC 7519), signed with RS256 or ES256.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    /// What `iss` must be.
    pub issuer: String,
    /// Where the keys are, as a JSON Web Key Set (RFC 7517).
    pub jwks_url: Uri,
    /// Whether their address may be a private network's.
    pub is_private: bool,
    /// What `aud` must be, or hold.
    pub audience: String,
    /// What each user may do.
    pub rights: Rights,
}

impl Issuer {
    /// The client that a user is: `<issuer>:<sub>`. In `sub`, `:` and what is not visible ASCII is percent-encoded, so that no
    /// user of one issuer is one of another's.
    #[must_use]
    pub fn client_id(&self, sub: &str) -> String {
        let escape = |byte: u8| match byte {
            b'%' | b':' => format!("%{byte:02X}"),
            _ if byte.is_ascii_graphic() => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        };
        format!("{}:{}", self.issuer, sub.bytes().map(escape).collect::<String>())
    }
}

/// What a client may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rights {
    agents: Vec<String>,
    /// How many turns.
    pub limits: Limits,
}

impl Rights {
    /// Whether it may call this agent.
    #[must_use]
    pub fn may_call(&self, agent: &str) -> bool {
        self.agents.iter().any(|allowed| allowed == "*" || allowed == agent)
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct LimitsPart {
    #[serde(default)]
    concurrent: Option<NonZeroU32>,
    #[serde(default)]
    per_minute: Option<NonZeroU32>,
}

fn rights(agents: Vec<String>, limits: LimitsPart) -> Result<Rights, &'static str> {
    let LimitsPart { concurrent, per_minute } = limits;
    let limits = Limits { concurrent: concurrent.map(NonZeroU32::get), per_minute: per_minute.map(NonZeroU32::get) };
    if agents.is_empty() {
        Err(".agents is empty; \"*\" stands for every agent")
    } else {
        Ok(Rights { agents, limits })
    }
}

/// Whether the element is an issuer's: `"kind": "jwt"`. Any other kind is none, and `token` may be left out.
pub(crate) fn is_issuer(raw: &RawValue) -> bool {
    #[derive(Deserialize)]
    struct Kind {
        kind: String,
    }
    serde_json::from_str(raw.get()).is_ok_and(|Kind { kind }| kind == "jwt")
}

#[derive(Deserialize)]
enum Token {
    #[serde(rename = "token")]
    Token,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClientPart {
    #[serde(default, rename = "kind")]
    _kind: Option<Token>,
    id: String,
    pub(crate) token: Secret,
    agents: Vec<String>,
    #[serde(default)]
    limits: LimitsPart,
}

impl ClientPart {
    /// What is wrong with the token: the rest is checked by [`Self::client`].
    pub(crate) fn token_defect(&self) -> Option<String> {
        match self.token.len() {
            _ if !is_visible(&self.token) => Some("is not of visible ASCII characters".to_owned()),
            length if length < SHORTEST => Some(format!("is shorter than {SHORTEST} bytes")),
            _ => None,
        }
    }

    /// The client, or what is wrong with it.
    pub(crate) fn client(self, others: &[Client]) -> Result<Client, &'static str> {
        let ClientPart { id, token, agents, limits, .. } = self;
        if id.is_empty() || id.len() > 100 || !is_visible(&id) {
            return Err(".id is not up to 100 visible ASCII characters");
        }
        let rights = rights(agents, limits)?;
        if others.iter().any(|other| other.id == id && other.rights != rights) {
            return Err(".agents or .limits differ from those of another client of this id");
        }
        Ok(Client { id, token, rights })
    }
}

#[derive(Deserialize)]
enum Jwt {
    #[serde(rename = "jwt")]
    Jwt,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct IssuerPart {
    #[serde(rename = "kind")]
    _kind: Jwt,
    issuer: String,
    jwks_url: String,
    #[serde(default)]
    private: bool,
    audience: String,
    agents: Vec<String>,
    #[serde(default)]
    limits: LimitsPart,
}

impl IssuerPart {
    /// The issuer, or what is wrong with it.
    pub(crate) fn issuer(self) -> Result<Issuer, &'static str> {
        let IssuerPart { issuer, jwks_url, private: is_private, audience, agents, limits, .. } = self;
        if issuer.is_empty() || !is_visible(&issuer) {
            return Err(".issuer is not of visible ASCII characters");
        }
        if audience.is_empty() {
            return Err(".audience is empty: a token for whomsoever would do");
        }
        let jwks_url = super::url(&jwks_url).ok_or(".jwks_url does not begin with https://")?;
        Ok(Issuer { issuer, jwks_url, is_private, audience, rights: rights(agents, limits)? })
    }
}

fn is_visible(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}
