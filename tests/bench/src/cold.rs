//! Cold starts: from the process's start to its first question for an event, and to its first answer.

use bytes::Bytes;
use gatehouse_local::Error;

use crate::contender::{Contender, gatehouse};
use crate::event::{self, invocation};
use crate::host::Host;
use crate::process::{self, Process, WHOLE_CPU_MB};
use crate::report::{Cell, Report, Table, Target, Times, ms};
use crate::{Bench, HEADLINE};

/// Memory sizes of Lambda at which a function gets a part of a processor. In MB.
const PARTS: [u32; 3] = [128, 256, 512];

#[derive(Default)]
struct Measured {
    ready: Times,
    first: Times,
    answered: Times,
    memory: Times,
}

/// # Errors
/// When a function does not start or answer.
pub(crate) async fn run(bench: &Bench) -> Result<Report, Error> {
    let mut report = whole(bench).await?;
    report.tables.push(parts(bench).await?);
    Ok(report)
}

async fn whole(bench: &Bench) -> Result<Report, Error> {
    let mut contenders = vec![
        bench.headline.clone(),
        bench.headline.with("the same, CONNECT_AT_START=false", "CONNECT_AT_START", "false"),
    ];
    for function in ["session-lifecycle", "client-message", "server-message", "event-retry", "agent-chat"] {
        contenders.push(gatehouse(function, function, None, &bench.cloud)?);
    }
    contenders.extend(bench.others.iter().cloned());
    let measured = measure(bench, &contenders, WHOLE_CPU_MB, bench.runs(30)).await?;

    let mut table = Table::new(
        "Cold start, one processor",
        "Milliseconds, least · median · 99th percentile. Ready: from the process's start to its first question for an event; first answer: to \
         the end of the first answer, secrets and a connection to DynamoDB over TLS included, and the engine's own time too.",
        &["", "ready", "first answer", "of it the event", "peak RSS, MB", "deployed, MB", "zipped, MB"],
    );
    for (contender, measured) in contenders.iter().zip(&measured) {
        table.rows.push(vec![
            contender.name.as_str().into(),
            measured.ready.cell(),
            measured.answered.cell(),
            measured.first.median().into(),
            measured.memory.median().into(),
            megabytes(contender.bytes),
            megabytes(contender.zip_bytes),
        ]);
    }
    let of = |name: &str| contenders.iter().position(|c| c.name.starts_with(name)).and_then(|at| measured.get(at));
    let mut targets = vec![
        Target::most("peak RSS after the first answer, MB", measured[0].memory.median(), 12.0),
        Target::most("zip of conversation-webhooks, MB", contenders[0].zip_bytes as f64 / 1e6, 4.0),
    ];
    for (peer, ready, answer) in [("Python", 25.0, 10.0), ("Node", 15.0, 10.0)] {
        let Some(theirs) = of(peer) else { continue };
        targets.extend([
            Target::least(
                &format!("start to ready, unconnected: times faster than {peer}"),
                theirs.ready.median() / measured[1].ready.median(),
                ready,
            ),
            Target::least(
                &format!("start to first answer: times faster than {peer}"),
                theirs.answered.median() / measured[0].answered.median(),
                answer,
            ),
            Target::least(
                &format!("peak RSS: times less than {peer}"),
                theirs.memory.median() / measured[0].memory.median(),
                4.0,
            ),
        ]);
    }
    Ok(Report { tables: vec![table], targets })
}

fn megabytes(bytes: u64) -> Cell {
    Cell::Number(bytes as f64 / 1e6)
}

async fn parts(bench: &Bench) -> Result<Table, Error> {
    let mut table = Table::new(
        "Cold start on a part of a processor",
        "Milliseconds from the process's start to the end of the first answer, median. The part is what Lambda gives for the memory (of 1,769 MB \
         for a whole one), in periods of 20 ms. Lambda does not say how it treats a start, so these are what the arithmetic gives.",
        &["", "128 MB (7 %)", "256 MB (14 %)", "512 MB (29 %)"],
    );
    if let Err(error) = process::can_throttle() {
        table.note = format!("Not measured: processes cannot be throttled here ({error}).");
        return Ok(table);
    }
    let mut contenders = vec![bench.headline.clone()];
    contenders.extend(bench.others.iter().cloned());
    let mut rows: Vec<Vec<Cell>> = contenders.iter().map(|contender| vec![contender.name.as_str().into()]).collect();
    for memory in PARTS {
        let measured = measure(bench, &contenders, memory, bench.runs(5)).await?;
        for (row, measured) in rows.iter_mut().zip(measured) {
            row.push(measured.answered.median().into());
        }
    }
    table.rows = rows;
    Ok(table)
}

/// Interleaved: each contender once, then each once more.
async fn measure(bench: &Bench, contenders: &[Contender], memory: u32, runs: usize) -> Result<Vec<Measured>, Error> {
    let mut all: Vec<Measured> = contenders.iter().map(|_| Measured::default()).collect();
    for _ in 0..runs {
        for (contender, measured) in contenders.iter().zip(&mut all) {
            start(bench, contender, memory, measured).await.map_err(|error| format!("{}: {error}", contender.name))?;
        }
    }
    Ok(all)
}

async fn start(bench: &Bench, contender: &Contender, memory: u32, measured: &mut Measured) -> Result<(), Error> {
    let host = Host::start().await?;
    let event = first_event(&contender.name, bench)?;
    let process = Process::start(&contender.program, &host, memory, &bench.log)?;
    let ready = host.ready().await?;
    let answer = host.invoke(event).await?;
    measured.ready.add(ready - process.started);
    measured.first.add(answer.took);
    measured.answered.push(ms(answer.ended - process.started));
    measured.memory.push(process.memory()?.0);
    process.stop().await;
    is_well(&answer.body)
}

/// What a function is asked first.
fn first_event(name: &str, bench: &Bench) -> Result<Bytes, Error> {
    let function = name.split(',').next().unwrap_or(name);
    Ok(match function {
        "server-message" => invocation(&event::report(3_000)),
        "client-message" => invocation(&event::status()),
        "session-lifecycle" => invocation(&event::agntix()),
        "event-retry" => event::retry(),
        "agent-chat" => bench.chat.event(),
        _ => invocation(&event::ada(HEADLINE)),
    })
}

/// Whether an answer is the one that was meant, so that nobody is measured refusing.
///
/// # Errors
/// When it is not.
pub(crate) fn is_well(answer: &[u8]) -> Result<(), Error> {
    let text = String::from_utf8_lossy(answer);
    let is_well = text.contains(r#""statusCode":200"#)
        || text.contains(r#""statusCode": 200"#)
        || text.contains("batchItemFailures\":[]");
    if is_well { Ok(()) } else { Err(format!("an answer that is no 200: {text:.300}").into()) }
}
