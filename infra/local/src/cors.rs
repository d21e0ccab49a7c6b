//! Emulates the CORS support of function URLs: they answer preflights and add headers to the function's responses.
//!
//! <https://docs.aws.amazon.com/lambda/latest/api/API_Cors.html>; the Fetch standard defines the headers.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD,
    ORIGIN, VARY,
};
use http::{HeaderName, HeaderValue, Method, Request, Response};
use serde::Deserialize;

/// The `Cors` block of a `FunctionUrlConfig`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default, deny_unknown_fields)]
pub struct Cors {
    /// Allowed origins, or `*`.
    pub allow_origins: Vec<String>,
    /// Allowed methods.
    pub allow_methods: Vec<String>,
    /// Allowed request headers.
    pub allow_headers: Vec<String>,
    /// Response headers that a script may read.
    pub expose_headers: Vec<String>,
    /// How long browsers cache a preflight. In seconds.
    pub max_age: u32,
    /// Whether requests may include credentials.
    pub allow_credentials: bool,
}

impl Cors {
    /// Returns the response to a preflight; `None` for any other request.
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

    /// Adds the headers that allow a script from `origin` to read the response.
    pub fn mark<B>(&self, origin: &HeaderValue, response: &mut Response<B>) {
        if self.allow(origin, response) {
            set(response, ACCESS_CONTROL_EXPOSE_HEADERS, &self.expose_headers.join(","));
        }
    }

    /// Adds the headers for an allowed origin and returns whether it is allowed. Browsers block responses without them.
    fn allow<B>(&self, origin: &HeaderValue, response: &mut Response<B>) -> bool {
        response.headers_mut().append(VARY, HeaderValue::from_static("Origin"));
        let any_origin = self.allow_origins.iter().any(|allowed| allowed == "*");
        if !any_origin && !self.allow_origins.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes()) {
            return false;
        }
        // The standard does not allow a wildcard together with credentials.
        let wildcard = any_origin && !self.allow_credentials;
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
    fn preflight_response_lists_allowed_methods_and_headers() {
        for (origins, allowed) in [(&["*"], "*"), (&["https://app.example"], "https://app.example")] {
            let answer = cors(origins).preflight(&preflight("OPTIONS")).unwrap();
            assert_eq!(answer.status(), 200);
            assert_eq!(header(&answer, "access-control-allow-origin"), Some(allowed));
            assert_eq!(header(&answer, "access-control-allow-methods"), Some("POST"));
            assert_eq!(header(&answer, "access-control-allow-headers"), Some("authorization,content-type"));
            assert_eq!(header(&answer, "access-control-max-age"), Some("600"));
            assert_eq!(header(&answer, "vary"), Some("Origin"));
        }
    }

    #[test]
    fn unlisted_origin_gets_no_cors_headers() {
        let answer = cors(&["https://other.example"]).preflight(&preflight("OPTIONS")).unwrap();
        assert!(answer.headers().keys().all(|name| name == "vary"), "{answer:?}");
        let mut answer = Response::new(String::new());
        cors(&["https://other.example"]).mark(&HeaderValue::from_static("https://app.example"), &mut answer);
        assert!(answer.headers().keys().all(|name| name == "vary"), "{answer:?}");
    }

    #[test]
    fn other_requests_go_to_the_function_and_responses_get_headers() {
        assert!(cors(&["*"]).preflight(&preflight("POST")).is_none());
        let plain = Request::builder().method("OPTIONS").body(()).unwrap();
        assert!(cors(&["*"]).preflight(&plain).is_none());
        let mut answer = Response::new(String::new());
        cors(&["*"]).mark(&HeaderValue::from_static("https://app.example"), &mut answer);
        assert_eq!(header(&answer, "access-control-allow-origin"), Some("*"));
        assert_eq!(header(&answer, "access-control-expose-headers"), Some("gatehouse-outcome"));
    }

    #[test]
    fn wildcard_with_credentials_names_the_origin() {
        let cors = Cors { allow_credentials: true, ..cors(&["*"]) };
        let answer = cors.preflight(&preflight("OPTIONS")).unwrap();
        assert_eq!(header(&answer, "access-control-allow-origin"), Some("https://app.example"));
        assert_eq!(header(&answer, "access-control-allow-credentials"), Some("true"));
    }
}
