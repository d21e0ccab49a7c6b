//! `cargo run --release -p simulation`: runs schedules, and shrinks the first one that fails.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use clap::Parser;
use serde_json::{Value, json};
use simulation::plan::Plan;
use simulation::schedule;
use simulation::shrink::shrink;
use simulation::world::Stats;
use simulation::{faults, isolation};
use tokio::time::Instant;

/// Runs Gatehouse in simulated worlds. Each seed decides one schedule of events, faults and operations.
///
/// Exits with 1 if an invariant is violated, and prints the smallest schedule that shows it.
#[derive(Debug, Parser)]
#[command(name = "simulation")]
struct Arguments {
    /// First seed [default: 1; with --minutes a fresh one]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Number of schedules [default: 1 with --seed, else 1000]
    #[arg(long, value_name = "N")]
    schedules: Option<u64>,
    /// Run for this time instead of a number of schedules
    #[arg(long, value_name = "N", conflicts_with = "schedules")]
    minutes: Option<u64>,
    /// Longest time of this process, in milliseconds
    #[arg(long, hide = true)]
    milliseconds: Option<u64>,
    /// Only these actions of the seed's schedule: numbers, or `none`
    #[arg(long, value_name = "LIST", requires = "seed")]
    keep: Option<String>,
    /// Write the trace of the schedule to a file
    #[arg(long, value_name = "FILE", requires = "seed")]
    trace: Option<PathBuf>,
    /// Number of schedules that run at the same time [default: the number of cores]
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Print how often each kind of fault hit each request, by the state of its item
    #[arg(long)]
    coverage: bool,
    /// Print the digest of each trace
    #[arg(long)]
    digests: bool,
    /// Run in this process, and print the result for the process that started this one
    #[arg(long, hide = true)]
    part: bool,
    /// Continue after a failure, and print the seed of each failure
    #[arg(long)]
    all: bool,
    /// Plant each fault of `faults/`, or those with these names, into a copy, and measure how soon it is found
    #[arg(long, value_name = "NAME", num_args = 0..)]
    faults: Option<Vec<String>>,
    /// Measure how a dead destination with this many waiting events delays another one [default: 500000]
    #[arg(long, value_name = "EVENTS", num_args = 0..=1, default_missing_value = "500000")]
    isolation: Option<u32>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match (&arguments.faults, arguments.isolation, &arguments.keep, &arguments.trace) {
        (Some(names), ..) => faults::measure(names),
        (None, Some(events), ..) => isolation::measure(events),
        (None, None, None, None) => run(&arguments),
        _ => replay(&arguments),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("simulation: {error}");
            ExitCode::FAILURE
        }
    }
}

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Runs one schedule, or a part of it, and writes its trace.
fn replay(arguments: &Arguments) -> Result<bool> {
    let mut plan = Plan::of(arguments.seed.unwrap_or(1));
    if let Some(list) = &arguments.keep {
        let numbers = list.split(',').filter(|number| *number != "none").map(|number| number.trim().parse());
        plan = plan.keep(&numbers.collect::<std::result::Result<Vec<usize>, _>>()?);
    }
    let report = schedule::run(plan.clone());
    if let Some(path) = &arguments.trace {
        std::fs::write(path, report.trace.to_string())?;
    }
    match shrink(&plan).filter(|_| report.violation.is_some()) {
        Some(shrunk) => {
            print!("{}", shrunk.story());
            Ok(false)
        }
        None => {
            println!("seed {}: {} lines of trace, no violation", plan.seed, report.trace.len());
            Ok(true)
        }
    }
}

/// The largest number of schedules in one process. The SDK keeps some memory for each region that was ever used, and
/// each instance has its own.
const MAX_IN_PROCESS: u64 = 4000;

/// What was run.
#[derive(Default)]
struct Total {
    /// The seeds that failed.
    failures: Vec<u64>,
    schedules: u64,
    stats: Stats,
}

/// Runs many schedules, in several processes one after the other.
fn run(arguments: &Arguments) -> Result<bool> {
    let first = match (arguments.seed, arguments.minutes) {
        (Some(seed), _) => seed,
        (None, Some(_)) => getrandom::u64()? >> 16,
        (None, None) => 1,
    };
    let count = match (arguments.schedules, arguments.minutes, arguments.seed) {
        (Some(count), ..) => count,
        (None, Some(_), _) => u64::MAX,
        (None, None, Some(_)) => 1,
        (None, None, None) => 1000,
    };
    let jobs = arguments.jobs.or_else(|| std::thread::available_parallelism().ok().map(Into::into)).unwrap_or(1);
    let began = Instant::now();
    let minutes = arguments.minutes.map(|minutes| Duration::from_secs(minutes * 60));
    let until = minutes.or(arguments.milliseconds.map(Duration::from_millis)).map(|time| began + time);
    let mut total = Total::default();
    if arguments.part {
        total = run_part(first, count, until, jobs, arguments);
        println!("part {}", total.to_json());
        return Ok(total.failures.is_empty());
    }
    while total.schedules < count
        && until.is_none_or(|until| Instant::now() < until)
        && (arguments.all || total.failures.is_empty())
    {
        let size = MAX_IN_PROCESS.min(count - total.schedules);
        total.add(run_process(first.wrapping_add(total.schedules), size, jobs, until, arguments)?);
    }
    total.failures.sort_unstable();
    let Total { failures, schedules, stats } = &total;
    print_summary(first, *schedules, stats, began.elapsed(), jobs)?;
    if arguments.coverage {
        print_coverage(&stats.coverage)?;
    }
    let Some(seed) = failures.first() else { return Ok(true) };
    println!("{} of {schedules} schedules failed", failures.len());
    match shrink(&Plan::of(*seed)) {
        Some(shrunk) => print!("\n{}", shrunk.story()),
        None => println!("seed {seed} failed, but not when it was run again: the simulation is not deterministic"),
    }
    Ok(false)
}

/// Runs schedules in a process of its own, until `until`. Prints what it prints.
fn run_process(first: u64, count: u64, jobs: usize, until: Option<Instant>, arguments: &Arguments) -> Result<Total> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--part", "--seed", &first.to_string(), "--schedules", &count.to_string()]);
    command.args(["--jobs", &jobs.to_string()]).stdout(Stdio::piped());
    command.args([(arguments.all, "--all"), (arguments.digests, "--digests")].iter().filter(|f| f.0).map(|f| f.1));
    if let Some(until) = until {
        let left = until.saturating_duration_since(Instant::now()).as_millis();
        command.args(["--milliseconds", &left.to_string()]);
    }
    let mut process = command.spawn()?;
    let output = process.stdout.take().ok_or("no output")?;
    let mut total = None;
    for line in BufReader::new(output).lines() {
        let line = line?;
        match line.strip_prefix("part ") {
            Some(json) => total = Total::from_json(json),
            None => println!("{line}"),
        }
    }
    process.wait()?;
    Ok(total.ok_or("a part of the schedules has ended without a result")?)
}

/// Runs schedules in this process.
fn run_part(first: u64, count: u64, until: Option<Instant>, jobs: usize, arguments: &Arguments) -> Total {
    let next = AtomicU64::new(0);
    let total = Mutex::new(Total::default());
    let lock = || total.lock().unwrap_or_else(PoisonError::into_inner);
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    let is_over = until.is_some_and(|until| Instant::now() >= until);
                    if n >= count || is_over || (!arguments.all && !lock().failures.is_empty()) {
                        return;
                    }
                    let seed = first.wrapping_add(n);
                    let report = schedule::run(Plan::of(seed));
                    if arguments.digests {
                        println!("trace {seed} {:016x}", report.trace.digest());
                    }
                    let mut total = lock();
                    total.schedules += 1;
                    total.stats.add(&report.stats);
                    if let Some(violation) = report.violation {
                        if arguments.all {
                            println!("seed {seed}: {}: {}", violation.invariant, violation.what);
                        }
                        total.failures.push(seed);
                    }
                }
            });
        }
    });
    std::mem::take(&mut *lock())
}

impl Total {
    fn add(&mut self, part: Total) {
        self.failures.extend(part.failures);
        self.schedules += part.schedules;
        self.stats.add(&part.stats);
    }

    fn to_json(&self) -> Value {
        let Stats { requests, deliveries, turns, messages, faults, instances, coverage } = &self.stats;
        let coverage: Vec<_> = coverage.iter().collect();
        json!({"failures": self.failures, "schedules": self.schedules, "coverage": coverage,
               "counts": [requests, deliveries, turns, messages, faults, instances]})
    }

    fn from_json(text: &str) -> Option<Total> {
        type Cell = ((String, String, String), u64);
        let value: Value = serde_json::from_str(text).ok()?;
        let counts: [u64; 6] = serde_json::from_value(value["counts"].clone()).ok()?;
        let [requests, deliveries, turns, messages, faults, instances] = counts;
        let coverage: Vec<Cell> = serde_json::from_value(value["coverage"].clone()).ok()?;
        let coverage = coverage.into_iter().collect();
        let stats = Stats { requests, deliveries, turns, messages, faults, instances, coverage };
        let failures = serde_json::from_value(value["failures"].clone()).ok()?;
        Some(Total { failures, schedules: value["schedules"].as_u64()?, stats })
    }
}

#[allow(clippy::cast_precision_loss, reason = "rates are approximate")]
fn print_summary(first: u64, schedules: u64, stats: &Stats, took: Duration, jobs: usize) -> Result<()> {
    let seconds = took.as_secs_f64().max(0.001) * jobs as f64;
    let per_second = |count: u64| count as f64 / seconds;
    let Stats { requests, deliveries, turns, messages, faults, instances, .. } = stats;
    writeln!(
        std::io::stdout(),
        "{schedules} schedules from seed {first} in {:.1} s on {jobs} cores: {:.1} schedules and {:.0} requests a \
         second and core\n{deliveries} deliveries of vendors, {turns} turns, {messages} messages to destinations, \
         {faults} faults, {instances} instances",
        took.as_secs_f64(),
        per_second(schedules),
        per_second(*requests),
    )?;
    Ok(())
}

/// Prints a Markdown table: one row for each request in each state of its item, one column for each kind of fault.
fn print_coverage(coverage: &BTreeMap<(String, String, String), u64>) -> Result<()> {
    let kinds: BTreeSet<&String> = coverage.keys().map(|(kind, ..)| kind).collect();
    let mut rows: BTreeMap<(&String, &String), BTreeMap<&String, u64>> = BTreeMap::new();
    for ((kind, request, state), count) in coverage {
        rows.entry((request, state)).or_default().insert(kind, *count);
    }
    let mut stdout = std::io::stdout();
    let names: Vec<&str> = kinds.iter().map(|kind| kind.as_str()).collect();
    writeln!(stdout, "| request | its item | {} |\n|---|---|{}", names.join(" | "), "---:|".repeat(names.len()))?;
    for ((request, state), counts) in rows {
        let count = |kind: &&String| counts.get(*kind).map_or_else(|| "–".to_owned(), ToString::to_string);
        let counts: Vec<String> = kinds.iter().map(count).collect();
        writeln!(stdout, "| {request} | {state} | {} |", counts.join(" | "))?;
    }
    Ok(())
}
