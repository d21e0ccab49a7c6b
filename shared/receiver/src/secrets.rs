//! Caches one part of the secrets document: where the document comes from, and when it is loaded again.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_config::SdkConfig;
use aws_sdk_secretsmanager::Client;
use gatehouse_payload::time::Timestamp;
use gatehouse_runtime::Clock;
use gatehouse_runtime::aws::{CallLimits, error_code};
use gatehouse_vendor::{PartSpec, SecretsDocument, SecretsPart, UnreadableSecrets};

/// Time limit of one request to Secrets Manager.
const CALL_LIMIT: Duration = Duration::from_millis(1500);
/// Age at which the document is refreshed while an event is recorded, in seconds.
const REFRESH_AFTER: i64 = 300;
/// Age at which the document is refreshed before it verifies anything, in seconds. A secret may have been revoked while
/// the instance was suspended.
const MAX_AGE: i64 = 900;
/// Minimum time between two loads, in seconds.
const LOAD_COOLDOWN: i64 = 30;
/// Minimum time between two loads while there is no document, in seconds: short enough to recover soon.
const EMPTY_COOLDOWN: i64 = 5;

/// A cache of one part of the secrets document, read into `P`.
#[derive(Debug)]
pub struct SecretsCache<P> {
    part: PartSpec,
    origin: Origin,
    development: bool,
    /// Age at which the document is loaded again before it is used, in seconds.
    max_age: i64,
    clock: Clock,
    state: Mutex<State<P>>,
    /// Held during a load. Concurrent calls that need the result wait for it.
    load_lock: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
enum Origin {
    /// A document that never changes, such as the variable `GATEHOUSE_SECRETS`.
    Fixed,
    /// A file, which is loaded again whenever it changes. For `gatehouse dev`.
    File(PathBuf),
    /// A secret in Secrets Manager.
    Manager { client: Client, arn: String },
}

#[derive(Debug)]
struct State<P> {
    secrets: Option<Arc<P>>,
    /// Whether a value of the part is not usable.
    has_defects: bool,
    /// Start of the last successful load.
    loaded_at: Option<Timestamp>,
    /// Start of the last load, even if it failed.
    tried_at: Option<Timestamp>,
    /// The time and the length of the file when it was last loaded, even if that failed.
    file: Option<(SystemTime, u64)>,
}

/// The result of reloading the secrets after a failed verification.
#[derive(Debug)]
pub enum Refresh<P> {
    /// The document was reloaded. Verify with these secrets.
    New(Arc<P>),
    /// The document was loaded within the last 30 s, or never changes. Verifying again cannot succeed.
    Unchanged,
    /// The document could not be loaded. The secret may have been rotated.
    Unavailable,
}

impl<P> Default for State<P> {
    fn default() -> Self {
        State { secrets: None, has_defects: false, loaded_at: None, tried_at: None, file: None }
    }
}

impl<P: SecretsPart> SecretsCache<P> {
    /// Creates a cache with the secrets of `document`, which never change.
    ///
    /// # Errors
    /// If the document is not a JSON object.
    pub fn fixed(part: PartSpec, document: &str, development: bool, clock: Clock) -> Result<Self, UnreadableSecrets> {
        let (secrets, has_defects) = read(&part, document, development)?;
        let state = State { secrets: Some(Arc::new(secrets)), has_defects, ..State::default() };
        Ok(Self::new(part, Origin::Fixed, development, clock, state))
    }

    /// Creates a cache of the document in a file, for development. The file is loaded again whenever it changes. An
    /// unreadable file does not replace a usable one.
    #[must_use]
    pub fn file(part: PartSpec, path: PathBuf, clock: Clock) -> Self {
        Self::new(part, Origin::File(path), true, clock, State::default())
    }

    /// Creates a cache without secrets. The response to every delivery is then 503.
    #[must_use]
    pub fn closed(part: PartSpec, clock: Clock) -> Self {
        Self::new(part, Origin::Fixed, false, clock, State::default())
    }

    /// Creates a cache of a secret in Secrets Manager. Does not load it yet.
    #[must_use]
    pub fn manager(part: PartSpec, sdk: &SdkConfig, arn: String, development: bool, clock: Clock) -> Self {
        let limits = CallLimits::within(CALL_LIMIT);
        let config = aws_sdk_secretsmanager::config::Builder::from(sdk)
            .timeout_config(limits.timeouts())
            .retry_config(limits.retries())
            .build();
        let origin = Origin::Manager { client: Client::from_conf(config), arn };
        Self::new(part, origin, development, clock, State::default())
    }

    /// Creates a cache of the secret at `SECRETS_ARN`, or of the document in `GATEHOUSE_SECRETS`. Without either, or if
    /// `GATEHOUSE_SECRETS` cannot be read, every delivery is answered with 503, and senders retry.
    #[must_use]
    pub fn from_env(part: PartSpec, sdk: &SdkConfig, get: &dyn Fn(&str) -> Option<String>, clock: Clock) -> Self {
        // `sam local` sets the variable; a deployed function never has it.
        let development = get("AWS_SAM_LOCAL").is_some_and(|value| value == "true");
        if let Some(arn) = get("SECRETS_ARN").filter(|arn| !arn.is_empty()) {
            return Self::manager(part, sdk, arn, development, clock);
        }
        let development_document = || development.then(|| format!("{{\"{}\":{}}}", part.name, part.development));
        let Some(document) = get("GATEHOUSE_SECRETS").or_else(development_document) else {
            tracing::error!("neither SECRETS_ARN nor GATEHOUSE_SECRETS is set: every delivery is answered with 503");
            return Self::closed(part, clock);
        };
        Self::fixed(part, &document, development, clock.clone()).unwrap_or_else(|error| {
            tracing::error!(%error, "GATEHOUSE_SECRETS is not usable: every delivery is answered with 503");
            Self::closed(part, clock)
        })
    }

    fn new(part: PartSpec, origin: Origin, development: bool, clock: Clock, state: State<P>) -> Self {
        let load_lock = tokio::sync::Mutex::default();
        SecretsCache { part, origin, development, max_age: MAX_AGE, clock, state: Mutex::new(state), load_lock }
    }

    /// Loads the document again when it is this old, in seconds, instead of after 15 minutes.
    #[must_use]
    pub fn with_max_age(self, seconds: i64) -> Self {
        SecretsCache { max_age: seconds, ..self }
    }

    /// Returns the secrets. Loads them first if there are none yet, or if they are older than 15 minutes or the age that
    /// was set. `None` if there are none.
    pub async fn get(&self) -> Option<Arc<P>> {
        if let Origin::File(path) = &self.origin {
            self.load_if_changed(path);
        }
        let is_too_old = || self.age().is_some_and(|age| age >= self.max_age);
        if let Some(secrets) = self.cached()
            && !is_too_old()
        {
            return Some(secrets);
        }
        let _guard = self.load_lock.lock().await;
        // Another call may have loaded them in the meantime.
        let cached = self.cached();
        let is_due =
            if cached.is_some() { is_too_old() && self.may_load(LOAD_COOLDOWN) } else { self.may_load(EMPTY_COOLDOWN) };
        if is_due { self.load().await.or(cached) } else { cached }
    }

    /// Refreshes the document if it is older than 5 minutes. Runs while an event is recorded, because a function
    /// does not run between requests. If the refresh fails, the old document stays in use.
    pub async fn refresh_if_stale(&self) {
        if self.age().is_some_and(|age| age >= REFRESH_AFTER)
            && let Ok(_guard) = self.load_lock.try_lock()
            && self.may_load(LOAD_COOLDOWN)
        {
            self.load().await;
        }
    }

    /// Reloads the document after a verification with `mismatched` failed, at most every 30 s.
    pub async fn refresh_after_mismatch(&self, mismatched: &Arc<P>) -> Refresh<P> {
        let _guard = self.load_lock.lock().await;
        match (self.cached(), self.age()) {
            // Another call has reloaded the document in the meantime.
            (Some(secrets), _) if !Arc::ptr_eq(&secrets, mismatched) => Refresh::New(secrets),
            // A fixed document has no age.
            (_, None) => Refresh::Unchanged,
            (_, Some(_)) if self.may_load(LOAD_COOLDOWN) => {
                self.load().await.map_or(Refresh::Unavailable, Refresh::New)
            }
            (_, Some(age)) if age > LOAD_COOLDOWN => Refresh::Unavailable,
            (_, Some(_)) => Refresh::Unchanged,
        }
    }

    /// Whether a value of the part is not usable. The log has the reasons.
    pub fn has_defects(&self) -> bool {
        self.with_state(|state| state.has_defects)
    }

    fn cached(&self) -> Option<Arc<P>> {
        self.with_state(|state| state.secrets.clone())
    }

    /// Returns the age of the document in seconds, or the maximum if the clock was set back. `None` for a fixed
    /// document.
    fn age(&self) -> Option<i64> {
        let now = self.clock.now().as_secs();
        let age = self.with_state(|state| state.loaded_at).map(|at| now - at.as_secs())?;
        Some(if age < 0 { i64::MAX } else { age })
    }

    /// Whether the last load began at least `cooldown` seconds ago.
    fn may_load(&self, cooldown: i64) -> bool {
        let now = self.clock.now().as_secs();
        self.with_state(|state| state.tried_at).is_none_or(|at| !(0..cooldown).contains(&(now - at.as_secs())))
    }

    fn load_if_changed(&self, path: &Path) {
        let found = std::fs::metadata(path).and_then(|found| Ok((found.modified()?, found.len()))).ok();
        if found.is_some() && found == self.with_state(|state| state.file) {
            return;
        }
        self.with_state(|state| state.file = found);
        let document = std::fs::read_to_string(path).map_err(|error| error.kind().to_string());
        let loaded = document
            .and_then(|document| read(&self.part, &document, self.development).map_err(|error| error.to_string()));
        match loaded {
            Ok((secrets, has_defects)) => self.with_state(|state| {
                state.secrets = Some(Arc::new(secrets));
                state.has_defects = has_defects;
            }),
            Err(error) => tracing::error!(part = self.part.name, error, "the secrets file is not usable"),
        }
    }

    async fn load(&self) -> Option<Arc<P>> {
        let Origin::Manager { client, arn } = &self.origin else { return None };
        let now = self.clock.now();
        self.with_state(|state| state.tried_at = Some(now));
        let response = match client.get_secret_value().secret_id(arn).send().await {
            Ok(response) => response,
            Err(error) => {
                tracing::error!(error = error_code(&error), "the secrets could not be loaded");
                return None;
            }
        };
        match read(&self.part, response.secret_string().unwrap_or_default(), self.development) {
            Ok((secrets, has_defects)) => {
                let secrets = Arc::new(secrets);
                self.with_state(|state| {
                    state.secrets = Some(Arc::clone(&secrets));
                    state.has_defects = has_defects;
                    state.loaded_at = Some(now);
                });
                Some(secrets)
            }
            // An unreadable document does not replace a usable one.
            Err(error) => {
                tracing::error!(error = %error, "the secrets document is not usable");
                None
            }
        }
    }

    fn with_state<T>(&self, f: impl FnOnce(&mut State<P>) -> T) -> T {
        // A poisoned lock can be ignored, because the state is consistent after every assignment.
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Reads a part of the document, and whether it has defects, which are logged.
fn read<P: SecretsPart>(part: &PartSpec, document: &str, development: bool) -> Result<(P, bool), UnreadableSecrets> {
    let (secrets, defects) = SecretsDocument::parse(document, development)?.read(part);
    for defect in &defects {
        tracing::warn!(defect, "a part of the secrets document is not used");
    }
    Ok((secrets, !defects.is_empty()))
}
