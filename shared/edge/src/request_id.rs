//! Which request: the name Lambda, the log line and a refusal know it by.

use std::sync::Arc;

use http::Extensions;

/// An invocation's id, an extension of the request: whoever is refused can name the request, and whoever reads the log finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// The id Lambda gives an invocation. `None` for what no log line could be found by.
    #[must_use]
    pub fn of_lambda(id: &str) -> Option<Self> {
        let is_id = (1..=100).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
        is_id.then(|| RequestId(id.into()))
    }

    /// The id among a request's extensions, where whoever took the request in has put it.
    #[must_use]
    pub fn among(extensions: &Extensions) -> Option<&Self> {
        extensions.get()
    }

    /// The id's text: visible ASCII.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
