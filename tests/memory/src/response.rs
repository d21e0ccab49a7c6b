//! What the services have in common: responses, and choices that AWS leaves open.

use serde_json::{Value, json};

/// The response to a request, in the JSON protocol of AWS.
#[derive(Debug, Clone, PartialEq)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The JSON body.
    pub body: Value,
}

impl Response {
    /// Creates the response of a request that succeeded.
    #[must_use]
    pub fn ok(body: Value) -> Self {
        Response { status: 200, body }
    }

    /// Creates an error response, with AWS' error code.
    #[must_use]
    pub fn error(status: u16, code: &str, message: &str) -> Self {
        Response { status, body: json!({"__type": code, "message": message}) }
    }

    /// The error code of an error response.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.body["__type"].as_str().filter(|_| self.status != 200).map(|code| code.rsplit('#').next().unwrap_or(code))
    }
}

/// Decides what AWS leaves open, such as the order in which SQS returns messages.
pub trait Choose {
    /// Returns a number below `limit`, which is at least 1. 0 is always the plainest behaviour.
    fn below(&mut self, limit: usize) -> usize;
}

/// Always chooses the plainest behaviour.
#[derive(Debug, Clone, Copy, Default)]
pub struct First;

impl Choose for First {
    fn below(&mut self, _: usize) -> usize {
        0
    }
}
