//! Redacts credentials in a delivery, by the names of members and by the content of texts.
//!
//! Redaction happens after the event is identified and answered, and before it is stored. The fingerprint covers the
//! original body, so redaction does not change the identity of an event.

mod name;
mod text;

use std::borrow::Cow;
use std::collections::HashMap;

use bytes::Bytes;
use gatehouse_payload::json::Document;
use gatehouse_payload::redact::{Secrets, redact};
use gatehouse_runtime::config::ConfigError;

/// The setting that decides which members are redacted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Redaction(Members);

#[derive(Debug, Clone, PartialEq, Eq, Default)]
enum Members {
    /// Members whose names are those of credentials.
    #[default]
    Default,
    /// These members by name, in lower case. The value is the required name of the member that contains their object;
    /// `None` for any.
    Listed(HashMap<String, Option<String>>),
    /// No member: the body is stored unchanged.
    None,
}

impl Redaction {
    /// Reads `REDACT` with `get`: a list of `name` or `holder.name`, separated by commas, which replaces the default
    /// list. `none` disables redaction.
    ///
    /// # Errors
    /// If an element has another form.
    pub fn read(get: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let list = match get("REDACT").filter(|list| !list.is_empty()) {
            None => return Ok(Self::default()),
            Some(list) if list == "none" => return Ok(Redaction(Members::None)),
            Some(list) => list,
        };
        let is_name = |name: &str| !name.is_empty() && !name.contains(char::is_whitespace);
        let is_member = |member: &str| member.split('.').count() <= 2 && member.split('.').all(is_name);
        if !list.split(',').all(|member| is_member(member.trim())) {
            let expected = "names of members, or holder.name, separated by commas, or to none";
            return Err(ConfigError::Invalid("REDACT", expected));
        }
        let member = |member: &str| {
            let member = member.trim().to_lowercase();
            match member.split_once('.') {
                Some((holder, name)) => (name.to_owned(), Some(holder.to_owned())),
                None => (member, None),
            }
        };
        Ok(Redaction(Members::Listed(list.split(',').map(member).collect())))
    }

    /// Returns the redacted body of a delivery. If something is redacted within a string that contains a JSON object,
    /// the object replaces the string.
    #[must_use]
    pub fn apply(&self, body: &Bytes) -> Bytes {
        if self.0 == Members::None {
            return body.clone();
        }
        let Ok(document) = Document::read(body) else { return body.clone() };
        let member = |name: &str, holder: &dyn Fn() -> String| self.is_secret(name, holder);
        let secrets = Secrets { member: &member, text: &text::redacted, marks: text::MARKS };
        match redact(document.text(), secrets) {
            Cow::Borrowed(_) => body.clone(),
            Cow::Owned(text) => Bytes::from(text),
        }
    }

    /// Whether the member `name` within `holder` is redacted.
    fn is_secret(&self, name: &str, holder: &dyn Fn() -> String) -> bool {
        match &self.0 {
            Members::Default => name::is_credential(name, holder),
            Members::Listed(members) => {
                let required = members.get(name.to_lowercase().as_str());
                required.is_some_and(|required| required.as_ref().is_none_or(|name| *name == holder().to_lowercase()))
            }
            Members::None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn applied(redaction: &Redaction, body: &str) -> String {
        String::from_utf8(redaction.apply(&Bytes::from(body.to_owned())).to_vec()).unwrap()
    }

    fn by_default(body: &Value) -> String {
        applied(&Redaction::default(), &body.to_string())
    }

    #[test]
    fn default_list_redacts_members_tokens_and_nested_json() {
        let body = r#"{"message":{"call":{"monitor":{"listenUrl":"wss://x","controlUrl":"https://x"},"id":"c",
            "assistantOverrides":{"metadata":{"who":"eyJhbGciOiJ9.eyJzdWIiOiIx.c2ln"}}},
            "toolWithToolCallList":[{"server":{"url":"https://y","secret":"s3"}}],
            "phoneNumber":{"serverUrlSecret":"s4","twilioAuthToken":"s5","twilioAccountSid":"AC1"},
            "secret":"a word"}}"#;
        let redacted = applied(&Redaction::default(), body);
        let nested = r#"{"message":"{\"call\":{\"monitor\":{\"controlUrl\":\"https://x\"}}}",
            "tools":[{"server":{"headers":{"X-Own":"s3"}},"function":{"arguments":"{\"password\":\"s4\"}"}}],
            "tokens":["Bearer eyJhbGciOiJ9.eyJzdWIiOiIx.c2ln","\u0065yJhbGciOiJ9.eyJzdWIiOiIx.c2ln"]}"#;
        let redacted_nested = applied(&Redaction::default(), nested);
        let secrets = ["https://x", "s3", "s4", "c2ln"];
        assert!(!secrets.iter().any(|secret| redacted_nested.contains(secret)), "{redacted_nested}");
        assert_eq!(redacted_nested.matches("[redacted]").count(), 5, "{redacted_nested}");
        for secret in ["wss://x", "https://x", "s3", "s4", "s5", "eyJ"] {
            assert!(!redacted.contains(secret), "{secret}: {redacted}");
        }
        for value in ["\"id\":\"c\"", "https://y", "AC1", "a word"] {
            assert!(redacted.contains(value), "{value}: {redacted}");
        }
        let from_string = applied(&Redaction::default(), r#""{\"password\":\"s3\",\"x\":1}""#);
        assert_eq!(from_string, r#"{"password":"[redacted]","x":1}"#);
    }

    #[test]
    fn all_credentials_of_vapis_schemas_are_redacted() {
        let schemas: Value =
            serde_json::from_str(include_str!("../../../tests/fixtures/credentials/vapi.json")).unwrap();
        let members = schemas["credentials"].as_object().unwrap();
        assert!(members.len() > 25);
        for (member, holders) in members {
            let mut bodies = vec![json!({ member: "s3cr3t" }), json!({"message": {"list": [{ member: "s3cr3t" }]}})];
            for holder in holders.as_array().unwrap() {
                bodies.push(json!({ holder.as_str().unwrap(): { member: "s3cr3t" } }));
            }
            for body in bodies {
                assert!(!by_default(&body).contains("s3cr3t"), "{body}");
                let nested = json!({"arguments": body.to_string()});
                assert!(!by_default(&nested).contains("s3cr3t"), "{nested}");
            }
        }
        // Readers of the events need these.
        for readable in schemas["readable"].as_array().unwrap() {
            let redacted = by_default(
                &json!({"message": { readable.as_str().unwrap(): "needed", "n": { readable.as_str().unwrap(): 7 } }}),
            );
            assert!(redacted.contains("needed") && redacted.contains('7'), "{readable}: {redacted}");
        }
    }

    #[test]
    fn unlisted_names_are_recognized_by_parts_and_holders() {
        for body in [
            json!({"db_password": "SEC"}),
            json!({"X-Auth-Token": "SEC"}),
            json!({"slackSigningSecret": "SEC"}),
            json!({"passphrase": {"text": "SEC"}}),
            json!({"Cookie": "SEC"}),
            json!({"set-cookie": ["SEC"]}),
            json!({"credentials": [{"provider": "x", "key": "SEC", "value": "SEC"}]}),
            json!({"authenticationPlan": {"type": "basic", "user": "u", "pass": "SEC"}}),
            json!({"outboundAuthenticationPlan": {"authPassword": "SEC"}}),
            json!({"model": {"headers": {"x-custom": "SEC"}}}),
            json!({"bucketPlan": {"hmacAccessKey": "SEC"}}),
        ] {
            assert!(!by_default(&body).contains("SEC"), "{body}");
        }
        for body in [
            json!({"tokens": 5, "maxTokens": 250, "completion_tokens": 7, "tokenCount": "8"}),
            json!({"key": "a", "keys": ["b"], "monkey": "c", "keyboard": "d"}),
            json!({"secretary": "Ann", "passenger": "Bob", "author": "Cy", "authorName": "Di"}),
            json!({"sipHeaders": {"x-call": "1"}}),
            json!({"credentials": [{"provider": "x", "id": "i", "orgId": "o", "name": "n", "region": "r"}]}),
            json!({"passwordless": true, "hasPassword": true}),
        ] {
            assert_eq!(by_default(&body), body.to_string());
        }
    }

    #[test]
    fn json_within_a_string_is_redacted_like_an_object() {
        for body in [
            json!({"function": {"arguments": json!({"secret": "SEC"}).to_string()}}),
            json!({"credentials": json!([{"key": "SEC"}]).to_string()}),
            json!({"server": json!({"headers": {"x": "SEC"}}).to_string()}),
        ] {
            assert!(!by_default(&body).contains("SEC"), "{body}");
        }
        let listed = Redaction::read(&|_| Some("customer.email".to_owned())).unwrap();
        let body = json!({"customer": json!({"email": "SEC"}).to_string()}).to_string();
        assert!(!applied(&listed, &body).contains("SEC"));
    }

    #[test]
    fn tokens_and_urls_in_texts_are_redacted_except_presigned() {
        let token = "eyJhbGciOiJ9.eyJzdWIiOiIx.c2ln";
        let encrypted = "eyJhbGciOiJ9..aXY.Y2lwaGVy.dGFn";
        for (text, redacted) in [
            (format!("use {token}, please"), "use [redacted], please".to_owned()),
            (format!("https://x.example/?jwt={token}#a"), "https://x.example/?jwt=[redacted]#a".to_owned()),
            (encrypted.to_owned(), "[redacted]".to_owned()),
            (
                "https://user:pw@x.example/mcp?token=t&q=1".to_owned(),
                "https://[redacted]@x.example/mcp?token=[redacted]&q=1".to_owned(),
            ),
            (format!("say {token}.Next"), "say [redacted].Next".to_owned()),
            (format!("a=Bearer%20{token}&b=%3D{token}"), "a=Bearer%20[redacted]&b=%3D[redacted]".to_owned()),
            (
                "https://a.example,https://u:pw@b.example/?next=https://v:pw@c.example/".to_owned(),
                "https://a.example,https://[redacted]@b.example/?next=https://[redacted]@c.example/".to_owned(),
            ),
            (
                "postgresql+asyncpg://u:pw@db/x rtmp://u:pw@h/".to_owned(),
                "postgresql+asyncpg://[redacted]@db/x rtmp://[redacted]@h/".to_owned(),
            ),
            ("see wss://x.example/a?api_key=k b".to_owned(), "see wss://x.example/a?api_key=[redacted] b".to_owned()),
            (
                "https://hooks.example/a?sig=s&page=2".to_owned(),
                "https://hooks.example/a?sig=[redacted]&page=2".to_owned(),
            ),
        ] {
            assert_eq!(by_default(&json!({ "x": text })), json!({ "x": redacted }).to_string());
        }
        let presigned = "https://b.s3.example/r.wav?X-Amz-Security-Token=t&X-Amz-Signature=s";
        for body in [
            json!({"artifact": {"presignedMonoUrl": "https://x.example/r?token=t"}}),
            json!({"artifact": {"recordingUrl": "https://x.example/r?token=t"}}),
            json!({"recordingUrl": presigned, "logUrl": "https://x.example/l?sig=s"}),
            json!({"note": presigned}),
            json!({"x": "https://x.example/a?page=2&tokens=3#token=4"}),
            json!({"x": "a@b.example", "y": "http://", "z": "a ://user:pw@x.example or a+b://user@x.example"}),
            json!({"artifact": {"recordingUrl": format!("https://x.example/r?token={token}")}}),
            json!({"artifact": {"recording": {"mono": {"combinedUrl": "https://x.example/r?sv=1&sig=abc"}}}}),
        ] {
            assert_eq!(by_default(&body), body.to_string());
        }
    }

    #[test]
    fn body_without_credentials_is_unchanged() {
        for body in [r#" {"a" : "eyJhbGciOiJ9"} "#, r#""{\"a\":1}""#, r#"{"x":"eyJ a.b.c"}"#] {
            assert_eq!(applied(&Redaction::default(), body), body);
        }
    }

    #[test]
    fn redact_replaces_the_list_and_rejects_invalid_elements() {
        let read = |list: &str| Redaction::read(&|_| Some(list.to_owned()));
        assert_eq!(read("").unwrap(), Redaction::default());
        assert_eq!(applied(&read("none").unwrap(), r#"{"password":"p"}"#), r#"{"password":"p"}"#);
        let listed = read("customer.EMAIL, pin").unwrap();
        assert_eq!(
            applied(&listed, r#"{"customer":{"email":"e"},"email":"f","PIN":1,"password":"p"}"#),
            r#"{"customer":{"email":"[redacted]"},"email":"f","PIN":"[redacted]","password":"p"}"#
        );
        for wrong in ["a b", "a,,b", "a.b.c", "."] {
            assert!(read(wrong).unwrap_err().to_string().contains("REDACT"), "{wrong}");
        }
    }
}
