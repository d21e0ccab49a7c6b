//! Measures cold starts: the time from the start of the process to its first request for an event, and to its first
//! answer.

use bytes::Bytes;
use gatehouse_local::template::Template;
use gatehouse_local::{Delivery, Error};
use gatehouse_vendors::SOURCES;

use crate::contender::{Contender, gatehouse};
use crate::event::{self, invocation};
use crate::host::Host;
use crate::process::{self, Process, WHOLE_CPU_MB};
use crate::report::{Cell, Report, Table, Target, Times, ms};
use crate::{BASELINE, Bench, HEADLINE};

/// Functions for whose first event nobody waits.
const UNATTENDED: [&str; 2] = ["outbox", "deliver"];
/// Memory sizes, in MB, for which Lambda gives a function a part of a processor.
const PARTS: [u32; 3] = [128, 256, 512];

#[derive(Default)]
struct Measured {
    ready: Times,
    first: Times,
    answered: Times,
    memory: Times,
}

/// Measures all contenders.
///
/// # Errors
/// Fails if a function does not start or answer.
pub(crate) async fn run(bench: &Bench) -> Result<Report, Error> {
    let mut report = whole_processor(bench).await?;
    report.tables.push(part_of_processor(bench).await?);
    Ok(report)
}

async fn whole_processor(bench: &Bench) -> Result<Report, Error> {
    let mut contenders = vec![
        bench.headline.clone(),
        bench.headline.with("the same, CONNECT_AT_START=false", "CONNECT_AT_START", "false"),
    ];
    let is_measured = |function: &String| function != BASELINE && !UNATTENDED.contains(&function.as_str());
    for function in Template::read()?.functions().filter(is_measured) {
        contenders.push(gatehouse(&function, &function, None, &bench.cloud)?);
    }
    contenders.extend(bench.others.iter().cloned());
    let measured = measure(bench, &contenders, WHOLE_CPU_MB, bench.runs(30)).await?;

    let mut table = Table::new(
        "Cold start, one processor",
        "Milliseconds: minimum · median · 99th percentile. Ready: from the start of the process to its first request \
         for an event. First answer: to the end of the first answer, including the loading of secrets, a TLS \
         connection to DynamoDB and the engine's own time.",
        &["", "ready", "first answer", "of which the event", "peak RSS, MB", "deployed, MB", "zipped, MB"],
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
        Target::at_most("peak RSS after the first answer, MB", measured[0].memory.median(), 12.0),
        Target::at_most("zip of conversation-webhooks, MB", contenders[0].zip_bytes as f64 / 1e6, 4.0),
    ];
    for (peer, ready, answer) in [("Python", 25.0, 10.0), ("Node", 15.0, 10.0)] {
        let Some(peer_measured) = of(peer) else { continue };
        targets.extend([
            Target::at_least(
                &format!("start to ready, unconnected: times faster than {peer}"),
                peer_measured.ready.median() / measured[1].ready.median(),
                ready,
            ),
            Target::at_least(
                &format!("start to first answer: times faster than {peer}"),
                peer_measured.answered.median() / measured[0].answered.median(),
                answer,
            ),
            Target::at_least(
                &format!("peak RSS: times less than {peer}"),
                peer_measured.memory.median() / measured[0].memory.median(),
                4.0,
            ),
        ]);
    }
    Ok(Report { tables: vec![table], targets })
}

fn megabytes(bytes: u64) -> Cell {
    Cell::Number(bytes as f64 / 1e6)
}

async fn part_of_processor(bench: &Bench) -> Result<Table, Error> {
    let mut table = Table::new(
        "Cold start on a part of a processor",
        "Median milliseconds from the start of the process to the end of the first answer. The part is Lambda's share \
         for the memory (1,769 MB is a whole processor), in periods of 20 ms. Lambda does not document how it \
         throttles a start, so these figures are estimates.",
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

/// Measures contenders in turn, `runs` times each.
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
    check_answer(&answer.body)
}

/// The first event of a function.
fn first_event(name: &str, bench: &Bench) -> Result<Bytes, Error> {
    let function = name.split(',').next().unwrap_or(name);
    Ok(match function {
        "server-message" => invocation(&event::report(3_000)),
        "client-message" => invocation(&event::status()),
        "session-lifecycle" => invocation(&event::agntix()),
        "event-retry" => event::retry(),
        "agent-chat" => bench.chat.event(),
        "conversation-webhooks" => invocation(&event::ada(HEADLINE)),
        function => match SOURCES.into_iter().find(|source| source.profile().function == function) {
            Some(source) => {
                let sample = source.samples().first().ok_or("the function's vendor has no sample")?;
                invocation(&Delivery::now(source, sample.body))
            }
            // Programs that are compared with the functions.
            None => invocation(&event::ada(HEADLINE)),
        },
    })
}

/// Checks that a function has accepted its event, so that no refusal is measured.
///
/// # Errors
/// Fails if the status is not 200 or a message of the batch failed.
pub(crate) fn check_answer(answer: &[u8]) -> Result<(), Error> {
    let text = String::from_utf8_lossy(answer);
    let is_accepted = text.contains(r#""statusCode":200"#)
        || text.contains(r#""statusCode": 200"#)
        || text.contains("batchItemFailures\":[]");
    if is_accepted { Ok(()) } else { Err(format!("the function did not accept its event: {text:.300}").into()) }
}
