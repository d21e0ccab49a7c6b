//! Serves function URLs at `/lambda-url/<function>/<path>`, the path that `cargo lambda watch` uses.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use gatehouse_payload::Nonce;
use gatehouse_receiver::{Deadline, RequestId};
use http::{Request, Response, StatusCode, Uri};
use tokio::net::TcpListener;

use crate::cors::Cors;
use crate::hosts::Hosts;
use crate::http_server::{self, Body, Server, full_body};
use crate::status;

/// The request handler of a function, with its state.
pub type Handler =
    Arc<dyn Fn(Request<Bytes>, Deadline) -> Pin<Box<dyn Future<Output = Response<Body>> + Send>> + Send + Sync>;

/// A function and the configuration of its URL.
#[derive(Clone)]
pub struct Function {
    /// Called for every request except CORS preflights.
    pub handler: Handler,
    /// The function's timeout.
    pub timeout: std::time::Duration,
    /// The `Cors` block of the function's URL.
    pub cors: Option<Cors>,
}

impl std::fmt::Debug for Function {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Function").field("timeout", &self.timeout).field("cors", &self.cors).finish_non_exhaustive()
    }
}

/// Serves `functions` by name, and the stack's description at [`status::PATH`]. Accepts requests for `hosts` only.
pub fn serve(
    listener: TcpListener,
    hosts: Hosts,
    functions: BTreeMap<&'static str, Function>,
    about: impl Fn() -> status::Answer + Send + Sync + 'static,
) -> Server {
    let (functions, about) = (Arc::new(functions), Arc::new(about));
    http_server::serve_bodies(listener, move |request| {
        let (functions, about, refusal) = (Arc::clone(&functions), Arc::clone(&about), hosts.refusal(&request));
        async move {
            if let Some(refusal) = refusal {
                return Some(refusal.map(full_body));
            }
            if request.method() == http::Method::GET && request.uri().path() == status::PATH {
                let description = serde_json::to_string(&about()).unwrap_or_default();
                return Some(Response::new(description).map(full_body));
            }
            Some(call(&functions, request).await)
        }
    })
}

async fn call(functions: &BTreeMap<&'static str, Function>, mut request: Request<Bytes>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let target = path.strip_prefix("/lambda-url/").map(|rest| rest.split_once('/').unwrap_or((rest, "")));
    let Some((function, rest)) = target.and_then(|(name, rest)| Some((functions.get(name)?, rest))) else {
        return unknown_function(&path, functions).map(full_body);
    };
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    match format!("/{rest}{query}").parse::<Uri>() {
        Ok(uri) => *request.uri_mut() = uri,
        Err(_) => return unknown_function(&path, functions).map(full_body),
    }
    if let Some(preflight) = function.cors.as_ref().and_then(|cors| cors.preflight(&request)) {
        return preflight.map(full_body);
    }
    let origin = request.headers().get(http::header::ORIGIN).cloned();
    join_repeated_headers(&mut request);
    let request_id = Nonce::random().ok().and_then(|id| RequestId::from_lambda(&id.to_string()));
    request_id.map(|id| request.extensions_mut().insert(id));
    let mut response = (function.handler)(request, Deadline::within(function.timeout)).await;
    if let (Some(cors), Some(origin)) = (&function.cors, origin) {
        cors.mark(&origin, &mut response);
    }
    response
}

/// Joins the values of a repeated header with commas, as Lambda does.
fn join_repeated_headers(request: &mut Request<Bytes>) {
    let headers = request.headers_mut();
    let names: Vec<_> = headers.keys().cloned().collect();
    for name in names {
        let values: Vec<_> = headers.get_all(&name).iter().map(|value| value.as_bytes()).collect();
        if values.len() > 1
            && let Ok(joined) = http::HeaderValue::from_bytes(&values.join(&b","[..]))
        {
            headers.insert(name, joined);
        }
    }
}

fn unknown_function(path: &str, functions: &BTreeMap<&'static str, Function>) -> Response<String> {
    let names: Vec<&str> = functions.keys().copied().collect();
    tracing::warn!(path, "no function is served at this path: 404");
    let message = format!("unknown function; call /lambda-url/<function>/<path> with one of: {}\n", names.join(", "));
    let mut response = Response::new(message);
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}
