//! Lists received events by vendor and time, from the index `by-source`.

use std::collections::{BTreeMap, VecDeque};
use std::io::IsTerminal;

use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use futures_util::future::try_join_all;
use gatehouse_inbox::store::by_source::{ListedEvent, Order, SOURCE_INDEX, SourceQuery, hours};
use gatehouse_inbox::store::{Content, PageToken};
use gatehouse_local::Error;
use gatehouse_payload::event::{present_source, source_names};
use gatehouse_payload::time::Timestamp;
use gatehouse_runtime::Clock;
use gatehouse_vendors::vendors;

use super::deployment::Deployment;
use super::output::{When, parse_when};
use crate::shell::UsageError;

/// Arguments that select received events by vendor and time.
#[derive(Debug, Clone, Args)]
pub(crate) struct Span {
    /// Only events of these vendors, separated by commas; repeatable [default: all vendors]
    #[arg(long, value_name = "SOURCE", value_delimiter = ',', value_parser = sources())]
    pub(crate) source: Vec<String>,
    /// Start: a span before now such as 90s, 15min, 2h30m or 7d, or a time such as 2026-11-21T17:00:00Z
    #[arg(long, value_name = "WHEN", value_parser = parse_when, default_value = "1h")]
    pub(crate) since: When,
    /// End, in the same formats [default: now]
    #[arg(long, value_name = "WHEN", value_parser = parse_when)]
    pub(crate) until: Option<When>,
}

/// Parses the name of a source. Former names are accepted, and hidden.
pub(crate) fn sources() -> impl TypedValueParser<Value = String> {
    let value = |vendor: &'static str| PossibleValue::new(vendor).aliases(source_names(vendor).skip(1));
    PossibleValuesParser::new(vendors().map(value)).map(|name| present_source(&name).to_owned())
}

/// Arguments that select a time span, by default the last day.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Period {
    /// Start: a span before now such as 90s, 15min, 2h30m or 7d, or a time such as 2026-11-21T17:00:00Z
    #[arg(long, value_name = "WHEN", value_parser = parse_when, default_value = "24h")]
    pub(crate) since: When,
    /// End, in the same formats [default: now]
    #[arg(long, value_name = "WHEN", value_parser = parse_when)]
    pub(crate) until: Option<When>,
}

/// An argument that limits the rows of a list.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct LimitArgs {
    /// Maximum number of rows [default: 50 on a terminal, otherwise all]
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: Option<u32>,
}

/// The rows that a list has on a terminal.
const TERMINAL_ROWS: usize = 50;
/// The largest number of records that are read at the same time.
const BATCH: usize = 100;
/// The largest limit of a page. DynamoDB ends a page at 1 MB, which is about as much.
const MAX_PAGE: u16 = 5000;
/// The number of batches that are read at the same time.
const BATCHES: usize = 4;

impl LimitArgs {
    /// The maximum number of rows; `None` if all are printed.
    pub(crate) fn rows(self) -> Option<usize> {
        let default = std::io::stdout().is_terminal().then_some(TERMINAL_ROWS);
        self.limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX)).or(default)
    }
}

impl Span {
    /// Selects the events of one vendor since a time.
    pub(crate) fn of(source: &str, since: When) -> Self {
        Span { source: vec![source.to_owned()], since, until: None }
    }

    /// Starts to list the events.
    ///
    /// # Errors
    /// If the span ends before it begins.
    pub(crate) fn list<'d>(&self, deployment: &'d Deployment, order: Order) -> Result<Listing<'d>, Error> {
        let now = Clock::System.now();
        let (since, until) = (self.since.resolve(now), self.until.map_or(now, |until| until.resolve(now)));
        if since > until {
            return Err(UsageError(format!("--since {since} is after --until {until}; pass an earlier --since")).into());
        }
        let sources: Vec<&str> =
            if self.source.is_empty() { vendors().collect() } else { self.source.iter().map(String::as_str).collect() };
        let sources = sources.into_iter().flat_map(source_names).map(str::to_owned).collect();
        let mut hours: Vec<Timestamp> = hours(since, until).collect();
        if order == Order::LatestFirst {
            hours.reverse();
        }
        Ok(Listing { deployment, order, until, now, page: None, sources, hours, cursors: Vec::new() })
    }
}

/// Whether an event is a failure: a conflict, an unparsed body, or an event without a type.
pub(crate) fn is_failure(event: &ListedEvent) -> bool {
    event.conflict || event.unparsed || event.event_type.is_none()
}

/// The events of a span, in the order in which they were received. Pages are read as they are needed.
#[derive(Debug)]
pub(crate) struct Listing<'d> {
    deployment: &'d Deployment,
    order: Order,
    until: Timestamp,
    now: Timestamp,
    page: Option<u16>,
    sources: Vec<String>,
    /// The hours that are still to be read, the next one last.
    hours: Vec<Timestamp>,
    /// The vendors' events of the current hour.
    cursors: Vec<Cursor>,
}

/// A vendor's events of one hour.
#[derive(Debug)]
struct Cursor {
    source: String,
    since: Timestamp,
    events: VecDeque<ListedEvent>,
    next: Next,
    /// The limit of the next page. Each is twice as large as the one before, because most lists need only the first.
    limit: Option<u16>,
}

/// The page of a [`Cursor`] that is read next.
#[derive(Debug)]
enum Next {
    First,
    Page(PageToken),
    None,
}

impl Listing<'_> {
    /// Reads pages for about `rows` events, so that a short list costs little.
    pub(crate) fn of_rows(mut self, rows: Option<usize>) -> Self {
        // One extra event shows whether the list is complete.
        self.page = rows.and_then(|rows| u16::try_from(rows + 1).ok());
        self
    }

    /// Returns the next event; `None` at the end.
    ///
    /// # Errors
    /// If DynamoDB fails, or the table has no index `by-source`.
    pub(crate) async fn next(&mut self) -> Result<Option<ListedEvent>, Error> {
        loop {
            let (deployment, order, until, now) = (self.deployment, self.order, self.until, self.now);
            try_join_all(self.cursors.iter_mut().map(|cursor| cursor.fill(deployment, order, until, now))).await?;
            self.cursors.retain(|cursor| !cursor.events.is_empty());
            let front = |cursor: &&mut Cursor| {
                cursor.events.front().map(|event| (event.received_at, event.id.clone(), event.key.clone()))
            };
            let cursors = self.cursors.iter_mut();
            let cursor = match order {
                Order::LatestFirst => cursors.max_by_key(front),
                Order::OldestFirst => cursors.min_by_key(front),
            };
            if let Some(cursor) = cursor {
                return Ok(cursor.events.pop_front());
            }
            let Some(since) = self.hours.pop() else { return Ok(None) };
            let cursor = |source: &String| Cursor {
                source: source.clone(),
                since,
                events: VecDeque::new(),
                next: Next::First,
                limit: self.page,
            };
            self.cursors = self.sources.iter().map(cursor).collect();
        }
    }

    /// Returns the next events with their contents, at most some hundred; none at the end. An event that was
    /// deleted since it was listed is [`Content::Empty`].
    ///
    /// # Errors
    /// Like [`next`](Self::next).
    pub(crate) async fn next_contents(
        &mut self,
        is_wanted: impl Fn(&ListedEvent) -> bool,
    ) -> Result<Vec<(ListedEvent, Content)>, Error> {
        let mut events = Vec::new();
        while events.len() < BATCH * BATCHES
            && let Some(event) = self.next().await?
        {
            events.extend(Some(event).filter(&is_wanted));
        }
        let keys = events.iter().map(|event| event.key.clone()).collect();
        let mut contents = contents(self.deployment, keys).await?;
        let with_content = |event: ListedEvent| {
            let content = contents.remove(&event.key).unwrap_or(Content::Empty);
            (event, content)
        };
        Ok(events.into_iter().map(with_content).collect())
    }
}

/// Reads the contents of items by their keys, several batches at the same time. Leaves out expired and missing items.
///
/// # Errors
/// If DynamoDB fails.
pub(crate) async fn contents(deployment: &Deployment, keys: Vec<String>) -> Result<BTreeMap<String, Content>, Error> {
    let now = Clock::System.now();
    let mut all = BTreeMap::new();
    for group in keys.chunks(BATCH * BATCHES) {
        let reads = group.chunks(BATCH).map(|keys| deployment.store.contents(keys.to_vec(), now));
        try_join_all(reads).await?.into_iter().for_each(|contents| all.extend(contents));
    }
    Ok(all)
}

impl Cursor {
    /// Reads pages until there is an event, or none is left.
    async fn fill(
        &mut self,
        deployment: &Deployment,
        order: Order,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<(), Error> {
        while self.events.is_empty() {
            let from = match std::mem::replace(&mut self.next, Next::None) {
                Next::First => None,
                Next::Page(token) => Some(token),
                Next::None => return Ok(()),
            };
            let query = SourceQuery { source: &self.source, since: self.since, until, order, limit: self.limit };
            self.limit = self.limit.map(|limit| limit.saturating_mul(2).min(MAX_PAGE));
            let page = deployment.store.list_by_source(query, now, from).await;
            let (mut events, next) = page.map_err(|error| list_error(deployment, &error))?;
            // DynamoDB does not order events that were received in the same millisecond.
            events.sort_by(|a, b| {
                let by_time = (a.received_at, &a.id, &a.key).cmp(&(b.received_at, &b.id, &b.key));
                if order == Order::LatestFirst { by_time.reverse() } else { by_time }
            });
            self.events = events.into();
            self.next = next.map_or(Next::None, Next::Page);
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
