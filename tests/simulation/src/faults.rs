//! Plants known faults into a copy of the repository, and measures how soon the simulation finds them.

use std::path::{Path, PathBuf};
use std::process::Command;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The number of times that a fault has to be found.
const FINDS: u64 = 15;
/// The largest number of schedules for one fault.
const MAX_SCHEDULES: u64 = 20_000;

/// The root of the repository.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Returns the names and patches of all faults, by name.
///
/// # Errors
/// If the folder cannot be read.
pub fn all() -> Result<Vec<(String, PathBuf)>> {
    let mut faults = Vec::new();
    for entry in std::fs::read_dir(root().join("tests/simulation/faults"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "patch") {
            let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
            faults.push((name, path));
        }
    }
    faults.sort();
    Ok(faults)
}

/// Measures the faults with these names, or all. Prints for each the median number of schedules until it is found.
/// Returns whether all were found.
///
/// # Errors
/// If a copy cannot be made or built, or a patch does not apply.
pub fn measure(names: &[String]) -> Result<bool> {
    let all = all()?;
    if let Some(name) = names.iter().find(|name| !all.iter().any(|(known, _)| known == *name)) {
        return Err(format!("no planted fault is named {name}").into());
    }
    let copy = root().join("target/faults/copy");
    copy_repository(&copy)?;
    let apply = |options: &[&str], patch: &Path| {
        run(Command::new("git").arg("apply").args(options).arg(patch).current_dir(&copy).env("GIT_DIR", "/dev/null"))
    };
    let mut are_all_found = true;
    println!("{:<32} {:>10}  {:>10}  invariants", "fault", "schedules", "found");
    for (name, patch) in all {
        if !names.is_empty() && !names.contains(&name) {
            continue;
        }
        apply(&[], &patch)?;
        let build = ["build", "--profile", "bench", "--package", "simulation", "--quiet"];
        run(Command::new("cargo")
            .args(build)
            .env("CARGO_TARGET_DIR", root().join("target/faults/build"))
            .current_dir(&copy))?;
        // The reverted files are new, so that cargo builds them again.
        apply(&["--reverse"], &patch)?;
        let found = search(&root().join("target/faults/build/release/simulation"), &copy)?;
        are_all_found &= !found.gaps.is_empty();
        println!("{name:<32} {:>10}  {:>10}  {}", found.median(), found.gaps.len(), found.invariants.join(", "));
    }
    Ok(are_all_found)
}

/// The seeds that found a fault.
struct Found {
    /// The number of schedules before each find.
    gaps: Vec<u64>,
    invariants: Vec<String>,
}

impl Found {
    fn median(&self) -> String {
        let mut gaps = self.gaps.clone();
        gaps.sort_unstable();
        gaps.get(gaps.len() / 2).map_or_else(|| "not found".to_owned(), ToString::to_string)
    }
}

/// Runs schedules until the fault was found often enough.
fn search(binary: &Path, copy: &Path) -> Result<Found> {
    const BATCH: u64 = 250;
    let mut found = Found { gaps: Vec::new(), invariants: Vec::new() };
    let (mut first, mut last_find) = (1, 0);
    while first < MAX_SCHEDULES && (found.gaps.len() as u64) < FINDS {
        let mut command = Command::new(binary);
        command.args(["--all", "--seed", &first.to_string(), "--schedules", &BATCH.to_string()]).current_dir(copy);
        let output = command.output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        // A line is `seed N: invariant: what`.
        let mut seeds: Vec<(u64, String)> = Vec::new();
        for line in text.lines().filter_map(|line| line.strip_prefix("seed ")) {
            let mut parts = line.splitn(3, ": ");
            if let (Some(seed), Some(invariant)) = (parts.next().and_then(|seed| seed.parse().ok()), parts.next()) {
                seeds.push((seed, invariant.to_owned()));
            }
        }
        seeds.sort();
        seeds.dedup();
        for (seed, invariant) in seeds {
            found.gaps.push(seed - last_find);
            last_find = seed;
            if !found.invariants.contains(&invariant) {
                found.invariants.push(invariant);
            }
        }
        first += BATCH;
    }
    Ok(found)
}

/// Copies the files that git knows.
fn copy_repository(copy: &Path) -> Result<()> {
    // A copy may hold a planted fault of a run that was interrupted.
    if copy.exists() {
        std::fs::remove_dir_all(copy)?;
    }
    std::fs::create_dir_all(copy)?;
    let script = "git ls-files -z | xargs -0 tar -c --";
    let mut archive =
        Command::new("sh").args(["-c", script]).current_dir(root()).stdout(std::process::Stdio::piped()).spawn()?;
    let stdout = archive.stdout.take().ok_or("no output")?;
    run(Command::new("tar").arg("-x").arg("-m").stdin(stdout).current_dir(copy))?;
    archive.wait()?;
    Ok(())
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status()?;
    if status.success() { Ok(()) } else { Err(format!("{command:?} failed: {status}").into()) }
}
