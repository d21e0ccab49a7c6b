//! Redacts credentials within texts: JSON Web Tokens, and URLs with user information or credentials in their query.

use super::name::is_credential_in_query;

/// The text that replaces a credential.
const REDACTED: &str = "[redacted]";
/// Schemes of URLs in which the query, and user information without a password, are redacted too.
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
/// Every text with a credential contains one of these.
pub(super) const MARKS: [&str; 2] = ["eyJ", "://"];

/// Returns the redacted text of the member `name` within `holder`; `None` if there is nothing to redact. Keeps the
/// query of URLs of recordings and other artifacts: these URLs expire, and readers of a report need them.
pub(super) fn redacted(text: &str, name: &str, holder: &dyn Fn() -> String) -> Option<String> {
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

/// Redacts JSON Web Tokens: three parts of base64url, or five if encrypted, of which the first is a JSON object.
/// Returns `None` if there are none.
fn without_tokens(text: &str) -> Option<String> {
    let mut redacted = String::new();
    let mut copied = 0;
    let mut search_from = 0;
    while let Some(found) = text.get(search_from..).and_then(|rest| rest.find("eyJ")) {
        let start = search_from + found;
        let is_part_of_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let rest = text.get(start..).unwrap_or_default();
        let length = rest.bytes().position(|byte| !is_part_of_token(byte)).unwrap_or(rest.len());
        let parts: Vec<&str> = rest.get(..length).unwrap_or_default().trim_end_matches('.').split('.').collect();
        // The text after a token may look like one more part: a full stop and the next word.
        let token = match parts.len() {
            0..3 => None,
            5 => Some(parts.join(".")),
            _ => parts.get(..3).map(|signed| signed.join(".")),
        };
        let before = text.get(..start).unwrap_or_default();
        let is_escape = before.len() >= 3 && before.as_bytes().get(before.len() - 3) == Some(&b'%');
        let is_within_word = !is_escape && before.ends_with(|c: char| c.is_alphanumeric());
        if let Some(token) = token.filter(|_| !is_within_word) {
            redacted.push_str(text.get(copied..start).unwrap_or_default());
            redacted.push_str(REDACTED);
            copied = start + token.len();
        }
        search_from = start + length.max(3);
    }
    (copied > 0).then(|| redacted + text.get(copied..).unwrap_or_default())
}

/// Redacts the user information of each URL, and the values of query parameters whose names are those of credentials.
/// Returns `None` if there are none.
fn without_credentials_in_urls(text: &str) -> Option<String> {
    let mut redacted = String::new();
    let mut copied = 0;
    let mut search_from = 0;
    while let Some(found) = text.get(search_from..).and_then(|rest| rest.find("://")) {
        let start = search_from + found + 3;
        let rest = text.get(start..).unwrap_or_default();
        let ends = |c: char| c.is_whitespace() || c.is_control() || "\"'<>`\\{}|".contains(c);
        let url = rest.get(..rest.find(ends).unwrap_or(rest.len())).unwrap_or_default();
        // Another URL may begin within this one.
        let url = match url.find("://") {
            Some(next) => {
                url.get(..next).unwrap_or_default().trim_end_matches(|c: char| c.is_ascii_alphanumeric() || c == '+')
            }
            None => url,
        };
        let before = text.get(..search_from + found).unwrap_or_default();
        let scheme = before.rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '+').next().unwrap_or_default();
        search_from = start + url.len();
        let Some(redacted_url) = redacted_url(scheme, url) else { continue };
        redacted.push_str(text.get(copied..start).unwrap_or_default());
        redacted.push_str(&redacted_url);
        copied = search_from;
    }
    (copied > 0).then(|| redacted + text.get(copied..).unwrap_or_default())
}

/// Returns the redacted URL without its scheme; `None` if it contains no credential or is presigned.
fn redacted_url(scheme: &str, url: &str) -> Option<String> {
    let is_known = SCHEMES.iter().any(|known| known.eq_ignore_ascii_case(scheme));
    if ["X-Amz-Signature=", "X-Goog-Signature="].iter().any(|signature| url.contains(signature)) {
        return None;
    }
    let authority = url.get(..url.find(['/', '?', '#']).unwrap_or(url.len()))?;
    let (has_user, host) = match authority.rsplit_once('@') {
        // With an unknown scheme the text may not be a URL, so both a name and a password are required.
        Some((user, host))
            if !user.is_empty() && user != REDACTED && (is_known || is_name_and_password(scheme, user)) =>
        {
            (true, host)
        }
        _ => (false, authority),
    };
    let rest = url.get(authority.len()..)?;
    let (before, fragment) = rest.split_once('#').map_or((rest, None), |(rest, fragment)| (rest, Some(fragment)));
    let (path, query) = before.split_once('?').map_or((before, None), |(path, query)| (path, Some(query)));
    let mut has_credential = has_user;
    let parameters = query.map(|query| {
        let parameter = |parameter: &str| match parameter.split_once('=') {
            Some((name, value))
                if is_known && !value.is_empty() && value != REDACTED && is_credential_in_query(name) =>
            {
                has_credential = true;
                format!("{name}={REDACTED}")
            }
            _ => parameter.to_owned(),
        };
        query.split('&').map(parameter).collect::<Vec<_>>().join("&")
    });
    if !has_credential {
        return None;
    }
    let user = if has_user { format!("{REDACTED}@") } else { String::new() };
    let query = parameters.map(|parameters| format!("?{parameters}")).unwrap_or_default();
    let fragment = fragment.map(|fragment| format!("#{fragment}")).unwrap_or_default();
    Some(format!("{user}{}{path}{query}{fragment}", if has_user { host } else { authority }))
}

fn is_name_and_password(scheme: &str, user: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._~%!$&'()*+,;=:".contains(c);
    scheme.len() > 1
        && user.split_once(':').is_some_and(|(_, password)| !password.is_empty())
        && user.chars().all(is_plain)
}
