//! Credentials within texts: JSON Web Tokens, and URLs that carry user information or credentials in their query.

use super::name::is_credential_in_query;

/// What stands in a credential's place.
const GONE: &str = "[redacted]";
/// Schemes of URLs whose query, and user information without a password, are looked into.
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

/// What is kept of a text, by its member's name and its holder's; `None` for all of it. The URL of a recording or
/// another artifact keeps its query: it expires by itself, and whoever works with a report needs it.
pub(super) fn kept(text: &str, name: &str, holder: &dyn Fn() -> String) -> Option<String> {
    let is_url = text.starts_with("http") && !text.contains(char::is_whitespace);
    if is_url && is_artifact(name, &holder()) {
        return None;
    }
    let without_tokens = without_tokens(text);
    let current = without_tokens.as_deref().unwrap_or(text);
    without_credentials_in_urls(current).or(without_tokens)
}

fn is_artifact(name: &str, holder: &str) -> bool {
    let names = ["logUrl", "pcapUrl", "combinedUrl", "stereoUrl", "videoUrl"];
    let holders = ["artifact", "recording", "mono", "stereo"];
    let is_recording = name.ends_with("ecordingUrl");
    name.starts_with("presigned") || is_recording || names.contains(&name) || holders.contains(&holder)
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
        let parts: Vec<&str> = rest.get(..length).unwrap_or_default().trim_end_matches('.').split('.').collect();
        // Behind a token may come the end of a sentence.
        let token = match parts.len() {
            0..3 => None,
            5 => Some(parts.join(".")),
            _ => parts.get(..3).map(|signed| signed.join(".")),
        };
        let before = text.get(..start).unwrap_or_default();
        let is_escape = before.len() >= 3 && before.as_bytes().get(before.len() - 3) == Some(&b'%');
        let is_inside_a_word = !is_escape && before.ends_with(|c: char| c.is_alphanumeric());
        if let Some(token) = token.filter(|_| !is_inside_a_word) {
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
        // Another URL may begin within it.
        let url = match url.find("://") {
            Some(next) => {
                url.get(..next).unwrap_or_default().trim_end_matches(|c: char| c.is_ascii_alphanumeric() || c == '+')
            }
            None => url,
        };
        let before = text.get(..from + found).unwrap_or_default();
        let scheme = before.rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '+').next().unwrap_or_default();
        from = start + url.len();
        let Some(cleaned) = cleaned(scheme, url) else { continue };
        kept.push_str(text.get(copied..start).unwrap_or_default());
        kept.push_str(&cleaned);
        copied = from;
    }
    (copied > 0).then(|| kept + text.get(copied..).unwrap_or_default())
}

/// A URL behind its scheme; `None` where it carries no credential, or is presigned.
fn cleaned(scheme: &str, url: &str) -> Option<String> {
    let is_known = SCHEMES.iter().any(|known| known.eq_ignore_ascii_case(scheme));
    if ["X-Amz-Signature=", "X-Goog-Signature="].iter().any(|signature| url.contains(signature)) {
        return None;
    }
    let authority = url.get(..url.find(['/', '?', '#']).unwrap_or(url.len()))?;
    let (has_user, host) = match authority.rsplit_once('@') {
        // Before another `://` anything may stand that is no URL: there, name and password are wanted.
        Some((user, host)) if !user.is_empty() && user != GONE && (is_known || is_name_and_password(scheme, user)) => {
            (true, host)
        }
        _ => (false, authority),
    };
    let rest = url.get(authority.len()..)?;
    let (before, fragment) = rest.split_once('#').map_or((rest, None), |(rest, fragment)| (rest, Some(fragment)));
    let (path, query) = before.split_once('?').map_or((before, None), |(path, query)| (path, Some(query)));
    let mut has_credential = has_user;
    let members = query.map(|query| {
        let member = |member: &str| match member.split_once('=') {
            Some((name, value)) if is_known && !value.is_empty() && value != GONE && is_credential_in_query(name) => {
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

fn is_name_and_password(scheme: &str, user: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._~%!$&'()*+,;=:".contains(c);
    scheme.len() > 1
        && user.split_once(':').is_some_and(|(_, password)| !password.is_empty())
        && user.chars().all(is_plain)
}
