//! Asks services about an event: one copy of the event asks each service, and the others wait for its record.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use gatehouse_inbox::Store;
use gatehouse_inbox::store::ask::{AskClaim, AskOutcome, AskRequest, EarlierCopy, conflict_id};
use gatehouse_payload::Event;
use gatehouse_payload::time::Timestamp;
use gatehouse_receiver::responder::{Action, AskSummary};
use gatehouse_receiver::{Receiver, Redaction, Refresh, SecretsCache};
use gatehouse_runtime::Clock;
use gatehouse_services::question::message_id;
use gatehouse_services::{Client, Fault, PART, Question, Services};
use gatehouse_vapi::tool_calls;
use gatehouse_vendor::Vendor;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::answer::Kind;
use crate::decide::Notification;
use crate::message::VapiMessage;
use crate::rule::Ask;

/// Longest and shortest time limit of one request for a claim. If DynamoDB is slower, the service is asked without a
/// claim.
const CLAIM_LIMITS: [Duration; 2] = [Duration::from_millis(700), Duration::from_millis(100)];
/// The part of a question's time that a claim may take.
const CLAIM_SHARE: u32 = 4;
/// Added to the time limit of the decision for the lease of a claim: the time to record the answer.
const LEASE_RESERVE: Duration = Duration::from_secs(2);
/// How much longer than the decision may take a copy waits for the record of another one. It uses the time that is
/// reserved for recording, because it does not record.
const COPY_RESERVE: Duration = Duration::from_millis(1500);
/// The time below which a service is not asked.
const MIN_TIME: Duration = Duration::from_millis(100);
/// Pause before a copy looks for the record of another one again. Each further pause is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Longest such pause.
const MAX_PAUSE: Duration = Duration::from_millis(400);

/// The client for services, and their configuration.
#[derive(Debug)]
pub struct ServiceAccess {
    client: Client,
    services: SecretsCache<Services>,
}

/// The delivery about which services are asked.
#[derive(Debug, Clone, Copy)]
pub struct Delivery<'a> {
    /// The event.
    pub event: &'a Event,
    /// Redacts the body that services get.
    pub redaction: &'a Redaction,
    /// The table for claims; `None` if each copy may ask.
    pub store: Option<&'a Store>,
    /// The clock for leases.
    pub clock: &'a Clock,
    /// The time at which the reply must be decided.
    pub until: Instant,
}

impl<'a> Delivery<'a> {
    /// Creates the description of a delivery to `receiver`.
    #[must_use]
    pub fn new<V: Vendor>(event: &'a Event, receiver: &'a Receiver<V>, until: Instant) -> Self {
        // Without a record, other copies cannot find the answer, so no claim is written.
        let is_stored = !receiver.skip.excludes(event);
        Delivery {
            event,
            redaction: &receiver.redaction,
            store: is_stored.then_some(&receiver.inbox.store),
            clock: receiver.clock(),
            until,
        }
    }
}

/// Asks services about one delivery, and keeps the results for the log line.
pub struct Asker<'a> {
    session: Option<(&'a ServiceAccess, Delivery<'a>)>,
    log: Mutex<Log>,
}

impl fmt::Debug for Asker<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asker").finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Log {
    /// A word for the result of each service that was asked.
    results: BTreeMap<String, &'static str>,
    took: Duration,
    /// `none` or `taken`.
    claim: Option<&'static str>,
}

/// A question to a service.
#[derive(Debug, Clone, Default)]
pub(crate) struct ServiceQuestion {
    pub(crate) service: String,
    /// The ids and names of the tool calls that the question is about.
    pub(crate) calls: Option<Vec<(String, String)>>,
    within: Duration,
    once: bool,
    /// Whether the answer may change, so that a later copy asks again: whether a contact may be called.
    may_change: bool,
    unredacted: bool,
}

/// The result of asking.
pub(crate) enum Asked {
    /// The answer of each service in the order of the questions, or a fault without content.
    Answered(Vec<Result<Option<Bytes>, String>>),
    /// Another copy of the event was recorded.
    Recorded(EarlierCopy),
    /// Another copy of the event asks the services and was not recorded in time.
    Taken,
    /// There is no asker. Contains the name of a service.
    NoAsker(String),
}

enum Claimed {
    /// The question may be asked under the key of this record.
    Asks(String),
    Recorded(EarlierCopy),
    Taken,
}

impl ServiceQuestion {
    pub(crate) fn to(service: &str) -> Self {
        ServiceQuestion { service: service.to_owned(), ..ServiceQuestion::default() }
    }

    /// Adds the options of a rule that asks the service.
    pub(crate) fn add(&mut self, ask: &Ask, kind: Kind) {
        self.within = self.within.max(ask.within(kind));
        self.once |= ask.once;
        self.unredacted |= ask.unredacted;
        self.may_change |= kind == Kind::Predial;
    }
}

impl ServiceAccess {
    /// Creates the access to services from their client and their configuration.
    #[must_use]
    pub fn new(client: Client, services: SecretsCache<Services>) -> Self {
        ServiceAccess { client, services }
    }

    /// Builds the access of a function from its environment, and loads the configuration of the services.
    ///
    /// # Errors
    /// If the machine has no root certificates.
    pub async fn from_env(clock: Clock) -> std::io::Result<Self> {
        let get = |name: &str| std::env::var(name).ok();
        let sdk = gatehouse_runtime::aws::function_config();
        let services = SecretsCache::from_env(PART, &sdk, &get, clock.clone());
        services.get().await;
        Ok(Self::new(Client::new(sdk, clock, false)?, services))
    }

    /// Returns the configuration of the services.
    #[must_use]
    pub fn services(&self) -> &SecretsCache<Services> {
        &self.services
    }

    /// Asks a service. A service that is not known may have been added since the secrets were loaded.
    async fn ask(&self, service: &str, question: &Question) -> Result<Option<Bytes>, Fault> {
        let unavailable = || Fault::Request("the secrets cannot be loaded".to_owned());
        let services = timeout_at(question.until, self.services.get()).await.map_err(|_| Fault::Timeout)?;
        let services = services.ok_or_else(unavailable)?;
        let asked = self.client.ask(&services, service, question).await;
        if asked != Err(Fault::Undefined) {
            return asked;
        }
        match timeout_at(question.until, self.services.refresh_after_mismatch(&services)).await {
            Ok(Refresh::New(services)) => self.client.ask(&services, service, question).await,
            Ok(Refresh::Unchanged | Refresh::Unavailable) | Err(_) => Err(Fault::Undefined),
        }
    }

    /// Returns the action that notifies services of a recorded event.
    pub(crate) fn notify(
        self: &Arc<Self>,
        notifications: Vec<Notification>,
        message: &VapiMessage,
        delivery: Delivery<'_>,
    ) -> Action {
        let several = notifications.len() > 1;
        let id = delivery.event.id.as_str();
        let question = |notification: &Notification| Question {
            message_id: message_id(id, several.then_some(&notification.service)),
            event_id: id.to_owned(),
            kind: message.message_type().unwrap_or_default().to_owned(),
            body: body(message, delivery.redaction, notification.unredacted),
            until: delivery.until,
        };
        let questions: Vec<(Notification, Question)> =
            notifications.into_iter().map(|notification| (notification.clone(), question(&notification))).collect();
        let access = Arc::clone(self);
        Box::new(move |until| {
            Box::pin(async move {
                let notify = async |(notification, question): (Notification, Question)| {
                    let Notification { service, within, .. } = notification;
                    let until = until.min(Instant::now() + within);
                    match access.ask(&service, &Question { until, ..question }).await {
                        // The answer is ignored, so it may be anything.
                        Ok(_) | Err(Fault::Unusable(_)) => None,
                        Err(fault) => Some(format!("service {service} {fault}")),
                    }
                };
                let faults: Vec<String> =
                    join_all(questions.into_iter().map(notify)).await.into_iter().flatten().collect();
                if faults.is_empty() { Ok(()) } else { Err(faults.join("; ")) }
            })
        })
    }
}

impl<'a> Asker<'a> {
    /// Creates an asker without access to services.
    #[must_use]
    pub fn none() -> Self {
        Asker { session: None, log: Mutex::default() }
    }

    /// Creates an asker for a delivery.
    #[must_use]
    pub fn new(access: &'a ServiceAccess, delivery: Delivery<'a>) -> Self {
        Asker { session: Some((access, delivery)), log: Mutex::default() }
    }

    /// Asks services at the same time, each once. The questions are in the order of their services.
    pub(crate) async fn ask(&self, questions: Vec<ServiceQuestion>, message: &VapiMessage) -> Asked {
        let Some((access, delivery)) = &self.session else {
            return Asked::NoAsker(questions.into_iter().next().map(|question| question.service).unwrap_or_default());
        };
        if self.log(|log| log.claim) == Some("taken") {
            return Asked::Taken;
        }
        if delivery.until.saturating_duration_since(Instant::now()) < MIN_TIME {
            let no_time = "was not asked, because no time was left".to_owned();
            self.log(|log| {
                for question in &questions {
                    log.results.entry(question.service.clone()).or_insert("timeout");
                }
            });
            return Asked::Answered(questions.iter().map(|_| Err(no_time.clone())).collect());
        }
        let several = questions.len() > 1 || self.log(|log| !log.results.is_empty());
        let started = Instant::now();
        // All copies claim in the same order, so that no two of them wait for each other.
        let mut record = delivery.event.id.to_string();
        for question in questions.iter().filter(|question| question.once) {
            // If DynamoDB did not respond, another claim would only take time.
            if self.log(|log| log.claim) == Some("none") {
                break;
            }
            let claimed = self.claim(question, delivery).await;
            if !matches!(claimed, Claimed::Asks(_)) {
                self.log(|log| log.took += started.elapsed());
            }
            match claimed {
                Claimed::Asks(key) => record = key,
                Claimed::Recorded(copy) => return Asked::Recorded(copy),
                Claimed::Taken => return Asked::Taken,
            }
        }
        let started = Instant::now();
        let ask = async |question: &ServiceQuestion| {
            let mut body = body(message, delivery.redaction, question.unredacted);
            if let Some(calls) = question.calls.as_ref().filter(|_| several) {
                body = tool_calls::reduced_to(&body, calls);
            }
            let asked = Question {
                message_id: message_id(&record, several.then_some(&question.service)),
                event_id: delivery.event.id.to_string(),
                kind: message.message_type().unwrap_or_default().to_owned(),
                body,
                until: delivery.until.min(started + question.within),
            };
            access.ask(&question.service, &asked).await
        };
        let answers = join_all(questions.iter().map(ask)).await;
        self.log(|log| {
            log.took += started.elapsed();
            for (question, answer) in questions.iter().zip(&answers) {
                let word = answer.as_ref().map_or_else(Fault::word, |_| "answered");
                log.results.insert(question.service.clone(), word);
            }
        });
        Asked::Answered(answers.into_iter().map(|answer| answer.map_err(|fault| fault.to_string())).collect())
    }

    /// Notes that the answer of a service is not usable. Returns the fault.
    pub(crate) fn unusable(&self, service: &str, reason: &str) -> String {
        let fault = Fault::Unusable(reason.to_owned());
        self.log(|log| log.results.insert(service.to_owned(), fault.word()));
        fault.to_string()
    }

    /// Returns the results for the log line.
    #[must_use]
    pub fn summary(&self) -> AskSummary {
        self.log(|log| {
            let joined = |words: Vec<&str>| (!words.is_empty()).then(|| words.join(","));
            AskSummary {
                asked: joined(log.results.keys().map(String::as_str).collect()),
                results: joined(log.results.values().copied().collect()),
                took: log.took,
                claim: log.claim,
            }
        })
    }

    /// Claims a question. If another copy has the claim, waits for its record.
    async fn claim(&self, question: &ServiceQuestion, delivery: &Delivery<'_>) -> Claimed {
        let &Delivery { event, clock, until, .. } = delivery;
        let mut record = event.id.to_string();
        let Some(store) = delivery.store else { return Claimed::Asks(record) };
        let (mut expired, mut pause): (Option<AskClaim>, _) = (None, FIRST_PAUSE);
        loop {
            let now = clock.now();
            let lease = millis(until.saturating_duration_since(Instant::now()) + LEASE_RESERVE);
            let lease = Timestamp::clamped(now.as_millis().saturating_add(lease));
            let request = AskRequest { event, record: &record, service: &question.service, until: lease };
            let claiming = async {
                match &expired {
                    None => store.claim_ask(&request, now).await,
                    Some(expired) => store.take_over_ask(&request, expired, now).await,
                }
            };
            let [longest, shortest] = CLAIM_LIMITS;
            let limit = (question.within / CLAIM_SHARE).clamp(shortest, longest);
            let claim = match timeout(limit, claiming).await {
                Ok(Ok(AskOutcome::Acquired)) => return Claimed::Asks(record),
                Ok(Ok(AskOutcome::Taken(claim))) => claim,
                Ok(Ok(AskOutcome::OtherDelivery)) if record == event.id.as_str() => {
                    (record, expired) = (conflict_id(event), None);
                    continue;
                }
                // The key of a conflicting copy contains its fingerprint, so this claim cannot be read.
                Ok(Ok(AskOutcome::OtherDelivery)) => return Claimed::Asks(record),
                // The caller waits for an answer, so the service is asked although another copy may ask it too.
                Ok(Err(_)) | Err(_) => {
                    self.log(|log| log.claim = Some("none"));
                    return Claimed::Asks(record);
                }
            };
            let wait_until = until + COPY_RESERVE;
            loop {
                let earlier = timeout_at(wait_until, store.earlier_copy(event, &record, clock.now())).await;
                let is_expired = claim.until < clock.now();
                // An expired claim without a record shows that its holder was killed.
                let is_free = match earlier {
                    Ok(Ok(Some(copy))) if !is_expired || !question.may_change => {
                        self.log(|log| log.claim = Some("taken"));
                        return Claimed::Recorded(copy);
                    }
                    Ok(Ok(_)) => is_expired,
                    Ok(Err(_)) | Err(_) => false,
                };
                let now = Instant::now();
                if is_free && until.saturating_duration_since(now) >= MIN_TIME {
                    expired = Some(claim);
                    break;
                }
                if now >= wait_until {
                    self.log(|log| log.claim = Some("taken"));
                    return Claimed::Taken;
                }
                sleep(pause.min(wait_until - now)).await;
                pause = (pause * 2).min(MAX_PAUSE);
            }
        }
    }

    fn log<T>(&self, f: impl FnOnce(&mut Log) -> T) -> T {
        // The log is consistent after every assignment, so a poisoned lock can be used.
        f(&mut self.log.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Returns the body that a service gets.
fn body(message: &VapiMessage, redaction: &Redaction, unredacted: bool) -> Bytes {
    if unredacted { message.body().clone() } else { redaction.apply(message.body()) }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
