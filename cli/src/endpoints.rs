//! `gatehouse endpoints` lists the URLs to register; `gatehouse ping` tests them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bytes::Bytes;
use clap::Args;
use gatehouse_local::delivery::{Client, Delivery, secret_of, url_of};
use gatehouse_local::template::logical_id;
use gatehouse_local::{Answer, Error};
use gatehouse_payload::{Nonce, Outcome};
use gatehouse_runtime::Clock;
use gatehouse_vendor::{CredentialsShape, Profile, Source};
use gatehouse_vendors::{SOURCES, Secrets, development};
use serde_json::{Value, json};

use crate::secrets::Place;
use crate::send::{line, post};
use crate::settings::{StackArgs, dev_at};
use crate::shell::{print, shell_quote, variable, write};
use crate::stack::Outputs;

pub(crate) const ENDPOINTS_EXAMPLES: &str = "\
Examples:
  gatehouse endpoints --stack gatehouse
  gatehouse endpoints                       `gatehouse dev` on port 9000";

pub(crate) const PING_EXAMPLES: &str = "\
The probe of a webhook endpoint is a signed event of the type gatehouse.ping. It is recorded like any other event, so
the whole path is tested. The probe of agent-chat names an agent that does not exist, so no agent receives it.

Examples:
  gatehouse ping --stack gatehouse
  gatehouse ping                            `gatehouse dev` on port 9000";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    aws: StackArgs,
    /// URL of `gatehouse dev`, if no stack is named [default: `at` in gatehouse.toml, or http://127.0.0.1:9000]
    #[arg(long = "at", value_name = "URL", conflicts_with = "stack")]
    base: Option<String>,
}

/// A public endpoint of the stack.
type Endpoint = &'static dyn Source;

/// Returns the name of the stack output that holds an endpoint's function URL: `ServerMessageUrl`.
fn output(endpoint: Endpoint) -> String {
    format!("{}Url", logical_id(endpoint.profile().function))
}

/// Returns the path that is appended to the function URL, without its leading slash.
fn path(endpoint: Endpoint) -> &'static str {
    endpoint.profile().paths.first().copied().unwrap_or_default().trim_start_matches('/')
}

/// Id of an agent that does not exist, for probes of agent-chat.
const PROBE_AGENT: &str = "gatehouse-ping";

/// Returns the URL of each endpoint of a deployed stack; `None` for a function that a stack of another release lacks.
///
/// # Errors
/// If the stack has none of the endpoints.
fn deployed(outputs: &Outputs) -> Result<Vec<(Endpoint, Option<String>)>, Error> {
    let with_url = |endpoint: Endpoint| {
        let url = outputs.get(&output(endpoint)).ok()?.trim_end_matches('/');
        Some(format!("{url}/{}", path(endpoint)))
    };
    let endpoints = SOURCES.map(|endpoint| (endpoint, with_url(endpoint)));
    if let [(first, None), rest @ ..] = &endpoints[..]
        && rest.iter().all(|(_, url)| url.is_none())
    {
        outputs.get(&output(*first))?;
    }
    Ok(endpoints.into())
}

/// Returns the function and the URL of each endpoint of a deployed stack, like [`of_dev`]; `None` for a function that
/// the stack lacks.
///
/// # Errors
/// If the stack has none of the endpoints.
pub(crate) fn of_stack(outputs: &Outputs) -> Result<Vec<(String, Option<String>)>, Error> {
    let for_probe = |(endpoint, url): (Endpoint, Option<String>)| {
        (endpoint.profile().function.to_owned(), url.map(|url| url.replace("<AgentId>", PROBE_AGENT)))
    };
    Ok(deployed(outputs)?.into_iter().map(for_probe).collect())
}

/// Returns the function and the URL of each endpoint of `gatehouse dev`, from the URLs of its functions. The URL of
/// agent-chat names [`PROBE_AGENT`].
pub(crate) fn of_dev(functions: &BTreeMap<String, String>) -> Vec<(String, Option<String>)> {
    let endpoint_url = |endpoint: Endpoint| {
        let function = endpoint.profile().function;
        let url = functions.get(function)?;
        Some((function.to_owned(), Some(format!("{url}/{}", path(endpoint).replace("<AgentId>", PROBE_AGENT)))))
    };
    SOURCES.into_iter().filter_map(endpoint_url).collect()
}

/// What is printed for a function that the stack lacks.
pub(crate) const NOT_DEPLOYED: &str = "not deployed: the stack has no such function; it is of another release";

impl Arguments {
    /// Returns the name of the stack, unless a `gatehouse dev` is named.
    fn stack(&self) -> Result<Option<String>, Error> {
        if self.base.is_some() { Ok(None) } else { self.aws.stack() }
    }

    /// Returns the endpoints with their URLs, and the secrets document if `with_secrets` is set.
    async fn read(
        &self,
        stack: Option<&str>,
        with_secrets: bool,
    ) -> Result<(Vec<(Endpoint, Option<String>)>, String), Error> {
        let Some(stack) = stack else {
            let base = dev_at(self.base.as_deref())?;
            let base = base.trim_end_matches('/');
            url_of(base)?;
            let with_url = |endpoint: Endpoint| {
                (endpoint, Some(format!("{base}/lambda-url/{}/{}", endpoint.profile().function, path(endpoint))))
            };
            let document = variable("GATEHOUSE_SECRETS")?.unwrap_or_else(|| development().to_owned());
            return Ok((SOURCES.into_iter().map(with_url).collect(), document));
        };
        let sdk = self.aws.sdk().await?;
        let outputs = Outputs::of(&sdk, stack).await?;
        let addresses = deployed(&outputs)?;
        let document = if with_secrets {
            Place::of_stack(&sdk, &outputs)?.read().await?.unwrap_or_default()
        } else {
            String::new()
        };
        Ok((addresses, document))
    }
}

/// Prints the endpoints and their steps as a checklist.
pub(crate) async fn list(arguments: &Arguments) -> Result<bool, Error> {
    let stack = arguments.stack()?;
    let (addresses, _) = arguments.read(stack.as_deref(), false).await?;
    if arguments.json {
        for (endpoint, url) in addresses {
            let Profile { name, function, .. } = endpoint.profile();
            write(&format!("{}\n", json!({"source": name, "function": function, "url": url})))?;
        }
        return Ok(true);
    }
    let mut text = String::new();
    for (endpoint, address) in addresses {
        let Some(address) = address else {
            writeln!(text, "{}\n  {NOT_DEPLOYED}", endpoint.profile().function)?;
            continue;
        };
        writeln!(text, "{}\n  {address}", endpoint.profile().function)?;
        for step in endpoint.profile().steps {
            writeln!(text, "  [ ] {step}")?;
        }
    }
    let flags = match (&stack, &arguments.base) {
        (Some(stack), _) => arguments.aws.flags(stack),
        (None, Some(at)) => format!(" --at {}", shell_quote(at)),
        (None, None) => String::new(),
    };
    writeln!(text, "Then: gatehouse ping{flags}")?;
    print(&text)?;
    Ok(true)
}

/// Posts a probe to each open endpoint and prints the responses. Returns whether all were as expected.
///
/// # Errors
/// If no endpoint is open.
pub(crate) async fn ping(arguments: &Arguments) -> Result<bool, Error> {
    let (addresses, document) = arguments.read(arguments.stack()?.as_deref(), true).await?;
    let secrets = Secrets::parse(&document, true)?;
    let (mut all_expected, mut is_any_open) = (true, false);
    for (endpoint, address) in addresses {
        let Profile { function, secrets: part, shape, .. } = endpoint.profile();
        let report = |state: &str, result: &str, status: Option<u16>| {
            if arguments.json {
                let line = json!({"function": function, "state": state, "status": status, "result": result});
                return write(&format!("{line}\n"));
            }
            let state = match (state, status) {
                ("wrong", _) => "WRONG ".to_owned(),
                (state, Some(_)) => format!("{state:<5} "),
                (_, None) => String::new(),
            };
            write(&format!("{function:<22} {state}{result}\n"))
        };
        let Some(address) = address else {
            report("missing", NOT_DEPLOYED, None)?;
            continue;
        };
        let delivery = match shape {
            CredentialsShape::Nothing => chat_probe(&document),
            _ => probe(endpoint, &secrets)?,
        };
        let Some(delivery) = delivery else {
            let reason = format!("closed: the secrets document has no usable value for {}", part.name);
            report("closed", &reason, None)?;
            continue;
        };
        let address = address.replace("<AgentId>", PROBE_AGENT);
        let (state, result, status) = match post(&Client::new(&address)?, &delivery).await {
            // It has the secret, but a `gatehouse dev` with other secrets has not.
            Ok(answer) if answer.outcome() == Outcome::Closed.as_str() => {
                ("closed", format!("{}  {}", answer.status, line(&answer)), Some(answer.status))
            }
            Ok(answer) => {
                let state = if is_expected_response(endpoint, &answer) { "ok" } else { "wrong" };
                (state, format!("{}  {}", answer.status, line(&answer)), Some(answer.status))
            }
            Err(error) => ("wrong", error, None),
        };
        all_expected &= state != "wrong";
        is_any_open |= state != "closed";
        report(state, &result, status)?;
    }
    if !is_any_open {
        return Err("no endpoint is open; begin with: gatehouse secrets set".into());
    }
    Ok(all_expected)
}

/// Builds a signed event of the type `gatehouse.ping`, which no vendor uses; `None` without a secret.
fn probe(endpoint: Endpoint, secrets: &Secrets) -> Result<Option<Delivery>, Error> {
    let (now, id) = (Clock::System.now(), Nonce::random()?.to_string());
    let body = endpoint.ping(&id, now);
    Ok(Delivery::signed(endpoint, secrets, &format!("msg_ping_{id}"), body, now).ok())
}

/// Builds a chat request of the first client with a token; `None` without one.
fn chat_probe(document: &str) -> Option<Delivery> {
    let clients: Value = serde_json::from_str::<Value>(document).ok()?["agent_chat"]["clients"].clone();
    let n = clients.as_array()?.iter().position(|client| client["token"].is_string())?;
    let token = format!("Bearer {}", secret_of(document, &format!("/agent_chat/clients/{n}/token")));
    Some(Delivery {
        function: String::new(),
        path: String::new(),
        method: "POST".to_owned(),
        headers: vec![("authorization".to_owned(), token), ("content-type".to_owned(), "application/json".to_owned())],
        body: Bytes::from("{}"),
    })
}

fn is_accepted(outcome: &str) -> bool {
    let outcome = Outcome::from_word(outcome);
    matches!(outcome, Some(Outcome::Recorded | Outcome::Queued | Outcome::Skipped))
}

/// Whether the response to a probe is the expected one. Webhook probes are recorded. Agent-chat authenticates the
/// client and then answers that the agent does not exist (404) or that the client may not call it (403).
fn is_expected_response(endpoint: Endpoint, answer: &Answer) -> bool {
    match endpoint.profile().shape {
        CredentialsShape::SigningSecrets | CredentialsShape::Schemes => {
            answer.status == 200 && is_accepted(answer.outcome())
        }
        CredentialsShape::Nothing => {
            [403, 404].contains(&answer.status) && answer.header("content-type") == "application/problem+json"
        }
    }
}
