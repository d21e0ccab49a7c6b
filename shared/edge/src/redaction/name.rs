//! Which members hold credentials, by their names.
//!
//! The rules cover every credential in Vapi's OpenAPI document (`tests/fixtures/credentials/vapi.json` has them, with
//! their source) and what credentials are called elsewhere. Ids, public keys, token counts and settings about
//! credentials are not credentials.

/// Names that are credentials as a whole. All names are compared in small letters, without `-` and `_`.
const WHOLE: [&str; 12] = [
    // With a call's control URL anybody can speak in it.
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
/// Words at whose occurrence a name is one.
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
/// Ends of names that tell something about a credential, or hold what only sounds like one.
const ABOUT: [&str; 18] = [
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
/// Ids that are half of a credential.
const KEY_IDS: [&str; 2] = ["accesskeyid", "awsaccesskeyid"];
/// Names of objects that contain only credentials and their descriptions.
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
/// Names that are credentials there.
const HELD: [&str; 7] = ["key", "value", "pass", "pin", "code", "bearer", "pem"];
/// What holds headers that its owner has set.
const SENDERS: [&str; 5] = ["server", "model", "voice", "transcriber", "tool"];

/// Whether the value of a member is a credential, by the name of the member that holds its object.
pub(super) fn is_credential(name: &str, holder: &dyn Fn() -> String) -> bool {
    let name = plain(name);
    let name = name.as_str();
    if WHOLE.contains(&name) || KEY_IDS.contains(&name) {
        return true;
    }
    match name {
        // Vapi's older server objects; elsewhere in a message it is a word like any other.
        "secret" => !["message", ""].contains(&holder().as_str()),
        "headers" => SENDERS.contains(&plain(&holder()).as_str()),
        _ if HELD.contains(&name) => HOLDERS.contains(&plain(&holder()).as_str()),
        // `tokens`, `tokenCount` and the like are numbers of words.
        _ if name.ends_with("token") => true,
        _ => PARTS.iter().any(|part| name.contains(part)) && !ABOUT.iter().any(|end| name.ends_with(end)),
    }
}

/// Whether a member of a URL's query is a credential.
pub(super) fn is_credential_in_query(name: &str) -> bool {
    let plain = plain(name);
    ["key", "sig", "signature", "auth", "code", "pass"].contains(&plain.as_str())
        || is_credential(name, &|| "query".to_owned())
}

fn plain(name: &str) -> String {
    let mut plain = name.to_lowercase();
    plain.retain(|c| !matches!(c, '-' | '_'));
    plain
}
