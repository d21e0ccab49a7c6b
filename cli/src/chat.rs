//! `gatehouse chat`: talks to an agent through the proxy, from a terminal.

use std::io::{BufRead, IsTerminal, Write};

use bytes::Bytes;
use clap::Args;
use gatehouse_edge::secrets::DEVELOPMENT;
use gatehouse_inbox::Nonce;
use gatehouse_local::Error;
use gatehouse_local::delivery::{Client, Delivery, secret_of, url_of};
use gatehouse_payload::ag_kit::Dialect;
use gatehouse_payload::ag_kit::turn::{Change, End, Turn};
use gatehouse_sse::Reader;
use http_body_util::BodyExt;
use serde_json::{Value, json};

use crate::shell::variable;

pub(crate) const EXAMPLES: &str = "\
Examples:
  gatehouse chat                                 with the agent of a `gatehouse dev`: say tool, approve, slow, cut or error
  gatehouse chat --agent ag-ui --conversation c1
  GATEHOUSE_CHAT_TOKEN=… gatehouse chat --to https://….lambda-url.eu-north-1.on.aws --agent support
  echo 'What time is it?' | gatehouse chat";

/// The largest event, as in the proxy. In bytes.
const EVENT_BYTES: usize = 1024 * 1024;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Which agent
    #[arg(long, value_name = "ID", default_value = "ag-kit")]
    agent: String,
    /// Which conversation to go on with [default: a new one]
    #[arg(long, value_name = "ID")]
    conversation: Option<String>,
    /// The function URL [default: that of a `gatehouse dev` on port 9000]
    #[arg(long = "to", value_name = "URL", default_value = "http://127.0.0.1:9000/lambda-url/agent-chat")]
    to: String,
}

/// A conversation as the agent's dialect tells it.
struct Chat {
    client: Client,
    path: String,
    token: String,
    dialect: Dialect,
    conversation: String,
    /// What was said: an AG-UI agent is told all of it each time.
    history: Vec<Value>,
    /// What waits for a decision.
    waits: Option<String>,
}

pub(crate) async fn run(arguments: Arguments) -> Result<bool, Error> {
    let development = secret_of(DEVELOPMENT, "/agent_chat/clients/0/token");
    let token = variable("GATEHOUSE_CHAT_TOKEN")?.unwrap_or(development);
    let path = format!("v1/aibot/bots/{}/send-message", arguments.agent);
    let url = format!("{}/{path}", arguments.to.trim_end_matches('/'));
    url_of(&url)?;
    let conversation = match arguments.conversation {
        Some(id) => id,
        None => Nonce::random()?.to_string(),
    };
    let client = Client::new(&url)?;
    let dialect = Dialect::named(&arguments.agent).unwrap_or(Dialect::AgKit);
    let mut chat = Chat { client, path, token, dialect, conversation, history: Vec::new(), waits: None };
    let is_terminal = std::io::stdin().is_terminal();
    if is_terminal {
        say(&format!("Conversation {} with {}. An empty line ends it.\n", chat.conversation, arguments.agent))?;
    }
    let mut good = true;
    loop {
        if is_terminal {
            say(if chat.waits.is_some() { "decision> " } else { "> " })?;
        }
        let mut line = String::new();
        if std::io::stdin().lock().read_line(&mut line)? == 0 || line.trim().is_empty() {
            return Ok(good);
        }
        good &= chat.turn(line.trim()).await?;
    }
}

impl Chat {
    /// Says something, and prints the answer as it comes. Whether the turn ended well.
    async fn turn(&mut self, words: &str) -> Result<bool, Error> {
        let resumes = self.waits.take();
        if resumes.is_none() {
            self.history.push(json!({"id": Nonce::random()?.to_string(), "role": "user", "content": words}));
        }
        let mut response = self.client.open(&self.request(words, resumes.as_deref())?).await?;
        let mut flipped = false;
        let mut body = loop {
            let status = response.status();
            if status.is_success() {
                break response.into_body();
            }
            let problem = response.into_body().collect().await?.to_bytes();
            let problem: Value = serde_json::from_slice(&problem).unwrap_or_default();
            let detail = problem["detail"].as_str().unwrap_or_default();
            // The agent's dialect is the proxy's secret until one is wrong about it.
            if flipped || !detail.contains("this agent speaks") {
                self.waits = resumes;
                say(&format!("{} {detail}\n", status.as_u16()))?;
                return Ok(false);
            }
            flipped = true;
            self.dialect = if self.dialect == Dialect::AgKit { Dialect::AgUi } else { Dialect::AgKit };
            response = self.client.open(&self.request(words, resumes.as_deref())?).await?;
        };
        let request = json!({"messages": self.history}).to_string();
        let mut turn = Turn::new(self.dialect).answering(&request);
        let (mut reader, mut shown) = (Reader::new(EVENT_BYTES), Shown::default());
        'answer: while let Some(Ok(frame)) = body.frame().await {
            reader.feed(frame.into_data().unwrap_or_default());
            loop {
                match reader.next_block() {
                    Ok(Some(block)) => {
                        if let Some(event) = block.event {
                            let change = turn.take(&event.data);
                            say(&shown.of(&turn, change))?;
                        }
                    }
                    Ok(None) => break,
                    Err(_) => break 'answer,
                }
            }
        }
        for call in turn.tool_calls().iter().filter(|call| call.result.is_none()) {
            say(&format!("\n[{} {} is for you to do]", call.name, call.arguments))?;
        }
        self.close(turn)
    }

    fn close(&mut self, turn: Turn) -> Result<bool, Error> {
        self.history.push(json!({"id": Nonce::random()?.to_string(), "role": "assistant", "content": turn.content()}));
        match turn.end {
            Some(End::Completed) => say("\n").map(|()| true),
            Some(End::Cancelled) => say("\n[the agent was stopped]\n").map(|()| true),
            Some(End::Interrupted) => {
                let waits = turn.interrupts().last();
                let value: Value = waits.and_then(|waits| waits.read().ok()).unwrap_or_default();
                self.waits = Some(value["id"].as_str().unwrap_or("interrupt").to_owned());
                let shown = if value["payload"].is_null() { &value } else { &value["payload"] };
                say(&format!("\n[waits for a decision about {shown}]\n"))?;
                Ok(true)
            }
            Some(End::Failed(_)) | None => {
                say("\n[the answer is not whole]\n")?;
                Ok(false)
            }
        }
    }

    fn request(&self, words: &str, resumes: Option<&str>) -> Result<Delivery, Error> {
        let last: Vec<&Value> = self.history.last().into_iter().collect();
        let body = match (self.dialect, resumes) {
            (Dialect::AgKit, None) => json!({"conversationId": self.conversation, "messages": last}),
            (Dialect::AgKit, Some(id)) => {
                json!({"conversationId": self.conversation, "messages": [], "resume": {"interruptId": id, "payload": words}})
            }
            (Dialect::AgUi, _) => {
                let mut body = json!({"threadId": self.conversation, "runId": Nonce::random()?.to_string(), "messages": self.history});
                if let Some(id) = resumes {
                    body["resume"] = json!([{"interruptId": id, "status": "resolved", "payload": words}]);
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

/// The text of an answer that was printed.
#[derive(Default)]
struct Shown {
    /// The message printed last.
    message: Option<usize>,
}

impl Shown {
    /// What is to be printed of a change. Messages stand apart by a blank line.
    fn of(&mut self, turn: &Turn, change: Change) -> String {
        match change {
            Change::Text { message, from } => {
                let content = turn.messages().get(message).map_or("", |message| &message.content);
                let text = content.get(from..).unwrap_or_default();
                let is_other = self.message.is_some_and(|last| last != message);
                self.message = Some(message);
                format!("{}{text}", if is_other { "\n\n" } else { "" })
            }
            Change::Result { call } => turn.tool_calls().get(call).map_or_else(String::new, |call| {
                format!("[{} {} → {}]\n", call.name, call.arguments, call.result.as_deref().unwrap_or_default())
            }),
            // Servers restate what they streamed.
            Change::Snapshot if self.message.is_none() => {
                self.message = turn.messages().len().checked_sub(1);
                turn.content()
            }
            Change::Snapshot | Change::Nothing => String::new(),
        }
    }
}

/// Prints; what an agent says does not move the cursor.
fn say(text: &str) -> Result<(), Error> {
    let text = text.replace('\u{1b}', "");
    let text = crate::shell::harmless(&text);
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}
