//! A Secrets Manager that holds one secret, whatever it is asked for by: for tests of what reads and writes it.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::http_server::{self, Server};
use crate::{Error, FaultProxy};

/// The secret, and what it can be reached by.
#[derive(Debug)]
pub struct SecretsManager {
    held: Arc<Mutex<String>>,
    /// Stands before it: counts requests, and fails them when told.
    pub proxy: FaultProxy,
    _server: Server,
}

impl SecretsManager {
    /// Starts one on a free port of the loopback address.
    ///
    /// # Errors
    /// When there is none.
    pub async fn start(text: &str) -> Result<Self, Error> {
        let held = Arc::new(Mutex::new(text.to_owned()));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let proxy = FaultProxy::start(listener.local_addr()?).await?;
        let answering = Arc::clone(&held);
        let server = http_server::serve(listener, move |request| {
            let response = answer(&answering, &request);
            async move { Some(response) }
        });
        Ok(SecretsManager { held, proxy, _server: server })
    }

    /// Its text.
    #[must_use]
    pub fn text(&self) -> String {
        lock(&self.held).clone()
    }

    /// Puts another text in its place.
    pub fn put(&self, text: &str) {
        text.clone_into(&mut lock(&self.held));
    }
}

fn lock(held: &Mutex<String>) -> std::sync::MutexGuard<'_, String> {
    // It is whole at every moment.
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

fn answer(held: &Mutex<String>, request: &Request<Bytes>) -> Response<Bytes> {
    let target = request.headers().get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
    let body: Value = serde_json::from_slice(request.body()).unwrap_or_default();
    let (status, answer) = match (target, body["SecretString"].as_str()) {
        ("secretsmanager.GetSecretValue", _) => {
            (StatusCode::OK, json!({"Name": body["SecretId"], "SecretString": *lock(held)}))
        }
        ("secretsmanager.PutSecretValue", Some(text)) => {
            text.clone_into(&mut lock(held));
            (StatusCode::OK, json!({"Name": body["SecretId"]}))
        }
        _ => (StatusCode::BAD_REQUEST, json!({"__type": "InvalidRequestException", "message": "not done here"})),
    };
    let mut response = Response::new(Bytes::from(answer.to_string()));
    *response.status_mut() = status;
    response
}
