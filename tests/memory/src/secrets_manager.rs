//! Secrets Manager with one secret.

use serde_json::{Value, json};

use crate::Response;

/// A Secrets Manager with one secret. It ignores the secret's name.
#[derive(Debug, Clone, Default)]
pub struct SecretsManager {
    /// The text of the secret; `None` if it was deleted.
    pub secret: Option<String>,
}

impl SecretsManager {
    /// Creates a Secrets Manager whose secret has this text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        SecretsManager { secret: Some(text.to_owned()) }
    }

    /// Answers a request.
    pub fn answer(&mut self, operation: &str, request: &Value) -> Response {
        match (operation, &self.secret, request["SecretString"].as_str()) {
            ("GetSecretValue", Some(text), _) => {
                Response::ok(json!({"Name": request["SecretId"], "SecretString": text}))
            }
            ("PutSecretValue", _, Some(text)) => {
                self.secret = Some(text.to_owned());
                Response::ok(json!({"Name": request["SecretId"]}))
            }
            ("GetSecretValue", None, _) => Response::error(400, "ResourceNotFoundException", "there is no such secret"),
            _ => {
                Response::error(400, "InvalidRequestException", "only GetSecretValue and PutSecretValue are supported")
            }
        }
    }
}
