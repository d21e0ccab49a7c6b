//! The plan of a schedule: what happens in the world and when, as data. The same seed gives the same plan.
//!
//! Each action has its own random numbers. So a plan without some of its actions is a smaller schedule that is
//! otherwise the same, and [`shrink`](crate::shrink) can remove what a failure does not need.

use std::fmt;

use gatehouse_vendors::SOURCES;

mod generate;

/// Virtual time since the start of a schedule, in milliseconds.
pub type Ms = u64;

const SECOND: Ms = 1000;
const MINUTE: Ms = 60 * SECOND;
const HOUR: Ms = 60 * MINUTE;
const DAY: Ms = 24 * HOUR;

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
    /// Whether the events are delivered to the [`DESTINATIONS`].
    pub has_deliveries: bool,
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
    /// The kind of the action.
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
        death: Death,
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
    RedriveAll,
    /// The operator redrives the dead letters by their ids.
    RedriveEach,
    /// The operator erases the subject of the event with this index.
    Erase(usize),
    /// The indexes lag behind the table.
    Lag(Ms),
    /// DynamoDB removes the expired items.
    Sweep,
    /// A message that is not an event is on the retry queue.
    Poison(Poison),
    /// The operator performs an operation on a destination: an index of [`DESTINATIONS`].
    Destination(usize, Operation),
}

/// What an operator does with a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Nothing is sent to it any more.
    Disable,
    /// It gets its deliveries again.
    Enable,
    /// Its failing and its dead deliveries are attempted again.
    Resend,
    /// The waiting delivery with the earliest due time is dropped.
    Discard,
}

/// The destinations. The first one gets all events in the order of each subject; the second one gets some events in any
/// order.
pub const DESTINATIONS: [&str; 2] = ["crm", "archive"];

/// An error in the secrets document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breakage {
    /// It is not JSON.
    Document,
    /// A part has the wrong shape.
    Part(&'static str),
}

/// When an instance dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// Before the service gets its last request.
    BeforeRequest,
    /// After that, and before the response.
    AfterRequest,
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
    /// Whether its token belongs to no client.
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
    /// The user's service, which answers tool calls.
    UserService,
    /// The first destination.
    Crm,
    /// The second destination.
    Archive,
    /// The functions, as vendors and clients call them.
    Gatehouse,
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
    ResponseLost,
    /// The service applies it, but the connection breaks before the answer.
    ResponseCut,
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
    Outbox,
    Deliver,
}

impl Function {
    /// All functions.
    pub const ALL: [Function; 8] = [
        Function::ClientMessage,
        Function::ServerMessage,
        Function::ConversationWebhooks,
        Function::SessionLifecycle,
        Function::AgentChat,
        Function::EventRetry,
        Function::Outbox,
        Function::Deliver,
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
            Function::Outbox => "outbox",
            Function::Deliver => "deliver",
        }
    }

    /// Returns the function of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Function> {
        Function::ALL.into_iter().find(|function| function.name() == name)
    }
}

impl Plan {
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

    /// Whether secrets change, so that an instance may lack the current ones. A part with an error has no secrets,
    /// while a document that cannot be read changes nothing.
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
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
