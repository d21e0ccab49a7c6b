//! The local stack: all functions in one process, with DynamoDB and SQS.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use agent_chat::Turns;
use aws_config::SdkConfig;
use aws_sdk_sqs::operation::create_queue::CreateQueueError;
use aws_sdk_sqs::types::QueueAttributeName;
use event_retry::State as RetryState;
use gatehouse_ag_kit::{AgKit, Dialect};
use gatehouse_inbox::queue::Queues;
use gatehouse_inbox::{Inbox, Store};
use gatehouse_payload::event::BODY_LIMIT;
use gatehouse_receiver::{Receiver, Redaction, SecretsCache, Skip};
use gatehouse_replies::Replies;
use gatehouse_runtime::aws::error_code;
use gatehouse_runtime::{Clock, Random};
use gatehouse_vendor::{PartSpec, SecretsPart, Source, Vendor};
use gatehouse_vendors::{AnyVendor, SOURCES, development};
use http_body_util::BodyExt;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::agent::Agent;
use crate::deliveries::Deliveries;
use crate::engine::reachable;
use crate::event_source::{Batch, EventSource, QueueSource};
use crate::function_url::{self, Function, Handler};
use crate::hosts::Hosts;
use crate::http_server::{self, Server};
use crate::services::Services;
use crate::status::{About, Answer, Counts};
use crate::template::{Template, logical_id};
use crate::{Error, demo_agent};

/// The logical id of the delivery table, which is its name too.
const DELIVERY_TABLE: &str = "DeliveryTable";

/// The settings of a stack.
#[derive(Debug, Clone)]
pub struct Options {
    /// The secrets document.
    pub secrets: String,
    /// The file with the secrets document, in place of `secrets`. It is loaded again whenever it changes.
    pub secrets_file: Option<PathBuf>,
    /// The file with the part `destinations`, if it is not in `secrets_file`. It is loaded again whenever it changes.
    pub destinations_file: Option<PathBuf>,
    /// The directory with the data, which identifies a stack beyond its end.
    pub data_dir: Option<PathBuf>,
    /// The rules for replies to Vapi's messages.
    pub replies: Replies,
    /// Decides which values are redacted.
    pub redaction: Redaction,
    /// Decides which events are not recorded.
    pub skip: Skip,
    /// Time and size limits of a chat turn.
    pub chat: agent_chat::Limits,
    /// The retry queue's visibility timeout, on which the back-off is based. Whole seconds.
    pub visibility: Duration,
    /// The visibility timeout of a received batch. AWS uses the timeout of the queue. Here the queue's timeout may be
    /// shorter than the handling of a batch, so that messages would become visible again too early.
    pub batch_visibility: Duration,
    /// `EVENT_TTL_DAYS`
    pub ttl_days: u32,
    /// The functions' clock.
    pub clock: Clock,
    /// Proxies that the functions use in place of the services.
    pub through: Option<Services>,
    /// The counts of log lines, which the response at `/gatehouse` contains.
    pub counts: Counts,
    /// The host names that the functions accept.
    pub hosts: Hosts,
    /// Whether batches are handled in the background. Otherwise the caller uses [`Stack::take_batch`].
    pub poll: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            secrets: development().to_owned(),
            secrets_file: None,
            destinations_file: None,
            data_dir: None,
            replies: Replies::none(),
            redaction: Redaction::default(),
            skip: Skip::default(),
            chat: agent_chat::Limits::default(),
            visibility: Duration::from_secs(1),
            batch_visibility: event_retry::TIMEOUT,
            ttl_days: 90,
            clock: Clock::System,
            through: None,
            counts: Counts::default(),
            hosts: Hosts::any(),
            poll: true,
        }
    }
}

impl Options {
    /// Returns the cache of a part of the secrets document.
    ///
    /// # Errors
    /// If the document is not a JSON object.
    pub fn secrets_cache<P: SecretsPart>(&self, part: PartSpec) -> Result<SecretsCache<P>, Error> {
        let clock = self.clock.clone();
        Ok(match &self.secrets_file {
            Some(file) => SecretsCache::file(part, file.clone(), clock),
            None => SecretsCache::fixed(part, &self.secrets, true, clock)?,
        })
    }
}

/// A running stack; it stops when dropped.
#[derive(Debug)]
pub struct Stack {
    /// Base URL of the functions: `http://127.0.0.1:<port>`.
    pub url: String,
    /// The URLs and names of the stack's parts.
    pub about: About,
    /// The number of batches that were handled in the background.
    pub batches: watch::Receiver<u64>,
    source: EventSource,
    services: Services,
    server: Server,
    deliveries: Deliveries,
    pollers: Vec<JoinHandle<()>>,
    /// The running chat turns.
    turns: Turns,
    /// The built-in test agent, if the development document is used.
    _agent: Option<Agent>,
}

impl Stack {
    /// Creates the template's table and queues in `services`, if missing, and serves the functions on `listener`.
    ///
    /// # Errors
    /// If a part does not start.
    pub async fn start(options: Options, services: Services, listener: TcpListener) -> Result<Stack, Error> {
        let template = Template::read()?;
        let table = "EventTable".to_owned();
        for table in [&*table, DELIVERY_TABLE] {
            let created = template.create_table(&services.dynamodb_client(), table).await;
            created.map_err(|error| unusable("DynamoDB", &services.dynamodb, &error))?;
        }
        let client = services.sqs_client();
        let queues = create_queues(&client, &template, options.visibility).await;
        let (retry_queue, dead_letter_queue) = queues.map_err(|error| unusable("SQS", &services.sqs, &error))?;
        let create = async |name| {
            let created = create_queue(&client, &template, name, "", Some(deliver::TIMEOUT)).await;
            created.map(|(url, _)| url).map_err(|error| unusable("SQS", &services.sqs, &error))
        };
        let (delivery_queue, slow_delivery_queue) =
            (create("DeliveryQueue").await?, create("SlowDeliveryQueue").await?);

        let function_services = options.through.as_ref().unwrap_or(&services);
        let store = Store::new(&function_services.dynamodb, &table, options.ttl_days);
        store.warm(options.clock.now()).await;
        let queues = Queues::new(&function_services.sqs, function_services.queue_max_bytes);
        let retry = Arc::new(RetryState {
            store: store.clone(),
            queues: queues.clone(),
            retry_queue: retry_queue.clone(),
            dead_letter_queue: dead_letter_queue.clone(),
            visibility: options.visibility,
            clock: options.clock.clone(),
        });
        let (options, agent) = with_test_agent(options).await?;
        let inbox = Inbox {
            store,
            queues,
            retry_queue: Some(retry_queue.clone()),
            dead_letter_queue: Some(dead_letter_queue.clone()),
            clock: options.clock.clone(),
            random: Random::System,
        };
        let url = format!("http://{}", reachable(listener.local_addr()?));
        let turns = Turns::new();
        let functions = functions(&options, &inbox, &template, &turns)?;
        let endpoint = |sdk: &SdkConfig| sdk.endpoint_url().unwrap_or_default().to_owned();
        let about = About {
            functions: functions.keys().map(|&name| (name.to_owned(), format!("{url}/lambda-url/{name}"))).collect(),
            dynamodb: endpoint(&services.dynamodb),
            sqs: endpoint(&services.sqs),
            table,
            retry_queue: retry_queue.clone(),
            dead_letter_queue,
            delivery_table: DELIVERY_TABLE.to_owned(),
            delivery_queue,
            slow_delivery_queue,
            destinations_file: options.secrets_file.clone().or_else(|| options.destinations_file.clone()),
            data_dir: options.data_dir.clone(),
        };
        let (status, counts) = (about.clone(), options.counts.clone());
        let describe = move || Answer { about: status.clone(), counts: counts.read() };
        let server = function_url::serve(listener, options.hosts.clone(), functions, describe);
        let visibility = options.batch_visibility;
        let source = EventSource { source: QueueSource { client, queue: retry_queue, visibility }, function: retry };
        let deliveries = Deliveries::new(&options, &services, &about)?;
        let (mut pollers, mut batches) = (Vec::new(), watch::channel(0).1);
        if options.poll {
            let (task, count) = source.clone().poll();
            (pollers, batches) = (vec![deliveries.clone().run(), task], count);
        }
        Ok(Stack { url, about, batches, source, deliveries, services, server, pollers, turns, _agent: agent })
    }

    /// Receives one batch from the retry queue and handles it.
    ///
    /// # Errors
    /// If an SQS request fails.
    pub async fn take_batch(&self) -> Result<Batch, Error> {
        self.take_batch_within(Duration::from_secs(5)).await
    }

    /// Receives one batch from the retry queue, waiting at most `wait` (whole seconds), and handles it.
    ///
    /// # Errors
    /// If an SQS request fails.
    pub async fn take_batch_within(&self, wait: Duration) -> Result<Batch, Error> {
        self.source.take_batch(wait).await
    }

    /// Returns the event source of the retry queue, for tests that call the function themselves.
    #[must_use]
    pub fn event_source(&self) -> &EventSource {
        &self.source
    }

    /// Returns the functions that deliver events, for tests that call them.
    #[must_use]
    pub fn deliveries(&self) -> &Deliveries {
        &self.deliveries
    }

    /// Creates a DynamoDB client that bypasses any proxy.
    #[must_use]
    pub fn dynamodb_client(&self) -> aws_sdk_dynamodb::Client {
        self.services.dynamodb_client()
    }

    /// Creates an SQS client that bypasses any proxy.
    #[must_use]
    pub fn sqs_client(&self) -> aws_sdk_sqs::Client {
        self.services.sqs_client()
    }

    /// Creates a store that bypasses any proxy.
    #[must_use]
    pub fn store(&self) -> Store {
        Store::new(&self.services.dynamodb, &self.table, 90)
    }

    /// Redrives the dead-letter queue to the retry queue, like the AWS console, and waits until all messages are moved.
    ///
    /// # Errors
    /// If an SQS request or the redrive fails.
    pub async fn redrive(&self) -> Result<(), Error> {
        let client = self.sqs_client();
        let (from, to) = (arn(&client, &self.dead_letter_queue).await?, arn(&client, &self.retry_queue).await?);
        client.start_message_move_task().source_arn(&from).destination_arn(to).send().await?;
        loop {
            let tasks = client.list_message_move_tasks().source_arn(&from).send().await?;
            let task = tasks.results().first().ok_or("SQS does not know the redrive it has started")?;
            match task.status().unwrap_or_default() {
                "COMPLETED" => return Ok(()),
                "RUNNING" => sleep(Duration::from_millis(10)).await,
                other => return Err(format!("the redrive is {other}: {}", task.failure_reason().unwrap_or("-")).into()),
            }
        }
    }

    /// Returns the number of running chat turns, including those whose clients have disconnected.
    #[must_use]
    pub fn running_turns(&self) -> usize {
        self.turns.running()
    }

    /// Stops accepting requests, then waits for requests in progress and for all chat turns. A batch in progress is
    /// abandoned; its messages become visible again.
    pub async fn shut_down(self) {
        for task in &self.pollers {
            task.abort();
        }
        self.server.shut_down_after(self.turns.ended()).await;
        // A request in progress may have started another turn.
        self.turns.ended().await;
    }
}

impl std::ops::Deref for Stack {
    type Target = About;

    fn deref(&self) -> &About {
        &self.about
    }
}

/// Starts the built-in test agent and adds it to the development document, once for each dialect. Other documents are
/// not changed.
async fn with_test_agent(options: Options) -> Result<(Options, Option<Agent>), Error> {
    if options.secrets != development() || options.secrets_file.is_some() {
        return Ok((options, None));
    }
    let agent = Agent::start(demo_agent::answer).await?;
    let mut document: serde_json::Value = serde_json::from_str(development())?;
    for dialect in [Dialect::AgKit, Dialect::AgUi].map(Dialect::as_str) {
        let url = format!("{}/send-message", agent.url);
        document["agent_chat"]["agents"][dialect] = serde_json::json!({"url": url, "dialect": dialect});
    }
    Ok((Options { secrets: document.to_string(), ..options }, Some(agent)))
}

fn unusable(service: &str, sdk: &SdkConfig, error: &Error) -> Error {
    format!("{service} at {} cannot be used: {error}", sdk.endpoint_url().unwrap_or_default()).into()
}

/// Creates the queues. Returns the URLs of the retry queue and the dead-letter queue.
async fn create_queues(
    client: &aws_sdk_sqs::Client,
    template: &Template,
    visibility: Duration,
) -> Result<(String, String), Error> {
    let (dead_letter_queue, arn) = create_queue(client, template, "DeadLetterQueue", "", None).await?;
    let (retry_queue, _) = create_queue(client, template, "RetryQueue", &arn, Some(visibility)).await?;
    Ok((retry_queue, dead_letter_queue))
}

/// Creates a queue, or updates its attributes. Returns its URL and ARN.
async fn create_queue(
    client: &aws_sdk_sqs::Client,
    template: &Template,
    logical_id: &str,
    dead_letter_arn: &str,
    visibility: Option<Duration>,
) -> Result<(String, String), Error> {
    let mut attributes = template.queue_attributes(logical_id, &|_| Some(dead_letter_arn.to_owned()))?;
    if let Some(visibility) = visibility {
        attributes.insert("VisibilityTimeout".to_owned(), visibility.as_secs().to_string());
    }
    let attributes: HashMap<_, _> =
        attributes.into_iter().map(|(name, value)| (QueueAttributeName::from(name.as_str()), value)).collect();
    let create = client.create_queue().queue_name(logical_id).set_attributes(Some(attributes.clone()));
    let url = match create.send().await {
        Ok(created) => created.queue_url,
        // An earlier run created it with other settings.
        Err(error) if error.as_service_error().is_some_and(CreateQueueError::is_queue_name_exists) => {
            let url = client.get_queue_url().queue_name(logical_id).send().await?.queue_url;
            let set = client.set_queue_attributes().set_queue_url(url.clone()).set_attributes(Some(attributes));
            set.send().await?;
            url
        }
        Err(error) => return Err(error_code(&error).into()),
    };
    let url = url.ok_or("the queue has no URL")?;
    let arn = arn(client, &url).await?;
    Ok((url, arn))
}

async fn arn(client: &aws_sdk_sqs::Client, queue: &str) -> Result<String, Error> {
    let get = client.get_queue_attributes().queue_url(queue).attribute_names(QueueAttributeName::QueueArn);
    let mut attributes = get.send().await?.attributes.unwrap_or_default();
    Ok(attributes.remove(&QueueAttributeName::QueueArn).ok_or("the queue has no ARN")?)
}

/// Returns a function's name, and its handler with its state. A macro is needed, because a generic function cannot
/// require that the future of an async handler is `Send`.
macro_rules! function {
    ($function:ident, $state:expr, $template:expr) => {{
        let state = Arc::new($state);
        let handler: Handler = Arc::new(move |request, deadline| {
            let state = Arc::clone(&state);
            Box::pin(async move { $function::handle(request, &state, deadline).await.map(http_server::full_body) })
        });
        let name = $function::VENDOR.profile().function;
        let function_id = logical_id(name);
        let (timeout, cors) = ($template.timeout(&function_id)?, $template.cors(&function_id)?);
        (name, Function { handler, timeout, cors })
    }};
}

/// Creates agent-chat's handler, which streams its responses.
fn agent_chat(
    options: &Options,
    inbox: &Inbox,
    template: &Template,
    turns: &Turns,
) -> Result<(&'static str, Function), Error> {
    let state = Arc::new(agent_chat::State {
        inbox: inbox.clone(),
        secrets: options.secrets_cache(AgKit.profile().secrets)?,
        upstream: agent_chat::Upstream::new(options.chat.connect)?,
        key_sets: agent_chat::KeySetCache::new(),
        limits: options.chat,
        turns: turns.clone(),
    });
    let handler: Handler = Arc::new(move |request, deadline| {
        let state = Arc::clone(&state);
        Box::pin(async move {
            let response = agent_chat::handle(request, &state, deadline).await;
            response.map(|body| body.map_err(|never| match never {}).boxed_unsync())
        })
    });
    let cors = template.cors(&logical_id(agent_chat::FUNCTION))?;
    Ok((agent_chat::FUNCTION, Function { handler, timeout: agent_chat::TIMEOUT, cors }))
}

fn functions(
    options: &Options,
    inbox: &Inbox,
    template: &Template,
    turns: &Turns,
) -> Result<BTreeMap<&'static str, Function>, Error> {
    let replies = || options.replies.clone();
    let receiver = self::receiver(options, inbox, client_message::VENDOR)?;
    let client_message = client_message::State { receiver, replies: replies(), answers: client_message::CustomReplies };
    let receiver = self::receiver(options, inbox, server_message::VENDOR)?;
    let server_message = server_message::State { receiver, replies: replies(), answers: server_message::CustomReplies };
    let mut functions = BTreeMap::from([
        agent_chat(options, inbox, template, turns)?,
        function!(client_message, client_message, template),
        function!(server_message, server_message, template),
    ]);
    // Every other function only receives the deliveries of its vendor.
    for source in SOURCES {
        if let Entry::Vacant(function) = functions.entry(source.profile().function) {
            let function_id = logical_id(function.key());
            let receiver = Arc::new(self::receiver(options, inbox, AnyVendor(source))?);
            let handler: Handler = Arc::new(move |request, deadline| {
                let receiver = Arc::clone(&receiver);
                Box::pin(async move { receiver.receive(request, deadline).await.map(http_server::full_body) })
            });
            let (timeout, cors) = (template.timeout(&function_id)?, template.cors(&function_id)?);
            function.insert(Function { handler, timeout, cors });
        }
    }
    Ok(functions)
}

fn receiver<V: Vendor>(options: &Options, inbox: &Inbox, vendor: V) -> Result<Receiver<V>, Error> {
    let part = vendor.profile().secrets;
    let secrets = options.secrets_cache(part)?;
    let (redaction, skip) = (options.redaction.clone(), options.skip.clone());
    Ok(Receiver { vendor, inbox: inbox.clone(), secrets, redaction, skip, body_limit: BODY_LIMIT })
}
