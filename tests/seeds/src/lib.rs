//! Seeds of tests. Every property test and every seeded test takes its seed from here and prints it, with the command
//! that replays it. The test harness shows what a test prints only where the test fails.
//!
//! `GATEHOUSE_SEED=<seed>` replays one seed, `GATEHOUSE_SEEDS=<count>` plays that many instead of a test's own number.

use std::ops::Range;

use proptest::test_runner::{Config, RngSeed};

/// The configuration of a property test of so many cases. Its seed is a new one in every run, unless `GATEHOUSE_SEED`
/// is set. A block of properties begins with `#![proptest_config(gatehouse_seeds::cases(256))]`.
#[must_use]
pub fn cases(cases: u32) -> Config {
    // Without the machine's random numbers every run has the same seed, which is printed as well.
    let seed = variable("GATEHOUSE_SEED").unwrap_or_else(|| getrandom::u64().unwrap_or(1));
    println!("{}", replay(seed));
    Config { cases, rng_seed: RngSeed::Fixed(seed), failure_persistence: None, ..Config::default() }
}

/// The seeds of a seeded test: the first `count`, unless the environment says otherwise.
///
/// # Panics
/// When a variable is not a number.
#[must_use]
pub fn seeds(count: u64) -> Range<u64> {
    match (variable("GATEHOUSE_SEED"), variable("GATEHOUSE_SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, set) => 0..set.unwrap_or(count),
    }
}

/// How to run the test that asks for this with one seed alone.
#[must_use]
pub fn replay(seed: u64) -> String {
    let package = std::env::var("CARGO_PKG_NAME").unwrap_or_else(|_| "<package>".to_owned());
    let thread = std::thread::current();
    // The harness names a test's thread after the test, unless it runs them all in the main thread.
    let test = thread.name().filter(|name| *name != "main").unwrap_or("<test>");
    format!("replay: GATEHOUSE_SEED={seed} cargo test -p {package} -- --exact {test}")
}

/// Prints how to replay a seed if the test panics while this lives.
#[derive(Debug)]
pub struct ReplayOnPanic(pub u64);

impl Drop for ReplayOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", replay(self.0));
        }
    }
}

#[allow(clippy::panic, reason = "a mistyped seed must not pass as a run of another one")]
fn variable(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} is not a number from 0 to {}", u64::MAX)))
}
