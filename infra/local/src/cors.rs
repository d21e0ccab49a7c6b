//! What a function URL does about cross-origin requests, so that handlers need not: it answers preflights by itself and
//! marks the answers of the function.
//!
//! <https://docs.aws.amazon.com/lambda/latest/api/API_Cors.html>; what the headers mean is the Fetch standard's.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD,
    ORIGIN, VARY,
};
use http::{HeaderName, HeaderValue, Method, Request, Response};
use serde::Deserialize;

/// A `FunctionUrlConfig`'s `Cors` block.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default, deny_unknown_fields)]
pub struct Cors {
    /// Who may call: origins, or `*`.
    pub allow_origins: Vec<String>,
    /// By which methods.
    pub allow_methods: Vec<String>,
    /// With which headers.
    pub allow_headers: Vec<String>,
    /// Which headers of the answer a script may read.
    pub expose_headers: Vec<String>,
    /// How long a preflight is remembered. In seconds.
    pub max_age: u32,
    /// Whether cookies may be sent.
    pub allow_credentials: bool,
}

impl Cors {
    /// The answer to a preflight; `None` for any other request.
    #[must_use]
    pub fn preflight<B>(&self, request: &Request<B>) -> Option<Response<String>> {
        let origin = request.headers().get(ORIGIN)?;
        request.headers().get(ACCESS_CONTROL_REQUEST_METHOD)?;
        if request.method() != Method::OPTIONS {
            return None;
        }
        let mut response = Response::new(String::new());
        if self.allow(origin, &mut response) {
            set(&mut response, ACCESS_CONTROL_ALLOW_METHODS, &self.allow_methods.join(","));
            set(&mut response, ACCESS_CONTROL_ALLOW_HEADERS, &self.allow_headers.join(","));
            set(&mut response, ACCESS_CONTROL_MAX_AGE, &self.max_age.to_string());
        }
        Some(response)
    }

    /// Tells the browser whether a script from `origin` may read the answer.
    pub fn mark<B>(&self, origin: &HeaderValue, response: &mut Response<B>) {
        if self.allow(origin, response) {
            set(response, ACCESS_CONTROL_EXPOSE_HEADERS, &self.expose_headers.join(","));
        }
    }

    /// Whether the origin may call; a browser takes the absence of the headers for a no.
    fn allow<B>(&self, origin: &HeaderValue, response: &mut Response<B>) -> bool {
        response.headers_mut().append(VARY, HeaderValue::from_static("Origin"));
        let anyone = self.allow_origins.iter().any(|allowed| allowed == "*");
        if !anyone && !self.allow_origins.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes()) {
            return false;
        }
        // Beside credentials the standard takes no wildcard.
        let wildcard = anyone && !self.allow_credentials;
        let allowed = if wildcard { HeaderValue::from_static("*") } else { origin.clone() };
        response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        if self.allow_credentials {
            set(response, ACCESS_CONTROL_ALLOW_CREDENTIALS, "true");
        }
        true
    }
}

fn set<B>(response: &mut Response<B>, name: HeaderName, value: &str) {
    if let Some(value) = HeaderValue::from_str(value).ok().filter(|value| !value.is_empty()) {
        response.headers_mut().insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cors(origins: &[&str]) -> Cors {
        Cors {
            allow_origins: origins.iter().map(|&origin| origin.to_owned()).collect(),
            allow_methods: vec!["POST".to_owned()],
            allow_headers: vec!["authorization".to_owned(), "content-type".to_owned()],
            expose_headers: vec!["gatehouse-outcome".to_owned()],
            max_age: 600,
            allow_credentials: false,
        }
    }

    fn preflight(method: &str) -> Request<()> {
        let request = Request::builder().method(method).header("origin", "https://app.example");
        request.header("access-control-request-method", "POST").body(()).unwrap()
    }

    fn header<'r>(response: &'r Response<String>, name: &str) -> Option<&'r str> {
        response.headers().get(name).map(|value| value.to_str().unwrap())
    }

    #[test]
    fn a_preflight_is_answered_with_what_is_allowed() {
        for (origins, told) in [(&["*"], "*"), (&["https://app.example"], "https://app.example")] {
            let answer = cors(origins).preflight(&preflight("OPTIONS")).unwrap();
            assert_eq!(answer.status(), 200);
            assert_eq!(header(&answer, "access-control-allow-origin"), Some(told));
            assert_eq!(header(&answer, "access-control-allow-methods"), Some("POST"));
            assert_eq!(header(&answer, "access-control-allow-headers"), Some("authorization,content-type"));
            assert_eq!(header(&answer, "access-control-max-age"), Some("600"));
            assert_eq!(header(&answer, "vary"), Some("Origin"));
        }
    }

    #[test]
    fn an_origin_that_is_not_listed_is_told_nothing() {
        let answer = cors(&["https://other.example"]).preflight(&preflight("OPTIONS")).unwrap();
        assert!(answer.headers().keys().all(|name| name == "vary"), "{answer:?}");
        let mut answer = Response::new(String::new());
        cors(&["https://other.example"]).mark(&HeaderValue::from_static("https://app.example"), &mut answer);
        assert!(answer.headers().keys().all(|name| name == "vary"), "{answer:?}");
    }

    #[test]
    fn what_is_no_preflight_goes_to_the_function_and_its_answer_is_marked() {
        assert!(cors(&["*"]).preflight(&preflight("POST")).is_none());
        let plain = Request::builder().method("OPTIONS").body(()).unwrap();
        assert!(cors(&["*"]).preflight(&plain).is_none());
        let mut answer = Response::new(String::new());
        cors(&["*"]).mark(&HeaderValue::from_static("https://app.example"), &mut answer);
        assert_eq!(header(&answer, "access-control-allow-origin"), Some("*"));
        assert_eq!(header(&answer, "access-control-expose-headers"), Some("gatehouse-outcome"));
    }

    #[test]
    fn beside_credentials_the_origin_is_named() {
        let cors = Cors { allow_credentials: true, ..cors(&["*"]) };
        let answer = cors.preflight(&preflight("OPTIONS")).unwrap();
        assert_eq!(header(&answer, "access-control-allow-origin"), Some("https://app.example"));
        assert_eq!(header(&answer, "access-control-allow-credentials"), Some("true"));
    }
}
