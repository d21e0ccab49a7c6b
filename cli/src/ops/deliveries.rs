//! `gatehouse deliveries`: shows, resends and discards deliveries of events to destinations.

use std::time::Duration;

use clap::{Args, Subcommand};
use gatehouse_deliveries::destination::Order;
use gatehouse_deliveries::filter::Match;
use gatehouse_deliveries::lane::Lane;
use gatehouse_deliveries::table::{Delivery, State};
use gatehouse_deliveries::{DeliveryTable, Destination};
use gatehouse_inbox::store::Content;
use gatehouse_inbox::store::by_source::ListedEvent;
use gatehouse_local::Error;
use gatehouse_payload::{EventId, Subject};
use gatehouse_runtime::Clock;
use serde_json::{Value, json};
use tokio::time::interval;

use super::deployment::{Deployment, TargetArgs};
use super::listing::Span;
use super::output::{KeyValues, OutputArgs, Table, When, counted, parse_when, print_json};
use super::{ExitStatus, NOT_FOUND, USAGE, destinations};
use crate::shell::{Interrupts, confirm, print};
use receipt::{Receipt, ReceiptArgs};

mod receipt;

pub(crate) const EXAMPLES: &str = "\
Examples:
  gatehouse deliveries list                          failing and dead ones, of all destinations
  gatehouse deliveries list --to crm --state dead --stack gatehouse
  gatehouse deliveries show ada:msg_2Q1               every delivery of an event, with the destination's response
  gatehouse deliveries resend ada:msg_2Q1 --to crm    with the same webhook-id
  gatehouse deliveries resend --all --to crm --rate 10 --receipt resend.jsonl
  gatehouse deliveries resend --resume resend.jsonl   continues after an interruption
  gatehouse deliveries discard --all --to crm
  gatehouse deliveries reconcile --since 3d           adds what the outbox missed

A delivery waits while its destination fails or is disabled, and is dead after ten attempts in three days.";

/// How long a delivery that the outbox missed is stored, in seconds.
const MISSED_TTL: i64 = 90 * 86_400;
/// In seconds.
const HOUR: i64 = 3600;
/// The states that a list without an event shows.
const LISTED: [&str; 2] = ["failing", "dead"];

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the deliveries that wait after a failure or for their destination, and the dead ones
    #[command(after_help = EXAMPLES)]
    List {
        #[command(flatten)]
        filter: FilterArgs,
        /// List at most this number for each destination and state
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: usize,
        #[command(flatten)]
        output: OutputArgs,
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Show the deliveries of an event to all destinations
    #[command(after_help = EXAMPLES)]
    Show {
        /// The event's id
        #[arg(value_name = "EVENT")]
        event: String,
        #[command(flatten)]
        output: OutputArgs,
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Send deliveries again, with a new series of attempts
    ///
    /// With --all, the selected deliveries and the results are written to a receipt: a file with one JSON line for each.
    /// --resume continues an interrupted command.
    #[command(after_help = EXAMPLES)]
    Resend {
        #[command(flatten)]
        selection: SelectionArgs,
        #[command(flatten)]
        receipt: ReceiptArgs,
        /// Resend at most this number of deliveries a second
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
        rate: u32,
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Add the deliveries of recorded events that have none, for example because the outbox stood still for a day
    ///
    /// Events are found in the index by-source. A delivery that exists is not changed, but one that waits for no time
    /// is woken.
    #[command(after_help = EXAMPLES)]
    Reconcile {
        /// Check events that were received since this time: a span before now such as 3d, or a time
        #[arg(long, value_name = "WHEN", value_parser = parse_when)]
        since: When,
        /// Only deliveries to this destination
        #[arg(long, value_name = "NAME")]
        to: Option<String>,
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Drop deliveries, which are then not sent. Their events stay recorded
    ///
    /// With --all, the selected deliveries and the results are written to a receipt: a file with one JSON line for each.
    /// --resume continues an interrupted command.
    #[command(after_help = EXAMPLES)]
    Discard {
        #[command(flatten)]
        selection: SelectionArgs,
        #[command(flatten)]
        receipt: ReceiptArgs,
        /// Discard at most this number of deliveries a second
        #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
        rate: u32,
        /// Do not ask for confirmation
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        target: TargetArgs,
    },
}

/// Arguments that filter deliveries.
#[derive(Debug, Clone, Args)]
pub(crate) struct FilterArgs {
    /// Only deliveries to this destination
    #[arg(long, value_name = "NAME")]
    to: Option<String>,
    /// Only deliveries in this state
    #[arg(long, value_name = "STATE", value_parser = LISTED)]
    state: Option<String>,
}

/// Arguments that select deliveries.
#[derive(Debug, Clone, Args)]
pub(crate) struct SelectionArgs {
    /// The event's id. Selects its deliveries in every state
    #[arg(value_name = "EVENT", conflicts_with_all = ["all", "state"])]
    event: Option<String>,
    /// Every failing and dead delivery that matches
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    filter: FilterArgs,
}

/// Runs `gatehouse deliveries`.
pub(crate) async fn run(command: Command) -> ExitStatus {
    match command {
        Command::List { filter, limit, output, target } => list(&target.find().await?, &filter, limit, output).await,
        Command::Show { event, output, target } => show(&target.find().await?, &event, output).await,
        Command::Resend { selection, receipt, rate, target } => {
            let deployment = target.find().await?;
            let Some(selected) = select(&deployment, &selection, &receipt, "resend").await? else { return Ok(USAGE) };
            change(&deployment, selected, rate, "resent", async |table, delivery| {
                table.resend(delivery, Clock::System.now()).await
            })
            .await
        }
        Command::Reconcile { since, to, target } => reconcile(&target.find().await?, since, to.as_deref()).await,
        Command::Discard { selection, receipt, rate, yes, target } => {
            let deployment = target.find().await?;
            let Some(selected) = select(&deployment, &selection, &receipt, "discard").await? else { return Ok(USAGE) };
            let question = format!("Discard {}?", number_of(selected.deliveries.len()));
            if !selected.deliveries.is_empty() && !yes && !confirm(&question, &mut Interrupts::listen()).await? {
                return Ok(1);
            }
            change(&deployment, selected, rate, "discarded", async |table, delivery| {
                table.discard(delivery, Clock::System.now()).await
            })
            .await
        }
    }
}

/// Adds the deliveries that the outbox missed.
async fn reconcile(deployment: &Deployment, since: When, to: Option<&str>) -> ExitStatus {
    let (table, destinations) = (deployment.delivery_table()?, destinations::of(deployment).await?);
    if to.is_some_and(|name| destinations.get(name).is_none()) {
        eprintln!(
            "there is no destination {}; gatehouse destinations list{} shows them",
            to.unwrap_or_default(),
            deployment.flags
        );
        return Ok(NOT_FOUND);
    }
    let states = table.destinations().await?;
    let selected = |name: &str| to.is_none_or(|to| to == name);
    let (mut events, mut added) = (0, 0);
    let now = Clock::System.now();
    let mut from = since.resolve(now);
    // Hour by hour, oldest first, so that deliveries are added in the order in which they are sent.
    while from <= now {
        let until = from.plus_secs(HOUR);
        let span = Span { source: Vec::new(), since: When::At(from), until: Some(When::At(until.min(now))) };
        let mut found = Vec::new();
        let search = span.for_each(deployment, async |event| {
            found.push(event);
            Ok(true)
        });
        search.await?;
        events += found.len();
        for event in found.iter().rev() {
            for (name, destination) in destinations.iter().filter(|(name, _)| selected(name)) {
                let is_new_enough = states.get(name).is_some_and(|state| event.received_at >= state.since);
                if is_new_enough && gets(deployment, destination, event).await? {
                    added += usize::from(add(&table, name, destination, event).await?);
                }
            }
        }
        from = until;
    }
    print(&format!(
        "{} read; {} added or woken, to be sent within a minute\n",
        counted(events, "event"),
        number_of(added)
    ))?;
    Ok(0)
}

/// Whether a destination gets an event. Reads its payload if a filter needs it.
async fn gets(deployment: &Deployment, destination: &Destination, event: &ListedEvent) -> Result<bool, Error> {
    Ok(match destination.filters.match_name(event.id.vendor(), event.event_type.as_deref()) {
        Match::Yes => true,
        Match::No => false,
        Match::ByPayload => {
            let contents = deployment.store.contents(vec![event.key.clone()], Clock::System.now()).await?;
            contents.values().any(|content| match content {
                Content::Record(record) => destination.filters.match_record(record),
                Content::Empty | Content::Erased(_) | Content::Damaged(_) => false,
            })
        }
    })
}

/// Adds the delivery of an event, if it has none, or wakes one that waits. It is due, so that the sweep finds it.
async fn add(table: &DeliveryTable, name: &str, destination: &Destination, event: &ListedEvent) -> Result<bool, Error> {
    let now = Clock::System.now();
    let subject = event.subject.as_ref().map(Subject::as_str);
    let lane = Lane::of(name, destination.order, subject, &event.key);
    let delivery = Delivery {
        event_type: event.event_type.clone(),
        subject: subject.map(str::to_owned),
        expires_at: now.as_secs() + MISSED_TTL,
        due: Some(now),
        ..Delivery::new(lane, &event.key, event.received_at, now)
    };
    if table.add(&delivery).await? {
        return Ok(true);
    }
    // Its message on the queue may be lost.
    match table.get(&delivery.lane, &delivery.row).await? {
        Some(existing) => Ok(table.wake(&existing, now).await?),
        None => Ok(false),
    }
}

/// Returns the deliveries of an event to all destinations that the deployment has ever had.
pub(crate) async fn of_event(
    table: &DeliveryTable,
    event_key: &str,
    subject: Option<&str>,
) -> Result<Vec<Delivery>, Error> {
    let mut names: Vec<String> = table.destinations().await?.into_keys().collect();
    names.sort();
    let mut deliveries = Vec::new();
    for name in names {
        deliveries.extend(table.of_event(&name, event_key, subject).await?);
    }
    Ok(deliveries)
}

/// Returns the subject of an event, if it is recorded.
async fn subject_of(deployment: &Deployment, event: &str) -> Result<Option<Subject>, Error> {
    let id = EventId::from_stored(event.to_owned());
    Ok(match deployment.store.content(&id, Clock::System.now()).await? {
        Content::Record(record) => record.event.subject,
        Content::Empty | Content::Erased(_) | Content::Damaged(_) => None,
    })
}

/// Delivers an event to a destination, also if it was not delivered to it before.
pub(crate) async fn resend_event(deployment: &Deployment, event: &str, name: &str, json: bool) -> ExitStatus {
    let table = deployment.delivery_table()?;
    let now = Clock::System.now();
    if !table.destinations().await?.contains_key(name) {
        eprintln!("there is no destination {name}; gatehouse destinations list{} shows them", deployment.flags);
        return Ok(NOT_FOUND);
    }
    let id = EventId::from_stored(event.to_owned());
    let Content::Record(record) = deployment.store.content(&id, now).await? else {
        eprintln!("there is no event {event}; gatehouse events list{} shows the ids", deployment.flags);
        return Ok(NOT_FOUND);
    };
    let subject = record.event.subject.as_ref().map(Subject::as_str);
    let mut deliveries = table.of_event(name, event, subject).await?;
    if deliveries.is_empty() {
        let lane = Lane::of(name, Order::None, subject, event);
        let delivery = Delivery {
            event_type: record.event.event_type.clone(),
            subject: subject.map(str::to_owned),
            expires_at: record.expires_at,
            due: Some(now),
            ..Delivery::new(lane, event, record.event.received_at, now)
        };
        table.add(&delivery).await?;
        deliveries.push(delivery);
    } else {
        for delivery in &deliveries {
            table.resend(delivery, now).await?;
        }
    }
    if json {
        deliveries.iter().try_for_each(|delivery| print_json(&to_json(delivery)))?;
    } else {
        print(&format!(
            "{event} is sent to {name} within a minute; gatehouse deliveries show{} {event}\n",
            deployment.flags
        ))?;
    }
    Ok(0)
}

async fn show(deployment: &Deployment, event: &str, output: OutputArgs) -> ExitStatus {
    let subject = subject_of(deployment, event).await?;
    let table = deployment.delivery_table()?;
    let deliveries = of_event(&table, event, subject.as_ref().map(Subject::as_str)).await?;
    if deliveries.is_empty() {
        eprintln!(
            "there are no deliveries of {event}; no destination gets it, or the outbox missed it: \
             gatehouse deliveries reconcile{} --since WHEN",
            deployment.flags
        );
        return Ok(NOT_FOUND);
    }
    for (n, delivery) in deliveries.iter().enumerate() {
        if output.json {
            print_json(&to_json(delivery))?;
            continue;
        }
        if n > 0 {
            print("\n")?;
        }
        let mut lines = KeyValues::default();
        lines.add("destination", delivery.lane.destination());
        lines.add("state", words(delivery));
        lines.add("attempts", delivery.attempts.to_string());
        lines.add_some("status", delivery.status.map(|status| status.to_string()));
        lines.add_some("reason", delivery.reason.as_ref());
        lines.add_some("next", delivery.due.map(|due| due.to_string()));
        lines.add("changed", delivery.at.to_string());
        if let Some(response) = &delivery.response {
            lines.block("response", response);
        }
        lines.print()?;
    }
    Ok(0)
}

async fn list(deployment: &Deployment, filter: &FilterArgs, limit: usize, output: OutputArgs) -> ExitStatus {
    let listed = matching(&deployment.delivery_table()?, filter, limit).await?;
    if output.json {
        listed.iter().try_for_each(|delivery| print_json(&to_json(delivery)))?;
        return Ok(0);
    }
    if listed.is_empty() {
        print("no delivery is failing or dead\n")?;
        return Ok(0);
    }
    let mut table = Table::new(["destination", "state", "attempts", "next", "reason", "event"]);
    for delivery in listed {
        let next = delivery.due.map_or("-".to_owned(), |due| due.to_string());
        let reason = delivery.reason.clone().unwrap_or_else(|| "-".to_owned());
        let destination = delivery.lane.destination().to_owned();
        table.row([destination, words(&delivery), delivery.attempts.to_string(), next, reason, delivery.event_key]);
    }
    table.print()?;
    Ok(0)
}

/// Returns the word for a delivery's state. One that waits for a time has failed, or its destination does.
fn words(delivery: &Delivery) -> String {
    match (delivery.state, delivery.due) {
        (State::Waiting, Some(_)) => LISTED[0].to_owned(),
        (state, _) => state.as_str().to_owned(),
    }
}

/// Describes a delivery in one line.
pub(crate) fn summary(delivery: &Delivery) -> String {
    let reason = delivery.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    let attempts = counted(usize::try_from(delivery.attempts).unwrap_or(usize::MAX), "attempt");
    format!("{} {}, {attempts}{reason}", delivery.lane.destination(), words(delivery))
}

pub(crate) fn to_json(delivery: &Delivery) -> Value {
    json!({
        "destination": delivery.lane.destination(),
        "event_id": delivery.event_key,
        "event_type": delivery.event_type,
        "subject": delivery.subject,
        "state": words(delivery),
        "attempts": delivery.attempts,
        "next": delivery.due.map(|due| due.to_string()),
        "status": delivery.status,
        "reason": delivery.reason,
        "response": delivery.response,
        "changed": delivery.at.to_string(),
    })
}

/// Returns the failing and dead deliveries that match, at most `limit` of each destination and state.
async fn matching(table: &DeliveryTable, filter: &FilterArgs, limit: usize) -> Result<Vec<Delivery>, Error> {
    let mut names: Vec<String> = table.destinations().await?.into_keys().collect();
    names.retain(|name| filter.to.as_ref().is_none_or(|to| to == name));
    names.sort();
    let until = Clock::System.now().plus_secs(365 * 86_400);
    let mut found = Vec::new();
    for name in names {
        for state in LISTED.into_iter().filter(|state| filter.state.as_deref().is_none_or(|wanted| wanted == *state)) {
            let (mut of_state, mut from) = (Vec::new(), None);
            loop {
                let page = if state == LISTED[0] {
                    table.due(&name, until, from).await?
                } else {
                    table.dead(&name, until, from).await?
                };
                of_state.extend(page.0);
                from = page.1;
                if from.is_none() || of_state.len() >= limit {
                    break;
                }
            }
            of_state.truncate(limit);
            found.extend(of_state);
        }
    }
    Ok(found)
}

/// The selected deliveries.
struct Selected {
    deliveries: Vec<Delivery>,
    source: ReceiptSource,
}

/// Where the receipt of a command comes from.
enum ReceiptSource {
    /// It is created when the command begins to change deliveries.
    New { arguments: ReceiptArgs, command: &'static str, is_all: bool },
    /// It is continued.
    Resumed(Receipt),
}

/// Returns the selected deliveries; `None` if nothing is selected.
async fn select(
    deployment: &Deployment,
    selection: &SelectionArgs,
    receipt: &ReceiptArgs,
    command: &'static str,
) -> Result<Option<Selected>, Error> {
    let table = deployment.delivery_table()?;
    if let (Some(resumed), deliveries) = receipt.resume(command, &table).await? {
        return Ok(Some(Selected { deliveries, source: ReceiptSource::Resumed(resumed) }));
    }
    let deliveries = match &selection.event {
        Some(event) => {
            let subject = subject_of(deployment, event).await?;
            let mut deliveries = of_event(&table, event, subject.as_ref().map(Subject::as_str)).await?;
            let to = selection.filter.to.as_deref();
            deliveries.retain(|delivery| to.is_none_or(|to| delivery.lane.destination() == to));
            deliveries
        }
        None if selection.all => matching(&table, &selection.filter, usize::MAX).await?,
        None => {
            eprintln!("no deliveries are selected; pass an EVENT or --all. --to and --state restrict --all");
            return Ok(None);
        }
    };
    let source = ReceiptSource::New { arguments: receipt.clone(), command, is_all: selection.all };
    Ok(Some(Selected { deliveries, source }))
}

/// Changes the selected deliveries, at most `rate` a second. Exits with 3 if there are none.
async fn change(
    deployment: &Deployment,
    selected: Selected,
    rate: u32,
    done: &str,
    apply: impl AsyncFn(&DeliveryTable, &Delivery) -> Result<bool, gatehouse_inbox::StoreError>,
) -> ExitStatus {
    let table = deployment.delivery_table()?;
    let Selected { deliveries: selected, source } = selected;
    let mut receipt = match source {
        ReceiptSource::New { .. } if selected.is_empty() => {
            eprintln!("no delivery matches; gatehouse deliveries list{} shows failing and dead ones", deployment.flags);
            return Ok(NOT_FOUND);
        }
        ReceiptSource::New { arguments, command, is_all } => {
            let receipt = arguments.create(command, &selected, is_all, Clock::System.now())?;
            if let Some(receipt) = &receipt {
                eprintln!("the receipt is {}", receipt.path().display());
            }
            receipt
        }
        ReceiptSource::Resumed(receipt) => Some(receipt),
    };
    let mut interrupts = Interrupts::listen();
    let mut ticks = interval((Duration::from_secs(1) / rate).max(Duration::from_micros(1)));
    let (mut changed, mut skipped) = (0, 0);
    for delivery in &selected {
        tokio::select! {
            _ = ticks.tick() => {}
            () = interrupts.next() => {
                match &receipt {
                    Some(receipt) => eprintln!("interrupted; continue with --resume {}", receipt.path().display()),
                    None => eprintln!("interrupted; run the command again for the rest"),
                }
                break;
            }
        }
        let is_changed = apply(&table, delivery).await?;
        if let Some(receipt) = &mut receipt {
            receipt.add(delivery, if is_changed { done } else { "changed meanwhile" })?;
        }
        if is_changed {
            changed += 1;
        } else {
            skipped += 1;
        }
    }
    let note = if skipped > 0 { format!("; {skipped} changed meanwhile and were left alone") } else { String::new() };
    print(&format!("{} {done}{note}\n", number_of(changed)))?;
    Ok(u8::from(changed + skipped < selected.len()))
}

fn number_of(deliveries: usize) -> String {
    if deliveries == 1 { "1 delivery".to_owned() } else { format!("{deliveries} deliveries") }
}
