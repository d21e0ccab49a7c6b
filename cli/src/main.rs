//! `gatehouse`, the command line.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod demo;

/// A serverless front door for AI agents, on your own machine.
#[derive(Debug, Parser)]
#[command(name = "gatehouse", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the whole stack on embedded engines and play a scripted day through it.
    ///
    /// Needs nothing but this program: no account, no network. Exits with 0 only if every outcome was the expected one.
    #[command(after_help = demo::after_help())]
    Demo {
        /// Sabotage a step, to see that the demo notices: its deliveries lose their credentials on the way, and what
        /// must be refused is replaced by a delivery that is fine. Exits with 1.
        #[arg(long = "break", value_name = "STEP", value_parser = demo::step_names())]
        sabotage: Option<String>,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Demo { sabotage } => demo::run(sabotage.as_deref()).await,
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("gatehouse: {error}");
            ExitCode::FAILURE
        }
    }
}
