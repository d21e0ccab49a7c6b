//! Lists received events.

use clap::Args;
use gatehouse_inbox::store::by_source::{ListedEvent, Order};
use gatehouse_runtime::Clock;
use serde_json::json;

use super::{EventView, or_dash};
use crate::ops::dead_letters::{self, DeadLetter};
use crate::ops::deployment::{Deployment, TargetArgs};
use crate::ops::listing::{LimitArgs, Span, is_failure};
use crate::ops::output::{OutputArgs, age, print_json};
use crate::ops::pattern::TypeArgs;
use crate::ops::{ExitStatus, progress};
use crate::shell::{Interrupts, note};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    span: Span,
    #[command(flatten)]
    types: TypeArgs,
    /// Only failures: conflicts, unparsed bodies, events without a type, and dead letters
    #[arg(long)]
    failed: bool,
    #[command(flatten)]
    limit: LimitArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    target: TargetArgs,
}

impl Arguments {
    fn matches(&self, event: &ListedEvent) -> bool {
        self.types.select(event) && (!self.failed || is_failure(event))
    }
}

pub(super) async fn list(arguments: Arguments) -> ExitStatus {
    let deployment = arguments.target.find().await?;
    let Arguments { span, types, failed, limit, output, .. } = &arguments;
    let mut table = output.table(["AGE", "STATE", "MARKS", "TYPE", "SUBJECT", "EVENT"]);
    let (now, rows) = (Clock::System.now(), limit.rows());
    let is_filtered = *failed || !types.are_all();
    let mut listing = span.list(&deployment, Order::LatestFirst)?.of_rows(rows.filter(|_| !is_filtered));
    let (mut count, mut more_until) = (0, None);
    while let Some(event) = listing.next().await? {
        if !arguments.matches(&event) {
            continue;
        }
        if Some(count) == rows {
            more_until = Some(event.received_at);
            break;
        }
        count += 1;
        let view = EventView::of_arrival(&event);
        if output.json {
            print_json(&view)?;
        } else {
            let (state, marks) = (view.state.to_owned(), view.marks.join(", "));
            let (kind, subject) = (or_dash(view.event_type.as_ref()), or_dash(view.subject.as_ref()));
            table.row([age(event.received_at, now), state, marks, kind, subject, view.event_id]);
        }
    }
    let dead = if *failed && types.are_all() { dead_letters_of(&deployment, span).await? } else { Vec::new() };
    for letter in &dead {
        let id = letter.event_id.as_ref().unwrap_or(&letter.message_id);
        if output.json {
            print_json(
                &json!({"event_id": letter.event_id, "state": "dead", "source": letter.source, "reason": letter.reason,
                         "last_error": letter.last_error, "message_id": letter.message_id}),
            )?;
        } else {
            let at = letter.first_failed_at.unwrap_or(letter.sent_at);
            let error = letter.last_error.clone().unwrap_or_default();
            table.row([age(at, now), "dead".to_owned(), letter.reason.clone(), "-".to_owned(), error, id.clone()]);
        }
    }
    if !table.is_empty() {
        table.print()?;
    }
    match more_until {
        Some(until) => note(format!("there are more: pass --until {until} for earlier events, or -n N for more rows")),
        None if count + dead.len() == 0 => {
            let what = if is_filtered { "no matching events" } else { "no events" };
            note(format!("{what} in this time; pass an earlier --since, such as 24h or 7d"));
        }
        None => {}
    }
    Ok(0)
}

/// Returns the dead letters of the vendors of a span.
async fn dead_letters_of(deployment: &Deployment, span: &Span) -> Result<Vec<DeadLetter>, gatehouse_local::Error> {
    if !deployment.has_queues() {
        return Ok(Vec::new());
    }
    let bar = progress("searching the dead letters");
    let mut dead = dead_letters::peek(deployment, &bar, &mut Interrupts::listen(), |_| false).await?.letters;
    bar.finish_and_clear();
    dead.retain(|letter| {
        span.source.is_empty() || letter.source.as_ref().is_some_and(|source| span.source.contains(source))
    });
    Ok(dead)
}
