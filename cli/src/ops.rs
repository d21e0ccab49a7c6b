//! Commands that inspect and repair a running deployment: events, dead letters, statistics and health.

use std::io::IsTerminal;

use clap::Subcommand;
use gatehouse_local::Error;
use indicatif::{ProgressBar, ProgressStyle};

pub(crate) mod console;
pub(crate) mod dead_letters;
pub(crate) mod deliveries;
pub(crate) mod deployment;
pub(crate) mod destinations;
mod doctor;
pub(crate) mod erase;
mod events;
pub(crate) mod files;
mod listen;
mod listing;
mod meter;
mod output;
mod replay;
mod state;
mod stats;

/// The exit code of a command that succeeded and found nothing.
pub(crate) const NOT_FOUND: u8 = 3;

/// The exit code for an invalid combination of arguments.
const USAGE: u8 = 2;

/// A command's exit code.
pub(crate) type ExitStatus = Result<u8, Error>;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show, list or erase events.
    #[command(subcommand, after_help = events::EXAMPLES)]
    Events(events::Command),
    /// Show or list agntix sessions.
    #[command(subcommand, after_help = state::SESSIONS)]
    Sessions(state::Sessions),
    /// Show Ada conversations.
    #[command(subcommand, after_help = state::CONVERSATIONS)]
    Conversations(state::Conversations),
    /// Show Vapi calls.
    #[command(subcommand, after_help = state::CALLS)]
    Calls(state::Calls),
    /// Inspect, redrive or discard dead letters.
    #[command(subcommand, after_help = dead_letters::EXAMPLES)]
    DeadLetters(dead_letters::Command),
    /// Show, resend or discard deliveries of events to destinations.
    #[command(subcommand, after_help = deliveries::EXAMPLES)]
    Deliveries(deliveries::Command),
    /// Configure the systems that get recorded events as signed webhooks.
    #[command(subcommand, after_help = destinations::EXAMPLES)]
    Destinations(destinations::Command),
    /// Show events as they are recorded, and forward them to a server or a command.
    ///
    /// Forwarded events are signed webhooks in the form that destinations get. Events of one subject are forwarded one
    /// after the other. While no server listens, events wait.
    #[command(after_help = listen::LISTEN_EXAMPLES)]
    Listen(listen::ListenArguments),
    /// Show events as they are recorded.
    #[command(after_help = listen::TAIL_EXAMPLES)]
    Tail(listen::FeedArgs),
    /// Replay stored events through recording and the rules, without side effects.
    #[command(after_help = replay::EXAMPLES)]
    Replay(replay::Arguments),
    /// Count events by vendor, type and outcome.
    #[command(after_help = stats::EXAMPLES)]
    Stats(stats::Arguments),
    /// Check the health of a deployment, with advice on each problem.
    #[command(after_help = doctor::EXAMPLES)]
    Doctor(doctor::Arguments),
}

pub(crate) async fn run(command: Command) -> ExitStatus {
    match command {
        Command::Events(command) => events::run(command).await,
        Command::Sessions(command) => state::sessions(command).await,
        Command::Conversations(command) => state::conversations(command).await,
        Command::Calls(command) => state::calls(command).await,
        Command::DeadLetters(command) => dead_letters::run(command).await,
        Command::Deliveries(command) => deliveries::run(command).await,
        Command::Destinations(command) => destinations::run(command).await,
        Command::Listen(arguments) => listen::listen(arguments).await,
        Command::Tail(arguments) => listen::tail(arguments).await,
        Command::Replay(arguments) => replay::run(arguments).await,
        Command::Stats(arguments) => stats::run(arguments).await,
        Command::Doctor(arguments) => doctor::run(arguments).await,
    }
}

/// A progress bar on standard error, hidden if that is not a terminal. Its length is set later.
fn progress(message: &'static str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{msg} {bar:40} {pos}/{len}");
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(0).with_style(style).with_message(message)
}
