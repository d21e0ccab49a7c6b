//! Where the document comes from, and when it is looked up again.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_secretsmanager::Client;
use gatehouse_inbox::Clock;
use gatehouse_inbox::aws::{CallLimits, code_of};
use gatehouse_payload::time::Timestamp;

use super::Secrets;

/// What one look-up may take.
const CALL_LIMIT: Duration = Duration::from_millis(1500);
/// From which age on the document is refreshed, alongside a record. In seconds.
const STALE: i64 = 300;
/// From which age on it is refreshed before anything is verified: an instance may have slept while a secret was
/// revoked. In seconds.
const TOO_OLD: i64 = 900;
/// How long a mismatch is not worth another look-up. In seconds.
const LOOK_AGAIN: i64 = 30;
/// The same while there is no document at all: soon enough to recover, and no flood of look-ups. In seconds.
const LOOK_FOR_ANY: i64 = 5;

/// Keeps the current secrets.
#[derive(Debug)]
pub struct SecretsCache {
    origin: Origin,
    development: bool,
    clock: Clock,
    state: Mutex<State>,
    /// Held during a look-up: whoever needs its answer waits for it instead of being refused or looking as well.
    look_up: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
enum Origin {
    /// The variable `GATEHOUSE_SECRETS`, read once.
    Fixed,
    /// A secret in Secrets Manager.
    Manager { client: Client, arn: String },
}

#[derive(Debug, Default)]
struct State {
    secrets: Option<Arc<Secrets>>,
    loaded_at: Option<Timestamp>,
    tried_at: Option<Timestamp>,
}

/// The result of reloading the secrets after a failed verification.
#[derive(Debug, Clone)]
pub enum Refresh {
    /// The document was reloaded. Verify with these secrets.
    New(Arc<Secrets>),
    /// The document was loaded within the last half minute. The verification failed for good.
    Unchanged,
    /// The document could not be loaded. The secret may have been rotated.
    Unavailable,
}

impl SecretsCache {
    /// Secrets that never change: those of `document`.
    ///
    /// # Errors
    /// When it is no JSON object.
    pub fn fixed(document: &str, development: bool, clock: Clock) -> Result<Self, super::UnreadableSecrets> {
        let secrets = Secrets::parse(document, development)?;
        name_defects(&secrets);
        let state = Mutex::new(State { secrets: Some(Arc::new(secrets)), ..State::default() });
        Ok(SecretsCache { origin: Origin::Fixed, development, clock, state, look_up: tokio::sync::Mutex::default() })
    }

    /// No secrets at all: every delivery is answered with 503.
    #[must_use]
    pub fn closed(clock: Clock) -> Self {
        let origin = Origin::Fixed;
        SecretsCache {
            origin,
            development: false,
            clock,
            state: Mutex::default(),
            look_up: tokio::sync::Mutex::default(),
        }
    }

    /// Secrets kept in Secrets Manager; nothing is looked up yet.
    #[must_use]
    pub fn manager(sdk: &SdkConfig, arn: String, development: bool, clock: Clock) -> Self {
        let limits = CallLimits::within(CALL_LIMIT);
        let config = aws_sdk_secretsmanager::config::Builder::from(sdk)
            .timeout_config(limits.timeouts())
            .retry_config(limits.retries())
            .build();
        let origin = Origin::Manager { client: Client::from_conf(config), arn };
        SecretsCache { origin, development, clock, state: Mutex::default(), look_up: tokio::sync::Mutex::default() }
    }

    /// The secrets, looked up if there are none yet or if they are too old. `None` when there are none.
    pub async fn get(&self) -> Option<Arc<Secrets>> {
        let too_old = || self.age().is_some_and(|age| age >= TOO_OLD);
        let kept = || self.state(|state| state.secrets.clone());
        if let Some(secrets) = kept()
            && !too_old()
        {
            return Some(secrets);
        }
        let _alone = self.look_up.lock().await;
        let kept = kept();
        let wanted = if kept.is_some() { too_old() && self.may_try(LOOK_AGAIN) } else { self.may_try(LOOK_FOR_ANY) };
        if wanted { self.load().await.or(kept) } else { kept }
    }

    /// Refreshes an old document; meant to run beside a record, since nothing runs between requests. A failure leaves
    /// the old one in use.
    pub async fn refresh_if_stale(&self) {
        if self.age().is_some_and(|age| age >= STALE)
            && let Ok(_alone) = self.look_up.try_lock()
            && self.may_try(LOOK_AGAIN)
        {
            self.load().await;
        }
    }

    /// Looks again after a mismatch with what [`SecretsCache::get`] gave, at most every half minute.
    pub async fn look_again(&self, mismatched: &Arc<Secrets>) -> Refresh {
        let _alone = self.look_up.lock().await;
        match (self.state(|state| state.secrets.clone()), self.age()) {
            // Somebody else has looked meanwhile.
            (Some(secrets), _) if !Arc::ptr_eq(&secrets, mismatched) => Refresh::New(secrets),
            // A fixed document has no age.
            (_, None) => Refresh::Unchanged,
            (_, Some(_)) if self.may_try(LOOK_AGAIN) => self.load().await.map_or(Refresh::Unavailable, Refresh::New),
            (_, Some(age)) if age > LOOK_AGAIN => Refresh::Unavailable,
            (_, Some(_)) => Refresh::Unchanged,
        }
    }

    /// How old the document is, in seconds; a clock set back makes it old.
    fn age(&self) -> Option<i64> {
        let now = self.clock.now().as_secs();
        let age = self.state(|state| state.loaded_at).map(|at| now - at.as_secs())?;
        Some(if age < 0 { i64::MAX } else { age })
    }

    /// Whether the last look-up is at least this many seconds ago.
    fn may_try(&self, pause: i64) -> bool {
        let now = self.clock.now().as_secs();
        self.state(|state| state.tried_at).is_none_or(|at| !(0..pause).contains(&(now - at.as_secs())))
    }

    async fn load(&self) -> Option<Arc<Secrets>> {
        let Origin::Manager { client, arn } = &self.origin else { return None };
        let now = self.clock.now();
        self.state(|state| state.tried_at = Some(now));
        let answer = match client.get_secret_value().secret_id(arn).send().await {
            Ok(answer) => answer,
            Err(error) => {
                tracing::error!(error = code_of(&error), "the secrets could not be looked up");
                return None;
            }
        };
        match Secrets::parse(answer.secret_string().unwrap_or_default(), self.development) {
            Ok(secrets) => {
                name_defects(&secrets);
                let secrets = Arc::new(secrets);
                self.state(|state| {
                    state.secrets = Some(Arc::clone(&secrets));
                    state.loaded_at = Some(now);
                });
                Some(secrets)
            }
            // It does not replace a good one.
            Err(error) => {
                tracing::error!(error = %error, "the secrets document is not usable");
                None
            }
        }
    }

    fn state<T>(&self, with: impl FnOnce(&mut State) -> T) -> T {
        // Nothing panics while holding the lock, and the state is whole at every moment anyway.
        with(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn name_defects(secrets: &Secrets) {
    for defect in &secrets.defects {
        tracing::warn!(defect, "a part of the secrets document is not used");
    }
}
