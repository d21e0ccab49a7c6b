//! `POST /`: receives Ada's conversation, end-user and audit-log webhooks.

use std::time::Duration;

use bytes::Bytes;
use gatehouse_ada::Ada;
use gatehouse_receiver::{Deadline, Receiver};
use http::{Request, Response};

/// The vendor that calls the function.
pub const VENDOR: Ada = Ada;
/// The function's timeout in the template.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// The state that an instance keeps between requests.
pub type State = Receiver<Ada>;

/// Handles one delivery. The response is `{"status": …, "event_id": …}`, or a problem document.
pub async fn handle(request: Request<Bytes>, state: &State, deadline: Deadline) -> Response<String> {
    state.receive(request, deadline).await
}
