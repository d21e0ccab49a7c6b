//! The functions, served together over DynamoDB and SQS.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use agent_chat::Turns;
use aws_config::SdkConfig;
use aws_sdk_sqs::operation::create_queue::CreateQueueError;
use aws_sdk_sqs::types::QueueAttributeName;
use event_retry::State as RetryState;
use gatehouse_edge::secrets::{DEVELOPMENT, SecretsCache};
use gatehouse_edge::{Receiver, Redaction, Skip};
use gatehouse_inbox::aws::code_of;
use gatehouse_inbox::event::BODY_LIMIT;
use gatehouse_inbox::queue::Queues;
use gatehouse_inbox::{Clock, Inbox, Store};
use gatehouse_payload::ag_kit::Dialect;
use gatehouse_replies::Replies;
use http_body_util::BodyExt;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::about::{About, Answer, Counts};
use crate::agent::Agent;
use crate::engine::reachable;
use crate::event_source::{Batch, EventSource};
use crate::function_url::{self, Function, Handler};
use crate::hosts::Hosts;
use crate::http_server::{self, Server};
use crate::services::Services;
use crate::template::Template;
use crate::{Error, script};

/// What may differ from one stack to the next.
#[derive(Debug, Clone)]
pub struct Options {
    /// The secrets document.
    pub secrets: String,
    /// What Vapi's messages are answered with.
    pub replies: Replies,
    /// What is not kept of events.
    pub redaction: Redaction,
    /// Which events are not kept at all.
    pub skip: Skip,
    /// Time and size limits of a chat turn.
    pub chat: agent_chat::Limits,
    /// The retry queue's visibility timeout, from which the back-off grows: whole seconds.
    pub visibility: Duration,
    /// How long a batch is away when nobody says anything about its messages. In AWS that is the queue's visibility
    /// timeout; here the latter may be shorter than a batch may take, which would bring messages back too early.
    pub batch_visibility: Duration,
    /// `EVENT_TTL_DAYS`
    pub ttl_days: u32,
    /// Tells the functions the time.
    pub clock: Clock,
    /// What the functions use in place of the services: proxies in front of them.
    pub through: Option<Services>,
    /// What is told of what the functions have logged.
    pub counts: Counts,
    /// The hosts that the functions answer to.
    pub hosts: Hosts,
    /// Whether the event source takes batches by itself; else [`Stack::take_batch`] does.
    pub poll: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            secrets: DEVELOPMENT.to_owned(),
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

/// A running stack; it stops when dropped.
#[derive(Debug)]
pub struct Stack {
    /// Where the functions are: `http://127.0.0.1:<port>`.
    pub url: String,
    /// Where its parts are.
    pub about: About,
    /// Counts the batches the event source has taken.
    pub batches: watch::Receiver<u64>,
    source: EventSource,
    services: Services,
    server: Server,
    poller: Option<JoinHandle<()>>,
    /// The chat turns that run.
    turns: Turns,
    /// The agent of this machine, where nobody has configured another.
    _agent: Option<Agent>,
}

impl Stack {
    /// Creates in `services` what the template names, unless it is there, and serves the functions on `listener`.
    ///
    /// # Errors
    /// When a part does not start.
    pub async fn start(options: Options, services: Services, listener: TcpListener) -> Result<Stack, Error> {
        let template = Template::read()?;
        let table = "EventTable".to_owned();
        let created = template.create_table(&services.dynamodb_client(), &table).await;
        created.map_err(|error| unusable("DynamoDB", &services.dynamodb, &error))?;
        let client = services.sqs_client();
        let queues = create_queues(&client, &template, options.visibility).await;
        let (retry_queue, dead_letter_queue) = queues.map_err(|error| unusable("SQS", &services.sqs, &error))?;

        let seen = options.through.as_ref().unwrap_or(&services);
        let store = Store::new(&seen.dynamodb, &table, options.ttl_days);
        store.warm(options.clock.now()).await;
        let queues = Queues::new(&seen.sqs, seen.queue_max_bytes);
        let retry = Arc::new(RetryState {
            store: store.clone(),
            queues: queues.clone(),
            retry_queue: retry_queue.clone(),
            dead_letter_queue: dead_letter_queue.clone(),
            visibility: options.visibility,
            clock: options.clock.clone(),
        });
        let (options, agent) = with_an_agent(options).await?;
        let inbox = Inbox { store, queues, retry_queue: Some(retry_queue.clone()), clock: options.clock.clone() };
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
        };
        let (told, counts) = (about.clone(), options.counts.clone());
        let tell = move || Answer { about: told.clone(), counts: counts.read() };
        let server = function_url::serve(listener, options.hosts.clone(), functions, tell);
        let source = EventSource { client, queue: retry_queue, visibility: options.batch_visibility, function: retry };
        let (mut poller, mut batches) = (None, watch::channel(0).1);
        if options.poll {
            let (task, count) = source.clone().poll();
            (poller, batches) = (Some(task), count);
        }
        Ok(Stack { url, about, batches, source, services, server, poller, turns, _agent: agent })
    }

    /// Lets the event source take one batch now.
    ///
    /// # Errors
    /// When SQS does not answer.
    pub async fn take_batch(&self) -> Result<Batch, Error> {
        self.take_batch_within(Duration::from_secs(5)).await
    }

    /// Lets the event source take one batch, waiting for it at most `wait`: whole seconds.
    ///
    /// # Errors
    /// When SQS does not answer.
    pub async fn take_batch_within(&self, wait: Duration) -> Result<Batch, Error> {
        self.source.take_batch(wait).await
    }

    /// Receives the retry queue's batches, for whoever plays the function.
    #[must_use]
    pub fn event_source(&self) -> &EventSource {
        &self.source
    }

    /// A client of its own, past any proxy.
    #[must_use]
    pub fn dynamodb_client(&self) -> aws_sdk_dynamodb::Client {
        self.services.dynamodb_client()
    }

    /// A client of its own, past any proxy.
    #[must_use]
    pub fn sqs_client(&self) -> aws_sdk_sqs::Client {
        self.services.sqs_client()
    }

    /// A store of its own, past any proxy.
    #[must_use]
    pub fn store(&self) -> Store {
        Store::new(&self.services.dynamodb, &self.table, 90)
    }

    /// Moves everything on the dead-letter queue back to the retry queue, as the console's redrive does, and waits
    /// until it is there.
    ///
    /// # Errors
    /// When SQS does not take it, or cannot go through with it.
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

    /// Number of chat turns that run, also those whose clients have left.
    #[must_use]
    pub fn running_turns(&self) -> usize {
        self.turns.running()
    }

    /// Stops taking requests, and waits for those that are being answered and for all chat turns. A batch that is being
    /// taken is left to the queue, which brings it back.
    pub async fn shut_down(mut self) {
        if let Some(task) = self.poller.take() {
            task.abort();
        }
        self.server.shut_down_after(self.turns.ended()).await;
        // A request that was being admitted may have begun a turn meanwhile.
        self.turns.ended().await;
    }
}

impl std::ops::Deref for Stack {
    type Target = About;

    fn deref(&self) -> &About {
        &self.about
    }
}

/// With the development document, agents that speak both dialects: `ag-kit` and `ag-ui`.
async fn with_an_agent(options: Options) -> Result<(Options, Option<Agent>), Error> {
    if options.secrets != DEVELOPMENT {
        return Ok((options, None));
    }
    let agent = Agent::start(script::answer).await?;
    let mut document: serde_json::Value = serde_json::from_str(DEVELOPMENT)?;
    for dialect in [Dialect::AgKit, Dialect::AgUi].map(Dialect::as_str) {
        let url = format!("{}/send-message", agent.url);
        document["agent_chat"]["agents"][dialect] = serde_json::json!({"url": url, "dialect": dialect});
    }
    Ok((Options { secrets: document.to_string(), ..options }, Some(agent)))
}

fn unusable(service: &str, sdk: &SdkConfig, error: &Error) -> Error {
    format!("{service} at {} cannot be used: {error}", sdk.endpoint_url().unwrap_or_default()).into()
}

/// The URLs of the retry queue and the dead-letter queue.
async fn create_queues(
    client: &aws_sdk_sqs::Client,
    template: &Template,
    visibility: Duration,
) -> Result<(String, String), Error> {
    let (dead_letter_queue, arn) = create_queue(client, template, "DeadLetterQueue", "", None).await?;
    let (retry_queue, _) = create_queue(client, template, "RetryQueue", &arn, Some(visibility)).await?;
    Ok((retry_queue, dead_letter_queue))
}

/// The queue's URL and ARN.
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
        // It is there from an earlier run, which may have had other settings.
        Err(error) if error.as_service_error().is_some_and(CreateQueueError::is_queue_name_exists) => {
            let url = client.get_queue_url().queue_name(logical_id).send().await?.queue_url;
            let set = client.set_queue_attributes().set_queue_url(url.clone()).set_attributes(Some(attributes));
            set.send().await?;
            url
        }
        Err(error) => return Err(code_of(&error).into()),
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

/// A function's name, and its handler with its state. A macro, since no signature says that what an async handler
/// returns may cross threads.
macro_rules! function {
    ($function:ident, $state:expr, $template:expr) => {{
        let state = Arc::new($state);
        let handler: Handler = Arc::new(move |request, deadline| {
            let state = Arc::clone(&state);
            Box::pin(async move { $function::handle(request, &state, deadline).await.map(http_server::whole) })
        });
        let name = $function::ENDPOINT.function;
        let cors = $template.cors(&logical_id(name))?;
        (name, Function { handler, timeout: $function::TIMEOUT, cors })
    }};
}

/// The one that answers piece by piece.
fn agent_chat(
    options: &Options,
    inbox: &Inbox,
    template: &Template,
    turns: &Turns,
) -> Result<(&'static str, Function), Error> {
    let state = Arc::new(agent_chat::State {
        inbox: inbox.clone(),
        secrets: SecretsCache::fixed(&options.secrets, true, options.clock.clone())?,
        upstream: agent_chat::Upstream::new(options.chat.connect)?,
        key_sets: agent_chat::KeySets::new(),
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
    let door = || -> Result<Receiver, Error> {
        let secrets = SecretsCache::fixed(&options.secrets, true, options.clock.clone())?;
        let (redaction, skip) = (options.redaction.clone(), options.skip.clone());
        Ok(Receiver { inbox: inbox.clone(), secrets, redaction, skip, body_limit: BODY_LIMIT })
    };
    let replies = || options.replies.clone();
    let client_message = client_message::State { door: door()?, replies: replies(), answers: client_message::Code };
    let server_message = server_message::State { door: door()?, replies: replies(), answers: server_message::Code };
    Ok(BTreeMap::from([
        agent_chat(options, inbox, template, turns)?,
        function!(client_message, client_message, template),
        function!(server_message, server_message, template),
        function!(conversation_webhooks, door()?, template),
        function!(session_lifecycle, door()?, template),
    ]))
}

/// `client-message` is `ClientMessage` in the template.
fn logical_id(function: &str) -> String {
    let mut words = function.split('-').map(|word| word.split_at(1));
    words.by_ref().fold(String::new(), |id, (initial, rest)| id + &initial.to_ascii_uppercase() + rest)
}
