//! The end of a turn: its last word, its record, its key and slot.

use std::time::Duration;

use bytes::Bytes;
use gatehouse_edge::{Problem, RequestId};
use gatehouse_inbox::store::claim::Completion;
use gatehouse_payload::ag_kit::Dialect;
use gatehouse_payload::ag_kit::turn::End;
use tokio::time::{Instant, timeout_at};

use super::{Failure, ResponseHead, TurnRelay};
use crate::clean_up::CleanUp;
use crate::record::{self, Outcome};
use crate::{MARGIN, RESERVE, millis};

const UNRECORDED: &str = gatehouse_inbox::Outcome::Unrecorded.as_str();
/// What recording may take. The claim is settled after it.
const RECORD: Duration = Duration::from_millis(3500);
/// How long the client's stream waits for the claim to be settled and the slot to be freed.
const SETTLE: Duration = Duration::from_secs(10);

impl TurnRelay {
    /// Sends the error event, where the agent sent no terminal one; records the turn; and only then ends the client's
    /// stream. Clean-up that DynamoDB does not take goes on until the invocation ends.
    pub(super) async fn close(mut self, failure: Option<Failure>) {
        let (why, problem) = failure.map(|failure| (failure.why, failure.problem)).unzip();
        let is_answered = self.is_answered();
        let last_word = problem.as_ref().map(|problem| terminal(self.asked.agent.dialect, problem));
        let last_word = last_word.filter(|_| !self.end_is_sent);
        if let (true, Some(last_word)) = (is_answered, &last_word) {
            self.client.send_last(last_word.clone());
        }
        let end = match (self.turn.end.take(), why) {
            // The stream's limit kept the agent's terminal event from the client.
            (Some(_), Some("too long")) if !self.end_is_sent => End::Failed("too long".to_owned()),
            (Some(end), _) => end,
            (None, why) => End::Failed(why.unwrap_or("cut").to_owned()),
        };
        let outcome = Outcome {
            end,
            answer: std::mem::take(&mut self.answer),
            received_bytes: self.received,
            sent_bytes: self.client.sent,
            events: self.turn.events,
            odd_events: self.turn.odd,
            is_utf8: self.is_utf8,
            first_event_ms: self.first_event.map(millis),
            duration_ms: millis(self.began.elapsed()),
            client_left: self.client.has_left,
            headers: std::mem::take(&mut self.headers),
        };
        let is_durable = self.record(&outcome).await;
        let settled = match (&outcome.end, is_durable) {
            (End::Failed(_), _) => Completion::Failed,
            (_, true) => Completion::Finished,
            (_, false) => Completion::Lost,
        };
        drop(outcome);
        let clean_up = CleanUp {
            claim: self.asked.claim.take().map(|claim| (claim, settled)),
            slot: self.asked.slot.take(),
            until: self.until + RESERVE - MARGIN,
        };
        let mut cleaning_up = std::pin::pin!(clean_up.run(&self.state));
        let is_clean = timeout_at(Instant::now() + SETTLE, &mut cleaning_up).await.is_ok();
        if let (Some(verdict), Some(problem)) = (self.verdict.take(), problem) {
            let is_late = verdict.send(ResponseHead::Refused(problem)).is_err();
            if let (true, false, Some(last_word)) = (is_late, is_answered, last_word) {
                // The status was sent while the turn was recorded.
                self.client.send_last(last_word);
            }
        }
        drop(self.client);
        if !is_clean {
            cleaning_up.await;
        }
    }

    /// Records the turn. Returns whether it is durable.
    async fn record(&self, outcome: &Outcome) -> bool {
        let end = outcome.end.to_string();
        let Outcome { first_event_ms, duration_ms: ms, events, odd_events, received_bytes, sent_bytes, .. } = outcome;
        let (agent, client, function) = (&self.asked.agent_id, &self.asked.client.id, crate::FUNCTION);
        let request_id = self.asked.invocation.as_ref().map(RequestId::as_str);
        let Some(event) = record::event(&self.asked, outcome, self.state.inbox.clock.now()) else {
            tracing::error!(function, request_id, outcome = UNRECORDED, agent, client, end, ms, "turn");
            return false;
        };
        let event_id = event.id.as_str();
        let until = (self.until + RECORD).min(Instant::now() + RECORD);
        let record = self.state.inbox.record(&event, until);
        match tokio::join!(record, self.state.secrets.refresh_if_stale()).0 {
            Ok(receipt) => {
                let (outcome, error) = (receipt.outcome.as_str(), receipt.error.map(|error| error.to_string()));
                tracing::info!(
                    function,
                    request_id,
                    event_id,
                    outcome,
                    agent,
                    client,
                    end,
                    first_event_ms,
                    ms,
                    events,
                    odd_events,
                    received_bytes,
                    sent_bytes,
                    error,
                    "turn"
                );
                true
            }
            Err(error) => {
                let error = error.to_string();
                tracing::error!(
                    function,
                    request_id,
                    event_id,
                    outcome = UNRECORDED,
                    agent,
                    client,
                    end,
                    ms,
                    error,
                    "turn"
                );
                false
            }
        }
    }
}

/// The event that tells the client, in its dialect, that the answer is incomplete.
fn terminal(dialect: Dialect, problem: &Problem) -> Bytes {
    let (message, code) = (problem.detail(), problem.slug());
    let event = match dialect {
        Dialect::AgKit => serde_json::json!({"type": "error", "error": message, "code": code}),
        Dialect::AgUi => serde_json::json!({"type": "RUN_ERROR", "message": message, "code": code}),
    };
    Bytes::from(format!("data: {event}\n\n"))
}
