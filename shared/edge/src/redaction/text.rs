//! Credentials within texts: JSON Web Tokens, and URLs that carry user information or credentials in their query.

use super::name::is_credential_in_query;

/// What stands in a credential's place.
const GONE: &str = "[redacted]";
/// Schemes of URLs that are looked into. Anything else before `://` may be a text like any other.
const SCHEMES: [&str; 23] = [
    "http",
    "https",
    "ws",
    "wss",
    "ftp",
    "ftps",
    "sftp",
    "postgres",
    "postgresql",
    "mysql",
    "mariadb",
    "mongodb",
    "mongodb+srv",
    "redis",
    "rediss",
    "amqp",
    "amqps",
    "mqtt",
    "mqtts",
    "smtp",
    "smtps",
    "ldap",
    "ldaps",
];
/// One of them is in every text with a credential.
pub(super) const MARKS: [&str; 2] = ["eyJ", "://"];

/// What is kept of a text, by its member's name and its holder's; `None` for all of it. The URL of a recording or another artifact
/// keeps its query: it expires by itself, and whoever works with a report needs it.
pub(super) fn kept(text: &str, name: &str, holder: &dyn Fn() -> String) -> Option<String> {
    let without_tokens = without_tokens(text);
    let current = without_tokens.as_deref().unwrap_or(text);
    let is_artifact = || {
        let names = ["recordingUrl", "stereoRecordingUrl", "videoRecordingUrl", "logUrl", "pcapUrl"];
        name.starts_with("presigned") || names.contains(&name) || ["artifact", "recording"].contains(&holder().as_str())
    };
    if !current.contains("://") || is_artifact() {
        return without_tokens;
    }
    without_credentials_in_urls(current).or(without_tokens)
}

/// Without JSON Web Tokens: three parts of base64url, or five where it is encrypted, the first of which is an object.
fn without_tokens(text: &str) -> Option<String> {
    let mut kept = String::new();
    let mut copied = 0;
    let mut from = 0;
    while let Some(found) = text.get(from..).and_then(|rest| rest.find("eyJ")) {
        let start = from + found;
        let is_part_of_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let rest = text.get(start..).unwrap_or_default();
        let length = rest.bytes().position(|byte| !is_part_of_token(byte)).unwrap_or(rest.len());
        let token = rest.get(..length).unwrap_or_default().trim_end_matches('.');
        let is_inside_a_word = text.get(..start).is_some_and(|before| before.ends_with(|c: char| c.is_alphanumeric()));
        if !is_inside_a_word && [3, 5].contains(&token.split('.').count()) {
            kept.push_str(text.get(copied..start).unwrap_or_default());
            kept.push_str(GONE);
            copied = start + token.len();
        }
        from = start + length.max(3);
    }
    (copied > 0).then(|| kept + text.get(copied..).unwrap_or_default())
}

/// Without the user information of each URL, and without the values of those query members whose names are credentials.
fn without_credentials_in_urls(text: &str) -> Option<String> {
    let mut kept = String::new();
    let mut copied = 0;
    let mut from = 0;
    while let Some(found) = text.get(from..).and_then(|rest| rest.find("://")) {
        let start = from + found + 3;
        let rest = text.get(start..).unwrap_or_default();
        let ends = |c: char| c.is_whitespace() || c.is_control() || "\"'<>`\\{}|".contains(c);
        let url = rest.get(..rest.find(ends).unwrap_or(rest.len())).unwrap_or_default();
        let before = text.get(..from + found).unwrap_or_default();
        let scheme = before.rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '+').next().unwrap_or_default();
        from = start + url.len();
        if !SCHEMES.iter().any(|known| known.eq_ignore_ascii_case(scheme)) {
            continue;
        }
        let Some(cleaned) = cleaned(url) else { continue };
        kept.push_str(text.get(copied..start).unwrap_or_default());
        kept.push_str(&cleaned);
        copied = from;
    }
    (copied > 0).then(|| kept + text.get(copied..).unwrap_or_default())
}

/// A URL behind its scheme; `None` where it carries no credential, or is presigned.
fn cleaned(url: &str) -> Option<String> {
    if ["X-Amz-Signature=", "X-Goog-Signature="].iter().any(|signature| url.contains(signature)) {
        return None;
    }
    let authority = url.get(..url.find(['/', '?', '#']).unwrap_or(url.len()))?;
    let (has_user, host) = match authority.rsplit_once('@') {
        Some((user, host)) if !user.is_empty() && user != GONE => (true, host),
        _ => (false, authority),
    };
    let rest = url.get(authority.len()..)?;
    let (before, fragment) = rest.split_once('#').map_or((rest, None), |(rest, fragment)| (rest, Some(fragment)));
    let (path, query) = before.split_once('?').map_or((before, None), |(path, query)| (path, Some(query)));
    let mut has_credential = has_user;
    let members = query.map(|query| {
        let member = |member: &str| match member.split_once('=') {
            Some((name, value)) if !value.is_empty() && value != GONE && is_credential_in_query(name) => {
                has_credential = true;
                format!("{name}={GONE}")
            }
            _ => member.to_owned(),
        };
        query.split('&').map(member).collect::<Vec<_>>().join("&")
    });
    if !has_credential {
        return None;
    }
    let user = if has_user { format!("{GONE}@") } else { String::new() };
    let query = members.map(|members| format!("?{members}")).unwrap_or_default();
    let fragment = fragment.map(|fragment| format!("#{fragment}")).unwrap_or_default();
    Some(format!("{user}{}{path}{query}{fragment}", if has_user { host } else { authority }))
}
