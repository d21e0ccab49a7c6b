//! The SDK's settings, which both adapters and the secrets share.

use std::time::Duration;

use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_types::service_config::{LoadServiceConfig, ServiceConfigKey};
use gatehouse_outgoing::sdk::https_client;

/// Pinned: a newer one changes retries and timeouts, which the 5 s budget rests on.
fn behavior() -> BehaviorVersion {
    BehaviorVersion::v2026_01_12()
}

/// The settings of commands: region, credentials and endpoints from wherever the AWS CLI would take them.
pub async fn sdk_config() -> SdkConfig {
    aws_config::defaults(behavior()).http_client(https_client()).load().await
}

/// The settings of functions: region, credentials and endpoints from the environment, where Lambda puts them, and from nowhere
/// else. Without the other places' code a function is a fifth smaller, and nothing is looked for at its start.
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

/// `AWS_ENDPOINT_URL_<SERVICE>`, else `AWS_ENDPOINT_URL`, as the SDK's own loader reads them.
#[derive(Debug)]
struct Endpoints;

impl LoadServiceConfig for Endpoints {
    fn load_config(&self, key: ServiceConfigKey<'_>) -> Option<String> {
        let service = key.service_id().to_uppercase().replace(' ', "_");
        let of_service = std::env::var(format!("{}_{service}", key.env()));
        of_service.or_else(|_| std::env::var(key.env())).ok().filter(|value| !value.is_empty())
    }
}

/// What lies between the two attempts at most, on average: who may wait for long need not.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// How long one call may take: `whole`, in two attempts. The SDK sets no such limit by itself.
#[derive(Debug, Clone, Copy)]
pub struct CallLimits {
    whole: Duration,
}

impl CallLimits {
    /// At most `whole` for the call, a little less than half of it for each of its two attempts.
    #[must_use]
    pub const fn within(whole: Duration) -> Self {
        CallLimits { whole }
    }

    /// For a client's `timeout_config`.
    #[must_use]
    pub fn timeouts(self) -> TimeoutConfig {
        // The rest is for the pause between the attempts.
        let attempt = self.whole.mul_f32(0.45);
        TimeoutConfig::builder().operation_attempt_timeout(attempt).operation_timeout(self.whole).build()
    }

    /// For a client's `retry_config`.
    #[must_use]
    pub fn retries(self) -> RetryConfig {
        RetryConfig::standard().with_max_attempts(2).with_initial_backoff((self.whole / 20).min(LONGEST_PAUSE))
    }
}

/// What went wrong with a call, as the service's error code or in two words. Safe to log: no message, which may quote.
#[must_use]
pub fn code_of<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> &str {
    match error {
        SdkError::TimeoutError(_) => "timeout",
        SdkError::DispatchFailure(failure) if failure.is_timeout() => "timeout",
        SdkError::DispatchFailure(_) => "connection failed",
        SdkError::ResponseError(_) => "unreadable answer",
        SdkError::ConstructionFailure(_) => "request could not be built",
        _ => error.code().unwrap_or("unknown error"),
    }
}
