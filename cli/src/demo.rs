//! `gatehouse demo`: a scripted day of events, sent over HTTP to the whole stack on embedded engines.
//!
//! Every printed result comes from an HTTP response, or is read from the table and the queues.

use std::fmt::Write as _;
use std::pin::Pin;
use std::time::Duration;

use data_encoding::BASE64;
use gatehouse_local::agent::Agent;
use gatehouse_local::{Error, Options, Testbed, demo_agent};
use gatehouse_replies::{ControlHosts, Replies};
use gatehouse_vendors::development;
use tokio::time::Instant;

mod chat;
mod outages;
mod refusals;
mod scene;
mod sessions;
mod vendors;

use crate::dev;
use crate::shell::write;
use scene::Scene;

/// The reply to Vapi's `workflow.node.started` during the demo.
const REPLY: &str = gatehouse_vapi::samples::ADD_MESSAGE;

/// Sends the deliveries of a step and checks the results.
type Play = for<'s> fn(&'s mut Scene) -> Pin<Box<dyn Future<Output = Result<(), Error>> + 's>>;

struct Step {
    name: &'static str,
    title: &'static str,
    play: Play,
}

const DAY: [Step; 19] = [
    Step { name: "vapi", title: "Vapi posts a client message and gets a reply", play: |s| Box::pin(vendors::vapi(s)) },
    Step { name: "answers", title: "Vapi asks questions and gets answers", play: |s| Box::pin(vendors::answers(s)) },
    Step { name: "ada", title: "Ada posts the four events of a conversation", play: |s| Box::pin(vendors::ada(s)) },
    Step {
        name: "agntix",
        title: "agntix posts the start and the end of a session",
        play: |s| Box::pin(vendors::agntix(s)),
    },
    Step { name: "chat", title: "A client chats with an agent", play: |s| Box::pin(chat::turns(s)) },
    Step { name: "duplicate", title: "The same delivery arrives again", play: |s| Box::pin(sessions::duplicate(s)) },
    Step {
        name: "conflict",
        title: "The same id arrives with another body",
        play: |s| Box::pin(sessions::conflict(s)),
    },
    Step { name: "order", title: "A session's end arrives before its start", play: |s| Box::pin(sessions::order(s)) },
    Step { name: "at-once", title: "Ten copies arrive at the same time", play: |s| Box::pin(sessions::at_once(s)) },
    Step { name: "large", title: "A body far larger than a DynamoDB item", play: |s| Box::pin(sessions::large(s)) },
    Step {
        name: "unverified",
        title: "Deliveries without a valid signature",
        play: |s| Box::pin(refusals::unverified(s)),
    },
    Step {
        name: "not-json",
        title: "A signed body that is not a JSON object",
        play: |s| Box::pin(refusals::not_json(s)),
    },
    Step {
        name: "wrong-request",
        title: "Wrong method, path, content type",
        play: |s| Box::pin(refusals::wrong_request(s)),
    },
    Step { name: "unknown", title: "Authentic events of unknown shape", play: |s| Box::pin(vendors::unknown(s)) },
    Step { name: "closed", title: "DynamoDB is down: connections are closed", play: |s| Box::pin(outages::closed(s)) },
    Step {
        name: "silent",
        title: "DynamoDB is down: it accepts connections and never answers",
        play: |s| Box::pin(outages::silent(s)),
    },
    Step { name: "nothing", title: "DynamoDB and SQS are down", play: |s| Box::pin(outages::nothing(s)) },
    Step {
        name: "lost-answer",
        title: "DynamoDB writes, but its response is lost",
        play: |s| Box::pin(outages::lost_answer(s)),
    },
    Step { name: "poison", title: "A message that cannot be recorded", play: |s| Box::pin(outages::poison(s)) },
];

pub(crate) const EXAMPLES: &str = "\
Examples:
  gatehouse demo
  gatehouse demo --break conflict
  gatehouse demo --sentinel c0ffeec0ffee | grep c0ffee";

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Sabotage a step to see that its checks fail: its deliveries lose their credentials, and deliveries that must be
    /// refused are replaced by valid ones. Exits with 1.
    #[arg(long = "break", value_name = "STEP", value_parser = step_names())]
    sabotage: Option<String>,
    /// Put a word into every payload, header and secret, and print all responses and log lines: none may contain it
    #[arg(long, value_name = "WORD", value_parser = word)]
    sentinel: Option<String>,
}

/// Parses a word that needs no escaping in headers or JSON, and is long enough for a secret.
fn word(text: &str) -> Result<String, String> {
    let is_word = text.len() >= 12 && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if is_word { Ok(text.to_owned()) } else { Err("use at least twelve letters and digits".to_owned()) }
}

/// Returns a secrets document in which every secret contains `word`. `agent` is configured once for each dialect.
fn document_with(word: &str, agent: &Agent) -> String {
    let url = format!("{}/send-message", agent.url);
    let agent = |dialect| serde_json::json!({"url": url, "dialect": dialect, "token": format!("{word}-agent")});
    let key = format!("whsec_{}", BASE64.encode(format!("{word}{word}").as_bytes()));
    let token = format!("{word}-token");
    serde_json::json!({
        "ada": {"signing_secrets": [key]},
        "agntix": {"signing_secrets": [key]},
        "vapi": {"schemes": [{"kind": "bearer", "header": "authorization", "prefix": "Bearer ", "values": [token]}]},
        "agent_chat": {"clients": [{"id": "demo", "token": token, "agents": ["*"]}],
            "agents": {"ag-kit": agent("ag-kit"), "ag-ui": agent("ag-ui")}},
    })
    .to_string()
}

/// Returns the step names that `--break` accepts.
fn step_names() -> Vec<&'static str> {
    DAY.iter().map(|step| step.name).collect()
}

/// Plays the day. Returns whether every outcome was the expected one.
pub(crate) async fn run(arguments: &Arguments) -> Result<bool, Error> {
    let sabotage = arguments.sabotage.as_deref();
    let started = Instant::now();
    let (mut document, mut _agent) = (development().to_owned(), None);
    if let Some(word) = &arguments.sentinel {
        gatehouse_receiver::log::init()?;
        // The stack starts its test agent only with the development document.
        let agent = _agent.insert(Agent::start(demo_agent::answer).await?);
        document = document_with(word, agent);
    }
    let options = Options { replies: replies()?, secrets: document.clone(), ..Options::default() };
    let mut scene = Scene::new(Testbed::start(options).await?, document, arguments.sentinel.clone())?;
    write(&format!(
        "Gatehouse demo: the whole stack in this process, on embedded engines.\n\
         Functions at {}/lambda-url/<function>/<path>, started in {} ms.\n",
        scene.stack.url,
        started.elapsed().as_millis()
    ))?;

    let mut rows = Vec::new();
    for (n, step) in DAY.iter().enumerate() {
        let step_started = Instant::now();
        scene.begin_step(n + 1, step.title, sabotage == Some(step.name));
        if let Err(error) = (step.play)(&mut scene).await {
            scene.expect(&format!("the step to finish, but it failed: {error}"), false);
        }
        rows.push((step.name, scene.end_step()?, step_started.elapsed()));
    }
    let mut text = format!("\n{:<15} {:>10} {:>8} {:>9}  result\n", "step", "deliveries", "checks", "ms");
    for (name, tally, took) in &rows {
        let result = if tally.failed == 0 { "ok" } else { "FAILED" };
        let (deliveries, checks, ms) = (tally.deliveries, tally.checks, took.as_millis());
        writeln!(text, "{name:<15} {deliveries:>10} {checks:>8} {ms:>9}  {result}")?;
    }
    let failed = rows.iter().filter(|row| row.1.failed > 0).count();
    let (deliveries, checks) = rows.iter().fold((0, 0), |sum, row| (sum.0 + row.1.deliveries, sum.1 + row.1.checks));
    let seconds = Duration::from_millis(u64::try_from(started.elapsed().as_millis())?).as_secs_f32();
    writeln!(text, "\n{deliveries} deliveries, {checks} checks, {seconds:.1} s.")?;
    match failed {
        0 => writeln!(text, "Every outcome was the expected one.\nNext: gatehouse dev")?,
        1 => writeln!(text, "One step failed.")?,
        _ => writeln!(text, "{failed} steps failed.")?,
    }
    write(&text)?;
    Ok(failed == 0)
}

fn replies() -> Result<Replies, Error> {
    Ok(Replies::parse(dev::DEVELOPMENT_REPLIES_FILE, dev::DEVELOPMENT_REPLIES, ControlHosts::Loopback)?)
}
