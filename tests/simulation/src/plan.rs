//! The plan of a schedule: what happens in the world and when, as data. The same seed gives the same plan.
//!
//! Each action has its own random numbers. So a plan without some of its actions is a smaller schedule that is otherwise
//! the same, and [`shrink`](crate::shrink) can remove what a failure does not need.

use std::fmt;

use gatehouse_vendors::SOURCES;

use crate::chance::Chance;

/// Virtual time since the start of a schedule, in milliseconds.
pub type Ms = u64;

const SECOND: Ms = 1000;
const MINUTE: Ms = 60 * SECOND;
const HOUR: Ms = 60 * MINUTE;
const DAY: Ms = 24 * HOUR;
/// How long records are stored in a schedule, in milliseconds.
const TTL_DAYS_MS: Ms = TTL_DAYS as Ms * DAY;

/// How long records are stored in a schedule, in days.
pub const TTL_DAYS: u32 = 30;
/// The number of concurrent turns of the client `limited`.
pub const CONCURRENT_TURNS: usize = 2;
/// The number of turns per minute of the client `metered`.
pub const TURNS_PER_MINUTE: i64 = 2;

/// The sample on which a rule acts.
const ACTED: &str = "status-update-ended";

/// A schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The seed of the plan, and of all choices that the world makes while it runs.
    pub seed: u64,
    /// The events that the vendors deliver.
    pub events: Vec<EventSpec>,
    /// What happens, in the order of generation.
    pub actions: Vec<Action>,
}

/// An event of a vendor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventSpec {
    /// The index of its source in the registry.
    pub source: usize,
    /// The index of its sample.
    pub sample: usize,
    /// The number of its subject. Events of one source with the same number have the same subject.
    pub subject: u64,
    /// Whether its body does not fit in one item of the table.
    pub large: bool,
    /// Whether its body lacks its time, so that its identity is weak. Only for events whose rule acts on the call.
    pub is_undated: bool,
}

impl EventSpec {
    /// Whether a rule acts on the call of the event.
    #[must_use]
    pub fn has_action(&self) -> bool {
        SOURCES[self.source].samples()[self.sample].name == ACTED
    }
}

/// Something that happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    /// Its number in the plan. It names the action when a schedule is shrunk.
    pub n: usize,
    /// When it happens.
    pub at: Ms,
    /// What happens.
    pub what: What,
}

/// The kinds of actions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A vendor delivers an event.
    Deliver(Deliver),
    /// A client asks an agent.
    Ask(Ask),
    /// Requests to a service fail for some time.
    Fault(Fault),
    /// An instance of a function dies at one of its next requests.
    Kill {
        /// The function.
        function: Function,
        /// The number of requests before the last one.
        after: u64,
        /// Whether the service still gets the last request.
        is_applied: bool,
    },
    /// All instances of a function stand still.
    Pause {
        /// The function.
        function: Function,
        /// For how long.
        lasts: Ms,
    },
    /// Idle instances of a function are ended.
    Retire(Function),
    /// Another version is deployed. Instances of the former version remain.
    Deploy(u8),
    /// The secret of a part of the secrets document is rotated. The old one is removed after 20 minutes.
    Rotate(&'static str),
    /// The secrets document has an error for some time.
    BreakSecrets(Breakage, Ms),
    /// The operator redrives all dead letters.
    Redrive,
    /// The operator erases a subject: that of this event.
    Erase(usize),
    /// The indexes lag behind the table.
    Lag(Ms),
    /// DynamoDB removes the expired items.
    Sweep,
    /// A message that is not an event is on the retry queue.
    Poison(Poison),
}

/// An error in the secrets document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breakage {
    /// It is not JSON.
    Document,
    /// A part has the wrong shape.
    Part(&'static str),
}

/// A delivery of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deliver {
    /// The index of the event.
    pub event: usize,
    /// The body.
    pub variant: Variant,
    /// Whether it is sent twice at the same time.
    pub is_doubled: bool,
    /// Whether the vendor retries as documented until it gets a 2xx.
    pub retries: bool,
    /// Who signs it.
    pub signer: Signer,
}

/// The bodies of one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Variant {
    /// The event's body.
    Original,
    /// Another body under the same identity.
    Other,
}

/// Who signs a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signer {
    /// The vendor.
    Vendor,
    /// An attacker without a valid secret.
    WrongSecret,
    /// An attacker who has changed the body of a delivery on its way.
    Tampered,
    /// An attacker with a secret that was removed after a rotation. Before the first rotation, nothing is sent.
    RemovedSecret,
}

/// A request of a chat client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// The client: an index of [`CLIENTS`].
    pub client: usize,
    /// The idempotency key, if there is one.
    pub key: Option<u8>,
    /// The number of the body.
    pub body: u8,
    /// When the client leaves, if it does not wait for the end.
    pub leaves_after: Option<Ms>,
    /// Whether the client sends the same request again until it gets an answer.
    pub retries: bool,
    /// Whether its token is that of nobody.
    pub is_forged: bool,
    /// Whether it asks for one JSON object instead of a stream.
    pub is_json: bool,
}

/// The chat clients. The second one has a limit of concurrent turns, the third one of turns per minute.
pub const CLIENTS: [&str; 3] = ["web", "limited", "metered"];

/// A message on the retry queue that is not an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Poison {
    /// It is not JSON.
    Garbage,
    /// A newer release wrote it.
    Newer,
}

/// Requests that fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// The service.
    pub service: Service,
    /// How its requests fail.
    pub kind: FaultKind,
    /// The share of the requests that fail, per mille.
    pub share: u64,
    /// For how long.
    pub lasts: Ms,
}

/// The services that functions call, and the functions themselves, which vendors and clients call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "they are named after the services")]
pub enum Service {
    DynamoDb,
    Sqs,
    SecretsManager,
    Agent,
    Control,
    /// Requests to a function.
    Front,
}

/// How a request fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultKind {
    /// The service throttles it.
    Throttled,
    /// The service has an internal error.
    Internal,
    /// The service denies access.
    Denied,
    /// The service rejects its content.
    Rejected,
    /// The request is lost, and nobody answers.
    Lost,
    /// The connection breaks before the service gets it.
    Cut,
    /// The service applies it, but its answer is lost.
    AnswerLost,
    /// The service applies it, but the connection breaks before the answer.
    AnswerCut,
    /// The request or the answer takes long.
    Slow,
    /// The service cannot be reached.
    Unreachable,
}

/// The functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "they are named after the functions")]
pub enum Function {
    ClientMessage,
    ServerMessage,
    ConversationWebhooks,
    SessionLifecycle,
    AgentChat,
    EventRetry,
}

impl Function {
    /// All functions.
    pub const ALL: [Function; 6] = [
        Function::ClientMessage,
        Function::ServerMessage,
        Function::ConversationWebhooks,
        Function::SessionLifecycle,
        Function::AgentChat,
        Function::EventRetry,
    ];

    /// The function's name in the template.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Function::ClientMessage => "client-message",
            Function::ServerMessage => "server-message",
            Function::ConversationWebhooks => "conversation-webhooks",
            Function::SessionLifecycle => "session-lifecycle",
            Function::AgentChat => "agent-chat",
            Function::EventRetry => "event-retry",
        }
    }

    /// Returns the function of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Function> {
        Function::ALL.into_iter().find(|function| function.name() == name)
    }
}

/// The weights of a schedule: what it is mainly about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Theme {
    Webhooks,
    Chat,
    Mixed,
    /// No faults at all: the costs must be exactly those that are documented.
    Calm,
}

impl Plan {
    /// Returns the plan of a seed.
    #[must_use]
    pub fn of(seed: u64) -> Plan {
        let mut chance = Chance::of(seed, &[0]);
        let theme = match chance.between(0, 100) {
            0..45 => Theme::Webhooks,
            45..70 => Theme::Chat,
            70..92 => Theme::Mixed,
            _ => Theme::Calm,
        };
        let sources: Vec<usize> = (0..SOURCES.len()).filter(|n| !SOURCES[*n].samples().is_empty()).collect();
        let event_count = chance.between(6, 14);
        let per_subject = chance.between(1, 4);
        let has_large = chance.happens(25);
        let focus = chance.happens(400).then(|| *chance.pick(&sources));
        let events = (0..event_count).map(|n| {
            let source = focus.unwrap_or_else(|| *chance.pick(&sources));
            let samples = SOURCES[source].samples().len() as u64;
            let group = per_subject.min(samples);
            // The events of one subject are of different types.
            let first = Chance::of(seed, &[7, source as u64, n / group]).between(0, samples);
            let mut sample = usize::try_from((first + n % group) % samples).unwrap_or_default();
            let all = SOURCES[source].samples();
            if let Some(acted) = all.iter().position(|sample| sample.name == ACTED).filter(|_| chance.happens(150)) {
                sample = acted;
            }
            let large = has_large && n == 0;
            let mut spec = EventSpec { source, sample, subject: n / group, large, is_undated: false };
            spec.is_undated = spec.has_action() && chance.happens(150);
            spec
        });
        let events: Vec<EventSpec> = events.collect();
        let horizon = *chance.pick(&[2 * MINUTE, 20 * MINUTE, 3 * HOUR, 3 * HOUR, 2 * DAY, 40 * DAY]);
        let moments: Vec<Ms> =
            (0..chance.between(1, 5)).map(|n| if n == 0 { 0 } else { chance.between(0, horizon) }).collect();
        let mut plan = Plan { seed, events, actions: Vec::new() };
        plan.add_deliveries(theme, &moments, &mut chance);
        if horizon > TTL_DAYS_MS {
            plan.add_late_deliveries(&mut chance);
        }
        plan.add_turns(theme, &moments, &mut chance);
        if theme != Theme::Calm {
            plan.add_faults(theme, &moments, &mut chance);
        }
        plan.add_operations(theme, &moments, &mut chance);
        plan
    }

    /// Whether nothing fails.
    #[must_use]
    pub fn is_calm(&self) -> bool {
        let is_disturbance = |what: &What| {
            !matches!(what, What::Deliver(Deliver { signer: Signer::Vendor, .. }) | What::Ask(_) | What::Sweep)
        };
        !self.actions.iter().any(|action| is_disturbance(&action.what))
    }

    /// Whether requests to a service fail, or its content has an error.
    #[must_use]
    pub fn disturbs(&self, service: Service) -> bool {
        let disturbs = |what: &What| match what {
            What::Fault(fault) => fault.service == service,
            What::BreakSecrets(..) => service == Service::SecretsManager,
            _ => false,
        };
        self.actions.iter().any(|action| disturbs(&action.what))
    }

    /// Whether secrets change, so that an instance may lack the current ones. A part with an error has no secrets, while
    /// a document that cannot be read changes nothing.
    #[must_use]
    pub fn changes_secrets(&self) -> bool {
        let changes = |what: &What| matches!(what, What::Rotate(_) | What::BreakSecrets(Breakage::Part(_), _));
        self.actions.iter().any(|action| changes(&action.what))
    }

    /// Whether a subject is erased.
    #[must_use]
    pub fn erases(&self) -> bool {
        self.actions.iter().any(|action| matches!(action.what, What::Erase(_)))
    }

    /// Whether instances stand still.
    #[must_use]
    pub fn pauses(&self) -> bool {
        self.actions.iter().any(|action| matches!(action.what, What::Pause { .. }))
    }

    /// Whether requests fail in this way.
    #[must_use]
    pub fn has(&self, kind: FaultKind) -> bool {
        self.actions.iter().any(|action| matches!(action.what, What::Fault(fault) if fault.kind == kind))
    }

    /// When the last fault has ended and the last action has begun.
    #[must_use]
    pub fn quiet_at(&self) -> Ms {
        let end = |action: &Action| match action.what {
            What::Fault(Fault { lasts, .. }) | What::Pause { lasts, .. } | What::Lag(lasts) => action.at + lasts,
            What::BreakSecrets(_, lasts) => action.at + lasts,
            What::Rotate(_) => action.at + 25 * MINUTE,
            _ => action.at,
        };
        self.actions.iter().map(end).max().unwrap_or_default() + SECOND
    }

    /// Returns the plan with only the actions of these numbers.
    #[must_use]
    pub fn keep(&self, numbers: &[usize]) -> Plan {
        let actions = self.actions.iter().filter(|action| numbers.contains(&action.n)).cloned().collect();
        Plan { actions, ..self.clone() }
    }

    fn add(&mut self, at: Ms, what: What) {
        self.actions.push(Action { n: self.actions.len(), at, what });
    }

    fn add_deliveries(&mut self, theme: Theme, moments: &[Ms], chance: &mut Chance) {
        let count = match theme {
            Theme::Chat => chance.between(0, 6),
            Theme::Mixed => chance.between(20, 24),
            Theme::Webhooks | Theme::Calm => chance.between(20, 30),
        };
        for _ in 0..count {
            let deliver = Deliver {
                event: chance.between(0, self.events.len() as u64).try_into().unwrap_or_default(),
                variant: if chance.happens(120) { Variant::Other } else { Variant::Original },
                is_doubled: theme != Theme::Calm && chance.happens(120),
                retries: chance.happens(600),
                signer: match chance.between(0, 1000) {
                    0..20 if theme != Theme::Calm => Signer::WrongSecret,
                    20..40 if theme != Theme::Calm => Signer::Tampered,
                    40..60 if theme != Theme::Calm => Signer::RemovedSecret,
                    _ => Signer::Vendor,
                },
            };
            let at = near(moments, chance);
            self.add(at, What::Deliver(deliver));
        }
    }

    /// Adds deliveries of events whose records are about to expire, or have just expired.
    fn add_late_deliveries(&mut self, chance: &mut Chance) {
        let deliveries = self.actions.clone();
        for _ in 0..chance.between(1, 4).min(deliveries.len() as u64) {
            let first = chance.pick(&deliveries);
            let What::Deliver(deliver) = first.what else { continue };
            let at = (first.at + TTL_DAYS_MS + chance.between(0, 4 * MINUTE)).saturating_sub(2 * MINUTE);
            self.add(at, What::Deliver(deliver));
        }
    }

    fn add_turns(&mut self, theme: Theme, moments: &[Ms], chance: &mut Chance) {
        let count = match theme {
            Theme::Webhooks => 0,
            Theme::Mixed => chance.between(1, 5),
            Theme::Chat | Theme::Calm => chance.between(5, 12),
        };
        let keys = chance.between(1, 4);
        for _ in 0..count {
            let key = chance.happens(750).then(|| u8::try_from(chance.between(0, keys)).unwrap_or_default());
            let ask = Ask {
                client: match chance.between(0, 100) {
                    0..50 => 0,
                    50..85 => 1,
                    _ => 2,
                },
                key,
                // A key belongs to one body, except rarely.
                body: match key {
                    Some(key) if !chance.happens(60) => key,
                    _ => u8::try_from(chance.between(0, 8)).unwrap_or_default(),
                },
                leaves_after: chance.happens(250).then(|| {
                    let latest = *chance.pick(&[40, SECOND, 20 * SECOND]);
                    chance.between(0, latest)
                }),
                retries: chance.happens(600),
                is_forged: theme != Theme::Calm && chance.happens(30),
                is_json: chance.happens(150),
            };
            let at = near(moments, chance);
            self.add(at, What::Ask(ask));
        }
    }

    fn add_faults(&mut self, theme: Theme, moments: &[Ms], chance: &mut Chance) {
        use FaultKind::{AnswerCut, AnswerLost, Cut, Denied, Internal, Lost, Rejected, Slow, Throttled, Unreachable};
        const KINDS: [FaultKind; 10] =
            [Throttled, Internal, Denied, Rejected, Lost, Cut, AnswerLost, AnswerCut, Slow, Unreachable];
        const WEBHOOK_SERVICES: &[Service] = &[
            Service::DynamoDb,
            Service::DynamoDb,
            Service::DynamoDb,
            Service::Sqs,
            Service::Sqs,
            Service::SecretsManager,
            Service::Control,
            Service::Control,
            Service::Front,
        ];
        const CHAT_SERVICES: &[Service] = &[
            Service::DynamoDb,
            Service::DynamoDb,
            Service::DynamoDb,
            Service::Sqs,
            Service::SecretsManager,
            Service::Agent,
            Service::Agent,
            Service::Front,
        ];
        let services = if theme == Theme::Chat { CHAT_SERVICES } else { WEBHOOK_SERVICES };
        for _ in 0..chance.between(2, 8) {
            let service = *chance.pick(services);
            let fault = Fault {
                service,
                kind: *chance.pick(&KINDS),
                share: *chance.pick(&[80, 300, 600, 1000]),
                lasts: *chance.pick(&[500, 500, 3 * SECOND, 3 * SECOND, 8 * SECOND, 20 * SECOND, 2 * MINUTE]),
            };
            let at = near(moments, chance);
            self.add(at, What::Fault(fault));
        }
        let mut functions: Vec<Function> =
            self.events.iter().filter_map(|spec| Function::named(SOURCES[spec.source].profile().function)).collect();
        if theme != Theme::Webhooks {
            functions.extend([Function::AgentChat; 4]);
        }
        functions.extend([Function::EventRetry; 2]);
        for _ in 0..chance.between(2, 7) {
            let function = *chance.pick(&functions);
            let what = match chance.between(0, 10) {
                0..6 => What::Kill { function, after: chance.between(0, 6), is_applied: chance.happens(500) },
                6..8 => What::Pause { function, lasts: *chance.pick(&[300, 3 * SECOND, 12 * SECOND]) },
                _ => What::Retire(function),
            };
            let at = near(moments, chance);
            self.add(at, what);
        }
    }

    fn add_operations(&mut self, theme: Theme, moments: &[Ms], chance: &mut Chance) {
        self.add(near(moments, chance) + chance.between(0, DAY), What::Sweep);
        if theme == Theme::Calm {
            return;
        }
        let parts: Vec<&'static str> = SOURCES.iter().map(|source| source.profile().secrets.name).collect();
        // Some schedules are about erasures.
        let (count, first) = if chance.happens(120) { (chance.between(4, 9), 7) } else { (chance.between(0, 5), 0) };
        for _ in 0..count {
            let at = near(moments, chance);
            let what = match chance.between(first, 14) {
                0..2 => What::Deploy(u8::try_from(chance.between(0, 2)).unwrap_or_default()),
                2..4 => What::Rotate(chance.pick::<&'static str>(&parts)),
                4..7 => What::Redrive,
                7..10 => What::Erase(chance.between(0, self.events.len() as u64).try_into().unwrap_or_default()),
                10 => What::Lag(*chance.pick(&[2 * SECOND, MINUTE])),
                11 => What::Sweep,
                12 => {
                    let part = *chance.pick(&parts);
                    let breakage = if chance.happens(500) { Breakage::Document } else { Breakage::Part(part) };
                    What::BreakSecrets(breakage, *chance.pick(&[MINUTE, 20 * MINUTE, 3 * HOUR]))
                }
                _ => What::Poison(if chance.happens(500) { Poison::Garbage } else { Poison::Newer }),
            };
            let at = if what == What::Redrive { at + chance.between(0, 8 * HOUR) } else { at };
            self.add(at, what);
        }
    }
}

/// Returns a time near one of the moments.
fn near(moments: &[Ms], chance: &mut Chance) -> Ms {
    let spread = *chance.pick(&[200, 3 * SECOND, 30 * SECOND, 5 * MINUTE]);
    *chance.pick(moments) + chance.between(0, spread)
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
