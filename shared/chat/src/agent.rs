//! The agents of `agent-chat`.

use std::fmt;

use gatehouse_ag_kit::Dialect;
use http::Uri;
use serde::Deserialize;

use gatehouse_vendor::Secret;

/// An agent.
#[derive(Clone)]
pub struct Agent {
    /// The URL that accepts messages: `https`, or `http` on a loopback address.
    pub url: Uri,
    /// The dialect of the agent.
    pub dialect: Dialect,
    /// The bearer token for requests; `None` if the agent needs none.
    pub token: Option<Secret>,
    /// Whether the agent's address may be in a private network.
    pub is_private: bool,
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agent").field("dialect", &self.dialect).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AgentPart {
    url: String,
    dialect: String,
    #[serde(default)]
    token: Option<Secret>,
    #[serde(default)]
    private: bool,
}

impl AgentPart {
    /// Returns the agent, or its defect.
    pub(crate) fn agent(self) -> Result<Agent, &'static str> {
        let visible = |token: &Secret| !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
        if !self.token.iter().all(visible) {
            return Err(".token is not valid in a header; use visible ASCII characters");
        }
        let url = super::url(&self.url).ok_or(".url does not begin with https://")?;
        let dialect = Dialect::from_name(&self.dialect).ok_or(".dialect is neither ag-kit nor ag-ui")?;
        Ok(Agent { url, dialect, token: self.token, is_private: self.private })
    }
}
