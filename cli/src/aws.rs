//! A small client for AWS services of which the commands need only one or two operations. The SDK clients of these
//! services would take a third of the command line's build time.
//!
//! Requests use the SDK's credentials, region and endpoint variables. All operations
//! are read-only, so failed attempts are retried.

use std::time::Duration;

use aws_config::SdkConfig;
use bytes::Bytes;
use gatehouse_local::delivery::Client;
use gatehouse_local::{Answer, Delivery, Error};
use gatehouse_runtime::Clock;
use gatehouse_runtime::signing::{self, SigningError};
use roxmltree::{Document, Node};
use serde_json::Value;

use crate::shell::innermost;

/// Maximum number of attempts of one call.
const MAX_ATTEMPTS: u32 = 3;
/// Pause before the second attempt. Each further pause is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(300);
/// Time limit of one attempt.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(20);

/// Says that there are no credentials, and for which profile.
pub(crate) fn no_credentials() -> String {
    match crate::settings::profile() {
        Some(profile) => format!(
            "no AWS credentials were found for the profile {profile}; check that it exists, or log in and run: \
             eval \"$(aws configure export-credentials --profile {profile} --format env)\""
        ),
        None => "no AWS credentials were found; set AWS_PROFILE, or log in and run: \
                 eval \"$(aws configure export-credentials --format env)\""
            .to_owned(),
    }
}

pub(crate) const NO_REGION: &str = "no AWS region is set; set AWS_REGION";
pub(crate) const UNREACHABLE: &str = "could not reach AWS; check the network, the region and AWS_ENDPOINT_URL";

/// An AWS service, with the settings that address and sign its requests.
#[derive(Debug)]
pub(crate) struct Service {
    /// Service id, as in `AWS_ENDPOINT_URL_<ID>`.
    id: &'static str,
    /// First label of the host name.
    host: &'static str,
    protocol: Protocol,
}

#[derive(Debug)]
enum Protocol {
    /// AWS Query: form requests and XML responses. Holds the API version.
    Query(&'static str),
    /// AWS JSON 1.1. Holds the prefix of `X-Amz-Target`.
    Json(&'static str),
    /// AWS REST JSON. The operation is the path of a GET request.
    Rest,
}

pub(crate) const CLOUDFORMATION: Service =
    Service { id: "CloudFormation", host: "cloudformation", protocol: Protocol::Query("2010-05-15") };
pub(crate) const CLOUDWATCH: Service =
    Service { id: "CloudWatch", host: "monitoring", protocol: Protocol::Query("2010-08-01") };
pub(crate) const CLOUDWATCH_LOGS: Service =
    Service { id: "CloudWatch Logs", host: "logs", protocol: Protocol::Json("Logs_20140328") };

pub(crate) const LAMBDA: Service = Service { id: "Lambda", host: "lambda", protocol: Protocol::Rest };

impl Service {
    /// Calls an operation of a JSON service. Error messages begin with `about`.
    ///
    /// # Errors
    /// If AWS returns an error or cannot be reached.
    pub(crate) async fn json(
        &self,
        sdk: &SdkConfig,
        about: &str,
        operation: &str,
        input: &Value,
    ) -> Result<Value, Error> {
        let body = self.call(sdk, about, operation, input.to_string()).await?;
        Ok(serde_json::from_str(&body).map_err(|error| format!("{about}: the response is not JSON: {error}"))?)
    }

    /// Calls an operation of a Query service and reads the XML response with `read`.
    ///
    /// # Errors
    /// See [`Service::json`].
    pub(crate) async fn query<T>(
        &self,
        sdk: &SdkConfig,
        about: &str,
        operation: &str,
        input: &[(&str, &str)],
        read: impl FnOnce(&Document<'_>) -> T,
    ) -> Result<T, Error> {
        let version = if let Protocol::Query(version) = self.protocol { version } else { "" };
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("Action", operation).append_pair("Version", version);
        form.extend_pairs(input);
        let body = self.call(sdk, about, operation, form.finish()).await?;
        let document = Document::parse(&body).map_err(|error| format!("{about}: the response is not XML: {error}"))?;
        Ok(read(&document))
    }

    async fn call(&self, sdk: &SdkConfig, about: &str, operation: &str, body: String) -> Result<String, Error> {
        let body = Bytes::from(body);
        let mut attempt = 1;
        loop {
            let (reason, is_retryable) = match self.attempt(sdk, operation, body.clone()).await {
                Ok(answer) if answer.status == 200 => return Ok(answer.body),
                Ok(answer) => service_error(&answer),
                Err(AttemptError::Settings(reason)) => (reason, false),
                Err(AttemptError::Unreachable(reason)) => (format!("{UNREACHABLE} ({reason})"), true),
            };
            if !is_retryable || attempt == MAX_ATTEMPTS {
                return Err(format!("{about}: {reason}").into());
            }
            tokio::time::sleep(FIRST_PAUSE * 2_u32.pow(attempt - 1)).await;
            attempt += 1;
        }
    }

    async fn attempt(&self, sdk: &SdkConfig, operation: &str, body: Bytes) -> Result<Answer, AttemptError> {
        let region = sdk.region().ok_or_else(|| AttemptError::Settings(NO_REGION.to_owned()))?.as_ref();
        let mut url = signing::endpoint(sdk, region, self.id, self.host);
        let mut method = "POST";
        if let Protocol::Rest = self.protocol {
            (method, url) = ("GET", format!("{}/{operation}", url.trim_end_matches('/')));
        }
        let mut headers = vec![("content-type".to_owned(), self.content_type().to_owned())];
        if let Protocol::Json(prefix) = self.protocol {
            headers.push(("x-amz-target".to_owned(), format!("{prefix}.{operation}")));
        }
        let scope = (region, self.host);
        let signature = signing::signature(sdk, scope, (method, &url), &headers, &body, Clock::System.now()).await;
        headers.extend(signature.map_err(|error| match error {
            SigningError::Credentials(reason) => AttemptError::Settings(format!("{} ({reason})", no_credentials())),
            error => AttemptError::Settings(error.to_string()),
        })?);
        let (function, path) = (String::new(), String::new());
        let request = Delivery { function, path, method: method.to_owned(), headers, body };
        let unreachable = |error: Error| AttemptError::Unreachable(innermost(&*error));
        let client = Client::new(&url).map_err(|error| AttemptError::Settings(error.to_string()))?;
        match tokio::time::timeout(ATTEMPT_TIMEOUT, client.send(&request)).await {
            Ok(answer) => answer.map_err(unreachable),
            Err(_) => Err(AttemptError::Unreachable(format!("no response within {} s", ATTEMPT_TIMEOUT.as_secs()))),
        }
    }

    fn content_type(&self) -> &'static str {
        match self.protocol {
            Protocol::Query(_) => "application/x-www-form-urlencoded; charset=utf-8",
            Protocol::Json(_) => "application/x-amz-json-1.1",
            Protocol::Rest => "application/json",
        }
    }
}

/// The reason why an attempt has no response.
enum AttemptError {
    /// The configuration is wrong. A retry would fail in the same way.
    Settings(String),
    /// The service was not reached, or its response was lost.
    Unreachable(String),
}

/// Returns the reason of a response that is not 200, and whether a retry may succeed.
fn service_error(answer: &Answer) -> (String, bool) {
    let (code, message) = error_of(&answer.body);
    let is_retryable = answer.status >= 500 || answer.status == 429 || code.contains("Throttl");
    let reason = match (&*code, &*message) {
        ("", _) => format!("AWS answered with HTTP status {}", answer.status),
        (code, "") => code.to_owned(),
        (code, message) => format!("{code}: {message}"),
    };
    (reason, is_retryable)
}

/// Returns the code and message of a JSON or XML error document. Missing ones are empty.
fn error_of(body: &str) -> (String, String) {
    if let Ok(document) = serde_json::from_str::<Value>(body) {
        let text = |names: &[&str]| names.iter().find_map(|name| document[*name].as_str()).unwrap_or_default();
        // The code may have a namespace as a prefix and a URL as a suffix.
        let code = text(&["__type", "code"]);
        let code = code.split('#').next_back().and_then(|code| code.split(':').next()).unwrap_or_default();
        return (code.to_owned(), text(&["message", "Message"]).to_owned());
    }
    let Ok(document) = Document::parse(body) else { return Default::default() };
    let text = |name| document.descendants().find_map(|node| child(node, name)).unwrap_or_default().to_owned();
    (text("Code"), text("Message"))
}

/// Returns the text of the child element with this name.
pub(crate) fn child<'a>(node: Node<'a, '_>, name: &str) -> Option<&'a str> {
    Some(node.children().find(|child| child.has_tag_name(name))?.text().unwrap_or_default())
}

/// Returns the `member` elements of all lists with this name.
pub(crate) fn members<'a, 'input>(document: &'a Document<'input>, list: &str) -> Vec<Node<'a, 'input>> {
    let lists = document.descendants().filter(|node| node.has_tag_name(list));
    lists.flat_map(|list| list.children().filter(|child| child.has_tag_name("member"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_documents_of_both_protocols_are_parsed() {
        let xml = "<ErrorResponse xmlns=\"http://cloudformation.amazonaws.com/doc/2010-05-15/\"><Error><Type>Sender</Type>\
            <Code>ValidationError</Code><Message>Stack with id x does not exist</Message></Error></ErrorResponse>";
        let json = r#"{"__type":"com.amazonaws.logs#ResourceNotFoundException:http://x","message":"no group"}"#;
        for (body, code, message) in [
            (xml, "ValidationError", "Stack with id x does not exist"),
            (json, "ResourceNotFoundException", "no group"),
            (r#"{"__type":"ThrottlingException","Message":"m"}"#, "ThrottlingException", "m"),
            ("<html>Bad gateway", "", ""),
            ("", "", ""),
        ] {
            assert_eq!(error_of(body), (code.to_owned(), message.to_owned()));
        }
    }
}
