//! Clean-up after a turn or a refused request: it is tried again for as long as the invocation lasts, so that a key or
//! a slot is free as soon as DynamoDB answers again.

use std::time::Duration;

use gatehouse_inbox::StoreError;
use gatehouse_inbox::store::claim::{Claim, Completion};
use gatehouse_inbox::store::slots::Slot;
use tokio::time::{Instant, sleep, timeout_at};

use crate::State;

/// Pauses between attempts: the first, and the longest. Each is half as long again as the one before.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(1));

/// What is left to be done in DynamoDB.
#[derive(Debug)]
pub(crate) struct CleanUp {
    /// A claim, and what came of it.
    pub(crate) claim: Option<(Claim, Completion)>,
    /// A slot to be freed.
    pub(crate) slot: Option<Slot>,
    /// Deadline of the retries. After it, the claim's lease and the slot expire by themselves.
    pub(crate) until: Instant,
}

impl CleanUp {
    /// Tries until everything is done or the time is over.
    pub(crate) async fn run(self, state: &State) {
        let store = &state.inbox.store;
        let settle = async {
            if let Some((claim, settled)) = &self.claim {
                let settling = || async { store.settle(claim, *settled, state.clock().now()).await.map(drop) };
                self.again("the claim could not be settled; its lease expires by itself", settling).await;
            }
        };
        let free = async {
            if let Some(slot) = &self.slot {
                self.again("the slot could not be freed; it expires by itself", || store.free_slot(slot)).await;
            }
        };
        tokio::join!(settle, free);
    }

    async fn again<F: Future<Output = Result<(), StoreError>>>(&self, given_up: &str, attempt: impl Fn() -> F) {
        let trying = async {
            let mut pause = PAUSES.0;
            loop {
                match attempt().await {
                    Ok(()) => return Ok(()),
                    Err(error) if !error.is_transient() || Instant::now() + pause >= self.until => return Err(error),
                    Err(_) => sleep(pause).await,
                }
                pause = (pause * 3 / 2).min(PAUSES.1);
            }
        };
        let late = |_| Err(StoreError::Transient { operation: "UpdateItem", code: "out of time".to_owned() });
        if let Err(error) = timeout_at(self.until, trying).await.unwrap_or_else(late) {
            tracing::warn!(error = error.to_string(), "{given_up}");
        }
    }
}
