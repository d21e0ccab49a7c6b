//! The instances of the functions: they start, are used again, stand idle for hours, and die. An instance handles one
//! request at a time, as in Lambda.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use agent_chat::{KeySetCache, Limits, Turns, Upstream};
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent};
use aws_smithy_async::time::{SharedTimeSource, StaticTimeSource};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use bytes::Bytes;
use gatehouse_ag_kit::AgKit;
use gatehouse_deliveries::deliver::{Deliverer, SlowLimits};
use gatehouse_deliveries::destination::MAX_AGE;
use gatehouse_deliveries::doorbell::Doorbells;
use gatehouse_deliveries::outbox::{BatchResponse, StreamBatch};
use gatehouse_deliveries::send::Sender;
use gatehouse_deliveries::{DeliveryTable, Outbox};
use gatehouse_egress::{Client, ScopedClient};
use gatehouse_inbox::queue::Queues;
use gatehouse_inbox::{Inbox, Store};
use gatehouse_payload::event::BODY_LIMIT;
use gatehouse_receiver::{Deadline, Receiver, Redaction, SecretsCache, Skip};
use gatehouse_replies::{Control, ControlHosts, Replies, Rules, ServiceAccess};
use gatehouse_runtime::{Clock, Random};
use gatehouse_services::PART;
use gatehouse_vendor::{Source, Vendor};
use http::{Request, Response};
use tokio::time::timeout;

use crate::chance::Chance;
use crate::keys::SERVICE;
use crate::network::{Caller, Wire};
use crate::plan::{Function, Ms, TTL_DAYS};
use crate::world::{DEAD_LETTER_QUEUE, DELIVERY_QUEUE, DELIVERY_TABLE, RETRY_QUEUE, SLOW_DELIVERY_QUEUE, TABLE, World};

/// The largest message that the queues accept, in bytes.
const QUEUE_MAX_BYTES: usize = 1_048_576;
/// The visibility timeout of the retry queue.
pub const VISIBILITY: Duration = event_retry::VISIBILITY;
/// The longest time that a webhook function takes for a delivery, in milliseconds.
const LONGEST_DELIVERY: Ms = 5000;
/// The longest time that server-message takes, because the service has [`SERVICE_SECONDS`] for tool calls.
const LONGEST_ANSWER: Ms = 6000;
/// The time limit of the service for tool calls.
const SERVICE_SECONDS: u64 = 3;
/// Largest difference between the clock of an instance and the true time, in milliseconds.
pub const MAX_SKEW: i64 = 1500;

/// The running instances.
#[derive(Clone)]
pub struct Fleet {
    world: World,
    idle: Arc<Mutex<Vec<Arc<Instance>>>>,
}

/// An instance of a function.
pub struct Instance {
    /// Its number.
    pub number: usize,
    /// Its function.
    pub function: Function,
    code: Code,
}

/// The function's code with its state.
enum Code {
    Client(client_message::State),
    Server(server_message::State),
    Conversations(conversation_webhooks::State),
    Sessions(session_lifecycle::State),
    Chat(Arc<agent_chat::State>),
    Retry(event_retry::State),
    Outbox(outbox::State),
    Deliver(Box<deliver::State>),
}

impl Fleet {
    /// Creates a fleet without instances.
    #[must_use]
    pub fn new(world: World) -> Self {
        Fleet { world, idle: Arc::default() }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Instance>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns an idle instance of a function, or starts one. `None` if it dies while it starts.
    pub async fn instance(&self, function: Function) -> Option<Arc<Instance>> {
        let found = {
            let mut idle = self.idle();
            let state = self.world.state();
            idle.retain(|instance| !state.instances[instance.number].is_dead);
            idle.iter().position(|instance| instance.function == function).map(|n| idle.remove(n))
        };
        if found.is_some() {
            return found;
        }
        let number = self.world.add_instance(function);
        let seed = self.world.state().plan.seed;
        let mut chance = Chance::of(seed, &[5, number as u64]);
        self.world.wait(chance.between(80, 400)).await;
        let instance = Instance::start(&self.world, function, number, &mut chance);
        self.world.note(format_args!("{function}#{number} starts"));
        self.world.run(number, instance.connect()).await?;
        Some(Arc::new(instance))
    }

    /// Gives an instance back after an invocation.
    pub fn release(&self, instance: Arc<Instance>) {
        self.idle().push(instance);
    }

    /// Ends the idle instances of a function.
    pub fn retire(&self, function: Function) {
        self.idle().retain(|instance| instance.function != function);
    }

    /// Sends a request to a webhook function. Returns the instance that handles it, and the response. The response is
    /// `None` if the instance dies or times out.
    pub async fn deliver(
        &self,
        function: Function,
        request: Request<Bytes>,
    ) -> Option<(usize, Option<Response<String>>)> {
        let instance = self.instance(function).await?;
        let began = self.world.now();
        let (time_limit, longest) = match function {
            Function::ServerMessage => (server_message::TIMEOUT, LONGEST_ANSWER),
            _ => (gatehouse_receiver::TIMEOUT, LONGEST_DELIVERY),
        };
        let handling = timeout(time_limit, instance.receive(request, Deadline::within(time_limit)));
        let number = instance.number;
        self.world.begin_invocation(number);
        self.world.state().model.cost.begin(number);
        let Some(handled) = self.world.run(number, handling).await else { return Some((number, None)) };
        let took = self.world.now() - began;
        if took > longest && !self.world.has_paused(instance.number, began) {
            self.world.violate("I14", format_args!("{function} takes {took} ms for a delivery"));
        }
        if handled.is_ok() {
            self.release(instance);
        } else {
            self.world.kill(instance.number, "it has timed out");
        }
        Some((number, handled.ok()))
    }

    /// Gives a batch to event-retry or deliver. Returns the number of the instance, and the response. `None` if the
    /// instance dies or times out.
    pub async fn handle_batch(&self, function: Function, batch: SqsEvent) -> Option<(usize, SqsBatchResponse)> {
        let time_limit = if function == Function::Deliver { deliver::TIMEOUT } else { event_retry::TIMEOUT };
        let code = async |instance: &Instance| instance.handle_batch(batch, Deadline::within(time_limit)).await;
        let (number, response) = self.invoke(function, time_limit, code).await?;
        Some((number, response?))
    }

    /// Gives a batch of the stream to outbox. Returns its response; `None` if the instance dies or times out.
    pub async fn add_deliveries(&self, batch: StreamBatch) -> Option<BatchResponse> {
        let code = async |instance: &Instance| instance.add_deliveries(batch).await;
        self.invoke(Function::Outbox, outbox::TIMEOUT, code).await?.1
    }

    /// Runs a sweep of deliver.
    pub async fn sweep(&self) {
        let code = async |instance: &Instance| instance.sweep(Deadline::within(deliver::TIMEOUT)).await;
        self.invoke(Function::Deliver, deliver::TIMEOUT, code).await;
    }

    /// Runs an invocation on an instance. Returns the instance's number and the output; `None` if the instance dies or
    /// times out.
    async fn invoke<T>(
        &self,
        function: Function,
        time_limit: Duration,
        code: impl AsyncFnOnce(&Instance) -> T,
    ) -> Option<(usize, T)> {
        let instance = self.instance(function).await?;
        let number = instance.number;
        self.world.begin_invocation(number);
        match self.world.run(number, timeout(time_limit, code(&instance))).await? {
            Ok(output) => {
                self.release(instance);
                Some((number, output))
            }
            Err(_) => {
                self.world.kill(number, "it has timed out");
                None
            }
        }
    }
}

impl Instance {
    fn start(world: &World, function: Function, number: usize, chance: &mut Chance) -> Instance {
        let wire = Wire { world: world.clone(), caller: Caller::Instance(number) };
        let version = world.state().instances[number].version;
        let skew = i64::try_from(chance.between(0, 2 * MAX_SKEW.unsigned_abs())).unwrap_or_default() - MAX_SKEW;
        let skew = if world.state().plan.is_calm() { 0 } else { skew };
        let clock = world.clock(skew);
        let sdk = sdk(world, wire.clone());
        let store = Store::new(&sdk, TABLE, TTL_DAYS);
        let queues = Queues::new(&sdk, QUEUE_MAX_BYTES);
        let inbox = Inbox {
            store: store.clone(),
            queues: queues.clone(),
            retry_queue: Some(RETRY_QUEUE.to_owned()),
            dead_letter_queue: Some(DEAD_LETTER_QUEUE.to_owned()),
            clock: clock.clone(),
            random: Random::seeded(chance.seed()),
        };
        let outgoing = Client::simulated(Arc::new(wire));
        let code = match function {
            Function::ClientMessage => Code::Client(client_message::State {
                receiver: receiver(client_message::VENDOR, inbox, &sdk),
                replies: replies(version, outgoing, &sdk, &clock),
                answers: client_message::CustomReplies,
            }),
            Function::ServerMessage => Code::Server(server_message::State {
                receiver: receiver(server_message::VENDOR, inbox, &sdk),
                replies: replies(version, outgoing, &sdk, &clock),
                answers: server_message::CustomReplies,
            }),
            Function::ConversationWebhooks => Code::Conversations(receiver(conversation_webhooks::VENDOR, inbox, &sdk)),
            Function::SessionLifecycle => Code::Sessions(receiver(session_lifecycle::VENDOR, inbox, &sdk)),
            Function::AgentChat => Code::Chat(Arc::new(agent_chat::State {
                secrets: secrets(&AgKit, &sdk, clock),
                inbox,
                upstream: Upstream::with_client(outgoing),
                key_sets: KeySetCache::new(),
                limits: Limits::default(),
                turns: Turns::new(),
            })),
            Function::EventRetry => Code::Retry(event_retry::State {
                store,
                queues,
                retry_queue: RETRY_QUEUE.to_owned(),
                dead_letter_queue: DEAD_LETTER_QUEUE.to_owned(),
                visibility: VISIBILITY,
                clock,
            }),
            Function::Outbox => Code::Outbox(outbox::State {
                outbox: Outbox {
                    store: Store::with_long_limits(&sdk, TABLE, TTL_DAYS),
                    table: DeliveryTable::new(&sdk, DELIVERY_TABLE),
                    doorbells: Doorbells::new(&sdk, DELIVERY_QUEUE),
                    since: Default::default(),
                },
                destinations: destinations(&sdk, clock.clone()),
                clock,
            }),
            Function::Deliver => Code::Deliver(Box::new(deliver::State {
                deliverer: Deliverer {
                    store: Store::with_long_limits(&sdk, TABLE, TTL_DAYS),
                    table: DeliveryTable::new(&sdk, DELIVERY_TABLE),
                    sender: Sender::new(ScopedClient::with_client(outgoing), sdk.clone(), false),
                    doorbells: Doorbells::new(&sdk, DELIVERY_QUEUE),
                    slow_doorbells: Doorbells::of_slow(&sdk, SLOW_DELIVERY_QUEUE),
                    // A schedule has so few events that five slow attempts within 15 s are rare.
                    slow_limits: if world.state().plan.is_calm() {
                        SlowLimits::default()
                    } else {
                        SlowLimits { attempts: 1, ..SlowLimits::default() }
                    },
                    clock: clock.clone(),
                    random: Random::seeded(chance.seed()),
                    states: Default::default(),
                },
                queues,
                destinations: destinations(&sdk, clock),
            })),
        };
        Instance { number, function, code }
    }

    /// Loads the secrets and opens the connection to DynamoDB, as functions do when they start.
    async fn connect(&self) {
        match &self.code {
            Code::Client(state) => warm(&state.receiver).await,
            Code::Server(state) => warm(&state.receiver).await,
            Code::Conversations(receiver) => warm(receiver).await,
            Code::Sessions(receiver) => warm(receiver).await,
            Code::Chat(state) => {
                tokio::join!(state.secrets.get(), state.inbox.store.warm(state.inbox.clock.now()));
            }
            Code::Retry(state) => state.store.warm(state.clock.now()).await,
            Code::Outbox(_) | Code::Deliver(_) => {}
        }
    }

    async fn receive(&self, request: Request<Bytes>, deadline: Deadline) -> Response<String> {
        match &self.code {
            Code::Client(state) => client_message::handle(request, state, deadline).await,
            Code::Server(state) => server_message::handle(request, state, deadline).await,
            Code::Conversations(receiver) => conversation_webhooks::handle(request, receiver, deadline).await,
            Code::Sessions(receiver) => session_lifecycle::handle(request, receiver, deadline).await,
            Code::Chat(_) | Code::Retry(_) | Code::Outbox(_) | Code::Deliver(_) => Response::new(String::new()),
        }
    }

    /// Starts a chat request. The invocation ends with [`turns_ended`](Self::turns_ended).
    pub async fn chat(&self, request: Request<Bytes>, deadline: Deadline) -> Option<Response<agent_chat::Body>> {
        let Code::Chat(state) = &self.code else { return None };
        Some(agent_chat::handle(request, state, deadline).await)
    }

    /// Waits until the instance has no more turns.
    pub async fn turns_ended(&self) {
        if let Code::Chat(state) = &self.code {
            state.turns.ended().await;
        }
    }

    async fn handle_batch(&self, batch: SqsEvent, deadline: Deadline) -> Option<SqsBatchResponse> {
        match &self.code {
            Code::Retry(state) => Some(event_retry::handle(batch, state, deadline).await),
            Code::Deliver(state) => Some(deliver::handle_batch(batch, state, deadline).await),
            _ => None,
        }
    }

    async fn add_deliveries(&self, batch: StreamBatch) -> Option<BatchResponse> {
        let Code::Outbox(state) = &self.code else { return None };
        Some(outbox::handle(batch, state).await)
    }

    async fn sweep(&self, deadline: Deadline) {
        if let Code::Deliver(state) = &self.code {
            // After a failure, the next sweep does the same.
            let _ = deliver::sweep(state, deadline).await;
        }
    }
}

async fn warm<V: Vendor>(receiver: &Receiver<V>) {
    tokio::join!(receiver.secrets.get(), receiver.inbox.store.warm(receiver.inbox.clock.now()));
}

fn receiver<V: Vendor>(vendor: V, inbox: Inbox, sdk: &SdkConfig) -> Receiver<V> {
    Receiver {
        secrets: secrets(&vendor, sdk, inbox.clock.clone()),
        vendor,
        inbox,
        redaction: Redaction::default(),
        skip: Skip::default(),
        body_limit: BODY_LIMIT,
    }
}

fn secrets<P: gatehouse_vendor::SecretsPart>(source: &dyn Source, sdk: &SdkConfig, clock: Clock) -> SecretsCache<P> {
    SecretsCache::manager(source.profile().secrets, sdk, "arn:simulated".to_owned(), false, clock)
}

fn destinations(sdk: &SdkConfig, clock: Clock) -> SecretsCache<gatehouse_deliveries::Destinations> {
    let part = gatehouse_deliveries::PART;
    SecretsCache::manager(part, sdk, "arn:simulated".to_owned(), false, clock).with_max_age(MAX_AGE)
}

/// Returns the replies of a version. They differ between versions, so that a duplicate that is answered anew is
/// noticed. Only version 0 replies to client messages, and asks the service about tool calls.
fn replies(version: u8, client: Client, sdk: &SdkConfig, clock: &Clock) -> Replies {
    let say = format!(r#"{{"message": {{"type": "say", "content": "version {version}"}}}}"#);
    let reply = format!(r#"{{"when": {{"type": "workflow.node.started"}}, "reply": {say}}},"#);
    let reply = if version == 0 { reply.as_str() } else { "" };
    let ask = format!(
        r#"{{"when": {{"type": "tool-calls"}}, "ask": "{SERVICE}", "within": "{SERVICE_SECONDS}s",
             "else": {{"result": "version {version} without its service"}}}},"#
    );
    let ask = if version == 0 { ask.as_str() } else { "" };
    let rules = format!(
        r#"{{"client": [
              {reply}
              {{"when": {{"type": "status-update"}}, "act": {{"type": "say", "content": "hello"}}}}],
            "server": [
              {ask}
              {{"when": {{"type": "tool-calls"}}, "reply": {{"result": "version {version}: für 5 € 🙂"}}}},
              {{"when": {{"type": "assistant-request"}}, "reply": {{"assistantId": "version-{version}"}}}},
              {{"when": {{"type": "status-update"}}, "act": {{"type": "say", "content": "hello"}}}}]}}"#
    );
    match Rules::parse("simulated", &rules) {
        Ok(rules) => {
            let services = SecretsCache::manager(PART, sdk, "arn:simulated".to_owned(), false, clock.clone());
            let http = ScopedClient::with_client(client.clone());
            let access = gatehouse_services::Client::with_http(http, sdk.clone(), clock.clone(), false);
            Replies::with_control(rules, Control::with_client(client, ControlHosts::Vapi))
                .with_services(ServiceAccess::new(access, services))
        }
        Err(error) => {
            tracing::error!(%error, "the rules of the simulation are invalid");
            Replies::none()
        }
    }
}

/// Returns the SDK settings of one instance or command. Each has its own region, because the SDK shares the budget for
/// retries between the clients of a region in one process, and a real instance has its own process.
#[must_use]
pub fn sdk(world: &World, wire: Wire) -> SdkConfig {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let region = format!("simulated-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let credentials = Credentials::new("simulated", "simulated", None, None, "simulation");
    let time = std::time::UNIX_EPOCH + Duration::from_millis(world.epoch_ms().unsigned_abs());
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new(region))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .time_source(SharedTimeSource::new(StaticTimeSource::new(time)))
        .endpoint_url("http://aws.simulated")
        .http_client(SharedHttpClient::new(wire))
        .build()
}
