//! Measures Gatehouse and its alternatives: `cargo run --release -p bench -- [cold|warm|chat|cost|all]`.
//!
//! Function binaries run with a Lambda Runtime API of the bench and reach the embedded engines over TLS. Bench and
//! engines use one processor, the functions another. Peers are installed when they are first needed.
#![allow(
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "the code computes statistics and creates the tables that it indexes"
)]

use std::path::{Path, PathBuf};

use clap::{Parser, ValueEnum};
use gatehouse_local::Error;
use gatehouse_local::template::Template;
use gatehouse_runtime::Clock;
use tempfile::TempDir;

mod chat;
mod cloud;
mod cold;
mod contender;
mod cost;
mod event;
mod host;
mod month;
mod plot;
mod process;
mod report;
mod warm;

use chat::Chat;
use cloud::Cloud;
use contender::Contender;
use plot::Plots;
use report::{Report, Table};

/// The size in bytes of the event that contenders are compared with.
pub(crate) const HEADLINE: usize = 3_000;
/// The function that contenders are compared with.
const BASELINE: &str = "conversation-webhooks";
/// The functions' memory in the template, in MB.
pub(crate) const MEMORY: u32 = 256;
/// Measures Gatehouse and its alternatives.
#[derive(Debug, Parser)]
#[command(name = "bench", version)]
struct Arguments {
    /// The measurements to run.
    #[arg(default_value = "all")]
    what: Measurement,
    /// Print everything as one JSON document instead of tables.
    #[arg(long)]
    json: bool,
    /// Do a quarter of the runs.
    #[arg(long)]
    quick: bool,
    /// Do not measure Python and Node.
    #[arg(long)]
    no_peers: bool,
    /// Also measure conversation-webhooks from the folder of another build. Repeatable.
    #[arg(long, value_name = "NAME=FOLDER")]
    beside: Vec<String>,
    /// Do not build the functions.
    #[arg(long)]
    no_build: bool,
    /// Write the tables to PERFORMANCE.md in this folder, below its mark, and the plots to its folder `performance`.
    #[arg(long, value_name = "FOLDER")]
    write: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Measurement {
    /// Cold starts.
    Cold,
    /// Warm events.
    Warm,
    /// Chats.
    Chat,
    /// Costs.
    Cost,
    /// All four.
    All,
}

/// The environment of all measurements.
#[derive(Debug)]
pub(crate) struct Bench {
    /// The services that functions reach.
    pub(crate) cloud: Cloud,
    /// The agent of chats.
    pub(crate) chat: Chat,
    /// The function that peers are compared with.
    pub(crate) headline: Contender,
    /// The function that receives Vapi's reports.
    pub(crate) reports: Contender,
    /// The other contenders.
    pub(crate) others: Vec<Contender>,
    /// A folder for temporary files.
    pub(crate) folder: TempDir,
    /// The file with the output of functions.
    pub(crate) log: PathBuf,
    /// The writer of plots.
    pub(crate) plots: Plots,
    is_quick: bool,
}

impl Bench {
    /// Returns the number of runs, which `--quick` divides by four.
    #[must_use]
    pub(crate) fn runs(&self, runs: usize) -> usize {
        if self.is_quick { runs.div_ceil(4) } else { runs }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let arguments = Arguments::parse();
    if cfg!(debug_assertions) {
        return Err("this build is not optimized; run cargo run --release -p bench".into());
    }
    if !arguments.no_build {
        contender::build(Template::read()?.functions().chain(["guard".to_owned()]))?;
    }
    let folder = tempfile::tempdir()?;
    let log = folder.path().join("functions.log");
    let chat = Chat::start().await?;
    let cloud = Cloud::start(folder.path(), &chat.secrets(event::SECRETS)?).await?;
    let headline = contender::gatehouse("Gatehouse", BASELINE, None, &cloud)?;
    let reports = contender::gatehouse("server-message", "server-message", None, &cloud)?;
    let mut others = Vec::new();
    for beside in &arguments.beside {
        let (name, folder) = beside.split_once('=').ok_or("--beside needs NAME=FOLDER")?;
        others.push(contender::gatehouse(name, BASELINE, Some(folder.as_ref()), &cloud)?);
    }
    if !arguments.no_peers && [Measurement::Cold, Measurement::Warm, Measurement::All].contains(&arguments.what) {
        others.extend(contender::peers(&cloud)?);
    }
    let plots = Plots { folder: arguments.write.as_ref().map(|folder| folder.join("performance")) };
    let bench = Bench { cloud, chat, headline, reports, others, folder, log, plots, is_quick: arguments.quick };
    process::bind_to_bench_cpu();

    let measured = measure(&bench, arguments.what, arguments.json).await;
    let report = measured.map_err(|error| {
        let log = std::fs::read_to_string(&bench.log).unwrap_or_default();
        let end = log.lines().rev().take(8).collect::<Vec<_>>();
        format!("{error}; the last output of functions:\n{}", end.into_iter().rev().collect::<Vec<_>>().join("\n"))
    })?;
    let verdict = report.verdict();
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else if let Some(verdict) = &verdict {
        println!("{verdict}");
    }
    if let Some(folder) = &arguments.write {
        write(folder, &report, verdict.as_ref(), arguments.what)?;
    }
    Ok(())
}

/// The line below which the bench writes the page.
const MARK: &str = "<!-- The bench writes everything below this line. -->";

fn write(folder: &Path, report: &Report, verdict: Option<&Table>, what: Measurement) -> Result<(), Error> {
    let page = folder.join("PERFORMANCE.md");
    let text = std::fs::read_to_string(&page)?;
    let (before, measured) = text.split_once(MARK).ok_or_else(|| format!("{} has no line {MARK}", page.display()))?;
    let name = what.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
    let command = format!("{} By `cargo run --release -p bench -- {name} --write docs`", machine());
    let measured = if let Measurement::All = what {
        let tables: Vec<String> = report.tables.iter().chain(verdict).map(ToString::to_string).collect();
        format!("{command}.\n\n{}", tables.join("\n"))
    } else {
        // The targets are of all measurements, so those of a part are not written.
        report.tables.iter().fold(measured.trim_start().to_owned(), |page, table| {
            let section = format!("{table}\n{command}.\n");
            with_section(&page, &table.title, &section)
        })
    };
    Ok(std::fs::write(page, format!("{before}{MARK}\n\n{measured}"))?)
}

/// Replaces the section with this title, or inserts it before the last one, which has the targets.
fn with_section(page: &str, title: &str, section: &str) -> String {
    let heading = format!("### {title}\n");
    let start = page.find(&heading).or_else(|| page.rfind("### ")).unwrap_or(page.len());
    let (before, rest) = page.split_at(start);
    let end = match rest.strip_prefix(heading.as_str()) {
        Some(old) => old.find("\n### ").map_or(rest.len(), |end| heading.len() + end + 1),
        None => 0,
    };
    let separator = if end == rest.len() { "" } else { "\n" };
    format!("{before}{section}{separator}{}", rest.get(end..).unwrap_or_default())
}

/// Describes the time and the machine of the measurement.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let (cpus, memory, kernel) = (read("/proc/cpuinfo"), read("/proc/meminfo"), read("/proc/sys/kernel/osrelease"));
    let value = |text: &str, name: &str| -> String {
        let line = text.lines().find(|line| line.starts_with(name)).and_then(|line| line.split_once(':'));
        line.map_or("unknown", |(_, value)| value.trim()).to_owned()
    };
    let kb = value(&memory, "MemTotal").trim_end_matches(" kB").parse::<f64>().unwrap_or_default();
    let today = Clock::System.now().to_string();
    format!(
        "Measured {} on {} processors, {}, {:.0} GB, Linux {}.",
        today.get(..10).unwrap_or(&today),
        cpus.lines().filter(|line| line.starts_with("processor")).count(),
        value(&cpus, "model name"),
        kb / 1024.0 / 1024.0,
        kernel.trim(),
    )
}

/// Runs the measurements. Prints each table as soon as it is measured, because all of them take a long time.
async fn measure(bench: &Bench, what: Measurement, is_json: bool) -> Result<Report, Error> {
    let mut report = Report::default();
    for part in [Measurement::Cold, Measurement::Warm, Measurement::Chat, Measurement::Cost] {
        if what != part && what != Measurement::All {
            continue;
        }
        let measured = match part {
            Measurement::Cold => cold::run(bench).await?,
            Measurement::Warm => warm::run(bench).await?,
            Measurement::Chat => chat::run(bench).await?,
            Measurement::Cost | Measurement::All => cost::run(bench).await?,
        };
        if !is_json {
            measured.tables.iter().for_each(|table| println!("{table}"));
        }
        report.extend(measured);
    }
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_of_a_part_replace_those_of_the_page() {
        let page = "Measured.\n\n### A\n\nold\n\n### B\n\nb\n\n### Targets\n\nt\n";
        assert_eq!(with_section(page, "A", "### A\n\nnew\n"), page.replace("old", "new"));
        assert_eq!(with_section(page, "Targets", "### Targets\n\nnew\n"), page.replace("\n\nt\n", "\n\nnew\n"));
        let inserted = with_section(page, "C", "### C\n\nc\n");
        assert_eq!(inserted, page.replace("### Targets", "### C\n\nc\n\n### Targets"));
    }
}
