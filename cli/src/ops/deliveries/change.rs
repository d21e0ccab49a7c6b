//! Resends or discards the selected deliveries, with a receipt.

use std::time::Duration;

use gatehouse_deliveries::DeliveryTable;
use gatehouse_deliveries::table::Delivery;
use gatehouse_local::Error;
use gatehouse_payload::Subject;
use gatehouse_runtime::Clock;
use tokio::time::interval;

use super::receipt::{Receipt, ReceiptArgs};
use super::{DEAD, DISCARD, FAILING, STATES, SelectionArgs, matching, number_of, of_event, subject_of};
use crate::ops::deployment::Deployment;
use crate::ops::{ExitStatus, NOT_FOUND};
use crate::shell::{Interrupts, note, print};

/// The selected deliveries.
pub(super) struct Selected {
    pub(super) deliveries: Vec<Delivery>,
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
pub(super) async fn select(
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
        None if selection.all => {
            let states: &[&str] = if command == DISCARD { &STATES } else { &[FAILING, DEAD] };
            matching(&table, &selection.filter, states, usize::MAX).await?
        }
        None => {
            note("no deliveries are selected; pass an EVENT or --all. --to and --state restrict --all");
            return Ok(None);
        }
    };
    let source = ReceiptSource::New { arguments: receipt.clone(), command, is_all: selection.all };
    Ok(Some(Selected { deliveries, source }))
}

/// Changes the selected deliveries, at most `rate` per second. Exits with 3 if an event has none.
pub(super) async fn change(
    deployment: &Deployment,
    selected: Selected,
    rate: f64,
    done: &str,
    apply: impl AsyncFn(&DeliveryTable, &Delivery) -> Result<bool, gatehouse_inbox::StoreError>,
) -> ExitStatus {
    let table = deployment.delivery_table()?;
    let Selected { deliveries: selected, source } = selected;
    let mut receipt = match source {
        ReceiptSource::New { is_all, .. } if selected.is_empty() => {
            note(format!(
                "no delivery matches; gatehouse deliveries list{} shows failing and dead ones",
                deployment.flags
            ));
            return Ok(if is_all { 0 } else { NOT_FOUND });
        }
        ReceiptSource::New { arguments, command, is_all } => {
            let receipt = arguments.create(command, &selected, is_all, Clock::System.now())?;
            if let Some(receipt) = &receipt {
                note(format!("the receipt is {}", receipt.path().display()));
            }
            receipt
        }
        ReceiptSource::Resumed(receipt) => Some(receipt),
    };
    let mut interrupts = Interrupts::listen();
    let mut ticks = interval(Duration::from_secs_f64(1.0 / rate).max(Duration::from_micros(1)));
    let (mut changed, mut skipped) = (0, 0);
    for delivery in &selected {
        tokio::select! {
            _ = ticks.tick() => {}
            () = interrupts.next() => {
                match &receipt {
                    Some(receipt) => note(format!("interrupted; continue with --resume {}", receipt.path().display())),
                    None => note("interrupted; run the command again for the rest"),
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
    let note = match skipped {
        0 => String::new(),
        _ => format!("; {skipped} were settled or changed meanwhile, and were left alone"),
    };
    print(&format!("{} {done}{note}\n", number_of(changed)))?;
    Ok(u8::from(changed + skipped < selected.len()))
}
