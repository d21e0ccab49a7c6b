//! `gatehouse destinations list`: the destinations with their states and the numbers of their deliveries.

use gatehouse_deliveries::DeliveryTable;
use gatehouse_deliveries::destination::{Order, Target};
use gatehouse_deliveries::table::{Breaker, DestinationState};
use gatehouse_local::Error;
use gatehouse_payload::time::Timestamp;
use gatehouse_runtime::Clock;
use serde::Serialize;

use super::{access, place_of, read_destinations};
use crate::ops::ExitStatus;
use crate::ops::deployment::{Deployment, TargetArgs};
use crate::ops::output::{OutputArgs, print_json};
use crate::shell::note;

/// The largest number of deliveries that a list counts.
const MAX_COUNT: usize = 1000;
/// How late the next attempt of a destination may be before it is reported, in seconds.
const LATE_AFTER: i64 = 15 * 60;

/// The state of a destination that is not in the secrets document any more.
const REMOVED: &str = "removed";
/// The state of a destination whose entry in the secrets document has a defect.
const UNUSABLE: &str = "unusable";

/// A destination in a list.
#[derive(Serialize)]
pub(crate) struct Listed {
    pub(crate) name: String,
    target: String,
    pub(crate) state: String,
    since: Option<Timestamp>,
    pub(crate) failing: usize,
    pub(crate) dead: usize,
    /// The earliest time at which one of its failing deliveries is due.
    next_attempt: Option<Timestamp>,
    order: &'static str,
    signed: bool,
    /// Whether its deliveries are sent from the slow delivery queue.
    slow: bool,
    /// Advice if the stack may not reach it.
    #[serde(skip)]
    pub(crate) access_advice: Option<String>,
    #[serde(skip)]
    is_stopped: bool,
}

impl Listed {
    /// Whether only its deliveries are left.
    pub(crate) fn is_removed(&self) -> bool {
        self.state == REMOVED
    }

    /// Whether its entry in the secrets document has a defect.
    pub(crate) fn is_unusable(&self) -> bool {
        self.state == UNUSABLE
    }

    /// Whether it gets nothing now.
    pub(crate) fn is_stopped(&self) -> bool {
        self.is_stopped
    }

    /// Returns by how many minutes its next attempt is late, if by at least [`LATE_AFTER`].
    pub(crate) fn late_minutes(&self, now: Timestamp) -> Option<i64> {
        let late = now.as_secs() - self.next_attempt?.as_secs();
        (late >= LATE_AFTER).then_some(late / 60)
    }
}

/// Returns the destinations of a deployment, and those that were removed while deliveries waited for them.
pub(crate) async fn listed(deployment: &Deployment, now: Timestamp) -> Result<Vec<Listed>, Error> {
    let (table, place) = (deployment.delivery_table()?, place_of(deployment)?);
    let (destinations, states) = (read_destinations(&place).await?, table.destinations().await?);
    let mut listed = Vec::new();
    for (name, destination) in destinations.iter() {
        let state = states.get(name);
        let (failing, next_attempt) = count(&table, name, false).await?;
        listed.push(Listed {
            name: name.to_owned(),
            target: describe(&destination.target),
            state: state_words(state, now),
            since: state.map(|state| state.since),
            failing,
            dead: count(&table, name, true).await?.0,
            next_attempt,
            order: if destination.order == Order::None { "none" } else { "subject" },
            signed: !destination.signing_keys.is_empty(),
            slow: state.is_some_and(|state| state.is_slow(now)),
            access_advice: access::advice(deployment, destination),
            is_stopped: state
                .is_some_and(|state| state.disabled.is_some() || state.is_failing(now) && next_attempt.is_some()),
        });
    }
    for (name, state) in states.iter().filter(|(name, _)| destinations.get(name).is_none()) {
        let (failing, next_attempt) = count(&table, name, false).await?;
        let dead = count(&table, name, true).await?.0;
        let is_unusable = destinations.has_defect(name);
        // A removed destination without deliveries need not be listed.
        if failing + dead > 0 || is_unusable {
            listed.push(Listed {
                name: name.clone(),
                target: "-".to_owned(),
                state: if is_unusable { UNUSABLE.to_owned() } else { REMOVED.to_owned() },
                slow: false,
                access_advice: None,
                since: Some(state.since),
                failing,
                dead,
                next_attempt,
                order: "-",
                signed: false,
                is_stopped: true,
            });
        }
    }
    Ok(listed)
}

pub(super) async fn list(output: OutputArgs, target: &TargetArgs) -> ExitStatus {
    let deployment = target.find().await?;
    let listed = listed(&deployment, Clock::System.now()).await?;
    if output.json {
        listed.iter().try_for_each(print_json)?;
        return Ok(0);
    }
    if listed.is_empty() {
        note(format!("there are no destinations; gatehouse destinations set{} creates one", deployment.flags));
        return Ok(0);
    }
    let mut table = output.table(["NAME", "TARGET", "STATE", "FAILING", "DEAD", "SINCE"]);
    for Listed { name, target, state, since, failing, dead, .. } in listed {
        let number = |n: usize| if n >= MAX_COUNT { format!("{MAX_COUNT}+") } else { n.to_string() };
        let since = since.map_or("-".to_owned(), |since| since.to_string());
        table.row([name, target, state, number(failing), number(dead), since]);
    }
    table.print()?;
    Ok(0)
}

/// Describes a target without a path, which may contain a token.
fn describe(target: &Target) -> String {
    match target {
        Target::Url { url, .. } => {
            let authority = url.authority().map(ToString::to_string).unwrap_or_default();
            format!("{}://{authority}", url.scheme_str().unwrap_or_default())
        }
        Target::Queue { url } => format!("sqs {}", url.rsplit('/').next().unwrap_or_default()),
        Target::Function { name } => {
            let name = name.split_once(":function:").map_or(name.as_str(), |(_, name)| name);
            format!("lambda {name}")
        }
    }
}

fn state_words(state: Option<&DestinationState>, now: Timestamp) -> String {
    let Some(state) = state else { return "new".to_owned() };
    let words = match (&state.disabled, state.breaker(now), state.failures) {
        (Some(reason), ..) => return format!("disabled: {reason}"),
        (None, Breaker::Open(_) | Breaker::HalfOpen, failures) => format!("paused after {failures} failures"),
        (None, Breaker::Closed, 0) => "enabled".to_owned(),
        (None, Breaker::Closed, failures) => format!("enabled, {failures} failed in a row"),
    };
    if state.is_slow(now) { words + ", slow" } else { words }
}

/// Counts the deliveries of a destination that wait for a time, or that are dead. Also returns the earliest of these
/// times.
async fn count(table: &DeliveryTable, name: &str, dead: bool) -> Result<(usize, Option<Timestamp>), Error> {
    let (mut count, mut first, mut from) = (0, None, None);
    let until = Clock::System.now().plus_secs(365 * 86_400);
    loop {
        let page = if dead { table.dead(name, until, from).await? } else { table.due(name, until, from).await? };
        first = first.or(page.0.first().and_then(|delivery| delivery.due));
        count += page.0.len();
        from = page.1;
        if from.is_none() || count >= MAX_COUNT {
            return Ok((count.min(MAX_COUNT), first));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destination_is_late_if_its_next_attempt_should_have_been_a_quarter_of_an_hour_ago() {
        let now = Clock::System.now();
        let late = |seconds: Option<i64>| {
            let listed = Listed {
                name: "crm".to_owned(),
                target: String::new(),
                state: "enabled".to_owned(),
                since: None,
                failing: 1,
                dead: 0,
                next_attempt: seconds.map(|seconds| now.plus_secs(-seconds)),
                order: "subject",
                signed: true,
                slow: false,
                access_advice: None,
                is_stopped: false,
            };
            listed.late_minutes(now)
        };
        assert_eq!(
            [None, Some(-60), Some(899), Some(900), Some(7200)].map(late),
            [None, None, None, Some(15), Some(120)]
        );
    }
}
