//! The SDK settings that the clients of DynamoDB, SQS and Secrets Manager share.

use std::time::Duration;

use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_types::service_config::{LoadServiceConfig, ServiceConfigKey};
use gatehouse_egress::sdk::https_client;

/// The pinned behavior version. A newer one changes retries and timeouts, on which the 5 s budget depends.
fn behavior() -> BehaviorVersion {
    BehaviorVersion::v2026_01_12()
}

/// Loads the settings of commands: region, credentials and endpoints from the same sources as the AWS CLI.
pub async fn sdk_config() -> SdkConfig {
    sdk_config_of(None, None).await
}

/// The same with a region and a profile, which come before those of the environment.
pub async fn sdk_config_of(region: Option<String>, profile: Option<String>) -> SdkConfig {
    let mut loader = aws_config::defaults(behavior()).http_client(https_client());
    if let Some(region) = region {
        loader = loader.region(Region::new(region));
    }
    if let Some(profile) = profile {
        loader = loader.profile_name(profile);
    }
    loader.load().await
}

/// Returns the settings of functions: region, credentials and endpoints, only from the environment variables of Lambda.
/// Without the code for other sources, a function is a fifth smaller and does not search for credentials when it
/// starts.
#[must_use]
pub fn function_config() -> SdkConfig {
    SdkConfig::builder()
        .behavior_version(behavior())
        .http_client(https_client())
        .region(std::env::var("AWS_REGION").ok().map(Region::new))
        .credentials_provider(SharedCredentialsProvider::new(EnvironmentVariableCredentialsProvider::new()))
        .service_config(Endpoints)
        .build()
}

/// Reads `AWS_ENDPOINT_URL_<SERVICE>`, else `AWS_ENDPOINT_URL`, like the SDK's own loader.
#[derive(Debug)]
struct Endpoints;

impl LoadServiceConfig for Endpoints {
    fn load_config(&self, key: ServiceConfigKey<'_>) -> Option<String> {
        let service = key.service_id().to_uppercase().replace(' ', "_");
        let service_url = std::env::var(format!("{}_{service}", key.env()));
        service_url.or_else(|_| std::env::var(key.env())).ok().filter(|value| !value.is_empty())
    }
}

/// Longest initial backoff between the two attempts. A call with a long limit does not need a longer one.
const MAX_BACKOFF: Duration = Duration::from_millis(100);

/// The time limit of one call with at most two attempts. The SDK has no such limit by default.
#[derive(Debug, Clone, Copy)]
pub struct CallLimits {
    total: Duration,
}

impl CallLimits {
    /// Limits the call to `total`, and each of its two attempts to a little less than half of it.
    #[must_use]
    pub const fn within(total: Duration) -> Self {
        CallLimits { total }
    }

    /// Returns the `timeout_config` of a client.
    #[must_use]
    pub fn timeouts(self) -> TimeoutConfig {
        // The rest is for the pause between the attempts.
        let attempt = self.total.mul_f32(0.45);
        TimeoutConfig::builder().operation_attempt_timeout(attempt).operation_timeout(self.total).build()
    }

    /// Returns the `retry_config` of a client.
    #[must_use]
    pub fn retries(self) -> RetryConfig {
        RetryConfig::standard().with_max_attempts(2).with_initial_backoff((self.total / 20).min(MAX_BACKOFF))
    }
}

/// Returns the service's error code, or a short description if there is none. Safe to log, because it never contains
/// the service's message, which may quote the request.
#[must_use]
pub fn error_code<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> &str {
    match error {
        SdkError::TimeoutError(_) => "timeout",
        SdkError::DispatchFailure(failure) if failure.is_timeout() => "timeout",
        SdkError::DispatchFailure(_) => "connection failed",
        SdkError::ResponseError(_) => "unreadable response",
        SdkError::ConstructionFailure(_) => "request could not be built",
        _ => error.code().unwrap_or("unknown error"),
    }
}
