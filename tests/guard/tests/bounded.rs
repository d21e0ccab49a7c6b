//! Tests that the allocations of every parser grow at most in proportion to its input.
#![allow(missing_docs)]

use allocation_counter::{AllocationInfo, measure};
use bytes::Bytes;
use guard::bounded::{Case, cases};

/// The accepted ratio of the costs per byte of the long and the short input.
const MAX_GROWTH: f64 = 1.3;
/// The accepted peak memory for each byte of the input.
const PEAK_PER_BYTE: u64 = 64;
/// The accepted peak memory that does not depend on the input, such as connections, tables and the SDK.
const BASE: u64 = 2 * 1024 * 1024;

fn allocations(case: &Case, size: usize) -> (usize, AllocationInfo) {
    let input = Bytes::from((case.make)(size));
    // The first call allocates memory that is never freed, for example for caches.
    (case.parse)(&Bytes::from((case.make)(1024)));
    (input.len(), measure(|| (case.parse)(&input)))
}

#[test]
fn every_parser_uses_memory_in_proportion_to_its_input() {
    let mut failures = Vec::new();
    for case in cases() {
        let ((short, less), (long, more)) = (allocations(&case, case.sizes.0), allocations(&case, case.sizes.1));
        let name = format!("{}: {}", case.parser, case.input);
        let times = long as f64 / short as f64 * MAX_GROWTH;
        for (unit, less, more, base) in [
            ("allocations", less.count_total, more.count_total, 2000),
            ("bytes allocated", less.bytes_total, more.bytes_total, BASE),
            ("bytes at the peak", less.bytes_max, more.bytes_max, BASE),
        ] {
            if more as f64 > (less + base) as f64 * times {
                failures.push(format!("{name}: {unit} grew from {less} to {more}, the input from {short} to {long}"));
            }
        }
        let limit = long as u64 * PEAK_PER_BYTE + BASE;
        if more.bytes_max > limit {
            failures.push(format!("{name}: the peak is {} bytes for {long} bytes of input", more.bytes_max));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
