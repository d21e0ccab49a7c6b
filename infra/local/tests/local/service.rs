//! The SQS under test: the embedded one. The in-memory SQS of `tests/memory` runs the same tests on its own service.

use gatehouse_local::engine::{DataDir, Engine, FREE};

/// A running SQS; it stops when dropped.
pub(super) struct Service(Engine);

impl Service {
    pub(super) async fn start() -> Service {
        Self::open(None).await
    }

    /// Starts the service in memory or in a data directory.
    pub(super) async fn open(data: Option<&DataDir>) -> Service {
        Service(Engine::sqs(FREE, data).await.unwrap())
    }

    pub(super) fn url(&self) -> String {
        self.0.url()
    }
}
