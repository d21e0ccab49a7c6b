//! Ends a turn: sends the last event, records the turn, and releases its key and slot.

use std::time::Duration;

use bytes::Bytes;
use gatehouse_ag_kit::Dialect;
use gatehouse_ag_kit::turn::End;
use gatehouse_inbox::store::claim::Completion;
use gatehouse_payload::{Outcome, Subject};
use gatehouse_receiver::log::milliseconds;
use gatehouse_receiver::log_outcome;
use gatehouse_receiver::{ProblemDocument, RequestId};
use tokio::time::{Instant, timeout_at};

use super::{Failure, ResponseHead, TurnRelay};
use crate::clean_up::CleanUp;
use crate::problem::ChatProblem;
use crate::record::{self, TurnResult};
use crate::{FUNCTION, MARGIN, RESERVE};

/// Time limit for recording the turn. The claim is settled after that.
const RECORD_TIMEOUT: Duration = Duration::from_millis(3500);
/// Longest time that the client's stream waits until the claim is settled and the slot is released.
const RELEASE_WAIT: Duration = Duration::from_secs(10);

impl TurnRelay {
    /// Sends an error event if the turn failed and the client was sent no terminal event. Records the turn, and ends
    /// the client's stream after that. Clean-up that DynamoDB does not accept is retried until the invocation ends.
    pub(super) async fn close(mut self, failure: Option<Failure>) {
        let (reason, problem) = failure.map(|failure| (failure.reason, failure.problem)).unzip();
        let was_head_sent = self.client.is_head_sent();
        let error_event = problem.as_ref().map(|problem| error_event(self.request.agent.dialect, problem));
        let error_event = error_event.filter(|_| !self.client.is_end_sent);
        if was_head_sent && let Some(error_event) = &error_event {
            self.client.stream.send_last(error_event.clone());
        }
        let end = match (self.agent.turn.end.take(), reason) {
            // The agent's terminal event was not sent, because the stream would have exceeded its limit.
            (Some(_), Some("too long")) if !self.client.is_end_sent => End::Failed("too long".to_owned()),
            (Some(end), _) => end,
            (None, reason) => End::Failed(reason.unwrap_or("cut").to_owned()),
        };
        let result = TurnResult {
            end,
            answer: std::mem::take(&mut self.agent.answer),
            received_bytes: self.agent.received_bytes,
            sent_bytes: self.client.stream.sent_bytes,
            events: self.agent.turn.events,
            odd_events: self.agent.turn.odd,
            is_utf8: self.agent.is_utf8,
            first_event_ms: self.agent.first_event.map(milliseconds),
            duration: self.timers.started.elapsed(),
            client_left: self.client.stream.has_left,
            headers: std::mem::take(&mut self.client.headers),
        };
        let is_durable = self.record(&result).await;
        let completion = match (&result.end, is_durable) {
            (End::Failed(_), _) => Completion::Failed,
            (_, true) => Completion::Finished,
            (_, false) => Completion::Lost,
        };
        drop(result);
        let clean_up = CleanUp {
            claim: self.request.claim.take().map(|claim| (claim, completion)),
            slot: self.request.slot.take(),
            until: self.timers.until + RESERVE - MARGIN,
        };
        let mut clean_up = std::pin::pin!(clean_up.run(&self.state));
        let is_clean = timeout_at(Instant::now() + RELEASE_WAIT, &mut clean_up).await.is_ok();
        if let (Some(head), Some(problem)) = (self.client.head.take(), problem) {
            let is_late = head.send(ResponseHead::Failed(problem)).is_err();
            if is_late
                && !was_head_sent
                && let Some(error_event) = error_event
            {
                // The head was sent while the turn was being recorded.
                self.client.stream.send_last(error_event);
            }
        }
        drop(self.client);
        if !is_clean {
            clean_up.await;
        }
    }

    /// Records the turn. Returns whether the record is durable.
    async fn record(&self, result: &TurnResult) -> bool {
        let end = result.end.to_string();
        let TurnResult { first_event_ms, events, odd_events, received_bytes, sent_bytes, .. } = result;
        let (agent, client) = (&self.request.agent_id, &self.request.client.id);
        let (request_id, took) = (self.request.invocation.as_ref().map(RequestId::as_str), result.duration);
        let inbox = &self.state.inbox;
        let event = inbox.random.nonce().ok();
        let event = event.and_then(|nonce| record::event(&self.request, result, nonce, inbox.clock.now()));
        let Some(event) = event else {
            log_outcome!("turn", FUNCTION, Outcome::Unrecorded, took, request_id, agent, client, end);
            return false;
        };
        let event_id = event.id.as_str();
        let event_type = event.event_type.as_deref();
        let subject = event.subject.as_ref().map(Subject::as_str);
        let until = (self.timers.until + RECORD_TIMEOUT).min(Instant::now() + RECORD_TIMEOUT);
        let record = self.state.inbox.record(&event, until);
        let (outcome, error) = match tokio::join!(record, self.state.secrets.refresh_if_stale()).0 {
            Ok(receipt) => (receipt.outcome, receipt.error.map(|error| error.to_string())),
            Err(error) => (Outcome::Unrecorded, Some(error.to_string())),
        };
        log_outcome!(
            "turn",
            FUNCTION,
            outcome,
            took,
            request_id,
            event_type,
            event_id,
            subject,
            agent,
            client,
            end,
            first_event_ms,
            events,
            odd_events,
            received_bytes,
            sent_bytes,
            error,
        );
        outcome != Outcome::Unrecorded
    }
}

/// Returns the error event, in the agent's dialect, for a client whose answer is incomplete.
fn error_event(dialect: Dialect, problem: &ChatProblem) -> Bytes {
    let ProblemDocument { slug: code, detail: message, .. } = problem.document();
    let event = match dialect {
        Dialect::AgKit => serde_json::json!({"type": "error", "error": message, "code": code}),
        Dialect::AgUi => serde_json::json!({"type": "RUN_ERROR", "message": message, "code": code}),
    };
    Bytes::from(format!("data: {event}\n\n"))
}
