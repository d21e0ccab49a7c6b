//! Recognizes members that contain credentials, by their names.
//!
//! The rules cover every credential in Vapi's OpenAPI document (`tests/fixtures/credentials/vapi.json` lists them, with
//! their source) and other common names of credentials. Ids, public keys, token counts and settings about credentials
//! are not redacted.

/// Names of credentials. All names are compared in lower case, without `-` and `_`.
const EXACT: [&str; 12] = [
    // A call's control URL is enough to speak in the call.
    "controlurl",
    "listenurl",
    "webcallurl",
    "webhookurl",
    "jwt",
    "authorization",
    "proxyauthorization",
    "cookie",
    "setcookie",
    "openaikey",
    "passwd",
    "pwd",
];
/// Words that occur in names of credentials.
const PARTS: [&str; 10] = [
    "secret",
    "password",
    "passphrase",
    "apikey",
    "privatekey",
    "accesskey",
    "subscriptionkey",
    "signingkey",
    "connectionstring",
    "clientassertion",
];
/// Endings of names with such a word that are not credentials: they describe a credential, or only sound like one.
const NOT_CREDENTIALS: [&str; 18] = [
    "id",
    "ids",
    "isbase64",
    "enabled",
    "header",
    "headers",
    "prefix",
    "encoding",
    "plan",
    "name",
    "type",
    "count",
    "limit",
    "length",
    "hint",
    "secretary",
    "secretariat",
    "passwordless",
];
/// Key ids, which are one half of a credential.
const KEY_IDS: [&str; 2] = ["accesskeyid", "awsaccesskeyid"];
/// Names of objects that only contain credentials and their descriptions.
const HOLDERS: [&str; 9] = [
    "credential",
    "credentials",
    "authentication",
    "authenticationplan",
    "authenticationsession",
    "outboundauthenticationplan",
    "inboundauthenticationplan",
    "auth",
    "basicauth",
];
/// Names of credentials within those objects.
const IN_HOLDERS: [&str; 7] = ["key", "value", "pass", "pin", "code", "bearer", "pem"];
/// Names of objects whose `headers` the user configures, so that they may contain credentials.
const HEADER_HOLDERS: [&str; 5] = ["server", "model", "voice", "transcriber", "tool"];

/// Whether the value of a member is a credential. `holder` is the name of the member that contains the member's object.
pub(super) fn is_credential(name: &str, holder: &dyn Fn() -> String) -> bool {
    let name = normalized(name);
    let name = name.as_str();
    if EXACT.contains(&name) || KEY_IDS.contains(&name) {
        true
    } else if name == "secret" {
        // Vapi's older server objects have a `secret`. Directly in a message it is not a credential.
        !["message", ""].contains(&holder().as_str())
    } else if name == "headers" {
        HEADER_HOLDERS.contains(&normalized(&holder()).as_str())
    } else if IN_HOLDERS.contains(&name) {
        HOLDERS.contains(&normalized(&holder()).as_str())
    } else if name.ends_with("token") {
        // `tokens` and `tokenCount`, which are numbers, do not end with `token`.
        true
    } else {
        PARTS.iter().any(|part| name.contains(part)) && !NOT_CREDENTIALS.iter().any(|end| name.ends_with(end))
    }
}

/// Whether a parameter of a URL's query is a credential.
pub(super) fn is_credential_in_query(name: &str) -> bool {
    let normalized = normalized(name);
    ["key", "sig", "signature", "auth", "code", "pass"].contains(&normalized.as_str())
        || is_credential(name, &|| "query".to_owned())
}

fn normalized(name: &str) -> String {
    let mut normalized = name.to_lowercase();
    normalized.retain(|c| !matches!(c, '-' | '_'));
    normalized
}
