//! Runs schedules.
fn main() {
    let argument = |n| std::env::args().nth(n).and_then(|seed| seed.parse().ok());
    let (first, count): (u64, u64) = (argument(1).unwrap_or(1), argument(2).unwrap_or(1));
    for seed in first..first + count {
        let report = simulation::schedule::run(simulation::plan::Plan::of(seed));
        if count == 1 {
            print!("{}", report.trace);
            println!("{:?}\n{:?}", report.stats, report.violation);
        } else if let Some(violation) = report.violation {
            println!("{seed}: {} {}", violation.invariant, violation.what);
        }
    }
}
