//! The replies of `gatehouse dev`: rules from a file, which is read again when it changes, or one service for all.

use std::path::{Path, PathBuf};
use std::time::Duration;

use gatehouse_local::{Error, Options};
use gatehouse_replies::{ControlHosts, Replies, Rules, ServiceAccess};
use gatehouse_runtime::aws::function_config;
use gatehouse_services::service::parse_url;
use gatehouse_services::{Client, PART};
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval};

use super::{DEVELOPMENT_REPLIES, DEVELOPMENT_REPLIES_FILE};
use crate::secrets::AllSecrets;
use crate::shell::read_text;

/// How often the rules file is checked for changes.
const CHECK_EVERY: Duration = Duration::from_millis(500);
/// The name of the service of `--answer`.
const ANSWER: &str = "answer";

/// The source of the replies to Vapi.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// The built-in rules.
    BuiltIn,
    /// The rules in a file.
    File(PathBuf),
    /// The service at a URL.
    Service(String),
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Source::BuiltIn => write!(f, "{DEVELOPMENT_REPLIES_FILE}, built in; --replies FILE uses another file"),
            Source::File(file) => write!(f, "{}, read again when it changes", file.display()),
            Source::Service(url) => write!(f, "by {url}, which is asked about every message"),
        }
    }
}

/// Returns the replies, with access to the services of the secrets document in `options`.
pub(super) fn replies(source: &Source, options: &Options) -> Result<Replies, Error> {
    let services = match source {
        Source::Service(url) => {
            parse_url(url).map_err(|defect| format!("--answer: the URL {defect}"))?;
            let document = json!({PART.name: {ANSWER: {"url": url}}}).to_string();
            Options { secrets: document, secrets_file: None, ..options.clone() }.secrets_cache(PART)?
        }
        Source::BuiltIn | Source::File(_) => options.secrets_cache(PART)?,
    };
    let client = Client::new(function_config(), options.clock.clone(), true)?;
    Ok(rules(source)?.with_services(ServiceAccess::new(client, services)))
}

/// Reads the rules, and logs warnings about them.
fn rules(source: &Source) -> Result<Replies, Error> {
    let (name, text) = match source {
        Source::BuiltIn => (DEVELOPMENT_REPLIES_FILE.to_owned(), DEVELOPMENT_REPLIES.to_owned()),
        Source::File(file) => (file.display().to_string(), read_text(file)?),
        Source::Service(_) => {
            // A server that was written for Vapi gets what Vapi sends.
            let rules = json!([{"when": {"type": "*"}, "ask": ANSWER, "unredacted": true}]);
            ("--answer".to_owned(), json!({"client": rules, "server": rules}).to_string())
        }
    };
    let rules = Rules::parse(&name, &text)?;
    for warning in rules.warnings() {
        tracing::warn!("{warning}");
    }
    // The built-in rules must not act on a real call when somebody replays a delivery of Vapi here.
    let hosts = if *source == Source::BuiltIn { ControlHosts::Loopback } else { ControlHosts::VapiAndLoopback };
    Ok(Replies::new(rules, hosts)?)
}

/// Logs the services that rules ask and that the secrets document lacks.
pub(super) fn warn_of_missing_services(source: &Source, secrets: &AllSecrets) -> Result<(), Error> {
    let Source::File(file) = source else { return Ok(()) };
    let rules = Rules::parse(&file.display().to_string(), &read_text(file)?)?;
    for (rule, service) in rules.questions().filter(|(_, service)| secrets.services.get(service).is_none()) {
        tracing::warn!("{}: {rule}: ask: the secrets document has no service {service}", file.display());
    }
    Ok(())
}

/// Replaces the rules of `replies` whenever their file changes. Rules with an error do not replace usable ones.
pub(super) async fn reload(file: PathBuf, replies: Replies) {
    let changed_at = |file: &Path| std::fs::metadata(file).and_then(|found| Ok((found.modified()?, found.len()))).ok();
    let mut seen = changed_at(&file);
    let mut ticks = interval(CHECK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let found = changed_at(&file);
        if found.is_none() || found == seen {
            continue;
        }
        seen = found;
        match rules(&Source::File(file.clone())) {
            Ok(new) => {
                replies.replace(&new);
                tracing::info!(file = %file.display(), "the rules are reloaded");
            }
            Err(error) => tracing::error!(%error, "the rules are not reloaded; the previous ones stay in use"),
        }
    }
}
