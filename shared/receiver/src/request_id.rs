//! The id of an invocation, which appears in Lambda's own log lines, the request log line and problem documents.

use std::sync::Arc;

use http::Extensions;

/// The id of an invocation, stored as an extension of the request. A client whose request was rejected can report it,
/// and the log can be searched for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// Wraps the invocation id that Lambda assigns; `None` if it is empty, too long, or not visible ASCII.
    #[must_use]
    pub fn from_lambda(id: &str) -> Option<Self> {
        let is_id = (1..=100).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
        is_id.then(|| RequestId(id.into()))
    }

    /// Returns the id from a request's extensions, if the server has stored it there.
    #[must_use]
    pub fn from_extensions(extensions: &Extensions) -> Option<&Self> {
        extensions.get()
    }

    /// Returns the id as text, which is visible ASCII.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
