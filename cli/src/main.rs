//! `gatehouse`, the command line.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod aws;
mod chat;
mod demo;
mod dev;
mod endpoints;
mod operate;
mod replies;
mod secrets;
mod send;
mod shell;
mod sign;
mod stack;
mod vendor;

const EXIT_CODES: &str = "\
Exit codes:
  0  done, and all is well
  1  it failed, or not all is well: standard error, or what was printed, says why
  2  the command line is wrong
  3  there is nothing of the kind

Every command has examples: gatehouse COMMAND --help";

/// A serverless front door for AI agents: run it here, look into it anywhere.
#[derive(Debug, Parser)]
#[command(name = "gatehouse", version, arg_required_else_help = true, after_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the whole stack on embedded engines and play a scripted day through it.
    ///
    /// Needs nothing but this program: no account, no network. Exits with 0 only if every outcome was the expected one.
    #[command(after_help = demo::EXAMPLES)]
    Demo(demo::Arguments),
    /// Serve the whole stack on this machine until Ctrl-C.
    ///
    /// The functions, DynamoDB and SQS run in this process; SDKs and the AWS CLI reach the latter two by the URLs it
    /// prints. Each event is one line.
    #[command(after_help = dev::EXAMPLES)]
    Dev(dev::Arguments),
    /// Sign a body now, as its vendor would, and print the request.
    #[command(after_help = sign::EXAMPLES)]
    Sign(sign::Arguments),
    /// Sign a body and post it: once, or many times for a load.
    ///
    /// Exits with 0 only if every answer was a 2xx.
    #[command(after_help = send::EXAMPLES)]
    Send(send::Arguments),
    /// Talk to an agent through agent-chat: streams as it comes, shows tool calls, asks for decisions.
    ///
    /// Exits with 0 only if every turn ended well.
    #[command(after_help = chat::EXAMPLES)]
    Chat(chat::Arguments),
    /// Print each endpoint's address, and where it belongs.
    #[command(after_help = endpoints::ENDPOINTS_EXAMPLES)]
    Endpoints(endpoints::Arguments),
    /// Post one signed probe to each endpoint, and say what came back.
    ///
    /// Exits with 0 only if every endpoint that is open answered as it should.
    #[command(after_help = endpoints::PING_EXAMPLES)]
    Ping(endpoints::Arguments),
    /// Check and change the secrets document, in a file or of a deployed stack.
    #[command(subcommand, after_help = secrets::EXAMPLES)]
    Secrets(secrets::Command),
    #[command(flatten)]
    Operate(operate::Command),
    /// Check the rules that answer Vapi's messages, and try them on one.
    #[command(subcommand, after_help = replies::EXAMPLES)]
    Replies(replies::Command),
}

#[tokio::main]
async fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Demo(arguments) => demo::run(&arguments).await,
        Command::Dev(arguments) => dev::run(arguments).await,
        Command::Sign(arguments) => sign::run(&arguments),
        Command::Send(arguments) => send::run(arguments).await,
        Command::Chat(arguments) => chat::run(arguments).await,
        Command::Endpoints(arguments) => endpoints::list(&arguments).await,
        Command::Ping(arguments) => endpoints::ping(&arguments).await,
        Command::Secrets(command) => secrets::run(command).await,
        Command::Replies(command) => replies::run(&command),
        Command::Operate(command) => return exit(operate::run(command).await),
    };
    exit(result.map(|is_good| u8::from(!is_good)))
}

fn exit(result: operate::Verdict) -> ExitCode {
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("gatehouse: {error}");
            ExitCode::FAILURE
        }
    }
}
