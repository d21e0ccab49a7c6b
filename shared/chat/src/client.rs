//! The clients of `agent-chat`: servers with their own token, and users with a token of an issuer.

use std::fmt;
use std::num::NonZeroU32;

use gatehouse_inbox::store::slots::Limits;
use http::Uri;
use serde::Deserialize;
use serde_json::value::RawValue;

use gatehouse_vendor::Secret;

/// Shortest accepted token, in bytes.
const MIN_TOKEN_BYTES: usize = 16;

/// A client with its own token.
#[derive(Clone)]
pub struct Client {
    /// The id of the client in records and logs.
    pub id: String,
    pub(super) token: Secret,
    /// The agents and limits of the client.
    pub rights: Rights,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("id", &self.id).field("rights", &self.rights).finish_non_exhaustive()
    }
}

/// An issuer of JSON Web Tokens (RFC 7519), signed with RS256 or ES256, for users who are clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    /// The required value of `iss`.
    pub issuer: String,
    /// The URL of the JSON Web Key Set (RFC 7517) with the issuer's keys.
    pub jwks_url: Uri,
    /// Whether the address of the key set may be in a private network.
    pub is_private: bool,
    /// The value that `aud` must equal or contain.
    pub audience: String,
    /// The agents and limits of each user.
    pub rights: Rights,
}

impl Issuer {
    /// Returns the client id of a user: `<issuer>:<sub>`. In `sub`, `:`, `%` and all bytes that are not visible ASCII
    /// are percent-encoded, so that users of different issuers have different ids.
    #[must_use]
    pub fn client_id(&self, sub: &str) -> String {
        let escape = |byte: u8| {
            if byte.is_ascii_graphic() && !b"%:".contains(&byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        };
        format!("{}:{}", self.issuer, sub.bytes().map(escape).collect::<String>())
    }
}

/// The agents that a client may call, and its limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rights {
    agents: Vec<String>,
    /// The limits of the client's turns.
    pub limits: Limits,
}

impl Rights {
    /// The ids of the agents that the client may call; `*` stands for all agents.
    #[must_use]
    pub fn agents(&self) -> &[String] {
        &self.agents
    }

    /// Whether the client may call this agent.
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
        Err(".agents is empty; list agents, or \"*\" for every agent")
    } else {
        Ok(Rights { agents, limits })
    }
}

/// Whether an element of `clients` is an issuer: `"kind": "jwt"`. The only other kind, `token`, is the default.
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
    /// Returns the defect of the token; `None` if it has none. [`Self::client`] checks the other members.
    pub(crate) fn token_defect(&self) -> Option<String> {
        if !is_visible(&self.token) {
            Some("contains characters that are not visible ASCII".to_owned())
        } else if self.token.len() < MIN_TOKEN_BYTES {
            Some(format!("is shorter than {MIN_TOKEN_BYTES} bytes"))
        } else {
            None
        }
    }

    /// Returns the client, or its defect.
    pub(crate) fn client(self, others: &[Client]) -> Result<Client, &'static str> {
        let ClientPart { id, token, agents, limits, .. } = self;
        if id.is_empty() || id.len() > 100 || !is_visible(&id) {
            return Err(".id does not have 1 to 100 visible ASCII characters");
        }
        let rights = rights(agents, limits)?;
        if others.iter().any(|other| other.id == id && other.rights != rights) {
            return Err(".agents or .limits differ from those of another client with this id");
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
    /// Returns the issuer, or its defect.
    pub(crate) fn issuer(self) -> Result<Issuer, &'static str> {
        let IssuerPart { issuer, jwks_url, private: is_private, audience, agents, limits, .. } = self;
        if issuer.is_empty() || !is_visible(&issuer) {
            return Err(".issuer is empty or contains characters that are not visible ASCII");
        }
        if audience.is_empty() {
            return Err(".audience is empty; set the audience, or tokens for any audience would be accepted");
        }
        let jwks_url = super::url(&jwks_url).ok_or(".jwks_url does not begin with https://")?;
        Ok(Issuer { issuer, jwks_url, is_private, audience, rights: rights(agents, limits)? })
    }
}

fn is_visible(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}
