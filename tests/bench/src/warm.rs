//! Measures warm events: the own time of a running function, without the time of the engines.

use std::time::Duration;

use gatehouse_local::{Delivery, Error};

use crate::cold::check_answer;
use crate::contender::{Contender, allocations as allocations_of, gatehouse};
use crate::event::{self, invocation};
use crate::host::Host;
use crate::process::{self, Process, WHOLE_CPU_MB};
use crate::report::{Cell, Report, Table, Target, Times, ms};
use crate::{Bench, HEADLINE, MEMORY};
use tokio::time::Instant;

/// Sizes of bodies, in bytes.
pub(crate) const SIZES: [usize; 5] = [1_000, HEADLINE, 20_000, 200_000, 2_000_000];
/// The largest body that the peers can store uncompressed, because an item is limited to 400 KB.
const LARGEST_RAW: usize = 300_000;
/// Number of events that a contender receives in one turn.
const TURN: usize = 40;

/// Measurements of one contender with events of one size.
#[derive(Debug, Clone, Default)]
pub(crate) struct Measured {
    /// The time from event to answer, without the time of the engines.
    pub(crate) own: Times,
    /// The processor time of an event.
    pub(crate) cpu: Times,
    /// The time from event to answer.
    pub(crate) total: Times,
    /// Events a second, sent one after the other.
    pub(crate) rate: f64,
    /// Requests to DynamoDB for each event.
    pub(crate) requests: f64,
}

struct Running<'b> {
    host: Host,
    process: Process,
    bench: &'b Bench,
}

impl<'b> Running<'b> {
    async fn start(bench: &'b Bench, contender: &Contender, memory: u32) -> Result<Running<'b>, Error> {
        let host = Host::start().await?;
        let process = Process::start(&contender.program, &host, memory, &bench.log)?;
        host.ready().await?;
        Ok(Running { host, process, bench })
    }

    /// Sends events one after the other and adds their measurements.
    async fn turn(&self, events: usize, of: impl Fn() -> Delivery, measured: &mut Measured) -> Result<(), Error> {
        let deliveries: Vec<_> = (0..events).map(|_| invocation(&of())).collect();
        let (cpu, began) = (self.process.cpu()?, Instant::now());
        let (mut requests, mut overhead) = (0, Duration::ZERO);
        for event in deliveries {
            self.bench.cloud.take();
            let before = Instant::now();
            let answer = self.host.invoke(event).await?;
            let usage = self.bench.cloud.take();
            check_answer(&answer.body)?;
            measured.total.add(answer.took);
            measured.own.add(answer.took.saturating_sub(usage.busy));
            requests += usage.requests.values().sum::<usize>();
            // The time that the bench takes between events does not count.
            overhead += before.elapsed().saturating_sub(answer.took);
        }
        let took = began.elapsed().saturating_sub(overhead);
        let each = events as f64;
        measured.cpu.push(ms(self.process.cpu()?.saturating_sub(cpu)) / each);
        measured.rate = each / took.as_secs_f64();
        measured.requests = requests as f64 / each;
        Ok(())
    }
}

/// Measures events of several sizes. The contenders take turns.
///
/// # Errors
/// Fails if a function does not answer.
pub(crate) async fn measure(
    bench: &Bench,
    contenders: &[(Contender, Kind)],
    memory: u32,
) -> Result<Vec<Vec<Measured>>, Error> {
    let mut running = Vec::new();
    for (contender, _) in contenders {
        running.push(Running::start(bench, contender, memory).await?);
    }
    let mut all = vec![vec![Measured::default(); SIZES.len()]; contenders.len()];
    for ((running, (_, kind)), _) in running.iter().zip(contenders).zip(0..) {
        // Just-in-time compilers need some time to warm up.
        running.turn(bench.runs(300), || kind.event(HEADLINE), &mut Measured::default()).await?;
    }
    for _ in 0..bench.runs(8) {
        for (n, &size) in SIZES.iter().enumerate() {
            for ((running, (_, kind)), measured) in running.iter().zip(contenders).zip(&mut all) {
                if *kind == Kind::Peer && size > LARGEST_RAW {
                    continue;
                }
                // These events refill the processor's caches after another contender's turn and do not count.
                running.turn(2, || kind.event(size), &mut Measured::default()).await?;
                let events = if size > LARGEST_RAW { TURN / 8 } else { TURN };
                let measured = measured.get_mut(n).ok_or("unknown size")?;
                running.turn(events, || kind.event(size), measured).await?;
            }
        }
    }
    for running in running {
        running.process.stop().await;
    }
    Ok(all)
}

/// The events that a contender receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Ada messages, received by a function of Gatehouse.
    Gatehouse,
    /// Ada messages, received by a peer, which stores them uncompressed.
    Peer,
    /// Vapi reports, received by a function of Gatehouse.
    Report,
}

impl Kind {
    fn event(self, size: usize) -> Delivery {
        match self {
            Kind::Gatehouse | Kind::Peer => event::ada(size),
            Kind::Report => event::report(size),
        }
    }
}

/// Measures all contenders.
///
/// # Errors
/// Fails if a function does not answer.
pub(crate) async fn run(bench: &Bench) -> Result<Report, Error> {
    let mut contenders = vec![(bench.headline.clone(), Kind::Gatehouse)];
    contenders.push((gatehouse("server-message (Vapi reports)", "server-message", None, &bench.cloud)?, Kind::Report));
    contenders.extend(bench.others.iter().map(|other| {
        let kind = if other.name.starts_with("Python") || other.name.starts_with("Node") {
            Kind::Peer
        } else {
            Kind::Gatehouse
        };
        (other.clone(), kind)
    }));
    let all = measure(bench, &contenders, WHOLE_CPU_MB).await?;
    let sizes: Vec<String> = SIZES.iter().map(|&bytes| size(bytes)).collect();
    let columns: Vec<&str> = std::iter::once("").chain(sizes.iter().map(String::as_str)).collect();
    let table = |title: &str, note: &str, cell: &dyn Fn(&Measured) -> Cell| {
        let mut table = Table::new(title, note, &columns);
        for ((contender, kind), by_size) in contenders.iter().zip(&all) {
            let cells = by_size.iter().zip(SIZES).map(|(measured, size)| match kind {
                Kind::Peer if size > LARGEST_RAW => Cell::None,
                _ => cell(measured),
            });
            table.rows.push(std::iter::once(contender.name.as_str().into()).chain(cells).collect());
        }
        table
    };
    let mut tables = vec![
        table(
            "Own time of an event, by the size of its body",
            "Milliseconds from event to answer without the engine's own time: minimum · median · 99th percentile. At \
             2 MB, the raw body that Powertools would store does not fit an item.",
            &|measured| measured.own.cell(),
        ),
        table("Processor time of an event", "Milliseconds, all threads, median of the turns.", &|measured| {
            measured.cpu.median().into()
        }),
        table("Events in a second, one process", "One after the other, including the engine's time.", &|measured| {
            measured.rate.into()
        }),
        allocations(bench, &columns)?,
        table("Requests to DynamoDB by event", "", &|measured| measured.requests.into()),
    ];
    let own = |at: usize| all.get(at).and_then(|sizes| sizes.get(1)).map_or(f64::NAN, |measured| measured.own.median());
    let mut targets = vec![Target::at_most("requests to DynamoDB for a new event", all[0][1].requests, 1.0)];
    for (peer, limit) in [("Python", 10.0), ("Node", 5.0)] {
        let Some(at) = contenders.iter().position(|(contender, _)| contender.name.starts_with(peer)) else { continue };
        targets.push(Target::at_least(
            &format!("own time of a 3 KB event: times faster than {peer}"),
            own(at) / own(0),
            limit,
        ));
    }
    bench
        .plots
        .latency(&contenders.iter().map(|(contender, _)| contender.name.as_str()).zip(&all).collect::<Vec<_>>())?;
    match process::can_throttle() {
        Ok(()) => {
            let throttled = measure(bench, contenders.get(..1).unwrap_or_default(), MEMORY).await?;
            let mut table = Table::new(
                &format!("An event at {MEMORY} MB, as deployed"),
                "Milliseconds from event to answer without the engine's own time, on the part of a processor that \
                 Lambda gives for this memory: minimum · median · 99th percentile.",
                &columns,
            );
            for ((contender, _), by_size) in contenders.iter().zip(&throttled) {
                let cells = by_size.iter().map(|measured| measured.own.cell());
                table.rows.push(std::iter::once(contender.name.as_str().into()).chain(cells).collect());
            }
            tables.push(table);
        }
        Err(error) => println!("An event on a part of a processor is not measured: {error}"),
    }
    Ok(Report { tables, targets })
}

fn allocations(bench: &Bench, columns: &[&str]) -> Result<Table, Error> {
    let mut files = Vec::new();
    for size in SIZES {
        let file = bench.folder.path().join(format!("{size}.json"));
        std::fs::write(&file, event::ada(size).body)?;
        files.push(file);
    }
    let mut table = Table::new(
        "Allocations of an event",
        "From request to answer, including the SDK but not Lambda's runtime.",
        columns,
    );
    let counts = allocations_of(&files)?;
    table.rows.push(std::iter::once(Cell::from("Gatehouse")).chain(counts.into_iter().map(Cell::from)).collect());
    Ok(table)
}

/// Formats a number of bytes for a column header.
#[must_use]
pub(crate) fn size(bytes: usize) -> String {
    match bytes {
        1_000_000.. => format!("{} MB", bytes / 1_000_000),
        1_000.. => format!("{} KB", bytes / 1_000),
        _ => format!("{bytes} B"),
    }
}
