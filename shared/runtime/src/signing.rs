//! Endpoints and signatures of requests to AWS services that have no SDK client here.

use std::error::Error;
use std::time::{Duration, SystemTime};

use aws_config::SdkConfig;
use aws_credential_types::provider::ProvideCredentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_types::service_config::ServiceConfigKey;
use gatehouse_payload::time::Timestamp;

/// Why a request cannot be signed.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// There are no credentials. Contains the reason.
    #[error("no credentials ({0})")]
    Credentials(String),
    /// The request cannot be signed. Contains the reason.
    #[error("the request cannot be signed: {0}")]
    Request(String),
}

/// Returns the endpoint of a service from the environment or the profile, by default the region's public endpoint. `id`
/// is the service's id, as in `AWS_ENDPOINT_URL_<ID>`, and `host` the first label of its host name.
#[must_use]
pub fn endpoint(sdk: &SdkConfig, region: &str, id: &str, host: &str) -> String {
    let key = ServiceConfigKey::builder().service_id(id).env("AWS_ENDPOINT_URL").profile("endpoint_url");
    let configured = key.build().ok().and_then(|key| sdk.service_config()?.load_config(key));
    configured.or_else(|| sdk.endpoint_url().map(str::to_owned)).unwrap_or_else(|| {
        let fips = if sdk.use_fips() == Some(true) { "-fips" } else { "" };
        let domain = match (region.starts_with("cn-"), sdk.use_dual_stack() == Some(true)) {
            (false, false) => "amazonaws.com",
            (false, true) => "api.aws",
            (true, false) => "amazonaws.com.cn",
            (true, true) => "api.amazonwebservices.com.cn",
        };
        format!("https://{host}{fips}.{region}.{domain}/")
    })
}

/// Returns the headers that sign a request (Signature Version 4). `service` is the service's name in signatures.
///
/// # Errors
/// If there are no credentials.
pub async fn signature(
    sdk: &SdkConfig,
    (region, service): (&str, &str),
    (method, url): (&str, &str),
    headers: &[(String, String)],
    body: &[u8],
    now: Timestamp,
) -> Result<Vec<(String, String)>, SigningError> {
    let provider = sdk.credentials_provider();
    let provider = provider.ok_or_else(|| SigningError::Credentials("no provider is configured".to_owned()))?;
    let credentials = provider.provide_credentials().await;
    let credentials = credentials.map_err(|error| SigningError::Credentials(innermost(&error)))?.into();
    let parameters = v4::SigningParams::builder()
        .identity(&credentials)
        .region(region)
        .name(service)
        .time(SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(now.as_secs()).unwrap_or_default()))
        .settings(SigningSettings::default())
        .build()
        .map_err(|error| SigningError::Request(error.to_string()))?
        .into();
    let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let signed = SignableRequest::new(method, url, headers, SignableBody::Bytes(body))
        .and_then(|request| sign(request, &parameters))
        .map_err(|error| SigningError::Request(innermost(&error)))?;
    let (signature, _) = signed.into_parts().0.into_parts();
    Ok(signature.iter().map(|header| (header.name().to_owned(), header.value().to_owned())).collect())
}

/// Returns the message of the innermost cause.
fn innermost(error: &dyn Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_follow_region_partition_and_variants() {
        let sdk = |fips, dual| SdkConfig::builder().use_fips(fips).use_dual_stack(dual).build();
        for (region, fips, dual, url) in [
            ("eu-west-1", false, false, "https://monitoring.eu-west-1.amazonaws.com/"),
            ("us-east-1", true, false, "https://monitoring-fips.us-east-1.amazonaws.com/"),
            ("us-east-1", false, true, "https://monitoring.us-east-1.api.aws/"),
            ("cn-north-1", false, false, "https://monitoring.cn-north-1.amazonaws.com.cn/"),
        ] {
            assert_eq!(endpoint(&sdk(fips, dual), region, "CloudWatch", "monitoring"), url);
        }
    }
}
