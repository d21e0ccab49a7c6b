//! Seeds for property tests and seeded tests. A test takes its seeds from this crate and prints the command that
//! replays a failing one. The test harness shows the output of failed tests only.
//!
//! `GATEHOUSE_SEED=<seed>` replays one seed. `GATEHOUSE_SEEDS=<count>` overrides a test's number of seeds.

use std::ops::Range;

use proptest::test_runner::{Config, RngSeed};

/// Configures a property test with this number of cases. The seed is random in every run unless `GATEHOUSE_SEED` is
/// set. Every `proptest!` block begins with `#![proptest_config(gatehouse_seeds::cases(256))]`.
#[must_use]
pub fn cases(cases: u32) -> Config {
    // If the operating system has no random numbers, every run uses seed 1.
    let seed = variable("GATEHOUSE_SEED").unwrap_or_else(|| getrandom::u64().unwrap_or(1));
    println!("{}", replay(seed));
    Config { cases, rng_seed: RngSeed::Fixed(seed), failure_persistence: None, ..Config::default() }
}

/// The seeds of a seeded test: the first `count`, unless the environment overrides them.
///
/// # Panics
/// Panics if a variable is not a number.
#[must_use]
pub fn seeds(count: u64) -> Range<u64> {
    match (variable("GATEHOUSE_SEED"), variable("GATEHOUSE_SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, set) => 0..set.unwrap_or(count),
    }
}

/// The command that runs the current test with one seed.
#[must_use]
pub fn replay(seed: u64) -> String {
    let package = std::env::var("CARGO_PKG_NAME").unwrap_or_else(|_| "<package>".to_owned());
    let thread = std::thread::current();
    // The harness names the thread of a test after the test, unless it runs all tests in the main thread.
    let test = thread.name().filter(|name| *name != "main").unwrap_or("<test>");
    format!("replay: GATEHOUSE_SEED={seed} cargo test -p {package} -- --exact {test}")
}

/// Prints the command that replays a seed if the test panics before this value is dropped.
#[derive(Debug)]
pub struct ReplayOnPanic(pub u64);

impl Drop for ReplayOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", replay(self.0));
        }
    }
}

#[allow(clippy::panic, reason = "a mistyped seed must not silently run another one")]
fn variable(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} is not a number from 0 to {}", u64::MAX)))
}
