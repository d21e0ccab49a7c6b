//! Sends the demo's deliveries, reads the table, counts the checks and prints the results.

use std::time::Duration;

use gatehouse_ada::Ada;
use gatehouse_agntix::Agntix;
use gatehouse_inbox::Store;
use gatehouse_inbox::store::Record;
use gatehouse_local::{Answer, Delivery, Error, Testbed};
use gatehouse_payload::time::Timestamp;
use gatehouse_payload::{EventId, Subject};
use gatehouse_runtime::Clock;
use gatehouse_vapi::Vapi;
use gatehouse_vendor::Source;
use gatehouse_vendors::Secrets;
use serde_json::Value;

use crate::shell::write;

/// Time limit for an event on the retry queue to be recorded.
const RECORD_TIMEOUT: Duration = Duration::from_secs(10);

/// Counts of a step's deliveries and checks.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Tally {
    pub(crate) deliveries: usize,
    pub(crate) checks: usize,
    pub(crate) failed: usize,
}

pub(crate) struct Scene {
    pub(crate) stack: Testbed,
    /// The secrets document that deliveries are signed with.
    pub(crate) document: String,
    /// The word that is put into every payload, header and secret.
    pub(crate) sentinel: Option<String>,
    secrets: Secrets,
    store: Store,
    is_sabotaged: bool,
    tally: Tally,
    /// The first error of standard output.
    output: Result<(), Error>,
}

impl Scene {
    pub(crate) fn new(stack: Testbed, document: String, sentinel: Option<String>) -> Result<Self, Error> {
        let (store, secrets) = (stack.store(), Secrets::parse(&document, true)?);
        let (tally, output) = (Tally::default(), Ok(()));
        Ok(Scene { stack, document, sentinel, secrets, store, is_sabotaged: false, tally, output })
    }

    /// Prints a line. After an error, it prints nothing.
    pub(crate) fn say(&mut self, line: &str) {
        if self.output.is_ok() {
            self.output = write(&format!("{line}\n"));
        }
    }

    /// Builds a delivery of Ada, signed at the current time.
    pub(crate) fn ada(&self, message_id: &str, body: impl Into<String>) -> Result<Delivery, Error> {
        self.ada_at(message_id, body, Self::now())
    }

    /// Builds a delivery of Ada, signed at `at`.
    pub(crate) fn ada_at(&self, message_id: &str, body: impl Into<String>, at: Timestamp) -> Result<Delivery, Error> {
        self.signed(&Ada, message_id, body.into(), at)
    }

    /// Builds a delivery of agntix, signed at the current time.
    pub(crate) fn agntix(&self, message_id: &str, body: impl Into<String>) -> Result<Delivery, Error> {
        self.signed(&Agntix, message_id, body.into(), Self::now())
    }

    /// Builds a message of Vapi with its token.
    pub(crate) fn vapi(&self, source: Vapi, body: impl Into<String>) -> Result<Delivery, Error> {
        self.signed(&source, "", body.into(), Self::now())
    }

    fn signed(
        &self,
        source: &dyn Source,
        message_id: &str,
        mut body: String,
        at: Timestamp,
    ) -> Result<Delivery, Error> {
        if let (Some(sentinel), Some(rest)) = (&self.sentinel, body.strip_prefix('{')) {
            body = format!("{{\"sentinel\":\"{sentinel}\",{rest}");
        }
        Ok(self.with_sentinel(Delivery::signed(source, &self.secrets, message_id, body, at)?))
    }

    /// Adds headers with the sentinel to a delivery.
    pub(crate) fn with_sentinel(&self, delivery: Delivery) -> Delivery {
        let Some(sentinel) = &self.sentinel else { return delivery };
        let add = |delivery: Delivery, name| delivery.with_header(name, &format!("{sentinel}-{name}"));
        ["user-agent", "cookie", "x-forwarded-for", "x-sentinel"].into_iter().fold(delivery, add)
    }

    pub(crate) fn begin_step(&mut self, n: usize, title: &str, is_sabotaged: bool) {
        (self.is_sabotaged, self.tally) = (is_sabotaged, Tally::default());
        self.say(&format!("\n{n:>2}. {title}{}", if is_sabotaged { "   [sabotaged]" } else { "" }));
    }

    /// Ends a step.
    ///
    /// # Errors
    /// If standard output could not be written.
    pub(crate) fn end_step(&mut self) -> Result<Tally, Error> {
        // The faults of a step must not affect the next one.
        self.stack.dynamodb.clear_rules();
        self.stack.sqs.clear_rules();
        std::mem::replace(&mut self.output, Ok(())).map(|()| self.tally)
    }

    pub(crate) fn now() -> Timestamp {
        Clock::System.now()
    }

    /// Sends a valid delivery. Sabotage removes its credentials.
    pub(crate) async fn send(&mut self, label: &str, delivery: &Delivery) -> Result<Answer, Error> {
        let delivery = if self.is_sabotaged { without_credentials(delivery) } else { delivery.clone() };
        let answer = delivery.send(&self.stack.url).await?;
        self.print(label, &answer);
        Ok(answer)
    }

    /// Sends one delivery `n` times concurrently.
    pub(crate) async fn send_at_once(
        &mut self,
        label: &str,
        delivery: &Delivery,
        n: usize,
    ) -> Result<Vec<Answer>, Error> {
        let delivery = if self.is_sabotaged { without_credentials(delivery) } else { delivery.clone() };
        let answers = futures_util::future::try_join_all((0..n).map(|_| delivery.send(&self.stack.url))).await?;
        for answer in &answers {
            self.print(label, answer);
        }
        Ok(answers)
    }

    /// Sends a delivery and expects `status` and a problem document whose detail contains `detail_part`. Sabotage
    /// sends a valid delivery instead.
    pub(crate) async fn refuse(
        &mut self,
        label: &str,
        delivery: &Delivery,
        status: u16,
        detail_part: &str,
    ) -> Result<(), Error> {
        let valid = self.ada("msg_demo_sabotage", gatehouse_ada::samples::END_USER_UPDATED)?;
        let answer = if self.is_sabotaged { &valid } else { delivery }.send(&self.stack.url).await?;
        self.print(label, &answer);
        let problem: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        let detail = problem["detail"].as_str().unwrap_or_default();
        self.say(&format!("      {detail}"));
        let is_problem = answer.header("content-type") == "application/problem+json" && problem["status"] == status;
        let is_met = answer.status == status && is_problem && detail.contains(detail_part);
        self.expect(&format!("{status}, with a problem document that names {detail_part:?}"), is_met);
        Ok(())
    }

    fn print(&mut self, label: &str, answer: &Answer) {
        self.tally.deliveries += 1;
        self.say(&format!("    {label:<36} {} {:<11} {}", answer.status, answer.outcome(), answer.event_id()));
        if self.sentinel.is_some() {
            self.say(&format!("{:?}\n{}", answer.headers, answer.body.trim_end()));
        }
    }

    pub(crate) fn expect(&mut self, expectation: &str, is_met: bool) {
        self.tally.checks += 1;
        if is_met {
            self.say(&format!("      ✓ {expectation}"));
        } else {
            self.tally.failed += 1;
            self.say(&format!("      ✗ expected {expectation}"));
        }
    }

    pub(crate) fn expect_outcome(&mut self, answer: &Answer, outcome: &str) {
        self.expect(&format!("200 {outcome}"), answer.status == 200 && answer.outcome() == outcome);
    }

    /// Expects that the delivery was recorded as a new event with the same body.
    pub(crate) async fn expect_recorded(&mut self, answer: &Answer, delivery: &Delivery) -> Result<(), Error> {
        let record = self.record(answer.event_id()).await?;
        let has_body = record.is_some_and(|record| record.event.body == delivery.body);
        let is_recorded = answer.status == 200 && answer.outcome() == "recorded";
        self.expect("200 recorded, and the table holds the body byte for byte", is_recorded && has_body);
        Ok(())
    }

    /// Reads the record of an event from the table.
    pub(crate) async fn record(&self, event_id: &str) -> Result<Option<Record>, Error> {
        if event_id.is_empty() {
            return Ok(None);
        }
        Ok(self.store.get(&EventId::from_stored(event_id.to_owned()), Self::now()).await?)
    }

    /// Reads the record of a queued event, waiting until event-retry has recorded it.
    pub(crate) async fn record_by_retry(&self, event_id: &str) -> Result<Option<Record>, Error> {
        let mut batches = self.stack.batches.clone();
        let wait = async {
            loop {
                if let Some(record) = self.record(event_id).await? {
                    return Ok(Some(record));
                }
                batches.changed().await?;
            }
        };
        if event_id.is_empty() {
            Ok(None)
        } else {
            tokio::time::timeout(RECORD_TIMEOUT, wait).await.unwrap_or(Ok(None))
        }
    }

    pub(crate) async fn timeline(&self, subject: &str) -> Result<Vec<Record>, Error> {
        Ok(self.store.whole_timeline(&Subject::from_stored(subject.to_owned()), Self::now()).await?.records)
    }
}

fn without_credentials(delivery: &Delivery) -> Delivery {
    delivery.clone().without_header("authorization").without_header("svix-signature")
}
