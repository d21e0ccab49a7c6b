//! The invocation of a Lambda function: `POST /2015-03-31/functions/<name>/invocations`.
//!
//! Lambda answers with status 200 even if the function failed; the header `X-Amz-Function-Error` shows it. Source:
//! <https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html>.

use aws_config::SdkConfig;
use bytes::Bytes;
use data_encoding::BASE64;
use gatehouse_payload::time::Timestamp;
use gatehouse_runtime::signing;
use http::{HeaderMap, Request};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use crate::fault::Fault;
use crate::question::Question;
use crate::service::{Payload, Service};

/// The header of a response that shows that the function failed.
const FUNCTION_ERROR: &str = "x-amz-function-error";

/// How a function is invoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Invocation {
    /// The response has the function's answer.
    Synchronous,
    /// The response, with status 202, shows that Lambda has taken the payload.
    Asynchronous,
}

/// Builds the signed request that invokes `function`.
///
/// # Errors
/// If there is no region or there are no credentials.
pub async fn invocation(
    sdk: &SdkConfig,
    function: &str,
    kind: Invocation,
    payload: Bytes,
    now: Timestamp,
) -> Result<Request<Bytes>, Fault> {
    let unusable = |reason: &str| Fault::Request(reason.to_owned());
    let region = region_of(function).or_else(|| sdk.region().map(AsRef::as_ref));
    let region = region.ok_or_else(|| unusable("no AWS region is set"))?;
    let endpoint = signing::endpoint(sdk, region, "Lambda", "lambda");
    // Names contain no other character that must be encoded.
    let name = function.replace(':', "%3A").replace('$', "%24");
    let url = format!("{}/2015-03-31/functions/{name}/invocations", endpoint.trim_end_matches('/'));
    let mut headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    if kind == Invocation::Asynchronous {
        headers.push(("x-amz-invocation-type".to_owned(), "Event".to_owned()));
    }
    let signature = signing::signature(sdk, (region, "lambda"), ("POST", &url), &headers, &payload, now).await;
    headers.extend(signature.map_err(|error| Fault::Request(error.to_string()))?);
    let request = headers.into_iter().fold(Request::post(url), |request, (name, value)| request.header(name, value));
    request.body(payload).map_err(|_| unusable("the address of the function is not usable"))
}

/// Returns the region in an ARN.
fn region_of(function: &str) -> Option<&str> {
    function.strip_prefix("arn:")?.split(':').nth(2).filter(|region| !region.is_empty())
}

/// Returns the payload for a function that gets the message itself: the body, with the member `gatehouse`.
pub(crate) fn message(question: &Question) -> Bytes {
    let about = json!({
        "event_id": question.event_id, "deadline_ms": question.deadline_ms(), "kind": question.kind,
    });
    let body = String::from_utf8_lossy(&question.body);
    let rest = body.trim_start().strip_prefix('{').unwrap_or("}");
    let comma = if rest.trim_start().starts_with('}') { "" } else { "," };
    Bytes::from(format!(r#"{{"gatehouse":{about}{comma}{rest}"#))
}

/// Returns the payload for a function that was written for a function URL (payload format 2.0). Source:
/// <https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-payloads>.
pub(crate) fn http_event(service: &Service, question: &Question, now: Timestamp) -> Bytes {
    let own = question.headers(&service.signing_keys, now).into_iter().map(|(name, value)| (name.to_owned(), value));
    let configured = service.headers.iter();
    let configured =
        configured.map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    let mut headers: serde_json::Map<_, _> = own.chain(configured).map(|(name, value)| (name, value.into())).collect();
    let length = question.body.len().to_string();
    headers.extend([("content-length".to_owned(), length.into()), ("host".to_owned(), "gatehouse".into())]);
    let event = json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": "/",
        "rawQueryString": "",
        "headers": headers,
        "requestContext": {
            "accountId": "anonymous", "apiId": "gatehouse", "domainName": "gatehouse", "domainPrefix": "gatehouse",
            "http": {
                "method": "POST", "path": "/", "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1",
                "userAgent": "Gatehouse",
            },
            "requestId": question.message_id,
            "routeKey": "$default",
            "stage": "$default",
            "time": access_log_time(now),
            "timeEpoch": now.as_millis(),
        },
        "body": String::from_utf8_lossy(&question.body),
        "isBase64Encoded": false,
    });
    Bytes::from(event.to_string())
}

/// Returns a time like `12/Mar/2020:19:03:58 +0000`.
fn access_log_time(at: Timestamp) -> String {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let text = at.to_string();
    let part = |range| text.get(range).unwrap_or_default();
    let month = part(5..7).parse::<usize>().ok().and_then(|month| MONTHS.get(month.checked_sub(1)?)).unwrap_or(&"");
    format!("{}/{month}/{}:{} +0000", part(8..10), part(0..4), part(11..19))
}

/// The response of a function in the format of a function URL.
#[derive(Deserialize)]
struct HttpResponse {
    #[serde(rename = "statusCode")]
    status: u16,
    #[serde(default)]
    body: Option<String>,
    #[serde(default, rename = "isBase64Encoded")]
    is_base64: bool,
}

/// Returns the status and the body with which a function has answered.
pub(crate) fn answer(payload: Payload, headers: &HeaderMap, body: Bytes) -> Result<(u16, Bytes), Fault> {
    if headers.contains_key(FUNCTION_ERROR) {
        return Err(Fault::FunctionError);
    }
    match payload {
        // A function that returns nothing returns null.
        Payload::Message if body.trim_ascii() == b"null" => Ok((204, Bytes::new())),
        Payload::Message => Ok((200, body)),
        Payload::Http => http_answer(body),
    }
}

/// Reads a response as a function URL does: an object with `statusCode`, or else the body itself.
fn http_answer(body: Bytes) -> Result<(u16, Bytes), Fault> {
    let has_status = serde_json::from_slice::<std::collections::HashMap<String, &RawValue>>(&body)
        .is_ok_and(|members| members.contains_key("statusCode"));
    if !has_status {
        // A text is the body, without its quotes.
        return Ok((200, serde_json::from_slice::<String>(&body).map_or(body, Bytes::from)));
    }
    let unusable = |reason: &str| Fault::Unusable(reason.to_owned());
    let response: HttpResponse =
        serde_json::from_slice(&body).map_err(|_| unusable("not a response of a function URL"))?;
    let text = response.body.unwrap_or_default();
    let body = if response.is_base64 {
        BASE64.decode(text.as_bytes()).map_err(|_| unusable("the body is not base64"))?
    } else {
        text.into_bytes()
    };
    Ok((response.status, Bytes::from(body)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use aws_credential_types::Credentials;
    use aws_credential_types::provider::SharedCredentialsProvider;
    use serde_json::Value;
    use tokio::time::Instant;

    use super::*;
    use crate::service::Target;

    fn question(body: &str) -> Question {
        Question {
            message_id: "evt_1".to_owned(),
            event_id: "vapi:x".to_owned(),
            kind: "tool-calls".to_owned(),
            body: Bytes::from(body.to_owned()),
            until: Instant::now() + Duration::from_secs(8),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn message_payload_is_the_body_with_one_more_member() {
        for (body, message) in [(r#"{"message":{"type":"tool-calls"}}"#, true), (" { } ", false)] {
            let payload: Value = serde_json::from_slice(&message_of(body)).unwrap();
            let about = json!({"event_id": "vapi:x", "deadline_ms": 8000, "kind": "tool-calls"});
            assert_eq!((&payload["gatehouse"], payload.get("message").is_some()), (&about, message));
        }
    }

    fn message_of(body: &str) -> Bytes {
        message(&question(body))
    }

    #[tokio::test(start_paused = true)]
    async fn http_payload_is_a_function_url_event() {
        let target = Target::Lambda { function: "f".to_owned(), payload: Payload::Http };
        let headers = vec![("x-vapi-secret".parse().unwrap(), "word".parse().unwrap())];
        let service = Service { target, signing_keys: Vec::new(), headers };
        let now = Timestamp::parse("2026-03-12T19:03:58Z").unwrap();
        let event: Value = serde_json::from_slice(&http_event(&service, &question("{\"a\":\"ü\"}"), now)).unwrap();
        assert_eq!((&event["body"], &event["isBase64Encoded"]), (&json!("{\"a\":\"ü\"}"), &json!(false)));
        assert_eq!(event["headers"]["x-vapi-secret"], "word");
        assert_eq!(event["headers"]["content-length"], "10");
        assert_eq!(event["headers"]["webhook-id"], "evt_1");
        assert_eq!(event["requestContext"]["http"]["method"], "POST");
        assert_eq!(event["requestContext"]["time"], "12/Mar/2026:19:03:58 +0000");
    }

    #[test]
    fn answers_of_functions_are_read_like_those_of_function_urls() {
        let read = |payload, body: &str| answer(payload, &HeaderMap::new(), Bytes::from(body.to_owned()));
        let ok = |status, body: &str| Ok((status, Bytes::from(body.to_owned())));
        assert_eq!(read(Payload::Message, "null"), ok(204, ""));
        assert_eq!(read(Payload::Message, r#"{"statusCode":500}"#), ok(200, r#"{"statusCode":500}"#));
        assert_eq!(read(Payload::Http, r#"{"statusCode":201,"body":"{}"}"#), ok(201, "{}"));
        assert_eq!(read(Payload::Http, r#"{"statusCode":200,"body":"e30=","isBase64Encoded":true}"#), ok(200, "{}"));
        assert_eq!(read(Payload::Http, r#"{"results":[]}"#), ok(200, r#"{"results":[]}"#));
        assert_eq!(read(Payload::Http, r#""{\"a\":1}""#), ok(200, r#"{"a":1}"#));
        for unusable in [r#"{"statusCode":"x"}"#, r#"{"statusCode":200,"body":"?","isBase64Encoded":true}"#] {
            assert!(matches!(read(Payload::Http, unusable), Err(Fault::Unusable(_))), "{unusable}");
        }
        let failed = HeaderMap::from_iter([("x-amz-function-error".parse().unwrap(), "Unhandled".parse().unwrap())]);
        assert_eq!(answer(Payload::Message, &failed, Bytes::new()), Err(Fault::FunctionError));
    }

    #[tokio::test]
    async fn function_is_invoked_in_its_region_with_a_signed_request() {
        let credentials = Credentials::new("key", "secret", None, None, "test");
        let sdk = SdkConfig::builder()
            .region(aws_config::Region::new("eu-west-1"))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .build();
        let now = Timestamp::clamped(0);
        for (function, url) in [
            ("book:live", "https://lambda.eu-west-1.amazonaws.com/2015-03-31/functions/book%3Alive/invocations"),
            (
                "arn:aws:lambda:us-east-2:1:function:b",
                "https://lambda.us-east-2.amazonaws.com/2015-03-31/functions/arn%3Aaws%3Alambda%3Aus-east-2%3A1%3Afunction%3Ab/invocations",
            ),
        ] {
            let request = invocation(&sdk, function, Invocation::Synchronous, Bytes::from("{}"), now).await.unwrap();
            assert_eq!(request.uri().to_string(), url);
            assert!(request.headers()["authorization"].to_str().unwrap().starts_with("AWS4-HMAC-SHA256 "));
        }
    }
}
