//! The HTTP client of the AWS SDK: HTTP/1.1, over TLS with the machine's root certificates.
//!
//! The SDK's default client also supports HTTP/2, which DynamoDB, SQS and Secrets Manager do not use. Without HTTP/2, a
//! function's binary is a tenth smaller. The SDK sets the time limits of attempts and operations, which include
//! connecting.

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

/// Time limit for connecting. The limit of an attempt is usually shorter.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Returns a client for the SDK's `http_client`, for `https` and `http` endpoints. SDK clients that are built from the
/// same client share its connections.
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

/// Returns a client without TLS, for engines on this machine. Does not read the root certificates, which takes time.
#[must_use]
pub fn plain_client() -> SharedHttpClient {
    client(tcp())
}

fn tcp() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    tcp
}

fn client<C: Connect + Clone + Debug + Send + Sync + 'static>(connector: C) -> SharedHttpClient {
    let mut client = Client::builder(TokioExecutor::new());
    client.pool_timer(TokioTimer::new());
    SharedHttpClient::new(Http(client.build(connector)))
}

/// A client without root certificates. Every request fails with the reason.
#[derive(Debug, Clone)]
struct NoRoots(String);

impl HttpClient for NoRoots {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl SdkConnector for NoRoots {
    fn call(&self, _: HttpRequest) -> HttpConnectorFuture {
        let message = format!("the machine has no usable root certificates: {}", self.0);
        HttpConnectorFuture::ready(Err(ConnectorError::user(message.into())))
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
            // The SDK poisons the connection of a failed request, so that the next attempt uses another.
            capture.set_connection_retriever(move || {
                let is_connected = connection.connection_metadata().is_some();
                let connection = connection.clone();
                let poison = move || {
                    if let Some(connection) = connection.connection_metadata().as_ref() {
                        connection.poison();
                    }
                };
                is_connected.then(|| ConnectionMetadata::builder().proxied(false).poison_fn(poison).build())
            });
        }
        let responding = self.0.request(request);
        HttpConnectorFuture::new(async move {
            let response = responding.await.map_err(|error| classify(error.into()))?;
            HttpResponse::try_from(response.map(SdkBody::from_body_1_x))
                .map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

/// Classifies an error. The SDK decides by the class whether to retry.
fn classify(error: BoxError) -> ConnectorError {
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

    async fn request_error(port: u16) -> ConnectorError {
        let http = Http(Client::builder(TokioExecutor::new()).build(tcp()));
        let mut request = HttpRequest::new(SdkBody::empty());
        request.set_uri(format!("http://127.0.0.1:{port}/")).unwrap();
        http.call(request).await.unwrap_err()
    }

    #[tokio::test]
    async fn refused_and_closed_connections_are_io_errors() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (unanswered, ()) = tokio::join!(request_error(port), async { drop(listener.accept().await.unwrap()) });
        assert!(unanswered.is_io(), "{unanswered:?}");
        drop(listener);
        let unreachable = request_error(port).await;
        assert!(unreachable.is_io(), "{unreachable:?}");
    }

    #[tokio::test]
    async fn requests_without_root_certificates_fail_with_the_reason() {
        let error = NoRoots("none found".to_owned()).call(HttpRequest::new(SdkBody::empty())).await.unwrap_err();
        assert!(error.is_user() && format!("{error:?}").contains("root certificates"), "{error:?}");
    }
}
