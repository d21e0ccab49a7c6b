//! What is asked of a running deployment: what arrived, what failed, what became of it.

use std::io::IsTerminal;

use clap::Subcommand;
use gatehouse_local::Error;
use indicatif::{ProgressBar, ProgressStyle};

mod dead_letters;
mod deployment;
mod doctor;
mod erase;
mod events;
mod listing;
mod meter;
mod output;
mod replay;
mod state;
mod stats;

/// The exit code of a command that went to its end and found nothing of the kind.
pub(crate) const NOT_FOUND: u8 = 3;

/// The exit code of a command line that says nothing that can be done.
const USAGE: u8 = 2;

/// A command's exit code.
pub(crate) type Verdict = Result<u8, Error>;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// What arrived, and what became of it.
    #[command(subcommand, after_help = events::EXAMPLES)]
    Events(events::Command),
    /// agntix sessions: what their events amount to.
    #[command(subcommand, after_help = state::SESSIONS)]
    Sessions(state::Sessions),
    /// Ada conversations: what their events amount to.
    #[command(subcommand, after_help = state::CONVERSATIONS)]
    Conversations(state::Conversations),
    /// Vapi calls: what their events amount to.
    #[command(subcommand, after_help = state::CALLS)]
    Calls(state::Calls),
    /// What could not be recorded: why, and back with it.
    #[command(subcommand, after_help = dead_letters::EXAMPLES)]
    DeadLetters(dead_letters::Command),
    /// Run stored events once more through recording and the rules, without side effects.
    #[command(after_help = replay::EXAMPLES)]
    Replay(replay::Arguments),
    /// How much came, of what kind, and what became of it.
    #[command(after_help = stats::EXAMPLES)]
    Stats(stats::Arguments),
    /// Check a deployment, and say what to do about what is wrong.
    #[command(after_help = doctor::EXAMPLES)]
    Doctor(doctor::Arguments),
}

pub(crate) async fn run(command: Command) -> Verdict {
    match command {
        Command::Events(command) => events::run(command).await,
        Command::Sessions(command) => state::sessions(command).await,
        Command::Conversations(command) => state::conversations(command).await,
        Command::Calls(command) => state::calls(command).await,
        Command::DeadLetters(command) => dead_letters::run(command).await,
        Command::Replay(arguments) => replay::run(arguments).await,
        Command::Stats(arguments) => stats::run(arguments).await,
        Command::Doctor(arguments) => doctor::run(arguments).await,
    }
}

/// Drawn on standard error, where it is a terminal; without a length until one is known.
fn progress(about: &'static str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{msg} {bar:40} {pos}/{len}");
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(0).with_style(style).with_message(about)
}
