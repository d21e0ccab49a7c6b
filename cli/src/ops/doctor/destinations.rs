//! Checks the destinations: whether they get their events.

use gatehouse_local::Error;
use gatehouse_runtime::Clock;

use super::Findings;
use crate::ops::deployment::Deployment;
use crate::ops::destinations::{Listed, listed};

/// Number of visible messages on a delivery queue that causes a warning. `deliver` handles 200 at the same time.
const MANY_VISIBLE: u64 = 1000;

/// Checks the delivery queues and each destination of a deployment that delivers events.
pub(super) async fn check(deployment: &Deployment, findings: &mut Findings) -> Result<(), Error> {
    let (flags, now) = (&deployment.flags, Clock::System.now());
    for (check, queue) in ["delivery queue", "slow delivery queue"].into_iter().zip(deployment.delivery_queues()) {
        let Some(queue) = queue else { continue };
        let (visible, hidden) = deployment.counts(queue).await?;
        let advice = "if the number of visible messages does not fall, deliveries are late; check deliver's event source \
                      mapping (aws lambda list-event-source-mappings) and its log";
        let level = if visible < MANY_VISIBLE { "ok" } else { "warning" };
        findings.add(check, level, format!("{visible} visible, {hidden} delayed"), advice);
    }
    for destination in listed(deployment, now).await? {
        let Listed { name, state, failing, dead, .. } = &destination;
        let (level, advice) = if destination.is_removed() {
            ("warning", format!("set it again, or: gatehouse deliveries discard --all --to {name}{flags}"))
        } else if destination.is_unusable() {
            ("wrong", format!("its events wait; gatehouse secrets check{flags} names the defect"))
        } else if let Some(advice) = &destination.access_advice {
            ("wrong", advice.clone())
        } else if destination.is_stopped() {
            ("wrong", format!("its events wait; gatehouse destinations test {name}{flags}, then enable it"))
        } else if let Some(minutes) = destination.late_minutes(now) {
            let function = "the log of the function deliver has the reason";
            ("wrong", format!("its next attempt is {minutes} minutes late; {function}"))
        } else if *dead > 0 {
            ("warning", format!("gatehouse deliveries list --to {name} --state dead{flags}; resend or discard them"))
        } else if *failing > 0 {
            ("warning", format!("gatehouse deliveries list --to {name}{flags} shows why"))
        } else {
            ("ok", String::new())
        };
        findings.add(&format!("destination {name}"), level, format!("{state}, {failing} failing, {dead} dead"), advice);
    }
    Ok(())
}
