//! Commands that inspect and repair a running deployment: events, dead letters, statistics and health.

use std::io::IsTerminal;

use clap::Subcommand;
use gatehouse_local::Error;
use indicatif::{ProgressBar, ProgressStyle};

use crate::shell::note;

mod check_release;
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
mod pattern;
mod search;
mod show;
mod state;
mod stats;
mod subjects;

/// The exit code of a command that succeeded and found nothing.
pub(crate) const NOT_FOUND: u8 = 3;

/// The exit code for an invalid combination of arguments.
pub(crate) const USAGE: u8 = 2;

/// A command's exit code.
pub(crate) type ExitStatus = Result<u8, Error>;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show what an id names: an event, a conversation, call or session, a chat turn, or a dead letter.
    ///
    /// Exits with 3 if nothing has this id.
    #[command(after_help = show::EXAMPLES)]
    Show(show::Arguments),
    /// Find events by a telephone number, an e-mail address or another text in their payloads.
    #[command(after_help = search::EXAMPLES)]
    Search(search::Arguments),
    /// Show, list, export or erase events.
    #[command(subcommand, after_help = events::EXAMPLES)]
    Events(events::Command),
    /// Show or list agntix sessions.
    #[command(subcommand, after_help = state::SESSIONS)]
    Sessions(state::Sessions),
    /// Show or list conversations of Ada and of chats.
    #[command(subcommand, after_help = state::CONVERSATIONS)]
    Conversations(state::Conversations),
    /// Show or list Vapi calls.
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
    /// Compare stored events with how this release parses, identifies and answers them.
    #[command(after_help = check_release::EXAMPLES)]
    CheckRelease(check_release::Arguments),
    /// The former name of `check-release`.
    #[command(hide = true, after_help = check_release::EXAMPLES)]
    Replay(check_release::Arguments),
    /// The same as `gatehouse events resend`.
    #[command(hide = true, after_help = listen::RESEND_EXAMPLES)]
    Resend(listen::ResendArguments),
    /// The same as `gatehouse tail`.
    #[command(hide = true, after_help = listen::TAIL_EXAMPLES)]
    Logs(listen::FeedArgs),
    /// Count events by vendor, type and outcome.
    #[command(after_help = stats::EXAMPLES)]
    Stats(stats::Arguments),
    /// Check the health of a deployment, with advice on each problem.
    #[command(after_help = doctor::EXAMPLES)]
    Doctor(doctor::Arguments),
}

pub(crate) async fn run(command: Command) -> ExitStatus {
    match command {
        Command::Show(arguments) => show::run(arguments).await,
        Command::Search(arguments) => search::run(arguments).await,
        Command::Events(command) => events::run(command).await,
        Command::Sessions(command) => state::sessions(command).await,
        Command::Conversations(command) => state::conversations(command).await,
        Command::Calls(command) => state::calls(command).await,
        Command::DeadLetters(command) => dead_letters::run(command).await,
        Command::Deliveries(command) => deliveries::run(command).await,
        Command::Destinations(command) => destinations::run(command).await,
        Command::Listen(arguments) => listen::listen(arguments).await,
        Command::Tail(arguments) => listen::tail(arguments).await,
        Command::CheckRelease(arguments) => check_release::run(arguments).await,
        Command::Replay(arguments) => {
            note("gatehouse replay is now gatehouse check-release; to send an event again: gatehouse events resend");
            check_release::run(arguments).await
        }
        Command::Resend(arguments) => listen::resend(arguments).await,
        Command::Logs(arguments) => listen::tail(arguments).await,
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
