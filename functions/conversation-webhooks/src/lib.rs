//! `POST /`: receives Ada's conversation, end-user and audit-log webhooks.

use bytes::Bytes;
use gatehouse_ada::Ada;
use gatehouse_receiver::{Deadline, Receiver};
use http::{Request, Response};

/// The vendor that calls the function.
pub const VENDOR: Ada = Ada;

/// The state that an instance keeps between requests.
pub type State = Receiver<Ada>;

/// Handles one delivery. The response is `{"status": …, "event_id": …}`, or a problem document.
pub async fn handle(request: Request<Bytes>, state: &State, deadline: Deadline) -> Response<String> {
    state.receive(request, deadline).await
}
