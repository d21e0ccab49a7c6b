//! The banner and the JSON line that `gatehouse dev` prints when it is ready.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use gatehouse_local::{Error, dev_url, queue_arn};
use gatehouse_vendor::Profile;

use super::Dev;
use super::lines::bold;
use crate::shell::{note, shell_quote};
use crate::vendor::SourceArg;

/// Prints the JSON line for programs.
pub(super) fn print_json(dev: &Dev) -> Result<(), Error> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{}", serde_json::to_string(&dev.stack.about)?)?;
    Ok(stdout.flush()?)
}

/// Warns if the stack is reachable from other machines, also with `--json`.
pub(super) fn warn(dev: &Dev) {
    if !dev.host.is_loopback() {
        let exposed = "the functions, and DynamoDB and SQS without authentication,";
        note(format!("warning: {exposed} are reachable from other machines (listening on {})", dev.host));
    }
}

pub(super) fn print(dev: &Dev, took: Duration) {
    let mut out = anstream::stdout().lock();
    // A closed standard output must not stop the stack.
    let _ = write(dev, took, &mut out);
}

fn write(dev: &Dev, took: Duration, out: &mut impl Write) -> std::io::Result<()> {
    writeln!(out, "{} ready in {} ms. Ctrl-C stops it.\n", bold("Gatehouse dev"), took.as_millis())?;
    write_functions(dev, out)?;
    write_services(dev, out)?;
    writeln!(out, "\nData: {}", data_location(dev))?;
    writeln!(out, "Replies: {}", dev.replies)?;
    let secrets = match &dev.secrets_file {
        Some(file) => format!("{}, read again when it changes", file.display()),
        None if dev.development => "the DEVELOPMENT document, which is public: for this machine only".to_owned(),
        None => "from GATEHOUSE_SECRETS".to_owned(),
    };
    writeln!(out, "Secrets: {secrets}\n")?;
    out.flush()
}

/// Writes the URL of each function and a command that sends it a valid delivery.
fn write_functions(dev: &Dev, out: &mut impl Write) -> std::io::Result<()> {
    let stack = &dev.stack;
    let environment = match &dev.secrets_file {
        Some(file) => {
            format!(", after export GATEHOUSE_SECRETS=\"$(cat {})\"", shell_quote(&file.display().to_string()))
        }
        None if dev.development => String::new(),
        None => ", in a shell with the same GATEHOUSE_SECRETS".to_owned(),
    };
    writeln!(out, "Functions, each with a command that posts a valid delivery{environment}:")?;
    for SourceArg(source) in SourceArg::value_variants() {
        let Profile { name, function, secrets, .. } = source.profile();
        if !stack.functions.contains_key(*function) {
            continue;
        }
        let url = dev_url(&stack.url, *source);
        writeln!(out, "  {url}")?;
        if dev.secrets.is_open(secrets.name) {
            writeln!(out, "    {}", bold(&format!("{} send {} --to {url}", program(), name)))?;
        } else {
            writeln!(out, "    closed: the secrets document has no secret for this vendor")?;
        }
    }
    if dev.development {
        writeln!(out, "  {}/lambda-url/agent-chat/v1/aibot/bots/ag-kit/send-message  (and ag-ui)", stack.url)?;
        let chat = format!("{} chat --to {}/lambda-url/agent-chat", program(), stack.url);
        writeln!(out, "    {}", bold(&chat))
    } else {
        writeln!(out, "  {}/lambda-url/agent-chat/v1/aibot/bots/<AgentId>/send-message", stack.url)
    }
}

/// Writes the URLs of DynamoDB and SQS and commands that read them.
fn write_services(dev: &Dev, out: &mut impl Write) -> std::io::Result<()> {
    let stack = &dev.stack;
    writeln!(out, "\nDynamoDB and SQS, for these commands, any SDK and the AWS CLI:")?;
    for (name, service) in [("DynamoDB", &dev.dynamodb), ("SQS", &dev.sqs)] {
        let note = if service.engine.is_some() { "" } else { "  (external)" };
        writeln!(out, "  {name:<9} {}{note}", service.url)?;
    }
    let (table, retry, dead) = (&stack.table, name(&stack.retry_queue), name(&stack.dead_letter_queue));
    writeln!(out, "  table {table}, queues {retry} and {dead}")?;
    let option = if stack.url.ends_with(":9000") { String::new() } else { format!(" --at {}", stack.url) };
    for command in ["events list", "stats", "doctor"] {
        writeln!(out, "    {}", bold(&format!("{} {command}{option}", program())))?;
    }
    // External services have their own names and credentials.
    if dev.dynamodb.engine.is_none() || dev.sqs.engine.is_none() {
        return Ok(());
    }
    let (dynamodb, sqs) = (&dev.dynamodb.url, &dev.sqs.url);
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
    for command in &commands {
        writeln!(out, "    {}", bold(command))?;
    }
    Ok(())
}

/// Describes where events and queued messages are stored.
fn data_location(dev: &Dev) -> String {
    let (has_dynamodb, has_sqs) = (dev.dynamodb.engine.is_some(), dev.sqs.engine.is_some());
    if !has_dynamodb && !has_sqs {
        return "in the external DynamoDB and SQS".to_owned();
    }
    let Some(data) = &dev.data else {
        return "in memory, lost when this process ends; --data-dir DIR stores it".to_owned();
    };
    let directory = data.path().display();
    if !has_dynamodb {
        format!("queued messages in {directory}, events in the external DynamoDB")
    } else if !has_sqs {
        format!("events in {directory}, queued messages in the external SQS")
    } else {
        format!("events and queued messages in {directory}")
    }
}

fn name(queue_url: &str) -> &str {
    queue_url.rsplit('/').next().unwrap_or(queue_url)
}

/// Returns how a shell in the current directory can call this program.
fn program() -> String {
    let Ok(path) = std::env::current_exe() else { return "gatehouse".to_owned() };
    let on_path = std::env::var_os("PATH")
        .is_some_and(|all| std::env::split_paths(&all).any(|dir| Some(dir.as_path()) == path.parent()));
    if on_path {
        return "gatehouse".to_owned();
    }
    let directory = std::env::current_dir().unwrap_or_default();
    let relative = path.strip_prefix(&directory).ok().filter(|_| directory.parent().is_some());
    let path: PathBuf = relative.map_or(path.clone(), |relative| Path::new(".").join(relative));
    let text = path.display().to_string();
    let needs_no_quotes = |c: char| c.is_alphanumeric() || "/._-+".contains(c);
    if text.chars().all(needs_no_quotes) { text } else { shell_quote(&text) }
}
