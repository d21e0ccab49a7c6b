//! A simulated Secrets Manager with one secret, for tests. It ignores the secret's name.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::http_server::{self, Server};
use crate::{Error, FaultProxy};

/// A running Secrets Manager; it stops when dropped.
#[derive(Debug)]
pub struct SecretsManager {
    secret: Arc<Mutex<String>>,
    /// Fault proxy in front of this server. Clients use the proxy's address.
    pub proxy: FaultProxy,
    _server: Server,
}

impl SecretsManager {
    /// Starts a Secrets Manager on a free loopback port. `text` is the secret.
    ///
    /// # Errors
    /// If no port is free.
    pub async fn start(text: &str) -> Result<Self, Error> {
        let secret = Arc::new(Mutex::new(text.to_owned()));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let proxy = FaultProxy::start(listener.local_addr()?).await?;
        let shared = Arc::clone(&secret);
        let server = http_server::serve(listener, move |request| {
            let response = answer(&shared, &request);
            async move { Some(response) }
        });
        Ok(SecretsManager { secret, proxy, _server: server })
    }

    /// Returns the secret.
    #[must_use]
    pub fn text(&self) -> String {
        lock(&self.secret).clone()
    }

    /// Replaces the secret.
    pub fn put(&self, text: &str) {
        text.clone_into(&mut lock(&self.secret));
    }
}

fn lock(secret: &Mutex<String>) -> std::sync::MutexGuard<'_, String> {
    // A panic cannot leave a partly written secret, so a poisoned lock is safe to use.
    secret.lock().unwrap_or_else(PoisonError::into_inner)
}

fn answer(secret: &Mutex<String>, request: &Request<Bytes>) -> Response<Bytes> {
    let target = request.headers().get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
    let body: Value = serde_json::from_slice(request.body()).unwrap_or_default();
    let (status, output) = match (target, body["SecretString"].as_str()) {
        ("secretsmanager.GetSecretValue", _) => {
            (StatusCode::OK, json!({"Name": body["SecretId"], "SecretString": *lock(secret)}))
        }
        ("secretsmanager.PutSecretValue", Some(text)) => {
            text.clone_into(&mut lock(secret));
            (StatusCode::OK, json!({"Name": body["SecretId"]}))
        }
        _ => (
            StatusCode::BAD_REQUEST,
            json!({"__type": "InvalidRequestException", "message": "only Get- and PutSecretValue are supported"}),
        ),
    };
    let mut response = Response::new(Bytes::from(output.to_string()));
    *response.status_mut() = status;
    response
}
