//! `gatehouse show`: shows whatever an id names.

use std::collections::BTreeSet;

use clap::Args;
use gatehouse_inbox::store::Content;
use gatehouse_local::Error;
use gatehouse_payload::event::source_names;
use gatehouse_vendors::vendors;

use super::deployment::Deployment;
use super::events::show::show_if_found as show_event;
use super::listing::contents;
use super::output::ShowArgs;
use super::state::show_if_found as show_subject;
use super::{ExitStatus, NOT_FOUND, subjects};
use crate::shell::{note, shell_quote};

pub(crate) const EXAMPLES: &str = "\
Examples:
  gatehouse show ada:msg_2x                            an event
  gatehouse show msg_2x                                the same
  gatehouse show 2f1f3d3e-0f7c-4a54-a0a3-9a2f4b0c8d11   a call, session or conversation
  gatehouse show ada:conversation:673da1f0c2b94e5f8a017b11 --payload

The first line of the output says what the id names.";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Id of an event, a subject, a chat turn or a dead letter; the vendor may be left out
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    show: ShowArgs,
}

pub(crate) async fn run(arguments: Arguments) -> ExitStatus {
    let Arguments { id, show: ShowArgs { payload, output, target } } = arguments;
    let deployment = target.find().await?;
    if let Some(event) = event_of(&deployment, &id).await?
        && let Some(code) = show_event(&deployment, output, &event, payload).await?
    {
        return Ok(code);
    }
    if let Some(subject) = subjects::find(&deployment, &id).await? {
        let kind = subject.kind().to_owned();
        if let Some(code) = show_subject(&deployment, output, &subject, payload, Some(&kind)).await? {
            return Ok(code);
        }
    }
    // A dead letter is found by the event's id and by the message's.
    if let Some(code) = show_event(&deployment, output, &id, payload).await? {
        return Ok(code);
    }
    let (quoted, flags) = (shell_quote(&id), &deployment.flags);
    note(format!(
        "nothing has the id {id}: no event, subject, chat turn or dead letter, or it has expired; to search payloads: \
         gatehouse search {quoted}{flags}"
    ));
    Ok(NOT_FOUND)
}

/// Returns the id of the event that `id` names, with or without its vendor.
async fn event_of(deployment: &Deployment, id: &str) -> Result<Option<String>, Error> {
    let with_vendor = vendors().flat_map(source_names).map(|vendor| format!("{vendor}:{id}"));
    let candidates: BTreeSet<String> = [id.to_owned()].into_iter().chain(with_vendor).collect();
    let found = contents(deployment, candidates.into_iter().collect()).await?;
    Ok(found.into_iter().find(|(_, content)| *content != Content::Empty).map(|(key, _)| key))
}
