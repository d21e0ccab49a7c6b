//! Tasks that outlive their request: turns, and clean-up that is tried again.

use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The tasks of an instance. An invocation is not over before they have ended.
#[derive(Debug, Clone)]
pub struct Turns(watch::Sender<usize>);

impl Turns {
    /// No tasks yet.
    #[must_use]
    pub fn new() -> Self {
        Turns(watch::Sender::new(0))
    }

    /// Runs a task that nothing but the process' end stops.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        self.0.send_modify(|running| *running += 1);
        let running = Running(self.0.clone());
        tokio::spawn(async move {
            work.await;
            drop(running);
        })
    }

    /// Number of tasks that run.
    #[must_use]
    pub fn running(&self) -> usize {
        *self.0.borrow()
    }

    /// Waits until no task runs.
    pub async fn ended(&self) {
        // The sender is here, so that the wait cannot fail.
        let _ = self.0.subscribe().wait_for(|running| *running == 0).await;
    }
}

impl Default for Turns {
    fn default() -> Self {
        Self::new()
    }
}

/// Counts as one task, also when the task panics.
struct Running(watch::Sender<usize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.send_modify(|running| *running -= 1);
    }
}
