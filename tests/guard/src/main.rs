//! What an event takes, in numbers that do not depend on the machine's mood: instructions and allocations; and how
//! large the functions are.
//!
//! `.ci/guard` compares both with `guard.json`, and fails where one has grown by more than a twentieth; `.ci/guard
//! update` writes them anew. Both build as the rehearsal does: optimized, without link-time optimization, by the same
//! compiler for the same target. Instructions are counted by valgrind's callgrind.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bytes::Bytes;
use gatehouse_edge::Source;
use gatehouse_edge::vapi::Channel;
use guard::bounded::{self, Case};
use guard::{Error, door};
use serde::{Deserialize, Serialize};

/// What is counted: an event each of three vendors, as it stands in the fixtures.
const EVENTS: [(&str, Source, &str); 3] = [
    ("ada", Source::Ada, include_str!("../../fixtures/ada/conversation-message.json")),
    ("agntix", Source::Agntix, include_str!("../../fixtures/agntix/session-ended.json")),
    ("vapi", Source::Vapi(Channel::Server), include_str!("../../fixtures/vapi/end-of-call-report.json")),
];
/// The functions whose sizes are looked at, where they are built.
const FUNCTIONS: [&str; 6] =
    ["agent-chat", "client-message", "conversation-webhooks", "event-retry", "server-message", "session-lifecycle"];
/// What may be more than it was.
const BAND: f64 = 0.05;
/// Events in the shorter of two runs, whose difference is what events take, and in the longer.
const RUNS: (u64, u64) = (20, 220);

/// What is held.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Figures {
    /// By event.
    instructions: BTreeMap<String, u64>,
    /// By event.
    allocations: BTreeMap<String, u64>,
    /// By function, in bytes.
    sizes: BTreeMap<String, u64>,
}

fn main() -> Result<(), Error> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["check"] => check(),
        ["update"] => update(),
        ["work", event, times] => work(event, times.parse()?),
        ["read"] => {
            read_all();
            Ok(())
        }
        ["allocations", ref bodies @ ..] => {
            for body in bodies {
                println!("{}", allocations(Source::Ada, &Bytes::from(std::fs::read(body)?))?);
            }
            Ok(())
        }
        _ => Err("guard check | update | allocations FILE… (bodies of Ada's)".into()),
    }
}

fn held_in() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("guard.json")
}

fn check() -> Result<(), Error> {
    let held: Figures = serde_json::from_slice(&std::fs::read(held_in())?)?;
    let now = count()?;
    let mut has_grown = false;
    for (what, held, now) in [
        ("instructions", &held.instructions, &now.instructions),
        ("allocations", &held.allocations, &now.allocations),
        ("bytes", &held.sizes, &now.sizes),
    ] {
        for (name, &now) in now {
            let Some(&held) = held.get(name) else {
                return Err(format!("guard.json holds no {what} of {name}; guard update").into());
            };
            let change = now as f64 / held as f64 - 1.0;
            let verdict = match change {
                _ if change > BAND => "MORE than it may be",
                _ if change < -BAND => "less: guard update would hold it there",
                _ => "",
            };
            has_grown |= change > BAND;
            println!("{name:<22} {now:>10} {what:<12} {:>+6.1} % {verdict}", change * 100.0);
        }
    }
    if has_grown {
        return Err("more than guard.json allows".into());
    }
    check_readers()
}

// === readers: what they take grows with the input and no faster ===

/// How much more the longer input may take, for each byte that it is longer.
const MORE: f64 = 1.3;
/// Instructions that do not depend on the input: a runtime, a connection.
const BASE: u64 = 2_000_000;

/// Holds every reader with each of its inputs.
fn check_readers() -> Result<(), Error> {
    let counts = instructions_of_readers()?;
    let cases = bounded::cases();
    if counts.len() != 2 * cases.len() {
        return Err(format!("valgrind counted {} readings of {}", counts.len(), 2 * cases.len()).into());
    }
    let mut most = (0.0_f64, String::new());
    let mut failures = Vec::new();
    for (case, counts) in cases.iter().zip(counts.chunks(2)) {
        let [less, more] = *counts else { continue };
        let bytes = (case.make)(case.sizes.1).len() as f64 / (case.make)(case.sizes.0).len() as f64;
        let times = more as f64 / (less + BASE) as f64 / bytes;
        let name = format!("{}: {}", case.reader, case.input);
        if times > MORE {
            failures.push(format!("{name}: {less} instructions grew to {more} for {bytes:.1} times the bytes"));
        }
        if times > most.0 {
            most = (times, name);
        }
    }
    failures.iter().for_each(|failure| println!("{failure}"));
    println!("{} readings; {} grew most, by {:.2} for each byte", cases.len(), most.1, most.0);
    if failures.is_empty() { Ok(()) } else { Err("readers take more than in proportion to their input".into()) }
}

/// The instructions of every reading, the shorter input before the longer.
fn instructions_of_readers() -> Result<Vec<u64>, Error> {
    let folder = std::env::temp_dir().join(format!("gatehouse-guard-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let mut valgrind = Command::new("valgrind");
    valgrind.arg("--tool=callgrind");
    valgrind.args(["--toggle-collect", "--dump-after"].map(|flag| format!("{flag}=guard::measured_reading")));
    valgrind.arg(format!("--callgrind-out-file={}", folder.join("out").display()));
    let ran = valgrind.arg(std::env::current_exe()?).arg("read").stdout(Stdio::null()).output();
    let ran = ran.map_err(|error| format!("valgrind: {error}"))?;
    let mut counts = Vec::new();
    for n in 1.. {
        let Ok(dump) = std::fs::read_to_string(folder.join(format!("out.{n}"))) else { break };
        let total = dump.lines().find_map(|line| line.strip_prefix("totals: ")?.trim().parse().ok());
        counts.push(total.ok_or("a dump of callgrind's has no totals")?);
    }
    std::fs::remove_dir_all(&folder)?;
    if ran.status.success() { Ok(counts) } else { Err(String::from_utf8_lossy(&ran.stderr).into()) }
}

fn read_all() {
    for case in bounded::cases() {
        for size in [case.sizes.0, case.sizes.1] {
            measured_reading(&case, &Bytes::from((case.make)(size)));
        }
    }
}

/// Callgrind counts what happens in here.
#[inline(never)]
fn measured_reading(case: &Case, input: &Bytes) {
    (case.read)(std::hint::black_box(input));
}

fn update() -> Result<(), Error> {
    let mut figures = count()?;
    if let Ok(held) = std::fs::read(held_in()) {
        // Those that are not built now.
        let held: Figures = serde_json::from_slice(&held)?;
        for (name, size) in held.sizes {
            figures.sizes.entry(name).or_insert(size);
        }
    }
    Ok(std::fs::write(held_in(), format!("{}\n", serde_json::to_string_pretty(&figures)?))?)
}

fn count() -> Result<Figures, Error> {
    let mut figures = Figures::default();
    for (name, source, body) in EVENTS {
        let instructions = instructions(name, RUNS.1)?.saturating_sub(instructions(name, RUNS.0)?) / (RUNS.1 - RUNS.0);
        figures.instructions.insert(name.to_owned(), instructions);
        figures.allocations.insert(name.to_owned(), allocations(source, &Bytes::from_static(body.as_bytes()))?);
    }
    // `cargo lambda build` puts each binary at `<name>/bootstrap`, this one too.
    let own = std::env::current_exe()?;
    let folder = own.ancestors().nth(2).ok_or("the guard is not where cargo lambda puts it; see .ci/guard")?;
    for function in FUNCTIONS {
        if let Ok(binary) = std::fs::metadata(folder.join(function).join("bootstrap")) {
            figures.sizes.insert(function.to_owned(), binary.len());
        }
    }
    Ok(figures)
}

/// What so many events take, and the process around them.
fn instructions(event: &str, times: u64) -> Result<u64, Error> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(std::env::current_exe()?);
    let valgrind = valgrind.args(["work", event, &times.to_string()]).stdout(Stdio::null());
    let ran = valgrind.output().map_err(|error| format!("valgrind: {error}"))?;
    let text = String::from_utf8_lossy(&ran.stderr);
    let count = text.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok());
    count.filter(|_| ran.status.success()).ok_or_else(|| format!("valgrind counted nothing:\n{text}").into())
}

fn runtime() -> Result<tokio::runtime::Runtime, Error> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_time().build()?)
}

fn work(event: &str, times: usize) -> Result<(), Error> {
    let (_, source, body) = EVENTS.into_iter().find(|(name, ..)| *name == event).ok_or("no such event")?;
    gatehouse_edge::log::init();
    let door = door::door()?;
    let request = door::request(source, &Bytes::from_static(body.as_bytes()))?;
    runtime()?.block_on(async {
        for _ in 0..times {
            door::receive(&door, source, request.clone()).await?;
        }
        Ok(())
    })
}

/// How often an event allocates.
fn allocations(source: Source, body: &Bytes) -> Result<u64, Error> {
    let door = door::door()?;
    let request = door::request(source, body)?;
    let runtime = runtime()?;
    // Of the first, some is for good.
    for _ in 0..3 {
        runtime.block_on(door::receive(&door, source, request.clone()))?;
    }
    let mut taken = Ok(());
    let counted = allocation_counter::measure(|| taken = runtime.block_on(door::receive(&door, source, request)));
    taken.map(|()| counted.count_total)
}
