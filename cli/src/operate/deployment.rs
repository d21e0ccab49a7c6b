//! Which deployment a command is about, and how to reach its parts.

use aws_config::SdkConfig;
use aws_sdk_sqs::types::QueueAttributeName;
use clap::Args;
use gatehouse_inbox::Store;
use gatehouse_inbox::aws::CallLimits;
use gatehouse_local::about::{self, About};
use gatehouse_local::delivery::{Client, Delivery};
use gatehouse_local::{Error, foreign_sdk};

use super::meter::Meter;
use crate::shell::quoted;
use crate::stack::{Outputs, told};

/// What one call may take: nobody but the reader of a terminal waits.
const CALL_LIMIT: std::time::Duration = std::time::Duration::from_secs(15);
/// How long tombstones are kept at least, in days. The functions' own setting is not known here.
const TTL_DAYS: u32 = 90;

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Which deployment")]
pub(crate) struct Which {
    /// A deployed stack, whose outputs are read [default: a `gatehouse dev`]
    #[arg(long, value_name = "NAME")]
    stack: Option<String>,
    /// Where a `gatehouse dev` listens
    #[arg(long = "at", value_name = "URL", default_value = "http://127.0.0.1:9000", conflicts_with_all = ["stack", "table"])]
    at: String,
    /// A table by its name, with the environment's credentials and region
    #[arg(long, value_name = "TABLE", conflicts_with = "stack")]
    table: Option<String>,
    /// With --table: its retry queue by its URL; the dead-letter queue is the one its redrive policy names
    #[arg(long, value_name = "URL", requires = "table")]
    queue: Option<String>,
    /// With --table: where DynamoDB and SQS are, if not in AWS
    #[arg(long, value_name = "URL", requires = "table")]
    endpoint_url: Option<String>,
    /// Say on standard error what the command cost: requests to DynamoDB and SQS, and read units
    #[arg(long)]
    cost: bool,
}

/// A deployment's parts.
#[derive(Debug)]
pub(crate) struct Deployment {
    /// Holds the events.
    pub(crate) store: Store,
    /// The table's name.
    pub(crate) table: String,
    /// Past the store, for what is asked about the table itself.
    pub(crate) dynamodb: aws_sdk_dynamodb::Client,
    pub(crate) sqs: aws_sdk_sqs::Client,
    queues: Option<(String, String)>,
    /// A deployed stack's outputs, and how AWS is reached.
    pub(crate) deployed: Option<(SdkConfig, Outputs)>,
    /// What a `gatehouse dev` said.
    pub(crate) dev: Option<about::Answer>,
    /// How to name it in another command.
    pub(crate) again: String,
    _cost: Option<Cost>,
}

/// Says what a command cost when it ends.
#[derive(Debug)]
struct Cost(Meter);

impl Drop for Cost {
    fn drop(&mut self) {
        eprintln!("cost: {}", self.0);
    }
}

impl Which {
    /// Finds the parts.
    ///
    /// # Errors
    /// When there is no such deployment, or it cannot be asked.
    pub(crate) async fn find(&self) -> Result<Deployment, Error> {
        if let Some(stack) = &self.stack {
            let sdk = gatehouse_inbox::aws::sdk_config().await;
            let outputs = Outputs::of(&sdk, stack).await?;
            let table = outputs.get("EventTableName")?.to_owned();
            let queues = (outputs.get("RetryQueueUrl")?.to_owned(), outputs.get("DeadLetterQueueUrl")?.to_owned());
            let found = Parts { table, queues: Some(queues), dynamodb: sdk.clone(), sqs: sdk.clone() };
            let again = format!(" --stack {}", quoted(stack));
            return Ok(Deployment { deployed: Some((sdk, outputs)), ..self.of(found, again) });
        }
        if let Some(table) = &self.table {
            return self.by_name(table).await;
        }
        let answer = self.dev().await?;
        let get = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let About { table, retry_queue, dead_letter_queue, dynamodb, sqs, .. } = answer.about.clone();
        let (dynamodb, sqs) = (foreign_sdk(&dynamodb, &get), foreign_sdk(&sqs, &get));
        let found = Parts { table, queues: Some((retry_queue, dead_letter_queue)), dynamodb, sqs };
        let elsewhere = format!(" --at {}", quoted(&self.at));
        let again = if self.at == "http://127.0.0.1:9000" { String::new() } else { elsewhere };
        Ok(Deployment { dev: Some(answer), ..self.of(found, again) })
    }

    async fn by_name(&self, table: &str) -> Result<Deployment, Error> {
        let get = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let sdk = match &self.endpoint_url {
            Some(url) => foreign_sdk(url, &get),
            None => gatehouse_inbox::aws::sdk_config().await,
        };
        let mut again = format!(" --table {}", quoted(table));
        for (option, value) in [("--queue", &self.queue), ("--endpoint-url", &self.endpoint_url)] {
            again.extend(value.iter().map(|value| format!(" {option} {}", quoted(value))));
        }
        let found = Parts { table: table.to_owned(), queues: None, dynamodb: sdk.clone(), sqs: sdk };
        let mut deployment = self.of(found, again);
        if let Some(queue) = &self.queue {
            let dead_letters = deployment.dead_letters_of(queue).await?;
            deployment.queues = Some((queue.clone(), dead_letters));
        }
        Ok(deployment)
    }

    async fn dev(&self) -> Result<about::Answer, Error> {
        let url = format!("{}{}", self.at.trim_end_matches('/'), about::PATH);
        let (method, body) = ("GET".to_owned(), bytes::Bytes::new());
        let ask = Delivery { function: String::new(), path: String::new(), method, headers: Vec::new(), body };
        let answer = match Client::new(&url)?.send(&ask).await {
            Ok(answer) => answer,
            Err(error) => {
                return Err(format!(
                    "no `gatehouse dev` answers at {}: {}\nstart one, say where it is with --at URL, or name a deployed stack with --stack NAME",
                    self.at,
                    crate::shell::innermost(&*error)
                )
                .into());
            }
        };
        Ok(serde_json::from_str(&answer.body)
            .map_err(|_| format!("what answers at {url} is no `gatehouse dev` (HTTP status {})", answer.status))?)
    }

    fn of(&self, found: Parts, again: String) -> Deployment {
        let meter = Meter::default();
        let limits = CallLimits::within(CALL_LIMIT);
        let sqs = aws_sdk_sqs::config::Builder::from(&found.sqs)
            .timeout_config(limits.timeouts())
            .retry_config(limits.retries())
            .interceptor(meter.clone());
        let dynamodb = aws_sdk_dynamodb::config::Builder::from(&found.dynamodb).interceptor(meter.clone());
        Deployment {
            store: Store::watched(&found.dynamodb, &found.table, TTL_DAYS, meter.clone()),
            table: found.table,
            dynamodb: aws_sdk_dynamodb::Client::from_conf(dynamodb.build()),
            sqs: aws_sdk_sqs::Client::from_conf(sqs.build()),
            queues: found.queues,
            deployed: None,
            dev: None,
            again,
            _cost: self.cost.then(|| Cost(meter)),
        }
    }
}

struct Parts {
    table: String,
    queues: Option<(String, String)>,
    dynamodb: SdkConfig,
    sqs: SdkConfig,
}

impl Deployment {
    /// The retry queue's URL.
    ///
    /// # Errors
    /// When only a table was named.
    pub(crate) fn retry_queue(&self) -> Result<&str, Error> {
        Ok(&self.queues()?.0)
    }

    /// The dead-letter queue's URL.
    ///
    /// # Errors
    /// When only a table was named.
    pub(crate) fn dead_letter_queue(&self) -> Result<&str, Error> {
        Ok(&self.queues()?.1)
    }

    /// Whether it is known which queues belong to it.
    pub(crate) fn has_queues(&self) -> bool {
        self.queues.is_some()
    }

    fn queues(&self) -> Result<&(String, String), Error> {
        Ok(self.queues.as_ref().ok_or("which queue? Add --queue URL, the retry queue's, to --table")?)
    }

    /// An attribute of a queue.
    ///
    /// # Errors
    /// When SQS does not say.
    pub(crate) async fn attribute(&self, queue: &str, name: QueueAttributeName) -> Result<String, Error> {
        let get = self.sqs.get_queue_attributes().queue_url(queue).attribute_names(name.clone()).send().await;
        let answer = get.map_err(|error| told(&format!("the queue {queue}"), &error))?;
        let value = answer.attributes().and_then(|attributes| attributes.get(&name)).cloned();
        Ok(value.ok_or_else(|| format!("the queue {queue} has no {}", name.as_str()))?)
    }

    /// About how many messages a queue has: visible, and hidden.
    ///
    /// # Errors
    /// When SQS does not say.
    pub(crate) async fn counts(&self, queue: &str) -> Result<(u64, u64), Error> {
        let names = [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
        ];
        let get =
            self.sqs.get_queue_attributes().queue_url(queue).set_attribute_names(Some(names.to_vec())).send().await;
        let answer = get.map_err(|error| told(&format!("the queue {queue}"), &error))?;
        let mut attributes = answer.attributes.unwrap_or_default();
        let [visible, hidden] = names.map(|name| attributes.remove(&name).unwrap_or_default().parse::<u64>());
        Ok((visible?, hidden?))
    }

    /// A queue's ARN.
    ///
    /// # Errors
    /// As [`attribute`](Self::attribute).
    pub(crate) async fn arn(&self, queue: &str) -> Result<String, Error> {
        self.attribute(queue, QueueAttributeName::QueueArn).await
    }

    async fn dead_letters_of(&self, queue: &str) -> Result<String, Error> {
        let policy = self.attribute(queue, QueueAttributeName::RedrivePolicy).await?;
        let policy: serde_json::Value = serde_json::from_str(&policy)?;
        let arn = policy["deadLetterTargetArn"].as_str().unwrap_or_default();
        let name = arn.rsplit(':').next().unwrap_or_default();
        let url = self.sqs.get_queue_url().queue_name(name).send().await.map_err(|error| told(name, &error))?;
        Ok(url.queue_url.ok_or("the dead-letter queue has no URL")?)
    }
}
