//! Checks a request before its body is parsed: path, method, content type and size.

use bytes::Bytes;
use gatehouse_payload::event::BODY_LIMIT;
use gatehouse_runtime::config::ConfigError;
use http::{Method, Request, header};

use crate::Problem;

/// Reads `BODY_MAX_BYTES` with `get`: the largest accepted body, in bytes. Returns `default` if it is not set.
///
/// # Errors
/// If it is not a number from 1024 to [`BODY_LIMIT`].
pub fn body_limit(get: &dyn Fn(&str) -> Option<String>, default: usize) -> Result<usize, ConfigError> {
    match get("BODY_MAX_BYTES").filter(|value| !value.is_empty()) {
        None => Ok(default),
        Some(value) => match value.parse() {
            Ok(limit @ 1024..=BODY_LIMIT) => Ok(limit),
            _ => Err(ConfigError::Invalid("BODY_MAX_BYTES", "a number of bytes, from 1024 to 6291456")),
        },
    }
}

/// Checks a request, including its path, which must be one of `paths`. Ignores leading and trailing slashes: a
/// function's URL ends with a slash, and a path that is appended to it begins with one.
///
/// # Errors
/// The problem of the first rule that the request breaks.
pub fn check(request: &Request<Bytes>, paths: &'static [&'static str], limit: usize) -> Result<(), Problem> {
    let path = request.uri().path().trim_matches('/');
    if !paths.iter().any(|known| known.trim_matches('/') == path) {
        return Err(Problem::NotFound { paths });
    }
    check_without_path(request, limit)
}

/// Checks everything except the path.
///
/// # Errors
/// The problem of the first rule that the request breaks.
pub fn check_without_path(request: &Request<Bytes>, limit: usize) -> Result<(), Problem> {
    if request.method() != Method::POST {
        return Err(Problem::MethodNotAllowed);
    }
    if !is_json(request) {
        return Err(Problem::UnsupportedMediaType);
    }
    if request.body().len() > limit {
        return Err(Problem::TooLarge { limit });
    }
    Ok(())
}

/// Whether the content type is `application/json`, any `…+json`, or missing: no vendor documents that it always sends
/// one. Proxies may duplicate the header, so every occurrence must be JSON.
fn is_json(request: &Request<Bytes>) -> bool {
    let mut types = request.headers().get_all(header::CONTENT_TYPE).iter();
    types.all(|value| value.to_str().is_ok_and(|value| split_unquoted(value, ',').all(is_json_type)))
}

/// Splits a header's value at a separator, except within quotes.
pub fn split_unquoted(value: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut is_quoted = false;
    value.split(move |c| {
        is_quoted ^= c == '"';
        c == separator && !is_quoted
    })
}

fn is_json_type(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence.is_empty()
        || essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATHS: &[&str] = &["/client"];

    fn checked(method: &str, path: &str, content_type: Option<&str>) -> Result<(), Problem> {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        check(&request.body(Bytes::new()).unwrap(), PATHS, BODY_LIMIT)
    }

    #[test]
    fn json_post_to_a_known_path_passes() {
        for content_type in [
            None,
            Some("application/json"),
            Some("Application/JSON; charset=utf-8"),
            Some("application/cloudevents+json"),
            Some("application/json, application/json"),
            Some("APPLICATION/JSON;charset=utf-8,application/json"),
            Some("application/cloudevents+json; profile=\"a,b\""),
        ] {
            assert_eq!(checked("POST", "/client", content_type), Ok(()));
        }
        assert_eq!(checked("POST", "/client/", None), Ok(()));
        assert_eq!(checked("POST", "https://example.com//client", None), Ok(()));
        assert_eq!(checked("POST", "/client?x=1", None), Ok(()));
    }

    #[test]
    fn each_broken_rule_has_its_problem() {
        assert_eq!(checked("POST", "/", None), Err(Problem::NotFound { paths: PATHS }));
        assert_eq!(checked("POST", "/client/x", None), Err(Problem::NotFound { paths: PATHS }));
        assert_eq!(checked("GET", "/client", None), Err(Problem::MethodNotAllowed));
        for content_type in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "application/jsonp",
            "json",
            "application/json, text/plain",
        ] {
            assert_eq!(checked("POST", "/client", Some(content_type)), Err(Problem::UnsupportedMediaType));
        }
        let body = Bytes::from(vec![b' '; BODY_LIMIT + 1]);
        let large = Request::builder().method("POST").uri("/client").body(body).unwrap();
        assert_eq!(check(&large, PATHS, BODY_LIMIT), Err(Problem::TooLarge { limit: BODY_LIMIT }));
    }

    #[test]
    fn body_limit_is_read_from_its_variable() {
        let limit = |value: Option<&str>| body_limit(&|_| value.map(str::to_owned), 5000);
        assert_eq!((limit(None), limit(Some("")), limit(Some("2048"))), (Ok(5000), Ok(5000), Ok(2048)));
        for wrong in ["0", "1023", "6291457", "-1", "1 MB"] {
            assert!(limit(Some(wrong)).unwrap_err().to_string().contains("BODY_MAX_BYTES"), "{wrong}");
        }
    }
}
