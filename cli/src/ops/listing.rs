//! Lists received events by vendor and hour, from the index `by-source`.

use clap::Args;
use clap::builder::PossibleValuesParser;
use gatehouse_inbox::store::by_source::{ListedEvent, SOURCE_INDEX, hours};
use gatehouse_local::Error;
use gatehouse_runtime::Clock;
use gatehouse_vendors::vendors;

use super::deployment::Deployment;
use super::output::{When, parse_when};

/// Arguments that select received events by vendor and time.
#[derive(Debug, Clone, Args)]
pub(crate) struct Span {
    /// Only events of this vendor; repeatable [default: all vendors]
    #[arg(long, value_name = "SOURCE", value_parser = PossibleValuesParser::new(vendors()))]
    pub(crate) source: Vec<String>,
    /// Start: a span before now such as 90s, 15min, 1h or 7d, or a time such as 2026-11-21T17:00:00Z
    #[arg(long, value_name = "WHEN", value_parser = parse_when, default_value = "1h")]
    pub(crate) since: When,
    /// End, in the same formats [default: now]
    #[arg(long, value_name = "WHEN", value_parser = parse_when)]
    pub(crate) until: Option<When>,
}

impl Span {
    /// Selects the events of one vendor since a time.
    pub(crate) fn of(source: &str, since: When) -> Self {
        Span { source: vec![source.to_owned()], since, until: None }
    }

    /// Calls `take` with each event, latest first, until `take` returns false. Reads one hour completely at a time.
    ///
    /// # Errors
    /// If DynamoDB fails, or the table has no index `by-source`.
    pub(crate) async fn for_each(
        &self,
        deployment: &Deployment,
        mut take: impl AsyncFnMut(ListedEvent) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let now = Clock::System.now();
        let (since, until) = (self.since.resolve(now), self.until.map_or(now, |until| until.resolve(now)));
        if since > until {
            return Err(format!("--since {since} is after --until {until}").into());
        }
        let all_vendors = vendors().map(str::to_owned).collect::<Vec<_>>();
        let sources = if self.source.is_empty() { &all_vendors[..] } else { &self.source };
        for hour in hours(since, until) {
            let mut arrived = Vec::new();
            for source in sources {
                let mut next_page = None;
                loop {
                    let page = deployment.store.list_by_source(source, hour, until, now, next_page).await;
                    let (arrivals, next) = page.map_err(|error| list_error(deployment, &error))?;
                    arrived.extend(arrivals);
                    next_page = next;
                    if next_page.is_none() {
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

pub(super) fn list_error(deployment: &Deployment, error: &gatehouse_inbox::StoreError) -> Error {
    if error.is_transient() {
        return error.to_string().into();
    }
    format!(
        "{error}: cannot list events of the table {}; this needs the index {SOURCE_INDEX}, which the stack's parameter \
         SourceIndex=true creates",
        deployment.table
    )
    .into()
}
