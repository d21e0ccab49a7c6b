//! `gatehouse deliveries`: shows, resends and discards deliveries of events to destinations.

use clap::{Args, Subcommand};
use gatehouse_deliveries::DeliveryTable;
use gatehouse_deliveries::destination::Order;
use gatehouse_deliveries::lane::Lane;
use gatehouse_deliveries::table::{Delivery, State};
use gatehouse_inbox::store::Content;
use gatehouse_local::Error;
use gatehouse_payload::time::Timestamp;
use gatehouse_payload::{EventId, Subject};
use gatehouse_runtime::Clock;
use serde_json::{Value, json};

use super::deployment::{Deployment, TargetArgs};
use super::destinations;
use super::listing::LimitArgs;
use super::output::{KeyValues, OutputArgs, When, counted, parse_when, print_json};
use super::{ExitStatus, NOT_FOUND, USAGE};
use crate::send::rate;
use crate::shell::{Interrupts, confirm, note, print};
use change::{change, select};
use receipt::ReceiptArgs;
pub(crate) use reconcile::reconcile;

mod change;
mod receipt;
mod reconcile;

pub(crate) const EXAMPLES: &str = "\
Examples:
  gatehouse deliveries list                          failing and dead ones, of all destinations
  gatehouse deliveries list --to crm --state dead --since 1d --stack gatehouse
  gatehouse deliveries list --to crm --state waiting   not sent yet, for example behind a failing one
  gatehouse deliveries list --subject ada:conversation:673da1f0   in every state
  gatehouse deliveries show ada:msg_2Q1               every delivery of an event, with the destination's response
  gatehouse deliveries resend ada:msg_2Q1 --to crm    with the same webhook-id
  gatehouse deliveries resend --all --to crm --rate 10 --receipt resend.jsonl
  gatehouse deliveries resend --resume resend.jsonl   continues after an interruption
  gatehouse deliveries discard --all --to crm
  gatehouse deliveries reconcile --since 3d           adds what the outbox missed

A delivery is failing while it waits for its next attempt, or for its destination to be enabled. It is dead after ten
attempts in three days, or after a permanent failure. States: docs/deliveries.md";

/// The names of the commands that change deliveries.
const RESEND: &str = "resend";
const DISCARD: &str = "discard";
/// The states by which deliveries can be selected.
const STATES: [&str; 3] = [WAITING, FAILING, DEAD];
const WAITING: &str = "waiting";
const FAILING: &str = "failing";
const DEAD: &str = "dead";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List failing and dead deliveries, or all deliveries of a subject
    #[command(after_help = EXAMPLES)]
    List {
        /// The deliveries of this subject in every state, such as delivered
        #[arg(long, value_name = "SUBJECT")]
        subject: Option<String>,
        #[command(flatten)]
        filter: FilterArgs,
        #[command(flatten)]
        limit: LimitArgs,
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
    /// With --all, the selected deliveries and the results are written to a receipt: a file of JSON lines.
    /// --resume continues an interrupted command.
    #[command(after_help = EXAMPLES)]
    Resend {
        #[command(flatten)]
        selection: SelectionArgs,
        #[command(flatten)]
        receipt: ReceiptArgs,
        /// Maximum number of deliveries per second, such as 10/s
        #[arg(long, value_name = "N/s", default_value = "50/s", value_parser = rate)]
        rate: f64,
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Add the deliveries that recorded events lack, for example after the function Outbox did not run for a day
    ///
    /// Events are found in the index by-source. An existing delivery does not change, except that a waiting one becomes
    /// due at once.
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
    /// With --all, the selected deliveries and the results are written to a receipt: a file of JSON lines.
    /// --resume continues an interrupted command.
    #[command(after_help = EXAMPLES)]
    Discard {
        #[command(flatten)]
        selection: SelectionArgs,
        #[command(flatten)]
        receipt: ReceiptArgs,
        /// Maximum number of deliveries per second, such as 10/s
        #[arg(long, value_name = "N/s", default_value = "200/s", value_parser = rate)]
        rate: f64,
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
    /// Only deliveries in this state. `waiting` are those that have not been sent yet; they are found by reading the
    /// whole delivery table
    #[arg(long, value_name = "STATE", value_parser = STATES)]
    state: Option<String>,
    /// Only deliveries that have changed since this time: a span before now such as 3d, or a time
    #[arg(long, value_name = "WHEN", value_parser = parse_when)]
    since: Option<When>,
    /// Only deliveries that have not changed after this time
    #[arg(long, value_name = "WHEN", value_parser = parse_when)]
    until: Option<When>,
}

impl FilterArgs {
    fn matches(&self, delivery: &Delivery, now: Timestamp) -> bool {
        self.to.as_ref().is_none_or(|to| to == delivery.lane.destination())
            && self.state.as_ref().is_none_or(|state| *state == words(delivery))
            && self.since.is_none_or(|since| delivery.at >= since.resolve(now))
            && self.until.is_none_or(|until| delivery.at <= until.resolve(now))
    }
}

/// Arguments that select deliveries.
#[derive(Debug, Clone, Args)]
pub(crate) struct SelectionArgs {
    /// The event's id. Selects its deliveries in every state
    #[arg(value_name = "EVENT", conflicts_with_all = ["all", "state", "since", "until"])]
    event: Option<String>,
    /// Every failing and dead delivery that matches; for discard, also every waiting one
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    filter: FilterArgs,
}

/// Runs `gatehouse deliveries`.
pub(crate) async fn run(command: Command) -> ExitStatus {
    match command {
        Command::List { subject, filter, limit, output, target } => {
            list(&target.find().await?, subject.as_deref(), &filter, limit, output).await
        }
        Command::Show { event, output, target } => show(&target.find().await?, &event, output).await,
        Command::Resend { selection, receipt, rate, target } => {
            let deployment = target.find().await?;
            let Some(selected) = select(&deployment, &selection, &receipt, RESEND).await? else { return Ok(USAGE) };
            change(&deployment, selected, rate, "resent", async |table, delivery| {
                table.resend(delivery, Clock::System.now()).await
            })
            .await
        }
        Command::Reconcile { since, to, target } => reconcile(&target.find().await?, since, to.as_deref()).await,
        Command::Discard { selection, receipt, rate, yes, target } => {
            let deployment = target.find().await?;
            let selected = select(&deployment, &selection, &receipt, DISCARD).await?;
            let Some(mut selected) = selected else { return Ok(USAGE) };
            // Starts with the last delivery of a lane: discarding an earlier one wakes the next one, which may be sent.
            selected.deliveries.sort_by(|a, b| (&b.lane, &b.row).cmp(&(&a.lane, &a.row)));
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

/// Returns the deliveries of an event to all destinations that the deployment has ever had.
pub(crate) async fn of_event(
    table: &DeliveryTable,
    event_key: &str,
    subject: Option<&str>,
) -> Result<Vec<Delivery>, Error> {
    let mut deliveries = Vec::new();
    for name in table.destinations().await?.into_keys() {
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
    let Some(state) = table.destinations().await?.remove(name) else {
        return Ok(destinations::report_unknown(deployment, name));
    };
    let id = EventId::from_stored(event.to_owned());
    let Content::Record(record) = deployment.store.content(&id, now).await? else {
        note(format!("there is no event {event}; gatehouse events list{} shows the ids", deployment.flags));
        return Ok(NOT_FOUND);
    };
    let subject = record.event.subject.as_ref().map(Subject::as_str);
    let deliveries = table.of_event(name, event, subject).await?;
    if deliveries.is_empty() {
        let lane = Lane::of(name, Order::None, subject, event);
        let delivery = Delivery {
            event_type: record.event.event_type.clone(),
            subject: subject.map(str::to_owned),
            due: Some(now),
            ..Delivery::new(lane, event, record.event.received_at, now).of_event_until(record.expires_at)
        };
        table.add(&delivery).await?;
    } else {
        for delivery in &deliveries {
            if !table.resend(delivery, now).await? {
                return Err(format!("the delivery of {event} to {name} is just being changed; try again").into());
            }
        }
    }
    if json {
        let deliveries = table.of_event(name, event, subject).await?;
        deliveries.iter().try_for_each(|delivery| print_json(&to_json(delivery)))?;
        return Ok(0);
    }
    let flags = &deployment.flags;
    // Only the message depends on it, so that the right to read the secret is not needed.
    let is_defined = destinations::of(deployment).await.map_or(true, |known| known.get(name).is_some());
    let when = match state.disabled {
        Some(reason) => {
            format!("when it is enabled; it is disabled ({reason}): gatehouse destinations enable {name}{flags}")
        }
        None if is_defined => format!("within a minute; gatehouse deliveries show{flags} {event}"),
        None => format!("when it can be used again; gatehouse destinations list{flags} shows its state"),
    };
    print(&format!("{event} is sent to {name} {when}\n"))?;
    Ok(0)
}

async fn show(deployment: &Deployment, event: &str, output: OutputArgs) -> ExitStatus {
    let subject = subject_of(deployment, event).await?;
    let table = deployment.delivery_table()?;
    let deliveries = of_event(&table, event, subject.as_ref().map(Subject::as_str)).await?;
    if deliveries.is_empty() {
        let flags = &deployment.flags;
        note(format!(
            "there are no deliveries of {event}: no destination gets it, or the outbox missed it (gatehouse deliveries \
             reconcile{flags} --since WHEN). If it has expired, its deliveries are found by its subject: \
             gatehouse deliveries list{flags} --subject SUBJECT"
        ));
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

async fn list(
    deployment: &Deployment,
    subject: Option<&str>,
    filter: &FilterArgs,
    limit: LimitArgs,
    output: OutputArgs,
) -> ExitStatus {
    let table = deployment.delivery_table()?;
    if let Some(name) = &filter.to
        && !table.destinations().await?.contains_key(name)
        // A destination that was set by hand has no state before the first event.
        && destinations::of(deployment).await.is_ok_and(|known| known.get(name).is_none())
    {
        return Ok(destinations::report_unknown(deployment, name));
    }
    let rows = limit.rows().unwrap_or(usize::MAX);
    let mut listed = match subject {
        Some(subject) => of_subject(deployment, &table, subject, filter).await?,
        // One extra delivery shows whether the list is complete.
        None => matching(&table, filter, &[FAILING, DEAD], rows.saturating_add(1)).await?,
    };
    let has_more = listed.len() > rows;
    listed.truncate(rows);
    if output.json {
        listed.iter().try_for_each(|delivery| print_json(&to_json(delivery)))?;
    }
    if has_more {
        note(format!("there are more: {rows} deliveries are shown; pass -n N for more rows, or --to and --state"));
    }
    if output.json {
        return Ok(0);
    }
    if listed.is_empty() {
        let is_default = subject.is_none() && filter.state.is_none();
        note(if is_default { "no delivery is failing or dead" } else { "no delivery matches" });
        return Ok(0);
    }
    let mut table = output.table(["DESTINATION", "STATE", "ATTEMPTS", "NEXT", "REASON", "EVENT"]);
    for delivery in listed {
        let next = delivery.due.map_or("-".to_owned(), |due| due.to_string());
        let reason = delivery.reason.clone().unwrap_or_else(|| "-".to_owned());
        let destination = delivery.lane.destination().to_owned();
        table.row([destination, words(&delivery), delivery.attempts.to_string(), next, reason, delivery.event_key]);
    }
    table.print()?;
    Ok(0)
}

/// Returns a delivery's state for display. A waiting delivery with a due time is shown as failing.
fn words(delivery: &Delivery) -> String {
    match (delivery.state, delivery.due) {
        (State::Waiting, Some(_)) => FAILING.to_owned(),
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

/// Returns the deliveries that match, at most `limit` of each destination and state. `states` are those that are
/// selected if the filter names none.
async fn matching(
    table: &DeliveryTable,
    filter: &FilterArgs,
    states: &[&str],
    limit: usize,
) -> Result<Vec<Delivery>, Error> {
    let mut names: Vec<String> = table.destinations().await?.into_keys().collect();
    names.retain(|name| filter.to.as_ref().is_none_or(|to| to == name));
    let now = Clock::System.now();
    let until = now.plus_secs(365 * 86_400);
    let mut found = Vec::new();
    for name in names {
        let wanted = filter.state.as_deref();
        for state in wanted.as_ref().map_or(states, std::slice::from_ref) {
            let (mut of_state, mut from) = (Vec::new(), None);
            loop {
                let page = match *state {
                    DEAD => table.dead(&name, until, from).await?,
                    WAITING => table.not_due(&name, from).await?,
                    _ => table.due(&name, until, from).await?,
                };
                of_state.extend(page.0.into_iter().filter(|delivery| filter.matches(delivery, now)));
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

/// Returns the deliveries of a subject, in every state, that match.
async fn of_subject(
    deployment: &Deployment,
    table: &DeliveryTable,
    subject: &str,
    filter: &FilterArgs,
) -> Result<Vec<Delivery>, Error> {
    let subject = Subject::from_stored(subject.to_owned());
    let keys = deployment.store.keys(&subject).await?;
    let names: Vec<String> = table.destinations().await?.into_keys().collect();
    let (now, mut deliveries) = (Clock::System.now(), Vec::new());
    for name in names.iter().filter(|name| filter.to.as_ref().is_none_or(|to| to == *name)) {
        let of_subject = subject.names().map(|subject| Lane::of(name, Order::Subject, Some(subject.as_str()), ""));
        let single = keys.iter().map(|key| Lane::of(name, Order::None, None, key));
        for lane in of_subject.chain(single) {
            deliveries.extend(table.lane(&lane).await?);
        }
    }
    deliveries.retain(|delivery| filter.matches(delivery, now));
    Ok(deliveries)
}

fn number_of(deliveries: usize) -> String {
    if deliveries == 1 { "1 delivery".to_owned() } else { format!("{deliveries} deliveries") }
}
