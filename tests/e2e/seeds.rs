//! The fuzz targets hold for their seeds, and for every fixture. What a fuzzer found becomes a seed.

#[allow(clippy::expect_used, unreachable_pub, reason = "a library of its own")]
#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::path::{Path, PathBuf};

/// Every file below a folder of this crate.
fn files(folder: &str) -> Vec<PathBuf> {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    assert!(!files.is_empty(), "{folder}");
    files
}

fn all_hold(folder: &str, holds: fn(&[u8])) {
    for file in files(folder) {
        println!("{}", file.display());
        holds(&std::fs::read(file).unwrap());
    }
}

#[test]
fn nobody_gets_in_but_by_what_was_signed() {
    all_hold("fuzz/seeds/delivery", targets::verify::holds);
    all_hold("fuzz/seeds/delivery", targets::door::holds);
}

#[test]
fn every_reader_makes_something_of_every_body() {
    all_hold("fuzz/seeds/payload", targets::payload::holds);
    all_hold("fixtures", targets::payload::holds);
}

#[test]
fn a_stream_is_read_the_same_in_whatever_pieces() {
    all_hold("fuzz/seeds/sse", targets::sse::holds);
}
