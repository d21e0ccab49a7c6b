//! `POST /`: receives agntix' session webhooks.

use std::time::Duration;

use bytes::Bytes;
use gatehouse_edge::{Deadline, Endpoint, Receiver, Source};
use http::{Request, Response};

/// The function's path and the source of its requests.
pub const ENDPOINT: Endpoint = Endpoint { function: "session-lifecycle", paths: &["/"], source: Source::Agntix };
/// The function's timeout in the template.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// The state that an instance keeps between requests.
pub type State = Receiver;

/// Receives one delivery. Returns `{"status": …, "event_id": …}` or a problem document.
pub async fn handle(request: Request<Bytes>, state: &State, deadline: Deadline) -> Response<String> {
    state.receive(&ENDPOINT, request, deadline).await
}
