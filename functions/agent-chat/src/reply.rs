//! Checks of the head of an agent's answer: what is no event stream fails with its cause.

use http::response::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};

use gatehouse_edge::Problem;

use crate::relay::Failure;

/// The longest place of a redirect that is shown, in bytes.
const PLACE: usize = 200;

/// Checks the head. Returns the headers that the client gets.
///
/// # Errors
/// When the answer is no event stream that can be read.
pub(crate) fn check(head: &Parts) -> Result<HeaderMap, Failure> {
    let status = head.status;
    if [StatusCode::UNAUTHORIZED, StatusCode::PROXY_AUTHENTICATION_REQUIRED].contains(&status) {
        // It is not the client's token that the agent does not accept.
        return Err(Failure::bad("agent token", "the agent does not accept the token it is configured with"));
    }
    if status.is_client_error() {
        let retry_after = head.headers.get(header::RETRY_AFTER).filter(|value| is_short(value)).cloned();
        return Err(Failure { why: "refused", problem: Problem::AgentRefused(status, retry_after) });
    }
    if status.is_redirection()
        && let Some(place) = head.headers.get(header::LOCATION)
    {
        let place = place.to_str().ok().and_then(place_of).unwrap_or_else(|| "another place".to_owned());
        let detail = format!(
            "the agent answered with {} and redirects to {place}; configure the address at which it answers",
            status.as_u16()
        );
        return Err(Failure::bad("status", detail));
    }
    if !status.is_success() {
        return Err(Failure::bad("status", format!("the agent answered with the status {}", status.as_u16())));
    }
    if let Some(encoding) = encoding(&head.headers) {
        let detail = format!(
            "the agent compressed its answer (Content-Encoding: {encoding}) without being asked; turn compression off"
        );
        return Err(Failure::bad("content encoding", detail));
    }
    let content_type = head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = content_type.and_then(|value| value.split(';').next()).unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("text/event-stream") {
        return Err(Failure::bad("content type", "the agent did not answer with an event stream"));
    }
    Ok(passed_on(&head.headers))
}

/// The agent's headers that the client gets, as far as they are visible ASCII: Lambda takes no others.
fn passed_on(headers: &HeaderMap) -> HeaderMap {
    let header = |name: HeaderName| {
        let value = headers.get(&name).filter(|value| value.to_str().is_ok())?;
        Some((name, value.clone()))
    };
    [header::CONTENT_TYPE, header::CACHE_CONTROL].into_iter().filter_map(header).collect()
}

/// The encoding of an answer that is encoded.
fn encoding(headers: &HeaderMap) -> Option<&str> {
    let value = headers
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .find(|value| !value.is_empty() && !value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity"))?;
    let is_word = |text: &&str| {
        text.len() <= 40 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-, ".contains(&byte))
    };
    Some(value.to_str().ok().filter(is_word).unwrap_or("unknown"))
}

/// The place of a redirect without user, query and fragment, which may hold secrets. `None` where it cannot be told for
/// certain.
fn place_of(location: &str) -> Option<String> {
    let url: Uri = location.split('#').next()?.parse().ok()?;
    let authority = url.authority().map(|authority| authority.as_str().rsplit('@').next().unwrap_or_default());
    let place = match (url.scheme_str(), authority) {
        (Some(scheme), Some(authority)) => format!("{scheme}://{authority}{}", url.path()),
        _ => url.path().to_owned(),
    };
    (place.len() <= PLACE && !place.contains('@')).then_some(place)
}

fn is_short(value: &HeaderValue) -> bool {
    value.len() <= 40 && value.to_str().is_ok()
}
