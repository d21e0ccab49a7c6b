//! The SDK's settings, which both adapters and the secrets share.

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};

/// The settings every client is built from: region, credentials and endpoints from the environment, one TLS stack.
///
/// The behaviour version is pinned: a newer one changes retries and timeouts, which the 5 s budget rests on.
pub async fn sdk_config() -> SdkConfig {
    let http = aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    aws_config::defaults(BehaviorVersion::v2026_01_12()).http_client(http).load().await
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
        TimeoutConfig::builder()
            .connect_timeout(attempt)
            .operation_attempt_timeout(attempt)
            .operation_timeout(self.whole)
            .build()
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
