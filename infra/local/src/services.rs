//! SDK settings for DynamoDB and SQS.

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use gatehouse_egress::sdk::{https_client, plain_client};

/// The largest message that SQS and the local SQS accept. In bytes.
pub const QUEUE_MAX_BYTES: usize = 1_048_576;

/// The DynamoDB and SQS that a stack uses.
#[derive(Debug, Clone)]
pub struct Services {
    /// SDK settings for DynamoDB.
    pub dynamodb: SdkConfig,
    /// SDK settings for SQS.
    pub sqs: SdkConfig,
    /// The largest message that SQS accepts. In bytes.
    pub queue_max_bytes: usize,
}

impl Services {
    /// Returns the settings for the embedded engines at these URLs.
    #[must_use]
    pub fn embedded(dynamodb: &str, sqs: &str) -> Self {
        Services { dynamodb: local_sdk(dynamodb), sqs: local_sdk(sqs), queue_max_bytes: QUEUE_MAX_BYTES }
    }

    /// Creates a DynamoDB client.
    #[must_use]
    pub fn dynamodb_client(&self) -> aws_sdk_dynamodb::Client {
        aws_sdk_dynamodb::Client::new(&self.dynamodb)
    }

    /// Creates an SQS client.
    #[must_use]
    pub fn sqs_client(&self) -> aws_sdk_sqs::Client {
        aws_sdk_sqs::Client::new(&self.sqs)
    }
}

/// Returns SDK settings for an engine on this machine: no TLS, and nothing is read from the environment.
#[must_use]
pub fn local_sdk(endpoint: &str) -> SdkConfig {
    sdk(endpoint, "us-east-1".to_owned(), Credentials::new("local", "local", None, None, "gatehouse-local"))
}

/// Returns SDK settings for a service at another endpoint. `get` reads region and credentials from the environment.
#[must_use]
pub fn external_sdk(endpoint: &str, get: &dyn Fn(&str) -> Option<String>) -> SdkConfig {
    let or_local = |name| get(name).unwrap_or_else(|| "local".to_owned());
    let region = get("AWS_REGION").or_else(|| get("AWS_DEFAULT_REGION")).unwrap_or_else(|| "us-east-1".to_owned());
    let (key, secret) = (or_local("AWS_ACCESS_KEY_ID"), or_local("AWS_SECRET_ACCESS_KEY"));
    sdk(endpoint, region, Credentials::new(key, secret, get("AWS_SESSION_TOKEN"), None, "environment"))
}

fn sdk(endpoint: &str, region: String, credentials: Credentials) -> SdkConfig {
    let http = if endpoint.starts_with("https://") { https_client() } else { plain_client() };
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new(region))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .http_client(http)
        .endpoint_url(endpoint)
        .build()
}
