//! What `gatehouse dev` says when it is ready.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use gatehouse_local::{Error, dev_url, queue_arn};

use super::Dev;
use super::lines::bold;
use crate::shell::quoted;
use crate::vendor::Vendor;

/// The line for programs.
pub(super) fn print_json(dev: &Dev) -> Result<(), Error> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{}", serde_json::to_string(&dev.stack.about)?)?;
    Ok(stdout.flush()?)
}

/// What must be seen, whatever else is printed.
pub(super) fn warn(dev: &Dev) {
    if !dev.host.is_loopback() {
        let what = "the functions, and DynamoDB and SQS without any authentication,";
        eprintln!("warning: {what} can be reached by whoever reaches this machine ({})", dev.host);
    }
}

pub(super) fn print(dev: &Dev, took: Duration) {
    let mut out = anstream::stdout().lock();
    // Whoever closed standard output does not want to read it.
    let _ = write(dev, took, &mut out);
}

fn write(dev: &Dev, took: Duration, out: &mut impl Write) -> std::io::Result<()> {
    let stack = &dev.stack;
    writeln!(out, "{} ready in {} ms. Ctrl-C stops it.\n", bold("Gatehouse dev"), took.as_millis())?;
    let shell = if dev.development { "" } else { ", in a shell with the same GATEHOUSE_SECRETS" };
    writeln!(out, "Functions, each with a command that posts a valid delivery{shell}:")?;
    for vendor in Vendor::value_variants() {
        let (function, _) = vendor.sender().endpoint();
        if !stack.functions.contains_key(function) {
            continue;
        }
        let url = dev_url(&stack.url, vendor.sender());
        writeln!(out, "  {url}")?;
        if vendor.sender().source().is_open(&dev.secrets) {
            writeln!(out, "    {}", bold(&format!("{} send {} --to {url}", program(), vendor.word())))?;
        } else {
            writeln!(out, "    closed: GATEHOUSE_SECRETS holds no secret for its vendor")?;
        }
    }
    if dev.development {
        writeln!(out, "  {}/lambda-url/agent-chat/v1/aibot/bots/ag-kit/send-message  (and ag-ui)", stack.url)?;
        let chat = format!("{} chat --to {}/lambda-url/agent-chat", program(), stack.url);
        writeln!(out, "    {}", bold(&chat))?;
    } else {
        writeln!(out, "  {}/lambda-url/agent-chat/v1/aibot/bots/<AgentId>/send-message", stack.url)?;
    }
    let (dynamodb, sqs, table) = (&dev.dynamodb.url, &dev.sqs.url, &stack.table);
    writeln!(out, "\nDynamoDB and SQS, for these commands, any SDK and the AWS CLI:")?;
    for service in [&dev.dynamodb, &dev.sqs] {
        let whose = if service.engine.is_some() { "" } else { "  (not this process' own)" };
        writeln!(out, "  {}{whose}", service.url)?;
    }
    let (retry, dead) = (name(&stack.retry_queue), name(&stack.dead_letter_queue));
    writeln!(out, "  table {table}, queues {retry} and {dead}")?;
    let at = if stack.url.ends_with(":9000") { String::new() } else { format!(" --at {}", stack.url) };
    for command in ["events list", "stats", "doctor"] {
        writeln!(out, "    {}", bold(&format!("{} {command}{at}", program())))?;
    }
    let commands = [
        "export AWS_ACCESS_KEY_ID=local AWS_SECRET_ACCESS_KEY=local AWS_DEFAULT_REGION=us-east-1".to_owned(),
        format!("aws dynamodb scan --endpoint-url {dynamodb} --table-name {table}"),
        format!(
            "aws sqs receive-message --endpoint-url {sqs} --queue-url {} --message-attribute-names All",
            stack.dead_letter_queue
        ),
        format!(
            "aws sqs start-message-move-task --endpoint-url {sqs} --source-arn {} --destination-arn {}",
            queue_arn(dead),
            queue_arn(retry)
        ),
    ];
    // What someone else runs has names and credentials of its own.
    let own = dev.dynamodb.engine.is_some() && dev.sqs.engine.is_some();
    for command in commands.iter().filter(|_| own) {
        writeln!(out, "    {}", bold(command))?;
    }
    let data = match &dev.data {
        _ if dev.dynamodb.engine.is_none() && dev.sqs.engine.is_none() => "where DynamoDB and SQS keep it".to_owned(),
        Some(data) => {
            let (kept, elsewhere) = match (&dev.dynamodb.engine, &dev.sqs.engine) {
                (None, _) => ("queued messages", "; events where DynamoDB keeps them"),
                (_, None) => ("events", "; queued messages where SQS keeps them"),
                _ => ("events and queued messages", ""),
            };
            format!("{kept} are kept in {}{elsewhere}", data.path().display())
        }
        None => "in memory, gone when this ends; --data-dir DIR keeps it".to_owned(),
    };
    writeln!(out, "\nData: {data}")?;
    writeln!(out, "Replies: {}", dev.replies)?;
    let secrets = if dev.development {
        "the DEVELOPMENT document, which is published: for this machine only"
    } else {
        "from GATEHOUSE_SECRETS"
    };
    writeln!(out, "Secrets: {secrets}\n")?;
    out.flush()
}

fn name(queue_url: &str) -> &str {
    queue_url.rsplit('/').next().unwrap_or(queue_url)
}

/// How to call this program again, from where it was called.
fn program() -> String {
    let Ok(path) = std::env::current_exe() else { return "gatehouse".to_owned() };
    let on_path = std::env::var_os("PATH")
        .is_some_and(|all| std::env::split_paths(&all).any(|dir| Some(dir.as_path()) == path.parent()));
    if on_path {
        return "gatehouse".to_owned();
    }
    let here = std::env::current_dir().unwrap_or_default();
    let below = path.strip_prefix(&here).ok().filter(|_| here.parent().is_some());
    let shown: PathBuf = below.map_or(path.clone(), |below| Path::new(".").join(below));
    let shown = shown.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "/._-+".contains(c);
    if shown.chars().all(plain) { shown } else { quoted(&shown) }
}
