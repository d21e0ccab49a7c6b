//! The AWS SDK's way out: HTTP/1.1, over TLS by the machine's root certificates.
//!
//! The SDK's own client speaks HTTP/2 as well, which DynamoDB, SQS and Secrets Manager do not; without it a function is smaller
//! by a tenth. Time limits are the SDK's: of an attempt and of an operation, connecting included.

use std::error::Error;
use std::fmt::Debug;
use std::time::Duration;

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::connection::{CaptureSmithyConnection, ConnectionMetadata};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector as SdkConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connect, HttpConnector, capture_connection};
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::Tls;

/// What connecting may take at most; an attempt's own limit usually ends it before.
const CONNECT: Duration = Duration::from_secs(3);

/// A client for the SDK's `http_client`: over TLS, and plain to a local engine. All that is built from one keep their connections
/// together.
#[must_use]
pub fn https_client() -> SharedHttpClient {
    match Tls::native() {
        Ok(Tls(tls)) => {
            let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1();
            client(connector.wrap_connector(tcp()))
        }
        Err(error) => SharedHttpClient::new(NoRoots(error.to_string())),
    }
}

/// The same without TLS, for engines on this machine: reading its root certificates takes a while.
#[must_use]
pub fn plain_client() -> SharedHttpClient {
    client(tcp())
}

fn tcp() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT));
    tcp
}

fn client<C: Connect + Clone + Debug + Send + Sync + 'static>(connector: C) -> SharedHttpClient {
    let mut client = Client::builder(TokioExecutor::new());
    client.pool_timer(TokioTimer::new());
    SharedHttpClient::new(Http(client.build(connector)))
}

/// Nothing can be reached, and every request says why.
#[derive(Debug, Clone)]
struct NoRoots(String);

impl HttpClient for NoRoots {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl SdkConnector for NoRoots {
    fn call(&self, _: HttpRequest) -> HttpConnectorFuture {
        let why = format!("the machine has no usable root certificates: {}", self.0);
        HttpConnectorFuture::ready(Err(ConnectorError::user(why.into())))
    }
}

#[derive(Debug, Clone)]
struct Http<C>(Client<C, SdkBody>);

impl<C: Connect + Clone + Debug + Send + Sync + 'static> HttpClient for Http<C> {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl<C: Connect + Clone + Debug + Send + Sync + 'static> SdkConnector for Http<C> {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let mut request = match request.try_into_http1x() {
            Ok(request) => request,
            Err(error) => return HttpConnectorFuture::ready(Err(ConnectorError::user(error.into()))),
        };
        let connection = capture_connection(&mut request);
        if let Some(capture) = request.extensions().get::<CaptureSmithyConnection>() {
            // The SDK gives up connections whose requests came to nothing: the next attempt gets another.
            capture.set_connection_retriever(move || {
                let is_there = connection.connection_metadata().is_some();
                let connection = connection.clone();
                let poison = move || {
                    if let Some(connection) = connection.connection_metadata().as_ref() {
                        connection.poison();
                    }
                };
                is_there.then(|| ConnectionMetadata::builder().proxied(false).poison_fn(poison).build())
            });
        }
        let answering = self.0.request(request);
        HttpConnectorFuture::new(async move {
            let response = answering.await.map_err(|error| told(error.into()))?;
            HttpResponse::try_from(response.map(SdkBody::from_body_1_x))
                .map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

/// What went wrong, as the SDK decides by whether to try again.
fn told(error: BoxError) -> ConnectorError {
    let (mut is_io, mut next) = (false, Some(&*error as &(dyn Error + 'static)));
    while let Some(cause) = next {
        if let Some(hyper) = cause.downcast_ref::<hyper::Error>() {
            if hyper.is_user() {
                return ConnectorError::user(error);
            }
            is_io |= hyper.is_closed() || hyper.is_canceled() || hyper.is_incomplete_message();
        }
        is_io |= cause.downcast_ref::<hyper_util::client::legacy::Error>().is_some_and(|error| error.is_connect());
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            if io.kind() == std::io::ErrorKind::TimedOut {
                return ConnectorError::timeout(error);
            }
            is_io = true;
        }
        next = cause.source();
    }
    if is_io { ConnectorError::io(error) } else { ConnectorError::other(error, None) }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn asked(port: u16) -> ConnectorError {
        let http = Http(Client::builder(TokioExecutor::new()).build(tcp()));
        let mut request = HttpRequest::new(SdkBody::empty());
        request.set_uri(format!("http://127.0.0.1:{port}/")).unwrap();
        http.call(request).await.unwrap_err()
    }

    #[tokio::test]
    async fn nobody_there_and_no_answer_are_worth_another_attempt() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (unanswered, ()) = tokio::join!(asked(port), async { drop(listener.accept().await.unwrap()) });
        assert!(unanswered.is_io(), "{unanswered:?}");
        drop(listener);
        let unreachable = asked(port).await;
        assert!(unreachable.is_io(), "{unreachable:?}");
    }

    #[tokio::test]
    async fn without_root_certificates_every_request_says_so() {
        let error = NoRoots("none found".to_owned()).call(HttpRequest::new(SdkBody::empty())).await.unwrap_err();
        assert!(error.is_user() && format!("{error:?}").contains("root certificates"), "{error:?}");
    }
}
