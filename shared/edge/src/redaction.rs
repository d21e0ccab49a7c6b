//! What is not kept of a delivery: the values of members that carry credentials, by a list that can be changed.
//!
//! It is taken out once everything has been decided, and before anything is written. The fingerprint is of the delivery as it
//! came, so that what is told apart does not depend on the list.

use std::borrow::Cow;
use std::collections::HashMap;

use bytes::Bytes;
use gatehouse_inbox::config::ConfigError;
use gatehouse_payload::json::Document;
use gatehouse_payload::redact::{Secrets, redact};

/// What is taken out unless `REDACT` says otherwise: what Vapi's messages are known to hold (whoever has a call's `controlUrl` can
/// speak in it), and what credentials are called elsewhere.
pub const USUAL: &str = "controlUrl, listenUrl, webCallUrl, server.secret, serverUrlSecret, twilioAuthToken, twilioApiSecret, \
    authToken, auth_token, accessToken, access_token, refreshToken, refresh_token, idToken, id_token, jwt, apiKey, api_key, \
    apiSecret, api_secret, secretKey, secret_key, secretAccessKey, awsSecretAccessKey, server.headers, x-api-key, x-vapi-secret, sipPassword, \
    clientSecret, client_secret, privateKey, private_key, password, authorization";

/// A list of members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redaction {
    /// By the member's name: by which member its object must be held, or `None` for any. All in small letters.
    members: HashMap<String, Option<String>>,
}

impl Default for Redaction {
    fn default() -> Self {
        Self::of(USUAL)
    }
}

impl Redaction {
    /// Reads `REDACT` by `get`: names, or `holder.name`, separated by commas, in place of [`USUAL`]; `none` keeps everything.
    ///
    /// # Errors
    /// When an element is neither.
    pub fn read(get: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let list = match get("REDACT").filter(|list| !list.is_empty()) {
            None => return Ok(Self::default()),
            Some(list) if list == "none" => return Ok(Redaction { members: HashMap::new() }),
            Some(list) => list,
        };
        let is_name = |name: &str| !name.is_empty() && !name.contains(char::is_whitespace);
        let is_member = |member: &str| member.split('.').count() <= 2 && member.split('.').all(is_name);
        if list.split(',').all(|member| is_member(member.trim())) {
            Ok(Self::of(&list))
        } else {
            Err(ConfigError::Invalid("REDACT", "names of members, or holder.name, separated by commas, or to none"))
        }
    }

    fn of(list: &str) -> Self {
        let member = |member: &str| {
            let member = member.trim().to_lowercase();
            match member.split_once('.') {
                Some((holder, name)) => (name.to_owned(), Some(holder.to_owned())),
                None => (member, None),
            }
        };
        Redaction { members: list.split(',').map(member).collect() }
    }

    /// A delivery's body as it is kept. A string that holds an object is kept as the object, if something was taken out.
    #[must_use]
    pub fn apply(&self, body: &Bytes) -> Bytes {
        if self.members.is_empty() {
            return body.clone();
        }
        let Ok(document) = Document::read(body) else { return body.clone() };
        let member = |name: &str, holder: &dyn Fn() -> String| self.names(name, holder);
        match redact(document.text(), Secrets { member: &member, text: &is_jwt, mark: "eyJ" }) {
            Cow::Borrowed(_) => body.clone(),
            Cow::Owned(text) => Bytes::from(text),
        }
    }

    fn names(&self, name: &str, holder: &dyn Fn() -> String) -> bool {
        let held_by = self.members.get(name.to_lowercase().as_str());
        held_by.is_some_and(|by| by.as_ref().is_none_or(|by| *by == holder().to_lowercase()))
    }
}

/// Whether a text is a JSON Web Token, as a bearer or alone: three parts of base64url, the first of which is an object.
fn is_jwt(text: &str) -> bool {
    let text = text.trim();
    let text =
        text.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map_or(text, |(_, text)| text);
    if !text.starts_with("eyJ") {
        return false;
    }
    let is_part = |part: &str| part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    text.split('.').count() == 3 && text.split('.').all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(redaction: &Redaction, body: &str) -> String {
        String::from_utf8(redaction.apply(&Bytes::from(body.to_owned())).to_vec()).unwrap()
    }

    #[test]
    fn what_is_usually_taken_out_is() {
        let body = r#"{"message":{"call":{"monitor":{"listenUrl":"wss://x","controlUrl":"https://x"},"id":"c",
            "assistantOverrides":{"metadata":{"who":"eyJhbGciOiJ9.eyJzdWIiOiIx.c2ln"}}},
            "toolWithToolCallList":[{"server":{"url":"https://y","secret":"s3"}}],
            "phoneNumber":{"serverUrlSecret":"s4","twilioAuthToken":"s5","twilioAccountSid":"AC1"},"secret":"a word"}}"#;
        let kept = applied(&Redaction::default(), body);
        let nested = r#"{"message":"{\"call\":{\"monitor\":{\"controlUrl\":\"https://x\"}}}",
            "tools":[{"server":{"headers":{"X-Own":"s3"}},"function":{"arguments":"{\"password\":\"s4\"}"}}],
            "tokens":["Bearer eyJhbGciOiJ9.eyJzdWIiOiIx.c2ln","\u0065yJhbGciOiJ9.eyJzdWIiOiIx.c2ln"]}"#;
        let kept_of_it = applied(&Redaction::default(), nested);
        assert!(!["https://x", "s3", "s4", "c2ln"].iter().any(|gone| kept_of_it.contains(gone)), "{kept_of_it}");
        assert_eq!(kept_of_it.matches("[redacted]").count(), 5, "{kept_of_it}");
        for gone in ["wss://x", "https://x", "s3", "s4", "s5", "eyJ"] {
            assert!(!kept.contains(gone), "{gone}: {kept}");
        }
        for stays in ["\"id\":\"c\"", "https://y", "AC1", "a word"] {
            assert!(kept.contains(stays), "{stays}: {kept}");
        }
        let held = applied(&Redaction::default(), r#""{\"password\":\"s3\",\"x\":1}""#);
        assert_eq!(held, r#"{"password":"[redacted]","x":1}"#);
    }

    #[test]
    fn what_holds_none_stays_as_it_came() {
        for body in [r#" {"a" : "eyJhbGciOiJ9"} "#, r#""{\"a\":1}""#, r#"{"x":"eyJ a.b.c"}"#] {
            assert_eq!(applied(&Redaction::default(), body), body);
        }
    }

    #[test]
    fn the_list_can_be_another_and_what_is_none_is_named() {
        let read = |list: &str| Redaction::read(&|_| Some(list.to_owned()));
        assert_eq!(read("").unwrap(), Redaction::default());
        assert_eq!(applied(&read("none").unwrap(), r#"{"password":"p"}"#), r#"{"password":"p"}"#);
        let own = read("customer.EMAIL, pin").unwrap();
        assert_eq!(
            applied(&own, r#"{"customer":{"email":"e"},"email":"f","PIN":1,"password":"p"}"#),
            r#"{"customer":{"email":"[redacted]"},"email":"f","PIN":"[redacted]","password":"p"}"#
        );
        for wrong in ["a b", "a,,b", "a.b.c", "."] {
            assert!(read(wrong).unwrap_err().to_string().contains("REDACT"), "{wrong}");
        }
    }
}
