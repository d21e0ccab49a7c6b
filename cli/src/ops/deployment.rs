//! Finds the deployment that a command addresses, and connects to its table and queues.

use aws_config::SdkConfig;
use aws_sdk_sqs::types::QueueAttributeName;
use clap::Args;
use gatehouse_deliveries::DeliveryTable;
use gatehouse_inbox::Store;
use gatehouse_local::delivery::{Client, Delivery};
use gatehouse_local::status::{self, About};
use gatehouse_local::{Error, external_sdk};
use gatehouse_runtime::aws::CallLimits;
use gatehouse_runtime::{Clock, Random};

use super::meter::Meter;
use crate::settings::{DEFAULT_AT, StackArgs, dev_at, has_default_stack};
use crate::shell::{note, shell_quote};
use crate::stack::{Outputs, aws_error};

/// Timeout of one AWS call. It is long, because only a user at a terminal waits.
const CALL_LIMIT: std::time::Duration = std::time::Duration::from_secs(15);
/// Lifetime of tombstones in days. The functions' setting `EventTtlDays` is not known here.
const TTL_DAYS: u32 = 90;

/// Arguments that select a deployment.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Deployment")]
pub(crate) struct TargetArgs {
    #[command(flatten)]
    aws: StackArgs,
    /// URL of a local `gatehouse dev`, if no stack is named [default: `at` in gatehouse.toml, or http://127.0.0.1:9000]
    #[arg(long = "at", value_name = "URL", conflicts_with_all = ["stack", "table"])]
    at: Option<String>,
    /// Name of a DynamoDB table, with the credentials and region of the environment
    #[arg(long, value_name = "TABLE", conflicts_with = "stack")]
    table: Option<String>,
    /// With --table: URL of the retry queue; its redrive policy names the dead-letter queue
    #[arg(long, value_name = "URL", requires = "table")]
    queue: Option<String>,
    /// With --table: URL of DynamoDB and SQS, if they are not in AWS
    #[arg(long, value_name = "URL", requires = "table")]
    endpoint_url: Option<String>,
    /// Print the command's cost on standard error: requests to DynamoDB and SQS, and read units
    #[arg(long)]
    cost: bool,
}

/// A deployment, with clients for its table and queues.
#[derive(Debug)]
pub struct Deployment {
    /// The store of the events.
    pub(crate) store: Store,
    /// The table's name.
    pub(crate) table: String,
    /// A client for requests about the table itself, such as `DescribeTable`.
    pub(crate) dynamodb: aws_sdk_dynamodb::Client,
    pub(crate) sqs: aws_sdk_sqs::Client,
    queues: Option<Queues>,
    delivery_table: Option<String>,
    /// The source of the current time.
    pub(crate) clock: Clock,
    /// The source of nonces.
    pub(crate) random: Random,
    /// For `--stack`: the SDK configuration and the stack's outputs.
    pub(crate) deployed: Option<(SdkConfig, Outputs)>,
    /// For a `gatehouse dev`: its response at `/gatehouse`.
    pub(crate) dev: Option<status::Answer>,
    /// The options that select this deployment in a suggested command, with a leading space.
    pub(crate) flags: String,
    meter: Meter,
    _cost_report: Option<CostReport>,
}

/// Prints the cost of a command when the command ends.
#[derive(Debug)]
struct CostReport(Meter);

impl Drop for CostReport {
    fn drop(&mut self) {
        note(format!("cost: {}", self.0));
    }
}

impl TargetArgs {
    /// Finds the deployment and its parts.
    ///
    /// # Errors
    /// If the deployment does not exist or cannot be reached.
    pub(crate) async fn find(&self) -> Result<Deployment, Error> {
        if let Some(stack) = &self.stack()? {
            let sdk = self.aws.sdk().await?;
            let outputs = Outputs::of(&sdk, stack).await?;
            let table = outputs.get("EventTableName")?.to_owned();
            let (retry, dead_letter) = (outputs.get("RetryQueueUrl")?, outputs.get("DeadLetterQueueUrl")?);
            let queues = Queues { retry: retry.to_owned(), dead_letter: dead_letter.to_owned() };
            let parts = Parts::of_command(table, Some(queues), sdk.clone(), sdk.clone());
            let flags = self.aws.flags(stack);
            return Ok(Deployment { deployed: Some((sdk, outputs)), ..self.connect(parts, flags) });
        }
        if let Some(table) = &self.table {
            return self.find_table(table).await;
        }
        let at = dev_at(self.at.as_deref())?;
        let answer = query_dev(&at).await?;
        let parts = Parts::of_dev(answer.about.clone());
        // Without it, the suggested command would address the stack.
        let needs_flag = at != DEFAULT_AT || has_default_stack();
        let flags = if needs_flag { format!(" --at {}", shell_quote(&at)) } else { String::new() };
        Ok(Deployment { dev: Some(answer), ..self.connect(parts, flags) })
    }

    /// Returns the name of the stack, unless another deployment is named.
    fn stack(&self) -> Result<Option<String>, Error> {
        if self.at.is_some() || self.table.is_some() { Ok(None) } else { self.aws.stack() }
    }

    async fn find_table(&self, table: &str) -> Result<Deployment, Error> {
        let get = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let sdk = match &self.endpoint_url {
            Some(url) => external_sdk(url, &get),
            None => self.aws.sdk().await?,
        };
        let mut flags = format!(" --table {}", shell_quote(table));
        for (option, value) in [("--queue", &self.queue), ("--endpoint-url", &self.endpoint_url)] {
            flags.extend(value.iter().map(|value| format!(" {option} {}", shell_quote(value))));
        }
        let parts = Parts::of_command(table.to_owned(), None, sdk.clone(), sdk);
        let mut deployment = self.connect(parts, flags);
        if let Some(queue) = &self.queue {
            let dead_letter_queue = deployment.dead_letter_queue_of(queue).await?;
            deployment.queues = Some(Queues { retry: queue.clone(), dead_letter: dead_letter_queue });
        }
        Ok(deployment)
    }

    /// Returns a name of the deployment that stays the same: the stack, the table, the data directory of a running
    /// `gatehouse dev`, or else its URL.
    pub(crate) async fn identity(&self) -> Result<String, Error> {
        if let Some(stack) = self.stack()? {
            return Ok(format!("stack-{stack}"));
        }
        if let Some(table) = &self.table {
            return Ok(format!("table-{table}"));
        }
        let at = dev_at(self.at.as_deref())?;
        let data = query_dev(&at).await.ok().and_then(|answer| answer.about.data_dir);
        Ok(data.map_or_else(|| at.trim_end_matches('/').to_owned(), |data| format!("data-{}", data.display())))
    }

    fn connect(&self, parts: Parts, flags: String) -> Deployment {
        let meter = Meter::default();
        let cost_report = self.cost.then(|| CostReport(meter.clone()));
        Deployment { flags, _cost_report: cost_report, ..Deployment::metered(parts, meter) }
    }
}

/// Asks a `gatehouse dev` for the names of its parts.
async fn query_dev(at: &str) -> Result<status::Answer, Error> {
    let url = format!("{}{}", at.trim_end_matches('/'), status::PATH);
    let (method, body) = ("GET".to_owned(), bytes::Bytes::new());
    let request = Delivery { function: String::new(), path: String::new(), method, headers: Vec::new(), body };
    let answer = match Client::new(&url)?.send(&request).await {
        Ok(answer) => answer,
        Err(error) => {
            return Err(format!(
                "no `gatehouse dev` is reachable at {at}: {}\nstart one, pass its URL with --at URL, or name a deployed \
                 stack with --stack NAME",
                crate::shell::innermost(&*error)
            )
            .into());
        }
    };
    Ok(serde_json::from_str(&answer.body)
        .map_err(|_| format!("the server at {url} is not a `gatehouse dev` (HTTP status {})", answer.status))?)
}

/// The names of a deployment's parts, and the SDK configurations to reach them.
#[derive(Debug, Clone)]
pub struct Parts {
    /// The configuration to reach DynamoDB.
    pub dynamodb: SdkConfig,
    /// The configuration to reach SQS.
    pub sqs: SdkConfig,
    /// The name of the table.
    pub table: String,
    /// The queues, if they are known.
    pub queues: Option<Queues>,
    /// The name of the delivery table, if it is known.
    pub delivery_table: Option<String>,
    /// The source of the current time.
    pub clock: Clock,
    /// The source of nonces.
    pub random: Random,
    /// The lifetime of tombstones in days.
    pub ttl_days: u32,
}

impl Parts {
    fn of_dev(about: About) -> Parts {
        let get = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let (dynamodb, sqs) = (external_sdk(&about.dynamodb, &get), external_sdk(&about.sqs, &get));
        let queues = Queues { retry: about.retry_queue, dead_letter: about.dead_letter_queue };
        let delivery_table = Some(about.delivery_table);
        Parts { delivery_table, ..Parts::of_command(about.table, Some(queues), dynamodb, sqs) }
    }

    fn of_command(table: String, queues: Option<Queues>, dynamodb: SdkConfig, sqs: SdkConfig) -> Parts {
        let (clock, random, delivery_table) = (Clock::System, Random::System, None);
        Parts { dynamodb, sqs, table, queues, delivery_table, clock, random, ttl_days: TTL_DAYS }
    }
}

/// The URLs of a deployment's queues.
#[derive(Debug, Clone)]
pub struct Queues {
    /// The URL of the retry queue.
    pub retry: String,
    /// The URL of the dead-letter queue.
    pub dead_letter: String,
}

impl Deployment {
    /// Creates the clients for a deployment in AWS, with the time limits of a command.
    #[must_use]
    pub fn new(parts: Parts) -> Deployment {
        Deployment::metered(parts, Meter::default())
    }

    fn metered(parts: Parts, meter: Meter) -> Deployment {
        let Parts { dynamodb, sqs, table, queues, delivery_table, clock, random, ttl_days } = parts;
        let store = Store::watched(&dynamodb, &table, ttl_days, meter.clone());
        let limits = CallLimits::within(CALL_LIMIT);
        let sqs = aws_sdk_sqs::config::Builder::from(&sqs)
            .timeout_config(limits.timeouts())
            .retry_config(limits.retries())
            .interceptor(meter.clone());
        let dynamodb = aws_sdk_dynamodb::config::Builder::from(&dynamodb)
            .timeout_config(limits.timeouts())
            .retry_config(limits.retries())
            .interceptor(meter.clone());
        Deployment {
            store,
            table,
            dynamodb: aws_sdk_dynamodb::Client::from_conf(dynamodb.build()),
            sqs: aws_sdk_sqs::Client::from_conf(sqs.build()),
            queues,
            delivery_table,
            clock,
            random,
            deployed: None,
            dev: None,
            flags: String::new(),
            meter,
            _cost_report: None,
        }
    }

    /// Connects again to a `gatehouse dev` that was restarted, perhaps with other ports for its engines. Other
    /// deployments stay as they are.
    ///
    /// # Errors
    /// If the `gatehouse dev` is not reachable.
    pub(crate) async fn reconnect(&mut self, target: &TargetArgs) -> Result<(), Error> {
        if self.dev.is_some() {
            let answer = query_dev(&dev_at(target.at.as_deref())?).await?;
            let connected = Deployment::metered(Parts::of_dev(answer.about.clone()), self.meter.clone());
            let (flags, cost_report) = (std::mem::take(&mut self.flags), self._cost_report.take());
            *self = Deployment { dev: Some(answer), flags, _cost_report: cost_report, ..connected };
        }
        Ok(())
    }

    /// The retry queue's URL.
    ///
    /// # Errors
    /// If the command line has --table without --queue.
    pub(crate) fn retry_queue(&self) -> Result<&str, Error> {
        Ok(&self.queues()?.retry)
    }

    /// The dead-letter queue's URL.
    ///
    /// # Errors
    /// If the command line has --table without --queue.
    pub(crate) fn dead_letter_queue(&self) -> Result<&str, Error> {
        Ok(&self.queues()?.dead_letter)
    }

    /// Whether the queues' URLs are known.
    pub(crate) fn has_queues(&self) -> bool {
        self.queues.is_some()
    }

    /// Returns the delivery table.
    ///
    /// # Errors
    /// If the deployment does not deliver events, or the command line has --table.
    pub(crate) fn delivery_table(&self) -> Result<DeliveryTable, Error> {
        let name = match (&self.deployed, &self.delivery_table) {
            (Some((_, outputs)), _) => outputs.get("DeliveryTableName").map_err(|_| {
                "the stack does not deliver events; deploy it with the parameter Deliveries=true".to_owned()
            })?,
            (None, Some(name)) => name,
            (None, None) => return Err("deliveries are not known with --table; use --stack, or a gatehouse dev".into()),
        };
        Ok(DeliveryTable::with_client(self.dynamodb.clone(), name))
    }

    /// Returns the URLs of the delivery queue and of the slow delivery queue, as far as the deployment has them.
    pub(crate) fn delivery_queues(&self) -> [Option<&str>; 2] {
        match (&self.deployed, &self.dev) {
            (Some((_, outputs)), _) => ["DeliveryQueueUrl", "SlowDeliveryQueueUrl"].map(|name| outputs.get(name).ok()),
            (None, Some(dev)) => [&dev.about.delivery_queue, &dev.about.slow_delivery_queue]
                .map(|url| Some(url.as_str()).filter(|url| !url.is_empty())),
            (None, None) => [None; 2],
        }
    }

    /// Whether the command line has --table, so that deliveries are not known.
    pub(crate) fn has_only_table(&self) -> bool {
        self.deployed.is_none() && self.delivery_table.is_none()
    }

    fn queues(&self) -> Result<&Queues, Error> {
        Ok(self
            .queues
            .as_ref()
            .ok_or("this command needs the queues: add --queue URL, with the URL of the retry queue, to --table")?)
    }

    /// Reads an attribute of a queue.
    ///
    /// # Errors
    /// If SQS fails, or the queue has no such attribute.
    pub(crate) async fn attribute(&self, queue: &str, name: QueueAttributeName) -> Result<String, Error> {
        let get = self.sqs.get_queue_attributes().queue_url(queue).attribute_names(name.clone()).send().await;
        let answer = get.map_err(|error| aws_error(&format!("the queue {queue}"), &error))?;
        let value = answer.attributes().and_then(|attributes| attributes.get(&name)).cloned();
        Ok(value.ok_or_else(|| format!("the queue {queue} has no {}", name.as_str()))?)
    }

    /// The approximate numbers of visible and hidden messages on a queue.
    ///
    /// # Errors
    /// If SQS fails.
    pub(crate) async fn counts(&self, queue: &str) -> Result<(u64, u64), Error> {
        let names = [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
        ];
        let get =
            self.sqs.get_queue_attributes().queue_url(queue).set_attribute_names(Some(names.to_vec())).send().await;
        let answer = get.map_err(|error| aws_error(&format!("the queue {queue}"), &error))?;
        let mut attributes = answer.attributes.unwrap_or_default();
        let [visible, hidden] = names.map(|name| attributes.remove(&name).unwrap_or_default().parse::<u64>());
        Ok((visible?, hidden?))
    }

    /// Reads a queue's ARN.
    ///
    /// # Errors
    /// As for [`attribute`](Self::attribute).
    pub(crate) async fn arn(&self, queue: &str) -> Result<String, Error> {
        self.attribute(queue, QueueAttributeName::QueueArn).await
    }

    async fn dead_letter_queue_of(&self, queue: &str) -> Result<String, Error> {
        let policy = self.attribute(queue, QueueAttributeName::RedrivePolicy).await?;
        let policy: serde_json::Value = serde_json::from_str(&policy)?;
        let arn = policy["deadLetterTargetArn"].as_str().unwrap_or_default();
        let name = arn.rsplit(':').next().unwrap_or_default();
        let url = self.sqs.get_queue_url().queue_name(name).send().await.map_err(|error| aws_error(name, &error))?;
        Ok(url.queue_url.ok_or("the dead-letter queue has no URL")?)
    }
}
