//! Releases the claim and the slot of a turn or of a rejected request. Retries until the invocation ends, so that both
//! are free as soon as DynamoDB is available again.

use std::time::Duration;

use gatehouse_inbox::StoreError;
use gatehouse_inbox::store::claim::{Claim, Completion};
use gatehouse_inbox::store::slots::Slot;
use tokio::time::{Instant, sleep, timeout_at};

use crate::State;

/// Pause before the first retry. Each later pause is 1.5 times as long.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// Longest pause between two attempts.
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// The writes to DynamoDB that release a claim and a slot.
#[derive(Debug)]
pub(crate) struct CleanUp {
    /// A claim to settle, with its completion.
    pub(crate) claim: Option<(Claim, Completion)>,
    /// A slot to release.
    pub(crate) slot: Option<Slot>,
    /// Deadline of the retries. After it, the claim's lease and the slot expire on their own.
    pub(crate) until: Instant,
}

impl CleanUp {
    /// Runs until everything is done or the deadline has passed.
    pub(crate) async fn run(self, state: &State) {
        let store = &state.inbox.store;
        let settle = async {
            if let Some((claim, completion)) = &self.claim {
                let attempt = || async { store.settle(claim, *completion, state.clock().now()).await.map(drop) };
                self.retry("the claim could not be settled; its lease will expire", attempt).await;
            }
        };
        let release = async {
            if let Some(slot) = &self.slot {
                self.retry("the slot could not be released; it will expire", || store.release_slot(slot)).await;
            }
        };
        tokio::join!(settle, release);
    }

    /// Retries transient errors. Logs `warning` if no attempt succeeds.
    async fn retry<F: Future<Output = Result<(), StoreError>>>(&self, warning: &str, attempt: impl Fn() -> F) {
        let attempts = async {
            let mut pause = FIRST_PAUSE;
            loop {
                match attempt().await {
                    Ok(()) => return Ok(()),
                    Err(error) if !error.is_transient() || Instant::now() + pause >= self.until => return Err(error),
                    Err(_) => sleep(pause).await,
                }
                pause = (pause * 3 / 2).min(MAX_PAUSE);
            }
        };
        let timed_out = |_| Err(StoreError::Transient { operation: "UpdateItem", code: "out of time".to_owned() });
        if let Err(error) = timeout_at(self.until, attempts).await.unwrap_or_else(timed_out) {
            tracing::warn!(error = error.to_string(), "{warning}");
        }
    }
}
