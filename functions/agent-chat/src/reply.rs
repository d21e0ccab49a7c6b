//! Checks the head of an agent's answer. An answer that is not an event stream fails with its cause.

use http::response::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};

use crate::problem::{ChatProblem, ClientErrorStatus};
use crate::relay::Failure;

/// Longest redirect location that is shown to the client, in bytes.
const MAX_LOCATION_BYTES: usize = 200;
/// Longest `Retry-After` that is passed on, and longest content encoding that is shown to the client, in bytes.
const MAX_VALUE_BYTES: usize = 40;

/// Checks the head of an answer. Returns the headers that the client gets.
///
/// # Errors
/// When the answer is not a readable event stream.
pub(crate) fn check(head: &Parts) -> Result<HeaderMap, Failure> {
    let status = head.status;
    if [StatusCode::UNAUTHORIZED, StatusCode::PROXY_AUTHENTICATION_REQUIRED].contains(&status) {
        // The agent rejects the proxy's token, not the client's, so the client does not get a 401.
        return Err(Failure::bad_gateway("agent token", "the agent does not accept the token it is configured with"));
    }
    if let Some(status) = ClientErrorStatus::new(status) {
        let retry_after = head.headers.get(header::RETRY_AFTER).filter(|value| is_short(value)).cloned();
        return Err(Failure { reason: "refused", problem: ChatProblem::AgentRefused(status, retry_after) });
    }
    if status.is_redirection()
        && let Some(location) = head.headers.get(header::LOCATION)
    {
        let location = location.to_str().ok().and_then(public_location);
        let location = location.unwrap_or_else(|| "another address".to_owned());
        let detail = format!(
            "the agent answered with {} and redirects to {location}; configure the address at which it answers",
            status.as_u16()
        );
        return Err(Failure::bad_gateway("status", detail));
    }
    if !status.is_success() {
        return Err(Failure::bad_gateway("status", format!("the agent answered with the status {}", status.as_u16())));
    }
    if let Some(encoding) = content_encoding(&head.headers) {
        let detail = format!(
            "the agent compressed its answer (Content-Encoding: {encoding}) without being asked; turn compression off"
        );
        return Err(Failure::bad_gateway("content encoding", detail));
    }
    let content_type = head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = content_type.and_then(|value| value.split(';').next()).unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("text/event-stream") {
        return Err(Failure::bad_gateway("content type", "the agent did not answer with an event stream"));
    }
    Ok(client_headers(&head.headers))
}

/// Returns the agent's headers that the client gets. Only visible ASCII is passed on, because Lambda accepts no other
/// values.
fn client_headers(headers: &HeaderMap) -> HeaderMap {
    let header = |name: HeaderName| {
        let value = headers.get(&name).filter(|value| value.to_str().is_ok())?;
        Some((name, value.clone()))
    };
    [header::CONTENT_TYPE, header::CACHE_CONTROL].into_iter().filter_map(header).collect()
}

/// Returns the content encoding of an answer; `None` if it is not encoded.
fn content_encoding(headers: &HeaderMap) -> Option<&str> {
    let value = headers
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .find(|value| !value.is_empty() && !value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity"))?;
    let is_safe = |text: &&str| {
        text.len() <= MAX_VALUE_BYTES && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-, ".contains(&byte))
    };
    Some(value.to_str().ok().filter(is_safe).unwrap_or("unknown"))
}

/// Returns the location of a redirect without user, query and fragment, which may hold secrets. `None` if they cannot
/// be removed reliably.
fn public_location(location: &str) -> Option<String> {
    let url: Uri = location.split('#').next()?.parse().ok()?;
    let authority = url.authority().map(|authority| authority.as_str().rsplit('@').next().unwrap_or_default());
    let location = match (url.scheme_str(), authority) {
        (Some(scheme), Some(authority)) => format!("{scheme}://{authority}{}", url.path()),
        _ => url.path().to_owned(),
    };
    (location.len() <= MAX_LOCATION_BYTES && !location.contains('@')).then_some(location)
}

fn is_short(value: &HeaderValue) -> bool {
    value.len() <= MAX_VALUE_BYTES && value.to_str().is_ok()
}
