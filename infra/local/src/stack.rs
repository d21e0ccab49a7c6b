//! Everything, started together.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_sqs::types::QueueAttributeName;
use client_message::Replies;
use event_retry::State as RetryState;
use gatehouse_edge::Door;
use gatehouse_edge::secrets::{DEVELOPMENT, Keeper};
use gatehouse_inbox::queue::Queues;
use gatehouse_inbox::{Clock, Inbox, Store};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::Error;
use crate::engine::{Engine, QUEUE_MAX_BYTES, local_sdk};
use crate::event_source::{self, Batch};
use crate::fault::FaultProxy;
use crate::function_url::{self, Function};
use crate::template::Template;

/// What may differ from one stack to the next.
#[derive(Debug, Clone)]
pub struct Options {
    /// The secrets document.
    pub secrets: String,
    /// Replies to Vapi's client messages.
    pub replies: Replies,
    /// From what the retry's back-off grows: whole seconds.
    pub visibility: Duration,
    /// The retry queue's own visibility timeout: how long a message is away when nobody says anything about it. Not
    /// shorter than event-retry may take for a batch, except to test just that.
    pub queue_visibility: Duration,
    /// `EVENT_TTL_DAYS`
    pub ttl_days: u32,
    /// Tells the functions the time.
    pub clock: Clock,
    /// Whether the event source takes batches by itself; else [`Stack::take_batch`] does.
    pub poll: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            secrets: DEVELOPMENT.to_owned(),
            replies: Replies::default(),
            visibility: Duration::from_secs(1),
            queue_visibility: event_retry::TIMEOUT,
            ttl_days: 90,
            clock: Clock::System,
            poll: true,
        }
    }
}

/// A running stack; it stops when dropped.
#[derive(Debug)]
pub struct Stack {
    /// Where the functions are: `http://127.0.0.1:<port>`.
    pub url: String,
    /// The table's name.
    pub table: String,
    /// The retry queue's URL.
    pub retry_queue: String,
    /// The dead-letter queue's URL.
    pub dead_letter_queue: String,
    /// What the functions see of DynamoDB.
    pub dynamodb: FaultProxy,
    /// What the functions see of SQS.
    pub sqs: FaultProxy,
    /// Counts the batches the event source has taken.
    pub batches: watch::Receiver<u64>,
    retry: Arc<RetryState>,
    engines: Engines,
    tasks: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Engines {
    dynamodb: Engine,
    sqs: Engine,
}

impl Stack {
    /// Starts the engines, creates what the template names, and serves the functions.
    ///
    /// # Errors
    /// When a part does not start.
    pub async fn start(options: Options) -> Result<Stack, Error> {
        let engines = Engines { dynamodb: Engine::dynamodb().await?, sqs: Engine::sqs().await? };
        let dynamodb = FaultProxy::start(engines.dynamodb.address).await?;
        let sqs = FaultProxy::start(engines.sqs.address).await?;

        let template = Template::read()?;
        let table = "EventTable".to_owned();
        template.create_table(&client_of_dynamodb(&engines), &table).await?;
        let client = client_of_sqs(&engines);
        let (dead_letter_queue, arn) = create_queue(&client, &template, "DeadLetterQueue", "", None).await?;
        let (retry_queue, _) =
            create_queue(&client, &template, "RetryQueue", &arn, Some(options.queue_visibility)).await?;

        let store = Store::new(&local_sdk(&dynamodb.url()), &table, options.ttl_days);
        let queues = Queues::new(&local_sdk(&sqs.url()), QUEUE_MAX_BYTES);
        let retry = Arc::new(RetryState {
            store: store.clone(),
            queues: queues.clone(),
            retry_queue: retry_queue.clone(),
            dead_letter_queue: dead_letter_queue.clone(),
            visibility: options.visibility,
            clock: options.clock.clone(),
        });
        let inbox = Inbox { store, queues, retry_queue: Some(retry_queue.clone()), clock: options.clock.clone() };
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let mut tasks = vec![function_url::serve(listener, functions(&options, &inbox)?)];
        let mut batches = watch::channel(0).1;
        if options.poll {
            let task;
            (task, batches) = event_source::poll(client, retry_queue.clone(), Arc::clone(&retry));
            tasks.push(task);
        }
        Ok(Stack { url, table, retry_queue, dead_letter_queue, dynamodb, sqs, batches, retry, engines, tasks })
    }

    /// What a function binary needs in its environment to be part of this stack.
    #[must_use]
    pub fn environment(&self) -> BTreeMap<&'static str, String> {
        BTreeMap::from([
            ("TABLE_NAME", self.table.clone()),
            ("RETRY_QUEUE_URL", self.retry_queue.clone()),
            ("DEAD_LETTER_QUEUE_URL", self.dead_letter_queue.clone()),
            ("QUEUE_MAX_BYTES", QUEUE_MAX_BYTES.to_string()),
            ("GATEHOUSE_SECRETS", DEVELOPMENT.to_owned()),
            ("AWS_SAM_LOCAL", "true".to_owned()),
            ("AWS_ENDPOINT_URL_DYNAMODB", self.dynamodb.url()),
            ("AWS_ENDPOINT_URL_SQS", self.sqs.url()),
        ])
    }

    /// Lets the event source take one batch now.
    ///
    /// # Errors
    /// When SQS does not answer.
    pub async fn take_batch(&self) -> Result<Batch, Error> {
        event_source::take_batch(&self.sqs_client(), &self.retry_queue, &self.retry, Duration::from_secs(5)).await
    }

    /// A client of its own, past the proxy.
    #[must_use]
    pub fn dynamodb_client(&self) -> aws_sdk_dynamodb::Client {
        client_of_dynamodb(&self.engines)
    }

    /// A client of its own, past the proxy.
    #[must_use]
    pub fn sqs_client(&self) -> aws_sdk_sqs::Client {
        client_of_sqs(&self.engines)
    }

    /// A store of its own, past the proxy.
    #[must_use]
    pub fn store(&self) -> Store {
        Store::new(&local_sdk(&format!("http://{}", self.engines.dynamodb.address)), &self.table, 90)
    }

    /// Moves everything on the dead-letter queue back to the retry queue, as the console's redrive does.
    ///
    /// # Errors
    /// When SQS does not take it.
    pub async fn redrive(&self) -> Result<(), Error> {
        let client = self.sqs_client();
        let (from, to) = (arn(&client, &self.dead_letter_queue).await?, arn(&client, &self.retry_queue).await?);
        client.start_message_move_task().source_arn(from).destination_arn(to).send().await?;
        Ok(())
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

fn client_of_dynamodb(engines: &Engines) -> aws_sdk_dynamodb::Client {
    aws_sdk_dynamodb::Client::new(&local_sdk(&format!("http://{}", engines.dynamodb.address)))
}

fn client_of_sqs(engines: &Engines) -> aws_sdk_sqs::Client {
    aws_sdk_sqs::Client::new(&local_sdk(&format!("http://{}", engines.sqs.address)))
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
    let mut create = client.create_queue().queue_name(logical_id);
    for (name, value) in attributes {
        create = create.attributes(QueueAttributeName::from(name.as_str()), value);
    }
    let url = create.send().await?.queue_url.ok_or("the queue has no URL")?;
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
    ($function:ident, $state:expr) => {{
        let state = Arc::new($state);
        let handle: Function = Arc::new(move |request, deadline| {
            let state = Arc::clone(&state);
            Box::pin(async move { $function::handle(request, &state, deadline).await })
        });
        ($function::ENDPOINT.function, handle)
    }};
}

fn functions(options: &Options, inbox: &Inbox) -> Result<BTreeMap<&'static str, Function>, Error> {
    let door = || -> Result<Door, Error> {
        let secrets = Keeper::fixed(&options.secrets, true, options.clock.clone())?;
        Ok(Door { inbox: inbox.clone(), secrets })
    };
    let client_message = client_message::State { door: door()?, replies: options.replies.clone() };
    Ok(BTreeMap::from([
        function!(client_message, client_message),
        function!(conversation_webhooks, door()?),
        function!(session_lifecycle, door()?),
    ]))
}
