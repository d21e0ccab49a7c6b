//! Measures the instructions and allocations of an event, which hardly vary between runs, and the sizes of the
//! functions.
//!
//! `.ci/guard` compares them with `guard.json` and fails if a figure has grown by more than 5 %. `.ci/guard update`
//! writes the file. Both measure the binaries of `.ci/build`. valgrind's callgrind counts the instructions.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bytes::Bytes;
use gatehouse_ada::Ada;
use gatehouse_agntix::Agntix;
use gatehouse_vapi::Vapi;
use gatehouse_vendor::Source;
use gatehouse_vendors::AnyVendor;
use guard::bounded::{self, Case};
use guard::{Error, receiver};
use serde::{Deserialize, Serialize};

/// The events that are measured.
const EVENTS: [(&str, &dyn Source, &str); 3] = [
    ("ada", &Ada, gatehouse_ada::samples::CONVERSATION_MESSAGE),
    ("agntix", &Agntix, gatehouse_agntix::samples::SESSION_ENDED),
    ("vapi", &Vapi::SERVER, gatehouse_vapi::samples::END_OF_CALL_REPORT),
];
/// The accepted growth of a figure.
const TOLERANCE: f64 = 0.05;
/// The numbers of events in two runs. Their difference excludes the cost of starting the process.
const RUNS: (u64, u64) = (20, 220);

/// The content of `guard.json`.
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
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["check"] => check(),
        ["update"] => update(),
        ["work", event, times] => work(event, times.parse()?),
        ["read"] => {
            read_all();
            Ok(())
        }
        ["allocations", ref bodies @ ..] => {
            for body in bodies {
                println!("{}", allocations(&Ada, &Bytes::from(std::fs::read(body)?))?);
            }
            Ok(())
        }
        _ => Err("usage: guard check | update | allocations FILE… (bodies of Ada events)".into()),
    }
}

fn baseline_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("guard.json")
}

fn check() -> Result<(), Error> {
    let baseline: Figures = serde_json::from_slice(&std::fs::read(baseline_path())?)?;
    let now = count()?;
    let mut has_grown = false;
    for (unit, baseline, now) in [
        ("instructions", &baseline.instructions, &now.instructions),
        ("allocations", &baseline.allocations, &now.allocations),
        ("bytes", &baseline.sizes, &now.sizes),
    ] {
        for (name, &now) in now {
            // A new function may be as large as the largest one, until `.ci/guard update` stores its own size.
            let Some(&baseline) = baseline.get(name).or(baseline.values().max()) else {
                return Err(format!("guard.json has no {unit}; run .ci/guard update").into());
            };
            let change = now as f64 / baseline as f64 - 1.0;
            let verdict = if change > TOLERANCE {
                "exceeds the limit"
            } else if change < -TOLERANCE {
                "less; run .ci/guard update to lower the limit"
            } else {
                ""
            };
            has_grown |= change > TOLERANCE;
            println!("{name:<22} {now:>10} {unit:<12} {:>+6.1} % {verdict}", change * 100.0);
        }
    }
    if has_grown {
        return Err("some figures exceed guard.json by more than 5 %".into());
    }
    check_parsers()
}

// === parsers: their cost grows at most in proportion to the input ===

/// The accepted ratio of the costs per byte of the long and the short input.
const MAX_GROWTH: f64 = 1.3;
/// Instructions that do not depend on the input, such as starting a runtime and opening a connection.
const BASE: u64 = 2_000_000;

/// Checks every parser with each of its inputs.
fn check_parsers() -> Result<(), Error> {
    let counts = instructions_of_parsers()?;
    let cases = bounded::cases();
    if counts.len() != 2 * cases.len() {
        return Err(format!("valgrind measured {} of {} calls", counts.len(), 2 * cases.len()).into());
    }
    let mut worst = (0.0_f64, String::new());
    let mut failures = Vec::new();
    for (case, counts) in cases.iter().zip(counts.chunks(2)) {
        let [less, more] = *counts else { continue };
        let bytes = (case.make)(case.sizes.1).len() as f64 / (case.make)(case.sizes.0).len() as f64;
        let times = more as f64 / (less + BASE) as f64 / bytes;
        let name = format!("{}: {}", case.parser, case.input);
        if times > MAX_GROWTH {
            failures.push(format!("{name}: {less} instructions grew to {more} for {bytes:.1} times the bytes"));
        }
        if times > worst.0 {
            worst = (times, name);
        }
    }
    failures.iter().for_each(|failure| println!("{failure}"));
    println!("{} cases; the highest growth per byte is {:.2}: {}", cases.len(), worst.0, worst.1);
    if failures.is_empty() { Ok(()) } else { Err("the cost of parsers grows faster than their input".into()) }
}

/// Counts the instructions of every case: first with the short input, then with the long one.
fn instructions_of_parsers() -> Result<Vec<u64>, Error> {
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
        counts.push(total.ok_or("a callgrind dump has no totals")?);
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

/// Parses an input. callgrind counts the instructions of this function.
#[inline(never)]
fn measured_reading(case: &Case, input: &Bytes) {
    (case.parse)(std::hint::black_box(input));
}

fn update() -> Result<(), Error> {
    let mut figures = count()?;
    if let Ok(baseline) = std::fs::read(baseline_path()) {
        // Retains the sizes of functions that are not built.
        let baseline: Figures = serde_json::from_slice(&baseline)?;
        for (name, size) in baseline.sizes {
            figures.sizes.entry(name).or_insert(size);
        }
    }
    Ok(std::fs::write(baseline_path(), format!("{}\n", serde_json::to_string_pretty(&figures)?))?)
}

fn count() -> Result<Figures, Error> {
    let mut figures = Figures::default();
    for (name, source, body) in EVENTS {
        let instructions = instructions(name, RUNS.1)?.saturating_sub(instructions(name, RUNS.0)?) / (RUNS.1 - RUNS.0);
        figures.instructions.insert(name.to_owned(), instructions);
        figures.allocations.insert(name.to_owned(), allocations(source, &Bytes::from_static(body.as_bytes()))?);
    }
    // `cargo lambda build` writes each binary, also this one, to `<name>/bootstrap`.
    let own = std::env::current_exe()?;
    let folder = own.ancestors().nth(2).ok_or("the guard is not in the folder of cargo lambda; run .ci/guard")?;
    for function in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../functions"))? {
        let function = function?.file_name().to_string_lossy().into_owned();
        if let Ok(binary) = std::fs::metadata(folder.join(&function).join("bootstrap")) {
            figures.sizes.insert(function, binary.len());
        }
    }
    Ok(figures)
}

/// Counts the instructions of a process that receives an event `times` times.
fn instructions(event: &str, times: u64) -> Result<u64, Error> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(std::env::current_exe()?);
    let valgrind = valgrind.args(["work", event, &times.to_string()]).stdout(Stdio::null());
    let ran = valgrind.output().map_err(|error| format!("valgrind: {error}"))?;
    let text = String::from_utf8_lossy(&ran.stderr);
    let count = text.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok());
    count.filter(|_| ran.status.success()).ok_or_else(|| format!("valgrind printed no count:\n{text}").into())
}

fn runtime() -> Result<tokio::runtime::Runtime, Error> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_time().build()?)
}

fn work(event: &str, times: usize) -> Result<(), Error> {
    let (_, source, body) = EVENTS.into_iter().find(|(name, ..)| *name == event).ok_or("unknown event")?;
    gatehouse_receiver::log::init()?;
    let receiver = receiver::receiver(AnyVendor(source))?;
    let request = receiver::request(source, &Bytes::from_static(body.as_bytes()))?;
    runtime()?.block_on(async {
        for _ in 0..times {
            receiver::receive(&receiver, request.clone()).await?;
        }
        Ok(())
    })
}

/// Counts the allocations of an event.
fn allocations(source: &'static dyn Source, body: &Bytes) -> Result<u64, Error> {
    let receiver = receiver::receiver(AnyVendor(source))?;
    let request = receiver::request(source, body)?;
    let runtime = runtime()?;
    // The first events allocate memory that is never freed, for example for caches.
    for _ in 0..3 {
        runtime.block_on(receiver::receive(&receiver, request.clone()))?;
    }
    let mut received = Ok(());
    let counted = allocation_counter::measure(|| received = runtime.block_on(receiver::receive(&receiver, request)));
    received.map(|()| counted.count_total)
}
