//! `gatehouse deliveries reconcile`: adds the deliveries that the outbox missed.

use gatehouse_deliveries::deliver::FILTERED;
use gatehouse_deliveries::filter::Match;
use gatehouse_deliveries::lane::Lane;
use gatehouse_deliveries::table::{Delivery, State};
use gatehouse_deliveries::{DeliveryTable, Destination};
use gatehouse_inbox::store::Content;
use gatehouse_inbox::store::by_source::{ListedEvent, Order};
use gatehouse_local::Error;
use gatehouse_payload::Subject;
use gatehouse_runtime::Clock;

use super::number_of;
use crate::ops::deployment::Deployment;
use crate::ops::listing::Span;
use crate::ops::output::{When, counted};
use crate::ops::{ExitStatus, destinations};
use crate::shell::print;

/// Adds the deliveries that the outbox missed.
pub(crate) async fn reconcile(deployment: &Deployment, since: When, to: Option<&str>) -> ExitStatus {
    let (table, destinations) = (deployment.delivery_table()?, destinations::of(deployment).await?);
    if let Some(name) = to.filter(|name| destinations.get(name).is_none()) {
        return Ok(destinations::report_unusable(deployment, &destinations, name));
    }
    let states = table.destinations().await?;
    let selected = |name: &str| to.is_none_or(|to| to == name);
    let (mut events, mut added) = (0, 0);
    let span = Span { source: Vec::new(), since, until: None };
    // Oldest first, so that deliveries are added in the order in which they are sent.
    let mut listing = span.list(deployment, Order::OldestFirst)?;
    while let Some(event) = &listing.next().await? {
        events += 1;
        for (name, destination) in destinations.iter().filter(|(name, _)| selected(name)) {
            let is_new_enough = states.get(name).is_some_and(|state| event.received_at >= state.since);
            if is_new_enough && gets(deployment, destination, event).await? {
                added += usize::from(add(&table, name, destination, event).await?);
            }
        }
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
    if let Some(existing) = table.of_receipt(name, &event.key, subject, event.received_at).await? {
        if existing.state == State::Dropped && existing.reason.as_deref() == Some(FILTERED) {
            return Ok(table.resend(&existing, now).await?);
        }
        // Its message on the queue may be lost.
        return Ok(table.wake(&existing, now).await?);
    }
    let lane = Lane::of(name, destination.order, subject, &event.key);
    let delivery = Delivery {
        event_type: event.event_type.clone(),
        subject: subject.map(str::to_owned),
        due: Some(now),
        ..Delivery::new(lane, &event.key, event.received_at, now).of_event_until(event.expires_at)
    };
    Ok(table.add(&delivery).await?)
}
