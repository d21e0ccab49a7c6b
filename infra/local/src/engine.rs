//! DynamoDB and SQS, embedded, on free loopback ports.

use std::net::SocketAddr;
use std::sync::Arc;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use hyper_util::rt::TokioIo;
use rustack_sqs_core::config::SqsConfig;
use rustack_sqs_core::handler::RustackSqsHandler;
use rustack_sqs_core::provider::RustackSqs;
use rustack_sqs_http::service::{SqsHttpConfig, SqsHttpService};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::Error;
use crate::redrive::WithMoveTasks;

/// The largest message the SQS engine takes. In bytes; AWS takes 1 MiB.
pub const QUEUE_MAX_BYTES: usize = 262_144;

/// A running engine; it stops when dropped.
#[derive(Debug)]
pub struct Engine {
    /// Where it listens.
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Engine {
    /// Starts DynamoDB, empty and in memory.
    ///
    /// # Errors
    /// When no port is free or the engine does not start.
    pub async fn dynamodb() -> Result<Self, Error> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let database = dynoxide::Database::memory()?;
        let task = tokio::spawn(dynoxide::server::serve_on(listener, database));
        Ok(Engine { address, task })
    }

    /// Starts SQS, empty and in memory. Queue URLs point at the engine itself; the SDK goes where its endpoint says.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn sqs() -> Result<Self, Error> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let config = SqsConfig { host: address.ip().to_string(), port: address.port(), ..SqsConfig::default() };
        let provider = Arc::new(RustackSqs::new(config));
        let handler = WithMoveTasks::new(RustackSqsHandler::new(Arc::clone(&provider)), provider);
        let service = SqsHttpService::new(Arc::new(handler), SqsHttpConfig::default());
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                let service = service.clone();
                connections.spawn(async move {
                    let connection = hyper::server::conn::http1::Builder::new();
                    let _ = connection.serve_connection(TokioIo::new(stream), service).await;
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Engine { address, task })
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// SDK settings for an engine on this machine: no environment, no TLS.
#[must_use]
pub fn local_sdk(endpoint: &str) -> SdkConfig {
    let credentials = Credentials::new("local", "local", None, None, "gatehouse-local");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::from_static("us-east-1"))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .endpoint_url(endpoint)
        .build()
}
