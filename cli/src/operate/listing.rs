//! Lists of what arrived: the index `by-source`, hour by hour.

use clap::Args;
use gatehouse_inbox::Clock;
use gatehouse_inbox::store::arrivals::{Arrival, SOURCE_INDEX, hours};
use gatehouse_local::Error;

use super::deployment::Deployment;
use super::output::{Moment, moment};

/// The vendors, as they stand in event ids.
pub(crate) const SOURCES: [&str; 4] = ["ada", "agntix", "vapi", "ag-kit"];

#[derive(Debug, Clone, Args)]
pub(crate) struct Span {
    /// Only of this vendor; may stand several times [default: all of them]
    #[arg(long, value_name = "SOURCE", value_parser = SOURCES)]
    pub(crate) source: Vec<String>,
    /// From when on: a span before now, such as 90s, 15min, 1h, 7d, or a time such as 2026-11-21T17:00:00Z
    #[arg(long, value_name = "WHEN", value_parser = moment, default_value = "1h")]
    pub(crate) since: Moment,
    /// Until when, likewise
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    pub(crate) until: Option<Moment>,
}

impl Span {
    /// A vendor's events of a span.
    pub(crate) fn of(source: &str, since: Moment) -> Self {
        Span { source: vec![source.to_owned()], since, until: None }
    }

    /// Calls `take` with what arrived, latest first, until it says that it is enough. An hour is read as a whole.
    ///
    /// # Errors
    /// When DynamoDB does not answer, or the table has no such index.
    pub(crate) async fn each(
        &self,
        deployment: &Deployment,
        mut take: impl AsyncFnMut(Arrival) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let now = Clock::System.now();
        let (since, until) = (self.since.from(now), self.until.map_or(now, |until| until.from(now)));
        if since > until {
            return Err(format!("--since {since} is after --until {until}").into());
        }
        let all = SOURCES.map(str::to_owned);
        let sources = if self.source.is_empty() { &all[..] } else { &self.source };
        for hour in hours(since, until) {
            let mut arrived = Vec::new();
            for source in sources {
                let mut from = None;
                loop {
                    let page = deployment.store.arrivals(source, hour, until, now, from).await;
                    let (arrivals, next) = page.map_err(|error| explained(deployment, &error))?;
                    arrived.extend(arrivals);
                    from = next;
                    if from.is_none() {
                        break;
                    }
                }
            }
            arrived.sort_by(|a, b| (b.received_at, &b.id).cmp(&(a.received_at, &a.id)));
            for arrival in arrived {
                if !take(arrival).await? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

fn explained(deployment: &Deployment, error: &gatehouse_inbox::StoreError) -> Error {
    if error.is_transient() {
        return error.to_string().into();
    }
    format!(
        "{error}: the table {} cannot be listed by vendor and hour; its index {SOURCE_INDEX} is there where the stack's parameter \
         SourceIndex is true",
        deployment.table
    )
    .into()
}
