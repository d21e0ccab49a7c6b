//! What a reader allocates grows with its input and no faster, whatever the input.
#![allow(missing_docs)]

use allocation_counter::{AllocationInfo, measure};
use bytes::Bytes;
use guard::bounded::{Case, cases};

/// How much more the longer input may take, for each byte that it is longer.
const MORE: f64 = 1.3;
/// What may be held at once for each byte of the input.
const HELD: u64 = 64;
/// What may be held besides, whatever the input: connections, tables, the SDK.
const BASE: u64 = 2 * 1024 * 1024;

fn taken(case: &Case, size: usize) -> (usize, AllocationInfo) {
    let input = Bytes::from((case.make)(size));
    // Of the first, some is for good.
    (case.read)(&Bytes::from((case.make)(1024)));
    (input.len(), measure(|| (case.read)(&input)))
}

#[test]
fn every_reader_takes_memory_in_proportion_to_its_input() {
    let mut failures = Vec::new();
    for case in cases() {
        let ((short, less), (long, more)) = (taken(&case, case.sizes.0), taken(&case, case.sizes.1));
        let name = format!("{}: {}", case.reader, case.input);
        let times = long as f64 / short as f64 * MORE;
        for (what, less, more, base) in [
            ("allocations", less.count_total, more.count_total, 2000),
            ("bytes allocated", less.bytes_total, more.bytes_total, BASE),
            ("bytes held", less.bytes_max, more.bytes_max, BASE),
        ] {
            if more as f64 > (less + base) as f64 * times {
                failures.push(format!("{name}: {what} grew from {less} to {more}, the input from {short} to {long}"));
            }
        }
        let held = long as u64 * HELD + BASE;
        if more.bytes_max > held {
            failures.push(format!("{name}: {} bytes are held for {long}", more.bytes_max));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
