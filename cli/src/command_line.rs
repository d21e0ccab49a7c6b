//! The command line: all commands and their exit codes.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;
use gatehouse_local::Error;

use crate::shell::{ClosedPipe, UsageError, note, write_bytes};
use crate::{chat, demo, dev, endpoints, help, ops, replies, secrets, send, sign};

const EXIT_CODES: &str = "\
Exit codes:
  0  success
  1  failure, or a check found a problem; a message says why
  2  wrong command line
  3  not found

Every command has examples: gatehouse COMMAND --help";

/// Serverless webhook gateway for AI agents: run it on this machine, operate it anywhere.
#[derive(Debug, Parser)]
#[command(name = "gatehouse", version, arg_required_else_help = true, after_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the whole stack on embedded engines and play a scripted day of events through it.
    ///
    /// Needs no AWS account and no network. Exits with 0 only if every outcome was the expected one.
    #[command(after_help = demo::EXAMPLES)]
    Demo(demo::Arguments),
    /// Serve the whole stack on this machine until Ctrl-C.
    ///
    /// The functions, DynamoDB and SQS run in this process. SDKs and the AWS CLI reach DynamoDB and SQS at the printed
    /// URLs. Each event is one line of output.
    #[command(after_help = dev::EXAMPLES)]
    Dev(dev::Arguments),
    /// Sign a body as its vendor signs it and print the request.
    #[command(after_help = sign::EXAMPLES)]
    Sign(sign::Arguments),
    /// Sign a body and post it, once or many times as a load test.
    ///
    /// Exits with 0 only if every response was a 2xx.
    #[command(after_help = send::EXAMPLES)]
    Send(send::Arguments),
    /// Chat with an agent through agent-chat: streams its answers, shows tool calls, asks for decisions.
    ///
    /// Exits with 0 only if every turn succeeded.
    #[command(after_help = chat::EXAMPLES)]
    Chat(chat::Arguments),
    /// Print each endpoint's URL and where to register it.
    #[command(after_help = endpoints::ENDPOINTS_EXAMPLES)]
    Endpoints(endpoints::Arguments),
    /// Post one signed probe to each endpoint and print the responses.
    ///
    /// Exits with 0 only if every open endpoint gave the expected response.
    #[command(after_help = endpoints::PING_EXAMPLES)]
    Ping(endpoints::Arguments),
    /// Check or change the secrets document of a deployed stack or in a file.
    #[command(subcommand, after_help = secrets::EXAMPLES)]
    Secrets(secrets::Command),
    #[command(flatten)]
    Ops(ops::Command),
    /// Check the rules that answer Vapi's messages, or try them on one message.
    #[command(subcommand, after_help = replies::EXAMPLES)]
    Replies(replies::Command),
    /// Print a script that completes commands in a shell.
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions {
        /// Shell
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Write a man page for each command.
    #[command(after_help = MAN_EXAMPLES)]
    Man {
        /// Folder for the pages, which is created if it does not exist
        #[arg(value_name = "FOLDER")]
        folder: PathBuf,
    },
}

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  gatehouse completions bash > ~/.local/share/bash-completion/completions/gatehouse
  gatehouse completions zsh > ~/.zfunc/_gatehouse
  gatehouse completions fish > ~/.config/fish/completions/gatehouse.fish";

const MAN_EXAMPLES: &str = "\
Examples:
  gatehouse man ~/.local/share/man/man1
  man gatehouse-events-list";

/// Commands that delete something, or move it. They are never suggested for a mistyped command.
const CHANGING: [&str; 6] = ["erase", "discard", "redrive", "remove", "disable", "rotate"];

/// Parses the arguments of the process. Ends the process if they are wrong, or ask for help.
fn parse() -> Arguments {
    let matches = command().try_get_matches().unwrap_or_else(|mut error| {
        if let Some(ContextValue::Strings(names)) = error.remove(ContextKind::SuggestedSubcommand) {
            let safe: Vec<String> = names.into_iter().filter(|name| !CHANGING.contains(&name.as_str())).collect();
            if !safe.is_empty() {
                error.insert(ContextKind::SuggestedSubcommand, ContextValue::Strings(safe));
            }
        }
        error.exit()
    });
    Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

fn command() -> clap::Command {
    help::fitted(Arguments::command())
}

/// Prints a completion script.
fn completions(shell: Shell) -> Result<bool, Error> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command(), "gatehouse", &mut script);
    write_bytes(&script)?;
    Ok(true)
}

/// Writes the man pages.
fn man(folder: &Path) -> Result<bool, Error> {
    let cannot = |error: std::io::Error| format!("{} cannot be written: {error}", folder.display());
    std::fs::create_dir_all(folder).map_err(cannot)?;
    clap_mangen::generate_to(command(), folder).map_err(cannot)?;
    Ok(true)
}

/// Runs the command of the process's arguments. Returns its exit code.
pub async fn run() -> ExitCode {
    let result = match parse().command {
        Command::Demo(arguments) => demo::run(&arguments).await,
        Command::Dev(arguments) => dev::run(arguments).await,
        Command::Sign(arguments) => sign::run(&arguments),
        Command::Send(arguments) => send::run(arguments).await,
        Command::Chat(arguments) => chat::run(arguments).await,
        Command::Endpoints(arguments) => endpoints::list(&arguments).await,
        Command::Ping(arguments) => endpoints::ping(&arguments).await,
        Command::Secrets(command) => secrets::run(command).await,
        Command::Replies(command) => replies::run(command).await,
        Command::Completions { shell } => completions(shell),
        Command::Man { folder } => man(&folder),
        Command::Ops(command) => return exit(ops::run(command).await),
    };
    exit(result.map(|is_good| u8::from(!is_good)))
}

fn exit(result: ops::ExitStatus) -> ExitCode {
    match result {
        Ok(code) => ExitCode::from(code),
        // A reader that closes the pipe early is not a failure.
        Err(error) if error.is::<ClosedPipe>() => ExitCode::SUCCESS,
        Err(error) if error.is::<UsageError>() => {
            note(format!("error: {error}"));
            ExitCode::from(ops::USAGE)
        }
        Err(error) => {
            note(format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}
