//! `gatehouse chat`: chats with an agent through agent-chat, from a terminal.

use std::io::{BufRead, IsTerminal};

use bytes::Bytes;
use clap::Args;
use gatehouse_ag_kit::Dialect;
use gatehouse_ag_kit::turn::{Change, End, Turn};
use gatehouse_local::Error;
use gatehouse_local::delivery::{Client, Delivery, secret_of, url_of};
use gatehouse_payload::Nonce;
use gatehouse_sse::Reader;
use gatehouse_vendors::development;
use http::StatusCode;
use http_body_util::BodyExt;
use serde_json::{Value, json};

use crate::settings::dev_at;
use crate::shell::{variable, write};

pub(crate) const EXAMPLES: &str = "\
Examples:
  gatehouse chat                                 with the test agent of gatehouse dev
  gatehouse chat --agent ag-ui --conversation c1
  GATEHOUSE_CHAT_TOKEN=… gatehouse chat --to https://….lambda-url.eu-north-1.on.aws --agent support
  echo 'What time is it?' | gatehouse chat

The test agent reacts to the words tool, approve, slow, cut and error.";

/// Maximum size of an event in bytes, the same as in agent-chat.
const MAX_EVENT_BYTES: usize = 1024 * 1024;
/// The token of the first client in a secrets document.
const FIRST_TOKEN: &str = "/agent_chat/clients/0/token";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Agent id
    #[arg(long, value_name = "ID", default_value = "ag-kit")]
    agent: String,
    /// Conversation to continue [default: a new one]
    #[arg(long, value_name = "ID")]
    conversation: Option<String>,
    /// Function URL of agent-chat [default: that of `gatehouse dev`, by `at` in gatehouse.toml or on port 9000]
    #[arg(long = "to", value_name = "URL")]
    to: Option<String>,
}

/// A conversation with one agent.
struct Chat {
    client: Client,
    path: String,
    token: String,
    dialect: Dialect,
    conversation: String,
    /// All messages so far. An AG-UI agent receives all of them with each request.
    history: Vec<Value>,
    /// Id of the interrupt that waits for the user's decision.
    interrupt: Option<String>,
}

pub(crate) async fn run(arguments: Arguments) -> Result<bool, Error> {
    let document = variable("GATEHOUSE_SECRETS")?;
    let of_document = secret_of(document.as_deref().unwrap_or(development()), FIRST_TOKEN);
    let token = variable("GATEHOUSE_CHAT_TOKEN")?.unwrap_or(of_document);
    let path = format!("v1/aibot/bots/{}/send-message", arguments.agent);
    let to = match arguments.to {
        Some(to) => to,
        None => format!("{}/lambda-url/agent-chat", dev_at(None)?.trim_end_matches('/')),
    };
    let url = format!("{}/{path}", to.trim_end_matches('/'));
    url_of(&url)?;
    let conversation = match arguments.conversation {
        Some(id) => id,
        None => Nonce::random()?.to_string(),
    };
    let client = Client::new(&url)?;
    let dialect = Dialect::from_name(&arguments.agent).unwrap_or(Dialect::AgKit);
    let mut chat = Chat { client, path, token, dialect, conversation, history: Vec::new(), interrupt: None };
    let is_terminal = std::io::stdin().is_terminal();
    if is_terminal {
        print(&format!("Conversation {} with {}. An empty line ends it.\n", chat.conversation, arguments.agent))?;
    }
    let mut succeeded = true;
    loop {
        if is_terminal {
            print(if chat.interrupt.is_some() { "decision (text or JSON)> " } else { "> " })?;
        }
        let mut line = String::new();
        let is_end = std::io::stdin().lock().read_line(&mut line)? == 0;
        if is_end && is_terminal {
            // The cursor is still behind the prompt.
            print("\n")?;
        }
        if is_end || line.trim().is_empty() {
            return Ok(succeeded);
        }
        succeeded &= chat.turn(line.trim()).await?;
    }
}

impl Chat {
    /// Sends the user's text and prints the answer while it streams. Returns whether the turn succeeded.
    async fn turn(&mut self, text: &str) -> Result<bool, Error> {
        let interrupt = self.interrupt.take();
        if interrupt.is_none() {
            self.history.push(json!({"id": Nonce::random()?.to_string(), "role": "user", "content": text}));
        }
        let mut response = self.client.open(&self.request(text, interrupt.as_deref())?).await?;
        let mut has_switched_dialect = false;
        let body = loop {
            let status = response.status();
            if status.is_success() {
                break response.into_body();
            }
            let problem = response.into_body().collect().await?.to_bytes();
            let problem: Value = serde_json::from_slice(&problem).unwrap_or_default();
            let detail = problem["detail"].as_str().unwrap_or_default();
            // This refusal is the only sign that the agent speaks the other dialect.
            if has_switched_dialect || !detail.contains("this agent speaks") {
                self.interrupt = interrupt;
                let hint = match status {
                    StatusCode::UNAUTHORIZED => {
                        "; the token is that of GATEHOUSE_CHAT_TOKEN, or of the first client in GATEHOUSE_SECRETS"
                    }
                    _ => "",
                };
                print(&format!("{} {detail}{hint}\n", status.as_u16()))?;
                return Ok(false);
            }
            has_switched_dialect = true;
            self.dialect = if self.dialect == Dialect::AgKit { Dialect::AgUi } else { Dialect::AgKit };
            response = self.client.open(&self.request(text, interrupt.as_deref())?).await?;
        };
        let turn = self.stream(body).await?;
        self.finish(turn)
    }

    /// Prints a streamed answer until it ends or breaks off.
    async fn stream(&self, mut body: impl BodyExt<Data = Bytes> + Unpin) -> Result<Turn, Error> {
        let request = json!({"messages": self.history}).to_string();
        let mut turn = Turn::new(self.dialect).answering(&request);
        let (mut reader, mut printer) = (Reader::new(MAX_EVENT_BYTES), Printer::default());
        'answer: while let Some(Ok(frame)) = body.frame().await {
            reader.feed(frame.into_data().unwrap_or_default());
            loop {
                match reader.next_block() {
                    Ok(Some(block)) => {
                        if let Some(event) = block.event {
                            let change = turn.take(&event.data);
                            print(&printer.text_of(&turn, change))?;
                        }
                    }
                    Ok(None) => break,
                    Err(_) => break 'answer,
                }
            }
        }
        for call in turn.tool_calls().iter().filter(|call| call.result.is_none()) {
            print(&format!("\n[tool call {} {}: the client must run it]", call.name, call.arguments))?;
        }
        Ok(turn)
    }

    /// Prints how a turn ended and returns whether it succeeded.
    fn finish(&mut self, turn: Turn) -> Result<bool, Error> {
        self.history.push(json!({"id": Nonce::random()?.to_string(), "role": "assistant", "content": turn.content()}));
        match turn.end {
            Some(End::Completed) => print("\n").map(|()| true),
            Some(End::Cancelled) => print("\n[the agent was stopped]\n").map(|()| true),
            Some(End::Interrupted) => {
                let interrupt = turn.interrupts().last();
                let value: Value = interrupt.and_then(|interrupt| interrupt.read().ok()).unwrap_or_default();
                self.interrupt = Some(value["id"].as_str().unwrap_or("interrupt").to_owned());
                let subject = if value["payload"].is_null() { &value } else { &value["payload"] };
                // Agents often send an object as text.
                let subject = subject.as_str().map_or_else(|| subject.to_string(), str::to_owned);
                print(&format!("\n[waits for a decision about {subject}]\n"))?;
                Ok(true)
            }
            Some(End::Failed(word)) => {
                let reason = turn.error.and_then(|error| error.message).unwrap_or(word);
                print(&format!("\n[answer cut off: {reason}]\n"))?;
                Ok(false)
            }
            None => {
                print("\n[answer cut off: the stream ended without an end mark]\n")?;
                Ok(false)
            }
        }
    }

    /// Builds the request: the user's next message, or the decision about `interrupt`.
    fn request(&self, text: &str, interrupt: Option<&str>) -> Result<Delivery, Error> {
        let new_message: Vec<&Value> = self.history.last().into_iter().collect();
        let body = match (self.dialect, interrupt) {
            (Dialect::AgKit, None) => json!({"conversationId": self.conversation, "messages": new_message}),
            (Dialect::AgKit, Some(id)) => {
                let resume = json!({"interruptId": id, "payload": decision(text)});
                json!({"conversationId": self.conversation, "messages": [], "resume": resume})
            }
            (Dialect::AgUi, _) => {
                let run_id = Nonce::random()?.to_string();
                let mut body = json!({"threadId": self.conversation, "runId": run_id, "messages": self.history});
                if let Some(id) = interrupt {
                    body["resume"] = json!([{"interruptId": id, "status": "resolved", "payload": decision(text)}]);
                }
                body
            }
        };
        let headers = [
            ("authorization", format!("Bearer {}", self.token)),
            ("content-type", "application/json".to_owned()),
            ("accept", "text/event-stream".to_owned()),
        ];
        Ok(Delivery {
            function: "agent-chat".to_owned(),
            path: self.path.clone(),
            method: "POST".to_owned(),
            headers: headers.map(|(name, value)| (name.to_owned(), value)).to_vec(),
            body: Bytes::from(body.to_string()),
        })
    }
}

/// Reads a decision: JSON, or else a text.
fn decision(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| text.into())
}

/// Turns the changes of a turn into text to print.
#[derive(Default)]
struct Printer {
    /// Index of the message that was printed last.
    message: Option<usize>,
}

impl Printer {
    /// Returns the text to print for a change. A blank line separates messages.
    fn text_of(&mut self, turn: &Turn, change: Change) -> String {
        match change {
            Change::Text { message, from } => {
                let content = turn.messages().get(message).map_or("", |message| &message.content);
                let text = content.get(from..).unwrap_or_default();
                let is_new_message = self.message.is_some_and(|last| last != message);
                self.message = Some(message);
                format!("{}{text}", if is_new_message { "\n\n" } else { "" })
            }
            Change::Result { call } => turn.tool_calls().get(call).map_or_else(String::new, |call| {
                format!("[{} {} → {}]\n", call.name, call.arguments, call.result.as_deref().unwrap_or_default())
            }),
            // A snapshot usually repeats text that was streamed before.
            Change::Snapshot if self.message.is_none() => {
                self.message = turn.messages().len().checked_sub(1);
                turn.content()
            }
            Change::Snapshot | Change::Nothing => String::new(),
        }
    }
}

/// Prints text without escape characters, because the agent's text must not move the cursor.
fn print(text: &str) -> Result<(), Error> {
    write(&text.replace('\u{1b}', ""))
}
