//! Tasks that outlive their request: turns and clean-up.

use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The running tasks of an instance. An invocation ends after all of them have ended.
#[derive(Debug, Clone)]
pub struct Turns(watch::Sender<usize>);

impl Turns {
    /// Creates an empty set of tasks.
    #[must_use]
    pub fn new() -> Self {
        Turns(watch::Sender::new(0))
    }

    /// Spawns a task. It runs to its end, unless the process ends first.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        self.0.send_modify(|running| *running += 1);
        let running = Running(self.0.clone());
        tokio::spawn(async move {
            work.await;
            drop(running);
        })
    }

    /// Returns the number of running tasks.
    #[must_use]
    pub fn running(&self) -> usize {
        *self.0.borrow()
    }

    /// Waits until no task is running.
    pub async fn ended(&self) {
        // Waiting fails only if the sender was dropped, and `self` holds it.
        let _ = self.0.subscribe().wait_for(|running| *running == 0).await;
    }
}

impl Default for Turns {
    fn default() -> Self {
        Self::new()
    }
}

/// Counts one task until it is dropped, which also happens when the task panics.
struct Running(watch::Sender<usize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.send_modify(|running| *running -= 1);
    }
}
