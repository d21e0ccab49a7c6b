//! `gatehouse endpoints` and `gatehouse ping`: which address belongs where, and whether it answers.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bytes::Bytes;
use clap::Args;
use gatehouse_edge::secrets::{DEVELOPMENT, Secrets};
use gatehouse_inbox::{Clock, Nonce, Outcome};
use gatehouse_local::delivery::{Client, Delivery, Sender, secret_of, url_of};
use gatehouse_local::{Answer, Error};
use serde_json::{Value, json};

use crate::secrets::Place;
use crate::send::{line, post};
use crate::shell::{print, variable};
use crate::stack::Outputs;

pub(crate) const ENDPOINTS_EXAMPLES: &str = "\
Examples:
  gatehouse endpoints --stack gatehouse
  gatehouse endpoints                       of a `gatehouse dev` on port 9000";

pub(crate) const PING_EXAMPLES: &str = "\
A probe of a vendor's is a signed event of the type gatehouse.ping. It is recorded like any other, so that its way is tried to the
end. A probe of agent-chat asks for an agent that is not there: no agent hears of it.

Examples:
  gatehouse ping --stack gatehouse
  gatehouse ping                            of a `gatehouse dev` on port 9000";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The deployed stack, whose outputs are read [default: a `gatehouse dev`]
    #[arg(long, value_name = "NAME")]
    stack: Option<String>,
    /// Where a `gatehouse dev` listens
    #[arg(long = "at", value_name = "URL", default_value = "http://127.0.0.1:9000", conflicts_with = "stack")]
    base: String,
}

/// An address that is registered somewhere.
struct Endpoint {
    function: &'static str,
    /// The stack's output.
    output: &'static str,
    /// What is appended to the function's URL.
    path: &'static str,
    /// Who delivers; nobody does to the chat proxy.
    sender: Option<Sender>,
    /// Whose part of the secrets document opens it.
    part: &'static str,
    /// Where it belongs, a step a line.
    steps: &'static [&'static str],
}

const ENDPOINTS: [Endpoint; 5] = [
    Endpoint {
        function: "conversation-webhooks",
        output: "ConversationWebhooksUrl",
        path: "",
        sender: Some(Sender::Ada),
        part: "ada",
        steps: &[
            "Add it as a webhook endpoint in Ada's dashboard, or by POST /v2/webhooks/ of its API. No event filter is every event.",
            "Its signing secret: gatehouse secrets set ada",
            "More: docs/ada.md",
        ],
    },
    Endpoint {
        function: "session-lifecycle",
        output: "SessionLifecycleUrl",
        path: "",
        sender: Some(Sender::Agntix),
        part: "agntix",
        steps: &[
            "agntix dashboard, Developer, + Add Endpoint. Choose session.created and session.ended.",
            "Its signing secret: gatehouse secrets set agntix",
            "More: docs/agntix.md",
        ],
    },
    Endpoint {
        function: "server-message",
        output: "ServerMessageUrl",
        path: "server",
        sender: Some(Sender::VapiServer),
        part: "vapi",
        steps: &[
            "Vapi dashboard, Server URL of the assistant, the phone number or the organisation, with a credential.",
            "The credential's token: gatehouse secrets set vapi --new",
            "Set server.backoffPlan: without it Vapi sends a failed delivery never again.",
            "More, and which messages to unselect: docs/vapi.md",
        ],
    },
    Endpoint {
        function: "client-message",
        output: "ClientMessageUrl",
        path: "client",
        sender: Some(Sender::VapiClient),
        part: "vapi",
        steps: &["Wherever Vapi's client messages are posted from, with the same credential. More: docs/vapi.md"],
    },
    Endpoint {
        function: "agent-chat",
        output: "AgentChatUrl",
        path: "v1/aibot/bots/<AgentId>/send-message",
        sender: None,
        part: "agent_chat",
        steps: &["Your front end. Clients and agents: docs/chat.md"],
    },
];

/// The agent a probe asks for.
const NOBODY: &str = "gatehouse-ping";

/// Each endpoint's function and whole address, of a deployed stack; agent-chat's is that of an agent that is not there.
pub(crate) fn of_stack(outputs: &Outputs) -> Result<Vec<(String, String)>, Error> {
    let address = |endpoint: &Endpoint| {
        let url = outputs.get(endpoint.output)?.trim_end_matches('/');
        Ok((endpoint.function.to_owned(), format!("{url}/{}", endpoint.path.replace("<AgentId>", NOBODY))))
    };
    ENDPOINTS.iter().map(address).collect()
}

/// The same of a `gatehouse dev`, by its functions' URLs.
pub(crate) fn of_dev(functions: &BTreeMap<String, String>) -> Vec<(String, String)> {
    let address = |endpoint: &Endpoint| {
        let url = functions.get(endpoint.function)?;
        Some((endpoint.function.to_owned(), format!("{url}/{}", endpoint.path.replace("<AgentId>", NOBODY))))
    };
    ENDPOINTS.iter().filter_map(address).collect()
}

impl Arguments {
    /// Each endpoint with its whole address, and the secrets document if `signs`.
    async fn read(&self, signs: bool) -> Result<(Vec<(&'static Endpoint, String)>, String), Error> {
        let Some(stack) = &self.stack else {
            let base = self.base.trim_end_matches('/');
            url_of(base)?;
            let at = |endpoint: &'static Endpoint| {
                (endpoint, format!("{base}/lambda-url/{}/{}", endpoint.function, endpoint.path))
            };
            let document = variable("GATEHOUSE_SECRETS")?.unwrap_or_else(|| DEVELOPMENT.to_owned());
            return Ok((ENDPOINTS.iter().map(at).collect(), document));
        };
        let sdk = gatehouse_inbox::aws::sdk_config().await;
        let outputs = Outputs::of(&sdk, stack).await?;
        let mut addresses = Vec::new();
        for endpoint in &ENDPOINTS {
            let url = outputs.get(endpoint.output)?.trim_end_matches('/');
            addresses.push((endpoint, format!("{url}/{}", endpoint.path)));
        }
        let document =
            if signs { Place::of_stack(&sdk, &outputs)?.read().await?.unwrap_or_default() } else { String::new() };
        Ok((addresses, document))
    }
}

/// Prints the checklist.
pub(crate) async fn list(arguments: &Arguments) -> Result<bool, Error> {
    let (addresses, _) = arguments.read(false).await?;
    let mut told = String::new();
    for (endpoint, address) in addresses {
        writeln!(told, "{}\n  {address}", endpoint.function)?;
        for step in endpoint.steps {
            writeln!(told, "  [ ] {step}")?;
        }
    }
    let stack = arguments.stack.as_ref().map(|stack| format!(" --stack {stack}")).unwrap_or_default();
    writeln!(told, "Then: gatehouse ping{stack}")?;
    print(&told)?;
    Ok(true)
}

/// Posts a probe to each. Whether every one that is open answered as it should, and any is.
pub(crate) async fn ping(arguments: &Arguments) -> Result<bool, Error> {
    let (addresses, document) = arguments.read(true).await?;
    let secrets = Secrets::parse(&document, true)?;
    let (mut good, mut is_any_open) = (true, false);
    for (endpoint, address) in addresses {
        let delivery = match endpoint.sender {
            Some(sender) => probe(sender, &secrets)?,
            None => turn(&document),
        };
        let Some(delivery) = delivery else {
            let closed = format!("closed: the secrets document has no usable value for {}", endpoint.part);
            print(&format!("{:<22} {closed}\n", endpoint.function))?;
            continue;
        };
        is_any_open = true;
        let address = address.replace("<AgentId>", NOBODY);
        let (is_right, told) = match post(&Client::new(&address)?, &delivery).await {
            Ok(answer) => (is_right(endpoint, &answer), format!("{}  {}", answer.status, line(&answer))),
            Err(error) => (false, error),
        };
        good &= is_right;
        print(&format!("{:<22} {:<5} {told}\n", endpoint.function, if is_right { "ok" } else { "WRONG" }))?;
    }
    if !is_any_open {
        return Err("nothing is open; begin with: gatehouse secrets set".into());
    }
    Ok(good)
}

/// A signed event of no vendor's; `None` without a secret.
fn probe(sender: Sender, secrets: &Secrets) -> Result<Option<Delivery>, Error> {
    let (now, id) = (Clock::System.now(), Nonce::random()?.to_string());
    let body = match sender {
        Sender::Ada => json!({"type": "gatehouse.ping", "timestamp": now.to_string(), "data": {}}),
        Sender::Agntix => json!({"eventType": "gatehouse.ping", "createdAt": now.to_string()}),
        Sender::VapiClient | Sender::VapiServer => {
            json!({"message": {"type": "gatehouse.ping", "timestamp": now.as_millis(), "call": {"id": id}}})
        }
    };
    Ok(Delivery::signed(sender, secrets, &format!("msg_ping_{id}"), body.to_string(), now).ok())
}

/// A turn with an agent that is not there; `None` without a client.
fn turn(document: &str) -> Option<Delivery> {
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

fn is_taken(outcome: &str) -> bool {
    let outcome = Outcome::named(outcome);
    matches!(outcome, Some(Outcome::Recorded | Outcome::Queued | Outcome::Skipped))
}

/// A vendor's probe is recorded. The proxy knows the client, and has no such agent, or none the client may call.
fn is_right(endpoint: &Endpoint, answer: &Answer) -> bool {
    match endpoint.sender {
        Some(_) => answer.status == 200 && is_taken(answer.outcome()),
        None => [403, 404].contains(&answer.status) && answer.header("content-type") == "application/problem+json",
    }
}
