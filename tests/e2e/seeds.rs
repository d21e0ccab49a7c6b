//! Runs the fuzz targets on their seeds and on all fixtures. Every input that a fuzzer found becomes a seed.

#[allow(clippy::expect_used, unreachable_pub, reason = "a library of its own")]
#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::path::{Path, PathBuf};

/// Lists the files below a folder of this crate.
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

fn check_all(folder: &str, check: fn(&[u8])) {
    for file in files(folder) {
        println!("{}", file.display());
        check(&std::fs::read(file).unwrap());
    }
}

#[test]
fn only_signed_delivery_seeds_are_accepted() {
    check_all("fuzz/seeds/delivery", targets::verify::check);
    check_all("fuzz/seeds/delivery", targets::receiver::check);
}

#[test]
fn every_parser_handles_every_payload_seed() {
    check_all("fuzz/seeds/payload", targets::payload::check_body);
    check_all("fixtures", targets::payload::check_body);
    for vendor in gatehouse_vendors::vendors() {
        let samples = format!("../shared/vendors/{vendor}/samples");
        if std::path::Path::new(&samples).exists() {
            check_all(&samples, targets::payload::check_body);
        }
    }
}

#[test]
fn sse_stream_parses_the_same_in_any_chunks() {
    check_all("fuzz/seeds/sse", targets::sse::check);
}
