//! The world of one schedule: the services, the running instances, the faults, the trace and the model. All parts of a
//! schedule share it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use gatehouse_memory::{DynamoDb, SecretsManager, Sqs};
use gatehouse_payload::time::Timestamp;
use gatehouse_runtime::Clock;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::chance::Chance;
use crate::keys::Keys;
use crate::model::{Checked, Model};
use crate::plan::{Death, Fault, Function, Ms, Plan};
use crate::stream::Stream;
use crate::trace::Trace;

/// The time at which every schedule starts, in milliseconds since 1970: 20 November 2026, 09:00 UTC.
pub const START: i64 = 1_795_165_200_000;
/// The name of the event table.
pub const TABLE: &str = "EventTable";
/// The name of the delivery table.
pub const DELIVERY_TABLE: &str = "DeliveryTable";
/// The URL of the delivery queue.
pub const DELIVERY_QUEUE: &str = "http://sqs.simulated/000000000000/DeliveryQueue";
/// The URL of the slow delivery queue.
pub const SLOW_DELIVERY_QUEUE: &str = "http://sqs.simulated/000000000000/SlowDeliveryQueue";
/// The URL of the retry queue.
pub const RETRY_QUEUE: &str = "http://sqs.simulated/000000000000/RetryQueue";
/// The URL of the dead-letter queue.
pub const DEAD_LETTER_QUEUE: &str = "http://sqs.simulated/000000000000/DeadLetterQueue";

/// A shared world.
#[derive(Clone)]
pub struct World(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    queue_changed: Notify,
    /// The event table's stream, or the delivery table.
    deliveries_changed: Notify,
    violated: Notify,
    origin: Instant,
}

/// The state of a world.
pub struct State {
    /// The plan of the schedule.
    pub plan: Arc<Plan>,
    /// DynamoDB.
    pub dynamodb: DynamoDb,
    /// SQS.
    pub sqs: Sqs,
    /// Secrets Manager.
    pub secrets_manager: SecretsManager,
    /// The secrets that vendors and clients use.
    pub keys: Keys,
    /// All instances that were ever started.
    pub instances: Vec<InstanceState>,
    /// The active faults, each with its end and its number.
    pub faults: Vec<(Ms, usize, Fault)>,
    /// The version that new instances run.
    pub version: u8,
    /// The event table's stream.
    pub stream: Stream,
    /// The measurements of a benchmark; `None` if the model is checked.
    pub measured: Option<Measured>,
    /// Whether the last fault has ended, so that destinations accept everything.
    pub is_quiet: bool,
    /// What happened.
    pub trace: Trace,
    /// What should be true.
    pub model: Model,
    /// The first invariant that was violated.
    pub violation: Option<Violation>,
    /// What was counted.
    pub stats: Stats,
    /// The choices of SQS.
    pub choices: Chance,
    /// The number of requests of each operator's command, by the number of its action.
    pub operator_requests: BTreeMap<usize, u64>,
}

/// What a benchmark measures.
#[derive(Debug, Clone, Default)]
pub struct Measured {
    /// The end and the length of each delay from receipt to the first destination, in milliseconds.
    pub delays: Vec<(Ms, i64)>,
    /// The number of messages that the second destination has accepted.
    pub accepted: u64,
    /// The messages that were accepted, by destination and id.
    pub seen: BTreeSet<(usize, String)>,
}

/// The state of an instance, which is a process that runs a function.
#[derive(Debug)]
pub struct InstanceState {
    /// The function.
    pub function: Function,
    /// The version that it runs.
    pub version: u8,
    /// Whether it was killed.
    pub is_dead: bool,
    /// The end of its pause.
    pub paused_until: Ms,
    /// The number of its requests.
    pub requests: u64,
    /// When its last invocation began.
    pub began_at: Ms,
    /// The number of faults that have hit it since then.
    pub faults: u64,
    /// The number of the request at which the instance dies, and when.
    pub kill_at: Option<(u64, Death)>,
    wakers: Vec<Waker>,
}

/// An invariant that was violated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The invariant: `I1`, `liveness`, `cost`.
    pub invariant: &'static str,
    /// What is wrong.
    pub what: String,
    /// When it was noticed.
    pub at: Ms,
}

/// What a schedule did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Requests to DynamoDB, SQS, Secrets Manager, agents, control URLs and functions.
    pub requests: u64,
    /// Deliveries of vendors, including retries.
    pub deliveries: u64,
    /// Requests of chat clients, including retries.
    pub turns: u64,
    /// Messages that destinations got.
    pub messages: u64,
    /// Faults that were applied to a request, killed instances, and pauses.
    pub faults: u64,
    /// Instances that were started.
    pub instances: u64,
    /// How often each kind of fault hit each operation in each state of what it is about.
    pub coverage: BTreeMap<(String, String, String), u64>,
}

impl World {
    /// Creates the world of a plan. Must be called within a runtime whose time is paused.
    #[must_use]
    pub fn new(plan: Plan) -> World {
        let keys = Keys::new(plan.seed);
        let state = State {
            dynamodb: DynamoDb::new(),
            sqs: Sqs::new("http://sqs.simulated"),
            secrets_manager: SecretsManager::new(&keys.document()),
            keys,
            instances: Vec::new(),
            faults: Vec::new(),
            version: 0,
            stream: Stream::default(),
            measured: None,
            is_quiet: false,
            trace: Trace::default(),
            model: Model::new(&plan),
            violation: None,
            stats: Stats::default(),
            choices: Chance::of(plan.seed, &[1]),
            operator_requests: BTreeMap::new(),
            plan: Arc::new(plan),
        };
        World(Arc::new(Shared {
            state: Mutex::new(state),
            queue_changed: Notify::new(),
            deliveries_changed: Notify::new(),
            violated: Notify::new(),
            origin: Instant::now(),
        }))
    }

    /// Returns the state. It must not be held across an await.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the virtual time.
    #[must_use]
    pub fn now(&self) -> Ms {
        u64::try_from(self.0.origin.elapsed().as_millis()).unwrap_or(Ms::MAX)
    }

    /// Returns the true time in milliseconds since 1970, which no instance knows exactly.
    #[must_use]
    pub fn epoch_ms(&self) -> i64 {
        START.saturating_add(i64::try_from(self.now()).unwrap_or(i64::MAX))
    }

    /// Returns the true time.
    #[must_use]
    pub fn time(&self) -> Timestamp {
        Timestamp::clamped(self.epoch_ms())
    }

    /// Returns a clock that is ahead of the true time by `skew` milliseconds.
    #[must_use]
    pub fn clock(&self, skew: i64) -> Clock {
        Clock::runtime(Timestamp::clamped(self.epoch_ms() + skew))
    }

    /// Waits until a virtual time.
    pub async fn until(&self, at: Ms) {
        sleep_until(self.0.origin + Duration::from_millis(at)).await;
    }

    /// Adds a line to the trace.
    pub fn note(&self, line: impl fmt::Display) {
        let now = self.now();
        self.state().trace.add(now, line);
    }

    /// Reports the violation of an invariant. Only the first one counts.
    pub fn violate(&self, invariant: &'static str, what: impl fmt::Display) {
        let at = self.now();
        let mut state = self.state();
        if state.violation.is_none() {
            state.trace.add(at, format_args!("VIOLATED {invariant}: {what}"));
            state.violation = Some(Violation { invariant, what: what.to_string(), at });
            self.0.violated.notify_one();
        }
    }

    /// Reports a violation that the model found.
    pub fn check(&self, checked: Checked) {
        if let Err((invariant, what)) = checked {
            self.violate(invariant, what);
        }
    }

    /// Waits until an invariant is violated.
    pub async fn violated(&self) {
        self.0.violated.notified().await;
    }

    /// Wakes the event sources of the queues.
    pub fn queue_changed(&self) {
        self.0.queue_changed.notify_waiters();
    }

    /// Waits until the queues change, or until `at`.
    pub async fn until_queue_changes(&self, at: Option<Ms>) {
        self.until_notified(&self.0.queue_changed, at).await;
    }

    /// Wakes the event source of the stream, and the timer of the sweep.
    pub fn deliveries_changed(&self) {
        self.0.deliveries_changed.notify_waiters();
    }

    /// Waits until the stream or the delivery table changes, or until `at`.
    pub async fn until_deliveries_change(&self, at: Option<Ms>) {
        self.until_notified(&self.0.deliveries_changed, at).await;
    }

    async fn until_notified(&self, notify: &Notify, at: Option<Ms>) {
        let notified = notify.notified();
        match at {
            Some(at) => tokio::select! {
                biased;
                () = notified => {}
                () = self.until(at) => {}
            },
            None => notified.await,
        }
    }

    /// Adds an instance. Returns its number.
    pub fn add_instance(&self, function: Function) -> usize {
        let mut state = self.state();
        let version = state.version;
        state.stats.instances += 1;
        state.instances.push(InstanceState {
            function,
            version,
            is_dead: false,
            paused_until: 0,
            requests: 0,
            began_at: 0,
            faults: 0,
            kill_at: None,
            wakers: Vec::new(),
        });
        state.instances.len() - 1
    }

    /// Kills an instance.
    pub fn kill(&self, instance: usize, why: &str) {
        let now = self.now();
        let mut state = self.state();
        let State { instances, trace, .. } = &mut *state;
        let instance_state = &mut instances[instance];
        if !instance_state.is_dead {
            instance_state.is_dead = true;
            trace.add(now, format_args!("{}#{instance} dies: {why}", instance_state.function));
            instance_state.wake();
        }
    }

    /// Ends all faults, and forgets the instances that were to be killed.
    pub fn stop_faults(&self) {
        let mut state = self.state();
        state.is_quiet = true;
        state.faults.clear();
        state.instances.iter_mut().for_each(|instance_state| instance_state.kill_at = None);
    }

    /// Notes that an instance begins an invocation.
    pub fn begin_invocation(&self, instance: usize) {
        let now = self.now();
        let mut state = self.state();
        state.model.chat.invocation_began(instance);
        (state.instances[instance].began_at, state.instances[instance].faults) = (now, 0);
    }

    /// Returns when the last invocation of an instance began, in milliseconds since 1970.
    #[must_use]
    pub fn began_at(&self, instance: usize) -> i64 {
        START.saturating_add(i64::try_from(self.state().instances[instance].began_at).unwrap_or(i64::MAX))
    }

    /// Whether no fault has hit an instance since its last invocation began.
    #[must_use]
    pub fn is_undisturbed(&self, instance: usize) -> bool {
        let state = self.state();
        let InstanceState { began_at, faults, paused_until, .. } = &state.instances[instance];
        *faults == 0 && paused_until <= began_at
    }

    /// Whether an instance stood still since `began`.
    #[must_use]
    pub fn has_paused(&self, instance: usize, began: Ms) -> bool {
        self.state().instances[instance].paused_until > began
    }

    /// Lets an instance stand still. Its own code does not notice.
    pub fn pause(&self, instance: usize, lasts: Ms) {
        let mut state = self.state();
        let instance_state = &mut state.instances[instance];
        // A longer pause may have begun before.
        instance_state.paused_until = instance_state.paused_until.max(self.now() + lasts);
        let until = instance_state.paused_until;
        drop(state);
        let world = self.clone();
        tokio::task::spawn_local(async move {
            world.until(until).await;
            world.state().instances[instance].wake();
        });
    }

    /// Runs the code of an instance. `None` if the instance dies first.
    pub async fn run<F: Future>(&self, instance: usize, code: F) -> Option<F::Output> {
        let mut code = pin!(code);
        poll_fn(|context| {
            {
                let now = self.now();
                let mut state = self.state();
                let instance_state = &mut state.instances[instance];
                if instance_state.is_dead {
                    return Poll::Ready(None);
                }
                if !instance_state.wakers.iter().any(|waker| waker.will_wake(context.waker())) {
                    instance_state.wakers.push(context.waker().clone());
                }
                if instance_state.paused_until > now {
                    return Poll::Pending;
                }
            }
            let output = code.as_mut().poll(context);
            // The code may have killed its own instance.
            if self.state().instances[instance].is_dead { Poll::Ready(None) } else { output.map(Some) }
        })
        .await
    }

    /// Waits until an instance runs again. Never returns if it is dead.
    pub async fn running(&self, instance: usize) {
        loop {
            let (is_dead, paused_until) = {
                let state = self.state();
                (state.instances[instance].is_dead, state.instances[instance].paused_until)
            };
            if is_dead {
                std::future::pending::<()>().await;
            }
            if paused_until <= self.now() {
                return;
            }
            self.until(paused_until).await;
        }
    }

    /// Waits for a span of virtual time, which takes no real time.
    pub async fn wait(&self, ms: Ms) {
        self.until(self.now() + ms).await;
    }
}

impl Stats {
    /// Adds the counts of another schedule.
    pub fn add(&mut self, other: &Stats) {
        let Stats { requests, deliveries, turns, messages, faults, instances, coverage } = other;
        self.requests += requests;
        self.deliveries += deliveries;
        self.turns += turns;
        self.messages += messages;
        self.faults += faults;
        self.instances += instances;
        for (point, count) in coverage {
            *self.coverage.entry(point.clone()).or_default() += count;
        }
    }
}

impl InstanceState {
    fn wake(&mut self) {
        self.wakers.drain(..).for_each(Waker::wake);
    }
}
