//! The DynamoDB that the tests run on: the embedded one.

pub(crate) use gatehouse_local::Engine;
use gatehouse_local::engine::FREE;

/// Starts an empty DynamoDB.
pub(crate) async fn start() -> Engine {
    Engine::dynamodb(FREE, None).await.unwrap()
}
